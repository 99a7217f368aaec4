//! The progress of an attempt, as its handler describes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The maximum length of a progress, in bytes: it is a line for people. The same limit applies to remote workers.
const MAX_BYTES: usize = 1024;

/// Where a handler reports its progress. The next heartbeat sends the latest report since the last one.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Option<String>>>);

impl Progress {
    /// Reports the progress of the attempt; a text longer than 1 KiB is cut.
    pub fn tell(&self, text: impl Into<String>) {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        *self.lock() = Some(text);
    }

    /// What was reported since the last call, if anything was.
    pub fn take(&self) -> Option<String> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_taken_once_and_is_bounded() {
        let progress = Progress::default();
        assert_eq!(progress.take(), None);
        progress.tell("one");
        progress.clone().tell("two");
        assert_eq!(progress.take().as_deref(), Some("two"));
        assert_eq!(progress.take(), None);
        progress.tell("é".repeat(600));
        assert_eq!(progress.take().map(|text| text.len()), Some(MAX_BYTES));
    }
}
