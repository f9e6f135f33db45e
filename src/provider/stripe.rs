//! Stripe Billing: subscriptions, invoices, checkout, refunds and disputes.
//!
//! In scope: who sent it, of which environment, what it says about what is held, what was paid, and which payer a customer
//! is. Out of scope: what plans contain (the catalog maps prices and products) and access.
//!
//! A body is in the shape of the API version that the endpoint was made with, so the shapes before and after
//! `2025-03-31.basil` are both read. Bodies are read field by field instead of into derived structs: what is not where it
//! should be is then as good as missing, and the worker stays small.
//!
//! Sources: <https://docs.stripe.com/webhooks/signature>, <https://docs.stripe.com/api/events/object>,
//! <https://docs.stripe.com/changelog/basil>.

mod api;
mod checkout;
mod field;
mod payment;
mod subscription;

use sha2::{Digest as _, Sha256};

use self::field::{at, id, moment, payer, text};
use super::{Environment, Ours, Provider};
use crate::api::Api;
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{Event, IgnoredReason, Link, ParseError, Parsed, Version};
use crate::hex_signature::{self, TimedHeader};
use crate::json::{self, Json};
use crate::payer::Payer;
use crate::secret::{Secret, SecretError};
use crate::time::Timestamp;

pub(super) struct Stripe;

const HEADER: &str = "stripe-signature";
/// How far the signed time may be from ours, either way. Stripe's libraries take 300 seconds too, but bound the past alone.
const TOLERANCE_SECS: u32 = 300;
/// What the id of a delivery begins with whose body names none. Stripe's own begin with `evt_`.
const NAMELESS: &str = "sha256_";

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn secret_names(&self) -> &'static [&'static str] {
        &["STRIPE_WEBHOOK_SECRET"]
    }

    fn signature_headers(&self) -> &'static [&'static [&'static str]] {
        &[&[HEADER]]
    }

    /// The key is the text as it stands, its `whsec_` included: unlike Svix, Stripe decodes nothing.
    fn parse_secret(&self, _setting: &'static str, text: &str) -> Result<Secret, SecretError> {
        Secret::new(text.trim().as_bytes())
    }

    /// The event's id is in the body, so it is read once the body is known to be Stripe's. A body without one gets an id of
    /// its own, the same for every attempt; [`parse`] then refuses it, and it is kept as a dead letter.
    fn verify<'a>(
        &self,
        delivery: &'a Delivery,
        secrets: &[Secret],
        _ours: &Ours,
        now: Timestamp,
    ) -> Result<Verified<'a>, VerifyError> {
        let header = delivery.headers.value(HEADER).ok_or_else(|| VerifyError::MissingHeaders(vec![HEADER]))?;
        let header = TimedHeader::parse(&header, ',', "t", "v1");
        let sent_at = header.verify(b".", &delivery.body, secrets, TOLERANCE_SECS, now)?;
        let named = json::parse_sent(&delivery.body).ok().and_then(|event| text(&event, "id"));
        let event_id =
            named.unwrap_or_else(|| format!("{NAMELESS}{}", hex_signature::hex(&Sha256::digest(&delivery.body))));
        Ok(Verified::new(event_id, Some(sent_at), &delivery.body))
    }

    fn parse(&self, verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
        parse(verified, ours)
    }

    fn api(&self) -> Option<&'static dyn Api> {
        Some(&api::RestApi)
    }

    /// The event's id is not in any header: it has to be in the body already.
    fn sign(&self, secret: &Secret, _event_id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        let time = now.as_secs().to_string();
        let signature = hex_signature::sign(secret, &[time.as_bytes(), b".", body]);
        vec![(HEADER, format!("t={time},v1={signature}"))]
    }
}

fn parse(verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
    let unreadable =
        |event_type: Option<&str>, cause: String| ParseError { event_type: event_type.map(str::to_owned), cause };
    let event =
        json::parse_sent(verified.body()).map_err(|error| unreadable(None, format!("reading the event: {error}")))?;
    let event_type = text(&event, "type").ok_or_else(|| unreadable(None, "the event has no `type`".into()))?;
    if verified.event_id().starts_with(NAMELESS) {
        return Err(unreadable(Some(&event_type), "the event has no `id`".into()));
    }
    let ignored = |reason| Ok(Parsed::Ignored { event_type: event_type.clone(), reason });

    // An event that does not say which it is is not refused for it.
    let is_live = event.get("livemode").and_then(Json::as_bool);
    let environment = is_live.map(|live| if live { Environment::Production } else { Environment::Sandbox });
    if environment.is_some_and(|environment| environment != ours.environment) {
        return ignored(IgnoredReason::OtherEnvironment);
    }
    // A thin event names an object and does not show it.
    let is_thin = text(&event, "object").is_some_and(|object| object.starts_with("v2."));
    let Some(reader) = reader(&event_type).filter(|_| !is_thin) else { return ignored(IgnoredReason::UnusedType) };

    let sent = Sent {
        event_type: &event_type,
        event_id: verified.event_id(),
        // The attempt's own time differs between attempts, so it orders only what has no better clock.
        at: moment(&event, "created").or(verified.sent_at()).unwrap_or(Timestamp::from_millis(0)),
        previous: at(&event, "data/previous_attributes"),
    };
    let cause = |cause: &str| unreadable(Some(&event_type), format!("reading `{event_type}`: {cause}"));
    let object = at(&event, "data/object").ok_or_else(|| cause("there is no `data.object`"))?;
    let event = reader(&sent, object).map_err(cause)?;
    if event.touches_holdings() { Ok(Parsed::Event(event)) } else { ignored(IgnoredReason::NoSubject) }
}

/// What an event is read by, given its `data.object`.
type Reader = fn(&Sent<'_>, &Json<'_>) -> Result<Event, &'static str>;

/// How a type of event is read; none for one that changes nothing we keep.
///
/// Every `customer.subscription.…` event carries the subscription as it then stood, so a name we have never seen is read like
/// the others. A deleted customer's subscriptions end by events of their own.
fn reader(event_type: &str) -> Option<Reader> {
    match event_type {
        "checkout.session.completed"
        | "checkout.session.async_payment_succeeded"
        | "checkout.session.async_payment_failed" => Some(checkout::event),
        "customer.created" | "customer.updated" => Some(customer),
        // The second is a narrower twin of the first. They are about one invoice, so it does not matter if both come.
        "invoice.paid" | "invoice.payment_succeeded" | "invoice.payment_failed" => Some(payment::invoice),
        "charge.refunded" => Some(payment::refund),
        _ if event_type.starts_with("charge.dispute.") => Some(payment::dispute),
        _ if event_type.starts_with("customer.subscription.") => Some(subscription::event),
        _ => None,
    }
}

/// What the parts of an event share.
struct Sent<'a> {
    event_type: &'a str,
    event_id: &'a str,
    /// When it happened. Stripe's objects have no clock of their own, and this one tells whole seconds.
    at: Timestamp,
    /// What `*.updated` says the object was before, of what was changed.
    previous: Option<&'a Json<'a>>,
}

impl Sent<'_> {
    fn version(&self, rank: u8) -> Version {
        Version::new(self.at, self.at, rank, self.event_id)
    }

    /// An event that shows nothing yet, and which payer the customer is if it tells both.
    fn event(&self, payer: Option<&Payer>, customer: Option<&String>) -> Event {
        let link = payer.zip(customer).map(|(payer, customer)| Link {
            customer: customer.clone(),
            payer: payer.clone(),
            version: self.version(0),
        });
        Event {
            event_type: self.event_type.to_owned(),
            occurred_at: self.at,
            payer: payer.cloned(),
            deleted_at: None,
            records: Vec::new(),
            payments: Vec::new(),
            links: link.into_iter().collect(),
            signed: None,
        }
    }
}

/// A customer, whose metadata may say which payer it is. Nothing else of a person is read.
#[allow(clippy::unnecessary_wraps, reason = "one of several readers")]
fn customer(sent: &Sent<'_>, customer: &Json<'_>) -> Result<Event, &'static str> {
    Ok(sent.event(payer(customer, "metadata").as_ref(), id(customer, "id").as_ref()))
}
