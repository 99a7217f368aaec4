//! `longrun dev`: a server for development. One process, everything in one folder, a token that stays the same.

use std::path::{Path, PathBuf};

use anyhow::Context;
use evidence::check::passing_example;
use server::auth::Secret;
use store::Store;

use super::token;
use crate::config::{Config, LogFormat};
use crate::connection::{DEV_ADDRESS, DEV_FOLDER, DEV_TOKEN, finds_dev};
use crate::exit::{Exit, Hint, failure};
use crate::node::{Node, StopSignals, start_logging};
use crate::private;
use crate::render::{self, Style};
use crate::store_args::{DEV_EVIDENCE, DEV_STORE};

/// The organization of everything that is created in development.
const ORGANIZATION: &str = "dev";

/// What `longrun dev` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address on which the API listens; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Folder for the store, the evidence and the token
    #[arg(long, value_name = "DIR", default_value = DEV_FOLDER)]
    data_dir: PathBuf,
    /// File that stores the token; default: <data-dir>/token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Folder in which references to policies are looked up
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// What to log: error, warn, info, debug or trace, or levels by module
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

/// Serves until it is asked to stop.
///
/// # Errors
/// When the server cannot start.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let config = config(&args)?;
    start_logging(config.log.format, &config.log.filter).context("--log is not a filter")?;
    let signals = StopSignals::listen()?;
    let node = Node::start(&config).await?;
    tracing::info!(server = node.name(), url = node.url(), "started");
    keep_out_of_git(&args.data_dir)?;
    let token_file = args.token_file.clone().unwrap_or_else(|| args.data_dir.join(DEV_TOKEN));
    let secret = token(&**node.store(), &token_file).await?;
    let (url, address) = (node.url(), args.data_dir.join(DEV_ADDRESS));
    std::fs::write(&address, format!("{url}\n")).with_context(|| format!("cannot write {}", address.display()))?;
    render::write(greeting(&url, &node.sign_in_url(&secret), &secret, &token_file, &args))?;
    signals.stop_when_asked(node).await;
    Ok(Exit::Done)
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let within = |name: &str| {
        let path = args.data_dir.join(name);
        path.into_os_string().into_string().map_err(|_| anyhow::anyhow!("the path of --data-dir is not Unicode"))
    };
    let mut config = Config {
        listen: args.listen.clone(),
        store: format!("sqlite:{}", within(DEV_STORE)?).into(),
        ..Config::default()
    };
    config.evidence.folder = within(DEV_EVIDENCE)?;
    if let Some(folder) = &args.policies {
        config.policies.folder = folder.to_str().context("the path of --policies is not Unicode")?.to_owned();
    }
    config.kinds.allow_undeclared = true;
    config.log.format = LogFormat::Human;
    config.log.filter.clone_from(&args.log);
    match crate::config::validate(&config).into_iter().next() {
        Some((key, message)) => {
            let flag = match key.as_str() {
                "policies.folder" => "--policies",
                "listen" => "--listen",
                "log.filter" => "--log",
                _ => &key,
            };
            Err(failure(format!("{flag}: {message}"), "`longrun dev --help` shows the flags"))
        }
        None => Ok(config),
    }
}

/// The token in the file, if the store knows it and it is valid; else a new one, which is then written to the file.
async fn token(store: &dyn Store, file: &Path) -> anyhow::Result<Secret> {
    let kept = match std::fs::read_to_string(file) {
        Ok(text) => Secret::parse(text.trim()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read the token file {}", file.display())),
    };
    if let Some(secret) = kept
        && let Some(token) = store.find_token(&secret.hash()).await?
        && token.is_valid(store.now())
    {
        return Ok(secret);
    }
    let secret = token::make_admin(store, "longrun dev", ORGANIZATION).await?;
    private::write(file, format!("{}\n", secret.expose()).as_bytes())
        .with_context(|| format!("cannot write the token file {}", file.display()))
        .hint("choose another path with --token-file")?;
    Ok(secret)
}

/// The folder contains a token and is usually inside somebody's repository.
fn keep_out_of_git(data_dir: &Path) -> anyhow::Result<()> {
    let file = data_dir.join(".gitignore");
    if file.exists() {
        return Ok(());
    }
    std::fs::write(&file, "*\n").with_context(|| format!("cannot write {}", file.display()))
}

fn greeting(url: &str, page: &str, secret: &Secret, token_file: &Path, args: &Args) -> String {
    let style = Style::of_stdout();
    let secret = secret.expose();
    let environment = if args.token_file.is_none() && finds_dev(url, &args.data_dir) {
        String::new()
    } else {
        format!("LONGRUN_URL={url} LONGRUN_TOKEN_FILE={} ", quoted(&token_file.display().to_string()))
    };
    format!(
        "{}  {url}\n{}      {page}\n{}      {secret}\n{}      curl -H 'Authorization: Bearer {secret}' {url}/v1/operations\n{}       {environment}{}\n{}      Ctrl-C\n",
        style.strong("listening"),
        style.strong("page:"),
        style.strong("token"),
        style.strong("list:"),
        style.strong("try:"),
        something_to_try(args.policies.as_deref()),
        style.strong("stop:"),
    )
}

/// A command that works as printed: an evaluation of a policy's own example if there is one.
fn something_to_try(policies: Option<&Path>) -> String {
    let example = policies.and_then(|folder| {
        let mut names: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names.into_iter().find_map(|name| {
            let name = name.into_string().ok()?;
            let evidence = passing_example(&folder.join(&name).join("policy.yaml"))?;
            Some((name, evidence))
        })
    });
    match example {
        Some((name, evidence)) => {
            let evidence = quoted(&evidence.display().to_string());
            format!("longrun evidence evaluate {evidence} --policy-ref {}", quoted(&name))
        }
        None => "longrun operations create --kind hello".to_owned(),
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:@".contains(c));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell_are_quoted_when_they_must_be() {
        assert_eq!(quoted("/home/me/.longrun/token"), "/home/me/.longrun/token");
        assert_eq!(quoted("it's here"), "'it'\\''s here'");
    }
}
