//! How many calls a token and an organization may make per time.
//!
//! The generic cell rate algorithm of `governor` keeps one number per key, in each process. There is a key for each
//! token and each organization that has called; it is forgotten once its whole burst is available again. The store
//! itself enforces the limit of creations ([`store::Quota::rate`]): there, a batch may go into debt, and operations
//! that were not created are credited again, which this algorithm does not do.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::HeaderValue;
use store::{Rate, Token};

use crate::error::ApiError;

/// The number of calls after which idle keys are forgotten.
const TIDY_EVERY: u32 = 4_096;
/// The most keys that are kept; when more are not idle, all are reset.
const MOST_KEYS: usize = 100_000;

/// How fast calls may be made. `None` means without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CallLimit {
    /// By all tokens of the organization together.
    pub organization: Option<Rate>,
    /// By each of its tokens.
    pub token: Option<Rate>,
}

/// How fast every organization may make calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallLimits {
    /// The limit of organizations that are not in `named`.
    pub everybody: CallLimit,
    /// The limits by the name of the organization.
    pub named: BTreeMap<String, CallLimit>,
}

/// The limits, and how much of them is used.
pub(crate) struct Rates {
    everybody: Limiters,
    named: HashMap<String, Limiters>,
}

struct Limiters {
    token: Option<Limiter>,
    organization: Option<Limiter>,
}

type Keyed = RateLimiter<String, DashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// One limit, and its use by each token or organization.
struct Limiter {
    /// Whose it is, as clients see it.
    of: &'static str,
    rate: Rate,
    quota: Quota,
    keyed: RwLock<Keyed>,
    checks: AtomicU32,
}

/// What is left of a limit after a call.
#[derive(Clone, Copy, Debug)]
struct Left {
    of: &'static str,
    rate: Rate,
    calls: u32,
    /// Seconds until more calls are allowed: the whole limit, or one call when none is left.
    seconds: u64,
}

/// What is left of the limits that apply to a call, for its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    left: [Option<Left>; 2],
}

impl Rates {
    pub(crate) fn new(limits: &CallLimits) -> Rates {
        let named = limits.named.iter().map(|(name, limit)| (name.clone(), Limiters::new(limit)));
        Rates { everybody: Limiters::new(&limits.everybody), named: named.collect() }
    }

    /// Counts a call against the limits of the token and its organization. `None` when there is no limit for them.
    ///
    /// # Errors
    /// [`ApiError::TooManyCalls`] when there is nothing left; what is left of the limits is returned with it.
    pub(crate) fn take(&self, token: &Token) -> Option<(Standing, Result<(), ApiError>)> {
        self.take_as(&token.id, &token.access.organization)
    }

    // The keys are Strings.
    fn take_as(&self, token: &String, organization: &String) -> Option<(Standing, Result<(), ApiError>)> {
        let limiters = self.named.get(organization).unwrap_or(&self.everybody);
        let mut standing = Standing::default();
        let mut taken = Ok(());
        let both = [(&limiters.token, token), (&limiters.organization, organization)];
        for (place, (limiter, key)) in standing.left.iter_mut().zip(both) {
            let Some(limiter) = limiter else { continue };
            let (left, wait) = limiter.take(key);
            *place = Some(left);
            if let Some(wait) = wait {
                taken = Err(ApiError::TooManyCalls { of: limiter.of, rate: limiter.rate, wait });
                break;
            }
        }
        standing.left.iter().any(Option::is_some).then_some((standing, taken))
    }
}

impl Limiters {
    fn new(limit: &CallLimit) -> Limiters {
        let limiter = |of, rate: Option<Rate>| rate.map(|rate| Limiter::new(of, rate));
        Limiters { token: limiter("token", limit.token), organization: limiter("organization", limit.organization) }
    }
}

impl Limiter {
    fn new(of: &'static str, rate: Rate) -> Limiter {
        // Neither a burst nor a period may be zero; rates that the configuration would refuse become the slowest here.
        let burst = NonZeroU32::new(rate.burst as u32).unwrap_or(NonZeroU32::MIN);
        let period = Duration::try_from_secs_f64(1.0 / rate.per_second).unwrap_or(Duration::MAX);
        let period = period.clamp(Duration::from_nanos(1), Duration::from_secs(24 * 3600));
        let quota = Quota::with_period(period).expect("a period above zero").allow_burst(burst);
        Limiter { of, rate, quota, keyed: RwLock::new(keyed(quota)), checks: AtomicU32::new(0) }
    }

    /// What is left, and how long to wait when nothing was.
    fn take(&self, key: &String) -> (Left, Option<Duration>) {
        if self.checks.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.tidy();
        }
        let keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
        let left = |calls, seconds| Left { of: self.of, rate: self.rate, calls, seconds };
        match keyed.check_key(key) {
            Ok(state) => (left(state.remaining_burst_capacity(), self.until_full(&state)), None),
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                (left(0, wait.as_secs_f64().ceil() as u64), Some(wait))
            }
        }
    }

    fn until_full(&self, state: &StateSnapshot) -> u64 {
        let used = self.quota.burst_size().get().saturating_sub(state.remaining_burst_capacity());
        (f64::from(used) / self.rate.per_second).ceil() as u64
    }

    /// Forgets keys that have had no calls for so long that their whole limit is available.
    fn tidy(&self) {
        let many = {
            let keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
            keyed.retain_recent();
            keyed.shrink_to_fit();
            keyed.len() > MOST_KEYS
        };
        if many {
            *self.keyed.write().unwrap_or_else(PoisonError::into_inner) = keyed(self.quota);
        }
    }
}

fn keyed(quota: Quota) -> Keyed {
    RateLimiter::dashmap(quota).with_middleware()
}

impl Standing {
    /// The values of `RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers defines them since its
    /// 8th version: lists of structured fields.
    pub(crate) fn headers(&self) -> (HeaderValue, HeaderValue) {
        let (mut policies, mut limits) = (String::new(), String::new());
        for Left { of, rate, calls, seconds } in self.left.iter().flatten() {
            let separator = if policies.is_empty() { "" } else { ", " };
            let window = (rate.burst / rate.per_second).ceil().clamp(1.0, 1e15) as u64;
            // Writing to a String does not fail.
            let _ = write!(policies, "{separator}\"{of}\";q={};w={window}", rate.burst as u32);
            let _ = write!(limits, "{separator}\"{of}\";r={calls};t={seconds}");
        }
        let value = |text: String| HeaderValue::try_from(text).expect("quotes, letters and digits");
        (value(policies), value(limits))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn slow(burst: f64) -> Option<Rate> {
        Some(Rate { per_second: 0.001, burst })
    }

    #[test]
    fn a_token_and_its_organization_have_limits_of_their_own() {
        let everybody = CallLimit { token: slow(2.0), organization: slow(3.0) };
        let named = [("free".to_owned(), CallLimit::default())].into();
        let rates = Rates::new(&CallLimits { everybody, named });
        let take = |id: &str, organization: &str| rates.take_as(&id.to_owned(), &organization.to_owned());
        let (standing, taken) = take("1", "a").unwrap();
        taken.unwrap();
        let (policy, limit) = standing.headers();
        assert_eq!(policy, "\"token\";q=2;w=2000, \"organization\";q=3;w=3000");
        assert_eq!(limit, "\"token\";r=1;t=1000, \"organization\";r=2;t=1000");
        take("1", "a").unwrap().1.unwrap();
        let (standing, refused) = take("1", "a").unwrap();
        let Err(ApiError::TooManyCalls { of: "token", wait, .. }) = refused else { panic!("{refused:?}") };
        assert!(wait > Duration::from_secs(900) && wait <= Duration::from_secs(1_000), "{wait:?}");
        assert!(standing.headers().1.to_str().unwrap().starts_with("\"token\";r=0;t="), "{standing:?}");
        take("2", "a").unwrap().1.unwrap();
        let refused = take("2", "a").unwrap().1;
        assert!(matches!(refused, Err(ApiError::TooManyCalls { of: "organization", .. })), "{refused:?}");
        take("3", "b").unwrap().1.unwrap();
        assert!((0..100).all(|_| take("4", "free").is_none()), "no limit, no headers");
    }

    #[test]
    fn no_more_keys_are_kept_than_fit_and_idle_ones_are_forgotten() {
        let limiter = Limiter::new("token", Rate { per_second: 1e9, burst: 1.0 });
        for number in 0..3 * TIDY_EVERY {
            limiter.take(&number.to_string());
        }
        assert!(limiter.keyed.read().unwrap().len() <= TIDY_EVERY as usize);
        let limiter = Limiter::new("token", Rate { per_second: 0.001, burst: 1.0 });
        for number in 0..MOST_KEYS + 2 * TIDY_EVERY as usize {
            limiter.take(&number.to_string());
            assert!(number % 1_000 > 0 || limiter.keyed.read().unwrap().len() <= MOST_KEYS + TIDY_EVERY as usize);
        }
        assert!(limiter.keyed.read().unwrap().len() < MOST_KEYS);
    }
}
