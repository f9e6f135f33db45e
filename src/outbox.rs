//! What is passed on to a receiver of the operator's: each change of a payer, once it is committed, signed with the Standard
//! Webhooks scheme. In order for each payer; tried again for three days; kept after that until an operator replays it.

use serde::Serialize;

use crate::answer::{self, Facts, Source};
use crate::catalog::Catalog;
use crate::decide::Policy;
use crate::json::{self, Embedded, Fields, Json, Unreadable};
use crate::payer::Payer;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;
use crate::upkeep::digest;

/// How long after an attempt that failed the next one is made, in seconds: the schedule of the Standard Webhooks
/// specification. Beyond the first, an attempt waits for the next scheduled run, or for the next change of anybody's.
const RETRY_AFTER_SECS: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// The type of what is sent.
const PAYER_CHANGED: &str = "payer.changed";

/// A change that is to be sent now.
#[derive(Debug)]
pub struct Due {
    /// Whose.
    pub payer: Payer,
    /// The payer's version that it made: of two messages about one payer the higher one is newer.
    pub sequence: u64,
    /// How often it was tried, this time included.
    pub attempts: u32,
    provider: String,
    event_id: String,
    created_at: Timestamp,
    /// The event in normal form, unless the ledger forgot it.
    event: Option<Embedded>,
    facts: Embedded,
    snapshot: Snapshot,
}

/// What is sent.
#[derive(Debug)]
pub struct Message {
    /// The same for every attempt.
    pub id: String,
    /// JSON.
    pub body: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    payer: String,
    sequence: u64,
    delivery: Told<'a>,
    entitlements: answer::Entitlements<'a>,
    /// What `decide` of the library reads, so that a receiver can answer for later times too.
    snapshot: &'a Embedded,
}

#[derive(Serialize)]
struct Told<'a> {
    provider: &'a str,
    event_id: &'a str,
    event: Option<&'a Embedded>,
}

impl Due {
    /// Reads what the database answers. A row that this version of the code cannot read, as one of a later version may be,
    /// keeps no other from being sent.
    ///
    /// # Errors
    /// [`Unreadable`] when nothing in it is what this version of the code writes.
    pub fn read_all(text: &str) -> Result<Vec<Self>, Unreadable> {
        let json = json::parse(text.as_bytes())?;
        let rows = json.as_list().ok_or_else(|| Unreadable::new("a list was expected"))?;
        let (mut all, mut unreadable) = (Vec::new(), None);
        for row in rows {
            match Fields::of(row).and_then(Self::read) {
                Ok(due) => all.push(due),
                Err(error) => unreadable = Some(error),
            }
        }
        unreadable.filter(|_| all.is_empty()).map_or(Ok(all), Err)
    }

    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        let unreadable = |what: &str| Unreadable::new(format!("`{what}` is not readable"));
        let raw = |text: String, what| Embedded::parse(text).map_err(|_| unreadable(what));
        let facts = fields.need("snapshot", Fields::text)?;
        let snapshot = Snapshot::parse(&facts).map_err(|error| Unreadable::new(error.to_string()))?;
        let payer = Payer::from_key(&fields.need("payer", Fields::text)?).ok_or_else(|| unreadable("payer"))?;
        Ok(Self {
            payer,
            sequence: fields.need("sequence", Fields::count)?,
            attempts: u32::try_from(fields.need("attempts", Fields::count)?).unwrap_or(u32::MAX),
            provider: fields.need("provider", Fields::text)?,
            event_id: fields.need("event_id", Fields::text)?,
            created_at: fields.need("created_at", Fields::moment)?,
            event: fields.text("event")?.map(|text| raw(text, "event")).transpose()?,
            facts: raw(facts, "snapshot")?,
            snapshot,
        })
    }

    /// The message, with the payer's state as it is at `now`: later than the change, if others came after it.
    ///
    /// # Errors
    /// `serde_json`'s, if it cannot be written as JSON.
    pub fn message(&self, catalog: &Catalog, policy: &Policy, now: Timestamp) -> Result<Message, serde_json::Error> {
        let facts = Facts::all_from(Source::D1, vec![self.snapshot.clone()]);
        let told = Told { provider: &self.provider, event_id: &self.event_id, event: self.event.as_ref() };
        let envelope = Envelope {
            r#type: PAYER_CHANGED,
            timestamp: self.created_at,
            data: Data {
                payer: self.payer.key(),
                sequence: self.sequence,
                delivery: told,
                entitlements: answer::entitlements(&facts, catalog, policy, now),
                snapshot: &self.facts,
            },
        };
        // An id of a header: what a payer's id may hold is not for one.
        let id = format!("pg_{}_{}", digest(&self.payer), self.sequence);
        Ok(Message { id, body: serde_json::to_string(&envelope)? })
    }

    /// How long to wait after this attempt, in milliseconds; none when it was the last one.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<i64> {
        let index = usize::try_from(self.attempts.saturating_sub(1)).ok()?;
        RETRY_AFTER_SECS.get(index).map(|secs| secs.saturating_mul(1000))
    }
}

/// What an operator has tried again of what was given up: all of it, one payer's, or one change.
#[derive(Debug)]
pub struct Replay {
    /// Whose; everybody's where it is none.
    pub payer: Option<Payer>,
    /// Which one of them.
    pub sequence: Option<u64>,
    /// Who asks for it, for the ledger.
    pub by: Option<String>,
}

impl Replay {
    /// Reads `{"payer", "sequence", "by"}`, each of which may be left out.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_json(body: &[u8]) -> Result<Self, Unreadable> {
        let json = if body.is_empty() { Json::Object(Vec::new()) } else { json::parse(body)? };
        let fields = Fields::of(&json)?.only(&["payer", "sequence", "by"])?;
        let unreadable = || Unreadable::new("`payer` is no `user:…` or `org:…`");
        let payer = fields.text("payer")?.map(|key| Payer::from_key(&key).ok_or_else(unreadable)).transpose()?;
        let sequence = fields.count("sequence")?;
        if sequence.is_some() && payer.is_none() {
            return Err(Unreadable::new("`sequence` needs a `payer`"));
        }
        Ok(Self { payer, sequence, by: fields.text("by")? })
    }
}
