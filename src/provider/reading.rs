//! What providers share whose bodies are read by hand, field by field: what serde would derive for their shapes is several
//! times as long, and a worker starts the faster the shorter it is.
//!
//! Missing, null and `""` are the same: absent. A field of a wrong kind is an error and not absent, because what is absent
//! can mean more than what is there: a period without an end does not end.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::delivery::Verified;
use crate::event::{Event, IgnoredReason, Link, ParseError, Parsed, Version};
use crate::hex_signature;
use crate::payer::{Payer, PayerKind};
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
    let body: Value = serde_json::from_slice(verified.body())
        .map_err(|error| unreadable(format!("reading the envelope: {error}")))?;
    let envelope = Object(&body);
    let event_type = envelope.required(type_field).map_err(|cause| unreadable(format!("the envelope: {cause}")))?;
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

/// The fields of a JSON object.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(pub(super) &'a Value);

impl<'a> Object<'a> {
    /// The field, unless it is absent.
    fn field<T>(self, name: &str, kind: &str, read: fn(&'a Value) -> Option<T>) -> Result<Option<T>, String> {
        match self.0.get(name).filter(|value| !value.is_null() && value.as_str() != Some("")) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| format!("`{name}` is not {kind}")),
        }
    }

    /// A text; of an id that is a number its digits.
    pub(super) fn text(self, name: &str) -> Result<Option<String>, String> {
        self.field(name, "a text", text)
    }

    /// A text that must be there.
    pub(super) fn required(self, name: &str) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    /// A moment: RFC 3339, or a number of seconds or milliseconds.
    pub(super) fn moment(self, name: &str) -> Result<Option<Timestamp>, String> {
        let read = |value: &Value| match value {
            Value::String(text) => Timestamp::parse_rfc3339(text).map(Some),
            _ => value.as_i64().map(Timestamp::from_provider),
        };
        Ok(self.field(name, "a time", read)?.flatten())
    }

    /// A whole number; also as its digits, the way amounts of money are sent.
    pub(super) fn number(self, name: &str) -> Result<Option<i64>, String> {
        self.field(name, "a whole number", |value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
    }

    /// Whether a flag is set.
    pub(super) fn flag(self, name: &str) -> Result<bool, String> {
        Ok(self.field(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// The object in a field; an absent one has no fields.
    pub(super) fn object(self, name: &str) -> Result<Object<'a>, String> {
        let object = self.field(name, "an object", |value| value.is_object().then_some(value))?;
        Ok(Object(object.unwrap_or(&Value::Null)))
    }

    /// The list in a field; an absent one is empty.
    pub(super) fn list(self, name: &str) -> Result<&'a [Value], String> {
        Ok(self.field(name, "a list", Value::as_array)?.map_or(&[], Vec::as_slice))
    }

    /// The payer that a field names by id alone: an organization's begins with `org_`, as Clerk's do.
    pub(super) fn payer(self, name: &str) -> Result<Option<Payer>, String> {
        self.text(name)?.map(|id| payer(PayerKind::User, id)).transpose()
    }

    /// The payer that free fields of the operator's own name, the organization first. What else is in them, and of what
    /// kind, is the operator's affair.
    pub(super) fn payer_within(self, name: &str) -> Result<Option<Payer>, String> {
        let id = |key: &&str| self.0.get(name)?.get(*key).and_then(text).filter(|id| !id.is_empty());
        let org = ["orgId", "org_id", "organization_id", "clerk_org_id"].iter().find_map(id);
        let user = || ["userId", "user_id", "clerk_user_id"].iter().find_map(id);
        let named = org.map(|id| (PayerKind::Org, id)).or_else(|| user().map(|id| (PayerKind::User, id)));
        named.map(|(kind, id)| payer(kind, id)).transpose()
    }
}

fn payer(kind: PayerKind, id: String) -> Result<Payer, String> {
    let kind = if id.starts_with("org_") { PayerKind::Org } else { kind };
    Payer::new(kind, id).ok_or_else(|| "the payer's id is too long".into())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}
