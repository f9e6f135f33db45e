//! A provider's own API: how things stand there, asked because webhooks can be late or lost.
//!
//! In scope: which requests to make, in which pages, and what the answers say. Out of scope: sending them, and what is done
//! with what they say ([`reconcile`](crate::reconcile)).

use std::fmt;

use serde::Serialize;

use crate::event::Record;
use crate::json::{self, Fields, Json, Unreadable};
use crate::ordered::Set;
use crate::payer::{Payer, PayerKind};
use crate::provider::Environment;
use crate::time::Timestamp;

/// A provider's API. Every request is a `GET` with the key as bearer.
pub trait Api: Sync {
    /// The setting that holds the key. Without it the API is not asked.
    fn key_setting(&self) -> &'static str;

    /// The setting that holds the address, and the address where it is not set; without a slash at the end.
    fn base_setting(&self) -> (&'static str, &'static str);

    /// The address where it is not set and `ENVIRONMENT` is `sandbox`.
    fn sandbox_base(&self) -> &'static str {
        self.base_setting().1
    }

    /// Headers that every request bears.
    fn headers(&self) -> &'static [(&'static str, &'static str)];

    /// The paths that show what this payer has, a few, in the order in which they are to be asked; none where the provider
    /// can have no such payer, or nothing says which it is. `customers` are ids that the provider has the payer under, as far
    /// as is known.
    fn payer_paths(&self, payer: &Payer, customers: &[&str]) -> Vec<String>;

    /// The path of the newest records of all payers, where these may be a payer's whom nothing else leads to: who has just
    /// bought the first time is known to no customer yet.
    fn newest_path(&self) -> Option<&'static str> {
        None
    }

    /// Reads what one of [`payer_paths`](Self::payer_paths) or [`newest_path`](Self::newest_path) answered with 200.
    ///
    /// # Errors
    /// [`UnreadableAnswer`].
    fn read_payer(
        &self,
        _payer: &Payer,
        _path: &str,
        body: &str,
        read_at: Timestamp,
    ) -> Result<Reading, UnreadableAnswer> {
        Ok(self.read_page("", None, body, read_at)?.0)
    }

    /// How long after a change the payer's paths surely show it, and are taken for newer than an event about it; in
    /// milliseconds.
    fn lag_ms(&self) -> i64 {
        0
    }

    /// The listings of all payers' records, which are read side by side: what may grant first, for it is short and matters
    /// most; then what is over, which only grows.
    fn listings(&self) -> &'static [&'static str];

    /// The path of a page of a listing; none at a cursor that this version does not know.
    fn page_path(&self, listing: &str, cursor: Option<&str>) -> Option<String>;

    /// Reads what [`page_path`](Self::page_path) answered with 200, and where the next page begins.
    ///
    /// # Errors
    /// [`UnreadableAnswer`].
    fn read_page(
        &self,
        listing: &str,
        cursor: Option<&str>,
        body: &str,
        read_at: Timestamp,
    ) -> Result<(Reading, Option<String>), UnreadableAnswer>;

    /// The path of a page of the provider's plans; none at a cursor that this version does not know, and where the catalog
    /// alone tells what is sold.
    fn plans_path(&self, _cursor: Option<&str>) -> Option<String> {
        None
    }

    /// Reads what [`plans_path`](Self::plans_path) answered with 200, and where the next page begins.
    ///
    /// # Errors
    /// [`UnreadableAnswer`].
    fn read_plans(
        &self,
        _cursor: Option<&str>,
        _body: &str,
    ) -> Result<(Vec<ApiPlan>, Option<String>), UnreadableAnswer> {
        Ok((Vec::new(), None))
    }
}

/// Records as the API shows them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The records.
    pub shown: Vec<Shown>,
    /// A subscription of which all that is not over is in `shown`.
    pub whole: Option<String>,
    /// How many records could not be read. They spoil none of the others.
    pub unreadable: u64,
    /// The API told whether all this is of test mode.
    pub is_test: Option<bool>,
}

impl Reading {
    /// Leaves only what names this payer, of a reading of all.
    pub fn keep_of(&mut self, payer: &Payer) {
        self.shown.retain(|shown| shown.record.payer.as_ref() == Some(payer));
        // Whose those are nobody knows.
        self.unreadable = 0;
    }

    /// Itself, if it is of our environment: what a key of test mode shows must grant nothing where money is real, nor the
    /// other way round.
    ///
    /// # Errors
    /// [`UnreadableAnswer`] where it says that it is of the other.
    pub fn of(self, ours: Environment) -> Result<Self, UnreadableAnswer> {
        let mode = |is_test| if is_test { "test" } else { "live" };
        match self.is_test {
            Some(is_test) if is_test != (ours == Environment::Sandbox) => Err(UnreadableAnswer(format!(
                "it is of {} mode, and `ENVIRONMENT` is `{}`: is the key the right one?",
                mode(is_test),
                ours.as_str()
            ))),
            _ => Ok(self),
        }
    }
}

/// One record as the API shows it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about what a provider's API tells")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The record. Its version is not yet one: it names no event.
    pub record: Record,
    /// The API told when it last changed; otherwise that is the time of reading.
    pub is_dated: bool,
    /// The API told whether it is in a trial.
    pub tells_trial: bool,
    /// The API tells the period wherever there is one, so that none is one without end.
    pub tells_period: bool,
    /// Nothing that is told later changes it.
    pub is_final: bool,
}

impl Shown {
    /// A record that is shown whole.
    #[must_use]
    pub fn new(record: Record, is_dated: bool) -> Self {
        Self { record, is_dated, tells_trial: true, tells_period: true, is_final: false }
    }
}

/// A plan as the provider's API lists it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct ApiPlan {
    /// The plan key that records name.
    pub key: String,
    /// The provider's id.
    pub id: Option<String>,
    /// Who can hold it; none is both.
    pub payer: Option<PayerKind>,
    /// Held without paying.
    pub free: bool,
    /// What it gives; none where the answer did not say.
    pub features: Option<Set<String>>,
}

impl ApiPlan {
    /// Reads a list of plans as it is kept between runs.
    ///
    /// # Errors
    /// [`Unreadable`] for what this version of the code never wrote.
    pub fn read_all(kept: &str) -> Result<Vec<Self>, Unreadable> {
        let json = json::parse(kept.as_bytes())?;
        let plans = json.as_list().ok_or_else(|| Unreadable::new("a list of plans was expected"))?;
        plans.iter().map(Self::read).collect()
    }

    fn read(json: &Json<'_>) -> Result<Self, Unreadable> {
        let fields = Fields::of(json)?;
        Ok(Self {
            key: fields.need("key", Fields::text)?,
            id: fields.text("id")?,
            payer: PayerKind::read(fields, "payer")?,
            free: fields.need("free", Fields::truth)?,
            features: fields.text_set("features")?,
        })
    }
}

/// An answer that is not what the provider documents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableAnswer(pub String);

impl fmt::Display for UnreadableAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reading the provider's answer: {}", self.0)
    }
}

impl std::error::Error for UnreadableAnswer {}
