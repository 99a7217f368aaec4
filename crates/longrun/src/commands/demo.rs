//! `longrun demo`: the main use case on real evidence, end to end over HTTP.
//!
//! It starts a server on a free port with a temporary store, and uses longrun's own SBOM, clippy findings and test
//! report, and the example policies. Everything goes through the public API, with a token, like any client's calls.

mod material;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use longrun_client::{Client, EvaluateRequest, ListRequest, PolicyAttachment, PolicyGroupAttachment};

use super::token;
use crate::config::{Config, LogFormat};
use crate::exit::Exit;
use crate::node::{Node, StopSignals, start_logging};
use crate::render::verdict::Verdict;
use crate::render::{self, Answer, Style};

/// How many violations of a policy are shown.
const SHOWN_VIOLATIONS: usize = 3;

/// What `longrun demo` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep the server running until Ctrl-C, and open its page in the browser, signed in
    #[arg(long)]
    open: bool,
}

/// Runs the demo.
///
/// # Errors
/// When something does not work as it should.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    start_logging(LogFormat::Human, "warn")?;
    let style = Style::of_stdout();
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let config = config(folder.path())?;
    let node = Node::start(&config).await?;
    let url = node.url();
    say(style, &format!("A server at {url}, its data in a temporary folder; a token of the organization demo."))?;

    let secret = token::make_admin(&**node.store(), "demo", "demo").await?;
    let client = Client::new(&url, longrun_client::Token::new(secret.expose())?)?;

    say(
        style,
        "longrun's own evidence goes in (POST /v1/evidence) and is evaluated (POST /v1/agents/evaluate-evidence):",
    )?;
    let mut started = Vec::new();
    for (name, content) in material::EVIDENCE {
        let stored = client.put_evidence(Bytes::from_static(content)).await?.value;
        for request in requests(name, &stored.digest, &stored.kind) {
            let id = client.evaluate_evidence(&request).await?.value.operation_id;
            let with = request.policies.iter().filter_map(|policy| policy.reference.as_deref());
            let with = with.chain(request.policy_groups.iter().map(|group| group.reference.as_str()));
            let with: Vec<&str> = with.collect();
            render::write(format!(
                "  {name} ({}, {} bytes) by {} → operation {id}\n",
                stored.kind,
                stored.size,
                with.join(", ")
            ))?;
            started.push(id);
        }
    }

    let mut verdicts = String::new();
    for id in &started {
        let answer = client.wait(id, None, |_| ()).await?.value.operation;
        ensure!(!answer.is_failed(), "operation {id} failed: {}", answer.error_message);
        let verdict = Verdict::of(&answer).with_context(|| format!("operation {id} has no verdict"))?;
        verdicts += &verdict.render(style, SHOWN_VIOLATIONS);
    }
    say(style, "The verdicts:")?;
    render::write(verdicts)?;

    let listed = client.list(&ListRequest::default()).await?;
    say(style, "The operations (longrun operations list):")?;
    render::write(listed.table(style))?;

    let request =
        ListRequest { page_size: Some(1), kind: Some(kinds::evaluation::KIND.to_owned()), ..ListRequest::default() };
    let query: Vec<String> = request.query().iter().map(|(name, value)| format!("{name}={value}")).collect();
    say(style, "The same over HTTP, the newest one:")?;
    let curl =
        format!("curl -H 'Authorization: Bearer {}' '{url}/v1/operations?{}'\n", secret.expose(), query.join("&"));
    render::write(style.faint(&curl))?;
    let mut body = client.list(&request).await?.body.to_vec();
    body.push(b'\n');
    render::write(body)?;

    if args.open {
        let signals = StopSignals::listen()?;
        let page = node.sign_in_url(&secret);
        say(style, "The page, signed in by a link that works once; Ctrl-C ends the server:")?;
        render::write(format!("{page}\n"))?;
        open_in_browser(&page);
        signals.stop_when_asked(node).await;
        return Ok(Exit::Done);
    }
    node.stop().await;
    say(
        style,
        "Now with your files: `longrun dev --policies DIR` starts a server that keeps running, with the policies in a folder;\n\
         `longrun evidence evaluate FILE --policy-ref NAME` lets it evaluate a file with one of them.",
    )?;
    Ok(Exit::Done)
}

/// Opens a page if there is a desktop; the address is printed for those who have none.
fn open_in_browser(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = || std::process::Stdio::null();
    // Nothing waits for it: it may be the browser itself.
    let _ = std::process::Command::new(program).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}

fn config(folder: &Path) -> anyhow::Result<Config> {
    let policies = folder.join("policies");
    for (name, text) in material::POLICIES {
        let path = policies.join(name);
        let parent = path.parent().expect("every policy lies in the folder of policies");
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).context("cannot write the policies")?;
    }
    let text = |path: &Path| path.to_str().map(str::to_owned).context("the temporary folder's path is not Unicode");
    let mut config = Config {
        listen: "127.0.0.1:0".to_owned(),
        store: format!("sqlite:{}", text(&folder.join("longrun.db"))?).into(),
        ..Config::default()
    };
    config.evidence.folder = text(&folder.join("evidence"))?;
    config.policies.folder = text(&policies)?;
    Ok(config)
}

/// The evaluations to request for a piece of evidence.
fn requests(name: &str, digest: &str, kind: &str) -> Vec<EvaluateRequest> {
    let request = EvaluateRequest {
        digest: digest.to_owned(),
        name: Some(name.to_owned()),
        project_name: Some("longrun".to_owned()),
        ..EvaluateRequest::default()
    };
    let gate = PolicyGroupAttachment { reference: material::GROUP.to_owned(), ..PolicyGroupAttachment::default() };
    let mut requests = vec![EvaluateRequest { policy_groups: vec![gate], ..request.clone() }];
    if kind == "SBOM_CYCLONEDX_JSON" {
        // An evaluation that fails: what would a ban on this license mean?
        let ban = PolicyAttachment {
            reference: Some("sbom-banned-licenses".to_owned()),
            with: [("licenses".to_owned(), "Unicode-3.0".to_owned())].into(),
            ..PolicyAttachment::default()
        };
        requests.push(EvaluateRequest { policies: vec![ban], ..request });
    }
    requests
}

fn say(style: Style, text: &str) -> std::io::Result<()> {
    render::write(format!("\n{}\n", style.strong(text)))
}
