//! What providers tell, for the tests of each: payload files with the events they must be read into, signed deliveries, and
//! lifecycles played into the production statements.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::fs;
use std::path::{Path, PathBuf};

use plangate::catalog::Catalog;
use plangate::decide::{Decision, Policy, Reason, decide};
use plangate::delivery::{Delivery, Headers, Verified, VerifyError};
use plangate::event::{ParseError, Parsed};
use plangate::payer::Payer;
use plangate::provider::{Ours, Provider, named};
use plangate::question::{Condition, Question, What};
use plangate::secret::Secret;
use plangate::snapshot::Snapshot;
use plangate::store::Outcome;
use plangate::store::sqlite::SqliteStore;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

/// When the attempts are signed: later than anything in the payloads, so that it shows where it is used.
pub const SENT_AT_SECS: i64 = 1_800_000_000;

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is no time"))
}

pub fn payer(key: &str) -> Payer {
    Payer::from_key(key).unwrap()
}

/// A provider and the folder of its payloads.
#[derive(Clone, Copy)]
pub struct Teller(pub &'static str);

pub struct Payload {
    pub name: String,
    pub path: PathBuf,
    pub text: String,
}

impl Teller {
    pub fn provider(self) -> &'static dyn Provider {
        named(self.0).unwrap()
    }

    pub fn secret(self, text: &str) -> Secret {
        self.provider().parse_secret(self.provider().secret_names()[0], text).unwrap()
    }

    fn files(self) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(self.0);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    pub fn payloads(self) -> Vec<Payload> {
        let payload = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.strip_suffix(".json").filter(|name| !name.ends_with(".event"))?;
            Some(Payload { name: name.to_owned(), text: fs::read_to_string(&path).unwrap(), path: path.clone() })
        };
        let payloads: Vec<_> = self.files().into_iter().filter_map(payload).collect();
        assert!(payloads.len() > 20, "the payloads are not where they were");
        payloads
    }

    pub fn parse(self, event_id: &str, body: &[u8]) -> Result<Parsed, ParseError> {
        self.parse_sent_at(event_id, SENT_AT_SECS, body)
    }

    pub fn parse_sent_at(self, event_id: &str, secs: i64, body: &[u8]) -> Result<Parsed, ParseError> {
        self.provider().parse(&Verified::recorded(event_id, Timestamp::from_secs(secs), body), &Ours::default())
    }

    /// Every payload is read into what stands in the file beside it, and every such file has a payload.
    ///
    /// After a change that is meant: with `PLANGATE_REWRITE_EXPECTED=1` the expected files are written anew. Read the
    /// difference before committing it.
    #[track_caller]
    pub fn check_payloads(self, event_types: &[&str]) {
        let mut wrong = Vec::new();
        let payloads = self.payloads();
        for payload in &payloads {
            let read = match self.parse(&format!("evt_{}", payload.name), payload.text.as_bytes()) {
                Ok(Parsed::Event(event)) => serde_json::to_value(event).unwrap(),
                Ok(Parsed::Ignored { event_type, reason }) => json!({"ignored": event_type, "reason": reason.as_str()}),
                Err(error) => panic!("{}: {error}", payload.name),
            };
            let path = payload.path.with_extension("event.json");
            if std::env::var_os("PLANGATE_REWRITE_EXPECTED").is_some() {
                fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&read).unwrap())).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", payload.name));
            let expected: Value = serde_json::from_str(&expected).unwrap();
            if read != expected {
                wrong.push(format!("{}\n  expected {expected}\n  read     {read}", payload.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));

        let has = |name: &str| payloads.iter().any(|payload| payload.name == name);
        for event_type in event_types {
            assert!(has(event_type), "`{event_type}` has no payload");
        }
        for path in self.files() {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".event.json")) {
                assert!(has(name), "`{name}.event.json` has no payload");
            }
        }
    }

    /// Two attempts of one event say the same: only then does it not matter which one arrives.
    #[track_caller]
    pub fn check_that_attempts_say_the_same_but_for(self, without_clock: &[&str]) {
        for payload in self.payloads() {
            let parse = |secs| self.parse_sent_at("evt_1", secs, payload.text.as_bytes());
            let has_clock = !without_clock.contains(&payload.name.as_str());
            assert_eq!(parse(SENT_AT_SECS) == parse(SENT_AT_SECS + 3600), has_clock, "{}", payload.name);
        }
    }

    /// Whatever stands in the place of any one field, nothing panics, what can be read can be stored, and each of the two
    /// kinds of reading comes up often, or the replacements did not reach what they were meant for.
    #[track_caller]
    pub fn check_odd_payloads(self) {
        let odd = [
            Value::Null,
            json!(""),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!(true),
            json!([]),
            json!({}),
            json!([null, 1, {"price": 7}]),
            json!("\u{0}'\"; DROP TABLE"),
            json!("x".repeat(300)),
        ];
        let now = Timestamp::from_secs(SENT_AT_SECS);
        let (mut read, mut unreadable) = (0, 0);
        let mut seen = std::collections::HashSet::new();
        let mut store = SqliteStore::in_memory().unwrap();
        for payload in self.payloads() {
            let body: Value = serde_json::from_str(&payload.text).unwrap();
            for pointer in pointers(&body) {
                for odd in &odd {
                    let mut changed = body.clone();
                    *changed.pointer_mut(&pointer).unwrap() = odd.clone();
                    let what = format!("{} with {pointer} = {odd}", payload.name);
                    let bytes = serde_json::to_vec(&changed).unwrap();
                    let parsed = std::panic::catch_unwind(|| self.parse("evt_1", &bytes))
                        .unwrap_or_else(|_| panic!("reading panicked: {what}"));
                    *(if parsed.is_ok() { &mut read } else { &mut unreadable }) += 1;
                    if !seen.insert(format!("{parsed:?}")) {
                        continue;
                    }
                    if seen.len() % 50 == 0 {
                        store = SqliteStore::in_memory().unwrap();
                    }
                    let verified = Verified::recorded(format!("evt_{}", seen.len()), now, &bytes);
                    let outcome = store.deliver(self.0, &verified, &parsed, now);
                    let (outcome, _) = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
                    match parsed {
                        Ok(Parsed::Event(_)) => assert!(matches!(outcome, Outcome::Stored | Outcome::Stale), "{what}"),
                        Ok(Parsed::Ignored { .. }) => assert_eq!(outcome, Outcome::Ignored, "{what}"),
                        Err(_) => assert_eq!(outcome, Outcome::DeadLetter, "{what}"),
                    }
                }
            }
        }
        assert!(read > 2_000 && unreadable > 500, "{read} read, {unreadable} unreadable");
    }

    #[track_caller]
    pub fn check_causes(self, cases: &[(&[u8], Option<&str>, &str)]) {
        for (body, event_type, cause) in cases {
            let expected = ParseError { event_type: event_type.map(str::to_owned), cause: (*cause).to_owned() };
            assert_eq!(self.parse("evt_1", body), Err(expected), "{}", String::from_utf8_lossy(body));
        }
    }

    /// Of a genuine delivery no byte of the body and none of the headers can be another.
    #[track_caller]
    pub fn check_that_every_byte_counts(self, secret: &str, body: &[u8], now: Timestamp) {
        let secrets = [self.secret(secret)];
        let headers = self.provider().sign(&secrets[0], "evt_1", now, body);
        let verify = |headers: &[(&'static str, String)], body: &[u8]| {
            let delivery = Delivery { headers: Headers::new(headers.to_vec()), body: body.to_vec() };
            self.provider().verify(&delivery, &secrets, &Ours::default(), now).map(|_| ())
        };
        assert_eq!(verify(&headers, body), Ok(()));
        for index in 0..body.len() {
            let mut changed = body.to_vec();
            changed[index] ^= 1;
            assert_eq!(verify(&headers, &changed), Err(VerifyError::NoMatchingSignature), "byte {index}");
        }
        assert_eq!(verify(&headers, &body[1..]), Err(VerifyError::NoMatchingSignature));
        for which in 0..headers.len() {
            for index in 0..headers[which].1.len() {
                let mut changed = headers.clone();
                let mut value = changed[which].1.clone().into_bytes();
                value[index] ^= 1;
                changed[which].1 = String::from_utf8(value).unwrap();
                assert!(verify(&changed, body).is_err(), "{} with byte {index} changed", headers[which].0);
            }
        }
    }
}

/// JSON pointers to everything below the top.
fn pointers(value: &Value) -> Vec<String> {
    let below = |key: &str, value: &Value| -> Vec<String> {
        let key = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        std::iter::once(key.clone()).chain(pointers(value).into_iter().map(|rest| format!("{key}{rest}"))).collect()
    };
    match value {
        Value::Object(entries) => entries.iter().flat_map(|(key, value)| below(key, value)).collect(),
        Value::Array(entries) => {
            entries.iter().enumerate().flat_map(|(index, value)| below(&index.to_string(), value)).collect()
        }
        _ => Vec::new(),
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
        let bytes = body.to_string().into_bytes();
        let now = Timestamp::from_secs(SENT_AT_SECS);
        let verified = Verified::recorded(event_id, now, &bytes);
        let parsed = self.teller.provider().parse(&verified, &Ours::default());
        assert!(parsed.is_ok(), "{parsed:?}");
        self.store.deliver(self.teller.0, &verified, &parsed, now).unwrap().0
    }

    pub fn snapshot(&self, key: &str, now: Timestamp) -> Snapshot {
        self.store.snapshots((&payer(key), None), now).unwrap().remove(0)
    }

    pub fn decision(&self, key: &str, plan: &str, now: Timestamp) -> Decision {
        let conditions = vec![Condition { what: What::Plan(plan.to_owned()), scope: None }];
        decide([&self.snapshot(key, now)], &self.catalog, &self.policy, &Question { conditions }, now)
    }

    /// The answer to "has this payer this plan at that time", and why.
    #[track_caller]
    pub fn check(&self, key: &str, plan: &str, time: &str, expected: (bool, Reason)) {
        let decision = self.decision(key, plan, at(time));
        assert_eq!((decision.allowed, decision.reason), expected, "{plan} of {key} at {time}");
    }

    /// Records and payments, as far as they are the same in every order.
    pub fn state(&self) -> Vec<String> {
        let read = |sql: &str| -> Vec<String> {
            let mut statement = self.store.connection().prepare(sql).unwrap();
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let text = |index| Ok(format!("{:?}", row.get::<_, rusqlite::types::Value>(index)?));
                (0..columns).map(text).collect::<Result<Vec<_>, _>>()
            };
            statement.query_map([], row).unwrap().map(|row| row.unwrap().join(" ")).collect()
        };
        [read("SELECT * FROM records ORDER BY provider, id"), read("SELECT * FROM payments ORDER BY provider, id")]
            .concat()
    }
}

/// Every order of a list.
pub fn permutations<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    if list.len() < 2 {
        return vec![list.to_vec()];
    }
    let mut all = Vec::new();
    for index in 0..list.len() {
        let mut rest = list.to_vec();
        let first = rest.remove(index);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}
