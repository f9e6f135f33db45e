#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! What Stripe signs and what it says.
//!
//! `tests/data/stripe/<name>.json` is a body: one for each type of event that Stripe documents for billing, under the type's
//! name, and one for each shape and oddity. The ids in them are invented. `<name>.event.json` beside it is what must be
//! read out of it: the event as it is stored, or why it is ignored.
//!
//! After a change that is meant: `PLANGATE_REWRITE_EXPECTED=1 cargo test --features sqlite --test stripe` writes the
//! expected files anew. Read the difference before committing it.

#[cfg(feature = "sqlite")]
#[path = "stripe/api.rs"]
mod api;
#[cfg(feature = "sqlite")]
#[path = "stripe/lifecycle.rs"]
mod lifecycle;
#[path = "stripe/signature.rs"]
mod signature;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plangate::delivery::Verified;
use plangate::event::{Event, ParseError, Parsed, Version};
use plangate::payer::{MAX_PAYER_ID_BYTES, Payer};
use plangate::provider::{Environment, Ours, Provider, named};
use plangate::time::Timestamp;
use serde_json::{Value, json};

/// When the attempts are signed: later than anything in the bodies, so that it shows where it is used.
const SENT_AT_SECS: i64 = 1_795_009_999;

/// Every type of event that concerns billing.
const EVENT_TYPES: &[&str] = &[
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.refunded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.updated",
    "entitlements.active_entitlement_summary.updated",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalization_failed",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.overdue",
    "invoice.overpaid",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_attempt_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.sent",
    "invoice.upcoming",
    "invoice.updated",
    "invoice.voided",
    "invoice.will_be_due",
    "invoice_payment.paid",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "subscription_schedule.aborted",
    "subscription_schedule.canceled",
    "subscription_schedule.completed",
    "subscription_schedule.created",
    "subscription_schedule.expiring",
    "subscription_schedule.released",
    "subscription_schedule.updated",
    "test_helpers.test_clock.advancing",
    "test_helpers.test_clock.ready",
];

#[test]
fn every_body_is_read_into_the_expected_event() {
    let rewrite = std::env::var_os("PLANGATE_REWRITE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    for payload in payloads() {
        let read = read(&payload.name, payload.text.as_bytes());
        let expected_path = payload.path.with_extension("event.json");
        if rewrite {
            fs::write(&expected_path, format!("{}\n", serde_json::to_string_pretty(&read).unwrap())).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_else(|error| panic!("{}: {error}", payload.name));
        let expected: Value = serde_json::from_str(&expected).unwrap();
        if read != expected {
            wrong.push(format!("{}\n  expected {expected}\n  read     {read}", payload.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_type_has_a_body_and_every_expectation_has_one_too() {
    let payloads = payloads();
    let names: BTreeSet<&str> = payloads.iter().map(|payload| payload.name.as_str()).collect();
    for event_type in EVENT_TYPES {
        let payload = payloads.iter().find(|payload| payload.name == *event_type);
        let body: Value = serde_json::from_str(&payload.unwrap_or_else(|| panic!("{event_type}")).text).unwrap();
        assert_eq!(body["type"], *event_type, "the file is named after its type");
    }
    for file in files().iter().filter_map(|path| path.file_name()?.to_str()) {
        let Some(name) = file.strip_suffix(".event.json") else { continue };
        assert!(names.contains(name), "`{file}` has no body");
    }
}

#[test]
fn the_attempts_own_time_is_used_only_where_the_body_has_no_clock() {
    for payload in payloads() {
        let at = |secs| {
            let verified = Verified::recorded("evt_1", Timestamp::from_secs(secs), payload.text.as_bytes());
            stripe().parse(&verified, &Ours::default())
        };
        let (first, retried) = (at(SENT_AT_SECS), at(SENT_AT_SECS + 3600));
        assert_eq!(first == retried, payload.name != "envelope.no_created", "{}", payload.name);
    }
}

#[test]
fn an_event_counts_in_its_own_environment_only() {
    // (livemode, ours, whether it counts)
    let cases = [
        (Some(true), Environment::Production, true),
        (Some(true), Environment::Sandbox, false),
        (Some(false), Environment::Production, false),
        (Some(false), Environment::Sandbox, true),
        (None, Environment::Production, true),
        (None, Environment::Sandbox, true),
    ];
    for (livemode, environment, counts) in cases {
        let mut body = payload("customer.subscription.updated");
        body["livemode"] = livemode.into();
        let body = body.to_string();
        let verified = Verified::recorded("evt_1", Timestamp::from_secs(SENT_AT_SECS), body.as_bytes());
        let parsed = stripe().parse(&verified, &Ours { environment, ..Ours::default() }).unwrap();
        assert_eq!(matches!(parsed, Parsed::Event(_)), counts, "{livemode:?} {environment:?}: {parsed:?}");
    }
}

#[test]
fn bodies_that_cannot_be_read_say_exactly_why() {
    // (body, the type that could be read, the cause)
    let cases: &[(&[u8], Option<&str>, &str)] = &[
        (b"", None, "reading the event: EOF while parsing a value at line 1 column 0"),
        (b"hello", None, "reading the event: expected value at line 1 column 1"),
        (b"\xef\xbb\xbf{}", None, "reading the event: expected value at line 1 column 1"),
        (b"{\"type\":\"\xff\"}", None, "reading the event: invalid utf-8 sequence of 1 bytes from index 9"),
        (b"null", None, "the event has no `type`"),
        (b"[]", None, "the event has no `type`"),
        (br#"{"id":"evt_1","object":"event"}"#, None, "the event has no `type`"),
        (br#"{"type":""}"#, None, "the event has no `type`"),
        (br#"{"type":7}"#, None, "the event has no `type`"),
        (
            br#"{"type":"invoice.paid"} {}"#,
            None,
            "reading the event: trailing characters at line 1 column 25",
        ),
        (
            br#"{"type":"invoice.paid"}"#,
            Some("invoice.paid"),
            "reading `invoice.paid`: there is no `data.object`",
        ),
        (
            br#"{"type":"invoice.paid","data":{"object":null}}"#,
            Some("invoice.paid"),
            "reading `invoice.paid`: a payment without an id",
        ),
        (
            br#"{"type":"charge.refunded","data":{"object":{"id":""}}}"#,
            Some("charge.refunded"),
            "reading `charge.refunded`: a payment without an id",
        ),
        (
            br#"{"type":"customer.subscription.updated","data":{"object":{"status":"active"}}}"#,
            Some("customer.subscription.updated"),
            "reading `customer.subscription.updated`: a subscription without an id",
        ),
        (
            br#"{"type":"customer.subscription.updated","data":{"object":{"id":"sub_1"}}}"#,
            Some("customer.subscription.updated"),
            "reading `customer.subscription.updated`: a subscription without a status",
        ),
        (
            br#"{"type":"customer.subscription.updated","data":{"object":{"id":"sub_1","status":"active","items":{"data":[{"id":"si_1","created":1},{"created":2}]}}}}"#,
            Some("customer.subscription.updated"),
            "reading `customer.subscription.updated`: an item without an id",
        ),
        (
            br#"{"type":"checkout.session.completed","data":{"object":{"mode":"payment"}}}"#,
            Some("checkout.session.completed"),
            "reading `checkout.session.completed`: a payment without an id",
        ),
    ];
    let mut wrong = Vec::new();
    for (body, event_type, cause) in cases {
        let expected = ParseError { event_type: event_type.map(str::to_owned), cause: (*cause).to_owned() };
        let read = parse("evt_1", body);
        if read != Err(expected) {
            wrong.push(format!("{}\n  expected {cause:?}\n  read     {read:?}", String::from_utf8_lossy(body)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn metadata_names_the_payer_under_every_documented_name() {
    let long = "x".repeat(MAX_PAYER_ID_BYTES + 1);
    let cases = [
        (json!({"userId": "u"}), Some("user:u")),
        (json!({"user_id": "u"}), Some("user:u")),
        (json!({"clerk_user_id": "u"}), Some("user:u")),
        (json!({"orgId": "o"}), Some("org:o")),
        (json!({"org_id": "o"}), Some("org:o")),
        (json!({"organization_id": "o"}), Some("org:o")),
        (json!({"clerk_org_id": "o"}), Some("org:o")),
        (json!({"user_id": "u", "clerk_org_id": "o"}), Some("org:o")),
        (json!({"userId": "u", "orgId": ""}), Some("user:u")),
        (json!({"userId": "", "user_id": "u"}), Some("user:u")),
        (json!({"userId": long, "user_id": "u"}), Some("user:u")),
        (json!({"userId": long}), None),
        (json!({"userid": "u"}), None),
        (json!({}), None),
        (Value::Null, None),
    ];
    for (metadata, expected) in cases {
        let mut body = payload("customer.subscription.updated");
        body["data"]["object"]["metadata"] = metadata.clone();
        let event = event_of(&body);
        let expected = expected.map(|key| Payer::from_key(key).unwrap());
        assert_eq!((&event.payer, &event.records[0].payer), (&expected, &expected), "{metadata}");
        let linked: Vec<_> = event.links.iter().map(|link| (link.customer.as_str(), &link.payer)).collect();
        assert_eq!(linked, expected.iter().map(|payer| ("cus_9", payer)).collect::<Vec<_>>(), "{metadata}");
    }
}

/// Of two events of the same second the newer is told by what each says, whatever their ids are.
#[test]
fn within_a_second_events_are_ordered_by_what_they_say() {
    let updated = "customer.subscription.updated";
    // (what happened first, what happened next): type, status, fields of the subscription, previous attributes.
    type Told = (&'static str, &'static str, Value, Value);
    let told = |event_type, status, fields, previous| -> Told { (event_type, status, fields, previous) };
    let none = || json!({});
    let seats = |quantity: u32| json!({"quantity": quantity});
    let cases: [(&str, Told, Told); 12] = [
        (
            "bought and paid for",
            told("customer.subscription.created", "incomplete", none(), none()),
            told(updated, "active", none(), json!({"status": "incomplete"})),
        ),
        (
            "made active, then given a payment method",
            told("customer.subscription.created", "active", none(), none()),
            told(updated, "active", json!({"default_payment_method": "pm_1"}), json!({"default_payment_method": null})),
        ),
        (
            "made canceled to be, and noted somewhere",
            told("customer.subscription.created", "active", json!({"cancel_at_period_end": true}), none()),
            told(updated, "active", none(), json!({"cancel_at_period_end": true})),
        ),
        (
            "seats after an unrelated change",
            told(updated, "active", seats(1), json!({"latest_invoice": "in_1"})),
            told(updated, "active", seats(2), json!({"quantity": 1})),
        ),
        (
            "canceled",
            told(updated, "active", none(), json!({"items": {"data": []}})),
            told(updated, "active", json!({"cancel_at_period_end": true}), json!({"cancel_at_period_end": false})),
        ),
        (
            "a cancellation taken back",
            told(updated, "active", json!({"cancel_at_period_end": true}), json!({"cancel_at_period_end": false})),
            told(updated, "active", none(), json!({"cancel_at_period_end": true})),
        ),
        (
            "a date of cancellation taken back",
            told(updated, "active", json!({"cancel_at": 1_796_592_000}), json!({"cancel_at": null})),
            told(updated, "active", none(), json!({"cancel_at": 1_796_592_000})),
        ),
        (
            "past due and paid",
            told(updated, "past_due", none(), json!({"status": "active"})),
            told(updated, "active", none(), json!({"status": "past_due"})),
        ),
        (
            "unpaid and paid",
            told(updated, "unpaid", none(), json!({"status": "past_due"})),
            told(updated, "active", none(), json!({"status": "unpaid"})),
        ),
        (
            "a trial that became paid",
            told(updated, "trialing", json!({"trial_end": 1_796_592_000}), json!({"trial_end": null})),
            told(updated, "active", none(), json!({"status": "trialing"})),
        ),
        (
            "ended by any event",
            told(updated, "active", none(), json!({"cancel_at_period_end": true})),
            told(updated, "canceled", none(), json!({"status": "active"})),
        ),
        (
            "deleted, whatever status stands there",
            told(updated, "active", none(), json!({"status": "past_due"})),
            told("customer.subscription.deleted", "active", none(), none()),
        ),
    ];
    let version = |event_id: &str, (event_type, status, fields, previous): &Told| -> Version {
        let mut body = payload(updated);
        body["type"] = json!(event_type);
        body["data"]["previous_attributes"] = previous.clone();
        body["data"]["object"]["status"] = json!(status);
        for (name, value) in fields.as_object().unwrap() {
            body["data"]["object"][name] = value.clone();
        }
        let Ok(Parsed::Event(event)) = parse(event_id, body.to_string().as_bytes()) else { panic!("{event_type}") };
        event.records[0].version.clone()
    };
    for (what, first, next) in &cases {
        assert!(version("evt_z", first) < version("evt_a", next), "{what}");
    }
    // What no event by itself can tell is a tie: equal but for the id, which is how the store knows it.
    let two = told(updated, "active", seats(2), json!({"quantity": 1}));
    let three = told(updated, "active", seats(3), json!({"quantity": 2}));
    let (two, three) = (version("evt_1", &two), version("evt_2", &three));
    assert_eq!(two.as_str().strip_suffix(".evt_1"), three.as_str().strip_suffix(".evt_2"));
}

/// What stands in for a scalar of a body.
fn odd_values() -> [Value; 11] {
    [
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
    ]
}

/// Every body with every one of its scalars replaced by every odd value: it is read or refused, and stored either way.
#[cfg(feature = "sqlite")]
#[test]
fn whatever_stands_in_a_body_is_read_or_refused_and_stored() {
    use std::collections::HashSet;

    use plangate::store::Outcome;
    use plangate::store::sqlite::SqliteStore;

    let now = Timestamp::from_secs(SENT_AT_SECS);
    let mut store = SqliteStore::in_memory().unwrap();
    let mut seen = HashSet::new();
    for payload in payloads() {
        let body: Value = serde_json::from_str(&payload.text).unwrap();
        for pointer in scalars(&body) {
            for odd in odd_values() {
                let mut changed = body.clone();
                *changed.pointer_mut(&pointer).unwrap() = odd;
                let changed = changed.to_string();
                let reading = parse("evt_1", changed.as_bytes()).map_err(|error| error.event_type);
                if !seen.insert(format!("{reading:?}")) {
                    continue;
                }
                if seen.len() % 50 == 0 {
                    store = SqliteStore::in_memory().unwrap();
                }
                let verified = Verified::recorded(format!("evt_{}", seen.len()), now, changed.as_bytes());
                let parsed = stripe().parse(&verified, &Ours::default());
                let (outcome, _) = store
                    .deliver("stripe", &verified, &parsed, now)
                    .unwrap_or_else(|error| panic!("{} at {pointer}: {error}", payload.name));
                let expected: &[Outcome] = match parsed {
                    Ok(Parsed::Event(_)) => &[Outcome::Stored, Outcome::Stale],
                    Ok(Parsed::Ignored { .. }) => &[Outcome::Ignored],
                    Err(_) => &[Outcome::DeadLetter],
                };
                assert!(expected.contains(&outcome), "{} at {pointer}: {outcome:?}", payload.name);
            }
        }
    }
    assert!(seen.len() > 1_000, "{} different readings", seen.len());
}

struct Payload {
    name: String,
    path: PathBuf,
    text: String,
}

fn payloads() -> Vec<Payload> {
    let payload = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".json").filter(|name| !name.ends_with(".event"))?;
        Some(Payload { name: name.to_owned(), text: fs::read_to_string(&path).unwrap(), path: path.clone() })
    };
    let payloads: Vec<_> = files().into_iter().filter_map(payload).collect();
    assert!(payloads.len() > 100, "the bodies are not where they were");
    payloads
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stripe");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn payload(name: &str) -> Value {
    let payload = payloads().into_iter().find(|payload| payload.name == name);
    serde_json::from_str(&payload.unwrap().text).unwrap()
}

fn stripe() -> &'static dyn Provider {
    named("stripe").unwrap()
}

fn parse(event_id: &str, body: &[u8]) -> Result<Parsed, ParseError> {
    stripe().parse(&Verified::recorded(event_id, Timestamp::from_secs(SENT_AT_SECS), body), &Ours::default())
}

#[track_caller]
fn event_of(body: &Value) -> Event {
    match parse("evt_1", body.to_string().as_bytes()) {
        Ok(Parsed::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// What was read, as the expected files have it.
fn read(name: &str, body: &[u8]) -> Value {
    match parse("evt_1Qa", body) {
        Ok(Parsed::Event(event)) => serde_json::to_value(event).unwrap(),
        Ok(Parsed::Ignored { event_type, reason }) => json!({"ignored": event_type, "reason": reason.as_str()}),
        Err(error) => panic!("{name}: {error}"),
    }
}

/// JSON pointers to everything that is neither an object nor an array.
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
