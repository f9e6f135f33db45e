//! Clerk Billing, delivered by Svix; and the flat form that many guides show, from any Svix sender.
//!
//! In scope: who sent it, which instance, what it says about plans, payments and deleted payers. Out of scope: what
//! plans contain (no webhook says) and access. Clerk calls Billing beta and has changed its shapes several times, so
//! only the fields we use are read, each in every form that was seen.
//!
//! Sources: <https://clerk.com/docs/guides/development/webhooks/billing>,
//! <https://github.com/clerk/openapi-specs> (`webhooks/2025-04-15.yml`).

mod api;
mod billing;
mod field;
mod flat;
mod identity;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::field::{moment, text};
use super::{Ours, Provider};
use crate::api::Api;
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{Event, IgnoredReason, ParseError, Parsed, Version};
use crate::secret::{Secret, SecretError};
use crate::standard_webhooks;
use crate::time::Timestamp;

pub(super) struct Clerk;

impl Provider for Clerk {
    fn name(&self) -> &'static str {
        "clerk"
    }

    fn names_plans(&self) -> bool {
        true
    }

    fn secret_names(&self) -> &'static [&'static str] {
        &["CLERK_WEBHOOK_SIGNING_SECRET", "CLERK_WEBHOOK_SECRET"]
    }

    fn signature_headers(&self) -> &'static [&'static str] {
        &["svix-id", "svix-timestamp", "svix-signature", "webhook-id", "webhook-timestamp", "webhook-signature"]
    }

    fn parse_secret(&self, _setting: &'static str, text: &str) -> Result<Secret, SecretError> {
        standard_webhooks::parse_secret(text)
    }

    fn verify<'a>(
        &self,
        delivery: &'a Delivery,
        secrets: &[Secret],
        _ours: &Ours,
        now: Timestamp,
    ) -> Result<Verified<'a>, VerifyError> {
        standard_webhooks::verify(delivery, secrets, now)
    }

    fn parse(&self, verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
        parse(verified, ours)
    }

    fn api(&self) -> Option<&'static dyn Api> {
        Some(&api::BackendApi)
    }

    fn sign(&self, secret: &Secret, event_id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        standard_webhooks::sign(secret, event_id, now, body)
    }
}

/// What every delivery has around its `data`.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", default, deserialize_with = "text")]
    event_type: Option<String>,
    /// Senders of their own Svix events write the type here.
    #[serde(rename = "event_type", default, deserialize_with = "text")]
    svix_event_type: Option<String>,
    /// Documented as milliseconds; the catalog's own examples are seconds.
    #[serde(default, deserialize_with = "moment")]
    timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "text")]
    instance_id: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What the parts of an event share: when it was sent, and the id that settles ties.
struct Sent<'a> {
    event_type: &'a str,
    event_id: &'a str,
    at: Timestamp,
}

impl Sent<'_> {
    fn version(&self, occurred_at: Timestamp, progress: u8) -> Version {
        Version::new(occurred_at, self.at, progress, self.event_id)
    }
}

fn parse(verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
    let envelope: Envelope<'_> = serde_json::from_slice(verified.body())
        .map_err(|error| ParseError { event_type: None, cause: format!("reading the envelope: {error}") })?;
    let Some(event_type) = envelope.event_type.or(envelope.svix_event_type) else {
        return Err(ParseError { event_type: None, cause: "the envelope has no `type`".into() });
    };
    let ignored = |reason| Ok(Parsed::Ignored { event_type: event_type.clone(), reason });

    // An event that names no instance is not refused for it: senders of the flat form have none.
    if let (Some(ours), Some(theirs)) = (&ours.clerk_instance_id, &envelope.instance_id)
        && ours != theirs
    {
        return ignored(IgnoredReason::OtherInstance);
    }

    // The attempt's own time differs between attempts, so it orders only what has no better clock.
    let at = envelope.timestamp.or(verified.sent_at()).unwrap_or(Timestamp::from_millis(0));
    let sent = Sent { event_type: &event_type, event_id: verified.event_id(), at };
    let Some(family) = Family::of(&event_type) else { return ignored(IgnoredReason::UnusedType) };
    let data = envelope.data.map_or("null", RawValue::get);
    let event = match family {
        Family::Subscription if flat::is_flat(data) => flat::event(&sent, data),
        Family::Subscription => billing::subscription_event(&sent, data),
        Family::SubscriptionItem => billing::item_event(&sent, data),
        Family::PaymentAttempt => billing::payment_event(&sent, data),
        Family::User | Family::Organization => identity::event(&sent, family, data),
    };
    match event {
        Ok(Some(event)) => Ok(Parsed::Event(event)),
        Ok(None) => ignored(if matches!(family, Family::User | Family::Organization) {
            IgnoredReason::NoSubject
        } else {
            IgnoredReason::UnusedType
        }),
        Err(cause) => {
            Err(ParseError { cause: format!("reading `{event_type}`: {cause}"), event_type: Some(event_type) })
        }
    }
}

/// The types of event that we use, by the object in `data`.
///
/// Subscription and item events carry the object as it now stands whatever they are called, so a name we have never
/// seen is read like the others: Clerk has renamed, added and withdrawn some.
#[derive(Clone, Copy)]
enum Family {
    Subscription,
    SubscriptionItem,
    PaymentAttempt,
    User,
    Organization,
}

impl Family {
    fn of(event_type: &str) -> Option<Self> {
        let (object, what) = event_type.split_once('.')?;
        match object {
            "subscription" => Some(Self::Subscription),
            "subscriptionItem" => Some(Self::SubscriptionItem),
            "paymentAttempt" => Some(Self::PaymentAttempt),
            "user" if matches!(what, "created" | "updated" | "deleted") => Some(Self::User),
            "organization" if matches!(what, "created" | "updated" | "deleted") => Some(Self::Organization),
            _ => None,
        }
    }
}

/// An event about `payer` that shows nothing yet.
fn empty_event(sent: &Sent<'_>, occurred_at: Timestamp) -> Event {
    Event {
        event_type: sent.event_type.to_owned(),
        occurred_at,
        payer: None,
        deleted_at: None,
        records: Vec::new(),
        payments: Vec::new(),
        links: Vec::new(),
        signed: None,
    }
}
