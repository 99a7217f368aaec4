//! `longrun workers`: the workers and what they are running.

use std::io;

use longrun_client::WorkerList;

use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::Exit;
use crate::render::{self, Answer, Style, table};

/// What `longrun workers` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Lists the workers and what they are running.
///
/// # Errors
/// When the call fails.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    render::print(args.output.format, &args.server.client()?.workers().await?)?;
    Ok(Exit::Done)
}

impl Answer for longrun_client::Answer<WorkerList> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        let rows = self.value.workers.iter().map(|worker| {
            [
                worker.name.clone(),
                worker.running.to_string(),
                worker.kinds.join(","),
                style.when(&worker.oldest_started_at),
                style.when(&worker.last_heartbeat_at),
            ]
        });
        let mut text = table(style, ["WORKER", "RUNNING", "KINDS", "OLDEST ATTEMPT", "LAST HEARTBEAT"], rows);
        if !self.value.is_complete {
            text += "There are more than 5,000 running attempts: only the workers of the oldest 5,000 are shown.\n";
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        self.value.workers.iter().map(|worker| worker.name.clone()).collect()
    }
}
