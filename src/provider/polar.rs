//! Polar.
//!
//! In scope: subscriptions, orders of what is sold once, payments, refunds, and whose a customer is. Out of scope: the
//! benefits that Polar itself grants, which the catalog here stands in for. Nothing in a body tells the sandbox from
//! production; each has endpoints, and so secrets, of its own.
//!
//! Sources: <https://polar.sh/docs/integrate/webhooks/events>, and in <https://github.com/polarsource/polar>
//! `server/polar/webhook/tasks.py` and the schemas beside it (`subscription`, `order`, `refund`, `customer/schemas/state.py`).

mod api;

use super::reading::{self, Object, Sent, due_at};
use super::{Ours, Provider, listing};
use crate::api::Api;
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{Event, ParseError, Parsed, Payment, PlanRef, Record, Seats, State};
use crate::payer::Payer;
use crate::secret::{Secret, SecretError};
use crate::standard_webhooks::{self, STANDARD_HEADERS};
use crate::status::Status;
use crate::time::Timestamp;

pub(super) struct Polar;

impl Provider for Polar {
    fn name(&self) -> &'static str {
        "polar"
    }

    fn secret_names(&self) -> &'static [&'static str] {
        &["POLAR_WEBHOOK_SECRET"]
    }

    fn signature_headers(&self) -> &'static [&'static [&'static str]] {
        &[&["webhook-id"], &["webhook-timestamp"], &["webhook-signature"]]
    }

    /// Polar's server signs with the bytes of the text as it stands, `whsec_` included, which is not how Standard Webhooks
    /// reads a secret. Its newest SDKs then try the Standard Webhooks reading too, so it may come to sign that way.
    fn parse_secret(&self, _setting: &'static str, text: &str) -> Result<Secret, SecretError> {
        let secret = Secret::new(text.trim().as_bytes())?;
        // Any text is a secret here, so one that is no base64 has no second reading.
        Ok(match standard_webhooks::parse_secret(text) {
            Ok(decoded) => secret.or(decoded),
            Err(_) => secret,
        })
    }

    fn verify<'a>(
        &self,
        delivery: &'a Delivery,
        secrets: &[Secret],
        _ours: &Ours,
        now: Timestamp,
    ) -> Result<Verified<'a>, VerifyError> {
        standard_webhooks::verify_under(&STANDARD_HEADERS, delivery, secrets, now)
    }

    fn parse(&self, verified: &Verified<'_>, _ours: &Ours) -> Result<Parsed, ParseError> {
        reading::parse(verified, ("type", "timestamp"), read)
    }

    fn api(&self) -> Option<&'static dyn Api> {
        Some(&api::CoreApi)
    }

    fn sign(&self, secret: &Secret, event_id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        standard_webhooks::sign_under(&STANDARD_HEADERS, secret, event_id, now, body)
    }
}

fn read(sent: &Sent<'_>, data: Object<'_>) -> Result<Option<Event>, String> {
    match sent.event_type.split_once('.') {
        // Each has the whole subscription, whatever it is called.
        Some((
            "subscription",
            "active" | "canceled" | "created" | "cycled" | "migrated" | "past_due" | "paused" | "resumed" | "revoked"
            | "uncanceled" | "updated",
        )) => {
            let (customer, payer) = (customer(data)?, payer(data)?);
            let record = subscription(sent, data, customer.clone(), payer.clone())?;
            let event = sent.event(record.occurred_at, customer.as_ref(), payer);
            Ok(Some(Event { records: vec![record], ..event }))
        }
        Some(("order", "created" | "paid" | "refunded" | "updated")) => order(sent, data).map(Some),
        Some(("refund", "created" | "updated")) => refund(sent, data).map(Some),
        Some(("customer", "created" | "state_changed" | "updated")) => of_customer(sent, data),
        _ => Ok(None),
    }
}

/// `modified_at` is null until something is changed.
fn changed_at(sent: &Sent<'_>, data: Object<'_>) -> Result<Timestamp, String> {
    Ok(data.moment("modified_at")?.or(data.moment("created_at")?).unwrap_or(sent.at))
}

fn customer(data: Object<'_>) -> Result<Option<String>, String> {
    Ok(data.text("customer_id")?.or(data.object("customer")?.text("id")?))
}

/// The seller's own id of the customer; without one, what the object's or the customer's metadata say.
fn payer(data: Object<'_>) -> Result<Option<Payer>, String> {
    let customer = data.object("customer")?;
    if let Some(payer) = customer.payer("external_id")? {
        return Ok(Some(payer));
    }
    Ok(data.payer_within("metadata")?.or(customer.payer_within("metadata")?))
}

fn plan(data: Object<'_>) -> Result<Option<PlanRef>, String> {
    let Some(key) = data.text("product_id")?.or(data.object("product")?.text("id")?) else { return Ok(None) };
    let prices = data.list("prices")?;
    let price = prices.first().map(|price| Object(price).text("id")).transpose()?.flatten();
    let price = price.or(data.text("price_id")?).or(data.text("product_price_id")?);
    Ok(Some(PlanRef { key, id: price, free: false }))
}

fn subscription(
    sent: &Sent<'_>,
    data: Object<'_>,
    customer: Option<String>,
    payer: Option<Payer>,
) -> Result<Record, String> {
    let id = data.required("id")?;
    let occurred_at = changed_at(sent, data)?;
    let told = Status::parse(&data.required("status")?);
    let trial = told == Status::Trialing;
    let state = state(sent, data, told, occurred_at)?;
    Ok(Record {
        version: sent.version(occurred_at, state.status.progress()),
        occurred_at,
        payer,
        customer,
        subscription: Some(id.clone()),
        plan: plan(data)?,
        state: Some(state),
        trial,
        started_at: data.moment("started_at")?.or(data.moment("created_at")?),
        id,
    })
}

fn state(sent: &Sent<'_>, data: Object<'_>, told: Status, occurred_at: Timestamp) -> Result<State, String> {
    let period_start = data.moment("current_period_start")?;
    let period_end = match told {
        Status::Trialing => data.moment("current_period_end")?.or(data.moment("trial_end")?),
        _ => data.moment("current_period_end")?,
    };
    // A pause takes access as a cancellation does, until the event that ends it.
    let is_last_period = data.flag("cancel_at_period_end")?.max(data.flag("pause_at_period_end")?) == Some(true);
    let stops_at = data.moment("ends_at")?.or(period_end.filter(|_| is_last_period));
    let seats = data.whole("seats")?.or(data.whole("units")?).and_then(|seats| u32::try_from(seats).ok());
    let state = State {
        period_start,
        period_end,
        interval: data.text("recurring_interval")?,
        cancel_at: stops_at,
        canceled_at: data.moment("canceled_at")?,
        ended_at: data.moment("ended_at")?,
        seats: seats.map(Seats::Limited),
        ..State::new(told)
    };
    // `subscription.canceled` says that a cancellation was asked for; the end is `subscription.revoked`, or the status.
    let is_over = sent.event_type == "subscription.revoked"
        || matches!(&state.status, Status::Canceled)
        || state.status.as_str() == "incomplete_expired";
    Ok(match (&state.status, stops_at) {
        _ if is_over => State { status: Status::Ended, ..state },
        // What ends in a later period renews until then.
        (Status::Active | Status::Trialing, Some(at)) if period_end.is_none_or(|end| at <= end) => {
            State { period_end: Some(at), status: Status::Canceled, ..state }
        }
        (Status::PastDue, _) => {
            let due_at = due_at(period_start, period_end, occurred_at);
            let since = data.moment("past_due_at")?.or(due_at).unwrap_or(occurred_at);
            State { past_due_since: Some(since), period_end: due_at.or(period_end), ..state }
        }
        _ => state,
    })
}

/// The record of what an order sold once.
fn order_id(order: &str) -> String {
    format!("order:{order}")
}

/// An order is one payment, whose status goes on to tell of refunds.
fn order(sent: &Sent<'_>, data: Object<'_>) -> Result<Event, String> {
    let id = data.required("id")?;
    let status = data.required("status")?;
    let occurred_at = changed_at(sent, data)?;
    let (customer, payer) = (customer(data)?, payer(data)?);
    let subscription = data.text("subscription_id")?;
    let mut event = sent.event(occurred_at, customer.as_ref(), payer.clone());

    let was_paid = matches!(status.as_str(), "paid" | "partially_refunded" | "refunded");
    if let (None, true, Some(plan)) = (&subscription, was_paid, plan(data)?) {
        let seats = data.whole("seats")?.or(data.whole("units")?).and_then(|seats| u32::try_from(seats).ok());
        event.records.push(Record {
            id: order_id(&id),
            version: sent.version(occurred_at, Status::Active.progress()),
            occurred_at,
            payer: payer.clone(),
            customer: customer.clone(),
            subscription: None,
            plan: Some(plan),
            state: Some(State { seats: seats.map(Seats::Limited), ..State::new(Status::Active) }),
            trial: false,
            started_at: data.moment("created_at")?,
        });
    }
    event.payments.push(Payment {
        version: sent.version(occurred_at, how_far(&status)),
        occurred_at,
        payer,
        customer,
        record: subscription.or_else(|| event.records.first().map(|record| record.id.clone())),
        attempt: None,
        payment: Some(id.clone()),
        status,
        amount: data.whole("total_amount")?.or(data.whole("amount")?),
        currency: data.text("currency")?,
        charge_type: data.text("billing_reason")?.map(|reason| match reason.as_str() {
            "purchase" | "subscription_create" => "checkout".to_owned(),
            "subscription_cycle" => "recurring".to_owned(),
            _ => reason,
        }),
        created_at: data.moment("created_at")?.unwrap_or(occurred_at),
        failure_code: None,
        id,
    });
    Ok(event)
}

/// Of two versions with the same times, which is the later.
fn how_far(status: &str) -> u8 {
    match status {
        "draft" | "pending" => 1,
        "paid" => 2,
        _ => 3,
    }
}

fn refund(sent: &Sent<'_>, data: Object<'_>) -> Result<Event, String> {
    let id = data.required("id")?;
    let occurred_at = changed_at(sent, data)?;
    let order = data.text("order_id")?;
    let status = match data.required("status")?.as_str() {
        "pending" => "pending".to_owned(),
        // A refund does not say whether it is of all that was paid. Its order does, by a status and an event of its own.
        "succeeded" => "partially_refunded".to_owned(),
        // Not `failed`, which is of charges.
        other => format!("refund_{other}"),
    };
    let tax = data.whole("tax_amount")?.unwrap_or(0);
    let payment = Payment {
        version: sent.version(occurred_at, how_far(&status)),
        occurred_at,
        payer: None,
        record: data.text("subscription_id")?.or_else(|| order.as_deref().map(order_id)),
        attempt: None,
        payment: order,
        status,
        amount: data.whole("amount")?.map(|amount| amount.saturating_add(tax)),
        currency: data.text("currency")?,
        charge_type: None,
        created_at: data.moment("created_at")?.unwrap_or(occurred_at),
        failure_code: None,
        customer: data.text("customer_id")?,
        id,
    };
    Ok(Event { payments: vec![payment], ..sent.event(occurred_at, None, None) })
}

/// Whose a customer is, and of `customer.state_changed` its active subscriptions.
fn of_customer(sent: &Sent<'_>, data: Object<'_>) -> Result<Option<Event>, String> {
    let customer = data.text("id")?;
    let payer = data.payer("external_id")?.map_or_else(|| data.payer_within("metadata"), |payer| Ok(Some(payer)))?;
    let event = sent.event(changed_at(sent, data)?, customer.as_ref(), payer.clone());
    // These leave out seats, pauses and failed charges. So they are as if sent before any event of the subscription itself
    // about the same change, and count only until that comes.
    let before = Sent { at: Timestamp::from_millis(0), ..*sent };
    let mut records = Vec::new();
    for active in data.list("active_subscriptions")? {
        let active = Object(active);
        // One that leaves its period out, as it may in a shape to come, would seem to have no end.
        if active.0.get("current_period_end").is_none()
            || active.moment("modified_at")?.or(active.moment("created_at")?).is_none()
        {
            continue;
        }
        let payer = payer.clone().map_or_else(|| active.payer_within("metadata"), |payer| Ok(Some(payer)))?;
        records.push(subscription(&before, active, customer.clone(), payer)?);
    }
    Ok(Some(Event { records, ..event }).filter(|event| !(event.links.is_empty() && event.records.is_empty())))
}
