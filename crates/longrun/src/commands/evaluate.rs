//! `longrun evidence evaluate`: uploads evidence, has it evaluated, and reports what is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum as _;
use longrun_client::{
    Client, EvaluateRequest, OperationAnswer, PolicyAttachment, PolicyGroupAttachment, StartedEvaluation, WaitStep,
};

use super::evidence::upload;
use super::operations::within;
use crate::config::Span;
use crate::connection::{ClientArgs, OutputArgs, ReconnectArgs, back, lost, reason, within_callers_trace};
use crate::exit::{Exit, Hint, Tally};
use crate::policy_file::self_contained;
use crate::progress::Spinner;
use crate::render::report::{Report, ReportFormat};
use crate::render::verdict::Verdict;
use crate::render::{self, Answer, Format, Style, printable};

/// How many violations of a policy are shown to people.
const SHOWN_VIOLATIONS: usize = 20;
/// Most evaluations take no longer than this: the first poll happens after this time, without waiting for the server's
/// `Retry-After`, which is usually one second.
const HEAD_START: Duration = Duration::from_millis(150);

/// What `longrun evidence evaluate` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Material type, e.g. SBOM_CYCLONEDX_JSON; default: detected from the content
    #[arg(long)]
    kind: Option<String>,
    /// Policy file to evaluate, sent with its scripts; without any policy, the server's default policies are used
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// Policy to evaluate, as a reference that the server resolves
    #[arg(long = "policy-ref", value_name = "REF")]
    policy_refs: Vec<String>,
    /// Policy group to evaluate, as a reference that the server resolves
    #[arg(long = "policy-group", value_name = "REF")]
    policy_groups: Vec<String>,
    /// Input for the given policies and groups; may be given several times, and a name given twice has both values
    #[arg(long = "with", value_name = "NAME=VALUE", value_parser = input)]
    inputs: Vec<(String, String)>,
    /// Question about the evidence for an AI provider, in addition to the policies; the server must have a provider
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Name of the evidence, as policies see it; default: the name of the file
    #[arg(long)]
    name: Option<String>,
    /// Project that the operation belongs to
    #[arg(long, value_name = "ID")]
    project_id: Option<String>,
    /// Version of the project
    #[arg(long, value_name = "ID")]
    project_version_id: Option<String>,
    /// Name of the project, as policies see it
    #[arg(long, value_name = "NAME")]
    project_name: Option<String>,
    /// Name of the project's version, as policies see it
    #[arg(long, value_name = "NAME")]
    project_version_name: Option<String>,
    /// Start the evaluations and do not wait for them
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this time (exit code 5), e.g. 5m
    #[arg(long, value_name = "DURATION", conflicts_with = "no_wait")]
    timeout: Option<Span>,
    /// Treat it as a pass if no policy evaluated the evidence (exit code 0 instead of 3)
    #[arg(long, conflicts_with = "no_wait")]
    allow_skipped: bool,
    /// Treat this as a violation too (exit code 1), in addition to the violations that policies report
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["no_wait", "allow_skipped"])]
    fail_on: Option<FailOn>,
    /// Print one report of all evaluations for a build system, instead of the results
    #[arg(long = "format", value_name = "REPORT", conflicts_with_all = ["no_wait", "format"])]
    printed: Option<ReportFormat>,
    /// Write a report of all evaluations to a file, in addition, e.g. sarif=longrun.sarif; may be given several times
    #[arg(long = "report", value_name = "REPORT=FILE", conflicts_with = "no_wait", value_parser = report_file)]
    reports: Vec<(ReportFormat, PathBuf)>,
    #[command(flatten)]
    reconnect: ReconnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What counts as a violation too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// A policy that was skipped, even if others passed.
    Skipped,
}

/// The file name that stands for standard input.
const STDIN: &str = "-";

fn input(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

fn report_file(text: &str) -> Result<(ReportFormat, PathBuf), String> {
    let Some((format, file)) = text.split_once('=').filter(|(_, file)| !file.is_empty()) else {
        return Err("must be REPORT=FILE, e.g. sarif=longrun.sarif".to_owned());
    };
    Ok((ReportFormat::from_str(format, true)?, PathBuf::from(file)))
}

/// Evaluates each file. All evaluations are started before the first one is waited for.
///
/// # Errors
/// When a policy cannot be sent, or the result or a report cannot be written. The outcome of each file is reported, and
/// the others are evaluated.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    if let Some(file) = overwritten(&args) {
        return Err(anyhow::anyhow!("the report {} would replace a file that is to be read", file.display()))
            .hint("write the report to another file");
    }
    let (policies, policy_groups) = attachments(&args)?;
    let client = within_callers_trace(args.server.client_with(args.reconnect.settings())?);
    if args.files.iter().filter(|file| file.as_os_str() == STDIN).count() > 1 {
        return Err(anyhow::anyhow!("- was given twice; standard input can only be read once"));
    }
    let mut tally = Tally::new();
    let mut report = Report::default();
    let mut started = Vec::new();
    for file in &args.files {
        let request = EvaluateRequest {
            kind: args.kind.clone(),
            name: args.name.clone().or_else(|| file_name(file)),
            policies: policies.clone(),
            policy_groups: policy_groups.clone(),
            project_id: args.project_id.clone(),
            project_version_id: args.project_version_id.clone(),
            project_name: args.project_name.clone(),
            project_version_name: args.project_version_name.clone(),
            prompt: args.prompt.clone(),
            ..EvaluateRequest::default()
        };
        match start(&client, file, request).await {
            Ok(answer) => {
                if args.no_wait {
                    render::print(args.output.format, &Started { file, answer: &answer })?;
                }
                started.push((file, answer.value.operation_id));
            }
            Err(error) => {
                report.add_failed(&shown(file), format!("{error:#}"));
                tally.failed(&error);
            }
        }
    }
    if !args.no_wait && !started.is_empty() {
        tokio::time::sleep(HEAD_START).await;
        wait(&client, &args, &started, &mut tally, &mut report).await?;
    }
    if let Some(format) = args.printed {
        render::write(report.render(format))?;
    }
    for (format, file) in &args.reports {
        std::fs::write(file, report.render(*format)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if args.fail_on == Some(FailOn::Skipped) && report.has_skipped() {
        tally.add(Exit::No);
    }
    Ok(tally.exit())
}

/// The first report that has the name of evidence, or of a policy.
fn overwritten(args: &Args) -> Option<&Path> {
    let read: Vec<PathBuf> =
        args.files.iter().chain(&args.policies).filter_map(|file| file.canonicalize().ok()).collect();
    let is_read = |file: &&PathBuf| file.canonicalize().is_ok_and(|file| read.contains(&file));
    args.reports.iter().map(|(_, file)| file).find(is_read).map(PathBuf::as_path)
}

/// Uploads the file and starts its evaluation.
async fn start(
    client: &Client,
    file: &Path,
    request: EvaluateRequest,
) -> anyhow::Result<longrun_client::Answer<StartedEvaluation>> {
    let digest = if file.as_os_str() == STDIN {
        let content = tokio::task::spawn_blocking(|| {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut content).map(|_| content)
        });
        let content = content.await.context("cannot read standard input")?.context("cannot read standard input")?;
        client.put_evidence(content.into()).await.context("cannot store standard input")?.value.digest
    } else {
        upload(client, file, file.file_name().and_then(|name| name.to_str())).await?.value.digest
    };
    let request = EvaluateRequest { digest, ..request };
    let answer = client.evaluate_evidence(&request).await.or_else(|error| match advice(&request, &error) {
        Some(hint) => Err(error).hint(hint),
        None => Err(error.into()),
    });
    answer.with_context(|| format!("cannot evaluate {}", shown(file)))
}

/// What to do when the server finds no policies: none were named and it has no default policies, or the named ones do
/// not exist. Only the server knows, and only once it is asked.
fn advice(request: &EvaluateRequest, error: &longrun_client::Error) -> Option<&'static str> {
    let longrun_client::Error::Refused(refusal) = error else { return None };
    let names_policies = !request.policies.is_empty() || !request.policy_groups.is_empty();
    let not_there = ["not in the policy folder", "no policy folder is configured"];
    refusal.field_violations().find_map(|violation| {
        if !names_policies && violation.field == "policies" {
            Some("give --policy FILE, --policy-ref NAME or --policy-group NAME")
        } else if not_there.iter().any(|text| violation.description.contains(*text)) {
            Some(
                "names are looked up in the server's policy folder: `policies.folder` in its configuration, \
                 `longrun dev --policies DIR`; --policy FILE sends a policy from here",
            )
        } else {
            None
        }
    })
}

async fn wait(
    client: &Client,
    args: &Args,
    started: &[(&PathBuf, String)],
    tally: &mut Tally,
    report: &mut Report,
) -> anyhow::Result<()> {
    let start = tokio::time::Instant::now();
    let url = client.url();
    for (file, id) in started {
        let file = shown(file);
        let spinner = Spinner::start(format!("evaluating {file}"));
        let left = args.timeout.map(|Span(limit)| limit.saturating_sub(start.elapsed()));
        let told = |step: WaitStep<'_>| match step {
            WaitStep::State(_) => {}
            WaitStep::Lost(error) => spinner.step_aside(|| lost(&url, reason(error))),
            WaitStep::Back => spinner.step_aside(|| back(&url)),
        };
        let answer = client.wait(id, left, told).await.map_err(|error| within(error, args.timeout));
        let answer = answer.with_context(|| format!("the evaluation of {file}"));
        drop(spinner);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                report.add_failed(&file, format!("{error:#}"));
                tally.failed(&error);
                continue;
            }
        };
        let operation = &answer.value.operation;
        let verdict = Verdict::of(operation);
        tally.add(match verdict.as_ref().map(Verdict::exit) {
            Some(Exit::Skipped) if args.allow_skipped => Exit::Done,
            Some(exit) if !operation.is_failed() => exit,
            // Without a verdict, nothing has passed.
            _ => Exit::No,
        });
        if args.printed.is_none() {
            show(args.output.format, &file, &answer, verdict.as_ref())?;
        }
        report.add(&file, operation, verdict);
    }
    Ok(())
}

/// Prints the result of one evaluation.
fn show(
    format: Format,
    file: &str,
    answer: &longrun_client::Answer<OperationAnswer>,
    verdict: Option<&Verdict>,
) -> anyhow::Result<()> {
    let operation = &answer.value.operation;
    match (format, verdict) {
        (Format::Table, Some(verdict)) => render::write(verdict.render(Style::of_stdout(), SHOWN_VIOLATIONS))?,
        (Format::Table, None) if operation.is_failed() => {
            let style = Style::of_stdout();
            let message = operation.error_message.lines().map(printable).collect::<Vec<_>>().join("\n  ");
            let (file, problem) = (style.strong(&printable(file)), style.bad("could not be evaluated"));
            render::write(format!("{file}: {problem}\n  {message}\n"))?;
        }
        (format, _) => render::print(format, answer)?,
    }
    Ok(())
}

fn attachments(args: &Args) -> anyhow::Result<(Vec<PolicyAttachment>, Vec<PolicyGroupAttachment>)> {
    let mut with: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &args.inputs {
        // The lines of a value are its parts.
        with.entry(name.clone()).and_modify(|all| all.extend(["\n", value])).or_insert_with(|| value.clone());
    }
    if !with.is_empty() && args.policies.is_empty() && args.policy_refs.is_empty() && args.policy_groups.is_empty() {
        return Err(anyhow::anyhow!("--with was given without a policy"))
            .hint("inputs apply to a policy: add --policy, --policy-ref or --policy-group");
    }
    let mut policies = Vec::new();
    for file in &args.policies {
        let text = self_contained(file)
            .hint("`longrun policy check FILE` reports what is wrong with a policy; use --policy-group for groups")?;
        policies.push(PolicyAttachment { embedded: Some(text), with: with.clone(), ..PolicyAttachment::default() });
    }
    for reference in &args.policy_refs {
        let reference = Some(reference.clone());
        policies.push(PolicyAttachment { reference, with: with.clone(), ..PolicyAttachment::default() });
    }
    let groups = args.policy_groups.iter().map(|reference| PolicyGroupAttachment {
        reference: reference.clone(),
        with: with.clone(),
        skip: Vec::new(),
    });
    Ok((policies, groups.collect()))
}

/// The name of the file in messages and reports.
fn shown(file: &Path) -> String {
    if file.as_os_str() == STDIN { "standard input".to_owned() } else { file.display().to_string() }
}

fn file_name(file: &Path) -> Option<String> {
    if file.as_os_str() == STDIN {
        return None;
    }
    Some(file.file_name()?.to_string_lossy().into_owned())
}

struct Started<'a> {
    file: &'a Path,
    answer: &'a longrun_client::Answer<StartedEvaluation>,
}

impl Answer for Started<'_> {
    fn json(&self) -> std::io::Result<Vec<u8>> {
        Ok(self.answer.body.to_vec())
    }

    fn table(&self, _style: Style) -> String {
        format!("{}: operation {}\n", printable(&shown(self.file)), self.answer.value.operation_id)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.answer.value.operation_id.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_have_a_name_and_may_hold_equals_signs() {
        assert_eq!(input("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(input("a="), Ok(("a".to_owned(), String::new())));
        assert!(input("=b").is_err() && input("a").is_err());
    }

    #[test]
    fn a_report_has_a_format_and_a_file() {
        assert_eq!(report_file("sarif=a=b.sarif"), Ok((ReportFormat::Sarif, PathBuf::from("a=b.sarif"))));
        assert!(["sarif", "sarif=", "=a", "pdf=a"].into_iter().all(|text| report_file(text).is_err()));
    }
}
