//! Polar's events, in the shape of the schemas in polarsource/polar (`server/polar/{subscription,order,refund,customer}`).
//!
//! The payer is the customer's `external_id`, as a checkout sets it, and the product is `--plan`.

use plangate::event::Seats;
use plangate::time::HOUR_MS;
use serde_json::{Value, json};

use super::{Composed, Composer, PRICE, Wish, WishedPayer, names, refuse_misplaced, shape_of};
use crate::failure::{Failure, usage};
use crate::ids;

pub(super) struct Polar;

/// The product, when nobody says.
const PLAN: &str = "00000000-0000-4000-8000-00000000e001";

/// What `data` is.
#[derive(Clone, Copy)]
enum Shape {
    /// A subscription; the second is whether it is to end with its period.
    Subscription(&'static str, bool),
    /// A charge for the subscription.
    Order(&'static str),
    /// The refund of such a charge.
    Refund(&'static str),
    Customer,
    /// The customer with its active subscriptions.
    State,
}

const EVENTS: &[(&str, Shape)] = &[
    ("subscription.created", Shape::Subscription("active", false)),
    ("subscription.active", Shape::Subscription("active", false)),
    ("subscription.updated", Shape::Subscription("active", false)),
    ("subscription.canceled", Shape::Subscription("active", true)),
    ("subscription.uncanceled", Shape::Subscription("active", false)),
    ("subscription.cycled", Shape::Subscription("active", false)),
    ("subscription.past_due", Shape::Subscription("past_due", false)),
    ("subscription.revoked", Shape::Subscription("canceled", false)),
    ("subscription.paused", Shape::Subscription("paused", false)),
    ("subscription.resumed", Shape::Subscription("active", false)),
    ("order.created", Shape::Order("pending")),
    ("order.paid", Shape::Order("paid")),
    ("order.updated", Shape::Order("paid")),
    ("order.refunded", Shape::Order("refunded")),
    ("refund.created", Shape::Refund("pending")),
    ("refund.updated", Shape::Refund("succeeded")),
    ("customer.created", Shape::Customer),
    ("customer.updated", Shape::Customer),
    ("customer.state_changed", Shape::State),
];

impl Composer for Polar {
    fn provider(&self) -> &'static str {
        "polar"
    }

    fn event_types(&self) -> Vec<&'static str> {
        names(EVENTS)
    }

    fn statuses(&self) -> &'static [&'static str] {
        &["incomplete", "incomplete_expired", "trialing", "active", "past_due", "paused", "canceled", "unpaid"]
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let shape = shape_of(self, EVENTS, event_type)?;
        check(event_type, shape, wish)?;
        let scene = Scene { wish, payer: wish.payer() };
        let data = match shape {
            Shape::Subscription(status, ends) => scene.subscription(wish.status_or(status), ends),
            Shape::Order(status) => scene.order(status),
            Shape::Refund(status) => scene.refund(status),
            Shape::Customer => scene.customer(None),
            Shape::State => scene.customer(Some(&scene.subscription(wish.status_or("active"), false))),
        };
        let body = json!({"type": event_type, "timestamp": wish.at.to_string(), "data": data});
        Ok(Composed { body, about: scene.payer.key() })
    }
}

fn check(event_type: &str, shape: Shape, wish: &Wish) -> Result<(), Failure> {
    let shows_subscription = matches!(shape, Shape::Subscription(..) | Shape::State);
    let refused = [
        ("--flat", wish.flat),
        ("--plan", matches!(shape, Shape::Refund(_) | Shape::Customer) && wish.plan.is_some()),
        ("--status", !shows_subscription && wish.status.is_some()),
        ("--period-end", !shows_subscription && wish.period_end.is_some()),
        ("--trial", !shows_subscription && wish.trial),
        ("--seats", !matches!(shape, Shape::Subscription(..)) && wish.seats.is_some()),
        ("--seats unlimited", wish.seats == Some(Seats::Unlimited)),
    ];
    refuse_misplaced(event_type, &refused)?;
    wish.check_one_payer(event_type)?;
    if wish.org.as_ref().is_some_and(|org| !org.starts_with("org_")) {
        return Err(usage("Polar has one id for users and organizations; give an --org that begins with `org_`"));
    }
    Ok(())
}

/// What the parts of one event share.
struct Scene<'a> {
    wish: &'a Wish,
    payer: WishedPayer<'a>,
}

impl Scene<'_> {
    /// An id of something that belongs to the payer, in the form of a UUID.
    fn payers(&self, what: &str) -> String {
        let hex = ids::stable("", &[&self.payer.key(), what]);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-4000-8000-{}", part(0, 8), part(8, 12), part(12, 24))
    }

    fn product(&self) -> &str {
        self.wish.plan.as_deref().unwrap_or(PLAN)
    }

    fn at(&self, millis_later: i64) -> String {
        self.wish.at.plus_millis(millis_later).to_string()
    }

    fn customer(&self, subscription: Option<&Value>) -> Value {
        let mut customer = json!({
            "created_at": self.at(-HOUR_MS),
            "email": "payer@example.com",
            "email_verified": true,
            "external_id": self.payer.id,
            "id": self.payers("customer"),
            "metadata": {},
            "modified_at": null,
            "name": null,
        });
        if let (Some(subscription), Some(fields)) = (subscription, customer.as_object_mut()) {
            fields.insert("active_subscriptions".into(), json!([subscription]));
            fields.insert("granted_benefits".into(), json!([]));
            fields.insert("active_meters".into(), json!([]));
        }
        customer
    }

    fn subscription(&self, status: &str, ends: bool) -> Value {
        let status = if self.wish.trial && status == "active" { "trialing" } else { status };
        let end = self.wish.end_or_month().to_string();
        let is_over = status == "canceled";
        let is_trial = status == "trialing";
        json!({
            "amount": PRICE,
            "cancel_at_period_end": ends,
            "canceled_at": (ends || is_over).then(|| self.at(0)),
            "checkout_id": null,
            "created_at": self.at(-HOUR_MS),
            "currency": "usd",
            "current_period_end": end,
            "current_period_start": self.at(0),
            "customer": self.customer(None),
            "customer_id": self.payers("customer"),
            "ended_at": is_over.then(|| self.at(0)),
            "ends_at": if ends { Some(end.clone()) } else { is_over.then(|| self.at(0)) },
            "id": self.payers("subscription"),
            "metadata": {},
            "modified_at": self.at(0),
            "past_due_at": (status == "past_due").then(|| self.at(0)),
            "pause_at_period_end": false,
            "paused_at": (status == "paused").then(|| self.at(0)),
            "pending_update": null,
            "prices": [{"amount_type": "fixed", "id": self.payers("price"), "price_amount": PRICE}],
            "product": {"id": self.product(), "name": "Example"},
            "product_id": self.product(),
            "recurring_interval": "month",
            "recurring_interval_count": 1,
            "resumes_at": null,
            "seats": self.wish.counted_seats(),
            "started_at": self.at(-HOUR_MS),
            "status": status,
            "trial_end": is_trial.then_some(&end),
            "trial_start": is_trial.then(|| self.at(0)),
        })
    }

    fn order(&self, status: &str) -> Value {
        json!({
            "billing_reason": "subscription_cycle",
            "checkout_id": null,
            "created_at": self.at(0),
            "currency": "usd",
            "customer": self.customer(None),
            "customer_id": self.payers("customer"),
            "id": self.payers("order"),
            "metadata": {},
            "modified_at": self.at(0),
            "paid": status != "pending",
            "product_id": self.product(),
            "refunded_amount": if status == "refunded" { PRICE } else { 0 },
            "status": status,
            "subscription_id": self.payers("subscription"),
            "tax_amount": 0,
            "total_amount": PRICE,
        })
    }

    fn refund(&self, status: &str) -> Value {
        json!({
            "amount": PRICE,
            "created_at": self.at(0),
            "currency": "usd",
            "customer_id": self.payers("customer"),
            "dispute": null,
            "id": self.payers("refund"),
            "metadata": {},
            "modified_at": self.at(0),
            "order_id": self.payers("order"),
            "reason": "customer_request",
            "revoke_benefits": false,
            "status": status,
            "subscription_id": self.payers("subscription"),
            "tax_amount": 0,
        })
    }
}
