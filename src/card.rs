//! Masking of card numbers in text that is kept as it came (dead letters).
//!
//! A card number is 13 to 19 digits that pass the Luhn check (ISO/IEC 7812), in one piece or in groups parted by single
//! spaces or dashes.

use std::ops::Range;

const MIN_DIGITS: usize = 13;
const MAX_DIGITS: usize = 19;

/// The text with every digit of every card number replaced: by `*`, or by `9` where the number stands bare in JSON, so
/// that the document can still be read when it is replayed.
#[must_use]
pub fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut masked = bytes.to_vec();
    for run in runs(bytes) {
        let bare = text.get(..run.first().map_or(0, |group| group.start)).is_some_and(is_before_bare_number);
        for group in
            run.iter().enumerate().flat_map(|(first, _)| numbers_from(run.get(first..).unwrap_or_default(), bytes))
        {
            for byte in masked.get_mut(group).into_iter().flatten().filter(|byte| byte.is_ascii_digit()) {
                *byte = if bare { b'9' } else { b'*' };
            }
        }
    }
    // Only ASCII digits were replaced, by other ASCII characters.
    String::from_utf8_lossy(&masked).into_owned()
}

/// Runs of digit groups parted by single spaces or dashes.
fn runs(bytes: &[u8]) -> Vec<Vec<Range<usize>>> {
    let mut runs: Vec<Vec<Range<usize>>> = Vec::new();
    let mut start = None;
    let mut previous_end: Option<usize> = None;
    for (at, byte) in bytes.iter().copied().chain([0]).enumerate() {
        if byte.is_ascii_digit() {
            start.get_or_insert(at);
        } else if let Some(from) = start.take() {
            let joined = previous_end
                .is_some_and(|end| from.saturating_sub(end) == 1 && matches!(bytes.get(end), Some(b' ' | b'-')));
            let group = from..at;
            match runs.last_mut() {
                Some(run) if joined => run.push(group),
                _ => runs.push(vec![group]),
            }
            previous_end = Some(at);
        }
    }
    runs
}

/// The groups of every card number that begins with the first of `groups`.
fn numbers_from(groups: &[Range<usize>], bytes: &[u8]) -> Vec<Range<usize>> {
    let mut digits: Vec<u8> = Vec::new();
    let mut found = 0;
    for (index, group) in groups.iter().enumerate() {
        digits.extend(bytes.get(group.clone()).unwrap_or_default());
        if digits.len() > MAX_DIGITS {
            break;
        }
        let one_piece = index == 0;
        if digits.len() >= MIN_DIGITS && passes_luhn(&digits) && !(one_piece && is_timestamp(&digits)) {
            found = index.saturating_add(1);
        }
    }
    groups.iter().take(found).cloned().collect()
}

/// Milliseconds since the epoch from 2001 to 2033 have 13 digits and begin with 1. One in ten of them passes the Luhn
/// check; cards of 13 digits begin with 4. Masking them would spoil what orders an event.
fn is_timestamp(digits: &[u8]) -> bool {
    digits.len() == MIN_DIGITS && digits.first() == Some(&b'1')
}

fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit.wrapping_sub(b'0'));
            let doubled = if place % 2 == 1 { value.saturating_mul(2) } else { value };
            doubled.checked_rem(9).map_or(0, |rest| if doubled > 0 && rest == 0 { 9 } else { rest })
        })
        .fold(0, u32::saturating_add);
    sum.checked_rem(10) == Some(0)
}

fn is_before_bare_number(before: &str) -> bool {
    matches!(before.trim_end().bytes().last(), Some(b':' | b'[' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_masked_and_other_numbers_are_not() {
        let cases = [
            ("4242424242424242", "****************"),
            (r#"{"a":"4242 4242 4242 4242"}"#, r#"{"a":"**** **** **** ****"}"#),
            ("4242-4242-4242-4242.", "****-****-****-****."),
            ("378282246310005", "***************"),
            ("4222222222222", "*************"),
            ("6304000000000000000", "*******************"),
            ("card 4242424242424242 123 end", "card **************** 123 end"),
            ("in 2026 4242 4242 4242 4242 x", "in 2026 **** **** **** **** x"),
            ("no4242424242424242x", "no****************x"),
            (r#"{"n": 4242424242424242}"#, r#"{"n": 9999999999999999}"#),
            // One digit off: the Luhn check fails.
            ("4242424242424243", "4242424242424243"),
            // Two separators part what they stand between.
            ("4242  4242 4242 4242", "4242  4242 4242 4242"),
            // 20 digits are no card number.
            ("42424242424242424242", "42424242424242424242"),
            // A time in milliseconds that passes the Luhn check.
            (r#"{"timestamp":1767225600124}"#, r#"{"timestamp":1767225600124}"#),
            ("grüße 4242424242424242 ☃", "grüße **************** ☃"),
            ("", ""),
        ];
        assert!(passes_luhn(b"1767225600124"), "or the case above shows nothing");
        for (text, expected) in cases {
            assert_eq!(mask(text), expected);
        }
    }
}
