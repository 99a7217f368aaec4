//! Which functions a policy may call.
//!
//! The engine notices only when it reaches a call that a function does not exist, and returns "undefined" for some
//! functions that it merely declares: `not http.send(…)` would pass silently. So every call is checked before anything
//! runs.

use regorus::unstable::{BUILTINS, Expr, Module, Span};

use super::error::RegoError;
use super::{own, walk};

/// Refused by name: they access more than the evidence and the arguments, or reveal what the policy should not know.
/// The first one is available if the caller makes its calls.
const FORBIDDEN: &[&str] = &[
    own::HTTP_SEND,
    "net.lookup_ip_addr",
    "opa.runtime",
    "rego.parse_module",
    "rego.metadata.chain",
    "rego.metadata.rule",
    "trace",
];

/// The result of checking the calls.
#[derive(Debug, PartialEq, Eq)]
pub enum Calls {
    /// Every call can be made.
    Known,
    /// The policy needs a function of Chainloop's servers; it must be skipped.
    NeedsChainloop(String),
}

/// How a builtin of OPA is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The engine implements it.
    Engine,
    /// longrun implements it: the engine lacks it, or returns other results than OPA.
    Own,
    /// It is refused by name, whatever its arguments.
    Forbidden,
    /// It does not exist; a call is refused, and the error names the function.
    Missing,
}

/// How a builtin is supported; it is identified by the name by which it is called or, for an operator, by its name in
/// OPA.
pub fn support(name: &str) -> Support {
    const OPERATORS: &[&str] = &[
        "and",
        "assign",
        "div",
        "eq",
        "equal",
        "gt",
        "gte",
        "lt",
        "lte",
        "minus",
        "mul",
        "neq",
        "or",
        "plus",
        "rem",
        "internal.member_2",
        "internal.member_3",
    ];
    if FORBIDDEN.contains(&name) {
        Support::Forbidden
    } else if own::arity(name).is_some() {
        Support::Own
    } else if OPERATORS.contains(&name) || name == "print" || name == "internal.print" || BUILTINS.contains_key(name) {
        Support::Engine
    } else {
        Support::Missing
    }
}

/// The number of arguments of a builtin, longrun's or the engine's.
pub fn arity(name: &str) -> Option<usize> {
    own::arity(name).or_else(|| BUILTINS.get(name).map(|(_, arity)| usize::from(*arity)))
}

/// Checks every call of a module; `makes_calls` says whether the caller makes the calls of [`own::HTTP_SEND`].
pub fn check(module: &Module, package: &str, makes_calls: bool) -> Result<Calls, RegoError> {
    let functions = walk::functions(module, package);
    let mut outcome = Ok(Calls::Known);
    let mut check_call = |name: String, span: &Span, given: usize| {
        if outcome.is_err() {
            return;
        }
        let (line, column) = (span.line, span.col);
        let arity = functions.get(&name).copied().or_else(|| arity(&name));
        let is_forbidden = FORBIDDEN.contains(&name.as_str()) && !(makes_calls && name == own::HTTP_SEND);
        if !functions.contains_key(&name) && is_forbidden {
            outcome = Err(RegoError::Forbidden { name, line, column });
        } else if let Some(arity) = arity {
            // The output may be given as an additional argument.
            if given != arity && given != arity + 1 {
                let message = format!("{name} takes {arity} arguments, not {given}");
                outcome = Err(RegoError::Script { line, column, message });
            }
        } else if name.starts_with("chainloop.") {
            if outcome == Ok(Calls::Known) {
                outcome = Ok(Calls::NeedsChainloop(name));
            }
        } else if name != "print" {
            outcome = Err(RegoError::UnknownFunction { name, line, column });
        }
    };
    walk::each_expr(module, &mut |expr| {
        if let Expr::Call { fcn, params, .. } = expr {
            let name = walk::path(fcn).unwrap_or_else(|| fcn.span().text().to_owned());
            check_call(name, walk::start(fcn), params.len());
        }
    });
    outcome
}
