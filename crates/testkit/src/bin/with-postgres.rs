//! `with-postgres COMMAND ARGUMENTS…` creates a PostgreSQL cluster with fsync as in production, runs the command with
//! the URL of an empty database as an additional argument, and removes the cluster. `make bench` measures PostgreSQL
//! this way.

use std::process::{Command, ExitCode};

use testkit::{Cluster, Durability};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("with-postgres: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<u8, Box<dyn std::error::Error>> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().ok_or("usage: with-postgres COMMAND ARGUMENTS…")?;
    let cluster = Cluster::start(Durability::Full)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = runtime.block_on(cluster.database())?;
    let status = Command::new(program).args(words).arg(url).status()?;
    // A command that was ended by a signal has no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}
