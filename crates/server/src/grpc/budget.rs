//! How many bytes of long inputs and outputs an answer with many operations may contain.

/// The most bytes of such an answer: the 4 MiB that clients accept by default, less what surrounds the operations.
const MOST_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// The bytes that are left in an answer.
#[derive(Debug)]
pub(super) struct ByteBudget {
    left: usize,
}

impl ByteBudget {
    /// For an empty answer.
    pub(super) fn whole() -> ByteBudget {
        ByteBudget { left: MOST_BYTES }
    }

    /// What is left after messages of these lengths.
    pub(super) fn after(lengths: impl Iterator<Item = usize>) -> ByteBudget {
        ByteBudget { left: MOST_BYTES.saturating_sub(lengths.sum()) }
    }

    /// Takes this many bytes; returns whether there was space for them. Once there was not, all later requests are
    /// refused as well, so that no long text is read only to be thrown away.
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
        let mut budget = ByteBudget::after([MOST_BYTES - 10, 4].into_iter());
        assert!(budget.take(5));
        assert!(!budget.take(2));
        assert!(budget.is_full() && !budget.take(1));
        assert!(ByteBudget::after([MOST_BYTES + 1].into_iter()).is_full());
        assert!(ByteBudget::whole().take(MOST_BYTES));
    }
}
