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
mod told;

use plangate::delivery::Verified;
use plangate::event::{Event, Parsed, Version};
use plangate::payer::{MAX_PAYER_ID_BYTES, Payer};
use plangate::provider::{Environment, Ours, Provider};
use plangate::time::Timestamp;
use serde_json::{Value, json};

use told::{SENT_AT_SECS, STRIPE};

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
    STRIPE.check_payloads();
}

#[test]
fn every_type_has_a_body_and_every_expectation_has_one_too() {
    STRIPE.check_that_nothing_is_without_a_payload(EVENT_TYPES);
}

#[test]
fn the_attempts_own_time_is_used_only_where_the_body_has_no_clock() {
    STRIPE.check_that_attempts_say_the_same_but_for(&["envelope.no_created"]);
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
    STRIPE.check_causes(cases);
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
        let Ok(Parsed::Event(event)) = STRIPE.parse(event_id, body.to_string().as_bytes()) else {
            panic!("{event_type}")
        };
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

#[cfg(feature = "sqlite")]
#[test]
fn an_id_that_looks_like_a_card_number_is_read_from_a_dead_letter_as_it_came() {
    STRIPE.check_that_masking_keeps_ids_but_for(&["customer", "payment_intent", "plan", "product", "subscription"]);
}

#[test]
fn whatever_stands_in_a_body_is_read_or_refused_and_stored() {
    STRIPE.check_odd_payloads();
}

fn payload(name: &str) -> Value {
    STRIPE.payloads().into_iter().find(|payload| payload.name == name).unwrap().body()
}

fn stripe() -> &'static dyn Provider {
    STRIPE.provider()
}

#[track_caller]
fn event_of(body: &Value) -> Event {
    match STRIPE.parse("evt_1", body.to_string().as_bytes()) {
        Ok(Parsed::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}
