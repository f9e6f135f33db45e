//! Paddle's events, in the shape of the payloads in PaddleHQ/paddle-node-sdk (`src/__tests__/mocks/notifications`).
//!
//! The payer goes into `custom_data`, as a checkout puts it there, and the price is `--plan`.

use plangate::event::Seats;
use plangate::payer::PayerKind;
use plangate::time::{HOUR_MS, Timestamp};
use serde_json::{Value, json};

use super::{Composed, Composer, PRICE, Wish, WishedPayer, names, refuse_misplaced, shape_of};
use crate::failure::Failure;
use crate::ids;

pub(super) struct Paddle;

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
        names(EVENTS)
    }

    fn statuses(&self) -> &'static [&'static str] {
        &["active", "trialing", "past_due", "paused", "canceled"]
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let shape = shape_of(self, EVENTS, event_type)?;
        check(event_type, shape, wish)?;
        let scene = Scene::new(wish);
        let data = match shape {
            Shape::Subscription { status } => scene.subscription(wish.status_or(status)),
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
        Ok(Composed { body, about: scene.payer.key() })
    }
}

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
    refuse_misplaced(event_type, &refused)?;
    wish.check_one_payer(event_type)
}

/// What the parts of one event share.
struct Scene<'a> {
    wish: &'a Wish,
    payer: WishedPayer<'a>,
    custom_data: Value,
}

impl<'a> Scene<'a> {
    fn new(wish: &'a Wish) -> Self {
        let payer = wish.payer();
        let custom_data = match payer.kind {
            PayerKind::Org => json!({"orgId": payer.id}),
            PayerKind::User => json!({"userId": payer.id}),
        };
        Self { wish, payer, custom_data }
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
        let end = self.wish.end_or_month();
        let period = (!is_over).then(|| json!({"ends_at": micros(end), "starts_at": self.at(0)}));
        let next_billed_at = (!is_over).then(|| micros(end));
        json!({
            "address_id": self.payer.owned("add_"),
            "billing_cycle": {"frequency": 1, "interval": "month"},
            "billing_details": null,
            "business_id": null,
            "canceled_at": (status == "canceled").then(|| self.at(0)),
            "collection_mode": "automatic",
            "created_at": self.at(-HOUR_MS),
            "currency_code": "USD",
            "current_billing_period": period,
            "custom_data": self.custom_data,
            "customer_id": self.payer.owned("ctm_"),
            "discount": null,
            "first_billed_at": (status != "trialing").then(|| self.at(0)),
            "id": self.payer.owned("sub_"),
            "items": [{
                "created_at": self.at(-HOUR_MS),
                "next_billed_at": next_billed_at,
                "previously_billed_at": (status != "trialing").then(|| self.at(0)),
                "price": self.price(),
                "quantity": self.wish.counted_seats().unwrap_or(1),
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
                    "payment_attempt_id": ids::stable("", &[&self.payer.key(), &self.at(0)]),
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
            "customer_id": self.payer.owned("ctm_"),
            "details": {"totals": {"currency_code": "USD", "grand_total": PRICE.to_string(), "total": PRICE.to_string()}},
            "id": self.payer.owned("txn_"),
            "items": [{"price": self.price(), "quantity": 1}],
            "origin": "subscription_recurring",
            "payments": payments,
            "status": status,
            "subscription_id": self.payer.owned("sub_"),
            "updated_at": self.at(0),
        })
    }

    fn adjustment(&self, status: &str) -> Value {
        json!({
            "action": "refund",
            "created_at": self.at(0),
            "currency_code": "USD",
            "customer_id": self.payer.owned("ctm_"),
            "id": self.payer.owned("adj_"),
            "items": [{"amount": PRICE.to_string(), "type": "full"}],
            "reason": "error",
            "status": status,
            "subscription_id": self.payer.owned("sub_"),
            "totals": {"currency_code": "USD", "total": PRICE.to_string()},
            "transaction_id": self.payer.owned("txn_"),
            "type": "full",
            "updated_at": self.at(0),
        })
    }

    fn customer(&self) -> Value {
        json!({
            "created_at": self.at(0),
            "custom_data": self.custom_data,
            "email": "payer@example.com",
            "id": self.payer.owned("ctm_"),
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
