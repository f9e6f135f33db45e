//! Any order, any duplication of a history ends in the same state.
//!
//! Each lifecycle is delivered in every order there is, with every event sent twice, and each time the full contents of
//! the state are compared with those of the order in which things happened. The second copies write no row at all, so
//! the same holds with every event sent once.
//!
//! After each delivery the snapshots are compared with what `plangate::reduce` makes of the same events in memory.

use plangate::catalog::Catalog;
use plangate::delivery::Verified;
use plangate::event::{ParseError, Parsed};
use plangate::grant::{Grant, revocation};
use plangate::json::Fields;
use plangate::reduce::Reduced;
use plangate::store::Outcome;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use crate::history::{
    NOW, Ran, Sent, Shop, T, add, flat_event, free_item, identity_event, item, item_event, payer, payment_event,
    subscription_event, with,
};
use crate::seeded::Numbers;
use crate::upkeep;

/// A delivery with what is read out of it.
type Read = (Sent, Result<Parsed, ParseError>);

#[track_caller]
fn converges(history: &[Sent]) {
    let history: Vec<Read> = history.iter().map(|sent| (sent.clone(), sent.parse())).collect();
    let expected = Shop::after(history.iter().map(|(sent, _)| sent)).state();
    walk(&Shop::new(), &Reduced::default(), &history, &mut Vec::new(), &expected);
    let sent: Vec<Sent> = history.into_iter().map(|(sent, _)| sent).collect();
    upkeep::pruned_and_erased_at_any_time_it_rebuilds(&sent);
}

/// Delivers every event that is not yet in `order`, each tentatively, and goes on from there.
fn walk(shop: &Shop, reduced: &Reduced, history: &[Read], order: &mut Vec<usize>, expected: &str) {
    if order.len() == history.len() {
        let ids: Vec<&str> = order.iter().map(|index| history[*index].0.event_id.as_str()).collect();
        assert_eq!(shop.state(), expected, "in the order {ids:?}");
        return;
    }
    for index in 0..history.len() {
        if order.contains(&index) {
            continue;
        }
        shop.tentatively(|shop| {
            let (sent, parsed) = &history[index];
            deliver_twice(shop, sent, parsed);
            order.push(index);
            let mut reduced = reduced.clone();
            add(&mut reduced, "clerk", &sent.event_id, parsed);
            shop.agrees_with(&reduced);
            walk(shop, &reduced, history, order, expected);
            order.pop();
        });
    }
}

/// What is stored writes rows and what is stale writes none; the second copy writes none at all.
fn deliver_twice(shop: &Shop, sent: &Sent, parsed: &Result<Parsed, ParseError>) {
    let Ok(Parsed::Event(event)) = parsed else { panic!("{}: {parsed:?}", sent.event_id) };
    let shows_state = !event.records.is_empty() || !event.payments.is_empty();
    let first = shop.run(sent, parsed);
    let expected = if first.state_rows > 0 || !shows_state { Outcome::Stored } else { Outcome::Stale };
    assert_eq!(first.outcome, expected, "{}: {first:?}", sent.event_id);
    let second = shop.run(sent, parsed);
    assert_eq!(second, Ran { outcome: Outcome::Duplicate, state_rows: 0, payer_rows: 0 }, "{} again", sent.event_id);
}

#[test]
fn an_upgrade_converges() {
    converges(&[
        subscription_event("e1", "created", T, "user_1", vec![free_item("user_1", "active", T)]),
        item_event("e2", "active", T + 10, item("user_1", "i_basic", "active", "basic", T + 10)),
        item_event("e3", "active", T + 20, item("user_1", "i_pro", "active", "pro", T + 20)),
        item_event("e4", "ended", T + 20, item("user_1", "i_basic", "ended", "basic", T + 20)),
        subscription_event(
            "e5",
            "updated",
            T + 21,
            "user_1",
            vec![
                item("user_1", "i_pro", "active", "pro", T + 20),
                item("user_1", "i_basic", "ended", "basic", T + 20),
                free_item("user_1", "ended", T + 10),
            ],
        ),
    ]);
}

#[test]
fn a_scheduled_downgrade_converges() {
    let next = json!({"period_start": T + 30 * DAY_MS, "period_end": T + 60 * DAY_MS});
    let end = T + 30 * DAY_MS;
    converges(&[
        item_event("e1", "active", T, item("user_1", "i_pro", "active", "pro", T)),
        item_event("e2", "canceled", T + 50, item("user_1", "i_pro", "canceled", "pro", T + 50)),
        item_event(
            "e3",
            "upcoming",
            T + 50,
            with(item("user_1", "i_basic", "upcoming", "basic", T + 50), next.clone()),
        ),
        item_event("e4", "ended", end, item("user_1", "i_pro", "ended", "pro", end)),
        item_event("e5", "active", end, with(item("user_1", "i_basic", "active", "basic", end), next)),
    ]);
}

#[test]
fn a_cancellation_taken_back_converges() {
    converges(&[
        item_event("e1", "active", T, item("user_1", "i_pro", "active", "pro", T)),
        item_event("e2", "canceled", T + 50, item("user_1", "i_pro", "canceled", "pro", T + 50)),
        item_event("e3", "upcoming", T + 50, free_item("user_1", "upcoming", T + 50)),
        item_event("e4", "active", T + 90, item("user_1", "i_pro", "active", "pro", T + 90)),
        item_event("e5", "abandoned", T + 90, free_item("user_1", "abandoned", T + 90)),
    ]);
}

#[test]
fn a_trial_that_is_paid_converges() {
    let trial = |at| with(item("user_1", "i_pro", "active", "pro", at), json!({"is_free_trial": true}));
    converges(&[
        item_event("e1", "active", T, trial(T)),
        item_event("e2", "freeTrialEnding", T + DAY_MS, trial(T + DAY_MS)),
        payment_event("e3", T + 2 * DAY_MS, "cpa_1", "cpay_1", "paid", T + 2 * DAY_MS),
        item_event("e4", "updated", T + 2 * DAY_MS, item("user_1", "i_pro", "active", "pro", T + 2 * DAY_MS)),
        subscription_event(
            "e5",
            "updated",
            T + 2 * DAY_MS + 1,
            "user_1",
            vec![item("user_1", "i_pro", "active", "pro", T + 2 * DAY_MS), free_item("user_1", "abandoned", T)],
        ),
    ]);
}

#[test]
fn a_charge_that_fails_and_then_succeeds_converges() {
    let due = T + 30 * DAY_MS;
    let past_due = |at| item("user_1", "i_pro", "past_due", "pro", at);
    converges(&[
        item_event("e1", "active", T, item("user_1", "i_pro", "active", "pro", T)),
        payment_event("e2", due, "cpa_1", "cpay_1", "failed", due),
        item_event("e3", "pastDue", due + 5, past_due(due + 5)),
        subscription_event("e4", "pastDue", due + 5, "user_1", vec![past_due(due + 5)]),
        payment_event("e5", due + DAY_MS, "cpa_2", "cpay_1", "paid", due + DAY_MS),
        item_event(
            "e6",
            "active",
            due + DAY_MS,
            with(item("user_1", "i_pro", "active", "pro", due + DAY_MS), json!({"period_end": due + 30 * DAY_MS})),
        ),
    ]);
}

#[test]
fn an_immediate_end_converges() {
    converges(&[
        item_event("e1", "active", T, item("user_1", "i_pro", "active", "pro", T)),
        item_event("e2", "ended", T + 50, item("user_1", "i_pro", "ended", "pro", T + 50)),
        item_event("e3", "active", T + 50, free_item("user_1", "active", T + 50)),
        subscription_event(
            "e4",
            "updated",
            T + 50,
            "user_1",
            vec![item("user_1", "i_pro", "ended", "pro", T + 50), free_item("user_1", "active", T + 50)],
        ),
    ]);
}

#[test]
fn a_flat_lifecycle_converges() {
    converges(&[
        flat_event("e1", "created", T, json!({"user_id": "user_1", "plan": "pro", "status": "trialing"})),
        flat_event("e2", "updated", T + 10, json!({"user_id": "user_1", "status": "active"})),
        flat_event("e3", "updated", T + 20, json!({"user_id": "user_1", "plan": "team"})),
        flat_event("e4", "payment_failed", T + 30, json!({"user_id": "user_1", "attempt_count": 2})),
        flat_event("e5", "updated", T + 40, json!({"user_id": "user_1", "stripe_customer_id": "cus_1"})),
        flat_event("e6", "deleted", T + 50, json!({"user_id": "user_1", "plan": "team"})),
    ]);
}

#[test]
fn a_flat_history_that_never_tells_a_status_converges() {
    converges(&[
        flat_event("e1", "updated", T, json!({"user_id": "user_1", "plan": "basic"})),
        flat_event("e2", "updated", T + 10, json!({"user_id": "user_1", "plan": "pro"})),
        flat_event("e3", "updated", T + 20, json!({"user_id": "user_1", "stripe_customer_id": "cus_1"})),
    ]);
}

#[test]
fn flat_events_of_one_second_converge() {
    // A sender without its own milliseconds: all of it within one second.
    converges(&[
        flat_event("e1", "created", T, json!({"user_id": "user_1", "plan": "basic"})),
        flat_event("e2", "updated", T, json!({"user_id": "user_1", "plan": "pro", "status": "active"})),
        flat_event("e3", "payment_failed", T, json!({"user_id": "user_1"})),
        flat_event("e4", "updated", T, json!({"user_id": "user_1", "plan": "team"})),
        flat_event("e5", "deleted", T, json!({"user_id": "user_1"})),
    ]);
}

#[test]
fn a_user_and_an_organization_converge_side_by_side() {
    let seats = |at, quantity: i64| {
        with(item("org_1", "i_team", "active", "team", at), json!({"seats": {"quantity": quantity}}))
    };
    converges(&[
        item_event("e1", "active", T, item("user_1", "i_pro", "active", "pro", T)),
        subscription_event(
            "e2",
            "active",
            T + 10,
            "org_1",
            vec![seats(T + 10, 5), free_item("org_1", "ended", T + 10)],
        ),
        item_event("e3", "updated", T + 20, with(seats(T + 20, 9), json!({"payer": null, "subscription_id": null}))),
        item_event("e4", "canceled", T + 30, item("user_1", "i_pro", "canceled", "pro", T + 30)),
        identity_event("e5", "organization.updated", T + 40, "org_1"),
    ]);
}

#[test]
fn a_user_deleted_midway_converges() {
    converges(&[
        item_event("e1", "active", T, item("user_1", "i_pro", "active", "pro", T)),
        identity_event("e2", "user.updated", T + 5, "user_1"),
        identity_event("e3", "user.deleted", T + 10, "user_1"),
        item_event("e4", "ended", T + 20, item("user_1", "i_pro", "ended", "pro", T + 20)),
        item_event("e5", "active", T + 30, free_item("user_1", "active", T + 30)),
        identity_event("e6", "user.deleted", T + 40, "user_1"),
    ]);
}

#[test]
fn payments_converge() {
    converges(&[
        payment_event("e1", T, "cpa_1", "cpay_1", "pending", T),
        payment_event("e2", T + 5, "cpa_1", "cpay_1", "failed", T),
        payment_event("e3", T + 10, "cpa_2", "cpay_1", "pending", T + 10),
        // Settled within the millisecond in which it was made.
        payment_event("e4", T + 10, "cpa_2", "cpay_1", "paid", T + 10),
        payment_event("e5", T + 20, "cpa_3", "cpay_2", "failed", T + 20),
    ]);
}

#[test]
fn an_item_that_does_not_say_whose_it_is_converges() {
    let without = json!({"payer": null, "subscription_id": null});
    converges(&[
        item_event("e1", "incomplete", T, with(item("user_1", "i_pro", "incomplete", "pro", T), without.clone())),
        item_event("e2", "active", T + 5, with(item("user_1", "i_pro", "active", "pro", T + 5), without.clone())),
        subscription_event("e3", "active", T + 3, "user_1", vec![item("user_1", "i_pro", "incomplete", "pro", T)]),
        item_event("e4", "updated", T + 9, with(item("user_1", "i_pro", "active", "pro", T + 9), without)),
    ]);
}

#[test]
fn one_item_that_ends_and_comes_back_converges() {
    // The free plan's item keeps its id for good.
    converges(&[
        item_event("e1", "active", T, free_item("user_1", "active", T)),
        item_event("e2", "ended", T + 10, free_item("user_1", "ended", T + 10)),
        item_event("e3", "upcoming", T + 20, free_item("user_1", "upcoming", T + 20)),
        item_event("e4", "abandoned", T + 30, free_item("user_1", "abandoned", T + 30)),
        item_event("e5", "active", T + 40, free_item("user_1", "active", T + 40)),
    ]);
}

#[test]
fn events_of_one_millisecond_converge() {
    let at = |status: &str| item("user_1", "i_pro", status, "pro", T);
    converges(&[
        item_event("e1", "incomplete", T, at("incomplete")),
        item_event("e2", "active", T, at("active")),
        item_event("e3", "updated", T, with(at("active"), json!({"period_end": T + 60 * DAY_MS}))),
        subscription_event("e4", "active", T, "user_1", vec![with(at("active"), json!({"payer": null}))]),
        item_event("e5", "canceled", T, at("canceled")),
    ]);
}

impl Numbers {
    /// A time out of so few that ties are common.
    pub fn moment(&mut self) -> i64 {
        T + self.pick(&[0, 1, 2, 3])
    }

    pub fn sent(&mut self, event_id: &str) -> Sent {
        let payer = self.pick(&["user_1", "org_1"]);
        let (changed_at, sent_at) = (self.moment(), self.moment());
        match self.below(8) {
            0..3 => item_event(event_id, "updated", sent_at, self.item(payer, changed_at)),
            3 => {
                let items = (0..=self.below(2)).map(|_| self.item(payer, changed_at)).collect();
                subscription_event(event_id, "updated", sent_at, payer, items)
            }
            4 | 5 => {
                let kind = self.pick(&["created", "updated", "updated", "payment_failed", "deleted"]);
                let mut data = json!({"user_id": "user_1", "updated_at": changed_at});
                for (name, value) in [("plan", "pro"), ("plan", "team"), ("status", "active"), ("status", "past_due")] {
                    if self.below(3) == 0 {
                        data[name] = json!(value);
                    }
                }
                if self.below(3) == 0 {
                    data["stripe_customer_id"] = json!(self.pick(&["cus_1", "cus_2"]));
                }
                flat_event(event_id, kind, sent_at, data)
            }
            6 => {
                let (id, status) = (self.pick(&["cpa_1", "cpa_2"]), self.pick(&["pending", "failed", "paid"]));
                payment_event(event_id, changed_at, id, "cpay_1", status, T)
            }
            _ => {
                let kind = self.pick(&["user.updated", "user.deleted"]);
                identity_event(event_id, kind, sent_at, "user_1")
            }
        }
    }

    fn item(&mut self, payer: &str, changed_at: i64) -> Value {
        let status = self.pick(&["active", "canceled", "ended", "past_due", "upcoming", "incomplete", "strange"]);
        let plan = self.pick(&["basic", "pro"]);
        let mut item = item(payer, &format!("i_{}_{payer}", self.pick(&["a", "b"])), status, plan, changed_at);
        item["is_free_trial"] = json!(self.below(4) == 0);
        item["created_at"] = json!(self.moment());
        for field in ["payer", "plan", "subscription_id", "updated_at", "created_at"] {
            if self.below(4) == 0 {
                item = with(item, json!({field: null}));
            }
        }
        item
    }
}

#[test]
fn histories_made_of_random_events_converge() {
    for seed in 0..150 {
        let mut numbers = Numbers::new(seed);
        let history: Vec<Sent> = (0..8).map(|number| numbers.sent(&format!("e{number}"))).collect();
        let read: Vec<Read> = history.iter().map(|sent| (sent.clone(), sent.parse())).collect();
        let shop = Shop::new();
        let mut expected: Option<String> = None;
        for round in 0..5 {
            let mut order: Vec<usize> = (0..read.len()).collect();
            // Some arrive more than once.
            if round > 0 {
                order.extend((0..4).map(|_| usize::try_from(numbers.below(8)).unwrap()));
                numbers.shuffle(&mut order);
            }
            let mut reduced = Reduced::default();
            let state = shop.tentatively(|shop| {
                for index in &order {
                    let (sent, parsed) = &read[*index];
                    shop.run(sent, parsed);
                    add(&mut reduced, "clerk", &sent.event_id, parsed);
                    shop.agrees_with(&reduced);
                }
                shop.state()
            });
            let expected = expected.get_or_insert_with(|| state.clone());
            let bodies: Vec<_> = history.iter().map(|sent| String::from_utf8_lossy(&sent.body)).collect();
            assert_eq!(&state, expected, "seed {seed}, round {round}, order {order:?}\n{}", bodies.join("\n"));
        }
    }
}

#[test]
fn histories_with_grants_by_hand_reduce_to_what_is_stored() {
    for seed in 0..60 {
        let mut numbers = Numbers::new(seed);
        let mut history: Vec<(&str, String, Result<Parsed, ParseError>)> = (0..5)
            .map(|number| numbers.sent(&format!("e{number}")))
            .map(|sent| ("clerk", sent.event_id.clone(), sent.parse()))
            .collect();
        for (number, what) in ["plan", "feature"].into_iter().enumerate() {
            let id = format!("g{number}");
            let (at, later) = (Timestamp::from_millis(numbers.moment()), Timestamp::from_millis(numbers.moment()));
            let signed = json!({"by": "ada", "why": "a bug"});
            let asked = json!({"user_id": "user_1", what: "pro", "by": "ada", "why": "a bug"}).to_string();
            let grant = Grant::from_json(asked.as_bytes(), &Catalog::default(), at).unwrap();
            history.push(("operator", id.clone(), Ok(Parsed::Event(grant.event(&id, at)))));
            // It does not say whose the grant is.
            let event_id = format!("r{number}");
            let revoked = revocation(signed.to_string().as_bytes(), &id, &event_id, later).unwrap();
            history.push(("operator", event_id, Ok(Parsed::Event(revoked))));
        }
        for _ in 0..4 {
            let (mut store, mut reduced) = (Shop::new(), Reduced::default());
            for (provider, event_id, parsed) in &history {
                let verified = Verified::recorded(event_id.as_str(), Timestamp::from_millis(NOW), &[]);
                store.store.deliver(provider, &verified, parsed, Timestamp::from_millis(NOW)).unwrap();
                add(&mut reduced, provider, event_id, parsed);
                store.agrees_with(&reduced);
            }
            let versions = ["user_1", "org_1"].map(|id| (payer(id), store.snapshot(id)));
            for (payer, stored) in versions {
                assert_eq!(reduced.snapshot(&payer, stored.as_of).version, stored.version, "nothing came twice");
            }
            numbers.shuffle(&mut history);
        }
    }
}

#[test]
fn of_many_records_the_same_ones_are_left_out() {
    let history: Vec<Sent> = (0..70)
        .map(|n| {
            let status = if n % 3 == 0 { "ended" } else { "active" };
            // Several of one version, but for the item: they keep an order all the same.
            let items = ["b", "a"].map(|id| item("user_1", &format!("i_{id}_{n}"), status, "pro", T + n));
            subscription_event(&format!("e{n}"), "updated", T + n, "user_1", items.into())
        })
        .collect();
    let (mut shop, mut reduced) = (Shop::new(), Reduced::default());
    for sent in &history {
        shop.deliver(sent);
        add(&mut reduced, "clerk", &sent.event_id, &sent.parse());
    }
    shop.agrees_with(&reduced);
    assert_eq!(shop.snapshot("user_1").records.len(), 64);
}

#[test]
fn many_records_that_say_the_same_hide_none_that_says_something_else() {
    let what = |n: i64| match n {
        0 => ("old", Some(T + 300 * DAY_MS)),
        1 => ("lifetime", None),
        // The same plan until different times, and one that is not granted any more.
        2..5 => ("pro", Some(T + n * 100 * DAY_MS)),
        5 => ("pro", Some(T + DAY_MS)),
        _ => ("coins", None),
    };
    let (mut shop, mut reduced) = (Shop::new(), Reduced::default());
    for n in 0..100 {
        let (plan, period_end) = what(n);
        let item = with(item("user_1", &format!("i_{n}"), "active", plan, T + n), json!({"period_end": period_end}));
        let sent = item_event(&format!("e{n}"), "active", T + n, item);
        shop.deliver(&sent);
        add(&mut reduced, "clerk", &sent.event_id, &sent.parse());
        shop.agrees_with(&reduced);
    }
    let snapshot = shop.snapshot("user_1");
    assert_eq!(snapshot.records.len(), 64);
    let shown: Vec<&str> = snapshot.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(shown[..6], ["i_99", "i_4", "i_3", "i_2", "i_1", "i_0"], "what nothing newer says comes first");
    assert_eq!((shown[6], shown[63]), ("i_98", "i_41"), "then the newest of the rest");
}

#[test]
fn what_was_reduced_reads_back_and_goes_on() {
    let mut numbers = Numbers::new(7);
    let (mut whole, mut in_pieces) = (Reduced::default(), Reduced::default());
    for number in 0..30 {
        let sent = numbers.sent(&format!("e{number}"));
        add(&mut whole, "clerk", &sent.event_id, &sent.parse());
        let kept = serde_json::to_string(&in_pieces).unwrap();
        in_pieces = Reduced::read(Fields::of(&plangate::json::parse(kept.as_bytes()).unwrap()).unwrap()).unwrap();
        add(&mut in_pieces, "clerk", &sent.event_id, &sent.parse());
    }
    assert_eq!(in_pieces, whole);
}
