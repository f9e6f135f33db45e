//! The ledger as an operator reads it: filters, pages, rows.

use std::fmt;

use serde::Serialize;

use crate::event::Event;
use crate::json::{self, Embedded, Fields, Json, Unreadable};
use crate::payer::Payer;
use crate::store::{Outcome, Param};
use crate::time::Timestamp;

/// Rows on a page, unless `limit` says otherwise.
const DEFAULT_LIMIT: u32 = 50;
/// The most rows on a page: a row holds an event of a few kB, and an answer should stay below a few MB.
const MAX_LIMIT: u32 = 500;

/// Which rows of the ledger, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Of this provider.
    pub provider: Option<String>,
    /// With this id.
    pub event_id: Option<String>,
    /// Of this type.
    pub event_type: Option<String>,
    /// About this payer.
    pub payer: Option<Payer>,
    /// That came to this.
    pub outcome: Option<Outcome>,
    /// First received at or after this time.
    pub since: Option<Timestamp>,
    /// First received before this time.
    pub until: Option<Timestamp>,
    /// Before this row: what the page before answered as `next_cursor`.
    pub cursor: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            provider: None,
            event_id: None,
            event_type: None,
            payer: None,
            outcome: None,
            since: None,
            until: None,
            cursor: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

impl Filter {
    /// Reads a query string: `provider`, `event_id`, `type`, `payer` (`user:…` or `org:…`), `outcome`, `since` and `until`
    /// (RFC 3339), `cursor`, `limit`.
    ///
    /// # Errors
    /// [`FilterError`]; also for a parameter that is not one of these, because a misspelled filter lets everything through.
    pub fn from_query(query: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let unusable = |what| FilterError::Unusable { name: name.to_string(), what };
            let moment = || Timestamp::parse_rfc3339(&value).ok_or_else(|| unusable("RFC 3339 time"));
            match name.as_ref() {
                "provider" => filter.provider = Some(value.into_owned()),
                "event_id" => filter.event_id = Some(value.into_owned()),
                "type" => filter.event_type = Some(value.into_owned()),
                "payer" => {
                    filter.payer =
                        Some(Payer::from_key(&value).ok_or_else(|| unusable("payer (`user:…` or `org:…`)"))?);
                }
                "outcome" => filter.outcome = Some(Outcome::parse(&value).map_err(|_| unusable("outcome"))?),
                "since" => filter.since = Some(moment()?),
                "until" => filter.until = Some(moment()?),
                "cursor" => filter.cursor = Some(value.parse().map_err(|_| unusable("cursor"))?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    filter.limit = limit.ok_or_else(|| unusable("number from 1 to 500"))?;
                }
                _ => return Err(FilterError::UnknownParameter(name.chars().take(64).collect())),
            }
        }
        Ok(filter)
    }

    /// What `src/store/ledger.sql` binds.
    pub(crate) fn params(&self) -> Vec<Param> {
        let number = |number: u64| Param::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        vec![
            self.provider.clone().into(),
            self.event_type.clone().into(),
            self.payer.as_ref().map(Payer::key).into(),
            self.outcome.map(|outcome| outcome.as_str().to_owned()).into(),
            self.since.map_or(Param::Null, Param::from),
            self.until.map_or(Param::Null, Param::from),
            self.cursor.map_or(Param::Null, number),
            number(u64::from(self.limit)),
            self.event_id.clone().into(),
        ]
    }
}

/// Why a filter cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FilterError {
    /// A parameter that means nothing here.
    UnknownParameter(String),
    /// A value that is not what it should be.
    Unusable {
        /// Whose.
        name: String,
        /// What it should be.
        what: &'static str,
    },
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownParameter(name) => write!(f, "`{name}` is not a parameter here"),
            Self::Unusable { name, what } => write!(f, "`{name}` is no {what}"),
        }
    }
}

impl std::error::Error for FilterError {}

/// One row of the ledger.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its place: rows are numbered as they arrive.
    pub seq: u64,
    /// Who sent it.
    pub provider: String,
    /// The idempotency key.
    pub event_id: String,
    /// The provider's name for it.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Whom it is about.
    pub payer: Option<String>,
    /// When it happened there.
    pub occurred_at: Option<Timestamp>,
    /// When it first reached us.
    pub received_at: Option<Timestamp>,
    /// When it last reached us.
    pub last_received_at: Option<Timestamp>,
    /// How often.
    pub attempts: u64,
    /// What became of it.
    pub outcome: String,
    /// Why it was ignored, or could not be read.
    pub detail: Option<String>,
    /// The event in normal form.
    pub event: Option<Embedded>,
    /// The raw body of a dead letter, card numbers masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Row {
    fn read(json: &Json<'_>) -> Result<Self, Unreadable> {
        let fields = Fields::of(json)?;
        let event = fields.text("event")?.map(Embedded::parse).transpose();
        Ok(Self {
            seq: fields.need("seq", Fields::count)?,
            provider: fields.need("provider", Fields::text)?,
            event_id: fields.need("event_id", Fields::text)?,
            event_type: fields.text("type")?,
            payer: fields.text("payer")?,
            occurred_at: fields.moment("occurred_at")?,
            received_at: fields.moment("received_at")?,
            last_received_at: fields.moment("last_received_at")?,
            attempts: fields.need("attempts", Fields::count)?,
            outcome: fields.need("outcome", Fields::text)?,
            detail: fields.text("detail")?,
            event: event.map_err(|error| Unreadable::new(error.to_string()))?,
            body: fields.text("body")?,
        })
    }
}

/// One page of the ledger.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The rows, newest first.
    pub events: Vec<Row>,
    /// Where the next page begins; none when this is the last.
    pub next_cursor: Option<u64>,
}

impl Page {
    /// A page from what `src/store/ledger.sql` answers.
    ///
    /// # Errors
    /// [`Unreadable`], when the database answers something else.
    pub fn parse(json: &str) -> Result<Self, Unreadable> {
        let json = json::parse(json.as_bytes())?;
        let rows = json.as_list().ok_or_else(|| Unreadable::new("a list of rows was expected"))?;
        let events: Vec<Row> = rows.iter().map(Row::read).collect::<Result<_, _>>()?;
        let left = rows.last().map(|row| Fields::of(row)?.need("left", Fields::count)).transpose()?;
        let next_cursor = events.last().filter(|_| left > Some(0)).map(|row| row.seq);
        Ok(Self { events, next_cursor })
    }
}

/// The events behind what payers hold, newest first.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct History {
    /// The events.
    pub events: Vec<Recorded>,
    /// There may be more of them than are here.
    pub is_cut: bool,
}

/// An event as the ledger has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its place in the ledger.
    pub seq: u64,
    /// Who sent it.
    pub provider: String,
    /// The idempotency key.
    pub event_id: String,
    /// When it first reached us.
    pub received_at: Timestamp,
    /// What became of it.
    pub outcome: String,
    /// What it says.
    pub event: Event,
}

impl History {
    /// Reads one row of what `src/store/history.sql` answers. An event that this version of the code cannot read is
    /// missing, and a history with something missing is cut.
    pub fn read(&mut self, is_cut: bool, event: Option<&str>) {
        let read = event.map(|text| Recorded::read(text).ok());
        self.is_cut |= is_cut || read == Some(None);
        self.events.extend(read.flatten());
    }

    /// Takes in another payer's history. An event about both is here once.
    pub fn merge(&mut self, other: Self) {
        self.is_cut |= other.is_cut;
        for recorded in other.events {
            let place = self.events.partition_point(|known| known.seq > recorded.seq);
            if self.events.get(place).is_none_or(|known| known.seq != recorded.seq) {
                self.events.insert(place, recorded);
            }
        }
    }
}

impl Recorded {
    fn read(text: &str) -> Result<Self, Unreadable> {
        let json = json::parse(text.as_bytes())?;
        let fields = Fields::of(&json)?;
        let event = fields.need("event", Fields::object)?;
        Ok(Self {
            seq: fields.need("seq", Fields::count)?,
            provider: fields.need("provider", Fields::text)?,
            event_id: fields.need("event_id", Fields::text)?,
            received_at: fields.need("received_at", Fields::moment)?,
            outcome: fields.need("outcome", Fields::text)?,
            event: Event::read(event)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_and_a_misspelled_one_is_refused() {
        let filter = Filter::from_query(
            "provider=clerk&type=user.deleted&payer=user:u&outcome=stored&since=2026-01-01T00:00:00Z&cursor=7&limit=2",
        );
        let expected = Filter {
            provider: Some("clerk".into()),
            event_type: Some("user.deleted".into()),
            payer: Payer::from_key("user:u"),
            outcome: Some(Outcome::Stored),
            since: Timestamp::parse_rfc3339("2026-01-01T00:00:00Z"),
            cursor: Some(7),
            limit: 2,
            ..Filter::default()
        };
        assert_eq!(filter, Ok(expected));
        let cases = [
            ("provder=clerk", "`provder` is not a parameter here"),
            ("payer=u", "`payer` is no payer (`user:…` or `org:…`)"),
            ("outcome=lost", "`outcome` is no outcome"),
            ("since=yesterday", "`since` is no RFC 3339 time"),
            ("cursor=-1", "`cursor` is no cursor"),
            ("limit=0", "`limit` is no number from 1 to 500"),
            ("limit=501", "`limit` is no number from 1 to 500"),
        ];
        for (query, expected) in cases {
            assert_eq!(Filter::from_query(query).unwrap_err().to_string(), expected);
        }
    }
}
