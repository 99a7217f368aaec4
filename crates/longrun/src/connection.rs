//! Which server a command calls, and with which token.
//!
//! In this order: the flags `--url` and `--token-file` or `--context`; the environment, `LONGRUN_URL` and
//! `LONGRUN_TOKEN_FILE` or `LONGRUN_TOKEN`; the current context ([`crate::contexts`]); `./.longrun/token` and
//! `./.longrun/url`, which `longrun dev`, started in the same folder, wrote.
//!
//! A token is only ever sent to the address that it was given or saved with. So an address that is given without a
//! token gets the token of the context with the very same address, or none; and a token that is given without an
//! address goes to `http://127.0.0.1:8080`, not to the current context.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use longrun_client::{Client, Settings, Token};
use secrecy::ExposeSecret;

use crate::config::Span;
use crate::contexts::{Context, Contexts};
use crate::environment::{file_variable, variable};
use crate::exit::{Hint, failure, note, warn};
use crate::render::Format;

/// Where `longrun dev` keeps its files by default.
pub const DEV_FOLDER: &str = ".longrun";
/// The token file of `longrun dev`, within its folder.
pub const DEV_TOKEN: &str = "token";
/// The file with the address of `longrun dev`, within its folder.
pub const DEV_ADDRESS: &str = "url";
/// Where `longrun dev` listens by default.
pub const DEV_URL: &str = "http://127.0.0.1:8080";

/// The server to call.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ClientArgs {
    /// Address of the server; default: the environment variable LONGRUN_URL; if neither an address nor a token is
    /// given, the server of `longrun dev` in this folder
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File that contains the token; default: the environment variable LONGRUN_TOKEN_FILE, or the token in
    /// LONGRUN_TOKEN
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Call the server of this context (see `longrun login`); default: the current context, unless the environment
    /// names a server
    #[arg(long, value_name = "NAME", add = clap_complete::ArgValueCompleter::new(crate::completing::contexts))]
    pub context: Option<String>,
}

/// The output format.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORM")]
    pub format: Format,
}

/// How long to try to reconnect to a server that went away.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ReconnectArgs {
    /// Give up when the server has been unreachable for this long (exit code 6), e.g. 10m; by default, keep trying
    #[arg(long, value_name = "DURATION")]
    reconnect_for: Option<Span>,
}

impl ReconnectArgs {
    /// The client settings for this.
    pub fn settings(&self) -> Settings {
        Settings { reconnect_for: self.reconnect_for.map(|Span(longest)| longest), ..Settings::default() }
    }
}

/// Reports that the connection to the server is lost.
pub fn lost(url: &str, reason: impl fmt::Display) {
    warn(format!("lost {url}: {reason}; trying again"));
}

/// Why the connection is lost, without the address.
pub fn reason(error: &longrun_client::Error) -> String {
    match error {
        longrun_client::Error::Connect { reason, .. } | longrun_client::Error::Transport { reason, .. } => {
            reason.clone()
        }
        other => other.to_string(),
    }
}

/// Reports that the server is reachable again.
pub fn back(url: &str) {
    note(format!("{url} is back"));
}

/// The client for calls that create something: its calls belong to the trace of this program's caller if `TRACEPARENT`
/// names one, as it does for the commands of kinds and of workers.
pub fn within_callers_trace(client: Client) -> Client {
    match variable("TRACEPARENT") {
        Some(traceparent) => client.within_trace(&traceparent),
        None => client,
    }
}

impl ClientArgs {
    /// A client of that server.
    ///
    /// # Errors
    /// When no token is found, or the address or the token cannot be used.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.client_with(Settings::default())
    }

    /// A client of that server, with custom settings.
    ///
    /// # Errors
    /// As those of [`ClientArgs::client`].
    pub fn client_with(&self, settings: Settings) -> anyhow::Result<Client> {
        let (url, token) = self.server()?;
        Ok(Client::with_settings(&url, token, settings)?)
    }

    /// The address and the token.
    fn server(&self) -> anyhow::Result<(String, Token)> {
        let of_context = |of: &Context| Ok((of.url.clone(), Token::new(of.token.expose_secret())?));
        if let Some(name) = &self.context {
            if self.url.is_some() || self.token_file.is_some() {
                let hint = "give either --context, or --url and --token-file";
                return Err(failure("--context names a server already", hint));
            }
            return of_context(Contexts::load()?.get(name)?);
        }
        let url = self.url.clone().or_else(|| variable("LONGRUN_URL"));
        let url_or_dev = || url.clone().unwrap_or_else(|| DEV_URL.to_owned());
        if let Some(file) = self.token_file.clone().or_else(|| file_variable("LONGRUN_TOKEN_FILE")) {
            return Ok((url_or_dev(), read_token(&file)?));
        }
        if let Some(token) = variable("LONGRUN_TOKEN") {
            return Ok((url_or_dev(), Token::new(&token)?));
        }
        let contexts = Contexts::load()?;
        if let Some(url) = &url {
            let same = |of: &&Context| of.url.trim_end_matches('/') == url.trim_end_matches('/');
            return contexts.contexts.values().find(same).map_or_else(|| Err(no_token()), of_context);
        }
        if let Some((_, current)) = contexts.current()? {
            return of_context(current);
        }
        let dev_token = Path::new(DEV_FOLDER).join(DEV_TOKEN);
        if dev_token.exists() {
            let url = dev_url(Path::new(DEV_FOLDER)).unwrap_or_else(|| DEV_URL.to_owned());
            return Ok((url, read_token(&dev_token)?));
        }
        Err(no_token())
    }
}

fn no_token() -> anyhow::Error {
    let hint = "use `longrun login URL`, LONGRUN_TOKEN or --token-file; `longrun token create` creates a \
                token, and `longrun dev` starts a server with one";
    failure("no token was given", hint)
}

/// The address of the `longrun dev` with this data folder, as it wrote it there.
///
/// Only addresses of this machine: the folder may have come with somebody's repository, and nothing must be sent to
/// them.
fn dev_url(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join(DEV_ADDRESS)).ok()?;
    let url = text.trim();
    let address: std::net::SocketAddr = url.strip_prefix("http://")?.parse().ok()?;
    address.ip().is_loopback().then(|| url.to_owned())
}

/// Whether commands that run in the folder where `longrun dev` was started with this data folder find its server
/// without flags.
pub fn finds_dev(url: &str, data_dir: &Path) -> bool {
    data_dir == Path::new(DEV_FOLDER) && dev_url(data_dir).as_deref() == Some(url)
}

fn read_token(file: &Path) -> anyhow::Result<Token> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))
        .hint("check --token-file")?;
    Token::new(&text).with_context(|| format!("{} contains no token", file.display()))
}
