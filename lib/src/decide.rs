//! `decide` and `entitlements`.

use plangate::answer::{self, CheckAnswer, CheckAnswers, Facts, Source};
use plangate::catalog::Catalog;
use plangate::decide::Policy;
use plangate::json::{self, Fields};
use plangate::payer::Payer;
use plangate::question::{Asked, QuestionError};
use plangate::snapshot::Snapshot;
use plangate::time::Timestamp;

use crate::failure::Failure;
use crate::read::moment;
use crate::state::State;

/// All that an answer is made of.
struct Case {
    facts: Facts,
    catalog: Catalog,
    policy: Policy,
    asked: Asked,
    now: Timestamp,
}

impl Case {
    fn read(states: &str, catalog: &str, policy: &str, question: &str, now: f64) -> Result<Self, Failure> {
        let now = moment(now)?;
        let asked = Asked::from_json(question.as_bytes()).map_err(Failure::request)?;
        let payers: Vec<&Payer> = asked.user.iter().chain(&asked.org).collect();
        if payers.is_empty() {
            return Err(Failure::request(QuestionError::NoPayer));
        }
        let mut state = State::default();
        let mut snapshots = Vec::new();
        for part in json::parse(states.as_bytes())?.as_list().into_iter().flatten() {
            // A worker's sink sends a payer's facts as its database reads them.
            if part.get("as_of").is_some() {
                let snapshot = Snapshot::parse(&part.to_string());
                snapshots.push(snapshot.map_err(|error| Failure::new("unreadable_state", error))?);
            } else {
                state.merge(State::read(part)?);
            }
        }
        let facts = payers.iter().map(|payer| {
            let sent = snapshots.iter().find(|snapshot| snapshot.payer == **payer);
            sent.cloned().unwrap_or_else(|| state.reduced.snapshot(payer, now))
        });
        Ok(Self {
            facts: Facts::all_from(Source::Memory, facts.collect()),
            catalog: Catalog::parse(catalog).map_err(|error| Failure::new("unusable_catalog", error))?,
            policy: read_policy(policy)?,
            now,
            asked,
        })
    }
}

fn read_policy(policy: &str) -> Result<Policy, Failure> {
    let json = json::parse(policy.as_bytes())?;
    let fields = Fields::of(&json)?.only(&["renewal_slack_hours", "past_due_grace_days", "refunds_revoke"])?;
    let count = |name, default: u32| match fields.count(name)?.map(u32::try_from) {
        None => Ok(default),
        Some(Ok(count)) => Ok(count),
        Some(Err(_)) => Err(Failure::request(format_args!("`{name}` is too large"))),
    };
    let policy = Policy::new(count("renewal_slack_hours", 24)?, count("past_due_grace_days", 0)?);
    Ok(Policy { refunds_revoke: fields.truth("refunds_revoke")?.unwrap_or(false), ..policy })
}

pub fn decide(states: &str, catalog: &str, policy: &str, question: &str, now: f64) -> Result<String, Failure> {
    let Case { facts, catalog, policy, asked, now } = Case::read(states, catalog, policy, question, now)?;
    let check = |question| answer::check(&facts, &catalog, &policy, question, now);
    let answers: Vec<CheckAnswer> = asked.questions.iter().map(check).collect();
    Ok(match answers.as_slice() {
        [only] if !asked.is_list => serde_json::to_string(only)?,
        _ => serde_json::to_string(&CheckAnswers { results: answers })?,
    })
}

pub fn entitlements(states: &str, catalog: &str, policy: &str, question: &str, now: f64) -> Result<String, Failure> {
    let Case { facts, catalog, policy, asked, now } = Case::read(states, catalog, policy, question, now)?;
    if asked.is_list || asked.questions.iter().any(|question| !question.conditions.is_empty()) {
        return Err(Failure::request(QuestionError::NoConditionsHere));
    }
    Ok(serde_json::to_string(&answer::entitlements(&facts, &catalog, &policy, now))?)
}
