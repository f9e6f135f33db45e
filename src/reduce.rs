//! What a history of events adds up to, in memory: the rules of `src/store/records.sql`, `payments.sql`, `payers.sql` and
//! `snapshot.sql` without a database.
//!
//! The store is what counts; this says what the store would hold after other events than those it was given, such as the
//! ones that were known at some earlier time. The tests hold the two against each other, in every order of arrival. What
//! the store keeps for operators alone (which delivery wrote what, ties) is not here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Payment, PlanRef, Record, Seats, State};
use crate::payer::Payer;
use crate::snapshot::{Failure, Snapshot, StoredRecord};
use crate::status::Status;
use crate::time::{Timestamp, millis, whole_millis};

/// The records of a snapshot, at most: the limit of `src/store/snapshot.sql`.
const SNAPSHOT_RECORDS: usize = 64;

/// Everything that the events so far tell. Any order of them, and any duplication, adds up to the same, but for the
/// versions of payers, which count.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reduced {
    /// By provider and id.
    records: BTreeMap<String, BTreeMap<String, Kept>>,
    /// By provider and id.
    payments: BTreeMap<String, BTreeMap<String, Payment>>,
    /// By key.
    payers: BTreeMap<String, Known>,
}

/// A record: four registers, and what is only ever added to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Kept {
    /// The payer's key.
    payer: Register<String>,
    customer: Register<String>,
    plan: Register<PlanRef>,
    state: Register<State>,
    #[serde(with = "whole_millis")]
    occurred_at: Timestamp,
    event_id: String,
    subscription: Option<String>,
    trial_used: bool,
    #[serde(with = "millis")]
    started_at: Option<Timestamp>,
}

/// Somebody an event was about.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Known {
    version: u64,
    #[serde(with = "millis")]
    deleted_at: Option<Timestamp>,
}

/// What the newest event that spoke of it said. The version is empty while none has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Register<T> {
    version: String,
    value: Option<T>,
}

impl<T: Clone> Register<T> {
    fn empty() -> Self {
        Self { version: String::new(), value: None }
    }

    /// Takes a value over if it is newer; says whether it was. Silence is not a change.
    fn hear(&mut self, version: &str, value: Option<&T>) -> bool {
        let is_newer = value.is_some() && version > self.version.as_str();
        if is_newer {
            version.clone_into(&mut self.version);
            self.value = value.cloned();
        }
        is_newer
    }
}

impl Reduced {
    /// Adds an event, which the provider sent under this id.
    pub fn apply(&mut self, provider: &str, event_id: &str, event: &Event) {
        for record in &event.records {
            let records = self.records.entry(provider.to_owned()).or_default();
            records.entry(record.id.clone()).or_insert_with(|| Kept::first(record, event_id)).hear(record, event_id);
        }
        for payment in &event.payments {
            let payments = self.payments.entry(provider.to_owned()).or_default();
            let kept = payments.entry(payment.id.clone()).or_insert_with(|| payment.clone());
            if payment.version > kept.version {
                kept.clone_from(payment);
            }
        }
        if let Some(payer) = self.payer_of(provider, event) {
            let known = self.payers.entry(payer).or_default();
            known.version = known.version.saturating_add(1);
            known.deleted_at = earlier(known.deleted_at, event.deleted_at);
        }
    }

    /// Whom an event is about: as it says, or as an earlier event about the same record said.
    fn payer_of(&self, provider: &str, event: &Event) -> Option<String> {
        let of_record = |record: &Record| self.records.get(provider)?.get(&record.id)?.payer.value.clone();
        event.payer.as_ref().map(Payer::key).or_else(|| event.records.iter().find_map(of_record))
    }

    /// A payer's facts, as the store would read them at `as_of`. The version counts the events about the payer.
    #[must_use]
    pub fn snapshot(&self, payer: &Payer, as_of: Timestamp) -> Snapshot {
        let key = payer.key();
        let known = self.payers.get(&key).cloned().unwrap_or_default();
        let records = self.records.iter().flat_map(|(provider, records)| {
            records.iter().map(move |(id, kept)| (provider.as_str(), id.as_str(), kept))
        });
        let mut records: Vec<_> = records.filter(|(_, _, kept)| kept.payer.value.as_ref() == Some(&key)).collect();
        let trial_used = records.iter().any(|(_, _, kept)| kept.trial_used);
        records.sort_by_key(|(_, _, kept)| (kept.status() == Status::Ended, Reverse(&kept.state.version)));
        records.truncate(SNAPSHOT_RECORDS);

        let payments = || self.payments.values().flat_map(BTreeMap::values);
        let own = |status: &'static str| {
            payments().filter(move |payment| payment.status == status && payment.payer.as_ref() == Some(payer))
        };
        let last_paid = own("paid").map(|payment| payment.created_at).max().unwrap_or(Timestamp::from_millis(0));
        let failed_since = own("failed").filter(|payment| payment.created_at > last_paid).count();
        let last_failure = own("failed").max_by_key(|payment| (payment.created_at, &payment.id));

        Snapshot {
            payer: payer.clone(),
            version: known.version,
            as_of,
            deleted_at: known.deleted_at,
            trial_used: trial_used.into(),
            failed_attempts: u32::try_from(failed_since).unwrap_or(u32::MAX),
            last_failure: last_failure
                .map(|payment| Failure { at: payment.occurred_at, code: payment.failure_code.clone() }),
            records: records.into_iter().map(|(provider, id, kept)| kept.stored(provider, id)).collect(),
        }
    }
}

impl Kept {
    /// What is kept of a record as it is first heard of, but for the registers.
    fn first(record: &Record, event_id: &str) -> Self {
        Self {
            payer: Register::empty(),
            customer: Register::empty(),
            plan: Register::empty(),
            state: Register::empty(),
            occurred_at: record.occurred_at,
            event_id: event_id.to_owned(),
            subscription: None,
            trial_used: false,
            started_at: None,
        }
    }

    fn hear(&mut self, record: &Record, event_id: &str) {
        let version = record.version.as_str();
        let names_payer = self.payer.hear(version, record.payer.as_ref().map(Payer::key).as_ref());
        self.customer.hear(version, record.customer.as_ref());
        // A plan known by its id alone yields to any that has a name: '!' sorts before every digit.
        let nameless = record.plan.as_ref().is_some_and(|plan| plan.id.as_ref() == Some(&plan.key));
        self.plan.hear(&format!("{}{version}", if nameless { "!" } else { "" }), record.plan.as_ref());
        let tells_state = self.state.hear(version, record.state.as_ref());
        // The newest event about the state; while nothing has told the state, the newest that names the payer.
        if tells_state || (self.state.value.is_none() && names_payer) {
            self.occurred_at = record.occurred_at;
            event_id.clone_into(&mut self.event_id);
        }
        if self.subscription.is_none() {
            self.subscription.clone_from(&record.subscription);
        }
        self.trial_used |= record.trial;
        self.started_at = earlier(self.started_at, record.started_at);
    }

    /// Until something tells it, what is heard of is taken for active.
    fn status(&self) -> Status {
        self.state.value.as_ref().map_or(Status::Active, |state| state.status.clone())
    }

    fn stored(&self, provider: &str, id: &str) -> StoredRecord {
        let plan = self.plan.value.clone();
        let (key, plan_id, free) = plan.map_or((None, None, false), |plan| (Some(plan.key), plan.id, plan.free));
        let state = self.state.value.clone().unwrap_or_else(|| State::new(Status::Active));
        StoredRecord {
            provider: provider.to_owned(),
            id: id.to_owned(),
            plan: key,
            plan_id,
            plan_free: free.into(),
            status: state.status,
            customer: self.customer.value.clone(),
            subscription: self.subscription.clone(),
            started_at: self.started_at,
            period_start: state.period_start,
            period_end: state.period_end,
            interval: state.interval,
            cancel_at: state.cancel_at,
            canceled_at: state.canceled_at,
            ended_at: state.ended_at,
            past_due_since: state.past_due_since,
            stored_seats: state.seats.map(Seats::as_stored),
            failed_attempts: state.failed_attempts,
            last_failure_at: state.last_failure_at,
            occurred_at: self.occurred_at,
            event_id: self.event_id.clone(),
        }
    }
}

/// The earlier of two times, where there are two.
fn earlier(one: Option<Timestamp>, two: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(two).min()
}
