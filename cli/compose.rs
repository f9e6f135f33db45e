//! Events as providers send them, with invented values. A provider is one file and one line of [`COMPOSERS`].
//!
//! Ids are made from what they name (a payer, a plan), so that two commands about the same thing are about the same
//! thing at the receiver.

mod clerk;
mod lemonsqueezy;
mod revenuecat;

use plangate::event::Seats;
use plangate::provider::Provider;
use plangate::time::Timestamp;
use serde_json::Value;

use crate::failure::{Failure, usage};

/// Every composer, by the provider's name.
static COMPOSERS: &[&dyn Composer] = &[&clerk::Clerk, &lemonsqueezy::LemonSqueezy, &revenuecat::RevenueCat];

/// What makes a provider's events.
pub trait Composer: Sync {
    /// The provider's name.
    fn provider(&self) -> &'static str;

    /// Every type of event that can be made, in the order of the provider's documentation.
    fn event_types(&self) -> Vec<&'static str>;

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
    let known = composer.event_types();
    if known.contains(&event_type) {
        return Ok(*composer);
    }
    let list: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
    Err(usage(format!("`{event_type}` is no event of `{name}`; there is {}", list.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_a_composer_and_every_composer_a_provider() {
        let providers: Vec<_> = plangate::provider::PROVIDERS.iter().map(|provider| provider.name()).collect();
        let composers: Vec<_> = COMPOSERS.iter().map(|composer| composer.provider()).collect();
        assert_eq!(composers, providers);
    }
}
