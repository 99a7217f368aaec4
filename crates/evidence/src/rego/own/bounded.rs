//! Builtins whose cost depends on a number in the policy: the engine would reserve the memory at once and abort.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regorus::Value;

use super::{Outcome, Refused};

/// The maximum number of items that a builtin may create from one or two numbers.
const MAX_ITEMS: u64 = 1_000_000;
/// The maximum distance of a shift.
const MAX_SHIFT: u32 = 65_536;

pub fn range(args: &[Value]) -> Outcome {
    let integer = |at: usize| args[at].as_i64().map_err(|_| not_integers());
    let (from, to) = (integer(0)?, integer(1)?);
    let step = if args.len() > 2 { integer(2)? } else { 1 };
    if step < 1 {
        return Err(Refused::new("step must be a positive integer"));
    }
    let count = i128::from(from).abs_diff(i128::from(to)) / u128::from(step.unsigned_abs());
    if count >= u128::from(MAX_ITEMS) {
        return Err(too_many());
    }
    let direction = if from <= to { i128::from(step) } else { -i128::from(step) };
    let items = (0..=count).map(|at| {
        let item = i128::from(from) + direction * i128::try_from(at).expect("at is at most a million");
        Value::from(i64::try_from(item).expect("between two integers of 64 bits"))
    });
    Ok(Value::from(items.collect::<Vec<Value>>()))
}

pub fn cidr_expand(args: &[Value]) -> Outcome {
    let not_cidr = || Refused::new("operand must be an address and a prefix length, as in 10.0.0.0/24");
    let text = args[0].as_string().map_err(|_| not_cidr())?;
    let (address, prefix) = text.split_once('/').ok_or_else(not_cidr)?;
    let address: IpAddr = address.parse().map_err(|_| not_cidr())?;
    let prefix: u32 = prefix.parse().map_err(|_| not_cidr())?;
    let (bits, start) = match address {
        IpAddr::V4(address) => (32u32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    let host_bits = bits.checked_sub(prefix).ok_or_else(not_cidr)?;
    if host_bits >= 64 || 1u64 << host_bits > MAX_ITEMS {
        return Err(too_many());
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
    Ok(Value::from(hosts.collect::<std::collections::BTreeSet<Value>>()))
}

pub fn shift_left(args: &[Value]) -> Outcome {
    if args[1].as_u32().map_err(|_| not_integers())? > MAX_SHIFT {
        return Err(Refused::new(format!("shifted by more than {MAX_SHIFT} bits")));
    }
    let (number, by) = (args[0].as_number(), args[1].as_number());
    match (number, by) {
        (Ok(number), Ok(by)) => number.lsh(by).map(Value::from).ok_or_else(not_integers),
        _ => Err(not_integers()),
    }
}

fn not_integers() -> Refused {
    Refused::new("operands must be integers of 64 bits")
}

fn too_many() -> Refused {
    Refused::new(format!("more than {MAX_ITEMS} items"))
}
