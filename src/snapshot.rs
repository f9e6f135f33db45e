//! What is known of one payer at one moment: the JSON that D1 answers, KV holds and `decide` reads.

use std::fmt;

use crate::event::Seats;
use crate::json::{self, Fields, Unreadable};
use crate::payer::Payer;
use crate::status::Status;
use crate::time::Timestamp;

/// How far the clocks of two of Cloudflare's machines may be apart.
const CLOCKS_DIFFER_MS: i64 = 10_000;

/// A payer's facts, as `src/store/snapshot.sql` writes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Whose.
    pub payer: Payer,
    /// Grows with every delivery about the payer; 0 for one we have never heard of.
    pub version: u64,
    /// When the database was read.
    pub as_of: Timestamp,
    /// Set once the payer was deleted.
    pub deleted_at: Option<Timestamp>,
    pub(crate) trial_used: bool,
    /// Charges that failed since the last one that was paid.
    pub failed_attempts: u32,
    /// The last charge that failed.
    pub last_failure: Option<Failure>,
    /// The payer's records: all that are not over, and the latest of those that are.
    pub records: Vec<StoredRecord>,
}

/// A failed charge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Why, as the provider's code.
    pub code: Option<String>,
}

/// A record as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    /// Whose object it is.
    pub provider: String,
    /// The provider's id.
    pub id: String,
    /// The plan key (see [`PlanRef`](crate::event::PlanRef)).
    pub plan: Option<String>,
    /// The provider's id of the plan, when that is not the key.
    pub plan_id: Option<String>,
    pub(crate) plan_free: bool,
    /// Its status.
    pub status: Status,
    /// The payer's id at the payment provider.
    pub customer: Option<String>,
    /// The subscription it belongs to.
    pub subscription: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// Start of the current period.
    pub period_start: Option<Timestamp>,
    /// End of the current period.
    pub period_end: Option<Timestamp>,
    /// `month` or `annual`.
    pub interval: Option<String>,
    /// When a cancellation takes effect.
    pub cancel_at: Option<Timestamp>,
    /// When it was canceled.
    pub canceled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When the charge that is due first failed.
    pub past_due_since: Option<Timestamp>,
    pub(crate) stored_seats: Option<i64>,
    /// Failed charges, where the event itself counted them.
    pub failed_attempts: u32,
    /// The last failed charge, where the event itself told.
    pub last_failure_at: Option<Timestamp>,
    /// When the last payment for it was paid back in full, or disputed.
    pub refunded_at: Option<Timestamp>,
    /// When the object last changed at the provider.
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
        // Every check reads one, and what our own SQL wrote names no field twice.
        let json = json::parse_sent(text.as_bytes());
        json.and_then(|json| Self::read(Fields::of(&json)?)).map_err(|error| UnreadableSnapshot(error.into()))
    }

    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            payer: fields.need("payer", Fields::payer)?,
            version: fields.need("version", Fields::count)?,
            as_of: fields.need("as_of", Fields::moment)?,
            deleted_at: fields.moment("deleted_at")?,
            trial_used: fields.need("trial_used", Fields::small_count)? != 0,
            failed_attempts: fields.need("failed_attempts", Fields::small_count)?,
            last_failure: fields.object("last_failure")?.map(Failure::read).transpose()?,
            records: fields.need("records", |fields, name| fields.objects(name, StoredRecord::read))?,
        })
    }

    /// Whether any event ever told of this payer.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.version > 0
    }

    /// Whether the payer was ever in a trial.
    #[must_use]
    pub fn has_used_trial(&self) -> bool {
        self.trial_used
    }

    /// Whether it may still speak for the database at `now`. One from the future, beyond what clocks differ by, may not:
    /// it would never grow too old.
    #[must_use]
    pub fn is_within(&self, max_age_ms: i64, now: Timestamp) -> bool {
        is_within(self.as_of, max_age_ms, now)
    }
}

/// The same of a snapshot of that time.
#[must_use]
pub fn is_within(as_of: Timestamp, max_age_ms: i64, now: Timestamp) -> bool {
    (-CLOCKS_DIFFER_MS..=max_age_ms).contains(&now.millis_since(as_of))
}

impl Failure {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self { at: fields.need("at", Fields::moment)?, code: fields.text("code")? })
    }
}

impl StoredRecord {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            provider: fields.need("provider", Fields::text)?,
            id: fields.need("id", Fields::text)?,
            plan: fields.text("plan")?,
            plan_id: fields.text("plan_id")?,
            plan_free: fields.need("free", Fields::small_count)? != 0,
            status: Status::parse(&fields.need("status", Fields::text)?),
            customer: fields.text("customer")?,
            subscription: fields.text("subscription")?,
            started_at: fields.moment("started_at")?,
            period_start: fields.moment("period_start")?,
            period_end: fields.moment("period_end")?,
            interval: fields.text("interval")?,
            cancel_at: fields.moment("cancel_at")?,
            canceled_at: fields.moment("canceled_at")?,
            ended_at: fields.moment("ended_at")?,
            past_due_since: fields.moment("past_due_since")?,
            stored_seats: fields.whole("seats")?,
            failed_attempts: fields.need("failed_attempts", Fields::small_count)?,
            last_failure_at: fields.moment("last_failure_at")?,
            refunded_at: fields.moment("refunded_at")?,
            occurred_at: fields.need("occurred_at", Fields::moment)?,
            event_id: fields.need("event_id", Fields::text)?,
        })
    }

    /// Whether the provider said that its plan is the one held without paying.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.plan_free
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
