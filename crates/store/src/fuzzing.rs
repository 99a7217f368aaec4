//! Entry points for fuzzers: functions that read texts that clients got from a store and send back. Not part of the
//! crate's promises.

use crate::{HistoryPlace, Position, PositionKey};

/// A cursor of the change log, sealed or not, or a position in a history.
pub fn cursor(text: &str) {
    let key = PositionKey::new(&[7; 32]).expect("32 bytes");
    if let Ok(position) = key.open("acme", text) {
        assert!(key.open("globex", text).is_err(), "a cursor of one organization is not valid for another");
        assert_eq!(key.open("acme", &key.seal("acme", position)), Ok(position));
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text, "one spelling each");
        assert_eq!(key.open("acme", &key.seal("acme", position)), Ok(position));
    }
    let _ = text.parse::<HistoryPlace>();
}
