//! Rewrites negations, so that a negation of something undefined means the same as in OPA. Line numbers stay the same.
//!
//! OPA evaluates the operands of a negated expression before the negation: if `x.p` is undefined,
//! `not startswith(x.p, "a")` is undefined, too. In the engine it is true. So the operands become statements of their
//! own: `longrun_operand_0 := x.p; not startswith(longrun_operand_0, "a")`.
//!
//! What is negated itself is no operand (`not x.p` is true if `x.p` is undefined), and neither is what is compared with
//! `==` or `=` (`not x.p == 1` is true, too); but an index in it is one, and so is a call (`not x[y.p]`,
//! `not lower(x.p) == "a"`). All variables of an operand are bound outside of the negation: everything else was refused
//! before.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{BoolOp, Expr, Literal, LiteralStmt, Module, Query, Rule, WithModifier};

use super::error::RegoError;
use super::safety::MAX_STATEMENTS;
use super::text::{Edits, flat, fresh, place};
use super::{builtins, walk};

/// The rewritten source of a module whose variables are safe, with its shadowing locals renamed.
///
/// # Errors
/// [`RegoError`] when a body would have too many statements.
pub fn rewrite(source: &str, module: &Module, package: &str) -> Result<String, RegoError> {
    // Later ones first, so that a negation within another one is rewritten before it.
    let mut negations: Vec<Negation> = module.policy.iter().flat_map(|rule| negations(rule)).collect();
    if negations.is_empty() {
        return Ok(source.to_owned());
    }
    negations.sort_by_key(|negation| std::cmp::Reverse(negation.statement.span.start));
    let documents = module.policy.iter().filter_map(|rule| walk::rule_name(rule));
    let mut rewriter = Rewriter {
        edits: Edits::new(source, module),
        prefix: fresh(source, "longrun_operand"),
        documents: documents.chain(module.imports.iter().map(walk::import_name)).collect(),
        functions: walk::functions(module, package).into_keys().collect(),
        count: 0,
    };
    let mut statements: BTreeMap<u32, usize> = BTreeMap::new();
    for negation in &negations {
        let before = rewriter.count;
        rewriter.rewrite(negation);
        let query = &negation.query;
        let count = statements.entry(query.span.start).or_insert(query.stmts.len());
        *count += rewriter.count - before;
        if *count > MAX_STATEMENTS {
            let message =
                format!("a body has more than {MAX_STATEMENTS} statements, with the operands of its negations");
            return Err(RegoError::at(&query.span, message));
        }
    }
    Ok(rewriter.edits.finish())
}

struct Negation<'m> {
    query: &'m Query,
    statement: &'m LiteralStmt,
    /// The end of what is negated.
    end: u32,
    expr: &'m Expr,
    /// Whether it is all of a body without braces.
    is_bare: bool,
}

/// The negations of a rule, wherever they stand.
fn negations(rule: &Rule) -> Vec<Negation<'_>> {
    let mut found = Vec::new();
    for (query, is_body) in walk::queries(rule) {
        for statement in &query.stmts {
            if let Literal::NotExpr { span, expr } = &statement.literal {
                let is_bare = is_body && walk::is_bare(query);
                found.push(Negation { query, statement, end: span.end, expr, is_bare });
            }
        }
    }
    found
}

/// What is evaluated before a negated expression, in the order of the source.
fn operands(negated: &Expr) -> Vec<&Expr> {
    match negated {
        Expr::Call { params, .. } => params.iter().map(AsRef::as_ref).collect(),
        Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } | Expr::AssignExpr { lhs, rhs, .. } => {
            [operands_of_term(lhs), operands_of_term(rhs)].concat()
        }
        Expr::BoolExpr { .. }
        | Expr::ArithExpr { .. }
        | Expr::BinExpr { .. }
        | Expr::UnaryExpr { .. }
        | Expr::Membership { .. } => walk::children(negated).into_iter().map(AsRef::as_ref).collect(),
        term => operands_of_term(term),
    }
}

/// What is evaluated before a term that may be undefined itself.
fn operands_of_term(term: &Expr) -> Vec<&Expr> {
    let (mut node, mut found) = (term, Vec::new());
    loop {
        match node {
            Expr::RefDot { refr, .. } => node = refr,
            Expr::RefBrack { refr, index, .. } => {
                found.push(index.as_ref());
                node = refr;
            }
            Expr::Var { .. } => break,
            other => {
                found.push(other);
                break;
            }
        }
    }
    found.reverse();
    found
}

struct Rewriter<'s> {
    edits: Edits<'s>,
    /// How the names of added variables begin.
    prefix: String,
    /// The names of rules and imports.
    documents: BTreeSet<&'s str>,
    functions: BTreeSet<String>,
    /// The number of added variables.
    count: usize,
}

impl Rewriter<'_> {
    fn rewrite(&mut self, negation: &Negation) {
        let Negation { statement, expr, .. } = negation;
        let operands: Vec<&Expr> = operands(expr).into_iter().filter(|operand| !self.is_plain(operand)).collect();
        let values: Vec<&Expr> = statement.with_mods.iter().filter_map(|modifier| self.value(modifier)).collect();
        if !operands.iter().chain(&values).any(|operand| self.may_be_undefined(operand)) {
            return;
        }
        let (start, middle) = (place(statement.span.start), self.edits.source.end(negation.end));
        let end = self.edits.source.end(statement.span.end).max(middle);
        let mut text = String::new();
        values.into_iter().for_each(|value| self.bind(value, start, "", &mut text));
        let modifiers = flat(&self.edits.rewritten(middle, end));
        operands.into_iter().for_each(|operand| self.bind(operand, start, &modifiers, &mut text));
        // Nothing is bound, but the engine could take `=` for that.
        if let Expr::AssignExpr { lhs, rhs, .. } = expr {
            let (from, until) = (self.edits.extent(lhs).1, self.edits.extent(rhs).0);
            if let Some(at) = self.edits.source.find('=', from, until) {
                self.edits.replace((at, at + 1), "==".to_owned());
            }
        }
        text.push_str(format!("{} {modifiers}", flat(&self.edits.rewritten(start, middle))).trim_end());
        text.push_str(&self.edits.lines((start, end), &text));
        if negation.is_bare {
            text = format!("{{ {text} }}");
        }
        self.edits.replace((start, end), text);
    }

    /// Adds a statement that binds a variable to an operand, and puts the variable in its place.
    fn bind(&mut self, operand: &Expr, start: usize, modifiers: &str, text: &mut String) {
        let extent = self.edits.extent(operand);
        let name = format!("{}_{}", self.prefix, self.count);
        self.count += 1;
        // The operand stays on its line.
        let lines = self.edits.lines((start, extent.0), text);
        let value = self.edits.rewritten(extent.0, extent.1);
        text.push_str(format!("{name} := {lines}{value} {modifiers}").trim_end());
        text.push_str("; ");
        self.edits.replace(extent, name);
    }

    /// The value of a modifier, if it is to be evaluated before: a function may stand for another one.
    fn value<'m>(&self, modifier: &'m WithModifier) -> Option<&'m Expr> {
        let is_function = walk::path(&modifier.r#as)
            .is_some_and(|path| self.functions.contains(&path) || builtins::arity(&path).is_some());
        Some(modifier.r#as.as_ref()).filter(|value| !is_function && !self.is_plain(value))
    }

    /// Whether an operand can stay where it is.
    fn is_plain(&self, operand: &Expr) -> bool {
        match operand {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => true,
            Expr::Var { span, .. } => !self.documents.contains(span.text()),
            Expr::Set { items, .. } => items.is_empty(),
            _ => false,
        }
    }

    fn may_be_undefined(&self, operand: &Expr) -> bool {
        walk::may_be_undefined(operand, &|variable| self.documents.contains(variable))
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::parse;
    use super::rewrite;

    #[test]
    fn operands_come_before_their_negation() {
        for (rule, expected) in [
            ("v if not x.p", "v if not x.p"),
            ("v if not x.p == 1", "v if not x.p == 1"),
            ("v if not x in {1, \"a\"}", "v if not x in {1, \"a\"}"),
            ("v if not f(x, 1)", "v if not f(x, 1)"),
            ("v if not f(x.p, \"a\")", "v if { longrun_operand_0 := x.p; not f(longrun_operand_0, \"a\") }"),
            ("v if not (r.p) = f(x)", "v if { longrun_operand_0 := f(x); not (r.p) == longrun_operand_0 }"),
            ("v if { not f(r) }", "v if { longrun_operand_0 := r; not f(longrun_operand_0) }"),
            (
                "v if { not {\"a\": x.p, \"b\": 1} == (x.p + 1) * 2; y }",
                "v if { longrun_operand_0 := {\"a\": x.p, \"b\": 1}; longrun_operand_1 := (x.p + 1) * 2; \
                 not longrun_operand_0 == longrun_operand_1; y }",
            ),
            (
                "v if not x[y.p].q with input as z.p",
                "v if { longrun_operand_0 := z.p; longrun_operand_1 := y.p with input as longrun_operand_0; \
                 not x[longrun_operand_1].q with input as longrun_operand_0 }",
            ),
            (
                "v if {\n  not f( # a comment\n    \"a\",\n    count([1 |\n      not y.p > 1\n      y.q\n    ]),\n  )\n  z\n}",
                "v if {\n  longrun_operand_1 := \n\ncount([1 |\n      longrun_operand_0 := y.p; not longrun_operand_0 > 1\n      \
                 y.q\n    ]); not f(      \"a\",     longrun_operand_1,   )\n\n  z\n}",
            ),
        ] {
            let source = format!("package p\nimport rego.v1\nr := 1\n{rule}\n");
            let module = parse(&source).unwrap_or_else(|error| panic!("{rule}: {error}"));
            let rewritten = rewrite(&source, &module, "data.p").unwrap_or_else(|error| panic!("{rule}: {error}"));
            assert_eq!(rewritten.trim_end().splitn(4, '\n').nth(3), Some(expected));
            assert_eq!(rewritten.lines().count(), source.lines().count(), "{rewritten}");
            parse(&rewritten).unwrap_or_else(|error| panic!("{rewritten}: {error}"));
        }
    }
}
