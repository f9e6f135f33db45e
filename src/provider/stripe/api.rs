//! Stripe's API: the search for a payer's subscriptions, the listing of all.
//!
//! Stripe's subscriptions do not tell when they last changed, so a reading counts as of when it was made, and a little before:
//! a webhook tells whole seconds, and one about a change after the reading must win over it.
//!
//! Stripe knows no users. A payer's subscriptions are those of the customers that are known to be the payer's, which are listed,
//! and those whose metadata name the payer, which are searched for: a checkout may make a new customer.
//!
//! Sources: <https://docs.stripe.com/api/subscriptions/list>, <https://docs.stripe.com/search>.

use super::Sent;
use super::subscription::records;
use crate::api::{Api, Reading, UnreadableAnswer};
use crate::json::Json;
use crate::payer::{Payer, PayerKind};
use crate::provider::listing::{self, PAGE};
use crate::provider::object::{ORG_FIELDS, USER_FIELDS};
use crate::reconcile::EVENT_TYPE;
use crate::time::Timestamp;

pub(super) struct RestApi;

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

    fn payer_paths(&self, payer: &Payer, customers: &[&str]) -> Vec<String> {
        let mut paths = Vec::new();
        for customer in customers {
            paths.push(format!("/v1/subscriptions?limit={PAGE}&status=all&customer={customer}"));
        }
        paths.extend(search_path(payer));
        paths
    }

    /// What a search leaves out may only be newer than the search, so it never shows a subscription as a whole.
    fn read_payer(
        &self,
        _payer: &Payer,
        path: &str,
        body: &str,
        read_at: Timestamp,
    ) -> Result<Reading, UnreadableAnswer> {
        let lag_secs = if path.starts_with(SEARCH) { SEARCH_LAG_SECS } else { LIST_LAG_SECS };
        Ok(reading(listing::entries(&listing::parse(body)?, "data")?, read_at, lag_secs))
    }

    /// An event tells the second, which has to be over.
    fn lag_ms(&self) -> i64 {
        LIST_LAG_SECS.saturating_add(1).saturating_mul(1000)
    }

    fn listings(&self) -> &'static [&'static str] {
        &["live", "over"]
    }

    fn page_path(&self, listing: &str, cursor: Option<&str>) -> Option<String> {
        // Without a status all that are not canceled are listed.
        let status = if listing == "over" { "&status=ended" } else { "" };
        let after = match cursor {
            None => String::new(),
            Some(last) => format!("&starting_after={}", Some(last).filter(|last| listing::is_id(last))?),
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
        let page = listing::parse(body)?;
        let entries = listing::entries(&page, "data")?;
        let next = listing::after_id(entries, page.get("has_more").and_then(Json::as_bool) == Some(true))?;
        Ok((reading(entries, read_at, LIST_LAG_SECS), next))
    }
}

const SEARCH: &str = "/v1/subscriptions/search";

fn search_path(payer: &Payer) -> Option<String> {
    let id = payer.id();
    let names = match payer.kind() {
        PayerKind::Org => ORG_FIELDS.as_slice(),
        PayerKind::User => &USER_FIELDS,
    };
    let clause = |name: &&str| format!("metadata%5B%27{name}%27%5D%3A%27{id}%27");
    let clauses: Vec<String> = names.iter().map(clause).collect();
    // An id of other characters could end the text in the query.
    listing::is_id(id).then(|| format!("{SEARCH}?limit={PAGE}&query={}", clauses.join("%20OR%20")))
}

fn reading(subscriptions: &[Json<'_>], read_at: Timestamp, lag_secs: i64) -> Reading {
    let at = Timestamp::from_secs(read_at.as_secs().saturating_sub(lag_secs));
    let sent = Sent { event_type: EVENT_TYPE, event_id: "", at, previous: None };
    listing::reading(subscriptions, &|subscription| {
        let is_test = subscription.get("livemode").and_then(Json::as_bool).map(|is_live| !is_live);
        Some(listing::Entry { records: records(&sent, subscription).ok()?, is_dated: false, is_test })
    })
}
