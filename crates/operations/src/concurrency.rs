//! How many operations with the same concurrency key may run at a time.

use crate::{Violation, check_text};

/// The maximum length of a concurrency key, in bytes.
pub const MAX_CONCURRENCY_KEY_BYTES: usize = 255;
/// The largest limit; a larger one would amount to no limit.
pub const MAX_CONCURRENCY_LIMIT: u32 = 10_000;

/// At most this many operations with the same key run at a time in their organization, whatever their kinds.
///
/// An operation occupies one of the slots of its key from the moment when it may be claimed until it ends or has to
/// wait for its next attempt. When operations name different limits for the same key, the limit of the newest creation
/// applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// 1 to [`MAX_CONCURRENCY_KEY_BYTES`] bytes, without control characters.
    pub key: String,
    /// 1 to [`MAX_CONCURRENCY_LIMIT`].
    pub limit: u32,
}

impl Concurrency {
    /// Everything that is wrong with the key and the limit.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.key.is_empty() || self.key.len() > MAX_CONCURRENCY_KEY_BYTES {
            let problem = format!("must have between 1 and {MAX_CONCURRENCY_KEY_BYTES} bytes");
            found.push(Violation::new("concurrency_key", problem));
        } else {
            found.extend(check_text("concurrency_key", &self.key).err());
        }
        if !(1..=MAX_CONCURRENCY_LIMIT).contains(&self.limit) {
            let problem = format!("must be between 1 and {MAX_CONCURRENCY_LIMIT}");
            found.push(Violation::new("concurrency_limit", problem));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_limits_have_bounds() {
        let of = |key: &str, limit| Concurrency { key: key.to_owned(), limit }.violations();
        assert_eq!(of("deploy:prod", 1), []);
        assert_eq!(of(&"k".repeat(255), 10_000), []);
        let fields = |found: Vec<Violation>| found.into_iter().map(|violation| violation.field).collect::<Vec<_>>();
        assert_eq!(fields(of("", 0)), ["concurrency_key", "concurrency_limit"]);
        assert_eq!(fields(of(&"k".repeat(256), 10_001)), ["concurrency_key", "concurrency_limit"]);
        assert_eq!(fields(of("a\u{0}b", 1)), ["concurrency_key"]);
    }
}
