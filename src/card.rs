//! Masking of card numbers in text that is kept as it came (dead letters).
//!
//! A card number is 13 to 19 digits that pass the Luhn check (ISO/IEC 7812), in one piece or in groups parted by single
//! spaces or dashes. Ids may look like that too. Masked, two purchases would be one when they are replayed, and a payer
//! would not be found when all about them is erased. So what is an id by the name of its field stays, as it does in an
//! event that can be read.

use std::ops::Range;

use crate::json::{self, Json};

const MIN_DIGITS: usize = 13;
const MAX_DIGITS: usize = 19;

/// How the name of a field ends that holds an id, or a list of them.
const ID_ENDINGS: [&str; 4] = ["_id", "_ids", "Id", "Ids"];
/// And the names that end otherwise: the last three are of lists of a user's ids.
const ID_NAMES: [&str; 4] = ["id", "aliases", "transferred_from", "transferred_to"];
/// What ids are made of, besides ASCII letters and digits. What people write has spaces.
const ID_MARKS: &[u8] = b"._:-$|@+=/";

/// The text with every digit of every card number replaced: by `*`, or by `9` where the number stands bare in JSON, so
/// that the document can still be read when it is replayed. Ids stay.
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
    // No number goes on beyond the value it stands in, so an id is put back whole.
    for id in ids(text) {
        let as_it_came = bytes.get(id.clone()).unwrap_or_default();
        for (byte, came) in masked.get_mut(id).into_iter().flatten().zip(as_it_came) {
            *byte = *came;
        }
    }
    // Only ASCII digits were replaced, by other ASCII characters.
    String::from_utf8_lossy(&masked).into_owned()
}

/// Where the values stand that are ids. The text is cut where JSON has a bracket, a comma or a colon, and need not be JSON
/// beyond that. A value that none of them ends may go on with anything, and is no id.
fn ids(text: &str) -> Vec<Range<usize>> {
    let mut ids = Vec::new();
    // Of each list and object that is open: whether it is a list of ids.
    let mut open = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped, mut holds_id) = (0, false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            b'{' | b'}' | b'[' | b']' | b',' | b':' if !is_quoted => {
                let piece = text.get(start..at).unwrap_or_default();
                if holds_id && is_id(piece) {
                    ids.push(start..at);
                }
                // Whether an id comes next, if a value does.
                holds_id = match byte {
                    b':' => is_name_of_id(piece),
                    b',' => open.last() == Some(&true),
                    b'[' => {
                        open.push(holds_id);
                        holds_id
                    }
                    b'{' => {
                        open.push(false);
                        false
                    }
                    _ => {
                        open.pop();
                        false
                    }
                };
                start = at.saturating_add(1);
            }
            _ => {}
        }
    }
    ids
}

/// Whether this is the name of a field that holds an id or ids, in its quotes.
fn is_name_of_id(name: &str) -> bool {
    let Ok(Json::Text(name)) = json::parse_sent(name.as_bytes()) else { return false };
    ID_NAMES.contains(&name.as_ref()) || ID_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether this is a text in its quotes, or a number, that can be an id.
fn is_id(value: &str) -> bool {
    match json::parse_sent(value.as_bytes()) {
        Ok(Json::Text(id)) => id.bytes().all(|byte| byte.is_ascii_alphanumeric() || ID_MARKS.contains(&byte)),
        Ok(Json::Whole(_) | Json::Large(_)) => true,
        _ => false,
    }
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
            match runs.last_mut() {
                Some(run) if joined => run.push(from..at),
                _ => runs.push(std::iter::once(from..at).collect()),
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

    #[test]
    fn ids_stay_and_what_is_none_does_not() {
        let stay = [
            r#"{"id":"490001234567894","b":1}"#,
            r#"{"transaction_id":"GPA.3312-1234-5678-90124"}"#,
            r#"{"userId" : "175928847299117062"}"#,
            "{\"app_user_id\"\t:\n\"490001234567894\" }",
            r#"{"app_user_id":490001234567894}"#,
            r#"{"id": -490001234567894 , "b":1}"#,
            r#"{"app_user_id":"google-oauth2|175928847299117062"}"#,
            r#"{"aliases":["$RCAnonymousID:490001234567894", "175928847299117062"]}"#,
            r#"{"transferred_from":["490001234567894"],"transferred_to":["175928847299117062"]}"#,
            r#"{"orderIds":[490001234567894,[175928847299117062],"490001234567894"]}"#,
            // In escapes, and beside them.
            r#"{"\u0069d":"490001234567894"}"#,
            r#"{"id":"a\/490001234567894"}"#,
            r#"{"a\\":"\"","id":"490001234567894"}"#,
            // Where the rest is broken or missing.
            r#"{"id":"490001234567894","b":"#,
            r#"]},"id":"490001234567894"}"#,
            r#"{\,"id":"490001234567894"}"#,
            "\u{feff}{\"a\":\"\u{fffd}\",\"id\":\"490001234567894\"}",
        ];
        for text in stay {
            assert_eq!(mask(text), text);
        }
        let masked = [
            (r#"{"idea":"4242424242424242"}"#, r#"{"idea":"****************"}"#),
            (r#"{"paid":4242424242424242}"#, r#"{"paid":9999999999999999}"#),
            (r#"{"alias":["4242424242424242"]}"#, r#"{"alias":["****************"]}"#),
            (r#"{"4242424242424242":"id"}"#, r#"{"****************":"id"}"#),
            // What holds more than an id.
            (r#"{"id":"card 4242 4242 4242 4242 of Bob"}"#, r#"{"id":"card **** **** **** **** of Bob"}"#),
            (r#"{"id":"4242424242424242\n"}"#, r#"{"id":"****************\n"}"#),
            (r#"{"id":4242 4242 4242 4242}"#, r#"{"id":9999 9999 9999 9999}"#),
            (r#"{"id":"a" 4242424242424242}"#, r#"{"id":"a" ****************}"#),
            (r#"{"id":4242424242424242.5}"#, r#"{"id":9999999999999999.5}"#),
            // A field beside, below and after one of ids.
            (r#"{"id":"a","b":"4242424242424242"}"#, r#"{"id":"a","b":"****************"}"#),
            (r#"{"id":{"b":"4242424242424242"}}"#, r#"{"id":{"b":"****************"}}"#),
            (r#"{"id":{"4242424242424242":1}}"#, r#"{"id":{"****************":1}}"#),
            (
                r#"{"ids":0,"a_ids":[{"b":"4242424242424242"},"490001234567894"],"c":["4242424242424242"]}"#,
                r#"{"ids":0,"a_ids":[{"b":"****************"},"490001234567894"],"c":["****************"]}"#,
            ),
            (r#"{"a_id":1,"4242424242424242"}"#, r#"{"a_id":1,"****************"}"#),
            (r#"{"a_ids":[[0]"4242424242424242"]}"#, r#"{"a_ids":[[0]"****************"]}"#),
            // A text that looks like a field.
            (r#"{"b":"{\"x_id\":\"4242424242424242\"}"}"#, r#"{"b":"{\"x_id\":\"****************\"}"}"#),
            (r#"{"id":"{\"id\":\"4242424242424242\"}"}"#, r#"{"id":"{\"id\":\"****************\"}"}"#),
            (r#"{"b":"x_id","c":"4242424242424242"}"#, r#"{"b":"x_id","c":"****************"}"#),
            // No JSON, or not all of it: what may go on is no whole value.
            ("id: 4242424242424242, x", "id: 9999999999999999, x"),
            (r#"{"id":"4242424242424242"#, r#"{"id":"****************"#),
            (r#"{"id":"4242424242424242""#, r#"{"id":"****************""#),
            (r#"{"id":4242424242424242"#, r#"{"id":9999999999999999"#),
            (r#"{"id":"\ud800 4242424242424242"}"#, r#"{"id":"\ud800 ****************"}"#),
        ];
        for (text, expected) in masked {
            assert_eq!(mask(text), expected);
        }
        // However it is cut, nothing panics, and nothing but digits is replaced.
        for text in stay.into_iter().chain(masked.map(|(text, _)| text)) {
            for (from, _) in text.char_indices() {
                for (to, _) in text.char_indices().filter(|(to, _)| *to >= from) {
                    let cut = text.get(from..to).unwrap();
                    let kept = mask(cut);
                    let is_kept = |(a, b): (char, char)| a == b || a.is_ascii_digit() && matches!(b, '*' | '9');
                    assert!(cut.len() == kept.len() && cut.chars().zip(kept.chars()).all(is_kept), "{cut}: {kept}");
                }
            }
        }
    }
}
