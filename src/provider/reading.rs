//! What providers share whose bodies are an envelope with an object in it.

use sha2::{Digest as _, Sha256};

pub(super) use super::object::Object;
use crate::delivery::Verified;
use crate::event::{Event, IgnoredReason, Link, ParseError, Parsed, Version};
use crate::hex_signature;
use crate::json;
use crate::payer::Payer;
use crate::time::Timestamp;

/// What the parts of an event share: when it was sent, and the id that settles ties.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) event_type: &'a str,
    pub(super) event_id: &'a str,
    pub(super) at: Timestamp,
}

impl Sent<'_> {
    pub(super) fn version(&self, occurred_at: Timestamp, progress: u8) -> Version {
        Version::new(occurred_at, self.at, progress, self.event_id)
    }

    /// An event about an object of this customer and payer that shows nothing yet but who the customer is.
    pub(super) fn event(&self, occurred_at: Timestamp, customer: Option<&String>, payer: Option<Payer>) -> Event {
        let link = customer.zip(payer.clone()).map(|(customer, payer)| Link {
            customer: customer.clone(),
            payer,
            version: self.version(occurred_at, 0),
        });
        Event {
            event_type: self.event_type.to_owned(),
            occurred_at,
            payer,
            deleted_at: None,
            records: Vec::new(),
            payments: Vec::new(),
            links: link.into_iter().collect(),
            signed: None,
        }
    }
}

/// Reads a body of `{<type_field>, <time_field>, data: {…}}`. `read` answers none for a type that is of no use.
pub(super) fn parse(
    verified: &Verified<'_>,
    (type_field, time_field): (&str, &str),
    read: fn(&Sent<'_>, Object<'_>) -> Result<Option<Event>, String>,
) -> Result<Parsed, ParseError> {
    let unreadable = |cause: String| ParseError { event_type: None, cause };
    let body =
        json::parse_sent(verified.body()).map_err(|error| unreadable(format!("reading the envelope: {error}")))?;
    let envelope = Object(&body);
    // A number is no type: it could be any number, a card's too, and the type of what is ignored is kept.
    let event_type =
        envelope.text_only(type_field).and_then(|told| told.ok_or_else(|| format!("`{type_field}` is missing")));
    let event_type = event_type.map_err(|cause| unreadable(format!("the envelope: {cause}")))?;
    let event = envelope.moment(time_field).and_then(|at| {
        // The attempt's own time differs between attempts, so it orders only what has no better clock.
        let at = at.or(verified.sent_at()).unwrap_or(Timestamp::from_millis(0));
        read(&Sent { event_type: &event_type, event_id: verified.event_id(), at }, envelope.object("data")?)
    });
    match event {
        Ok(Some(event)) => Ok(Parsed::Event(event)),
        Ok(None) => Ok(Parsed::Ignored { event_type, reason: IgnoredReason::UnusedType }),
        Err(cause) => {
            Err(ParseError { cause: format!("reading `{event_type}`: {cause}"), event_type: Some(event_type) })
        }
    }
}

/// What tells a delivery from others where the body has no id: the body itself.
pub(super) fn id_of_body(body: &[u8]) -> String {
    format!("sha256_{}", hex_signature::hex(&Sha256::digest(body)))
}

/// When a charge that failed was due, by the period that a past due subscription shows. Who charges in advance goes into the
/// next period before that is paid: what was paid for then ended when the period began that is shown as the current one. Any
/// later clock would move with each further attempt, and the days of grace would never run out.
pub(super) fn due_at(
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    occurred_at: Timestamp,
) -> Option<Timestamp> {
    [period_start, period_end].into_iter().flatten().filter(|at| *at <= occurred_at).max()
}
