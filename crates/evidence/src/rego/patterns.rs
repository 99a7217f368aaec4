//! Rewrites patterns that contain objects, so that they match the same objects as in OPA. Line numbers stay the same.
//!
//! In OPA `{"name": n}` matches an object that has this key and no other; in the engine the object may have others. So a
//! variable takes the place of the pattern, and is compared with it: `some {"name": n} in xs` becomes
//! `some longrun_whole_0 in xs; {"name": n} = longrun_whole_0; {"name": n} == longrun_whole_0`. The first statement
//! after it binds the pattern's variables, and the second one is true only if there is nothing else.
//!
//! Patterns are: the arguments of functions, what is declared by `some … in`, both sides of `:=` and `=`, and an index.

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Rule, RuleHead};

use super::text::{Edits, flat, fresh, place};
use super::walk;

/// Adds the replacements.
pub fn rewrite(edits: &mut Edits, module: &Module) {
    let prefix = fresh(edits.source.0, "longrun_whole");
    let mut rewriter = Rewriter { edits, prefix, count: 0 };
    module.policy.iter().for_each(|rule| rewriter.rule(rule));
}

struct Rewriter<'e, 's> {
    edits: &'e mut Edits<'s>,
    /// How the names of added variables begin.
    prefix: String,
    /// The number of added variables.
    count: usize,
}

impl Rewriter<'_, '_> {
    fn rule(&mut self, rule: &Rule) {
        let mut head = String::new();
        if let Rule::Spec { head: RuleHead::Func { span, args, .. }, bodies, .. } = rule {
            let patterns = args.iter().filter(|arg| has_object(arg));
            head = patterns.map(|pattern| self.replaced(pattern)).collect::<Vec<_>>().join("; ");
            let ends = bodies.iter().filter(|body| body.query.stmts.is_empty());
            let mut ends: Vec<u32> =
                ends.filter_map(|body| body.assign.as_ref()).map(|assign| assign.span.end).collect();
            if bodies.is_empty() {
                ends.push(span.end);
            }
            for end in ends.into_iter().filter(|_| !head.is_empty()) {
                self.edits.append(self.edits.source.end(end), &format!(" if {{ {head} }}"));
            }
        }
        for (query, is_body) in walk::queries(rule) {
            let added: Vec<String> = query.stmts.iter().map(|statement| self.compared(statement)).collect();
            for (statement, text) in query.stmts.iter().zip(&added).filter(|(_, text)| !text.is_empty()) {
                self.edits.append(self.edits.source.end(statement.span.end), &format!("; {text}"));
            }
            let (Some(first), Some(last)) = (query.stmts.first(), query.stmts.last()) else { continue };
            let begin = self.edits.source.begin(first.span.start);
            let has_head = is_body && !head.is_empty();
            if has_head {
                self.edits.prepend(begin, &format!("{head}; "));
            }
            // A body with one statement may have no braces.
            let is_bare = is_body && walk::is_bare(query);
            if is_bare && (has_head || added.iter().any(|text| !text.is_empty())) {
                self.edits.prepend(begin, "{ ");
                self.edits.append(self.edits.source.end(last.span.end), " }");
            }
        }
    }

    /// Statements that hold if the patterns of a statement match completely; it is changed to go with them.
    fn compared(&mut self, statement: &LiteralStmt) -> String {
        let mut patterns: Vec<&Expr> = Vec::new();
        let mut compared = Vec::new();
        match &statement.literal {
            Literal::SomeIn { key, value, collection, .. } => {
                patterns.extend(key.iter().chain([value]).map(AsRef::as_ref).filter(|part| has_object(part)));
                indices(collection, &mut patterns);
            }
            Literal::Expr { expr, .. } => match expr.as_ref() {
                Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } if has_object(lhs) => {
                    patterns.push(lhs);
                    indices(rhs, &mut patterns);
                }
                Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } if has_object(lhs) || has_object(rhs) => {
                    if is_term(lhs) && is_term(rhs) {
                        let (lhs, rhs) = (self.named(lhs), self.named(rhs));
                        compared.push(format!("{lhs} = {rhs}; {lhs} == {rhs}"));
                    } else {
                        for side in [lhs, rhs] {
                            if has_object(side) { patterns.push(side) } else { indices(side, &mut patterns) }
                        }
                    }
                }
                other => indices(other, &mut patterns),
            },
            Literal::Every { domain, .. } => indices(domain, &mut patterns),
            Literal::SomeVars { .. } | Literal::NotExpr { .. } => {}
        }
        compared.extend(patterns.into_iter().map(|pattern| self.replaced(pattern)));
        compared.join("; ")
    }

    /// Puts a variable in the place of a pattern, and returns the statements that compare them.
    fn replaced(&mut self, pattern: &Expr) -> String {
        let (text, name) = (self.named(pattern), self.name());
        let extent = self.edits.extent(pattern);
        self.edits.replace(extent, format!("{name}{}", self.edits.lines(extent, "")));
        format!("{text} = {name}; {text} == {name}")
    }

    /// The text of a pattern, with a name for each `_`.
    fn named(&mut self, pattern: &Expr) -> String {
        let (mut done, end) = self.edits.extent(pattern);
        let mut wildcards = Vec::new();
        wildcards_of(pattern, &mut wildcards);
        let mut text = String::new();
        for at in wildcards {
            text.push_str(&self.edits.source.0[done..at]);
            text.push_str(&self.name());
            done = at + "_".len();
        }
        text.push_str(&self.edits.source.0[done..end]);
        flat(&text)
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("{}_{}", self.prefix, self.count - 1)
    }
}

/// Whether an expression has no value of its own until its variables have one, or is written out.
fn is_term(expr: &Expr) -> bool {
    !matches!(expr, Expr::RefDot { .. } | Expr::RefBrack { .. } | Expr::Call { .. })
}

/// Whether a pattern is or contains an object.
fn has_object(pattern: &Expr) -> bool {
    match pattern {
        Expr::Object { .. } => true,
        Expr::Array { items, .. } => items.iter().any(|item| has_object(item)),
        _ => false,
    }
}

/// Adds the indexes within an expression that contain objects, without those of inner queries.
fn indices<'m>(expr: &'m Expr, found: &mut Vec<&'m Expr>) {
    match expr {
        Expr::RefBrack { refr, index, .. } if has_object(index) => {
            found.push(index);
            indices(refr, found);
        }
        other if walk::query_of(other).is_some() => {}
        other => walk::children(other).into_iter().for_each(|child| indices(child, found)),
    }
}

/// Adds the position of each `_` of a pattern.
fn wildcards_of(pattern: &Expr, found: &mut Vec<usize>) {
    match pattern {
        Expr::Var { span, .. } if span.text() == "_" => found.push(place(span.start)),
        other if walk::query_of(other).is_some() => {}
        other => walk::children(other).into_iter().for_each(|child| wildcards_of(child, found)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::rewritten;

    #[test]
    fn a_variable_takes_the_place_of_a_pattern_with_an_object() {
        for (rule, expected) in [
            ("v if some [x, _] in xs", "v if some [x, _] in xs"),
            ("v if x := {\"a\": 1}", "v if x := {\"a\": 1}"),
            (
                "v if some {\"a\": x, \"b\": _} in xs",
                "v if { some longrun_whole_1 in xs; {\"a\": x, \"b\": longrun_whole_0} = longrun_whole_1; \
                 {\"a\": x, \"b\": longrun_whole_0} == longrun_whole_1 }",
            ),
            (
                "v if {\n  some i, {\n    \"a\": x,\n  } in xs\n  x\n}",
                "v if {\n  some i, longrun_whole_0\n\n in xs; {     \"a\": x,   } = longrun_whole_0; \
                 {     \"a\": x,   } == longrun_whole_0\n  x\n}",
            ),
            ("v if { {} := x }", "v if { longrun_whole_0 := x; {} = longrun_whole_0; {} == longrun_whole_0 }"),
            ("v if {\"a\": x} = y", "v if { {\"a\": x} = y; {\"a\": x} = y; {\"a\": x} == y }"),
            (
                "v if s[{\"a\": x}]",
                "v if { s[longrun_whole_0]; {\"a\": x} = longrun_whole_0; {\"a\": x} == longrun_whole_0 }",
            ),
            (
                "f({\"a\": x}, y) := x",
                "f(longrun_whole_0, y) := x if { {\"a\": x} = longrun_whole_0; {\"a\": x} == longrun_whole_0 }",
            ),
            (
                "f({\"a\": x}) := 1 if x else := \"no\"",
                "f(longrun_whole_0) := 1 if { {\"a\": x} = longrun_whole_0; {\"a\": x} == longrun_whole_0; x } \
                 else := \"no\" if { {\"a\": x} = longrun_whole_0; {\"a\": x} == longrun_whole_0 }",
            ),
            (
                "f([{\"a\": x}]) if x else := 2 if { y }",
                "f(longrun_whole_0) if { [{\"a\": x}] = longrun_whole_0; [{\"a\": x}] == longrun_whole_0; x } \
                 else := 2 if { [{\"a\": x}] = longrun_whole_0; [{\"a\": x}] == longrun_whole_0; y }",
            ),
        ] {
            assert_eq!(rewritten(rule, super::rewrite), expected);
        }
    }
}
