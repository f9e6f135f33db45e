//! Clerk's deliveries: an event for each item that changed, and the payer's whole subscription.
//! <https://clerk.com/docs/guides/development/webhooks/billing>

use serde_json::{Value, json};

use crate::world::Change::{self, *};
use crate::world::{Item, Stage, Sub, World};

pub fn tell(world: &mut World, before: &Sub, after: &Sub, change: Change) {
    let mut clerk = Clerk { world, changed: Vec::new(), at: 0 };
    clerk.at = clerk.world.at;
    match change {
        Buy | BuyTrial | BuyPending => {
            if change == Buy && clerk.world.numbers.once_in(2) {
                clerk.item("incomplete", &Sub { stage: Stage::Incomplete, ..after.clone() });
                clerk.pass();
            }
            clerk.item(if change == BuyPending { "incomplete" } else { "active" }, after);
            if change != BuyPending {
                clerk.free("ended", after);
                clerk.payment(after, "paid");
                clerk.whole("updated", after);
            }
        }
        Pay => {
            clerk.payment(after, "paid");
            clerk.item("active", after);
            clerk.free("ended", after);
            clerk.whole("active", after);
        }
        Renew => {
            clerk.payment(after, "paid");
            clerk.item("updated", after);
            clerk.whole("updated", after);
        }
        Recover => {
            clerk.payment(after, "paid");
            clerk.item("active", after);
            clerk.whole("active", after);
        }
        Fail | FailAgain => {
            clerk.payment(after, "failed");
            clerk.item("pastDue", after);
            clerk.whole("pastDue", after);
        }
        Cancel => {
            clerk.item("canceled", after);
            clerk.free("upcoming", after);
            clerk.whole("updated", after);
        }
        Uncancel => {
            clerk.item("active", after);
            clerk.free("abandoned", after);
            clerk.whole("updated", after);
        }
        End | EndNow | GiveUp => {
            clerk.item("ended", after);
            clerk.free("active", after);
            clerk.whole("updated", after);
        }
        Switch => {
            clerk.item("active", after);
            clerk.item("ended", &Sub { stage: Stage::Ended, ..before.clone() });
            clerk.payment(after, "paid");
            clerk.whole("updated", after);
        }
        _ => {
            clerk.item("updated", after);
            clerk.whole("updated", after);
        }
    }
}

struct Clerk<'a> {
    world: &'a mut World,
    /// What the events so far showed, which the whole subscription repeats.
    changed: Vec<Value>,
    /// When it was changed.
    at: i64,
}

impl Clerk<'_> {
    /// The next change is a moment later.
    fn pass(&mut self) {
        self.world.at += 1;
        self.at = self.world.at;
        self.changed.clear();
    }

    fn item(&mut self, what: &str, sub: &Sub) {
        let [item] = sub.items.as_slice() else { panic!("Clerk's items are each by themselves") };
        let status = match sub.stage {
            Stage::Incomplete => "incomplete",
            Stage::PastDue => "past_due",
            Stage::Ended => "ended",
            _ if sub.cancels => "canceled",
            _ => "active",
        };
        let shown = self.shown(sub, item, status);
        self.changed.push(shown.clone());
        self.send(&format!("subscriptionItem.{what}"), &with_payer(shown, sub));
    }

    fn free(&mut self, status: &str, sub: &Sub) {
        let mut shown = json!({
            "object": "commerce_subscription_item", "id": format!("csub_item_free_{}", sub.payer), "status": status,
            "is_free_trial": false, "created_at": sub.born, "updated_at": self.at, "period_start": sub.end,
            "period_end": null, "interval": "month", "plan_id": "cplan_free",
            "plan": {"id": "cplan_free", "slug": free(sub.payer), "name": "Free", "is_recurring": false, "amount": 0, "currency": "USD"},
        });
        if status == "active" || status == "ended" {
            shown["period_start"] = json!(self.at);
        }
        self.changed.push(shown.clone());
        self.send(&format!("subscriptionItem.{status}"), &with_payer(shown, sub));
    }

    fn shown(&self, sub: &Sub, item: &Item, status: &str) -> Value {
        json!({
            "object": "commerce_subscription_item", "id": format!("csub_item_{}", item.number), "status": status,
            "is_free_trial": sub.trial_end.is_some_and(|end| sub.end == end && status != "past_due"),
            "created_at": sub.born, "updated_at": self.at, "period_start": sub.start, "period_end": sub.end,
            "interval": "month", "plan_id": format!("cplan_{}", item.plan), "seats": {"quantity": item.seats},
            "plan": {"id": format!("cplan_{}", item.plan), "slug": item.plan, "name": item.plan, "is_recurring": true,
                "amount": 2000, "currency": "USD"},
        })
    }

    fn whole(&mut self, what: &str, sub: &Sub) {
        let items: Vec<Value> = self.changed.clone();
        let data = json!({
            "object": "commerce_subscription", "id": format!("csub_{}", sub.payer),
            "status": if sub.stage == Stage::PastDue { "past_due" } else { "active" }, "created_at": sub.born,
            "updated_at": self.at, "past_due_at": (sub.stage == Stage::PastDue).then_some(sub.due),
            "payer_id": format!("cpayer_{}", sub.payer), "payer": payer(sub), "items": items,
        });
        self.send(&format!("subscription.{what}"), &data);
    }

    fn payment(&mut self, sub: &Sub, status: &str) {
        for (what, status) in [("created", "pending"), ("updated", status)] {
            let data = json!({
                "id": format!("cpa_{}", sub.charge), "payment_id": format!("cpay_{}", sub.charge), "status": status,
                "charge_type": if sub.start == sub.born { "checkout" } else { "recurring" }, "created_at": self.at,
                "updated_at": self.at, "payer": payer(sub),
                "totals": {"grand_total": {"amount": 2000, "currency": "USD"}},
            });
            self.send(&format!("paymentAttempt.{what}"), &data);
        }
    }

    fn send(&mut self, event_type: &str, data: &Value) {
        self.world.tick();
        let event_id = self.world.event_id("msg_");
        let body = json!({"object": "event", "type": event_type, "instance_id": "ins_1", "timestamp": self.world.at, "data": data});
        self.world.send(event_id, body);
    }
}

fn with_payer(mut item: Value, sub: &Sub) -> Value {
    item["payer"] = payer(sub);
    item["subscription_id"] = json!(format!("csub_{}", sub.payer));
    item
}

fn payer(sub: &Sub) -> Value {
    let is_org = sub.payer.starts_with("org_");
    let (user, org) = if is_org { ("", sub.payer) } else { (sub.payer, "") };
    json!({"id": format!("cpayer_{}", sub.payer), "user_id": user, "organization_id": org})
}

fn free(payer: &str) -> &'static str {
    if payer.starts_with("org_") { "free_org" } else { "free_user" }
}
