//! Rego: a layer over the engine that closes its gaps, so that a script that cannot be evaluated gives an error or a
//! skip, never a pass.
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
mod coverage;
mod definitions;
mod error;
mod graph;
mod guard;
mod heads;
mod imports;
mod own;
mod rewrite;
mod run;
mod safety;
mod script;
#[cfg(test)]
mod tests;
mod verdict;
mod walk;

pub use builtins::{Support, support};
pub use compiled::Compiled;
pub use coverage::{Coverage, Gap, ScriptCoverage};
pub use error::RegoError;
pub use own::{HttpAnswer, HttpCalls, HttpFailure, HttpRequest, HttpResponse};
pub use run::Limits;
pub use script::Script;
pub use verdict::{Verdict, Violation};
