//! Paddle's events, in the shape of the payloads in PaddleHQ/paddle-node-sdk (`src/__tests__/mocks/notifications`).
//!
//! The payer goes into `custom_data`, as a checkout puts it there, and the price is `--plan`.

use plangate::event::Seats;
use plangate::time::{DAY_MS, HOUR_MS, Timestamp};
use serde_json::{Value, json};

use super::{Composed, Composer, Wish};
use crate::failure::{Failure, usage};
use crate::ids;

pub(super) struct Paddle;

/// How long the invented periods are.
const MONTH_MS: i64 = 30 * DAY_MS;
/// What the invented prices cost in a month, in cents.
const PRICE: i64 = 2_000;
/// The price, when nobody says.
const PLAN: &str = "pri_example_pro";

/// What `data` is.
#[derive(Clone, Copy)]
enum Shape {
    Subscription {
        status: &'static str,
    },
    /// A charge for the subscription, and what came of it.
    Transaction {
        status: &'static str,
        payment: Option<&'static str>,
    },
    /// The refund of such a charge.
    Adjustment {
        status: &'static str,
    },
    Customer,
}

const EVENTS: &[(&str, Shape)] = &[
    ("subscription.created", Shape::Subscription { status: "active" }),
    ("subscription.trialing", Shape::Subscription { status: "trialing" }),
    ("subscription.activated", Shape::Subscription { status: "active" }),
    ("subscription.updated", Shape::Subscription { status: "active" }),
    ("subscription.past_due", Shape::Subscription { status: "past_due" }),
    ("subscription.paused", Shape::Subscription { status: "paused" }),
    ("subscription.resumed", Shape::Subscription { status: "active" }),
    ("subscription.canceled", Shape::Subscription { status: "canceled" }),
    ("subscription.imported", Shape::Subscription { status: "active" }),
    ("transaction.created", Shape::Transaction { status: "ready", payment: None }),
    ("transaction.paid", Shape::Transaction { status: "paid", payment: Some("captured") }),
    ("transaction.completed", Shape::Transaction { status: "completed", payment: Some("captured") }),
    ("transaction.payment_failed", Shape::Transaction { status: "past_due", payment: Some("error") }),
    ("transaction.past_due", Shape::Transaction { status: "past_due", payment: Some("error") }),
    ("adjustment.created", Shape::Adjustment { status: "pending_approval" }),
    ("adjustment.updated", Shape::Adjustment { status: "approved" }),
    ("customer.created", Shape::Customer),
    ("customer.updated", Shape::Customer),
];

impl Composer for Paddle {
    fn provider(&self) -> &'static str {
        "paddle"
    }

    fn id_prefix(&self) -> &'static str {
        "evt_"
    }

    fn event_types(&self) -> Vec<&'static str> {
        EVENTS.iter().map(|(event_type, _)| *event_type).collect()
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let (_, shape) = EVENTS
            .iter()
            .find(|(known, _)| *known == event_type)
            .ok_or_else(|| usage(format!("`{event_type}` is no event of `paddle`; leave it out to see the list")))?;
        check(event_type, *shape, wish)?;
        let scene = Scene::new(wish);
        let data = match *shape {
            Shape::Subscription { status } => scene.subscription(wish.status.as_deref().unwrap_or(status)),
            Shape::Transaction { status, payment } => scene.transaction(status, payment),
            Shape::Adjustment { status } => scene.adjustment(status),
            Shape::Customer => scene.customer(),
        };
        let body = json!({
            "data": data,
            "event_id": wish.event_id,
            "event_type": event_type,
            "notification_id": ids::stable("ntf_", &[&wish.event_id]),
            "occurred_at": micros(wish.at),
        });
        Ok(Composed { body, about: scene.payer })
    }
}

/// An option that an event has no place for is refused: passed over, it would look as if it had been sent.
fn check(event_type: &str, shape: Shape, wish: &Wish) -> Result<(), Failure> {
    let is_subscription = matches!(shape, Shape::Subscription { .. });
    let refused = [
        ("--flat", wish.flat),
        ("--plan", matches!(shape, Shape::Adjustment { .. } | Shape::Customer) && wish.plan.is_some()),
        ("--status", !is_subscription && wish.status.is_some()),
        ("--period-end", !is_subscription && wish.period_end.is_some()),
        ("--trial", !is_subscription && wish.trial),
        ("--seats", !is_subscription && wish.seats.is_some()),
        ("--seats unlimited", wish.seats == Some(Seats::Unlimited)),
    ];
    if let Some((option, _)) = refused.iter().find(|(_, refused)| *refused) {
        return Err(usage(format!("`{event_type}` has no place for {option}; leave it out")));
    }
    if wish.user.is_some() && wish.org.is_some() {
        return Err(usage(format!("`{event_type}` is about one payer; give --user or --org, not both")));
    }
    Ok(())
}

/// What the parts of one event share.
struct Scene<'a> {
    wish: &'a Wish,
    payer: String,
    custom_data: Value,
}

impl<'a> Scene<'a> {
    fn new(wish: &'a Wish) -> Self {
        let user = wish.user.as_deref().unwrap_or("user_example");
        let (payer, custom_data) = match &wish.org {
            Some(org) => (format!("org:{org}"), json!({"orgId": org})),
            None => (format!("user:{user}"), json!({"userId": user})),
        };
        Self { wish, payer, custom_data }
    }

    /// An id of something that belongs to the payer.
    fn payers(&self, prefix: &str) -> String {
        ids::stable(prefix, &[&self.payer])
    }

    fn at(&self, millis_later: i64) -> String {
        micros(self.wish.at.plus_millis(millis_later))
    }

    fn price(&self) -> Value {
        let price = self.wish.plan.as_deref().unwrap_or(PLAN);
        json!({
            "billing_cycle": {"frequency": 1, "interval": "month"},
            "description": "Monthly",
            "id": price,
            "product_id": ids::stable("pro_", &[price]),
            "tax_mode": "account_setting",
            "trial_period": null,
            "unit_price": {"amount": PRICE.to_string(), "currency_code": "USD"},
        })
    }

    fn subscription(&self, status: &str) -> Value {
        let status = if self.wish.trial && status == "active" { "trialing" } else { status };
        let is_over = matches!(status, "canceled" | "paused");
        let end = self.wish.period_end.unwrap_or_else(|| self.wish.at.plus_millis(MONTH_MS));
        let period = (!is_over).then(|| json!({"ends_at": micros(end), "starts_at": self.at(0)}));
        let next_billed_at = (!is_over).then(|| micros(end));
        let quantity = match self.wish.seats {
            Some(Seats::Limited(seats)) => seats,
            Some(Seats::Unlimited) | None => 1,
        };
        json!({
            "address_id": self.payers("add_"),
            "billing_cycle": {"frequency": 1, "interval": "month"},
            "billing_details": null,
            "business_id": null,
            "canceled_at": (status == "canceled").then(|| self.at(0)),
            "collection_mode": "automatic",
            "created_at": self.at(-HOUR_MS),
            "currency_code": "USD",
            "current_billing_period": period,
            "custom_data": self.custom_data,
            "customer_id": self.payers("ctm_"),
            "discount": null,
            "first_billed_at": (status != "trialing").then(|| self.at(0)),
            "id": self.payers("sub_"),
            "items": [{
                "created_at": self.at(-HOUR_MS),
                "next_billed_at": next_billed_at,
                "previously_billed_at": (status != "trialing").then(|| self.at(0)),
                "price": self.price(),
                "quantity": quantity,
                "recurring": true,
                "status": match status { "trialing" => "trialing", _ if is_over => "inactive", _ => "active" },
                "trial_dates": (status == "trialing").then(|| json!({"ends_at": micros(end), "starts_at": self.at(0)})),
                "updated_at": self.at(0),
            }],
            "next_billed_at": next_billed_at,
            "paused_at": (status == "paused").then(|| self.at(0)),
            "scheduled_change": null,
            "started_at": self.at(-HOUR_MS),
            "status": status,
            "updated_at": self.at(0),
        })
    }

    fn transaction(&self, status: &str, payment: Option<&str>) -> Value {
        let payments: Vec<Value> = payment
            .iter()
            .map(|status| {
                json!({
                    "amount": PRICE.to_string(),
                    "captured_at": (*status == "captured").then(|| self.at(0)),
                    "created_at": self.at(0),
                    "error_code": (*status == "error").then_some("declined"),
                    "payment_attempt_id": ids::stable("", &[&self.payer, &self.at(0)]),
                    "status": status,
                })
            })
            .collect();
        json!({
            "billed_at": self.at(0),
            "billing_period": null,
            "collection_mode": "automatic",
            "created_at": self.at(0),
            "currency_code": "USD",
            "custom_data": self.custom_data,
            "customer_id": self.payers("ctm_"),
            "details": {"totals": {"currency_code": "USD", "grand_total": PRICE.to_string(), "total": PRICE.to_string()}},
            "id": self.payers("txn_"),
            "items": [{"price": self.price(), "quantity": 1}],
            "origin": "subscription_recurring",
            "payments": payments,
            "status": status,
            "subscription_id": self.payers("sub_"),
            "updated_at": self.at(0),
        })
    }

    fn adjustment(&self, status: &str) -> Value {
        json!({
            "action": "refund",
            "created_at": self.at(0),
            "currency_code": "USD",
            "customer_id": self.payers("ctm_"),
            "id": self.payers("adj_"),
            "items": [{"amount": PRICE.to_string(), "type": "full"}],
            "reason": "error",
            "status": status,
            "subscription_id": self.payers("sub_"),
            "totals": {"currency_code": "USD", "total": PRICE.to_string()},
            "transaction_id": self.payers("txn_"),
            "type": "full",
            "updated_at": self.at(0),
        })
    }

    fn customer(&self) -> Value {
        json!({
            "created_at": self.at(0),
            "custom_data": self.custom_data,
            "email": "payer@example.com",
            "id": self.payers("ctm_"),
            "locale": "en",
            "marketing_consent": false,
            "name": null,
            "status": "active",
            "updated_at": self.at(0),
        })
    }
}

/// RFC 3339 with microseconds, of which ours are always thousands.
fn micros(at: Timestamp) -> String {
    let text = at.to_string();
    match text.strip_suffix('Z') {
        Some(text) if text.contains('.') => format!("{text}000Z"),
        Some(text) => format!("{text}.000000Z"),
        None => text,
    }
}
