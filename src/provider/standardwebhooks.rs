//! Anybody's own system, signed as Standard Webhooks says, in a form of ours: `docs/standard-webhooks.md` is its contract.
//!
//! In scope: everything that plangate keeps of a payer (subscriptions, what was bought once, payments, customers, deletions).
//! The form says nothing that is not kept. A sender's mistake must not pass for a grant, so what cannot have been meant is
//! refused, and kept as a dead letter that says why; fields that the form does not have are passed over.
//!
//! Sources: <https://www.standardwebhooks.com> for the signature and the envelope.

use super::reading::{self, Object, Sent, due_at};
use super::{Ours, Provider};
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{Event, ParseError, Parsed, Payment, PlanRef, Record, Seats, State};
use crate::payer::{Payer, PayerKind};
use crate::secret::{Secret, SecretError};
use crate::standard_webhooks::{self, STANDARD_HEADERS};
use crate::status::Status;
use crate::time::Timestamp;

pub(super) struct StandardWebhooks;

impl Provider for StandardWebhooks {
    fn name(&self) -> &'static str {
        "standard-webhooks"
    }

    /// Whoever writes the sender knows the plans by name.
    fn names_plans(&self) -> bool {
        true
    }

    fn secret_names(&self) -> &'static [&'static str] {
        &["STANDARD_WEBHOOKS_SECRET"]
    }

    fn signature_headers(&self) -> &'static [&'static str] {
        &["webhook-id", "webhook-timestamp", "webhook-signature"]
    }

    fn parse_secret(&self, _setting: &'static str, text: &str) -> Result<Secret, SecretError> {
        standard_webhooks::parse_secret(text)
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

    fn sign(&self, secret: &Secret, event_id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        standard_webhooks::sign_under(&STANDARD_HEADERS, secret, event_id, now, body)
    }
}

fn read(sent: &Sent<'_>, data: Object<'_>) -> Result<Option<Event>, String> {
    let occurred_at = time(data, "updated_at")?.unwrap_or(sent.at);
    let (payer, customer) = (payer(data)?, data.text("customer_id")?);
    let mut event = sent.event(occurred_at, customer.as_ref(), payer.clone());
    let names_nobody = payer.is_none() && customer.is_none();
    match sent.event_type {
        "subscription.changed" => event.records.push(subscription(sent, data, &event, customer)?),
        "purchase.completed" => event.records.push(purchase(sent, data, &event, customer)?),
        // Whose it was and what is known already.
        "purchase.revoked" => {
            let state = State { ended_at: Some(occurred_at), ..State::new(Status::Ended) };
            let id = purchase_id(&data.required("id")?);
            event.records.push(record(sent, id, &event, customer, state));
            return Ok(Some(event));
        }
        "customer.linked" if event.links.is_empty() => {
            return Err("it takes a `customer_id`, and a `user_id` or an `org_id`".into());
        }
        "customer.linked" => {}
        "payer.deleted" if payer.is_none() => return Err("neither `user_id` nor `org_id` says who".into()),
        "payer.deleted" => event.deleted_at = Some(occurred_at),
        _ => match charge(sent.event_type) {
            Some(told) => event.payments.push(payment(sent, data, &event, customer, told)?),
            None => return Ok(None),
        },
    }
    // Kept, it would grant nothing to anybody and seem to have been taken.
    if names_nobody {
        return Err("none of `user_id`, `org_id` and `customer_id` says whose it is".into());
    }
    Ok(Some(event))
}

fn payer(data: Object<'_>) -> Result<Option<Payer>, String> {
    let (kind, id) = match (data.text("user_id")?, data.text("org_id")?) {
        (None, None) => return Ok(None),
        (Some(id), None) => (PayerKind::User, id),
        (None, Some(id)) => (PayerKind::Org, id),
        (Some(_), Some(_)) => return Err("it is either a `user_id`'s or an `org_id`'s".into()),
    };
    Payer::new(kind, id).map(Some).ok_or_else(|| "the payer's id is too long".into())
}

/// A time. As a number it could be seconds, milliseconds, or a 0 that was to mean something: it is refused.
fn time(data: Object<'_>, name: &str) -> Result<Option<Timestamp>, String> {
    let read =
        |text: String| Timestamp::parse_rfc3339(&text).ok_or_else(|| format!("`{name}` is not a time in RFC 3339"));
    data.text(name)?.map(read).transpose()
}

fn count(data: Object<'_>, name: &str) -> Result<Option<u32>, String> {
    let read = |number| u32::try_from(number).map_err(|_| format!("`{name}` is not a number from 0"));
    data.number(name)?.map(read).transpose()
}

fn seats(data: Object<'_>) -> Result<Option<Seats>, String> {
    match data.text("seats")?.as_deref() {
        Some("unlimited") => Ok(Some(Seats::Unlimited)),
        _ => Ok(count(data, "seats")?.map(Seats::Limited)),
    }
}

/// A record that is not yet said to be of any plan.
fn record(sent: &Sent<'_>, id: String, event: &Event, customer: Option<String>, state: State) -> Record {
    Record {
        version: sent.version(event.occurred_at, state.status.progress()),
        occurred_at: event.occurred_at,
        payer: event.payer.clone(),
        customer,
        subscription: None,
        plan: None,
        trial: false,
        started_at: None,
        state: Some(state),
        id,
    }
}

fn plan(data: Object<'_>) -> Result<PlanRef, String> {
    Ok(PlanRef { key: data.required("plan")?, id: None, free: data.flag("free")? })
}

/// The period, as it stands in the form.
fn state(data: Object<'_>, status: Status) -> Result<State, String> {
    let state = State {
        period_start: time(data, "period_start")?,
        period_end: time(data, "period_end")?,
        seats: seats(data)?,
        ..State::new(status)
    };
    match (state.period_start, state.period_end) {
        (Some(start), Some(end)) if end < start => Err("`period_end` is before `period_start`".into()),
        _ => Ok(state),
    }
}

fn subscription(sent: &Sent<'_>, data: Object<'_>, event: &Event, customer: Option<String>) -> Result<Record, String> {
    let id = data.required("id")?;
    let told = Status::parse(&data.required("status")?);
    let trial = told == Status::Trialing || data.flag("trial")?;
    let state = State {
        interval: data.text("interval")?,
        cancel_at: time(data, "cancel_at")?,
        canceled_at: time(data, "canceled_at")?,
        ended_at: time(data, "ended_at")?,
        past_due_since: time(data, "past_due_since")?,
        ..state(data, told)?
    };
    let state = match (&state.status, state.cancel_at) {
        (Status::Trialing, None) if state.period_end.is_none() => return Err("a trial without `period_end`".into()),
        // What ends in a later period renews until then.
        (Status::Active | Status::Trialing | Status::Canceled, Some(at))
            if state.period_end.is_none_or(|end| at <= end) =>
        {
            State { period_end: Some(at), status: Status::Canceled, ..state }
        }
        (Status::Canceled, None) => State { cancel_at: state.period_end, ..state },
        (Status::PastDue, _) => {
            let due_at = due_at(state.period_start, state.period_end, event.occurred_at);
            let since = state.past_due_since.or(due_at).unwrap_or(event.occurred_at);
            State { past_due_since: Some(since), period_end: due_at.or(state.period_end), ..state }
        }
        _ => state,
    };
    Ok(Record {
        subscription: Some(id.clone()),
        plan: Some(plan(data)?),
        trial,
        started_at: time(data, "started_at")?,
        ..record(sent, id, event, customer, state)
    })
}

/// A sender that numbers its subscriptions and its purchases has two of each number.
fn purchase_id(id: &str) -> String {
    format!("purchase:{id}")
}

/// Held for good, or to its end. Nothing renews, so there is no renewal to wait for once that has come.
fn purchase(sent: &Sent<'_>, data: Object<'_>, event: &Event, customer: Option<String>) -> Result<Record, String> {
    let id = purchase_id(&data.required("id")?);
    let state = match state(data, Status::Active)? {
        state if state.period_end.is_some() => State { status: Status::Canceled, cancel_at: state.period_end, ..state },
        state => state,
    };
    Ok(Record {
        plan: Some(plan(data)?),
        started_at: time(data, "started_at")?,
        ..record(sent, id, event, customer, state)
    })
}

/// What a payment's event says of it, and how far along its life that is.
fn charge(event_type: &str) -> Option<(&'static str, u8)> {
    match event_type {
        "payment.failed" => Some(("failed", 1)),
        "payment.succeeded" => Some(("paid", 2)),
        "payment.partially_refunded" => Some(("partially_refunded", 3)),
        "payment.refunded" => Some(("refunded", 4)),
        "payment.disputed" => Some(("disputed", 4)),
        _ => None,
    }
}

/// A payment, whose status goes on to tell of refunds and disputes. Of two versions with the same times the one further along
/// is newer.
fn payment(
    sent: &Sent<'_>,
    data: Object<'_>,
    event: &Event,
    customer: Option<String>,
    (status, progress): (&str, u8),
) -> Result<Payment, String> {
    let id = data.required("id")?;
    let record = match (data.text("subscription_id")?, data.text("purchase_id")?) {
        (Some(_), Some(_)) => return Err("it pays for either a `subscription_id` or a `purchase_id`".into()),
        (subscription, purchase) => subscription.or_else(|| purchase.as_deref().map(purchase_id)),
    };
    Ok(Payment {
        version: sent.version(event.occurred_at, progress),
        occurred_at: event.occurred_at,
        payer: event.payer.clone(),
        customer,
        record,
        attempt: count(data, "attempt")?,
        payment: Some(id.clone()),
        status: status.to_owned(),
        amount: data.number("amount")?,
        currency: data.text("currency")?,
        charge_type: None,
        created_at: time(data, "created_at")?.unwrap_or(event.occurred_at),
        failure_code: data.text("failure_code")?,
        id,
    })
}
