//! The kinds, from the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use engine::Registry;
use kinds::bulk::{self, BulkHandler};
use kinds::command::{CommandHandler, CommandSettings, ResourceLimits};
use kinds::evaluation::{EvaluationHandler, KIND as EVIDENCE_EVALUATION};
use kinds::http::HttpHandler;
use kinds::notices::{self, NoticeFilter, Notices, Subscription};
use kinds::reevaluation::{self, ReevaluationHandler};
use operations::Status;
use operations::backoff::Backoff;
use server::KindDefaults;
use store::Store;

use super::endpoint::{endpoint, variable};
use crate::commands::command_runner;
use crate::commands::worker::program;
use crate::config::{ByteSize, Command, Config, Limits, Work};

/// Variables of the server's environment that are passed to every command.
const PASSED_ON: [&str; 2] = ["PATH", "LANG"];

/// The kinds that run in this process.
///
/// # Errors
/// When a variable that a kind needs is not set.
pub fn registry(config: &Config, store: &Arc<dyn Store>, evaluation: EvaluationHandler) -> anyhow::Result<Registry> {
    let mut registry = Registry::new()
        .with(EVIDENCE_EVALUATION, evaluation)
        .with(bulk::KIND, BulkHandler::new(Arc::clone(store)))
        .with_limits(bulk::KIND, bulk::limits())
        .with(reevaluation::KIND, ReevaluationHandler::new(Arc::clone(store)))
        .with_limits(reevaluation::KIND, reevaluation::limits());
    for (name, kind) in &config.kinds.declared {
        registry = registry.with_limits(name, limits(&kind.limits));
        registry = match &kind.work {
            Work::BuiltIn | Work::Remote => registry,
            Work::Command(command) => registry.with(name, command_handler(name, command)?),
            Work::Http(endpoint_of_kind, http) => {
                let endpoint = endpoint(&format!("kinds.{name}"), endpoint_of_kind)?;
                registry.with(name, HttpHandler::new(endpoint, bytes(http.output_limit)))
            }
        };
    }
    let notices = notices(config)?.measured_by(store.meters());
    if !notices.is_empty() {
        let limits = engine::Limits { backoff: Some(notices::BACKOFF), ..engine::Limits::default() };
        registry = registry.with_follow_up(notices.clone()).with(notices::KIND, notices);
        registry = registry.with_limits(notices::KIND, limits);
    }
    Ok(registry)
}

fn notices(config: &Config) -> anyhow::Result<Notices> {
    let mut subscriptions = BTreeMap::new();
    for (name, notice) in &config.notices {
        let filter = NoticeFilter {
            kinds: notice.filter.kinds.clone(),
            statuses: notice.filter.statuses.iter().copied().map(Status::from).collect(),
            verdicts: notice.filter.verdicts.clone(),
            organizations: notice.filter.organizations.clone(),
        };
        let endpoint = endpoint(&format!("notices.{name}"), &notice.endpoint)?;
        subscriptions.insert(name.clone(), Subscription { endpoint, filter });
    }
    Ok(Notices::new(subscriptions))
}

/// The kinds that no worker may claim: those that run in this process, and always those that longrun creates itself,
/// which another server on the same store may run.
pub fn local(registry: &Registry) -> Vec<String> {
    let mut local = registry.kinds();
    for own in kinds::RESERVED {
        if !local.iter().any(|kind| kind == own) {
            local.push(own.to_owned());
        }
    }
    local
}

/// Every declared kind, in alphabetical order, the built-in one first.
pub fn known(config: &Config) -> Vec<String> {
    let declared = config.kinds.declared.keys().filter(|name| *name != EVIDENCE_EVALUATION);
    std::iter::once(EVIDENCE_EVALUATION.to_owned()).chain(declared.cloned()).collect()
}

/// The defaults of operations of a declared kind.
pub fn defaults(config: &Config) -> BTreeMap<String, KindDefaults> {
    let declared = config.kinds.declared.iter();
    let defaults = declared.map(|(name, kind)| {
        let timeout = kind.limits.timeout.map(|timeout| timeout.0);
        (name.clone(), KindDefaults { max_attempts: kind.limits.max_attempts, timeout })
    });
    defaults.collect()
}

/// A size that has been checked to be at most one mebibyte.
fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// Checks that the program exists: without its program, a kind would end each of its operations as failed.
fn check_program(kind: &str, command: &Command) -> anyhow::Result<()> {
    let Some(program) = command.command.first() else { return Ok(()) };
    // A relative path is relative to the folder in which the program runs.
    let program =
        if program.contains('/') { Path::new(&command.working_directory).join(program) } else { program.into() };
    program::check(program.as_os_str(), std::env::var_os("PATH").as_deref())
        .with_context(|| format!("kinds.{kind}.command"))
}

fn limits(limits: &Limits) -> engine::Limits {
    engine::Limits {
        concurrency: limits.concurrency.and_then(|places| usize::try_from(places).ok()),
        rate: limits.rate,
        timeout: limits.timeout.map(|timeout| timeout.0),
        backoff: Some(Backoff { base: limits.backoff_initial.0, cap: limits.backoff_max.0 }),
    }
}

fn command_handler(kind: &str, command: &Command) -> anyhow::Result<CommandHandler> {
    check_program(kind, command)?;
    let mut environment = Vec::new();
    for name in PASSED_ON {
        environment.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
    }
    for name in &command.environment {
        environment.push((name.clone(), variable(&format!("kinds.{kind}.environment"), name)?));
    }
    let settings = CommandSettings {
        command: command.command.clone(),
        working_directory: (!command.working_directory.is_empty()).then(|| PathBuf::from(&command.working_directory)),
        environment,
        output_limit: bytes(command.output_limit),
        permanent_exit_codes: command.permanent_exit_codes.clone(),
        limits: ResourceLimits {
            cpu_seconds: command.cpu_limit.map(|span| span.0.as_secs()),
            memory: command.memory_limit.map(|size| size.0),
            file_size: command.file_size_limit.map(|size| size.0),
            open_files: command.open_files_limit,
            processes: command.processes_limit,
        },
    };
    Ok(CommandHandler::new(settings, command_runner::this_program()?))
}
