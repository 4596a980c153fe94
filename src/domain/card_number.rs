//! Full card numbers: how to see one in text, and how to hide it.
//!
//! A run of 13 to 19 digits (single spaces or dashes between them allowed) is a card number when
//! it passes the Luhn check (ISO/IEC 7812-1, annex B) **and** begins like a card scheme. Both are
//! needed: one order number in ten passes Luhn alone.

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// Tells whether `text` holds a full card number.
#[must_use]
pub fn found_in(text: &str) -> bool {
    next(text.as_bytes(), 0).is_some()
}

/// Returns `text` with all but the last four digits of every card number replaced by `*`.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut from = 0;
    while let Some((start, end)) = next(&bytes, from) {
        let digits = bytes[start..end].iter().filter(|b| b.is_ascii_digit()).count();
        let hidden = bytes[start..end].iter_mut().filter(|b| b.is_ascii_digit()).take(digits - 4);
        hidden.for_each(|digit| *digit = b'*');
        from = end;
    }
    // Only ASCII digits were replaced by ASCII, so the text is still UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Finds the next card number at or after `from`: its first byte and the one after its last.
fn next(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let run_end = run_end(bytes, at);
        if let Some(found) = within_run(bytes, at, run_end) {
            return Some(found);
        }
        at = run_end;
    }
    None
}

/// Extends a run of digits with at most one space or dash between two of them.
fn run_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start + 1;
    loop {
        let separator = matches!(bytes.get(end), Some(b' ' | b'-'));
        let next = end + usize::from(separator);
        if !bytes.get(next).is_some_and(u8::is_ascii_digit) {
            return end;
        }
        end = next + 1;
    }
}

/// Looks for a card number that is the whole run, or one whole group-aligned part of it.
fn within_run(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let digits: Vec<(usize, u8)> =
        (start..end).filter(|&at| bytes[at].is_ascii_digit()).map(|at| (at, bytes[at] - b'0')).collect();
    let starts_group = |index: usize| index == 0 || digits[index].0 != digits[index - 1].0 + 1;
    let ends_group = |index: usize| index == digits.len() || starts_group(index);
    for first in (0..digits.len()).filter(|&index| starts_group(index)) {
        for last in (first + DIGITS_MIN..=digits.len().min(first + DIGITS_MAX)).rev() {
            if ends_group(last) && is_card(&digits[first..last]) {
                return Some((digits[first].0, digits[last - 1].0 + 1));
            }
        }
    }
    None
}

fn is_card(digits: &[(usize, u8)]) -> bool {
    has_scheme_prefix(digits) && passes_luhn(digits)
}

fn passes_luhn(digits: &[(usize, u8)]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &(_, digit))| {
            let doubled = u32::from(digit) << (place % 2);
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|&(_, digit)| digit != 0)
}

/// Checks the issuer ranges and lengths of the large schemes (ISO/IEC 7812 registry, public ranges).
fn has_scheme_prefix(digits: &[(usize, u8)]) -> bool {
    let prefix = |len: usize| digits[..len].iter().fold(0u32, |number, &(_, digit)| number * 10 + u32::from(digit));
    let (one, two, three, four) = (prefix(1), prefix(2), prefix(3), prefix(4));
    match digits.len() {
        13 | 19 if one == 4 => true,
        14 => matches!(two, 36 | 38 | 39) || (300..=305).contains(&three),
        15 => matches!(two, 34 | 37),
        16 => {
            one == 4
                || (51..=55).contains(&two)
                || (2221..=2720).contains(&four)
                || four == 6011
                || (644..=659).contains(&three)
                || (3528..=3589).contains(&four)
                || matches!(two, 50 | 60 | 62 | 81)
                || (2200..=2204).contains(&four)
        }
        13 | 17..=19 => matches!(two, 50 | 56..=58 | 62 | 63 | 67),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_cards_and_nothing_else() {
        for card in [
            "4111111111111111",
            "call 4111 1111 1111 1111 now",
            "5500-0000-0000-0004",
            "378282246310005",
            "6011111111111117",
            "30569309025904",
            "order 12 4111111111111111",
        ] {
            assert!(found_in(card), "{card}");
        }
        for other in [
            "",
            "4111111111111112",
            "1234567890123452",
            "0000000000000000",
            "2026-03-01T10:00:00Z",
            "tok_41111111",
            "41111111111111111111111",
            "order 9999999999999995",
        ] {
            assert!(!found_in(other), "{other}");
        }
    }

    #[test]
    fn masks_all_but_the_last_four() {
        assert_eq!(masked("pay 4111 1111 1111 1111!"), "pay **** **** **** 1111!");
        assert_eq!(masked("é 378282246310005, 5500000000000004"), "é ***********0005, ************0004");
        assert_eq!(masked("nothing here 12345"), "nothing here 12345");
    }
}
