//! What a payer does at Stripe, and what is decided about it at given times.

use plangate::decide::Policy;
use plangate::question::Asked;
use plangate::store::Outcome;
use plangate::time::Timestamp;
use rusqlite::types::Value as Stored;
use serde_json::{Value, json};

use super::told::{self, STRIPE, check_every_order};

const DAY: i64 = 86_400;
/// The start of 2026, in seconds.
const T: i64 = 1_767_225_600;

const CREATED: &str = "customer.subscription.created";
const UPDATED: &str = "customer.subscription.updated";
const DELETED: &str = "customer.subscription.deleted";

/// An event, `at` seconds after [`T`].
fn event(id: &str, event_type: &str, at: i64, object: Value, previous: Option<Value>) -> Value {
    let mut data = json!({"object": object});
    if let Some(previous) = previous {
        data["previous_attributes"] = previous;
    }
    json!({"id": id, "object": "event", "type": event_type, "created": T + at, "livemode": true, "data": data})
}

fn item(id: &str, price: &str, product: &str, from: i64, to: i64) -> Value {
    let created = if id == "si_pro" { T } else { T + DAY };
    json!({"id": id, "created": created, "quantity": 1, "current_period_start": T + from, "current_period_end": T + to,
        "price": {"id": price, "product": product, "recurring": {"interval": "month"}}})
}

fn pro(from: i64, to: i64) -> Value {
    item("si_pro", "price_pro", "prod_pro", from, to)
}

fn seo(from: i64, to: i64) -> Value {
    item("si_seo", "price_seo", "prod_seo", from, to)
}

fn subscription(status: &str, items: &[Value], fields: Value) -> Value {
    let mut object = json!({"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": status,
        "cancel_at_period_end": false, "cancel_at": null, "created": T, "metadata": {"userId": "user_1"},
        "items": {"object": "list", "data": items}});
    for (name, value) in fields.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

fn invoice(status: &str, attempts: u32) -> Value {
    json!({"id": "in_1", "customer": "cus_1", "status": status, "amount_due": 2000, "amount_paid": 2000, "currency": "usd",
        "attempt_count": attempts, "billing_reason": "subscription_cycle",
        "parent": {"subscription_details": {"subscription": "sub_1", "metadata": {"userId": "user_1"}}}})
}

/// A shop that is asked as the API is, at times counted from [`T`].
struct Shop(told::Shop);

impl Shop {
    fn new() -> Self {
        Self(told::Shop::new(
            STRIPE,
            &json!({
                "pro": {"ids": {"stripe": ["price_pro"]}},
                "seo": {"ids": {"stripe": ["prod_seo"]}},
                "book": {"ids": {"stripe": ["price_book"]}},
            }),
        ))
    }

    #[track_caller]
    fn deliver(&mut self, body: &Value) -> Outcome {
        self.0.deliver(body["id"].as_str().unwrap(), body)
    }

    /// The decision about a plan at a time; with nothing asked, about any paid plan.
    #[track_caller]
    fn check(&self, query: &str, at: i64, allowed: bool, reason: &str) {
        let question = Asked::from_query(query).unwrap().questions.remove(0);
        let decision = self.0.decision_about("user:user_1", &question, Timestamp::from_secs(T + at));
        let told = serde_json::to_value(decision.reason).unwrap();
        assert_eq!((decision.allowed, told.as_str()), (allowed, Some(reason)), "{query} at {at}");
    }

    fn texts(&self, sql: &str) -> Vec<String> {
        let text = |value: &Stored| match value {
            Stored::Text(text) => text.clone(),
            Stored::Integer(number) => number.to_string(),
            _ => "-".to_owned(),
        };
        self.0.rows(sql).iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join(" ")).collect()
    }
}

/// Bought, renewed, canceled, over.
fn bought_to_ended() -> Vec<Value> {
    let first = [pro(0, 30 * DAY)];
    let second = [pro(30 * DAY, 60 * DAY)];
    let canceling = json!({"cancel_at_period_end": true, "cancel_at": T + 60 * DAY, "canceled_at": T + 50 * DAY});
    vec![
        event("evt_5", CREATED, 0, subscription("incomplete", &first, json!({})), None),
        // In the same second; its id is the smaller one.
        event("evt_1", UPDATED, 0, subscription("active", &first, json!({})), Some(json!({"status": "incomplete"}))),
        event(
            "evt_2",
            UPDATED,
            30 * DAY,
            subscription("active", &second, json!({})),
            Some(json!({"items": {"data": first}})),
        ),
        event(
            "evt_6",
            UPDATED,
            50 * DAY,
            subscription("active", &second, canceling.clone()),
            Some(json!({"cancel_at_period_end": false, "cancel_at": null})),
        ),
        event("evt_4", DELETED, 60 * DAY, subscription("canceled", &second, canceling), None),
    ]
}

#[test]
fn bought_renewed_canceled_and_over() {
    let events = bought_to_ended();
    let mut shop = Shop::new();
    shop.check("plan=pro", 0, false, "no_subscription");
    shop.deliver(&events[0]);
    shop.check("plan=pro", 1, false, "incomplete");
    shop.deliver(&events[1]);
    shop.check("plan=pro", 1, true, "active");
    shop.check("plan=seo", 1, false, "plan_mismatch");
    // The renewal's webhook may be a day late.
    shop.check("plan=pro", 31 * DAY - 1, true, "active");
    shop.check("plan=pro", 31 * DAY, false, "expired");
    shop.deliver(&events[2]);
    shop.check("plan=pro", 59 * DAY, true, "active");
    shop.deliver(&events[3]);
    shop.check("plan=pro", 60 * DAY - 1, true, "canceled_until_period_end");
    shop.check("plan=pro", 60 * DAY, false, "expired");
    shop.deliver(&events[4]);
    shop.check("plan=pro", 60 * DAY, false, "expired");
    shop.check("", 60 * DAY - 1, false, "expired");
    assert_eq!(shop.deliver(&events[4]), Outcome::Duplicate);
}

#[test]
fn every_order_of_a_lifecycle_ends_alike() {
    let mut events = bought_to_ended();
    events.push(event("evt_3", "invoice.paid", 30 * DAY, invoice("paid", 2), None));
    check_every_order(&events, 2, |events| {
        let mut shop = Shop::new();
        for body in events {
            shop.deliver(body);
        }
        let rows = |table: &str| shop.0.rows(&format!("SELECT * FROM {table}")).len();
        assert_eq!((rows("records"), rows("payments")), (1, 1));
        shop.0
    });
}

#[test]
fn a_trial_grants_until_it_ends_and_then_what_was_paid_does() {
    let items = [pro(0, 14 * DAY)];
    let trial = json!({"trial_start": T, "trial_end": T + 14 * DAY});
    let mut shop = Shop::new();
    shop.deliver(&event("evt_1", CREATED, 0, subscription("trialing", &items, trial.clone()), None));
    shop.deliver(&event(
        "evt_2",
        "customer.subscription.trial_will_end",
        11 * DAY,
        subscription("trialing", &items, trial.clone()),
        None,
    ));
    shop.check("plan=pro", 14 * DAY, true, "trialing");
    shop.check("plan=pro", 15 * DAY, false, "expired");
    assert_eq!(shop.texts("SELECT trial_used FROM records"), ["1"]);

    // No payment method: Stripe pauses it.
    let paused = subscription("paused", &items, trial.clone());
    shop.deliver(&event("evt_3", UPDATED, 14 * DAY, paused.clone(), Some(json!({"status": "trialing"}))));
    shop.deliver(&event("evt_4", "customer.subscription.paused", 14 * DAY, paused, None));
    shop.check("plan=pro", 14 * DAY, false, "paused");
    let resumed = subscription("active", &[pro(16 * DAY, 46 * DAY)], trial);
    shop.deliver(&event("evt_5", UPDATED, 16 * DAY, resumed, Some(json!({"status": "paused"}))));
    shop.check("plan=pro", 40 * DAY, true, "active");

    // Canceled in a trial.
    let mut shop = Shop::new();
    let canceling = json!({"trial_end": T + 14 * DAY, "cancel_at_period_end": true});
    shop.deliver(&event(
        "evt_1",
        UPDATED,
        DAY,
        subscription("trialing", &items, canceling),
        Some(json!({"cancel_at_period_end": false})),
    ));
    shop.check("plan=pro", 14 * DAY - 1, true, "canceled_until_period_end");
    shop.check("plan=pro", 14 * DAY, false, "expired");
}

#[test]
fn past_due_grants_for_the_days_of_grace_and_again_once_paid() {
    // Stripe has begun the next period when the charge for it fails.
    let items = [pro(30 * DAY, 60 * DAY)];
    let status = |id: &str, at: i64, now: &str, before: &str| {
        event(id, UPDATED, at, subscription(now, &items, json!({})), Some(json!({"status": before})))
    };
    let mut shop = Shop::new();
    shop.deliver(&status("evt_1", 30 * DAY + 3600, "past_due", "active"));
    shop.deliver(&event("evt_2", "invoice.payment_failed", 30 * DAY + 3600, invoice("open", 1), None));
    shop.deliver(&event("evt_3", "invoice.payment_failed", 33 * DAY, invoice("open", 2), None));
    assert_eq!(shop.texts("SELECT id, status FROM payments"), ["in_1 failed"]);
    // The period that was paid for is over, and no days of grace are set.
    shop.check("plan=pro", 30 * DAY + 3600, false, "past_due");
    // Days of grace count from when the charge was due, which further attempts do not move.
    shop.0.policy = Policy::new(24, 40);
    shop.check("plan=pro", 70 * DAY - 1, true, "past_due_grace");
    shop.check("plan=pro", 70 * DAY, false, "past_due");
    shop.0.policy = Policy::default();

    shop.deliver(&status("evt_4", 40 * DAY, "unpaid", "past_due"));
    shop.check("plan=pro", 40 * DAY, false, "unpaid");
    // Within the same second, and arriving late: what was before.
    shop.deliver(&status("evt_5", 41 * DAY, "active", "unpaid"));
    shop.deliver(&status("evt_9", 41 * DAY, "unpaid", "past_due"));
    shop.deliver(&event("evt_6", "invoice.paid", 41 * DAY, invoice("paid", 3), None));
    shop.check("plan=pro", 41 * DAY, true, "active");
    assert_eq!(shop.texts("SELECT id, status, amount FROM payments"), ["in_1 paid 2000"]);

    // Ended for not being paid.
    shop.deliver(&event(
        "evt_7",
        DELETED,
        50 * DAY,
        subscription("canceled", &items, json!({"ended_at": T + 50 * DAY})),
        None,
    ));
    shop.check("plan=pro", 50 * DAY, false, "expired");
}

#[test]
fn what_was_bought_once_stays_and_a_refund_is_a_payment() {
    let session = |status: &str| {
        json!({"id": "cs_1", "mode": "payment", "payment_status": status, "payment_intent": "pi_1", "customer": null,
            "client_reference_id": "user_1", "amount_total": 3000, "currency": "usd", "metadata": {"price_id": "price_book"}})
    };
    let mut shop = Shop::new();
    shop.deliver(&event("evt_1", "checkout.session.completed", 0, session("unpaid"), None));
    shop.check("plan=book", DAY, false, "no_subscription");
    shop.deliver(&event("evt_2", "checkout.session.async_payment_succeeded", 3 * DAY, session("paid"), None));
    shop.check("plan=book", 3000 * DAY, true, "active");

    let charge = json!({"id": "ch_1", "payment_intent": "pi_1", "amount": 3000, "amount_refunded": 3000, "refunded": true,
        "currency": "usd", "created": T + 3 * DAY, "metadata": {"userId": "user_1"}});
    shop.deliver(&event("evt_3", "charge.refunded", 5 * DAY, charge, None));
    shop.check("plan=book", 6 * DAY, true, "active");
    assert_eq!(
        shop.texts("SELECT id, payment, status, amount FROM payments ORDER BY id"),
        ["ch_1 pi_1 refunded 3000", "pi_1 pi_1 paid 3000"]
    );
    // The refund names the record it is about.
    let named = "SELECT event ->> '$.payments[0].record' FROM deliveries WHERE event_id = 'evt_3'";
    assert_eq!(shop.texts(named), shop.texts("SELECT id FROM records"));
}

#[test]
fn money_back_for_a_purchase_is_its_buyers_though_only_the_payment_is_named() {
    let session = |customer: Value| {
        let session = json!({"id": "cs_1", "mode": "payment", "payment_status": "paid", "payment_intent": "pi_1",
            "customer": customer, "client_reference_id": "user_1", "amount_total": 3000, "currency": "usd",
            "metadata": {"price_id": "price_book"}});
        event("evt_1", "checkout.session.completed", 0, session, None)
    };
    // What Stripe sends: a session's metadata are not its charge's, a guest is no customer, and no dispute names one.
    let charge = json!({"id": "ch_1", "payment_intent": "pi_1", "customer": null, "amount": 3000, "amount_refunded": 3000,
        "refunded": true, "created": T, "metadata": {}});
    let dispute = |status: &str| {
        json!({"id": "du_1", "charge": "ch_1", "payment_intent": "pi_1", "amount": 3000, "created": T + DAY,
            "metadata": {}, "reason": "fraudulent", "status": status})
    };
    let refunded = event("evt_2", "charge.refunded", DAY, charge, None);
    let disputed = event("evt_3", "charge.dispute.created", DAY, dispute("needs_response"), None);
    let won = event("evt_4", "charge.dispute.closed", 2 * DAY, dispute("won"), None);
    for (customer, back, holds) in [
        (json!(null), vec![&refunded], false),
        (json!(null), vec![&disputed], false),
        (json!("cus_1"), vec![&disputed], false),
        (json!("cus_1"), vec![&disputed, &won], true),
        (json!("cus_1"), vec![&won, &disputed], true),
    ] {
        let bought = session(customer);
        for is_last in [false, true] {
            let mut shop = Shop::new();
            shop.0.policy.refunds_revoke = true;
            let mut told = back.clone();
            told.insert(if is_last { told.len() } else { 0 }, &bought);
            for body in told {
                shop.deliver(body);
            }
            shop.check("plan=book", 3 * DAY, holds, if holds { "active" } else { "expired" });
            let unowned = "SELECT id FROM payments WHERE payer IS NOT 'user:user_1'";
            assert_eq!(shop.texts(unowned), Vec::<String>::new(), "{bought} {back:?}");
        }
    }
}

#[test]
fn every_item_counts_and_one_that_is_taken_out_ends() {
    let both = [pro(0, 30 * DAY), seo(DAY, 365 * DAY)];
    let added = event(
        "evt_1",
        UPDATED,
        DAY,
        subscription("active", &both, json!({})),
        Some(json!({"items": {"data": [both[0]]}})),
    );
    let removed = event(
        "evt_2",
        UPDATED,
        9 * DAY,
        subscription("active", &both[..1], json!({})),
        Some(json!({"items": {"data": both}})),
    );
    for order in [[&added, &removed], [&removed, &added]] {
        let mut shop = Shop::new();
        shop.deliver(order[0]);
        if order[0] == &added {
            shop.check("plan=pro", 5 * DAY, true, "active");
            shop.check("plan=seo", 5 * DAY, true, "active");
        }
        shop.deliver(order[1]);
        shop.check("plan=pro", 10 * DAY, true, "active");
        shop.check("plan=seo", 10 * DAY, false, "expired");
        assert_eq!(shop.texts("SELECT id, status FROM records ORDER BY id"), ["sub_1 active", "sub_1/si_seo ended"]);
    }

    // The first one is taken out: the other takes its place.
    let kept = event(
        "evt_3",
        UPDATED,
        9 * DAY,
        subscription("active", &both[1..], json!({})),
        Some(json!({"items": {"data": both}})),
    );
    let mut shop = Shop::new();
    shop.deliver(&added);
    shop.deliver(&kept);
    shop.check("plan=seo", 10 * DAY, true, "active");
    shop.check("plan=pro", 10 * DAY, false, "plan_mismatch");
    shop.deliver(&event("evt_4", DELETED, 20 * DAY, subscription("canceled", &both[1..], json!({})), None));
    shop.check("", 20 * DAY, false, "expired");

    // The event that takes it out is lost: the next one that leaves it out is enough.
    let mut shop = Shop::new();
    shop.deliver(&event(
        "evt_1",
        UPDATED,
        DAY,
        subscription("active", &[pro(0, 30 * DAY), seo(DAY, 30 * DAY)], json!({})),
        None,
    ));
    shop.deliver(&event(
        "evt_5",
        UPDATED,
        30 * DAY,
        subscription("active", &[pro(30 * DAY, 60 * DAY)], json!({})),
        None,
    ));
    shop.check("plan=pro", 40 * DAY, true, "active");
    shop.check("plan=seo", 30 * DAY, false, "expired");
}

#[test]
fn a_cancellation_in_a_later_period_does_not_shorten_this_one() {
    let items = [pro(0, 30 * DAY)];
    let mut shop = Shop::new();
    let later = json!({"cancel_at": T + 90 * DAY});
    shop.deliver(&event("evt_1", UPDATED, 0, subscription("active", &items, later), Some(json!({"cancel_at": null}))));
    // It renews before, so the renewal may be late as always.
    shop.check("plan=pro", 30 * DAY, true, "active");
    let sooner = json!({"cancel_at": T + 10 * DAY});
    shop.deliver(&event(
        "evt_2",
        UPDATED,
        DAY,
        subscription("active", &items, sooner),
        Some(json!({"cancel_at": T + 90 * DAY})),
    ));
    shop.check("plan=pro", 10 * DAY - 1, true, "canceled_until_period_end");
    shop.check("plan=pro", 10 * DAY, false, "expired");
    // Taken back.
    shop.deliver(&event(
        "evt_3",
        UPDATED,
        2 * DAY,
        subscription("active", &items, json!({})),
        Some(json!({"cancel_at": T + 10 * DAY})),
    ));
    shop.check("plan=pro", 12 * DAY, true, "active");
}

#[test]
fn two_changes_of_seats_in_a_second_are_a_tie_that_is_marked() {
    let seats = |id: &str, quantity: u32| {
        let mut item = pro(0, 30 * DAY);
        item["quantity"] = json!(quantity);
        event(id, UPDATED, 5, subscription("active", &[item], json!({})), Some(json!({"quantity": quantity - 1})))
    };
    let (two, three) = (seats("evt_2", 2), seats("evt_1", 3));
    for order in [[&two, &three], [&three, &two]] {
        let mut shop = Shop::new();
        for body in order {
            shop.deliver(body);
        }
        assert_eq!(shop.texts("SELECT seats FROM records"), ["2"], "the larger id, in any order");
        for again in [order[1], order[0]] {
            assert_eq!(shop.texts("SELECT detail FROM deliveries ORDER BY seq"), ["-", "tied"]);
            assert_eq!(shop.deliver(again), Outcome::Duplicate);
        }
        assert_eq!(shop.texts("SELECT detail FROM deliveries ORDER BY seq"), ["-", "tied"]);
    }
}
