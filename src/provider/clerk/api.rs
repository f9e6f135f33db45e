//! Clerk's Backend API: subscriptions, the listing of all items, plans with their features.
//!
//! Source: <https://github.com/clerk/openapi-specs> (`bapi/2026-05-12.yml`).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Sent;
use super::billing::{Container, Item, record};
use super::field::{moment, text};
use crate::api::{Api, ApiPlan, Reading, Shown, UnreadableAnswer};
use crate::ordered;
use crate::payer::{Payer, PayerKind};
use crate::provider::listing::{after, is_id, place};
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
        let subscription: Subscription<'_> = read(body)?;
        let container = Container {
            payer: Some(payer.clone()),
            customer: subscription.payer_id,
            subscription: subscription.id.clone(),
            updated_at: None,
            past_due_at: subscription.past_due_at,
        };
        let mut reading = shown(subscription.subscription_items.or(subscription.items), &container, read_at)?;
        // With an item that could not be read, one that seems to be missing may be that one.
        reading.whole = subscription.id.filter(|_| reading.unreadable == 0);
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
        let page: Page<'_> = read(body)?;
        let next = next(statuses(listing), cursor, &page);
        let mut reading = shown(page.data, &Container::default(), read_at)?;
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
        let page: Page<'_> = read(body)?;
        let listed_for = place(&PAYER_TYPES, cursor).map(|(payer_type, _)| payer_type);
        let next = next(&PAYER_TYPES, cursor, &page);
        let plans = page.data.ok_or_else(|| UnreadableAnswer("a page without `data`".into()))?;
        let plans = plans.into_iter().map(|plan| read::<Plan>(plan.get()));
        let plans: Vec<ApiPlan> =
            plans.map(|plan| plan.map(|plan| plan.named(listed_for))).collect::<Result<_, _>>()?;
        Ok((plans, next))
    }
}

fn statuses(listing: &str) -> &'static [&'static str] {
    if listing == "over" { &OVER } else { &LIVE }
}

#[derive(Deserialize)]
struct Subscription<'a> {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    payer_id: Option<String>,
    #[serde(default, deserialize_with = "moment")]
    past_due_at: Option<Timestamp>,
    #[serde(borrow)]
    subscription_items: Option<Vec<&'a RawValue>>,
    /// The name of `subscription_items` in webhooks.
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
    total_count: Option<u64>,
}

#[derive(Deserialize)]
struct Plan {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    slug: Option<String>,
    is_default: Option<bool>,
    #[serde(default, deserialize_with = "text")]
    for_payer_type: Option<String>,
    /// May be left out, which is not the same as none.
    features: Option<Vec<Feature>>,
}

#[derive(Deserialize)]
struct Feature {
    slug: String,
}

impl Plan {
    fn named(self, listed_for: Option<&str>) -> ApiPlan {
        let payer = match self.for_payer_type.as_deref().or(listed_for) {
            Some("user") => Some(PayerKind::User),
            Some("org" | "organization") => Some(PayerKind::Org),
            _ => None,
        };
        ApiPlan {
            // Without a slug no question can name it, but a record can.
            key: self.slug.or_else(|| self.id.clone()).unwrap_or_default(),
            id: self.id,
            payer,
            free: self.is_default.unwrap_or(false),
            features: self.features.map(|features| ordered::set(features.into_iter().map(|feature| feature.slug))),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, UnreadableAnswer> {
    serde_json::from_str(body).map_err(|error| UnreadableAnswer(error.to_string()))
}

/// The records of a list of items.
fn shown(
    items: Option<Vec<&RawValue>>,
    container: &Container,
    read_at: Timestamp,
) -> Result<Reading, UnreadableAnswer> {
    let items = items.ok_or_else(|| UnreadableAnswer("an answer without items".into()))?;
    let sent = Sent { event_type: EVENT_TYPE, event_id: "", at: read_at };
    let mut reading = Reading::default();
    let mut seen = BTreeSet::new();
    for item in items {
        let one = read::<Item>(item.get()).ok().and_then(|item| {
            let (is_dated, tells_trial) = (item.updated_at.is_some(), item.is_free_trial.is_some());
            let record = record(&sent, as_webhooks_say_it(item), container).ok()?;
            Some(Shown { tells_trial, ..Shown::new(record, is_dated) })
        });
        match one {
            Some(one) if seen.insert(one.record.id.clone()) => reading.shown.push(one),
            Some(_) => {}
            None => reading.unreadable = reading.unreadable.saturating_add(1),
        }
    }
    Ok(reading)
}

/// The API has no word for an item that is canceled and still runs: it is listed as active, with the time of the
/// cancellation. Since version 2025-11-10 a field that does not apply is null, so that time says that it is canceled.
fn as_webhooks_say_it(mut item: Item) -> Item {
    if item.status == "active" && item.canceled_at.is_some() && item.ended_at.is_none() {
        item.status = "canceled".into();
    }
    item
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
fn next(parts: &[&str], cursor: Option<&str>, page: &Page<'_>) -> Option<String> {
    let (part, offset) = place(parts, cursor)?;
    let length = page.data.as_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
    let end = offset.saturating_add(length);
    let is_last = length == 0 || page.total_count.map_or(length < PAGE, |total| end >= total);
    if is_last { after(parts, cursor) } else { Some(format!("{part}:{end}")) }
}
