//! Lemon Squeezy's API: all subscriptions, and those of a payer's customers.
//!
//! It knows no users, and does not show what a checkout was given for them: only webhooks tell whose a customer is. What is found
//! of a customer that no webhook named yet is nobody's until one does.
//!
//! Sources: <https://docs.lemonsqueezy.com/api/subscriptions/list-all-subscriptions>,
//! <https://docs.lemonsqueezy.com/api/customers/the-customer-object>,
//! <https://docs.lemonsqueezy.com/api/getting-started/requests>.

use serde_json::Value;

use super::{Kind, Object, listing, order_record};
use crate::api::{Api, Reading, Shown, UnreadableAnswer};
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
        let path = |customer: &&str| format!("/v1/customers/{customer}/subscriptions?page%5Bsize%5D={}", listing::PAGE);
        customers.iter().map(path).collect()
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
        let answer = listing::parse(body)?;
        let entries = listing::entries(&answer, "data")?;
        let pages = reading::Object(&answer).object("meta").and_then(|meta| meta.object("page")?.number("lastPage"));
        let next = listing::after_page(parts(listing), cursor, entries.len(), pages.map_err(UnreadableAnswer)?);
        let mut reading = listing::reading(entries, &shown);
        // A key is of one mode, so what it shows all is.
        reading.is_test = entries.iter().find_map(|entry| Object(entry).object("attributes").flag("test_mode").ok()?);
        Ok((reading, next))
    }
}

fn parts(listing: &str) -> &'static [&'static str] {
    if listing == "over" { &OVER } else { &LIVE }
}

/// The records of a subscription, which has the shape that webhooks send: its own, and the end of its order.
fn shown(entry: &Value) -> Option<Vec<Shown>> {
    let nothing = Value::Null;
    let subscription = super::Shown::read(EVENT_TYPE, "", Kind::Subscription, Object(&nothing), Object(entry)).ok()?;
    let order = order_record(&subscription.attributes.text("order_id").ok()?.unwrap_or_default());
    let shown = |record: crate::event::Record| {
        let is_final = record.id == order;
        Shown { is_final, ..Shown::new(record, !is_final) }
    };
    Some(subscription.subscription().ok()?.into_iter().map(shown).collect())
}
