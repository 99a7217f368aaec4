//! Refuses rules and functions that depend on themselves, as OPA does: the engine would recurse until the stack ends.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module};

use super::{RegoError, walk};

/// Checks a module whose shadowing locals are renamed.
pub fn check(module: &Module, package: &str) -> Result<(), RegoError> {
    let mut depends: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut place: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for rule in &module.policy {
        let head = walk::head(rule);
        let key = static_path(head);
        place.entry(key.clone()).or_insert((rule.span().line, rule.span().col));
        let references = depends.entry(key).or_default();
        // The parts of a reference that is already counted as a whole, by address.
        let mut inner: BTreeSet<*const Expr> = parts(head);
        inner.insert(std::ptr::from_ref(head));
        walk::rule_exprs(rule, &mut |expr| {
            let counted = inner.contains(&std::ptr::from_ref(expr));
            if !counted && matches!(expr, Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }) {
                inner.extend(parts(expr));
                let path = static_path(expr);
                references.insert(in_package(&path, package));
            }
        });
    }
    let edges: BTreeMap<&str, Vec<&str>> = depends
        .iter()
        .map(|(rule, references)| {
            let targets = depends.keys().filter(|other| references.iter().any(|reference| touches(reference, other)));
            (rule.as_str(), targets.map(String::as_str).collect())
        })
        .collect();
    for start in edges.keys() {
        if reaches_itself(start, &edges) {
            let (line, column) = place[*start];
            let message = format!("{start} depends on itself: recursion is not allowed in Rego");
            return Err(RegoError::Script { line, column, message });
        }
    }
    Ok(())
}

/// The path within the package; empty when it takes in the whole package.
fn in_package(path: &str, package: &str) -> String {
    let below = |path: &str, of: &str| path.strip_prefix(of).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
    if path == package || below(package, path).is_some() {
        return String::new();
    }
    below(path, package).unwrap_or_else(|| path.to_owned())
}

/// Whether a reference can mean a rule: one path begins with the other.
fn touches(reference: &str, rule: &str) -> bool {
    let (mut reference, mut rule) = (reference.split('.'), rule.split('.'));
    loop {
        match (reference.next(), rule.next()) {
            (Some(""), _) | (None, _) | (_, None) => return true,
            (Some(a), Some(b)) if a != b => return false,
            _ => {}
        }
    }
}

fn reaches_itself(start: &str, edges: &BTreeMap<&str, Vec<&str>>) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = edges[start].clone();
    while let Some(rule) = open.pop() {
        if rule == start {
            return true;
        }
        if seen.insert(rule) {
            open.extend(edges[rule].iter().copied());
        }
    }
    false
}

/// The part of a reference that is known without evaluation.
fn static_path(expr: &Expr) -> String {
    match expr {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => {
            walk::path(expr).unwrap_or_else(|| static_path(refr))
        }
        _ => walk::path(expr).unwrap_or_default(),
    }
}

/// What a reference is made of, indexes apart.
fn parts(expr: &Expr) -> BTreeSet<*const Expr> {
    let mut parts = BTreeSet::new();
    let mut node = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = node {
        node = refr;
        parts.insert(std::ptr::from_ref(node));
    }
    parts
}
