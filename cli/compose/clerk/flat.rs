//! The flat form: `data: {user_id, plan, status?, stripe_customer_id?, attempt_count?}`. It knows one subscription per
//! payer.

use plangate::payer::PayerKind;
use serde_json::{Map, Value, json};

use super::Scene;

/// `subscription.updated` says only what was asked for: what the form leaves out does not change.
pub(super) fn data(scene: &Scene<'_>) -> Value {
    let wish = scene.wish;
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put(if scene.payer.kind == PayerKind::Org { "org_id" } else { "user_id" }, json!(scene.payer.id));
    put("stripe_customer_id", json!(scene.payer.owned("cus_")));
    let trial = wish.trial.then_some("trialing");
    let (plan, status) = match scene.event_type {
        "subscription.created" => (Some("pro"), Some(trial.unwrap_or("active"))),
        "subscription.deleted" => (None, Some("canceled")),
        "subscription.payment_failed" => (None, Some("past_due")),
        _ => (None, trial),
    };
    if let Some(plan) = wish.plan.as_deref().or(plan) {
        put("plan", json!(plan));
    }
    if let Some(status) = wish.status.as_deref().or(status) {
        put("status", json!(status));
    }
    if let Some(end) = wish.period_end {
        put("current_period_end", json!(end.as_millis()));
    }
    if scene.event_type == "subscription.payment_failed" {
        put("attempt_count", json!(1));
    }
    Value::Object(data)
}
