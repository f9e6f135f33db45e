#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! Lemon Squeezy: its signature, its payloads read into the normal form, and what they come to.
//!
//! `tests/data/lemonsqueezy/<name>.json` is a payload: one for each event under its name, and one for each oddity
//! (`quirk.…`), with invented ids. `<name>.event.json` beside it is what must be read out of it. After a change that is
//! meant: `PLANGATE_REWRITE_EXPECTED=1 cargo test --features sqlite --test lemonsqueezy`; read the difference.

mod told;

use plangate::delivery::{Delivery, Headers, Verified, VerifyError};
use plangate::event::{IgnoredReason, Parsed};
use plangate::provider::{Environment, Ours, Provider};
use plangate::secret::{Secret, SecretError};
use plangate::store::Outcome;
use plangate::time::Timestamp;
use serde_json::{Value, json};

use told::{LEMONSQUEEZY, Shop, at, check_every_order};

/// Who buys.
const USER: &str = "user:user_42";

const SECRET: &str = "shop-secret";
/// HMAC-SHA256 of [`VECTOR_BODY`] with [`SECRET`], made with another implementation (Python).
const VECTOR_BODY: &[u8] = br#"{"meta":{"event_name":"order_created"},"data":{}}"#;
const VECTOR_SIGNATURE: &str = "0fe4a81680d460540e699ead3871ef377cabfb8aadd15d486acaef2b1dfcc3d4";
/// SHA-256 of [`VECTOR_BODY`].
const VECTOR_DIGEST: &str = "df058332a28db750f5c98b4bd4712caa6687ad1f4c8f41af77fc427bd4b5fa3a";

fn provider() -> &'static dyn Provider {
    LEMONSQUEEZY.provider()
}

fn secret(text: &str) -> Secret {
    provider().parse_secret("LEMONSQUEEZY_WEBHOOK_SECRET", text).unwrap()
}

#[track_caller]
fn check(headers: &[(&str, &str)], body: &[u8], secrets: &[&str], expected: Result<&str, VerifyError>) {
    let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
    let delivery = Delivery { headers: Headers::new(headers.iter().copied()), body: body.to_vec() };
    let verified = provider().verify(&delivery, &secrets, &Ours::default(), Timestamp::from_secs(0));
    assert_eq!(verified.map(|verified| verified.event_id().to_owned()), expected.map(str::to_owned));
}

#[test]
fn a_signature_fits_one_body_and_its_secret_alone() {
    let id = format!("sha256_{VECTOR_DIGEST}");
    let refused = || Err(VerifyError::NoMatchingSignature);
    let good = [("x-signature", VECTOR_SIGNATURE)];
    check(&good, VECTOR_BODY, &[SECRET], Ok(&id));
    check(&[("X-Signature", VECTOR_SIGNATURE)], VECTOR_BODY, &[SECRET], Ok(&id));
    // To rotate, two secrets are held for a while.
    check(&good, VECTOR_BODY, &["the-next-one", SECRET], Ok(&id));
    check(&good, VECTOR_BODY, &[SECRET, "the-last-one"], Ok(&id));
    // The event's name in a header is not signed and says nothing.
    check(&[good[0], ("x-event-name", "subscription_expired")], VECTOR_BODY, &[SECRET], Ok(&id));
    check(&good, VECTOR_BODY, &["shop-secre"], refused());
    check(&good, VECTOR_BODY, &[], refused());
    check(&good, b"", &[SECRET], refused());

    for missing in [&[][..], &[("x-signature", "")], &[("x-event-name", "order_created")]] {
        check(missing, VECTOR_BODY, &[SECRET], Err(VerifyError::MissingHeaders(vec!["x-signature"])));
    }
    // Libraries that decode hex take upper case, and Node's what comes after it; those that compare texts do not.
    let odd = [
        VECTOR_SIGNATURE.to_uppercase(),
        format!("{VECTOR_SIGNATURE}zz"),
        format!("{VECTOR_SIGNATURE} "),
        format!(" {VECTOR_SIGNATURE}"),
        format!("sha256={VECTOR_SIGNATURE}"),
        VECTOR_SIGNATURE[..62].to_owned(),
        format!("{VECTOR_SIGNATURE}00"),
        "0".repeat(64),
        "é".repeat(32),
    ];
    for odd in &odd {
        check(&[("x-signature", odd)], VECTOR_BODY, &[SECRET], refused());
    }
    // Sent twice, the two are one text.
    check(&[good[0], good[0]], VECTOR_BODY, &[SECRET], refused());
}

#[test]
fn any_byte_changed_is_refused() {
    let body = LEMONSQUEEZY.payloads().remove(0).text;
    LEMONSQUEEZY.check_that_every_byte_counts(&secret(SECRET), body.as_bytes(), Timestamp::from_secs(0));
}

#[test]
fn a_secret_is_its_text() {
    let parse = |text: &str| provider().parse_secret("LEMONSQUEEZY_WEBHOOK_SECRET", text).map(|_| ());
    assert_eq!(parse("six666"), Ok(()));
    assert_eq!(parse(""), Err(SecretError::Empty));
    assert_eq!(parse(" \n"), Err(SecretError::Empty));
    let good = [("x-signature", VECTOR_SIGNATURE)];
    let id = format!("sha256_{VECTOR_DIGEST}");
    check(&good, VECTOR_BODY, &["shop-secret\n"], Ok(&id));
}

#[test]
fn every_payload_is_read_into_the_expected_event() {
    LEMONSQUEEZY.check_payloads();
}

#[test]
fn every_event_has_a_payload() {
    LEMONSQUEEZY.check_that_nothing_is_without_a_payload(&[
        "affiliate_activated",
        "license_key_created",
        "license_key_updated",
        "order_created",
        "order_refunded",
        "subscription_cancelled",
        "subscription_created",
        "subscription_expired",
        "subscription_paused",
        "subscription_payment_failed",
        "subscription_payment_recovered",
        "subscription_payment_refunded",
        "subscription_payment_success",
        "subscription_resumed",
        "subscription_unpaused",
        "subscription_updated",
    ]);
}

#[test]
fn the_attempts_own_time_is_never_used() {
    LEMONSQUEEZY.check_that_attempts_say_the_same_but_for(&[]);
}

#[test]
fn an_id_that_looks_like_a_card_number_is_read_from_a_dead_letter_as_it_came() {
    LEMONSQUEEZY.check_that_masking_keeps_ids_but_for(&[]);
}

#[test]
fn odd_values_neither_panic_nor_fail_to_be_stored() {
    LEMONSQUEEZY.check_odd_payloads();
}

#[test]
fn test_mode_counts_in_the_sandbox_alone() {
    let read = |meta: Value, object: Value, environment| {
        let body = json!({
            "meta": {"event_name": "subscription_updated", "test_mode": meta},
            "data": {"type": "subscriptions", "id": "1", "attributes":
                {"status": "active", "updated_at": "2026-11-05T10:00:00Z", "test_mode": object}},
        });
        let ours = Ours { environment, ..Ours::default() };
        let body = body.to_string();
        let verified = Verified::recorded("sha256_1", Timestamp::from_secs(0), body.as_bytes());
        match provider().parse(&verified, &ours).unwrap() {
            Parsed::Event(_) => true,
            Parsed::Ignored { reason, .. } => {
                assert_eq!(reason, IgnoredReason::OtherEnvironment);
                false
            }
        }
    };
    // (meta, object, counts in production, counts in the sandbox)
    for (meta, object, production, sandbox) in [
        (json!(true), json!(true), false, true),
        (json!(true), Value::Null, false, true),
        (Value::Null, json!(true), false, true),
        (json!(true), json!(false), false, true),
        (json!(false), json!(false), true, false),
        (Value::Null, json!(false), true, false),
        (Value::Null, Value::Null, true, true),
    ] {
        assert_eq!(read(meta.clone(), object.clone(), Environment::Production), production, "{meta} {object}");
        assert_eq!(read(meta.clone(), object.clone(), Environment::Sandbox), sandbox, "{meta} {object}");
    }
}

#[test]
fn an_object_without_fields_may_be_a_list() {
    for name in ["pause", "first_subscription_item"] {
        let read = |value: Value| {
            let more = json!({name: value});
            let body =
                subscription("subscription_updated", "paused", "2026-11-05T10:00:00Z", "2026-12-05T10:00:00Z", more);
            let body = body.to_string();
            let verified = Verified::recorded("evt_1", Timestamp::from_secs(0), body.as_bytes());
            provider().parse(&verified, &Ours::default())
        };
        assert_eq!(read(json!([])), read(Value::Null), "as PHP writes it");
        assert!(read(json!([])).is_ok() && read(json!([1])).is_err(), "{name}");
    }
}

#[test]
fn bodies_that_cannot_be_read_say_exactly_why() {
    let long = "x".repeat(300);
    let subscription = |attributes: Value| {
        json!({"meta": {"event_name": "subscription_updated"}, "data": {"id": "1", "attributes": attributes}})
            .to_string()
    };
    let with = |field: &str, value: Value| {
        let mut attributes = json!({"status": "active", "updated_at": "2026-11-05T10:00:00Z"});
        attributes[field] = value;
        subscription(attributes)
    };
    let of_type = |object_type: &str| {
        json!({"meta": {"event_name": "subscription_updated"}, "data": {"type": object_type, "id": "1"}}).to_string()
    };
    let cases: &[(String, Option<&str>, &str)] = &[
        (String::new(), None, "reading the envelope: EOF while parsing a value at line 1 column 0"),
        ("{}".into(), None, "the envelope has no `meta.event_name`"),
        ("[]".into(), None, "the envelope has no `meta.event_name`"),
        (r#"{"meta":{"event_name":""}}"#.into(), None, "the envelope has no `meta.event_name`"),
        (
            r#"{"meta":{"event_name":4242424242424242}}"#.into(),
            None,
            "reading the envelope: `event_name` is not a text",
        ),
        (
            r#"{"meta":{"event_name":"subscription_updated"}}"#.into(),
            Some("subscription_updated"),
            "`data` has no `id`",
        ),
    ];
    let cases = cases.iter().cloned().chain(
        [
            (of_type("orders"), "`data` is not of type `subscriptions`"),
            (subscription(json!({"status": "active"})), "nothing says when it changed"),
            (subscription(json!({"updated_at": "2026-11-05T10:00:00Z"})), "a subscription without `status`"),
            (with("renews_at", json!("soon")), "`renews_at` is not a time"),
            (with("renews_at", json!(true)), "`renews_at` is not a time"),
            (with("ends_at", json!({})), "`ends_at` is not a time"),
            (with("cancelled", json!("no")), "`cancelled` is not true or false"),
            (with("test_mode", json!("no")), "`test_mode` is not true or false"),
            (with("first_subscription_item", json!({"quantity": 1.5})), "`quantity` is not a whole number"),
            (
                json!({
                    "meta": {"event_name": "subscription_updated", "custom_data": {"user_id": long}},
                    "data": {"id": "1", "attributes": {"updated_at": "2026-11-05T10:00:00Z", "status": "active"}},
                })
                .to_string(),
                "the payer's id is too long",
            ),
        ]
        .map(|(body, cause)| (body, Some("subscription_updated"), cause)),
    );
    for (body, event_type, cause) in cases {
        let cause = event_type.map_or(cause.to_owned(), |event_type| format!("reading `{event_type}`: {cause}"));
        LEMONSQUEEZY.check_causes(&[(body.as_bytes(), event_type, &cause)]);
    }
}

// Lives of subscriptions.

fn catalog() -> Value {
    json!({
        "pro": {"ids": {"lemonsqueezy": ["4"]}},
        "forever": {"ids": {"lemonsqueezy": ["6"]}},
    })
}

fn document(event: &str, object_type: &str, id: &str, updated_at: &str, attributes: Value) -> Value {
    let mut all = json!({
        "customer_id": 55, "created_at": "2026-10-05T10:00:00.000000Z", "updated_at": updated_at, "test_mode": false,
    });
    all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    json!({
        "meta": {"event_name": event, "test_mode": false, "custom_data": {"user_id": "user_42"}},
        "data": {"type": object_type, "id": id, "attributes": all},
    })
}

fn subscription(event: &str, status: &str, updated_at: &str, renews_at: &str, more: Value) -> Value {
    let mut attributes = json!({
        "order_id": 12, "product_id": 3, "variant_id": 4, "status": status, "billing_anchor": 5,
        "cancelled": status == "cancelled", "renews_at": renews_at,
    });
    attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document(event, "subscriptions", "991", updated_at, attributes)
}

fn invoice(event: &str, status: &str, updated_at: &str) -> Value {
    let attributes = json!({"subscription_id": 991, "status": status, "total": 2000, "currency": "USD"});
    document(event, "subscription-invoices", "7001", updated_at, attributes)
}

fn order(event: &str, id: &str, variant: u32, status: &str, updated_at: &str) -> Value {
    let attributes = json!({
        "status": status, "total": 4900, "currency": "USD", "refunded_amount": if status == "refunded" { 4900 } else { 0 },
        "first_order_item": {"order_id": 1, "product_id": 5, "variant_id": variant, "quantity": 1},
    });
    document(event, "orders", id, updated_at, attributes)
}

fn played(bodies: &[Value]) -> Shop {
    let mut shop = Shop::new(LEMONSQUEEZY, &catalog());
    for body in bodies {
        shop.deliver_signed(&secret(SECRET), body);
    }
    shop
}

#[test]
fn bought_renewed_canceled_and_ended() {
    let end = json!({"ends_at": "2026-12-05T10:00:00Z"});
    let life = [
        subscription("subscription_created", "active", "2026-10-05T10:00:03Z", "2026-11-05T10:00:00Z", json!({})),
        subscription("subscription_updated", "active", "2026-11-05T10:00:07Z", "2026-12-05T10:00:00Z", json!({})),
        subscription(
            "subscription_cancelled",
            "cancelled",
            "2026-11-21T00:00:00Z",
            "2026-12-05T10:00:00Z",
            end.clone(),
        ),
        subscription("subscription_expired", "expired", "2026-12-05T10:00:05Z", "2026-12-05T10:00:00Z", end),
    ];
    let bought = played(&life[..1]);
    assert_eq!(bought.answer(USER, "pro", "2026-10-05T10:00:03Z"), "true active");
    assert_eq!(bought.answer(USER, "pro", "2026-11-06T09:59:59Z"), "true active", "a day of slack for the renewal");
    assert_eq!(bought.answer(USER, "pro", "2026-11-06T10:00:00Z"), "false expired");
    assert_eq!(played(&life[..2]).answer(USER, "pro", "2026-12-06T09:00:00Z"), "true active");
    let canceled = played(&life[..3]);
    assert_eq!(canceled.answer(USER, "pro", "2026-12-05T09:59:59Z"), "true canceled_until_period_end");
    assert_eq!(
        canceled.answer(USER, "pro", "2026-12-05T10:00:00Z"),
        "false expired",
        "no slack for what does not renew"
    );
    let ended = played(&life);
    assert_eq!(ended.answer(USER, "pro", "2026-12-05T10:00:06Z"), "false expired");

    check_every_order(&life, 2, played);
}

#[test]
fn resumed_before_the_end_it_goes_on() {
    let end = json!({"ends_at": "2026-11-05T10:00:00Z"});
    let shop = played(&[
        subscription("subscription_cancelled", "cancelled", "2026-10-20T00:00:00Z", "2026-11-05T10:00:00Z", end),
        subscription("subscription_resumed", "active", "2026-10-21T00:00:00Z", "2026-11-05T10:00:00Z", json!({})),
    ]);
    assert_eq!(shop.answer(USER, "pro", "2026-11-05T12:00:00Z"), "true active");
}

#[test]
fn a_trial_grants_until_its_end() {
    let trial = json!({"trial_ends_at": "2026-10-19T10:00:00Z"});
    let bought =
        subscription("subscription_created", "on_trial", "2026-10-05T10:00:03Z", "2026-10-19T10:00:00Z", trial.clone());
    assert_eq!(played(std::slice::from_ref(&bought)).answer(USER, "pro", "2026-10-19T09:00:00Z"), "true trialing");
    assert_eq!(played(std::slice::from_ref(&bought)).answer(USER, "pro", "2026-10-20T10:00:00Z"), "false expired");
    // The charge at its end fails: days of grace are counted from there.
    let failed =
        subscription("subscription_updated", "past_due", "2026-10-22T10:00:00Z", "2026-10-25T10:00:00Z", trial);
    let shop = played(&[bought, failed]);
    let shop = shop.with_grace_days(7);
    assert_eq!(shop.answer(USER, "pro", "2026-10-26T09:59:59Z"), "true past_due_grace");
    assert_eq!(shop.answer(USER, "pro", "2026-10-26T10:00:00Z"), "false past_due");
}

#[test]
fn past_due_is_counted_from_the_first_failure_and_recovers() {
    let failed = [
        subscription("subscription_updated", "past_due", "2026-11-05T10:00:07Z", "2026-11-08T10:00:00Z", json!({})),
        invoice("subscription_payment_failed", "pending", "2026-11-05T10:00:07Z"),
        // The second attempt.
        subscription("subscription_updated", "past_due", "2026-11-08T10:00:09Z", "2026-11-12T10:00:00Z", json!({})),
        invoice("subscription_payment_failed", "pending", "2026-11-08T10:00:09Z"),
    ];
    for count in [2, 4] {
        let shop = played(&failed[..count]);
        assert_eq!(
            shop.answer(USER, "pro", "2026-11-09T00:00:00Z"),
            "false past_due",
            "the next attempt is not the end of a period"
        );
        let shop = shop.with_grace_days(7);
        assert_eq!(shop.answer(USER, "pro", "2026-11-12T09:59:59Z"), "true past_due_grace", "{count}");
        assert_eq!(shop.answer(USER, "pro", "2026-11-12T10:00:00Z"), "false past_due", "{count}");
    }
    let mut recovered = failed.to_vec();
    recovered.extend([
        subscription("subscription_updated", "active", "2026-11-12T10:00:05Z", "2026-12-05T10:00:00Z", json!({})),
        invoice("subscription_payment_recovered", "paid", "2026-11-12T10:00:05Z"),
        invoice("subscription_payment_success", "paid", "2026-11-12T10:00:05Z"),
    ]);
    let shop = played(&recovered);
    assert_eq!(shop.answer(USER, "pro", "2026-12-01T00:00:00Z"), "true active");
    assert!(shop.state().iter().any(|row| row.contains("paid")));
    recovered.reverse();
    assert_eq!(played(&recovered).state(), shop.state());
}

#[test]
fn a_subscriptions_order_grants_nothing_beside_it() {
    let bought = [
        order("order_created", "12", 4, "paid", "2026-10-05T10:00:03Z"),
        subscription("subscription_created", "active", "2026-10-05T10:00:03Z", "2026-11-05T10:00:00Z", json!({})),
        // Later than all that the subscription says.
        order("order_refunded", "12", 4, "refunded", "2026-12-01T00:00:00Z"),
        subscription(
            "subscription_expired",
            "expired",
            "2026-11-05T10:00:05Z",
            "2026-11-05T10:00:00Z",
            json!({"ends_at": "2026-11-05T10:00:00Z"}),
        ),
    ];
    let all = played(&bought);
    assert_eq!(all.answer(USER, "pro", "2026-10-20T00:00:00Z"), "false expired");
    check_every_order(&bought, 3, played);
    assert_eq!(played(&bought[..2]).answer(USER, "pro", "2026-10-20T00:00:00Z"), "true active");
    assert_eq!(played(&bought[..3]).answer(USER, "pro", "2026-12-20T00:00:00Z"), "false expired");
}

#[test]
fn an_order_of_something_bought_once_has_no_end() {
    let holds = |bodies: &[Value], when: &str| played(bodies).decision(USER, "forever", at(when)).allowed;
    let bought = order("order_created", "21", 6, "paid", "2026-10-05T10:00:03Z");
    assert!(holds(std::slice::from_ref(&bought), "2036-01-01T00:00:00Z"));
    assert!(!holds(&[order("order_created", "21", 6, "pending", "2026-10-05T10:00:03Z")], "2026-10-06T00:00:00Z"));
    assert!(!holds(&[order("order_created", "21", 6, "fraudulent", "2026-10-05T10:00:03Z")], "2026-10-06T00:00:00Z"));
    // What is paid back is a payment; it ends nothing by itself.
    let refunded = order("order_refunded", "21", 6, "refunded", "2026-10-07T10:00:03Z");
    let shop = played(&[bought, refunded]);
    assert!(shop.decision(USER, "forever", at("2026-10-08T00:00:00Z")).allowed);
    assert!(shop.state().iter().any(|row| row.contains("refunded")));
}

#[test]
fn the_same_delivery_again_is_a_duplicate_and_an_older_one_is_stale() {
    let older =
        subscription("subscription_created", "active", "2026-10-05T10:00:03Z", "2026-11-05T10:00:00Z", json!({}));
    let newer =
        subscription("subscription_updated", "active", "2026-11-05T10:00:07Z", "2026-12-05T10:00:00Z", json!({}));
    let mut shop = played(std::slice::from_ref(&newer));
    assert_eq!(shop.deliver_signed(&secret(SECRET), &newer), Outcome::Duplicate);
    let before = shop.state();
    assert_eq!(shop.deliver_signed(&secret(SECRET), &older), Outcome::Stale);
    assert_eq!(shop.state(), before);
}
