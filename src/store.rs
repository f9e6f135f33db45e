//! What is written for a webhook and read for a check, as SQL.
//!
//! The statements here run in D1 in production and in SQLite in the tests: there is no second version of them. A
//! webhook is one batch, which both run as one transaction: the ledger's row, the state derived from that row, and the
//! payer's snapshot read back. So nothing is acknowledged before it is stored, nothing is marked as seen before it is
//! applied, and playing a row of the ledger again changes nothing.

mod compact;
pub mod outbox;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod upkeep;

use std::fmt;
use std::sync::LazyLock;

use self::compact::compact;
use crate::api::Reading;
use crate::card;
use crate::delivery::Verified;
use crate::event::{Event, ParseError, Parsed};
use crate::ledger::Filter;
use crate::ordered;
use crate::payer::Payer;
use crate::reconcile::MISSED_AFTER_MS;
use crate::time::Timestamp;

/// The last of `migrations/`: what the database must have seen for this code.
pub const LATEST_MIGRATION: &str = "0006_nobodys_deliveries.sql";

static DELIVER: LazyLock<String> = LazyLock::new(|| {
    let deliver = compact!(include_str!("store/deliver.sql"));
    deliver.replace("mentions(?10, payer)", &upkeep::mentions("?10", "payer"))
});
static AGAIN: &str = compact!(include_str!("store/again.sql"));
static RECORDS: &str = compact!(include_str!("store/records.sql"));
static PAYMENTS: &str = compact!(include_str!("store/payments.sql"));
static CUSTOMERS: &str = compact!(include_str!("store/customers.sql"));
static LINK_RECORDS: &str = compact!(include_str!("store/link_records.sql"));
static LINK_PAYMENTS: &str = compact!(include_str!("store/link_payments.sql"));
static PAYERS: LazyLock<String> = LazyLock::new(|| {
    // RETURNING knows the row by the name of its table alone.
    let snapshot = compact!(include_str!("store/snapshot.sql"));
    let snapshot = snapshot
        .replace("who.payer", "payers.payer")
        .replace("p.version", "version")
        .replace("p.deleted_at", "deleted_at");
    // With a limit it stays a query of its own: `who` is named more than once and would be looked for each time.
    let payers = compact!(
        "WITH who(payer) AS (",
        include_str!("store/payer_of.sql"),
        " LIMIT 1)\n",
        include_str!("store/payers.sql")
    );
    // Whose row did not change, as after a duplicate, is not read back.
    format!("{payers} RETURNING payer, version, {snapshot} AS snapshot")
});
// MATERIALIZED for the same reason.
static SNAPSHOT: &str = compact!(
    "WITH who(payer) AS MATERIALIZED (",
    include_str!("store/payer_of.sql"),
    ")\nSELECT who.payer AS payer, coalesce(p.version, 0) AS version,\n",
    include_str!("store/snapshot.sql"),
    " AS snapshot FROM who LEFT JOIN payers p ON p.payer = who.payer WHERE who.payer IS NOT NULL"
);
static SNAPSHOTS: &str = compact!(
    "WITH who(payer) AS (VALUES (?1), (?2))\nSELECT who.payer AS payer,\n",
    include_str!("store/snapshot.sql"),
    " AS snapshot FROM who LEFT JOIN payers p ON p.payer = who.payer WHERE who.payer IS NOT NULL"
);
static LOOSE: &str = compact!(include_str!("store/loose.sql"));
static HELD: &str = compact!(include_str!("store/held.sql"));
static CUSTOMERS_OF: &str = compact!(include_str!("store/customers_of.sql"));
static HEALTH: &str = compact!(include_str!("store/health.sql"));
static HISTORY: &str = compact!(include_str!("store/history.sql"));
static LEDGER: &str = compact!(include_str!("store/ledger.sql"));
// A condition that may be off uses no index, so those that have one are made plain where they are on.
static LEDGER_OF_PAYER: LazyLock<String> = LazyLock::new(|| LEDGER.replace("(?3 IS NULL OR payer = ?3)", "payer = ?3"));
// The planner would walk the ledger for the order, to find the few that there are.
static LEDGER_OF_DEAD_LETTERS: LazyLock<String> = LazyLock::new(|| {
    let of_outcome = LEDGER.replace("(?4 IS NULL OR outcome = ?4)", "outcome = 'dead_letter'");
    of_outcome.replace("FROM deliveries WHERE", "FROM deliveries INDEXED BY dead_letters WHERE")
});
static LEDGER_ROW: LazyLock<String> = LazyLock::new(|| {
    let of_provider = LEDGER.replace("(?1 IS NULL OR provider = ?1)", "provider = ?1");
    of_provider.replace("(?9 IS NULL OR event_id = ?9)", "event_id = ?9")
});

const KEPT: &str = "SELECT k.name, k.value FROM json_each(?1) e CROSS JOIN kept k ON k.name = e.value";
const KEEP: &str = "INSERT INTO kept (name, value, updated_at) VALUES (?1, ?2, ?3) \
                    ON CONFLICT DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
const LAST_MIGRATION: &str = "SELECT name FROM d1_migrations ORDER BY id DESC LIMIT 1";
const COUNT_REJECTIONS: &str = "INSERT INTO rejections (provider, cause, count, last_at) \
     SELECT e.value ->> 'provider', e.value ->> 'cause', e.value ->> 'count', e.value ->> 'last_at' \
     FROM json_each(?1) e WHERE true \
     ON CONFLICT DO UPDATE SET count = count + excluded.count, last_at = max(last_at, excluded.last_at)";

/// Who the ledger says acted when it was not a provider but an operator.
pub const OPERATOR: &str = "operator";

/// What the ledger notes of a delivery that tells of a record otherwise than another one with the same times.
pub const TIED: &str = "tied";

/// A value bound to a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Param {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// TEXT.
    Text(String),
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Option<String>> for Param {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl From<Timestamp> for Param {
    fn from(moment: Timestamp) -> Self {
        Self::Integer(moment.as_millis())
    }
}

/// One statement and what is bound to it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The text, with `?1`, `?2`, … for the parameters.
    pub sql: &'static str,
    /// The parameters, in order.
    pub params: Vec<Param>,
}

/// The statements of one webhook, to be run as one transaction. The first one answers `outcome` and `detail`; the last one
/// `payer`, `version` and `snapshot`, or nothing: when nobody knows whom the event is about, and for a duplicate, unless
/// `reads_duplicates_back`.
///
/// # Errors
/// Never for what a provider sends; `serde_json`'s if the event cannot be written as JSON.
pub fn webhook(
    provider: &str,
    verified: &Verified<'_>,
    parsed: &Result<Parsed, ParseError>,
    reads_duplicates_back: bool,
    now: Timestamp,
) -> Result<Vec<Statement>, serde_json::Error> {
    let key = || vec![Param::from(provider), Param::from(verified.event_id())];
    let mut statements = vec![Statement { sql: &DELIVER, params: ledger_row(provider, verified, parsed, now)? }];
    if let Ok(Parsed::Event(event)) = parsed {
        if !event.records.is_empty() {
            statements.push(Statement { sql: RECORDS, params: key() });
        }
        if !event.payments.is_empty() {
            statements.push(Statement { sql: PAYMENTS, params: key() });
        }
        if !event.links.is_empty() {
            statements.push(Statement { sql: CUSTOMERS, params: key() });
        }
        // What names its payer needs no link, and most events do.
        if !event.links.is_empty() || event.records.iter().any(|record| record.payer.is_none()) {
            statements.push(Statement { sql: LINK_RECORDS, params: key() });
        }
        if !event.links.is_empty() || event.payments.iter().any(|payment| payment.payer.is_none()) {
            statements.push(Statement { sql: LINK_PAYMENTS, params: key() });
        }
        statements.push(Statement { sql: &PAYERS, params: key_and_time(key(), now) });
        if reads_duplicates_back {
            statements.push(Statement { sql: SNAPSHOT, params: key_and_time(key(), now) });
        }
    }
    Ok(statements)
}

/// Counts a delivery that comes again: one row if the ledger holds its event, and no other statement of [`webhook`] would then
/// change anything. Without a row nothing was done, and those are to be run.
#[must_use]
pub fn again(provider: &str, event_id: &str, now: Timestamp) -> Statement {
    Statement { sql: AGAIN, params: key_and_time(vec![Param::from(provider), Param::from(event_id)], now) }
}

fn key_and_time(mut key: Vec<Param>, now: Timestamp) -> Vec<Param> {
    key.push(now.into());
    key
}

fn ledger_row(
    provider: &str,
    verified: &Verified<'_>,
    parsed: &Result<Parsed, ParseError>,
    now: Timestamp,
) -> Result<Vec<Param>, serde_json::Error> {
    let nothing = || Param::Null;
    let (event_type, payer, occurred_at, outcome, detail, event, body) = match parsed {
        Ok(Parsed::Event(event)) => (
            Param::from(event.event_type.as_str()),
            Param::from(event.payer.as_ref().map(Payer::key)),
            event.occurred_at.into(),
            nothing(),
            nothing(),
            Param::Text(serde_json::to_string::<Event>(event)?),
            nothing(),
        ),
        Ok(Parsed::Ignored { event_type, reason }) => (
            Param::from(event_type.as_str()),
            nothing(),
            nothing(),
            Param::from(Outcome::Ignored.as_str()),
            Param::from(reason.as_str()),
            nothing(),
            nothing(),
        ),
        Err(error) => (
            Param::from(error.event_type.clone()),
            nothing(),
            nothing(),
            Param::from(Outcome::DeadLetter.as_str()),
            // An error repeats what it found.
            Param::Text(card::mask(&error.cause)),
            nothing(),
            Param::Text(card::mask(&String::from_utf8_lossy(verified.body()))),
        ),
    };
    Ok(vec![
        Param::from(provider),
        Param::from(verified.event_id()),
        event_type,
        payer,
        occurred_at,
        now.into(),
        outcome,
        detail,
        event,
        body,
    ])
}

/// Reads the snapshots of up to two payers: rows of `payer` and `snapshot`. A payer we have never heard of has one too,
/// with version 0.
#[must_use]
pub fn snapshots(payers: (&Payer, Option<&Payer>), now: Timestamp) -> Statement {
    let (first, second) = payers;
    let params = vec![Param::Text(first.key()), Param::from(second.map(Payer::key)), now.into()];
    Statement { sql: SNAPSHOTS, params }
}

/// Reads what is held of the records of this reading, and what else of its records the payer has that is not over: one row,
/// `held`, as JSON (a [`Held`](crate::reconcile::Held)).
///
/// # Errors
/// `serde_json`'s if the ids cannot be written as JSON.
pub fn held(provider: &str, reading: &Reading, payer: Option<&Payer>) -> Result<Statement, serde_json::Error> {
    let ids: Vec<&str> = reading.shown.iter().map(|shown| shown.record.id.as_str()).collect();
    let named = reading.shown.iter().filter_map(|shown| shown.record.payer.as_ref());
    let payers = ordered::set(named.chain(payer).map(Payer::key));
    let params = vec![
        Param::from(provider),
        Param::Text(serde_json::to_string(&ids)?),
        Param::from(payer.map(Payer::key)),
        Param::Text(serde_json::to_string(&payers)?),
    ];
    Ok(Statement { sql: HELD, params })
}

/// Reads under which customers' ids the providers have a payer, those told last first: rows of `provider` and `id`.
#[must_use]
pub fn customers_of(payer: &Payer) -> Statement {
    Statement { sql: CUSTOMERS_OF, params: vec![Param::Text(payer.key())] }
}

/// Reads what the worker kept for itself under these names: rows of `name` and `value`.
///
/// # Errors
/// `serde_json`'s if the names cannot be written as JSON.
pub fn kept(names: &[&str]) -> Result<Statement, serde_json::Error> {
    let names = Param::Text(serde_json::to_string(names)?);
    Ok(Statement { sql: KEPT, params: vec![names] })
}

/// Reads what waits for an operator: one row, `loose`, as JSON (see [`crate::loose::Found`]).
#[must_use]
pub fn loose(records: u32) -> Statement {
    Statement { sql: LOOSE, params: vec![Param::Integer(records.into())] }
}

/// Keeps something between runs.
#[must_use]
pub fn keep(name: &str, value: &str, now: Timestamp) -> Statement {
    Statement { sql: KEEP, params: vec![Param::from(name), Param::from(value), now.into()] }
}

/// Counts refused deliveries, `[{"provider", "cause", "count", "last_at"}, …]` as JSON.
#[must_use]
pub fn count_rejections(json: String) -> Statement {
    Statement { sql: COUNT_REJECTIONS, params: vec![Param::Text(json)] }
}

/// Reads a page of the ledger: one row, `page`, as JSON (see [`crate::ledger::Page`]).
#[must_use]
pub fn ledger(filter: &Filter) -> Statement {
    let sql: &str = match filter {
        Filter { provider: Some(_), event_id: Some(_), .. } => &LEDGER_ROW,
        Filter { payer: Some(_), .. } => &LEDGER_OF_PAYER,
        Filter { outcome: Some(Outcome::DeadLetter), .. } => &LEDGER_OF_DEAD_LETTERS,
        _ => LEDGER,
    };
    Statement { sql, params: filter.params() }
}

/// Rows of the ledger that are looked at for one payer's history. What is not about what the payer holds is passed over,
/// and a payer has fewer than a few hundred of these in `RETENTION_DAYS`.
const LOOKED_AT: i64 = 2_000;

/// Reads the events behind what a payer holds, as they were known at `at`, the newest `limit` of them: rows of `cut` and
/// `event` (see [`crate::ledger::History`]).
#[must_use]
pub fn history(payer: &Payer, at: Timestamp, limit: u32) -> Statement {
    let params = vec![payer.key().as_str().into(), at.into(), Param::Integer(limit.into()), Param::Integer(LOOKED_AT)];
    Statement { sql: HISTORY, params }
}

/// Derives the state anew from a row of the ledger, as one transaction whose last statement answers like that of
/// [`webhook`]. Where nothing was damaged nothing changes.
#[must_use]
pub fn reapply(provider: &str, event_id: &str, now: Timestamp) -> Vec<Statement> {
    let key = || vec![Param::from(provider), Param::from(event_id)];
    vec![
        Statement { sql: RECORDS, params: key() },
        Statement { sql: PAYMENTS, params: key() },
        Statement { sql: CUSTOMERS, params: key() },
        Statement { sql: LINK_RECORDS, params: key() },
        Statement { sql: LINK_PAYMENTS, params: key() },
        Statement { sql: SNAPSHOT, params: key_and_time(key(), now) },
    ]
}

/// Notes in the ledger what an operator did.
#[must_use]
pub fn note(id: &str, action: &str, detail: &str, now: Timestamp) -> Statement {
    let params = vec![
        Param::from(OPERATOR),
        Param::from(id),
        Param::from(action),
        Param::Null,
        now.into(),
        now.into(),
        Param::from(Outcome::Stored.as_str()),
        Param::from(detail),
        Param::Null,
        Param::Null,
    ];
    Statement { sql: &DELIVER, params }
}

/// Reads what `/healthz` shows of the database: one row, `health`, as JSON.
#[must_use]
pub fn health(now: Timestamp) -> Statement {
    Statement { sql: HEALTH, params: vec![now.plus_millis(-MISSED_AFTER_MS).into()] }
}

/// Reads the last migration that was applied: one row, `name`. Where what a later one makes is missing, [`health`] cannot tell.
#[must_use]
pub fn last_migration() -> Statement {
    Statement { sql: LAST_MIGRATION, params: Vec::new() }
}

/// What became of a delivery. Every one of these is a success to the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It changed what we hold.
    Stored,
    /// We had it already.
    Duplicate,
    /// We hold something newer.
    Stale,
    /// It is not for us.
    Ignored,
    /// It could not be read and is kept whole.
    DeadLetter,
}

impl Outcome {
    /// As stored and answered.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Ignored => "ignored",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// From the stored text.
    ///
    /// # Errors
    /// [`UnknownOutcome`] when the database says something else.
    pub fn parse(text: &str) -> Result<Self, UnknownOutcome> {
        [Self::Stored, Self::Duplicate, Self::Stale, Self::Ignored, Self::DeadLetter]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| UnknownOutcome(text.to_owned()))
    }
}

/// The database answered an outcome that this code does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownOutcome(String);

impl fmt::Display for UnknownOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown outcome `{}`", self.0)
    }
}

impl std::error::Error for UnknownOutcome {}
