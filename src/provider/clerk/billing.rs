//! Clerk's own billing objects: subscriptions with their items, single items, payment attempts.
//!
//! A subscription is read as the list of its items; the plan is never read off the subscription itself, which is
//! `active` in practice because the free item is always there. REST shapes are read too, so that what is fetched to
//! reconcile takes the same way in.

use serde::Deserialize;

use super::field::{moment, text};
use super::{Sent, empty_event};
use crate::event::{Event, Payment, PlanRef, Record, Seats, State};
use crate::payer::{Payer, PayerKind};
use crate::status::Status;
use crate::time::Timestamp;

#[derive(Deserialize)]
struct Subscription {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "moment")]
    updated_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    past_due_at: Option<Timestamp>,
    payer: Option<ClerkPayer>,
    #[serde(default, deserialize_with = "text")]
    payer_id: Option<String>,
    items: Option<Vec<Item>>,
    /// The name of `items` in the Backend API.
    subscription_items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    id: String,
    pub(super) status: String,
    pub(super) is_free_trial: Option<bool>,
    #[serde(default, deserialize_with = "moment")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    pub(super) updated_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    period_start: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    period_end: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    pub(super) canceled_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    pub(super) ended_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    past_due_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "text")]
    interval: Option<String>,
    /// The other name of `interval`. Not an alias: both may be there.
    #[serde(default, deserialize_with = "text")]
    plan_period: Option<String>,
    #[serde(default, deserialize_with = "text")]
    plan_id: Option<String>,
    plan: Option<Plan>,
    payer: Option<ClerkPayer>,
    #[serde(default, deserialize_with = "text")]
    payer_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    subscription_id: Option<String>,
    seats: Option<ClerkSeats>,
}

#[derive(Deserialize)]
struct Plan {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    slug: Option<String>,
    is_default: Option<bool>,
    is_recurring: Option<bool>,
    /// A number of cents in webhooks; an object, or absent, elsewhere.
    #[serde(default)]
    amount: serde_json::Value,
}

#[derive(Deserialize)]
struct ClerkPayer {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    organization_id: Option<String>,
}

#[derive(Deserialize)]
struct ClerkSeats {
    /// Null is unlimited.
    quantity: Option<u32>,
}

impl ClerkPayer {
    /// Organization before user: a user payer's organization may be `""` (absent), never the other way round.
    fn payer(&self) -> Result<Option<Payer>, String> {
        let named = match (&self.organization_id, &self.user_id) {
            (Some(id), _) => (PayerKind::Org, id),
            (None, Some(id)) => (PayerKind::User, id),
            (None, None) => return Ok(None),
        };
        Payer::new(named.0, named.1).map(Some).ok_or_else(|| "the payer's id is too long".into())
    }
}

pub(super) fn subscription_event(sent: &Sent<'_>, data: &str) -> Result<Option<Event>, String> {
    let subscription: Subscription = serde_json::from_str(data).map_err(|error| error.to_string())?;
    let items = subscription
        .items
        .or(subscription.subscription_items)
        .ok_or("a subscription without `items`, `payer` or `user_id`")?;

    let mut payer = subscription.payer.as_ref().map(ClerkPayer::payer).transpose()?.flatten();
    for item in &items {
        if payer.is_none() {
            payer = item.payer.as_ref().map(ClerkPayer::payer).transpose()?.flatten();
        }
    }
    let container = Container {
        payer: payer.clone(),
        customer: subscription.payer.and_then(|payer| payer.id).or(subscription.payer_id),
        subscription: subscription.id,
        updated_at: subscription.updated_at,
        past_due_at: subscription.past_due_at,
    };
    let records: Vec<Record> =
        items.into_iter().map(|item| record(sent, item, &container)).collect::<Result<_, _>>()?;
    Ok(Some(Event { payer, records, ..empty_event(sent, subscription.updated_at.unwrap_or(sent.at)) }))
}

pub(super) fn item_event(sent: &Sent<'_>, data: &str) -> Result<Option<Event>, String> {
    let item: Item = serde_json::from_str(data).map_err(|error| error.to_string())?;
    let record = record(sent, item, &Container::default())?;
    Ok(Some(Event {
        payer: record.payer.clone(),
        occurred_at: record.occurred_at,
        records: vec![record],
        ..empty_event(sent, sent.at)
    }))
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

pub(super) fn record(sent: &Sent<'_>, item: Item, container: &Container) -> Result<Record, String> {
    if item.id.is_empty() {
        return Err("an item without an id".into());
    }
    let occurred_at = item.updated_at.or(container.updated_at).unwrap_or(sent.at);
    let trial = item.is_free_trial.unwrap_or(false);
    let status = match Status::parse(&item.status) {
        Status::Active if trial => Status::Trialing,
        status => status,
    };
    let payer = item.payer.as_ref().map(ClerkPayer::payer).transpose()?.flatten().or_else(|| container.payer.clone());
    let customer = item.payer.and_then(|payer| payer.id).or(item.payer_id).or_else(|| container.customer.clone());
    Ok(Record {
        version: sent.version(occurred_at, status.progress()),
        occurred_at,
        customer,
        subscription: item.subscription_id.or_else(|| container.subscription.clone()),
        plan: plan(item.plan, item.plan_id, payer.as_ref(), item.period_end),
        trial,
        started_at: item.created_at.or(item.period_start),
        state: Some(State {
            period_start: item.period_start,
            period_end: item.period_end,
            interval: item.interval.or(item.plan_period),
            cancel_at: item.period_end.filter(|_| status == Status::Canceled),
            canceled_at: item.canceled_at,
            ended_at: item.ended_at,
            past_due_since: (status == Status::PastDue).then(|| {
                // A charge is due when the period it renews ends. Any later clock would move with each further attempt, and
                // the days of grace would never run out.
                let due_at = item.period_end.filter(|end| *end <= occurred_at);
                item.past_due_at.or(container.past_due_at).or(due_at).unwrap_or(occurred_at)
            }),
            seats: item.seats.map(|seats| seats.quantity.map_or(Seats::Unlimited, Seats::Limited)),
            ..State::new(status)
        }),
        payer,
        id: item.id,
    })
}

/// The plan's key is its slug; without one, the id, so that the catalog may still know it.
fn plan(
    plan: Option<Plan>,
    plan_id: Option<String>,
    payer: Option<&Payer>,
    period_end: Option<Timestamp>,
) -> Option<PlanRef> {
    let free = plan.as_ref().is_some_and(|plan| is_free(plan, payer, period_end));
    let (id, slug) = plan.map_or((None, None), |plan| (plan.id, plan.slug));
    let id = id.or(plan_id);
    let key = slug.or_else(|| id.clone())?;
    Some(PlanRef { key, id, free })
}

/// Whether a plan is the one held without paying. Price alone does not tell: a seat given to an employee is a paid
/// plan with amount 0. Webhooks usually leave `is_default` out; then it is free if it costs nothing, does not recur and
/// does not end, or bears the slug that Clerk gives a default plan.
fn is_free(plan: &Plan, payer: Option<&Payer>, period_end: Option<Timestamp>) -> bool {
    plan.is_default.unwrap_or_else(|| {
        let default_slug = payer.map(|payer| payer.kind().default_free_plan());
        let costs_nothing = plan.amount.as_i64() == Some(0);
        (default_slug.is_some() && plan.slug.as_deref() == default_slug)
            || (costs_nothing && plan.is_recurring == Some(false) && period_end.is_none())
    })
}

#[derive(Deserialize)]
struct PaymentAttempt {
    id: String,
    status: String,
    #[serde(default, deserialize_with = "text")]
    payment_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    charge_type: Option<String>,
    #[serde(default, deserialize_with = "moment")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    updated_at: Option<Timestamp>,
    payer: Option<ClerkPayer>,
    totals: Option<Totals>,
    failed_reason: Option<FailedReason>,
}

#[derive(Deserialize)]
struct Totals {
    grand_total: Option<Money>,
}

#[derive(Deserialize)]
struct Money {
    amount: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    currency: Option<String>,
}

#[derive(Deserialize)]
struct FailedReason {
    #[serde(default, deserialize_with = "text")]
    code: Option<String>,
    #[serde(default, deserialize_with = "text")]
    decline_code: Option<String>,
}

pub(super) fn payment_event(sent: &Sent<'_>, data: &str) -> Result<Option<Event>, String> {
    let attempt: PaymentAttempt = serde_json::from_str(data).map_err(|error| error.to_string())?;
    if attempt.id.is_empty() {
        return Err("a payment attempt without an id".into());
    }
    let payer = attempt.payer.as_ref().map(ClerkPayer::payer).transpose()?.flatten();
    let occurred_at = attempt.updated_at.unwrap_or(sent.at);
    let total = attempt.totals.and_then(|totals| totals.grand_total);
    // A pending attempt is settled once; at the same time as its settlement it is the older of the two.
    let progress = if attempt.status == "pending" { 1 } else { 2 };
    let payment = Payment {
        version: sent.version(occurred_at, progress),
        occurred_at,
        payer: payer.clone(),
        customer: None,
        record: None,
        attempt: None,
        payment: attempt.payment_id,
        status: attempt.status,
        amount: total.as_ref().and_then(|total| total.amount),
        currency: total.and_then(|total| total.currency),
        charge_type: attempt.charge_type,
        created_at: attempt.created_at.unwrap_or(occurred_at),
        failure_code: attempt.failed_reason.and_then(|reason| reason.decline_code.or(reason.code)),
        id: attempt.id,
    };
    Ok(Some(Event { payer, payments: vec![payment], ..empty_event(sent, occurred_at) }))
}
