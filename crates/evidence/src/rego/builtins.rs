//! Which functions a policy may call.
//!
//! The engine finds out only when it reaches a call that there is no such function, and answers "undefined" for some
//! that it merely declares: `not http.send(…)` would pass by silence. So every call is checked before anything runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regorus::unstable::{BUILTINS, Expr, Module, Span};
use regorus::{Engine, Value};

use super::error::RegoError;
use super::rewrite::ITEMS;
use super::walk;

/// Refused by name: they reach beyond the evidence and the arguments, or tell what the policy should not know.
const FORBIDDEN: &[&str] = &[
    "http.send",
    "net.lookup_ip_addr",
    "opa.runtime",
    "rego.parse_module",
    "rego.metadata.chain",
    "rego.metadata.rule",
    "trace",
];

/// The most items that a builtin may make of a number or two: the engine would reserve the memory at once and abort.
const MAX_ITEMS: u64 = 1_000_000;
/// The furthest that a number may be shifted.
const MAX_SHIFT: u32 = 65_536;

/// What came of looking at the calls.
#[derive(Debug, PartialEq, Eq)]
pub enum Calls {
    /// Every call can be made.
    Known,
    /// The policy needs a function of Chainloop's servers; it must be skipped.
    NeedsChainloop(String),
}

/// Checks every call of a module.
pub fn check(module: &Module, package: &str) -> Result<Calls, RegoError> {
    let functions = walk::functions(module, package);
    let mut outcome = Ok(Calls::Known);
    let mut check_call = |name: String, span: &Span, given: usize| {
        if outcome.is_err() {
            return;
        }
        let (line, column) = (span.line, span.col);
        let arity =
            functions.get(&name).copied().or_else(|| BUILTINS.get(name.as_str()).map(|(_, arity)| usize::from(*arity)));
        if !functions.contains_key(&name) && FORBIDDEN.contains(&name.as_str()) {
            outcome = Err(RegoError::Forbidden { name, line, column });
        } else if let Some(arity) = arity {
            // The output may be given as one more argument.
            if given != arity && given != arity + 1 {
                let message = format!("{name} takes {arity} arguments, not {given}");
                outcome = Err(RegoError::Script { line, column, message });
            }
        } else if name.starts_with("chainloop.") {
            if outcome == Ok(Calls::Known) {
                outcome = Ok(Calls::NeedsChainloop(name));
            }
        } else if name != "print" {
            outcome = Err(RegoError::UnknownFunction { name, line, column });
        }
    };
    walk::each_expr(module, &mut |expr| {
        if let Expr::Call { fcn, params, .. } = expr {
            let name = walk::path(fcn).unwrap_or_else(|| fcn.span().text().to_owned());
            check_call(name, walk::start(fcn), params.len());
        }
    });
    outcome
}

/// Puts bounded versions in the place of builtins whose cost is a number in the policy, and adds what rewriting uses.
///
/// Functions of the host go before builtins of the same name.
pub fn bound(engine: &mut Engine) -> Result<(), RegoError> {
    type Builtin = fn(&[Value]) -> Result<Value, Refused>;
    const BOUNDED: &[(&str, u8, Builtin)] = &[
        ("numbers.range", 2, range),
        ("numbers.range_step", 3, range),
        ("net.cidr_expand", 1, cidr_expand),
        ("bits.lsh", 2, shift_left),
        (ITEMS, 1, items),
    ];
    for (name, arity, builtin) in BOUNDED {
        let extension = Box::new(|args: Vec<Value>| Ok(builtin(&args)?));
        let added = engine.add_extension((*name).to_owned(), *arity, extension);
        added.map_err(|error| RegoError::Engine(error.to_string()))?;
    }
    Ok(())
}

/// Why a bounded builtin does not answer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("operands must be integers of 64 bits")]
    NotIntegers,
    #[error("step must be a positive integer")]
    Step,
    #[error("more than {MAX_ITEMS} items")]
    TooMany,
    #[error("operand must be an address and a prefix length, as in 10.0.0.0/24")]
    NotCidr,
    #[error("shifted by more than {MAX_SHIFT} bits")]
    Shift,
}

/// What can be iterated over, or nothing.
fn items(args: &[Value]) -> Result<Value, Refused> {
    match &args[0] {
        iterable @ (Value::Array(_) | Value::Object(_) | Value::Set(_)) => Ok(iterable.clone()),
        _ => Ok(Value::new_array()),
    }
}

fn range(args: &[Value]) -> Result<Value, Refused> {
    let integer = |at: usize| args[at].as_i64().map_err(|_| Refused::NotIntegers);
    let (from, to) = (integer(0)?, integer(1)?);
    let step = if args.len() > 2 { integer(2)? } else { 1 };
    if step < 1 {
        return Err(Refused::Step);
    }
    let count = i128::from(from).abs_diff(i128::from(to)) / u128::from(step.unsigned_abs());
    if count >= u128::from(MAX_ITEMS) {
        return Err(Refused::TooMany);
    }
    let direction = if from <= to { i128::from(step) } else { -i128::from(step) };
    let items = (0..=count).map(|at| {
        let item = i128::from(from) + direction * i128::try_from(at).expect("at is at most a million");
        Value::from(i64::try_from(item).expect("between two integers of 64 bits"))
    });
    Ok(Value::from(items.collect::<Vec<Value>>()))
}

fn cidr_expand(args: &[Value]) -> Result<Value, Refused> {
    let text = args[0].as_string().map_err(|_| Refused::NotCidr)?;
    let (address, prefix) = text.split_once('/').ok_or(Refused::NotCidr)?;
    let address: IpAddr = address.parse().map_err(|_| Refused::NotCidr)?;
    let prefix: u32 = prefix.parse().map_err(|_| Refused::NotCidr)?;
    let (bits, start) = match address {
        IpAddr::V4(address) => (32u32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    let host_bits = bits.checked_sub(prefix).ok_or(Refused::NotCidr)?;
    if host_bits >= 64 || 1u64 << host_bits > MAX_ITEMS {
        return Err(Refused::TooMany);
    }
    let start = start >> host_bits << host_bits;
    let hosts = (0..1u128 << host_bits).map(|host| {
        let bits = start | host;
        let host = match address {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from_bits(u32::try_from(bits).expect("an IPv4 address"))),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::from_bits(bits)),
        };
        Value::from(host.to_string())
    });
    Ok(Value::from(hosts.collect::<Vec<Value>>()))
}

fn shift_left(args: &[Value]) -> Result<Value, Refused> {
    if args[1].as_u32().map_err(|_| Refused::NotIntegers)? > MAX_SHIFT {
        return Err(Refused::Shift);
    }
    let (number, by) = (args[0].as_number(), args[1].as_number());
    match (number, by) {
        (Ok(number), Ok(by)) => number.lsh(by).map(Value::from).ok_or(Refused::NotIntegers),
        _ => Err(Refused::NotIntegers),
    }
}
