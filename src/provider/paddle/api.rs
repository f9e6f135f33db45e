//! Paddle's API: all subscriptions, and those of a payer's customers.
//!
//! Paddle knows no users. A payer's subscriptions are those of the customers that are known to be the payer's. The first one
//! ever is found among the newest of all, where `custom_data` names the payer as it does in webhooks.
//!
//! Sources: <https://developer.paddle.com/api-reference/subscriptions/list-subscriptions>,
//! <https://developer.paddle.com/api-reference/about/pagination>.

use crate::json::Json;

use super::reading::{Object, Sent};
use super::{listing, subscription};
use crate::api::{Api, Reading, UnreadableAnswer};
use crate::payer::Payer;
use crate::reconcile::EVENT_TYPE;
use crate::time::Timestamp;

pub(super) struct BillingApi;

const NEWEST: &str = "/subscriptions?per_page=25&order_by=id%5BDESC%5D";

impl Api for BillingApi {
    fn key_setting(&self) -> &'static str {
        "PADDLE_API_KEY"
    }

    fn base_setting(&self) -> (&'static str, &'static str) {
        ("PADDLE_API_URL", "https://api.paddle.com")
    }

    fn sandbox_base(&self) -> &'static str {
        "https://sandbox-api.paddle.com"
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("paddle-version", "1")]
    }

    fn payer_paths(&self, _payer: &Payer, customers: &[&str]) -> Vec<String> {
        if customers.is_empty() {
            return Vec::new();
        }
        vec![format!("/subscriptions?per_page={}&customer_id={}", listing::PAGE, customers.join(","))]
    }

    fn newest_path(&self) -> Option<&'static str> {
        Some(NEWEST)
    }

    fn listings(&self) -> &'static [&'static str] {
        &["live", "over"]
    }

    fn page_path(&self, listing: &str, cursor: Option<&str>) -> Option<String> {
        let status = if listing == "over" { "canceled" } else { "active,trialing,past_due,paused" };
        let after = match cursor {
            None => String::new(),
            Some(last) => format!("&after={}", Some(last).filter(|last| listing::is_id(last))?),
        };
        Some(format!("/subscriptions?per_page={}&status={status}{after}", listing::PAGE))
    }

    fn read_page(
        &self,
        _listing: &str,
        _cursor: Option<&str>,
        body: &str,
        read_at: Timestamp,
    ) -> Result<(Reading, Option<String>), UnreadableAnswer> {
        let answer = listing::parse(body)?;
        let entries = listing::entries(&answer, "data")?;
        let has_more = Object(&answer).object("meta").and_then(|meta| meta.object("pagination")?.flag("has_more"));
        let next = listing::after_id(entries, has_more.map_err(UnreadableAnswer)? == Some(true))?;
        Ok((listing::reading(entries, &|entry| read(entry, read_at)), next))
    }
}

/// The records of a subscription, which has the shape that webhooks send.
fn read(entry: &Json<'_>, read_at: Timestamp) -> Option<listing::Entry> {
    let data = Object(entry);
    let sent = Sent { event_type: EVENT_TYPE, event_id: "", at: read_at };
    let is_dated = data.moment("updated_at").ok()?.is_some();
    Some(listing::Entry { records: subscription(&sent, data).ok()?.records, is_dated, is_test: None })
}
