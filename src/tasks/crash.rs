//! Crash points: labelled places where a debug build can be told to die on the spot.
//!
//! `FRAUDD_CRASH_AT=after-flush` ends the process the first time that place is passed,
//! `FRAUDD_CRASH_AT=after-flush#7` the seventh time: no destructor, no flush, as `kill -9` would. Release
//! builds hold none of this: there a point is nothing.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// What the environment asks for: a label, and how many passes are still let through.
#[cfg(debug_assertions)]
static ASKED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();

/// Dies here if the environment asked for this label and its count is reached.
#[cfg(debug_assertions)]
pub fn point(label: &str) {
    let asked = ASKED.get_or_init(|| parse(&std::env::var("FRAUDD_CRASH_AT").ok()?));
    if let Some((wanted, passes)) = asked
        && wanted == label
        && passes.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Does nothing: release builds have no crash points.
#[cfg(not(debug_assertions))]
pub const fn point(_label: &str) {}

#[cfg(debug_assertions)]
fn parse(text: &str) -> Option<(String, AtomicU32)> {
    let (label, pass) = text.split_once('#').unwrap_or((text, "1"));
    let pass = pass.parse::<u32>().ok().filter(|pass| *pass > 0)?;
    (!label.is_empty()).then(|| (label.to_owned(), AtomicU32::new(pass)))
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, u32)>) {
        let parsed = parse(text);
        let seen = parsed.as_ref().map(|(label, pass)| (label.as_str(), pass.load(Ordering::Relaxed)));
        assert_eq!(seen, expected, "{text}");
    }

    #[test]
    fn reads_labels_and_counts() {
        check("after-flush", Some(("after-flush", 1)));
        check("after-flush#7", Some(("after-flush", 7)));
        check("after-flush#0", None);
        check("#3", None);
        check("after-flush#x", None);
    }
}
