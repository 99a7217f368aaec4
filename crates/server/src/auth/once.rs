//! Links that sign a browser in once: what `longrun dev` prints.
//!
//! A link is known to the process that created it and to those who read it there. It holds a code of 256 random bits,
//! of which only the SHA-256 is kept; the first caller that presents it gets the session of the token that it was made
//! for, and nobody after that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Secret;
use super::session::random_text;

/// How long a link can be used.
const VALID_FOR: Duration = Duration::from_secs(600);
/// The most links that can be valid at a time; beyond it, the oldest is no longer valid.
const MOST: usize = 16;

/// The links of a process that have not been used. Clones share them.
#[derive(Clone, Default)]
pub struct SignInLinks(Arc<Mutex<VecDeque<Unused>>>);

struct Unused {
    hash: [u8; 32],
    secret: Secret,
    made_at: Instant,
}

impl SignInLinks {
    /// The path of a new link that signs in with this token; it can be used once, within ten minutes.
    pub fn issue(&self, secret: &Secret) -> String {
        format!("/ui/sign-in?once={}", self.issue_at(secret, Instant::now()))
    }

    /// The token of a code that has not been used; this uses the code up.
    pub(crate) fn redeem(&self, code: &str) -> Option<Secret> {
        self.redeem_at(code, Instant::now())
    }

    fn issue_at(&self, secret: &Secret, now: Instant) -> String {
        let code = random_text();
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.len() == MOST {
            unused.pop_front();
        }
        unused.push_back(Unused { hash: hash(&code), secret: secret.clone(), made_at: now });
        code
    }

    fn redeem_at(&self, code: &str, now: Instant) -> Option<Secret> {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unused.retain(|link| now.saturating_duration_since(link.made_at) < VALID_FOR);
        let hash = hash(code);
        let place = unused.iter().position(|link| link.hash == hash)?;
        unused.remove(place).map(|link| link.secret)
    }
}

/// Hashes are compared, so that the time it takes says nothing about a code.
fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_code_works_once_within_ten_minutes() {
        let (links, secret, now) = (SignInLinks::default(), Secret::generate().unwrap(), Instant::now());
        let code = links.issue_at(&secret, now);
        assert_eq!(code.len(), 43, "256 bits in base64");
        assert_eq!(links.redeem_at("", now), None);
        assert_eq!(links.redeem_at(&code[..42], now), None);
        let other = links.issue_at(&secret, now);
        assert_ne!(code, other);
        assert_eq!(links.redeem_at(&code, now + VALID_FOR - Duration::from_secs(1)), Some(secret));
        assert_eq!(links.redeem_at(&code, now), None, "it was used");
        assert_eq!(links.redeem_at(&other, now + VALID_FOR), None, "it has expired");
        assert_eq!(SignInLinks::default().redeem_at(&other, now), None, "another process knows nothing of it");
    }

    #[test]
    fn the_oldest_gives_way_when_there_are_many() {
        let (links, secret, now) = (SignInLinks::default(), Secret::generate().unwrap(), Instant::now());
        let codes: Vec<String> = (0..=MOST).map(|_| links.issue_at(&secret, now)).collect();
        assert_eq!(links.redeem_at(&codes[0], now), None);
        assert!(codes[1..].iter().all(|code| links.redeem_at(code, now).is_some()));
    }
}
