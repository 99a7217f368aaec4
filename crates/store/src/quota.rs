//! The limits of an organization, and its share of the starts.
//!
//! **Operations that have not ended.** All servers share the number of an organization's next operation, so it says how
//! much was created since a count: while it stays below a *ceiling* (the number at the count, plus the capacity that
//! was left) the limit cannot be exceeded, whichever server creates. A creation compares the two in the statement that
//! takes its numbers; only at the ceiling, or after [`CEILING_LASTS`], are operations counted again.
//!
//! **Rate.** A bucket in each process, which may go into debt: a batch larger than the burst waits until the bucket is
//! full, and those after it until the debt is paid.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use operations::{MAX_INLINE_BYTES, NewOperation, Outcome, Refusal, Status, Timestamp, Violation};

use crate::limits::Stored;
use crate::{Keyring, Settlement};

/// A ceiling is not used for longer: retried operations raise the count without taking a number.
const CEILING_LASTS: Duration = Duration::from_secs(10);
/// When an organization that has reached its limit should try again: how long its operations take is not known.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// How long the inbox is not read after there was no capacity for the rows that wait there: reading it takes a
/// transaction.
const INBOX_PAUSE: Duration = Duration::from_millis(100);

/// Schedules of an organization, unless configured otherwise: more than people keep in view.
pub const DEFAULT_MAX_SCHEDULES: u32 = 1_000;

/// The limits of one organization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Operations that have not ended, pending and running; `None`: any number.
    pub max_pending: Option<u64>,
    /// How fast operations may be created, in each process; `None`: as fast as they come.
    pub rate: Option<Rate>,
    /// The most bytes of an operation's input; not above [`MAX_INLINE_BYTES`].
    pub max_input: usize,
    /// The most bytes of an operation's output; not above [`MAX_INLINE_BYTES`].
    pub max_output: usize,
    /// Schedules that it may have.
    pub max_schedules: u32,
    /// Bytes of evidence that it may have; `None`: any number.
    pub max_evidence: Option<u64>,
    /// Operations that it may start for each one that an organization of weight 1 starts, while both have some waiting;
    /// at least 1.
    pub weight: u32,
}

/// How fast something may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Times per second, in the long run; above 0.
    pub per_second: f64,
    /// Times at once, after a pause; at least 1.
    pub burst: f64,
}

impl Default for Quota {
    /// No limits except those that hold for every operation, and the weight 1.
    fn default() -> Quota {
        Quota {
            max_pending: None,
            rate: None,
            max_input: MAX_INLINE_BYTES,
            max_output: MAX_INLINE_BYTES,
            max_schedules: DEFAULT_MAX_SCHEDULES,
            max_evidence: None,
            weight: 1,
        }
    }
}

impl Quota {
    /// What is wrong with an input that is longer than it may be.
    pub fn input_violation(&self, input: &str) -> Option<Violation> {
        let (length, most) = (input.len(), self.max_input);
        let message =
            || format!("is {length} bytes long; at most {most} are allowed for an operation of this organization");
        (length > most).then(|| Violation::new("input", message()))
    }
}

/// The limits of every organization.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    /// Organizations that are not named in `named`.
    pub everybody: Quota,
    /// By the organization's name.
    pub named: BTreeMap<String, Quota>,
    /// Kinds that longrun itself creates: no limit holds for their operations, they are not counted, and no application
    /// may put them into the inbox.
    pub own_kinds: BTreeSet<String>,
    /// How many operations of a kind may run at a time.
    pub running: RunningLimits,
}

/// How many operations of a kind may run at a time in one organization, over all servers and workers. A kind that is
/// not named may have any number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningLimits {
    /// By kind, in each organization that has no limit of its own.
    pub everybody: BTreeMap<String, u32>,
    /// By organization and kind; 0: any number.
    pub named: BTreeMap<String, BTreeMap<String, u32>>,
}

impl RunningLimits {
    /// The limit of a kind in an organization, if there is one.
    pub fn of(&self, organization: &str, kind: &str) -> Option<u32> {
        let named = self.named.get(organization).and_then(|kinds| kinds.get(kind));
        named.or_else(|| self.everybody.get(kind)).copied().filter(|most| *most > 0)
    }

    /// All limits of an organization, by kind.
    pub fn all_of(&self, organization: &str) -> BTreeMap<String, u32> {
        let own = self.named.get(organization).into_iter().flatten();
        let mut all: BTreeMap<String, u32> =
            self.everybody.iter().chain(own).map(|(kind, most)| (kind.clone(), *most)).collect();
        all.retain(|_, most| *most > 0);
        all
    }

    /// Whether there are no limits at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.everybody.is_empty() && self.named.is_empty()
    }

    /// Those of these kinds that have a limit, and how many may run.
    pub(crate) fn of_kinds<'k>(&self, organization: &str, kinds: &'k [String]) -> Vec<(&'k str, u32)> {
        if self.is_empty() {
            return Vec::new();
        }
        kinds.iter().filter_map(|kind| Some((kind.as_str(), self.of(organization, kind)?))).collect()
    }
}

impl Quotas {
    /// The quota of one organization.
    pub fn of(&self, organization: &str) -> Quota {
        self.named.get(organization).copied().unwrap_or(self.everybody)
    }

    /// The settlement, as a failure when its output is longer than the organization's may be.
    pub(crate) fn bounded(&self, settlement: Settlement) -> Settlement {
        let Outcome::Completed { output } = &settlement.outcome else { return settlement };
        let (length, most) = (output.len(), self.of(&settlement.lease.organization).max_output);
        if length <= most {
            return settlement;
        }
        let message = format!(
            "the output is {length} bytes long; at most {most} are allowed for an operation of this organization"
        );
        Settlement { outcome: Outcome::Failed { message, retryable: false }, ..settlement }
    }

    /// The same, except that outputs may have any length: the caller has checked them.
    pub(crate) fn with_any_output(mut self) -> Quotas {
        [&mut self.everybody]
            .into_iter()
            .chain(self.named.values_mut())
            .for_each(|quota| quota.max_output = usize::MAX);
        self
    }

    /// The same with the limits that calls have set for single organizations.
    pub(crate) fn with_limits(&self, stored: &Stored) -> Quotas {
        let mut merged = self.clone();
        for (organization, limits) in stored {
            let otherwise = self.of(organization);
            let mut quota = limits.over(otherwise);
            // Outputs that may have any length were checked before.
            if otherwise.max_output == usize::MAX {
                quota.max_output = usize::MAX;
            }
            merged.named.insert(organization.clone(), quota);
            if !limits.max_running.is_empty() {
                let named = merged.running.named.entry(organization.clone()).or_default();
                named.extend(limits.max_running.iter().map(|(kind, most)| (kind.clone(), *most)));
            }
        }
        merged
    }

    /// For how many of the operations the limits hold.
    pub(crate) fn limited<'n>(&self, operations: impl IntoIterator<Item = &'n NewOperation>) -> usize {
        operations.into_iter().filter(|new| self.is_limited(&new.kind)).count()
    }

    /// Whether the limits hold for operations of a kind: not for those that longrun itself creates.
    pub(crate) fn is_limited(&self, kind: &str) -> bool {
        !self.own_kinds.contains(kind)
    }
}

/// Which limit of its organization a creation would have exceeded.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Exceeded {
    /// [`Quota::max_pending`].
    #[error(
        "the organization may have at most {limit} operations that have not ended: wait until some have ended, or cancel some"
    )]
    Pending {
        /// Operations.
        limit: u64,
    },
    /// [`Quota::rate`].
    #[error(
        "the organization may create {} operations per second, and {} at once after a pause: wait as long as Retry-After says",
        rate.per_second, rate.burst
    )]
    Rate {
        /// The rate that is allowed.
        rate: Rate,
        /// Until there is capacity for this creation, if nobody else creates.
        wait: Duration,
    },
}

impl Exceeded {
    /// When to try again.
    pub fn retry_after(&self) -> Duration {
        match self {
            Exceeded::Pending { .. } => FULL_RETRY,
            Exceeded::Rate { wait, .. } => *wait,
        }
    }
}

/// The quotas of a store and what is known about their use, shared with its writers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The quotas as the process was configured, and the limits that calls have set in the store.
    configured: Mutex<(Quotas, Arc<Stored>)>,
    /// Both merged.
    quotas: RwLock<Arc<Quotas>>,
    /// How texts that come in by the inbox, and by schedules, are sealed.
    keyring: RwLock<Keyring>,
    used: Mutex<HashMap<String, Used>>,
}

/// What is known about one organization. Only organizations with a limit are kept.
#[derive(Debug, Default)]
struct Used {
    /// The content of the bucket, and when it was updated.
    bucket: Option<(f64, Timestamp)>,
    /// The number from which on operations must be counted again, and when they were counted.
    ceiling: Option<(i64, Timestamp)>,
    /// When there was no capacity for the rows that wait in the inbox.
    had_all: Option<Timestamp>,
}

impl Admission {
    /// Replaces the quotas; what is known about their use is forgotten.
    pub(crate) fn set(&self, quotas: Quotas) {
        let mut configured = self.0.configured.lock().unwrap_or_else(PoisonError::into_inner);
        configured.0 = quotas;
        self.merge(&configured);
        self.used().clear();
    }

    /// Replaces the limits that the store has for single organizations; what is known about the use is forgotten only
    /// for those that change.
    pub(crate) fn set_stored(&self, stored: Stored) {
        let mut configured = self.0.configured.lock().unwrap_or_else(PoisonError::into_inner);
        if *configured.1 == stored {
            return;
        }
        let before = std::mem::replace(&mut configured.1, Arc::new(stored));
        self.merge(&configured);
        self.used().retain(|organization, _| before.get(organization) == configured.1.get(organization));
    }

    /// The limits that calls have set.
    pub(crate) fn stored(&self) -> Arc<Stored> {
        Arc::clone(&self.0.configured.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    fn merge(&self, (quotas, stored): &(Quotas, Arc<Stored>)) {
        *self.0.quotas.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(quotas.with_limits(stored));
    }

    pub(crate) fn seal_with(&self, keyring: Keyring) {
        *self.0.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring;
    }

    pub(crate) fn keyring(&self) -> Keyring {
        self.0.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn quotas(&self) -> Arc<Quotas> {
        Arc::clone(&self.0.quotas.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn of(&self, organization: &str) -> Quota {
        self.quotas().of(organization)
    }

    fn used(&self) -> MutexGuard<'_, HashMap<String, Used>> {
        // Every change is one assignment: a poisoned map is still whole.
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `count` creations out of the organization's bucket.
    pub(crate) fn take(&self, organization: &str, count: usize, now: Timestamp) -> Result<(), Exceeded> {
        let Some(rate) = self.of(organization).rate.filter(|_| count > 0) else { return Ok(()) };
        let mut used = self.used();
        let left = bucket(&mut used, organization, rate, now);
        let wanted = (count as f64).min(rate.burst);
        // Rounding must not make a whole one a little less.
        if *left + 1e-6 < wanted {
            let wait = Duration::try_from_secs_f64((wanted - *left) / rate.per_second).unwrap_or(Duration::MAX);
            return Err(Exceeded::Rate { rate, wait });
        }
        *left -= count as f64;
        Ok(())
    }

    /// Puts back the share that was taken for creations that were not made.
    pub(crate) fn give_back(&self, organization: &str, count: usize, now: Timestamp) {
        let Some(rate) = self.of(organization).rate.filter(|_| count > 0) else { return };
        let mut used = self.used();
        let left = bucket(&mut used, organization, rate, now);
        *left = (*left + count as f64).min(rate.burst);
    }

    /// Creations that the rate allows now; `None`: any number.
    pub(crate) fn allowed(&self, organization: &str, now: Timestamp) -> Option<u64> {
        let rate = self.of(organization).rate?;
        let left = *bucket(&mut self.used(), organization, rate, now);
        Some((left + 1e-6).max(0.0) as u64)
    }

    /// Notes that the rows in the inbox have to keep waiting.
    pub(crate) fn has_all(&self, organization: &str, now: Timestamp) {
        self.used().entry(organization.to_owned()).or_default().had_all = Some(now);
    }

    /// Whether it is worth checking if more of the inbox can be taken.
    pub(crate) fn may_have_more(&self, organization: &str, now: Timestamp) -> bool {
        let had_all = self.used().get(organization).and_then(|used| used.had_all);
        had_all.is_none_or(|at| now >= at.after(INBOX_PAUSE) || now < at)
    }

    /// The ceiling, while it may be used.
    pub(crate) fn ceiling(&self, organization: &str, now: Timestamp) -> Option<i64> {
        let (ceiling, at) = self.used().get(organization)?.ceiling?;
        (now < at.after(CEILING_LASTS) && now >= at).then_some(ceiling)
    }

    /// Notes a count: `pending` operations had not ended when the next number was `next_seq`, and none could be
    /// created. Answers the ceiling.
    pub(crate) fn counted(&self, organization: &str, limit: u64, next_seq: i64, pending: i64, now: Timestamp) -> i64 {
        let capacity = i64::try_from(limit).unwrap_or(i64::MAX).saturating_sub(pending).max(0);
        let ceiling = next_seq.saturating_add(capacity);
        self.used().entry(organization.to_owned()).or_default().ceiling = Some((ceiling, now));
        ceiling
    }

    /// Whether another operation may start in the place of one that ended, as far as is known here.
    pub(crate) fn frees(&self, results: &[Result<Status, Refusal>]) -> bool {
        !self.quotas().running.is_empty() && results.iter().any(Result::is_ok)
    }

    /// The settlement, as a failure when its output is longer than the organization's may be.
    pub(crate) fn bounded(&self, settlement: Settlement) -> Settlement {
        self.quotas().bounded(settlement)
    }
}

/// The organization's bucket, with what was added since the last update.
fn bucket<'u>(used: &'u mut HashMap<String, Used>, organization: &str, rate: Rate, now: Timestamp) -> &'u mut f64 {
    let used = used.entry(organization.to_owned()).or_default();
    let (left, at) = used.bucket.get_or_insert((rate.burst, now));
    let millis = now.as_millis().saturating_sub(at.as_millis()).max(0);
    *left = (*left + millis as f64 / 1_000.0 * rate.per_second).min(rate.burst);
    *at = now;
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(rate: Option<Rate>) -> Admission {
        let admission = Admission::default();
        admission.set(Quotas { everybody: Quota { rate, ..Quota::default() }, ..Quotas::default() });
        admission
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate_holds() {
        let admission = admission(Some(Rate { per_second: 2.0, burst: 3.0 }));
        assert_eq!(
            (0..4).map(|_| admission.take("a", 1, at(0)).is_ok()).collect::<Vec<_>>(),
            [true, true, true, false]
        );
        let Err(Exceeded::Rate { wait, .. }) = admission.take("a", 1, at(0)) else { panic!("the bucket is empty") };
        assert_eq!(wait, Duration::from_millis(500));
        assert!(admission.take("b", 1, at(0)).is_ok(), "each organization has its own");
        assert!(admission.take("a", 1, at(499)).is_err());
        assert!(admission.take("a", 1, at(500)).is_ok());
        assert_eq!(admission.allowed("a", at(60_000)), Some(3), "no more than the burst is saved up");
    }

    #[test]
    fn a_batch_above_the_burst_goes_through_once_and_is_paid_for_later() {
        let admission = admission(Some(Rate { per_second: 10.0, burst: 5.0 }));
        assert!(admission.take("a", 25, at(0)).is_ok());
        assert!(admission.take("a", 1, at(2_000)).is_err(), "20 are owed");
        assert!(admission.take("a", 1, at(2_100)).is_ok());
        admission.give_back("a", 1, at(2_100));
        assert_eq!(admission.allowed("a", at(2_100)), Some(1));
    }

    #[test]
    fn a_ceiling_is_used_for_a_while() {
        let admission = admission(None);
        assert_eq!(admission.ceiling("a", at(0)), None);
        assert_eq!(admission.counted("a", 100, 1_001, 90, at(0)), 1_011);
        assert_eq!(admission.ceiling("a", at(9_999)), Some(1_011));
        assert_eq!(admission.ceiling("a", at(10_000)), None);
        assert_eq!(admission.ceiling("a", at(-1)), None, "a clock that was set back");
        assert_eq!(admission.counted("a", 100, 1_001, 150, at(0)), 1_001, "more than the limit leave no capacity");
    }
}
