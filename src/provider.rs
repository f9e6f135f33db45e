//! Who may send webhooks. A provider is one file and one line of [`PROVIDERS`]; its route and the names of its
//! settings derive from its name.

mod clerk;
mod lemonsqueezy;
mod listing;
mod object;
mod paddle;
mod polar;
mod reading;
mod revenuecat;
mod standardwebhooks;
mod stripe;

pub use self::listing::is_id;
use crate::api::Api;
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{ParseError, Parsed};
use crate::secret::{Secret, SecretError};
use crate::time::Timestamp;

/// Every provider, by name.
pub static PROVIDERS: &[&dyn Provider] = &[
    &clerk::Clerk,
    &lemonsqueezy::LemonSqueezy,
    &paddle::Paddle,
    &polar::Polar,
    &revenuecat::RevenueCat,
    &standardwebhooks::StandardWebhooks,
    &stripe::Stripe,
];

/// The provider of that name, as in `/webhooks/{name}`.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
}

/// A payment provider: how its deliveries are proved and what they say.
pub trait Provider: Sync {
    /// The name in the route, in stored rows and, in capitals, in the names of settings: words of lowercase letters, with
    /// hyphens between them.
    fn name(&self) -> &'static str;

    /// Whether its plan keys are plans as they stand, even with an empty catalog.
    fn names_plans(&self) -> bool {
        false
    }

    /// The settings that may hold its signing secrets, the preferred name first. Each is a comma list.
    fn secret_names(&self) -> &'static [&'static str];

    /// The headers that [`verify`](Self::verify) reads, each under the names it may have: the first that is there counts. The
    /// edge copies these and no others.
    fn signature_headers(&self) -> &'static [&'static [&'static str]];

    /// Reads one signing secret, as it stands in the setting of that name.
    ///
    /// # Errors
    /// [`SecretError`] when the text holds no usable key.
    fn parse_secret(&self, setting: &'static str, text: &str) -> Result<Secret, SecretError>;

    /// Checks that the provider made this delivery. Any of the secrets may fit.
    ///
    /// # Errors
    /// [`VerifyError`] says what was wrong.
    fn verify<'a>(
        &self,
        delivery: &'a Delivery,
        secrets: &[Secret],
        ours: &Ours,
        now: Timestamp,
    ) -> Result<Verified<'a>, VerifyError>;

    /// Reads what a delivery says.
    ///
    /// # Errors
    /// [`ParseError`] when the body cannot be read; it is then kept as a dead letter.
    fn parse(&self, verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError>;

    /// The provider's API, where it has one that we can ask.
    fn api(&self) -> Option<&'static dyn Api> {
        None
    }

    /// The headers with which the provider would send this body: for the command line tool and for tests.
    fn sign(&self, secret: &Secret, event_id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)>;
}

/// What tells our events from those of a neighboring instance or environment, and how a provider's scheme is to be taken.
#[derive(Clone, Debug)]
pub struct Ours {
    /// `CLERK_INSTANCE_ID`: events that name another instance are ignored.
    pub clerk_instance_id: Option<String>,
    /// `ENVIRONMENT`: events that say they are of another are ignored.
    pub environment: Environment,
    /// `PADDLE_TOLERANCE_SECONDS`: how far the signed time may be from ours.
    pub paddle_tolerance_secs: u32,
}

impl Default for Ours {
    fn default() -> Self {
        Self {
            clerk_instance_id: None,
            environment: Environment::Production,
            paddle_tolerance_secs: DEFAULT_PADDLE_TOLERANCE_SECS,
        }
    }
}

/// Paddle's own libraries take 5 seconds, which is tight behind retries and clocks that differ. What keeps a delivery from
/// counting twice is its id.
pub const DEFAULT_PADDLE_TOLERANCE_SECS: u32 = 60;

/// Where money is real, and where it is not. An event of the one never counts in the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Environment {
    /// Real money.
    Production,
    /// Test mode, sandbox, development.
    Sandbox,
}

impl Environment {
    /// Reads the setting.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "production" => Some(Self::Production),
            "sandbox" => Some(Self::Sandbox),
            _ => None,
        }
    }

    /// As in the setting.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_alphabetical_and_names_are_fit_for_routes() {
        let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name()).collect();
        assert!(names.is_sorted());
        for name in names {
            assert!(
                name.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase())),
                "{name}"
            );
            assert!(named(name).is_some());
        }
        assert!(named("nobody").is_none());
    }
}
