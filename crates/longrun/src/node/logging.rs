//! The log: on standard error, so that standard output stays for answers.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Starts to log, once a process.
///
/// # Errors
/// When the filter is none, or the process logs already.
pub fn start_logging(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).finish().try_init()?,
        LogFormat::Human => {
            let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            log.with_ansi(coloured).with_target(false).finish().try_init()?;
        }
    }
    Ok(())
}
