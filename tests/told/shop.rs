//! A store that is told things, and asked.

use std::collections::HashSet;

use plangate::catalog::Catalog;
use plangate::decide::{Decision, Policy, Reason, decide};
use plangate::delivery::Verified;
use plangate::event::Parsed;
use plangate::question::{Condition, Question, What};
use plangate::secret::Secret;
use plangate::snapshot::Snapshot;
use plangate::store::Outcome;
use plangate::store::sqlite::SqliteStore;
use plangate::time::{DAY_MS, Timestamp};
use rusqlite::types::Value as Stored;
use serde_json::Value;

use super::{SENT_AT_SECS, Teller, at, payer, permutations};

impl Teller {
    /// Whatever stands in the place of any one value, nothing panics, and what can be read can be stored: an event that
    /// cannot would be answered 503 and come back for a day.
    #[track_caller]
    pub fn check_odd_payloads(self) {
        let now = Timestamp::from_secs(SENT_AT_SECS);
        let mut store = SqliteStore::in_memory().unwrap();
        let mut seen = HashSet::new();
        let (mut events, mut dead_letters) = (0, 0);
        self.for_every_odd_payload(|what, body, parsed| {
            // Most values are not read at all: what reads the same is stored the same.
            if !seen.insert(format!("{parsed:?}")) {
                return;
            }
            // A few at a time, for a store of thousands of records for one payer is slow to read back.
            if seen.len() % 50 == 0 {
                store = SqliteStore::in_memory().unwrap();
            }
            let verified = Verified::recorded(format!("evt_{}", seen.len()), now, body);
            let parsed = self.provider().parse(&verified, &self.ours());
            let (outcome, _) =
                store.deliver(self.name, &verified, &parsed, now).unwrap_or_else(|error| panic!("{what}: {error}"));
            match parsed {
                Ok(Parsed::Event(_)) => {
                    events += 1;
                    assert!(matches!(outcome, Outcome::Stored | Outcome::Stale), "{what}: {outcome:?}");
                }
                Ok(Parsed::Ignored { .. }) => assert_eq!(outcome, Outcome::Ignored, "{what}"),
                Err(_) => {
                    dead_letters += 1;
                    assert_eq!(outcome, Outcome::DeadLetter, "{what}");
                }
            }
        });
        let reached = events > self.least.events && dead_letters > self.least.dead_letters;
        assert!(reached, "{events} different events, {dead_letters} different dead letters");
    }
}

/// A store, and what is sold.
pub struct Shop {
    teller: Teller,
    store: SqliteStore,
    catalog: Catalog,
    pub policy: Policy,
}

impl Shop {
    pub fn new(teller: Teller, plans: &Value) -> Self {
        Self {
            teller,
            store: SqliteStore::in_memory().unwrap(),
            catalog: Catalog::parse(&plans.to_string()).unwrap(),
            policy: Policy::default(),
        }
    }

    pub fn with_grace_days(self, days: i64) -> Self {
        Self { policy: Policy { past_due_grace_ms: days * DAY_MS, ..self.policy }, ..self }
    }

    /// Stores a body, as the delivery of that id.
    #[track_caller]
    pub fn deliver(&mut self, event_id: &str, body: &Value) -> Outcome {
        let (bytes, now) = (body.to_string().into_bytes(), Timestamp::from_secs(SENT_AT_SECS));
        self.take(&Verified::recorded(event_id, now, &bytes), now)
    }

    /// Stores these bodies, each as the delivery of the id beside it.
    #[track_caller]
    pub fn told(mut self, events: &[(&str, Value)]) -> Self {
        for (event_id, body) in events {
            self.deliver(event_id, body);
        }
        self
    }

    /// Stores a body, signed with this secret and verified, under the id that is then read from it.
    #[track_caller]
    pub fn deliver_signed(&mut self, secret: &Secret, body: &Value) -> Outcome {
        let (bytes, now) = (body.to_string().into_bytes(), Timestamp::from_secs(SENT_AT_SECS));
        let delivery = self.teller.signed(secret, "evt_1", now, &bytes);
        let secrets = std::slice::from_ref(secret);
        let verified = self.teller.provider().verify(&delivery, secrets, &self.teller.ours(), now).unwrap();
        self.take(&verified, now)
    }

    #[track_caller]
    fn take(&mut self, verified: &Verified<'_>, now: Timestamp) -> Outcome {
        let parsed = self.teller.provider().parse(verified, &self.teller.ours());
        assert!(parsed.is_ok(), "{parsed:?}");
        self.store.deliver(self.teller.name, verified, &parsed, now).unwrap().0
    }

    pub fn snapshot(&self, key: &str, now: Timestamp) -> Snapshot {
        self.store.snapshots((&payer(key), None), now).unwrap().remove(0)
    }

    pub fn decision_about(&self, key: &str, question: &Question, now: Timestamp) -> Decision {
        let snapshots = self.store.snapshots((&payer(key), None), now).unwrap();
        decide(&snapshots, &self.catalog, &self.policy, question, now)
    }

    pub fn decision(&self, key: &str, plan: &str, now: Timestamp) -> Decision {
        let conditions = vec![Condition { what: What::Plan(plan.to_owned()), scope: None }];
        self.decision_about(key, &Question { conditions }, now)
    }

    /// The answer to "has this payer this plan at that time", and why: `true active`, or `false expired`.
    pub fn answer(&self, key: &str, plan: &str, time: &str) -> String {
        let decision = self.decision(key, plan, at(time));
        format!("{} {}", decision.allowed, serde_json::to_value(decision.reason).unwrap().as_str().unwrap())
    }

    #[track_caller]
    pub fn check(&self, key: &str, plan: &str, time: &str, expected: (bool, Reason)) {
        let decision = self.decision(key, plan, at(time));
        assert_eq!((decision.allowed, decision.reason), expected, "{plan} of {key} at {time}");
    }

    pub fn rows(&self, sql: &str) -> Vec<Vec<Stored>> {
        let mut statement = self.store.connection().prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// Records and payments, as far as they are the same in every order.
    pub fn state(&self) -> Vec<String> {
        let records = self.rows("SELECT * FROM records ORDER BY provider, id");
        let payments = self.rows("SELECT * FROM payments ORDER BY provider, id");
        let text = |row: &Vec<Stored>| row.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" ");
        records.iter().chain(&payments).map(text).collect()
    }
}

/// Whatever order this is told in, the shop holds the same, in that many rows.
#[track_caller]
pub fn check_every_order<T: Clone>(told: &[T], rows: usize, play: impl Fn(&[T]) -> Shop) {
    let state = |order: &[usize]| {
        let told: Vec<T> = order.iter().map(|index| told[*index].clone()).collect();
        play(&told).state()
    };
    let orders = permutations(&(0..told.len()).collect::<Vec<_>>());
    assert_eq!(orders.len(), (1..=told.len()).product::<usize>());
    let expected = state(&orders[0]);
    assert_eq!(expected.len(), rows, "{expected:?}");
    for order in &orders {
        assert_eq!(state(order), expected, "{order:?}");
    }
}
