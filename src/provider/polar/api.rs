//! Polar's API: all subscriptions, and those of a payer.
//!
//! A payer's subscriptions are those of the customer with the payer's id as its external one, and of the customers that are
//! known to be the payer's. The first one ever of a customer without an external id is found among the newest of all, where
//! metadata name the payer as they do in webhooks.
//!
//! Sources: <https://docs.polar.sh/api-reference/subscriptions/list>, and in <https://github.com/polarsource/polar>
//! `server/polar/subscription/endpoints.py`.

use crate::json::Json;

use super::reading::{Object, Sent};
use super::{customer, listing, payer, subscription};
use crate::api::{Api, Reading, UnreadableAnswer};
use crate::payer::Payer;
use crate::reconcile::EVENT_TYPE;
use crate::time::Timestamp;

pub(super) struct CoreApi;

/// The values of `active`. What is past due or paused counts as inactive there.
const LIVE: [&str; 1] = ["true"];
const OVER: [&str; 1] = ["false"];
/// Without the slash at the end of the path the server redirects, which is not followed.
const NEWEST: &str = "/v1/subscriptions/?limit=25&sorting=-started_at";

impl Api for CoreApi {
    fn key_setting(&self) -> &'static str {
        "POLAR_ACCESS_TOKEN"
    }

    fn base_setting(&self) -> (&'static str, &'static str) {
        ("POLAR_API_URL", "https://api.polar.sh")
    }

    fn sandbox_base(&self) -> &'static str {
        "https://sandbox-api.polar.sh"
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn payer_paths(&self, payer: &Payer, customers: &[&str]) -> Vec<String> {
        let id: String = form_urlencoded::byte_serialize(payer.id().as_bytes()).collect();
        let mut paths = vec![format!("{NEWEST}&external_customer_id={id}")];
        if !customers.is_empty() {
            paths.push(format!("{NEWEST}&customer_id={}", customers.join("&customer_id=")));
        }
        paths
    }

    fn newest_path(&self) -> Option<&'static str> {
        Some(NEWEST)
    }

    fn listings(&self) -> &'static [&'static str] {
        &["live", "over"]
    }

    fn page_path(&self, listing: &str, cursor: Option<&str>) -> Option<String> {
        let (active, read) = listing::place(parts(listing), cursor)?;
        let page = read.saturating_add(1);
        // The oldest first: what is bought while pages are read comes last, and moves none of the others.
        Some(format!("/v1/subscriptions/?active={active}&limit={}&page={page}&sorting=started_at", listing::PAGE))
    }

    fn read_page(
        &self,
        listing: &str,
        cursor: Option<&str>,
        body: &str,
        read_at: Timestamp,
    ) -> Result<(Reading, Option<String>), UnreadableAnswer> {
        let place = (parts(listing), cursor);
        listing::numbered(body, "items", last_page, place, &|entry| read(entry, read_at))
    }
}

fn last_page(answer: Object<'_>) -> Result<Option<i64>, String> {
    answer.object("pagination")?.whole("max_page")
}

fn parts(listing: &str) -> &'static [&'static str] {
    if listing == "over" { &OVER } else { &LIVE }
}

/// The record of a subscription, which has the shape that webhooks send.
fn read(entry: &Json<'_>, read_at: Timestamp) -> Option<listing::Entry> {
    let data = Object(entry);
    let sent = Sent { event_type: EVENT_TYPE, event_id: "", at: read_at };
    let is_dated = data.moment("modified_at").ok()?.or(data.moment("created_at").ok()?).is_some();
    let record = subscription(&sent, data, customer(data).ok()?, payer(data).ok()?).ok()?;
    Some(listing::Entry { records: vec![record], is_dated, is_test: None })
}
