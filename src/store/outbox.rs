//! The outbox: changes that were committed and are to be passed on (see [`crate::outbox`]).

use super::compact::compact;
use super::{Param, Statement};
use crate::outbox::{Due, Replay};
use crate::time::Timestamp;

static PASS_ON: &str = compact!(
    "WITH who(payer) AS MATERIALIZED (",
    include_str!("payer_of.sql"),
    ")\n",
    include_str!("outbox/pass_on.sql")
);
static CLAIM: &str = compact!(include_str!("outbox/claim.sql"));
static DUE: &str =
    compact!(include_str!("outbox/due.sql"), include_str!("snapshot.sql"), "\n", include_str!("outbox/due_from.sql"));
static LISTED: &str = compact!(include_str!("outbox/listed.sql"));
// All that waits of a payer has one time.
const WAIT: &str = "UPDATE outbox SET next_at = ?2 WHERE dead_at IS NULL \
                    AND payer IN (SELECT c.payer FROM outbox c WHERE c.claim = ?1)";
const DELIVERED: &str = "DELETE FROM outbox WHERE payer = ?1 AND sequence = ?2";
const FAILED: &str =
    "UPDATE outbox SET failure = ?4, claim = NULL, dead_at = ?5 WHERE payer = ?1 AND sequence = ?2 AND claim = ?3";
const NEXT: &str = "UPDATE outbox SET next_at = ?2 WHERE payer = ?1 AND dead_at IS NULL";
const REPLAY: &str = "UPDATE outbox SET dead_at = NULL, claim = NULL, attempts = 0, next_at = coalesce((SELECT max(o.next_at) FROM outbox o \
     WHERE o.payer = outbox.payer AND o.dead_at IS NULL), ?3) \
     WHERE dead_at IS NOT NULL AND (?1 IS NULL OR payer = ?1) AND (?2 IS NULL OR sequence = ?2)";

/// Has what a delivery changed passed on: goes into the delivery's own transaction, after its own statements.
#[must_use]
pub fn pass_on(provider: &str, event_id: &str, now: Timestamp) -> Statement {
    Statement { sql: PASS_ON, params: vec![provider.into(), event_id.into(), now.into()] }
}

/// The statements that take the next change of each of `limit` payers until `until` (nobody else takes one of theirs
/// before), to be run as one transaction. The last one answers one row, `due`, as JSON (see [`Due::read_all`]).
#[must_use]
pub fn claim(run: &str, limit: u32, until: Timestamp, now: Timestamp) -> Vec<Statement> {
    let window = vec![run.into(), Param::Integer(limit.into()), now.into()];
    vec![
        Statement { sql: CLAIM, params: window.clone() },
        Statement { sql: WAIT, params: vec![run.into(), until.into()] },
        Statement { sql: DUE, params: window },
    ]
}

/// The receiver has it: it goes, and the payer's next one may.
#[must_use]
pub fn delivered(due: &Due, now: Timestamp) -> Vec<Statement> {
    let key = || vec![Param::Text(due.payer.key()), number(due.sequence)];
    vec![
        Statement { sql: DELIVERED, params: key() },
        Statement { sql: NEXT, params: vec![Param::Text(due.payer.key()), now.into()] },
    ]
}

/// It was not taken: tried again after a while, and given up when it was tried often enough. What waits behind one that was
/// given up goes on.
#[must_use]
pub fn failed(due: &Due, run: &str, failure: &str, now: Timestamp) -> Vec<Statement> {
    let retry_at = due.retry_after_ms().map(|after| now.plus_millis(after));
    let dead_at = if retry_at.is_none() { now.into() } else { Param::Null };
    vec![
        Statement {
            sql: FAILED,
            params: vec![Param::Text(due.payer.key()), number(due.sequence), run.into(), failure.into(), dead_at],
        },
        Statement { sql: NEXT, params: vec![Param::Text(due.payer.key()), retry_at.unwrap_or(now).into()] },
    ]
}

/// Reads what waits and what was given up: one row, `outbox`, as the JSON that operators read.
#[must_use]
pub fn listed(limit: u32) -> Statement {
    Statement { sql: LISTED, params: vec![Param::Integer(limit.into())] }
}

/// Has what was given up tried again.
#[must_use]
pub fn replay(replay: &Replay, now: Timestamp) -> Statement {
    let payer = Param::from(replay.payer.as_ref().map(crate::payer::Payer::key));
    Statement { sql: REPLAY, params: vec![payer, replay.sequence.map_or(Param::Null, number), now.into()] }
}

/// Sequences count deliveries.
fn number(sequence: u64) -> Param {
    Param::Integer(i64::try_from(sequence).unwrap_or(i64::MAX))
}
