//! Paddle's deliveries: the whole subscription with every event, and its transactions.
//! <https://developer.paddle.com/webhooks/overview>

use serde_json::{Value, json};

use crate::world::Change::{self, *};
use crate::world::{Stage, Sub, Told, World, attached, rfc3339};

pub fn tell(world: &mut World, _before: &Sub, after: &Sub, change: Change) {
    let at = world.at;
    let mut paddle = Paddle { world, at };
    match change {
        Buy | BuyTrial | BuyOnce => {
            if after.told == Told::Before {
                paddle.customer(after);
            }
            paddle.transaction(after, "created", "draft");
            if change != BuyOnce {
                let second = if change == BuyTrial { "trialing" } else { "activated" };
                paddle.subscription(after, &["created", second]);
            }
            paddle.transaction(after, "paid", "paid");
            paddle.transaction(after, "completed", "completed");
            if after.told == Told::After {
                paddle.customer(after);
            }
        }
        Renew => {
            paddle.subscription(after, &["updated"]);
            paddle.transaction(after, "completed", "completed");
        }
        Fail => {
            paddle.transaction(after, "past_due", "past_due");
            paddle.transaction(after, "payment_failed", "past_due");
            paddle.subscription(after, &["past_due", "updated"]);
        }
        FailAgain => paddle.transaction(after, "payment_failed", "past_due"),
        Recover => {
            paddle.transaction(after, "completed", "completed");
            paddle.subscription(after, &["activated", "updated"]);
        }
        GiveUp | End | EndNow => paddle.subscription(after, &["canceled", "updated"]),
        Pause => paddle.subscription(after, &["paused", "updated"]),
        Resume => paddle.subscription(after, &["resumed", "updated"]),
        Refund => {
            paddle.adjustment(after, "created", "pending_approval");
            paddle.world.at += 1;
            paddle.at = paddle.world.at;
            paddle.adjustment(after, "updated", "approved");
        }
        _ => paddle.subscription(after, &["updated"]),
    }
}

struct Paddle<'a> {
    world: &'a mut World,
    at: i64,
}

impl Paddle<'_> {
    fn customer(&mut self, sub: &Sub) {
        let data = json!({"id": customer(sub), "status": "active", "custom_data": attached(sub.payer, true),
            "created_at": rfc3339(sub.born), "updated_at": rfc3339(self.at)});
        self.send("customer.updated", &data);
    }

    fn subscription(&mut self, sub: &Sub, names: &[&str]) {
        let stops = |action: &str| json!({"action": action, "effective_at": rfc3339(sub.end), "resume_at": null});
        let runs = !matches!(sub.stage, Stage::Ended | Stage::Paused);
        let items: Vec<Value> = sub
            .items
            .iter()
            .map(|item| {
                json!({"status": if sub.stage == Stage::Trialing { "trialing" } else { "active" }, "quantity": item.seats,
                    "recurring": true, "price": price(item.plan, true), "product": {"id": format!("pro_{}", item.plan)}})
            })
            .collect();
        let data = json!({
            "id": format!("sub_{}", sub.number), "customer_id": customer(sub), "currency_code": "USD",
            "status": match sub.stage {
                Stage::Trialing => "trialing",
                Stage::PastDue => "past_due",
                Stage::Paused => "paused",
                Stage::Ended => "canceled",
                _ => "active",
            },
            "created_at": rfc3339(sub.born), "updated_at": rfc3339(self.at), "started_at": rfc3339(sub.born),
            "next_billed_at": (runs && !sub.cancels && !sub.pauses).then(|| rfc3339(sub.end)),
            "paused_at": (sub.stage == Stage::Paused).then(|| rfc3339(self.at)),
            "canceled_at": sub.ended_at.map(rfc3339), "billing_cycle": {"interval": "month", "frequency": 1},
            "current_billing_period": runs.then(|| json!({"starts_at": rfc3339(sub.start), "ends_at": rfc3339(sub.end)})),
            "scheduled_change": match sub.stage {
                Stage::Trialing | Stage::Active if sub.cancels => stops("cancel"),
                Stage::Trialing | Stage::Active if sub.pauses => stops("pause"),
                _ => Value::Null,
            },
            "items": items, "custom_data": custom(sub),
        });
        for name in names {
            self.send(&format!("subscription.{name}"), &data);
        }
    }

    fn transaction(&mut self, sub: &Sub, name: &str, status: &str) {
        let once = sub.stage == Stage::Owned;
        let payment = match status {
            "completed" | "paid" => Some("captured"),
            "past_due" => Some("error"),
            _ => None,
        };
        let at = rfc3339(self.at);
        let payment = payment.map(|status| {
            json!({"amount": "1000", "status": status, "created_at": at, "captured_at": (status == "captured").then_some(&at),
                "error_code": (status == "error").then_some("declined"),
                "payment_attempt_id": format!("pay_{}_{status}", sub.charge)})
        });
        let items: Vec<Value> =
            sub.items.iter().map(|item| json!({"price": price(item.plan, !once), "quantity": item.seats})).collect();
        // While it is a draft there is no subscription yet.
        let subscription = (!once && name != "created").then(|| format!("sub_{}", sub.number));
        let data = json!({
            "id": format!("txn_{}", sub.charge), "status": status, "customer_id": customer(sub),
            "subscription_id": subscription, "origin": if sub.start == sub.born { "web" } else { "subscription_recurring" },
            "currency_code": "USD", "custom_data": custom(sub), "created_at": rfc3339(sub.born), "updated_at": at,
            "items": items, "payments": payment.into_iter().collect::<Vec<_>>(),
        });
        self.send(&format!("transaction.{name}"), &data);
    }

    fn adjustment(&mut self, sub: &Sub, name: &str, status: &str) {
        let once = sub.stage == Stage::Owned;
        let data = json!({
            "id": format!("adj_{}", sub.charge), "action": "refund", "type": "full", "status": status,
            "transaction_id": format!("txn_{}", sub.charge), "customer_id": customer(sub),
            "subscription_id": (!once).then(|| format!("sub_{}", sub.number)), "currency_code": "USD",
            "created_at": rfc3339(self.at), "updated_at": rfc3339(self.at), "totals": {"total": "1000"},
        });
        self.send(&format!("adjustment.{name}"), &data);
    }

    fn send(&mut self, event_type: &str, data: &Value) {
        self.world.tick();
        let event_id = self.world.event_id("evt_");
        let body = json!({"event_id": event_id, "event_type": event_type, "occurred_at": rfc3339(self.world.at),
            "notification_id": format!("ntf_{event_id}"), "data": data});
        self.world.send(event_id, body);
    }
}

fn custom(sub: &Sub) -> Value {
    if sub.told == Told::Everywhere { attached(sub.payer, true) } else { Value::Null }
}

fn customer(sub: &Sub) -> String {
    format!("ctm_{}", sub.payer)
}

fn price(plan: &str, recurs: bool) -> Value {
    json!({"id": format!("pri_{plan}"), "product_id": format!("pro_{plan}"),
        "billing_cycle": recurs.then(|| json!({"interval": "month", "frequency": 1})),
        "unit_price": {"amount": "1000", "currency_code": "USD"}})
}
