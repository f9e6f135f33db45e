//! The flat form: `subscription.created|updated|deleted|payment_failed` with
//! `data: {user_id, plan, status?, stripe_customer_id?, attempt_count?}`, as many guides show it and as custom Svix
//! senders use it. It knows one subscription per payer.
//!
//! An event that leaves out the plan or the status does not change it; one that tells of a period and no status is a
//! renewal. Put a `timestamp` into the body: without one
//! events are ordered by the time of the delivery attempt, and a retried old event then looks new.

use super::field::moment;
use crate::event::{Event, PlanRef, Record, State};
use crate::json::Json;
use crate::payer::{Payer, PayerKind};
use crate::provider::reading::{Object, Sent};
use crate::status::Status;

/// Whether `data` is of the flat form: it says whose it is itself, and has none of the parts of Clerk's own subscription.
pub(super) fn is_flat(data: Object<'_>) -> bool {
    let named =
        ["user_id", "org_id", "organization_id"].iter().any(|name| data.0.get(name).and_then(Json::as_str).is_some());
    let has_parts = ["items", "subscription_items", "payer", "payer_id"]
        .iter()
        .any(|name| data.0.get(name).is_some_and(|part| !part.is_null()));
    named && !has_parts
}

/// `None` for a type of event that the form does not have.
pub(super) fn event(sent: &Sent<'_>, data: Object<'_>) -> Result<Option<Event>, String> {
    let occurred_at = moment(data, "updated_at")?.unwrap_or(sent.at);
    let period_start = moment(data, "period_start")?.or(moment(data, "current_period_start")?);
    let period_end = moment(data, "period_end")?.or(moment(data, "current_period_end")?);
    let attempts = data.count("attempt_count")?;
    // Who tells of a period and no status tells of a renewal.
    let given = data.text_only("status")?.as_deref().map(Status::parse).or(period_end.map(|_| Status::Active));
    let created = sent.event_type == "subscription.created";
    let status = match sent.event_type {
        "subscription.created" => Some(given.unwrap_or(Status::Active)),
        "subscription.updated" => given,
        "subscription.deleted" => Some(Status::Canceled),
        "subscription.payment_failed" => Some(Status::PastDue),
        _ => return Ok(None),
    };

    let org = data.text_only("org_id")?.or(data.text_only("organization_id")?).map(|id| (PayerKind::Org, id));
    let user = data.text_only("user_id")?.map(|id| (PayerKind::User, id));
    let (kind, id) = org.or(user).ok_or("nothing says whose it is")?;
    let payer = Payer::new(kind, id).ok_or("the payer's id is too long")?;
    let deleted = sent.event_type == "subscription.deleted";
    let state = status.map(|status| State {
        period_start,
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
            Status::PastDue => attempts.unwrap_or(1),
            _ => attempts.unwrap_or(0),
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
        customer: data.text_only("stripe_customer_id")?,
        subscription: None,
        plan: data.text_only("plan")?.map(|key| PlanRef {
            free: key == payer.kind().default_free_plan(),
            key,
            id: None,
        }),
        trial: state.as_ref().is_some_and(|state| state.status == Status::Trialing),
        started_at: created.then_some(occurred_at),
        state,
    };
    Ok(Some(Event { records: vec![record], ..sent.event(occurred_at, None, Some(payer)) }))
}
