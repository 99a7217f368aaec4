//! How many bytes of long inputs and outputs an answer with many operations may contain.

use prost::Message;

/// The most bytes of such an answer: the 4 MiB that clients accept by default, less what surrounds the operations.
const MOST_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Removes the messages at the end of a list for which one answer has no space; returns whether there were any. The
/// first message stays in any case.
pub(super) fn shorten<M: Message>(messages: &mut Vec<M>) -> bool {
    let mut budget = ByteBudget::whole();
    let fits = |(index, message): &(usize, &M)| budget.take(message.encoded_len()) || *index == 0;
    let fitting = messages.iter().enumerate().take_while(fits).count();
    let is_too_long = fitting < messages.len();
    messages.truncate(fitting);
    is_too_long
}

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
    fn a_list_is_shortened_to_what_fits_and_has_at_least_one_message() {
        let mut short = vec!["a".to_owned(), "b".to_owned()];
        assert!(!shorten(&mut short) && short.len() == 2);
        let half = "x".repeat(MOST_BYTES / 2);
        let mut long = vec![half.clone(), "b".to_owned(), half, "d".to_owned()];
        assert!(shorten(&mut long) && long.len() == 2);
        let mut huge = vec!["x".repeat(MOST_BYTES + 1), "b".to_owned()];
        assert!(shorten(&mut huge) && huge.len() == 1);
        assert!(!shorten(&mut huge) && !shorten(&mut Vec::<String>::new()));
    }

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
