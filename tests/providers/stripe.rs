//! Stripe's deliveries. <https://docs.stripe.com/billing/subscriptions/webhooks>

use serde_json::{Map, Value, json};

use crate::world::Change::{self, *};
use crate::world::{HOUR_MS, ONCE, Stage, Sub, Told, World, attached};

pub fn tell(world: &mut World, before: &Sub, after: &Sub, change: Change) {
    Stripe { world, basil: true }.tell(before, after, change);
}

pub fn tell_before_basil(world: &mut World, before: &Sub, after: &Sub, change: Change) {
    Stripe { world, basil: false }.tell(before, after, change);
}

struct Stripe<'a> {
    world: &'a mut World,
    basil: bool,
}

impl Stripe<'_> {
    fn tell(&mut self, before: &Sub, after: &Sub, change: Change) {
        match change {
            Buy | BuyTrial | BuyPending | BuyOnce => {
                if after.told == Told::Before {
                    self.whose(after);
                }
                match change {
                    BuyOnce => self.send("charge.succeeded", charge(after, false, self.basil), None),
                    BuyPending => self.subscription("created", None, after),
                    BuyTrial => self.subscription("created", None, after),
                    _ if self.world.numbers.once_in(2) => {
                        // Made incomplete, and paid within the second.
                        let incomplete = Sub { stage: Stage::Incomplete, ..after.clone() };
                        self.subscription("created", None, &incomplete);
                        self.world.tick();
                        self.subscription("updated", Some(&incomplete), after);
                    }
                    _ => self.subscription("created", None, after),
                }
                if change == Buy {
                    self.invoices(after, &["created", "finalized", "paid", "payment_succeeded"]);
                }
                if after.told != Told::Before || change == BuyOnce {
                    self.whose(after);
                }
            }
            Pay | Recover => {
                self.invoices(after, &["paid", "payment_succeeded"]);
                self.subscription("updated", Some(before), after);
            }
            Roll => {
                self.subscription("updated", Some(before), after);
                self.invoices(after, &["created"]);
            }
            Settle => self.invoices(after, &["finalized", "paid", "payment_succeeded"]),
            Fail => {
                self.invoices(after, &["payment_failed"]);
                self.subscription("updated", Some(before), after);
            }
            FailAgain => self.invoices(after, &["payment_failed", "updated"]),
            GiveUp | End | EndNow => self.subscription("deleted", Some(before), after),
            Refund => self.send("charge.refunded", charge(after, true, self.basil), None),
            _ => self.subscription("updated", Some(before), after),
        }
    }

    /// The checkout that it was bought in, or the customer.
    fn whose(&mut self, sub: &Sub) {
        let once = sub.stage == Stage::Owned;
        if !once && self.world.numbers.once_in(3) {
            let customer = json!({"id": customer(sub), "object": "customer", "metadata": attached(sub.payer, true)});
            return self.send("customer.updated", customer, Some(json!({"metadata": {}})));
        }
        let session = json!({
            "id": format!("cs_{}", sub.number), "object": "checkout.session", "amount_total": 1000,
            "client_reference_id": sub.payer, "created": sub.born / 1000, "currency": "usd", "customer": customer(sub),
            "metadata": if once { json!({"price_id": price(ONCE)}) } else { json!({}) },
            "mode": if once { "payment" } else { "subscription" },
            "payment_intent": once.then(|| intent(sub)), "payment_status": "paid", "status": "complete",
            "subscription": (!once).then(|| id(sub)),
        });
        self.send("checkout.session.completed", session, None);
    }

    fn subscription(&mut self, what: &str, before: Option<&Sub>, after: &Sub) {
        let object = self.object(after);
        let previous = before.filter(|_| what == "updated").map(|before| {
            let before = self.object(before);
            let changed = before.as_object().unwrap().iter().filter(|(name, value)| object[name.as_str()] != **value);
            Value::Object(changed.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
        });
        self.send(&format!("customer.subscription.{what}"), object, previous);
    }

    fn object(&self, sub: &Sub) -> Value {
        let period = |object: &mut Value| {
            object["current_period_start"] = json!(sub.start / 1000);
            object["current_period_end"] = json!(sub.end / 1000);
        };
        let items: Vec<Value> = sub
            .items
            .iter()
            .rev()
            .map(|item| {
                let mut shown = json!({
                    "id": format!("si_{}", item.number), "object": "subscription_item", "created": item.born / 1000,
                    "metadata": {}, "quantity": item.seats, "subscription": id(sub),
                    "price": {"id": price(item.plan), "object": "price", "currency": "usd", "unit_amount": 1000,
                        "product": format!("prod_{}", item.plan), "recurring": {"interval": "month", "interval_count": 1}},
                });
                if self.basil {
                    period(&mut shown);
                }
                shown
            })
            .collect();
        let mut object = json!({
            "id": id(sub), "object": "subscription", "customer": customer(sub), "created": sub.born / 1000,
            "start_date": sub.born / 1000, "cancel_at_period_end": sub.cancels,
            "cancel_at": sub.cancels.then_some(sub.end / 1000), "canceled_at": sub.canceled_at.map(|at| at / 1000),
            "ended_at": sub.ended_at.map(|at| at / 1000), "items": {"object": "list", "data": items},
            "latest_invoice": format!("in_{}", sub.charge), "livemode": true, "pause_collection": null,
            "pending_update": null, "metadata": attached(sub.payer, sub.told == Told::Everywhere),
            "trial_start": sub.trial_end.map(|_| sub.born / 1000), "trial_end": sub.trial_end.map(|at| at / 1000),
            "status": match sub.stage {
                Stage::Incomplete => "incomplete",
                Stage::Trialing => "trialing",
                Stage::PastDue => "past_due",
                Stage::Unpaid => "unpaid",
                Stage::Ended => "canceled",
                _ => "active",
            },
        });
        if !self.basil {
            period(&mut object);
        }
        object
    }

    fn invoices(&mut self, sub: &Sub, told: &[&str]) {
        for what in told {
            self.world.tick();
            let failed = *what == "payment_failed";
            let paid = matches!(*what, "paid" | "payment_succeeded");
            let mut invoice = json!({
                "id": format!("in_{}", sub.charge), "object": "invoice", "amount_due": 1000,
                "amount_paid": if paid { 1000 } else { 0 }, "attempt_count": 1, "currency": "usd", "customer": customer(sub),
                "billing_reason": if sub.start == sub.born { "subscription_create" } else { "subscription_cycle" },
                "metadata": {}, "next_payment_attempt": failed.then_some((self.world.at + 48 * HOUR_MS) / 1000),
                "status": if paid { "paid" } else { "open" },
            });
            let metadata = attached(sub.payer, sub.told == Told::Everywhere);
            if self.basil {
                invoice["parent"] = json!({"type": "subscription_details",
                    "subscription_details": {"metadata": metadata, "subscription": id(sub)}});
            } else {
                invoice["subscription"] = json!(id(sub));
                invoice["subscription_details"] = json!({"metadata": metadata});
            }
            self.send(&format!("invoice.{what}"), invoice, None);
        }
    }

    fn send(&mut self, event_type: &str, object: Value, previous: Option<Value>) {
        let event_id = self.world.event_id("evt_");
        let mut data = json!({"object": object});
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        let version = if self.basil { "2026-10-28.endive" } else { "2024-06-20" };
        let body = json!({"id": event_id, "object": "event", "api_version": version, "created": self.world.at / 1000,
            "livemode": true, "type": event_type, "data": data});
        self.world.send(event_id, body);
    }
}

fn charge(sub: &Sub, refunded: bool, basil: bool) -> Value {
    let mut charge = json!({
        "id": format!("ch_{}", sub.charge), "object": "charge", "amount": 1000, "currency": "usd",
        "amount_refunded": if refunded { 1000 } else { 0 }, "created": sub.start / 1000, "customer": customer(sub),
        "metadata": {}, "payment_intent": intent(sub), "refunded": refunded, "status": "succeeded",
    });
    if !basil && sub.stage != Stage::Owned {
        charge["invoice"] = json!(format!("in_{}", sub.charge));
    }
    charge
}

fn id(sub: &Sub) -> String {
    format!("sub_{}", sub.number)
}

fn customer(sub: &Sub) -> String {
    format!("cus_{}_{}", sub.shape, sub.payer)
}

fn intent(sub: &Sub) -> String {
    format!("pi_{}", sub.charge)
}

fn price(plan: &str) -> String {
    format!("price_{plan}")
}
