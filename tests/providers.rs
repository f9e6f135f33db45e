#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! Every provider, and mixtures of them, over the real line: a body is signed, verified, parsed and stored, and the answers
//! are compared with what is true at the provider.
//!
//! `providers/world.rs` simulates purchases and knows who may have what, by the providers' documented rules. The file of each
//! provider tells of it as that provider does. Then:
//!
//! - After each change, delivered in order, the answers for now and for all later times are the truth; while it is being
//!   told, nobody loses or gets what the change does not touch.
//! - In any order, with duplicates and with transactions cut short, the same deliveries end in the same rows and answers.
//! - From any provider to any other, nobody who pays is without access for a millisecond.
//!
//! A case that fails is made small by leaving out changes, then deliveries, and is printed with its seed:
//!
//! ```sh
//! PLANGATE_SEED=7 PLANGATE_CASES=1 cargo test --features sqlite --test providers
//! ```

#[path = "providers/clerk.rs"]
mod clerk;
#[allow(dead_code, reason = "the tests of the store need all of it")]
#[path = "store/history.rs"]
mod history;
#[path = "providers/lemonsqueezy.rs"]
mod lemonsqueezy;
#[path = "providers/paddle.rs"]
mod paddle;
#[path = "providers/polar.rs"]
mod polar;
#[path = "providers/revenuecat.rs"]
mod revenuecat;
mod seeded;
#[path = "providers/shapes.rs"]
mod shapes;
#[path = "providers/stripe.rs"]
mod stripe;
#[path = "providers/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use plangate::catalog::Catalog;
use plangate::decide::{Policy, decide};
use plangate::delivery::{Delivery, Headers};
use plangate::event::{ParseError, Parsed};
use plangate::provider::{Ours, named};
use plangate::question::{Condition, Question, What};
use plangate::reduce::Reduced;
use plangate::secret::Secret;
use plangate::store::{Outcome, Statement, webhook};
use plangate::time::Timestamp;
use rusqlite::types::Value as Stored;
use serde_json::json;

use history::{Shop, add, payer, run_statement};
use seeded::Numbers;
use seeded::attempts::{Attempt, any_order, in_order, setting, shrunk};
use shapes::SHAPES;
use world::{Cast, Change, Claim, DAY_MS, ONCE, PAYERS, PLANS, Settings, Step, Wire, World, allows};

/// How many histories are made of each provider, and how many of mixtures, unless `PLANGATE_CASES` says otherwise.
const HISTORIES: u64 = 20;
const MIXTURES: u64 = 60;
const ORDERS: usize = 3;
const FIRST_SEED: u64 = 2026;
const MOST_STEPS: usize = 9;

// The line.

fn secret(provider: &str) -> Secret {
    let (setting, text) = match provider {
        "clerk" => ("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_ZWRnZS1lbnRpdGxlbWVudHMtdGVzdC1rZXktMDAwMDE="),
        "revenuecat" => ("REVENUECAT_SIGNING_SECRET", "a key"),
        other => (named(other).unwrap().secret_names()[0], "whsec_a key"),
    };
    named(provider).unwrap().parse_secret(setting, text).unwrap()
}

/// A delivery that was verified and parsed.
#[derive(Clone)]
struct Received {
    wire: Wire,
    event_id: String,
    parsed: Result<Parsed, ParseError>,
    statements: Vec<Statement>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Wire { provider, change, at, body, .. } = &self.wire;
        let kind = ["type", "event_type"].iter().find_map(|name| body[*name].as_str());
        let kind = kind.or(body["meta"]["event_name"].as_str()).or(body["event"]["type"].as_str()).unwrap_or_default();
        write!(f, "{provider} {change:?} at {at}: {kind}")
    }
}

/// Signs a body as its provider does, and takes it in as the worker does. An attempt two hours later is signed anew and
/// must say the same.
fn receive(wire: &Wire, secret: &Secret) -> Received {
    let provider = named(wire.provider).unwrap();
    let body = wire.body.to_string().into_bytes();
    let attempt = |at: i64| {
        let now = Timestamp::from_millis(at);
        let headers = Headers::new(provider.sign(secret, &wire.id, now, &body));
        let delivery = Delivery { headers, body: body.clone() };
        let arrived = now.plus_millis(2_000);
        let verified = provider.verify(&delivery, std::slice::from_ref(secret), &Ours::default(), arrived).unwrap();
        let parsed = provider.parse(&verified, &Ours::default());
        let statements = webhook(wire.provider, &verified, &parsed, false, arrived).unwrap();
        (verified.event_id().to_owned(), parsed, statements)
    };
    let (event_id, parsed, statements) = attempt(wire.at);
    let (again_id, again, _) = attempt(wire.at + 2 * world::HOUR_MS);
    assert_eq!((&event_id, &parsed), (&again_id, &again), "{wire:?}");
    assert!(parsed.is_ok(), "{wire:?}: {parsed:?}");
    Received { wire: wire.clone(), event_id, parsed, statements }
}

/// A history, delivered.
struct Case {
    settings: Settings,
    steps: Vec<Step>,
    received: Vec<Received>,
}

impl Case {
    fn new(world: &World, settings: Settings) -> Self {
        let mut secrets = BTreeMap::new();
        let received = world
            .wires
            .iter()
            .map(|wire| receive(wire, secrets.entry(wire.provider).or_insert_with(|| secret(wire.provider))));
        Self { settings, steps: world.steps.clone(), received: received.collect() }
    }

    fn policy(&self) -> Policy {
        Policy {
            refunds_revoke: self.settings.refunds_revoke,
            ..Policy::new(self.settings.slack_hours, self.settings.grace_days)
        }
    }
}

struct Asking {
    catalog: Catalog,
    questions: Vec<(&'static str, Question)>,
}

impl Asking {
    fn new() -> Self {
        let plans: serde_json::Map<_, _> = PLANS
            .into_iter()
            .chain([ONCE])
            .map(|plan| {
                let ids = json!({
                    "stripe": [format!("price_{plan}")], "lemonsqueezy": [lemonsqueezy::variant(plan).to_string()],
                    "paddle": [format!("pri_{plan}")], "revenuecat": [format!("{plan}_monthly")],
                    "polar": [format!("prod_{plan}")],
                });
                (plan.to_owned(), json!({"ids": ids}))
            })
            .collect();
        let ask = |plan: &'static str| {
            (plan, Question { conditions: vec![Condition { scope: None, what: What::Plan(plan.to_owned()) }] })
        };
        let catalog = Catalog::parse(&serde_json::Value::Object(plans).to_string()).unwrap();
        Self { catalog, questions: PLANS.into_iter().chain([ONCE]).map(ask).collect() }
    }

    /// The answers about every payer and plan at these times, with how they came about.
    fn answers(&self, shop: &Shop, policy: &Policy, times: &BTreeSet<i64>) -> Vec<(Asked, bool, String)> {
        let mut answers = Vec::new();
        for id in PAYERS {
            let snapshot = shop.snapshot(id);
            for (plan, question) in &self.questions {
                for at in times {
                    let now = Timestamp::from_millis(*at);
                    let decision = decide([&snapshot], &self.catalog, policy, question, now);
                    answers.push(((id, *plan, *at), decision.allowed, format!("{decision:?}")));
                }
            }
        }
        answers
    }
}

/// Who asks for what, and when.
type Asked = (&'static str, &'static str, i64);

/// Delivers one attempt, and checks what is answered.
fn attempt(shop: &Shop, one: &Received, crash: Option<usize>, is_known: bool) -> Result<(), String> {
    if let Some(statements) = crash {
        let cut = statements.min(one.statements.len());
        shop.tentatively(|shop| {
            for statement in &one.statements[..cut] {
                run_statement(shop.connection(), statement);
            }
        });
        return Ok(());
    }
    let answers: Vec<_> = one.statements.iter().map(|statement| run_statement(shop.connection(), statement)).collect();
    let Some(Stored::Text(outcome)) = answers.first().and_then(|rows| rows.first()?.first()) else {
        return Err("no outcome".into());
    };
    let expected: &[Outcome] = match one.parsed {
        _ if is_known => &[Outcome::Duplicate],
        Ok(Parsed::Ignored { .. }) => &[Outcome::Ignored],
        _ => &[Outcome::Stored, Outcome::Stale],
    };
    if expected.iter().any(|expected| expected.as_str() == outcome) {
        Ok(())
    } else {
        Err(format!("{} is {outcome}: {one:?}", one.event_id))
    }
}

#[derive(PartialEq, Eq)]
struct Seen {
    state: String,
    answers: Vec<(Asked, bool, String)>,
}

/// When answers may differ: around all ends that were ever told.
fn times(case: &Case) -> BTreeSet<i64> {
    let now = case.steps.last().map_or(world::T, |step| step.at);
    let last = case.steps.last().map_or(&[] as &[Claim], |step| &step.claims);
    around(last, &case.settings, now)
}

fn around(claims: &[Claim], settings: &Settings, now: i64) -> BTreeSet<i64> {
    let ends = claims.iter().map(|claim| claim.end(settings)).filter(|end| (now..i64::MAX).contains(end));
    let far = now + 400 * DAY_MS;
    ends.flat_map(|end| [end - 1, end]).chain([now, far]).filter(|at| *at >= now).collect()
}

/// Delivered in order, the answers are the truth, after every change and while it is told.
fn run_in_order(shop: &Shop, asking: &Asking, case: &Case) -> Result<Seen, String> {
    shop.tentatively(|shop| {
        let (policy, mut delivered, mut before): (_, _, &[Claim]) = (case.policy(), 0, &[]);
        let (mut reduced, mut known) = (Reduced::default(), BTreeSet::new());
        for step in &case.steps {
            while delivered < step.deliveries {
                let one = &case.received[delivered];
                // Two bodies that are alike byte for byte are one event of a provider that sends no id.
                let is_new = known.insert((one.wire.provider, &one.event_id));
                attempt(shop, one, None, !is_new)?;
                if is_new {
                    add(&mut reduced, one.wire.provider, &one.event_id, &one.parsed);
                }
                delivered += 1;
                for ((payer, plan, at), allowed, why) in asking.answers(shop, &policy, &[one.wire.at].into()) {
                    let was = allows(before, &case.settings, payer, plan, at);
                    if was == allows(&step.claims, &case.settings, payer, plan, at) && was != allowed {
                        return Err(format!(
                            "while {:?} of {} is told, by {one:?}: {payer} {plan} should be {was}: {why}",
                            step.change, step.label
                        ));
                    }
                }
            }
            for ((payer, plan, at), allowed, why) in
                asking.answers(shop, &policy, &around(&step.claims, &case.settings, step.at))
            {
                let truth = allows(&step.claims, &case.settings, payer, plan, at);
                if allowed != truth {
                    return Err(format!(
                        "after {:?} of {} at {}: {payer} {plan} at {at} should be {truth}: {why}\n{:?}\n{:?}",
                        step.change, step.label, step.at, step.claims, case.settings
                    ));
                }
            }
            agree(shop, &reduced)?;
            before = &step.claims;
        }
        Ok(Seen { state: shop.state(), answers: asking.answers(shop, &policy, &times(case)) })
    })
}

/// The snapshots are those of the same events in memory.
fn agree(shop: &Shop, reduced: &Reduced) -> Result<(), String> {
    for id in PAYERS {
        let stored = shop.snapshot(id);
        let mut expected = reduced.snapshot(&payer(id), stored.as_of);
        expected.version = stored.version;
        if expected != stored {
            return Err(format!("in memory:\n{expected:?}\nstored:\n{stored:?}"));
        }
    }
    Ok(())
}

/// Delivered in this order, they end in this.
fn end(shop: &Shop, asking: &Asking, case: &Case, received: &[Received], order: &[Attempt]) -> Result<Seen, String> {
    shop.tentatively(|shop| {
        let (mut known, mut reduced) = (BTreeSet::new(), Reduced::default());
        for one in order {
            let received = &received[one.event];
            let key = (received.wire.provider, &received.event_id);
            attempt(shop, received, one.crash, known.contains(&key))?;
            if one.crash.is_none() && known.insert(key) {
                add(&mut reduced, received.wire.provider, &received.event_id, &received.parsed);
            }
        }
        agree(shop, &reduced)?;
        Ok(Seen { state: shop.state(), answers: asking.answers(shop, &case.policy(), &times(case)) })
    })
}

fn run_in(
    shop: &Shop,
    asking: &Asking,
    case: &Case,
    received: &[Received],
    order: &[Attempt],
    first: &Seen,
) -> Result<(), String> {
    let seen = end(shop, asking, case, received, order)?;
    if seen == *first {
        return Ok(());
    }
    let differing = first.answers.iter().zip(&seen.answers).find(|(one, other)| one != other);
    Err(format!("in order:\n{}\nin this order:\n{}\n{differing:?}", first.state, seen.state))
}

/// All properties of one history.
fn fails(
    shop: &Shop,
    asking: &Asking,
    case: &Case,
    seed: u64,
    orders: usize,
) -> Option<(String, Option<Vec<Attempt>>)> {
    let first = match run_in_order(shop, asking, case) {
        Ok(first) => first,
        Err(why) => return Some((why, None)),
    };
    let mut numbers = Numbers::new(!seed);
    (0..orders).find_map(|_| {
        let order = any_order(&mut numbers, case.received.len());
        run_in(shop, asking, case, &case.received, &order, &first).err().map(|why| (why, Some(order)))
    })
}

/// How much was done, for who runs more of it than usual.
static DONE: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

fn check(shop: &Shop, asking: &Asking, cast: &Cast, seed: u64) -> Result<(), String> {
    let mut numbers = Numbers::new(seed);
    let settings = Settings {
        slack_hours: numbers.pick(&[24, 24, 0, 72]),
        grace_days: numbers.pick(&[0, 3, 7]),
        refunds_revoke: numbers.once_in(2),
    };
    let mut steps: Vec<u64> = (0..=numbers.index(MOST_STEPS)).map(|_| numbers.below(u64::MAX)).collect();
    let case_of = |steps: &[u64]| Case::new(&World::of(cast, seed, steps), settings);
    let case = case_of(&steps);
    DONE[0].fetch_add(1, Ordering::Relaxed);
    DONE[1].fetch_add(case.steps.len() as u64, Ordering::Relaxed);
    DONE[2].fetch_add(case.received.len() as u64, Ordering::Relaxed);
    let Some(mut failure) = fails(shop, asking, &case, seed, ORDERS) else { return Ok(()) };

    // Without every change that is not needed.
    let mut place = 0;
    while place < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(place);
        match fails(shop, asking, &case_of(&fewer), seed, 20) {
            Some(less) => (steps, failure) = (fewer, less),
            None => place += 1,
        }
    }
    let case = case_of(&steps);
    let (mut why, mut received) = (failure.0, case.received.clone());
    if let Some(order) = failure.1 {
        let differs = |received: &[Received], order: &[Attempt]| {
            let first = end(shop, asking, &case, received, &in_order(received.len()));
            first.and_then(|first| run_in(shop, asking, &case, received, order, &first)).err()
        };
        let (least, order) = shrunk(&case.received, &order, |received, order| differs(received, order).is_some());
        why = format!("{}\nin the order {order:?}", differs(&least, &order).unwrap_or(why));
        received = least;
    }
    let told: Vec<String> = received.iter().map(|one| format!("  {one:?} {}", one.wire.body)).collect();
    let changes: Vec<_> = case.steps.iter().map(|step| (step.label, step.change, step.at)).collect();
    Err(format!("repeat with PLANGATE_SEED={seed} PLANGATE_CASES=1, {cast:?}\n{}\n{changes:?}\n{why}", told.join("\n")))
}

/// Runs so many cases, the seed of each telling its cast.
fn check_all(count: u64, cast: impl Fn(u64) -> Cast + Sync) {
    let (first, count) = (setting("PLANGATE_SEED", FIRST_SEED), setting("PLANGATE_CASES", count));
    let workers = thread::available_parallelism().map_or(1, |number| number.get() as u64);
    let (asking, cast) = (&Asking::new(), &cast);
    thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                let shop = Shop::new();
                for seed in (0..count).filter(|number| number % workers == worker).map(|number| first + number) {
                    if let Err(report) = check(&shop, asking, &cast(seed), seed) {
                        panic!("{report}");
                    }
                }
            });
        }
    });
    let done = [0, 1, 2].map(|place: usize| DONE[place].load(Ordering::Relaxed));
    println!("so far {} histories of {} changes, told by {} deliveries", done[0], done[1], done[2]);
}

fn each_of(shape: usize) {
    check_all(HISTORIES, |seed| Cast {
        shapes: vec![shape],
        payers: PAYERS[..=usize::try_from(seed % 2).unwrap()].into(),
    });
}

#[test]
fn clerk_is_told_truly_in_any_order() {
    each_of(0);
}

#[test]
fn stripe_is_told_truly_in_any_order() {
    each_of(1);
}

#[test]
fn stripe_before_basil_is_told_truly_in_any_order() {
    each_of(2);
}

#[test]
fn lemon_squeezy_is_told_truly_in_any_order() {
    each_of(3);
}

#[test]
fn paddle_is_told_truly_in_any_order() {
    each_of(4);
}

#[test]
fn revenuecat_is_told_truly_in_any_order() {
    each_of(5);
}

#[test]
fn polar_is_told_truly_in_any_order() {
    each_of(6);
}

#[test]
fn mixtures_of_providers_give_what_any_of_them_gives() {
    check_all(MIXTURES, |seed| {
        let mut numbers = Numbers::new(seed ^ 0x5eed);
        let mut shapes: Vec<usize> = (0..SHAPES.len()).collect();
        numbers.shuffle(&mut shapes);
        shapes.truncate(2 + numbers.index(2));
        Cast { shapes, payers: PAYERS[..=numbers.index(PAYERS.len())].into() }
    });
}

// What the suite found, each by itself.

const REFUNDS_REVOKE: Settings = Settings { slack_hours: 24, grace_days: 0, refunds_revoke: true };

/// Whether the payer has the plan now, by the first attempt to tell of it.
#[track_caller]
fn has_now(world: &World, settings: Settings, plan: &str) -> bool {
    let (shop, asking, case) = (Shop::new(), Asking::new(), Case::new(world, settings));
    for one in &case.received {
        attempt(&shop, one, None, false).unwrap();
    }
    let answers = asking.answers(&shop, &case.policy(), &[world.at].into());
    answers.into_iter().any(|((payer, asked, _), allowed, _)| (payer, asked, allowed) == ("user_1", plan, true))
}

fn shape(label: &str) -> usize {
    SHAPES.iter().position(|shape| shape.label == label).unwrap()
}

#[test]
fn a_month_that_was_refunded_takes_nothing_from_the_next_that_is_paid() {
    for label in ["lemonsqueezy", "paddle", "polar"] {
        let mut world = World::new(1);
        let sub = world.buy_plan(shape(label), "user_1", Change::Buy, "pro");
        world.at += DAY_MS;
        world.change(sub, Change::Refund);
        assert!(!has_now(&world, REFUNDS_REVOKE, "pro"), "{label}");
        world.at = world.subs[sub].end;
        world.pass(sub, false);
        assert!(has_now(&world, REFUNDS_REVOKE, "pro"), "{label}");
    }
}

#[test]
fn a_refund_of_a_subscription_is_of_all_its_items() {
    let mut world = World::new(1);
    let sub = world.buy_plan(shape("paddle"), "user_1", Change::Buy, "pro");
    world.at += DAY_MS;
    world.change(sub, Change::AddItem);
    let added = world.subs[sub].items[1].plan;
    assert!(has_now(&world, REFUNDS_REVOKE, added));
    world.at += DAY_MS;
    world.change(sub, Change::Refund);
    assert!(!has_now(&world, REFUNDS_REVOKE, "pro"));
    assert!(!has_now(&world, REFUNDS_REVOKE, added));
}

#[test]
fn what_is_changed_in_the_second_of_its_payment_at_stripe_is_newer_than_the_payment() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        let sub = world.buy_plan(shape("stripe"), "user_1", Change::BuyPending, "pro");
        world.change(sub, Change::Pay);
        world.change(sub, Change::AddItem);
        let added = world.subs[sub].items[1].plan;
        for plan in ["pro", added] {
            assert!(has_now(&world, REFUNDS_REVOKE, plan), "seed {seed}: {plan}");
        }
    }
}

// That the suite can fail, and that what it generates is what it is meant to be.

#[test]
fn the_simulator_does_all_that_each_provider_can_do() {
    for (index, shape) in SHAPES.iter().enumerate() {
        let cast = Cast { shapes: vec![index], payers: PAYERS.into() };
        let mut done = BTreeSet::new();
        for seed in 0..300 {
            let mut numbers = Numbers::new(seed);
            let steps: Vec<u64> = (0..MOST_STEPS).map(|_| numbers.below(u64::MAX)).collect();
            done.extend(World::of(&cast, seed, &steps).steps.into_iter().map(|step| step.change));
        }
        let missing: Vec<_> = shape.can.iter().filter(|change| !done.contains(change)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", shape.label);
        // And what time does by itself.
        assert!(done.is_superset(&[Change::Fail, Change::End].into()), "{}: {done:?}", shape.label);
    }
}

/// How many of these histories a store or a catalog that is wrong in some way is caught by.
fn caught(sabotage: &str, asking: &Asking) -> usize {
    let shop = Shop::new();
    shop.connection().execute_batch(sabotage).unwrap();
    let is_caught = |seed: &u64| {
        let cast = Cast { shapes: (0..SHAPES.len()).collect(), payers: PAYERS.into() };
        let mut numbers = Numbers::new(*seed);
        let steps: Vec<u64> = (0..MOST_STEPS).map(|_| numbers.below(u64::MAX)).collect();
        let case = Case::new(&World::of(&cast, *seed, &steps), REFUNDS_REVOKE);
        fails(&shop, asking, &case, *seed, ORDERS).is_some()
    };
    (0..8).filter(is_caught).count()
}

#[test]
fn a_line_that_is_wrong_is_caught() {
    let asking = Asking::new();
    assert_eq!(caught("", &asking), 0);
    let by_arrival = "CREATE TRIGGER t AFTER INSERT ON deliveries BEGIN UPDATE records SET version = ''; END";
    assert!(caught(by_arrival, &asking) > 5);
    let to_another = "CREATE TRIGGER t AFTER INSERT ON records BEGIN UPDATE records SET payer = 'user:user_2'; END";
    assert!(caught(to_another, &asking) > 5);
    let a_second_early =
        "CREATE TRIGGER t AFTER INSERT ON records BEGIN UPDATE records SET period_end = period_end - 1000; END";
    assert!(caught(a_second_early, &asking) > 5);
    let without_a_plan = "CREATE TRIGGER t AFTER INSERT ON deliveries BEGIN UPDATE records SET plan = 'basic'; END";
    assert!(caught(without_a_plan, &asking) > 5);
}

// Migrations.

/// When the new provider begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begins {
    BeforeTheCancellation,
    WithTheCancellation,
    BeforeTheEnd,
    WithTheEnd,
    /// In the last millisecond that was paid for.
    JustBeforeTheEnd,
}

fn migration(from: usize, to: usize, begins: Begins, seed: u64) -> (Case, i64, i64) {
    let mut world = World::new(seed);
    let payer = world.numbers.pick(&PAYERS);
    let old = world.buy_plan(from, payer, Change::Buy, "pro");
    let bought_at = world.steps[0].at;
    for _ in 0..world.numbers.index(3) {
        world.at = world.at.max(world.subs[old].end);
        world.pass(old, false);
    }
    let begin = |world: &mut World| {
        let new = world.buy_plan(to, payer, Change::Buy, "pro");
        world.subs[new].end
    };
    let mut end = None;
    let cancel_at = world.at + 10 * DAY_MS + i64::try_from(world.numbers.below(86_400_000)).unwrap();
    if begins == Begins::BeforeTheCancellation {
        world.at = cancel_at - DAY_MS;
        end = Some(begin(&mut world));
    }
    world.at = cancel_at;
    world.change(old, Change::Cancel);
    if begins == Begins::WithTheCancellation {
        world.at = cancel_at;
        end = Some(begin(&mut world));
    }
    let old_end = world.subs[old].end;
    if begins == Begins::BeforeTheEnd || begins == Begins::JustBeforeTheEnd {
        world.at = if begins == Begins::BeforeTheEnd { old_end - DAY_MS } else { old_end - 1 };
        end = Some(begin(&mut world));
    }
    world.at = old_end;
    world.pass(old, false);
    if begins == Begins::WithTheEnd {
        world.at = old_end;
        end = Some(begin(&mut world));
    }
    let settings = Settings { slack_hours: 0, grace_days: 0, refunds_revoke: false };
    (Case::new(&world, settings), bought_at, end.unwrap())
}

/// At each time, with what was sent by then in order, the payer has the plan; around each end, in any order.
fn check_migration(shop: &Shop, asking: &Asking, from: usize, to: usize, begins: Begins, seed: u64) {
    let (case, bought_at, end) = migration(from, to, begins, seed);
    let payer = case.steps[0].claims[0].payer;
    let has_it = |shop: &Shop, at: i64, how: &str| {
        for ((who, plan, _), allowed, why) in asking.answers(shop, &case.policy(), &[at].into()) {
            assert_eq!(
                allowed,
                (who, plan) == (payer, "pro"),
                "{} to {}, {begins:?}, seed {seed}, {how}: {who} {plan} at {at}: {why}\n{:?}",
                SHAPES[from].label,
                SHAPES[to].label,
                case.received
            );
        }
    };
    let deliver = |shop: &Shop, one: &Received| attempt(shop, one, None, false).unwrap();
    let around = |at: i64| [at - 1, at, at + 1];
    let is_paid = |at: &i64| (bought_at..end).contains(at);
    let ends = case.steps.iter().flat_map(|step| &step.claims).map(|claim| claim.end(&case.settings));
    let ends: BTreeSet<i64> = ends.flat_map(around).filter(is_paid).collect();
    let moments = case.received.iter().map(|one| one.wire.began).flat_map(around).filter(is_paid);

    shop.tentatively(|shop| {
        let mut delivered = 0;
        for at in moments.chain(ends.iter().copied()).collect::<BTreeSet<i64>>() {
            while let Some(one) = case.received.get(delivered).filter(|one| one.wire.began <= at) {
                deliver(shop, one);
                delivered += 1;
            }
            has_it(shop, at, "in order");
        }
    });

    let mut numbers = Numbers::new(seed);
    for at in ends {
        let mut sent: Vec<&Received> = case.received.iter().filter(|one| one.wire.began <= at).collect();
        numbers.shuffle(&mut sent);
        shop.tentatively(|shop| {
            sent.iter().for_each(|one| deliver(shop, one));
            has_it(shop, at, "in another order");
        });
    }
}

#[test]
fn a_migration_from_any_provider_to_any_other_has_no_gap() {
    let workers = thread::available_parallelism().map_or(1, |number| number.get() as u64);
    let pairs: Vec<(usize, usize)> =
        (0..SHAPES.len()).flat_map(|from| (0..SHAPES.len()).map(move |to| (from, to))).collect();
    let (asking, pairs) = (&Asking::new(), &pairs);
    thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                let shop = Shop::new();
                for (number, (from, to)) in pairs.iter().enumerate() {
                    if number as u64 % workers != worker {
                        continue;
                    }
                    let all = [
                        Begins::BeforeTheCancellation,
                        Begins::WithTheCancellation,
                        Begins::BeforeTheEnd,
                        Begins::WithTheEnd,
                        Begins::JustBeforeTheEnd,
                    ];
                    for begins in all {
                        check_migration(&shop, asking, *from, *to, begins, FIRST_SEED + number as u64);
                    }
                }
            });
        }
    });
}
