//! Access given by hand: a plan or a feature, to a payer, until a time or without end, with who gave it and why.
//!
//! A grant is a record like any other, kept through the same ledger under the name [`OPERATOR`]; its status and its period
//! are all that says whether it still stands.

use std::fmt;

use serde::Serialize;

use crate::catalog::Catalog;
use crate::event::{Event, PlanRef, Record, State, Version};
use crate::json::{self, Fields, Unreadable};
use crate::payer::{MAX_PAYER_ID_BYTES, Payer, PayerKind};
use crate::snapshot::StoredRecord;
use crate::status::Status;
use crate::store::OPERATOR;
use crate::time::Timestamp;

/// What the ledger calls the making of a grant.
pub const CREATED: &str = "grant.created";
/// What a plan key begins with when it stands for a feature. No plan's key has a colon.
const FEATURE_PREFIX: &str = "feature:";
/// The longest name, and the longest reason, in bytes.
const MAX_TEXT_BYTES: usize = 500;

/// Who did something by hand, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Signed {
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given<'a> {
    /// A plan.
    Plan(&'a str),
    /// A feature.
    Feature(&'a str),
}

/// What a record gives, if it was given by hand.
#[must_use]
pub fn given(record: &StoredRecord) -> Option<Given<'_>> {
    let key = record.plan.as_deref().filter(|_| record.provider == OPERATOR)?;
    Some(key.strip_prefix(FEATURE_PREFIX).map_or(Given::Plan(key), Given::Feature))
}

/// A grant that was asked for and can be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    payer: Payer,
    key: String,
    until: Option<Timestamp>,
    signed: Signed,
}

struct Asked {
    user_id: Option<String>,
    org_id: Option<String>,
    plan: Option<String>,
    feature: Option<String>,
    until: Option<String>,
    by: String,
    why: String,
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let json = json::parse(body)?;
        let known = ["user_id", "org_id", "plan", "feature", "until", "by", "why"];
        let fields = Fields::of(&json)?.only(&known)?;
        let Signed { by, why } = Signed::read(fields)?;
        Ok(Self {
            user_id: fields.text("user_id")?,
            org_id: fields.text("org_id")?,
            plan: fields.text("plan")?,
            feature: fields.text("feature")?,
            until: fields.text("until")?,
            by,
            why,
        })
    }
}

impl Signed {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self { by: fields.need("by", Fields::text)?, why: fields.need("why", Fields::text)? })
    }
}

impl Grant {
    /// Reads `{"user_id" | "org_id", "plan" | "feature", "until"?, "by", "why"}`.
    ///
    /// # Errors
    /// [`GrantError`]; also for a plan that the catalog does not know, which would give nothing.
    pub fn from_json(body: &[u8], catalog: &Catalog, now: Timestamp) -> Result<Self, GrantError> {
        let asked = Asked::read(body)?;
        let (kind, id) = match (asked.user_id, asked.org_id) {
            (Some(id), None) => (PayerKind::User, id),
            (None, Some(id)) => (PayerKind::Org, id),
            _ => return Err(GrantError::NotOnePayer),
        };
        let payer = Payer::new(kind, id).ok_or(GrantError::UnusablePayer)?;
        let key = match (asked.plan, asked.feature) {
            (Some(plan), None) => name(plan)?,
            (None, Some(feature)) => format!("{FEATURE_PREFIX}{}", name(feature)?),
            _ => return Err(GrantError::NotOneThing),
        };
        let is_plan = !key.starts_with(FEATURE_PREFIX);
        if is_plan && !catalog.is_empty() && !catalog.knows_plan(&key) {
            return Err(GrantError::UnknownPlan);
        }
        let until = match asked.until.as_deref().map(Timestamp::parse_rfc3339) {
            None => None,
            Some(Some(until)) if until > now => Some(until),
            Some(_) => return Err(GrantError::UnusableEnd),
        };
        Ok(Self { payer, key, until, signed: signed(asked.by, asked.why)? })
    }

    /// The event by which it is stored. Its id is also the grant's.
    #[must_use]
    pub fn event(self, id: &str, now: Timestamp) -> Event {
        let state = State { period_start: Some(now), period_end: self.until, ..State::new(Status::Active) };
        let plan = PlanRef { key: self.key, id: None, free: false };
        let record = record(id, id, now, Some(self.payer), Some(plan), state);
        operators_event(CREATED, self.signed, record, now)
    }
}

/// The event by which a grant is taken back, at once.
///
/// # Errors
/// [`GrantError`] when it does not say who and why.
pub fn revocation(body: &[u8], grant_id: &str, event_id: &str, now: Timestamp) -> Result<Event, GrantError> {
    let asked = Signed::read(Fields::of(&json::parse(body)?)?)?;
    let state = State { ended_at: Some(now), ..State::new(Status::Ended) };
    let record = record(grant_id, event_id, now, None, None, state);
    Ok(operators_event("grant.revoked", signed(asked.by, asked.why)?, record, now))
}

fn record(
    id: &str,
    event_id: &str,
    now: Timestamp,
    payer: Option<Payer>,
    plan: Option<PlanRef>,
    state: State,
) -> Record {
    Record {
        id: id.to_owned(),
        version: Version::new(now, now, state.status.progress(), event_id),
        occurred_at: now,
        payer,
        customer: None,
        subscription: None,
        started_at: plan.is_some().then_some(now),
        plan,
        trial: false,
        state: Some(state),
    }
}

fn operators_event(event_type: &str, signed: Signed, record: Record, now: Timestamp) -> Event {
    Event {
        event_type: event_type.to_owned(),
        occurred_at: now,
        payer: record.payer.clone(),
        deleted_at: None,
        records: vec![record],
        payments: Vec::new(),
        links: Vec::new(),
        signed: Some(signed),
    }
}

fn name(text: String) -> Result<String, GrantError> {
    let is_usable = !text.is_empty() && text.len() <= MAX_PAYER_ID_BYTES && !text.contains(':');
    if is_usable { Ok(text) } else { Err(GrantError::UnusableName) }
}

fn signed(by: String, why: String) -> Result<Signed, GrantError> {
    let is_usable = |text: &str| !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES;
    if is_usable(&by) && is_usable(&why) { Ok(Signed { by, why }) } else { Err(GrantError::Unsigned) }
}

/// Why a grant cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrantError {
    /// Not the JSON that is expected.
    Unreadable(String),
    /// Neither or both of `user_id` and `org_id`.
    NotOnePayer,
    /// An empty or overlong id.
    UnusablePayer,
    /// Neither or both of `plan` and `feature`.
    NotOneThing,
    /// An empty or overlong name, or one with a colon.
    UnusableName,
    /// The catalog has no such plan.
    UnknownPlan,
    /// An end that is no time, or past.
    UnusableEnd,
    /// Nobody, or no reason.
    Unsigned,
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(f, "the body is not the JSON that is expected here: {cause}"),
            Self::NotOnePayer => f.write_str("give either `user_id` or `org_id`"),
            Self::UnusablePayer => write!(f, "an id has 1 to {MAX_PAYER_ID_BYTES} bytes"),
            Self::NotOneThing => f.write_str("give either `plan` or `feature`"),
            Self::UnusableName => f.write_str("a plan or feature has 1 to 255 bytes and no colon"),
            Self::UnknownPlan => f.write_str("the catalog has no such plan, so the grant would give nothing"),
            Self::UnusableEnd => f.write_str("`until` is an RFC 3339 time to come, or left out"),
            Self::Unsigned => write!(f, "`by` and `why` say who and why, in 1 to {MAX_TEXT_BYTES} bytes each"),
        }
    }
}

impl std::error::Error for GrantError {}

impl From<Unreadable> for GrantError {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_granted_is_refused_by_name() {
        let catalog = Catalog::parse(r#"{"pro":{}}"#).unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let signed = r#""by":"ada","why":"a bug cost them a week""#;
        let cases = [
            (format!(r#"{{"plan":"pro",{signed}}}"#), GrantError::NotOnePayer),
            (format!(r#"{{"user_id":"u","org_id":"o","plan":"pro",{signed}}}"#), GrantError::NotOnePayer),
            (format!(r#"{{"user_id":"","plan":"pro",{signed}}}"#), GrantError::UnusablePayer),
            (format!(r#"{{"user_id":"u",{signed}}}"#), GrantError::NotOneThing),
            (format!(r#"{{"user_id":"u","plan":"pro","feature":"x",{signed}}}"#), GrantError::NotOneThing),
            (format!(r#"{{"user_id":"u","feature":"a:b",{signed}}}"#), GrantError::UnusableName),
            (format!(r#"{{"user_id":"u","plan":"team",{signed}}}"#), GrantError::UnknownPlan),
            (
                format!(r#"{{"user_id":"u","plan":"pro","until":"2020-01-01T00:00:00Z",{signed}}}"#),
                GrantError::UnusableEnd,
            ),
            (format!(r#"{{"user_id":"u","plan":"pro","until":"soon",{signed}}}"#), GrantError::UnusableEnd),
            (r#"{"user_id":"u","plan":"pro","by":"ada","why":" "}"#.to_owned(), GrantError::Unsigned),
        ];
        for (body, expected) in cases {
            assert_eq!(Grant::from_json(body.as_bytes(), &catalog, now).unwrap_err(), expected, "{body}");
        }
        for body in ["", "{}", r#"{"user_id":"u","plan":"pro","by":"ada"}"#] {
            assert!(
                matches!(Grant::from_json(body.as_bytes(), &catalog, now), Err(GrantError::Unreadable(_))),
                "{body}"
            );
        }
        let usable = format!(r#"{{"user_id":"u","plan":"pro",{signed}}}"#);
        assert!(Grant::from_json(usable.as_bytes(), &catalog, now).is_ok());
        assert_eq!(revocation(br#"{"by":"","why":"x"}"#, "g", "e", now), Err(GrantError::Unsigned));
    }
}
