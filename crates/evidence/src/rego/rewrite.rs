//! Rewrites a script where the engine interprets it differently from OPA. Line numbers stay the same.
//!
//! **Shadowing.** The engine refuses `some result in xs` in a module that has a rule named `result`, and takes a
//! `some x` within a comprehension for the outer `x`. Therefore every local variable that has the same name as a rule
//! or an outer variable is renamed in the source before evaluation. The scope of a local variable extends from its
//! declaration (`some`, `every`, `:=`, a function's argument) to the end of its body, and includes the rule's head;
//! before the declaration, and in the collection or value that it is declared from, the name still refers to the rule.
//!
//! **Iteration.** `some x in v` finds nothing in OPA when `v` is a string, a number or null; the engine fails.
//! Therefore the value is passed through [`ITEMS`], which returns an empty list for a value that cannot be iterated
//! over.
//!
//! **Declarations.** When the engine evaluates a `some j` once for each value of another variable, it takes this for a
//! second declaration, and fails. Once all shadowing variables are renamed the declaration has no effect, and it is
//! replaced by `true`.
//!
//! **Relations.** `[path, value] := walk(x)` holds for each pair in OPA; in the engine it holds for none, so that
//! everything passes. `walk(x, pair)` has the same meaning in both. So `walk(x)` becomes `[pair | walk(x, pair)][_]`.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Ref, Rule, RuleHead, Span};

use super::text::place;
use super::walk;

/// The host function that wraps values that are iterated over.
pub const ITEMS: &str = "longrun_items";

/// The rewritten source.
pub fn rewrite(source: &str, module: &Module, extra_rules: &[&'static str]) -> String {
    let mut rules: BTreeSet<&str> = module.policy.iter().filter_map(|rule| walk::rule_name(rule)).collect();
    rules.extend(extra_rules);
    let mut rewriter = Rewriter {
        rules,
        around: vec![module.imports.iter().map(walk::import_name).collect()],
        renamed: BTreeSet::new(),
        iterated: BTreeSet::new(),
        relations: BTreeSet::new(),
        declared: BTreeSet::new(),
    };
    for rule in &module.policy {
        rewriter.rule(rule);
    }
    let mut suffix = "_local".to_owned();
    while source.contains(&suffix) {
        suffix.push('_');
    }
    // The replacements, and their order at the same position.
    let mut edits: Vec<(usize, u8, usize, String)> = Vec::new();
    let mut insert = |at: usize, rank: u8, text: String| edits.push((at, rank, at, text));
    for end in &rewriter.renamed {
        // Changes within a replaced declaration are dropped together with it.
        let before = rewriter.declared.range(..(*end, 0)).next_back();
        if before.is_none_or(|(_, declared)| end > declared) {
            insert(*end, 0, suffix.clone());
        }
    }
    for (index, (start, end)) in rewriter.relations.iter().enumerate() {
        let pair = format!("longrun_pair_{index}");
        insert(*end, 1, "][_]".to_owned());
        // Before the closing bracket of the call.
        insert(*end - 1, 2, format!(", {pair}"));
        insert(*start, 5, format!("[{pair} | "));
    }
    for (start, end) in &rewriter.iterated {
        insert(*end, 3, ")".to_owned());
        insert(*start, 4, format!("{ITEMS}("));
    }
    edits.extend(rewriter.declared.iter().map(|(start, end)| (*start, 6, *end, "true".to_owned())));
    edits.sort();
    let mut rewritten = String::with_capacity(source.len());
    let mut done = 0;
    for (start, _, end, text) in edits {
        rewritten.push_str(&source[done..start]);
        rewritten.push_str(&text);
        done = end;
    }
    rewritten.push_str(&source[done..]);
    rewritten
}

/// The local variables in scope that have the name of a rule.
type Bound<'m> = BTreeSet<&'m str>;

struct Rewriter<'m> {
    rules: BTreeSet<&'m str>,
    /// The variables around the current query: of imports, of a function's arguments, of each outer query.
    around: Vec<BTreeSet<&'m str>>,
    /// The end, in bytes, of each occurrence to rename.
    renamed: BTreeSet<usize>,
    /// The start and the end, in bytes, of each value that is iterated over.
    iterated: BTreeSet<(usize, usize)>,
    /// The start and the end, in bytes, of each call that returns several values.
    relations: BTreeSet<(usize, usize)>,
    /// The start and the end, in bytes, of each declaration without a collection.
    declared: BTreeSet<(usize, usize)>,
}

impl<'m> Rewriter<'m> {
    fn rule(&mut self, rule: &'m Rule) {
        let Rule::Spec { head, bodies, .. } = rule else { return };
        let mut bound = Bound::new();
        if let RuleHead::Func { args, .. } = head {
            args.iter().for_each(|arg| self.declare(arg, &mut bound));
            let mut names = BTreeSet::new();
            args.iter().for_each(|arg| variables(arg, &mut names));
            self.around.push(names);
        }
        let mut first = true;
        let mut in_head = bound.clone();
        for body in bodies {
            let inside = self.query(&body.query, &bound);
            if let Some(assign) = &body.assign {
                self.expr(&assign.value, &inside);
            }
            // An `else` has a head of its own; additional plain bodies share the first one.
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
        self.around.truncate(1);
    }

    /// The path of a head: its first part is the rule's own name, an index may be a local variable.
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
        let name = span.text();
        let around = self.around.split_last().map_or(&[][..], |(_, around)| around);
        if self.rules.contains(name) || (name != "_" && around.iter().any(|names| names.contains(name))) {
            bound.insert(span.text());
            self.edit(span);
        }
    }

    fn edit(&mut self, span: &Span) {
        self.renamed.insert(place(span.end));
    }

    /// Returns the variables that are bound at the end.
    fn query(&mut self, query: &'m Query, outer: &Bound<'m>) -> Bound<'m> {
        let mut bound = outer.clone();
        self.around.push(own_variables(query));
        for statement in &query.stmts {
            for modifier in &statement.with_mods {
                self.expr(&modifier.r#as, &bound);
            }
            match &statement.literal {
                Literal::SomeVars { span, vars } => {
                    vars.iter().for_each(|var| self.bind(var, &mut bound));
                    if let Some(last) = vars.last() {
                        self.declared.insert((place(span.start), place(last.end)));
                    }
                }
                Literal::SomeIn { key, value, collection, .. } => {
                    self.expr(collection, &bound);
                    // The value of a call or a literal can be iterated over, or is a mistake that should be an error.
                    if matches!(collection.as_ref(), Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }) {
                        let span = collection.span();
                        self.iterated.insert((place(span.start), place(span.end)));
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
        self.around.pop();
        bound
    }

    fn expr(&mut self, node: &'m Ref<Expr>, bound: &Bound<'m>) {
        match node.as_ref() {
            Expr::Var { span, .. } => {
                if bound.contains(span.text()) {
                    self.edit(span);
                }
            }
            // The name of a function is never a local variable.
            Expr::Call { span, fcn, params, .. } => {
                if params.len() == 1 && walk::path(fcn).as_deref() == Some("walk") && !self.rules.contains("walk") {
                    self.relations.insert((place(span.start), place(span.end)));
                }
                params.iter().for_each(|param| self.expr(param, bound));
            }
            other => {
                let inside = walk::query_of(other).map(|query| self.query(query, bound));
                let bound = inside.as_ref().unwrap_or(bound);
                walk::children(other).into_iter().for_each(|child| self.expr(child, bound));
            }
        }
    }
}

/// The variables of a query itself, without those of inner queries.
fn own_variables(query: &Query) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => names.extend(vars.iter().map(|span| span.text())),
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|part| variables(part, &mut names));
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => variables(expr, &mut names),
            Literal::Every { key, value, domain, .. } => {
                names.extend(key.iter().chain([value]).map(|span| span.text()));
                variables(domain, &mut names);
            }
        }
        statement.with_mods.iter().for_each(|modifier| variables(&modifier.r#as, &mut names));
    }
    names
}

/// Adds the variables of an expression, without those of inner queries.
fn variables<'m>(node: &'m Ref<Expr>, names: &mut BTreeSet<&'m str>) {
    if let Expr::Var { span, .. } = node.as_ref() {
        names.insert(span.text());
    }
    if walk::query_of(node).is_none() {
        walk::children(node).into_iter().for_each(|child| variables(child, names));
    }
}
