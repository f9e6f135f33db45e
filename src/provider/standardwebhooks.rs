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

    fn signature_headers(&self) -> &'static [&'static [&'static str]] {
        &[&["webhook-id"], &["webhook-timestamp"], &["webhook-signature"]]
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
    let mut event = sent.event(occurred_at, customer.as_ref(), payer);
    let mut names_nobody = event.payer.is_none() && customer.is_none();
    match sent.event_type {
        "subscription.changed" | "purchase.completed" => event.records.push(record(sent, data, &event, customer)?),
        "purchase.revoked" => {
            event.records.push(record(sent, data, &event, customer)?);
            // Whose it is is known already, or will be.
            names_nobody = false;
        }
        "customer.linked" if event.links.is_empty() => {
            return Err("it takes a `customer_id`, and a `user_id` or an `org_id`".into());
        }
        "customer.linked" => {}
        "payer.deleted" if event.payer.is_none() => return Err("neither `user_id` nor `org_id` says who".into()),
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
    let Some(text) = data.text(name)? else { return Ok(None) };
    Timestamp::parse_rfc3339(&text).map(Some).ok_or_else(|| format!("`{name}` is not a time in RFC 3339"))
}

fn count(data: Object<'_>, name: &str) -> Result<Option<u32>, String> {
    let Some(number) = data.whole(name)? else { return Ok(None) };
    u32::try_from(number).map(Some).map_err(|_| format!("`{name}` is not a number from 0"))
}

/// A sender that numbers its subscriptions and its purchases has two of each number.
fn purchase_id(id: &str) -> String {
    format!("purchase:{id}")
}

/// A subscription as it now stands; or a purchase, which is one that does not renew, or is taken back.
fn record(sent: &Sent<'_>, data: Object<'_>, event: &Event, customer: Option<String>) -> Result<Record, String> {
    let told = data.required("id")?;
    let is_subscription = sent.event_type == "subscription.changed";
    let is_revoked = sent.event_type == "purchase.revoked";
    let id = if is_subscription { told.clone() } else { purchase_id(&told) };
    let mut trial = is_subscription && data.flag("trial")? == Some(true);

    let mut plan = None;
    let mut state = State::new(Status::Ended);
    if is_revoked {
        state.ended_at = Some(event.occurred_at);
    } else {
        plan = Some(PlanRef { key: data.required("plan")?, id: None, free: data.flag("free")? == Some(true) });
        state.status = if is_subscription { Status::parse(&data.required("status")?) } else { Status::Active };
        trial |= state.status == Status::Trialing;
        read_state(&mut state, data)?;
        if !is_subscription {
            // Nothing renews, so there is no renewal to wait for once its end has come.
            state.cancel_at = state.period_end;
        }
        settle(&mut state, event.occurred_at)?;
    }
    Ok(Record {
        version: sent.version(event.occurred_at, state.status.progress()),
        occurred_at: event.occurred_at,
        payer: event.payer.clone(),
        customer,
        subscription: is_subscription.then_some(told),
        plan,
        trial,
        started_at: time(data, "started_at")?,
        state: Some(state),
        id,
    })
}

/// The state, as it stands in the form.
fn read_state(state: &mut State, data: Object<'_>) -> Result<(), String> {
    for (name, moment) in [
        ("period_start", &mut state.period_start),
        ("period_end", &mut state.period_end),
        ("cancel_at", &mut state.cancel_at),
        ("canceled_at", &mut state.canceled_at),
        ("ended_at", &mut state.ended_at),
        ("past_due_since", &mut state.past_due_since),
    ] {
        *moment = time(data, name)?;
    }
    state.interval = data.text("interval")?;
    state.seats = match data.text("seats")?.as_deref() {
        Some("unlimited") => Some(Seats::Unlimited),
        _ => count(data, "seats")?.map(Seats::Limited),
    };
    Ok(())
}

/// What the state that was told comes to.
fn settle(state: &mut State, occurred_at: Timestamp) -> Result<(), String> {
    let (start, end) = (state.period_start, state.period_end);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err("`period_end` is before `period_start`".into());
    }
    match state.status {
        Status::Trialing if end.is_none() && state.cancel_at.is_none() => {
            return Err("a trial without `period_end`".into());
        }
        Status::Active | Status::Trialing | Status::Canceled => {
            // What ends in a later period renews until then.
            if let Some(at) = state.cancel_at.filter(|at| end.is_none_or(|end| *at <= end)) {
                state.period_end = Some(at);
                state.status = Status::Canceled;
            }
            if state.status == Status::Canceled {
                state.cancel_at = state.cancel_at.or(end);
            }
        }
        Status::PastDue => {
            let due_at = due_at(start, end, occurred_at);
            state.past_due_since = state.past_due_since.or(due_at).or(Some(occurred_at));
            state.period_end = due_at.or(end);
        }
        _ => {}
    }
    Ok(())
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
        amount: data.whole("amount")?,
        currency: data.text("currency")?,
        charge_type: None,
        created_at: time(data, "created_at")?.unwrap_or(event.occurred_at),
        failure_code: data.text("failure_code")?,
        id,
    })
}
