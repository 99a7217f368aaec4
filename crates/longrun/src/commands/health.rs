//! `longrun health`: for a container's health check, where no other program is available to make the request.

use std::time::Duration;

use crate::config::ConfigArgs;
use crate::exit::{Exit, Hint, failure};
use crate::node;
use crate::render;

/// How long a server may take to answer: it gives its store two seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// What `longrun health` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the server's admin_listen, e.g. http://127.0.0.1:9090; default: the one in the configuration on this
    /// machine
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,
    /// Only check whether the process answers (/healthz), not whether it is ready (/readyz)
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Asks the server. The exit code is 6 if it does not answer or is not ready.
///
/// # Errors
/// When the address is unknown, the server does not answer, or it is not ready.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let url = match args.admin_url {
        Some(url) => url,
        None => {
            let config = args.config.load()?.config;
            let scheme = if config.tls.admin { "https" } else { "http" };
            if config.admin_listen.is_empty() {
                let hint = "set admin_listen, e.g. \"127.0.0.1:9090\", or use --admin-url";
                return Err(failure("the server has no address for health checks", hint));
            }
            format!("{scheme}://{}", reachable(&config.admin_listen))
        }
    };
    let answer = longrun_client::health(&url, args.live, PATIENCE).await;
    let answer = answer.hint("see the server's log; /readyz needs admin_listen")?;
    render::write(format!("{}\n", render::printable(&answer)))?;
    Ok(Exit::Done)
}

/// The address at which this machine reaches a server that listens on `listen`; the name of a host stays as it is.
fn reachable(listen: &str) -> String {
    match listen.parse() {
        Ok(address) => node::reachable(address).to_string(),
        Err(_) => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(reachable("[::]:9090"), "[::1]:9090");
    }

    #[test]
    fn other_addresses_are_asked_as_they_are() {
        for address in ["10.0.0.0:9090", "[2001:db8::]:9090", "localhost:9090"] {
            assert_eq!(reachable(address), address);
        }
    }
}
