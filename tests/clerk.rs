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

mod told;

use plangate::event::Parsed;
use plangate::payer::{MAX_PAYER_ID_BYTES, Payer};

use told::CLERK;

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
    CLERK.check_payloads();
}

#[test]
fn every_type_of_clerks_catalog_has_a_payload_and_every_expectation_has_one_too() {
    CLERK.check_that_nothing_is_without_a_payload(EVENT_TYPES);
}

#[test]
fn the_attempts_own_time_is_used_only_where_the_body_has_no_clock() {
    CLERK.check_that_attempts_say_the_same_but_for(&["flat.without_any_timestamp", "quirk.no_time_at_all"]);
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
    CLERK.check_causes(cases);
}

#[test]
fn of_a_field_that_is_there_twice_the_last_counts() {
    let read =
        CLERK.parse("msg_1", br#"{"type":"user.created","type":"user.deleted","data":{"id":"user_1","id":"user_2"}}"#);
    let Ok(Parsed::Event(event)) = read else { panic!("{read:?}") };
    assert_eq!((event.event_type.as_str(), event.payer), ("user.deleted", Payer::from_key("user:user_2")));
}

#[test]
fn a_payload_cut_short_anywhere_is_unreadable_and_says_so() {
    for payload in CLERK.payloads() {
        let body = payload.body().to_string();
        for end in 0..body.len() {
            let error = CLERK.parse("msg_1", &body.as_bytes()[..end]).unwrap_err();
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

#[test]
fn no_scalar_replaced_by_anything_makes_reading_panic() {
    CLERK.check_that_reading_never_panics();
}

#[test]
fn an_id_that_looks_like_a_card_number_is_read_from_a_dead_letter_as_it_came() {
    CLERK.check_that_masking_keeps_ids_but_for(&["plan", "slug"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn whatever_can_be_read_can_be_stored() {
    CLERK.check_odd_payloads();
}
