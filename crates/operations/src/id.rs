//! Ids of operations: UUIDv7, so that they sort by creation time.

use std::fmt;
use std::str::FromStr;

use uuid::{ContextV7, Timestamp as UuidTime, Uuid};

use crate::Timestamp;

/// The id of an operation: a UUIDv7 (RFC 9562), written in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(Uuid);

impl OperationId {
    /// A new id whose time part is `at`. 74 random bits make it unique.
    pub fn new(at: Timestamp) -> OperationId {
        let millis = at.as_millis().unsigned_abs();
        let nanos = u32::try_from(millis % 1_000).expect("below 1,000") * 1_000_000;
        OperationId(Uuid::new_v7(UuidTime::from_unix(ContextV7::new(), millis / 1_000, nanos)))
    }

    /// The sixteen bytes that stores keep.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id with these bytes. Any sixteen bytes are accepted: they come from a store, which holds nothing but ids.
    pub const fn from_bytes(bytes: [u8; 16]) -> OperationId {
        OperationId(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// The text is not a UUID in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct InvalidId;

impl FromStr for OperationId {
    type Err = InvalidId;

    /// Accepts only the hyphenated form of 36 characters, in either case, so that an operation has one address.
    fn from_str(text: &str) -> Result<OperationId, InvalidId> {
        if text.len() != 36 {
            return Err(InvalidId);
        }
        Uuid::try_parse(text).map(OperationId).map_err(|_| InvalidId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_from_text_and_bytes_and_sort_by_time() {
        let early = OperationId::new(Timestamp::from_millis(1_700_000_000_000));
        let late = OperationId::new(Timestamp::from_millis(1_700_000_000_001));
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(OperationId::from_bytes(*early.as_bytes()), early);
        assert_eq!(&early.to_string()[14..15], "7", "version 7");
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "nope", "{0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000}", "0199aaaabbbb7ccc8dddeeeeffff0000"] {
            assert_eq!(text.parse::<OperationId>(), Err(InvalidId), "{text}");
        }
    }
}
