//! Events as providers send them, with invented values. A provider is one file and one line of [`COMPOSERS`].
//!
//! Ids are made from what they name (a payer, a plan), so that two commands about the same thing are about the same
//! thing at the receiver.

mod clerk;
mod lemonsqueezy;
mod paddle;
mod polar;
mod revenuecat;
mod standardwebhooks;
mod stripe;
#[cfg(test)]
mod tests;

use plangate::delivery::Verified;
use plangate::event::{Parsed, Seats};
use plangate::payer::{Payer, PayerKind};
use plangate::provider::{Ours, Provider};
use plangate::status::Status;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::Value;

use crate::failure::{Failure, usage};
use crate::ids;

/// Every composer, by the provider's name.
static COMPOSERS: &[&dyn Composer] = &[
    &clerk::Clerk,
    &lemonsqueezy::LemonSqueezy,
    &paddle::Paddle,
    &polar::Polar,
    &revenuecat::RevenueCat,
    &standardwebhooks::StandardWebhooks,
    &stripe::Stripe,
];

/// Whom an event is about when nobody says.
const USER: &str = "user_example";
/// How long the invented periods are.
const MONTH_MS: i64 = 30 * DAY_MS;
const TRIAL_MS: i64 = 14 * DAY_MS;
/// What the invented plans cost in a month, in cents.
const PRICE: i64 = 2_000;

/// What makes a provider's events.
pub trait Composer: Sync {
    /// The provider's name.
    fn provider(&self) -> &'static str;

    /// What the ids of its events begin with.
    fn id_prefix(&self) -> &'static str {
        "msg_"
    }

    /// Every type of event that can be made, in the order of the provider's documentation.
    fn event_types(&self) -> Vec<&'static str>;

    /// The statuses of a subscription that the provider has, as it writes them.
    fn statuses(&self) -> &'static [&'static str];

    /// Makes the body of an event.
    ///
    /// # Errors
    /// [`Failure::Usage`] for an option that this type of event has no place for.
    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure>;
}

/// What an event is to say. What is left out is invented, fit for the type of event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// The user it is about.
    pub user: Option<String>,
    /// The organization it is about.
    pub org: Option<String>,
    /// The plan's key.
    pub plan: Option<String>,
    /// The status, as the provider writes it.
    pub status: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// When the paid period ends.
    pub period_end: Option<Timestamp>,
    /// Whether it is a trial.
    pub trial: bool,
    /// Seats that are paid for.
    pub seats: Option<Seats>,
    /// The flat form, where there are two.
    pub flat: bool,
    /// The provider's instance (Clerk).
    pub instance_id: Option<String>,
    /// The id of the event, where the body holds it.
    pub event_id: String,
}

impl Wish {
    fn check_one_payer(&self, event_type: &str) -> Result<(), Failure> {
        if self.user.is_some() && self.org.is_some() {
            return Err(usage(format!("`{event_type}` is about one payer; give --user or --org, not both")));
        }
        Ok(())
    }

    fn check_ids(&self) -> Result<(), Failure> {
        for (option, id) in [("--user", &self.user), ("--org", &self.org)] {
            if id.as_ref().is_some_and(|id| Payer::new(PayerKind::User, id.as_str()).is_none()) {
                return Err(usage(format!("{option} is empty or too long; give an id of 1 to 255 bytes")));
            }
        }
        Ok(())
    }

    fn payer(&self) -> WishedPayer<'_> {
        match &self.org {
            Some(org) => WishedPayer { kind: PayerKind::Org, id: org },
            None => WishedPayer { kind: PayerKind::User, id: self.user.as_deref().unwrap_or(USER) },
        }
    }

    /// The status that was asked for, else this one.
    fn status_or<'a>(&'a self, status: &'a str) -> &'a str {
        self.status.as_deref().unwrap_or(status)
    }

    /// The end of the period that was asked for, else of a month.
    fn end_or_month(&self) -> Timestamp {
        self.period_end.unwrap_or_else(|| self.at.plus_millis(MONTH_MS))
    }

    /// The seats, unless nobody says or they are not counted.
    fn counted_seats(&self) -> Option<u32> {
        match self.seats {
            Some(Seats::Limited(seats)) => Some(seats),
            Some(Seats::Unlimited) | None => None,
        }
    }
}

/// The payer of an event.
#[derive(Clone, Copy)]
struct WishedPayer<'a> {
    kind: PayerKind,
    id: &'a str,
}

impl WishedPayer<'_> {
    fn key(self) -> String {
        format!("{}:{}", self.kind.as_str(), self.id)
    }

    /// An id of something that belongs to the payer.
    fn owned(self, prefix: &str) -> String {
        ids::stable(prefix, &[&self.key()])
    }
}

/// An event, ready to be signed.
#[derive(Clone, PartialEq, Debug)]
pub struct Composed {
    /// The body.
    pub body: Value,
    /// Whom it is about, for people to read.
    pub about: String,
}

/// The composer of a provider's events, once it is known that it can make this type of event.
///
/// # Errors
/// When it cannot; the message lists what it can make.
pub fn composer(provider: &dyn Provider, event_type: &str) -> Result<&'static dyn Composer, Failure> {
    let name = provider.name();
    let composer = COMPOSERS
        .iter()
        .find(|composer| composer.provider() == name)
        .ok_or_else(|| usage(format!("no event of `{name}` can be made here yet; send one from its dashboard")))?;
    if composer.event_types().contains(&event_type) {
        return Ok(*composer);
    }
    Err(unknown(*composer, event_type))
}

/// Whether the core reads a status out of this body that nobody has taught it.
pub fn is_unknown_status(provider: &dyn Provider, event_id: &str, at: Timestamp, body: &str) -> bool {
    let parsed = provider.parse(&Verified::recorded(event_id, at, body.as_bytes()), &Ours::default());
    let Ok(Parsed::Event(event)) = parsed else { return false };
    let mut states = event.records.iter().filter_map(|record| record.state.as_ref());
    states.any(|state| matches!(state.status, Status::Unrecognized(_)))
}

fn unknown(composer: &dyn Composer, event_type: &str) -> Failure {
    let list: Vec<_> = composer.event_types().iter().map(|known| format!("`{known}`")).collect();
    usage(format!("`{event_type}` is no event of `{}`; there is {}", composer.provider(), list.join(", ")))
}

/// Refuses the options that an event has no place for: passed over, one would look as if it had been sent.
fn refuse_misplaced(event_type: &str, options: &[(&str, bool)]) -> Result<(), Failure> {
    match options.iter().find(|(_, is_misplaced)| *is_misplaced) {
        Some((option, _)) => Err(usage(format!("`{event_type}` has no place for {option}; leave it out"))),
        None => Ok(()),
    }
}

/// The types of a table of events.
fn names<S>(events: &[(&'static str, S)]) -> Vec<&'static str> {
    events.iter().map(|(event_type, _)| *event_type).collect()
}

/// What a table of events has for this type.
fn shape_of<S: Copy>(composer: &dyn Composer, events: &[(&str, S)], event_type: &str) -> Result<S, Failure> {
    let found = events.iter().find(|(known, _)| *known == event_type);
    found.map(|(_, shape)| *shape).ok_or_else(|| unknown(composer, event_type))
}
