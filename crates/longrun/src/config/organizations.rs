//! The limits of organizations: `[limits]` applies to each, `[organizations.NAME]` to one.

use std::collections::BTreeMap;

use operations::{MAX_INLINE_BYTES, check_kind, check_name};
use serde::{Deserialize, Serialize};
use server::CallLimit;
use store::{DEFAULT_MAX_SCHEDULES, Quota, Rate};
use toml::Table;

use super::tables::{self, Complaints};
use super::units::ByteSize;

/// The limits of an organization, unless its own table overrides them. 0 means unlimited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrganizationLimits {
    /// Maximum number of operations that have not ended, over all servers.
    pub max_pending: u64,
    /// Operations that it may create per second, on each server.
    pub rate: f64,
    /// Operations that it may create at once after a pause; 0: as many as in one second.
    pub burst: u32,
    /// By kind, how many of its operations may run at a time, over all servers and workers.
    pub max_running: BTreeMap<String, u32>,
    /// Maximum size of an operation's input in bytes.
    pub max_input: ByteSize,
    /// Maximum size of an operation's output in bytes.
    pub max_output: ByteSize,
    /// Maximum number of its schedules.
    pub max_schedules: u32,
    /// Maximum total size of its evidence in bytes.
    pub max_evidence: ByteSize,
    /// Calls that it may make per second, on each server, whatever they do.
    pub call_rate: f64,
    /// Calls that it may make at once after a pause; 0: as many as in one second.
    pub call_burst: u32,
    /// Calls that each of its tokens may make per second, on each server.
    pub token_call_rate: f64,
    /// Calls that each of its tokens may make at once after a pause; 0: as many as in one second.
    pub token_call_burst: u32,
}

/// The settings of one organization; a field that is not set is taken from [`OrganizationLimits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Organization {
    /// [`OrganizationLimits::max_pending`].
    pub max_pending: Option<u64>,
    /// [`OrganizationLimits::rate`].
    pub rate: Option<f64>,
    /// [`OrganizationLimits::burst`].
    pub burst: Option<u32>,
    /// [`OrganizationLimits::max_running`], for the kinds that it names.
    pub max_running: BTreeMap<String, u32>,
    /// [`OrganizationLimits::max_input`].
    pub max_input: Option<ByteSize>,
    /// [`OrganizationLimits::max_output`].
    pub max_output: Option<ByteSize>,
    /// [`OrganizationLimits::max_schedules`].
    pub max_schedules: Option<u32>,
    /// [`OrganizationLimits::max_evidence`].
    pub max_evidence: Option<ByteSize>,
    /// [`OrganizationLimits::call_rate`].
    pub call_rate: Option<f64>,
    /// [`OrganizationLimits::call_burst`].
    pub call_burst: Option<u32>,
    /// [`OrganizationLimits::token_call_rate`].
    pub token_call_rate: Option<f64>,
    /// [`OrganizationLimits::token_call_burst`].
    pub token_call_burst: Option<u32>,
    /// How many of its operations start for each one of an organization of weight 1, while both have pending
    /// operations.
    pub weight: u32,
}

/// A higher weight would keep others from starting for too long.
const MOST_WEIGHT: u32 = 1_000;

impl Default for OrganizationLimits {
    fn default() -> OrganizationLimits {
        let inline = ByteSize(MAX_INLINE_BYTES as u64);
        OrganizationLimits {
            max_pending: 0,
            rate: 0.0,
            burst: 0,
            max_running: BTreeMap::new(),
            max_input: inline,
            max_output: inline,
            max_schedules: DEFAULT_MAX_SCHEDULES,
            max_evidence: ByteSize(0),
            call_rate: 0.0,
            call_burst: 0,
            token_call_rate: 0.0,
            token_call_burst: 0,
        }
    }
}

impl Default for Organization {
    fn default() -> Organization {
        Organization {
            max_pending: None,
            rate: None,
            burst: None,
            max_running: BTreeMap::new(),
            max_input: None,
            max_output: None,
            max_schedules: None,
            max_evidence: None,
            call_rate: None,
            call_burst: None,
            token_call_rate: None,
            token_call_burst: None,
            weight: 1,
        }
    }
}

/// A rate, unless it is 0; a burst of 0 is as many as in one second.
fn rate(per_second: f64, burst: u32) -> Option<Rate> {
    let burst = if burst == 0 { per_second.ceil() } else { f64::from(burst) };
    (per_second > 0.0).then_some(Rate { per_second, burst })
}

impl OrganizationLimits {
    /// The quota in the format of the store, for an organization of this weight.
    pub fn quota(&self, weight: u32) -> Quota {
        let size = |size: ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        Quota {
            max_pending: (self.max_pending > 0).then_some(self.max_pending),
            rate: rate(self.rate, self.burst),
            max_input: size(self.max_input),
            max_output: size(self.max_output),
            max_schedules: if self.max_schedules == 0 { u32::MAX } else { self.max_schedules },
            max_evidence: (self.max_evidence.0 > 0).then_some(self.max_evidence.0),
            weight,
        }
    }

    /// The limit in the format of the server.
    pub fn call_limit(&self) -> CallLimit {
        CallLimit {
            organization: rate(self.call_rate, self.call_burst),
            token: rate(self.token_call_rate, self.token_call_burst),
        }
    }

    /// Checks that the types cannot express.
    pub fn check(&self) -> Complaints {
        let mut complaints = Complaints::new();
        for (rate, rate_key, burst, burst_key, of) in [
            (self.rate, "rate", self.burst, "burst", "operations"),
            (self.call_rate, "call_rate", self.call_burst, "call_burst", "calls"),
            (self.token_call_rate, "token_call_rate", self.token_call_burst, "token_call_burst", "calls"),
        ] {
            let message = format!("must be a number of {of} per second, e.g. 50 or 0.5; 0 sets no limit");
            complaints.require(rate.is_finite() && rate >= 0.0, rate_key, message);
            let message = format!("needs a {rate_key}: it is how much of that rate may accumulate");
            complaints.require(burst == 0 || rate > 0.0, burst_key, message);
        }
        for (key, size) in [("max_input", self.max_input), ("max_output", self.max_output)] {
            let message = "must be above 0 and at most 1MiB, the maximum that an operation can store";
            complaints.require((1..=MAX_INLINE_BYTES as u64).contains(&size.0), key, message);
        }
        for violation in self.max_running.keys().filter_map(|kind| check_kind("max_running", kind).err()) {
            complaints.add("max_running", format!("contains an invalid name of a kind: it {}", violation.description));
        }
        complaints
    }
}

impl Organization {
    /// Reads the table `[organizations.NAME]`.
    pub fn read(mut table: Table, complaints: &mut Complaints) -> Organization {
        let organization = tables::take(&mut table, complaints);
        tables::refuse_rest(&table, &tables::keys::<Organization>(), complaints);
        organization
    }

    /// Every key that is set or has a default, with its value.
    pub fn shown(&self) -> Table {
        tables::shown(self)
    }

    /// The limits that apply to it: its own, and for the rest those of every organization.
    pub fn limits(&self, everybody: &OrganizationLimits) -> OrganizationLimits {
        OrganizationLimits {
            max_pending: self.max_pending.unwrap_or(everybody.max_pending),
            rate: self.rate.unwrap_or(everybody.rate),
            burst: self.burst.unwrap_or(everybody.burst),
            max_running: everybody.max_running.iter().chain(&self.max_running).map(|(k, n)| (k.clone(), *n)).collect(),
            max_input: self.max_input.unwrap_or(everybody.max_input),
            max_output: self.max_output.unwrap_or(everybody.max_output),
            max_schedules: self.max_schedules.unwrap_or(everybody.max_schedules),
            max_evidence: self.max_evidence.unwrap_or(everybody.max_evidence),
            call_rate: self.call_rate.unwrap_or(everybody.call_rate),
            call_burst: self.call_burst.unwrap_or(everybody.call_burst),
            token_call_rate: self.token_call_rate.unwrap_or(everybody.token_call_rate),
            token_call_burst: self.token_call_burst.unwrap_or(everybody.token_call_burst),
        }
    }

    /// Checks that the types cannot express.
    pub fn check(&self, name: &str, everybody: &OrganizationLimits) -> Complaints {
        let mut complaints = self.limits(everybody).check();
        let is_weight = (1..=MOST_WEIGHT).contains(&self.weight);
        complaints.require(is_weight, "weight", format!("must be between 1 and {MOST_WEIGHT}"));
        if let Err(violation) = check_name("organizations", name) {
            complaints.invalid_name("", name, "an organization", &violation);
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_has_its_own_limits_and_the_rest_of_everybodys() {
        let everybody = OrganizationLimits { max_pending: 100, rate: 2.5, ..OrganizationLimits::default() };
        let quota = everybody.quota(1);
        assert_eq!((quota.max_pending, quota.rate), (Some(100), Some(Rate { per_second: 2.5, burst: 3.0 })));
        let own = Organization { max_pending: Some(0), burst: Some(10), weight: 3, ..Organization::default() };
        let quota = own.limits(&everybody).quota(own.weight);
        assert_eq!((quota.max_pending, quota.weight), (None, 3));
        assert_eq!(quota.rate, Some(Rate { per_second: 2.5, burst: 10.0 }));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let everybody = OrganizationLimits::default();
        let of = |name: &str, organization: Organization| {
            organization.check(name, &everybody).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let keys = |organization| of("acme", organization);
        assert_eq!(of(" bad", Organization::default()), [""], "the table itself");
        assert_eq!(keys(Organization::default()), Vec::<String>::new());
        assert_eq!(keys(Organization { weight: 0, ..Organization::default() }), ["weight"]);
        assert_eq!(keys(Organization { rate: Some(-1.0), ..Organization::default() }), ["rate"]);
        assert_eq!(keys(Organization { burst: Some(5), ..Organization::default() }), ["burst"]);
        let too_large = Some(ByteSize::mebibytes(2));
        assert_eq!(keys(Organization { max_output: too_large, ..Organization::default() }), ["max_output"]);
    }
}
