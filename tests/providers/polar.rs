//! Polar's deliveries: the whole subscription with every event, orders, and whose a customer is.
//! <https://polar.sh/docs/integrate/webhooks/events>

use serde_json::{Value, json};

use crate::world::Change::{self, *};
use crate::world::{Stage, Sub, Told, World, attached, rfc3339};

pub fn tell(world: &mut World, _before: &Sub, after: &Sub, change: Change) {
    let at = world.at;
    let mut polar = Polar { world, at };
    match change {
        Buy | BuyTrial | BuyPending | BuyOnce => {
            if after.told == Told::Before {
                polar.customer(after, "customer.created");
            }
            polar.order(after, "created", "pending");
            match change {
                BuyOnce => {}
                BuyPending => polar.subscription(after, &["created"]),
                _ => polar.subscription(after, &["created", "active", "updated"]),
            }
            if !matches!(change, BuyPending | BuyTrial) {
                polar.world.at += 1;
                polar.at = polar.world.at;
                polar.order(after, "updated", "paid");
                polar.order(after, "paid", "paid");
            }
            if after.told == Told::After {
                polar.customer(after, "customer.state_changed");
            }
        }
        Pay => {
            polar.order(after, "paid", "paid");
            polar.subscription(after, &["updated", "active"]);
        }
        Roll => {
            polar.subscription(after, &["cycled", "updated"]);
            polar.order(after, "created", "pending");
        }
        Settle => {
            polar.order(after, "updated", "paid");
            polar.order(after, "paid", "paid");
        }
        Fail => polar.subscription(after, &["updated", "past_due"]),
        FailAgain => polar.subscription(after, &["updated"]),
        Recover => {
            polar.order(after, "paid", "paid");
            polar.subscription(after, &["updated", "active"]);
        }
        Cancel => {
            polar.subscription(after, &["updated", "canceled"]);
            polar.customer(after, "customer.state_changed");
        }
        Uncancel => polar.subscription(after, &["updated", "uncanceled"]),
        EndNow => polar.subscription(after, &["updated", "canceled", "revoked"]),
        GiveUp | End => polar.subscription(after, &["updated", "revoked"]),
        Pause => polar.subscription(after, &["updated", "paused"]),
        Resume => {
            polar.subscription(after, &["updated", "resumed"]);
            polar.order(after, "created", "pending");
        }
        Refund => {
            let refund = json!({"id": format!("ref_{}", after.charge), "order_id": format!("ord_{}", after.charge),
                "status": "succeeded", "amount": 1000, "currency": "usd", "customer_id": customer(after),
                "created_at": rfc3339(at), "modified_at": null,
                "subscription_id": (after.stage != Stage::Owned).then(|| format!("sub_{}", after.number))});
            polar.send("refund.created", &refund);
            polar.order(after, "updated", "refunded");
            polar.order(after, "refunded", "refunded");
        }
        _ => polar.subscription(after, &["updated"]),
    }
}

struct Polar<'a> {
    world: &'a mut World,
    at: i64,
}

impl Polar<'_> {
    fn subscription(&mut self, sub: &Sub, names: &[&str]) {
        let data = self.shown(sub);
        for name in names {
            self.send(&format!("subscription.{name}"), &data);
        }
    }

    fn shown(&self, sub: &Sub) -> Value {
        let product = format!("prod_{}", sub.items[0].plan);
        json!({
            "id": format!("sub_{}", sub.number), "created_at": rfc3339(sub.born), "modified_at": rfc3339(self.at),
            "status": match sub.stage {
                Stage::Incomplete => "incomplete",
                Stage::Trialing => "trialing",
                Stage::PastDue => "past_due",
                Stage::Paused => "paused",
                Stage::Ended => "canceled",
                _ => "active",
            },
            "recurring_interval": "month", "recurring_interval_count": 1, "current_period_start": rfc3339(sub.start),
            "current_period_end": rfc3339(sub.end), "trial_end": sub.trial_end.map(rfc3339),
            "cancel_at_period_end": sub.cancels, "canceled_at": sub.canceled_at.map(rfc3339),
            "started_at": rfc3339(sub.born), "ended_at": sub.ended_at.map(rfc3339),
            "ends_at": sub.ended_at.or(sub.cancels.then_some(sub.end)).map(rfc3339),
            "past_due_at": (sub.stage == Stage::PastDue).then(|| rfc3339(sub.due)),
            "pause_at_period_end": sub.pauses, "paused_at": (sub.stage == Stage::Paused).then(|| rfc3339(self.at)),
            "customer_id": customer(sub), "customer": self.nested(sub), "product_id": product, "product": {"id": product},
            "seats": sub.items[0].seats, "metadata": {}, "prices": [{"id": format!("price_{}", sub.items[0].plan)}],
        })
    }

    fn nested(&self, sub: &Sub) -> Value {
        // Without the seller's own id, a customer is known by what was told of it elsewhere.
        let external = (sub.told == Told::Everywhere).then_some(sub.payer);
        json!({"id": customer(sub), "external_id": external, "metadata": {}})
    }

    fn order(&mut self, sub: &Sub, name: &str, status: &str) {
        let once = sub.stage == Stage::Owned;
        let data = json!({
            "id": format!("ord_{}", sub.charge), "created_at": rfc3339(sub.start), "modified_at": rfc3339(self.at),
            "status": status, "total_amount": 1000, "currency": "usd",
            "billing_reason": if once { "purchase" } else { "subscription_cycle" }, "customer_id": customer(sub),
            "customer": self.nested(sub), "product_id": format!("prod_{}", sub.items[0].plan),
            "subscription_id": (!once).then(|| format!("sub_{}", sub.number)), "metadata": {},
        });
        self.send(&format!("order.{name}"), &data);
    }

    fn customer(&mut self, sub: &Sub, name: &str) {
        let mut data = json!({"id": customer(sub), "created_at": rfc3339(sub.born), "modified_at": rfc3339(self.at),
            "metadata": attached(sub.payer, true), "external_id": null});
        if name == "customer.state_changed" {
            let is_active = matches!(sub.stage, Stage::Active | Stage::Trialing);
            let active: Vec<Value> = is_active.then(|| self.shown(sub)).into_iter().collect();
            data["active_subscriptions"] = json!(active);
        }
        self.send(name, &data);
    }

    fn send(&mut self, event_type: &str, data: &Value) {
        self.world.tick();
        let event_id = self.world.event_id("wh_");
        let body =
            json!({"type": event_type, "timestamp": rfc3339(self.world.at), "api_version": "2026-10", "data": data});
        self.world.send(event_id, body);
    }
}

fn customer(sub: &Sub) -> String {
    format!("cus_{}", sub.payer)
}
