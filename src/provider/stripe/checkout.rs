//! Checkout: which payer a customer is, and what was bought once.
//!
//! A subscription that was bought is told by its own events, which do not repeat `client_reference_id`. So what a session
//! says of whose it is goes to the customer.

use super::Sent;
use super::field::{at, id, moment, number, org, text, user};
use super::payment::described;
use crate::event::{Event, Payment, PlanRef, Record, State};
use crate::json::Json;
use crate::payer::{Payer, PayerKind};
use crate::status::Status;

pub(super) fn event(sent: &Sent<'_>, session: &Json<'_>) -> Result<Event, &'static str> {
    let payer = org(session, "metadata").or_else(|| referred(session)).or_else(|| user(session, "metadata"));
    let customer = id(session, "customer");
    let mut event = sent.event(payer.as_ref(), customer.as_ref());
    if text(session, "mode").as_deref() != Some("payment") {
        return Ok(event);
    }

    let has_failed = sent.event_type == "checkout.session.async_payment_failed";
    // A method that takes days is `unpaid` when the session is completed; another event follows.
    let (status, rank) = match text(session, "payment_status").as_deref() {
        _ if has_failed => ("failed", 1),
        Some("paid" | "no_payment_required") => ("paid", 2),
        _ => ("pending", 0),
    };
    let payment_intent = id(session, "payment_intent");
    let payment = described(sent, session, status, rank)?;
    let id = payment_intent.clone().unwrap_or_else(|| payment.id.clone());
    let record = Record {
        id: order(&id),
        version: payment.version.clone(),
        occurred_at: sent.at,
        payer: payer.clone(),
        customer: customer.clone(),
        subscription: None,
        plan: plan(session),
        // What was bought once has no end.
        state: Some(State::new(Status::Active)),
        trial: false,
        started_at: moment(session, "created"),
    };
    // A refund to a guest, and every dispute, name no customer but the payment: whose that is is told here alone.
    if payment_intent.is_some() {
        event.links.extend(sent.event(payer.as_ref(), Some(&record.id)).links);
    }
    let payment = Payment {
        payer,
        customer,
        record: Some(record.id.clone()),
        payment: payment_intent,
        amount: number(session, "amount_total"),
        charge_type: Some("checkout".to_owned()),
        id,
        ..payment
    };
    let records = if status == "paid" { vec![record] } else { Vec::new() };
    Ok(Event { records, payments: vec![payment], ..event })
}

/// The record of what was bought once, by the payment that a refund of it names as well; by the session where nothing was to
/// be paid.
pub(super) fn order(id: &str) -> String {
    format!("order:{id}")
}

/// Clerk's ids tell organizations from users.
fn referred(session: &Json<'_>) -> Option<Payer> {
    let id = text(session, "client_reference_id")?;
    Payer::new(if id.starts_with("org_") { PayerKind::Org } else { PayerKind::User }, id)
}

/// What was bought. A session in an event shows no line items, so the seller has to say it in the metadata.
fn plan(session: &Json<'_>) -> Option<PlanRef> {
    let line = at(session, "line_items/data").and_then(|lines| lines.as_list()?.first()).unwrap_or(&Json::Null);
    let said = [(session, "metadata/plan"), (session, "metadata/price_id"), (line, "price"), (line, "price/product")];
    let mut ids = said.iter().filter_map(|(object, path)| id(object, path));
    Some(PlanRef { key: ids.next()?, id: ids.next(), free: false })
}
