//! Lemon Squeezy's deliveries: `subscription_updated` beside a name for what happened.
//! <https://docs.lemonsqueezy.com/help/webhooks/event-types>

use serde_json::{Value, json};

use crate::world::Change::{self, *};
use crate::world::{DAY_MS, ONCE, PLANS, Stage, Sub, World, day_of_month, rfc3339};

pub fn tell(world: &mut World, _before: &Sub, after: &Sub, change: Change) {
    let at = world.at - world.at.rem_euclid(1_000);
    let mut squeezy = LemonSqueezy { world, at };
    match change {
        BuyOnce => squeezy.order(after, "order_created"),
        Buy | BuyTrial => {
            squeezy.order(after, "order_created");
            squeezy.subscription(after, &["subscription_created", "subscription_updated"]);
            squeezy.invoice(after, "subscription_payment_success", "paid");
        }
        Renew => {
            squeezy.subscription(after, &["subscription_updated"]);
            squeezy.invoice(after, "subscription_payment_success", "paid");
        }
        Fail | FailAgain => {
            squeezy.subscription(after, &["subscription_updated"]);
            squeezy.invoice(after, "subscription_payment_failed", "pending");
        }
        Recover => {
            squeezy.subscription(after, &["subscription_updated"]);
            squeezy.invoice(after, "subscription_payment_success", "paid");
            squeezy.invoice(after, "subscription_payment_recovered", "paid");
        }
        GiveUp | End | EndNow => squeezy.subscription(after, &["subscription_updated", "subscription_expired"]),
        Cancel => squeezy.subscription(after, &["subscription_updated", "subscription_cancelled"]),
        Uncancel => squeezy.subscription(after, &["subscription_resumed", "subscription_updated"]),
        Pause | PauseFree => squeezy.subscription(after, &["subscription_paused", "subscription_updated"]),
        Resume => squeezy.subscription(after, &["subscription_unpaused", "subscription_updated"]),
        Switch => squeezy.subscription(after, &["subscription_plan_changed", "subscription_updated"]),
        Refund if after.stage == Stage::Owned => squeezy.order(after, "order_refunded"),
        Refund => {
            squeezy.invoice(after, "subscription_payment_refunded", "refunded");
            // The first payment is told as the order as well.
            if after.start == after.born {
                squeezy.order(after, "order_refunded");
            }
        }
        _ => squeezy.subscription(after, &["subscription_updated"]),
    }
}

struct LemonSqueezy<'a> {
    world: &'a mut World,
    at: i64,
}

impl LemonSqueezy<'_> {
    fn subscription(&mut self, sub: &Sub, names: &[&str]) {
        let item = &sub.items[0];
        let is_paused = matches!(sub.stage, Stage::Paused | Stage::PausedFree);
        let mode = if sub.stage == Stage::PausedFree { "free" } else { "void" };
        let attributes = json!({
            "store_id": 7, "customer_id": customer(sub), "order_id": sub.number, "order_item_id": sub.number + 1,
            "product_id": 5, "variant_id": variant(item.plan), "user_email": "ada@example.test",
            "status": match sub.stage {
                Stage::PastDue => "past_due",
                Stage::Unpaid => "unpaid",
                Stage::Paused | Stage::PausedFree => "paused",
                Stage::Ended => "expired",
                _ if sub.cancels => "cancelled",
                Stage::Trialing => "on_trial",
                _ => "active",
            },
            "pause": is_paused.then(|| json!({"mode": mode, "resumes_at": sub.resumes_at.map(rfc3339)})),
            "cancelled": sub.cancels, "trial_ends_at": sub.trial_end.map(rfc3339),
            "billing_anchor": day_of_month(sub.anchor),
            "first_subscription_item": {"id": item.number, "subscription_id": sub.number, "price_id": 8,
                "quantity": item.seats, "is_usage_based": false},
            // Of what is past due, the next attempt.
            "renews_at": rfc3339(if sub.stage == Stage::PastDue { self.at + 3 * DAY_MS } else { sub.end }),
            "ends_at": sub.ended_at.or(sub.cancels.then_some(sub.end)).map(rfc3339),
            "created_at": rfc3339(sub.born), "updated_at": rfc3339(self.at), "test_mode": false,
        });
        for name in names {
            self.send(name, "subscriptions", sub.number, sub, attributes.clone());
        }
    }

    fn invoice(&mut self, sub: &Sub, name: &str, status: &str) {
        let is_refund = status == "refunded";
        let attributes = json!({
            "store_id": 7, "subscription_id": sub.number, "customer_id": customer(sub), "status": status,
            "billing_reason": if sub.start == sub.born { "initial" } else { "renewal" }, "currency": "USD", "total": 2000,
            "refunded_amount": if is_refund { 2000 } else { 0 }, "refunded": is_refund, "created_at": rfc3339(self.at),
            "updated_at": rfc3339(self.at), "test_mode": false,
        });
        self.send(name, "subscription-invoices", 700_000 + sub.charge, sub, attributes);
    }

    fn order(&mut self, sub: &Sub, name: &str) {
        let is_refund = name == "order_refunded";
        let attributes = json!({
            "store_id": 7, "customer_id": customer(sub), "currency": "USD", "total": 4900,
            "refunded_amount": if is_refund { 4900 } else { 0 }, "refunded": is_refund,
            "status": if is_refund { "refunded" } else { "paid" },
            "first_order_item": {"id": 1, "order_id": sub.number, "product_id": 5,
                "variant_id": variant(sub.items[0].plan), "quantity": 1},
            "created_at": rfc3339(sub.born), "updated_at": rfc3339(self.at), "test_mode": false,
        });
        self.send(name, "orders", sub.number, sub, attributes);
    }

    fn send(&mut self, name: &str, object: &str, id: u32, sub: &Sub, attributes: Value) {
        self.world.tick();
        let is_org = sub.payer.starts_with("org_");
        let custom = if is_org { json!({"org_id": sub.payer}) } else { json!({"user_id": sub.payer}) };
        let body = json!({
            "meta": {"event_name": name, "test_mode": false, "custom_data": custom},
            "data": {"type": object, "id": id.to_string(), "attributes": attributes},
        });
        self.world.send(String::new(), body);
    }
}

fn customer(sub: &Sub) -> usize {
    50 + crate::world::PAYERS.iter().position(|payer| *payer == sub.payer).unwrap()
}

pub fn variant(plan: &str) -> usize {
    100 + PLANS.iter().chain([&ONCE]).position(|known| *known == plan).unwrap()
}
