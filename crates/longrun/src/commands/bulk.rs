//! `longrun operations bulk`: cancel, retry, delete.

use longrun_client::{BulkRequest, WaitStep};

use crate::connection::{ClientArgs, OutputArgs, ReconnectArgs, back, lost, reason, within_callers_trace};
use crate::exit::Exit;
use crate::progress::Spinner;
use crate::render::{self, Format, Style, table};

/// What they take.
#[derive(Debug, clap::Args)]
pub struct BulkArgs {
    /// Filter that selects the operations, e.g. 'status = FAILED AND created_at >= "-1h"'
    #[arg(long, value_name = "FILTER")]
    filter: String,
    /// Only show how many operations match
    #[arg(long)]
    dry_run: bool,
    /// Refuse if the number of matching operations differs from this by more than a tenth
    #[arg(long, value_name = "N", conflicts_with = "dry_run")]
    expect: Option<u64>,
    /// Repeating the command with the same key and the same arguments returns the first bulk operation
    #[arg(long, value_name = "KEY", conflicts_with = "dry_run")]
    idempotency_key: Option<String>,
    /// Wait until it has ended; exit with 1 if it failed
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    reconnect: ReconnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Applies the action to all operations that match.
///
/// # Errors
/// When one of the calls fails.
pub async fn run(args: BulkArgs, action: &str) -> anyhow::Result<Exit> {
    let client = within_callers_trace(args.server.client_with(args.reconnect.settings())?);
    let request = BulkRequest {
        action: action.to_owned(),
        filter: args.filter,
        dry_run: args.dry_run,
        expected_count: args.expect,
    };
    let answer = client.bulk(&request, args.idempotency_key.as_deref()).await?;
    let begun = answer.value.operation.as_ref().filter(|_| args.wait);
    let Some(id) = begun.map(|operation| operation.id.clone()) else {
        render::print(args.output.format, &answer)?;
        return Ok(Exit::Done);
    };
    let (spinner, url) = (Spinner::start(format!("waiting for {id}")), client.url());
    let told = |step: WaitStep<'_>| match step {
        WaitStep::State(seen) => spinner.say(format!("waiting for {id}: {}", seen.operation.short_status())),
        WaitStep::Lost(error) => spinner.step_aside(|| lost(&url, reason(error))),
        WaitStep::Back => spinner.step_aside(|| back(&url)),
    };
    let ended = client.wait(&id, None, told).await;
    drop(spinner);
    let ended = ended?;
    render::print(args.output.format, &ended)?;
    if args.output.format == Format::Table {
        render::write(outcomes(Style::of_stdout(), &ended.value.operation.output))?;
    }
    Ok(Exit::yes_if(!ended.value.operation.is_failed()))
}

/// How many operations were changed, and how many were refused for which reason. Empty if the output has neither.
fn outcomes(style: Style, output: &str) -> String {
    let Some(outcome) = kinds::bulk::outcome(output) else { return String::new() };
    let changed = [("changed".to_owned(), outcome.changed)];
    let refused = outcome.refused.into_iter().map(|(reason, count)| (format!("refused: {reason}"), count));
    let rows = changed.into_iter().chain(refused).map(|(name, count)| [name, count.to_string()]);
    format!("\n{}{}", table(style, ["OUTCOME", "COUNT"], rows), style.faint(&format!("{} matched\n", outcome.matched)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted() {
        let output = r#"{"matched":5,"cancelled":3,"refused":{"it has ended":2},"refusals":[]}"#;
        let shown = outcomes(Style::PLAIN, output);
        assert!(shown.contains("changed                3") && shown.contains("refused: it has ended  2"), "{shown}");
        assert!(shown.ends_with("5 matched\n"), "{shown}");
        assert_eq!(outcomes(Style::PLAIN, "stopped"), "");
    }
}
