//! What callers read: the JSON of checks and entitlements.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, Limit};
use crate::decide::{Access, Decision, Policy, Reason, decide, holdings};
use crate::event::Seats;
use crate::ordered::{Map, Set};
use crate::payer::Payer;
use crate::question::Question;
use crate::snapshot::{Snapshot, StoredRecord};
use crate::status::Status;
use crate::time::Timestamp;

/// Where the facts came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The isolate's own memory.
    Memory,
    /// The KV copy.
    Kv,
    /// The database.
    D1,
    /// The ledger, for a time that is past.
    Ledger,
}

/// The payers' facts, and where each came from. A user's comes before an organization's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The snapshots.
    pub snapshots: Vec<Rc<Snapshot>>,
    /// Where each came from, in the same order.
    pub sources: Vec<Source>,
}

impl Facts {
    /// Facts that all came from one place.
    #[must_use]
    pub fn all_from(source: Source, snapshots: Vec<Snapshot>) -> Self {
        Self { sources: vec![source; snapshots.len()], snapshots: snapshots.into_iter().map(Rc::new).collect() }
    }

    /// When the oldest fact that is looked at was read.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        self.snapshots.iter().map(|snapshot| snapshot.as_of).min()
    }

    /// How old the oldest fact is.
    #[must_use]
    pub fn age_seconds(&self, now: Timestamp) -> Option<i64> {
        age_seconds(self.as_of(), now)
    }

    /// The version and source of the payer that decided, and the age of the oldest fact that was looked at.
    fn provenance(&self, payer: Option<&Payer>) -> Provenance {
        let decider = self.snapshots.iter().zip(&self.sources).find(|(snapshot, _)| Some(&snapshot.payer) == payer);
        let (version, source) = decider
            .or_else(|| self.snapshots.iter().zip(&self.sources).next())
            .map_or((0, Source::D1), |(snapshot, source)| (snapshot.version, *source));
        Provenance { as_of: self.as_of(), source, version, age_seconds: None }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Provenance {
    as_of: Option<Timestamp>,
    source: Source,
    version: u64,
    /// Only where an answer is explained: a check's is the same however often it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<i64>,
}

/// The answer to one check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckAnswer {
    /// Yes or no.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The plan that is held now.
    pub plan: Option<String>,
    /// The status of the record that decided.
    #[serde(serialize_with = "as_text")]
    pub status: Option<Status>,
    /// The payer that decided.
    pub payer: Option<Payer>,
    /// Until when a yes holds if nothing happens.
    pub valid_until: Option<Timestamp>,
    #[serde(flatten)]
    provenance: Provenance,
}

/// The answers to a list of checks, in the order they were asked.
#[derive(Clone, Debug, Serialize)]
pub struct CheckAnswers {
    /// One for each.
    pub results: Vec<CheckAnswer>,
}

/// Answers a check from these facts.
#[must_use]
pub fn check(facts: &Facts, catalog: &Catalog, policy: &Policy, question: &Question, now: Timestamp) -> CheckAnswer {
    CheckAnswer::new(facts, decide(facts.snapshots.iter().map(Rc::as_ref), catalog, policy, question, now))
}

impl CheckAnswer {
    /// The answer that a decision from these facts is.
    pub(crate) fn new(facts: &Facts, decision: Decision) -> Self {
        let Decision { allowed, reason, plan, status, payer, valid_until, .. } = decision;
        let provenance = facts.provenance(payer.as_ref());
        Self { allowed, reason, plan, status, payer, valid_until, provenance }
    }

    /// The same, and how old its facts are.
    #[must_use]
    pub fn aged(mut self, now: Timestamp) -> Self {
        self.provenance.age_seconds = age_seconds(self.provenance.as_of, now);
        self
    }
}

/// Whole seconds. The clocks of two machines differ a little, so what was just read may be from the future.
fn age_seconds(as_of: Option<Timestamp>, now: Timestamp) -> Option<i64> {
    as_of.map(|as_of| now.millis_since(as_of).div_euclid(1000).max(0))
}

/// Everything that the payers hold.
#[derive(Clone, Debug, Serialize)]
pub struct Entitlements<'a> {
    plan: Option<String>,
    #[serde(serialize_with = "as_text")]
    status: Option<Status>,
    valid_until: Option<Timestamp>,
    cancel_at: Option<Timestamp>,
    plans: Set<&'a str>,
    features: Set<&'a str>,
    limits: Map<&'a str, Limit>,
    trial: Trial,
    payers: Vec<PayerEntitlements<'a>>,
    #[serde(flatten)]
    provenance: Provenance,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Trial {
    active: bool,
    ends_at: Option<Timestamp>,
    /// Whether one was ever used.
    used: bool,
}

#[derive(Clone, Debug, Serialize)]
struct PayerEntitlements<'a> {
    payer: &'a Payer,
    plan: Option<String>,
    #[serde(serialize_with = "as_text")]
    status: Option<Status>,
    deleted: bool,
    /// Failed charges since the last one that was paid.
    failed_attempts: u32,
    last_failure_at: Option<Timestamp>,
    last_failure_code: Option<&'a str>,
    subscriptions: Vec<SubscriptionView<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct SubscriptionView<'a> {
    provider: &'a str,
    id: &'a str,
    subscription_id: Option<&'a str>,
    customer_id: Option<&'a str>,
    plan: Option<&'a str>,
    status: &'a str,
    allowed: bool,
    reason: Reason,
    valid_until: Option<Timestamp>,
    started_at: Option<Timestamp>,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    interval: Option<&'a str>,
    cancel_at: Option<Timestamp>,
    canceled_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    past_due_since: Option<Timestamp>,
    seats: Option<SeatsView>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct SeatsView {
    /// Null is unlimited.
    quantity: Option<u32>,
}

/// Lists what the payers of these facts hold.
#[must_use]
pub fn entitlements<'a>(facts: &'a Facts, catalog: &'a Catalog, policy: &Policy, now: Timestamp) -> Entitlements<'a> {
    let all = holdings(facts.snapshots.iter().map(Rc::as_ref), catalog, policy, now);
    let is_deciding = |record: &StoredRecord| {
        all.best.record.as_ref().is_some_and(|key| key.provider == record.provider && key.id == record.id)
    };
    let granting = all.records.iter().find(|(record, _, _)| all.best.allowed && is_deciding(record));
    let trialing = all
        .records
        .iter()
        .find(|(record, _, access)| record.status == Status::Trialing && matches!(access, Access::Granted(..)));
    Entitlements {
        valid_until: all.best.valid_until,
        cancel_at: granting.and_then(|(record, _, _)| record.cancel_at),
        plans: all.plans,
        features: all.features,
        limits: all.limits,
        trial: Trial {
            active: trialing.is_some(),
            ends_at: trialing.and_then(|(record, _, _)| record.period_end),
            used: facts.snapshots.iter().any(|snapshot| snapshot.has_used_trial()),
        },
        payers: facts.snapshots.iter().map(|snapshot| payer_entitlements(snapshot, catalog, policy, now)).collect(),
        provenance: facts.provenance(all.best.payer.as_ref()),
        plan: all.best.plan,
        status: all.best.status,
    }
}

impl Entitlements<'_> {
    /// An entity tag that changes with what is held and not with when it was read.
    ///
    /// # Errors
    /// `serde_json`'s, if the answer cannot be written as JSON.
    pub fn etag(&self) -> Result<String, serde_json::Error> {
        let what = serde_json::to_vec(&(
            (&self.plan, self.status.as_ref().map(Status::as_str), &self.valid_until, &self.cancel_at),
            (&self.plans, &self.features, &self.limits, &self.trial, &self.payers, self.provenance.version),
        ))?;
        let digest = Sha256::digest(what);
        Ok(format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(digest.get(..12).unwrap_or_default())))
    }
}

fn payer_entitlements<'a>(
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
    policy: &Policy,
    now: Timestamp,
) -> PayerEntitlements<'a> {
    let own = holdings([snapshot], catalog, policy, now);
    let told_by_records = snapshot.records.iter().map(|record| (record.failed_attempts, record.last_failure_at));
    let (attempts, last) =
        told_by_records.fold((0, None), |(attempts, last), (more, at)| (more.max(attempts), at.max(last)));
    let failure = snapshot.last_failure.as_ref();
    PayerEntitlements {
        payer: &snapshot.payer,
        plan: own.best.plan,
        status: own.best.status,
        deleted: snapshot.deleted_at.is_some(),
        failed_attempts: attempts.max(snapshot.failed_attempts),
        last_failure_at: failure.map(|failure| failure.at).max(last),
        last_failure_code: failure.and_then(|failure| failure.code.as_deref()),
        subscriptions: own
            .records
            .into_iter()
            .map(|(record, plan, access)| subscription(record, plan, access))
            .collect(),
    }
}

fn subscription<'a>(record: &'a StoredRecord, plan: Option<&'a str>, access: Access) -> SubscriptionView<'a> {
    let (allowed, reason, valid_until) = match access {
        Access::Granted(reason, until) => (true, reason, until),
        Access::Denied(reason) => (false, reason, None),
    };
    SubscriptionView {
        provider: &record.provider,
        id: &record.id,
        subscription_id: record.subscription.as_deref(),
        customer_id: record.customer.as_deref(),
        plan,
        status: record.status.as_str(),
        allowed,
        reason,
        valid_until,
        started_at: record.started_at,
        period_start: record.period_start,
        period_end: record.period_end,
        interval: record.interval.as_deref(),
        cancel_at: record.cancel_at,
        canceled_at: record.canceled_at,
        ended_at: record.ended_at,
        past_due_since: record.past_due_since,
        seats: record.seats().map(|seats| SeatsView {
            quantity: match seats {
                Seats::Limited(quantity) => Some(quantity),
                Seats::Unlimited => None,
            },
        }),
    }
}

#[allow(clippy::ref_option, reason = "serde's `serialize_with` passes the field by reference")]
fn as_text<S: Serializer>(status: &Option<Status>, serializer: S) -> Result<S::Ok, S::Error> {
    status.as_ref().map(Status::as_str).serialize(serializer)
}
