//! Clerk's own billing objects: subscriptions with their items, single items, payment attempts.
//!
//! A subscription is read as the list of its items; the plan is never read off the subscription itself, which is
//! `active` in practice because the free item is always there. REST shapes are read too, so that what is fetched to
//! reconcile takes the same way in.

use super::field::moment;
use crate::event::{Event, Payment, PlanRef, Record, Seats, State};
use crate::json::Json;
use crate::payer::{Payer, PayerKind};
use crate::provider::reading::{Object, Sent};
use crate::status::Status;
use crate::time::Timestamp;

/// Organization before user: a user payer's organization may be `""` (absent), never the other way round.
fn payer(object: Object<'_>) -> Result<Option<Payer>, String> {
    let object = object.object("payer")?;
    let org = object.text_only("organization_id")?.map(|id| (PayerKind::Org, id));
    let user = object.text_only("user_id")?.map(|id| (PayerKind::User, id));
    let too_long = || "the payer's id is too long".to_owned();
    org.or(user).map(|(kind, id)| Payer::new(kind, id).ok_or_else(too_long)).transpose()
}

fn customer(object: Object<'_>) -> Result<Option<String>, String> {
    Ok(object.object("payer")?.text_only("id")?.or(object.text_only("payer_id")?))
}

pub(super) fn subscription_event(sent: &Sent<'_>, data: Object<'_>) -> Result<Event, String> {
    // The second is the name in the Backend API.
    let items = ["items", "subscription_items"].into_iter().find(|name| data.field(name).is_some());
    let items = data.list(items.ok_or("a subscription without `items`, `payer` or `user_id`")?)?;
    let mut named = payer(data)?;
    for item in items {
        if named.is_none() {
            named = payer(Object(item))?;
        }
    }
    let updated_at = moment(data, "updated_at")?;
    let container = Container {
        payer: named.clone(),
        customer: customer(data)?,
        subscription: data.text_only("id")?,
        updated_at,
        past_due_at: moment(data, "past_due_at")?,
    };
    let mut records = Vec::with_capacity(items.len());
    for item in items {
        let item = Object(item);
        records.push(record(sent, item, status(item)?, &container)?);
    }
    Ok(Event { records, ..sent.event(updated_at.unwrap_or(sent.at), None, named) })
}

pub(super) fn item_event(sent: &Sent<'_>, item: Object<'_>) -> Result<Event, String> {
    let record = record(sent, item, status(item)?, &Container::default())?;
    let event = sent.event(record.occurred_at, None, record.payer.clone());
    Ok(Event { records: vec![record], ..event })
}

/// What an item inherits from the subscription it came in.
#[derive(Clone, Default)]
pub(super) struct Container {
    pub(super) payer: Option<Payer>,
    pub(super) customer: Option<String>,
    pub(super) subscription: Option<String>,
    pub(super) updated_at: Option<Timestamp>,
    pub(super) past_due_at: Option<Timestamp>,
}

/// The status of an item as it is written.
pub(super) fn status(item: Object<'_>) -> Result<Status, String> {
    Ok(Status::parse(&item.text_only("status")?.ok_or("`status` is missing")?))
}

pub(super) fn record(
    sent: &Sent<'_>,
    item: Object<'_>,
    status: Status,
    container: &Container,
) -> Result<Record, String> {
    let id = item.text_only("id")?.ok_or("an item without an id")?;
    let occurred_at = moment(item, "updated_at")?.or(container.updated_at).unwrap_or(sent.at);
    let trial = item.flag("is_free_trial")?.unwrap_or(false);
    let status = match status {
        Status::Active if trial => Status::Trialing,
        status => status,
    };
    let payer = payer(item)?.or_else(|| container.payer.clone());
    let period_start = moment(item, "period_start")?;
    let period_end = moment(item, "period_end")?;
    let past_due_at = moment(item, "past_due_at")?.or(container.past_due_at);
    Ok(Record {
        version: sent.version(occurred_at, status.progress()),
        occurred_at,
        customer: customer(item)?.or_else(|| container.customer.clone()),
        subscription: item.text_only("subscription_id")?.or_else(|| container.subscription.clone()),
        plan: plan(item, payer.as_ref(), period_end)?,
        trial,
        started_at: moment(item, "created_at")?.or(period_start),
        state: Some(State {
            period_start,
            period_end,
            // Both may be there.
            interval: item.text_only("interval")?.or(item.text_only("plan_period")?),
            cancel_at: period_end.filter(|_| status == Status::Canceled),
            canceled_at: moment(item, "canceled_at")?,
            ended_at: moment(item, "ended_at")?,
            past_due_since: (status == Status::PastDue).then(|| {
                // A charge is due when the period it renews ends. Any later clock would move with each further attempt, and
                // the days of grace would never run out.
                let due_at = period_end.filter(|end| *end <= occurred_at);
                past_due_at.or(due_at).unwrap_or(occurred_at)
            }),
            seats: seats(item)?,
            ..State::new(status)
        }),
        payer,
        id,
    })
}

/// Seats without a quantity are unlimited.
fn seats(item: Object<'_>) -> Result<Option<Seats>, String> {
    if item.field("seats").is_none() {
        return Ok(None);
    }
    let quantity = item.object("seats")?.count("quantity")?;
    Ok(Some(quantity.map_or(Seats::Unlimited, Seats::Limited)))
}

/// The plan's key is its slug; without one, the id, so that the catalog may still know it.
fn plan(item: Object<'_>, payer: Option<&Payer>, period_end: Option<Timestamp>) -> Result<Option<PlanRef>, String> {
    let plan = item.object("plan")?;
    let id = plan.text_only("id")?.or(item.text_only("plan_id")?);
    let slug = plan.text_only("slug")?;
    let free = item.field("plan").is_some() && is_free(plan, slug.as_deref(), payer, period_end)?;
    Ok(slug.or_else(|| id.clone()).map(|key| PlanRef { key, id, free }))
}

/// Whether a plan is the one held without paying. Price alone does not tell: a seat given to an employee is a paid
/// plan with amount 0. Webhooks usually leave `is_default` out; then it is free if it costs nothing, does not recur and
/// does not end, or bears the slug that Clerk gives a default plan.
fn is_free(
    plan: Object<'_>,
    slug: Option<&str>,
    payer: Option<&Payer>,
    period_end: Option<Timestamp>,
) -> Result<bool, String> {
    let is_recurring = plan.flag("is_recurring")?;
    Ok(plan.flag("is_default")?.unwrap_or_else(|| {
        let default_slug = payer.map(|payer| payer.kind().default_free_plan());
        // A number of cents in webhooks; an object, or absent, elsewhere.
        let costs_nothing = plan.0.get("amount").and_then(Json::as_i64) == Some(0);
        (default_slug.is_some() && slug == default_slug)
            || (costs_nothing && is_recurring == Some(false) && period_end.is_none())
    }))
}

pub(super) fn payment_event(sent: &Sent<'_>, attempt: Object<'_>) -> Result<Event, String> {
    let id = attempt.text_only("id")?.ok_or("a payment attempt without an id")?;
    let status = attempt.text_only("status")?.ok_or("`status` is missing")?;
    let payer = payer(attempt)?;
    let occurred_at = moment(attempt, "updated_at")?.unwrap_or(sent.at);
    let total = attempt.object("totals")?.object("grand_total")?;
    let reason = attempt.object("failed_reason")?;
    // A pending attempt is settled once; at the same time as its settlement it is the older of the two.
    let progress = if status == "pending" { 1 } else { 2 };
    let payment = Payment {
        version: sent.version(occurred_at, progress),
        occurred_at,
        payer: payer.clone(),
        customer: None,
        record: None,
        attempt: None,
        payment: attempt.text_only("payment_id")?,
        status,
        amount: total.whole("amount")?,
        currency: total.text_only("currency")?,
        charge_type: attempt.text_only("charge_type")?,
        created_at: moment(attempt, "created_at")?.unwrap_or(occurred_at),
        failure_code: reason.text_only("decline_code")?.or(reason.text_only("code")?),
        id,
    };
    Ok(Event { payments: vec![payment], ..sent.event(occurred_at, None, payer) })
}
