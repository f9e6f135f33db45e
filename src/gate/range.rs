//! Conditional and partial reads of an object (RFC 9110, sections 13 and 14), where we are the server of it.

/// What of an object is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// From the first to the last byte, both included.
    Part {
        /// Counted from 0.
        first: u64,
        /// Less than the size.
        last: u64,
    },
    /// No such part.
    Unsatisfiable,
}

/// Reads a `Range` header. `None` where the whole is to be sent: there is no range, it is not in bytes, it cannot be read,
/// or it has several parts.
#[must_use]
pub fn range(header: &str, size: u64) -> Option<Range> {
    let (unit, parts) = header.split_once('=')?;
    let (first, last) = parts.split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    let end = size.saturating_sub(1);
    let (first, last) = match (first.trim(), last.trim()) {
        ("", last) => {
            let length = number(last)?;
            // A suffix of nothing is nothing.
            if length == 0 { (size, end) } else { (size.saturating_sub(length), end) }
        }
        (first, "") => (number(first)?, end),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.min(end))
        }
    };
    Some(if first < size { Range::Part { first, last } } else { Range::Unsatisfiable })
}

fn number(text: &str) -> Option<u64> {
    // `parse` would take a plus sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What a request says of the copy it has. Times are in milliseconds; one that is not a time is left out.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Validators {
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since_ms: Option<i64>,
    /// `If-Modified-Since`.
    pub if_modified_since_ms: Option<i64>,
}

/// Whether the object is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It is.
    Holds,
    /// The caller has it already.
    NotModified,
    /// It is another one than the caller means.
    Failed,
}

/// Weighs what a request says against an object, in the order of RFC 9110, section 13.2.2.
#[must_use]
pub fn precondition(asked: &Validators, etag: &str, modified_ms: i64) -> Condition {
    // A date in a header has no milliseconds.
    let modified_ms = modified_ms.div_euclid(1000).saturating_mul(1000);
    let has_changed_since = |since: i64| modified_ms > since;
    let is_other = match &asked.if_match {
        // The strong comparison: a weak tag never fits.
        Some(tags) => !lists(tags, etag) || etag.starts_with("W/"),
        None => asked.if_unmodified_since_ms.is_some_and(has_changed_since),
    };
    let is_known = match &asked.if_none_match {
        Some(tags) => lists(&tags.replace("W/", ""), etag.trim_start_matches("W/")),
        None => asked.if_modified_since_ms.is_some_and(|since| !has_changed_since(since)),
    };
    match (is_other, is_known) {
        (true, _) => Condition::Failed,
        (false, true) => Condition::NotModified,
        (false, false) => Condition::Holds,
    }
}

fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == etag || tag == "*")
}
