//! `longrun operations`: get, events, create, cancel, retry, delete, wait.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use clap_complete::ArgValueCompleter;
use longrun_client::{Answer, Client, NewOperation, WaitStep};
use serde_json::value::RawValue;

use super::{ids, times};
use crate::completing;
use crate::config::Span;
use crate::connection::{ClientArgs, OutputArgs, ReconnectArgs, back, lost, reason, within_callers_trace};
use crate::exit::{Exit, Hint, Missing, Tally, note};
use crate::progress::Spinner;
use crate::render::{self, Format};

/// A status to filter by; names of the wire format are accepted too.
#[derive(Clone, Copy, Debug)]
pub struct StatusName(operations::Status);

impl StatusName {
    /// The status.
    pub fn status(self) -> operations::Status {
        self.0
    }

    /// Its name in the wire format.
    pub fn wire_name(self) -> &'static str {
        self.0.wire_name()
    }
}

impl ValueEnum for StatusName {
    fn value_variants<'a>() -> &'a [StatusName] {
        const ALL: [StatusName; 4] = [
            StatusName(operations::Status::Pending),
            StatusName(operations::Status::Running),
            StatusName(operations::Status::Completed),
            StatusName(operations::Status::Failed),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let short = match self.0 {
            operations::Status::Pending => "pending",
            operations::Status::Running => "running",
            operations::Status::Completed => "completed",
            operations::Status::Failed => "failed",
        };
        Some(PossibleValue::new(short).alias(self.0.wire_name()))
    }
}

/// What commands for named operations take: `get`, `events`, `cancel`, `retry`, `delete`.
#[derive(Debug, clap::Args)]
pub struct IdsArgs {
    /// Ids of operations; the first 8 or more digits of an id are enough if they are unique
    #[arg(required = true, value_name = "ID", add = ArgValueCompleter::new(completing::ids))]
    ids: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun operations get` takes.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// In JSON and YAML, show all details of the operations: also input, labels, attempts, worker, progress
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    of: IdsArgs,
}

/// What `longrun operations retry` takes.
#[derive(Debug, clap::Args)]
pub struct RetryArgs {
    /// Instead, create a new operation that does the same with this input, in JSON; the old one, which must have ended,
    /// remains as it is
    #[arg(long, value_name = "JSON", conflicts_with = "input_file")]
    input: Option<String>,
    /// Read the input from a file; - is standard input
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    #[command(flatten)]
    of: IdsArgs,
}

/// What `longrun operations create` takes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Kind of the operation
    #[arg(long, add = ArgValueCompleter::new(completing::kinds))]
    kind: String,
    /// Type of the resource that the operation is about
    #[arg(long, value_name = "TYPE", requires = "resource_id")]
    resource_type: Option<String>,
    /// Id of the resource that the operation is about
    #[arg(long, value_name = "ID", requires = "resource_type")]
    resource_id: Option<String>,
    /// Id of the project that the operation belongs to
    #[arg(long, value_name = "ID")]
    project_id: Option<String>,
    /// Id of the project's version
    #[arg(long, value_name = "ID")]
    project_version_id: Option<String>,
    /// Input of the operation, as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "input_file")]
    input: Option<String>,
    /// Read the input from a file; - is standard input
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// Priority, from -100 to 100; higher ones run first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i16>,
    /// Start not before this time (RFC 3339), or not before this long from now, e.g. 10m
    #[arg(long, value_name = "TIME")]
    run_after: Option<String>,
    /// Time limit of each attempt, e.g. 60s
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Maximum number of attempts
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long to keep the operation after it has ended, e.g. 30d
    #[arg(long, value_name = "DURATION")]
    retain_for: Option<Span>,
    /// Operations with the same key run one at a time, or as many at a time as --concurrency-limit says
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// How many operations with the concurrency key may run at a time
    #[arg(long, value_name = "N", requires = "concurrency_key")]
    concurrency_limit: Option<u32>,
    /// Label to find the operation by, at most 16; keys are in lower case
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// While an operation with this key has not ended, return that one instead of creating another
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Repeating the creation with the same key and the same arguments returns the first operation
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun operations create-batch` takes.
#[derive(Debug, clap::Args)]
pub struct CreateBatchArgs {
    /// Up to 1,000 operations with the fields of POST /v1/operations: a JSON list, or a sequence of JSON objects; - is
    /// standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Repeating the creation with the same key and the same operations returns the first operations
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun operations wait` takes.
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// Ids of operations; the first 8 or more digits of an id are enough if they are unique
    #[arg(required = true, value_name = "ID", add = ArgValueCompleter::new(completing::ids))]
    ids: Vec<String>,
    /// Give up after this time (exit code 5), e.g. 5m; by default, wait as long as it takes
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    #[command(flatten)]
    reconnect: ReconnectArgs,
    /// Print nothing; report the result with the exit code alone
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Makes a call for each named operation and shows the answer; each is tried, whatever the result of the others.
async fn each<T>(
    args: &IdsArgs,
    call: impl AsyncFn(&Client, &str) -> Result<Answer<T>, longrun_client::Error>,
    show: impl Fn(Format, &str, &Answer<T>) -> std::io::Result<()>,
) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let mut tally = Tally::new();
    for id in &args.ids {
        let id = match ids::whole(&client, id).await {
            Ok(id) => id,
            Err(error) => {
                tally.failed(&error);
                continue;
            }
        };
        match call(&client, &id).await {
            Ok(answer) => show(args.output.format, &id, &answer)?,
            Err(error) => tally.failed(&about("operation", &id, error)),
        }
    }
    Ok(tally.exit())
}

/// The error, with what it is about ("operation", "schedule"), unless the error names it already.
pub(super) fn about(what: &str, name: &str, error: longrun_client::Error) -> anyhow::Error {
    match error {
        longrun_client::Error::StillRunning { .. } => error.into(),
        longrun_client::Error::Refused(refusal) if refusal.http_status == 404 => {
            Missing(format!("{what} {name} not found")).into()
        }
        error => anyhow::Error::new(error).context(format!("{what} {name}")),
    }
}

/// The error, with the command's whole timeout where only the rest of it was left for this operation.
pub fn within(error: longrun_client::Error, timeout: Option<Span>) -> longrun_client::Error {
    match (error, timeout) {
        (longrun_client::Error::StillRunning { id, .. }, Some(Span(after))) => {
            longrun_client::Error::StillRunning { id, after }
        }
        (error, _) => error,
    }
}

/// Shows an answer without changes.
pub(super) fn shown<T>(format: Format, _: &str, answer: &Answer<T>) -> std::io::Result<()>
where
    Answer<T>: render::Answer,
{
    render::print(format, answer)
}

/// Shows operations.
///
/// # Errors
/// When the answer cannot be written; the errors of the calls are reported.
pub async fn get(GetArgs { full, of: args }: GetArgs) -> anyhow::Result<Exit> {
    if full || args.output.format == Format::Table {
        return each(&args, async |client, id| client.get_detail(id).await, shown).await;
    }
    each(&args, async |client, id| client.get(id).await, shown).await
}

/// Shows the history of operations.
///
/// # Errors
/// As those of [`get`].
pub async fn events(args: IdsArgs) -> anyhow::Result<Exit> {
    each(&args, async |client, id| client.events(id).await, shown).await
}

/// Creates an operation.
///
/// # Errors
/// When the input is not JSON, or the call fails.
pub async fn create(args: CreateArgs) -> anyhow::Result<Exit> {
    let input = input(args.input.as_deref(), args.input_file.as_deref())?;
    let run_after = args.run_after.as_deref().map(times::run_after).transpose()?;
    let mut labels = BTreeMap::new();
    for (key, value) in args.labels {
        if let Some(other) = labels.insert(key.clone(), value) {
            anyhow::bail!("the label {key:?} was given twice, the first time as {other:?}");
        }
    }
    let operation = NewOperation {
        kind: args.kind,
        resource_type: args.resource_type,
        resource_id: args.resource_id,
        project_id: args.project_id,
        project_version_id: args.project_version_id,
        input,
        priority: args.priority,
        run_after: run_after.map(|time| time.to_string()),
        timeout: args.timeout.map(seconds),
        max_attempts: args.max_attempts,
        retain_for: args.retain_for.map(seconds),
        concurrency_key: args.concurrency_key,
        concurrency_limit: args.concurrency_limit,
        labels,
        unique_key: args.unique_key,
    };
    let client = within_callers_trace(args.server.client()?);
    let answer = client.create(&operation, args.idempotency_key.as_deref()).await?;
    render::print(args.output.format, &answer)?;
    if answer.existing {
        note("an existing operation was returned: it has the same unique key and has not ended");
    }
    Ok(Exit::Done)
}

/// The input of an operation, from a text or a file.
pub(super) fn input(text: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<serde_json::Value>> {
    let text = match (text, file) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Some(file)) => Some(read(file)?),
        (None, None) => None,
    };
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .context("the input is not JSON")
        .hint("a text must be quoted as JSON: --input '\"text\"'")
}

/// A label from the command line.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write a label as KEY=VALUE, e.g. team=search")?;
    for checked in [operations::check_label_key("label", key), operations::check_label_value("label", value)] {
        checked.map_err(|violation| violation.description)?;
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Creates several operations, all or none of them.
///
/// # Errors
/// When the file contains no valid operations, or the call fails.
pub async fn create_batch(args: CreateBatchArgs) -> anyhow::Result<Exit> {
    let operations = parse_batch(&read(&args.file)?)
        .with_context(|| format!("{} cannot be created", args.file.display()))
        .hint("write a JSON list of objects such as {\"kind\": \"scan\"}, or one such object per line")?;
    let client = within_callers_trace(args.server.client()?);
    let answer = client.batch_create(&operations, args.idempotency_key.as_deref()).await?;
    render::print(args.output.format, &answer)?;
    Ok(Exit::Done)
}

/// Ends pending operations, and asks running ones to stop.
///
/// # Errors
/// As those of [`get`].
pub async fn cancel(args: IdsArgs) -> anyhow::Result<Exit> {
    each(&args, async |client, id| client.cancel(id).await, shown).await
}

/// Retries failed operations, or repeats ended ones with a different input.
///
/// # Errors
/// When the input is not JSON, and as those of [`get`].
pub async fn retry(RetryArgs { input, input_file, of: args }: RetryArgs) -> anyhow::Result<Exit> {
    if let Some(input) = self::input(input.as_deref(), input_file.as_deref())? {
        return each(&args, async |client, id| client.retry_with_input(id, &input, None).await, shown).await;
    }
    each(&args, async |client, id| client.retry(id).await, shown).await
}

/// Deletes ended operations.
///
/// # Errors
/// As those of [`get`].
pub async fn delete(args: IdsArgs) -> anyhow::Result<Exit> {
    let show = |format, id: &str, answer: &_| render::print(format, &render::operations::Deleted { id, answer });
    each(&args, async |client, id| client.delete(id).await, show).await
}

/// Waits for operations, one after the other; they run meanwhile. When the server goes away, it is asked again.
///
/// # Errors
/// When the answer cannot be written. Operations that cannot be waited for are reported, and the others are waited for.
pub async fn wait(args: WaitArgs) -> anyhow::Result<Exit> {
    let client = args.server.client_with(args.reconnect.settings())?;
    let url = client.url();
    let start = tokio::time::Instant::now();
    let mut tally = Tally::new();
    for id in &args.ids {
        let id = match ids::whole(&client, id).await {
            Ok(id) => id,
            Err(error) => {
                tally.failed(&error);
                continue;
            }
        };
        let spinner = Spinner::start(format!("waiting for {id}"));
        let left = args.timeout.map(|Span(limit)| limit.saturating_sub(start.elapsed()));
        let told = |step: WaitStep<'_>| match step {
            WaitStep::State(seen) => spinner.say(format!("waiting for {id}: {}", seen.operation.short_status())),
            WaitStep::Lost(error) => spinner.step_aside(|| lost(&url, reason(error))),
            WaitStep::Back => spinner.step_aside(|| back(&url)),
        };
        let answer = client.wait(&id, left, told).await.map_err(|error| within(error, args.timeout));
        drop(spinner);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tally.failed(&about("operation", &id, error));
                continue;
            }
        };
        tally.add(Exit::yes_if(!answer.value.operation.is_failed()));
        if !args.quiet {
            render::print(args.output.format, &answer)?;
        }
    }
    Ok(tally.exit())
}

/// The operations of a batch: a JSON list of objects, or one object after the other. Errors are reported with their
/// position.
fn parse_batch(text: &str) -> anyhow::Result<Vec<NewOperation>> {
    let entries: Vec<&RawValue> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text)?
    } else {
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>()?
    };
    let parse = |(index, entry): (usize, &&RawValue)| {
        // Parsed into a value first: the line and column within one entry would be mistaken for those of the file.
        let value: serde_json::Value = serde_json::from_str(entry.get())?;
        serde_json::from_value(value).with_context(|| format!("operations[{index}]"))
    };
    entries.iter().enumerate().map(parse).collect()
}

/// The text of a file; - is standard input.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_bytes(file)?).with_context(|| format!("cannot read {}", file.display()))
}

/// The content of a file; - is standard input.
pub(super) fn read_bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut content = Vec::new();
        std::io::stdin().lock().read_to_end(&mut content).context("cannot read standard input")?;
        return Ok(content);
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A duration in the proto3 JSON format: seconds, with a fraction if there is one.
pub(super) fn seconds(Span(duration): Span) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_seconds() {
        assert_eq!(seconds("1m 30s".parse().expect("a span")), "90s");
        assert_eq!(seconds("1500ms".parse().expect("a span")), "1.5s");
    }
}
