//! `longrun serve`: a server for production.

use crate::config::ConfigArgs;
use crate::exit::{Exit, Hint};
use crate::node::{Node, StopSignals, start_logging};

/// What `longrun serve` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until it is asked to stop.
///
/// # Errors
/// When the configuration has problems or the server cannot start.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let loaded = args.config.load().hint("`longrun config check` reports the same without starting a server")?;
    let config = loaded.config;
    start_logging(config.log.format, &config.log.filter)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let signals = StopSignals::listen()?;
    let node = Node::start(&config).await?;
    tracing::info!(
        server = node.name(),
        url = node.url(),
        admin_url = node.admin_url(),
        store = %config.store_url()?,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    signals.stop_when_asked(node).await;
    Ok(Exit::Done)
}
