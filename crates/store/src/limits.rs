//! The limits of one organization, set by a call and kept in the store. They take precedence over the servers'
//! configuration.

use std::collections::BTreeMap;

use operations::{MAX_INLINE_BYTES, Violation, check_kind};
use serde::{Deserialize, Serialize};

use crate::{Quota, Rate, StoreError};

/// A higher weight would keep others from starting for long.
pub const MOST_WEIGHT: u32 = 1_000;
/// Kinds that may have a limit of their own in one organization.
const MOST_KINDS: usize = 1_000;

/// Limits of one organization; a field that is left out is as in the servers' configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Operations that have not ended; 0: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending: Option<u64>,
    /// Operations that may be created per second, on each server; 0: as fast as they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Operations that may be created at once after a pause; 0: as many as in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// The most bytes of an operation's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input: Option<u64>,
    /// The most bytes of an operation's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    /// How many of its operations start for each one of an organization with weight 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// By kind, how many of its operations may run at a time, over all servers and workers; 0: any number. Kinds that
    /// are left out are as in the servers' configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_running: BTreeMap<String, u32>,
}

impl Limits {
    /// What is wrong with them, field by field.
    pub fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut check = |holds: bool, field: &str, message: String| {
            if !holds {
                violations.push(Violation::new(field, message));
            }
        };
        let rate = self.rate.unwrap_or_default();
        let message = "must be a number of operations per second, e.g. 50 or 0.5; 0 sets no limit";
        check(rate.is_finite() && rate >= 0.0, "rate", message.to_owned());
        let message = "needs a rate: the burst is how many operations may be saved up at that rate";
        check(self.burst.unwrap_or(0) == 0 || rate > 0.0, "burst", message.to_owned());
        for (field, size) in [("max_input", self.max_input), ("max_output", self.max_output)] {
            let message = format!(
                "must be above 0 and at most {MAX_INLINE_BYTES} bytes, the most that is stored for an operation"
            );
            check(size.is_none_or(|size| (1..=MAX_INLINE_BYTES as u64).contains(&size)), field, message);
        }
        let message = format!("must be between 1 and {MOST_WEIGHT}");
        check(self.weight.is_none_or(|weight| (1..=MOST_WEIGHT).contains(&weight)), "weight", message);
        let message = format!("names {} kinds; at most {MOST_KINDS} are allowed", self.max_running.len());
        check(self.max_running.len() <= MOST_KINDS, "max_running", message);
        violations.extend(self.max_running.keys().filter_map(|kind| check_kind("max_running", kind).err()));
        violations
    }

    /// The quota of an organization to which the given one applies otherwise.
    pub fn over(&self, otherwise: Quota) -> Quota {
        let size = |size: Option<u64>, otherwise: usize| {
            size.map_or(otherwise, |size| usize::try_from(size).unwrap_or(MAX_INLINE_BYTES).min(MAX_INLINE_BYTES))
        };
        let rate = match self.rate {
            None => otherwise.rate,
            Some(rate) => {
                let burst = self.burst.filter(|burst| *burst > 0).map_or(rate.ceil(), f64::from);
                (rate > 0.0).then_some(Rate { per_second: rate, burst: burst.max(1.0) })
            }
        };
        Quota {
            max_pending: self.max_pending.map_or(otherwise.max_pending, |most| (most > 0).then_some(most)),
            rate,
            max_schedules: otherwise.max_schedules,
            max_evidence: otherwise.max_evidence,
            max_input: size(self.max_input, otherwise.max_input),
            max_output: size(self.max_output, otherwise.max_output),
            weight: self.weight.unwrap_or(otherwise.weight),
        }
    }
}

/// The error for a row that holds no limits.
pub(crate) fn damaged() -> StoreError {
    StoreError::Unusable("a row of the table of limits is damaged".to_owned())
}

/// Limits by organization.
pub(crate) type Stored = BTreeMap<String, Limits>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_otherwise() {
        let otherwise = Quota {
            max_pending: Some(5),
            rate: Some(Rate { per_second: 2.0, burst: 9.0 }),
            weight: 3,
            ..Quota::default()
        };
        assert_eq!(Limits::default().over(otherwise), otherwise);
        let limits = Limits { max_pending: Some(0), rate: Some(0.5), max_input: Some(10), ..Limits::default() };
        let quota = limits.over(otherwise);
        assert_eq!((quota.max_pending, quota.max_input, quota.weight), (None, 10, 3));
        assert_eq!(quota.rate, Some(Rate { per_second: 0.5, burst: 1.0 }));
        assert_eq!(Limits { rate: Some(0.0), ..Limits::default() }.over(otherwise).rate, None);
    }

    #[test]
    fn every_violation_is_told() {
        let limits = Limits {
            rate: Some(f64::NAN),
            burst: Some(1),
            max_input: Some(0),
            max_output: Some(2 << 20),
            weight: Some(0),
            ..Limits::default()
        };
        let fields: Vec<String> = limits.violations().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["rate", "burst", "max_input", "max_output", "weight"]);
        assert_eq!(Limits { burst: Some(2), rate: Some(1.0), ..Limits::default() }.violations(), []);
    }
}
