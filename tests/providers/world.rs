//! What really happens at providers: purchases and what becomes of them, the deliveries that tell of it, and who may have
//! what, by the access rules that the providers document. Not a line of plangate is used here.

use chrono::{DateTime, Datelike, Days, Months};
use serde_json::{Value, json};

use crate::seeded::Numbers;
use crate::shapes::{SHAPES, Shape};

pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The start of 2026.
pub const T: i64 = 1_767_225_600_000;

pub const PAYERS: [&str; 3] = ["user_1", "user_2", "org_1"];
/// What is sold by the month, beside what is sold once.
pub const PLANS: [&str; 4] = ["basic", "pro", "team", "seo"];
pub const ONCE: &str = "lifetime";

/// What the operator decides. The simulator knows no other settings.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub slack_hours: u32,
    pub grace_days: u32,
    pub refunds_revoke: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Incomplete,
    Trialing,
    Active,
    PastDue,
    Unpaid,
    /// Nothing is collected and nothing given.
    Paused,
    /// Nothing is collected, and the service goes on (Lemon Squeezy's mode `free`).
    PausedFree,
    Ended,
    /// Bought once.
    Owned,
}

/// Where a provider says which payer a customer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// On every object.
    Everywhere,
    /// By an event of its own, before anything else of the purchase.
    Before,
    /// By an event of its own, after all else of the purchase.
    After,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    pub number: u32,
    pub plan: &'static str,
    pub seats: u32,
    pub born: i64,
}

/// One purchase, as its provider knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sub {
    pub shape: usize,
    pub number: u32,
    pub payer: &'static str,
    pub told: Told,
    pub stage: Stage,
    pub items: Vec<Item>,
    pub born: i64,
    /// The first charge, from which months are counted.
    pub anchor: i64,
    pub start: i64,
    pub end: i64,
    pub trial_end: Option<i64>,
    pub cancels: bool,
    pub pauses: bool,
    pub canceled_at: Option<i64>,
    pub resumes_at: Option<i64>,
    /// When the charge was due that is not paid.
    pub due: i64,
    /// The store's own days of grace (RevenueCat).
    pub grace_until: Option<i64>,
    pub ended_at: Option<i64>,
    /// The number of the last charge.
    pub charge: u32,
    pub refunded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    Buy,
    BuyPending,
    BuyTrial,
    BuyOnce,
    /// What was pending is paid.
    Pay,
    /// Paid for another period.
    Renew,
    /// Another period has begun, whose charge is not settled yet.
    Roll,
    /// That charge is settled.
    Settle,
    Fail,
    FailAgain,
    Recover,
    GiveUp,
    /// Charging is given up, but the subscription stays.
    Unpaid,
    Cancel,
    Uncancel,
    /// The end of the period in which it was canceled.
    End,
    EndNow,
    PauseSoon,
    Pause,
    PauseFree,
    Resume,
    Switch,
    AddItem,
    DropItem,
    Seats,
    Refund,
}

use Change::*;

/// Until when something is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    Forever,
    /// To this moment.
    End(i64),
    /// To the renewal that is due then, which may be told a little late.
    Renewal(i64),
    /// The charge of that moment failed: for the days of grace, or the store's own.
    Grace(i64, Option<i64>),
}

/// Somebody may have something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub payer: &'static str,
    pub plan: &'static str,
    pub until: Until,
    /// What it rests on was paid back.
    pub refunded: bool,
}

impl Claim {
    pub fn end(&self, settings: &Settings) -> i64 {
        if self.refunded && settings.refunds_revoke {
            return i64::MIN;
        }
        match self.until {
            Until::Forever => i64::MAX,
            Until::End(end) => end,
            Until::Renewal(end) => end + i64::from(settings.slack_hours) * HOUR_MS,
            Until::Grace(due, grace) => (due + i64::from(settings.grace_days) * DAY_MS).max(grace.unwrap_or(due)),
        }
    }
}

pub fn allows(claims: &[Claim], settings: &Settings, payer: &str, plan: &str, at: i64) -> bool {
    claims.iter().any(|claim| claim.payer == payer && claim.plan == plan && at < claim.end(settings))
}

impl Sub {
    pub fn shape(&self) -> &'static Shape {
        &SHAPES[self.shape]
    }

    /// By the tables of status and access that each provider documents.
    pub fn claims(&self) -> Vec<Claim> {
        let until = match self.stage {
            Stage::Incomplete | Stage::Unpaid | Stage::Paused | Stage::Ended => return Vec::new(),
            Stage::Owned => Until::Forever,
            Stage::Trialing | Stage::Active if self.cancels || self.pauses => Until::End(self.end),
            Stage::Trialing | Stage::Active => Until::Renewal(self.end),
            Stage::PastDue => Until::Grace(self.due, self.grace_until),
            Stage::PausedFree => self.resumes_at.map_or(Until::Forever, Until::Renewal),
        };
        let refunded = self.refunded;
        self.items.iter().map(|item| Claim { payer: self.payer, plan: item.plan, until, refunded }).collect()
    }

    fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Ended | Stage::Owned)
    }

    fn runs(&self) -> bool {
        matches!(self.stage, Stage::Trialing | Stage::Active)
    }

    /// When something happens to it by itself.
    fn boundary(&self) -> Option<i64> {
        match self.stage {
            Stage::PausedFree => self.resumes_at,
            Stage::PastDue => self.shape().dunning_days.map(|days| self.due + days * DAY_MS),
            _ => self.runs().then_some(self.end),
        }
    }

    /// The end of the month that begins at `start`, on the day of the first charge.
    fn month_after(&self, start: i64) -> i64 {
        let day = DateTime::from_timestamp_millis(self.anchor).unwrap();
        (1..).map(|months| (day + Months::new(months)).timestamp_millis()).find(|end| *end > start).unwrap()
    }

    fn can(&self, change: Change) -> bool {
        // What is bought in addition after a refund, in the period that was paid back, is nobody's documented case.
        let is_settled = self.runs() && !self.cancels && !self.pauses && !self.refunded;
        match change {
            Pay => self.stage == Stage::Incomplete,
            FailAgain | Recover => self.stage == Stage::PastDue,
            // A store without days of grace gave up at once.
            GiveUp | Unpaid => self.stage == Stage::PastDue,
            Cancel | PauseSoon => is_settled,
            Uncancel => self.runs() && self.cancels && !self.refunded,
            EndNow => !matches!(self.stage, Stage::Ended | Stage::Owned | Stage::Incomplete),
            Pause | PauseFree => is_settled && self.stage == Stage::Active,
            Resume => matches!(self.stage, Stage::Paused | Stage::PausedFree),
            Switch => is_settled,
            AddItem => is_settled && self.items.len() < 3,
            DropItem => is_settled && self.items.len() > 1,
            Seats => is_settled,
            Refund => (self.stage == Stage::Owned || self.stage == Stage::Active) && !self.refunded,
            _ => false,
        }
    }
}

/// One event, as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Wire {
    pub provider: &'static str,
    /// What the headers say, where they have an id.
    pub id: String,
    pub at: i64,
    /// When the change began that it tells of.
    pub began: i64,
    pub body: Value,
    /// The change that it tells of.
    pub change: Change,
}

/// After one change.
#[derive(Clone, Debug)]
pub struct Step {
    pub change: Change,
    pub label: &'static str,
    pub at: i64,
    /// How many deliveries there are by now.
    pub deliveries: usize,
    pub claims: Vec<Claim>,
}

/// What takes part in a history.
#[derive(Clone, Debug)]
pub struct Cast {
    pub shapes: Vec<usize>,
    pub payers: Vec<&'static str>,
}

pub struct World {
    pub numbers: Numbers,
    pub at: i64,
    pub subs: Vec<Sub>,
    pub wires: Vec<Wire>,
    pub steps: Vec<Step>,
    made: u32,
    began: i64,
    changing: Change,
    provider: &'static str,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let day = DateTime::from_timestamp_millis(T).unwrap() + Days::new(numbers.below(62));
        let at = day.timestamp_millis() + i64::try_from(numbers.below(86_400_000)).unwrap();
        Self {
            numbers,
            at,
            subs: Vec::new(),
            wires: Vec::new(),
            steps: Vec::new(),
            made: 0,
            began: 0,
            changing: Buy,
            provider: "",
        }
    }

    /// The history of these steps. Each draws from a seed of its own, so any of them can be left out.
    pub fn of(cast: &Cast, seed: u64, steps: &[u64]) -> Self {
        let mut world = Self::new(seed);
        for step in steps {
            world.numbers = Numbers::new(*step);
            world.step(cast);
        }
        world
    }

    fn step(&mut self, cast: &Cast) {
        let gap = [SECOND_MS, 2 * SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS, 9 * DAY_MS, 20 * DAY_MS, 40 * DAY_MS];
        let to = self.at + self.numbers.pick(&gap);
        self.advance(to);
        self.at = to.max(self.at + SECOND_MS);
        let mut possible = Vec::new();
        for (index, sub) in self.subs.iter().enumerate() {
            possible.extend(sub.shape().can.iter().filter(|change| sub.can(**change)).map(|change| (index, *change)));
        }
        if possible.is_empty() || self.numbers.once_in(4) {
            let (shape, payer) = (self.numbers.pick(&cast.shapes), self.numbers.pick(&cast.payers));
            let ways: Vec<Change> = SHAPES[shape].can.iter().copied().filter(|change| *change <= BuyOnce).collect();
            let is_taken = self.subs.iter().any(|sub| sub.shape == shape && sub.payer == payer && sub.is_live());
            if !(SHAPES[shape].one_per_payer && is_taken) {
                let way = self.numbers.pick(&ways);
                let index = self.buy(shape, payer, way);
                self.at_once(index, way);
            }
            return;
        }
        let (index, change) = self.numbers.pick(&possible);
        self.change(index, change);
        self.at_once(index, change);
    }

    /// What may follow at once does so now and then.
    fn at_once(&mut self, index: usize, change: Change) {
        let sub = &self.subs[index];
        let next = sub.shape().at_once.iter().filter(|(first, next)| *first == change && sub.can(*next));
        let next: Vec<Change> = next.map(|(_, next)| *next).collect();
        if !next.is_empty() && self.numbers.once_in(3) {
            let next = self.numbers.pick(&next);
            self.change(index, next);
        }
    }

    /// Lets time pass, and what happens in it by itself.
    pub fn advance(&mut self, to: i64) {
        loop {
            let due = self.subs.iter().enumerate().filter_map(|(index, sub)| Some((sub.boundary()?, index)));
            let Some((at, index)) = due.min().filter(|(at, _)| *at <= to) else { return };
            let late = self.numbers.pick(&[0, 0, 1, 900, 40_000]);
            self.at = self.at.max(at + late);
            let fails = self.numbers.once_in(4);
            self.pass(index, fails);
        }
    }

    /// The end of a period.
    pub fn pass(&mut self, index: usize, fails: bool) {
        let sub = &self.subs[index];
        if sub.stage == Stage::PausedFree {
            return self.change(index, Resume);
        }
        if sub.stage == Stage::PastDue {
            return self.change(index, Unpaid);
        }
        if sub.cancels {
            return self.change(index, End);
        }
        if sub.pauses {
            return self.change(index, Pause);
        }
        if sub.shape().rolls_first {
            self.change(index, Roll);
            self.at += self.numbers.pick(&[0, HOUR_MS]);
            let change = if fails { Fail } else { Settle };
            self.change(index, change);
            self.at_once(index, change);
        } else {
            self.change(index, if fails { Fail } else { Renew });
        }
    }

    pub fn buy(&mut self, shape: usize, payer: &'static str, way: Change) -> usize {
        let plan = self.numbers.pick(&PLANS);
        self.buy_plan(shape, payer, way, plan)
    }

    pub fn buy_plan(&mut self, shape: usize, payer: &'static str, way: Change, plan: &'static str) -> usize {
        let told = self.numbers.pick(&[Told::Everywhere, Told::Everywhere, Told::Before, Told::After]);
        let born = self.at - self.at.rem_euclid(SHAPES[shape].resolution);
        let trial_end = (way == BuyTrial).then_some(born + 7 * DAY_MS);
        let plan = if way == BuyOnce { ONCE } else { plan };
        let mut sub = Sub {
            shape,
            number: self.number(),
            payer,
            told,
            stage: match way {
                BuyTrial => Stage::Trialing,
                BuyPending => Stage::Incomplete,
                BuyOnce => Stage::Owned,
                _ => Stage::Active,
            },
            items: vec![Item { number: self.number(), plan, seats: 1, born }],
            born,
            anchor: trial_end.unwrap_or(born),
            start: born,
            end: 0,
            trial_end,
            cancels: false,
            pauses: false,
            canceled_at: None,
            resumes_at: None,
            due: 0,
            grace_until: None,
            ended_at: None,
            charge: self.number(),
            refunded: false,
        };
        sub.end = trial_end.unwrap_or_else(|| sub.month_after(born));
        self.subs.push(sub.clone());
        self.tell(&sub.clone(), &sub, way);
        self.subs.len() - 1
    }

    pub fn change(&mut self, index: usize, change: Change) {
        let before = self.subs[index].clone();
        let shape = before.shape();
        let mut sub = before.clone();
        let now = self.at - self.at.rem_euclid(shape.resolution);
        match change {
            Pay => {
                (sub.stage, sub.start, sub.anchor) = (Stage::Active, now, now);
                sub.end = sub.month_after(now);
            }
            Renew | Roll => {
                (sub.stage, sub.start, sub.charge, sub.refunded) = (Stage::Active, sub.end, self.number(), false);
                sub.end = sub.month_after(sub.start);
            }
            Fail => {
                sub.stage = Stage::PastDue;
                sub.due = if shape.rolls_first { sub.start } else { sub.end };
                if shape.rolls && !shape.rolls_first {
                    (sub.start, sub.refunded) = (sub.end, false);
                    sub.end = sub.month_after(sub.start);
                }
                sub.charge = if shape.rolls_first { sub.charge } else { self.number() };
                let graces = [16 * DAY_MS, 6 * DAY_MS];
                sub.grace_until = shape.has_grace.then(|| sub.due + self.numbers.pick(&graces));
            }
            Recover => {
                sub.stage = Stage::Active;
                (sub.grace_until, sub.refunded) = (None, false);
                if !shape.rolls {
                    sub.start = sub.due;
                }
                while sub.start <= now && (sub.end <= now || sub.end <= sub.start) {
                    if shape.rolls {
                        sub.start = sub.end;
                    }
                    sub.end = sub.month_after(now.max(sub.start));
                }
            }
            Unpaid => sub.stage = Stage::Unpaid,
            Cancel => (sub.cancels, sub.canceled_at) = (true, Some(now)),
            Uncancel => (sub.cancels, sub.canceled_at) = (false, None),
            GiveUp | End | EndNow => (sub.stage, sub.ended_at) = (Stage::Ended, Some(now)),
            PauseSoon => sub.pauses = true,
            Pause => (sub.stage, sub.pauses) = (Stage::Paused, false),
            PauseFree => {
                sub.stage = Stage::PausedFree;
                sub.resumes_at = self.numbers.pick(&[None, Some(now + 20 * DAY_MS)]);
            }
            Resume => {
                (sub.stage, sub.resumes_at) = (Stage::Active, None);
                if shape.resumes_anew {
                    (sub.start, sub.anchor, sub.charge) = (now, now, self.number());
                    sub.end = sub.month_after(now);
                } else if sub.end <= now {
                    sub.end = sub.month_after(now);
                }
            }
            Switch => {
                let taken: Vec<&str> = sub.items.iter().map(|item| item.plan).collect();
                let other: Vec<&'static str> = PLANS.into_iter().filter(|plan| !taken.contains(plan)).collect();
                let place = self.numbers.index(sub.items.len());
                sub.items[place].plan = self.numbers.pick(&other);
                if shape.switches_items {
                    let number = self.number();
                    sub.items[place].number = number;
                }
            }
            AddItem => {
                let taken: Vec<&str> = sub.items.iter().map(|item| item.plan).collect();
                let other: Vec<&'static str> = PLANS.into_iter().filter(|plan| !taken.contains(plan)).collect();
                let (number, plan) = (self.number(), self.numbers.pick(&other));
                sub.items.push(Item { number, plan, seats: 1, born: now });
            }
            DropItem => {
                let place = self.numbers.index(sub.items.len());
                sub.items.remove(place);
            }
            Seats => sub.items[0].seats += 1,
            Refund => sub.refunded = shape.tells_refunds || sub.stage == Stage::Owned,
            Settle | FailAgain | Buy | BuyPending | BuyTrial | BuyOnce => {}
        }
        self.subs[index] = sub.clone();
        self.tell(&before, &sub, change);
    }

    fn tell(&mut self, before: &Sub, after: &Sub, change: Change) {
        let shape = after.shape();
        (self.changing, self.provider, self.began) = (change, shape.provider, self.at);
        (shape.tell)(self, before, after, change);
        let claims = self.subs.iter().flat_map(Sub::claims).collect();
        let deliveries = self.wires.len();
        self.steps.push(Step { change, label: shape.label, at: self.at, deliveries, claims });
    }

    // What the providers' files use.

    pub fn number(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// Ids do not tell which event came first.
    pub fn event_id(&mut self, prefix: &str) -> String {
        let (noise, number) = (self.numbers.below(0x1_0000), self.number());
        format!("{prefix}{noise:04x}{number}")
    }

    pub fn send(&mut self, id: String, body: Value) {
        self.wires.push(Wire {
            provider: self.provider,
            id,
            at: self.at,
            began: self.began,
            body,
            change: self.changing,
        });
    }

    /// A moment passes, which may be too short to be told.
    pub fn tick(&mut self) {
        self.at += self.numbers.pick(&[0, 0, 1, 3]);
    }
}

pub fn rfc3339(at: i64) -> String {
    DateTime::from_timestamp_millis(at).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

pub fn day_of_month(at: i64) -> u32 {
    DateTime::from_timestamp_millis(at).unwrap().day()
}

/// What an application attaches, to know its payer again.
pub fn attached(payer: &str, is_told: bool) -> Value {
    match payer {
        _ if !is_told => json!({}),
        org if org.starts_with("org_") => json!({"orgId": org}),
        user => json!({"userId": user}),
    }
}
