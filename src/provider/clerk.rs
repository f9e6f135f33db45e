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

use self::field::moment;
use super::reading::{Object, Sent};
use super::{Ours, Provider};
use crate::api::Api;
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{IgnoredReason, ParseError, Parsed};
use crate::json;
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

    fn signature_headers(&self) -> &'static [&'static [&'static str]] {
        &[
            &["svix-id", "webhook-id"],
            &["svix-timestamp", "webhook-timestamp"],
            &["svix-signature", "webhook-signature"],
        ]
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

fn parse(verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
    let unread =
        |event_type: Option<&str>, cause: String| ParseError { event_type: event_type.map(str::to_owned), cause };
    let in_envelope = |cause: String| unread(None, format!("reading the envelope: {cause}"));
    let body = json::parse_sent(verified.body()).map_err(|error| in_envelope(error.into()))?;
    let envelope = Object(&body);
    // Senders of their own Svix events write the type in a field of another name.
    let event_type = match envelope.text_only("type").map_err(in_envelope)? {
        None => envelope.text_only("event_type").map_err(in_envelope)?,
        told => told,
    };
    let event_type = event_type.ok_or_else(|| unread(None, "the envelope has no `type`".into()))?;
    // Documented as milliseconds; the catalog's own examples are seconds.
    let told_at = moment(envelope, "timestamp").map_err(in_envelope)?;
    let instance = envelope.text_only("instance_id").map_err(in_envelope)?;
    let ignored = |reason| Ok(Parsed::Ignored { event_type: event_type.clone(), reason });

    // An event that names no instance is not refused for it: senders of the flat form have none.
    if let (Some(ours), Some(theirs)) = (&ours.clerk_instance_id, &instance)
        && ours != theirs
    {
        return ignored(IgnoredReason::OtherInstance);
    }

    // The attempt's own time differs between attempts, so it orders only what has no better clock.
    let at = told_at.or(verified.sent_at()).unwrap_or(Timestamp::from_millis(0));
    let sent = Sent { event_type: &event_type, event_id: verified.event_id(), at };
    let Some(family) = Family::of(&event_type) else { return ignored(IgnoredReason::UnusedType) };
    let event = match (family, data(envelope)) {
        (_, Err(cause)) => Err(cause),
        (Family::Subscription, Ok(data)) if flat::is_flat(data) => flat::event(&sent, data),
        (Family::Subscription, Ok(data)) => billing::subscription_event(&sent, data).map(Some),
        (Family::SubscriptionItem, Ok(data)) => billing::item_event(&sent, data).map(Some),
        (Family::PaymentAttempt, Ok(data)) => billing::payment_event(&sent, data).map(Some),
        (Family::User | Family::Organization, Ok(data)) => identity::event(&sent, family, data),
    };
    match event {
        Ok(Some(event)) => Ok(Parsed::Event(event)),
        Ok(None) => ignored(if matches!(family, Family::User | Family::Organization) {
            IgnoredReason::NoSubject
        } else {
            IgnoredReason::UnusedType
        }),
        Err(cause) => Err(unread(Some(&event_type), format!("reading `{event_type}`: {cause}"))),
    }
}

fn data(envelope: Object<'_>) -> Result<Object<'_>, String> {
    envelope.field("data").ok_or("`data` is missing")?;
    envelope.object("data")
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
