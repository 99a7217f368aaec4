//! Visits every expression of a parsed module.

use std::collections::BTreeMap;

use regorus::unstable::{Expr, Import, Literal, Module, Query, Ref, Rule, RuleAssign, RuleHead, Span};

/// The direct subexpressions of an expression, without queries.
pub fn children(expr: &Expr) -> Vec<&Ref<Expr>> {
    match expr {
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().collect(),
        Expr::Object { fields, .. } => fields.iter().flat_map(|(_, key, value)| [key, value]).collect(),
        Expr::ArrayCompr { term, .. } | Expr::SetCompr { term, .. } => vec![term],
        Expr::ObjectCompr { key, value, .. } => vec![key, value],
        Expr::Call { fcn, params, .. } => std::iter::once(fcn).chain(params).collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::RefDot { refr, .. } => vec![refr],
        Expr::RefBrack { refr, index, .. } => vec![refr, index],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership { key, value, collection, .. } => key.iter().chain([value, collection]).collect(),
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => Vec::new(),
    }
}

/// The query of a comprehension.
pub fn query_of(expr: &Expr) -> Option<&Ref<Query>> {
    match expr {
        Expr::ArrayCompr { query, .. } | Expr::SetCompr { query, .. } | Expr::ObjectCompr { query, .. } => Some(query),
        _ => None,
    }
}

/// Whether the body of a rule is a statement without braces.
pub fn is_bare(body: &Query) -> bool {
    body.stmts.first().is_some_and(|first| first.span.start == body.span.start)
}

/// Whether an expression may be undefined; `variable` says it of a variable.
pub fn may_be_undefined(expr: &Expr, variable: &impl Fn(&str) -> bool) -> bool {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => false,
        Expr::Var { span, .. } => variable(span.text()),
        Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => {
            children(expr).into_iter().any(|child| may_be_undefined(child, variable))
        }
        _ => true,
    }
}

/// Calls the function on every expression of the module, outer ones first.
pub fn each_expr<'m>(module: &'m Module, visit: &mut impl FnMut(&'m Expr)) {
    module.policy.iter().for_each(|rule| rule_exprs(rule, visit));
}

/// Calls the function on every expression of a rule, outer ones first.
pub fn rule_exprs<'m>(rule: &'m Rule, visit: &mut impl FnMut(&'m Expr)) {
    match rule {
        Rule::Default { refr, args, value, .. } => {
            expr(refr, visit);
            args.iter().for_each(|arg| expr(arg, visit));
            expr(value, visit);
        }
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { refr, assign, .. } => {
                    expr(refr, visit);
                    value(assign.as_ref(), visit);
                }
                RuleHead::Set { refr, key, .. } => {
                    expr(refr, visit);
                    key.iter().for_each(|key| expr(key, visit));
                }
                RuleHead::Func { refr, args, assign, .. } => {
                    expr(refr, visit);
                    args.iter().for_each(|arg| expr(arg, visit));
                    value(assign.as_ref(), visit);
                }
            }
            for body in bodies {
                value(body.assign.as_ref(), visit);
                query(&body.query, visit);
            }
        }
    }
}

fn value<'m>(assign: Option<&'m RuleAssign>, visit: &mut impl FnMut(&'m Expr)) {
    if let Some(assign) = assign {
        expr(&assign.value, visit);
    }
}

fn expr<'m>(node: &'m Ref<Expr>, visit: &mut impl FnMut(&'m Expr)) {
    visit(node);
    for child in children(node) {
        expr(child, visit);
    }
    if let Some(inner) = query_of(node) {
        query(inner, visit);
    }
}

fn query<'m>(node: &'m Query, visit: &mut impl FnMut(&'m Expr)) {
    for statement in &node.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|part| expr(part, visit));
            }
            Literal::Expr { expr: inner, .. } | Literal::NotExpr { expr: inner, .. } => expr(inner, visit),
            Literal::Every { domain, query: inner, .. } => {
                expr(domain, visit);
                query(inner, visit);
            }
        }
        for modifier in &statement.with_mods {
            expr(&modifier.refr, visit);
            expr(&modifier.r#as, visit);
        }
    }
}

/// Every query of a rule, and whether it is one of the rule's bodies.
pub fn queries(rule: &Rule) -> Vec<(&Query, bool)> {
    let mut found = Vec::new();
    rule_exprs(rule, &mut |expr| found.extend(query_of(expr).map(|query| (query.as_ref(), false))));
    if let Rule::Spec { bodies, .. } = rule {
        found.extend(bodies.iter().map(|body| (body.query.as_ref(), true)));
    }
    with_inner(found)
}

/// Every query within an expression.
pub fn queries_within(node: &Ref<Expr>) -> Vec<&Query> {
    let mut found = Vec::new();
    expr(node, &mut |expr| found.extend(query_of(expr).map(|query| (query.as_ref(), false))));
    with_inner(found).into_iter().map(|(query, _)| query).collect()
}

/// Adds the queries of `every`.
fn with_inner(mut found: Vec<(&Query, bool)>) -> Vec<(&Query, bool)> {
    let mut at = 0;
    while let Some((query, _)) = found.get(at).copied() {
        found.extend(query.stmts.iter().filter_map(|statement| match &statement.literal {
            Literal::Every { query, .. } => Some((query.as_ref(), false)),
            _ => None,
        }));
        at += 1;
    }
    found
}

/// The number of arguments of each function of a module, by its name within the package and with the package.
pub fn functions(module: &Module, package: &str) -> BTreeMap<String, usize> {
    let mut functions = BTreeMap::new();
    for rule in &module.policy {
        let (refr, arity) = match rule.as_ref() {
            Rule::Spec { head: RuleHead::Func { refr, args, .. }, .. } => (refr, args.len()),
            Rule::Default { refr, args, .. } if !args.is_empty() => (refr, args.len()),
            _ => continue,
        };
        if let Some(path) = path(refr) {
            functions.insert(format!("{package}.{path}"), arity);
            functions.insert(path, arity);
        }
    }
    functions
}

/// The name under which an import is used.
pub fn import_name(import: &Import) -> &str {
    match (&import.r#as, import.refr.as_ref()) {
        (Some(alias), _) => alias.text(),
        (None, Expr::RefDot { field, .. }) => field.0.text(),
        (None, other) => other.span().text(),
    }
}

/// The path of a rule's head.
pub fn head(rule: &Rule) -> &Expr {
    match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => refr,
        },
    }
}

/// The name that a rule, function or default defines: the first part of its path.
pub fn rule_name(rule: &Rule) -> Option<&str> {
    let mut node = head(rule);
    loop {
        match node {
            Expr::Var { span, .. } => return Some(span.text()),
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => node = refr,
            _ => return None,
        }
    }
}

/// The start of a reference: the engine gives the position of the last dot for a dotted one.
pub fn start(expr: &Expr) -> &Span {
    match expr {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => start(refr),
        other => other.span(),
    }
}

/// A dotted path such as `json.unmarshal` or `data.main.f`; `None` if a part is computed.
pub fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Var { span, .. } => Some(span.text().to_owned()),
        Expr::RefDot { refr, field, .. } => Some(format!("{}.{}", path(refr)?, field.0.text())),
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { span, .. } => Some(format!("{}.{}", path(refr)?, span.text())),
            _ => None,
        },
        _ => None,
    }
}

/// The part of a reference that is known without evaluation; `None` if it does not begin with a name.
pub fn static_path(expr: &Expr) -> Option<String> {
    path(expr).or_else(|| match expr {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => static_path(refr),
        _ => None,
    })
}
