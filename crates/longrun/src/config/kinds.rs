//! Kinds declared in the configuration: `[kinds.NAME]`.

use std::collections::BTreeMap;
use std::path::Path;

use kinds::evaluation::KIND as EVIDENCE_EVALUATION;
use operations::backoff::Backoff;
use operations::{DEFAULT_MAX_ATTEMPTS, MAX_INLINE_BYTES, NewOperation};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Endpoint;
use super::tables::{self, Complaints};
use super::units::{ByteSize, Span};

/// Which kinds of operations are accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kinds {
    /// Whether undeclared kinds are accepted too; their operations wait for a remote worker.
    pub allow_undeclared: bool,
    /// The tables `[kinds.NAME]`, which are read one by one.
    #[serde(skip)]
    pub declared: BTreeMap<String, Kind>,
}

/// A kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// How often and how long.
    pub limits: Limits,
    /// What runs it.
    pub work: Work,
}

/// What runs a kind: its `type`.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// longrun itself; has no `type`.
    BuiltIn,
    /// A local program.
    Command(Command),
    /// A call to an external server.
    Http(Endpoint, Http),
    /// Workers that claim over HTTP.
    Remote,
}

/// The types that can be declared.
const TYPES: &str = "\"command\", \"http\" or \"remote\"";

/// The settings for every type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of attempts of this kind at the same time in this process; none: as many as the engine runs.
    pub concurrency: Option<u32>,
    /// Maximum number of attempts that this process starts per second; none: unlimited.
    pub rate: Option<f64>,
    /// The number of attempts of an operation that does not specify it.
    pub max_attempts: u32,
    /// The time limit of an attempt if its operation does not specify it; none: `engine.timeout`.
    pub timeout: Option<Span>,
    /// The maximum wait after the first failed attempt; it doubles with each further one.
    pub backoff_initial: Span,
    /// The maximum of any wait.
    pub backoff_max: Span,
}

/// The [`Limits`] that apply to a remote kind; its workers take care of the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RemoteLimits {
    max_attempts: u32,
    timeout: Option<Span>,
}

/// A local program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The working directory of the program; empty: the server's.
    pub working_directory: String,
    /// Names of the server's environment variables that are passed to the program.
    pub environment: Vec<String>,
    /// Maximum size of its output in bytes.
    pub output_limit: ByteSize,
    /// Exit codes that mean a permanent failure, after which there is no further attempt.
    pub permanent_exit_codes: Vec<i32>,
    /// Processor time of each of its processes, in whole seconds.
    pub cpu_limit: Option<Span>,
    /// Maximum address space of each of its processes.
    pub memory_limit: Option<ByteSize>,
    /// Maximum size of a file that it writes.
    pub file_size_limit: Option<ByteSize>,
    /// Maximum number of files that each of its processes has open at the same time.
    pub open_files_limit: Option<u64>,
    /// Maximum number of processes and threads of the server's user at the same time.
    pub processes_limit: Option<u64>,
}

/// A call to an external server, in addition to its [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Maximum size of an answer in bytes.
    pub output_limit: ByteSize,
}

impl Default for Http {
    fn default() -> Http {
        Http { output_limit: ByteSize(MAX_INLINE_BYTES as u64) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        let Backoff { base, cap } = Backoff::default();
        Limits {
            concurrency: None,
            rate: None,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            timeout: None,
            backoff_initial: Span(base),
            backoff_max: Span(cap),
        }
    }
}

impl Default for RemoteLimits {
    fn default() -> RemoteLimits {
        let Limits { max_attempts, timeout, .. } = Limits::default();
        RemoteLimits { max_attempts, timeout }
    }
}

impl Default for Command {
    fn default() -> Command {
        Command {
            command: Vec::new(),
            working_directory: String::new(),
            environment: Vec::new(),
            output_limit: ByteSize(MAX_INLINE_BYTES as u64),
            permanent_exit_codes: Vec::new(),
            cpu_limit: None,
            memory_limit: None,
            file_size_limit: None,
            open_files_limit: None,
            processes_limit: None,
        }
    }
}

impl Kind {
    /// The key that names environment variables of the server, and those variables.
    pub fn variables(&self) -> (&'static str, &[String]) {
        match &self.work {
            Work::Command(command) => ("environment", &command.environment),
            Work::Http(endpoint, _) => ("secret_environment", std::slice::from_ref(&endpoint.secret_environment)),
            Work::BuiltIn | Work::Remote => ("", &[]),
        }
    }

    /// Reads the table `[kinds.NAME]`. `None` if it does not say what runs the kind; the reason is among the
    /// complaints.
    pub fn read(name: &str, mut table: Table, complaints: &mut Complaints) -> Option<Kind> {
        if kinds::RESERVED.contains(&name) {
            complaints.add("", "cannot be declared: longrun itself creates the operations of this kind");
            return None;
        }
        let told = match table.remove("type") {
            Some(Value::String(told)) => Some(told),
            Some(_) => {
                complaints.add("type", format!("must be {TYPES}"));
                return None;
            }
            None => None,
        };
        let mut known = vec!["type".to_owned()];
        let kind = match told.as_deref() {
            None if name == EVIDENCE_EVALUATION => {
                known.clear();
                Kind { limits: part(&mut table, &mut known, complaints), work: Work::BuiltIn }
            }
            Some(_) if name == EVIDENCE_EVALUATION => {
                complaints.add("type", "must be left out: this kind is built in");
                return None;
            }
            Some("command") => Kind {
                limits: part(&mut table, &mut known, complaints),
                work: Work::Command(part(&mut table, &mut known, complaints)),
            },
            Some("http") => Kind {
                limits: part(&mut table, &mut known, complaints),
                work: Work::Http(part(&mut table, &mut known, complaints), part(&mut table, &mut known, complaints)),
            },
            Some("remote") => {
                for key in tables::keys::<Limits>() {
                    if !tables::keys::<RemoteLimits>().contains(&key) && table.remove(&key).is_some() {
                        let message = "is not allowed for a remote kind: its workers decide how much they claim";
                        complaints.add(&key, message);
                    }
                }
                let RemoteLimits { max_attempts, timeout } = part(&mut table, &mut known, complaints);
                Kind { limits: Limits { max_attempts, timeout, ..Limits::default() }, work: Work::Remote }
            }
            Some(other) => {
                complaints.add("type", format!("is {other:?}; it must be {TYPES}"));
                return None;
            }
            None => {
                complaints.add("type", format!("is missing; it must be {TYPES}"));
                return None;
            }
        };
        tables::refuse_rest(&table, &known, complaints);
        Some(kind)
    }

    /// Every key that is set or has a default, with its value.
    pub fn shown(&self) -> Table {
        let mut shown = tables::shown(&self.limits);
        let name = match &self.work {
            Work::BuiltIn => return shown,
            Work::Command(command) => {
                shown.extend(tables::shown(command));
                "command"
            }
            Work::Http(endpoint, http) => {
                shown.extend(tables::shown(endpoint));
                shown.extend(tables::shown(http));
                "http"
            }
            Work::Remote => {
                let Limits { max_attempts, timeout, .. } = self.limits;
                shown = tables::shown(&RemoteLimits { max_attempts, timeout });
                "remote"
            }
        };
        shown.insert("type".to_owned(), Value::String(name.to_owned()));
        shown
    }

    /// Checks that the types cannot express.
    pub fn check(&self, name: &str) -> Complaints {
        let mut complaints = Complaints::new();
        let Limits { concurrency, rate, max_attempts, timeout, backoff_initial, backoff_max } = &self.limits;
        let message = "must be at least 1; leave it out to set no limit";
        complaints.require(*concurrency != Some(0), "concurrency", message);
        let is_rate = rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
        let message = "must be a number of attempts per second above 0, e.g. 0.5; leave it out to set no limit";
        complaints.require(is_rate, "rate", message);
        complaints.require(backoff_max >= backoff_initial, "backoff_max", "must be at least backoff_initial");
        let new = NewOperation {
            max_attempts: *max_attempts,
            timeout: timeout.map(|timeout| timeout.0),
            ..NewOperation::of_kind(name)
        };
        for violation in new.violations() {
            match violation.field.as_str() {
                "kind" => complaints.invalid_name("", name, "a kind", &violation),
                key => complaints.add(key, violation.description.as_str()),
            }
        }
        let output_limit = match &self.work {
            Work::Command(command) => {
                command.check(&mut complaints);
                command.output_limit
            }
            Work::Http(endpoint, http) => {
                endpoint.check(&mut complaints);
                http.output_limit
            }
            Work::BuiltIn | Work::Remote => return complaints,
        };
        let fits = (1..=MAX_INLINE_BYTES as u64).contains(&output_limit.0);
        complaints.require(fits, "output_limit", "must be above 0 and at most 1MiB, the maximum size of an output");
        complaints
    }
}

impl Command {
    fn check(&self, complaints: &mut Complaints) {
        let example = "e.g. [\"/usr/bin/scan\", \"--json\"]";
        match self.command.first() {
            None => {
                complaints.add("command", format!("is missing; it is the program and its arguments, {example}"));
            }
            Some(program) => {
                let message = format!("must begin with a program, {example}");
                complaints.require(!program.is_empty(), "command", message);
            }
        }
        let is_text = self.command.iter().all(|word| !word.contains('\0'));
        complaints.require(is_text, "command", "must not contain NUL characters");
        let folder = &self.working_directory;
        let is_there = folder.is_empty() || Path::new(folder).is_dir();
        complaints.require(is_there, "working_directory", "there is no such folder");
        for name in &self.environment {
            let is_name = !name.is_empty() && !name.contains(['=', '\0']);
            let message = format!("{name:?} is not the name of a variable; give names only, e.g. \"API_KEY\"");
            complaints.require(is_name, "environment", message);
            let message = format!(
                "{name:?} cannot be passed on: names with LONGRUN_ are reserved for variables that longrun sets"
            );
            complaints.require(!name.starts_with("LONGRUN_"), "environment", message);
        }
        let are_codes = self.permanent_exit_codes.iter().all(|code| (1..=255).contains(code));
        let message = "must be exit codes between 1 and 255; 0 is success";
        complaints.require(are_codes, "permanent_exit_codes", message);
        let whole_seconds = self.cpu_limit.is_none_or(|span| span.0.as_secs() > 0 && span.0.subsec_nanos() == 0);
        complaints.require(whole_seconds, "cpu_limit", "must be at least 1s, in whole seconds");
        for (key, size) in [("memory_limit", self.memory_limit), ("file_size_limit", self.file_size_limit)] {
            let message = "must be above 0; leave it out to set no limit";
            complaints.require(size.is_none_or(|size| size.0 > 0), key, message);
        }
        // The three standard streams, and what is needed for loading a program.
        let (files, processes) = (self.open_files_limit, self.processes_limit);
        complaints.require(files.is_none_or(|files| files >= 8), "open_files_limit", "must be at least 8");
        complaints.require(processes.is_none_or(|count| count > 0), "processes_limit", "must be at least 1");
    }
}

/// Takes a part out of a table and collects its keys.
fn part<T: Default + Serialize + serde::de::DeserializeOwned>(
    table: &mut Table,
    known: &mut Vec<String>,
    complaints: &mut Complaints,
) -> T {
    known.extend(tables::keys::<T>());
    tables::take(table, complaints)
}
