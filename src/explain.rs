//! Why an answer is what it is: the decision with the rule behind it, what every record gives, the events that told of
//! them, and when the answer will change by itself. Now, at a time to come (today's facts, decided then), or at a time
//! that is past (the facts as they were known then, out of the ledger).
//!
//! Nothing here decides. Every answer is [`decide`](crate::decide::decide)'s.

use std::rc::Rc;

use serde::Serialize;

use crate::answer::{CheckAnswer, Facts, Source};
use crate::catalog::Catalog;
use crate::decide::{Access, Decision, Policy, Reason, access, decide, holdings, is_revoked};
use crate::grant::{self, Given, Signed};
use crate::ledger::{History, Recorded};
use crate::payer::{Payer, PayerKind};
use crate::question::{Asked, Condition, Question, What};
use crate::reduce::Reduced;
use crate::snapshot::{Snapshot, StoredRecord};
use crate::status::Status;
use crate::store::OPERATOR;
use crate::time::{DAY_MS, HOUR_MS, Timestamp};

/// Events shown, beside those that set a record: an event has about 300 bytes here.
pub const MAX_EVENTS: u32 = 100;
/// Events that the past is made of, at most. A payer has a handful in a month.
pub const MAX_PAST_EVENTS: u32 = 1_000;

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// Who asks what; of several questions the first.
    pub asked: &'a Asked,
    /// At what time.
    pub at: Timestamp,
    /// The time it is.
    pub now: Timestamp,
    /// What is sold.
    pub catalog: &'a Catalog,
    /// Slack and grace.
    pub policy: &'a Policy,
}

/// A decision and everything behind it.
#[derive(Debug, Serialize)]
pub struct Explanation<'a> {
    question: QuestionView<'a>,
    at: Timestamp,
    now: Timestamp,
    decision: CheckAnswer,
    rule: Rule,
    changes_at: Option<Change>,
    payers: Vec<PayerView<'a>>,
    events: Vec<EventView<'a>>,
    has_more_events: bool,
    /// The facts are all that was known at that time.
    complete: bool,
    source: Source,
    as_of: Option<Timestamp>,
    age_seconds: Option<i64>,
    check: Option<&'a CheckAnswer>,
}

#[derive(Debug, Serialize)]
struct QuestionView<'a> {
    user_id: Option<&'a str>,
    org_id: Option<&'a str>,
    conditions: Vec<ConditionView<'a>>,
}

#[derive(Debug, Serialize)]
struct ConditionView<'a> {
    what: &'static str,
    name: &'a str,
    scope: Option<PayerKind>,
}

/// The rule that the answer follows from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rule {
    /// Which one.
    pub code: RuleCode,
    /// The same as a sentence, with the numbers that apply.
    pub text: String,
}

/// Which rule an answer follows from. The list is closed: callers may switch on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleCode {
    /// The payer was deleted.
    DeletedPayerHoldsNothing,
    /// What is held is another plan.
    PlanNotHeld,
    /// What is held does not give the feature.
    FeatureNotHeld,
    /// Neither the catalog nor any record knows the plan.
    PlanUnknown,
    /// No plan of the catalog gives the feature.
    FeatureUnknown,
    /// Used up.
    QuotaUsedUp,
    /// Held without paying.
    FreePlanWhileNothingPaid,
    /// Nothing was ever bought that would do.
    NothingBought,
    /// Given by hand until a time.
    GrantedUntilItsEnd,
    /// Given by hand for good.
    GrantedWithoutEnd,
    /// Active or trialing: until the period ends, and some hours more.
    UntilPeriodEndAndSlack,
    /// Active or trialing, without an end.
    NoPeriodEnd,
    /// Canceled: until the period ends.
    UntilPeriodEnd,
    /// Canceled, with nothing left to run out.
    CanceledWithoutPeriod,
    /// Past due: until the period or the days of grace end.
    UntilPeriodEndOrGrace,
    /// Its payment was paid back or is disputed.
    PaidBack,
    /// A status that is not known.
    StatusUnknown,
    /// A status that grants nothing.
    StatusGrantsNothing,
}

impl RuleCode {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::DeletedPayerHoldsNothing,
        Self::PlanNotHeld,
        Self::FeatureNotHeld,
        Self::PlanUnknown,
        Self::FeatureUnknown,
        Self::QuotaUsedUp,
        Self::FreePlanWhileNothingPaid,
        Self::NothingBought,
        Self::GrantedUntilItsEnd,
        Self::GrantedWithoutEnd,
        Self::UntilPeriodEndAndSlack,
        Self::NoPeriodEnd,
        Self::UntilPeriodEnd,
        Self::CanceledWithoutPeriod,
        Self::UntilPeriodEndOrGrace,
        Self::PaidBack,
        Self::StatusUnknown,
        Self::StatusGrantsNothing,
    ];
}

/// What the answer will be, and from when on, if nothing happens until then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// From when on.
    pub at: Timestamp,
    /// Yes or no.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
}

#[derive(Debug, Serialize)]
struct PayerView<'a> {
    payer: &'a Payer,
    version: u64,
    deleted_at: Option<Timestamp>,
    records: Vec<RecordView<'a>>,
}

#[derive(Debug, Serialize)]
struct RecordView<'a> {
    provider: &'a str,
    id: &'a str,
    /// The plan that it means.
    plan: Option<&'a str>,
    /// The feature that it gives without a plan.
    feature: Option<&'a str>,
    /// The plan as the provider names it.
    plan_key: Option<&'a str>,
    plan_id: Option<&'a str>,
    free: bool,
    status: &'a str,
    subscription_id: Option<&'a str>,
    customer_id: Option<&'a str>,
    started_at: Option<Timestamp>,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    cancel_at: Option<Timestamp>,
    canceled_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    past_due_since: Option<Timestamp>,
    occurred_at: Timestamp,
    event_id: &'a str,
    /// Who gave it and why, if it was given by hand.
    granted: Option<&'a Signed>,
    /// Who took it back and why.
    revoked: Option<&'a Signed>,
    allowed: bool,
    reason: Reason,
    valid_until: Option<Timestamp>,
    decided: bool,
}

#[derive(Debug, Serialize)]
struct EventView<'a> {
    seq: u64,
    provider: &'a str,
    event_id: &'a str,
    r#type: &'a str,
    payer: Option<&'a Payer>,
    occurred_at: Timestamp,
    received_at: Timestamp,
    outcome: &'a str,
    records: Vec<&'a str>,
    decided: bool,
}

/// The facts as they were known then: these events and no others.
#[must_use]
pub fn as_known(payers: &[Payer], history: &History, at: Timestamp) -> Facts {
    let mut reduced = Reduced::default();
    for recorded in history.events.iter().rev() {
        reduced.apply(&recorded.provider, &recorded.event_id, &recorded.event);
    }
    Facts::all_from(Source::Ledger, payers.iter().map(|payer| reduced.snapshot(payer, at)).collect())
}

/// Whether all that was known at `at` is still there, judged by what is known today. The ledger forgets, after so many
/// days, what no state rests on any more.
#[must_use]
pub fn is_whole(then: &Facts, today: &Facts, history: &History, at: Timestamp, kept_since: Timestamp) -> bool {
    let mut pairs = then.snapshots.iter().zip(&today.snapshots);
    let has = |snapshot: &Snapshot, record: &StoredRecord| {
        snapshot.records.iter().any(|known| known.provider == record.provider && known.id == record.id)
    };
    let is_missing = |then: &Snapshot, today: &Snapshot| {
        // What began so long ago was told of so long ago, by an event that newer ones may have made needless.
        let is_forgotten =
            |record: &StoredRecord| record.started_at.is_some_and(|begun| begun < kept_since) && !has(then, record);
        // It is another payer's today (or beyond the limit of a snapshot), and only events of that one say since when.
        let has_moved = |record: &StoredRecord| !has(today, record);
        let is_tombstone_gone =
            today.deleted_at.is_some_and(|deleted| deleted < kept_since) && then.deleted_at.is_none();
        is_tombstone_gone || today.records.iter().any(is_forgotten) || then.records.iter().any(has_moved)
    };
    at >= kept_since && !history.is_cut && !pairs.any(|(then, today)| is_missing(then, today))
}

/// Explains the answer from these facts. `check` is what a check would be answered, where that may differ.
#[must_use]
pub fn explain<'a>(
    inquiry: &Inquiry<'a>,
    facts: &'a Facts,
    history: &'a History,
    complete: bool,
    check: Option<&'a CheckAnswer>,
) -> Explanation<'a> {
    let Inquiry { asked, at, now, .. } = *inquiry;
    let case = Case { inquiry, facts, question: question_of(asked) };
    let decision = case.decide(case.question, at);
    let (events, has_more_events) = case.events(&decision, history);
    Explanation {
        question: QuestionView {
            user_id: asked.user.as_ref().map(Payer::id),
            org_id: asked.org.as_ref().map(Payer::id),
            conditions: case.question.conditions.iter().map(condition).collect(),
        },
        at,
        now,
        rule: case.rule(&decision),
        changes_at: case.change(&decision),
        payers: facts.snapshots.iter().map(|snapshot| case.payer(snapshot, &decision, history)).collect(),
        events,
        has_more_events,
        complete,
        source: facts.sources.first().copied().unwrap_or(Source::D1),
        as_of: facts.as_of(),
        age_seconds: facts.age_seconds(now),
        check,
        decision: CheckAnswer::new(facts, decision).aged(now),
    }
}

/// A query asks exactly one question.
fn question_of(asked: &Asked) -> &Question {
    static ANY_PAID_PLAN: Question = Question { conditions: Vec::new() };
    asked.questions.first().unwrap_or(&ANY_PAID_PLAN)
}

fn condition(condition: &Condition) -> ConditionView<'_> {
    let (what, name) = match &condition.what {
        What::Plan(name) => ("plan", name),
        What::Feature(name) => ("feature", name),
    };
    ConditionView { what, name, scope: condition.scope }
}

struct Case<'i, 'a> {
    inquiry: &'i Inquiry<'a>,
    facts: &'a Facts,
    question: &'a Question,
}

impl<'a> Case<'_, 'a> {
    fn snapshots(&self) -> impl Iterator<Item = &'a Snapshot> {
        self.facts.snapshots.iter().map(Rc::as_ref)
    }

    fn decide(&self, question: &Question, at: Timestamp) -> Decision {
        decide(self.snapshots(), self.inquiry.catalog, self.inquiry.policy, question, at)
    }

    /// The record that decided.
    fn record(&self, decision: &Decision) -> Option<&'a StoredRecord> {
        self.snapshots().flat_map(|snapshot| &snapshot.records).find(|record| is_key(decision, record))
    }

    /// Time alone does one thing to a record: it ends what the record gives. So the answer can change at those ends only.
    fn change(&self, decision: &Decision) -> Option<Change> {
        let end = |record| match access(record, self.inquiry.policy, self.inquiry.at) {
            Access::Granted(_, until) => until,
            Access::Denied(_) => None,
        };
        let end_after = |at: Timestamp| {
            let records = self.snapshots().flat_map(|snapshot| &snapshot.records);
            records.filter_map(end).filter(|end| *end > at).min()
        };
        std::iter::successors(end_after(self.inquiry.at), |at| end_after(*at)).find_map(|at| {
            let Decision { allowed, reason, .. } = self.decide(self.question, at);
            (allowed != decision.allowed || reason != decision.reason).then_some(Change { at, allowed, reason })
        })
    }

    fn payer(&self, snapshot: &'a Snapshot, decision: &Decision, history: &'a History) -> PayerView<'a> {
        let Inquiry { catalog, policy, at, .. } = *self.inquiry;
        let weighed = holdings([snapshot], catalog, policy, at).records;
        let view = |record: &'a StoredRecord, plan: Option<&'a str>, access: Access| {
            let (allowed, reason, valid_until) = match access {
                Access::Granted(reason, until) => (true, reason, until),
                Access::Denied(reason) => (false, reason, None),
            };
            let (granted, revoked) = by_hand(record, history);
            RecordView {
                provider: &record.provider,
                id: &record.id,
                plan,
                feature: match grant::given(record) {
                    Some(Given::Feature(feature)) => Some(feature),
                    _ => None,
                },
                plan_key: record.plan.as_deref(),
                plan_id: record.plan_id.as_deref(),
                free: record.is_free(),
                status: record.status.as_str(),
                subscription_id: record.subscription.as_deref(),
                customer_id: record.customer.as_deref(),
                started_at: record.started_at,
                period_start: record.period_start,
                period_end: record.period_end,
                cancel_at: record.cancel_at,
                canceled_at: record.canceled_at,
                ended_at: record.ended_at,
                past_due_since: record.past_due_since,
                occurred_at: record.occurred_at,
                event_id: &record.event_id,
                granted,
                revoked,
                allowed,
                reason,
                valid_until,
                decided: decision.payer.as_ref() == Some(&snapshot.payer) && is_key(decision, record),
            }
        };
        PayerView {
            payer: &snapshot.payer,
            version: snapshot.version,
            deleted_at: snapshot.deleted_at,
            records: if snapshot.deleted_at.is_some() {
                let denied = Access::Denied(Reason::PayerDeleted);
                snapshot.records.iter().map(|record| view(record, None, denied)).collect()
            } else {
                weighed.into_iter().map(|(record, plan, access)| view(record, plan, access)).collect()
            },
        }
    }

    /// The newest events, and those that set a record however old they are; and whether there are more.
    fn events(&self, decision: &Decision, history: &'a History) -> (Vec<EventView<'a>>, bool) {
        let sets = |recorded: &Recorded, record: &StoredRecord| {
            record.provider == recorded.provider && record.event_id == recorded.event_id
        };
        let decisive = self.record(decision);
        let deleted = self.snapshots().find(|snapshot| {
            decision.reason == Reason::PayerDeleted && decision.payer.as_ref() == Some(&snapshot.payer)
        });
        let newest = usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX);
        let shown = history.events.iter().enumerate().filter(|(place, recorded)| {
            let sets_any =
                || self.snapshots().any(|snapshot| snapshot.records.iter().any(|record| sets(recorded, record)));
            *place < newest || sets_any()
        });
        let views: Vec<_> = shown
            .map(|(_, recorded)| EventView {
                seq: recorded.seq,
                provider: &recorded.provider,
                event_id: &recorded.event_id,
                r#type: &recorded.event.event_type,
                payer: recorded.event.payer.as_ref(),
                occurred_at: recorded.event.occurred_at,
                received_at: recorded.received_at,
                outcome: &recorded.outcome,
                records: recorded.event.records.iter().map(|record| record.id.as_str()).collect(),
                decided: decisive.is_some_and(|record| sets(recorded, record))
                    || deleted.is_some_and(|payer| {
                        recorded.event.payer.as_ref() == Some(&payer.payer)
                            && recorded.event.deleted_at.is_some()
                            && recorded.event.deleted_at == payer.deleted_at
                    }),
            })
            .collect();
        let has_more = history.is_cut || views.len() < history.events.len();
        (views, has_more)
    }

    fn rule(&self, decision: &Decision) -> Rule {
        let held = decision.plan.as_deref().unwrap_or("nothing");
        let wanted = self.decisive_condition(decision).map_or("a paid plan", |condition| match &condition.what {
            What::Plan(name) | What::Feature(name) => name,
        });
        let record = self.record(decision);
        match (decision.reason, record) {
            (Reason::PayerDeleted, _) => {
                Rule::new(RuleCode::DeletedPayerHoldsNothing, "a payer that was deleted holds nothing any more")
            }
            (Reason::PlanMismatch, _) => Rule::new(
                RuleCode::PlanNotHeld,
                format!("`{held}` is held, which neither is `{wanted}` nor includes it"),
            ),
            (Reason::FeatureNotInPlan, _) => {
                Rule::new(RuleCode::FeatureNotHeld, format!("`{held}` is held, which does not give `{wanted}`"))
            }
            (Reason::UnknownPlan, _) => {
                Rule::new(RuleCode::PlanUnknown, format!("neither the catalog nor any record knows a plan `{wanted}`"))
            }
            (Reason::UnknownFeature, _) => {
                Rule::new(RuleCode::FeatureUnknown, format!("no plan of the catalog gives `{wanted}`"))
            }
            (Reason::QuotaExceeded, _) => Rule::new(RuleCode::QuotaUsedUp, format!("`{wanted}` is used up")),
            (_, Some(record)) => of_record(record, self.inquiry.policy),
            (_, None) if decision.allowed => Rule::new(
                RuleCode::FreePlanWhileNothingPaid,
                format!("`{held}` is held without paying while nothing paid grants"),
            ),
            (_, None) => Rule::new(RuleCode::NothingBought, format!("nothing was ever bought that gives `{wanted}`")),
        }
    }

    /// Of several conditions the first that is denied; if none is, the first.
    fn decisive_condition(&self, decision: &Decision) -> Option<&'a Condition> {
        let is_denied = |condition: &&Condition| {
            let alone = Question { conditions: vec![(*condition).clone()] };
            !self.decide(&alone, self.inquiry.at).allowed
        };
        let conditions = &self.question.conditions;
        conditions.iter().find(|condition| !decision.allowed && is_denied(condition)).or_else(|| conditions.first())
    }
}

impl Rule {
    fn new(code: RuleCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

fn is_key(decision: &Decision, record: &StoredRecord) -> bool {
    decision.record.as_ref().is_some_and(|key| key.provider == record.provider && key.id == record.id)
}

/// Who gave a record by hand, and who took it back. The event that gave it has its id.
fn by_hand<'a>(record: &StoredRecord, history: &'a History) -> (Option<&'a Signed>, Option<&'a Signed>) {
    let signed = |event_id: &str| {
        let mut of_operators = history.events.iter().filter(|recorded| recorded.provider == OPERATOR);
        of_operators.find(|recorded| recorded.event_id == event_id)?.event.signed.as_ref()
    };
    if record.provider != OPERATOR {
        return (None, None);
    }
    (signed(&record.id), signed(&record.event_id).filter(|_| record.event_id != record.id))
}

/// The rule by which a record grants or does not: the table of the README, with today's numbers.
fn of_record(record: &StoredRecord, policy: &Policy) -> Rule {
    if is_revoked(record, policy) {
        let at = record.refunded_at.map(|at| format!(" at {at}")).unwrap_or_default();
        let text = format!("its payment was paid back or disputed{at}, which ends what it gives (REFUNDS_REVOKE)");
        return Rule::new(RuleCode::PaidBack, text);
    }
    // Whatever grants at all granted when time began, and says until when.
    let end = match access(record, policy, Timestamp::from_millis(0)) {
        Access::Granted(_, Some(end)) => format!(": until {end}"),
        Access::Granted(_, None) | Access::Denied(_) => String::new(),
    };
    let status = &record.status;
    match status {
        Status::Active if grant::given(record).is_some() => match record.period_end {
            Some(_) => {
                Rule::new(RuleCode::GrantedUntilItsEnd, format!("what was given by hand lasts until its end{end}"))
            }
            None => Rule::new(RuleCode::GrantedWithoutEnd, "what was given by hand lasts until it is taken back"),
        },
        Status::Active | Status::Trialing => match record.period_end {
            Some(_) => Rule::new(
                RuleCode::UntilPeriodEndAndSlack,
                format!(
                    "{status} grants until period_end + RENEWAL_SLACK_HOURS ({}){end}",
                    policy.renewal_slack_ms.div_euclid(HOUR_MS)
                ),
            ),
            None => Rule::new(RuleCode::NoPeriodEnd, format!("{status} without a period_end grants without end")),
        },
        Status::Canceled => match record.period_end {
            Some(_) => Rule::new(RuleCode::UntilPeriodEnd, format!("canceled grants until period_end{end}")),
            None => Rule::new(RuleCode::CanceledWithoutPeriod, "canceled without a period_end grants nothing"),
        },
        Status::PastDue => Rule::new(
            RuleCode::UntilPeriodEndOrGrace,
            format!(
                "past_due grants until the later of period_end and past_due_since + PAST_DUE_GRACE_DAYS ({}){end}",
                policy.past_due_grace_ms.div_euclid(DAY_MS)
            ),
        ),
        Status::Unrecognized(_) => {
            Rule::new(RuleCode::StatusUnknown, format!("`{status}` is a status that is not known and grants nothing"))
        }
        Status::Paused | Status::Unpaid | Status::Incomplete | Status::Ended | Status::Upcoming => {
            Rule::new(RuleCode::StatusGrantsNothing, format!("{status} grants nothing"))
        }
    }
}
