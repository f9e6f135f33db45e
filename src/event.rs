//! What happened, in the normal form that every provider is read into.
//!
//! An event carries whole objects, each with the version it had. It says nothing about access: that is computed from
//! stored facts when somebody asks. Field names here are what `src/store/*.sql` reads out of the stored event.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::grant::Signed;
use crate::json::{Fields, Json, Unreadable};
use crate::payer::Payer;
use crate::status::Status;
use crate::time::{Timestamp, millis, whole_millis};

/// What a verified delivery turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// Something that we keep.
    Event(Event),
    /// Not for us. That is a success: a provider switches off an endpoint that keeps refusing.
    Ignored {
        /// The provider's name for it.
        event_type: String,
        /// Why it is not for us.
        reason: IgnoredReason,
    },
}

/// Why an event is not for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IgnoredReason {
    /// A type of event that changes no entitlement.
    UnusedType,
    /// Of test mode where money is real, or the other way round.
    OtherEnvironment,
    /// Sent by another instance of the provider (development and production share no users).
    OtherInstance,
    /// A deletion that does not say of whom.
    NoSubject,
}

impl IgnoredReason {
    /// The text kept in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnusedType => "unused_type",
            Self::OtherEnvironment => "other_environment",
            Self::OtherInstance => "other_instance",
            Self::NoSubject => "no_subject",
        }
    }
}

/// One thing that happened at a provider. Its JSON is what the ledger keeps, and reads back as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// The provider's name for it.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened there.
    #[serde(with = "whole_millis")]
    pub occurred_at: Timestamp,
    /// Whom it is about, where it says so.
    #[serde(serialize_with = "as_key")]
    pub payer: Option<Payer>,
    /// The payer was deleted, at this time.
    #[serde(with = "millis", skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// The subscription items (or subscriptions) it shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Record>,
    /// The payments it shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub payments: Vec<Payment>,
    /// Which payer a customer of the provider is, where it tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Who did it, and why, when it was done by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

impl Event {
    /// Whether it says anything of what the payer holds. Clerk tells of every change to a user, each sign-in among them.
    #[must_use]
    pub fn touches_holdings(&self) -> bool {
        !self.records.is_empty() || !self.payments.is_empty() || !self.links.is_empty() || self.deleted_at.is_some()
    }
}

/// The version of an object: its own clock first, then a stated tie rule.
///
/// Versions compare as text, here and in SQL, by: the object's own time (`updated_at` where the provider sends it);
/// the time the event was sent; how far along its life the object is ([`Status::progress`]); the event id. The last
/// one means nothing but is the same in every order of arrival, so that any order ends in the same state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Version(String);

impl Version {
    /// A version from its parts. Times are padded to 15 digits: the year 9999 in milliseconds.
    #[must_use]
    pub fn new(occurred_at: Timestamp, sent_at: Timestamp, progress: u8, event_id: &str) -> Self {
        Self(format!("{:015}.{:015}.{progress:02}.{event_id}", occurred_at.as_millis(), sent_at.as_millis()))
    }

    /// The text that is stored and compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The smallest object a provider sends whole: at Clerk a subscription item, elsewhere a subscription.
///
/// It is stored as four registers (payer, customer, plan, state), each of which the newest version that speaks of it
/// wins: not every event names them all, and silence is not a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Record {
    /// The provider's id of it.
    pub id: String,
    /// The version of it that this event shows.
    pub version: Version,
    /// When the object was last changed at the provider.
    #[serde(with = "whole_millis")]
    pub occurred_at: Timestamp,
    /// Whose it is.
    #[serde(serialize_with = "as_key")]
    pub payer: Option<Payer>,
    /// The payer's id at the payment provider.
    pub customer: Option<String>,
    /// The subscription it belongs to.
    pub subscription: Option<String>,
    /// What is sold.
    pub plan: Option<PlanRef>,
    /// How it stands.
    pub state: Option<State>,
    /// Whether it is, in this event, in a trial. Once true, the payer has used a trial.
    pub trial: bool,
    /// When it began. The earliest that any event tells is kept.
    #[serde(with = "millis")]
    pub started_at: Option<Timestamp>,
}

/// Whether a record is a further item of a subscription.
///
/// Where a provider sends a subscription whole with several items, the first is the record of the subscription's own id, and the
/// others are `<subscription>/<item>`.
#[must_use]
pub fn is_further_item(id: &str, subscription: &str) -> bool {
    id.strip_prefix(subscription).is_some_and(|item| item.starts_with('/'))
}

/// Which payer a customer of a provider is. All records of the customer that name no payer themselves are the payer's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Link {
    /// The provider's id of the customer.
    pub customer: String,
    /// The payer.
    #[serde(serialize_with = "of_key")]
    pub payer: Payer,
    /// Of two links of one customer the newer counts.
    pub version: Version,
}

/// A plan as an event names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlanRef {
    /// The plan key: Clerk's slug as it stands; another provider's price, product or variant id.
    pub key: String,
    /// The provider's id of the plan, when that is not the key.
    pub id: Option<String>,
    /// The provider says that this is the plan held without paying.
    pub free: bool,
}

/// How a record stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct State {
    /// Its status.
    #[serde(serialize_with = "as_text")]
    pub status: Status,
    /// Start of the current period.
    #[serde(with = "millis")]
    pub period_start: Option<Timestamp>,
    /// End of the current period; none means that it does not end.
    #[serde(with = "millis")]
    pub period_end: Option<Timestamp>,
    /// `month` or `annual`, as the provider writes it.
    pub interval: Option<String>,
    /// When a cancellation takes effect.
    #[serde(with = "millis")]
    pub cancel_at: Option<Timestamp>,
    /// When it was canceled.
    #[serde(with = "millis")]
    pub canceled_at: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "millis")]
    pub ended_at: Option<Timestamp>,
    /// When the charge that is due first failed.
    #[serde(with = "millis")]
    pub past_due_since: Option<Timestamp>,
    /// Seats paid for.
    pub seats: Option<Seats>,
    /// Failed charges, where the event itself counts them.
    pub failed_attempts: u32,
    /// The last failed charge, where the event itself tells.
    #[serde(with = "millis")]
    pub last_failure_at: Option<Timestamp>,
}

impl State {
    /// A state of which nothing but the status is known.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self {
            status,
            period_start: None,
            period_end: None,
            interval: None,
            cancel_at: None,
            canceled_at: None,
            ended_at: None,
            past_due_since: None,
            seats: None,
            failed_attempts: 0,
            last_failure_at: None,
        }
    }
}

/// Seats of a plan that is sold by the seat. Stored as a number, -1 for unlimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seats {
    /// So many.
    Limited(u32),
    /// As many as wanted.
    Unlimited,
}

impl Seats {
    /// The stored number.
    #[must_use]
    pub fn as_stored(self) -> i64 {
        match self {
            Self::Limited(quantity) => i64::from(quantity),
            Self::Unlimited => -1,
        }
    }

    /// From the stored number.
    #[must_use]
    pub fn from_stored(stored: i64) -> Self {
        u32::try_from(stored).map_or(Self::Unlimited, Self::Limited)
    }
}

impl Serialize for Seats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.as_stored())
    }
}

/// One attempt to charge. No field of a card is ever read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Payment {
    /// The provider's id of the attempt.
    pub id: String,
    /// The version of it that this event shows.
    pub version: Version,
    /// When the attempt last changed.
    #[serde(with = "whole_millis")]
    pub occurred_at: Timestamp,
    /// Who was charged.
    #[serde(serialize_with = "as_key")]
    pub payer: Option<Payer>,
    /// The payer's id at the payment provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The record that it pays for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// How often charging was tried, where the provider counts; one otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The payment that this attempt is for; several attempts may share it.
    pub payment: Option<String>,
    /// `pending`, `paid`, `failed`, or what else the provider says.
    pub status: String,
    /// In the smallest unit of the currency.
    pub amount: Option<i64>,
    /// ISO 4217, as sent.
    pub currency: Option<String>,
    /// `checkout`, `recurring`, or the provider's own word; `subscription_charge` is what was charged on top of a period.
    pub charge_type: Option<String>,
    /// When the attempt was made.
    #[serde(with = "whole_millis")]
    pub created_at: Timestamp,
    /// Why it failed, as a code.
    pub failure_code: Option<String>,
}

/// A verified body that could not be read. It is kept whole, as a dead letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// The provider's name for the event, when that much could be read.
    pub event_type: Option<String>,
    /// What was wrong, for the operator.
    pub cause: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for ParseError {}

#[allow(clippy::ref_option, reason = "serde's `serialize_with` passes the field by reference")]
fn as_key<S: Serializer>(payer: &Option<Payer>, serializer: S) -> Result<S::Ok, S::Error> {
    payer.as_ref().map(Payer::key).serialize(serializer)
}

fn of_key<S: Serializer>(payer: &Payer, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(payer)
}

fn as_text<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

impl Event {
    /// Reads the JSON that the ledger keeps.
    ///
    /// # Errors
    /// [`Unreadable`] for what this version of the code never wrote.
    pub fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            event_type: fields.need("type", Fields::text)?,
            occurred_at: fields.need("occurred_at", Fields::moment)?,
            payer: fields.payer("payer")?,
            deleted_at: fields.moment("deleted_at")?,
            records: fields.objects("records", Record::read)?.unwrap_or_default(),
            payments: fields.objects("payments", Payment::read)?.unwrap_or_default(),
            links: fields.objects("links", Link::read)?.unwrap_or_default(),
            signed: fields.object("signed")?.map(Signed::read).transpose()?,
        })
    }
}

impl Version {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        fields.need("version", Fields::text).map(Self)
    }
}

impl Record {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: fields.need("id", Fields::text)?,
            version: Version::read(fields)?,
            occurred_at: fields.need("occurred_at", Fields::moment)?,
            payer: fields.payer("payer")?,
            customer: fields.text("customer")?,
            subscription: fields.text("subscription")?,
            plan: fields.object("plan")?.map(PlanRef::read).transpose()?,
            state: fields.object("state")?.map(State::read).transpose()?,
            trial: fields.need("trial", Fields::truth)?,
            started_at: fields.moment("started_at")?,
        })
    }
}

impl Link {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            customer: fields.need("customer", Fields::text)?,
            payer: fields.need("payer", Fields::payer)?,
            version: Version::read(fields)?,
        })
    }
}

impl PlanRef {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            key: fields.need("key", Fields::text)?,
            id: fields.text("id")?,
            free: fields.need("free", Fields::truth)?,
        })
    }
}

impl State {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            status: Status::parse(&fields.need("status", Fields::text)?),
            period_start: fields.moment("period_start")?,
            period_end: fields.moment("period_end")?,
            interval: fields.text("interval")?,
            cancel_at: fields.moment("cancel_at")?,
            canceled_at: fields.moment("canceled_at")?,
            ended_at: fields.moment("ended_at")?,
            past_due_since: fields.moment("past_due_since")?,
            seats: fields.whole("seats")?.map(Seats::from_stored),
            failed_attempts: fields.need("failed_attempts", Fields::small_count)?,
            last_failure_at: fields.moment("last_failure_at")?,
        })
    }
}

impl Payment {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: fields.need("id", Fields::text)?,
            version: Version::read(fields)?,
            occurred_at: fields.need("occurred_at", Fields::moment)?,
            payer: fields.payer("payer")?,
            customer: fields.text("customer")?,
            record: fields.text("record")?,
            attempt: fields.small_count("attempt")?,
            payment: fields.text("payment")?,
            status: fields.need("status", Fields::text)?,
            amount: fields.whole("amount")?,
            currency: fields.text("currency")?,
            charge_type: fields.text("charge_type")?,
            created_at: fields.need("created_at", Fields::moment)?,
            failure_code: fields.text("failure_code")?,
        })
    }
}

/// Deserialized by the readers above, so that what keeps events or their parts can be.
macro_rules! deserialized_by_reading {
    ($($shape:ty),*) => {$(
        impl<'de> Deserialize<'de> for $shape {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let json = Json::deserialize(deserializer)?;
                Fields::of(&json).and_then(Self::read).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

deserialized_by_reading!(Event, PlanRef, State, Payment);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_object_time_then_sent_time_then_progress_then_event_id() {
        let at = Timestamp::from_millis;
        let ascending = [
            Version::new(at(9), at(9_999), 9, "z"),
            Version::new(at(10), at(1), 9, "z"),
            Version::new(at(10), at(2), 5, "b"),
            Version::new(at(10), at(2), 9, "a"),
            Version::new(at(10), at(2), 9, "b"),
            Version::new(Timestamp::MAX, at(0), 0, ""),
        ];
        assert!(ascending.is_sorted());
        assert!(ascending.iter().zip(&ascending[1..]).all(|(older, newer)| older < newer));
    }
}
