//! Which server a command calls, and with which token.
//!
//! The address: `--url`, else `LONGRUN_URL`, else `http://127.0.0.1:8080`. The token: the file of `--token-file`, else
//! `LONGRUN_TOKEN`. With none of these four given, `./.longrun/token` and `./.longrun/url` are read if they are there:
//! what `longrun dev`, started in the same folder, wrote. That token is never sent to an address that somebody named,
//! and that address never gets another token.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use longrun_client::{Client, Settings, Token};

use crate::config::Span;
use crate::exit::{Hint, failure, note, warn};
use crate::render::Format;

/// Where `longrun dev` keeps its things unless told otherwise.
pub const DEV_FOLDER: &str = ".longrun";
/// The token of `longrun dev`, within its folder.
pub const DEV_TOKEN: &str = "token";
/// The address of `longrun dev`, within its folder.
pub const DEV_ADDRESS: &str = "url";
/// Where `longrun dev` listens unless told otherwise.
pub const DEV_URL: &str = "http://127.0.0.1:8080";

/// The server to call.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ClientArgs {
    /// Address of the server; with no address and no token given, the one of `longrun dev` in this folder
    #[arg(long, env = "LONGRUN_URL", value_name = "URL")]
    pub url: Option<String>,
    /// File that holds the token; else the environment variable LONGRUN_TOKEN
    #[arg(long, env = "LONGRUN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// The form of the answer.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Form of the answer
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORM")]
    pub format: Format,
}

/// How long to try to reach a server again that went away.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ReconnectArgs {
    /// Give up when the server could not be reached again for so long (exit code 6), e.g. 10m; without it, try for ever
    #[arg(long, value_name = "DURATION")]
    reconnect_for: Option<Span>,
}

impl ReconnectArgs {
    /// The client's settings that say so.
    pub fn settings(&self) -> Settings {
        Settings { reconnect_for: self.reconnect_for.map(|Span(longest)| longest), ..Settings::default() }
    }
}

/// Says that the connection to the server is lost.
pub fn lost(url: &str, reason: impl fmt::Display) {
    warn(format!("lost {url}: {reason}; trying again"));
}

/// Why it is lost, without the address.
pub fn reason(error: &longrun_client::Error) -> String {
    match error {
        longrun_client::Error::Connect { reason, .. } | longrun_client::Error::Transport { reason, .. } => {
            reason.clone()
        }
        other => other.to_string(),
    }
}

/// Says that the server is back.
pub fn back(url: &str) {
    note(format!("{url} is back"));
}

impl ClientArgs {
    /// A client of that server.
    ///
    /// # Errors
    /// When no token is found, or the address or the token cannot be used.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.client_with(Settings::default())
    }

    /// A client of that server, with settings of its own.
    ///
    /// # Errors
    /// As those of [`ClientArgs::client`].
    pub fn client_with(&self, settings: Settings) -> anyhow::Result<Client> {
        let from_environment = std::env::var("LONGRUN_TOKEN").ok().filter(|token| !token.is_empty());
        let dev_token = Path::new(DEV_FOLDER).join(DEV_TOKEN);
        let mut url = self.url.clone();
        let token = match (&self.token_file, from_environment) {
            (Some(file), _) => read_token(file)?,
            (None, Some(token)) => Token::new(&token)?,
            (None, None) if url.is_none() && dev_token.exists() => {
                url = dev_url(Path::new(DEV_FOLDER));
                read_token(&dev_token)?
            }
            (None, None) => {
                let hint = "set LONGRUN_TOKEN or give --token-file; `longrun token create` makes a token, and `longrun dev` a server with one";
                return Err(failure("no token was given", hint));
            }
        };
        Ok(Client::with_settings(url.as_deref().unwrap_or(DEV_URL), token, settings)?)
    }
}

/// Where the `longrun dev` with this data folder is reached, as it wrote there.
///
/// Only on this machine: the folder may have come with somebody's repository, and what is sent must not go to them.
fn dev_url(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join(DEV_ADDRESS)).ok()?;
    let url = text.trim();
    let address: std::net::SocketAddr = url.strip_prefix("http://")?.parse().ok()?;
    address.ip().is_loopback().then(|| url.to_owned())
}

/// Whether commands find the server by themselves in the folder where `longrun dev` with this data folder was started.
pub fn finds_dev(url: &str, data_dir: &Path) -> bool {
    data_dir == Path::new(DEV_FOLDER) && dev_url(data_dir).as_deref() == Some(url)
}

fn read_token(file: &Path) -> anyhow::Result<Token> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))
        .hint("check --token-file")?;
    Token::new(&text).with_context(|| format!("{} holds no token", file.display()))
}
