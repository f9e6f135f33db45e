//! RevenueCat's deliveries, which name what happened and show no status.
//! <https://www.revenuecat.com/docs/integrations/webhooks/event-flows>

use serde_json::{Value, json};

use crate::world::Change::{self, *};
use crate::world::{Stage, Sub, Told, World};

pub fn tell(world: &mut World, before: &Sub, after: &Sub, change: Change) {
    let mut cat = RevenueCat { world };
    match change {
        Buy | BuyTrial => cat.send("INITIAL_PURCHASE", after, after.end, json!({})),
        BuyOnce => cat.send("NON_RENEWING_PURCHASE", after, None, json!({})),
        Renew | Recover | Resume => cat.send("RENEWAL", after, after.end, json!({})),
        Fail => {
            // Twins, in either order; the period that was paid for is the one before.
            let grace = json!({"grace_period_expiration_at_ms": after.grace_until});
            let canceled = json!({"cancel_reason": "BILLING_ERROR"});
            let mut twins = [("BILLING_ISSUE", grace), ("CANCELLATION", canceled)];
            cat.world.numbers.shuffle(&mut twins);
            for (what, more) in twins {
                cat.send(what, after, after.due, more);
            }
        }
        GiveUp => {
            let end = after.grace_until.unwrap_or(after.due).min(cat.world.at);
            cat.send("EXPIRATION", after, end, json!({"expiration_reason": "BILLING_ERROR"}));
        }
        Cancel => cat.send("CANCELLATION", after, after.end, json!({"cancel_reason": "UNSUBSCRIBE"})),
        Uncancel => cat.send("UNCANCELLATION", after, after.end, json!({})),
        End => cat.send("EXPIRATION", after, after.end, json!({"expiration_reason": "UNSUBSCRIBE"})),
        // Refunded by the store's support.
        EndNow => {
            let now = cat.world.at;
            cat.send("CANCELLATION", after, now, json!({"cancel_reason": "CUSTOMER_SUPPORT"}));
            cat.send("EXPIRATION", after, now, json!({"expiration_reason": "CUSTOMER_SUPPORT"}));
        }
        PauseSoon => cat.send("SUBSCRIPTION_PAUSED", after, after.end, json!({})),
        Pause => cat.send("EXPIRATION", after, after.end, json!({"expiration_reason": "SUBSCRIPTION_PAUSED"})),
        // An upgrade takes effect at once, by a renewal.
        Switch => {
            cat.send("PRODUCT_CHANGE", before, after.end, json!({"new_product_id": product(after)}));
            cat.send("RENEWAL", after, after.end, json!({}));
        }
        _ => panic!("RevenueCat does not do {change:?}"),
    }
}

struct RevenueCat<'a> {
    world: &'a mut World,
}

impl RevenueCat<'_> {
    fn send(&mut self, event_type: &str, sub: &Sub, expires: impl Into<Option<i64>>, more: Value) {
        self.world.tick();
        let event_id = self.world.event_id("rc");
        let anonymous = format!("$RCAnonymousID:{}", sub.payer);
        let (user, original) = match sub.told {
            Told::Everywhere => (sub.payer, sub.payer),
            Told::Before => (sub.payer, anonymous.as_str()),
            Told::After => (anonymous.as_str(), anonymous.as_str()),
        };
        let mut event = json!({
            "id": event_id, "type": event_type, "app_id": "app1", "event_timestamp_ms": self.world.at, "app_user_id": user,
            "original_app_user_id": original, "aliases": [anonymous, sub.payer], "product_id": product(sub),
            "entitlement_ids": ["all"], "environment": "PRODUCTION", "store": "APP_STORE",
            "period_type": if sub.trial_end == Some(sub.end) { "TRIAL" } else { "NORMAL" },
            "purchased_at_ms": sub.start, "expiration_at_ms": expires.into(),
            "transaction_id": format!("2{}", sub.charge),
            "original_transaction_id": format!("1{}", sub.number), "currency": "USD", "price": 9.99,
        });
        if sub.stage == Stage::Trialing {
            event["price"] = json!(0);
        }
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.world.send(event_id, json!({"api_version": "1.0", "event": event}));
    }
}

fn product(sub: &Sub) -> String {
    format!("{}_monthly", sub.items[0].plan)
}
