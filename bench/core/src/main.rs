//! `store-times [payers …]`: what the statements of a webhook, a duplicate and a check take in SQLite on disk, with so many
//! payers in the database, and how large the database is. One JSON object a line.
//!
//! The statements are production's, and each payer was stored by them. Times are the CPU's and the page cache's: nothing waits
//! for a disk, as at Cloudflare, where D1 confirms a write otherwise.
#![allow(clippy::unwrap_used, reason = "a measurement that panics has failed, which is what it is for")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads a clock")]

use std::time::Instant;

use plangate::delivery::Verified;
use plangate::payer::{Payer, PayerKind};
use plangate::provider::{Ours, named};
use plangate::store::sqlite::MIGRATIONS;
use plangate::store::{Statement, snapshots, webhook};
use plangate::time::Timestamp;
use plangate_bench::{NOW, subscription_item};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

const SAMPLES: usize = 3_000;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|size| size.parse().unwrap()).collect();
    let folder = std::env::temp_dir().join(format!("plangate-store-times-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("store.sqlite");
    let mut connection = Connection::open(&file).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -16000")
        .unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    connection.set_prepared_statement_cache_capacity(64);
    for migration in MIGRATIONS {
        connection.execute_batch(migration).unwrap();
    }

    let mut held = 0;
    for size in sizes {
        while held < size {
            // Loading commits by the thousand; what is measured commits one by one.
            let transaction = connection.transaction().unwrap();
            let end = size.min(held + 1_000);
            for number in held..end {
                run(&transaction, &stored(number, "seed"));
            }
            transaction.commit().unwrap();
            held = end;
        }
        let bytes = || {
            connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            std::fs::metadata(&file).unwrap().len()
        };
        let bytes_before = bytes();

        // Payers are asked for all over the table, in an order that repeats.
        let payer = |n: usize| (n * 7_919) % size;
        let delivered = |statements: &[Statement]| {
            let start = Instant::now();
            let transaction = connection.unchecked_transaction().unwrap();
            run(&transaction, statements);
            transaction.commit().unwrap();
            start.elapsed().as_nanos()
        };
        let new = measured(|n| delivered(&stored(payer(n), &format!("new_{size}_{n}"))));
        let bytes_per_event = (bytes() - bytes_before) / SAMPLES as u64;
        let duplicate = measured(|n| delivered(&stored(payer(n), "seed")));
        let check = measured(|n| {
            let id = format!("user_{}", payer(n));
            let payer = Payer::new(PayerKind::User, &id).unwrap();
            let statement = snapshots((&payer, None), Timestamp::from_millis(NOW));
            let start = Instant::now();
            run(&connection, std::slice::from_ref(&statement));
            start.elapsed().as_nanos()
        });
        println!(
            "{}",
            serde_json::json!({"payers": size, "bytes": bytes_before, "bytes_per_event": bytes_per_event, "webhook": new, "duplicate": duplicate, "check": check})
        );
    }
    drop(connection);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The statements that store one event about a payer.
fn stored(number: usize, event: &str) -> Vec<Statement> {
    let id = format!("msg_{event}_{number}");
    let body = subscription_item(&format!("user_{number}"));
    let now = Timestamp::from_millis(NOW);
    let verified = Verified::recorded(id, now, body.as_bytes());
    let parsed = named("clerk").unwrap().parse(&verified, &Ours::default());
    webhook("clerk", &verified, &parsed, false, now).unwrap()
}

fn run(connection: &Connection, statements: &[Statement]) {
    for statement in statements {
        let mut prepared = connection.prepare_cached(statement.sql).unwrap();
        let mut rows = prepared.query(rusqlite::params_from_iter(&statement.params)).unwrap();
        while rows.next().unwrap().is_some() {}
    }
}

/// Quantiles of the nanoseconds of many runs, in microseconds.
fn measured(mut once: impl FnMut(usize) -> u128) -> serde_json::Value {
    let mut times: Vec<u128> = (0..SAMPLES).map(&mut once).collect();
    times.sort_unstable();
    let micros = |share: usize| times[(times.len() - 1) * share / 100] as f64 / 1_000.0;
    serde_json::json!({"p25_us": micros(25), "p50_us": micros(50), "p99_us": micros(99)})
}
