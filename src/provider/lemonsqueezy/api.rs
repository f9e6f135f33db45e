//! Lemon Squeezy's API: all subscriptions, and those of a payer's customers.
//!
//! It knows no users, and does not show what a checkout was given for them: only webhooks tell whose a customer is. What is found
//! of a customer that no webhook named yet is nobody's until one does.
//!
//! Sources: <https://docs.lemonsqueezy.com/api/subscriptions/list-all-subscriptions>,
//! <https://docs.lemonsqueezy.com/api/customers/the-customer-object>,
//! <https://docs.lemonsqueezy.com/api/getting-started/requests>.

use crate::json::Json;

use super::{Kind, Object, Shown, is_order, listing};
use crate::api::{Api, Reading, UnreadableAnswer};
use crate::payer::Payer;
use crate::provider::reading;
use crate::reconcile::EVENT_TYPE;
use crate::time::Timestamp;

pub(super) struct StoreApi;

/// A listing is of one status.
const LIVE: [&str; 5] = ["active", "on_trial", "cancelled", "past_due", "paused"];
const OVER: [&str; 2] = ["unpaid", "expired"];

impl Api for StoreApi {
    fn key_setting(&self) -> &'static str {
        "LEMONSQUEEZY_API_KEY"
    }

    fn base_setting(&self) -> (&'static str, &'static str) {
        ("LEMONSQUEEZY_API_URL", "https://api.lemonsqueezy.com")
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("accept", "application/vnd.api+json"), ("content-type", "application/vnd.api+json")]
    }

    fn payer_paths(&self, _payer: &Payer, customers: &[&str]) -> Vec<String> {
        let mut paths = Vec::new();
        for customer in customers {
            paths.push(format!("/v1/customers/{customer}/subscriptions?page%5Bsize%5D={}", listing::PAGE));
        }
        paths
    }

    fn listings(&self) -> &'static [&'static str] {
        &["live", "over"]
    }

    fn page_path(&self, listing: &str, cursor: Option<&str>) -> Option<String> {
        let (status, read) = listing::place(parts(listing), cursor)?;
        let page = read.saturating_add(1);
        let size = listing::PAGE;
        Some(format!("/v1/subscriptions?filter%5Bstatus%5D={status}&page%5Bsize%5D={size}&page%5Bnumber%5D={page}"))
    }

    fn read_page(
        &self,
        listing: &str,
        cursor: Option<&str>,
        body: &str,
        _read_at: Timestamp,
    ) -> Result<(Reading, Option<String>), UnreadableAnswer> {
        let (mut reading, next) = listing::numbered(body, "data", last_page, (parts(listing), cursor), &read)?;
        for shown in &mut reading.shown {
            shown.is_final = is_order(&shown.record.id);
            shown.is_dated = !shown.is_final;
        }
        Ok((reading, next))
    }
}

fn last_page(answer: reading::Object<'_>) -> Result<Option<i64>, String> {
    answer.object("meta")?.object("page")?.whole("lastPage")
}

fn parts(listing: &str) -> &'static [&'static str] {
    if listing == "over" { &OVER } else { &LIVE }
}

/// The records of a subscription, which has the shape that webhooks send: its own, and the end of its order.
fn read(entry: &Json<'_>) -> Option<listing::Entry> {
    let nothing = Object(&Json::Null);
    let subscription = Shown::read(EVENT_TYPE, "", Kind::Subscription, nothing, Object(entry)).ok()?;
    let is_test = subscription.attributes.flag("test_mode").ok()?;
    Some(listing::Entry { records: subscription.subscription().ok()?, is_dated: true, is_test })
}
