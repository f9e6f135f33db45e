//! What the APIs of providers share: lists in pages, whose entries are read one by one.
//!
//! A cursor goes into a path, so it is made of nothing but what is checked here: an id that the provider gave, or
//! `<part>:<number>` where a listing is read in parts, one after the other.

use super::reading::Object;
use crate::api::{Reading, Shown, UnreadableAnswer};
use crate::event::Record;
use crate::json::{self, Json};

/// Entries on a page. A subscription has 2 to 4 kB, and reading 25 of them takes about a millisecond of the ten that a run may
/// use on Cloudflare's free plan. All providers allow it.
pub(super) const PAGE: usize = 25;

/// The longest id: so long may Stripe's be. No server takes a path of any length, and one that is kept is asked for again and again.
const MAX_ID_BYTES: usize = 255;

/// Whether a text may stand in a path as it is: `..` and `/` would lead to another one.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Reads a body as JSON.
pub(super) fn parse(body: &str) -> Result<Json<'_>, UnreadableAnswer> {
    json::parse_sent(body.as_bytes()).map_err(|error| UnreadableAnswer(error.to_string()))
}

/// The list in that field. An answer without one is not what was asked for.
pub(super) fn entries<'a>(answer: &'a Json<'a>, list: &str) -> Result<&'a [Json<'a>], UnreadableAnswer> {
    match answer.get(list).and_then(Json::as_list) {
        Some(entries) => Ok(entries),
        None => Err(UnreadableAnswer(format!("an answer without `{list}`"))),
    }
}

/// What is read of one entry.
pub(super) struct Entry {
    pub(super) records: Vec<Record>,
    /// It tells when it last changed.
    pub(super) is_dated: bool,
    /// It tells whether it is of test mode.
    pub(super) is_test: Option<bool>,
}

/// Reads the entries. One that cannot be read spoils none of the others.
pub(super) fn reading(entries: &[Json<'_>], read: &dyn Fn(&Json<'_>) -> Option<Entry>) -> Reading {
    let mut reading = Reading::default();
    for entry in entries {
        let Some(entry) = read(entry) else {
            reading.unreadable = reading.unreadable.saturating_add(1);
            continue;
        };
        for record in entry.records {
            reading.shown.push(Shown::new(record, entry.is_dated));
        }
        // A key is of one mode, so what it shows all is.
        reading.is_test = reading.is_test.or(entry.is_test);
    }
    reading
}

/// Reads a page of a listing whose pages are numbered, and where the next one begins. `last_page` finds the number of the last.
pub(super) fn numbered(
    body: &str,
    list: &str,
    last_page: fn(Object<'_>) -> Result<Option<i64>, String>,
    (parts, cursor): (&[&str], Option<&str>),
    read: &dyn Fn(&Json<'_>) -> Option<Entry>,
) -> Result<(Reading, Option<String>), UnreadableAnswer> {
    let answer = parse(body)?;
    let entries = entries(&answer, list)?;
    let last_page = last_page(Object(&answer)).map_err(UnreadableAnswer)?;
    Ok((reading(entries, read), after_page(parts, cursor, entries.len(), last_page)))
}

/// Where the next page begins, of a list that goes on after an id.
///
/// # Errors
/// Where there is a next page and nothing says where: an end that is none would leave the rest unread.
pub(super) fn after_id(entries: &[Json<'_>], has_more: bool) -> Result<Option<String>, UnreadableAnswer> {
    let Some(last) = entries.last().filter(|_| has_more) else { return Ok(None) };
    let id = Object(last).text("id").ok().flatten().filter(|id| is_id(id));
    id.map(Some).ok_or_else(|| UnreadableAnswer("the last entry of a page has no id".into()))
}

/// The part and the number of a cursor; the first part and 0 at the beginning.
pub(super) fn place<'a>(parts: &[&'a str], cursor: Option<&str>) -> Option<(&'a str, u64)> {
    let Some(cursor) = cursor else { return parts.first().map(|first| (*first, 0)) };
    let (part, number) = cursor.split_once(':')?;
    let part = parts.iter().find(|known| **known == part)?;
    Some((part, number.parse().ok()?))
}

/// Where the part after the cursor's begins.
pub(super) fn after(parts: &[&str], cursor: Option<&str>) -> Option<String> {
    let (part, _) = place(parts, cursor)?;
    let next = parts.iter().skip_while(|known| **known != part).nth(1)?;
    Some(format!("{next}:0"))
}

/// Where the page after this one begins, of lists whose pages are numbered: the number of a cursor is how many were read.
fn after_page(parts: &[&str], cursor: Option<&str>, entries: usize, last_page: Option<i64>) -> Option<String> {
    let (part, read) = place(parts, cursor)?;
    let read = read.saturating_add(1);
    let is_last =
        entries == 0 || last_page.map_or(entries < PAGE, |last| i64::try_from(read).map_or(true, |read| read >= last));
    if is_last { after(parts, cursor) } else { Some(format!("{part}:{read}")) }
}
