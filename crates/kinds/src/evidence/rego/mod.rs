//! Rego: a layer over the engine that closes its gaps, so that what cannot be evaluated is an error or a skip, never a
//! pass.
//!
//! A script is checked and completed once ([`Script::compile`]) and then run as often as wanted ([`Script::run`]):
//! every call is checked against the known functions, forbidden ones are refused by name, variables must be safe and
//! definitions without conflict as OPA has it, a policy that could never object is refused, locals may hide what is
//! around them, the customary rules may be left out, an undefined result is an error, errors of builtins are errors,
//! and a run ends in time: the engine looks at the clock at every step, and a watchdog gives up on a run that is stuck
//! inside one step.
//!
//! Known differences to OPA, each an error and never a pass: a variable is used before the `:=` or `=` that binds it;
//! two patterns are unified with variables on both sides; `result` is put together member by member; documents of
//! `data` other than the policy's own package do not exist. An error of a builtin ends the evaluation, where OPA by
//! default goes on.

mod boilerplate;
mod builtins;
mod compiled;
mod definitions;
mod error;
mod graph;
mod guard;
mod rewrite;
mod run;
mod safety;
#[cfg(test)]
mod tests;
mod verdict;
mod walk;

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::unstable::{Module, Parser};
use regorus::utils::limits::PolicyLengthConfig;
use regorus::{Engine, Source};

pub use compiled::Compiled;
pub use error::RegoError;
pub use run::Limits;
pub use verdict::{Verdict, Violation};

use builtins::Calls;
use graph::Graph;

/// The largest script, as the engine has it by default.
const MAX_BYTES: usize = 1024 * 1024;
/// Rewriting makes lines longer than the author wrote them.
const MAX_COLUMNS: u32 = 8 * 1024;
/// The most lines of a script.
const MAX_LINES: usize = 20_000;

/// A script, checked, completed and ready to run.
#[derive(Clone)]
pub struct Script {
    engine: Engine,
    entry_point: String,
    calls: std::sync::Arc<Calls>,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("entry_point", &self.entry_point).field("calls", &self.calls).finish()
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`RegoError`] when it is not Rego v1, calls what it must not or what is not there.
    pub fn compile(text: &str) -> Result<Script, RegoError> {
        if text.len() > MAX_BYTES {
            return Err(RegoError::Engine(format!("the script is larger than {MAX_BYTES} bytes")));
        }
        let module = parse(text)?;
        let package = walk::path(&module.package.refr)
            .map(|path| format!("data.{path}"))
            .ok_or_else(|| RegoError::Engine("the package has a name that is not plain".to_owned()))?;
        let calls = builtins::check(&module, &package)?;
        let mut complete = rewrite::rewrite(text, &module, &boilerplate::NAMES);
        complete.push_str(&boilerplate::missing(&module));
        let completed = parse(&complete)?;
        definitions::check(&completed, &package)?;
        safety::check(&completed, &package)?;
        let graph = Graph::of(&completed, &package);
        graph.check()?;
        let warnings = boilerplate::objections(&module, &graph)?;

        let mut engine = Engine::new();
        engine.set_policy_length_config(lengths());
        engine.set_strict_builtin_errors(true);
        // Otherwise print would write to the standard error of the service.
        engine.set_gather_prints(true);
        builtins::bound(&mut engine)?;
        engine.add_policy("policy".to_owned(), complete).map_err(engine_error)?;
        let entry_point = format!("{package}.result");
        // Makes the engine look at every rule now, so that a mistake shows before there is evidence.
        engine.compile_with_entrypoint(&entry_point.as_str().into()).map_err(engine_error)?;
        Ok(Script { engine, entry_point, calls: std::sync::Arc::new(calls), warnings })
    }

    /// What is allowed but unlikely to be meant: rules that nothing uses, a policy that can never object.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn lengths() -> PolicyLengthConfig {
    PolicyLengthConfig {
        max_col: NonZeroU32::new(MAX_COLUMNS).expect("not zero"),
        // The completed script may be a little larger than the one that was let through.
        max_file_bytes: NonZeroUsize::new(2 * MAX_BYTES).expect("not zero"),
        max_lines: NonZeroUsize::new(MAX_LINES).expect("not zero"),
    }
}

fn parse(text: &str) -> Result<Module, RegoError> {
    let limits = lengths();
    let source = Source::from_contents_with_limits(
        "policy".to_owned(),
        text.to_owned(),
        limits.max_file_bytes,
        limits.max_lines,
    )
    .map_err(engine_error)?;
    guard::check(&source)?;
    let parsed = Parser::new(&source).and_then(|mut parser| {
        parser.set_max_col(limits.max_col);
        parser.enable_rego_v1()?;
        parser.parse()
    });
    parsed.map_err(engine_error)
}

fn engine_error(error: impl std::fmt::Display) -> RegoError {
    RegoError::from_engine(&error.to_string())
}
