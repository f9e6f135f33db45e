//! Who is in the demo, what they bought, and everything that was sent about them. What Clerk would know, and no more:
//! what it means for access is the worker's to say.

use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use crate::compose::Wish;
use crate::failure::Failure;
use crate::ids;

/// How long a period is.
const MONTH_MS: i64 = 30 * DAY_MS;

/// Somebody who is signed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    pub key: &'static str,
    name: &'static str,
    about: &'static str,
    pub ids: Ids,
    subscription: Subscription,
}

/// Who the worker takes somebody for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ids {
    pub user: String,
    /// The organization active in the session, which then is the one that pays.
    pub org: Option<String>,
}

/// What Clerk shows of a subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Subscription {
    None,
    Held {
        plan: &'static str,
        period_end: Timestamp,
        state: State,
    },
    /// The account is deleted.
    Deleted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Active,
    Canceled,
    PastDue,
}

/// An event to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telling {
    pub event_type: &'static str,
    pub plan: Option<&'static str>,
    pub status: Option<&'static str>,
    pub period_end: Option<Timestamp>,
}

/// An event that the worker has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    pub who: &'static str,
    pub event_type: &'static str,
    pub wish: Wish,
    pub body: String,
}

/// Everything that changes while the demo runs.
pub struct Stage {
    pub people: Vec<Person>,
    pub sent: Vec<Sent>,
    /// As the page shows it.
    pub log: Vec<Value>,
    /// The time of the last event: no two are of one time, so their order is theirs.
    last: Timestamp,
}

impl Stage {
    /// People whom the worker has never heard of.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn fresh(last: Timestamp) -> Result<Self, Failure> {
        let person = |key, name, about, is_org| {
            Ok(Person { key, name, about, ids: Ids::fresh(key, is_org)?, subscription: Subscription::None })
        };
        let people = vec![
            person("ada", "Ada", "a user", false)?,
            person("ben", "Ben", "another user", false)?,
            person("acme", "Acme", "an organization", true)?,
        ];
        Ok(Self { people, sent: Vec::new(), log: Vec::new(), last })
    }

    pub fn person(&mut self, key: &str) -> Option<&mut Person> {
        self.people.iter_mut().find(|person| person.key == key)
    }

    /// A time for an event: now, or just after the last one.
    pub fn moment(&mut self, now: Timestamp) -> Timestamp {
        self.last = now.max(self.last.plus_millis(1));
        self.last
    }
}

impl Ids {
    /// Ids of somebody new.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn fresh(key: &str, is_org: bool) -> Result<Self, Failure> {
        let user = ids::fresh(&format!("user_{key}_"))?;
        let org = if is_org { Some(ids::fresh(&format!("org_{key}_"))?) } else { None };
        Ok(Self { user, org })
    }

    /// A wish about the one who pays.
    pub fn wish(&self, telling: &Telling, at: Timestamp, event_id: String, instance_id: Option<String>) -> Wish {
        Wish {
            user: self.org.is_none().then(|| self.user.clone()),
            org: self.org.clone(),
            plan: telling.plan.map(str::to_owned),
            status: telling.status.map(str::to_owned),
            at,
            period_end: telling.period_end,
            trial: false,
            seats: None,
            flat: false,
            instance_id,
            event_id,
        }
    }
}

impl Person {
    /// What Clerk sends about an act, and how the person is after it; nothing where the act makes no sense now.
    pub fn act(&self, act: &str, plan: &str, at: Timestamp) -> Option<(Vec<Telling>, Self)> {
        let renewed = at.plus_millis(MONTH_MS);
        let next = |told: Vec<Telling>, subscription| Some((told, Self { subscription, ..self.clone() }));
        match (&self.subscription, act) {
            (Subscription::Deleted, _) => None,
            (_, "delete") => {
                let event_type = if self.ids.org.is_some() { "organization.deleted" } else { "user.deleted" };
                let deleted = Telling { event_type, plan: None, status: None, period_end: None };
                next(vec![deleted], Subscription::Deleted)
            }
            (held, "subscribe") => {
                let plan = ["pro", "team"].into_iter().find(|known| *known == plan)?;
                let mut told = Vec::new();
                if let Subscription::Held { plan: old, state, .. } = held {
                    if *old == plan && *state == State::Active {
                        return None;
                    }
                    if *old != plan {
                        told.push(item("subscriptionItem.ended", old, at));
                    }
                }
                told.push(item("subscriptionItem.active", plan, renewed));
                told.push(charge(plan, "paid", renewed));
                next(told, Subscription::Held { plan, period_end: renewed, state: State::Active })
            }
            (Subscription::Held { plan, period_end, state }, _) => {
                let (plan, until) = (*plan, *period_end);
                let held = |period_end, state| Subscription::Held { plan, period_end, state };
                match (act, state) {
                    ("cancel", State::Active) => {
                        next(vec![item("subscriptionItem.canceled", plan, until)], held(until, State::Canceled))
                    }
                    ("resume", State::Canceled) => {
                        next(vec![item("subscriptionItem.active", plan, until)], held(until, State::Active))
                    }
                    // A renewal fails when the period that was paid for is over.
                    ("fail", State::Active) => {
                        let told = vec![charge(plan, "failed", at), item("subscriptionItem.pastDue", plan, at)];
                        next(told, held(at, State::PastDue))
                    }
                    ("recover", State::PastDue) => {
                        let told = vec![charge(plan, "paid", renewed), item("subscriptionItem.active", plan, renewed)];
                        next(told, held(renewed, State::Active))
                    }
                    // Clerk has no event for a refund. It tells of the end that goes with one.
                    ("end" | "refund", _) => next(vec![item("subscriptionItem.ended", plan, at)], Subscription::None),
                    _ => None,
                }
            }
            (Subscription::None, _) => None,
        }
    }

    /// As the page shows it, with the acts that make sense now.
    pub fn view(&self) -> Value {
        let plan = match &self.subscription {
            Subscription::Held { plan, .. } => Some(*plan),
            Subscription::None | Subscription::Deleted => None,
        };
        let state = match &self.subscription {
            Subscription::None => "none",
            Subscription::Deleted => "deleted",
            Subscription::Held { state: State::Active, .. } => "active",
            Subscription::Held { state: State::Canceled, .. } => "canceled",
            Subscription::Held { state: State::PastDue, .. } => "past_due",
        };
        let possible = |act: &str, plan: &str| self.act(act, plan, Timestamp::from_millis(0)).is_some();
        let mut acts: Vec<&str> = ["cancel", "resume", "fail", "recover", "end", "refund", "delete"].into();
        acts.retain(|act| possible(act, ""));
        let mut plans: Vec<&str> = ["pro", "team"].into();
        plans.retain(|plan| possible("subscribe", plan));
        json!({
            "key": self.key,
            "name": self.name,
            "about": self.about,
            "user": self.ids.user,
            "org": self.ids.org,
            "plan": plan,
            "state": state,
            "acts": acts,
            "plans": plans,
        })
    }
}

fn item(event_type: &'static str, plan: &'static str, period_end: Timestamp) -> Telling {
    Telling { event_type, plan: Some(plan), status: None, period_end: Some(period_end) }
}

fn charge(plan: &'static str, status: &'static str, period_end: Timestamp) -> Telling {
    Telling { status: Some(status), ..item("paymentAttempt.updated", plan, period_end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_tells_what_clerk_would_and_only_where_it_makes_sense() {
        let at = Timestamp::from_secs(1_796_083_200);
        let mut person = Stage::fresh(at).unwrap().people.remove(0);
        let story = [
            ("cancel", "", None),
            ("subscribe", "gold", None),
            ("subscribe", "pro", Some("subscriptionItem.active paymentAttempt.updated")),
            ("subscribe", "pro", None),
            ("resume", "", None),
            ("cancel", "", Some("subscriptionItem.canceled")),
            ("fail", "", None),
            ("resume", "", Some("subscriptionItem.active")),
            ("fail", "", Some("paymentAttempt.updated subscriptionItem.pastDue")),
            ("recover", "", Some("paymentAttempt.updated subscriptionItem.active")),
            ("subscribe", "team", Some("subscriptionItem.ended subscriptionItem.active paymentAttempt.updated")),
            ("refund", "", Some("subscriptionItem.ended")),
            ("end", "", None),
            ("delete", "", Some("user.deleted")),
            ("subscribe", "pro", None),
            ("delete", "", None),
        ];
        for (act, plan, expected) in story {
            let done = person.act(act, plan, at);
            let told = done
                .as_ref()
                .map(|(told, _)| told.iter().map(|telling| telling.event_type).collect::<Vec<_>>().join(" "));
            assert_eq!(told.as_deref(), expected, "{act} {plan}");
            if let Some((_, after)) = done {
                person = after;
            }
        }
    }

    #[test]
    fn cancel_and_resume_keep_the_period_that_was_paid_for() {
        let at = Timestamp::from_secs(1_796_083_200);
        let end = Some(at.plus_millis(MONTH_MS));
        let mut person = Stage::fresh(at).unwrap().people.remove(2);
        for (act, later) in [("subscribe", 0), ("cancel", 5_000), ("resume", 9_000)] {
            let (told, after) = person.act(act, "team", at.plus_millis(later)).unwrap();
            assert_eq!(told[0].period_end, end, "{act}");
            person = after;
        }
        assert_eq!(person.act("delete", "", at).unwrap().0[0].event_type, "organization.deleted");
    }

    #[test]
    fn no_two_events_are_of_one_time() {
        let at = Timestamp::from_secs(1_796_083_200);
        let mut stage = Stage::fresh(at).unwrap();
        assert_eq!(stage.moment(at), at.plus_millis(1));
        assert_eq!(stage.moment(at), at.plus_millis(2));
        assert_eq!(stage.moment(at.plus_millis(9)), at.plus_millis(9));
    }
}
