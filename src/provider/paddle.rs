//! Paddle Billing.
//!
//! In scope: subscriptions, what was bought once, payments, refunds, and whose a customer is where `custom_data` says so.
//! Out of scope: Paddle Classic, which is another product. Nothing in a body tells the sandbox from production; each has a
//! destination, and so a secret, of its own.
//!
//! Sources: <https://developer.paddle.com/webhooks/signature-verification>,
//! <https://developer.paddle.com/webhooks/overview>, and the payloads in the tests of
//! <https://github.com/PaddleHQ/paddle-node-sdk> (`src/__tests__/mocks/notifications`).

mod api;

use super::reading::{self, Object, Sent, due_at, id_of_body};
use super::{Ours, Provider, listing};
use crate::api::Api;
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{Event, ParseError, Parsed, Payment, PlanRef, Record, Seats, State};
use crate::hex_signature::{self, TimedHeader};
use crate::json::{self, Json};
use crate::payer::Payer;
use crate::secret::{Secret, SecretError};
use crate::status::Status;
use crate::time::Timestamp;

pub(super) struct Paddle;

const SIGNATURE: &str = "paddle-signature";

impl Provider for Paddle {
    fn name(&self) -> &'static str {
        "paddle"
    }

    fn secret_names(&self) -> &'static [&'static str] {
        &["PADDLE_WEBHOOK_SECRET"]
    }

    fn signature_headers(&self) -> &'static [&'static [&'static str]] {
        &[&[SIGNATURE]]
    }

    /// The key is the text as it stands, `pdl_ntfset_` included.
    fn parse_secret(&self, _setting: &'static str, text: &str) -> Result<Secret, SecretError> {
        Secret::new(text.trim().as_bytes())
    }

    fn verify<'a>(
        &self,
        delivery: &'a Delivery,
        secrets: &[Secret],
        ours: &Ours,
        now: Timestamp,
    ) -> Result<Verified<'a>, VerifyError> {
        let header = delivery.headers.value(SIGNATURE).ok_or_else(|| VerifyError::MissingHeaders(vec![SIGNATURE]))?;
        let header = TimedHeader::parse(&header, ';', "ts", "h1");
        let signed_at = header.verify(b":", &delivery.body, secrets, ours.paddle_tolerance_secs, now)?;
        // The id is in the body, which nobody else can have written by now.
        let body = json::parse_sent(&delivery.body).ok();
        let event_id = body.and_then(|body| Object(&body).text("event_id").ok().flatten());
        let event_id = event_id.unwrap_or_else(|| id_of_body(&delivery.body));
        Ok(Verified::new(event_id, Some(signed_at), &delivery.body))
    }

    fn parse(&self, verified: &Verified<'_>, _ours: &Ours) -> Result<Parsed, ParseError> {
        reading::parse(verified, ("event_type", "occurred_at"), read)
    }

    fn api(&self) -> Option<&'static dyn Api> {
        Some(&api::BillingApi)
    }

    fn sign(&self, secret: &Secret, _event_id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        let time = now.as_secs();
        let signature = hex_signature::sign(secret, &[time.to_string().as_bytes(), b":", body]);
        vec![(SIGNATURE, format!("ts={time};h1={signature}"))]
    }
}

fn read(sent: &Sent<'_>, data: Object<'_>) -> Result<Option<Event>, String> {
    match sent.event_type.split_once('.') {
        // Each has the whole subscription, whatever it is called.
        Some((
            "subscription",
            "activated" | "canceled" | "created" | "imported" | "past_due" | "paused" | "resumed" | "trialing"
            | "updated",
        )) => subscription(sent, data).map(Some),
        Some((
            "transaction",
            "billed" | "canceled" | "completed" | "created" | "paid" | "past_due" | "payment_failed" | "ready"
            | "revised" | "updated",
        )) => transaction(sent, data),
        Some(("adjustment", "created" | "updated")) => adjustment(sent, data),
        Some(("customer", "created" | "imported" | "updated")) => {
            let id = data.text("id")?;
            let event = sent.event(updated_at(sent, data)?, id.as_ref(), data.payer_within("custom_data")?);
            Ok(Some(event).filter(|event| !event.links.is_empty()))
        }
        _ => Ok(None),
    }
}

fn updated_at(sent: &Sent<'_>, data: Object<'_>) -> Result<Timestamp, String> {
    Ok(data.moment("updated_at")?.unwrap_or(sent.at))
}

/// A subscription, as one record for each of its items. The first has the subscription's id and each further one
/// `<subscription>/<price>`, for an item has no id of its own and a price occurs once. All have one version, so that the
/// records of the newest event are those whose event is also that of the first: an item that is missing from it is over,
/// which `decide` sees without any event that says so.
fn subscription(sent: &Sent<'_>, data: Object<'_>) -> Result<Event, String> {
    let id = data.required("id")?;
    let occurred_at = updated_at(sent, data)?;
    let customer = data.text("customer_id")?;
    let payer = data.payer_within("custom_data")?;
    let event = sent.event(occurred_at, customer.as_ref(), payer.clone());

    let told = Status::parse(&data.required("status")?);
    let trial = told == Status::Trialing;
    let state = state(data, told, occurred_at)?;
    let first = Record {
        version: sent.version(occurred_at, state.status.progress()),
        occurred_at,
        payer,
        customer,
        subscription: Some(id.clone()),
        plan: None,
        state: Some(state),
        trial,
        started_at: data.moment("started_at")?.or(data.moment("created_at")?),
        id,
    };
    let mut records = Vec::new();
    for item in data.list("items")? {
        let item = Object(item);
        let mut record = Record { plan: plan(item)?, ..first.clone() };
        match &record.plan {
            _ if records.is_empty() => {}
            Some(plan) => record.id = format!("{}/{}", first.id, plan.key),
            None => continue,
        }
        if let Some(state) = &mut record.state {
            state.seats = seats(item)?;
            // An item alone may be switched off.
            if item.text("status")?.as_deref() == Some("inactive") && state.status != Status::Ended {
                state.status = Status::Paused;
            }
        }
        records.push(record);
    }
    if records.is_empty() {
        records.push(first);
    }
    Ok(Event { records, ..event })
}

fn state(data: Object<'_>, told: Status, occurred_at: Timestamp) -> Result<State, String> {
    let period = data.object("current_billing_period")?;
    let period_start = period.moment("starts_at")?;
    let period_end = period.moment("ends_at")?.or(data.moment("next_billed_at")?);
    let canceled_at = data.moment("canceled_at")?;
    let change = data.object("scheduled_change")?;
    // A pause takes access as a cancellation does, until the event that ends it.
    let stops_at = match change.text("action")?.as_deref() {
        Some("cancel" | "pause") => change.moment("effective_at")?.or(period_end),
        _ => None,
    };
    let state = State {
        period_start,
        period_end,
        interval: data.object("billing_cycle")?.text("interval")?,
        cancel_at: stops_at,
        canceled_at,
        ..State::new(told)
    };
    Ok(match (&state.status, stops_at) {
        (Status::Canceled, _) => State { ended_at: canceled_at, status: Status::Ended, ..state },
        // What is to be canceled stays `active` until then, and only the scheduled change tells. What ends
        // in a later period renews until then.
        (Status::Active | Status::Trialing, Some(at)) if period_end.is_none_or(|end| at <= end) => {
            State { period_end: Some(at), status: Status::Canceled, ..state }
        }
        (Status::PastDue, _) => {
            let due_at = due_at(period_start, period_end, occurred_at);
            State { past_due_since: due_at.or(Some(occurred_at)), period_end: due_at.or(period_end), ..state }
        }
        _ => state,
    })
}

fn plan(item: Object<'_>) -> Result<Option<PlanRef>, String> {
    let price = item.object("price")?;
    let product = price.text("product_id")?.or(item.object("product")?.text("id")?);
    Ok(price.text("id")?.or(item.text("price_id")?).map(|key| PlanRef { key, id: product, free: false }))
}

fn seats(item: Object<'_>) -> Result<Option<Seats>, String> {
    let quantity = item.whole("quantity")?.and_then(|quantity| u32::try_from(quantity).ok());
    Ok(quantity.map(Seats::Limited))
}

/// The record of what a transaction sold once.
fn order_id(transaction: &str) -> String {
    format!("order:{transaction}")
}

fn transaction(sent: &Sent<'_>, data: Object<'_>) -> Result<Option<Event>, String> {
    let id = data.required("id")?;
    let occurred_at = updated_at(sent, data)?;
    let customer = data.text("customer_id")?;
    let payer = data.payer_within("custom_data")?;
    let subscription = data.text("subscription_id")?;
    let mut event = sent.event(occurred_at, customer.as_ref(), payer.clone());

    if subscription.is_none() && data.text("status")?.as_deref() == Some("completed") {
        for item in data.list("items")? {
            let item = Object(item);
            // Of what recurs the subscription tells, which Paddle may make only later.
            if item.object("price")?.0.get("billing_cycle").is_some_and(Json::is_object) {
                continue;
            }
            let order = Order { id: &id, occurred_at, customer: customer.as_ref(), payer: payer.as_ref() };
            let is_first = event.records.is_empty();
            event.records.extend(order.record(sent, data, item, is_first)?);
        }
    }

    let record = subscription.or_else(|| event.records.first().map(|_| order_id(&id)));
    let charge_type = data.text("origin")?.map(|origin| match origin.as_str() {
        "web" | "api" => "checkout".to_owned(),
        "subscription_recurring" => "recurring".to_owned(),
        _ => origin,
    });
    // The list is of all attempts, so each is a payment of its own and nothing has to be counted.
    for attempt in data.list("payments")? {
        let attempt = Object(attempt);
        let status = match attempt.required("status")?.as_str() {
            "captured" => "paid",
            "error" => "failed",
            "action_required" | "authorized" | "authorized_flagged" | "created" | "pending_no_action_required" => {
                "pending"
            }
            other => other,
        }
        .to_owned();
        let created_at = attempt.moment("created_at")?.unwrap_or(occurred_at);
        event.payments.push(Payment {
            id: attempt.text("payment_attempt_id")?.unwrap_or_else(|| id.clone()),
            version: sent.version(occurred_at, settled(&status)),
            occurred_at: attempt.moment("captured_at")?.unwrap_or(created_at),
            payer: payer.clone(),
            customer: customer.clone(),
            record: record.clone(),
            attempt: None,
            payment: Some(id.clone()),
            status,
            amount: attempt.whole("amount")?,
            currency: data.text("currency_code")?,
            charge_type: charge_type.clone(),
            created_at,
            failure_code: attempt.text("error_code")?,
        });
    }
    let tells = !(event.links.is_empty() && event.records.is_empty() && event.payments.is_empty());
    Ok(tells.then_some(event))
}

/// What is pending is settled once; at the same times as its settlement it is the older of the two.
fn settled(status: &str) -> u8 {
    if status == "pending" { 1 } else { 2 }
}

/// A transaction of its own, without a subscription.
struct Order<'a> {
    id: &'a str,
    occurred_at: Timestamp,
    customer: Option<&'a String>,
    payer: Option<&'a Payer>,
}

impl Order<'_> {
    fn record(
        &self,
        sent: &Sent<'_>,
        data: Object<'_>,
        item: Object<'_>,
        is_first: bool,
    ) -> Result<Option<Record>, String> {
        let Some(plan) = plan(item)? else { return Ok(None) };
        let id = order_id(self.id);
        Ok(Some(Record {
            id: if is_first { id } else { format!("{id}/{}", plan.key) },
            version: sent.version(self.occurred_at, Status::Active.progress()),
            occurred_at: self.occurred_at,
            payer: self.payer.cloned(),
            customer: self.customer.cloned(),
            subscription: None,
            plan: Some(plan),
            state: Some(State { seats: seats(item)?, ..State::new(Status::Active) }),
            trial: false,
            started_at: data.moment("billed_at")?.or(data.moment("created_at")?),
        }))
    }
}

/// Money that went back. It ends nothing by itself: Paddle cancels no subscription for it.
fn adjustment(sent: &Sent<'_>, data: Object<'_>) -> Result<Option<Event>, String> {
    let action = data.required("action")?;
    let is_refund = match action.as_str() {
        "refund" => true,
        "chargeback" => false,
        // Credits lower a bill, warnings and reversals move no money.
        _ => return Ok(None),
    };
    let id = data.required("id")?;
    let occurred_at = updated_at(sent, data)?;
    let customer = data.text("customer_id")?;
    let transaction = data.text("transaction_id")?;
    let status = match data.text("status")?.as_deref() {
        Some("pending_approval") => "pending".to_owned(),
        Some("approved") if !is_refund => "disputed".to_owned(),
        Some("approved") if is_whole(data)? => "refunded".to_owned(),
        Some("approved") => "partially_refunded".to_owned(),
        // `rejected` and `reversed`: the money stayed or came back. Not `failed`, which is of charges.
        Some(other) => format!("{action}_{other}"),
        None => return Err("`status` is missing".into()),
    };
    let payment = Payment {
        version: sent.version(occurred_at, settled(&status)),
        occurred_at,
        payer: None,
        record: data.text("subscription_id")?.or_else(|| transaction.as_deref().map(order_id)),
        attempt: None,
        payment: transaction,
        status,
        amount: data.object("totals")?.whole("total")?,
        currency: data.text("currency_code")?,
        charge_type: None,
        created_at: data.moment("created_at")?.unwrap_or(occurred_at),
        failure_code: None,
        id,
        customer,
    };
    Ok(Some(Event { payments: vec![payment], ..sent.event(occurred_at, None, None) }))
}

/// Whether all that a transaction came to goes back. Older bodies tell only of each item.
fn is_whole(data: Object<'_>) -> Result<bool, String> {
    if let Some(of_all) = data.text("type")? {
        return Ok(of_all == "full");
    }
    let items = data.list("items")?;
    Ok(!items.is_empty() && items.iter().all(|item| item.get("type").and_then(Json::as_str) == Some("full")))
}
