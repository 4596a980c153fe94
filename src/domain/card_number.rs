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
    let bytes = masked_bytes(text.as_bytes()).unwrap_or_else(|| text.as_bytes().to_vec());
    // Only ASCII digits were replaced by ASCII, so the text is still UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Returns bytes that need not be text with card numbers hidden in the same way; `None` when there are none.
#[must_use]
pub fn masked_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut masked: Option<Vec<u8>> = None;
    let mut from = 0;
    while let Some((start, end)) = next(bytes, from) {
        hide(&mut masked.get_or_insert_with(|| bytes.to_vec())[start..end]);
        from = end;
    }
    masked
}

fn hide(number: &mut [u8]) {
    let digits = number.iter().filter(|b| b.is_ascii_digit()).count();
    number.iter_mut().filter(|b| b.is_ascii_digit()).take(digits - 4).for_each(|digit| *digit = b'*');
}

/// Finds the next card number at or after `from`: its first byte and the one after its last. Looks at no more
/// than one number's digits from each place, so that a long text of digits takes no longer than any other.
fn next(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        if let Some(end) = card_from(bytes, at) {
            return Some((at, end));
        }
        // A number begins with a group of digits, never within one.
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
    }
    None
}

/// Looks for a card number that begins at a group of digits and ends with one; returns the byte after it. Between
/// two of its digits stands at most one space or dash.
fn card_from(bytes: &[u8], start: usize) -> Option<usize> {
    let mut digits = [(0, 0); DIGITS_MAX];
    let mut len = 0;
    let mut at = start;
    while len < DIGITS_MAX {
        let Some(digit) = bytes.get(at).filter(|b| b.is_ascii_digit()) else { break };
        digits[len] = (at, digit - b'0');
        len += 1;
        at += 1;
        let is_separated = matches!(bytes.get(at), Some(b' ' | b'-'));
        at += usize::from(is_separated && bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
    }
    let ends_group = |last: usize| !bytes.get(digits[last - 1].0 + 1).is_some_and(u8::is_ascii_digit);
    let found = (DIGITS_MIN..=len).rev().find(|&last| ends_group(last) && is_card(&digits[..last]));
    found.map(|last| digits[last - 1].0 + 1)
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

    /// Every place a number may begin and end, as the module says it.
    fn naive(text: &[u8]) -> Option<(usize, usize)> {
        let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
        let begins = |at: usize| is_digit(at) && (at == 0 || !is_digit(at - 1));
        let ends = |at: usize| is_digit(at - 1) && !is_digit(at);
        for start in (0..text.len()).filter(|&at| begins(at)) {
            for end in (start + 1..=text.len()).rev().filter(|&end| ends(end)) {
                let number = &text[start..end];
                let is_shaped = number.iter().all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'-'))
                    && number.windows(2).all(|pair| pair.iter().any(u8::is_ascii_digit));
                let digits: Vec<(usize, u8)> =
                    (start..end).filter(|&at| is_digit(at)).map(|at| (at, text[at] - b'0')).collect();
                if is_shaped && (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) && is_card(&digits) {
                    return Some((start, end));
                }
            }
        }
        None
    }

    proptest::proptest! {
        #[test]
        fn finds_what_a_look_at_every_place_finds(text in "[0-9 x-]{0,40}|4[0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{0,6}") {
            proptest::prop_assert_eq!(next(text.as_bytes(), 0), naive(text.as_bytes()));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_masked_too() {
        let masked = masked_bytes(b"\xff4111111111111111\x00").expect("a card");
        assert_eq!(masked, b"\xff************1111\x00");
        assert_eq!(masked_bytes(b"\xff\x00"), None);
    }

    #[test]
    fn masks_all_but_the_last_four() {
        assert_eq!(masked("pay 4111 1111 1111 1111!"), "pay **** **** **** 1111!");
        assert_eq!(masked("é 378282246310005, 5500000000000004"), "é ***********0005, ************0004");
        assert_eq!(masked("nothing here 12345"), "nothing here 12345");
    }
}
