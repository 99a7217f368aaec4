//! Rewrites the heads of rules, so that undefined values are skipped, as in OPA. Line numbers stay the same.
//!
//! When the value of a head, or an index in its path, is undefined for a solution of the body, the engine discards what
//! the rule has collected before, and does not always try the `else`. So the value is evaluated in the body, too:
//! `contains x.p if some x in xs` becomes `contains x.p if { some x in xs; v := x.p }`. A head with several values,
//! through a variable in brackets, must skip those that are undefined: `contains xs[_].p` becomes
//! `contains [v | v := xs[_].p][_] if { v := xs[_].p }`.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Ref, Rule, RuleAssign, RuleBody, RuleHead};

use super::text::{Edits, Text, flat, fresh, place};
use super::walk;

/// The rewritten source.
pub fn rewrite(source: &str, module: &Module) -> String {
    let (value, index) = (fresh(source, "longrun_value"), fresh(source, "longrun_index"));
    let mut edits = Edits::new(source, module);
    for (number, rule) in module.policy.iter().enumerate() {
        if let Rule::Spec { head, bodies, .. } = rule.as_ref() {
            let (value, index) = (format!("{value}_{number}"), format!("{index}_{number}"));
            Head { source: edits.source, value, index, bound: bound(head, bodies) }.rewrite(head, bodies, &mut edits);
        }
    }
    edits.finish()
}

/// The head of the current rule.
struct Head<'s> {
    source: Text<'s>,
    /// The name of the variable that is added for the value.
    value: String,
    /// How the names of those that are added for the indexes begin.
    index: String,
    /// The variables that every body binds.
    bound: BTreeSet<&'s str>,
}

impl<'s> Head<'s> {
    fn rewrite(&self, head: &'s RuleHead, bodies: &'s [RuleBody], edits: &mut Edits) {
        let indices = self.indices(head);
        let (end, value) = match head {
            RuleHead::Compr { span, assign, .. } | RuleHead::Func { span, assign, .. } => {
                (self.source.end(span.end), assign.as_ref().map(|assign| (&assign.value, self.assigned(assign))))
            }
            RuleHead::Set { span, refr, key } => {
                let (from, end) = (place(refr.span().end), self.source.end(span.end));
                let (Some(key), Some(contains)) = (key, self.source.0[from..end].find("contains")) else { return };
                (end, Some((key, (from + contains + "contains".len(), end))))
            }
        };
        if bodies.is_empty() {
            let is_partial = !indices.is_empty() || matches!(head, RuleHead::Set { .. });
            if let Some((value, at)) = value.filter(|(value, _)| is_partial && self.may_be_undefined(value)) {
                self.pass_over(value, at, edits);
                edits.append(end, &format!(" if {{ {} }}", self.asked(&indices, Some((value, at)))));
            }
            return;
        }
        for (number, body) in bodies.iter().enumerate() {
            let own = body.assign.as_ref().map(|assign| (&assign.value, self.assigned(assign)));
            // An additional body without a value of its own has the value of the head, unless it is an `else`.
            let value = if number == 0 || !body.is_else { value } else { own };
            if let Some((value, at)) = if number == 0 { value } else { own } {
                self.pass_over(value, at, edits);
            }
            let asked = value.filter(|(value, _)| self.may_be_undefined(value));
            if asked.is_some() || !indices.is_empty() {
                self.ask(body, &self.asked(&indices, asked), edits);
            }
        }
    }

    /// Makes a value that has several results, through a variable in its brackets, skip the undefined ones.
    fn pass_over(&self, value: &Expr, (from, to): (usize, usize), edits: &mut Edits) {
        if comes_again(value) {
            let name = &self.value;
            edits.append(from, &format!(" [{name} | {name} :="));
            edits.prepend(to, "][_]");
        }
    }

    /// Makes a body hold only if the given condition holds, too.
    fn ask(&self, body: &RuleBody, asked: &str, edits: &mut Edits) {
        let (Some(first), Some(last)) = (body.query.stmts.first(), body.query.stmts.last()) else { return };
        let mut text = format!("; {asked}");
        // A body with one statement may have no braces.
        if walk::is_bare(&body.query) {
            edits.append(self.source.begin(first.span.start), "{ ");
            text.push_str(" }");
        }
        edits.prepend(self.source.end(last.span.end), &text);
    }

    /// Statements that hold if the indexes and the value are defined.
    fn asked(&self, indices: &[String], value: Option<(&Ref<Expr>, (usize, usize))>) -> String {
        let index = |(number, index): (usize, &String)| format!("{}_{number} := {index}", self.index);
        let value = value
            .map(|(value, (from, to))| format!("{} := {}", self.value, flat(&self.source.separated(value, from, to))));
        indices.iter().enumerate().map(index).chain(value).collect::<Vec<_>>().join("; ")
    }

    /// The indexes in the path of a head that may be undefined, each on one line.
    fn indices(&self, head: &RuleHead) -> Vec<String> {
        let (RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. }) = head;
        let (mut node, mut found) = (refr, Vec::new());
        loop {
            match node.as_ref() {
                Expr::RefDot { refr, .. } => node = refr,
                Expr::RefBrack { span, refr, index, .. } => {
                    if self.may_be_undefined(index) {
                        // From its bracket to the text before the next one.
                        let (from, to) = (place(refr.span().end), self.source.end(span.end));
                        let text = self.source.separated(index, from, to);
                        found.extend(text.trim_start().strip_prefix('[').map(flat));
                    }
                    node = refr;
                }
                _ => return found,
            }
        }
    }

    /// The position of the value of an assignment.
    fn assigned(&self, assign: &RuleAssign) -> (usize, usize) {
        let operator = if assign.op == AssignOp::ColEq { ":=" } else { "=" };
        (place(assign.span.start) + operator.len(), self.source.end(assign.span.end))
    }

    fn may_be_undefined(&self, value: &Expr) -> bool {
        walk::may_be_undefined(value, &|variable| !self.bound.contains(variable))
    }
}

/// Whether an expression may have several values, through a variable in brackets.
fn comes_again(value: &Expr) -> bool {
    let here = matches!(value, Expr::RefBrack { index, .. } if !matches!(index.as_ref(), Expr::String { .. } | Expr::Number { .. }));
    here || walk::children(value).into_iter().any(|child| comes_again(child))
}

/// The variables that are bound wherever a body holds: a function's arguments, and what every body binds.
fn bound<'m>(head: &'m RuleHead, bodies: &'m [RuleBody]) -> BTreeSet<&'m str> {
    let mut found: Option<BTreeSet<&str>> = None;
    for body in bodies {
        let inside = bound_in(&body.query);
        found = Some(found.map_or_else(|| inside.clone(), |found| found.intersection(&inside).copied().collect()));
    }
    let mut found = found.unwrap_or_default();
    if let RuleHead::Func { args, .. } = head {
        args.iter().for_each(|arg| names(arg, &mut found));
    }
    found
}

fn bound_in(query: &Query) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => found.extend(vars.iter().map(|span| span.text())),
            Literal::SomeIn { key, value, .. } => key.iter().chain([value]).for_each(|part| names(part, &mut found)),
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() {
                    names(lhs, &mut found);
                }
            }
            Literal::Every { .. } | Literal::NotExpr { .. } => {}
        }
    }
    found
}

/// The variables of a pattern.
fn names<'m>(pattern: &'m Expr, found: &mut BTreeSet<&'m str>) {
    match pattern {
        Expr::Var { span, .. } => {
            found.insert(span.text());
        }
        Expr::Array { items, .. } => items.iter().for_each(|item| names(item, found)),
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| names(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::parse;
    use super::rewrite;

    #[test]
    fn bodies_ask_for_what_may_be_undefined() {
        for (rule, expected) in [
            ("v contains x if some x in xs", "v contains x if some x in xs"),
            ("v contains \"x\" if some x in xs", "v contains \"x\" if some x in xs"),
            ("v contains x.p if some x in xs", "v contains x.p if { some x in xs; longrun_value_0 := x.p }"),
            (
                "v contains {\n  \"p\": x.p, # a comment\n} if {\n  some x in xs\n  \"a\" in x\n  x.n == \"b\" # another\n}",
                "v contains {\n  \"p\": x.p, # a comment\n} if {\n  some x in xs\n  \"a\" in x\n  \
                 x.n == \"b\"; longrun_value_0 := {   \"p\": x.p,  } # another\n}",
            ),
            (
                "v contains count([x |\n  some x in xs # a comment\n  x.p; x.q\n])",
                "v contains count([x |\n  some x in xs # a comment\n  x.p; x.q\n]) \
                 if { longrun_value_0 := count([x |   some x in xs;    x.p; x.q ]) }",
            ),
            ("v[x.p] if some x in xs", "v[x.p] if { some x in xs; longrun_index_0_0 := x.p }"),
            ("v[x[\"p\"]] := 1 if some x in xs", "v[x[\"p\"]] := 1 if { some x in xs; longrun_index_0_0 := x[\"p\"] }"),
            (
                "f(x) := x.p if \"a\" == x.n else := x.n == \"b\" if { x.q } else := `c`",
                "f(x) := x.p if { \"a\" == x.n; longrun_value_0 := x.p } else := x.n == \"b\" \
                 if { x.q; longrun_value_0 := x.n == \"b\" } else := `c`",
            ),
            (
                "v contains xs[_].p",
                "v contains [longrun_value_0 | longrun_value_0 := xs[_].p][_] if { longrun_value_0 := xs[_].p }",
            ),
        ] {
            let source = format!("package p\nimport rego.v1\n{rule}\n");
            let rewritten = rewrite(&source, &parse(&source).unwrap_or_else(|error| panic!("{rule}: {error}")));
            let rule = rewritten.trim_end().splitn(3, '\n').nth(2);
            assert_eq!(rule, Some(expected));
            parse(&rewritten).unwrap_or_else(|error| panic!("{rewritten}: {error}"));
        }
    }
}
