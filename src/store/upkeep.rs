//! The statements of upkeep: what operators do about one payer's data or about all of the state, and what is pruned.
//!
//! A rebuild derives the state by the statements that a delivery runs, with another table and another filter put into
//! their text, so that there is no second version of the rules.

use std::sync::LazyLock;

use super::compact::compact;
use super::{Param, Statement, note};
use crate::payer::Payer;
use crate::time::{DAY_MS, Timestamp};
use crate::upkeep::{Erasure, Export, Rebuild};

/// The columns of `deliveries`.
pub const DELIVERY_COLUMNS: &[&str] = &[
    "seq",
    "provider",
    "event_id",
    "event_type",
    "payer",
    "occurred_at",
    "received_at",
    "last_received_at",
    "attempts",
    "read_attempt",
    "outcome",
    "detail",
    "event",
    "body",
];
/// The columns of `records`.
pub const RECORD_COLUMNS: &[&str] = &[
    "provider",
    "id",
    "payer",
    "payer_version",
    "customer",
    "customer_version",
    "plan",
    "plan_id",
    "plan_free",
    "plan_version",
    "status",
    "period_start",
    "period_end",
    "interval",
    "cancel_at",
    "canceled_at",
    "ended_at",
    "past_due_since",
    "seats",
    "failed_attempts",
    "last_failure_at",
    "occurred_at",
    "event_id",
    "version",
    "subscription",
    "trial_used",
    "started_at",
];
/// The columns of `payments`.
pub const PAYMENT_COLUMNS: &[&str] = &[
    "provider",
    "id",
    "payer",
    "payment",
    "status",
    "amount",
    "currency",
    "charge_type",
    "failure_code",
    "created_at",
    "occurred_at",
    "event_id",
    "version",
    "customer",
    "record",
    "tried",
    "payer_version",
];
/// The columns of `customers`.
pub const CUSTOMER_COLUMNS: &[&str] = &["provider", "id", "payer", "version"];
/// The columns of `payers`.
pub const PAYER_COLUMNS: &[&str] = &["payer", "version", "deleted_at", "erased_at"];

/// Rows of the ledger that one run of pruning looks at. Each costs some look-ups by key, and a run should stay within a
/// fraction of a second.
pub const PRUNED_AT_ONCE: u32 = 500;
/// How long a sweep over the ledger rests when it came to the end. What stays would else be looked at all day long.
const SWEEP_RESTS_MS: i64 = DAY_MS;
/// Differences that a rebuild shows.
const DIFFERENCES_SHOWN: i64 = 50;
/// Changed payers whose KV copies are deleted by the request that replaced their state: a request may make 50 calls on
/// Cloudflare's free plan. Other copies run out by themselves.
pub const COPIES_DELETED_AT_ONCE: usize = 40;

static ERASE_UNNAMED: &str = compact!(include_str!("upkeep/erase_unnamed.sql"));
static ERASE_NAMED: &str = compact!(include_str!("upkeep/erase_named.sql"));
static ERASE_DEAD_LETTERS: LazyLock<String> =
    LazyLock::new(|| compact!(include_str!("upkeep/erase_dead_letters.sql")).replace("is_about(?1)", &is_about("?1")));
// With what their events said of something else of theirs and that names nobody, as a subscription does of the order it came by.
const ERASE_RECORDS: &str = "DELETE FROM records WHERE payer = ?1 OR \
     (payer IS NULL AND (provider, subscription) IN (SELECT provider, id FROM records WHERE payer = ?1))";
static ERASE_PAYER: &str = compact!(include_str!("upkeep/erase_payer.sql"));
static PAYER: &str = compact!(include_str!("upkeep/payer.sql"));
static EXPORT: LazyLock<String> = LazyLock::new(|| export_of("true"));
static EXPORT_OF_PAYER: LazyLock<String> = LazyLock::new(|| {
    export_of(&compact!(include_str!("upkeep/of_payer.sql")).replace("is_about(?3)", &is_about("?3")))
});
static STATE_OF_PAYER: LazyLock<String> = LazyLock::new(|| {
    let of = |table: &str, columns| {
        format!("SELECT {} AS line FROM {table} WHERE payer = ?1", object(&[("table", table)], columns))
    };
    let tables = [
        ("payers", PAYER_COLUMNS),
        ("customers", CUSTOMER_COLUMNS),
        ("records", RECORD_COLUMNS),
        ("payments", PAYMENT_COLUMNS),
    ];
    tables.map(|(table, columns)| of(table, columns)).join(" UNION ALL ")
});
static PRUNE_WINDOW: &str = compact!(include_str!("upkeep/prune_window.sql"));
static PRUNE_PAYMENTS: &str = compact!(include_str!("upkeep/prune_payments.sql"));
static PRUNE_DELIVERIES: &str = compact!(include_str!("upkeep/prune_deliveries.sql"));
static REBUILD_RECORDS: LazyLock<String> = LazyLock::new(|| {
    rebuilt(compact!(include_str!("records.sql")), "records", "WHERE d.provider = ?1 AND d.event_id = ?2")
});
static REBUILD_PAYMENTS: LazyLock<String> = LazyLock::new(|| {
    rebuilt(compact!(include_str!("payments.sql")), "payments", "WHERE d.provider = ?1 AND d.event_id = ?2")
});
static REBUILD_CUSTOMERS: LazyLock<String> = LazyLock::new(|| {
    rebuilt(compact!(include_str!("customers.sql")), "customers", "WHERE d.provider = ?1 AND d.event_id = ?2")
});
static REBUILD_LINKED_RECORDS: LazyLock<String> =
    LazyLock::new(|| relinked(compact!(include_str!("link_records.sql")), "records"));
static REBUILD_LINKED_PAYMENTS: LazyLock<String> =
    LazyLock::new(|| relinked(compact!(include_str!("link_payments.sql")), "payments"));
// Every deletion names the payer, so nobody needs to be looked for; and here each row counts once.
static REBUILD_PAYERS: LazyLock<String> = LazyLock::new(|| {
    let of_rows = compact!(include_str!("payers.sql")).replace("FROM who CROSS JOIN deliveries d", "FROM deliveries d");
    let filter = "AND d.provider = ?1 AND d.event_id = ?2 AND d.attempts = d.read_attempt";
    rebuilt(&of_rows.replace("who.payer", "d.payer"), "payers", filter)
        .replace("d.event IS NOT NULL", "d.event ->> 'deleted_at' IS NOT NULL")
});
static DIFFERENT_RECORDS: LazyLock<String> = LazyLock::new(|| differences("records", RECORD_COLUMNS));
static DIFFERENT_PAYMENTS: LazyLock<String> = LazyLock::new(|| differences("payments", PAYMENT_COLUMNS));
static DIFFERENT_DELETIONS: &str = compact!(include_str!("upkeep/rebuilt_deletions.sql"));
static CHANGED: &str = compact!(include_str!("upkeep/rebuilt_changed.sql"));
static REPORT: LazyLock<String> = LazyLock::new(|| {
    let report = compact!(include_str!("upkeep/rebuilt_report.sql"));
    let report = report.replace("object(records)", &object(&[], RECORD_COLUMNS));
    report.replace("object(payments)", &object(&[], PAYMENT_COLUMNS))
});
static TAKE_OUT_RECORDS: &str = compact!(include_str!("upkeep/replace_deleted.sql"));
static TAKE_OUT_PAYMENTS: LazyLock<String> = LazyLock::new(|| TAKE_OUT_RECORDS.replace("records", "payments"));
static PUT_IN_RECORDS: &str = compact!(include_str!("upkeep/replace_inserted.sql"));
static PUT_IN_PAYMENTS: LazyLock<String> = LazyLock::new(|| PUT_IN_RECORDS.replace("records", "payments"));
static PUT_IN_PAYERS: &str = compact!(include_str!("upkeep/replace_payers.sql"));

/// The condition that `body` holds the id of `payer`.
pub(super) fn mentions(body: &str, payer: &str) -> String {
    compact!(include_str!("upkeep/mentions.sql")).replace(":body", body).replace(":payer", payer)
}

/// The condition that a dead letter holds an id of `payer`.
fn is_about(payer: &str) -> String {
    mentions("body", payer) + &compact!(" OR ", include_str!("upkeep/mentions_customer.sql")).replace(":payer", payer)
}

/// Fields that one call of `json_object` takes: D1 documents 32 arguments of a function, though workerd takes 127
/// (<https://developers.cloudflare.com/d1/platform/limits/>).
const FIELDS_OF_A_CALL: usize = 16;

/// A row of these columns as a JSON object, after some constant fields. Of two calls the first may end with no object.
fn object(constants: &[(&str, &str)], columns: &[&str]) -> String {
    let constants = constants.iter().map(|(name, text)| format!("'{name}', '{text}'"));
    let columns = columns.iter().map(|column| match *column {
        "event" => "'event', json(event)".to_owned(),
        column => format!("'{column}', {column}"),
    });
    let fields: Vec<_> = constants.chain(columns).collect();
    let calls = fields.chunks(FIELDS_OF_A_CALL).map(|fields| format!("json_object({})", fields.join(", ")));
    calls.reduce(|all, call| format!("rtrim({all}, '}}') || ',' || ltrim({call}, '{{')")).unwrap_or_default()
}

fn export_of(chosen: &str) -> String {
    let line = object(&[("table", "deliveries")], DELIVERY_COLUMNS).replace("'seq', seq", "'seq', d.seq");
    compact!(include_str!("upkeep/export.sql")).replace("line(deliveries)", &line).replace("chosen", chosen)
}

/// A statement that derives state, over the whole ledger and into the table's rebuilt copy.
fn rebuilt(sql: &str, table: &str, filter: &str) -> String {
    let filter_of_all = if filter.starts_with("WHERE") { "WHERE" } else { "AND" };
    sql.replace(&format!("INSERT INTO {table} "), &format!("INSERT INTO rebuilt_{table} "))
        .replace(&format!(" {table}."), &format!(" rebuilt_{table}."))
        .replace(filter, &format!("{filter_of_all} d.event IS NOT NULL ORDER BY d.seq"))
}

/// A statement that links rows, over all of the table's rebuilt copy.
fn relinked(sql: &str, table: &str) -> String {
    // Which of them a delivery touches is asked last.
    let all = sql.split_once(" AND provider = ?1").map_or(sql, |(all, _)| all);
    let indexed = format!("UPDATE {table} INDEXED BY {table}_by_customer ");
    all.replace(&indexed, &format!("UPDATE rebuilt_{table} "))
        .replace(&format!("{table}."), &format!("rebuilt_{table}."))
        .replace("FROM customers c", "FROM rebuilt_customers c")
}

fn differences(table: &str, columns: &[&str]) -> String {
    let of = |alias: &str| columns.iter().map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ");
    let sql = compact!(include_str!("upkeep/rebuilt_differences.sql"));
    sql.replace("records", table).replace("columns(l)", &of("l")).replace("columns(b)", &of("b"))
}

/// The statements that erase a payer's data, to be run as one transaction. What each of the first six changed is what
/// was erased ([`ERASED`]); the last answers the snapshot of the tombstone.
///
/// A record that changed hands is erased with the payer who has it now; what an earlier holder's event told of it stays
/// in the record.
#[must_use]
pub fn erase(erasure: &Erasure, note_id: &str, now: Timestamp) -> Vec<Statement> {
    let key = erasure.payer.key();
    let of_payer = |sql: &'static str| Statement { sql, params: vec![Param::from(key.as_str())] };
    vec![
        // While the records still tell whose the deliveries are.
        of_payer(ERASE_UNNAMED),
        of_payer(ERASE_NAMED),
        of_payer(&ERASE_DEAD_LETTERS),
        of_payer(ERASE_RECORDS),
        of_payer("DELETE FROM payments WHERE payer = ?1"),
        of_payer("DELETE FROM customers WHERE payer = ?1"),
        of_payer("DELETE FROM outbox WHERE payer = ?1"),
        Statement { sql: ERASE_PAYER, params: vec![Param::from(key.as_str()), now.into()] },
        note(note_id, "admin.erase", &erasure.detail(), now),
        super::snapshots((&erasure.payer, None), now),
    ]
}

/// What the statements of [`erase`] erase, in their order.
pub const ERASED: [&str; 6] = ["unnamed_events", "events", "dead_letters", "records", "payments", "customers"];

/// Reads what is held on a payer besides the ledger: a row of `line` for each.
#[must_use]
pub fn export_state(payer: &Payer) -> Statement {
    Statement { sql: &STATE_OF_PAYER, params: vec![Param::Text(payer.key())] }
}

/// Reads a page of the ledger, oldest first: rows of `seq`, `line` and `total`.
#[must_use]
pub fn export_ledger(export: &Export) -> Statement {
    let after = Param::Integer(i64::try_from(export.cursor.unwrap_or(0)).unwrap_or(i64::MAX));
    let mut params = vec![after, Param::Integer(export.limit.into())];
    let sql: &str = match &export.payer {
        Some(payer) => {
            params.push(Param::Text(payer.key()));
            &EXPORT_OF_PAYER
        }
        None => &EXPORT,
    };
    Statement { sql, params }
}

/// Reads a payer's own row: one row, `payer`, as JSON, if anybody ever told of it.
#[must_use]
pub fn payer(payer: &Payer) -> Statement {
    Statement { sql: PAYER, params: vec![Param::Text(payer.key())] }
}

/// The statements that prune a part of the ledger, to be run as one transaction: rows that were received more than
/// `retention_days` ago and on which no state rests. No decision changes, and what is left still rebuilds to the same
/// state. An event that was pruned and comes again is stale.
///
/// One thing a resend can bring back: an attempt to charge that was paid, and whose earlier failure is sent again, is a
/// failed one until the next sweep. It is older than a later one that was paid, so nothing is decided by it.
#[must_use]
pub fn prune(retention_days: u32, looked_at: u32, now: Timestamp) -> Vec<Statement> {
    let before = now.plus_millis(DAY_MS.saturating_mul(i64::from(retention_days)).saturating_neg());
    let rested = now.plus_millis(SWEEP_RESTS_MS.saturating_neg());
    let window = vec![now.into(), before.into(), Param::Integer(looked_at.into()), rested.into()];
    vec![
        Statement { sql: PRUNE_WINDOW, params: window },
        Statement { sql: PRUNE_PAYMENTS, params: vec![now.into(), before.into()] },
        Statement { sql: PRUNE_DELIVERIES, params: vec![now.into(), before.into()] },
    ]
}

/// The statements of a rebuild, to be run as one transaction. The one at [`REPORT_AT`] answers one row, `report`, as JSON
/// (see [`crate::upkeep::Report`]).
///
/// D1 allows a statement 30 s. Over a ledger of 100,000 deliveries and 50,000 records the longest took 1.6 to 3.9 s in
/// SQLite on one core of a shared machine, and all of them 2.3 to 6.3 s, with every record replaced.
#[must_use]
pub fn rebuild(rebuild: &Rebuild, note_id: &str, now: Timestamp) -> Vec<Statement> {
    let plain = |sql: &'static str| Statement { sql, params: Vec::new() };
    let empty = || {
        [
            plain("DELETE FROM rebuilt_records"),
            plain("DELETE FROM rebuilt_payments"),
            plain("DELETE FROM rebuilt_customers"),
            plain("DELETE FROM rebuilt_payers"),
            plain("DELETE FROM rebuilt_differences"),
        ]
    };
    let mut statements = Vec::from(empty());
    statements.extend([
        plain(&REBUILD_RECORDS),
        plain(&REBUILD_PAYMENTS),
        plain(&REBUILD_CUSTOMERS),
        plain(&REBUILD_LINKED_RECORDS),
        plain(&REBUILD_LINKED_PAYMENTS),
        // The ledger no longer tells of whom was erased.
        plain("INSERT INTO rebuilt_payers SELECT * FROM payers WHERE erased_at IS NOT NULL"),
        plain(&REBUILD_PAYERS),
        plain(&DIFFERENT_RECORDS),
        plain(&DIFFERENT_PAYMENTS),
        plain(DIFFERENT_DELETIONS),
        plain(CHANGED),
    ]);
    let shown = i64::try_from(COPIES_DELETED_AT_ONCE).unwrap_or(i64::MAX);
    let params = vec![Param::Integer(DIFFERENCES_SHOWN), Param::Integer(shown)];
    statements.push(Statement { sql: &REPORT, params });
    if rebuild.replace {
        statements.extend([
            plain(TAKE_OUT_RECORDS),
            plain(PUT_IN_RECORDS),
            plain(&TAKE_OUT_PAYMENTS),
            plain(&PUT_IN_PAYMENTS),
            plain(PUT_IN_PAYERS),
            // What they link is in the rows above.
            plain("DELETE FROM customers"),
            plain("INSERT INTO customers SELECT * FROM rebuilt_customers"),
        ]);
    }
    statements.extend(empty());
    statements.push(note(note_id, "admin.rebuild", &rebuild.detail(), now));
    statements
}

/// Which of the statements of [`rebuild`] answers the report.
pub const REPORT_AT: usize = 16;
