//! Rewrites memberships, so that one that asks about something undefined is undefined, as in OPA. Line numbers stay the
//! same.
//!
//! In the engine `x.p in xs` is false if `x.p` or `xs` is undefined, so that `(x.p in xs) == false` is true. A function
//! is undefined then: `longrun_member(x.p, xs)`. A membership that is a whole statement stays as it is, unless it names
//! a key: in the engine `0, x.p in []` is true if `x.p` is undefined.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Literal, Module, Span};

use super::text::{Edits, place};
use super::walk;

/// The host function that says whether a collection contains a value.
pub const MEMBER: &str = "longrun_member";
/// The host function that says whether a collection contains a value at a key.
pub const MEMBER_AT: &str = "longrun_member_at";

/// Adds the replacements.
pub fn rewrite(edits: &mut Edits, module: &Module) {
    for rule in &module.policy {
        let mut whole = BTreeSet::new();
        for (query, _) in walk::queries(rule) {
            whole.extend(query.stmts.iter().filter_map(|statement| match &statement.literal {
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => Some(extent(expr.span())),
                _ => None,
            }));
        }
        walk::rule_exprs(rule, &mut |expr| {
            let Expr::Membership { span, key, value, collection, .. } = expr else { return };
            if key.is_none() && whole.contains(&extent(span)) {
                return;
            }
            let (_, from) = edits.extent(value);
            let (until, _) = edits.extent(collection);
            let Some(keyword) = edits.source.find('i', from, until) else { return };
            edits.replace((keyword, keyword + "in".len()), ",".to_owned());
            let function = if key.is_some() { MEMBER_AT } else { MEMBER };
            edits.prepend(edits.source.begin(span.start), &format!("{function}("));
            edits.append(edits.source.end(span.end), ")");
        });
    }
}

fn extent(span: &Span) -> (usize, usize) {
    (place(span.start), place(span.end))
}

#[cfg(test)]
mod tests {
    use super::super::text::rewritten;

    #[test]
    fn a_membership_within_an_expression_becomes_a_call() {
        for (rule, expected) in [
            ("v if x in xs", "v if x in xs"),
            ("v if not x in xs", "v if not x in xs"),
            ("v if 0, x in xs", "v if longrun_member_at(0, x , xs)"),
            ("v := x in xs", "v := longrun_member(x , xs)"),
            ("v := set() in xs", "v := longrun_member(set() , xs)"),
            (
                "v if (\"a\" in x) == (1, (x)in(xs))",
                "v if (longrun_member(\"a\" , x)) == (longrun_member_at(1, (x),(xs)))",
            ),
            ("v if x in xs in ys", "v if longrun_member(x , xs) in ys"),
            ("v := [x # in\n in xs in ys]", "v := [longrun_member(longrun_member(x # in\n , xs) , ys)]"),
            (
                "v := [({\"a\": 1, \"b\": 2} in xs) | x in xs]",
                "v := [(longrun_member({\"a\": 1, \"b\": 2} , xs)) | x in xs]",
            ),
        ] {
            assert_eq!(rewritten(rule, super::rewrite), expected);
        }
    }
}
