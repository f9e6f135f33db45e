#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! RevenueCat: its two proofs, its payloads read into the normal form, and what they come to.
//!
//! `tests/data/revenuecat/<name>.json` is a payload: one for each type of event under its name, and one for each oddity
//! (`quirk.…`), with invented ids. `<name>.event.json` beside it is what must be read out of it. After a change that is
//! meant: `PLANGATE_REWRITE_EXPECTED=1 cargo test --features sqlite --test revenuecat`; read the difference.

mod told;

use plangate::delivery::{Delivery, Headers, Verified, VerifyError};
use plangate::event::{IgnoredReason, Parsed};
use plangate::provider::{Environment, Ours, Provider};
use plangate::secret::{Secret, SecretError, Use};
use plangate::time::Timestamp;
use serde_json::{Value, json};

use told::{REVENUECAT, Shop, at, check_every_order};

/// Who buys.
const USER: &str = "user:user_42";

const HEADER: &str = "Bearer a-value-of-our-own";
const KEY: &str = "rc-signing-secret";
const NOW: i64 = 1_795_000_000;
const VECTOR_BODY: &[u8] = br#"{"api_version":"1.0","event":{"id":"evt-1","type":"TEST"}}"#;
/// HMAC-SHA256 of `1795000000.` and [`VECTOR_BODY`] with [`KEY`], made with another implementation (Python).
const VECTOR_SIGNATURE: &str = "1b4e387d019a411215462dcfab8cbb6b60792bd7cec34ca4b65cd97e35a89e4b";

fn provider() -> &'static dyn Provider {
    REVENUECAT.provider()
}

fn value(text: &str) -> Secret {
    provider().parse_secret("REVENUECAT_WEBHOOK_SECRET", text).unwrap()
}

fn key(text: &str) -> Secret {
    provider().parse_secret("REVENUECAT_SIGNING_SECRET", text).unwrap()
}

#[track_caller]
fn check_at(now: i64, headers: &[(&str, &str)], body: &[u8], secrets: &[Secret], expected: Result<&str, VerifyError>) {
    let delivery = Delivery { headers: Headers::new(headers.iter().copied()), body: body.to_vec() };
    let verified = provider().verify(&delivery, secrets, &Ours::default(), Timestamp::from_secs(now));
    assert_eq!(verified.map(|verified| verified.event_id().to_owned()), expected.map(str::to_owned));
}

#[track_caller]
fn check(headers: &[(&str, &str)], secrets: &[Secret], expected: Result<&str, VerifyError>) {
    check_at(NOW, headers, VECTOR_BODY, secrets, expected);
}

#[test]
fn the_authorization_header_is_compared_whole() {
    let refused = || Err(VerifyError::NoMatchingSignature);
    let good = [("Authorization", HEADER)];
    check(&good, &[value(HEADER)], Ok("evt-1"));
    check(&good, &[value("the next one"), value(HEADER)], Ok("evt-1"));
    check(&good, &[value(HEADER), value("the last one")], Ok("evt-1"));
    for other in
        ["Bearer a-value-of-our-ow", "Bearer a-value-of-our-own2", "bearer a-value-of-our-own", "a-value-of-our-own"]
    {
        check(&[("authorization", other)], &[value(HEADER)], refused());
    }
    check(&[good[0], good[0]], &[value(HEADER)], refused());
    check(&good, &[], refused());
    let missing = || Err(VerifyError::MissingHeaders(vec!["authorization"]));
    check(&[], &[value(HEADER)], missing());
    check(&[("authorization", "")], &[value(HEADER)], missing());
    // A signature, even a right one, is no value of a header.
    check(
        &[("x-revenuecat-webhook-signature", &format!("t={NOW},v1={VECTOR_SIGNATURE}"))],
        &[value(HEADER)],
        missing(),
    );
}

#[test]
fn with_a_signing_secret_a_signature_is_demanded() {
    let name = "x-revenuecat-webhook-signature";
    let good = format!("t={NOW},v1={VECTOR_SIGNATURE}");
    let refused = || Err(VerifyError::NoMatchingSignature);
    check(&[(name, &good)], &[key(KEY)], Ok("evt-1"));
    check(&[("X-RevenueCat-Webhook-Signature", &good)], &[key("other"), key(KEY)], Ok("evt-1"));
    // Of several signatures, while the secret is changed, any may fit.
    check(&[(name, &format!("t={NOW},v1={},v1={VECTOR_SIGNATURE}", "0".repeat(64)))], &[key(KEY)], Ok("evt-1"));
    check(&[(name, &format!("v1={VECTOR_SIGNATURE},t={NOW}"))], &[key(KEY)], Ok("evt-1"));
    check(&[(name, &format!("{good},v2=junk,free text"))], &[key(KEY)], Ok("evt-1"));

    check(&[(name, &good)], &[key("other")], refused());
    check(&[(name, &good.to_uppercase())], &[key(KEY)], Err(VerifyError::MalformedTimestamp));
    check(&[(name, &format!("t={NOW},v1={}", VECTOR_SIGNATURE.to_uppercase()))], &[key(KEY)], refused());
    check(&[(name, &format!("t={NOW}"))], &[key(KEY)], refused());
    check(&[(name, &format!("t={NOW},v0={VECTOR_SIGNATURE}"))], &[key(KEY)], refused());
    check(&[(name, &format!("t={},v1={VECTOR_SIGNATURE}", NOW + 1))], &[key(KEY)], refused());
    for malformed in [
        "free text".to_owned(),
        format!("v1={VECTOR_SIGNATURE}"),
        format!("t=,v1={VECTOR_SIGNATURE}"),
        format!("t=+{NOW},v1={VECTOR_SIGNATURE}"),
    ] {
        check(&[(name, &malformed)], &[key(KEY)], Err(VerifyError::MalformedTimestamp));
    }
    check_at(NOW + 300, &[(name, &good)], VECTOR_BODY, &[key(KEY)], Ok("evt-1"));
    check_at(NOW - 300, &[(name, &good)], VECTOR_BODY, &[key(KEY)], Ok("evt-1"));
    check_at(
        NOW + 301,
        &[(name, &good)],
        VECTOR_BODY,
        &[key(KEY)],
        Err(VerifyError::TimestampTooOld { age_secs: 301 }),
    );
    check_at(
        NOW - 301,
        &[(name, &good)],
        VECTOR_BODY,
        &[key(KEY)],
        Err(VerifyError::TimestampTooNew { ahead_secs: 301 }),
    );
    check_at(NOW, &[(name, &good)], b"{}", &[key(KEY)], refused());

    let missing = |names: Vec<&'static str>| Err(VerifyError::MissingHeaders(names));
    check(&[], &[key(KEY)], missing(vec![name]));
    check(&[("authorization", HEADER)], &[key(KEY)], missing(vec![name]));
    // The two kinds do not stand in for each other, and both must fit where both are set.
    check(&[("authorization", KEY)], &[key(KEY)], missing(vec![name]));
    let both = [value(HEADER), key(KEY)];
    check(&[("authorization", HEADER), (name, &good)], &both, Ok("evt-1"));
    check(&[("authorization", HEADER)], &both, missing(vec![name]));
    check(&[(name, &good)], &both, missing(vec!["authorization"]));
    check(&[], &both, missing(vec!["authorization", name]));
    check(&[("authorization", "Bearer other"), (name, &good)], &both, refused());
    check(&[("authorization", HEADER), (name, &good)], &[value(HEADER), key("other")], refused());
    // A header value is no key: who knows it cannot sign.
    let with_value = provider().sign(&key(HEADER), "", Timestamp::from_secs(NOW), VECTOR_BODY);
    check(&[("authorization", HEADER), (name, &with_value[0].1)], &both, refused());
}

#[test]
fn any_byte_changed_is_refused() {
    let now = Timestamp::from_secs(NOW);
    let body = REVENUECAT.payloads().remove(0).text;
    REVENUECAT.check_that_every_byte_counts(&key(KEY), body.as_bytes(), now);
    let good = REVENUECAT.signed(&value(HEADER), "evt_1", now, VECTOR_BODY);
    assert_eq!(good.headers.value("authorization").as_deref(), Some(HEADER));
    for index in 0..HEADER.len() {
        let mut changed = HEADER.to_owned();
        changed.replace_range(index..=index, "~");
        check(&[("authorization", &changed)], &[value(HEADER)], Err(VerifyError::NoMatchingSignature));
    }
}

#[test]
fn the_id_is_the_events_own_or_the_digest_of_what_has_none() {
    let id = |body: &[u8]| {
        let delivery = REVENUECAT.signed(&value(HEADER), "evt_1", Timestamp::from_secs(NOW), body);
        let verified = provider().verify(&delivery, &[value(HEADER)], &Ours::default(), Timestamp::from_secs(NOW));
        let verified = verified.unwrap();
        assert_eq!(verified.sent_at(), None, "a header alone tells no time");
        verified.event_id().to_owned()
    };
    assert_eq!(id(VECTOR_BODY), "evt-1");
    assert_eq!(id(br#"{"event":{"id":7}}"#), "7");
    for body in [&b""[..], b"{", b"[]", br#"{"event":{}}"#, br#"{"event":{"id":""}}"#, br#"{"event":{"id":{}}}"#] {
        assert!(id(body).starts_with("sha256_") && id(body).len() == 71, "{}", id(body));
    }
    let delivery = REVENUECAT.signed(&key(KEY), "evt_1", Timestamp::from_secs(NOW), VECTOR_BODY);
    let verified = provider().verify(&delivery, &[key(KEY)], &Ours::default(), Timestamp::from_secs(NOW + 9)).unwrap();
    assert_eq!(verified.sent_at(), Some(Timestamp::from_secs(NOW)));
}

#[test]
fn a_secret_is_its_text_and_of_one_kind() {
    assert_eq!((value(" Bearer x\n").use_(), key("x").use_()), (Use::Header, Use::Signing));
    check(&[("authorization", "Bearer x")], &[value(" Bearer x\n")], Ok("evt-1"));
    for setting in provider().secret_names() {
        assert_eq!(provider().parse_secret(setting, " ").unwrap_err(), SecretError::Empty);
    }
}

#[test]
fn every_payload_is_read_into_the_expected_event() {
    REVENUECAT.check_payloads();
}

#[test]
fn every_event_has_a_payload() {
    REVENUECAT.check_that_nothing_is_without_a_payload(&[
        "BILLING_ISSUE",
        "CANCELLATION",
        "EXPERIMENT_ENROLLMENT",
        "EXPIRATION",
        "INITIAL_PURCHASE",
        "INVOICE_ISSUANCE",
        "NON_RENEWING_PURCHASE",
        "PRODUCT_CHANGE",
        "PURCHASE_REDEEMED",
        "REFUND_REVERSED",
        "RENEWAL",
        "SUBSCRIBER_ALIAS",
        "SUBSCRIPTION_EXTENDED",
        "SUBSCRIPTION_PAUSED",
        "TEMPORARY_ENTITLEMENT_GRANT",
        "TEST",
        "TRANSFER",
        "UNCANCELLATION",
        "VIRTUAL_CURRENCY_TRANSACTION",
    ]);
}

#[test]
fn the_attempts_own_time_is_never_used() {
    REVENUECAT.check_that_attempts_say_the_same_but_for(&[]);
}

#[test]
fn an_id_that_looks_like_a_card_number_is_read_from_a_dead_letter_as_it_came() {
    REVENUECAT.check_that_masking_keeps_ids_but_for(&["store"]);
}

#[test]
fn odd_values_neither_panic_nor_fail_to_be_stored() {
    REVENUECAT.check_odd_payloads();
}

#[test]
fn the_sandbox_counts_in_the_sandbox_alone() {
    for (told, production, sandbox) in
        [(json!("SANDBOX"), false, true), (json!("PRODUCTION"), true, false), (Value::Null, true, true)]
    {
        for (environment, counts) in [(Environment::Production, production), (Environment::Sandbox, sandbox)] {
            let mut body = event("RENEWAL", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
            body["event"]["environment"] = told.clone();
            let body = body.to_string();
            let verified = Verified::recorded("evt_1", Timestamp::from_secs(0), body.as_bytes());
            match provider().parse(&verified, &Ours { environment, ..Ours::default() }).unwrap() {
                Parsed::Event(_) => assert!(counts, "{told}"),
                Parsed::Ignored { reason, .. } => {
                    assert_eq!((reason, counts), (IgnoredReason::OtherEnvironment, false), "{told}");
                }
            }
        }
    }
}

#[test]
fn bodies_that_cannot_be_read_say_exactly_why() {
    let with = |field: &str, value: Value| {
        let mut body = event("RENEWAL", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        body["event"][field] = value;
        body.to_string()
    };
    let mut nothing = event("RENEWAL", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    for field in ["original_transaction_id", "transaction_id", "product_id"] {
        nothing["event"][field] = Value::Null;
    }
    let renewal = Some("RENEWAL");
    let cases = [
        (String::new(), None, "reading the envelope: EOF while parsing a value at line 1 column 0"),
        ("{}".into(), None, "the envelope has no `event.type`"),
        (r#"{"event":[]}"#.into(), None, "reading the envelope: `event` is not an object"),
        (r#"{"event":{"type":4242424242424242}}"#.into(), None, "reading the envelope: `type` is not a text"),
        (with("event_timestamp_ms", Value::Null), renewal, "an event without `event_timestamp_ms`"),
        (with("event_timestamp_ms", json!("soon")), renewal, "`event_timestamp_ms` is not a time"),
        (with("expiration_at_ms", json!("soon")), renewal, "`expiration_at_ms` is not a time"),
        (with("expiration_at_ms", Value::Null), renewal, "a subscription without `expiration_at_ms`"),
        (with("expiration_at_ms", json!(1.5)), renewal, "`expiration_at_ms` is not a time"),
        (with("environment", json!({})), renewal, "`environment` is not a text"),
        (with("price_in_purchased_currency", json!("9.99")), renewal, "`price_in_purchased_currency` is not a number"),
        (with("app_user_id", json!("x".repeat(300))), renewal, "the payer's id is too long"),
        (nothing.to_string(), renewal, "nothing says which purchase it is about"),
    ];
    for (body, event_type, cause) in cases {
        let cause = event_type.map_or(cause.to_owned(), |event_type| format!("reading `{event_type}`: {cause}"));
        REVENUECAT.check_causes(&[(body.as_bytes(), event_type, &cause)]);
    }
}

// Lives of subscriptions.

fn event(event_type: &str, when: &str, expires: &str) -> Value {
    json!({"api_version": "1.0", "event": {
        "id": format!("{event_type}-{when}"), "type": event_type, "event_timestamp_ms": at(when).as_millis(),
        "app_user_id": "user_42", "original_app_user_id": "$RCAnonymousID:aa11", "aliases": [],
        "product_id": "pro_monthly", "entitlement_ids": ["pro"], "period_type": "NORMAL",
        "purchased_at_ms": at(when).as_millis(), "expiration_at_ms": at(expires).as_millis(),
        "environment": "PRODUCTION", "store": "APP_STORE", "transaction_id": when, "original_transaction_id": "10001",
        "price": 9.99, "currency": "USD", "price_in_purchased_currency": 9.99,
    }})
}

fn with(mut event: Value, more: Value) -> Value {
    event["event"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

fn played(bodies: &[Value]) -> Shop {
    let catalog = json!({
        "pro": {"ids": {"revenuecat": ["pro_monthly"]}},
        "forever": {"ids": {"revenuecat": ["lifetime"]}},
    });
    let mut shop = Shop::new(REVENUECAT, &catalog);
    for body in bodies {
        shop.deliver_signed(&value(HEADER), body);
    }
    shop
}

#[test]
fn bought_renewed_canceled_and_expired() {
    let life = [
        event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        event("RENEWAL", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        with(
            event("CANCELLATION", "2026-11-10T00:00:00Z", "2026-12-01T00:00:00Z"),
            json!({"cancel_reason": "UNSUBSCRIBE"}),
        ),
        with(
            event("EXPIRATION", "2026-12-01T00:00:30Z", "2026-12-01T00:00:00Z"),
            json!({"expiration_reason": "UNSUBSCRIBE"}),
        ),
    ];
    let bought = played(&life[..1]);
    assert_eq!(bought.answer(USER, "pro", "2026-10-02T00:00:00Z"), "true active");
    assert_eq!(bought.answer(USER, "pro", "2026-11-01T23:59:59Z"), "true active", "a day of slack for the renewal");
    assert_eq!(bought.answer(USER, "pro", "2026-11-02T00:00:00Z"), "false expired");
    assert_eq!(played(&life[..2]).answer(USER, "pro", "2026-12-01T12:00:00Z"), "true active");
    assert_eq!(played(&life[..3]).answer(USER, "pro", "2026-11-30T23:59:59Z"), "true canceled_until_period_end");
    assert_eq!(played(&life[..3]).answer(USER, "pro", "2026-12-01T00:00:00Z"), "false expired");
    assert_eq!(played(&life).answer(USER, "pro", "2026-11-15T00:00:00Z"), "false expired");
    check_every_order(&life, 3, played);

    let resumed = event("UNCANCELLATION", "2026-11-12T00:00:00Z", "2026-12-01T00:00:00Z");
    let shop = played(&[life[0].clone(), life[1].clone(), life[2].clone(), resumed]);
    assert_eq!(shop.answer(USER, "pro", "2026-12-01T12:00:00Z"), "true active");
}

#[test]
fn a_trial_grants_until_its_end_and_is_no_payment() {
    let trial = with(
        event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-10-08T00:00:00Z"),
        json!({"period_type": "TRIAL", "price": 0, "price_in_purchased_currency": 0}),
    );
    let shop = played(std::slice::from_ref(&trial));
    assert_eq!(shop.answer(USER, "pro", "2026-10-07T00:00:00Z"), "true trialing");
    assert_eq!(shop.answer(USER, "pro", "2026-10-09T00:00:00Z"), "false expired");
    assert!(!shop.state().iter().any(|row| row.contains("paid")));
    let converted = event("RENEWAL", "2026-10-08T00:00:00Z", "2026-11-08T00:00:00Z");
    assert_eq!(played(&[trial, converted]).answer(USER, "pro", "2026-10-20T00:00:00Z"), "true active");
}

#[test]
fn past_due_within_the_stores_grace_and_recovered() {
    let bought = event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    let issue = with(
        event("BILLING_ISSUE", "2026-11-01T00:00:10.000Z", "2026-11-01T00:00:00Z"),
        json!({"grace_period_expiration_at_ms": at("2026-11-17T00:00:00Z").as_millis()}),
    );
    let shop = played(&[bought.clone(), issue.clone()]);
    assert_eq!(shop.answer(USER, "pro", "2026-11-16T23:59:59Z"), "true past_due_grace");
    assert_eq!(shop.answer(USER, "pro", "2026-11-17T00:00:00Z"), "false past_due");
    assert_eq!(
        shop.with_grace_days(20).answer(USER, "pro", "2026-11-20T23:59:59Z"),
        "true past_due_grace",
        "our own grace is longer"
    );

    // Its twin is sent at the same time, with a time a little before or after; the grace stays either way.
    for when in ["2026-11-01T00:00:09.400Z", "2026-11-01T00:00:10.000Z", "2026-11-01T00:00:10.600Z"] {
        let twin = with(event("CANCELLATION", when, "2026-11-01T00:00:00Z"), json!({"cancel_reason": "BILLING_ERROR"}));
        let all = [bought.clone(), issue.clone(), twin];
        assert_eq!(played(&all).answer(USER, "pro", "2026-11-16T00:00:00Z"), "true past_due_grace", "{when}");
        check_every_order(&all, 3, played);
    }
    let recovered = event("RENEWAL", "2026-11-05T00:00:00Z", "2026-12-01T00:00:00Z");
    assert_eq!(played(&[bought, issue, recovered]).answer(USER, "pro", "2026-11-30T00:00:00Z"), "true active");
}

/// It tells no days of grace, and who is in them must not be without access until its twin comes.
#[test]
fn a_cancellation_for_an_error_of_billing_changes_nothing_where_the_period_is_known() {
    let bought = event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    let error = json!({"cancel_reason": "BILLING_ERROR", "purchased_at_ms": at("2026-10-01T00:00:00Z").as_millis()});
    let twin = with(event("CANCELLATION", "2026-11-01T00:00:10Z", "2026-11-01T00:00:00Z"), error);
    let both = [bought, twin.clone()];
    assert_eq!(played(&both).answer(USER, "pro", "2026-11-01T00:00:10Z"), "true active");
    assert_eq!(
        played(&both).answer(USER, "pro", "2026-11-02T00:00:00Z"),
        "false expired",
        "the slack of a renewal and no longer"
    );
    check_every_order(&both, 2, played);
    // Where nothing else is known, it says that a charge failed.
    assert_eq!(played(&[twin]).answer(USER, "pro", "2026-11-01T00:00:10Z"), "false past_due");
}

#[test]
fn what_expires_with_its_billing_issue_has_no_days_of_grace() {
    let bought = event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    for when in ["2026-11-01T00:00:09.400Z", "2026-11-01T00:00:10.000Z", "2026-11-01T00:00:10.600Z"] {
        let together = [
            bought.clone(),
            event("BILLING_ISSUE", when, "2026-11-01T00:00:00Z"),
            with(event("CANCELLATION", when, "2026-11-01T00:00:00Z"), json!({"cancel_reason": "BILLING_ERROR"})),
            event("EXPIRATION", "2026-11-01T00:00:10.000Z", "2026-11-01T00:00:00Z"),
        ];
        assert_eq!(
            played(&together).with_grace_days(7).answer(USER, "pro", "2026-11-02T00:00:00Z"),
            "false expired",
            "{when}"
        );
        check_every_order(&together, 3, played);
    }
}

#[test]
fn a_billing_issue_of_the_period_before_takes_nothing_from_what_was_renewed() {
    let bought = event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    let renewed = event("RENEWAL", "2026-11-01T00:00:10Z", "2026-12-01T00:00:00Z");
    for when in ["2026-11-01T00:00:05Z", "2026-11-01T00:00:15Z", "2026-11-01T02:00:00Z"] {
        let issue = event("BILLING_ISSUE", when, "2026-11-01T00:00:00Z");
        let all = [bought.clone(), issue, renewed.clone()];
        assert_eq!(played(&all).answer(USER, "pro", "2026-11-30T00:00:00Z"), "true active", "{when}");
        check_every_order(&all, 4, played);
    }
    // One that comes while the period still runs is about the charge for the next.
    let issue = event("BILLING_ISSUE", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z");
    assert_eq!(played(&[bought, renewed, issue]).answer(USER, "pro", "2026-12-01T12:00:00Z"), "false past_due");
}

#[test]
fn a_refund_ends_a_subscription_when_the_store_says_so() {
    let bought = event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    let refunded = with(
        event("CANCELLATION", "2026-10-10T00:00:00Z", "2026-10-09T23:59:50Z"),
        json!({"cancel_reason": "CUSTOMER_SUPPORT", "transaction_id": "2026-10-01T00:00:00Z", "price": -9.99,
            "price_in_purchased_currency": -9.99}),
    );
    let shop = played(&[bought.clone(), refunded.clone()]);
    assert_eq!(shop.answer(USER, "pro", "2026-10-10T00:00:00Z"), "false expired");
    assert!(shop.state().iter().any(|row| row.contains("refunded")));
    let reversed = with(
        event("REFUND_REVERSED", "2026-10-20T00:00:00Z", "2026-11-01T00:00:00Z"),
        json!({"transaction_id": "2026-10-01T00:00:00Z"}),
    );
    let all = [bought, refunded, reversed];
    assert_eq!(played(&all).answer(USER, "pro", "2026-10-21T00:00:00Z"), "true active");
    assert!(!played(&all).state().iter().any(|row| row.contains("refunded")));
    check_every_order(&all, 2, played);
}

#[test]
fn bought_once_it_has_no_end_and_a_refund_alone_ends_nothing() {
    let once = json!({"product_id": "lifetime", "expiration_at_ms": null, "transaction_id": "30001",
        "original_transaction_id": "30001"});
    let bought = with(event("NON_RENEWING_PURCHASE", "2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z"), once.clone());
    let refunded = with(
        with(event("CANCELLATION", "2026-10-10T00:00:00Z", "2026-10-10T00:00:00Z"), once),
        json!({"cancel_reason": "CUSTOMER_SUPPORT"}),
    );
    let all = [bought.clone(), refunded];
    for bodies in [&all[..1], &all] {
        assert!(played(bodies).decision(USER, "forever", at("2036-01-01T00:00:00Z")).allowed);
    }
    assert!(played(&all).state().iter().any(|row| row.contains("refunded")));
    check_every_order(&all, 2, played);
}

#[test]
fn a_temporary_grant_is_replaced_by_the_purchase_or_ends_by_itself() {
    let grant = with(
        event("TEMPORARY_ENTITLEMENT_GRANT", "2026-10-01T00:00:00Z", "2026-10-05T00:00:00Z"),
        json!({"transaction_id": "10001", "original_transaction_id": null}),
    );
    let shop = played(std::slice::from_ref(&grant));
    assert_eq!(shop.answer(USER, "pro", "2026-10-01T23:59:59Z"), "true canceled_until_period_end");
    assert_eq!(shop.answer(USER, "pro", "2026-10-02T00:00:00Z"), "false expired", "a day at most");
    let bought = event("INITIAL_PURCHASE", "2026-10-01T06:00:00Z", "2026-11-01T00:00:00Z");
    let all = [grant.clone(), bought];
    assert_eq!(played(&all).answer(USER, "pro", "2026-10-20T00:00:00Z"), "true active");
    check_every_order(&all, 2, played);
    let refused = event("EXPIRATION", "2026-10-01T06:00:00Z", "2026-10-01T06:00:00Z");
    assert_eq!(played(&[grant, refused]).answer(USER, "pro", "2026-10-01T07:00:00Z"), "false expired");
}

#[test]
fn a_pause_begins_at_the_end_of_the_period() {
    let bought = event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    let paused = event("SUBSCRIPTION_PAUSED", "2026-10-10T00:00:00Z", "2026-11-01T00:00:00Z");
    let shop = played(&[bought.clone(), paused.clone()]);
    assert_eq!(shop.answer(USER, "pro", "2026-10-31T00:00:00Z"), "true canceled_until_period_end");
    assert_eq!(shop.answer(USER, "pro", "2026-11-01T00:00:00Z"), "false expired");
    let resumed = event("RENEWAL", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    assert_eq!(played(&[bought, paused, resumed]).answer(USER, "pro", "2026-12-20T00:00:00Z"), "true active");
}

#[test]
fn a_purchase_belongs_to_whom_its_newest_event_names() {
    let bought = event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z");
    let transfer = json!({"event": {"id": "transfer", "type": "TRANSFER", "environment": "PRODUCTION",
        "event_timestamp_ms": at("2026-10-10T00:00:00Z").as_millis(), "transferred_from": ["user_42"],
        "transferred_to": ["user_43"]}});
    let renewed = with(
        event("RENEWAL", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        json!({"app_user_id": "user_43", "aliases": ["user_43"]}),
    );
    let holds = |bodies: &[Value], payer| played(bodies).decision(payer, "pro", at("2026-10-20T00:00:00Z")).allowed;
    let all = [bought, transfer, renewed];
    assert!(holds(&all[..2], USER) && !holds(&all[..2], "user:user_43"), "a transfer names no purchase");
    assert!(!holds(&all, USER) && holds(&all, "user:user_43"));
    check_every_order(&all, 3, played);
}

#[test]
fn what_was_bought_anonymously_goes_over_with_a_transfer() {
    let anonymous = "$RCAnonymousID:aa11";
    let bought = with(
        event("INITIAL_PURCHASE", "2026-10-01T00:00:00Z", "2027-10-01T00:00:00Z"),
        json!({"app_user_id": anonymous, "original_app_user_id": anonymous, "aliases": [anonymous]}),
    );
    let transfer = json!({"event": {"id": "transfer", "type": "TRANSFER", "environment": "PRODUCTION",
        "event_timestamp_ms": at("2026-10-10T00:00:00Z").as_millis(), "transferred_from": [anonymous],
        "transferred_to": ["$RCAnonymousID:bb22", "user_42"]}});
    let to_nobody = with(transfer.clone(), json!({"id": "to_nobody", "transferred_to": ["$RCAnonymousID:bb22"]}));
    assert_eq!(
        played(&[bought.clone(), to_nobody]).answer(USER, "pro", "2026-10-20T00:00:00Z"),
        "false no_subscription"
    );
    let all = [bought, transfer];
    assert_eq!(played(&all).answer(USER, "pro", "2026-10-20T00:00:00Z"), "true active");
    check_every_order(&all, 2, played);
}
