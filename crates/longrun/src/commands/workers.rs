//! `longrun workers`: who runs what now.

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

/// Lists who runs what.
///
/// # Errors
/// What the call may fail with.
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
            text += "More attempts are under way than are looked at: these are the workers of the oldest 5,000.\n";
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        self.value.workers.iter().map(|worker| worker.name.clone()).collect()
    }
}
