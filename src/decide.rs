//! Who may have what, now: a pure function of stored facts, the catalog, the policy, the question and the time.
//!
//! No "has access" is stored anywhere. A cancellation takes effect at the end of its period without any event, and a
//! payer's old subscription says nothing about a newer one: every record is weighed by itself, and any grant wins.

use std::cmp::Reverse;

use serde::Serialize;

use crate::catalog::{Catalog, Limit};
use crate::event::is_further_item;
use crate::grant::{self, Given};
use crate::ordered::{self, Map, Set};
use crate::payer::{Payer, PayerKind};
use crate::question::{Condition, Question, What};
use crate::snapshot::{Snapshot, StoredRecord};
use crate::status::Status;
use crate::time::{DAY_MS, HOUR_MS, Timestamp};

/// What the operator decides about the edges of a paid period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// An active record grants for so long after its period: the renewal's webhook may be late.
    pub renewal_slack_ms: i64,
    /// A past due record grants for so long after the charge first failed.
    pub past_due_grace_ms: i64,
    /// What was paid back, or is disputed, no longer grants.
    pub refunds_revoke: bool,
}

impl Default for Policy {
    /// A day of slack, no grace.
    fn default() -> Self {
        Self { renewal_slack_ms: 24 * HOUR_MS, past_due_grace_ms: 0, refunds_revoke: false }
    }
}

impl Policy {
    /// A policy in the units of its settings.
    #[must_use]
    pub fn new(renewal_slack_hours: u32, past_due_grace_days: u32) -> Self {
        Self {
            renewal_slack_ms: i64::from(renewal_slack_hours).saturating_mul(HOUR_MS),
            past_due_grace_ms: i64::from(past_due_grace_days).saturating_mul(DAY_MS),
            refunds_revoke: false,
        }
    }
}

/// Why the answer is yes or no. The list is closed: callers may switch on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Yes: paid, or free by plan.
    Active,
    /// Yes: in a trial.
    Trialing,
    /// Yes: canceled, but paid for until later.
    CanceledUntilPeriodEnd,
    /// Yes: a charge failed, within the days of grace.
    PastDueGrace,
    /// Yes: given by hand.
    GrantedManually,
    /// No: over.
    Expired,
    /// No: a charge failed.
    PastDue,
    /// No: collection is paused.
    Paused,
    /// No: the provider gave up charging.
    Unpaid,
    /// No: checkout was not finished.
    Incomplete,
    /// No: starts later.
    NotStarted,
    /// No: a status that this version does not know.
    UnknownStatus,
    /// No: nothing was ever bought that would do.
    NoSubscription,
    /// No: another plan is held.
    PlanMismatch,
    /// No: the plan that is held does not give this feature.
    FeatureNotInPlan,
    /// No: neither the catalog nor any record of the payer knows the plan.
    UnknownPlan,
    /// No: no plan of the catalog gives the feature.
    UnknownFeature,
    /// No: the payer was deleted.
    PayerDeleted,
    /// No: used up.
    QuotaExceeded,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Active,
        Self::Trialing,
        Self::CanceledUntilPeriodEnd,
        Self::PastDueGrace,
        Self::GrantedManually,
        Self::Expired,
        Self::PastDue,
        Self::Paused,
        Self::Unpaid,
        Self::Incomplete,
        Self::NotStarted,
        Self::UnknownStatus,
        Self::NoSubscription,
        Self::PlanMismatch,
        Self::FeatureNotInPlan,
        Self::UnknownPlan,
        Self::UnknownFeature,
        Self::PayerDeleted,
        Self::QuotaExceeded,
    ];
}

/// The answer to one question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Yes or no.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The plan that is held now: the one that grants, or the free one.
    pub plan: Option<String>,
    /// The status of the record that decided.
    pub status: Option<Status>,
    /// The payer that decided.
    pub payer: Option<Payer>,
    /// The record that decided.
    pub record: Option<RecordKey>,
    /// Until when a yes holds if nothing happens; none is without end.
    pub valid_until: Option<Timestamp>,
}

/// What names a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordKey {
    /// The provider.
    pub provider: String,
    /// The provider's id.
    pub id: String,
}

impl RecordKey {
    fn of(record: &StoredRecord) -> Self {
        Self { provider: record.provider.clone(), id: record.id.clone() }
    }
}

/// What one record gives at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It grants until then; none is without end.
    Granted(Reason, Option<Timestamp>),
    /// It does not grant.
    Denied(Reason),
}

/// What a record in this state gives at `now`.
#[must_use]
pub fn access(record: &StoredRecord, policy: &Policy, now: Timestamp) -> Access {
    if is_revoked(record, policy) {
        return Access::Denied(Reason::Expired);
    }
    let until = |reason, end: Option<Timestamp>, otherwise| match end {
        Some(end) if now >= end => Access::Denied(otherwise),
        _ => Access::Granted(reason, end),
    };
    let end_with_slack = record.period_end.map(|end| end.plus_millis(policy.renewal_slack_ms));
    match &record.status {
        // What was given by hand ends when it was meant to.
        Status::Active if grant::given(record).is_some() => {
            until(Reason::GrantedManually, record.period_end, Reason::Expired)
        }
        Status::Active => until(Reason::Active, end_with_slack, Reason::Expired),
        Status::Trialing => until(Reason::Trialing, end_with_slack, Reason::Expired),
        // Canceled without a period has nothing left to run out.
        Status::Canceled => match record.period_end {
            Some(end) => until(Reason::CanceledUntilPeriodEnd, Some(end), Reason::Expired),
            None => Access::Denied(Reason::Expired),
        },
        Status::PastDue => {
            let since = record.past_due_since.unwrap_or(record.occurred_at);
            let grace_end = since.plus_millis(policy.past_due_grace_ms);
            until(
                Reason::PastDueGrace,
                Some(record.period_end.map_or(grace_end, |end| end.max(grace_end))),
                Reason::PastDue,
            )
        }
        Status::Paused => Access::Denied(Reason::Paused),
        Status::Unpaid => Access::Denied(Reason::Unpaid),
        Status::Incomplete => Access::Denied(Reason::Incomplete),
        Status::Ended => Access::Denied(Reason::Expired),
        Status::Upcoming => Access::Denied(Reason::NotStarted),
        Status::Unrecognized(_) => Access::Denied(Reason::UnknownStatus),
    }
}

/// Whether the payment for the record's current period was paid back or is disputed, and that counts.
#[must_use]
pub fn is_revoked(record: &StoredRecord, policy: &Policy) -> bool {
    let since = record.period_start.unwrap_or(Timestamp::from_millis(0));
    policy.refunds_revoke && record.refunded_at.is_some_and(|refunded_at| refunded_at >= since)
}

/// Whether the newest event about a subscription left this item of it out; then it was taken off and is over.
///
/// Every event shows all items of a subscription (see [`is_further_item`]) with one version, and a reading of the provider's API is
/// stored as one event too. So an item is part of the subscription as it now stands exactly when the same event set both the
/// item and the first one, in whatever order events arrived.
fn is_left_out(snapshot: &Snapshot, record: &StoredRecord) -> bool {
    let Some(subscription) = record.subscription.as_deref() else { return false };
    is_further_item(&record.id, subscription)
        && snapshot.records.iter().any(|first| {
            first.provider == record.provider && first.id == subscription && first.event_id != record.event_id
        })
}

/// Answers a question about the payers of these snapshots (a user, an organization, or both).
#[must_use]
pub fn decide<'a>(
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    catalog: &Catalog,
    policy: &Policy,
    question: &Question,
    now: Timestamp,
) -> Decision {
    let view = View::new(snapshots.into_iter().collect(), catalog, policy, now);
    if question.conditions.is_empty() {
        return view.any_paid_plan();
    }
    let mut answer: Option<Decision> = None;
    for condition in &question.conditions {
        let decision = view.condition(condition);
        if !decision.allowed {
            return decision;
        }
        let valid_until =
            answer.as_ref().map_or(decision.valid_until, |first| earlier(first.valid_until, decision.valid_until));
        answer = Some(Decision { valid_until, ..answer.unwrap_or(decision) });
    }
    answer.unwrap_or_else(|| view.any_paid_plan())
}

/// What the payers of these snapshots hold now.
#[must_use]
pub fn holdings<'a>(
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    catalog: &'a Catalog,
    policy: &Policy,
    now: Timestamp,
) -> Holdings<'a> {
    let view = View::new(snapshots.into_iter().collect(), catalog, policy, now);
    let best = view.any_paid_plan();
    let mut plans = Set::default();
    let mut features = Set::default();
    let mut limits: Map<&str, Limit> = Map::new();
    for held in view.held.iter().filter(|held| matches!(held.access, Access::Granted(..))) {
        features.extend(held.feature.filter(|_| view.deleted_user().is_none()));
    }
    for (kind, name) in view.held_plans() {
        plans.extend(catalog.contained(name));
        features.extend(catalog.features(name, kind));
        for (what, limit) in catalog.limits(name) {
            limits.update(what, limit, |known| *known = known.or_more(limit));
        }
    }
    Holdings {
        best,
        plans,
        features,
        limits,
        records: view.held.into_iter().map(|held| (held.record, held.plan, held.access)).collect(),
    }
}

/// All that is held at one time.
#[derive(Clone, Debug)]
pub struct Holdings<'a> {
    /// The answer to "any paid plan", which names the plan held first of all.
    pub best: Decision,
    /// Every plan held, with those it includes.
    pub plans: Set<&'a str>,
    /// Every feature held.
    pub features: Set<&'a str>,
    /// Every limit.
    pub limits: Map<&'a str, Limit>,
    /// Every record, the plan it means and what it gives.
    pub records: Vec<(&'a StoredRecord, Option<&'a str>, Access)>,
}

/// None is without end.
fn earlier(one: Option<Timestamp>, two: Option<Timestamp>) -> Option<Timestamp> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (end, None) | (None, end) => end,
    }
}

/// One record of one payer, weighed.
struct Held<'a> {
    payer: &'a Payer,
    record: &'a StoredRecord,
    plan: Option<&'a str>,
    /// Given by hand, without a plan.
    feature: Option<&'a str>,
    free: bool,
    access: Access,
}

impl Held<'_> {
    fn has_plan(&self, matches: impl Fn(&str, PayerKind) -> bool) -> bool {
        self.plan.is_some_and(|plan| matches(plan, self.payer.kind()))
    }

    fn is_paid_grant(&self) -> bool {
        !self.free && self.plan.is_some() && matches!(self.access, Access::Granted(..))
    }
}

struct View<'a> {
    snapshots: Vec<&'a Snapshot>,
    catalog: &'a Catalog,
    held: Vec<Held<'a>>,
}

impl<'a> View<'a> {
    fn new(snapshots: Vec<&'a Snapshot>, catalog: &'a Catalog, policy: &Policy, now: Timestamp) -> Self {
        let live = snapshots.iter().copied().filter(|snapshot| snapshot.deleted_at.is_none());
        let held = live.flat_map(|snapshot| snapshot.records.iter().map(move |record| (snapshot, record)));
        let held = held.map(|(snapshot, record)| {
            let payer = &snapshot.payer;
            let (plan, feature) = match grant::given(record) {
                Some(Given::Plan(plan)) => (Some(plan), None),
                Some(Given::Feature(feature)) => (None, Some(feature)),
                None => (catalog.plan_for(&record.provider, record.plan.as_deref(), record.plan_id.as_deref()), None),
            };
            Held {
                payer,
                record,
                plan,
                feature,
                free: record.is_free() || plan.is_some_and(|plan| catalog.is_free(plan, payer.kind())),
                // A record whose plan nobody knows may be paid for in full and still says nothing about what was bought.
                access: match access(record, policy, now) {
                    Access::Granted(..) if is_left_out(snapshot, record) => Access::Denied(Reason::Expired),
                    Access::Granted(..) if plan.is_none() && feature.is_none() => Access::Denied(Reason::UnknownPlan),
                    access => access,
                },
            }
        });
        let held = held.collect();
        Self { snapshots, catalog, held }
    }

    /// A deleted user asks for nothing any more, not even by way of an organization.
    fn deleted_user(&self) -> Option<&'a Snapshot> {
        let is_deleted_user =
            |snapshot: &&'a Snapshot| snapshot.payer.kind() == PayerKind::User && snapshot.deleted_at.is_some();
        self.snapshots.iter().copied().find(is_deleted_user)
    }

    fn any_paid_plan(&self) -> Decision {
        self.answer(None, |held| !held.free && held.plan.is_some(), Reason::NoSubscription)
    }

    fn condition(&self, condition: &Condition) -> Decision {
        match &condition.what {
            What::Plan(name) => {
                let matches = |plan: &str, _| self.catalog.contained(plan).contains(name.as_str());
                if let Some(decision) = self.free_grant(condition.scope, matches) {
                    return decision;
                }
                let known = self.catalog.is_empty()
                    || self.catalog.knows_plan(name)
                    || self.held.iter().any(|held| held.plan == Some(name))
                    || [PayerKind::User, PayerKind::Org].into_iter().any(|kind| self.catalog.free_plan(kind) == name);
                let otherwise = if known { Reason::PlanMismatch } else { Reason::UnknownPlan };
                self.answer(condition.scope, |held| !held.free && held.has_plan(matches), otherwise)
            }
            What::Feature(name) => {
                let matches = |plan: &str, kind| self.catalog.features(plan, kind).contains(name.as_str());
                if let Some(decision) = self.free_grant(condition.scope, matches) {
                    return decision;
                }
                let is_given = |held: &Held<'_>| held.feature == Some(name);
                let known =
                    self.catalog.is_empty() || self.catalog.knows_feature(name) || self.held.iter().any(is_given);
                let otherwise = if known { Reason::FeatureNotInPlan } else { Reason::UnknownFeature };
                let gives = |held: &Held<'_>| is_given(held) || (!held.free && held.has_plan(matches));
                self.answer(condition.scope, gives, otherwise)
            }
        }
    }

    /// The longest lasting grant among the records that match; else the denial of the one closest to granting; else
    /// `otherwise`, unless nothing at all is held.
    fn answer(&self, scope: Option<PayerKind>, matches: impl Fn(&Held<'a>) -> bool, otherwise: Reason) -> Decision {
        if let Some(deleted) = self.deleted_user() {
            return self.denial(Reason::PayerDeleted, None, Some(&deleted.payer), None);
        }
        let in_scope = || self.held.iter().filter(|held| scope.is_none_or(|kind| held.payer.kind() == kind));
        let grant = in_scope()
            .filter(|held| matches(held))
            .filter_map(|held| match held.access {
                Access::Granted(reason, until) => Some((held, reason, until)),
                Access::Denied(_) => None,
            })
            // Of equals the first, which is the newest: the snapshot lists them so.
            .min_by_key(|(_, _, until)| Reverse(until.unwrap_or(Timestamp::MAX)));
        if let Some((held, reason, valid_until)) = grant {
            return Decision {
                allowed: true,
                reason,
                plan: held.plan.or_else(|| self.plan_held_by(scope, Some(held.payer))).map(str::to_owned),
                status: Some(held.record.status.clone()),
                payer: Some(held.payer.clone()),
                record: Some(RecordKey::of(held.record)),
                valid_until,
            };
        }

        let closest = in_scope()
            .filter(|held| matches(held))
            .filter_map(|held| match held.access {
                Access::Denied(reason) => Some((held, reason)),
                Access::Granted(..) => None,
            })
            .min_by_key(|(held, reason)| (distance(*reason), Reverse(held.record.occurred_at)));
        if let Some((held, reason)) = closest {
            return self.denial(reason, scope, Some(held.payer), Some(held.record));
        }

        // Nothing of that kind was ever bought.
        if let Some(held) = in_scope().find(|held| held.is_paid_grant()) {
            return self.denial(otherwise, scope, Some(held.payer), Some(held.record));
        }
        let asked = || self.snapshots.iter().filter(|snapshot| scope.is_none_or(|kind| snapshot.payer.kind() == kind));
        // A deleted organization says nothing about the user beside it.
        let living = asked().find(|snapshot| snapshot.deleted_at.is_none());
        let payer = living.or_else(|| asked().next()).map(|snapshot| &snapshot.payer);
        let reason = match otherwise {
            _ if living.is_none() && payer.is_some() => Reason::PayerDeleted,
            Reason::UnknownPlan | Reason::UnknownFeature => otherwise,
            _ => Reason::NoSubscription,
        };
        self.denial(reason, scope, payer, None)
    }

    /// A plan that is held without paying, where a payer in scope holds one that matches.
    fn free_grant(&self, scope: Option<PayerKind>, matches: impl Fn(&str, PayerKind) -> bool) -> Option<Decision> {
        if self.deleted_user().is_some() {
            return None;
        }
        let payers = self.snapshots.iter().filter(|snapshot| scope.is_none_or(|kind| snapshot.payer.kind() == kind));
        let (snapshot, plan) = payers
            .flat_map(|snapshot| self.free_plans(snapshot).map(move |plan| (snapshot, plan)))
            .find(|(snapshot, plan)| matches(plan, snapshot.payer.kind()))?;
        Some(Decision {
            allowed: true,
            reason: Reason::Active,
            plan: Some(plan.to_owned()),
            status: Some(Status::Active),
            payer: Some(snapshot.payer.clone()),
            record: None,
            valid_until: None,
        })
    }

    /// The free plans that a payer holds now: none while anything paid grants, and none once deleted.
    fn free_plans<'b>(&'b self, snapshot: &'b Snapshot) -> impl Iterator<Item = &'a str> + 'b {
        let of_payer = || self.held.iter().filter(|held| *held.payer == snapshot.payer);
        let holds_free = snapshot.deleted_at.is_none() && !of_payer().any(Held::is_paid_grant);
        let own = of_payer()
            .filter(|held| held.free && matches!(held.access, Access::Granted(..)))
            .filter_map(|held| held.plan);
        std::iter::once(self.catalog.free_plan(snapshot.payer.kind())).chain(own).filter(move |_| holds_free)
    }

    /// Every plan held, paid and free.
    fn held_plans(&self) -> Set<(PayerKind, &'a str)> {
        if self.deleted_user().is_some() {
            return Set::default();
        }
        let paid = self.held.iter().filter(|held| held.is_paid_grant());
        let paid = paid.filter_map(|held| Some((held.payer.kind(), held.plan?)));
        let free = self
            .snapshots
            .iter()
            .flat_map(|snapshot| self.free_plans(snapshot).map(|plan| (snapshot.payer.kind(), plan)));
        ordered::set(paid.chain(free))
    }

    /// The plan that is held: one that is paid for by anybody in scope, else the payer's free one.
    fn plan_held_by(&self, scope: Option<PayerKind>, payer: Option<&Payer>) -> Option<&'a str> {
        let in_scope = |held: &&Held<'a>| scope.is_none_or(|kind| held.payer.kind() == kind);
        let paid = self.held.iter().filter(in_scope).find(|held| held.is_paid_grant()).and_then(|held| held.plan);
        paid.or_else(|| payer.map(|payer| self.catalog.free_plan(payer.kind())))
    }

    fn denial(
        &self,
        reason: Reason,
        scope: Option<PayerKind>,
        payer: Option<&Payer>,
        record: Option<&StoredRecord>,
    ) -> Decision {
        Decision {
            allowed: false,
            reason,
            plan: self.plan_held_by(scope, payer).filter(|_| reason != Reason::PayerDeleted).map(str::to_owned),
            status: record.map(|record| record.status.clone()),
            payer: payer.cloned(),
            record: record.map(RecordKey::of),
            valid_until: None,
        }
    }
}

/// How far a denial is from a grant: what the payer can mend comes before what is over.
fn distance(reason: Reason) -> u8 {
    match reason {
        Reason::PastDue => 0,
        Reason::Paused => 1,
        Reason::Unpaid => 2,
        Reason::Incomplete => 3,
        Reason::UnknownStatus => 4,
        Reason::NotStarted => 5,
        _ => 6,
    }
}
