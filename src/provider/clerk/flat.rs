//! The flat form: `subscription.created|updated|deleted|payment_failed` with
//! `data: {user_id, plan, status?, stripe_customer_id?, attempt_count?}`, as many guides show it and as custom Svix
//! senders use it. It knows one subscription per payer.
//!
//! An event that leaves out the plan or the status does not change it; one that tells of a period and no status is a
//! renewal. Put a `timestamp` into the body: without one
//! events are ordered by the time of the delivery attempt, and a retried old event then looks new.

use serde::Deserialize;

use super::field::{moment, text};
use super::{Sent, empty_event};
use crate::event::{Event, PlanRef, Record, State};
use crate::payer::{Payer, PayerKind};
use crate::status::Status;
use crate::time::Timestamp;

/// What tells the two forms apart: Clerk's own subscription is an object with items and a payer.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    user_id: serde_json::Value,
    #[serde(default)]
    org_id: serde_json::Value,
    #[serde(default)]
    organization_id: serde_json::Value,
    items: Option<serde::de::IgnoredAny>,
    subscription_items: Option<serde::de::IgnoredAny>,
    payer: Option<serde::de::IgnoredAny>,
    payer_id: Option<serde::de::IgnoredAny>,
}

/// Whether `data` is of the flat form: it says whose it is itself, and has none of Clerk's parts.
pub(super) fn is_flat(data: &str) -> bool {
    serde_json::from_str::<Shape>(data).is_ok_and(|shape| {
        let names_payer =
            [&shape.user_id, &shape.org_id, &shape.organization_id].into_iter().any(serde_json::Value::is_string);
        names_payer
            && shape.items.is_none()
            && shape.subscription_items.is_none()
            && shape.payer.is_none()
            && shape.payer_id.is_none()
    })
}

#[derive(Deserialize)]
struct Flat {
    #[serde(default, deserialize_with = "text")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    org_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    organization_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    plan: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    stripe_customer_id: Option<String>,
    attempt_count: Option<u32>,
    #[serde(default, deserialize_with = "moment")]
    period_start: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    period_end: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    current_period_start: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    current_period_end: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    updated_at: Option<Timestamp>,
}

/// `None` for a type of event that the form does not have.
pub(super) fn event(sent: &Sent<'_>, data: &str) -> Result<Option<Event>, String> {
    let flat: Flat = serde_json::from_str(data).map_err(|error| error.to_string())?;
    let occurred_at = flat.updated_at.unwrap_or(sent.at);
    let period_end = flat.period_end.or(flat.current_period_end);
    // Who tells of a period and no status tells of a renewal.
    let given = flat.status.as_deref().map(Status::parse).or(period_end.map(|_| Status::Active));
    let created = sent.event_type == "subscription.created";
    let status = match sent.event_type {
        "subscription.created" => Some(given.unwrap_or(Status::Active)),
        "subscription.updated" => given,
        "subscription.deleted" => Some(Status::Canceled),
        "subscription.payment_failed" => Some(Status::PastDue),
        _ => return Ok(None),
    };

    let org = flat.org_id.or(flat.organization_id).map(|id| (PayerKind::Org, id));
    let (kind, id) = org.or(flat.user_id.map(|id| (PayerKind::User, id))).ok_or("nothing says whose it is")?;
    let payer = Payer::new(kind, id).ok_or("the payer's id is too long")?;
    let deleted = sent.event_type == "subscription.deleted";
    let state = status.map(|status| State {
        period_start: flat.period_start.or(flat.current_period_start),
        // Deleted is canceled with nothing left of the period.
        period_end: if deleted { Some(occurred_at) } else { period_end },
        cancel_at: match (&status, deleted) {
            (_, true) => Some(occurred_at),
            (Status::Canceled, false) => period_end,
            _ => None,
        },
        canceled_at: (status == Status::Canceled).then_some(occurred_at),
        ended_at: deleted.then_some(occurred_at),
        past_due_since: (status == Status::PastDue).then_some(occurred_at),
        failed_attempts: match status {
            Status::PastDue => flat.attempt_count.unwrap_or(1),
            _ => flat.attempt_count.unwrap_or(0),
        },
        last_failure_at: (sent.event_type == "subscription.payment_failed").then_some(occurred_at),
        ..State::new(status)
    });
    // Within one second, which is all that a sender without its own clock tells, a creation comes first.
    let progress = if created { 0 } else { state.as_ref().map_or(1, |state| state.status.progress()) };
    let record = Record {
        id: format!("flat:{payer}"),
        version: sent.version(occurred_at, progress),
        occurred_at,
        payer: Some(payer.clone()),
        customer: flat.stripe_customer_id,
        subscription: None,
        plan: flat.plan.map(|key| PlanRef { free: key == payer.kind().default_free_plan(), key, id: None }),
        trial: state.as_ref().is_some_and(|state| state.status == Status::Trialing),
        started_at: created.then_some(occurred_at),
        state,
    };
    Ok(Some(Event { payer: Some(payer), records: vec![record], ..empty_event(sent, occurred_at) }))
}
