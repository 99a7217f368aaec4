//! Rewrites a script where the engine reads it otherwise than OPA does. Lines stay what they were.
//!
//! **Shadowing.** The engine refuses `some result in xs` in a module that has a rule named `result`. Every local that shares its name
//! with a rule is therefore renamed in the source before evaluation. A local holds from its declaration (`some`, `every`,
//! `:=`, a function's argument) to the end of its body and in the rule's head; what stands before the declaration, and
//! the collection or value that it is declared from, still means the rule.
//!
//! **Iteration.** `some x in v` finds nothing in OPA when `v` is a string, a number or null; the engine fails. The value
//! is therefore handed through [`ITEMS`], which makes an empty list of what cannot be iterated over.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Ref, Rule, RuleHead, Span};

use super::walk;

/// The function of the host that is put around what is iterated over.
pub const ITEMS: &str = "longrun_items";

/// The rewritten source.
pub fn rewrite(source: &str, module: &Module, extra_rules: &[&'static str]) -> String {
    let mut rules: BTreeSet<&str> = module.policy.iter().filter_map(|rule| walk::rule_name(rule)).collect();
    rules.extend(extra_rules);
    let mut rewriter = Rewriter { rules, renamed: BTreeSet::new(), iterated: BTreeSet::new() };
    for rule in &module.policy {
        rewriter.rule(rule);
    }
    let mut suffix = "_local".to_owned();
    while source.contains(&suffix) {
        suffix.push('_');
    }
    // What is inserted where; at the same place in this order.
    let mut insertions: Vec<(usize, &str)> = Vec::new();
    insertions.extend(rewriter.renamed.iter().map(|end| (*end, suffix.as_str())));
    for (start, end) in &rewriter.iterated {
        insertions.push((*end, ")"));
        insertions.push((*start, "("));
        insertions.push((*start, ITEMS));
    }
    insertions.sort_by_key(|(at, text)| (*at, *text == "("));
    let mut rewritten = String::with_capacity(source.len());
    let mut done = 0;
    for (at, text) in insertions {
        rewritten.push_str(&source[done..at]);
        rewritten.push_str(text);
        done = at;
    }
    rewritten.push_str(&source[done..]);
    rewritten
}

fn offset(offset: u32) -> usize {
    usize::try_from(offset).expect("a script is smaller than the address space")
}

/// The locals in force that carry a rule's name.
type Bound<'m> = BTreeSet<&'m str>;

struct Rewriter<'m> {
    rules: BTreeSet<&'m str>,
    /// The end, in bytes, of each occurrence to rename.
    renamed: BTreeSet<usize>,
    /// Start and end, in bytes, of each value that is iterated over.
    iterated: BTreeSet<(usize, usize)>,
}

impl<'m> Rewriter<'m> {
    fn rule(&mut self, rule: &'m Rule) {
        let Rule::Spec { head, bodies, .. } = rule else { return };
        let mut bound = Bound::new();
        if let RuleHead::Func { args, .. } = head {
            args.iter().for_each(|arg| self.declare(arg, &mut bound));
        }
        let mut first = true;
        let mut in_head = bound.clone();
        for body in bodies {
            let inside = self.query(&body.query, &bound);
            if let Some(assign) = &body.assign {
                self.expr(&assign.value, &inside);
            }
            // An else has a head of its own; further plain blocks share the first one.
            if first || !body.is_else {
                in_head.extend(inside);
            }
            first = false;
        }
        let (refr, assign) = match head {
            RuleHead::Compr { refr, assign, .. } | RuleHead::Func { refr, assign, .. } => (refr, assign.as_ref()),
            RuleHead::Set { refr, key, .. } => {
                key.iter().for_each(|key| self.expr(key, &in_head));
                (refr, None)
            }
        };
        self.head(refr, &in_head);
        if let Some(assign) = assign {
            self.expr(&assign.value, &in_head);
        }
    }

    /// The path of a head: its first part is the rule's own name, an index may be a local.
    fn head(&mut self, node: &'m Ref<Expr>, bound: &Bound<'m>) {
        match node.as_ref() {
            Expr::RefDot { refr, .. } => self.head(refr, bound),
            Expr::RefBrack { refr, index, .. } => {
                self.head(refr, bound);
                self.expr(index, bound);
            }
            _ => {}
        }
    }

    /// Binds the variables of a pattern.
    fn declare(&mut self, pattern: &'m Ref<Expr>, bound: &mut Bound<'m>) {
        match pattern.as_ref() {
            Expr::Var { span, .. } => self.bind(span, bound),
            Expr::Array { items, .. } => items.iter().for_each(|item| self.declare(item, bound)),
            Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
                self.expr(key, bound);
                self.declare(value, bound);
            }),
            _ => self.expr(pattern, bound),
        }
    }

    fn bind(&mut self, span: &'m Span, bound: &mut Bound<'m>) {
        if self.rules.contains(span.text()) {
            bound.insert(span.text());
            self.edit(span);
        }
    }

    fn edit(&mut self, span: &Span) {
        self.renamed.insert(offset(span.end));
    }

    /// Answers what is bound at the end.
    fn query(&mut self, query: &'m Query, outer: &Bound<'m>) -> Bound<'m> {
        let mut bound = outer.clone();
        for statement in &query.stmts {
            for modifier in &statement.with_mods {
                self.expr(&modifier.r#as, &bound);
            }
            match &statement.literal {
                Literal::SomeVars { vars, .. } => vars.iter().for_each(|span| self.bind(span, &mut bound)),
                Literal::SomeIn { key, value, collection, .. } => {
                    self.expr(collection, &bound);
                    // What a call or a literal makes is iterable, or a mistake worth an error.
                    if matches!(collection.as_ref(), Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }) {
                        let span = collection.span();
                        self.iterated.insert((offset(span.start), offset(span.end)));
                    }
                    key.iter().chain([value]).for_each(|part| self.declare(part, &mut bound));
                }
                Literal::Every { key, value, domain, query, .. } => {
                    self.expr(domain, &bound);
                    let mut inside = bound.clone();
                    key.iter().chain([value]).for_each(|span| self.bind(span, &mut inside));
                    self.query(query, &inside);
                }
                Literal::Expr { expr, .. } => match expr.as_ref() {
                    Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => {
                        self.expr(rhs, &bound);
                        self.declare(lhs, &mut bound);
                    }
                    _ => self.expr(expr, &bound),
                },
                Literal::NotExpr { expr, .. } => self.expr(expr, &bound),
            }
        }
        bound
    }

    fn expr(&mut self, node: &'m Ref<Expr>, bound: &Bound<'m>) {
        match node.as_ref() {
            Expr::Var { span, .. } => {
                if bound.contains(span.text()) {
                    self.edit(span);
                }
            }
            // The name of a function is never a local.
            Expr::Call { params, .. } => params.iter().for_each(|param| self.expr(param, bound)),
            other => {
                let inside = walk::query_of(other).map(|query| self.query(query, bound));
                let bound = inside.as_ref().unwrap_or(bound);
                walk::children(other).into_iter().for_each(|child| self.expr(child, bound));
            }
        }
    }
}
