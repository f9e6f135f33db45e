//! Stripe's API: the search for a payer's subscriptions, the listing of all.
//!
//! Stripe's subscriptions do not tell when they last changed, so a reading counts as of when it was made, and a little before:
//! a webhook tells whole seconds, and one about a change after the reading must win over it.
//!
//! Stripe knows no users. A payer's subscriptions are found by their metadata; those that are a payer's by way of the customer
//! alone are found by the listing.
//!
//! Sources: <https://docs.stripe.com/api/subscriptions/list>, <https://docs.stripe.com/search>.

use super::Sent;
use super::field::text;
use super::subscription::records;
use crate::api::{Api, ApiPlan, Reading, Shown, UnreadableAnswer};
use crate::json::{self, Json};
use crate::payer::{Payer, PayerKind};
use crate::provider::object::{ORG_FIELDS, USER_FIELDS};
use crate::reconcile::EVENT_TYPE;
use crate::time::Timestamp;

pub(super) struct RestApi;

/// Entries on a page; Stripe allows 100. A subscription has about 4 kB, and reading 25 of them takes about a millisecond of
/// the ten that a run may use on Cloudflare's free plan.
const PAGE: usize = 25;
/// How long before it was asked for a listing surely is how things stood.
const LIST_LAG_SECS: i64 = 10;
/// The same of a search: Stripe says that it is a minute behind, and up to an hour during outages.
const SEARCH_LAG_SECS: i64 = 3600;

impl Api for RestApi {
    fn key_setting(&self) -> &'static str {
        "STRIPE_SECRET_KEY"
    }

    fn base_setting(&self) -> (&'static str, &'static str) {
        ("STRIPE_API_URL", "https://api.stripe.com")
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        // The first version in which periods are the items'.
        &[("stripe-version", "2025-03-31.basil")]
    }

    fn payer_path(&self, payer: &Payer) -> Option<String> {
        let id = payer.id();
        if !is_id(id) {
            return None;
        }
        let names = match payer.kind() {
            PayerKind::Org => ORG_FIELDS.as_slice(),
            PayerKind::User => &USER_FIELDS,
        };
        let clauses: Vec<String> =
            names.iter().map(|name| format!("metadata%5B%27{name}%27%5D%3A%27{id}%27")).collect();
        Some(format!("/v1/subscriptions/search?limit={PAGE}&query={}", clauses.join("%20OR%20")))
    }

    /// What a search leaves out may only be newer than the search, so it never shows a subscription as a whole.
    fn read_payer(&self, _payer: &Payer, body: &str, read_at: Timestamp) -> Result<Reading, UnreadableAnswer> {
        Ok(reading(entries(&read(body)?)?, read_at, SEARCH_LAG_SECS))
    }

    fn listings(&self) -> &'static [&'static str] {
        &["live", "over"]
    }

    fn page_path(&self, listing: &str, cursor: Option<&str>) -> Option<String> {
        // Without a status all that are not canceled are listed.
        let status = if listing == "over" { "&status=ended" } else { "" };
        let after = match cursor {
            None => String::new(),
            Some(last) => format!("&starting_after={}", Some(last).filter(|last| is_id(last))?),
        };
        Some(format!("/v1/subscriptions?limit={PAGE}{status}{after}"))
    }

    fn read_page(
        &self,
        _listing: &str,
        _cursor: Option<&str>,
        body: &str,
        read_at: Timestamp,
    ) -> Result<(Reading, Option<String>), UnreadableAnswer> {
        let page = read(body)?;
        let entries = entries(&page)?;
        let has_more = page.get("has_more").and_then(Json::as_bool) == Some(true);
        let last = entries.last().and_then(|last| text(last, "id"));
        Ok((reading(entries, read_at, LIST_LAG_SECS), last.filter(|_| has_more)))
    }

    /// A price does not tell what it gives: the catalog does.
    fn plans_path(&self, _cursor: Option<&str>) -> Option<String> {
        None
    }

    fn read_plans(
        &self,
        _cursor: Option<&str>,
        _body: &str,
    ) -> Result<(Vec<ApiPlan>, Option<String>), UnreadableAnswer> {
        Ok((Vec::new(), None))
    }
}

/// Whether a text may stand in a path and in a search as it is.
fn is_id(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn read(body: &str) -> Result<Json<'_>, UnreadableAnswer> {
    json::parse_sent(body.as_bytes()).map_err(|error| UnreadableAnswer(error.to_string()))
}

fn entries<'a>(answer: &'a Json<'a>) -> Result<&'a [Json<'a>], UnreadableAnswer> {
    let data = answer.get("data").and_then(Json::as_list);
    data.ok_or_else(|| UnreadableAnswer("an answer without `data`".into()))
}

fn reading(subscriptions: &[Json<'_>], read_at: Timestamp, lag_secs: i64) -> Reading {
    let at = Timestamp::from_secs(read_at.as_secs().saturating_sub(lag_secs));
    let sent = Sent { event_type: EVENT_TYPE, event_id: "", at, previous: None };
    let mut reading = Reading::default();
    for subscription in subscriptions {
        match records(&sent, subscription) {
            Ok(records) => reading.shown.extend(records.into_iter().map(|record| Shown {
                record,
                is_dated: false,
                tells_trial: true,
            })),
            Err(_) => reading.unreadable = reading.unreadable.saturating_add(1),
        }
    }
    reading
}
