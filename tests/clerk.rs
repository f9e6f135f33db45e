#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! What Clerk says, read into the normal form.
//!
//! `tests/data/clerk/<name>.json` is a payload: one for each event type of Clerk's catalog, under the type's name; one
//! for each oddity that was seen or is documented (`quirk.…`); one for each way to write the flat form (`flat.…`). The
//! ids in them are invented. `<name>.event.json` beside it is what must be read out of it: the event as it is stored,
//! or why it is ignored.
//!
//! After a change that is meant: `PLANGATE_REWRITE_EXPECTED=1 cargo test --features sqlite --test clerk` writes the
//! expected files anew. Read the difference before committing it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plangate::delivery::Verified;
use plangate::event::{ParseError, Parsed};
use plangate::payer::{MAX_PAYER_ID_BYTES, Payer};
use plangate::provider::{Ours, Provider, named};
use plangate::time::Timestamp;
use serde_json::{Value, json};

/// The instance whose events the payloads are.
const INSTANCE: &str = "ins_2abcINSTANCE";

/// When the attempts are signed: later than anything in the payloads, so that it shows where it is used.
const SENT_AT_SECS: i64 = 1_767_300_000;

/// Every type of event in Clerk's catalog, with the withdrawn and the misspelled ones that were seen.
const EVENT_TYPES: &[&str] = &[
    "email.created",
    "organization.created",
    "organization.deleted",
    "organization.updated",
    "organizationDomain.created",
    "organizationDomain.deleted",
    "organizationDomain.updated",
    "organizationInvitation.accepted",
    "organizationInvitation.created",
    "organizationInvitation.revoked",
    "organizationMembership.created",
    "organizationMembership.deleted",
    "organizationMembership.updated",
    "paymentAttempt.created",
    "paymentAttempt.updated",
    "permission.created",
    "permission.deleted",
    "permission.updated",
    "role.created",
    "role.deleted",
    "role.updated",
    "session.created",
    "session.ended",
    "session.pending",
    "session.removed",
    "session.revoked",
    "sms.created",
    "subscription.active",
    "subscription.created",
    "subscription.pastDue",
    "subscription.past_due",
    "subscription.updated",
    "subscriptionItem.abandoned",
    "subscriptionItem.active",
    "subscriptionItem.canceled",
    "subscriptionItem.created",
    "subscriptionItem.ended",
    "subscriptionItem.expired",
    "subscriptionItem.freeTrialEnding",
    "subscriptionItem.incomplete",
    "subscriptionItem.pastDue",
    "subscriptionItem.past_due",
    "subscriptionItem.upcoming",
    "subscriptionItem.updated",
    "user.created",
    "user.deleted",
    "user.updated",
    "waitlistEntry.created",
    "waitlistEntry.updated",
];

#[test]
fn every_payload_is_read_into_the_expected_event() {
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
fn every_type_of_clerks_catalog_has_a_payload_and_every_expectation_has_one_too() {
    let payloads = payloads();
    let types: BTreeSet<&str> =
        payloads.iter().filter_map(|payload| EVENT_TYPES.iter().copied().find(|name| *name == payload.name)).collect();
    assert_eq!(types.into_iter().collect::<Vec<_>>(), EVENT_TYPES);
    for payload in &payloads {
        if EVENT_TYPES.contains(&payload.name.as_str()) {
            let body: Value = serde_json::from_str(&payload.text).unwrap();
            assert_eq!(body["type"], payload.name, "the file is named after its type");
        }
    }

    let names: BTreeSet<&str> = payloads.iter().map(|payload| payload.name.as_str()).collect();
    for file in files().iter().filter_map(|path| path.file_name()?.to_str()) {
        let Some(name) = file.strip_suffix(".event.json") else { continue };
        assert!(names.contains(name), "`{file}` has no payload");
    }
}

#[test]
fn the_attempts_own_time_is_used_only_where_the_body_has_no_clock() {
    // Two attempts of one event, an hour apart, say the same: only then does it not matter which one arrives.
    for payload in payloads() {
        let at = |secs| {
            let verified = Verified::recorded("msg_1", Timestamp::from_secs(secs), payload.text.as_bytes());
            clerk().parse(&verified, &ours())
        };
        let (first, retried) = (at(SENT_AT_SECS), at(SENT_AT_SECS + 3600));
        let has_clock = !matches!(payload.name.as_str(), "flat.without_any_timestamp" | "quirk.no_time_at_all");
        assert_eq!(first == retried, has_clock, "{}", payload.name);
    }
}

#[test]
fn bodies_that_cannot_be_read_say_exactly_why() {
    let long = "x".repeat(MAX_PAYER_ID_BYTES + 1);
    let long_user = format!(r#"{{"type":"user.updated","data":{{"id":"{long}"}}}}"#);
    let long_flat = format!(r#"{{"type":"subscription.updated","data":{{"user_id":"{long}"}}}}"#);
    let long_item = format!(
        r#"{{"type":"subscriptionItem.ended","data":{{"id":"i","status":"ended","payer":{{"organization_id":"{long}"}}}}}}"#
    );
    let deep =
        format!(r#"{{"type":"subscription.updated","data":{{"items":{}1{}}}}}"#, "[".repeat(5000), "]".repeat(5000));
    let deep_amount = format!(
        r#"{{"type":"subscriptionItem.active","data":{{"id":"i","status":"active","plan":{{"amount":{}1{}}}}}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let deep_envelope = "[".repeat(100_000);
    // (body, the type that could be read, the cause)
    let cases: &[(&[u8], Option<&str>, &str)] = &[
        // The envelope.
        (b"", None, "reading the envelope: EOF while parsing a value at line 1 column 0"),
        (b" \n", None, "reading the envelope: EOF while parsing a value at line 2 column 0"),
        (b"hello", None, "reading the envelope: expected value at line 1 column 1"),
        (b"null", None, "the envelope has no `type`"),
        (b"[]", None, "the envelope has no `type`"),
        (b"{", None, "reading the envelope: EOF while parsing an object at line 1 column 1"),
        (b"{}", None, "the envelope has no `type`"),
        (br#"{"type":null}"#, None, "the envelope has no `type`"),
        (br#"{"type":""}"#, None, "the envelope has no `type`"),
        (
            br#"{"type":7}"#,
            None,
            "reading the envelope: `type` is not a text",
        ),
        (
            br#"{"type":"user.created"} {}"#,
            None,
            "reading the envelope: trailing characters at line 1 column 25",
        ),
        (
            br#"{"type":"user.created","timestamp":"yesterday"}"#,
            None,
            "reading the envelope: `timestamp` is not a time",
        ),
        (
            br#"{"type":"user.created","timestamp":true}"#,
            None,
            "reading the envelope: `timestamp` is not a time",
        ),
        (
            br#"{"type":"user.created","timestamp":{}}"#,
            None,
            "reading the envelope: `timestamp` is not a time",
        ),
        (b"\xef\xbb\xbf{}", None, "reading the envelope: expected value at line 1 column 1"),
        (
            b"{\"type\":\"user.\xff\"}",
            None,
            "reading the envelope: invalid utf-8 sequence of 1 bytes from index 14",
        ),
        (
            br#"{"type":"user.\ud800"}"#,
            None,
            "reading the envelope: unexpected end of hex escape at line 1 column 21",
        ),
        (deep_envelope.as_bytes(), None, "reading the envelope: recursion limit exceeded at line 1 column 128"),
        // Nothing in it.
        (
            br#"{"type":"subscription.updated"}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: `data` is missing",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":null}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `data` is missing",
        ),
        (
            br#"{"type":"paymentAttempt.updated","data":"cpa_1"}"#,
            Some("paymentAttempt.updated"),
            "reading `paymentAttempt.updated`: `data` is not an object",
        ),
        (
            br#"{"type":"user.deleted","data":7}"#,
            Some("user.deleted"),
            "reading `user.deleted`: `data` is not an object",
        ),
        (
            br#"{"event_type":"organization.deleted","data":true}"#,
            Some("organization.deleted"),
            "reading `organization.deleted`: `data` is not an object",
        ),
        // Subscriptions.
        (
            br#"{"type":"subscription.updated","data":{}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: a subscription without `items`, `payer` or `user_id`",
        ),
        (
            br#"{"type":"subscription.updated","data":{"items":null}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: a subscription without `items`, `payer` or `user_id`",
        ),
        (
            br#"{"type":"subscription.updated","data":{"items":{}}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: `items` is not a list",
        ),
        (
            br#"{"type":"subscription.updated","data":{"items":[null]}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: `status` is missing",
        ),
        (
            // Of the full form, because it names Clerk's own payer; then it must have items.
            br#"{"type":"subscription.updated","data":{"user_id":"user_1","payer_id":"cpayer_1","plan":"pro"}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: a subscription without `items`, `payer` or `user_id`",
        ),
        (
            br#"{"type":"subscription.updated","data":{"user_id":7,"plan":"pro"}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: a subscription without `items`, `payer` or `user_id`",
        ),
        (
            br#"{"type":"subscription.updated","data":{"items":[],"payer":"user_1"}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: `payer` is not an object",
        ),
        (
            deep.as_bytes(),
            None,
            "reading the envelope: recursion limit exceeded at line 1 column 173",
        ),
        // Items.
        (
            br#"{"type":"subscriptionItem.active","data":{"status":"active"}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: an item without an id",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"","status":"active"}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: an item without an id",
        ),
        (
            br#"{"type":"subscription.active","data":{"items":[{"id":"","status":"active"}]}}"#,
            Some("subscription.active"),
            "reading `subscription.active`: an item without an id",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":7,"status":"active"}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `id` is not a text",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"i"}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `status` is missing",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"i","status":null}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `status` is missing",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"i","status":"active","plan":"pro"}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `plan` is not an object",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"i","status":"active","period_end":"soon"}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `period_end` is not a time",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"i","status":"active","is_free_trial":"yes"}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `is_free_trial` is not true or false",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"i","status":"active","seats":5}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `seats` is not an object",
        ),
        (
            br#"{"type":"subscriptionItem.active","data":{"id":"i","status":"active","seats":{"quantity":-1}}}"#,
            Some("subscriptionItem.active"),
            "reading `subscriptionItem.active`: `quantity` is not a whole number from 0",
        ),
        (
            deep_amount.as_bytes(),
            None,
            "reading the envelope: recursion limit exceeded at line 1 column 211",
        ),
        (
            long_item.as_bytes(),
            Some("subscriptionItem.ended"),
            "reading `subscriptionItem.ended`: the payer's id is too long",
        ),
        // Payments.
        (
            br#"{"type":"paymentAttempt.created","data":{"status":"paid"}}"#,
            Some("paymentAttempt.created"),
            "reading `paymentAttempt.created`: a payment attempt without an id",
        ),
        (
            br#"{"type":"paymentAttempt.created","data":{"id":"","status":"paid"}}"#,
            Some("paymentAttempt.created"),
            "reading `paymentAttempt.created`: a payment attempt without an id",
        ),
        (
            br#"{"type":"paymentAttempt.created","data":{"id":"p"}}"#,
            Some("paymentAttempt.created"),
            "reading `paymentAttempt.created`: `status` is missing",
        ),
        (
            br#"{"type":"paymentAttempt.created","data":{"id":"p","status":"paid","totals":{"grand_total":{"amount":9.5}}}}"#,
            Some("paymentAttempt.created"),
            "reading `paymentAttempt.created`: `amount` is not a whole number",
        ),
        // Users and organizations.
        (long_user.as_bytes(), Some("user.updated"), "reading `user.updated`: the id is too long"),
        (
            br#"{"type":"organization.updated","data":{"id":["org_1"]}}"#,
            Some("organization.updated"),
            "reading `organization.updated`: `id` is not a text",
        ),
        // The flat form.
        (
            br#"{"type":"subscription.updated","data":{"user_id":"","plan":"pro"}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: nothing says whose it is",
        ),
        (long_flat.as_bytes(), Some("subscription.updated"), "reading `subscription.updated`: the payer's id is too long"),
        (
            br#"{"type":"subscription.payment_failed","data":{"user_id":"user_1","attempt_count":-1}}"#,
            Some("subscription.payment_failed"),
            "reading `subscription.payment_failed`: `attempt_count` is not a whole number from 0",
        ),
        (
            br#"{"type":"subscription.updated","data":{"user_id":"user_1","plan":{"slug":"pro"}}}"#,
            Some("subscription.updated"),
            "reading `subscription.updated`: `plan` is not a text",
        ),
    ];
    let mut wrong = Vec::new();
    for (body, event_type, cause) in cases {
        let expected = ParseError { event_type: event_type.map(str::to_owned), cause: (*cause).to_owned() };
        let read = parse("msg_1", body);
        if read != Err(expected) {
            let body: String = String::from_utf8_lossy(body).chars().take(120).collect();
            wrong.push(format!("{body}\n  expected {cause:?}\n  read     {read:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_a_field_that_is_there_twice_the_last_counts() {
    let read = parse("msg_1", br#"{"type":"user.created","type":"user.deleted","data":{"id":"user_1","id":"user_2"}}"#);
    let Ok(Parsed::Event(event)) = read else { panic!("{read:?}") };
    assert_eq!((event.event_type.as_str(), event.payer), ("user.deleted", Payer::from_key("user:user_2")));
}

#[test]
fn a_payload_cut_short_anywhere_is_unreadable_and_says_so() {
    for payload in payloads() {
        let body = compact(&payload.text);
        for end in 0..body.len() {
            let error = parse("msg_1", &body.as_bytes()[..end]).unwrap_err();
            assert_eq!(error.event_type, None, "{} cut at {end}", payload.name);
            let is_cut = ["reading the envelope: EOF while parsing", "reading the envelope: invalid number"];
            assert!(
                is_cut.iter().any(|start| error.cause.starts_with(start)),
                "{} cut at {end}: {}",
                payload.name,
                error.cause
            );
        }
    }
}

/// What stands in for a scalar of a payload.
fn odd_values() -> [Value; 12] {
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
        json!("4242424242424242"),
    ]
}

/// Calls `with` for every payload with every one of its scalars replaced by every odd value.
fn for_every_odd_payload(mut with: impl FnMut(&str, &[u8])) {
    for payload in payloads() {
        let body: Value = serde_json::from_str(&payload.text).unwrap();
        for pointer in scalars(&body) {
            for odd in odd_values() {
                let mut changed = body.clone();
                let what = format!("{} with {pointer} = {odd}", payload.name);
                *changed.pointer_mut(&pointer).unwrap() = odd;
                with(&what, &serde_json::to_vec(&changed).unwrap());
            }
        }
    }
}

#[test]
fn no_scalar_replaced_by_anything_makes_reading_panic() {
    let mut read = 0;
    let mut unreadable = 0;
    for_every_odd_payload(|what, body| match std::panic::catch_unwind(|| parse("msg_1", body)) {
        Ok(Ok(_)) => read += 1,
        Ok(Err(_)) => unreadable += 1,
        Err(_) => panic!("reading panicked: {what}"),
    });
    // Both happen thousands of times, or the replacements did not reach what they were meant for.
    assert!(read > 10_000 && unreadable > 1_000, "{read} read, {unreadable} unreadable");
}

/// An event that can be read but not stored would be answered 503 and come back for a day.
#[cfg(feature = "sqlite")]
#[test]
fn whatever_can_be_read_can_be_stored() {
    use std::collections::HashSet;

    use plangate::store::Outcome;
    use plangate::store::sqlite::SqliteStore;

    let now = Timestamp::from_secs(SENT_AT_SECS);
    let mut store = SqliteStore::in_memory().unwrap();
    let mut seen = HashSet::new();
    for_every_odd_payload(|what, body| {
        // Most scalars are not read at all: what reads the same is stored the same. What cannot be read is one body as
        // good as another.
        let reading = parse("msg_1", body).map_err(|error| error.event_type);
        if !seen.insert(format!("{reading:?}")) {
            return;
        }
        // A few at a time, for a store of thousands of records for one payer is slow to read back.
        if seen.len() % 50 == 0 {
            store = SqliteStore::in_memory().unwrap();
        }
        let verified = Verified::recorded(format!("msg_{}", seen.len()), now, body);
        let parsed = clerk().parse(&verified, &ours());
        let (outcome, _) =
            store.deliver("clerk", &verified, &parsed, now).unwrap_or_else(|error| panic!("{what}: {error}"));
        match parsed {
            Ok(Parsed::Event(_)) => assert!(matches!(outcome, Outcome::Stored | Outcome::Stale), "{what}: {outcome:?}"),
            Ok(Parsed::Ignored { .. }) => assert_eq!(outcome, Outcome::Ignored, "{what}"),
            Err(_) => assert_eq!(outcome, Outcome::DeadLetter, "{what}"),
        }
    });
    assert!(seen.len() > 2_000, "{} different readings", seen.len());
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
    assert!(payloads.len() > 100, "the payloads are not where they were");
    payloads
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clerk");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn clerk() -> &'static dyn Provider {
    named("clerk").unwrap()
}

fn ours() -> Ours {
    Ours { clerk_instance_id: Some(INSTANCE.to_owned()), ..Ours::default() }
}

fn parse(event_id: &str, body: &[u8]) -> Result<Parsed, ParseError> {
    clerk().parse(&Verified::recorded(event_id, Timestamp::from_secs(SENT_AT_SECS), body), &ours())
}

/// What was read, as the expected files have it.
fn read(name: &str, body: &[u8]) -> Value {
    match parse(&format!("msg_{name}"), body) {
        Ok(Parsed::Event(event)) => serde_json::to_value(event).unwrap(),
        Ok(Parsed::Ignored { event_type, reason }) => json!({"ignored": event_type, "reason": reason.as_str()}),
        Err(error) => panic!("{name}: {error}"),
    }
}

fn compact(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap().to_string()
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
