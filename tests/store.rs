#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! The rules of storing, on the production statements in SQLite: one transaction; the object's own clock, not arrival,
//! tells what is newer; nothing is deleted; all of a payer's records count; unknown is safe; no card data. That any
//! order of arrival ends in the same state is in `store/convergence.rs` and, for generated lifecycles, in
//! `store/lifecycles.rs`; the statements themselves in `store/plans.rs`; rules with several sides in `store/rules.rs`.

#[path = "store/convergence.rs"]
mod convergence;
#[path = "store/customers.rs"]
mod customers;
#[path = "store/history.rs"]
mod history;
#[path = "store/letters.rs"]
mod letters;
#[path = "store/lifecycles.rs"]
mod lifecycles;
#[path = "store/outbox.rs"]
mod outbox;
#[path = "store/past.rs"]
mod past;
#[path = "store/plans.rs"]
mod plans;
#[path = "store/rules.rs"]
mod rules;
mod seeded;
#[path = "store/upkeep.rs"]
mod upkeep;

use plangate::decide::Reason;
use plangate::event::{IgnoredReason, Parsed};
use plangate::provider::{Ours, named};
use plangate::reduce::Reduced;
use plangate::status::Status;
use plangate::store::{Outcome, again, webhook};
use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use history::{
    NOW, Sent, Shop, T, add, flat_event, free_item, identity_event, item, item_event, payer, payment_event,
    run_statement, subscription_event, with,
};

/// One delivery of each kind.
fn one_of_each() -> Vec<Sent> {
    vec![
        item_event("e_item", "active", T, item("user_1", "i_1", "active", "pro", T)),
        subscription_event("e_subscription", "updated", T, "org_1", vec![item("org_1", "i_2", "active", "team", T)]),
        subscription_event("e_empty", "created", T, "user_2", vec![]),
        item_event("e_nobody", "active", T, with(item("x", "i_3", "active", "pro", T), json!({"payer": null}))),
        flat_event("e_flat", "created", T, json!({"user_id": "user_1", "plan": "pro"})),
        payment_event("e_payment", T, "cpa_1", "cpay_1", "failed", T),
        identity_event("e_user", "user.updated", T, "user_1"),
        identity_event("e_deleted", "user.deleted", T, "user_2"),
        identity_event("e_ignored", "session.created", T, "user_1"),
        Sent::raw("e_unreadable", "{"),
    ]
}

/// The database without what only counts attempts.
fn but_for_attempts(shop: &Shop) -> String {
    let ledger = "SELECT seq, provider, event_id, event_type, payer, occurred_at, received_at, read_attempt, outcome, \
                  detail, event, body FROM deliveries ORDER BY seq";
    let payers = "SELECT * FROM payers ORDER BY payer";
    [shop.rows(ledger).join("\n"), shop.rows(payers).join("\n"), shop.state()].join("\n")
}

// One transaction.

#[test]
fn duplicate_delivery_changes_nothing() {
    let mut shop = Shop::new();
    for sent in one_of_each() {
        let (first, _) = shop.deliver_and_read(&sent);
        assert_ne!(first, Outcome::Duplicate, "{}", sent.event_id);
        let before = but_for_attempts(&shop);
        for _ in 0..3 {
            let (outcome, again) = shop.deliver_and_read(&sent);
            assert_eq!(outcome, Outcome::Duplicate, "{}", sent.event_id);
            assert_eq!(again, None, "{}: nothing is read back that did not change", sent.event_id);
            assert_eq!(but_for_attempts(&shop), before, "{}", sent.event_id);
        }
    }
    // And not later either, when other events have come.
    let before = but_for_attempts(&shop);
    for sent in one_of_each() {
        assert_eq!(shop.deliver(&sent), Outcome::Duplicate);
    }
    assert_eq!(but_for_attempts(&shop), before);
}

/// What an isolate does with a delivery that it has stored itself.
#[test]
fn counting_a_delivery_again_leaves_all_as_delivering_it_again_does() {
    let later = Timestamp::from_millis(NOW + 7_000);
    for erases in [false, true] {
        let mut shops = [Shop::after(&one_of_each()), Shop::after(&one_of_each())];
        if erases {
            for shop in &mut shops {
                upkeep::erased(shop, "user_1", NOW);
            }
        }
        let [counted, delivered] = &mut shops;
        for sent in one_of_each() {
            let before = counted.everything();
            let rows = run_statement(counted.connection(), &again("clerk", &sent.event_id, later));
            if matches!(sent.parse(), Ok(Parsed::Event(_))) {
                assert_eq!(rows.len(), 1, "{}", sent.event_id);
                let outcome = delivered.store.deliver("clerk", &sent.verified(), &sent.parse(), later).unwrap().0;
                assert_eq!(outcome, Outcome::Duplicate, "{}", sent.event_id);
            } else {
                assert!(rows.is_empty(), "{} may be read today", sent.event_id);
                assert_eq!(counted.everything(), before, "{}", sent.event_id);
            }
            assert_eq!(counted.everything(), delivered.everything(), "{}", sent.event_id);
        }
        for (provider, event_id) in [("clerk", "e_never_seen"), ("another", "e_item")] {
            assert!(run_statement(counted.connection(), &again(provider, event_id, later)).is_empty());
        }
        assert_eq!(counted.everything(), delivered.everything());
    }
}

#[test]
fn a_second_body_under_the_same_id_changes_nothing() {
    let mut shop = Shop::after(&[item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T))]);
    let before = but_for_attempts(&shop);
    for other in [
        item_event("e1", "ended", T + 5, item("user_1", "i_1", "ended", "pro", T + 5)),
        payment_event("e1", T + 5, "cpa_1", "cpay_1", "failed", T + 5),
        identity_event("e1", "user.deleted", T + 5, "user_1"),
        identity_event("e1", "session.created", T + 5, "user_1"),
        Sent::raw("e1", "{"),
    ] {
        assert_eq!(shop.deliver(&other), Outcome::Duplicate);
        assert_eq!(but_for_attempts(&shop), before);
    }
}

#[test]
fn the_same_id_from_two_providers_is_two_deliveries() {
    let mut shop = Shop::new();
    let sent = item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T));
    for provider in ["clerk", "another"] {
        let at = Timestamp::from_millis(NOW);
        let (outcome, _) = shop.store.deliver(provider, &sent.verified(), &sent.parse(), at).unwrap();
        assert_eq!(outcome, Outcome::Stored, "{provider}");
    }
    assert_eq!(shop.snapshot("user_1").records.len(), 2);
}

#[test]
fn rule_1_one_transaction_a_crash_between_any_two_statements_changes_nothing_and_redelivery_applies_fully() {
    for sent in one_of_each() {
        let clean = Shop::after([&sent]).everything();
        let statements = webhook("clerk", &sent.verified(), &sent.parse(), false, Timestamp::from_millis(NOW)).unwrap();
        let mut shop = Shop::new();
        let before = shop.everything();
        for prefix in 0..=statements.len() {
            let transaction = shop.connection().unchecked_transaction().unwrap();
            for statement in &statements[..prefix] {
                run_statement(&transaction, statement);
            }
            drop(transaction);
            assert_eq!(shop.everything(), before, "{} crashed after {prefix}", sent.event_id);
        }
        assert_ne!(shop.deliver(&sent), Outcome::Duplicate, "{}: nothing was marked as seen", sent.event_id);
        assert_eq!(shop.everything(), clean, "{}", sent.event_id);
    }
}

#[test]
fn a_delivery_that_fails_inside_the_store_leaves_nothing() {
    for sent in one_of_each() {
        let mut shop = Shop::new();
        let before = shop.everything();
        // The last thing written: whatever comes before it must be taken back with it.
        let table = match sent.parse() {
            Ok(Parsed::Event(_)) if sent.event_id != "e_nobody" => "payers",
            Ok(Parsed::Event(_)) => "records",
            _ => "deliveries",
        };
        let trigger =
            format!("CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT raise(ABORT, 'disk full'); END");
        shop.connection().execute_batch(&trigger).unwrap();
        let at = Timestamp::from_millis(NOW);
        let error = shop.store.deliver("clerk", &sent.verified(), &sent.parse(), at).unwrap_err();
        assert_eq!(error.to_string(), "disk full", "{}", sent.event_id);
        assert_eq!(shop.everything(), before, "{}", sent.event_id);
        shop.connection().execute_batch("DROP TRIGGER full").unwrap();
        assert_ne!(shop.deliver(&sent), Outcome::Duplicate, "{}", sent.event_id);
    }
}

#[test]
fn the_batch_reads_back_what_a_check_would_read() {
    let mut shop = Shop::new();
    for sent in one_of_each() {
        let (_, snapshot) = shop.deliver_and_read(&sent);
        let whose = match sent.parse() {
            Ok(Parsed::Event(event)) => event.payer,
            _ => None,
        };
        assert_eq!(snapshot.as_ref().map(|snapshot| &snapshot.payer), whose.as_ref(), "{}", sent.event_id);
        if let Some(snapshot) = snapshot {
            assert_eq!(snapshot, shop.snapshot(snapshot.payer.id()), "{}", sent.event_id);
            assert_eq!(snapshot.as_of, Timestamp::from_millis(NOW));
        }
    }
}

#[test]
fn a_payers_version_grows_with_every_delivery_about_it_and_with_no_duplicate() {
    let mut shop = Shop::new();
    assert_eq!(shop.snapshot("user_1").version, 0);
    assert!(!shop.snapshot("user_1").is_known());
    let history = [
        item_event("e1", "active", T + 9, item("user_1", "i_1", "active", "pro", T + 9)),
        // Stale.
        item_event("e2", "incomplete", T, item("user_1", "i_1", "incomplete", "pro", T)),
        payment_event("e3", T, "cpa_1", "cpay_1", "paid", T),
        // Which does not say whose it is.
        item_event("e4", "ended", T + 20, with(item("user_1", "i_1", "ended", "pro", T + 20), json!({"payer": null}))),
        identity_event("e5", "user.updated", T, "user_1"),
    ];
    for (sent, version) in history.iter().zip(1..) {
        let (_, snapshot) = shop.deliver_and_read(sent);
        assert_eq!(snapshot.unwrap().version, version, "{}", sent.event_id);
        shop.deliver(sent);
        assert_eq!(shop.snapshot("user_1").version, version, "{} again", sent.event_id);
    }
    shop.deliver(&item_event("e6", "active", T, item("user_2", "i_2", "active", "pro", T)));
    assert_eq!(shop.snapshot("user_1").version, 5, "another payer's event");
}

// The object's own clock.

#[test]
fn older_event_does_not_override_newer() {
    let statuses = ["active", "canceled", "ended", "past_due", "upcoming", "incomplete", "paused", "strange"];
    for newer in statuses {
        for older in statuses {
            let history = [
                item_event("e1", "updated", T + 1, item("user_1", "i_1", newer, "pro", T + 1)),
                // Sent later, by an hour; about an earlier version.
                item_event("e2", "updated", T + 3_600_000, item("user_1", "i_1", older, "basic", T)),
            ];
            let mut shop = Shop::after(&history[..1]);
            let before = shop.state();
            assert_eq!(shop.deliver(&history[1]), Outcome::Stale, "{older} after {newer}");
            assert_eq!(shop.state(), before, "{older} after {newer}");
            let shop = Shop::after(history.iter().rev());
            assert_eq!(shop.state(), before, "{newer} after {older}");
        }
    }
}

#[test]
fn older_payment_does_not_override_newer() {
    let mut shop = Shop::after(&[payment_event("e1", T + 5, "cpa_1", "cpay_1", "paid", T)]);
    let before = shop.state();
    assert_eq!(shop.deliver(&payment_event("e2", T, "cpa_1", "cpay_1", "pending", T)), Outcome::Stale);
    assert_eq!(shop.deliver(&payment_event("e3", T + 4, "cpa_1", "cpay_1", "failed", T)), Outcome::Stale);
    assert_eq!(shop.state(), before);
}

/// Delivers both in both orders; the one of that id must have told the status.
#[track_caller]
fn wins(winner: &Sent, loser: &Sent) {
    for order in [[winner, loser], [loser, winner]] {
        let shop = Shop::after(order);
        let record = shop.snapshot("user_1").records.remove(0);
        let ids = order.map(|sent| sent.event_id.as_str());
        assert_eq!(record.event_id, winner.event_id, "in the order {ids:?}");
    }
}

#[test]
fn of_versions_with_the_same_time_the_one_sent_later_wins() {
    for (later, earlier) in [("active", "ended"), ("incomplete", "canceled"), ("strange", "active")] {
        wins(
            &item_event("e_a", "updated", T + 2, item("user_1", "i_1", later, "pro", T)),
            &item_event("e_z", "updated", T + 1, item("user_1", "i_1", earlier, "pro", T)),
        );
    }
}

#[test]
fn of_versions_with_the_same_times_the_one_further_along_wins() {
    // Each of a group stands for a step; the next group is further along.
    let groups: [&[&str]; 9] = [
        &["strange", "Active"],
        &["incomplete"],
        &["upcoming"],
        &["trialing"],
        &["active"],
        &["past_due", "paused"],
        &["unpaid"],
        &["canceled", "cancelled"],
        &["ended", "abandoned", "expired"],
    ];
    for (step, group) in groups.iter().enumerate() {
        for further in groups[step + 1..].iter().copied().flatten() {
            for less in *group {
                wins(
                    &item_event("e_a", "updated", T, item("user_1", "i_1", further, "pro", T)),
                    &item_event("e_z", "updated", T, item("user_1", "i_1", less, "pro", T)),
                );
            }
        }
    }
}

#[test]
fn of_versions_alike_in_all_that_the_greater_event_id_wins() {
    for (greater, less) in [("e2", "e1"), ("e10", "e1"), ("f", "e99"), ("e", "E"), ("ü", "z")] {
        wins(
            &item_event(greater, "updated", T, item("user_1", "i_1", "active", "pro", T)),
            &item_event(less, "updated", T, item("user_1", "i_1", "active", "basic", T)),
        );
    }
}

#[test]
fn times_in_seconds_and_in_milliseconds_compare_as_times() {
    wins(
        &item_event("e_a", "updated", T, item("user_1", "i_1", "active", "pro", T / 1000 + 1)),
        &item_event("e_z", "updated", T, item("user_1", "i_1", "ended", "pro", T + 999)),
    );
}

#[test]
fn what_a_newer_event_leaves_out_is_not_changed_by_it() {
    let bare =
        with(item("user_1", "i_1", "canceled", "pro", T + 5), json!({"payer": null, "plan": null, "plan_id": null}));
    let full = item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T));
    for order in [
        [&full, &item_event("e2", "canceled", T + 5, bare.clone())],
        [&item_event("e2", "canceled", T + 5, bare.clone()), &full],
    ] {
        let shop = Shop::after(order);
        let record = shop.snapshot("user_1").records.remove(0);
        assert_eq!((record.status, record.plan.as_deref()), (Status::Canceled, Some("pro")));
        assert_eq!(record.customer.as_deref(), Some("cpayer_user_1"));
    }
}

#[test]
fn what_is_heard_of_without_a_status_is_taken_for_active_until_one_is_told() {
    let silent = flat_event("e1", "updated", T + 9, json!({"user_id": "user_1", "plan": "pro"}));
    assert!(Shop::after([&silent]).allows("user_1", "pro", NOW));
    // Told by an event that is older than the silent one.
    let told = flat_event("e2", "updated", T, json!({"user_id": "user_1", "plan": "basic", "status": "paused"}));
    for order in [[&silent, &told], [&told, &silent]] {
        let decision = Shop::after(order).decide("user_1", "plan=pro", NOW);
        assert_eq!((decision.allowed, decision.reason), (false, Reason::Paused));
    }
}

#[test]
fn an_item_without_a_payer_is_linked_by_its_subscription_whichever_comes_first() {
    let anonymous = |id, at| {
        let item = with(item("user_1", "i_1", "active", "pro", at), json!({"payer": null, "subscription_id": null}));
        item_event(id, "active", at, item)
    };
    let container =
        |at| subscription_event("e_sub", "active", at, "user_1", vec![item("user_1", "i_1", "active", "pro", at)]);

    // The item first: nobody's, until its subscription comes, which may show an older version of it.
    for at in [T - 5, T, T + 5] {
        let mut shop = Shop::new();
        let (outcome, snapshot) = shop.deliver_and_read(&anonymous("e_item", T));
        assert_eq!((outcome, snapshot), (Outcome::Stored, None));
        assert!(!shop.allows("user_1", "pro", NOW));
        let (outcome, snapshot) = shop.deliver_and_read(&container(at));
        assert_eq!(outcome, Outcome::Stored);
        assert_eq!(snapshot.unwrap().records.len(), 1);
        assert!(shop.allows("user_1", "pro", NOW));
    }

    // The subscription first: the item's events are then known to be about its payer, however the item stands in them.
    for at in [T - 5, T, T + 5] {
        let mut shop = Shop::after(&[container(at)]);
        let (_, snapshot) = shop.deliver_and_read(&anonymous("e_item", T));
        let snapshot = snapshot.unwrap();
        assert_eq!((snapshot.payer, snapshot.version), (payer("user_1"), 2));
        assert!(shop.allows("user_1", "pro", NOW));
    }
}

#[test]
fn the_newest_event_that_says_whose_a_record_is_decides_it() {
    let history = [
        // Which began before the others say, so that its row is written even when it comes late.
        item_event("e1", "active", T, with(item("user_1", "i_1", "active", "pro", T), json!({"created_at": T - 5}))),
        item_event("e2", "updated", T + 5, item("org_1", "i_1", "active", "pro", T + 5)),
        item_event("e3", "updated", T + 9, with(item("org_1", "i_1", "active", "pro", T + 9), json!({"payer": null}))),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [1, 0, 2], [2, 0, 1]] {
        let shop = Shop::after(order.map(|index| &history[index]));
        assert!(shop.allows("org_1", "pro", NOW) && !shop.allows("user_1", "pro", NOW), "{order:?}");
        assert_eq!(shop.snapshot("org_1").records[0].customer.as_deref(), Some("cpayer_org_1"), "{order:?}");
    }
}

#[test]
fn an_older_event_that_is_the_first_to_tell_something_is_stored_and_not_stale() {
    let bare_payer = json!({"user_id": "user_1"});
    // What the newer event leaves out, or says otherwise, and the column that the older one then sets.
    let cases = [
        (json!({"payer": null}), json!({"payer": bare_payer}), Some(r#"payer="user:user_1""#)),
        (json!({"payer": bare_payer}), json!({}), Some(r#"customer="cpayer_user_1""#)),
        (json!({"plan": null, "plan_id": null}), json!({}), Some(r#"plan="pro""#)),
        (json!({"subscription_id": null}), json!({}), Some(r#"subscription="csub_user_1""#)),
        (json!({}), json!({"is_free_trial": true}), Some("trial_used=1")),
        (json!({}), json!({"created_at": T - 5}), Some("started_at=1767225599995")),
        (json!({"created_at": null, "period_start": null}), json!({}), Some("started_at=1767225600000")),
        // Nothing new.
        (json!({}), json!({}), None),
        (json!({}), json!({"payer": null, "plan": null, "subscription_id": null, "created_at": null}), None),
        (json!({}), json!({"created_at": T + 5, "seats": {"quantity": 5}, "period_end": null}), None),
    ];
    for (newer, older, told) in cases {
        let what = format!("newer with {newer}, older with {older}");
        let newer = with(item("user_1", "i_1", "canceled", "pro", T + 9), newer);
        let older = with(item("user_1", "i_1", "active", "pro", T), older);
        let mut shop = Shop::after(&[item_event("e1", "canceled", T + 9, newer)]);
        let before = shop.state();
        let outcome = shop.deliver(&item_event("e2", "active", T, older));
        match told {
            Some(told) => {
                assert_eq!(outcome, Outcome::Stored, "{what}");
                let is_told = |state: &str| state.split(' ').any(|cell| cell == told);
                assert!(!is_told(&before) && is_told(&shop.state()), "{what}: {}", shop.state());
            }
            None => {
                assert_eq!(outcome, Outcome::Stale, "{what}");
                assert_eq!(shop.state(), before, "{what}");
            }
        }
        assert_eq!(shop.rows("SELECT status, event_id FROM records"), [r#"status="canceled" event_id="e1""#], "{what}");
    }
}

#[test]
fn the_start_is_the_earliest_that_any_event_told() {
    let started = |id, at: i64, created: i64| {
        item_event(id, "updated", at, with(item("user_1", "i_1", "active", "pro", at), json!({"created_at": created})))
    };
    let history = [started("e1", T + 10, T + 3), started("e2", T + 20, T + 1), started("e3", T + 30, T + 2)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let shop = Shop::after(order.map(|index| &history[index]));
        let record = shop.snapshot("user_1").records.remove(0);
        assert_eq!(record.started_at, Some(Timestamp::from_millis(T + 1)), "{order:?}");
        assert_eq!(record.event_id, "e3", "{order:?}");
    }
    let silent = json!({"created_at": null, "period_start": null});
    let silent = item_event("e4", "updated", T + 40, with(item("user_1", "i_1", "active", "pro", T + 40), silent));
    for order in [[&history[1], &silent], [&silent, &history[1]]] {
        let record = Shop::after(order).snapshot("user_1").records.remove(0);
        assert_eq!(record.started_at, Some(Timestamp::from_millis(T + 1)), "silence is not a start");
    }
}

#[test]
fn a_trial_once_used_stays_used() {
    let trial = |id, at, is_trial: bool| {
        let item = with(item("user_1", "i_1", "active", "pro", at), json!({"is_free_trial": is_trial}));
        item_event(id, "updated", at, item)
    };
    let (tried, paid) = (trial("e1", T, true), trial("e2", T + 5, false));
    for order in [[&tried, &paid], [&paid, &tried]] {
        let shop = Shop::after(order);
        let snapshot = shop.snapshot("user_1");
        assert!(snapshot.has_used_trial());
        assert_eq!(snapshot.records[0].status, Status::Active);
    }
    assert!(!Shop::after([&paid]).snapshot("user_1").has_used_trial());
    // Of one record, and counted for the payer: what was bought later has none.
    let other = item_event("e3", "active", T + 9, item("user_1", "i_2", "active", "team", T + 9));
    let ended = item_event("e4", "ended", T + 9, item("user_1", "i_1", "ended", "pro", T + 9));
    assert!(Shop::after([&tried, &other, &ended]).snapshot("user_1").has_used_trial());
    let flat = flat_event("e5", "created", T, json!({"user_id": "user_1", "plan": "pro", "status": "trialing"}));
    assert!(Shop::after([&flat]).snapshot("user_1").has_used_trial());
}

// Nothing is deleted.

#[test]
fn a_tombstone_survives_late_events() {
    let deleted = identity_event("e_deleted", "user.deleted", T + 5, "user_1");
    let late = [
        item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)),
        item_event("e2", "active", T + 50, item("user_1", "i_2", "active", "team", T + 50)),
        subscription_event("e3", "created", T + 60, "user_1", vec![free_item("user_1", "active", T + 60)]),
        flat_event("e4", "created", T + 70, json!({"user_id": "user_1", "plan": "pro"})),
        payment_event("e5", T + 80, "cpa_1", "cpay_1", "paid", T + 80),
        identity_event("e6", "user.created", T + 90, "user_1"),
        identity_event("e7", "user.updated", T + 90, "user_1"),
        identity_event("e8", "user.deleted", T + 90, "user_1"),
    ];
    for sent in &late {
        for order in [[&deleted, sent], [sent, &deleted]] {
            let shop = Shop::after(order);
            assert_eq!(shop.snapshot("user_1").deleted_at, Some(Timestamp::from_millis(T + 5)), "{}", sent.event_id);
            let decision = shop.decide("user_1", "plan=pro", NOW);
            assert_eq!((decision.allowed, decision.reason), (false, Reason::PayerDeleted), "{}", sent.event_id);
        }
    }
    // The records stay.
    let shop = Shop::after(late[..3].iter().chain([&deleted]));
    assert_eq!(shop.snapshot("user_1").records.len(), 3);
}

#[test]
fn a_deletion_of_a_user_is_not_one_of_an_organization_with_the_same_id() {
    let shop = Shop::after(&[
        Sent::new("e1", "organization.deleted", T, json!({"id": "twin_1", "deleted": true})),
        Sent::new("e2", "user.updated", T, json!({"id": "twin_1"})),
    ]);
    assert_eq!(shop.snapshot("twin_1").deleted_at, None);
    let payers = shop.rows("SELECT payer, deleted_at FROM payers ORDER BY payer");
    assert_eq!(
        payers,
        [format!("payer=\"org:twin_1\" deleted_at={T}"), "payer=\"user:twin_1\" deleted_at=null".into()]
    );
}

#[test]
fn an_end_is_a_status_and_takes_no_row_away() {
    let shop = Shop::after(&[
        item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)),
        item_event("e2", "ended", T + 5, item("user_1", "i_1", "ended", "pro", T + 5)),
        flat_event("e3", "created", T, json!({"user_id": "user_1", "plan": "pro"})),
        flat_event("e4", "deleted", T + 5, json!({"user_id": "user_1"})),
    ]);
    let records = shop.snapshot("user_1").records;
    let statuses: Vec<_> = records.iter().map(|record| (record.id.as_str(), &record.status)).collect();
    assert_eq!(statuses, [("flat:user:user_1", &Status::Canceled), ("i_1", &Status::Ended)]);
    assert!(!shop.allows("user_1", "pro", NOW));
}

// All of a payer's records count.

#[test]
fn rule_4_all_records_count_and_an_old_items_end_keeps_the_new_plan() {
    let history = [
        item_event("e1", "active", T, item("user_1", "i_old", "active", "basic", T)),
        item_event("e2", "active", T + 10, item("user_1", "i_new", "active", "pro", T + 10)),
        item_event("e3", "ended", T + 20, item("user_1", "i_old", "ended", "basic", T + 20)),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [1, 0, 2], [2, 0, 1]] {
        let shop = Shop::after(order.map(|index| &history[index]));
        assert!(shop.allows("user_1", "pro", NOW), "{order:?}");
        assert!(!shop.allows("user_1", "basic", NOW), "{order:?}");
    }
}

#[test]
fn the_flat_and_the_full_form_of_one_payer_both_count() {
    let flat = flat_event("e1", "created", T, json!({"user_id": "user_1", "plan": "basic"}));
    let full = item_event("e2", "active", T, item("user_1", "i_1", "active", "pro", T));
    let gone = flat_event("e3", "deleted", T + 5, json!({"user_id": "user_1"}));
    let ended = item_event("e4", "ended", T + 5, item("user_1", "i_1", "ended", "pro", T + 5));
    let shop = Shop::after([&flat, &full]);
    assert!(shop.allows("user_1", "basic", NOW) && shop.allows("user_1", "pro", NOW));
    let shop = Shop::after([&flat, &full, &gone]);
    assert!(!shop.allows("user_1", "basic", NOW) && shop.allows("user_1", "pro", NOW));
    let shop = Shop::after([&flat, &full, &ended]);
    assert!(shop.allows("user_1", "basic", NOW) && !shop.allows("user_1", "pro", NOW));
}

#[test]
fn payers_do_not_mix() {
    let shop = Shop::after(&[
        item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)),
        item_event("e2", "active", T, item("user_11", "i_2", "active", "team", T)),
        item_event("e3", "active", T, item("org_1", "i_3", "active", "basic", T)),
    ]);
    for (id, plan) in [("user_1", "pro"), ("user_11", "team"), ("org_1", "basic")] {
        let held: Vec<_> = ["pro", "team", "basic"].into_iter().filter(|plan| shop.allows(id, plan, NOW)).collect();
        assert_eq!(held, [plan], "{id}");
    }
    let both = shop.store.snapshots((&payer("user_1"), Some(&payer("org_1"))), Timestamp::from_millis(NOW)).unwrap();
    let ids: Vec<_> = both.iter().map(|snapshot| snapshot.payer.id()).collect();
    assert_eq!(ids, ["user_1", "org_1"], "the user first");
}

#[test]
fn of_more_than_64_records_a_snapshot_keeps_the_live_and_the_newest() {
    let mut history: Vec<Sent> = (0..100)
        .map(|number| {
            let at = T + 1000 + number;
            item_event(&format!("e{number}"), "ended", at, item("user_1", &format!("i_{number}"), "ended", "basic", at))
        })
        .collect();
    // Older than everything that is over.
    let live = [("active", "pro"), ("upcoming", "team"), ("canceled", "max"), ("strange", "odd")];
    for (status, plan) in live {
        history.push(item_event(plan, "updated", T, item("user_1", &format!("i_{plan}"), status, plan, T)));
    }
    let shop = Shop::after(&history);
    let records = shop.snapshot("user_1").records;
    assert_eq!(records.len(), 64);
    for (_, plan) in live {
        assert!(records.iter().any(|record| record.plan.as_deref() == Some(plan)), "{plan}");
    }
    let oldest_over =
        records.iter().filter(|record| record.status == Status::Ended).map(|record| record.occurred_at).min();
    assert_eq!(oldest_over, Some(Timestamp::from_millis(T + 1000 + 40)), "60 of the 100, the newest");
    assert!(shop.allows("user_1", "pro", NOW));
}

#[test]
fn rule_4_all_records_count_and_no_number_of_newer_ones_hides_one_that_grants() {
    let over = json!({"period_end": T + DAY_MS});
    let idle = [
        // Checkouts that were begun and left, above all; and what was over long ago without an end being told.
        ("incomplete", json!({})),
        ("paused", json!({})),
        ("unpaid", json!({})),
        ("upcoming", json!({})),
        ("strange", json!({})),
        ("canceled", over.clone()),
        ("canceled", json!({"period_end": null})),
        ("past_due", over.clone()),
        ("active", over),
    ];
    let granting = ["active", "trialing", "canceled", "past_due"];
    let held = granting.map(|status| {
        let sent = if status == "trialing" { "active" } else { status };
        let held = item("user_1", &format!("i_{status}"), sent, &format!("held_{status}"), T);
        item_event(status, "updated", T, with(held, json!({"is_free_trial": status == "trialing"})))
    });
    for (status, fields) in idle {
        let newer = (0..70).map(|number| {
            let at = T + 1000 + number;
            let newer = item("user_1", &format!("i_{number}"), status, "idle", at);
            item_event(&format!("e{number}"), "updated", at, with(newer, fields.clone()))
        });
        let history: Vec<Sent> = held.iter().cloned().chain(newer).collect();
        let shop = Shop::after(&history);
        assert_eq!(shop.snapshot("user_1").records.len(), 64);
        for held in granting {
            let plan = format!("held_{held}");
            assert!(shop.allows("user_1", &plan, NOW), "{held} behind 70 that are {status} {fields}");
        }
        assert!(!shop.allows("user_1", "idle", NOW), "{status} {fields}");
    }
}

// Unknown is safe; no card data.

#[test]
fn an_unknown_status_is_kept_as_text_and_grants_nothing() {
    let shop = Shop::after(&[item_event("e1", "hibernated", T, item("user_1", "i_1", "hibernating", "pro", T))]);
    let record = shop.snapshot("user_1").records.remove(0);
    assert_eq!(record.status, Status::Unrecognized("hibernating".into()));
    let decision = shop.decide("user_1", "plan=pro", NOW);
    assert_eq!((decision.allowed, decision.reason), (false, Reason::UnknownStatus));
}

#[test]
fn an_unused_type_is_kept_as_ignored_without_its_body() {
    let mut shop = Shop::new();
    let sent = identity_event("e1", "session.created", T, "user_1");
    let (outcome, snapshot) = shop.deliver_and_read(&sent);
    assert_eq!((outcome, snapshot), (Outcome::Ignored, None));
    assert_eq!(
        shop.rows("SELECT event_type, payer, occurred_at, outcome, detail, event, body FROM deliveries"),
        [
            r#"event_type="session.created" payer=null occurred_at=null outcome="ignored" detail="unused_type" event=null body=null"#
        ]
    );
    assert_eq!(shop.state(), "");
}

#[test]
fn a_dead_letter_is_kept_whole_with_card_numbers_masked() {
    let mut shop = Shop::new();
    let body = r#"{"type":"subscriptionItem.active","data":{"id":"i_1","status":"active","seats":"4242 4242 4242 4242","n":4242424242424242,"note":"card 4000-0566-5566-5556, grüße"}}"#;
    let (outcome, snapshot) = shop.deliver_and_read(&Sent::raw("e1", body));
    assert_eq!((outcome, snapshot), (Outcome::DeadLetter, None));
    let row = shop.rows("SELECT event_type, outcome, event, body FROM deliveries").remove(0);
    let kept = r#"{"type":"subscriptionItem.active","data":{"id":"i_1","status":"active","seats":"**** **** **** ****","n":9999999999999999,"note":"card ****-****-****-****, grüße"}}"#;
    assert_eq!(row, format!(r#"event_type="subscriptionItem.active" outcome="dead_letter" event=null body={kept:?}"#));
}

#[test]
fn no_card_number_reaches_any_column_by_way_of_an_error() {
    // Errors repeat what was wrong.
    for body in [
        r#"{"type":"subscriptionItem.active","data":{"id":"i_1","status":"active","seats":"4242424242424242"}}"#,
        r#"{"type":"subscriptionItem.active","data":{"id":"i_1","status":4242424242424242}}"#,
        r#"{"type":"subscriptionItem.active","data":{"id":"i_1","status":"active","plan":"4242 4242 4242 4242"}}"#,
        r#"{"type":"subscription.updated","data":"4242-4242-4242-4242"}"#,
        r#"{"type":4242424242424242}"#,
    ] {
        let shop = Shop::after(&[Sent::raw("e1", body)]);
        let everything = shop.everything();
        assert!(everything.contains("outcome=\"dead_letter\""), "{everything}");
        let digits: String = everything.chars().filter(|c| c.is_ascii_digit() || *c == '*').collect();
        assert!(!digits.contains("4242"), "{everything}");
    }
}

#[test]
fn a_body_that_is_not_utf_8_is_kept_as_far_as_it_is_text() {
    let shop = Shop::after(&[Sent::raw("e1", &b"{\"type\":\"\xff\xfe\"}"[..])]);
    assert_eq!(
        shop.rows("SELECT outcome, body FROM deliveries"),
        ["outcome=\"dead_letter\" body=\"{\\\"type\\\":\\\"\u{fffd}\u{fffd}\\\"}\""]
    );
}

#[test]
fn a_dead_letter_resent_readable_is_applied_and_counts_as_stored() {
    let mut shop = Shop::new();
    // Not even what it is can be read.
    let broken = Sent::raw("e1", "{");
    assert_eq!(shop.deliver(&broken), Outcome::DeadLetter);
    assert_eq!(shop.deliver(&broken), Outcome::Duplicate, "still unreadable");
    let fixed = item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T));
    let (outcome, snapshot) = shop.deliver_and_read(&fixed);
    assert_eq!(outcome, Outcome::Stored);
    assert_eq!(snapshot.unwrap().version, 1);
    assert!(shop.allows("user_1", "pro", NOW));
    assert_eq!(
        shop.rows(
            "SELECT event_type, payer, occurred_at, attempts, read_attempt, outcome, detail, body FROM deliveries"
        ),
        [format!(
            r#"event_type="subscriptionItem.active" payer="user:user_1" occurred_at={T} attempts=3 read_attempt=3 outcome="stored" detail=null body=null"#
        )]
    );
    let before = but_for_attempts(&shop);
    assert_eq!(shop.deliver(&fixed), Outcome::Duplicate);
    assert_eq!(shop.deliver(&broken), Outcome::Duplicate, "what is once readable stays so");
    assert_eq!(but_for_attempts(&shop), before);
}

#[test]
fn a_dead_letter_resent_after_something_newer_is_stale() {
    let mut shop = Shop::new();
    assert_eq!(shop.deliver(&Sent::raw("e1", "{")), Outcome::DeadLetter);
    shop.deliver(&item_event("e2", "ended", T + 5, item("user_1", "i_1", "ended", "pro", T + 5)));
    let before = shop.state();
    assert_eq!(shop.deliver(&item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T))), Outcome::Stale);
    assert_eq!(shop.state(), before);
}

#[test]
fn an_event_ignored_before_is_applied_when_it_comes_again_and_is_understood() {
    let mut shop = Shop::new();
    let sent = item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T));
    let ignored = |reason| Ok(Parsed::Ignored { event_type: "subscriptionItem.active".into(), reason });
    assert_eq!(shop.deliver_as(&sent, &ignored(IgnoredReason::UnusedType)).0, Outcome::Ignored);
    assert_eq!(shop.deliver_as(&sent, &ignored(IgnoredReason::UnusedType)).0, Outcome::Duplicate);
    assert_eq!(shop.deliver(&sent), Outcome::Stored);
    assert!(shop.allows("user_1", "pro", NOW));
    // And not the other way round.
    assert_eq!(shop.deliver_as(&sent, &ignored(IgnoredReason::OtherInstance)).0, Outcome::Duplicate);
    assert!(shop.allows("user_1", "pro", NOW));
}

#[test]
fn an_event_of_another_instance_changes_nothing() {
    let mut sent = item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T));
    let mut body: Value = serde_json::from_slice(&sent.body).unwrap();
    body["instance_id"] = json!("ins_other");
    sent.body = body.to_string().into_bytes();
    let ours = Ours { clerk_instance_id: Some("ins_ours".into()), ..Ours::default() };
    let parsed = named("clerk").unwrap().parse(&sent.verified(), &ours);
    let mut shop = Shop::new();
    assert_eq!(shop.deliver_as(&sent, &parsed).0, Outcome::Ignored);
    assert_eq!(shop.state(), "");
}

#[test]
fn a_payer_nobody_has_heard_of_has_an_empty_snapshot() {
    let snapshot = Shop::new().snapshot("user_1");
    assert_eq!((snapshot.payer.id(), snapshot.version, snapshot.records.len()), ("user_1", 0, 0));
    assert_eq!((snapshot.deleted_at, snapshot.failed_attempts, snapshot.last_failure), (None, 0, None));
}

#[test]
fn a_subscription_without_items_makes_its_payer_known() {
    let mut shop = Shop::new();
    let (outcome, snapshot) = shop.deliver_and_read(&subscription_event("e1", "created", T, "user_1", vec![]));
    assert_eq!(outcome, Outcome::Stored);
    assert!(snapshot.unwrap().is_known());
}

// Payments.

#[test]
fn attempts_of_one_payment_are_numbered_by_when_they_were_made() {
    let history = [
        payment_event("e1", T + 1, "cpa_c", "cpay_1", "failed", T + 1),
        payment_event("e2", T + 2, "cpa_a", "cpay_1", "failed", T + 2),
        payment_event("e3", T + 3, "cpa_b", "cpay_1", "paid", T + 3),
        payment_event("e4", T + 2, "cpa_d", "cpay_2", "paid", T + 2),
        // Without a payment to belong to.
        payment_event("e5", T + 9, "cpa_e", "", "failed", T + 9),
    ];
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
        let shop = Shop::after(order.map(|index| &history[index]));
        assert_eq!(
            shop.rows("SELECT id, attempt FROM payment_attempts ORDER BY id"),
            [
                r#"id="cpa_a" attempt=2"#,
                r#"id="cpa_b" attempt=3"#,
                r#"id="cpa_c" attempt=1"#,
                r#"id="cpa_d" attempt=1"#,
                r#"id="cpa_e" attempt=1"#,
            ],
            "{order:?}"
        );
    }
}

#[test]
fn failed_attempts_are_those_since_the_last_that_was_paid() {
    let attempt = |number: i64, status| {
        payment_event(&format!("e{number}"), T + number, &format!("cpa_{number}"), "cpay_1", status, T + number)
    };
    let cases: &[(&[&str], u32)] = &[
        (&[], 0),
        (&["pending"], 0),
        (&["paid"], 0),
        (&["failed"], 1),
        (&["failed", "failed"], 2),
        (&["failed", "failed", "paid"], 0),
        (&["paid", "failed"], 1),
        (&["failed", "paid", "failed", "failed", "pending"], 2),
        (&["failed", "paid", "strange"], 0),
    ];
    for (statuses, expected) in cases {
        let history: Vec<_> = statuses.iter().zip(1..).map(|(status, number)| attempt(number, status)).collect();
        for order in [history.iter().collect::<Vec<_>>(), history.iter().rev().collect()] {
            let snapshot = Shop::after(order).snapshot("user_1");
            assert_eq!(snapshot.failed_attempts, *expected, "{statuses:?}");
            let last =
                statuses.iter().zip(1..).filter(|(status, _)| **status == "failed").map(|(_, number)| number).last();
            let failure = snapshot.last_failure.map(|failure| (failure.at, failure.code));
            assert_eq!(
                failure,
                last.map(|number| (Timestamp::from_millis(T + number), Some(format!("cpa_{number}")))),
                "{statuses:?}"
            );
        }
    }
}

#[test]
fn a_charge_that_failed_within_the_millisecond_of_one_that_was_paid_is_over() {
    let shop = Shop::after(&[
        payment_event("e1", T, "cpa_1", "cpay_1", "failed", T),
        payment_event("e2", T, "cpa_2", "cpay_1", "paid", T),
    ]);
    assert_eq!(shop.snapshot("user_1").failed_attempts, 0);
}

#[test]
fn of_failures_at_one_time_the_providers_name_tells_the_last_and_then_the_id() {
    let failed = |id: &str| payment_event(&format!("e_{id}"), T, id, "cpay_1", "failed", T);
    let told = [("another", failed("cpa_9")), ("clerk", failed("cpa_1")), ("clerk", failed("cpa_2"))];
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (mut shop, mut reduced) = (Shop::new(), Reduced::default());
        for index in order {
            let (provider, sent) = &told[index];
            let now = Timestamp::from_millis(NOW);
            shop.store.deliver(provider, &sent.verified(), &sent.parse(), now).unwrap();
            add(&mut reduced, provider, &sent.event_id, &sent.parse());
        }
        let code = shop.snapshot("user_1").last_failure.unwrap().code;
        assert_eq!(code.as_deref(), Some("cpa_2"), "{order:?}");
        shop.agrees_with(&reduced);
    }
}

#[test]
fn payments_grant_nothing() {
    let shop = Shop::after(&[payment_event("e1", T, "cpa_1", "cpay_1", "paid", T)]);
    assert_eq!(shop.decide("user_1", "", NOW).reason, Reason::NoSubscription);
}

// Counting.

#[test]
fn deliveries_are_counted_by_what_became_of_them() {
    let mut shop = Shop::new();
    let mut at = |sent: &Sent, now: i64| {
        let parsed = sent.parse();
        shop.store.deliver("clerk", &sent.verified(), &parsed, Timestamp::from_millis(now)).unwrap();
        shop.rows("SELECT outcome, detail, count, last_at FROM delivery_counts ORDER BY outcome, detail")
    };
    let item_at = |id, moment| item_event(id, "active", moment, item("user_1", "i_1", "active", "pro", moment));
    let stored = |count: u8, last: i64| format!(r#"outcome="stored" detail="" count={count} last_at={last}"#);
    let duplicate = |count: u8, last: i64| format!(r#"outcome="duplicate" detail="" count={count} last_at={last}"#);
    let ignored = |detail: &str, count: u8, last: i64| {
        format!(r#"outcome="ignored" detail="{detail}" count={count} last_at={last}"#)
    };
    let stale = format!(r#"outcome="stale" detail="" count=1 last_at={}"#, NOW + 3);
    let dead = format!(r#"outcome="dead_letter" detail="" count=1 last_at={}"#, NOW + 6);

    assert_eq!(at(&item_at("e1", T + 9), NOW), [stored(1, NOW)]);
    assert_eq!(at(&item_at("e1", T + 9), NOW + 1), [duplicate(1, NOW + 1), stored(1, NOW)]);
    assert_eq!(at(&item_at("e2", T + 10), NOW + 2), [duplicate(1, NOW + 1), stored(2, NOW + 2)]);
    let rows = at(&item_at("e3", T), NOW + 3);
    assert_eq!(rows, [duplicate(1, NOW + 1), stale.clone(), stored(2, NOW + 2)]);
    at(&identity_event("e4", "session.created", T, "user_1"), NOW + 4);
    at(&identity_event("e5", "email.created", T, "user_1"), NOW + 5);
    at(&Sent::new("e6", "user.deleted", T, json!({"deleted": true})), NOW + 5);
    at(&Sent::raw("e7", "{"), NOW + 6);
    // The dead letter, and one that was ignored, once more; then readable.
    at(&Sent::raw("e7", "{"), NOW + 7);
    at(&identity_event("e4", "session.created", T, "user_1"), NOW + 8);
    let rows = at(&item_at("e7", T + 20), NOW + 9);
    assert_eq!(
        rows,
        [
            dead,
            duplicate(3, NOW + 8),
            ignored("no_subject", 1, NOW + 5),
            ignored("unused_type", 2, NOW + 5),
            stale,
            stored(3, NOW + 9),
        ]
    );
    // A clock that runs behind takes nothing back.
    let rows = at(&item_at("e1", T + 9), NOW - 50);
    assert_eq!(rows[1], duplicate(4, NOW + 8));
}

#[test]
fn every_attempt_is_in_the_ledger_once_with_its_first_and_last_time() {
    let mut shop = Shop::new();
    let sent = item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T));
    for late in [0, 5_000, 300_000, 30 * DAY_MS] {
        let parsed = sent.parse();
        shop.store.deliver("clerk", &sent.verified(), &parsed, Timestamp::from_millis(NOW + late)).unwrap();
    }
    assert_eq!(
        shop.rows("SELECT received_at, last_received_at, attempts FROM deliveries"),
        [format!("received_at={NOW} last_received_at={} attempts=4", NOW + 30 * DAY_MS)]
    );
}

#[test]
fn an_outcome_reads_back_and_an_unknown_one_says_so() {
    for outcome in [Outcome::Stored, Outcome::Duplicate, Outcome::Stale, Outcome::Ignored, Outcome::DeadLetter] {
        assert_eq!(Outcome::parse(outcome.as_str()), Ok(outcome));
    }
    assert_eq!(Outcome::parse("lost").unwrap_err().to_string(), "unknown outcome `lost`");
}
