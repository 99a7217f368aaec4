//! Shell completions that only the server knows: kinds, ids, names of views, schedules and contexts.
//!
//! The shell runs `longrun` with `COMPLETE=bash` (or another shell) in its environment each time the user presses the
//! completion key. So the server has one second to answer; if it cannot be called, nothing is offered and no error is
//! printed. The flags of the command being typed are not available here: the server is the one from the environment or
//! the current context.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use longrun_client::{Client, Error, SearchRequest, Settings};

use crate::connection::ClientArgs;
use crate::contexts::Contexts;
use crate::render::printable;

/// How long the user waits after pressing the key.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many ids are offered, newest first.
const IDS: i32 = 50;

/// Asks the server of the environment.
fn ask<T>(question: impl AsyncFnOnce(&Client) -> Result<Vec<T>, Error>) -> Vec<T> {
    let settings = Settings { retries: 0, connect_timeout: PATIENCE, read_timeout: PATIENCE, ..Settings::default() };
    let Ok(client) = ClientArgs::default().client_with(settings) else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, question(&client)).await });
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

/// A completion candidate, unless the shell could interpret it: only plain words are offered.
fn candidate(value: &str, help: &str, current: &OsStr) -> Option<CompletionCandidate> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@+%=,".contains(c);
    let fits = value.starts_with(&*current.to_string_lossy()) && !value.is_empty() && value.chars().all(is_plain);
    let help = (!help.is_empty()).then(|| printable(help).into());
    fits.then(|| CompletionCandidate::new(value).help(help))
}

/// Kinds that have operations.
pub fn kinds(current: &OsStr) -> Vec<CompletionCandidate> {
    let kinds = ask(async |client| Ok(client.count("", &["kind"]).await?.value.groups));
    kinds.iter().filter_map(|group| candidate(group.kind.as_deref()?, "", current)).collect()
}

/// Ids of the newest operations.
pub fn ids(current: &OsStr) -> Vec<CompletionCandidate> {
    let request = SearchRequest { page_size: Some(IDS), ..SearchRequest::default() };
    let found = ask(async |client| Ok(client.search(&request).await?.value.operations));
    let offer = |found: &longrun_client::OperationDetail| {
        let operation = &found.operation;
        candidate(&operation.id, &format!("{} {}", operation.short_status(), operation.kind), current)
    };
    found.iter().filter_map(offer).collect()
}

/// Names of views.
pub fn views(current: &OsStr) -> Vec<CompletionCandidate> {
    let views = ask(async |client| Ok(client.views().await?.value.views));
    views.iter().filter_map(|view| candidate(&view.name, &view.filter, current)).collect()
}

/// Names of schedules, from the first page of the list.
pub fn schedules(current: &OsStr) -> Vec<CompletionCandidate> {
    let schedules = ask(async |client| Ok(client.schedules("").await?.value.schedules));
    schedules.iter().filter_map(|schedule| candidate(&schedule.name, &schedule.cron, current)).collect()
}

/// Names of contexts.
pub fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let contexts = Contexts::load().unwrap_or_default().contexts;
    contexts.iter().filter_map(|(name, context)| candidate(name, &context.url, current)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_offered() {
        let offered = |value: &str| candidate(value, "", OsStr::new("")).is_some();
        assert!(offered("build.image") && offered("größe"));
        for other in ["", "a b", "$(reboot)", "a\nb", "a;b", "`x`"] {
            assert!(!offered(other), "{other:?}");
        }
        assert!(candidate("scan", "", OsStr::new("sc")).is_some() && candidate("scan", "", OsStr::new("x")).is_none());
    }
}
