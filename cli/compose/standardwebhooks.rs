//! The events of plangate's own form, which any system may send: `docs/standard-webhooks.md`.

use plangate::event::Seats;
use plangate::time::{DAY_MS, HOUR_MS};
use serde_json::{Map, Value, json};

use super::{Composed, Composer, Wish};
use crate::failure::{Failure, usage};
use crate::ids;

pub(super) struct StandardWebhooks;

/// How long the invented periods are.
const MONTH_MS: i64 = 30 * DAY_MS;
/// What the invented plans cost in a month, in cents.
const PRICE: i64 = 2_000;
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
        EVENTS.iter().map(|(event_type, _)| *event_type).collect()
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let (_, shape) = EVENTS.iter().find(|(known, _)| *known == event_type).ok_or_else(|| {
            usage(format!("`{event_type}` is no event of `standard-webhooks`; leave it out to see the list"))
        })?;
        check(event_type, *shape, wish)?;
        let scene = Scene::new(wish);
        let data = scene.data(event_type, *shape);
        let body = json!({"type": event_type, "timestamp": wish.at.to_string(), "data": data});
        Ok(Composed { body, about: scene.payer })
    }
}

/// An option that an event has no place for is refused: passed over, it would look as if it had been sent.
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
    whose: (&'static str, &'a str),
}

impl<'a> Scene<'a> {
    fn new(wish: &'a Wish) -> Self {
        let user = wish.user.as_deref().unwrap_or("user_example");
        let (payer, whose) = match &wish.org {
            Some(org) => (format!("org:{org}"), ("org_id", org.as_str())),
            None => (format!("user:{user}"), ("user_id", user)),
        };
        Self { wish, payer, whose }
    }

    fn data(&self, event_type: &str, shape: Shape) -> Value {
        let mut data = match shape {
            Shape::Subscription => self.subscription(),
            Shape::Purchase => self.purchase(),
            Shape::Revocation => json!({"id": self.id("purchase")}),
            Shape::Payment => self.payment(event_type == "payment.failed"),
            Shape::Customer | Shape::Payer => Value::Object(Map::new()),
        };
        if let Some(fields) = data.as_object_mut() {
            let (name, id) = self.whose;
            fields.insert(name.into(), id.into());
            fields.insert("updated_at".into(), self.at(0).into());
            if shape != Shape::Payer {
                fields.insert("customer_id".into(), self.id("customer").into());
            }
        }
        data
    }

    /// The id of something that belongs to the payer.
    fn id(&self, what: &str) -> String {
        ids::stable(&format!("{what}_"), &[&self.payer])
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
        let status = self.wish.status.as_deref().unwrap_or(if self.wish.trial { "trialing" } else { "active" });
        let end = self.wish.period_end.unwrap_or_else(|| self.wish.at.plus_millis(MONTH_MS)).to_string();
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
