//! Refuses variables that nothing can give a value.
//!
//! The engine finds them in the bodies of rules only. Elsewhere, as in `limit := thirty`, it answers "undefined", and a
//! misspelt name lets everything pass. A variable is accepted when it stands in a binding place (`some`, `every`, `:=`,
//! `=`, an index, an argument of a call) of a query around it; whether it is bound in the right order is for the engine.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Ref, Rule, RuleHead};

use super::rewrite::ITEMS;
use super::{RegoError, walk};

/// Checks a module that is complete, with its shadowing locals renamed.
pub fn check(module: &Module) -> Result<(), RegoError> {
    let mut global: Names = module.policy.iter().filter_map(|rule| walk::rule_name(rule)).collect();
    global.extend(["input", "data", "_"]);
    for import in &module.imports {
        match (&import.r#as, import.refr.as_ref()) {
            (Some(alias), _) => global.insert(alias.text()),
            (None, Expr::RefDot { field, .. }) => global.insert(field.0.text()),
            (None, other) => global.insert(other.span().text()),
        };
    }
    module.policy.iter().try_for_each(|rule| check_rule(rule, &global))
}

type Names<'m> = BTreeSet<&'m str>;

fn check_rule<'m>(rule: &'m Rule, global: &Names<'m>) -> Result<(), RegoError> {
    let (head, bodies) = match rule {
        Rule::Spec { head, bodies, .. } => (head, bodies),
        Rule::Default { args, value, .. } => {
            let mut names = global.clone();
            args.iter().for_each(|arg| vars(arg, &mut names));
            return expr(value, &names);
        }
    };
    let mut names = global.clone();
    if let RuleHead::Func { args, .. } = head {
        args.iter().for_each(|arg| vars(arg, &mut names));
    }
    let mut in_head = names.clone();
    for body in bodies {
        let inside = query(&body.query, &names)?;
        if let Some(assign) = &body.assign {
            expr(&assign.value, &inside)?;
        }
        if !body.is_else {
            in_head.extend(inside);
        }
    }
    match head {
        RuleHead::Compr { refr, assign, .. } => {
            expr(refr, &in_head)?;
            assign.as_ref().map_or(Ok(()), |assign| expr(&assign.value, &in_head))
        }
        RuleHead::Func { assign, .. } => assign.as_ref().map_or(Ok(()), |assign| expr(&assign.value, &in_head)),
        RuleHead::Set { refr, key, .. } => {
            expr(refr, &in_head)?;
            key.as_ref().map_or(Ok(()), |key| expr(key, &in_head))
        }
    }
}

/// Checks a query and answers the names that hold in it.
fn query<'m>(node: &'m Query, outer: &Names<'m>) -> Result<Names<'m>, RegoError> {
    let mut names = outer.clone();
    for statement in &node.stmts {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => names.extend(vars.iter().map(|span| span.text())),
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().chain([value]).for_each(|part| vars(part, &mut names));
                binders(collection, &mut names);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => binders(expr, &mut names),
            Literal::Every { domain, .. } => binders(domain, &mut names),
        }
    }
    for statement in &node.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { collection, .. } => expr(collection, &names)?,
            Literal::Expr { expr: inner, .. } | Literal::NotExpr { expr: inner, .. } => expr(inner, &names)?,
            Literal::Every { key, value, domain, query: inner, .. } => {
                expr(domain, &names)?;
                let mut inside = names.clone();
                inside.extend(key.iter().chain([value]).map(|span| span.text()));
                query(inner, &inside)?;
            }
        }
        statement.with_mods.iter().try_for_each(|modifier| expr(&modifier.r#as, &names))?;
    }
    Ok(names)
}

/// Adds every variable of a pattern.
fn vars<'m>(node: &'m Ref<Expr>, names: &mut Names<'m>) {
    if let Expr::Var { span, .. } = node.as_ref() {
        names.insert(span.text());
    }
    walk::children(node).into_iter().for_each(|child| vars(child, names));
}

/// Adds the variables in binding places of an expression, inner queries apart.
fn binders<'m>(node: &'m Ref<Expr>, names: &mut Names<'m>) {
    match node.as_ref() {
        Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } => vars(lhs, names),
        Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
            pattern(lhs, names);
            pattern(rhs, names);
        }
        Expr::RefBrack { index, .. } => pattern(index, names),
        // The last argument of a builtin may be its output.
        Expr::Call { fcn, params, .. } if walk::path(fcn).as_deref() != Some(ITEMS) => {
            params.last().into_iter().for_each(|param| pattern(param, names))
        }
        _ => {}
    }
    if walk::query_of(node).is_none() {
        walk::children(node).into_iter().for_each(|child| binders(child, names));
    }
}

/// Adds the variables that stand in a term as they are, alone or in lists and objects.
fn pattern<'m>(node: &'m Ref<Expr>, names: &mut Names<'m>) {
    match node.as_ref() {
        Expr::Var { .. } | Expr::Array { .. } | Expr::Object { .. } => vars(node, names),
        _ => {}
    }
}

fn expr<'m>(node: &'m Ref<Expr>, names: &Names<'m>) -> Result<(), RegoError> {
    match node.as_ref() {
        Expr::Var { span, .. } if !names.contains(span.text()) => Err(RegoError::Script {
            line: span.line,
            column: span.col,
            message: format!("nothing gives the variable {} a value", span.text()),
        }),
        // Functions are checked as calls.
        Expr::Call { params, .. } => params.iter().try_for_each(|param| expr(param, names)),
        other => {
            let inside = walk::query_of(other).map(|inner| query(inner, names)).transpose()?;
            let names = inside.as_ref().unwrap_or(names);
            walk::children(other).into_iter().try_for_each(|child| expr(child, names))
        }
    }
}
