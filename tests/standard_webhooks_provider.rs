#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! A system of the operator's own: how its deliveries are believed, what its events say, and what a payer then has.
//!
//! `tests/data/standard-webhooks/<name>.json` is a payload, of a type of event under the type's name or of something odd
//! (`quirk.…`). `<name>.event.json` beside it is what must be read out of it. The contract is `docs/standard-webhooks.md`, whose
//! schema and examples are tested here too.
//!
//! The scheme is held case by case in `tests/standard_webhooks.rs`.

mod told;

use std::collections::BTreeSet;
use std::fs;

use plangate::decide::{Policy, Reason};
use plangate::delivery::{Delivery, Headers, Verified, VerifyError};
use plangate::event::Parsed;
use plangate::provider::Ours;
use plangate::secret::SecretError;
use plangate::store::Outcome;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use told::{STANDARD_WEBHOOKS as OWN, Shop, at};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";
const NOW: i64 = 1_731_705_121;
const BODY: &[u8] = br#"{"event_type":"ping","data":{"success":true}}"#;

const EVENT_TYPES: &[&str] = &[
    "customer.linked",
    "payer.deleted",
    "payment.disputed",
    "payment.failed",
    "payment.partially_refunded",
    "payment.refunded",
    "payment.succeeded",
    "purchase.completed",
    "purchase.revoked",
    "subscription.changed",
];

// Signatures.

fn verify(secrets: &[&str], headers: &[(&str, &str)], body: &[u8]) -> Result<String, VerifyError> {
    let delivery = Delivery { headers: Headers::new(headers.to_vec()), body: body.to_vec() };
    let secrets: Vec<_> = secrets.iter().map(|text| OWN.secret(text)).collect();
    let verified = OWN.provider().verify(&delivery, &secrets, &Ours::default(), Timestamp::from_secs(NOW));
    verified.map(|verified| verified.event_id().to_owned())
}

/// Made by the Svix server (`server/svix-server/src/worker.rs`) with [`OTHER_SECRET`].
const VECTOR: [(&str, &str); 3] = [
    ("webhook-id", "msg_loFOjxBNrRLzqYUf"),
    ("webhook-timestamp", "1731705121"),
    ("webhook-signature", "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
];

#[test]
fn a_delivery_is_believed_by_the_published_vector_and_any_of_several_secrets_may_fit() {
    let ok = || Ok("msg_loFOjxBNrRLzqYUf".to_owned());
    assert_eq!(verify(&[OTHER_SECRET], &VECTOR, BODY), ok());
    assert_eq!(verify(&[SECRET, OTHER_SECRET], &VECTOR, BODY), ok());
    assert_eq!(verify(&[&OTHER_SECRET["whsec_".len()..]], &VECTOR, BODY), ok());
    assert_eq!(verify(&[SECRET], &VECTOR, BODY), Err(VerifyError::NoMatchingSignature));
    assert_eq!(verify(&[], &VECTOR, BODY), Err(VerifyError::NoMatchingSignature));
}

#[test]
fn a_delivery_is_refused_for_what_is_wrong_with_it() {
    let with =
        |name: &str, value: &'static str| VECTOR.map(|(known, sent)| (known, if known == name { value } else { sent }));
    let cases = [
        ("too old", with("webhook-timestamp", "1731704820"), VerifyError::TimestampTooOld { age_secs: 301 }),
        ("too new", with("webhook-timestamp", "1731705422"), VerifyError::TimestampTooNew { ahead_secs: 301 }),
        ("of another second", with("webhook-timestamp", "1731705120"), VerifyError::NoMatchingSignature),
        ("of another event", with("webhook-id", "msg_2"), VerifyError::NoMatchingSignature),
        ("no number", with("webhook-timestamp", "1731705121.0"), VerifyError::MalformedTimestamp),
        (
            "of another version",
            with("webhook-signature", "v2,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
            VerifyError::NoMatchingSignature,
        ),
        (
            "without padding",
            with("webhook-signature", "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0"),
            VerifyError::NoMatchingSignature,
        ),
    ];
    for (what, headers, error) in cases {
        assert_eq!(verify(&[OTHER_SECRET], &headers, BODY), Err(error), "{what}");
    }
    assert_eq!(verify(&[OTHER_SECRET], &VECTOR, b"{}"), Err(VerifyError::NoMatchingSignature));
    for (name, _) in VECTOR {
        let rest: Vec<_> = VECTOR.into_iter().filter(|(known, _)| *known != name).collect();
        assert_eq!(verify(&[OTHER_SECRET], &rest, BODY), Err(VerifyError::MissingHeaders(vec![name])), "{name}");
    }
    // Svix's own names are not this scheme's.
    let svix = VECTOR.map(|(name, value)| (name.replace("webhook-", "svix-"), value));
    let svix: Vec<_> = svix.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let names = VECTOR.map(|(name, _)| name).to_vec();
    assert_eq!(verify(&[OTHER_SECRET], &svix, BODY), Err(VerifyError::MissingHeaders(names)));
}

#[test]
fn a_secret_is_base64_and_does_not_show() {
    let parse = |text| OWN.provider().parse_secret("STANDARD_WEBHOOKS_SECRET", text).map(|_| ());
    assert_eq!(parse("whsec_not base64!"), Err(SecretError::NotBase64));
    assert_eq!(parse("whsec_"), Err(SecretError::Empty));
    assert_eq!(format!("{:?}", OWN.secret(SECRET)), "[redacted]");
}

#[test]
fn every_byte_of_a_delivery_counts() {
    let body = fs::read(path("tests/data/standard-webhooks/subscription.changed.json")).unwrap();
    OWN.check_that_every_byte_counts(&OWN.secret(SECRET), &body, Timestamp::from_secs(NOW));
}

// What events say.

#[test]
fn every_payload_is_read_into_the_expected_event() {
    OWN.check_payloads();
    OWN.check_that_nothing_is_without_a_payload(EVENT_TYPES);
}

#[test]
fn the_attempts_own_time_is_used_only_where_the_body_has_no_clock() {
    OWN.check_that_attempts_say_the_same_but_for(&["quirk.no_time_at_all"]);
}

#[test]
fn an_id_that_looks_like_a_card_number_is_read_from_a_dead_letter_as_it_came() {
    OWN.check_that_masking_keeps_ids_but_for(&["plan"]);
}

#[test]
fn whatever_stands_in_a_field_nothing_panics_and_what_can_be_read_can_be_stored() {
    OWN.check_odd_payloads();
}

#[test]
fn bodies_that_cannot_be_meant_say_exactly_why() {
    OWN.check_causes(&[
        (b"{", None, "reading the envelope: EOF while parsing an object at line 1 column 1"),
        (br#"{"data":{}}"#, None, "the envelope: `type` is missing"),
    ]);
    let whole = json!({"id": "s", "user_id": "u", "plan": "pro", "status": "active", "subscription_id": "s"});
    let long = "x".repeat(256);
    // What is changed in a body that is right, and what is said of it.
    let cases = [
        ("subscription.changed", json!({"id": null}), "`id` is missing"),
        ("subscription.changed", json!({"id": {}}), "`id` is not a text"),
        ("subscription.changed", json!({"status": ""}), "`status` is missing"),
        ("subscription.changed", json!({"plan": null}), "`plan` is missing"),
        (
            "subscription.changed",
            json!({"user_id": null}),
            "none of `user_id`, `org_id` and `customer_id` says whose it is",
        ),
        ("subscription.changed", json!({"org_id": "o"}), "it is either a `user_id`'s or an `org_id`'s"),
        ("subscription.changed", json!({"user_id": long}), "the payer's id is too long"),
        // An end that cannot be read must not pass for none, nor one of another clock for ours.
        ("subscription.changed", json!({"period_end": "later"}), "`period_end` is not a time in RFC 3339"),
        ("subscription.changed", json!({"period_end": 0}), "`period_end` is not a time in RFC 3339"),
        ("subscription.changed", json!({"period_end": 1_795_255_200}), "`period_end` is not a time in RFC 3339"),
        ("subscription.changed", json!({"period_end": "2026-12-01"}), "`period_end` is not a time in RFC 3339"),
        ("subscription.changed", json!({"period_end": true}), "`period_end` is not a text"),
        ("subscription.changed", json!({"period_start": []}), "`period_start` is not a text"),
        ("subscription.changed", json!({"cancel_at": "soon"}), "`cancel_at` is not a time in RFC 3339"),
        ("subscription.changed", json!({"canceled_at": "once"}), "`canceled_at` is not a time in RFC 3339"),
        ("subscription.changed", json!({"ended_at": "once"}), "`ended_at` is not a time in RFC 3339"),
        ("subscription.changed", json!({"past_due_since": 1}), "`past_due_since` is not a time in RFC 3339"),
        ("subscription.changed", json!({"started_at": 1}), "`started_at` is not a time in RFC 3339"),
        ("subscription.changed", json!({"updated_at": 1}), "`updated_at` is not a time in RFC 3339"),
        (
            "subscription.changed",
            json!({"period_start": "2026-12-01T00:00:00Z", "period_end": "2026-11-01T00:00:00Z"}),
            "`period_end` is before `period_start`",
        ),
        ("subscription.changed", json!({"status": "trialing"}), "a trial without `period_end`"),
        ("subscription.changed", json!({"trial": "yes"}), "`trial` is not true or false"),
        ("subscription.changed", json!({"free": 1}), "`free` is not true or false"),
        ("subscription.changed", json!({"seats": -1}), "`seats` is not a number from 0"),
        ("subscription.changed", json!({"seats": 4_294_967_296_i64}), "`seats` is not a number from 0"),
        ("subscription.changed", json!({"seats": "many"}), "`seats` is not a whole number"),
        ("purchase.completed", json!({"id": null}), "`id` is missing"),
        ("purchase.completed", json!({"plan": null}), "`plan` is missing"),
        ("purchase.completed", json!({"period_end": "never"}), "`period_end` is not a time in RFC 3339"),
        (
            "purchase.completed",
            json!({"user_id": null}),
            "none of `user_id`, `org_id` and `customer_id` says whose it is",
        ),
        ("purchase.revoked", json!({"id": null}), "`id` is missing"),
        ("payment.succeeded", json!({"id": null}), "`id` is missing"),
        ("payment.succeeded", json!({"amount": 19.99}), "`amount` is not a whole number"),
        ("payment.failed", json!({"attempt": -1}), "`attempt` is not a number from 0"),
        ("payment.failed", json!({"created_at": "once"}), "`created_at` is not a time in RFC 3339"),
        ("payment.refunded", json!({"purchase_id": "p"}), "it pays for either a `subscription_id` or a `purchase_id`"),
        (
            "payment.disputed",
            json!({"user_id": null}),
            "none of `user_id`, `org_id` and `customer_id` says whose it is",
        ),
        ("customer.linked", json!({}), "it takes a `customer_id`, and a `user_id` or an `org_id`"),
        (
            "customer.linked",
            json!({"customer_id": "c", "user_id": null}),
            "it takes a `customer_id`, and a `user_id` or an `org_id`",
        ),
        ("payer.deleted", json!({"user_id": null}), "neither `user_id` nor `org_id` says who"),
        ("payer.deleted", json!({"user_id": null, "customer_id": "c"}), "neither `user_id` nor `org_id` says who"),
    ];
    for (event_type, changes, cause) in cases {
        let mut data = whole.clone();
        for (name, value) in changes.as_object().unwrap() {
            data[name] = value.clone();
        }
        let body = event(event_type, "2026-11-21T10:00:00Z", &data).to_string();
        OWN.check_causes(&[(body.as_bytes(), Some(event_type), &format!("reading `{event_type}`: {cause}"))]);
    }
    // And what was changed was right.
    let body = event("subscription.changed", "2026-11-21T10:00:00Z", &whole).to_string();
    assert!(matches!(OWN.parse("evt_1", body.as_bytes()), Ok(Parsed::Event(_))));
}

// What a payer then has.

/// Plans are known by name, so nothing has to be sold here for them to count.
fn shop() -> Shop {
    Shop::new(OWN, &json!({}))
}

fn event(event_type: &str, time: &str, data: &Value) -> Value {
    json!({"type": event_type, "timestamp": time, "data": data})
}

/// A subscription as it stands at `time`, for the thirty days from `start`.
fn subscription(time: &str, status: &str, start: &str, more: Value) -> Value {
    let mut data = json!({
        "id": "sub_1", "user_id": "user_1", "customer_id": "acct_1", "plan": "pro", "status": status, "period_start": start,
        "period_end": at(start).plus_millis(30 * DAY_MS).to_string(), "updated_at": time,
    });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event("subscription.changed", time, &data)
}

const FIRST: &str = "2026-01-01T00:00:00Z";
const SECOND: &str = "2026-01-31T00:00:00Z";

/// Bought, renewed, canceled at the end of the period, over.
fn lifecycle() -> Vec<(&'static str, Value)> {
    let ends = json!({"cancel_at": "2026-03-02T00:00:00Z", "canceled_at": "2026-02-10T00:00:00Z"});
    vec![
        ("e1", subscription("2026-01-01T00:00:01Z", "active", FIRST, json!({}))),
        ("e2", subscription("2026-01-31T00:00:05Z", "active", SECOND, json!({}))),
        ("e3", subscription("2026-02-10T00:00:00Z", "active", SECOND, ends)),
        ("e4", subscription("2026-03-02T00:00:01Z", "ended", SECOND, json!({"ended_at": "2026-03-02T00:00:00Z"}))),
    ]
}

#[test]
fn bought_renewed_canceled_over() {
    let mut shop = shop();
    let events = lifecycle();
    assert_eq!(shop.deliver("e1", &events[0].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-01-30T00:00:00Z", (true, Reason::Active));
    shop.check("user:user_1", "team", "2026-01-30T00:00:00Z", (false, Reason::PlanMismatch));
    shop.check("user:user_1", "pro", "2026-02-01T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e2", &events[1].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-03-02T12:00:00Z", (true, Reason::Active));
    assert_eq!(shop.deliver("e3", &events[2].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-03-01T23:59:59Z", (true, Reason::CanceledUntilPeriodEnd));
    shop.check("user:user_1", "pro", "2026-03-02T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e4", &events[3].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e4", &events[3].1), Outcome::Duplicate);
    assert_eq!(shop.deliver("e9", &events[1].1), Outcome::Stale);
}

/// Every order of these events ends alike, in this many rows, and with this answer.
#[track_caller]
fn check_every_order(events: &[(&'static str, Value)], rows: usize, ask: impl Fn(&Shop)) {
    told::check_every_order(events, rows, |events| {
        let shop = shop().told(events);
        ask(&shop);
        shop
    });
}

#[test]
fn every_order_of_a_lifecycle_ends_alike() {
    check_every_order(&lifecycle(), 1, |shop| {
        shop.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (false, Reason::Expired));
    });
    check_every_order(&lifecycle()[..3], 1, |shop| {
        shop.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (true, Reason::CanceledUntilPeriodEnd));
    });
}

#[test]
fn an_end_wins_over_what_else_was_told_at_that_moment() {
    let time = "2026-01-10T00:00:00Z";
    let events = [
        ("e1", subscription(time, "ended", FIRST, json!({}))),
        ("e2", subscription(time, "active", FIRST, json!({}))),
        ("e3", subscription(time, "canceled", FIRST, json!({}))),
    ];
    check_every_order(&events, 1, |shop| {
        shop.check("user:user_1", "pro", "2026-01-11T00:00:00Z", (false, Reason::Expired));
    });
}

#[test]
fn the_objects_own_clock_orders_and_the_envelopes_where_it_has_none() {
    let told = |updated_at: &str, sent_at: &str, status: &str| {
        let data =
            json!({"id": "sub_1", "user_id": "user_1", "plan": "pro", "status": status, "updated_at": updated_at});
        event("subscription.changed", sent_at, &data)
    };
    // Sent later and older all the same.
    let by_object = [
        ("e1", told("2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z", "paused")),
        ("e2", told("2026-01-01T00:00:01Z", "2026-01-01T00:00:09Z", "active")),
    ];
    let by_envelope =
        [("e1", told("", "2026-01-01T00:00:02Z", "paused")), ("e2", told("", "2026-01-01T00:00:01Z", "active"))];
    for events in [by_object, by_envelope] {
        check_every_order(&events, 1, |shop| {
            shop.check("user:user_1", "pro", "2026-01-02T00:00:00Z", (false, Reason::Paused));
        });
    }
}

#[test]
fn each_status_grants_what_the_table_says() {
    let cases = [
        ("active", (true, Reason::Active)),
        ("trialing", (true, Reason::Trialing)),
        ("canceled", (true, Reason::CanceledUntilPeriodEnd)),
        ("past_due", (false, Reason::PastDue)),
        ("paused", (false, Reason::Paused)),
        ("unpaid", (false, Reason::Unpaid)),
        ("incomplete", (false, Reason::Incomplete)),
        ("ended", (false, Reason::Expired)),
        ("upcoming", (false, Reason::NotStarted)),
        ("hibernating", (false, Reason::UnknownStatus)),
    ];
    for (status, expected) in cases {
        let mut shop = shop();
        assert_eq!(shop.deliver("e1", &subscription(FIRST, status, FIRST, json!({}))), Outcome::Stored, "{status}");
        shop.check("user:user_1", "pro", "2026-01-02T00:00:00Z", expected);
        let snapshot = shop.snapshot("user:user_1", at("2026-01-02T00:00:00Z"));
        assert_eq!(snapshot.has_used_trial(), status == "trialing", "{status}");
    }
}

#[test]
fn a_renewal_that_failed_grants_for_the_days_of_grace_and_not_for_the_period_that_was_not_paid() {
    let mut strict = shop();
    let mut lenient = shop().with_grace_days(3);
    let failed = || json!({"past_due_since": "2026-01-31T00:10:00Z"});
    for shop in [&mut strict, &mut lenient] {
        shop.deliver("e1", &subscription("2026-01-01T00:00:01Z", "active", FIRST, json!({})));
        shop.deliver("e2", &subscription("2026-01-31T00:10:00Z", "past_due", SECOND, failed()));
        // A further attempt does not make the grace any longer.
        shop.deliver("e3", &subscription("2026-02-02T00:10:00Z", "past_due", SECOND, failed()));
    }
    strict.check("user:user_1", "pro", "2026-01-31T00:10:00Z", (false, Reason::PastDue));
    lenient.check("user:user_1", "pro", "2026-02-03T00:09:59Z", (true, Reason::PastDueGrace));
    lenient.check("user:user_1", "pro", "2026-02-03T00:10:00Z", (false, Reason::PastDue));
    strict.deliver("e4", &subscription("2026-02-04T00:00:00Z", "active", SECOND, json!({})));
    strict.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (true, Reason::Active));
}

fn purchase(event_type: &str, time: &str, more: Value) -> Value {
    let mut data = json!({"id": "1", "user_id": "user_1", "customer_id": "acct_1", "updated_at": time});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event(event_type, time, &data)
}

#[test]
fn a_purchase_is_held_for_good_or_to_the_second_it_ends() {
    let mut shop = shop();
    shop.deliver("e1", &purchase("purchase.completed", FIRST, json!({"plan": "lifetime"})));
    shop.check("user:user_1", "lifetime", "2036-01-01T00:00:00Z", (true, Reason::Active));
    let day = json!({"id": "2", "plan": "day_pass", "period_start": FIRST, "period_end": "2026-01-02T00:00:00Z"});
    shop.deliver("e2", &purchase("purchase.completed", FIRST, day));
    shop.check("user:user_1", "day_pass", "2026-01-01T23:59:59Z", (true, Reason::CanceledUntilPeriodEnd));
    shop.check("user:user_1", "day_pass", "2026-01-02T00:00:00Z", (false, Reason::Expired));
}

#[test]
fn a_purchase_that_was_taken_back_is_over_in_any_order_and_touches_no_subscription_of_that_number() {
    let events = [
        ("e1", purchase("purchase.completed", FIRST, json!({"plan": "lifetime"}))),
        ("e2", event("purchase.revoked", "2026-01-02T00:00:00Z", &json!({"id": 1}))),
        ("e3", subscription(FIRST, "active", FIRST, json!({"id": 1}))),
    ];
    check_every_order(&events, 2, |shop| {
        shop.check("user:user_1", "lifetime", "2026-01-03T00:00:00Z", (false, Reason::Expired));
        shop.check("user:user_1", "pro", "2026-01-03T00:00:00Z", (true, Reason::Active));
    });
}

fn payment(event_type: &str, time: &str, more: Value) -> Value {
    let mut data = json!({
        "id": "pay_1", "user_id": "user_1", "subscription_id": "sub_1", "amount": 2000, "currency": "usd",
        "created_at": FIRST, "updated_at": time,
    });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event(event_type, time, &data)
}

#[test]
fn failed_charges_are_counted_by_their_number_until_one_succeeds() {
    let mut shop = shop();
    let failed = |shop: &Shop| shop.snapshot("user:user_1", at(SECOND)).failed_attempts;
    shop.deliver("e1", &payment("payment.failed", "2026-01-01T00:00:01Z", json!({"attempt": 1})));
    assert_eq!(failed(&shop), 1);
    shop.deliver("e2", &payment("payment.failed", "2026-01-03T00:00:01Z", json!({"attempt": 3})));
    assert_eq!(failed(&shop), 3);
    shop.deliver("e3", &payment("payment.succeeded", "2026-01-04T00:00:01Z", json!({"attempt": 4})));
    assert_eq!(failed(&shop), 0);
}

#[test]
fn what_was_paid_back_or_is_disputed_revokes_only_where_that_counts() {
    for (told, revokes) in [
        ("payment.refunded", true),
        ("payment.disputed", true),
        ("payment.partially_refunded", false),
        ("payment.failed", false),
    ] {
        let events = [
            ("e1", subscription(FIRST, "active", FIRST, json!({}))),
            ("e2", payment("payment.succeeded", "2026-01-01T00:00:05Z", json!({}))),
            ("e3", payment(told, "2026-01-05T00:00:00Z", json!({}))),
        ];
        check_every_order(&events, 2, |shop| {
            shop.check("user:user_1", "pro", "2026-01-06T00:00:00Z", (true, Reason::Active));
            let now = at("2026-01-06T00:00:00Z");
            let record = &shop.snapshot("user:user_1", now).records[0];
            let policy = Policy { refunds_revoke: true, ..Policy::default() };
            assert_eq!(plangate::decide::is_revoked(record, &policy), revokes, "{told}");
        });
    }
    // A dispute that was won: it is paid for again.
    let events = [
        ("e1", subscription(FIRST, "active", FIRST, json!({}))),
        ("e2", payment("payment.disputed", "2026-01-05T00:00:00Z", json!({}))),
        ("e3", payment("payment.succeeded", "2026-01-09T00:00:00Z", json!({}))),
    ];
    check_every_order(&events, 2, |shop| {
        assert_eq!(shop.snapshot("user:user_1", at("2026-01-10T00:00:00Z")).records[0].refunded_at, None);
    });
}

#[test]
fn a_refund_of_a_purchase_is_one_of_that_purchase() {
    let refund = json!({"id": "pay_2", "subscription_id": null, "purchase_id": 1});
    let events = [
        ("e1", purchase("purchase.completed", FIRST, json!({"plan": "lifetime"}))),
        ("e2", payment("payment.refunded", "2026-01-05T00:00:00Z", refund)),
    ];
    check_every_order(&events, 2, |shop| {
        let record = &shop.snapshot("user:user_1", at("2026-01-10T00:00:00Z")).records[0];
        assert_eq!(record.refunded_at, Some(at("2026-01-05T00:00:00Z")));
    });
}

#[test]
fn whose_a_customer_is_may_come_before_or_after_what_it_bought() {
    let bought = subscription(FIRST, "active", FIRST, json!({"user_id": null}));
    let events = [
        ("e1", bought),
        ("e2", event("customer.linked", SECOND, &json!({"customer_id": "acct_1", "org_id": "org_1"}))),
    ];
    check_every_order(&events, 1, |shop| {
        shop.check("org:org_1", "pro", "2026-01-10T00:00:00Z", (true, Reason::Active));
    });
}

#[test]
fn who_was_deleted_has_nothing_in_any_order() {
    let mut events = lifecycle();
    events.truncate(2);
    events.push(("e3", event("payer.deleted", "2026-01-15T00:00:00Z", &json!({"user_id": "user_1"}))));
    check_every_order(&events, 1, |shop| {
        shop.check("user:user_1", "pro", "2026-02-10T00:00:00Z", (false, Reason::PayerDeleted));
    });
}

#[test]
fn a_catalog_may_call_a_plan_otherwise() {
    let mut shop = Shop::new(OWN, &json!({"pro": {"ids": {"standard-webhooks": ["gold"]}}}));
    shop.deliver("e1", &subscription(FIRST, "active", FIRST, json!({"plan": "gold"})));
    shop.check("user:user_1", "pro", "2026-01-10T00:00:00Z", (true, Reason::Active));
}

// The contract.

fn path(file: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn contract() -> String {
    fs::read_to_string(path("docs/standard-webhooks.md")).unwrap()
}

/// The blocks of code of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

fn schema() -> Value {
    let text = contract();
    let schemas: Vec<Value> =
        blocks(&text, "json").into_iter().map(|json| serde_json::from_str(json).unwrap()).collect();
    schemas.into_iter().find(|json: &Value| json.get("$schema").is_some()).expect("the schema is in the page")
}

/// As much of JSON Schema as the page uses; anything else in it is refused.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let texts = |rule: &Value| -> Vec<String> {
            rule.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let ok = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                fits(root, root.pointer(pointer).unwrap(), value).map(|()| true)?
            }
            "type" => {
                let types = rule.as_array().map_or_else(|| vec![rule.as_str().unwrap().to_owned()], |_| texts(rule));
                types.iter().any(|kind| match kind.as_str() {
                    "object" => value.is_object(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                })
            }
            "const" => rule == value,
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "format" => value.as_str().is_none_or(|text| Timestamp::parse_rfc3339(text).is_some()),
            "required" => texts(rule).iter().all(|name| value.get(name).is_some()),
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        fits(root, rule, value).map_err(|error| format!("{name}: {error}"))?;
                    }
                }
                true
            }
            "not" => fits(root, rule, value).is_err(),
            "allOf" => {
                for rule in rule.as_array().unwrap() {
                    fits(root, rule, value)?;
                }
                true
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|rule| fits(root, rule, value).is_ok()),
            "oneOf" => rule.as_array().unwrap().iter().filter(|rule| fits(root, rule, value).is_ok()).count() == 1,
            other => panic!("the schema uses `{other}`, which this test does not know"),
        };
        if !ok {
            return Err(format!("{keyword}: {rule}"));
        }
    }
    Ok(())
}

#[test]
fn the_schema_of_the_page_and_the_reader_agree() {
    let schema = schema();
    let fits = |body: &Value| fits(&schema, &schema, body);
    // What may be sent beside the form, as it is read all the same. The schema is for those who write a sender.
    let beyond_the_form = [
        "quirk.no_time_at_all",
        "quirk.payment_with_its_amount_as_text",
        "quirk.timestamp_in_seconds",
        "quirk.unknown_subscription_type",
        "quirk.unknown_type",
    ];
    let mut checked = 0;
    for payload in OWN.payloads() {
        let body: Value = serde_json::from_str(&payload.text).unwrap();
        let is_form = !beyond_the_form.contains(&payload.name.as_str());
        assert_eq!(fits(&body).is_ok(), is_form, "{}: {:?}", payload.name, fits(&body));
        if !is_form {
            continue;
        }
        // Whatever stands in the place of a field: what the schema takes the reader takes.
        for name in body["data"].as_object().unwrap().keys() {
            for odd in [Value::Null, json!(""), json!("x"), json!(-1), json!(1), json!(true), json!([]), json!({})] {
                let mut changed = body.clone();
                changed["data"][name] = odd;
                let reads = OWN.parse("evt_1", changed.to_string().as_bytes());
                assert!(fits(&changed).is_err() || reads.is_ok(), "{}: {changed} {reads:?}", payload.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 3_000, "{checked}");
}

#[test]
fn every_type_and_every_field_that_is_read_is_in_the_page() {
    let text = contract();
    let source = fs::read_to_string(path("src/provider/standardwebhooks.rs")).unwrap();
    let quoted: BTreeSet<&str> = source.split('"').skip(1).step_by(2).collect();
    let names = quoted.iter().filter(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'.'));
    let names: Vec<_> = names.filter(|name| name.contains('.') || name.contains('_')).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(text.contains(&format!("`{name}`")), "`{name}` is not in docs/standard-webhooks.md");
    }
    for event_type in EVENT_TYPES {
        assert!(quoted.contains(event_type), "{event_type}");
    }
}

#[test]
fn every_example_of_the_page_is_of_the_form_and_is_read() {
    let (text, schema) = (contract(), schema());
    let mut read = 0;
    for json in blocks(&text, "json") {
        let body: Value = serde_json::from_str(json).unwrap();
        if body.get("$schema").is_some() {
            continue;
        }
        assert_eq!(fits(&schema, &schema, &body), Ok(()), "{json}");
        let verified = Verified::recorded("evt_1", Timestamp::from_secs(NOW), json.as_bytes());
        let parsed = OWN.provider().parse(&verified, &Ours::default());
        assert!(matches!(parsed, Ok(Parsed::Event(_))), "{json}: {parsed:?}");
        read += 1;
    }
    assert!(read >= 5, "{read} examples");
}
