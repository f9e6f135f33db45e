//! The outbox, on the production statements: what goes in, who gets what, in which order, and that no look walks it.

use plangate::catalog::Catalog;
use plangate::decide::Policy;
use plangate::outbox::{Due, Replay};
use plangate::store::outbox::{claim, delivered, failed, pass_on, replay};
use plangate::store::{Statement, webhook};
use plangate::time::{DAY_MS, Timestamp};
use rusqlite::types::Value as Stored;

use crate::history::{NOW, Sent, Shop, item, item_event, run_statement};
use crate::seeded::Numbers;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A delivery as the worker stores it where a sink is set.
fn deliver(shop: &Shop, sent: &Sent, now: i64) {
    let mut statements = webhook("clerk", &sent.verified(), &sent.parse(), false, at(now)).unwrap();
    statements.push(pass_on("clerk", &sent.event_id, at(now)));
    run(shop, &statements);
}

fn run(shop: &Shop, statements: &[Statement]) -> Vec<Vec<Stored>> {
    let all = statements.iter().map(|statement| run_statement(shop.store.connection(), statement));
    all.last().unwrap()
}

fn due(shop: &Shop, name: &str, limit: u32, now: i64) -> Vec<Due> {
    let rows = run(shop, &claim(name, limit, at(now + 30_000), at(now)));
    let Stored::Text(text) = &rows[0][0] else { panic!("no text") };
    Due::read_all(text).unwrap()
}

fn sequences(due: &[Due]) -> Vec<(String, u64)> {
    let mut all: Vec<_> = due.iter().map(|due| (due.payer.key(), due.sequence)).collect();
    all.sort();
    all
}

fn change(payer: &str, n: i64) -> Sent {
    item_event(
        &format!("e_{payer}_{n}"),
        "updated",
        NOW + n,
        item(payer, &format!("i_{payer}"), "active", "pro", NOW + n),
    )
}

fn waiting(shop: &Shop) -> i64 {
    shop.store.connection().query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_payers_changes_go_one_after_another_and_nobody_elses_wait() {
    let shop = Shop::new();
    for n in 1..=3 {
        deliver(&shop, &change("user_1", n), NOW + n);
        deliver(&shop, &change("user_1", n), NOW + n);
    }
    deliver(&shop, &change("user_1", 0), NOW);
    deliver(&shop, &change("org_1", 1), NOW + 1);
    assert_eq!(waiting(&shop), 4, "neither the duplicates nor the stale one");

    let first = due(&shop, "a", 8, NOW + 10);
    assert_eq!(sequences(&first), [("org:org_1".into(), 1), ("user:user_1".into(), 1)]);
    assert!(due(&shop, "b", 8, NOW + 29_000).is_empty(), "somebody is sending");
    let user = first.iter().find(|due| due.payer.key() == "user:user_1").unwrap();
    let message = user.message(&Catalog::default(), &Policy::default(), at(NOW)).unwrap();
    assert!(message.body.contains("\"event_id\":\"e_user_1_1\"") && message.body.contains("\"sequence\":1"));

    run(&shop, &delivered(user, at(NOW + 20)));
    let second = due(&shop, "c", 8, NOW + 20);
    assert_eq!(sequences(&second), [("user:user_1".into(), 2)]);
    run(&shop, &failed(&second[0], "c", "it answered 500", at(NOW + 30)));
    assert!(due(&shop, "d", 8, NOW + 5_029).is_empty());
    assert_eq!(sequences(&due(&shop, "e", 8, NOW + 5_030)), [("user:user_1".into(), 2)]);
}

#[test]
fn a_run_that_died_is_followed_by_another_and_what_it_notes_late_takes_nothing_back() {
    let shop = Shop::new();
    deliver(&shop, &change("user_1", 1), NOW);
    let died = due(&shop, "a", 8, NOW);
    let again = due(&shop, "b", 8, NOW + 30_000);
    assert_eq!((sequences(&died), again[0].attempts), (sequences(&again), 2));
    run(&shop, &failed(&died[0], "a", "late", at(NOW + 30_001))[..1]);
    let failure: Option<String> =
        shop.store.connection().query_row("SELECT failure FROM outbox", [], |row| row.get(0)).unwrap();
    assert_eq!(failure, None, "it was another run's by then");
    run(&shop, &delivered(&again[0], at(NOW + 30_002)));
    assert_eq!(waiting(&shop), 0);
}

#[test]
fn one_that_this_version_cannot_read_keeps_nobody_elses_waiting() {
    let shop = Shop::new();
    deliver(&shop, &change("user_1", 1), NOW);
    // As a later version might, before one went back to this one.
    let of_another_kind = "INSERT INTO outbox (payer, sequence, provider, event_id, created_at, next_at) \
                           VALUES ('team:1', 1, 'clerk', 'e_team', 0, 0)";
    shop.store.connection().execute(of_another_kind, []).unwrap();
    let found = due(&shop, "a", 8, NOW);
    assert_eq!(sequences(&found), [("user:user_1".to_owned(), 1)]);
    run(&shop, &delivered(&found[0], at(NOW)));
    // Where there is nothing else, that is said.
    let rows = run(&shop, &claim("b", 8, at(NOW + 120_000), at(NOW + 60_000)));
    let Stored::Text(text) = &rows[0][0] else { panic!("no text") };
    let error = Due::read_all(text).unwrap_err();
    assert_eq!(error.to_string(), "reading a snapshot: `payer` is not the key of a payer");
}

#[test]
fn it_is_tried_ten_times_over_three_days_and_then_kept() {
    let shop = Shop::new();
    deliver(&shop, &change("user_1", 1), NOW);
    let (mut now, mut attempts) = (NOW, 0);
    while let Some(due) = due(&shop, "a", 8, now).pop() {
        attempts += 1;
        run(&shop, &failed(&due, "a", "no", at(now)));
        now += due.retry_after_ms().unwrap_or(DAY_MS * 30);
    }
    assert_eq!(attempts, 10);
    assert!(now - NOW - DAY_MS * 30 > 3 * DAY_MS, "{}", now - NOW);
    assert_eq!(waiting(&shop), 1);
    run(&shop, &[replay(&Replay::from_json(br#"{"payer":"user:user_2"}"#).unwrap(), at(now))]);
    assert!(due(&shop, "b", 8, now).is_empty());
    run(&shop, &[replay(&Replay::from_json(b"").unwrap(), at(now))]);
    assert_eq!(due(&shop, "b", 8, now)[0].attempts, 1);
}

#[test]
fn however_sending_goes_every_payers_sequences_are_taken_in_order_and_all_of_them() {
    for seed in 0..40 {
        let (shop, mut numbers) = (Shop::new(), Numbers::new(seed));
        let payers = ["user_1", "user_2", "org_1", "org_2"];
        let (mut now, mut taken, mut sent) = (NOW, Vec::<(String, u64)>::new(), 0);
        let mut step = |shop: &Shop, numbers: &mut Numbers, now: &mut i64, is_up: bool| {
            for (index, due) in due(shop, &format!("r{now}"), 2, *now).iter().enumerate() {
                if is_up || numbers.below(3) == 0 {
                    taken.push((due.payer.key(), due.sequence));
                    run(shop, &delivered(due, at(*now)));
                } else if index == 0 {
                    run(shop, &failed(due, &format!("r{now}"), "no", at(*now)));
                }
            }
        };
        for n in 1..=30 {
            now += 1 + i64::try_from(numbers.below(40_000)).unwrap();
            deliver(&shop, &change(numbers.pick(&payers), n), now);
            sent += 1;
            step(&shop, &mut numbers, &mut now, false);
        }
        for _ in 0..200 {
            now += DAY_MS;
            step(&shop, &mut numbers, &mut now, true);
        }
        assert_eq!((waiting(&shop), taken.len()), (0, sent), "seed {seed}");
        for payer in payers {
            let own: Vec<u64> =
                taken.iter().filter(|(key, _)| key.ends_with(payer)).map(|(_, sequence)| *sequence).collect();
            assert!(own.is_sorted(), "seed {seed}: {payer} {own:?}");
        }
    }
}

#[test]
fn no_look_into_the_outbox_walks_it() {
    let shop = Shop::new();
    let claim = claim("a", 8, at(NOW), at(NOW));
    for statement in claim.iter().chain(&[pass_on("clerk", "e", at(NOW))]) {
        let mut plan = shop.store.connection().prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
        let details: Vec<String> = plan
            .query_map(rusqlite::params_from_iter(&statement.params), |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(!details.iter().any(|detail| detail.starts_with("SCAN outbox")), "{details:?}");
    }
}
