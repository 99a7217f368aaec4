//! Rego: a layer over the engine that closes its gaps, so that a script that cannot be evaluated results in an error or
//! a skip, never in a pass.
//!
//! A script is checked and completed once ([`Script::compile`]):
//!
//! - Every call is checked against the known functions, and forbidden ones are refused by name.
//! - Variables must be safe and definitions free of conflicts, as in OPA.
//! - Local variables may shadow outer names, and negations, memberships and patterns mean the same as in OPA.
//! - A policy that could never report a violation is refused.
//! - The conventional rules may be omitted.
//!
//! Then it is run any number of times ([`Script::run`]):
//!
//! - An undefined result is an error, and so are errors of builtins.
//! - A run ends within its time limit: the engine checks the clock regularly, and a watchdog abandons a run that is
//!   stuck inside one step.
//!
//! Known differences from OPA, each of which results in an error and never in a pass: a variable is used before the
//! `:=` or `=` that binds it; two patterns are unified with variables on both sides; `result` is defined member by
//! member; documents of `data` other than the policy's own package do not exist. An error of a builtin ends the
//! evaluation, whereas OPA continues by default.

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
mod membership;
mod negation;
mod own;
mod patterns;
mod rewrite;
mod run;
mod safety;
mod script;
#[cfg(test)]
mod tests;
mod text;
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
