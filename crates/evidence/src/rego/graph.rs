//! Which rules depend on which: refuses rules that depend on themselves, and finds rules that no other rule needs.
//!
//! OPA refuses recursion, too; the engine would recurse until the stack overflows. A rule that is never used is allowed
//! in Rego, but a `violation` that should have been `violations` makes everything pass.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module};

use super::error::RegoError;
use super::walk;

/// The maximum length of a chain of rules that depend on one another: the engine evaluates it recursively.
const MAX_CHAIN: usize = 200;

/// The rules of a module, by their paths within the package.
pub struct Graph {
    rules: BTreeMap<String, Node>,
}

struct Node {
    line: u32,
    column: u32,
    /// The paths that the rule refers to, within the package; empty for the package as a whole.
    references: BTreeSet<String>,
}

impl Graph {
    /// The graph of a module whose shadowing locals are renamed.
    pub fn of(module: &Module, package: &str) -> Graph {
        let mut rules: BTreeMap<String, Node> = BTreeMap::new();
        for rule in &module.policy {
            let head = walk::head(rule);
            let (line, column) = (rule.span().line, rule.span().col);
            let Some(path) = walk::static_path(head) else { continue };
            let node = rules.entry(path);
            let references = &mut node.or_insert(Node { line, column, references: BTreeSet::new() }).references;
            // The parts of references that are already counted as a whole, by address.
            let mut inner: BTreeSet<*const Expr> = parts(head);
            inner.insert(std::ptr::from_ref(head));
            walk::rule_exprs(rule, &mut |expr| {
                let counted = inner.contains(&std::ptr::from_ref(expr));
                if !counted && matches!(expr, Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }) {
                    inner.extend(parts(expr));
                    references.extend(walk::static_path(expr).map(|path| in_package(&path, package)));
                }
            });
        }
        Graph { rules }
    }

    /// Refuses rules that depend on themselves, and chains that are too long.
    pub fn check(&self) -> Result<(), RegoError> {
        let mut state: BTreeMap<&str, State> = BTreeMap::new();
        for start in self.rules.keys() {
            self.visit(start, &mut state)?;
        }
        Ok(())
    }

    /// Visits the dependencies of a rule, without recursion.
    fn visit<'g>(&'g self, start: &'g str, state: &mut BTreeMap<&'g str, State>) -> Result<(), RegoError> {
        if state.contains_key(start) {
            return Ok(());
        }
        // Each open rule, the dependencies that are still to be visited, and the longest chain below it so far.
        let mut open = vec![(start, self.targets(start), 0)];
        state.insert(start, State::Open);
        while let Some((rule, targets, below)) = open.last_mut() {
            let Some(target) = targets.pop() else {
                let length = *below + 1;
                if length > MAX_CHAIN {
                    let what = format!("{rule} needs a chain of more than {MAX_CHAIN} rules");
                    return Err(self.refused(rule, what));
                }
                state.insert(*rule, State::Done(length));
                open.pop();
                if let Some((_, _, below)) = open.last_mut() {
                    *below = length.max(*below);
                }
                continue;
            };
            match state.get(target) {
                Some(State::Done(length)) => *below = (*length).max(*below),
                Some(State::Open) => {
                    let what = format!("{target} depends on itself: recursion is not allowed in Rego");
                    return Err(self.refused(target, what));
                }
                None => {
                    state.insert(target, State::Open);
                    open.push((target, self.targets(target), 0));
                }
            }
        }
        Ok(())
    }

    fn refused(&self, rule: &str, message: String) -> RegoError {
        let Node { line, column, .. } = self.rules[rule];
        RegoError::Script { line, column, message }
    }

    /// The names of the rules that `result` does not need, directly or indirectly.
    pub fn unused(&self) -> BTreeSet<&str> {
        let mut used: BTreeSet<&str> =
            self.rules.keys().map(String::as_str).filter(|rule| name(rule) == "result").collect();
        let mut open: Vec<&str> = used.iter().copied().collect();
        while let Some(rule) = open.pop() {
            open.extend(self.targets(rule).into_iter().filter(|target| used.insert(target)));
        }
        let used: BTreeSet<&str> = used.into_iter().map(name).collect();
        self.rules.keys().map(|rule| name(rule)).filter(|name| !used.contains(name)).collect()
    }

    /// The rules that a rule refers to.
    fn targets<'g>(&'g self, rule: &str) -> Vec<&'g str> {
        let mut targets = BTreeSet::new();
        for reference in &self.rules[rule].references {
            if reference.is_empty() {
                return self.rules.keys().map(String::as_str).collect();
            }
            // The paths of rules with this name are adjacent.
            let first = name(reference);
            let same = self.rules.range(first.to_owned()..).map(|(rule, _)| rule.as_str());
            let same = same.take_while(|rule| rule.starts_with(first)).filter(|rule| name(rule) == first);
            targets.extend(same.filter(|rule| touches(reference, rule)));
        }
        targets.into_iter().collect()
    }
}

enum State {
    Open,
    Done(usize),
}

/// The first part of a path.
fn name(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// The path within the package; empty if it covers the whole package.
fn in_package(path: &str, package: &str) -> String {
    let below = |path: &str, of: &str| path.strip_prefix(of).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
    if path == package || below(package, path).is_some() {
        return String::new();
    }
    below(path, package).unwrap_or_else(|| path.to_owned())
}

/// Whether a reference may refer to a rule: one path is a prefix of the other.
fn touches(reference: &str, rule: &str) -> bool {
    reference.split('.').zip(rule.split('.')).all(|(a, b)| a == b)
}

/// The parts of a reference, without its indexes.
fn parts(expr: &Expr) -> BTreeSet<*const Expr> {
    let mut parts = BTreeSet::new();
    let mut node = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = node {
        node = refr;
        parts.insert(std::ptr::from_ref(node));
    }
    parts
}
