//! Every event is signed as `plangate trigger` signs it, verified, and read by the core.

use plangate::delivery::{Delivery, Headers};
use plangate::event::{IgnoredReason, Parsed, Payment, Record};
use plangate::provider::{Ours, PROVIDERS, named};

use super::*;

fn wish() -> Wish {
    Wish {
        user: None,
        org: None,
        plan: None,
        status: None,
        at: Timestamp::from_secs(1_767_225_600),
        period_end: None,
        trial: false,
        seats: None,
        flat: false,
        instance_id: None,
        event_id: "evt_1".into(),
    }
}

fn composer_of(name: &str) -> &'static dyn Composer {
    *COMPOSERS.iter().find(|composer| composer.provider() == name).unwrap()
}

fn is_refused(composer: &dyn Composer, event_type: &str, wish: &Wish) -> bool {
    matches!(composer.compose(event_type, wish), Err(Failure::Usage(_)))
}

/// The id under which it is delivered, and what the core reads out of it. It is proved by every kind of secret.
fn read(composer: &dyn Composer, event_type: &str, wish: &Wish) -> (String, Parsed) {
    let provider = named(composer.provider()).unwrap();
    let secret = |name: &&'static str| provider.parse_secret(name, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let secrets: Vec<_> = provider.secret_names().iter().map(secret).collect();
    let body = composer.compose(event_type, wish).unwrap().body.to_string();
    let request =
        crate::trigger::signed("http://localhost", provider, &secrets, &wish.event_id, wish.at, body).unwrap();
    let delivery = Delivery { headers: Headers::new(request.headers), body: request.body.into_bytes() };
    // A worker may have been given the preferred one alone.
    provider.verify(&delivery, &secrets[..1], &Ours::default(), wish.at).unwrap();
    let verified = provider.verify(&delivery, &secrets, &Ours::default(), wish.at).unwrap();
    (verified.event_id().to_owned(), provider.parse(&verified, &Ours::default()).unwrap())
}

/// What the core reads, in one line: the payer, its plans with their status, end and seats, and the payments.
fn in_one_line(parsed: &Parsed) -> String {
    let record = |record: &Record| {
        let plan = record.plan.as_ref().map_or("-", |plan| &plan.key);
        let state = record.state.as_ref().unwrap();
        let end = state.period_end.map_or(String::new(), |end| format!(" {}", &end.to_string()[..10]));
        let seats = state.seats.map_or(String::new(), |seats| format!(" {} seats", seats.as_stored()));
        format!("{plan} {}{end}{seats}", state.status)
    };
    let payment = |payment: &Payment| {
        let amount = payment.amount.map_or(String::new(), |amount| format!(" {amount}"));
        format!("{}{amount}", payment.status)
    };
    match parsed {
        Parsed::Ignored { reason, .. } => reason.as_str().to_owned(),
        Parsed::Event(event) => {
            let payer = event.payer.as_ref().map_or("-".to_owned(), Payer::key);
            let told = event.records.iter().map(record).chain(event.payments.iter().map(payment));
            let all: Vec<_> = told.chain(event.deleted_at.map(|_| "deleted".to_owned())).collect();
            format!("{payer}: {}", all.join(", ")).trim_end().to_owned()
        }
    }
}

/// What is read out of every event when nothing is wished for. Clerk's and Stripe's are in `tests/cli.rs`.
const MEANINGS: &[(&str, &[(&str, &str)])] = &[
    (
        "lemonsqueezy",
        &[
            ("order_created", "user:user_example: 1001 active 1 seats, paid 2000"),
            ("order_refunded", "user:user_example: 1001 active 1 seats, refunded 2000"),
            ("subscription_created", "user:user_example: 1001 active 2026-01-31 1 seats, - ended"),
            ("subscription_updated", "user:user_example: 1001 active 2026-01-31 1 seats, - ended"),
            ("subscription_cancelled", "user:user_example: 1001 canceled 2026-01-31 1 seats, - ended"),
            ("subscription_resumed", "user:user_example: 1001 active 2026-01-31 1 seats, - ended"),
            ("subscription_expired", "user:user_example: 1001 ended 2026-01-01 1 seats, - ended"),
            ("subscription_paused", "user:user_example: 1001 paused 1 seats, - ended"),
            ("subscription_unpaused", "user:user_example: 1001 active 2026-01-31 1 seats, - ended"),
            ("subscription_payment_success", "user:user_example: paid 2000"),
            ("subscription_payment_failed", "user:user_example: failed 2000"),
            ("subscription_payment_recovered", "user:user_example: paid 2000"),
            ("subscription_payment_refunded", "user:user_example: refunded 2000"),
            ("license_key_created", "unused_type"),
            ("license_key_updated", "unused_type"),
        ],
    ),
    (
        "paddle",
        &[
            ("subscription.created", "user:user_example: pri_example_pro active 2026-01-31 1 seats"),
            ("subscription.trialing", "user:user_example: pri_example_pro trialing 2026-01-31 1 seats"),
            ("subscription.activated", "user:user_example: pri_example_pro active 2026-01-31 1 seats"),
            ("subscription.updated", "user:user_example: pri_example_pro active 2026-01-31 1 seats"),
            ("subscription.past_due", "user:user_example: pri_example_pro past_due 2026-01-01 1 seats"),
            ("subscription.paused", "user:user_example: pri_example_pro paused 1 seats"),
            ("subscription.resumed", "user:user_example: pri_example_pro active 2026-01-31 1 seats"),
            ("subscription.canceled", "user:user_example: pri_example_pro ended 1 seats"),
            ("subscription.imported", "user:user_example: pri_example_pro active 2026-01-31 1 seats"),
            ("transaction.created", "user:user_example:"),
            ("transaction.paid", "user:user_example: paid 2000"),
            ("transaction.completed", "user:user_example: paid 2000"),
            ("transaction.payment_failed", "user:user_example: failed 2000"),
            ("transaction.past_due", "user:user_example: failed 2000"),
            ("adjustment.created", "-: pending 2000"),
            ("adjustment.updated", "-: refunded 2000"),
            ("customer.created", "user:user_example:"),
            ("customer.updated", "user:user_example:"),
        ],
    ),
    (
        "polar",
        &[
            ("subscription.created", "user:user_example: 00000000-0000-4000-8000-00000000e001 active 2026-01-31"),
            ("subscription.active", "user:user_example: 00000000-0000-4000-8000-00000000e001 active 2026-01-31"),
            ("subscription.updated", "user:user_example: 00000000-0000-4000-8000-00000000e001 active 2026-01-31"),
            ("subscription.canceled", "user:user_example: 00000000-0000-4000-8000-00000000e001 canceled 2026-01-31"),
            ("subscription.uncanceled", "user:user_example: 00000000-0000-4000-8000-00000000e001 active 2026-01-31"),
            ("subscription.cycled", "user:user_example: 00000000-0000-4000-8000-00000000e001 active 2026-01-31"),
            ("subscription.past_due", "user:user_example: 00000000-0000-4000-8000-00000000e001 past_due 2026-01-01"),
            ("subscription.revoked", "user:user_example: 00000000-0000-4000-8000-00000000e001 ended 2026-01-31"),
            ("subscription.paused", "user:user_example: 00000000-0000-4000-8000-00000000e001 paused 2026-01-31"),
            ("subscription.resumed", "user:user_example: 00000000-0000-4000-8000-00000000e001 active 2026-01-31"),
            ("order.created", "user:user_example: pending 2000"),
            ("order.paid", "user:user_example: paid 2000"),
            ("order.updated", "user:user_example: paid 2000"),
            ("order.refunded", "user:user_example: refunded 2000"),
            ("refund.created", "-: pending 2000"),
            ("refund.updated", "-: partially_refunded 2000"),
            ("customer.created", "user:user_example:"),
            ("customer.updated", "user:user_example:"),
            ("customer.state_changed", "user:user_example: 00000000-0000-4000-8000-00000000e001 active 2026-01-31"),
        ],
    ),
    (
        "revenuecat",
        &[
            ("TEST", "unused_type"),
            ("INITIAL_PURCHASE", "user:user_example: pro_monthly active 2026-01-31, paid 999"),
            ("RENEWAL", "user:user_example: pro_monthly active 2026-01-31, paid 999"),
            ("CANCELLATION", "user:user_example: pro_monthly canceled 2026-01-31"),
            ("UNCANCELLATION", "user:user_example: pro_monthly active 2026-01-31"),
            ("NON_RENEWING_PURCHASE", "user:user_example: pro_monthly active, paid 999"),
            ("SUBSCRIPTION_PAUSED", "user:user_example: pro_monthly canceled 2026-01-31"),
            ("EXPIRATION", "user:user_example: pro_monthly ended 2026-01-01"),
            ("BILLING_ISSUE", "user:user_example: pro_monthly past_due 2026-01-17, failed"),
            ("PRODUCT_CHANGE", "unused_type"),
            ("TRANSFER", "user:user_example:"),
            ("SUBSCRIPTION_EXTENDED", "user:user_example: pro_monthly active 2026-01-31"),
            ("TEMPORARY_ENTITLEMENT_GRANT", "user:user_example: pro_monthly canceled 2026-01-02"),
            ("REFUND_REVERSED", "user:user_example: pro_monthly active 2026-01-31, paid 999"),
        ],
    ),
    (
        "standard-webhooks",
        &[
            ("subscription.changed", "user:user_example: pro active 2026-01-31"),
            ("purchase.completed", "user:user_example: pro active"),
            ("purchase.revoked", "user:user_example: - ended"),
            ("payment.succeeded", "user:user_example: paid 2000"),
            ("payment.failed", "user:user_example: failed 2000"),
            ("payment.partially_refunded", "user:user_example: partially_refunded 2000"),
            ("payment.refunded", "user:user_example: refunded 2000"),
            ("payment.disputed", "user:user_example: disputed 2000"),
            ("customer.linked", "user:user_example:"),
            ("payer.deleted", "user:user_example: deleted"),
        ],
    ),
];

#[test]
fn every_provider_has_a_composer_and_every_composer_a_provider() {
    let providers: Vec<_> = PROVIDERS.iter().map(|provider| provider.name()).collect();
    let composers: Vec<_> = COMPOSERS.iter().map(|composer| composer.provider()).collect();
    assert_eq!(composers, providers);
}

#[test]
fn every_event_verifies_as_signed_and_can_be_read() {
    for composer in COMPOSERS {
        for event_type in composer.event_types() {
            // Clerk has events of users, who are in no organization.
            let org = (!event_type.starts_with("user.")).then(|| "org_7".to_owned());
            let (id, parsed) = read(*composer, event_type, &Wish { org, ..wish() });
            // Whose deliveries bear no id has that of the body.
            assert!(id == "evt_1" || id.starts_with("sha256_"), "{event_type}: {id}");
            match parsed {
                Parsed::Event(event) => assert_eq!(event.event_type, event_type),
                Parsed::Ignored { reason, .. } => assert_eq!(reason, IgnoredReason::UnusedType, "{event_type}"),
            }
        }
    }
}

#[test]
fn every_event_is_read_as_it_is_meant() {
    let composers = COMPOSERS.iter().map(|composer| composer.provider());
    let here: Vec<_> = composers.filter(|name| !["clerk", "stripe"].contains(name)).collect();
    assert_eq!(names(MEANINGS), here);
    for (provider, meanings) in MEANINGS {
        let composer = composer_of(provider);
        assert_eq!(composer.event_types(), names(meanings), "{provider}");
        for (event_type, expected) in *meanings {
            assert_eq!(in_one_line(&read(composer, event_type, &wish()).1), *expected, "{event_type}");
        }
    }
}

#[test]
fn a_composers_statuses_are_those_that_the_core_knows() {
    for (provider, event_type) in [
        ("clerk", "subscriptionItem.updated"),
        ("lemonsqueezy", "subscription_updated"),
        ("paddle", "subscription.updated"),
        ("polar", "subscription.updated"),
        ("standard-webhooks", "subscription.changed"),
        ("stripe", "customer.subscription.updated"),
    ] {
        let composer = composer_of(provider);
        let is_unknown = |status: &str| {
            let wish = Wish { status: Some(status.into()), ..wish() };
            let body = composer.compose(event_type, &wish).unwrap().body.to_string();
            is_unknown_status(named(provider).unwrap(), "evt_1", wish.at, &body)
        };
        for status in composer.statuses() {
            assert!(!is_unknown(status), "{provider}: {status}");
        }
        assert!(is_unknown("banana"), "{provider}");
    }
}

#[test]
fn what_is_wished_for_is_in_the_event() {
    let of_org = |org: &str, plan: &str| Wish { org: Some(org.into()), plan: Some(plan.into()), ..wish() };
    let trial = Wish { trial: true, user: Some("ada".into()), ..wish() };
    let end = Wish { period_end: Some(Timestamp::from_secs(1_772_323_200)), ..wish() };
    let seats = Wish { seats: Some(Seats::Limited(3)), ..of_org("acme", "7") };
    let past_due = Wish { status: Some("past_due".into()), ..wish() };
    for (provider, event_type, wish, expected) in [
        ("lemonsqueezy", "subscription_updated", &seats, "org:acme: 7 active 2026-01-31 3 seats, - ended"),
        ("lemonsqueezy", "subscription_created", &trial, "user:ada: 1001 trialing 2026-01-15 1 seats, - ended"),
        ("lemonsqueezy", "subscription_updated", &end, "user:user_example: 1001 active 2026-03-01 1 seats, - ended"),
        ("lemonsqueezy", "subscription_updated", &past_due, "user:user_example: 1001 past_due 1 seats, - ended"),
        ("revenuecat", "RENEWAL", &of_org("org_acme", "team"), "org:org_acme: team active 2026-01-31, paid 999"),
        ("revenuecat", "INITIAL_PURCHASE", &trial, "user:ada: pro_monthly trialing 2026-01-08"),
        ("revenuecat", "CANCELLATION", &end, "user:user_example: pro_monthly canceled 2026-03-01"),
    ] {
        assert_eq!(in_one_line(&read(composer_of(provider), event_type, wish).1), expected, "{event_type}");
    }
}

#[test]
fn what_an_event_has_no_place_for_is_refused() {
    let plan = Wish { plan: Some("7".into()), ..wish() };
    let status = Wish { status: Some("active".into()), ..wish() };
    let trial = Wish { trial: true, ..wish() };
    for (provider, event_type, wish) in [
        ("lemonsqueezy", "order_created", &trial),
        ("lemonsqueezy", "subscription_payment_success", &plan),
        ("lemonsqueezy", "license_key_created", &status),
        ("lemonsqueezy", "subscription_updated", &Wish { seats: Some(Seats::Unlimited), ..wish() }),
        ("revenuecat", "RENEWAL", &Wish { seats: Some(Seats::Limited(2)), ..wish() }),
        ("revenuecat", "RENEWAL", &status),
        ("revenuecat", "TRANSFER", &plan),
        ("revenuecat", "NON_RENEWING_PURCHASE", &trial),
        ("revenuecat", "RENEWAL", &Wish { org: Some("acme".into()), ..wish() }),
    ] {
        assert!(is_refused(composer_of(provider), event_type, wish), "{event_type}");
    }
    for composer in COMPOSERS {
        assert!(is_refused(*composer, "no.such_event", &wish()), "{}", composer.provider());
    }
    // Clerk has a flat form, and events of a user in an organization.
    for composer in COMPOSERS.iter().filter(|composer| composer.provider() != "clerk") {
        for event_type in composer.event_types() {
            assert!(is_refused(*composer, event_type, &Wish { flat: true, ..wish() }), "{event_type}");
            let both = Wish { user: Some("u".into()), org: Some("org_1".into()), ..wish() };
            assert!(is_refused(*composer, event_type, &both), "{event_type}");
        }
    }
    for provider in ["clerk", "lemonsqueezy", "revenuecat", "stripe"] {
        for event_type in composer_of(provider).event_types() {
            let nobody = Wish { user: Some(String::new()), ..wish() };
            assert!(is_refused(composer_of(provider), event_type, &nobody), "{event_type}");
        }
    }
}
