//! Calls PostgreSQL's own programs for dumps, so that no password is visible in a list of processes.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use percent_encoding::percent_decode_str;

use crate::exit::failure;

/// Lets `pg_dump` write the schema `longrun`, as of a snapshot, in its custom format.
///
/// # Errors
/// When the program is missing or fails.
pub async fn dump(url: &str, snapshot: &str, file: &Path) -> anyhow::Result<()> {
    let mut command = program("pg_dump", url);
    command.args(["--format=custom", "--schema=longrun", "--lock-wait-timeout=30s", "--snapshot", snapshot, "--file"]);
    command.arg(file);
    run(command, "pg_dump").await?;
    std::fs::File::open(file).and_then(|file| file.sync_all()).context("cannot write the dump to disk")
}

/// Lets `pg_restore` restore such a dump into a database without that schema: all of it or nothing.
///
/// # Errors
/// When the program is missing or fails.
pub async fn restore(url: &str, file: &Path) -> anyhow::Result<()> {
    let mut command = program("pg_restore", url);
    // The user that restores it becomes the owner. The grants of the inbox are restored: their roles must exist.
    command.args(["--no-owner", "--exit-on-error", "--single-transaction"]).arg(file);
    run(command, "pg_restore").await
}

fn program(name: &str, url: &str) -> Command {
    let (url, password) = without_password(url);
    let mut command = Command::new(name);
    command.arg("--dbname").arg(url).env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    command
}

async fn run(mut command: Command, name: &str) -> anyhow::Result<()> {
    let output = tokio::task::spawn_blocking(move || command.output()).await.context("it was aborted")?;
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(failure(
                format!("{name} is not on the PATH"),
                "install PostgreSQL's client programs (Debian and Ubuntu: postgresql-client), as new as the server or newer",
            ));
        }
        Err(error) => return Err(error).with_context(|| format!("{name} cannot be run")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let hint = if said.contains("server version mismatch") {
        "use the client programs of the server's version, or newer ones"
    } else if said.contains("role ") && said.contains("does not exist") {
        "create the roles that the inbox is granted to first, or drop the grants after `pg_restore --no-privileges`"
    } else {
        "see the database's message; nothing was changed"
    };
    Err(failure(format!("{name} failed: {}", said.trim()), hint))
}

/// The URL without its password, and the password.
fn without_password(url: &str) -> (String, Option<String>) {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (mut url, query) = match url.split_once('?') {
        Some((url, query)) => (url.to_owned(), query),
        None => (url.to_owned(), ""),
    };
    let mut password = None;
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if let Some((user, host)) = authority.rsplit_once('@')
            && let Some((user, secret)) = user.split_once(':')
        {
            password = Some(decoded(secret));
            url = format!("{scheme}://{user}@{host}{path}");
        }
    }
    let mut kept = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.strip_prefix("password=") {
            Some(secret) => password = Some(decoded(secret)),
            None => kept.push(parameter),
        }
    }
    if !kept.is_empty() {
        url = format!("{url}?{}", kept.join("&"));
    }
    (url, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_out_of_urls() {
        for (url, rest, password) in [
            ("postgres://u@h/d", "postgres://u@h/d", None),
            ("postgres://u:p%40ss@h:5432/d?sslmode=require", "postgres://u@h:5432/d?sslmode=require", Some("p@ss")),
            ("postgres://h/d?password=a%20b&sslmode=disable", "postgres://h/d?sslmode=disable", Some("a b")),
            ("postgres://u:p@h", "postgres://u@h", Some("p")),
            ("postgres://[::1]:5432/d", "postgres://[::1]:5432/d", None),
        ] {
            let (found, secret) = without_password(url);
            assert_eq!((found.as_str(), secret.as_deref()), (rest, password), "{url}");
        }
    }
}
