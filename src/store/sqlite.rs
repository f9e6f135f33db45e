//! The store in SQLite: for the tests, which run the production statements here by the thousand, and for
//! `plangate simulate`.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value};

use super::{Outcome, Param, Statement, customers_of, held, history, snapshots, webhook};
use crate::api::Reading;
use crate::delivery::Verified;
use crate::event::{ParseError, Parsed};
use crate::ledger::History;
use crate::payer::Payer;
use crate::reconcile::Held;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// Any failure of the database, or of reading what it answered.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The migrations, in order.
pub const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_init.sql"),
    include_str!("../../migrations/0002_ledger_by_payer.sql"),
    include_str!("../../migrations/0003_operations.sql"),
    include_str!("../../migrations/0004_customers.sql"),
    include_str!("../../migrations/0005_outbox.sql"),
    include_str!("../../migrations/0006_nobodys_deliveries.sql"),
];

/// What D1 allows a statement, by its documentation, which is less than workerd does
/// (<https://developers.cloudflare.com/d1/platform/limits/>).
const LIMITS: [(Limit, i32); 5] = [
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
    (Limit::SQLITE_LIMIT_COLUMN, 100),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 32),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
];

/// A store in one SQLite connection.
pub struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    /// A store in memory, with every migration applied.
    ///
    /// # Errors
    /// SQLite's.
    pub fn in_memory() -> Result<Self, Error> {
        let connection = Connection::open_in_memory()?;
        // One plan for a statement, whatever is bound to it: this build of SQLite would plan anew at every binding, which
        // takes most of the time of a delivery.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        for (limit, most) in LIMITS {
            connection.set_limit(limit, most)?;
        }
        for migration in MIGRATIONS {
            connection.execute_batch(migration)?;
        }
        Ok(Self { connection })
    }

    /// The connection, to look at the tables.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Stores a delivery and reads back the payer's snapshot, in one transaction.
    ///
    /// # Errors
    /// SQLite's; then nothing was stored.
    pub fn deliver(
        &mut self,
        provider: &str,
        verified: &Verified<'_>,
        parsed: &Result<Parsed, ParseError>,
        now: Timestamp,
    ) -> Result<(Outcome, Option<Snapshot>), Error> {
        let statements = webhook(provider, verified, parsed, false, now)?;
        let transaction = self.connection.transaction()?;
        let mut answers = Vec::with_capacity(statements.len());
        for statement in &statements {
            answers.push(run(&transaction, statement)?.into_iter().next());
        }
        transaction.commit()?;
        let text = |row: Option<&Option<Vec<Value>>>, index: usize| match row?.as_ref()?.get(index)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let outcome = Outcome::parse(&text(answers.first(), 0).ok_or("the batch answered no outcome")?)?;
        Ok((outcome, text(answers.last(), 2).as_deref().map(Snapshot::parse).transpose()?))
    }

    /// Reads what is held of the records of this reading, and what else of its records the payer has that is not over.
    ///
    /// # Errors
    /// SQLite's.
    pub fn held(&self, provider: &str, reading: &Reading, payer: Option<&Payer>) -> Result<Held, Error> {
        let rows = run(&self.connection, &held(provider, reading, payer)?)?;
        match rows.first().and_then(|row| row.first()) {
            Some(Value::Text(json)) => Ok(Held::parse(json)?),
            _ => Err("the records are not text".into()),
        }
    }

    /// Reads under which customers' ids the providers have a payer: pairs of the provider and the id.
    ///
    /// # Errors
    /// SQLite's.
    pub fn customers_of(&self, payer: &Payer) -> Result<Vec<(String, String)>, Error> {
        let rows = run(&self.connection, &customers_of(payer))?;
        let pair = |row: Vec<Value>| match <[Value; 2]>::try_from(row) {
            Ok([Value::Text(provider), Value::Text(id)]) => Ok((provider, id)),
            _ => Err("a customer is not two texts".into()),
        };
        rows.into_iter().map(pair).collect()
    }

    /// Reads the snapshots of a user, an organization, or both.
    ///
    /// # Errors
    /// SQLite's.
    pub fn snapshots(&self, payers: (&Payer, Option<&Payer>), now: Timestamp) -> Result<Vec<Snapshot>, Error> {
        let rows = run(&self.connection, &snapshots(payers, now))?;
        rows.into_iter()
            .map(|row| match row.get(1) {
                Some(Value::Text(text)) => Ok(Snapshot::parse(text)?),
                _ => Err("a snapshot is not text".into()),
            })
            .collect()
    }

    /// Reads the newest `limit` events behind what a payer holds, as they were known at `at`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn history(&self, payer: &Payer, at: Timestamp, limit: u32) -> Result<History, Error> {
        let mut found = History::default();
        for row in run(&self.connection, &history(payer, at, limit))? {
            let event = match row.get(1) {
                Some(Value::Text(text)) => Some(text.as_str()),
                _ => None,
            };
            found.read(row.first() == Some(&Value::Integer(1)), event);
        }
        Ok(found)
    }
}

fn run(connection: &Connection, statement: &Statement) -> Result<Vec<Vec<Value>>, rusqlite::Error> {
    let mut prepared = connection.prepare_cached(statement.sql)?;
    let columns = prepared.column_count();
    let mut rows = prepared.query(rusqlite::params_from_iter(&statement.params))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((0..columns).map(|index| row.get(index)).collect::<Result<Vec<Value>, _>>()?);
    }
    Ok(all)
}

impl rusqlite::ToSql for Param {
    #[allow(clippy::cast_precision_loss, reason = "times in milliseconds are far below 2^53")]
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            // As D1 does, which gets its numbers from JavaScript.
            Self::Integer(number) => (*number as f64).into(),
            Self::Text(text) => text.as_str().into(),
        })
    }
}
