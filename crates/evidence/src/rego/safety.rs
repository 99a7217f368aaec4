//! Refuses variables that are never bound, as OPA does (`rego_unsafe_var_error`).
//!
//! The engine detects some of them during evaluation, and only in the parts that it reaches. It treats others as
//! "undefined", so that a misspelled name, a cycle such as `a := b; b := a` or a `not input.xs[i]` makes everything
//! pass. Here a variable is *safe* once an expression that can be evaluated before binds it: `some … in`, `every`,
//! `:=`, `=`, an index, the output argument of a call. An expression is ready when all its variables are safe;
//! expressions that never become ready are refused. In a `not` nothing is bound, not even `_`. Where this check and the
//! engine could differ on the order of evaluation, the engine decides.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead, Span};

use super::error::RegoError;
use super::{builtins, walk};

/// The maximum number of expressions that are examined: nested comprehensions that depend on one another are examined
/// repeatedly.
const MAX_STEPS: u32 = 2_000_000;

/// The maximum number of statements in a body: the engine sorts them in quadratic time.
pub const MAX_STATEMENTS: usize = 2_500;

/// Checks a module that is complete, with its shadowing locals renamed.
pub fn check(module: &Module, package: &str) -> Result<(), RegoError> {
    let mut global: Names = module.policy.iter().filter_map(|rule| walk::rule_name(rule)).collect();
    global.extend(["input", "data", "_"]);
    global.extend(module.imports.iter().map(walk::import_name));
    let checker = Checker { arities: walk::functions(module, package), steps: Cell::new(0), crowded: Cell::new(false) };
    for rule in &module.policy {
        let mut missing = Vec::new();
        checker.rule(rule, &Scope { names: &global, hidden: None, outer: None }, &mut missing);
        if checker.is_tired() {
            let message = "the script is too complex: its comprehensions nest and depend on one another too much";
            return Err(RegoError::at(rule.span(), message.to_owned()));
        }
        if checker.crowded.get() {
            return Err(RegoError::at(rule.span(), format!("a body has more than {MAX_STATEMENTS} statements")));
        }
        if let Some(span) = missing.into_iter().min_by_key(|span| span.start) {
            return Err(RegoError::at(span, explanation(span.text())));
        }
    }
    Ok(())
}

fn explanation(name: &str) -> String {
    if name == "_" {
        return "the variable _ is unsafe here: `not` binds no variables; move the condition to a rule of its own and negate the rule"
            .to_owned();
    }
    format!("the variable {name} is unsafe: no expression that can be evaluated before gives it a value")
}

type Names<'m> = BTreeSet<&'m str>;
/// The positions of variables that are not safe.
type Missing<'m> = Vec<&'m Span>;

/// The names that are safe in a scope: those bound there, and the outer ones that are not declared again.
struct Scope<'s, 'm> {
    names: &'s Names<'m>,
    hidden: Option<&'s Names<'m>>,
    outer: Option<&'s Scope<'s, 'm>>,
}

impl<'s, 'm> Scope<'s, 'm> {
    fn with(&'s self, names: &'s Names<'m>) -> Scope<'s, 'm> {
        Scope { names, hidden: None, outer: Some(self) }
    }

    fn contains(&self, name: &str) -> bool {
        let mut scope = Some(self);
        while let Some(Scope { names, hidden, outer }) = scope {
            if names.contains(name) {
                return true;
            }
            if hidden.is_some_and(|hidden| hidden.contains(name)) {
                return false;
            }
            scope = *outer;
        }
        false
    }
}

struct Checker {
    /// The number of arguments of each function of the module.
    arities: BTreeMap<String, usize>,
    steps: Cell<u32>,
    /// Whether a body has too many statements.
    crowded: Cell<bool>,
}

impl Checker {
    fn rule<'m>(&self, rule: &'m Rule, global: &Scope<'_, 'm>, missing: &mut Missing<'m>) {
        let mut args = Names::new();
        let (head, bodies) = match rule {
            Rule::Spec { head, bodies, .. } => (head, bodies),
            Rule::Default { args: patterns, value, .. } => {
                patterns.iter().for_each(|arg| pattern(arg, &mut args));
                return self.needs(value, &global.with(&args), missing);
            }
        };
        if let RuleHead::Func { args: patterns, .. } = head {
            patterns.iter().for_each(|arg| pattern(arg, &mut args));
        }
        let outside = global.with(&args);
        let mut is_bodiless = true;
        for body in bodies {
            let mut names = self.query(&body.query, &outside, missing);
            if let Some(assign) = &body.assign {
                self.term(&assign.value, &mut names, &outside, missing);
            }
            // An `else` has a head of its own.
            if !body.is_else {
                is_bodiless = false;
                self.head(head, names, &outside, missing);
            }
        }
        if is_bodiless {
            self.head(head, Names::new(), &outside, missing);
        }
    }

    fn head<'m>(&self, head: &'m RuleHead, mut names: Names<'m>, outer: &Scope<'_, 'm>, missing: &mut Missing<'m>) {
        let (refr, value) = match head {
            RuleHead::Compr { refr, assign, .. } => (Some(refr), assign.as_ref().map(|assign| &assign.value)),
            RuleHead::Func { assign, .. } => (None, assign.as_ref().map(|assign| &assign.value)),
            RuleHead::Set { refr, key, .. } => (Some(refr), key.as_ref()),
        };
        // If the body is not safe, the head is not either.
        if !missing.is_empty() {
            return;
        }
        value.into_iter().for_each(|value| self.term(value, &mut names, outer, missing));
        refr.into_iter().for_each(|refr| self.needs(refr, &outer.with(&names), missing));
    }

    /// Checks a query and returns the names that it binds.
    fn query<'m>(&self, node: &'m Query, outer: &Scope<'_, 'm>, missing: &mut Missing<'m>) -> Names<'m> {
        if node.stmts.len() > MAX_STATEMENTS {
            self.crowded.set(true);
            return Names::new();
        }
        let mut declared = Names::new();
        for statement in &node.stmts {
            if let Literal::SomeVars { vars, .. } = &statement.literal {
                declared.extend(vars.iter().map(|span| span.text()));
            }
        }
        let mut safe = Names::from(["_"]);
        // The statements that wait for a name. Each is tried again once for each of its names, so that every order is
        // efficient.
        let mut waiting: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut lacking: Vec<Missing<'m>> = vec![Vec::new(); node.stmts.len()];
        let mut done = vec![false; node.stmts.len()];
        let mut ready: VecDeque<usize> = (0..node.stmts.len()).collect();
        while let Some(index) = ready.pop_front() {
            if done[index] {
                continue;
            }
            let mut bound = Names::new();
            let mut lacks = Vec::new();
            let scope = Scope { names: &safe, hidden: Some(&declared), outer: Some(outer) };
            self.statement(&node.stmts[index], &scope, &mut bound, &mut lacks);
            if lacks.is_empty() {
                done[index] = true;
                let fresh = bound.into_iter().filter(|name| safe.insert(name));
                ready.extend(fresh.filter_map(|name| waiting.remove(name)).flatten());
            } else {
                lacks.iter().for_each(|span| waiting.entry(span.text()).or_default().push(index));
            }
            lacking[index] = lacks;
        }
        missing.extend(lacking.into_iter().flatten());
        safe
    }

    /// What a statement binds, and which variables it lacks.
    fn statement<'m>(
        &self,
        statement: &'m LiteralStmt,
        scope: &Scope<'_, 'm>,
        bound: &mut Names<'m>,
        lacks: &mut Missing<'m>,
    ) {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                self.term(collection, bound, scope, lacks);
                key.iter().chain([value]).for_each(|part| pattern(part, bound));
                key.iter().chain([value]).for_each(|part| self.needs(part, &scope.with(bound), lacks));
            }
            Literal::Expr { expr, .. } => self.term(expr, bound, scope, lacks),
            Literal::NotExpr { expr, .. } => {
                let (names, hidden) = (Names::new(), Names::from(["_"]));
                self.needs(expr, &Scope { names: &names, hidden: Some(&hidden), outer: Some(scope) }, lacks);
            }
            Literal::Every { key, value, domain, query, .. } => {
                self.term(domain, bound, scope, lacks);
                let items = key.iter().chain([value]).map(|span| span.text()).collect();
                self.query(query, &scope.with(bound).with(&items), lacks);
            }
        }
        for modifier in &statement.with_mods {
            self.needs(&modifier.r#as, &scope.with(bound), lacks);
        }
    }

    /// A term whose references may bind: adds what it binds, then the variables that it lacks.
    fn term<'m>(&self, node: &'m Ref<Expr>, bound: &mut Names<'m>, scope: &Scope<'_, 'm>, missing: &mut Missing<'m>) {
        // What one part binds may be what another part needs, as in `[a, b] = [b, 1]`.
        loop {
            let before = bound.len();
            self.bind(node, scope, bound);
            if bound.len() == before {
                break;
            }
        }
        self.needs(node, &scope.with(bound), missing);
    }

    /// Adds what evaluating an expression binds, without inner queries.
    fn bind<'m>(&self, node: &'m Ref<Expr>, scope: &Scope<'_, 'm>, bound: &mut Names<'m>) {
        if self.is_tired() {
            return;
        }
        if walk::query_of(node).is_none() {
            walk::children(node).into_iter().for_each(|child| self.bind(child, scope, bound));
        }
        match node.as_ref() {
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } if self.is_ready(rhs, &scope.with(bound)) => {
                pattern(lhs, bound);
            }
            Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => self.unify(lhs, rhs, scope, bound),
            Expr::RefBrack { refr, index, .. } if self.is_ready(refr, &scope.with(bound)) => pattern(index, bound),
            Expr::Call { fcn, params, .. } => {
                let has_output = self.arity(fcn).is_some_and(|arity| params.len() == arity + 1);
                if let Some((last, inputs)) = params.split_last().filter(|_| has_output)
                    && inputs.iter().all(|input| self.is_ready(input, &scope.with(bound)))
                {
                    pattern(last, bound);
                }
            }
            _ => {}
        }
    }

    fn unify<'m>(&self, lhs: &'m Ref<Expr>, rhs: &'m Ref<Expr>, scope: &Scope<'_, 'm>, bound: &mut Names<'m>) {
        match (lhs.as_ref(), rhs.as_ref()) {
            (Expr::Array { items: left, .. }, Expr::Array { items: right, .. }) if left.len() == right.len() => {
                left.iter().zip(right).for_each(|(left, right)| self.unify(left, right, scope, bound));
            }
            (Expr::Object { fields: left, .. }, Expr::Object { fields: right, .. }) => {
                let right: BTreeMap<&str, &Ref<Expr>> =
                    right.iter().map(|(_, key, value)| (key.span().text(), value)).collect();
                for (_, key, left) in left {
                    if let Some(right) = right.get(key.span().text()) {
                        self.unify(left, right, scope, bound);
                    }
                }
            }
            _ if self.is_ready(rhs, &scope.with(bound)) => pattern(lhs, bound),
            _ if self.is_ready(lhs, &scope.with(bound)) => pattern(rhs, bound),
            _ => {}
        }
    }

    fn is_ready<'m>(&self, node: &'m Ref<Expr>, scope: &Scope<'_, 'm>) -> bool {
        let mut missing = Vec::new();
        self.needs(node, scope, &mut missing);
        missing.is_empty()
    }

    /// Adds the variables of an expression that are not safe.
    fn needs<'m>(&self, node: &'m Ref<Expr>, scope: &Scope<'_, 'm>, missing: &mut Missing<'m>) {
        if self.is_tired() {
            return;
        }
        self.steps.set(self.steps.get() + 1);
        match node.as_ref() {
            Expr::Var { span, .. } if !scope.contains(span.text()) => missing.push(span),
            // The value that it is bound to is at fault, not the variable itself.
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => {
                let before = missing.len();
                self.needs(rhs, scope, missing);
                if missing.len() == before {
                    self.needs(lhs, scope, missing);
                }
            }
            // Function names are checked as calls.
            Expr::Call { params, .. } => params.iter().for_each(|param| self.needs(param, scope, missing)),
            other => match walk::query_of(other) {
                Some(inner) => {
                    let before = missing.len();
                    let mut names = self.query(inner, scope, missing);
                    if missing.len() == before {
                        walk::children(other)
                            .into_iter()
                            .for_each(|child| self.term(child, &mut names, scope, missing));
                    }
                }
                None => walk::children(other).into_iter().for_each(|child| self.needs(child, scope, missing)),
            },
        }
    }

    /// The number of arguments of a function; unknown functions are reported elsewhere.
    fn arity(&self, function: &Expr) -> Option<usize> {
        let name = walk::path(function)?;
        self.arities.get(&name).copied().or_else(|| builtins::arity(&name))
    }

    fn is_tired(&self) -> bool {
        self.steps.get() >= MAX_STEPS
    }
}

/// Adds the variables that a pattern binds: those that occur in it directly, alone or in lists and objects.
fn pattern<'m>(node: &'m Ref<Expr>, names: &mut Names<'m>) {
    match node.as_ref() {
        Expr::Var { span, .. } => _ = names.insert(span.text()),
        Expr::Array { items, .. } => items.iter().for_each(|item| pattern(item, names)),
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| pattern(value, names)),
        _ => {}
    }
}
