//! `longrun login`, `logout` and `context`: saved servers by name, with their tokens.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context as _;
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use longrun_client::{Client, Error, ListRequest, Token};
use serde_json::json;

use crate::connection::OutputArgs;
use crate::contexts::{Context, Contexts, check_name};
use crate::exit::{Exit, Hint, failure, note};
use crate::render::{self, Answer, Style, table};

/// What `longrun login` takes.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// Address of the server, e.g. https://longrun.example.com
    #[arg(value_name = "URL")]
    url: String,
    /// Name of the context; default: the host and port of the address
    #[arg(long, value_name = "NAME", value_parser = check_name)]
    name: Option<String>,
    /// File that contains the token; - is standard input, which is also read when there is no terminal to ask at
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What `longrun logout` takes.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// The context; default: the current one
    #[arg(value_name = "NAME", add = clap_complete::ArgValueCompleter::new(crate::completing::contexts))]
    name: Option<String>,
}

/// What `longrun context list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// What `longrun context show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The context; default: the current one
    #[arg(value_name = "NAME", add = clap_complete::ArgValueCompleter::new(crate::completing::contexts))]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `longrun context use` and `longrun context delete` take.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// The context
    #[arg(value_name = "NAME", add = clap_complete::ArgValueCompleter::new(crate::completing::contexts))]
    name: String,
}

/// Asks for a token, tries it, and saves it; the context becomes the current one.
///
/// # Errors
/// When the server refuses the token or cannot be reached, or the context cannot be saved; nothing has changed then.
pub async fn login(args: LoginArgs) -> anyhow::Result<Exit> {
    let mut contexts = Contexts::load()?;
    let name = match args.name {
        Some(name) => name,
        None => name_of(&args.url)?,
    };
    // An invalid address is reported before the token is asked for.
    Client::new(&args.url, Token::new("none")?)?;
    let secret = match &args.token_file {
        Some(file) => super::operations::read(file)?,
        None if io::stdin().is_terminal() => ask(&format!("Token for {}: ", args.url))?,
        None => super::operations::read("-".as_ref())?,
    };
    let secret = secret.trim();
    let client = Client::new(&args.url, Token::new(secret)?)?;
    match client.list(&ListRequest { page_size: Some(1), ..ListRequest::default() }).await {
        Ok(_) => {}
        Err(Error::Refused(refusal)) if refusal.http_status == 403 => {
            note("the token has no permission to read operations; it is saved for what it is permitted to do");
        }
        Err(Error::Refused(refusal)) if refusal.http_status == 401 => {
            let hint = "`longrun token create` creates a token, `longrun token list` shows which are valid";
            return Err(failure(format!("{} does not know this token", args.url), hint));
        }
        Err(error) => return Err(error.into()),
    }
    let is_remote_http = args.url.starts_with("http:") && !is_this_machine(&args.url);
    if is_remote_http {
        note("the token is sent to this server unencrypted; use https:// to encrypt it");
    }
    contexts.contexts.insert(name.clone(), Context { url: client.url(), token: secret.into() });
    contexts.current = Some(name.clone());
    contexts.save()?;
    note(format!("commands now call {}, with the context {name}", client.url()));
    Ok(Exit::Done)
}

/// The host and port of an address.
fn name_of(url: &str) -> anyhow::Result<String> {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?']).next().unwrap_or_default();
    check_name(host).map_err(|wrong| anyhow::anyhow!(wrong)).hint("give the context a name with --name")
}

fn is_this_machine(url: &str) -> bool {
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Reads a line from the terminal without showing it while it is typed.
fn ask(prompt: &str) -> anyhow::Result<String> {
    /// Restores the terminal's line mode and echo when it is dropped.
    struct Raw;
    impl Drop for Raw {
        fn drop(&mut self) {
            let _ = disable_raw_mode();
            eprintln!();
        }
    }
    eprint!("{prompt}");
    enable_raw_mode().context("cannot ask for the token").hint("give it with --token-file")?;
    let _raw = Raw;
    let mut text = String::new();
    loop {
        let Event::Key(key) = read().context("cannot read the token")? else { continue };
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Enter => return Ok(text),
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                anyhow::bail!("no token was given");
            }
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => text.clear(),
            KeyCode::Char(c) => text.push(c),
            KeyCode::Backspace => _ = text.pop(),
            _ => {}
        }
    }
}

/// Removes a context and its token. The token stays valid.
///
/// # Errors
/// When there is none.
pub fn logout(args: LogoutArgs) -> anyhow::Result<Exit> {
    let mut contexts = Contexts::load()?;
    let name = args.name.or_else(|| contexts.current.clone());
    let name = name.ok_or_else(|| {
        failure("there is no current context", "give a name: `longrun context list` lists the contexts")
    })?;
    contexts.remove(&name)?;
    contexts.save()?;
    note(format!("the context {name} was removed; its token stays valid until it expires or is revoked"));
    Ok(Exit::Done)
}

/// Lists contexts.
///
/// # Errors
/// When they cannot be read.
pub fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let contexts = Contexts::load()?;
    render::print(args.output.format, &Shown { named: contexts.contexts.keys().cloned().collect(), contexts })?;
    Ok(Exit::Done)
}

/// Makes a context the current one.
///
/// # Errors
/// When there is none with this name.
pub fn use_context(args: &NameArgs) -> anyhow::Result<Exit> {
    let mut contexts = Contexts::load()?;
    let url = contexts.get(&args.name)?.url.clone();
    contexts.current = Some(args.name.clone());
    contexts.save()?;
    note(format!("commands now call {url}"));
    Ok(Exit::Done)
}

/// Shows a context, without its token.
///
/// # Errors
/// When there is none.
pub fn show(args: ShowArgs) -> anyhow::Result<Exit> {
    let contexts = Contexts::load()?;
    let name = args.name.or_else(|| contexts.current.clone());
    let name = name.ok_or_else(|| {
        failure("there is no current context", "`longrun context use NAME` makes a context the current one")
    })?;
    contexts.get(&name)?;
    render::print(args.output.format, &Shown { named: vec![name], contexts })?;
    Ok(Exit::Done)
}

/// Removes a context and its token. The token stays valid.
///
/// # Errors
/// When there is none with this name.
pub fn delete(args: NameArgs) -> anyhow::Result<Exit> {
    logout(LogoutArgs { name: Some(args.name) })
}

/// Some of the contexts.
struct Shown {
    contexts: Contexts,
    named: Vec<String>,
}

impl Shown {
    fn each(&self) -> impl Iterator<Item = (&String, &Context, bool)> {
        let is_current = |name: &String| self.contexts.current.as_ref() == Some(name);
        self.named.iter().filter_map(move |name| Some((name, self.contexts.contexts.get(name)?, is_current(name))))
    }
}

impl Answer for Shown {
    fn json(&self) -> io::Result<Vec<u8>> {
        let each = self.each().map(|(name, of, current)| json!({"name": name, "url": of.url, "current": current}));
        Ok(serde_json::to_vec(&json!({"contexts": each.collect::<Vec<_>>()}))?)
    }

    fn table(&self, style: Style) -> String {
        if self.named.is_empty() {
            return "no contexts: `longrun login URL` creates one\n".to_owned();
        }
        let rows = self
            .each()
            .map(|(name, of, current)| [if current { "*" } else { "" }.to_owned(), name.clone(), of.url.clone()]);
        table(style, ["", "NAME", "URL"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.named.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_called_by_its_servers_name() {
        assert_eq!(name_of("https://longrun.example.com/prefix").ok().as_deref(), Some("longrun.example.com"));
        assert_eq!(name_of("http://127.0.0.1:8080").ok().as_deref(), Some("127.0.0.1:8080"));
        assert!(name_of("http://[::1]:8080").is_err(), "brackets are quoted by shells");
        assert!(is_this_machine("http://[::1]:8080/") && is_this_machine("http://localhost"));
        assert!(!is_this_machine("http://longrun.example.com:80"));
    }
}
