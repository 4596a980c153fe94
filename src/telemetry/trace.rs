//! W3C trace context: taken from the caller, or made; returned with our own span.
//!
//! Who samples: the caller when it sent a `traceparent`, else a ratio of the trace ids. A trace that is
//! not sampled costs the reading of one header. A request continues its caller's trace; a message of a stream
//! begins one of its own, linked to its sender's.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::domain::TraceId;

/// The trace of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span; `None` when the trace begins here.
    pub parent_id: Option<u64>,
    /// Our span.
    pub span_id: u64,
    /// Whether spans are exported.
    pub sampled: bool,
}

/// A span of somebody else's trace, as a `traceparent` header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: u64,
    /// Whether it is exported there.
    pub sampled: bool,
}

impl RemoteSpan {
    /// Reads a header; a malformed one names no span.
    #[must_use]
    pub fn from_header(traceparent: &[u8]) -> Option<Self> {
        let (trace_id, span_id, sampled) = parse(std::str::from_utf8(traceparent).ok()?)?;
        Some(Self { trace_id: TraceId(trace_id), span_id, sampled })
    }
}

/// How long a `traceparent` header of version 00 is.
const HEADER_LEN: usize = 55;

/// How many traces of 2^32 that begin here are sampled.
static SAMPLED_OF_2_POW_32: AtomicU32 = AtomicU32::new(0);

/// Sets which share of the traces that begin here is exported, 0..=1.
#[expect(clippy::cast_possible_truncation, reason = "the ratio is clamped to 0..=1")]
pub fn set_sample_ratio(ratio: f64) {
    let share = (ratio.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
    SAMPLED_OF_2_POW_32.store(share, Ordering::Relaxed);
}

impl TraceContext {
    /// Continues the caller's trace, or begins one; a malformed header is as none (W3C, section 3.3).
    #[must_use]
    pub fn from_header(traceparent: Option<&[u8]>) -> Self {
        match traceparent.and_then(RemoteSpan::from_header) {
            Some(RemoteSpan { trace_id, span_id: parent_id, sampled }) => {
                Self { trace_id, parent_id: Some(parent_id), span_id: fresh(), sampled }
            }
            None => Self::begin(),
        }
    }

    /// Begins a trace of its own beside a sender's, which still says whether it is sampled.
    #[must_use]
    pub fn beside(sender: Option<&RemoteSpan>) -> Self {
        let own = Self::begin();
        Self { sampled: sender.map_or(own.sampled, |sender| sender.sampled), ..own }
    }

    fn begin() -> Self {
        let (span_id, high, low) = (fresh(), fresh(), fresh());
        let share = SAMPLED_OF_2_POW_32.load(Ordering::Relaxed);
        let sampled = share == u32::MAX || ((low >> 32) as u32) < share;
        Self { trace_id: TraceId(u128::from(high) << 64 | u128::from(low)), parent_id: None, span_id, sampled }
    }

    /// Writes the `traceparent` header: version, trace, our span, flags.
    #[must_use]
    pub fn to_header(&self) -> [u8; HEADER_LEN] {
        let mut header = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut header[3..35], &self.trace_id.0.to_be_bytes());
        write_hex(&mut header[36..52], &self.span_id.to_be_bytes());
        write_hex(&mut header[53..55], &[u8::from(self.sampled)]);
        header
    }

    /// Returns a fresh span id below this one.
    #[must_use]
    pub fn child_id(&self) -> u64 {
        fresh()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(std::str::from_utf8(&self.to_header()).unwrap_or_default())
    }
}

fn write_hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Reads `version-traceid-parentid-flags`; a later version may append fields, version ff may not be.
fn parse(header: &str) -> Option<(u128, u64, bool)> {
    let mut parts = header.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, len| {
        text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let shaped = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    if !shaped || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((trace, parent, flags & 1 == 1))
}

/// Returns 64 bits that are not 0 and that nobody can foresee: a keyed hash of a counter.
fn fresh() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(COUNTER.fetch_add(1, Ordering::Relaxed)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_continued() {
        let context = TraceContext::from_header(Some(HEADER.as_bytes()));
        assert_eq!(context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((context.parent_id, context.sampled), (Some(0xb7ad_6b71_6920_3331), true));
        let returned = context.to_string();
        assert!(returned.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && returned.ends_with("-01"));
        assert!(!returned.contains("b7ad6b7169203331"));
    }

    #[test]
    fn a_message_has_a_trace_of_its_own_beside_its_senders() {
        let sender = RemoteSpan::from_header(HEADER.as_bytes()).expect("a span");
        assert_eq!((sender.span_id, sender.sampled), (0xb7ad_6b71_6920_3331, true));
        let own = TraceContext::beside(Some(&sender));
        assert_ne!(own.trace_id, sender.trace_id);
        assert_eq!((own.parent_id, own.sampled), (None, true), "no parent, and sampled as the sender is");
        let unsampled = RemoteSpan { sampled: false, ..sender };
        assert!(!TraceContext::beside(Some(&unsampled)).sampled);
        assert_eq!(RemoteSpan::from_header(b"00-0-0-01"), None);
        assert_eq!(RemoteSpan::from_header(&[0xff; 55]), None);
    }

    #[test]
    fn what_is_malformed_begins_a_new_trace() {
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        let upper = HEADER.to_uppercase();
        let longer = format!("{HEADER}-x");
        let forbidden = HEADER.replacen("00", "ff", 1);
        for wrong in ["", "00", &zero_trace, &zero_span, &upper, &longer, &forbidden] {
            let context = TraceContext::from_header(Some(wrong.as_bytes()));
            assert_eq!(context.parent_id, None, "{wrong}");
            assert_ne!(context.trace_id, TraceId(0));
        }
        assert_ne!(TraceContext::from_header(None).trace_id, TraceContext::from_header(None).trace_id);
        let future = format!("{}-x", HEADER.replacen("00", "01", 1));
        assert!(TraceContext::from_header(Some(future.as_bytes())).parent_id.is_some());
    }
}
