#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! Polar: what is its own in the signature, what its events say, and what a payer then has.
//!
//! `tests/data/polar/<name>.json` is a payload, of a type of event under the type's name or of something odd
//! (`quirk.…`); the ids in them are invented. `<name>.event.json` beside it is what must be read out of it.
//!
//! The scheme is that of Standard Webhooks, held case by case in `tests/standard_webhooks.rs`. Signatures are made here with
//! `ring`, a second implementation of HMAC. Where Polar's SDKs (npm 0.49.0 and 1.0.1, PyPI 1.0.2) differ from us:
//!
//! | case | the SDKs | here | why |
//! |---|---|---|---|
//! | key is the decoded secret | 0.49.0 refuses, 1.0 accepts | accepted | Polar may come to sign so |
//! | time with a fraction | floored | `MalformedTimestamp` | the server writes whole seconds; what is signed and what is compared must be one number |
//! | signature without padding | JavaScript accepts | refused | one MAC has one text |
//! | unknown type of event | an error | ignored, 200 | ten errors in a row switch an endpoint off |
//! | no JSON after a good signature | an error | kept as a dead letter | the same |

mod told;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use plangate::decide::Reason;
use plangate::delivery::{Delivery, Headers, VerifyError};
use plangate::provider::Ours;
use plangate::secret::SecretError;
use plangate::store::Outcome;
use plangate::time::{DAY_MS, Timestamp};
use ring::hmac;
use serde_json::{Value, json};

use told::{POLAR, Shop, at, check_every_order};

/// 37 random characters and 6 of a checksum, as Polar makes them.
const SECRET: &str = "whsec_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF";
const NOW: i64 = 1_767_225_600;
const ID: &str = "9b1f0000-0000-4000-8000-000000000001";
const BODY: &[u8] =
    br#"{"type":"subscription.updated","timestamp":"2026-01-01T00:00:00Z","data":{"id":"s","status":"active"}}"#;

const EVENT_TYPES: &[&str] = &[
    "customer.created",
    "customer.deleted",
    "customer.state_changed",
    "customer.updated",
    "order.created",
    "order.paid",
    "order.refunded",
    "order.updated",
    "refund.created",
    "refund.updated",
    "subscription.active",
    "subscription.canceled",
    "subscription.created",
    "subscription.cycled",
    "subscription.migrated",
    "subscription.past_due",
    "subscription.paused",
    "subscription.resumed",
    "subscription.revoked",
    "subscription.uncanceled",
    "subscription.updated",
];

// Signatures.

fn mac(key: &[u8], timestamp: &str, body: &[u8]) -> Vec<u8> {
    let content = [ID.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &content).as_ref().to_vec()
}

fn signature(key: &[u8], timestamp: &str, body: &[u8]) -> String {
    format!("v1,{}", STANDARD.encode(mac(key, timestamp, body)))
}

fn verify(secrets: &[&str], headers: &[(&str, &str)], body: &[u8]) -> Result<String, VerifyError> {
    let delivery = Delivery { headers: Headers::new(headers.to_vec()), body: body.to_vec() };
    let secrets: Vec<_> = secrets.iter().map(|text| POLAR.secret(text)).collect();
    let verified = POLAR.provider().verify(&delivery, &secrets, &Ours::default(), Timestamp::from_secs(NOW));
    verified.map(|verified| verified.event_id().to_owned())
}

fn headers<'a>(timestamp: &'a str, signature: &'a str) -> [(&'a str, &'a str); 3] {
    [("webhook-id", ID), ("webhook-timestamp", timestamp), ("webhook-signature", signature)]
}

/// The headers of time and signature.
type Signed = (String, String);

#[test]
fn every_case_of_polars_own_libraries_has_one_answer() {
    use VerifyError::{MalformedTimestamp, NoMatchingSignature, TimestampTooNew, TimestampTooOld};
    let now = NOW.to_string();
    let key = SECRET.as_bytes();
    let decoded = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    )
    .decode(&SECRET["whsec_".len()..])
    .unwrap();
    assert_eq!(decoded.len(), 32);
    let good = signature(key, &now, BODY);
    let signed = |timestamp: &str| (timestamp.to_owned(), signature(key, timestamp, BODY));
    let with = |signature: String| (now.clone(), signature);
    let ok = || Ok(ID.to_owned());
    let cases: [(&str, Signed, Result<String, VerifyError>); 16] = [
        ("the bytes of the whole text", with(good.clone()), ok()),
        ("the decoded secret", with(signature(&decoded, &now, BODY)), ok()),
        ("the text without its prefix", with(signature(&key["whsec_".len()..], &now, BODY)), Err(NoMatchingSignature)),
        ("an empty key", with(signature(b"", &now, BODY)), Err(NoMatchingSignature)),
        ("another secret", with(signature(b"whsec_other", &now, BODY)), Err(NoMatchingSignature)),
        ("the signature of another body", with(signature(key, &now, b"{}")), Err(NoMatchingSignature)),
        ("malformed base64", with("v1,not base64!".into()), Err(NoMatchingSignature)),
        (
            "base64 without padding",
            with(format!("v1,{}", STANDARD_NO_PAD.encode(mac(key, &now, BODY)))),
            Err(NoMatchingSignature),
        ),
        ("one of several", with(format!("v1,AAAA v2,{} {good}", &good[3..])), ok()),
        ("of another version", with(good.replace("v1,", "v2,")), Err(NoMatchingSignature)),
        ("300 s old", signed(&(NOW - 300).to_string()), ok()),
        ("6 minutes old", signed(&(NOW - 360).to_string()), Err(TimestampTooOld { age_secs: 360 })),
        ("300 s ahead", signed(&(NOW + 300).to_string()), ok()),
        ("301 s ahead", signed(&(NOW + 301).to_string()), Err(TimestampTooNew { ahead_secs: 301 })),
        ("a time with a fraction", signed(&format!("{NOW}.5")), Err(MalformedTimestamp)),
        ("no number", signed("now"), Err(MalformedTimestamp)),
    ];
    for (what, (timestamp, signature), expected) in cases {
        assert_eq!(verify(&[SECRET], &headers(&timestamp, &signature), BODY), expected, "{what}");
    }
}

#[test]
fn only_polars_own_headers_count_and_a_missing_one_is_named() {
    let now = NOW.to_string();
    let good = signature(SECRET.as_bytes(), &now, BODY);
    let all = headers(&now, &good);
    for missing in 0..3 {
        let present: Vec<_> = (0..3).filter(|index| *index != missing).map(|index| all[index]).collect();
        let expected = Err(VerifyError::MissingHeaders(vec![all[missing].0.to_owned().leak()]));
        assert_eq!(verify(&[SECRET], &present, BODY), expected);
    }
    let svix = all.map(|(name, value)| (name.replace("webhook-", "svix-"), value));
    let svix: Vec<_> = svix.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let names = vec!["webhook-id", "webhook-timestamp", "webhook-signature"];
    assert_eq!(verify(&[SECRET], &svix, BODY), Err(VerifyError::MissingHeaders(names)));
    // A second family beside them, which the edge does not even copy, changes nothing.
    assert_eq!(verify(&[SECRET], &[&all[..], &[("svix-id", "msg_other")]].concat(), BODY), Ok(ID.to_owned()));
}

#[test]
fn any_text_is_a_secret_and_any_of_several_may_fit() {
    let now = NOW.to_string();
    for text in ["my own secret!", "abcd", "whsec_", "whsec_not base64!", SECRET] {
        let good = signature(text.as_bytes(), &now, BODY);
        let verify = |secrets: &[&str]| verify(secrets, &headers(&now, &good), BODY);
        assert_eq!(verify(&["other", text]), Ok(ID.to_owned()), "{text}");
        assert_eq!(verify(&["other"]), Err(VerifyError::NoMatchingSignature), "{text}");
        assert_eq!(verify(&[]), Err(VerifyError::NoMatchingSignature), "{text}");
    }
    let parse = |text| POLAR.provider().parse_secret("POLAR_WEBHOOK_SECRET", text).map(|_| ());
    assert_eq!(parse(" "), Err(SecretError::Empty));
    // `whsec_` alone decodes to nothing, and nothing is no key.
    let nothing = signature(b"", &now, BODY);
    assert_eq!(verify(&["whsec_"], &headers(&now, &nothing), BODY), Err(VerifyError::NoMatchingSignature));
    assert_eq!(format!("{:?}", POLAR.secret(SECRET)), "[redacted]");
}

#[test]
fn every_byte_of_a_delivery_counts() {
    POLAR.check_that_every_byte_counts(&POLAR.secret(SECRET), BODY, Timestamp::from_secs(NOW));
}

// What events say.

#[test]
fn every_payload_is_read_into_the_expected_event() {
    POLAR.check_payloads();
    POLAR.check_that_nothing_is_without_a_payload(EVENT_TYPES);
}

#[test]
fn the_attempts_own_time_is_used_only_where_the_body_has_no_clock() {
    POLAR.check_that_attempts_say_the_same_but_for(&["quirk.no_time_at_all"]);
}

#[test]
fn an_id_that_looks_like_a_card_number_is_read_from_a_dead_letter_as_it_came() {
    POLAR.check_that_masking_keeps_ids_but_for(&[]);
}

#[test]
fn whatever_stands_in_a_field_nothing_panics_and_what_can_be_read_can_be_stored() {
    POLAR.check_odd_payloads();
}

#[test]
fn bodies_that_cannot_be_read_say_exactly_why() {
    let updated = Some("subscription.updated");
    POLAR.check_causes(&[
        (b"{", None, "reading the envelope: EOF while parsing an object at line 1 column 1"),
        (br#"{"type":4242424242424242}"#, None, "the envelope: `type` is not a text"),
        (br#"{"data":{}}"#, None, "the envelope: `type` is missing"),
        (
            br#"{"type":"subscription.updated","timestamp":true}"#,
            updated,
            "reading `subscription.updated`: `timestamp` is not a time",
        ),
        (
            br#"{"type":"subscription.updated","data":{"status":"active"}}"#,
            updated,
            "reading `subscription.updated`: `id` is missing",
        ),
        // A period that cannot be read must not pass for one without end, nor a flag for one that is not set.
        (
            br#"{"type":"subscription.updated","data":{"id":"s","status":"active","current_period_end":"later"}}"#,
            updated,
            "reading `subscription.updated`: `current_period_end` is not a time",
        ),
        (
            br#"{"type":"subscription.updated","data":{"id":"s","status":"active","cancel_at_period_end":"yes"}}"#,
            updated,
            "reading `subscription.updated`: `cancel_at_period_end` is not true or false",
        ),
        (
            br#"{"type":"subscription.updated","data":{"id":"s","status":"active","customer":"c"}}"#,
            updated,
            "reading `subscription.updated`: `customer` is not an object",
        ),
        (
            br#"{"type":"order.paid","data":{"id":"o"}}"#,
            Some("order.paid"),
            "reading `order.paid`: `status` is missing",
        ),
        (
            br#"{"type":"refund.created","data":{"id":"r","status":"succeeded","amount":1.5}}"#,
            Some("refund.created"),
            "reading `refund.created`: `amount` is not a whole number",
        ),
    ]);
}

// What a payer then has.

fn plans() -> Value {
    json!({
        "pro": {"ids": {"polar": ["prod_pro"]}},
        "team": {"ids": {"polar": ["prod_team"]}},
        "yearly": {"ids": {"polar": ["price_yearly"]}},
        "lifetime": {"ids": {"polar": ["prod_lifetime"]}},
    })
}

fn shop() -> Shop {
    Shop::new(POLAR, &plans())
}

fn event(event_type: &str, time: &str, data: &Value) -> Value {
    json!({"type": event_type, "timestamp": time, "data": data})
}

/// A subscription as it stands at `time`, for the thirty days from `start`.
fn data(time: &str, status: &str, start: &str, more: Value) -> Value {
    let mut data = json!({
        "id": "sub_1", "status": status, "customer_id": "cus_1", "modified_at": time, "created_at": "2026-01-01T00:00:00Z",
        "current_period_start": start, "current_period_end": at(start).plus_millis(30 * DAY_MS).to_string(),
        "cancel_at_period_end": false, "product_id": "prod_pro", "customer": {"id": "cus_1", "external_id": "user_1"},
    });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    data
}

fn subscription(event_type: &str, time: &str, status: &str, start: &str, more: Value) -> Value {
    event(&format!("subscription.{event_type}"), time, &data(time, status, start, more))
}

const FIRST: &str = "2026-01-01T00:00:00Z";
const SECOND: &str = "2026-01-31T00:00:00Z";

/// Bought, renewed, canceled at the end of the period, revoked: each change told twice, as Polar does.
fn lifecycle() -> Vec<(&'static str, Value)> {
    let ends = || json!({"cancel_at_period_end": true, "canceled_at": "2026-02-10T00:00:00Z", "ends_at": "2026-03-02T00:00:00Z"});
    let over =
        json!({"cancel_at_period_end": true, "ends_at": "2026-03-02T00:00:00Z", "ended_at": "2026-03-02T00:00:01Z"});
    vec![
        ("e1", subscription("active", "2026-01-01T00:00:01Z", "active", FIRST, json!({}))),
        ("e2", subscription("cycled", "2026-01-31T00:00:05Z", "active", SECOND, json!({}))),
        ("e3", subscription("updated", "2026-02-10T00:00:00Z", "active", SECOND, ends())),
        ("e4", subscription("canceled", "2026-02-10T00:00:00Z", "active", SECOND, ends())),
        ("e5", subscription("revoked", "2026-03-02T00:00:01Z", "canceled", SECOND, over)),
    ]
}

#[test]
fn bought_renewed_canceled_revoked() {
    let mut shop = shop();
    let events = lifecycle();
    assert_eq!(shop.deliver("e1", &events[0].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-01-30T00:00:00Z", (true, Reason::Active));
    shop.check("user:user_1", "team", "2026-01-30T00:00:00Z", (false, Reason::PlanMismatch));
    shop.check("user:user_1", "pro", "2026-02-01T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e2", &events[1].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-03-02T12:00:00Z", (true, Reason::Active));
    shop.deliver("e3", &events[2].1);
    shop.deliver("e4", &events[3].1);
    // Asked to be canceled is not over.
    shop.check("user:user_1", "pro", "2026-03-01T23:59:59Z", (true, Reason::CanceledUntilPeriodEnd));
    shop.check("user:user_1", "pro", "2026-03-02T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e5", &events[4].1), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (false, Reason::Expired));
    assert_eq!(shop.deliver("e5", &events[4].1), Outcome::Duplicate);
    assert_eq!(shop.deliver("e9", &events[1].1), Outcome::Stale);
}

#[test]
fn a_cancellation_taken_back_grants_on() {
    let mut shop = shop();
    for (id, body) in &lifecycle()[..4] {
        shop.deliver(id, body);
    }
    shop.deliver("e6", &subscription("uncanceled", "2026-02-11T00:00:00Z", "active", SECOND, json!({})));
    shop.check("user:user_1", "pro", "2026-03-02T12:00:00Z", (true, Reason::Active));
}

#[test]
fn every_order_of_a_lifecycle_ends_alike() {
    check_every_order(&lifecycle(), 1, |events| {
        let shop = shop().told(events);
        shop.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (false, Reason::Expired));
        shop
    });
}

#[test]
fn an_end_wins_over_what_else_was_told_at_that_moment() {
    let time = "2026-01-10T00:00:00Z";
    let over = || json!({"ended_at": time, "ends_at": time});
    let events = [
        ("e1", subscription("updated", time, "active", FIRST, json!({}))),
        ("e2", subscription("canceled", time, "canceled", FIRST, over())),
        ("e3", subscription("revoked", time, "canceled", FIRST, over())),
    ];
    check_every_order(&events, 1, |events| {
        let shop = shop().told(events);
        shop.check("user:user_1", "pro", "2026-01-11T00:00:00Z", (false, Reason::Expired));
        shop
    });
}

#[test]
fn a_trial_grants_to_its_end() {
    let mut shop = shop();
    shop.deliver("e1", &subscription("created", "2026-01-01T00:00:01Z", "trialing", FIRST, json!({})));
    shop.check("user:user_1", "pro", "2026-01-20T00:00:00Z", (true, Reason::Trialing));
    shop.check("user:user_1", "pro", "2026-02-01T00:00:00Z", (false, Reason::Expired));
    assert!(shop.snapshot("user:user_1", at("2026-01-20T00:00:00Z")).has_used_trial());
}

#[test]
fn a_renewal_that_failed_grants_for_the_days_of_grace_and_not_for_the_period_that_was_not_paid() {
    let mut strict = shop();
    let mut lenient = shop().with_grace_days(3);
    let failed = || json!({"past_due_at": "2026-01-31T00:10:00Z"});
    for shop in [&mut strict, &mut lenient] {
        shop.deliver("e1", &subscription("active", "2026-01-01T00:00:01Z", "active", FIRST, json!({})));
        shop.deliver("e2", &subscription("past_due", "2026-01-31T00:10:00Z", "past_due", SECOND, failed()));
        shop.deliver("e3", &subscription("updated", "2026-02-02T00:10:00Z", "past_due", SECOND, failed()));
    }
    strict.check("user:user_1", "pro", "2026-01-31T00:10:00Z", (false, Reason::PastDue));
    lenient.check("user:user_1", "pro", "2026-02-03T00:09:59Z", (true, Reason::PastDueGrace));
    lenient.check("user:user_1", "pro", "2026-02-03T00:10:00Z", (false, Reason::PastDue));
    strict.deliver("e4", &subscription("updated", "2026-02-04T00:00:00Z", "active", SECOND, json!({})));
    strict.check("user:user_1", "pro", "2026-02-20T00:00:00Z", (true, Reason::Active));
}

#[test]
fn a_pause_takes_access_when_it_begins() {
    let mut shop = shop();
    let soon = json!({"pause_at_period_end": true});
    shop.deliver("e1", &subscription("updated", "2026-01-10T00:00:00Z", "active", FIRST, soon));
    shop.check("user:user_1", "pro", "2026-01-30T23:59:59Z", (true, Reason::CanceledUntilPeriodEnd));
    shop.check("user:user_1", "pro", SECOND, (false, Reason::Expired));
    shop.deliver("e2", &subscription("paused", "2026-01-31T00:00:01Z", "paused", FIRST, json!({})));
    shop.check("user:user_1", "pro", "2026-02-01T00:00:00Z", (false, Reason::Paused));
    shop.deliver("e3", &subscription("resumed", "2026-02-05T00:00:00Z", "active", "2026-02-05T00:00:00Z", json!({})));
    shop.check("user:user_1", "pro", "2026-02-10T00:00:00Z", (true, Reason::Active));
}

#[test]
fn a_plan_is_mapped_by_its_product_or_its_price_and_an_org_by_its_id() {
    let mut shop = shop();
    let yearly =
        json!({"product_id": "prod_x", "prices": [{"id": "price_yearly"}], "customer": {"external_id": "org_1"}});
    shop.deliver("e1", &subscription("active", "2026-01-01T00:00:01Z", "active", FIRST, yearly));
    shop.check("org:org_1", "yearly", "2026-01-20T00:00:00Z", (true, Reason::Active));
    shop.check("org:org_1", "pro", "2026-01-20T00:00:00Z", (false, Reason::PlanMismatch));
}

#[test]
fn what_was_bought_once_is_held_for_good_and_a_refund_is_a_payment_of_it() {
    let order = |time: &str, status: &str| {
        json!({"id": "ord_1", "status": status, "subscription_id": null, "billing_reason": "purchase", "customer_id": "cus_1",
            "product_id": "prod_lifetime", "created_at": FIRST, "modified_at": time, "total_amount": 9900, "currency": "usd",
            "customer": {"id": "cus_1", "external_id": "user_1"}})
    };
    let refund = json!({"id": "ref_1", "order_id": "ord_1", "status": "succeeded", "amount": 9900, "customer_id": "cus_1",
        "created_at": "2026-01-05T00:00:00Z", "modified_at": null, "currency": "usd"});
    let events = [
        ("e1", event("order.created", "2026-01-01T00:00:00Z", &order(FIRST, "pending"))),
        ("e2", event("order.paid", "2026-01-01T00:00:05Z", &order("2026-01-01T00:00:04Z", "paid"))),
        ("e3", event("order.refunded", "2026-01-05T00:00:01Z", &order("2026-01-05T00:00:01Z", "refunded"))),
        ("e4", event("refund.created", "2026-01-05T00:00:01Z", &refund)),
    ];
    let mut pending = shop();
    pending.deliver("e1", &events[0].1);
    pending.check("user:user_1", "lifetime", "2026-01-02T00:00:00Z", (false, Reason::NoSubscription));
    check_every_order(&events, 3, |events| {
        let shop = shop().told(events);
        shop.check("user:user_1", "lifetime", "2036-01-01T00:00:00Z", (true, Reason::Active));
        shop
    });
    let state = shop().told(&events).state();
    let has = |row: &str, words: &[&str]| words.iter().all(|word| row.contains(&format!("\"{word}\"")));
    assert!(state.iter().any(|row| has(row, &["ord_1", "refunded"])));
    assert!(state.iter().any(|row| has(row, &["ref_1", "partially_refunded"])));
}

#[test]
fn what_a_customers_state_shows_counts_until_the_subscription_itself_says_it() {
    let changed = |time: &str| {
        let mut active = data("2026-01-01T00:00:01Z", "active", FIRST, json!({}));
        active.as_object_mut().unwrap().remove("customer");
        let state = json!({"id": "cus_1", "external_id": "user_1", "active_subscriptions": [active]});
        event("customer.state_changed", time, &state)
    };
    let mut shop = shop();
    assert_eq!(shop.deliver("e1", &changed("2026-01-01T00:00:03Z")), Outcome::Stored);
    shop.check("user:user_1", "pro", "2026-01-20T00:00:00Z", (true, Reason::Active));
    let seats = |shop: &Shop| shop.snapshot("user:user_1", at("2026-01-20T00:00:00Z")).records[0].seats();
    assert_eq!(seats(&shop), None);
    // The subscription's own event tells more, of the same change and though it was sent before.
    let own = subscription("active", "2026-01-01T00:00:01Z", "active", FIRST, json!({"seats": 5}));
    assert_eq!(shop.deliver("e2", &own), Outcome::Stored);
    shop.deliver("e3", &changed("2026-01-01T00:00:09Z"));
    assert!(seats(&shop).is_some(), "a later showing of the state takes nothing back");
}
