//! The events of plangate's own form, which any system may send: `docs/standard-webhooks.md`.

use plangate::event::Seats;
use plangate::payer::PayerKind;
use plangate::time::HOUR_MS;
use serde_json::{Map, Value, json};

use super::{Composed, Composer, PRICE, Wish, WishedPayer, names, refuse_misplaced, shape_of};
use crate::failure::Failure;

pub(super) struct StandardWebhooks;

/// The plan, when nobody says.
const PLAN: &str = "pro";

/// What `data` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Subscription,
    Purchase,
    /// That a purchase is taken back.
    Revocation,
    /// A charge for the subscription.
    Payment,
    Customer,
    Payer,
}

const EVENTS: &[(&str, Shape)] = &[
    ("subscription.changed", Shape::Subscription),
    ("purchase.completed", Shape::Purchase),
    ("purchase.revoked", Shape::Revocation),
    ("payment.succeeded", Shape::Payment),
    ("payment.failed", Shape::Payment),
    ("payment.partially_refunded", Shape::Payment),
    ("payment.refunded", Shape::Payment),
    ("payment.disputed", Shape::Payment),
    ("customer.linked", Shape::Customer),
    ("payer.deleted", Shape::Payer),
];

impl Composer for StandardWebhooks {
    fn provider(&self) -> &'static str {
        "standard-webhooks"
    }

    fn event_types(&self) -> Vec<&'static str> {
        names(EVENTS)
    }

    fn statuses(&self) -> &'static [&'static str] {
        &["active", "trialing", "canceled", "past_due", "paused", "unpaid", "incomplete", "upcoming", "ended"]
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let shape = shape_of(self, EVENTS, event_type)?;
        check(event_type, shape, wish)?;
        let scene = Scene { wish, payer: wish.payer() };
        let data = scene.data(event_type, shape);
        let body = json!({"type": event_type, "timestamp": wish.at.to_string(), "data": data});
        Ok(Composed { body, about: scene.payer.key() })
    }
}

fn check(event_type: &str, shape: Shape, wish: &Wish) -> Result<(), Failure> {
    let is_subscription = shape == Shape::Subscription;
    let is_sold = is_subscription || shape == Shape::Purchase;
    let refused = [
        ("--flat", wish.flat),
        ("--plan", !is_sold && wish.plan.is_some()),
        ("--status", !is_subscription && wish.status.is_some()),
        ("--period-end", !is_sold && wish.period_end.is_some()),
        ("--trial", !is_subscription && wish.trial),
        ("--seats", !is_sold && wish.seats.is_some()),
    ];
    refuse_misplaced(event_type, &refused)?;
    wish.check_one_payer(event_type)
}

/// What the parts of one event share.
struct Scene<'a> {
    wish: &'a Wish,
    payer: WishedPayer<'a>,
}

impl Scene<'_> {
    fn data(&self, event_type: &str, shape: Shape) -> Value {
        let mut data = match shape {
            Shape::Subscription => self.subscription(),
            Shape::Purchase => self.purchase(),
            Shape::Revocation => json!({"id": self.id("purchase")}),
            Shape::Payment => self.payment(event_type == "payment.failed"),
            Shape::Customer | Shape::Payer => Value::Object(Map::new()),
        };
        if let Some(fields) = data.as_object_mut() {
            let name = match self.payer.kind {
                PayerKind::Org => "org_id",
                PayerKind::User => "user_id",
            };
            fields.insert(name.into(), self.payer.id.into());
            fields.insert("updated_at".into(), self.at(0).into());
            if shape != Shape::Payer {
                fields.insert("customer_id".into(), self.id("customer").into());
            }
        }
        data
    }

    /// The id of something that belongs to the payer.
    fn id(&self, what: &str) -> String {
        self.payer.owned(&format!("{what}_"))
    }

    fn plan(&self) -> &str {
        self.wish.plan.as_deref().unwrap_or(PLAN)
    }

    fn at(&self, millis_later: i64) -> String {
        self.wish.at.plus_millis(millis_later).to_string()
    }

    fn seats(&self) -> Value {
        match self.wish.seats {
            Some(Seats::Limited(seats)) => seats.into(),
            Some(Seats::Unlimited) => "unlimited".into(),
            None => Value::Null,
        }
    }

    fn subscription(&self) -> Value {
        let status = self.wish.status_or(if self.wish.trial { "trialing" } else { "active" });
        let end = self.wish.end_or_month().to_string();
        json!({
            "id": self.id("subscription"),
            "plan": self.plan(),
            "status": status,
            "trial": self.wish.trial,
            "interval": "month",
            "period_start": self.at(0),
            "period_end": end,
            "cancel_at": (status == "canceled").then_some(&end),
            "canceled_at": (status == "canceled").then(|| self.at(0)),
            "ended_at": (status == "ended").then(|| self.at(0)),
            "past_due_since": (status == "past_due").then(|| self.at(0)),
            "seats": self.seats(),
            "started_at": self.at(-HOUR_MS),
        })
    }

    fn purchase(&self) -> Value {
        json!({
            "id": self.id("purchase"),
            "plan": self.plan(),
            "period_start": self.at(0),
            "period_end": self.wish.period_end.map(|end| end.to_string()),
            "seats": self.seats(),
            "started_at": self.at(0),
        })
    }

    fn payment(&self, has_failed: bool) -> Value {
        json!({
            "id": self.id("payment"),
            "subscription_id": self.id("subscription"),
            "amount": PRICE,
            "currency": "usd",
            "attempt": 1,
            "failure_code": has_failed.then_some("card_declined"),
            "created_at": self.at(0),
        })
    }
}
