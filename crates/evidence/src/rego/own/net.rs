//! Networks: which contains which, which overlap, and how several are merged into fewer.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regorus::Value;

use super::{Outcome, Refused, term, text};

/// The addresses from the first to the last, of one family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    is_v6: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// Reads `address/length`.
    fn cidr(text: &str) -> Result<Range, Refused> {
        let wrong = || Refused::new(format!("{text:?} is not an address and a prefix length, as in 10.0.0.0/24"));
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let plain = !length.is_empty() && length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u32 = length.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        let whole = Range::address(address).ok_or_else(wrong)?;
        let host_bits = whole.bits().checked_sub(length).ok_or_else(wrong)?;
        let hosts = if host_bits >= 128 { u128::MAX } else { (1 << host_bits) - 1 };
        let first = whole.first & !hosts;
        Ok(Range { first, last: first | hosts, ..whole })
    }

    fn address(text: &str) -> Option<Range> {
        let (is_v6, bits) = match text.parse::<IpAddr>().ok()? {
            IpAddr::V4(address) => (false, u128::from(address.to_bits())),
            // An IPv4 address that is written as an IPv6 address counts as IPv4.
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => (false, u128::from(address.to_bits())),
                None => (true, address.to_bits()),
            },
        };
        Some(Range { is_v6, first: bits, last: bits })
    }

    fn cidr_or_address(text: &str) -> Result<Range, Refused> {
        match Range::address(text) {
            Some(range) => Ok(range),
            None => Range::cidr(text),
        }
    }

    fn bits(&self) -> u32 {
        if self.is_v6 { 128 } else { 32 }
    }

    fn contains(&self, other: &Range) -> bool {
        self.is_v6 == other.is_v6 && self.first <= other.first && other.last <= self.last
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.is_v6 == other.is_v6 && self.first <= other.last && other.first <= self.last
    }

    /// The networks that the range consists of.
    fn networks(&self) -> Vec<String> {
        let mut networks = Vec::new();
        let mut first = self.first;
        loop {
            let largest = if first == 0 { self.bits() } else { first.trailing_zeros().min(self.bits()) };
            let fits = |host_bits: u32| host_bits < 128 && first + ((1 << host_bits) - 1) <= self.last;
            let whole = largest == 128 && first == 0 && self.last == u128::MAX;
            let host_bits =
                if whole { 128 } else { (0..=largest.min(127)).rev().find(|bits| fits(*bits)).unwrap_or(0) };
            let address = if self.is_v6 {
                IpAddr::from(Ipv6Addr::from_bits(first))
            } else {
                IpAddr::from(Ipv4Addr::from_bits(u32::try_from(first).unwrap_or(u32::MAX)))
            };
            networks.push(format!("{address}/{}", self.bits() - host_bits));
            if whole {
                return networks;
            }
            let last = first + ((1 << host_bits) - 1);
            if last >= self.last {
                return networks;
            }
            first = last + 1;
        }
    }
}

pub fn cidr_contains(args: &[Value]) -> Outcome {
    let (own, other) = (Range::cidr(text(args, 1)?)?, Range::cidr_or_address(text(args, 2)?)?);
    Ok(Value::Bool(own.contains(&other)))
}

pub fn cidr_intersects(args: &[Value]) -> Outcome {
    let (own, other) = (Range::cidr(text(args, 1)?)?, Range::cidr(text(args, 2)?)?);
    Ok(Value::Bool(own.overlaps(&other)))
}

/// The smallest number of networks that cover a list or set of addresses and networks.
pub fn cidr_merge(args: &[Value]) -> Outcome {
    let wrong = || Refused::new(format!("operand must be an array or a set of strings, not {}", term::kind(&args[0])));
    let items: Vec<&Value> = match &args[0] {
        Value::Array(items) => items.iter().collect(),
        Value::Set(items) => items.iter().collect(),
        _ => return Err(wrong()),
    };
    let mut ranges = Vec::new();
    for item in items {
        let Value::String(text) = item else { return Err(wrong()) };
        ranges.push(Range::cidr_or_address(text)?);
    }
    ranges.sort();
    let mut merged: Vec<Range> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.is_v6 == range.is_v6 && range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    let networks = merged.iter().flat_map(Range::networks).map(Value::from);
    Ok(Value::from(networks.collect::<BTreeSet<Value>>()))
}

/// Which of some networks contain which of some others: pairs of the keys of both.
pub fn cidr_contains_matches(args: &[Value]) -> Outcome {
    let networks = keyed(&args[0])?;
    let networks = networks.iter().map(|(key, text)| Ok((key, Range::cidr(text)?)));
    let networks = networks.collect::<Result<Vec<_>, Refused>>()?;
    let mut pairs = BTreeSet::new();
    for (key, text) in keyed(&args[1])? {
        let other = Range::cidr_or_address(&text)?;
        let containing = networks.iter().filter(|(_, network)| network.contains(&other));
        pairs.extend(containing.map(|(own, _)| Value::from(vec![(*own).clone(), key.clone()])));
    }
    Ok(Value::from(pairs))
}

/// The texts of a string or a collection, each with its key. Of a list in a collection, the first item is used.
fn keyed(value: &Value) -> Result<Vec<(Value, String)>, Refused> {
    let wrong = |found: &Value| Refused::new(format!("operand must hold strings, not {}", term::kind(found)));
    let text = |item: &Value| match item {
        Value::String(text) => Ok(text.to_string()),
        Value::Array(items) => match items.first() {
            Some(Value::String(text)) => Ok(text.to_string()),
            _ => Err(wrong(item)),
        },
        other => Err(wrong(other)),
    };
    match value {
        Value::String(text) => Ok(vec![(value.clone(), text.to_string())]),
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| Ok((Value::from(at), text(item)?))).collect(),
        Value::Set(items) => items.iter().map(|item| Ok((item.clone(), text(item)?))).collect(),
        Value::Object(fields) => fields.iter().map(|(key, item)| Ok((key.clone(), text(item)?))).collect(),
        other => Err(wrong(other)),
    }
}
