//! Clerk's Backend API: subscriptions, the listing of all items, plans with their features.
//!
//! Source: <https://github.com/clerk/openapi-specs> (`bapi/2026-05-12.yml`).

use super::billing::{Container, record, status};
use super::field::moment;
use crate::api::{Api, ApiPlan, Reading, Shown, UnreadableAnswer};
use crate::json::{self, Json};
use crate::ordered::Set;
use crate::payer::{Payer, PayerKind};
use crate::provider::listing::{after, is_id, place};
use crate::provider::reading::{Object, Sent};
use crate::reconcile::EVENT_TYPE;
use crate::status::Status;
use crate::time::Timestamp;

pub(super) struct BackendApi;

/// What the listing of items is asked for: it has no value for all.
const LIVE: [&str; 4] = ["active", "free_trial", "past_due", "upcoming"];
const OVER: [&str; 1] = ["ended"];
/// The payers that plans are listed for.
const PAYER_TYPES: [&str; 2] = ["user", "org"];
/// Entries on a page; Clerk allows 500. An item has about 1 kB, and reading 100 of them takes about a millisecond of the ten
/// that a run may use on Cloudflare's free plan.
const PAGE: u64 = 100;

impl Api for BackendApi {
    fn key_setting(&self) -> &'static str {
        "CLERK_SECRET_KEY"
    }

    fn base_setting(&self) -> (&'static str, &'static str) {
        ("CLERK_API_URL", "https://api.clerk.com")
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        // The first version in which items and plans are where we look for them.
        &[("clerk-api-version", "2025-11-10")]
    }

    /// Clerk knows the payer by our id.
    fn payer_paths(&self, payer: &Payer, _customers: &[&str]) -> Vec<String> {
        let id = payer.id();
        let list = match payer.kind() {
            PayerKind::User => "users",
            PayerKind::Org => "organizations",
        };
        // Clerk's ids have no other characters.
        is_id(id).then(|| format!("/v1/{list}/{id}/billing/subscription")).into_iter().collect()
    }

    fn read_payer(
        &self,
        payer: &Payer,
        _path: &str,
        body: &str,
        read_at: Timestamp,
    ) -> Result<Reading, UnreadableAnswer> {
        let answer = read(body)?;
        let subscription = Object(&answer);
        let id = subscription.text_only("id").map_err(UnreadableAnswer)?;
        let container = Container {
            payer: Some(payer.clone()),
            customer: subscription.text_only("payer_id").map_err(UnreadableAnswer)?,
            subscription: id.clone(),
            updated_at: None,
            past_due_at: moment(subscription, "past_due_at").map_err(UnreadableAnswer)?,
        };
        // The second is the name in webhooks.
        let items = ["subscription_items", "items"].into_iter().find(|name| subscription.field(name).is_some());
        let mut reading = shown(listed(subscription, items, "an answer without items")?, &container, read_at);
        // With an item that could not be read, one that seems to be missing may be that one. Without any the answer is not to be
        // relied on: a subscription always has one, that of the free plan at least.
        reading.whole = id.filter(|_| reading.unreadable == 0 && !reading.shown.is_empty());
        Ok(reading)
    }

    fn listings(&self) -> &'static [&'static str] {
        &["live", "over"]
    }

    fn page_path(&self, listing: &str, cursor: Option<&str>) -> Option<String> {
        let (status, offset) = place(statuses(listing), cursor)?;
        Some(format!("/v1/billing/subscription_items?status={status}&include_free=false&limit={PAGE}&offset={offset}"))
    }

    fn read_page(
        &self,
        listing: &str,
        cursor: Option<&str>,
        body: &str,
        read_at: Timestamp,
    ) -> Result<(Reading, Option<String>), UnreadableAnswer> {
        let page = read(body)?;
        let items = listed(Object(&page), data(&page), "an answer without items")?;
        let next = next(statuses(listing), cursor, items.len(), total(&page)?);
        let mut reading = shown(items, &Container::default(), read_at);
        // What is listed as in a trial is in one, whether the item says so or not.
        if place(statuses(listing), cursor).is_some_and(|(status, _)| status == "free_trial") {
            reading.shown.iter_mut().for_each(mark_trial);
        }
        Ok((reading, next))
    }

    fn plans_path(&self, cursor: Option<&str>) -> Option<String> {
        let (payer_type, offset) = place(&PAYER_TYPES, cursor)?;
        Some(format!("/v1/billing/plans?payer_type={payer_type}&limit={PAGE}&offset={offset}"))
    }

    fn read_plans(&self, cursor: Option<&str>, body: &str) -> Result<(Vec<ApiPlan>, Option<String>), UnreadableAnswer> {
        let page = read(body)?;
        let listed_for = place(&PAYER_TYPES, cursor).map(|(payer_type, _)| payer_type);
        let listed = listed(Object(&page), data(&page), "a page without `data`")?;
        let next = next(&PAYER_TYPES, cursor, listed.len(), total(&page)?);
        let mut plans = Vec::with_capacity(listed.len());
        for one in listed {
            plans.push(plan(Object(one), listed_for).map_err(UnreadableAnswer)?);
        }
        Ok((plans, next))
    }
}

fn statuses(listing: &str) -> &'static [&'static str] {
    if listing == "over" { &OVER } else { &LIVE }
}

fn read(body: &str) -> Result<Json<'_>, UnreadableAnswer> {
    json::parse_sent(body.as_bytes()).map_err(|error| UnreadableAnswer(error.into()))
}

/// The list in a field that must be there.
fn listed<'a>(answer: Object<'a>, name: Option<&str>, otherwise: &str) -> Result<&'a [Json<'a>], UnreadableAnswer> {
    let name = name.ok_or_else(|| UnreadableAnswer(otherwise.into()))?;
    answer.list(name).map_err(UnreadableAnswer)
}

/// The name of the list on a page, if there is one.
fn data(page: &Json<'_>) -> Option<&'static str> {
    Object(page).field("data").map(|_| "data")
}

fn total(page: &Json<'_>) -> Result<Option<u64>, UnreadableAnswer> {
    let total = Object(page).count("total_count").map_err(UnreadableAnswer)?;
    Ok(total.map(u64::from))
}

fn plan(plan: Object<'_>, listed_for: Option<&str>) -> Result<ApiPlan, String> {
    let id = plan.text_only("id")?;
    let told = plan.text_only("for_payer_type")?;
    let payer = match told.as_deref().or(listed_for) {
        Some("user") => Some(PayerKind::User),
        Some("org" | "organization") => Some(PayerKind::Org),
        _ => None,
    };
    // Features may be left out, which is not the same as none.
    let mut features = plan.field("features").map(|_| Set::default());
    for feature in plan.list("features")? {
        let slug = Object(feature).text_only("slug")?.ok_or("a feature without `slug`")?;
        if let Some(features) = &mut features {
            features.insert(slug);
        }
    }
    Ok(ApiPlan {
        // Without a slug no question can name it, but a record can.
        key: plan.text_only("slug")?.or_else(|| id.clone()).unwrap_or_default(),
        id,
        payer,
        free: plan.flag("is_default")?.unwrap_or(false),
        features,
    })
}

/// The records of a list of items.
fn shown(items: &[Json<'_>], container: &Container, read_at: Timestamp) -> Reading {
    let sent = Sent { event_type: EVENT_TYPE, event_id: "", at: read_at };
    let mut reading = Reading::default();
    let mut seen = Set::default();
    for item in items {
        match one(&sent, Object(item), container) {
            Ok(one) if seen.insert(one.record.id.clone()) => reading.shown.push(one),
            Ok(_) => {}
            Err(_) => reading.unreadable = reading.unreadable.saturating_add(1),
        }
    }
    reading
}

/// The API has no word for an item that is canceled and still runs: it is listed as active, with the time of the
/// cancellation. Since version 2025-11-10 a field that does not apply is null, so that time says that it is canceled.
fn one(sent: &Sent<'_>, item: Object<'_>, container: &Container) -> Result<Shown, String> {
    let status = match status(item)? {
        Status::Active if moment(item, "canceled_at")?.is_some() && moment(item, "ended_at")?.is_none() => {
            Status::Canceled
        }
        status => status,
    };
    let is_dated = moment(item, "updated_at")?.is_some();
    let tells_trial = item.flag("is_free_trial")?.is_some();
    Ok(Shown { tells_trial, tells_period: false, ..Shown::new(record(sent, item, status, container)?, is_dated) })
}

fn mark_trial(shown: &mut Shown) {
    shown.tells_trial = true;
    shown.record.trial = true;
    if let Some(state) = &mut shown.record.state
        && state.status == Status::Active
    {
        state.status = Status::Trialing;
    }
}

/// Where the page after this one begins: the number of a cursor is an offset.
fn next(parts: &[&str], cursor: Option<&str>, length: usize, total: Option<u64>) -> Option<String> {
    let (part, offset) = place(parts, cursor)?;
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let end = offset.saturating_add(length);
    let is_last = length == 0 || total.map_or(length < PAGE, |total| end >= total);
    if is_last { after(parts, cursor) } else { Some(format!("{part}:{end}")) }
}
