//! Which server a command calls, and with which token.
//!
//! The address: `--url`, else `LONGRUN_URL`, else `http://127.0.0.1:8080`. The token: the file of `--token-file`, else
//! `LONGRUN_TOKEN`. With none of these four given, `./.longrun/token` is read if it is there: what `longrun dev`, started
//! in the same folder, wrote. That token is never sent to an address that somebody named.

use std::path::{Path, PathBuf};

use anyhow::Context;
use longrun_client::{Client, Token};

use crate::exit::{Hint, failure};
use crate::render::Format;

/// Where `longrun dev` keeps its things unless told otherwise.
pub const DEV_FOLDER: &str = ".longrun";
/// The token of `longrun dev`, within its folder.
pub const DEV_TOKEN: &str = "token";
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

impl ClientArgs {
    /// A client of that server.
    ///
    /// # Errors
    /// When no token is found, or the address or the token cannot be used.
    pub fn client(&self) -> anyhow::Result<Client> {
        let from_environment = std::env::var("LONGRUN_TOKEN").ok().filter(|token| !token.is_empty());
        let dev_token = Path::new(DEV_FOLDER).join(DEV_TOKEN);
        let token = match (&self.token_file, from_environment) {
            (Some(file), _) => read_token(file)?,
            (None, Some(token)) => Token::new(&token)?,
            (None, None) if self.url.is_none() && dev_token.exists() => read_token(&dev_token)?,
            (None, None) => {
                let hint = "set LONGRUN_TOKEN or give --token-file; `longrun token create` makes a token, and `longrun dev` a server with one";
                return Err(failure("no token was given", hint));
            }
        };
        Ok(Client::new(self.url.as_deref().unwrap_or(DEV_URL), token)?)
    }
}

fn read_token(file: &Path) -> anyhow::Result<Token> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))
        .hint("check --token-file")?;
    Token::new(&text).with_context(|| format!("{} holds no token", file.display()))
}
