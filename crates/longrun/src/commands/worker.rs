//! `longrun worker`: a remote worker that runs any command.
//!
//! The client library's [`Worker`] does the work of a worker; this module runs each operation as a command
//! ([`process`]).

mod process;
pub mod program;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context;
use longrun_client::{CancellationToken, Error, Worker};

use crate::config::{LogFormat, Span};
use crate::connection::ClientArgs;
use crate::exit::{Exit, Hint};
use crate::node::{StopSignals, start_logging};

/// How long the handler of a command may take after a cancellation: longer than the command itself gets for stopping.
const GRACE: Duration = process::TERM_GRACE.saturating_add(Duration::from_secs(5));

/// What `longrun worker` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The command gets the operation's input as JSON on standard input (null if there is none). What it \
    writes to standard output is the operation's output, up to 1 MiB; lines on standard error are progress messages. \
    Exit code 0: completed; 65: failed permanently, another attempt would fail too; 126 or 127: the command could not \
    be started, the operation is released; any other: failed, to be retried."
)]
pub struct Args {
    /// Kind of operations to run; may be given several times
    #[arg(long = "kind", required = true, value_name = "K", add = clap_complete::ArgValueCompleter::new(crate::completing::kinds))]
    kinds: Vec<String>,
    /// With a token of the instance, only run operations of these organizations; default: all that the token can reach
    #[arg(long, value_delimiter = ',', value_name = "ORG,…")]
    organizations: Vec<String>,
    /// How many operations run at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// How long running operations may continue after SIGTERM; then they are stopped and released
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    drain: Span,
    /// What to log: error, warn, info, debug or trace, or levels by module
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// Command that runs an operation, with its arguments; given after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    server: ClientArgs,
}

/// Works until SIGTERM or SIGINT; a second signal stops and releases running operations.
///
/// # Errors
/// When there is no such command, when it could not be started several times in a row, and when the server refuses to
/// give work to this worker.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    start_logging(LogFormat::Human, &args.log).context("--log is not a filter")?;
    // Before anything is claimed, so that no signal kills a running operation.
    let mut signals = StopSignals::listen()?;
    let client = args.server.client()?;
    let command = process::Command::new(args.command)?;
    let url = client.url();
    let mut worker = Worker::new(client, command).concurrency(args.concurrency.into()).drain(args.drain.0).grace(GRACE);
    let kinds = args.kinds.join(", ");
    for kind in args.kinds {
        worker = worker.kind(kind);
    }
    for organization in args.organizations {
        worker = worker.organization(organization);
    }
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let worker = worker.release_when(&hurry);
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        let received = signals.next().await;
        tracing::info!(signal = received, "stopping: claiming nothing more, letting running operations end");
        stop.cancel();
        let received = signals.next().await;
        tracing::warn!(signal = received, "stopping at once: running operations are stopped and released");
        hurry.cancel();
    });
    tracing::info!(url, kinds, "working");
    match worker.run(stopped).await {
        Ok(()) => {}
        Err(error @ Error::NotStarted { .. }) => {
            return Err(error).hint("fix the command and restart the worker: nothing was lost");
        }
        Err(error) => {
            return Err(error).hint(
                "a worker needs a token with the scope operations:work, and kinds that the server declares as remote: \
                 [kinds.NAME] type = \"remote\"",
            );
        }
    }
    tracing::info!("stopped");
    Ok(Exit::Done)
}
