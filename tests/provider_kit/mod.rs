//! What the tests of providers share: payload files with what must be read out of them, and a store that is asked.

use std::fs;
use std::path::{Path, PathBuf};

use plangate::catalog::Catalog;
use plangate::decide::{Decision, Policy, decide};
use plangate::delivery::{Delivery, Headers, Verified};
use plangate::event::{ParseError, Parsed};
use plangate::payer::Payer;
use plangate::provider::{Ours, Provider, named};
use plangate::question::{Condition, Question, What};
use plangate::secret::Secret;
use plangate::store::Outcome;
use plangate::store::sqlite::SqliteStore;
use plangate::time::Timestamp;
use serde_json::{Value, json};

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"))
}

/// The payloads of a provider, by name.
pub fn payloads(provider: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(provider);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".json").filter(|name| !name.ends_with(".event"))?;
        Some((name.to_owned(), path))
    };
    files.into_iter().filter_map(named).collect()
}

/// Reads every payload and compares with its `.event.json`; with `PLANGATE_REWRITE_EXPECTED` set writes those anew.
pub fn check_payloads(provider: &str, read: impl Fn(&str, &[u8]) -> Result<Parsed, ParseError>) {
    let mut wrong = Vec::new();
    for (name, path) in payloads(provider) {
        let parsed = read(&name, &fs::read(&path).unwrap());
        let read = match parsed.unwrap_or_else(|error| panic!("{name}: {error}")) {
            Parsed::Event(event) => serde_json::to_value(event).unwrap(),
            Parsed::Ignored { event_type, reason } => json!({"ignored": event_type, "reason": reason.as_str()}),
        };
        let expected_path = path.with_extension("event.json");
        if std::env::var_os("PLANGATE_REWRITE_EXPECTED").is_some() {
            fs::write(&expected_path, format!("{}\n", serde_json::to_string_pretty(&read).unwrap())).unwrap();
        }
        let expected: Value = serde_json::from_str(&fs::read_to_string(&expected_path).unwrap()).unwrap();
        if read != expected {
            wrong.push(format!("{name}\n  expected {expected}\n  read     {read}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Replaces every scalar of every payload by odd values: reading must not panic, and what can be read can be stored.
pub fn check_odd_payloads(provider: &str) {
    let odd = [
        Value::Null,
        json!(""),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(true),
        json!([]),
        json!({}),
        json!("\u{0}'\"; DROP TABLE records; --"),
        json!("4242424242424242"),
    ];
    let now = at("2026-12-01T00:00:00Z");
    let mut store = SqliteStore::in_memory().unwrap();
    let mut seen = std::collections::HashSet::new();
    let (mut read, mut unreadable) = (0, 0);
    for (name, path) in payloads(provider) {
        let body: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for pointer in scalars(&body) {
            for odd in &odd {
                let mut changed = body.clone();
                *changed.pointer_mut(&pointer).unwrap() = odd.clone();
                let bytes = serde_json::to_vec(&changed).unwrap();
                let parsed =
                    named(provider).unwrap().parse(&Verified::recorded("evt_odd", now, &bytes), &Ours::default());
                if !seen.insert(format!("{parsed:?}")) {
                    continue;
                }
                if seen.len() % 50 == 0 {
                    store = SqliteStore::in_memory().unwrap();
                }
                let verified = Verified::recorded(format!("evt_{}", seen.len()), now, &bytes);
                let parsed = named(provider).unwrap().parse(&verified, &Ours::default());
                let (outcome, _) = store
                    .deliver(provider, &verified, &parsed, now)
                    .unwrap_or_else(|error| panic!("{name} {pointer} = {odd}: {error}"));
                match parsed {
                    Ok(Parsed::Event(_)) => read += 1,
                    Ok(Parsed::Ignored { .. }) => assert_eq!(outcome, Outcome::Ignored),
                    Err(_) => {
                        unreadable += 1;
                        assert_eq!(outcome, Outcome::DeadLetter, "{name} {pointer} = {odd}");
                    }
                }
            }
        }
    }
    assert!(read > 200 && unreadable > 20, "{read} read, {unreadable} unreadable");
}

fn scalars(value: &Value) -> Vec<String> {
    let below = |key: &str, value: &Value| -> Vec<String> {
        scalars(value).into_iter().map(|rest| format!("/{}{rest}", key.replace('~', "~0").replace('/', "~1"))).collect()
    };
    match value {
        Value::Object(entries) => entries.iter().flat_map(|(key, value)| below(key, value)).collect(),
        Value::Array(entries) => {
            entries.iter().enumerate().flat_map(|(index, value)| below(&index.to_string(), value)).collect()
        }
        _ => vec![String::new()],
    }
}

/// A delivery as the provider would sign it.
pub fn signed(provider: &dyn Provider, secret: &Secret, now: Timestamp, body: &[u8]) -> Delivery {
    Delivery { headers: Headers::new(provider.sign(secret, "evt_1", now, body)), body: body.to_vec() }
}

/// A catalog and a store, to deliver to and to ask.
pub struct Shop {
    provider: &'static dyn Provider,
    pub store: SqliteStore,
    catalog: Catalog,
}

impl Shop {
    pub fn new(provider: &str, catalog: &Value) -> Self {
        Self {
            provider: named(provider).unwrap(),
            store: SqliteStore::in_memory().unwrap(),
            catalog: Catalog::parse(&catalog.to_string()).unwrap(),
        }
    }

    /// Delivers a body, signed with this secret, through `verify` and `parse`.
    pub fn deliver(&mut self, secret: &Secret, body: &Value) -> Outcome {
        let (bytes, now) = (body.to_string().into_bytes(), at("2026-10-01T00:00:00Z"));
        let delivery = signed(self.provider, secret, now, &bytes);
        let ours = Ours::default();
        let verified = self.provider.verify(&delivery, std::slice::from_ref(secret), &ours, now).unwrap();
        let parsed = self.provider.parse(&verified, &ours);
        self.store.deliver(self.provider.name(), &verified, &parsed, now).unwrap().0
    }

    pub fn decide(&self, payer: &str, plan: &str, grace_days: u32, when: &str) -> Decision {
        let payer = Payer::from_key(payer).unwrap();
        let snapshots = self.store.snapshots((&payer, None), at(when)).unwrap();
        let question = Question { conditions: vec![Condition { scope: None, what: What::Plan(plan.to_owned()) }] };
        decide(&snapshots, &self.catalog, &Policy::new(24, grace_days), &question, at(when))
    }

    /// `true active`, or `false expired`, for plan `pro` of `user:user_42` without days of grace.
    pub fn answer(&self, when: &str) -> String {
        self.answer_with_grace(0, when)
    }

    pub fn answer_with_grace(&self, grace_days: u32, when: &str) -> String {
        let decision = self.decide("user:user_42", "pro", grace_days, when);
        format!("{} {}", decision.allowed, serde_json::to_value(decision.reason).unwrap().as_str().unwrap())
    }

    /// All that is held, without what tells how often something came.
    pub fn state(&self) -> Vec<String> {
        let rows = |sql: &str| -> Vec<String> {
            let mut statement = self.store.connection().prepare(sql).unwrap();
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                (0..columns)
                    .map(|index| Ok(format!("{:?}", row.get::<_, rusqlite::types::Value>(index)?)))
                    .collect::<Result<Vec<_>, _>>()
            };
            statement.query_map([], row).unwrap().map(|row| row.unwrap().join(" ")).collect()
        };
        [rows("SELECT * FROM records ORDER BY id"), rows("SELECT * FROM payments ORDER BY id")].concat()
    }
}

/// Every order of so many things.
pub fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in orders(count - 1) {
        for place in 0..=shorter.len() {
            let mut order = shorter.clone();
            order.insert(place, count - 1);
            all.push(order);
        }
    }
    all
}
