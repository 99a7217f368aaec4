//! The position of work in a distributed trace: the header `traceparent` of [W3C Trace
//! Context](https://www.w3.org/TR/trace-context/).

use std::fmt;
use std::str::FromStr;

use crate::{OperationId, Timestamp};

/// The flags of the header that have a meaning: whether the trace is recorded, and whether its id is random.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// The id of a trace: sixteen bytes that are not all zero.
pub type TraceId = [u8; 16];
/// The id of a span of a trace: eight bytes that are not all zero.
pub type SpanId = [u8; 8];

/// A span of a trace, in the form that is passed to those that create its child spans.
///
/// Its text is the value of the header `traceparent`, in version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: TraceId,
    span: SpanId,
    flags: u8,
}

impl TraceContext {
    /// The first span of a trace. Ids that are all zero, which mean "none" elsewhere, are replaced by others.
    pub fn new(trace: TraceId, span: SpanId, is_sampled: bool) -> TraceContext {
        let trace = if trace == TraceId::default() { 1_u128.to_be_bytes() } else { trace };
        // The id of a trace that is created here is random.
        let flags = if is_sampled { KNOWN_FLAGS } else { KNOWN_FLAGS & !SAMPLED };
        TraceContext { trace, span: non_zero(span), flags }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn with_span(self, span: SpanId) -> TraceContext {
        TraceContext { span: non_zero(span), ..self }
    }

    /// The trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace
    }

    /// The span.
    pub fn span_id(&self) -> SpanId {
        self.span
    }

    /// Whether the trace is recorded: the caller that began it has made this decision for all its parts.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The span of the attempt of an operation that began at this time. Its id is derived from what every process knows
    /// about the attempt, so that the process that gives out the work, the one that records its end and the one that
    /// exports the trace need not communicate.
    #[must_use]
    pub fn of_attempt(self, id: OperationId, attempt: u32, started_at: Timestamp) -> TraceContext {
        self.with_span(derived(id, started_at, u64::from(attempt)))
    }

    /// The span of an operation, from its creation (or from the retry of its failure) to this end.
    #[must_use]
    pub fn of_operation(self, id: OperationId, finished_at: Timestamp) -> TraceContext {
        self.with_span(derived(id, finished_at, u64::MAX))
    }

    /// The span of the time that an operation waited, from `since` on.
    #[must_use]
    pub fn of_wait(self, id: OperationId, since: Timestamp) -> TraceContext {
        self.with_span(derived(id, since, u64::MAX - 1))
    }
}

fn non_zero(span: SpanId) -> SpanId {
    if span == SpanId::default() { 1_u64.to_be_bytes() } else { span }
}

/// The id of one part of an operation. Ids of parts of one operation differ, and those of two operations differ by the
/// random bits of the operations' ids.
fn derived(id: OperationId, at: Timestamp, what: u64) -> SpanId {
    let random = id.as_bytes().last_chunk().map_or(0, |last: &[u8; 8]| u64::from_be_bytes(*last));
    mixed(mixed(random ^ at.as_millis().cast_unsigned()).wrapping_add(what)).to_be_bytes()
}

/// The finalizer of SplitMix64: maps different numbers to different ones that look random.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

/// The text is not a `traceparent`. The standard requires that it is treated as if there were none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent such as \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"")]
pub struct InvalidTraceContext;

impl FromStr for TraceContext {
    type Err = InvalidTraceContext;

    /// Reads any version but `ff`; of versions later than 00, the part that this version defines, as the standard
    /// requires.
    fn from_str(text: &str) -> Result<TraceContext, InvalidTraceContext> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(InvalidTraceContext)?;
            let is_lower = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let number = is_lower.then(|| u128::from_str_radix(part, 16).ok()).flatten();
            number.ok_or(InvalidTraceContext)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_longer = parts.next().is_some();
        if version == 0xff || (version == 0 && is_longer) || trace == 0 || span == 0 {
            return Err(InvalidTraceContext);
        }
        let byte = u8::try_from(flags).map_err(|_| InvalidTraceContext)?;
        let span = u64::try_from(span).map_err(|_| InvalidTraceContext)?;
        Ok(TraceContext { trace: trace.to_be_bytes(), span: span.to_be_bytes(), flags: byte & KNOWN_FLAGS })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_comes_back_from_its_text() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert!(context.is_sampled());
        assert_eq!((context.trace_id()[0], context.span_id()[7]), (0x0a, 0x31));
        let unsampled: TraceContext = EXAMPLE.replace("-01", "-00").parse().unwrap();
        assert!(!unsampled.is_sampled());
        let new = TraceContext::new([0; 16], [0; 8], true);
        assert_eq!(new.to_string().parse(), Ok(new), "ids that mean \"none\" are not created");
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let known = EXAMPLE.parse::<TraceContext>().unwrap();
        for text in [EXAMPLE.replace("00-", "cc-"), EXAMPLE.replace("00-", "01-") + "-what-the-future-will-be-like"] {
            assert_eq!(text.parse(), Ok(known), "{text}");
        }
        // Flags that have no meaning yet are not passed on.
        assert_eq!(
            EXAMPLE.replace("-01", "-ff").parse::<TraceContext>().unwrap().to_string(),
            EXAMPLE.replace("-01", "-03")
        );
    }

    #[test]
    fn what_is_not_in_order_is_none() {
        for text in [
            "",
            "00",
            &EXAMPLE[..54],
            &EXAMPLE.replace("00-", "ff-"),
            &EXAMPLE.to_uppercase(),
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE}-more"),
            &format!("{EXAMPLE} "),
            &format!(" {EXAMPLE}"),
            &EXAMPLE.replace("-01", "-1"),
            &EXAMPLE.replace("-01", "-0x"),
            &EXAMPLE.replace("-01", "-+1"),
            &EXAMPLE.replace("0af7", "+af7"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(InvalidTraceContext), "{text:?}");
        }
    }

    #[test]
    fn the_spans_of_an_operation_differ_and_are_the_same_whoever_asks() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        let (id, other, at) = (
            OperationId::new(Timestamp::from_millis(1)),
            OperationId::new(Timestamp::from_millis(1)),
            Timestamp::from_millis,
        );
        let spans = |id| {
            [
                context,
                context.of_attempt(id, 1, at(5)),
                context.of_attempt(id, 2, at(5)),
                context.of_attempt(id, 1, at(6)),
                context.of_operation(id, at(5)),
                context.of_wait(id, at(5)),
                context.of_wait(id, at(6)),
            ]
        };
        assert_eq!(spans(id), spans(id));
        let ids: BTreeSet<SpanId> = spans(id).iter().chain(&spans(other)[1..]).map(TraceContext::span_id).collect();
        assert_eq!(ids.len(), 13);
        assert!(spans(id).iter().all(|span| span.trace_id() == context.trace_id() && span.is_sampled()));
    }
}
