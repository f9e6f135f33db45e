#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! Paddle: the signature case by case, what its events say, and what a payer then has.
//!
//! `tests/data/paddle/<name>.json` is a payload, of a type of event under the type's name or of something odd
//! (`quirk.…`); the ids in them are invented. `<name>.event.json` beside it is what must be read out of it.
//!
//! Signatures are made here with `ring`, a second implementation of HMAC. Where Paddle's own libraries (Node 3.10.0, Python
//! 1.16.1, Go) differ from one another and from us:
//!
//! | case | the libraries | here | why |
//! |---|---|---|---|
//! | signed 6 s ago | Node, Python refuse; Go asks for a tolerance | accepted up to `PADDLE_TOLERANCE_SECONDS` | an edge behind retries and clocks that differ; a replay is a duplicate |
//! | signed in the future | Node accepts without bound, Python refuses | bounded like the past | a time is right or it is not |
//! | two `h1`, the first good | Node takes the last alone, Go refuses | accepted | rotation signs with both |
//! | `h2`, unknown fields | Python raises, Go refuses | skipped | a later version of the scheme must not lock us out |
//! | `h1` before `ts` | Go refuses | accepted | the order says nothing |
//! | space after `;` | all refuse | refused | no sender does it |
//! | upper-case hex | all refuse | refused | one MAC has one text |
//! | `ts=abc`, signed over `NaN` | Node accepts and skips the age | `MalformedTimestamp` | a time is a number |
//! | comparison | Node by `===` | constant time | |

mod told;

use plangate::decide::Reason;
use plangate::delivery::{Delivery, Headers, VerifyError};
use plangate::provider::Ours;
use plangate::secret::SecretError;
use plangate::store::Outcome;
use plangate::time::{DAY_MS, Timestamp};
use ring::hmac;
use serde_json::{Value, json};

use told::{PADDLE, Shop, at, check_every_order, permutations};

const SECRET: &str = "pdl_ntfset_01hv8x29kz_Zm9vYmFyYmF6";
const NOW: i64 = 1_767_225_600;
const BODY: &[u8] = br#"{"event_id":"evt_1","event_type":"subscription.updated"}"#;

const EVENT_TYPES: &[&str] = &[
    "adjustment.created",
    "adjustment.updated",
    "customer.created",
    "customer.imported",
    "customer.updated",
    "subscription.activated",
    "subscription.canceled",
    "subscription.created",
    "subscription.imported",
    "subscription.past_due",
    "subscription.paused",
    "subscription.resumed",
    "subscription.trialing",
    "subscription.updated",
    "transaction.billed",
    "transaction.canceled",
    "transaction.completed",
    "transaction.created",
    "transaction.paid",
    "transaction.past_due",
    "transaction.payment_failed",
    "transaction.ready",
    "transaction.revised",
    "transaction.updated",
];

// Signatures.

fn h1(secret: &str, signed: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, &[signed.as_bytes(), b":", body].concat());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verify_with(secrets: &[&str], ours: &Ours, header: Option<&str>, body: &[u8]) -> Result<String, VerifyError> {
    let headers = Headers::new(header.map(|value| ("Paddle-Signature", value)));
    let delivery = Delivery { headers, body: body.to_vec() };
    let secrets: Vec<_> = secrets.iter().map(|text| PADDLE.secret(text)).collect();
    let verified = PADDLE.provider().verify(&delivery, &secrets, ours, Timestamp::from_secs(NOW));
    verified.map(|verified| verified.event_id().to_owned())
}

fn verify(header: &str) -> Result<String, VerifyError> {
    verify_with(&[SECRET], &Ours::default(), Some(header), BODY)
}

#[test]
fn the_vector_of_paddles_own_library_verifies() {
    let delivery = Delivery {
        headers: Headers::new([(
            "paddle-signature",
            "ts=1698796800;h1=a300428748dce5c70e4da19bffd60769591ea969c99dea3105d0ec9612cf43f9",
        )]),
        body: br#"{"data": ["1", "2"]}"#.to_vec(),
    };
    let check = |secret: &str, secs| {
        let verified =
            PADDLE.provider().verify(&delivery, &[PADDLE.secret(secret)], &Ours::default(), Timestamp::from_secs(secs));
        verified.map(|verified| (verified.event_id().to_owned(), verified.sent_at()))
    };
    // A body without an id is told from others by itself.
    let id = "sha256_5bb574418aa06ef7a5184b0fe2989b4fee1c23bb8d96d4527678e8f52387ac0e".to_owned();
    assert_eq!(check("VALID_SECRET", 1_698_796_800), Ok((id, Some(Timestamp::from_secs(1_698_796_800)))));
    assert_eq!(check("INVALID_SECRET", 1_698_796_800), Err(VerifyError::NoMatchingSignature));
    assert_eq!(check("VALID_SECRET", 1_698_900_000), Err(VerifyError::TimestampTooOld { age_secs: 103_200 }));
}

#[test]
fn every_case_of_paddles_own_libraries_has_one_answer() {
    use VerifyError::{MalformedTimestamp, NoMatchingSignature, TimestampTooNew, TimestampTooOld};
    let good = h1(SECRET, &NOW.to_string(), BODY);
    let bad = h1("pdl_ntfset_other", &NOW.to_string(), BODY);
    let signed = |secs: i64| format!("ts={secs};h1={}", h1(SECRET, &secs.to_string(), BODY));
    let over = |text: &str| format!("ts={text};h1={}", h1(SECRET, text, BODY));
    let ok = || Ok("evt_1".to_owned());
    let cases: Vec<(&str, String, Result<String, VerifyError>)> = vec![
        ("valid", format!("ts={NOW};h1={good}"), ok()),
        ("6 s old", signed(NOW - 6), ok()),
        ("at the tolerance", signed(NOW - 60), ok()),
        ("beyond it", signed(NOW - 61), Err(TimestampTooOld { age_secs: 61 })),
        ("days old", signed(NOW - 200_000), Err(TimestampTooOld { age_secs: 200_000 })),
        ("as far ahead as the tolerance", signed(NOW + 60), ok()),
        ("further ahead", signed(NOW + 61), Err(TimestampTooNew { ahead_secs: 61 })),
        ("ten years ahead", signed(NOW + 315_360_000), Err(TimestampTooNew { ahead_secs: 315_360_000 })),
        ("ts 9876", signed(9_876), Err(TimestampTooOld { age_secs: NOW - 9_876 })),
        ("two h1, the first good", format!("ts={NOW};h1={good};h1={bad}"), ok()),
        ("two h1, the second good", format!("ts={NOW};h1={bad};h1={good}"), ok()),
        ("two h1, both bad", format!("ts={NOW};h1={bad};h1={bad}"), Err(NoMatchingSignature)),
        ("junk h1, then a good one", format!("ts={NOW};h1=junk;h1={good}"), ok()),
        ("an h2 beside it", format!("ts={NOW};h1={good};h2={bad}"), ok()),
        ("an h2 alone", format!("ts={NOW};h2={good}"), Err(NoMatchingSignature)),
        ("h1 before ts", format!("h1={good};ts={NOW}"), ok()),
        ("space after the semicolon", format!("ts={NOW}; h1={good}"), Err(NoMatchingSignature)),
        ("comma for a semicolon", format!("ts={NOW},h1={good}"), Err(MalformedTimestamp)),
        ("upper-case hex", format!("ts={NOW};h1={}", good.to_uppercase()), Err(NoMatchingSignature)),
        ("one digit short", format!("ts={NOW};h1={}", &good[1..]), Err(NoMatchingSignature)),
        ("wrong secret", format!("ts={NOW};h1={bad}"), Err(NoMatchingSignature)),
        ("signed over another time", format!("ts={};h1={good}", NOW + 1), Err(NoMatchingSignature)),
        ("ts=abc, signed over NaN", format!("ts=abc;h1={}", h1(SECRET, "NaN", BODY)), Err(MalformedTimestamp)),
        ("ts=x;h1=y", "ts=x;h1=y".into(), Err(MalformedTimestamp)),
        ("a time with decimals", over(&format!("{NOW}.0")), Err(MalformedTimestamp)),
        ("a time in milliseconds", over(&format!("{NOW}000")), Err(MalformedTimestamp)),
        ("a negative time", over("-1"), Err(MalformedTimestamp)),
        ("without ts", format!("h1={good}"), Err(MalformedTimestamp)),
        ("without h1", format!("ts={NOW}"), Err(NoMatchingSignature)),
        ("without either", "invalid_signature".into(), Err(MalformedTimestamp)),
    ];
    for (what, header, expected) in cases {
        assert_eq!(verify(&header), expected, "{what}");
    }
}

#[test]
fn a_delivery_without_its_header_says_which_is_missing() {
    let missing = || Err(VerifyError::MissingHeaders(vec!["paddle-signature"]));
    assert_eq!(verify_with(&[SECRET], &Ours::default(), None, BODY), missing());
    assert_eq!(verify_with(&[SECRET], &Ours::default(), Some(""), BODY), missing());
}

#[test]
fn any_secret_may_fit_and_none_fits_nothing() {
    let header = format!("ts={NOW};h1={}", h1(SECRET, &NOW.to_string(), BODY));
    let verify = |secrets: &[&str]| verify_with(secrets, &Ours::default(), Some(&header), BODY);
    assert_eq!(verify(&["abc", SECRET, "pdl_ntfset_x"]), Ok("evt_1".into()));
    assert_eq!(verify(&["abc", "pdl_ntfset_x"]), Err(VerifyError::NoMatchingSignature));
    assert_eq!(verify(&[]), Err(VerifyError::NoMatchingSignature));
    // The prefix is part of the key.
    assert_eq!(verify(&[SECRET.trim_start_matches("pdl_ntfset_")]), Err(VerifyError::NoMatchingSignature));
    // As pasted.
    assert_eq!(verify(&[&format!(" {SECRET}\n")]), Ok("evt_1".into()));
    let parse = |text| PADDLE.provider().parse_secret("PADDLE_WEBHOOK_SECRET", text).map(|_| ());
    assert_eq!(parse(" "), Err(SecretError::Empty));
}

#[test]
fn the_tolerance_is_a_setting() {
    let ours = Ours { paddle_tolerance_secs: 5, ..Ours::default() };
    for (age_secs, expected) in [
        (5, Ok("evt_1".to_owned())),
        (6, Err(VerifyError::TimestampTooOld { age_secs: 6 })),
        (-5, Ok("evt_1".to_owned())),
        (-6, Err(VerifyError::TimestampTooNew { ahead_secs: 6 })),
    ] {
        let signed = (NOW - age_secs).to_string();
        let header = format!("ts={signed};h1={}", h1(SECRET, &signed, BODY));
        assert_eq!(verify_with(&[SECRET], &ours, Some(&header), BODY), expected, "{age_secs}");
    }
}

#[test]
fn the_id_is_the_bodys_and_a_body_without_one_is_its_own_id() {
    let id = |body: &[u8]| {
        let header = format!("ts={NOW};h1={}", h1(SECRET, &NOW.to_string(), body));
        verify_with(&[SECRET], &Ours::default(), Some(&header), body).unwrap()
    };
    assert_eq!(id(br#"{"notification_id":"ntf_1","event_id":"evt_9"}"#), "evt_9");
    assert_eq!(id(br#"{"event_id":9}"#), "9");
    let empty = "sha256_e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(id(b""), empty);
    let others: Vec<String> =
        [&b"{}"[..], br#"{"event_id":""}"#, br#"{"event_id":null}"#, br#"{"event_id":{}}"#, b"\xff"]
            .into_iter()
            .map(id)
            .collect();
    for (index, one) in others.iter().enumerate() {
        assert!(one.starts_with("sha256_") && one.len() == empty.len(), "{one}");
        assert!(!others[index + 1..].contains(one), "each body has its own");
    }
}

#[test]
fn every_byte_of_a_delivery_counts() {
    PADDLE.check_that_every_byte_counts(&PADDLE.secret(SECRET), BODY, Timestamp::from_secs(NOW));
}

// What events say.

#[test]
fn every_payload_is_read_into_the_expected_event() {
    PADDLE.check_payloads();
    PADDLE.check_that_nothing_is_without_a_payload(EVENT_TYPES);
}

#[test]
fn the_attempts_own_time_is_used_only_where_the_body_has_no_clock() {
    PADDLE.check_that_attempts_say_the_same_but_for(&["quirk.no_time_at_all"]);
}

#[test]
fn an_id_that_looks_like_a_card_number_is_read_from_a_dead_letter_as_it_came() {
    PADDLE.check_that_masking_keeps_ids_but_for(&[]);
}

#[test]
fn whatever_stands_in_a_field_nothing_panics_and_what_can_be_read_can_be_stored() {
    PADDLE.check_odd_payloads();
}

#[test]
fn bodies_that_cannot_be_read_say_exactly_why() {
    let long = format!(
        r#"{{"event_type":"subscription.updated","data":{{"id":"sub_1","status":"active","custom_data":{{"userId":"{}"}}}}}}"#,
        "x".repeat(256)
    );
    let updated = Some("subscription.updated");
    PADDLE.check_causes(&[
        (b"", None, "reading the envelope: EOF while parsing a value at line 1 column 0"),
        (b"[]", None, "the envelope: `event_type` is missing"),
        (b"{}", None, "the envelope: `event_type` is missing"),
        (br#"{"event_type":""}"#, None, "the envelope: `event_type` is missing"),
        (br#"{"event_type":4242424242424242}"#, None, "the envelope: `event_type` is not a text"),
        (
            br#"{"event_type":"subscription.updated","occurred_at":"soon"}"#,
            updated,
            "reading `subscription.updated`: `occurred_at` is not a time",
        ),
        (br#"{"event_type":"subscription.updated"}"#, updated, "reading `subscription.updated`: `id` is missing"),
        (
            br#"{"event_type":"subscription.updated","data":[]}"#,
            updated,
            "reading `subscription.updated`: `data` is not an object",
        ),
        (
            br#"{"event_type":"subscription.updated","data":{"id":"sub_1"}}"#,
            updated,
            "reading `subscription.updated`: `status` is missing",
        ),
        // A period that cannot be read must not pass for one without end.
        (
            br#"{"event_type":"subscription.updated","data":{"id":"sub_1","status":"active","current_billing_period":{"ends_at":"soon"}}}"#,
            updated,
            "reading `subscription.updated`: `ends_at` is not a time",
        ),
        (
            br#"{"event_type":"subscription.updated","data":{"id":"sub_1","status":"active","current_billing_period":"2026"}}"#,
            updated,
            "reading `subscription.updated`: `current_billing_period` is not an object",
        ),
        (
            br#"{"event_type":"subscription.updated","data":{"id":"sub_1","status":"active","items":{}}}"#,
            updated,
            "reading `subscription.updated`: `items` is not a list",
        ),
        (long.as_bytes(), updated, "reading `subscription.updated`: the payer's id is too long"),
        (
            br#"{"event_type":"transaction.completed","data":{"id":"txn_1","payments":[{"status":"captured","amount":"12.5"}]}}"#,
            Some("transaction.completed"),
            "reading `transaction.completed`: `amount` is not a whole number",
        ),
        (
            br#"{"event_type":"adjustment.updated","data":{"id":"adj_1","action":"refund"}}"#,
            Some("adjustment.updated"),
            "reading `adjustment.updated`: `status` is missing",
        ),
    ]);
}

// What a payer then has.

fn plans() -> Value {
    json!({
        "pro": {"ids": {"paddle": ["pri_pro"]}},
        "team": {"ids": {"paddle": ["pro_team"]}},
        "addon": {"ids": {"paddle": ["pri_addon"]}},
        "lifetime": {"ids": {"paddle": ["pri_lifetime"]}},
    })
}

fn shop() -> Shop {
    Shop::new(PADDLE, &plans())
}

fn event(event_type: &str, time: &str, data: Value) -> Value {
    json!({"event_id": "evt", "event_type": event_type, "occurred_at": time, "notification_id": "ntf", "data": data})
}

/// A subscription as it stands at `time`, for the month from `start`.
fn subscription(event_type: &str, time: &str, status: &str, start: &str, more: Value) -> Value {
    let mut data = json!({
        "id": "sub_1", "status": status, "customer_id": "ctm_1", "updated_at": time, "created_at": "2026-01-01T00:00:00Z",
        "current_billing_period": {"starts_at": start, "ends_at": at(start).plus_millis(30 * DAY_MS).to_string()},
        "items": [{"quantity": 1, "price": {"id": "pri_pro", "product_id": "pro_pro"}}],
        "custom_data": {"userId": "user_1"},
    });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event(&format!("subscription.{event_type}"), time, data)
}

fn items(prices: &[&str]) -> Value {
    let items: Vec<Value> =
        prices.iter().map(|price| json!({"quantity": 1, "price": {"id": price, "product_id": "pro_x"}})).collect();
    json!({"items": items})
}

/// Bought, renewed, canceled at the end of the period, ended.
fn lifecycle() -> Vec<(&'static str, Value)> {
    let scheduled = json!({"scheduled_change": {"action": "cancel", "effective_at": "2026-03-02T00:00:00Z"}});
    vec![
        ("e1", subscription("created", "2026-01-01T00:00:01.000001Z", "active", "2026-01-01T00:00:00Z", json!({}))),
        ("e2", subscription("updated", "2026-01-31T00:00:05.5Z", "active", "2026-01-31T00:00:00Z", json!({}))),
        ("e3", subscription("updated", "2026-02-10T00:00:00Z", "active", "2026-01-31T00:00:00Z", scheduled)),
        (
            "e4",
            subscription(
                "canceled",
                "2026-03-02T00:00:01Z",
                "canceled",
                "2026-03-02T00:00:00Z",
                json!({"canceled_at": "2026-03-02T00:00:01Z", "current_billing_period": null}),
            ),
        ),
    ]
}

#[test]
fn bought_renewed_canceled_ended() {
    let mut shop = shop();
    let events = lifecycle();
    shop.check("user:user_1", "pro", "2026-01-02T00:00:00Z", (false, Reason::NoSubscription));
    assert_eq!(shop.deliver("e1", &events[0].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-01-30T00:00:00Z", (true, Reason::Active));
    shop.check("user:user_1", "team", "2026-01-30T00:00:00Z", (false, Reason::PlanMismatch));
    // A day of slack for the renewal.
    shop.check("user:user_1", "pro", "2026-01-31T23:59:59Z", (true, Reason::Active));
    shop.check("user:user_1", "pro", "2026-02-01T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e2", &events[1].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-03-02T12:00:00Z", (true, Reason::Active));
    assert_eq!(shop.deliver("e3", &events[2].1), Outcome::Stored);
    // Nothing has to arrive for a cancellation to take effect.
    shop.check("user:user_1", "pro", "2026-03-01T23:59:59Z", (true, Reason::CanceledUntilPeriodEnd));
    shop.check("user:user_1", "pro", "2026-03-02T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e4", &events[3].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e4", &events[3].1), Outcome::Duplicate);
    assert_eq!(shop.deliver("e9", &events[1].1), Outcome::Stale);
}

#[test]
fn every_order_of_a_lifecycle_ends_alike() {
    let mut events = lifecycle();
    let done = json!({"id": "txn_1", "status": "completed", "subscription_id": "sub_1", "customer_id": "ctm_1",
        "updated_at": "2026-01-01T00:00:03Z", "currency_code": "USD",
        "payments": [{"payment_attempt_id": "pat_1", "status": "captured", "amount": "1000", "created_at": "2026-01-01T00:00:00Z"}]});
    events.push(("e5", event("transaction.completed", "2026-01-01T00:00:04Z", done)));
    check_every_order(&events, 2, |events| {
        let shop = shop().told(events);
        shop.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (false, Reason::Expired));
        shop
    });
}

#[test]
fn a_trial_grants_to_its_end_and_is_used_once() {
    let mut shop = shop();
    let trial = |event_type, time, more| subscription(event_type, time, "trialing", "2026-01-01T00:00:00Z", more);
    shop.deliver("e1", &trial("trialing", "2026-01-01T00:00:01Z", json!({})));
    shop.check("user:user_1", "pro", "2026-01-20T00:00:00Z", (true, Reason::Trialing));
    let cancel = json!({"scheduled_change": {"action": "cancel", "effective_at": "2026-01-31T00:00:00Z"}});
    shop.deliver("e2", &trial("updated", "2026-01-05T00:00:00Z", cancel));
    shop.check("user:user_1", "pro", "2026-01-20T00:00:00Z", (true, Reason::CanceledUntilPeriodEnd));
    shop.check("user:user_1", "pro", "2026-01-31T00:00:00Z", (false, Reason::Expired));
    assert!(shop.snapshot("user:user_1", at("2026-01-20T00:00:00Z")).has_used_trial());
}

#[test]
fn a_renewal_that_failed_grants_for_the_days_of_grace_and_not_for_the_period_that_was_not_paid() {
    let past_due = |time| subscription("past_due", time, "past_due", "2026-01-31T00:00:00Z", json!({}));
    let mut strict = shop();
    let mut lenient = shop().with_grace_days(3);
    for shop in [&mut strict, &mut lenient] {
        shop.deliver(
            "e1",
            &subscription("created", "2026-01-01T00:00:01Z", "active", "2026-01-01T00:00:00Z", json!({})),
        );
        shop.deliver("e2", &past_due("2026-01-31T00:05:00Z"));
        // Another attempt does not begin the days of grace anew.
        shop.deliver("e3", &past_due("2026-02-02T00:05:00Z"));
    }
    strict.check("user:user_1", "pro", "2026-01-31T00:06:00Z", (false, Reason::PastDue));
    lenient.check("user:user_1", "pro", "2026-02-02T23:59:59Z", (true, Reason::PastDueGrace));
    lenient.check("user:user_1", "pro", "2026-02-03T00:00:00Z", (false, Reason::PastDue));
    strict.deliver("e4", &subscription("updated", "2026-02-04T00:00:00Z", "active", "2026-01-31T00:00:00Z", json!({})));
    strict.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (true, Reason::Active));
}

#[test]
fn failed_charges_are_counted_one_by_one_until_one_is_paid() {
    let mut shop = shop();
    let attempt = |id: &str, status: &str, day: u32| {
        json!({"payment_attempt_id": id, "status": status, "amount": "1000", "created_at": format!("2026-02-{day:02}T00:00:00Z"),
            "error_code": (status == "error").then_some("declined")})
    };
    let transaction = |event_type: &str, day: u32, attempts: &[Value]| {
        let time = format!("2026-02-{day:02}T00:00:01Z");
        event(
            event_type,
            &time,
            json!({"id": "txn_1", "status": "past_due", "subscription_id": "sub_1", "customer_id": "ctm_1",
            "updated_at": time, "custom_data": {"userId": "user_1"}, "payments": attempts}),
        )
    };
    let failed = |shop: &Shop| shop.snapshot("user:user_1", at("2026-02-20T00:00:00Z")).failed_attempts;
    shop.deliver("e1", &transaction("transaction.payment_failed", 1, &[attempt("a", "error", 1)]));
    assert_eq!(failed(&shop), 1);
    shop.deliver(
        "e2",
        &transaction("transaction.payment_failed", 3, &[attempt("b", "error", 3), attempt("a", "error", 1)]),
    );
    assert_eq!(failed(&shop), 2);
    let failure = shop.snapshot("user:user_1", at("2026-02-20T00:00:00Z")).last_failure.unwrap();
    assert_eq!((failure.at, failure.code.as_deref()), (at("2026-02-03T00:00:00Z"), Some("declined")));
    let all = [attempt("c", "captured", 5), attempt("b", "error", 3), attempt("a", "error", 1)];
    shop.deliver("e3", &transaction("transaction.completed", 5, &all));
    assert_eq!(failed(&shop), 0);
}

#[test]
fn a_pause_takes_access_and_a_resumption_gives_it_back() {
    let mut shop = shop();
    let on = "2026-01-01T00:00:00Z";
    shop.deliver("e1", &subscription("created", "2026-01-01T00:00:01Z", "active", on, json!({})));
    let paused = json!({"current_billing_period": null, "paused_at": "2026-01-10T00:00:00Z"});
    shop.deliver("e2", &subscription("paused", "2026-01-10T00:00:00Z", "paused", on, paused));
    shop.check("user:user_1", "pro", "2026-01-11T00:00:00Z", (false, Reason::Paused));
    shop.deliver("e3", &subscription("resumed", "2026-01-20T00:00:00Z", "active", "2026-01-20T00:00:00Z", json!({})));
    shop.check("user:user_1", "pro", "2026-02-10T00:00:00Z", (true, Reason::Active));
}

#[test]
fn every_item_counts_and_one_that_was_taken_off_is_over_in_every_order() {
    let on = "2026-01-01T00:00:00Z";
    let events = [
        ("e1", subscription("created", "2026-01-01T00:00:01Z", "active", on, items(&["pri_pro"]))),
        ("e2", subscription("updated", "2026-01-02T00:00:00Z", "active", on, items(&["pri_pro", "pri_addon"]))),
        ("e3", subscription("updated", "2026-01-03T00:00:00Z", "active", on, items(&["pri_addon", "pri_lifetime"]))),
        ("e4", subscription("updated", "2026-01-04T00:00:00Z", "active", on, items(&["pri_pro"]))),
    ];
    // What is held after the first so many.
    let held = [&["pro"][..], &["pro", "addon"], &["addon", "lifetime"], &["pro"]];
    for (last, expected) in held.iter().enumerate() {
        for order in permutations(&events[..=last]) {
            let shop = shop().told(&order);
            for plan in ["pro", "addon", "lifetime"] {
                let decision = shop.decision("user:user_1", plan, at("2026-01-20T00:00:00Z"));
                assert_eq!(decision.allowed, expected.contains(&plan), "{plan} after {} events", last + 1);
            }
        }
    }
}

#[test]
fn an_item_is_mapped_by_its_price_or_its_product() {
    let mut shop = shop();
    let team = json!({"items": [{"quantity": 5, "price": {"id": "pri_other", "product_id": "pro_team"}}], "custom_data": {"orgId": "org_1"}});
    shop.deliver("e1", &subscription("created", "2026-01-01T00:00:01Z", "active", "2026-01-01T00:00:00Z", team));
    shop.check("org:org_1", "team", "2026-01-20T00:00:00Z", (true, Reason::Active));
}

#[test]
fn what_was_bought_once_is_held_for_good_and_a_refund_is_a_payment_of_it() {
    let mut shop = shop();
    let bought = json!({"id": "txn_9", "status": "completed", "subscription_id": null, "customer_id": "ctm_1", "origin": "web",
        "updated_at": "2026-01-01T00:00:01Z", "created_at": "2026-01-01T00:00:00Z", "currency_code": "USD",
        "custom_data": {"userId": "user_1"}, "items": [{"quantity": 1, "price": {"id": "pri_lifetime", "billing_cycle": null}}],
        "payments": [{"payment_attempt_id": "pat_1", "status": "captured", "amount": "9900", "created_at": "2026-01-01T00:00:00Z"}]});
    shop.deliver("e1", &event("transaction.completed", "2026-01-01T00:00:02Z", bought));
    shop.check("user:user_1", "lifetime", "2036-01-01T00:00:00Z", (true, Reason::Active));
    let refund = json!({"id": "adj_1", "action": "refund", "type": "full", "status": "approved", "transaction_id": "txn_9",
        "customer_id": "ctm_1", "updated_at": "2026-01-05T00:00:00Z", "totals": {"total": "9900"}, "currency_code": "USD"});
    assert_eq!(shop.deliver("e2", &event("adjustment.updated", "2026-01-05T00:00:01Z", refund)), Outcome::Stored);
    shop.check("user:user_1", "lifetime", "2036-01-01T00:00:00Z", (true, Reason::Active));
    assert!(shop.state().iter().any(|row| row.contains("refunded")));
}

#[test]
fn only_what_paid_for_the_period_ends_it_when_it_is_paid_back() {
    let transaction = |id: &str, origin: &str| {
        event(
            "transaction.completed",
            "2026-01-02T00:00:00Z",
            json!({"id": id, "status": "completed", "subscription_id": "sub_1", "customer_id": "ctm_1", "origin": origin, "items": [],
                "payments": [{"payment_attempt_id": format!("pat_{id}"), "status": "captured", "amount": "1000",
                    "created_at": "2026-01-02T00:00:00Z"}]}),
        )
    };
    let refund = |transaction: &str| {
        event(
            "adjustment.created",
            "2026-01-05T00:00:00Z",
            json!({"id": format!("adj_{transaction}"), "action": "refund", "type": "full", "status": "approved",
                "transaction_id": transaction, "subscription_id": "sub_1", "customer_id": "ctm_1"}),
        )
    };
    let mut shop = shop();
    shop.policy.refunds_revoke = true;
    shop.deliver("e1", &subscription("created", "2026-01-01T00:00:01Z", "active", "2026-01-01T00:00:00Z", json!({})));
    shop.deliver("e2", &transaction("txn_month", "web"));
    shop.deliver("e3", &transaction("txn_extra", "subscription_charge"));
    shop.deliver("e4", &refund("txn_extra"));
    assert_eq!(shop.answer("user:user_1", "pro", "2026-01-06T00:00:00Z"), "true active");
    shop.deliver("e5", &refund("txn_month"));
    assert_eq!(shop.answer("user:user_1", "pro", "2026-01-06T00:00:00Z"), "false expired");
}
