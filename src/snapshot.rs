//! What is known of one payer at one moment: the JSON that D1 answers, KV holds and `decide` reads.

use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::event::Seats;
use crate::payer::Payer;
use crate::status::Status;
use crate::time::{Timestamp, millis, whole_millis};

/// How far the clocks of two of Cloudflare's machines may be apart.
const CLOCKS_DIFFER_MS: i64 = 10_000;

/// A payer's facts, as `src/store/snapshot.sql` writes them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Snapshot {
    /// Whose.
    #[serde(deserialize_with = "payer")]
    pub payer: Payer,
    /// Grows with every delivery about the payer; 0 for one we have never heard of.
    pub version: u64,
    /// When the database was read.
    #[serde(deserialize_with = "whole_millis::deserialize")]
    pub as_of: Timestamp,
    /// Set once the payer was deleted.
    #[serde(with = "millis")]
    pub deleted_at: Option<Timestamp>,
    #[serde(rename = "trial_used")]
    pub(crate) trial_used: u8,
    /// Charges that failed since the last one that was paid.
    pub failed_attempts: u32,
    /// The last charge that failed.
    pub last_failure: Option<Failure>,
    /// The payer's records: all that are not over, and the latest of those that are.
    pub records: Vec<StoredRecord>,
}

/// A failed charge.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Failure {
    /// When.
    #[serde(deserialize_with = "whole_millis::deserialize")]
    pub at: Timestamp,
    /// Why, as the provider's code.
    pub code: Option<String>,
}

/// A record as stored.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct StoredRecord {
    /// Whose object it is.
    pub provider: String,
    /// The provider's id.
    pub id: String,
    /// The plan key (see [`PlanRef`](crate::event::PlanRef)).
    pub plan: Option<String>,
    /// The provider's id of the plan, when that is not the key.
    pub plan_id: Option<String>,
    #[serde(rename = "free")]
    pub(crate) plan_free: u8,
    /// Its status.
    #[serde(deserialize_with = "status")]
    pub status: Status,
    /// The payer's id at the payment provider.
    pub customer: Option<String>,
    /// The subscription it belongs to.
    pub subscription: Option<String>,
    /// When it began.
    #[serde(with = "millis")]
    pub started_at: Option<Timestamp>,
    /// Start of the current period.
    #[serde(with = "millis")]
    pub period_start: Option<Timestamp>,
    /// End of the current period.
    #[serde(with = "millis")]
    pub period_end: Option<Timestamp>,
    /// `month` or `annual`.
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
    #[serde(rename = "seats")]
    pub(crate) stored_seats: Option<i64>,
    /// Failed charges, where the event itself counted them.
    pub failed_attempts: u32,
    /// The last failed charge, where the event itself told.
    #[serde(with = "millis")]
    pub last_failure_at: Option<Timestamp>,
    /// When the last payment for it was paid back in full, or disputed.
    #[serde(default, with = "millis")]
    pub refunded_at: Option<Timestamp>,
    /// When the object last changed at the provider.
    #[serde(deserialize_with = "whole_millis::deserialize")]
    pub occurred_at: Timestamp,
    /// The event that showed it so.
    pub event_id: String,
}

impl Snapshot {
    /// Reads the stored form.
    ///
    /// # Errors
    /// [`UnreadableSnapshot`] when the text is not what this version of the code writes.
    pub fn parse(text: &str) -> Result<Self, UnreadableSnapshot> {
        serde_json::from_str(text).map_err(|error| UnreadableSnapshot(error.to_string()))
    }

    /// Whether any event ever told of this payer.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.version > 0
    }

    /// Whether the payer was ever in a trial.
    #[must_use]
    pub fn has_used_trial(&self) -> bool {
        self.trial_used != 0
    }

    /// Whether it may still speak for the database at `now`. One from the future, beyond what clocks differ by, may not:
    /// it would never grow too old.
    #[must_use]
    pub fn is_within(&self, max_age_ms: i64, now: Timestamp) -> bool {
        let age_ms = now.millis_since(self.as_of);
        (-CLOCKS_DIFFER_MS..=max_age_ms).contains(&age_ms)
    }
}

impl StoredRecord {
    /// Whether the provider said that its plan is the one held without paying.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.plan_free != 0
    }

    /// Seats paid for.
    #[must_use]
    pub fn seats(&self) -> Option<Seats> {
        self.stored_seats.map(Seats::from_stored)
    }
}

/// A stored snapshot that this version of the code cannot read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableSnapshot(String);

impl fmt::Display for UnreadableSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reading a snapshot: {}", self.0)
    }
}

impl std::error::Error for UnreadableSnapshot {}

fn payer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Payer, D::Error> {
    let key = String::deserialize(deserializer)?;
    Payer::from_key(&key).ok_or_else(|| serde::de::Error::custom("not the key of a payer"))
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    Ok(Status::parse(&String::deserialize(deserializer)?))
}
