//! Stripe's events, in the shape of API version `2026-10-28.endive`, with invented values.
//!
//! Source: <https://docs.stripe.com/api>. The id of an event is in its body: `--event-id` sets it.

use plangate::event::Seats;
use plangate::payer::PayerKind;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use super::{Composed, Composer, MONTH_MS, PRICE, TRIAL_MS, Wish, WishedPayer, names, refuse_misplaced, shape_of};
use crate::failure::{Failure, usage};
use crate::ids;

pub(super) struct Stripe;

/// The price, when nobody says.
const PRICE_ID: &str = "price_pro";
/// Stripe tells of a trial's end three days before.
const TRIAL_WARNING_MS: i64 = 3 * DAY_MS;

/// What `data.object` looks like.
#[derive(Clone, Copy)]
enum Shape {
    /// A subscription in this status, and what the event says it was before.
    Subscription(&'static str, fn() -> Value),
    /// A session: of a subscription, or of something that is bought once, with this status of the payment.
    Checkout(&'static str, &'static str),
    /// An invoice in this status.
    Invoice(&'static str),
    Charge,
    /// A dispute in this status.
    Dispute(&'static str),
    Customer,
}

fn nothing() -> Value {
    Value::Null
}

/// The types of event that change what is held or paid, and some that do not.
const EVENTS: &[(&str, Shape)] = &[
    ("checkout.session.completed", Shape::Checkout("subscription", "paid")),
    ("checkout.session.async_payment_succeeded", Shape::Checkout("payment", "paid")),
    ("checkout.session.async_payment_failed", Shape::Checkout("payment", "unpaid")),
    ("customer.subscription.created", Shape::Subscription("incomplete", nothing)),
    ("customer.subscription.updated", Shape::Subscription("active", || json!({"status": "incomplete"}))),
    ("customer.subscription.deleted", Shape::Subscription("canceled", nothing)),
    ("customer.subscription.paused", Shape::Subscription("paused", nothing)),
    ("customer.subscription.resumed", Shape::Subscription("active", nothing)),
    ("customer.subscription.trial_will_end", Shape::Subscription("trialing", nothing)),
    ("customer.subscription.pending_update_applied", Shape::Subscription("active", nothing)),
    ("customer.subscription.pending_update_expired", Shape::Subscription("active", nothing)),
    ("invoice.created", Shape::Invoice("draft")),
    ("invoice.finalized", Shape::Invoice("open")),
    ("invoice.paid", Shape::Invoice("paid")),
    ("invoice.payment_succeeded", Shape::Invoice("paid")),
    ("invoice.payment_failed", Shape::Invoice("open")),
    ("charge.refunded", Shape::Charge),
    ("charge.dispute.created", Shape::Dispute("needs_response")),
    ("charge.dispute.closed", Shape::Dispute("lost")),
    ("customer.created", Shape::Customer),
    ("customer.updated", Shape::Customer),
    ("customer.deleted", Shape::Customer),
];

impl Composer for Stripe {
    fn provider(&self) -> &'static str {
        "stripe"
    }

    fn id_prefix(&self) -> &'static str {
        "evt_"
    }

    fn event_types(&self) -> Vec<&'static str> {
        names(EVENTS)
    }

    fn statuses(&self) -> &'static [&'static str] {
        &["incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused"]
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let shape = shape_of(self, EVENTS, event_type)?;
        check(event_type, shape, wish)?;
        let scene = Scene::new(event_type, wish);
        let mut data = json!({"object": scene.object(shape)});
        if let (Shape::Subscription(_, previous), Some(fields)) = (shape, data.as_object_mut())
            && event_type.ends_with(".updated")
        {
            fields.insert("previous_attributes".to_owned(), previous());
        }
        let body = json!({
            "id": wish.event_id,
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": wish.at.as_secs(),
            "data": data,
            "livemode": true,
            "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
            "type": event_type,
        });
        Ok(Composed { body, about: scene.payer.key() })
    }
}

fn check(event_type: &str, shape: Shape, wish: &Wish) -> Result<(), Failure> {
    let is_subscription = matches!(shape, Shape::Subscription(..));
    let has_plan = is_subscription || matches!(shape, Shape::Checkout("payment", _));
    let refused = [
        ("--flat", wish.flat),
        ("--plan", !has_plan && wish.plan.is_some()),
        ("--status", matches!(shape, Shape::Charge | Shape::Customer) && wish.status.is_some()),
        ("--period-end", !is_subscription && wish.period_end.is_some()),
        ("--trial", !is_subscription && wish.trial),
        ("--seats", !is_subscription && wish.seats.is_some()),
    ];
    refuse_misplaced(event_type, &refused)?;
    if wish.seats == Some(Seats::Unlimited) {
        return Err(usage("Stripe counts seats; give --seats a number"));
    }
    wish.check_one_payer(event_type)?;
    wish.check_ids()
}

/// What the parts of one event share.
struct Scene<'a> {
    event_type: &'a str,
    wish: &'a Wish,
    payer: WishedPayer<'a>,
    price: &'a str,
}

impl<'a> Scene<'a> {
    fn new(event_type: &'a str, wish: &'a Wish) -> Self {
        Self { event_type, wish, payer: wish.payer(), price: wish.plan.as_deref().unwrap_or(PRICE_ID) }
    }

    fn metadata(&self) -> Value {
        match self.payer.kind {
            PayerKind::Org => json!({"orgId": self.payer.id}),
            PayerKind::User => json!({"userId": self.payer.id}),
        }
    }

    fn object(&self, shape: Shape) -> Value {
        match shape {
            Shape::Subscription(status, _) => self.subscription(status),
            Shape::Checkout(mode, status) => self.checkout(mode, status),
            Shape::Invoice(status) => self.invoice(status),
            Shape::Charge => self.charge(),
            Shape::Dispute(status) => self.dispute(status),
            Shape::Customer => self.customer(),
        }
    }

    fn subscription(&self, status: &str) -> Value {
        let wish = self.wish;
        let is_warning = self.event_type.ends_with(".trial_will_end");
        let status = match (&wish.status, wish.trial) {
            (Some(status), _) => status,
            (None, true) => "trialing",
            (None, false) => status,
        };
        let is_trial = status == "trialing";
        let length = if is_trial { TRIAL_MS } else { MONTH_MS };
        let end = wish.period_end.unwrap_or_else(|| match status {
            "canceled" => wish.at,
            _ if is_warning => wish.at.plus_millis(TRIAL_WARNING_MS),
            _ => wish.at.plus_millis(length),
        });
        let start = end.plus_millis(length.saturating_neg());
        let is_over = matches!(status, "canceled" | "incomplete_expired");
        json!({
            "id": self.payer.owned("sub_"),
            "object": "subscription",
            "billing_cycle_anchor": start.as_secs(),
            "billing_mode": {"type": "flexible"},
            "cancel_at": null,
            "cancel_at_period_end": false,
            "canceled_at": is_over.then_some(wish.at.as_secs()),
            "cancellation_details": {"comment": null, "feedback": null, "reason": null},
            "collection_method": "charge_automatically",
            "created": start.min(wish.at).as_secs(),
            "currency": "usd",
            "customer": self.payer.owned("cus_"),
            "discounts": [],
            "ended_at": is_over.then_some(wish.at.as_secs()),
            "items": {
                "object": "list",
                "data": [self.item(start, end)],
                "has_more": false,
                "total_count": 1,
                "url": format!("/v1/subscription_items?subscription={}", self.payer.owned("sub_")),
            },
            "latest_invoice": self.payer.owned("in_"),
            "livemode": true,
            "metadata": self.metadata(),
            "pause_collection": null,
            "pending_update": null,
            "schedule": null,
            "start_date": start.min(wish.at).as_secs(),
            "status": status,
            "test_clock": null,
            "trial_end": is_trial.then_some(end.as_secs()),
            "trial_start": is_trial.then_some(start.as_secs()),
        })
    }

    fn item(&self, start: Timestamp, end: Timestamp) -> Value {
        json!({
            "id": self.payer.owned("si_"),
            "object": "subscription_item",
            "created": start.min(self.wish.at).as_secs(),
            "current_period_end": end.as_secs(),
            "current_period_start": start.as_secs(),
            "discounts": [],
            "metadata": {},
            "price": {
                "id": self.price,
                "object": "price",
                "active": true,
                "billing_scheme": "per_unit",
                "currency": "usd",
                "livemode": true,
                "lookup_key": null,
                "metadata": {},
                "product": ids::stable("prod_", &[self.price]),
                "recurring": {"interval": "month", "interval_count": 1, "meter": null, "usage_type": "licensed"},
                "type": "recurring",
                "unit_amount": PRICE,
            },
            "quantity": self.wish.counted_seats().unwrap_or(1),
            "subscription": self.payer.owned("sub_"),
        })
    }

    fn checkout(&self, mode: &str, payment_status: &str) -> Value {
        let is_subscription = mode == "subscription";
        let mut metadata = self.metadata();
        if let (Some(fields), false) = (metadata.as_object_mut(), is_subscription) {
            fields.insert("price_id".to_owned(), json!(self.price));
        }
        json!({
            "id": self.payer.owned("cs_live_"),
            "object": "checkout.session",
            "amount_subtotal": PRICE,
            "amount_total": PRICE,
            "client_reference_id": self.payer.id,
            "created": self.wish.at.as_secs(),
            "currency": "usd",
            "customer": self.payer.owned("cus_"),
            "livemode": true,
            "metadata": metadata,
            "mode": mode,
            "payment_intent": (!is_subscription).then(|| self.payer.owned("pi_")),
            "payment_status": self.wish.status_or(payment_status),
            "status": "complete",
            "subscription": is_subscription.then(|| self.payer.owned("sub_")),
        })
    }

    fn invoice(&self, status: &str) -> Value {
        let status = self.wish.status_or(status);
        let paid = if status == "paid" { PRICE } else { 0 };
        json!({
            "id": self.payer.owned("in_"),
            "object": "invoice",
            "amount_due": PRICE,
            "amount_paid": paid,
            "amount_remaining": PRICE.saturating_sub(paid),
            "attempt_count": i32::from(status != "draft"),
            "attempted": status != "draft",
            "billing_reason": "subscription_cycle",
            "collection_method": "charge_automatically",
            "created": self.wish.at.as_secs(),
            "currency": "usd",
            "customer": self.payer.owned("cus_"),
            "livemode": true,
            "metadata": {},
            "parent": {
                "quote_details": null,
                "subscription_details": {"metadata": self.metadata(), "subscription": self.payer.owned("sub_")},
                "type": "subscription_details",
            },
            "status": status,
            "total": PRICE,
        })
    }

    /// Refunded as a whole.
    fn charge(&self) -> Value {
        json!({
            "id": self.payer.owned("ch_"),
            "object": "charge",
            "amount": PRICE,
            "amount_captured": PRICE,
            "amount_refunded": PRICE,
            "created": self.wish.at.plus_millis(-DAY_MS).as_secs(),
            "currency": "usd",
            "customer": self.payer.owned("cus_"),
            "disputed": false,
            "livemode": true,
            "metadata": self.metadata(),
            "paid": true,
            "payment_intent": self.payer.owned("pi_"),
            "refunded": true,
            "status": "succeeded",
        })
    }

    fn dispute(&self, status: &str) -> Value {
        json!({
            "id": self.payer.owned("du_"),
            "object": "dispute",
            "amount": PRICE,
            "charge": self.payer.owned("ch_"),
            "created": self.wish.at.as_secs(),
            "currency": "usd",
            "livemode": true,
            "metadata": self.metadata(),
            "payment_intent": self.payer.owned("pi_"),
            "reason": "fraudulent",
            "status": self.wish.status_or(status),
        })
    }

    fn customer(&self) -> Value {
        json!({
            "id": self.payer.owned("cus_"),
            "object": "customer",
            "created": self.wish.at.as_secs(),
            "email": "ada@example.test",
            "livemode": true,
            "metadata": self.metadata(),
            "name": "Ada Example",
        })
    }
}
