//! Deliveries as Clerk and flat senders make them, and a store that they are delivered to.

use std::cell::Cell;

use plangate::catalog::Catalog;
use plangate::decide::{Decision, Policy, decide};
use plangate::delivery::Verified;
use plangate::event::{Event, ParseError, Parsed};
use plangate::payer::{Payer, PayerKind};
use plangate::provider::{Ours, named};
use plangate::question::Asked;
use plangate::reduce::Reduced;
use plangate::snapshot::Snapshot;
use plangate::store::sqlite::SqliteStore;
use plangate::store::{Outcome, Statement, webhook};
use plangate::time::{DAY_MS, Timestamp};
use rusqlite::Connection;
use rusqlite::types::Value as Stored;
use serde_json::{Value, json};

/// The start of 2026, in milliseconds. Everything here happens some milliseconds or days later.
pub const T: i64 = 1_767_225_600_000;

/// What the worker's clock says.
pub const NOW: i64 = T + 10 * DAY_MS;

/// One event, as it is delivered.
#[derive(Clone, Debug)]
pub struct Sent {
    pub event_id: String,
    pub body: Vec<u8>,
}

impl Sent {
    pub fn raw(event_id: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { event_id: event_id.to_owned(), body: body.into() }
    }

    /// An event of this type, sent at `at` (milliseconds).
    pub fn new(event_id: &str, event_type: &str, at: i64, data: Value) -> Self {
        let body = json!({"object": "event", "type": event_type, "timestamp": at, "data": data});
        Self::raw(event_id, body.to_string())
    }

    pub fn verified(&self) -> Verified<'_> {
        Verified::recorded(self.event_id.clone(), Timestamp::from_millis(NOW), &self.body)
    }

    pub fn parse(&self) -> Result<Parsed, ParseError> {
        named("clerk").unwrap().parse(&self.verified(), &Ours::default())
    }
}

/// A `subscriptionItem.…` event about an item that changed at `at`.
pub fn item_event(event_id: &str, what: &str, at: i64, data: Value) -> Sent {
    Sent::new(event_id, &format!("subscriptionItem.{what}"), at, data)
}

/// A `subscription.…` event that shows these items.
pub fn subscription_event(event_id: &str, what: &str, at: i64, payer: &str, items: Vec<Value>) -> Sent {
    let data = json!({"object": "commerce_subscription", "id": format!("csub_{payer}"), "status": "active",
        "created_at": T, "updated_at": at, "payer_id": format!("cpayer_{payer}"), "payer": of(payer), "items": items});
    Sent::new(event_id, &format!("subscription.{what}"), at, data)
}

/// The flat form.
pub fn flat_event(event_id: &str, what: &str, at: i64, data: Value) -> Sent {
    Sent::new(event_id, &format!("subscription.{what}"), at, data)
}

/// A `paymentAttempt.…` event. `payment` is what the attempt is for, `made_at` when it was made.
pub fn payment_event(event_id: &str, at: i64, id: &str, payment: &str, status: &str, made_at: i64) -> Sent {
    let data = json!({"id": id, "payment_id": payment, "status": status, "charge_type": "recurring",
        "created_at": made_at, "updated_at": at, "payer": of("user_1"),
        "totals": {"grand_total": {"amount": 2000, "currency": "USD"}},
        "failed_reason": if status == "failed" { json!({"code": "card_declined", "decline_code": id}) } else { Value::Null }});
    Sent::new(event_id, "paymentAttempt.updated", at, data)
}

/// `user.…` or `organization.…`, about the payer.
pub fn identity_event(event_id: &str, event_type: &str, at: i64, payer: &str) -> Sent {
    let deleted = event_type.ends_with(".deleted");
    let data = if deleted { json!({"id": payer, "deleted": true}) } else { json!({"id": payer, "updated_at": at}) };
    Sent::new(event_id, event_type, at, data)
}

/// An item that changed at `at`, of the payer's; its period is the month after [`T`].
pub fn item(payer: &str, id: &str, status: &str, plan: &str, at: i64) -> Value {
    json!({"id": id, "status": status, "is_free_trial": false, "created_at": T, "updated_at": at,
        "period_start": T, "period_end": T + 30 * DAY_MS, "interval": "month",
        "plan_id": format!("cplan_{plan}"), "plan": plan_of(plan), "payer": of(payer),
        "subscription_id": format!("csub_{payer}")})
}

/// The item of the free plan, which has no end.
pub fn free_item(payer: &str, status: &str, at: i64) -> Value {
    let plan = if payer.starts_with("org") { "free_org" } else { "free_user" };
    with(item(payer, &format!("i_free_{payer}"), status, plan, at), json!({"period_end": null}))
}

/// The item with some of its fields otherwise; null leaves a field out.
pub fn with(mut item: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        if value.is_null() && name != "period_end" {
            item.as_object_mut().unwrap().remove(name);
        } else {
            item[name] = value.clone();
        }
    }
    item
}

fn plan_of(slug: &str) -> Value {
    let free = slug.starts_with("free_");
    json!({"id": format!("cplan_{slug}"), "slug": slug, "name": slug, "is_recurring": !free,
        "amount": if free { 0 } else { 2000 }, "currency": "USD"})
}

fn of(payer: &str) -> Value {
    let is_org = payer.starts_with("org");
    let (user, org) = if is_org { ("", payer) } else { (payer, "") };
    json!({"id": format!("cpayer_{payer}"), "user_id": user, "organization_id": org})
}

pub fn payer(id: &str) -> Payer {
    let kind = if id.starts_with("org") { PayerKind::Org } else { PayerKind::User };
    Payer::new(kind, id).unwrap()
}

/// What came of a delivery, and how many rows of records and payments, and of payers, were written for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub state_rows: u64,
    pub payer_rows: u64,
}

/// A store, and what may be seen of it.
pub struct Shop {
    pub store: SqliteStore,
    savepoints: Cell<u32>,
}

impl Shop {
    pub fn new() -> Self {
        Self { store: SqliteStore::in_memory().unwrap(), savepoints: Cell::new(0) }
    }

    /// A store that these were delivered to, in this order.
    pub fn after<'a>(history: impl IntoIterator<Item = &'a Sent>) -> Self {
        let mut shop = Self::new();
        for sent in history {
            shop.deliver(sent);
        }
        shop
    }

    pub fn connection(&self) -> &Connection {
        self.store.connection()
    }

    /// Delivers as the worker does.
    #[track_caller]
    pub fn deliver(&mut self, sent: &Sent) -> Outcome {
        self.deliver_and_read(sent).0
    }

    /// Delivers, and gives the snapshot that the batch reads back.
    #[track_caller]
    pub fn deliver_and_read(&mut self, sent: &Sent) -> (Outcome, Option<Snapshot>) {
        self.deliver_as(sent, &sent.parse())
    }

    /// Delivers with what some other version of the code, or of its settings, reads out of it.
    #[track_caller]
    pub fn deliver_as(&mut self, sent: &Sent, parsed: &Result<Parsed, ParseError>) -> (Outcome, Option<Snapshot>) {
        self.store.deliver("clerk", &sent.verified(), parsed, Timestamp::from_millis(NOW)).unwrap()
    }

    /// Runs the statements of one delivery on the open transaction.
    pub fn run(&self, sent: &Sent, parsed: &Result<Parsed, ParseError>) -> Ran {
        let (mut state_rows, mut payer_rows) = (0, 0);
        let mut first = None;
        for statement in webhook("clerk", &sent.verified(), parsed, false, Timestamp::from_millis(NOW)).unwrap() {
            let row = run_statement(self.connection(), &statement).into_iter().next();
            first.get_or_insert(row);
            let writes = |table: &str| statement.sql.contains(&format!("INSERT INTO {table} "));
            let rows = self.connection().changes();
            if writes("records") || writes("payments") {
                state_rows += rows;
            } else if statement.sql.contains("INSERT INTO payers ") {
                payer_rows += rows;
            }
        }
        let Some(Stored::Text(outcome)) = first.flatten().unwrap().into_iter().next() else { panic!("no outcome") };
        Ran { outcome: Outcome::parse(&outcome).unwrap(), state_rows, payer_rows }
    }

    /// Does something and undoes it.
    pub fn tentatively<R>(&self, act: impl FnOnce(&Self) -> R) -> R {
        let name = format!("s{}", self.savepoints.replace(self.savepoints.get() + 1));
        self.connection().execute_batch(&format!("SAVEPOINT {name}")).unwrap();
        let result = act(self);
        self.connection().execute_batch(&format!("ROLLBACK TO {name}; RELEASE {name}")).unwrap();
        self.savepoints.set(self.savepoints.get() - 1);
        result
    }

    /// All that decisions are made of: every column of every record and payment, and who was deleted.
    pub fn state(&self) -> String {
        [
            self.rows("SELECT * FROM records ORDER BY provider, id"),
            self.rows("SELECT * FROM payments ORDER BY provider, id"),
            self.rows("SELECT payer, deleted_at FROM payers WHERE deleted_at IS NOT NULL ORDER BY payer"),
        ]
        .concat()
        .join("\n")
    }

    /// Everything in the database.
    pub fn everything(&self) -> String {
        [
            self.rows("SELECT * FROM deliveries ORDER BY seq"),
            self.rows("SELECT * FROM records ORDER BY provider, id"),
            self.rows("SELECT * FROM payments ORDER BY provider, id"),
            self.rows("SELECT * FROM payers ORDER BY payer"),
            self.rows("SELECT * FROM delivery_counts ORDER BY provider, outcome, detail"),
        ]
        .concat()
        .join("\n")
    }

    /// The rows of a query, each as one text of `column=value`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let mut prepared = self.connection().prepare_cached(sql).unwrap();
        let names: Vec<String> = prepared.column_names().map(str::to_owned).collect();
        let rows = prepared.query_map([], |row| {
            let cells = names.iter().enumerate().map(|(index, name)| {
                Ok(match row.get::<_, Stored>(index)? {
                    Stored::Null => format!("{name}=null"),
                    Stored::Integer(number) => format!("{name}={number}"),
                    Stored::Real(number) => format!("{name}={number:?}"),
                    Stored::Text(text) => format!("{name}={text:?}"),
                    Stored::Blob(_) => format!("{name}=blob"),
                })
            });
            Ok(cells.collect::<Result<Vec<_>, rusqlite::Error>>()?.join(" "))
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub fn snapshot(&self, id: &str) -> Snapshot {
        let mut snapshots = self.store.snapshots((&payer(id), None), Timestamp::from_millis(NOW)).unwrap();
        assert_eq!(snapshots.len(), 1);
        snapshots.remove(0)
    }

    /// The snapshots are those of these events in memory. (But for the version: in memory a duplicate counts.)
    #[track_caller]
    pub fn agrees_with(&self, reduced: &Reduced) {
        for id in ["user_1", "org_1"] {
            let stored = self.snapshot(id);
            let mut expected = reduced.snapshot(&payer(id), stored.as_of);
            expected.version = stored.version;
            assert_eq!(expected, stored);
        }
    }

    /// What a question about one payer is answered at `at`, with no catalog, a day of slack and no grace.
    pub fn decide(&self, id: &str, query: &str, at: i64) -> Decision {
        let question = Asked::from_query(query).unwrap().questions.remove(0);
        let snapshots = [self.snapshot(id)];
        decide(&snapshots, &Catalog::default(), &Policy::default(), &question, Timestamp::from_millis(at))
    }

    /// Whether the payer may have the plan at `at`.
    pub fn allows(&self, id: &str, plan: &str, at: i64) -> bool {
        self.decide(id, &format!("plan={plan}"), at).allowed
    }
}

/// Adds an event, if it is one, as the ledger keeps it.
#[track_caller]
pub fn add(reduced: &mut Reduced, provider: &str, event_id: &str, parsed: &Result<Parsed, ParseError>) {
    if let Ok(Parsed::Event(event)) = parsed {
        let read_back: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
        assert_eq!(&read_back, event);
        reduced.apply(provider, event_id, &read_back);
    }
}

pub fn run_statement(connection: &Connection, statement: &Statement) -> Vec<Vec<Stored>> {
    let mut prepared = connection.prepare_cached(statement.sql).unwrap();
    let columns = prepared.column_count();
    let rows = prepared.query_map(rusqlite::params_from_iter(&statement.params), |row| {
        (0..columns).map(|index| row.get(index)).collect::<Result<Vec<Stored>, _>>()
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}
