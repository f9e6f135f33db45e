//! Generated lifecycles: whatever a payer does, in whatever order the webhooks of it come, the state is the same.
//!
//! A lifecycle is a random sequence of believable phases (an upgrade, a trial, a charge that fails, …) of a user and an
//! organization at several providers at once. Beside each delivery the generator writes down the facts it tells, and
//! `expected` folds these by the documented rules, without a line of the store's. The run in order must end in what
//! is expected. Then the same deliveries come in other orders, some more than once, some cut short between two statements
//! and sent again; each must end in the same rows and the same decisions.
//!
//! A case that fails is made as small as it can be and printed with its seed. `PLANGATE_SEED` is the seed of the first
//! lifecycle and `PLANGATE_CASES` how many lifecycles there are:
//!
//! ```sh
//! PLANGATE_SEED=7 PLANGATE_CASES=1 cargo test --features cli --test store lifecycles
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use plangate::catalog::Catalog;
use plangate::decide::{Policy, decide};
use plangate::event::{Event, Parsed, PlanRef, Record, State, Version};
use plangate::grant::{Grant, revocation};
use plangate::question::{Asked, Question};
use plangate::snapshot::Snapshot;
use plangate::status::Status;
use plangate::store::{OPERATOR, Outcome, Statement, webhook};
use plangate::time::{DAY_MS, HOUR_MS, Timestamp};
use rusqlite::types::Value as Stored;
use serde_json::{Value, json};

use crate::history::{
    NOW, Sent, Shop, T, flat_event, identity_event, item, item_event, payer, payment_event, run_statement,
    subscription_event, with,
};
use crate::seeded::Numbers;
use crate::seeded::attempts::{Attempt, any_order, in_order, setting, shrunk};

/// How many lifecycles are made, and in how many orders each is delivered, unless `PLANGATE_CASES` says otherwise.
const LIFECYCLES: u64 = 300;
const ORDERS: usize = 6;
const FIRST_SEED: u64 = 2026;
const MOST_EVENTS: usize = 30;

const USER: &str = "user_1";
const ORG: &str = "org_1";
const QUESTIONS: [&str; 4] = ["", "plan=basic", "plan=pro", "plan=team"];

// What a delivery tells.

/// The order of versions, written down a second time: the object's time, the time of sending, how far along, the id.
type Order = (i64, i64, u8, String);

/// One thing told of one record.
#[derive(Clone, Debug)]
struct Fact {
    record: (&'static str, String),
    order: Order,
    payer: Option<&'static str>,
    plan: Option<&'static str>,
    state: Option<Told>,
    trial: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    status: &'static str,
    period_end: Option<i64>,
    /// When the charge was due that is not paid, if one is not.
    due_at: i64,
}

/// How far along its life an object in this status is.
fn progress(status: &str) -> u8 {
    match status {
        "incomplete" => 2,
        "upcoming" => 3,
        "trialing" => 4,
        "active" => 5,
        "past_due" => 6,
        "unpaid" => 7,
        "canceled" => 8,
        "ended" => 9,
        other => panic!("no lifecycle has the status {other}"),
    }
}

/// One delivery of a lifecycle.
#[derive(Clone)]
struct Step {
    phase: &'static str,
    provider: &'static str,
    sent: Sent,
    statements: Vec<Statement>,
    /// It shows records or payments, so what it comes to depends on what is known.
    shows_state: bool,
    facts: Vec<Fact>,
    deletes: Option<(&'static str, i64)>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.provider, self.sent.event_id, self.phase)?;
        // The event in normal form, as the first statement binds it.
        write!(f, "\n      {:?}", self.statements[0].params[8])
    }
}

// The generator.

/// A subscription item at Clerk.
#[derive(Clone)]
struct Item {
    id: String,
    plan: &'static str,
    /// As Clerk writes it.
    status: &'static str,
    trial: bool,
    start: i64,
    end: Option<i64>,
    changed_at: i64,
}

/// A subscription at another provider, or a grant of an operator's.
struct Elsewhere {
    provider: &'static str,
    id: String,
    payer: &'static str,
}

struct Life {
    numbers: Numbers,
    phase: &'static str,
    at: i64,
    steps: Vec<Step>,
    items: BTreeMap<&'static str, Vec<Item>>,
    elsewhere: Vec<Elsewhere>,
    made: u32,
}

type Phase = (&'static str, fn(&mut Life, &'static str));

const PHASES: &[Phase] = &[
    ("bought", Life::bought),
    ("upgraded", Life::bought),
    ("downgrade scheduled", Life::downgrade_scheduled),
    ("canceled", Life::canceled),
    ("canceled and back early", Life::back_early),
    ("trial", Life::trial),
    ("past due", Life::past_due),
    ("ended now", Life::ended_now),
    ("free plan cycling", Life::free_cycling),
    ("flat form", Life::flat),
    ("another provider", Life::another_provider),
    ("another provider", Life::another_provider),
    ("granted by hand", Life::granted_by_hand),
    ("news of the person", Life::news_of_the_person),
    ("deleted", Life::deleted),
];

fn lifecycle(seed: u64) -> Vec<Step> {
    let mut life = Life {
        numbers: Numbers::new(seed),
        phase: "",
        at: T,
        steps: Vec::new(),
        items: BTreeMap::new(),
        elsewhere: Vec::new(),
        made: 0,
    };
    // Most are short, some have all the events there may be.
    let wanted = 2 + life.numbers.index(MOST_EVENTS - 1).min(life.numbers.index(MOST_EVENTS - 1));
    while life.steps.len() < wanted {
        let (name, phase) = life.numbers.pick(PHASES);
        // Whoever is deleted stays so, and too early an end would leave little to see.
        if name == "deleted" && !life.numbers.once_in(3) {
            continue;
        }
        life.phase = name;
        let payer = life.numbers.pick(&[USER, USER, ORG]);
        phase(&mut life, payer);
        life.at += life.numbers.pick(&[0, 1, 40, 60_000, HOUR_MS, DAY_MS, 9 * DAY_MS]);
    }
    life.steps.truncate(MOST_EVENTS);
    life.steps
}

impl Life {
    /// A moment later, which may be the same one.
    fn tick(&mut self) {
        self.at += self.numbers.pick(&[0, 0, 1, 3, 900, 60_000]);
    }

    /// When what happens now is sent.
    fn sending(&mut self) -> i64 {
        self.at + self.numbers.pick(&[0, 0, 2, 35])
    }

    /// Ids do not tell which event came first.
    fn event_id(&mut self) -> String {
        self.made += 1;
        format!("msg_{:04x}_{}", self.numbers.below(0x1_0000), self.made)
    }

    fn fresh(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}_{}", self.made)
    }

    fn push(&mut self, provider: &'static str, sent: Sent, parsed: Parsed, facts: Vec<Fact>) {
        let Parsed::Event(event) = &parsed else { panic!("{parsed:?}") };
        let shows_state = !event.records.is_empty() || !event.payments.is_empty();
        let now = Timestamp::from_millis(NOW);
        let statements = webhook(provider, &sent.verified(), &Ok(parsed), false, now).unwrap();
        self.steps.push(Step { phase: self.phase, provider, sent, statements, shows_state, facts, deletes: None });
    }

    fn push_clerk(&mut self, sent: Sent, facts: Vec<Fact>) {
        let parsed = sent.parse().unwrap();
        self.push("clerk", sent, parsed, facts);
    }

    fn json(payer: &str, one: &Item) -> Value {
        let periods = json!({"period_start": one.start, "period_end": one.end, "is_free_trial": one.trial});
        with(item(payer, &one.id, one.status, one.plan, one.changed_at), periods)
    }

    fn fact(of: Option<&'static str>, one: &Item, sent_at: i64, event_id: &str) -> Fact {
        let status = match one.status {
            "active" if one.trial => "trialing",
            "abandoned" => "ended",
            other => other,
        };
        Fact {
            record: ("clerk", one.id.clone()),
            order: (one.changed_at, sent_at, progress(status), event_id.to_owned()),
            payer: of,
            plan: Some(one.plan),
            // What is due at Clerk is the renewal of a period that is over.
            state: Some(Told {
                status,
                period_end: one.end,
                due_at: one.end.map_or(one.changed_at, |end| end.min(one.changed_at)),
            }),
            trial: one.trial,
        }
    }

    fn items(&mut self, payer: &'static str) -> &mut Vec<Item> {
        let (at, free) = (self.at, if payer == ORG { "free_org" } else { "free_user" });
        self.items.entry(payer).or_insert_with(|| {
            let id = format!("i_free_{payer}");
            vec![Item { id, plan: free, status: "active", trial: false, start: at, end: None, changed_at: at }]
        })
    }

    /// The item changes now, and an event tells of it.
    fn becomes(&mut self, payer: &'static str, index: usize, status: &'static str) {
        let at = self.at;
        let one = &mut self.items(payer)[index];
        (one.status, one.changed_at) = (status, at);
        self.tell(payer, index);
    }

    fn tell(&mut self, payer: &'static str, index: usize) {
        let (sent_at, event_id) = (self.sending(), self.event_id());
        let one = self.items(payer)[index].clone();
        // Some do not say whose they are, or of which subscription.
        let named = (!self.numbers.once_in(5)).then_some(payer);
        let mut body = Self::json(payer, &one);
        if named.is_none() {
            body = with(body, json!({"payer": null}));
        }
        if self.numbers.once_in(5) {
            body = with(body, json!({"subscription_id": null}));
        }
        let fact = Self::fact(named, &one, sent_at, &event_id);
        self.push_clerk(item_event(&event_id, one.status, sent_at, body), vec![fact]);
    }

    /// The whole subscription, as it now stands.
    fn show(&mut self, payer: &'static str) {
        let (sent_at, event_id, at) = (self.sending(), self.event_id(), self.at);
        let items = self.items(payer).clone();
        let facts = items.iter().map(|one| Self::fact(Some(payer), one, sent_at, &event_id)).collect();
        let bodies = items.iter().map(|one| Self::json(payer, one)).collect();
        let mut sent = subscription_event(&event_id, "updated", at, payer, bodies);
        sent.body = with(serde_json::from_slice(&sent.body).unwrap(), json!({"timestamp": sent_at})).to_string().into();
        self.push_clerk(sent, facts);
    }

    /// An attempt to charge, which some senders tell of before it is settled.
    fn charge(&mut self, status: &str, made_at: i64) {
        let (id, at) = (self.fresh("cpa"), self.at);
        for status in if self.numbers.once_in(2) { vec!["pending", status] } else { vec![status] } {
            let event_id = self.event_id();
            self.push_clerk(payment_event(&event_id, at, &id, "cpay_1", status, made_at), vec![]);
        }
    }

    /// The paid item that is held, after buying one where there is none.
    fn held(&mut self, payer: &'static str) -> usize {
        let held = |items: &[Item]| items.iter().rposition(|one| one.end.is_some() && one.status == "active");
        if held(self.items(payer)).is_none() {
            self.bought(payer);
            self.tick();
        }
        held(self.items(payer)).unwrap()
    }

    fn add(&mut self, payer: &'static str, plan: &'static str, status: &'static str, start: i64, trial: bool) -> usize {
        let (id, changed_at) = (self.fresh("i"), self.at);
        let end = Some(start + 30 * DAY_MS);
        self.items(payer).push(Item { id, plan, status, trial, start, end, changed_at });
        let last = self.items(payer).len() - 1;
        self.tell(payer, last);
        last
    }

    fn bought(&mut self, payer: &'static str) {
        let old: Vec<usize> = {
            let items = self.items(payer).iter().enumerate();
            items.filter(|(_, one)| one.status == "active").map(|(index, _)| index).collect()
        };
        let plan = self.numbers.pick(&["basic", "pro", "team"]);
        let at = self.at;
        if self.numbers.once_in(3) {
            let new = self.add(payer, plan, "incomplete", at, false);
            self.tick();
            self.becomes(payer, new, "active");
        } else {
            self.add(payer, plan, "active", at, false);
        }
        for index in old {
            self.becomes(payer, index, "ended");
        }
        if self.numbers.once_in(2) {
            self.charge("paid", at);
        }
        if self.numbers.once_in(2) {
            self.show(payer);
        }
    }

    fn downgrade_scheduled(&mut self, payer: &'static str) {
        let held = self.held(payer);
        let end = self.items(payer)[held].end.unwrap();
        self.becomes(payer, held, "canceled");
        let next = self.add(payer, "basic", "upcoming", end, false);
        if self.numbers.once_in(2) {
            self.show(payer);
        }
        self.at = self.at.max(end);
        self.becomes(payer, next, "active");
        self.becomes(payer, held, "ended");
    }

    fn canceled(&mut self, payer: &'static str) {
        let held = self.held(payer);
        let end = self.items(payer)[held].end.unwrap();
        self.becomes(payer, held, "canceled");
        self.becomes(payer, 0, "upcoming");
        if self.numbers.once_in(2) {
            return;
        }
        self.at = self.at.max(end);
        self.becomes(payer, held, "ended");
        self.becomes(payer, 0, "active");
    }

    fn back_early(&mut self, payer: &'static str) {
        let held = self.held(payer);
        self.becomes(payer, held, "canceled");
        self.becomes(payer, 0, "upcoming");
        self.tick();
        self.becomes(payer, held, "active");
        self.becomes(payer, 0, "abandoned");
        if self.numbers.once_in(2) {
            self.show(payer);
        }
    }

    fn trial(&mut self, payer: &'static str) {
        let at = self.at;
        let item = self.add(payer, "pro", "active", at, true);
        self.at += self.numbers.pick(&[0, DAY_MS, 7 * DAY_MS]);
        if self.numbers.once_in(2) {
            self.items(payer)[item].trial = false;
            self.charge("paid", at);
            self.becomes(payer, item, "active");
        } else {
            self.becomes(payer, item, "ended");
            self.becomes(payer, 0, "active");
        }
    }

    fn past_due(&mut self, payer: &'static str) {
        let held = self.held(payer);
        let end = self.items(payer)[held].end.unwrap();
        self.at = self.at.max(end);
        let due = self.at;
        self.charge("failed", due);
        self.becomes(payer, held, "past_due");
        if self.numbers.once_in(2) {
            self.show(payer);
        }
        self.at += self.numbers.pick(&[0, 5, DAY_MS]);
        match self.numbers.below(3) {
            0 => {}
            1 => self.becomes(payer, held, "ended"),
            _ => {
                self.items(payer)[held].end = Some(due + 30 * DAY_MS);
                self.charge("paid", due);
                self.becomes(payer, held, "active");
            }
        }
    }

    fn ended_now(&mut self, payer: &'static str) {
        let held = self.held(payer);
        self.becomes(payer, held, "ended");
        self.becomes(payer, 0, "active");
        self.show(payer);
    }

    /// The free plan's item keeps its id for good.
    fn free_cycling(&mut self, payer: &'static str) {
        for status in ["ended", "upcoming", "abandoned", "active"] {
            self.tick();
            self.becomes(payer, 0, status);
        }
    }

    fn flat(&mut self, payer: &'static str) {
        for _ in 0..=self.numbers.below(3) {
            self.tick();
            let (sent_at, at, event_id) = (self.sending(), self.at, self.event_id());
            let what = self.numbers.pick(&["created", "updated", "updated", "payment_failed", "deleted"]);
            let plan = self.numbers.pick(&[None, Some("pro"), Some("team")]);
            let said = self.numbers.pick(&[None, Some("active"), Some("trialing")]);
            let owner = if payer == ORG { "org_id" } else { "user_id" };
            let mut data = json!({"updated_at": at, owner: payer});
            if let Some(plan) = plan {
                data["plan"] = json!(plan);
            }
            if let Some(status) = said {
                data["status"] = json!(status);
            }
            let (status, period_end) = match what {
                "created" => (Some(said.unwrap_or("active")), None),
                "updated" => (said, None),
                "payment_failed" => (Some("past_due"), None),
                _ => (Some("canceled"), Some(at)),
            };
            let step = if what == "created" { 0 } else { status.map_or(1, progress) };
            let fact = Fact {
                record: ("clerk", format!("flat:{}", self::payer(payer).key())),
                order: (at, sent_at, step, event_id.clone()),
                payer: Some(payer),
                plan,
                state: status.map(|status| Told { status, period_end, due_at: at }),
                trial: status == Some("trialing"),
            };
            self.push_clerk(flat_event(&event_id, what, sent_at, data), vec![fact]);
        }
    }

    /// An event of another provider's about one of its subscriptions, as its file would read it.
    fn subscription_elsewhere(&mut self, index: usize, is_first: bool, plan: Option<&'static str>, told: Told) {
        let (sent_at, event_id, changed_at) = (self.sending(), self.event_id(), self.at);
        let Elsewhere { provider, ref id, payer } = self.elsewhere[index];
        let id = id.clone();
        // Some speak of the customer alone, once they have said who it is.
        let named = (is_first || self.numbers.once_in(2)).then_some(payer);
        let at = Timestamp::from_millis;
        let record = Record {
            id: id.clone(),
            version: Version::new(at(changed_at), at(sent_at), progress(told.status), &event_id),
            occurred_at: at(changed_at),
            payer: named.map(self::payer),
            customer: Some(format!("cus_{payer}")),
            subscription: None,
            plan: plan.map(|key| PlanRef { key: key.into(), id: None, free: false }),
            state: Some(State {
                period_end: told.period_end.map(at),
                past_due_since: (told.status == "past_due").then(|| at(changed_at)),
                ..State::new(Status::parse(told.status))
            }),
            trial: told.status == "trialing",
            started_at: Some(at(changed_at)),
        };
        let fact = Fact {
            record: (provider, id),
            order: (changed_at, sent_at, progress(told.status), event_id.clone()),
            payer: named,
            plan,
            state: Some(told),
            trial: told.status == "trialing",
        };
        let event = Event {
            event_type: "subscription.updated".into(),
            occurred_at: record.occurred_at,
            payer: record.payer.clone(),
            deleted_at: None,
            records: vec![record],
            payments: Vec::new(),
            links: Vec::new(),
            signed: None,
        };
        self.push(provider, Sent::raw(&event_id, "{}"), Parsed::Event(event), vec![fact]);
    }

    fn another_provider(&mut self, payer: &'static str) {
        let provider = self.numbers.pick(&["stripe", "paddle"]);
        let known = self.elsewhere.iter().position(|one| (one.provider, one.payer) == (provider, payer));
        let (index, life): (usize, &[&'static str]) = match known {
            Some(index) if self.numbers.once_in(2) => (
                index,
                self.numbers.pick(&[
                    &["past_due", "past_due", "active"],
                    &["canceled", "ended"],
                    &["past_due", "unpaid"],
                ]),
            ),
            _ => {
                let id = self.fresh("sub");
                self.elsewhere.push(Elsewhere { provider, id, payer });
                let life =
                    self.numbers.pick(&[&["incomplete", "active"] as &[_], &["trialing", "active"], &["active"]]);
                (self.elsewhere.len() - 1, life)
            }
        };
        let plan = self.numbers.pick(&["basic", "pro"]);
        for (number, status) in life.iter().enumerate() {
            self.tick();
            let told = Told { status, period_end: Some(self.at + 30 * DAY_MS), due_at: self.at };
            let is_first = number == 0 && known != Some(index);
            let plan = (is_first || self.numbers.once_in(3)).then_some(plan);
            self.subscription_elsewhere(index, is_first, plan, told);
        }
    }

    fn granted_by_hand(&mut self, payer: &'static str) {
        let known = self.elsewhere.iter().position(|one| (one.provider, one.payer) == (OPERATOR, payer));
        let (at, event_id) = (self.at, self.event_id());
        let now = Timestamp::from_millis(at);
        let (event, fact) = if let Some(index) = known {
            let id = self.elsewhere.remove(index).id;
            let event = revocation(br#"{"by":"ada","why":"a mistake"}"#, &id, &event_id, now).unwrap();
            let state = Told { status: "ended", period_end: None, due_at: at };
            let order = (at, at, 9, event_id.clone());
            (event, Fact { record: (OPERATOR, id), order, payer: None, plan: None, state: Some(state), trial: false })
        } else {
            let until = self.numbers.pick(&[None, Some(at + 14 * DAY_MS)]);
            let owner = if payer == ORG { "org_id" } else { "user_id" };
            let mut asked = json!({owner: payer, "plan": "pro", "by": "ada", "why": "a bug cost them a week"});
            if let Some(until) = until {
                asked["until"] = json!(Timestamp::from_millis(until).to_string());
            }
            let grant = Grant::from_json(asked.to_string().as_bytes(), &Catalog::default(), now).unwrap();
            self.elsewhere.push(Elsewhere { provider: OPERATOR, id: event_id.clone(), payer });
            let state = Told { status: "active", period_end: until, due_at: at };
            let order = (at, at, 5, event_id.clone());
            let record = (OPERATOR, event_id.clone());
            let fact = Fact { record, order, payer: Some(payer), plan: Some("pro"), state: Some(state), trial: false };
            (grant.event(&event_id, now), fact)
        };
        self.push(OPERATOR, Sent::raw(&event_id, ""), Parsed::Event(event), vec![fact]);
    }

    fn news_of_the_person(&mut self, payer: &'static str) {
        let (event_id, at) = (self.event_id(), self.at);
        let kind = if payer == ORG { "organization.updated" } else { "user.updated" };
        self.push_clerk(identity_event(&event_id, kind, at, payer), vec![]);
    }

    /// Which some senders tell of again.
    fn deleted(&mut self, payer: &'static str) {
        let kind = if payer == ORG { "organization.deleted" } else { "user.deleted" };
        for _ in 0..=self.numbers.below(2) {
            self.tick();
            let (event_id, at) = (self.event_id(), self.at);
            self.push_clerk(identity_event(&event_id, kind, at, payer), vec![]);
            self.steps.last_mut().unwrap().deletes = Some((payer, at));
        }
    }
}

// What must come of it.

/// What should be held of a record: of each register, what the newest fact that speaks of it says.
#[derive(Default)]
struct Held {
    payer: Option<(Order, &'static str)>,
    plan: Option<(Order, &'static str)>,
    state: Option<(Order, Told)>,
    /// In a trial, at any time.
    tried: bool,
}

impl Held {
    fn told(&self) -> Told {
        self.state.as_ref().map_or(Told { status: "active", period_end: None, due_at: 0 }, |(_, told)| *told)
    }

    /// Until when it grants; `None` not at all.
    fn grants_until(&self, provider: &str) -> Option<i64> {
        let Told { status, period_end, due_at } = self.told();
        let slack = if provider == OPERATOR { 0 } else { 24 * HOUR_MS };
        match status {
            "active" | "trialing" => Some(period_end.map_or(i64::MAX, |end| end + slack)),
            "canceled" => period_end,
            "past_due" => Some(period_end.map_or(due_at, |end| end.max(due_at))),
            _ => None,
        }
    }
}

struct Expected {
    records: BTreeMap<(&'static str, String), Held>,
    deleted: BTreeMap<&'static str, i64>,
}

fn expected<'a>(steps: impl Iterator<Item = &'a Step>) -> Expected {
    fn keep<T>(register: &mut Option<(Order, T)>, order: &Order, value: Option<T>) {
        if let Some(value) = value.filter(|_| register.as_ref().is_none_or(|(known, _)| order > known)) {
            *register = Some((order.clone(), value));
        }
    }
    let mut expected = Expected { records: BTreeMap::new(), deleted: BTreeMap::new() };
    for step in steps {
        for fact in &step.facts {
            let held = expected.records.entry(fact.record.clone()).or_default();
            keep(&mut held.payer, &fact.order, fact.payer);
            keep(&mut held.plan, &fact.order, fact.plan);
            keep(&mut held.state, &fact.order, fact.state);
            held.tried |= fact.trial;
        }
        if let Some((payer, at)) = step.deletes {
            expected.deleted.entry(payer).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
    }
    expected
}

impl Expected {
    fn rows(&self) -> Vec<String> {
        let text = |payer: &str| self::payer(payer).key();
        let rows = self.records.iter().map(|((provider, id), held)| {
            let (told, payer) = (held.told(), held.payer.as_ref().map_or("-".into(), |(_, payer)| text(payer)));
            let plan = held.plan.as_ref().map_or("-", |(_, plan)| plan);
            let end = told.period_end.map_or("-".into(), |end| end.to_string());
            format!(
                "row={:?}",
                format!("{provider} {id} {payer} {plan} {} {end} {}", told.status, u8::from(held.tried))
            )
        });
        let deleted = self.deleted.iter().map(|(payer, at)| format!("row={:?}", format!("{} {at}", text(payer))));
        rows.chain(deleted).collect()
    }

    /// Whether these payers together may have what is asked.
    fn allows(&self, payers: &[&str], query: &str, at: i64) -> bool {
        let plan = query.strip_prefix("plan=");
        let is_deleted = |payer: &str| self.deleted.contains_key(payer);
        !(payers.contains(&USER) && is_deleted(USER))
            && self.records.iter().any(|((provider, _), held)| {
                let owner = held.payer.as_ref().map_or("", |(_, payer)| payer);
                let sold = held.plan.as_ref().map_or("free_user", |(_, plan)| plan);
                payers.contains(&owner)
                    && !is_deleted(owner)
                    && plan.map_or(!sold.starts_with("free_"), |plan| plan == sold)
                    && held.grants_until(provider).is_some_and(|until| at < until)
            })
    }

    /// Times at which answers may differ: around the ends of what is held.
    fn times(&self) -> Vec<i64> {
        let ends: BTreeSet<i64> = self.records.values().filter_map(|held| held.told().period_end).collect();
        // The first end and the last; between them the answers of both orders are as alike as the rows.
        let ends = ends.first().into_iter().chain(ends.last());
        let around = ends.flat_map(|end| [end - 1, *end, end + 24 * HOUR_MS - 1, end + 24 * HOUR_MS]);
        around.chain([T]).collect()
    }
}

// The property.

/// All that may be seen in the end: the rows, and the answers at several times.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    state: String,
    rows: Vec<String>,
    answers: Vec<(String, bool, String)>,
}

struct Asking {
    questions: Vec<(&'static str, Question)>,
    catalog: Catalog,
}

impl Asking {
    fn new() -> Self {
        let questions = QUESTIONS.iter().map(|query| (*query, Asked::from_query(query).unwrap().questions.remove(0)));
        Self { questions: questions.collect(), catalog: Catalog::default() }
    }
}

const GROUPS: [&[&str]; 3] = [&[USER], &[ORG], &[USER, ORG]];

fn see(shop: &Shop, asking: &Asking, times: &[i64]) -> Seen {
    const ROWS: &str = "SELECT provider || ' ' || id || ' ' || coalesce(payer, '-') || ' ' || coalesce(plan, '-') || ' ' || \
                        status || ' ' || coalesce(period_end, '-') || ' ' || trial_used AS row FROM records ORDER BY provider, id";
    const DELETED: &str =
        "SELECT payer || ' ' || deleted_at AS row FROM payers WHERE deleted_at IS NOT NULL ORDER BY payer";
    let read = |id: &str| -> Snapshot {
        let mut snapshot = shop.snapshot(id);
        for record in &mut snapshot.records {
            // No catalog can name a provider that the registry does not know, so its plan keys are read as slugs.
            if record.provider != OPERATOR {
                record.provider = "clerk".into();
            }
        }
        snapshot
    };
    let known: BTreeMap<&str, Snapshot> = [USER, ORG].into_iter().map(|id| (id, read(id))).collect();
    let mut answers = Vec::new();
    for payers in GROUPS {
        for (query, question) in &asking.questions {
            for at in times {
                let snapshots = payers.iter().map(|payer| &known[payer]);
                let now = Timestamp::from_millis(*at);
                let decision = decide(snapshots, &asking.catalog, &Policy::default(), question, now);
                answers.push((format!("{payers:?} {query} at {at}"), decision.allowed, format!("{decision:?}")));
            }
        }
    }
    Seen { state: shop.state(), rows: [shop.rows(ROWS), shop.rows(DELETED)].concat(), answers }
}

/// Delivers one attempt, and checks what is answered.
fn attempt(shop: &Shop, step: &Step, crash: Option<usize>, is_known: bool) -> Result<(), String> {
    if let Some(statements) = crash {
        let cut = statements.min(step.statements.len());
        shop.tentatively(|shop| {
            for statement in &step.statements[..cut] {
                run_statement(shop.connection(), statement);
            }
        });
        return Ok(());
    }
    let mut state_rows = 0;
    let mut answers = Vec::new();
    for statement in &step.statements {
        answers.push(run_statement(shop.connection(), statement));
        if statement.sql.starts_with("INSERT INTO records ") || statement.sql.starts_with("INSERT INTO payments ") {
            state_rows += shop.connection().changes();
        }
    }
    let Some(Stored::Text(outcome)) = answers.first().and_then(|rows| rows.first()?.first()) else {
        return Err("no outcome".into());
    };
    let expected = match (is_known, state_rows > 0 || !step.shows_state) {
        (true, _) => Outcome::Duplicate,
        (false, true) => Outcome::Stored,
        (false, false) => Outcome::Stale,
    };
    if outcome == expected.as_str() {
        Ok(())
    } else {
        Err(format!("{} is {outcome} and should be {expected:?}: {state_rows} rows", step.sent.event_id))
    }
}

fn deliver(shop: &Shop, asking: &Asking, steps: &[Step], order: &[Attempt], times: &[i64]) -> Result<Seen, String> {
    shop.tentatively(|shop| {
        let mut known = BTreeSet::new();
        for one in order {
            attempt(shop, &steps[one.event], one.crash, known.contains(&one.event))?;
            if one.crash.is_none() {
                known.insert(one.event);
            }
        }
        Ok(see(shop, asking, times))
    })
}

/// In order, a lifecycle ends in what is expected.
fn run_in_order(shop: &Shop, asking: &Asking, steps: &[Step]) -> Result<Seen, String> {
    let expected = expected(steps.iter());
    let seen = deliver(shop, asking, steps, &in_order(steps.len()), &expected.times())?;
    if seen.rows != expected.rows() {
        return Err(format!("in order:\n  {:#?}\nexpected:\n  {:#?}", seen.rows, expected.rows()));
    }
    let mut answers = seen.answers.iter();
    for payers in GROUPS {
        for query in QUESTIONS {
            for at in expected.times() {
                let (what, allowed, decision) = answers.next().unwrap();
                if *allowed != expected.allows(payers, query, at) {
                    return Err(format!("{what}, in order: {decision}"));
                }
            }
        }
    }
    Ok(seen)
}

/// In another order, it ends in the same.
fn run_in(shop: &Shop, asking: &Asking, steps: &[Step], order: &[Attempt], first: &Seen) -> Result<(), String> {
    let seen = deliver(shop, asking, steps, order, &expected(steps.iter()).times())?;
    if seen == *first {
        return Ok(());
    }
    let differing = first.answers.iter().zip(&seen.answers).find(|(one, other)| one != other);
    Err(format!("in order:\n{}\nin this order:\n{}\n{differing:?}", first.state, seen.state))
}

fn fails(shop: &Shop, asking: &Asking, steps: &[Step], order: &[Attempt]) -> Option<String> {
    let first = match run_in_order(shop, asking, steps) {
        Ok(first) => first,
        Err(why) => return Some(why),
    };
    run_in(shop, asking, steps, order, &first).err()
}

/// Runs one lifecycle in order and in some others; what fails comes back small, as text.
fn check(shop: &Shop, asking: &Asking, seed: u64) -> Result<(), String> {
    let steps = lifecycle(seed);
    let report = |order: &[Attempt]| {
        let is_failing = |steps: &[Step], order: &[Attempt]| fails(shop, asking, steps, order).is_some();
        let (least, order) = shrunk(&steps, order, is_failing);
        let why = fails(shop, asking, &least, &order).unwrap_or_default();
        let history: Vec<String> = least.iter().enumerate().map(|(n, step)| format!("  {n}: {step:?}")).collect();
        let order: Vec<String> = order
            .iter()
            .map(|one| one.crash.map_or(one.event.to_string(), |cut| format!("{} cut after {cut}", one.event)))
            .collect();
        format!(
            "repeat with PLANGATE_SEED={seed} PLANGATE_CASES=1\n{} of {} events:\n{}\nin the order {}\n{why}",
            least.len(),
            steps.len(),
            history.join("\n"),
            order.join(", "),
        )
    };
    let first = run_in_order(shop, asking, &steps).map_err(|_| report(&in_order(steps.len())))?;
    let mut numbers = Numbers::new(!seed);
    for _ in 0..ORDERS {
        let order = any_order(&mut numbers, steps.len());
        run_in(shop, asking, &steps, &order, &first).map_err(|_| report(&order))?;
    }
    Ok(())
}

#[test]
fn rule_2_generated_lifecycles_end_alike_in_any_order_with_duplicates_and_crashes() {
    let (first, count) = (setting("PLANGATE_SEED", FIRST_SEED), setting("PLANGATE_CASES", LIFECYCLES));
    let workers = thread::available_parallelism().map_or(1, |number| number.get() as u64);
    thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                let (shop, asking) = (Shop::new(), Asking::new());
                for seed in (0..count).filter(|number| number % workers == worker).map(|number| first + number) {
                    if let Err(report) = check(&shop, &asking, seed) {
                        panic!("{report}");
                    }
                }
            });
        }
    });
}

#[test]
fn rule_3_nothing_is_deleted_by_any_event_of_any_lifecycle() {
    const KEYS: &str = "SELECT 'delivery ' || provider || ' ' || event_id AS row FROM deliveries \
                        UNION ALL SELECT 'record ' || provider || ' ' || id FROM records \
                        UNION ALL SELECT 'payment ' || provider || ' ' || id FROM payments \
                        UNION ALL SELECT 'payer ' || payer FROM payers \
                        UNION ALL SELECT 'tombstone ' || payer FROM payers WHERE deleted_at IS NOT NULL";
    let (shop, mut tombstones) = (Shop::new(), 0);
    for seed in (FIRST_SEED..).take(60) {
        let steps = lifecycle(seed);
        let order = any_order(&mut Numbers::new(seed), steps.len());
        shop.tentatively(|shop| {
            let mut known = BTreeSet::new();
            for one in &order {
                for statement in &steps[one.event].statements {
                    run_statement(shop.connection(), statement);
                }
                let now: BTreeSet<String> = shop.rows(KEYS).into_iter().collect();
                let lost: Vec<&String> = known.difference(&now).collect();
                assert!(lost.is_empty(), "seed {seed}: {:?} took away {lost:?}", steps[one.event]);
                known = now;
            }
            tombstones += known.iter().filter(|row| row.contains("tombstone")).count();
        });
    }
    assert!(tombstones > 5, "only {tombstones} payers were deleted");
}

// That the test can fail, and that what it generates is what it is meant to be.

#[test]
fn the_generator_reaches_every_phase_every_provider_and_ties() {
    let lives: Vec<Vec<Step>> = (0..LIFECYCLES).map(|number| lifecycle(FIRST_SEED + number)).collect();
    let steps = || lives.iter().flatten();
    let phases: BTreeSet<&str> = steps().map(|step| step.phase).collect();
    assert_eq!(phases, PHASES.iter().map(|(name, _)| *name).collect());
    let providers: BTreeSet<&str> = steps().map(|step| step.provider).collect();
    assert_eq!(providers, BTreeSet::from(["clerk", OPERATOR, "paddle", "stripe"]));
    let with_three =
        lives.iter().filter(|life| life.iter().map(|step| step.provider).collect::<BTreeSet<_>>().len() >= 3);
    assert!(with_three.count() > 30);
    assert!(lives.iter().any(|life| life.len() == MOST_EVENTS));
    assert!(lives.iter().all(|life| (2..=MOST_EVENTS).contains(&life.len())));

    // Ties of one record: at the same time, and at the same time in all.
    let tied = |alike: fn(&Order, &Order) -> bool| {
        let has = |life: &&Vec<Step>| {
            let facts: Vec<&Fact> = life.iter().flat_map(|step| &step.facts).collect();
            facts.iter().enumerate().any(|(number, one)| {
                facts[..number].iter().any(|other| one.record == other.record && alike(&one.order, &other.order))
            })
        };
        lives.iter().filter(has).count()
    };
    assert!(tied(|one, other| one.0 == other.0 && one.2 != other.2) > 50);
    assert!(tied(|one, other| (one.0, one.1) == (other.0, other.1) && one.2 != other.2) > 20);
    assert!(tied(|one, other| (one.0, one.1, one.2) == (other.0, other.1, other.2)) > 20);

    // Yes and no are both common answers.
    let (mut yes, mut no) = (0, 0);
    for life in &lives {
        let expected = expected(life.iter());
        for at in expected.times() {
            if expected.allows(&[USER], "", at) { yes += 1 } else { no += 1 }
        }
    }
    assert!(yes > 500 && no > 500, "{yes} yes, {no} no");
}

#[test]
fn a_failing_case_is_made_as_small_as_it_can_be() {
    let place = |history: &[char], order: &[Attempt], event: char| {
        order.iter().position(|attempt| attempt.crash.is_none() && history[attempt.event] == event)
    };
    let is_cut = |history: &[char], order: &[Attempt], event: char| {
        order.iter().any(|attempt| attempt.crash.is_some() && history[attempt.event] == event)
    };
    let whole = |event| Attempt { event, crash: None };
    let history: Vec<char> = ('a'..='t').collect();
    for seed in 0..50 {
        let mut numbers = Numbers::new(seed);
        let order = any_order(&mut numbers, history.len());

        // Some event arrives before an older one, while a third is there.
        let inverted = |history: &[char], order: &[Attempt]| {
            let places = ['c', 'k', 'q'].map(|event| place(history, order, event));
            matches!(places, [Some(c), Some(_), Some(q)] if q < c)
        };
        if inverted(&history, &order) {
            let least = shrunk(&history, &order, inverted);
            assert_eq!(least.0, ['c', 'k', 'q'], "seed {seed}");
            // The third may be on either side of the two, where nothing is left to put in order.
            assert!(
                [vec![2, 0, 1], vec![1, 2, 0]]
                    .iter()
                    .any(|wanted| { least.1 == wanted.iter().copied().map(whole).collect::<Vec<_>>() }),
                "seed {seed}: {:?}",
                least.1
            );
        }

        // A transaction of one event was lost.
        let lost = |history: &[char], order: &[Attempt]| is_cut(history, order, 'f');
        if lost(&history, &order) {
            let (least, order) = shrunk(&history, &order, lost);
            assert_eq!(least, ['f'], "seed {seed}");
            assert_eq!(order.len(), 2, "seed {seed}: {order:?}");
        }

        // One event comes twice.
        let twice = |history: &[char], order: &[Attempt]| {
            order.iter().filter(|attempt| attempt.crash.is_none() && history[attempt.event] == 'm').count() > 1
        };
        if twice(&history, &order) {
            assert_eq!(shrunk(&history, &order, twice), (vec!['m'], vec![whole(0), whole(0)]), "seed {seed}");
        }
    }
}

#[test]
fn a_store_that_went_by_arrival_would_be_caught_and_shown_by_two_events() {
    let (shop, asking) = (Shop::new(), Asking::new());
    // Forgets versions, so that whatever arrives last is believed.
    let sabotage = "CREATE TRIGGER sabotage AFTER INSERT ON deliveries BEGIN UPDATE records SET version = ''; END";
    shop.connection().execute_batch(sabotage).unwrap();
    let caught = (0..20).filter_map(|number| check(&shop, &asking, FIRST_SEED + number).err());
    let reports: Vec<String> = caught.collect();
    assert!(reports.len() > 10, "only {} of 20 lifecycles show it", reports.len());
    for report in &reports {
        assert!(report.contains("\n2 of "), "{report}");
    }
    // In some, two events of one time are enough in the order in which they happened.
    assert!(reports.iter().any(|report| report.contains("\nin the order 1, 0\n")));
}

#[test]
fn a_store_that_kept_half_of_a_delivery_would_be_caught() {
    let (shop, asking) = (Shop::new(), Asking::new());
    // A ledger's row that outlives its transaction is, to what comes after, a row whose records were never written.
    let sabotage = "CREATE TRIGGER sabotage AFTER INSERT ON deliveries WHEN new.event_type = 'subscription.updated' \
                    BEGIN UPDATE deliveries SET event = NULL WHERE seq = new.seq; END";
    shop.connection().execute_batch(sabotage).unwrap();
    let caught = (0..20).filter(|number| check(&shop, &asking, FIRST_SEED + number).is_err()).count();
    assert!(caught > 10, "only {caught} of 20 lifecycles show it");
}
