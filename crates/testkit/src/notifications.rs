//! Removes PostgreSQL's notifications from what its server sends.

/// The type of a message that carries a notification.
const NOTIFICATION: u8 = b'A';
/// The size of a message's type and length.
const HEADER: usize = 5;

/// The part of a server's messages that has been read and not yet passed on.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    unread: Vec<u8>,
    has_begun: bool,
}

impl Sieve {
    /// Returns the bytes to pass on after reading these; and how many notifications were removed, if requested.
    pub(crate) fn pass(&mut self, read: &[u8], takes_out: bool) -> (Vec<u8>, u64) {
        self.unread.extend_from_slice(read);
        let (mut passed, mut taken) = (Vec::with_capacity(self.unread.len()), 0);
        // The answer to a client that requests encryption is a single letter, without a length.
        if !self.has_begun && matches!(self.unread.first(), Some(b'N')) {
            passed.push(self.unread.remove(0));
        }
        self.has_begun |= !self.unread.is_empty();
        let mut rest = self.unread.as_slice();
        while let [kind, a, b, c, d, ..] = *rest {
            let length = HEADER - 4 + u32::from_be_bytes([a, b, c, d]) as usize;
            let Some((message, behind)) = rest.split_at_checked(length) else { break };
            if takes_out && kind == NOTIFICATION {
                taken += 1;
            } else {
                passed.extend_from_slice(message);
            }
            rest = behind;
        }
        self.unread = rest.to_vec();
        (passed, taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short");
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    #[test]
    fn notifications_are_taken_out_however_the_bytes_come() {
        let (ready, told) = (message(b'Z', b"I"), message(NOTIFICATION, b"0123channel\0payload\0"));
        let sent = [b"N".to_vec(), ready.clone(), told.clone(), ready.clone(), told].concat();
        let expected = [b"N".to_vec(), ready.clone(), ready].concat();
        for size in 1..=sent.len() {
            let (mut sieve, mut passed, mut taken) = (Sieve::default(), Vec::new(), 0);
            for part in sent.chunks(size) {
                let (more, also) = sieve.pass(part, true);
                passed.extend(more);
                taken += also;
            }
            assert_eq!((&passed, taken), (&expected, 2), "in pieces of {size}");
        }
    }
}
