//! How much of long inputs and outputs the answer with many operations holds.

/// The most bytes of such an answer: what clients accept unless they are configured otherwise, 4 MiB, without what
/// stands around the operations.
const MOST_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// What is left of an answer's bytes.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
}

impl Room {
    /// For an answer that has nothing yet.
    pub(super) fn whole() -> Room {
        Room { left: MOST_BYTES }
    }

    /// Beside messages of these lengths.
    pub(super) fn beside(lengths: impl Iterator<Item = usize>) -> Room {
        Room { left: MOST_BYTES.saturating_sub(lengths.sum()) }
    }

    /// Takes this many bytes; says whether there was space for them. When there was not, nothing that comes later gets
    /// any: no long text is read only to be thrown away.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_ends_it() {
        let mut room = Room::beside([MOST_BYTES - 10, 4].into_iter());
        assert!(room.take(5));
        assert!(!room.take(2));
        assert!(room.is_full() && !room.take(1));
        assert!(Room::beside([MOST_BYTES + 1].into_iter()).is_full());
        assert!(Room::whole().take(MOST_BYTES));
    }
}
