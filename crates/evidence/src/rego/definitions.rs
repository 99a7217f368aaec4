//! Refuses conflicting definitions that OPA refuses, where the engine accepts one of them and ignores the other; and
//! references to documents that do not exist.
//!
//! A rule is one of: a value, an object, a set, a function with a given number of arguments; a second `default` or
//! another form under the same path is a conflict. `data` contains the policy's own package and nothing else: a
//! reference to anything else would always be undefined.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regorus::unstable::{Expr, Module, Rule, RuleHead};

use super::error::RegoError;
use super::walk;

/// Checks a module that is complete, with its shadowing locals renamed.
pub fn check(module: &Module, package: &str) -> Result<(), RegoError> {
    forms(module)?;
    let names: BTreeSet<&str> = module.policy.iter().filter_map(|rule| walk::rule_name(rule)).collect();
    let exists = |path: &str| {
        // References to the whole package, or to a parent of it, are handled by the recursion check.
        let whole = package == path || package.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        let inside = path.strip_prefix(package).and_then(|rest| rest.strip_prefix('.'));
        whole || inside.is_some_and(|rest| rest.split('.').next().is_some_and(|name| names.contains(name)))
    };
    let mut outcome = Ok(());
    let mut look = |expr: &Expr| {
        let Some(path) = walk::static_path(expr).filter(|path| path.starts_with("data.")) else { return };
        if outcome.is_ok() && !exists(&path) {
            let message = format!("there is no {path}: a policy sees only its own package in data");
            outcome = Err(RegoError::at(walk::start(expr), message));
        }
    };
    // An import that is never used need not exist.
    let mut used = BTreeSet::new();
    walk::each_expr(module, &mut |expr| {
        if let Expr::Var { span, .. } = expr {
            used.insert(span.text());
        }
    });
    module
        .imports
        .iter()
        .filter(|import| used.contains(walk::import_name(import)))
        .for_each(|import| look(&import.refr));
    walk::each_expr(module, &mut |expr| {
        if matches!(expr, Expr::RefDot { .. } | Expr::RefBrack { .. }) {
            look(expr);
        }
    });
    outcome
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Value,
    Object,
    Set,
    Function(usize),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Value => f.write_str("a value"),
            Form::Object => f.write_str("an object"),
            Form::Set => f.write_str("a set"),
            Form::Function(arity) => write!(f, "a function of {arity} arguments"),
        }
    }
}

fn forms(module: &Module) -> Result<(), RegoError> {
    let mut forms: BTreeMap<String, Form> = BTreeMap::new();
    let mut defaults = BTreeSet::new();
    for rule in &module.policy {
        let head = walk::head(rule);
        let Some(path) = walk::static_path(head) else { continue };
        let form = match rule.as_ref() {
            Rule::Default { args, .. } if args.is_empty() => Form::Value,
            Rule::Default { args, .. } => Form::Function(args.len()),
            Rule::Spec { head: RuleHead::Func { args, .. }, .. } => Form::Function(args.len()),
            Rule::Spec { head: RuleHead::Set { .. }, .. } => Form::Set,
            Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } if walk::path(refr).is_none() => Form::Object,
            Rule::Spec { .. } => Form::Value,
        };
        if matches!(rule.as_ref(), Rule::Default { .. }) && !defaults.insert(path.clone()) {
            return Err(RegoError::at(rule.span(), format!("{path} has a second default")));
        }
        let first = *forms.entry(path.clone()).or_insert(form);
        if first != form {
            return Err(RegoError::at(rule.span(), format!("{path} is {form} here and {first} elsewhere")));
        }
    }
    Ok(())
}
