//! What was known at a time that is past, out of the ledger.

use plangate::answer::{Facts, Source};
use plangate::catalog::Catalog;
use plangate::event::{ParseError, Parsed};
use plangate::explain::{as_known, is_whole};
use plangate::grant::{Grant, revocation};
use plangate::snapshot::Snapshot;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::json;

use plangate::delivery::Verified;

use crate::history::{
    Sent, Shop, T, flat_event, identity_event, item, item_event, payer, payment_event, subscription_event, with,
};
use crate::seeded::Numbers;

/// One delivery, and when it reached us.
type Arrival = (&'static str, String, Result<Parsed, ParseError>, Vec<u8>, Timestamp);

fn arrival(sent: &Sent, at: i64) -> Arrival {
    ("clerk", sent.event_id.clone(), sent.parse(), sent.body.clone(), Timestamp::from_millis(at))
}

fn deliver(shop: &mut Shop, (provider, event_id, parsed, body, at): &Arrival) {
    shop.store.deliver(provider, &Verified::recorded(event_id.as_str(), *at, body), parsed, *at).unwrap();
}

fn then(shop: &Shop, id: &str, at: Timestamp) -> Snapshot {
    let payers = [payer(id)];
    let history = shop.store.history(&payers[0], at, 1_000).unwrap();
    assert!(!history.is_cut);
    let facts = as_known(&payers, &history, at);
    assert_eq!(facts.sources, [Source::Ledger]);
    Snapshot::clone(&facts.snapshots[0])
}

/// After each arrival the store is asked; at the end the ledger must tell the same of each of those times.
#[track_caller]
fn is_remembered(arrivals: &[Arrival]) {
    let mut shop = Shop::new();
    let mut known: Vec<(Timestamp, &str, Snapshot)> = Vec::new();
    for arrival in arrivals {
        let before = Timestamp::from_millis(arrival.4.as_millis() - 1);
        known.extend(["user_1", "org_1"].map(|id| (before, id, shop.snapshot(id))));
        deliver(&mut shop, arrival);
        known.extend(["user_1", "org_1"].map(|id| (arrival.4, id, shop.snapshot(id))));
    }
    for (at, id, expected) in known {
        let mut told = then(&shop, id, at);
        (told.version, told.as_of) = (expected.version, expected.as_of);
        assert_eq!(told, expected, "{id} at {at}");
    }
}

#[test]
fn the_past_is_what_was_known_then_whatever_happened_since() {
    let without = json!({"payer": null, "subscription_id": null});
    let pro = |status: &str, at| item("user_1", "i_pro", status, "pro", at);
    let history = [
        // Known before anybody knew whose it is.
        item_event("e1", "incomplete", T, with(pro("incomplete", T), without.clone())),
        subscription_event("e2", "active", T + 3, "user_1", vec![pro("active", T + 3)]),
        item_event("e3", "canceled", T + 9, with(pro("canceled", T + 9), without)),
        // An older one that comes late.
        item_event("e4", "active", T + 5, pro("active", T + 5)),
        payment_event("e5", T + 6, "cpa_1", "cpay_1", "failed", T + 6),
        flat_event("e6", "updated", T + 7, json!({"user_id": "user_1", "plan": "team"})),
        subscription_event("e7", "active", T + 10, "org_1", vec![item("org_1", "i_team", "active", "team", T + 10)]),
        identity_event("e8", "user.deleted", T + 10, "user_1"),
    ];
    let mut arrivals: Vec<Arrival> = history.iter().zip(1..).map(|(sent, n)| arrival(sent, T + n * DAY_MS)).collect();
    // Once more, much later: it was known from the first time on.
    arrivals.push(arrival(&history[1], T + 20 * DAY_MS));
    is_remembered(&arrivals);
}

#[test]
fn random_histories_are_remembered() {
    for seed in 0..80 {
        let mut numbers = Numbers::new(seed);
        let mut arrivals: Vec<Arrival> = Vec::new();
        for number in 0..10 {
            let at = T + number * DAY_MS;
            arrivals.push(arrival(&numbers.sent(&format!("e{number}")), at));
        }
        is_remembered(&arrivals);
    }
}

#[test]
fn grants_and_their_revocations_are_remembered() {
    let at = |day: i64| Timestamp::from_millis(T + day * DAY_MS);
    let body = json!({"user_id": "user_1", "plan": "pro", "by": "ada", "why": "a bug"}).to_string();
    let grant = Grant::from_json(body.as_bytes(), &Catalog::default(), at(1)).unwrap().event("g1", at(1));
    let revoked = revocation(br#"{"by":"bob","why":"a mistake"}"#, "g1", "r1", at(3)).unwrap();
    is_remembered(&[
        ("operator", "g1".into(), Ok(Parsed::Event(grant)), Vec::new(), at(1)),
        arrival(&item_event("e1", "active", T, item("user_1", "i_1", "active", "basic", T)), T + 2 * DAY_MS),
        ("operator", "r1".into(), Ok(Parsed::Event(revoked)), Vec::new(), at(3)),
    ]);
}

#[test]
fn a_dead_letter_was_not_known_before_it_could_be_read() {
    let sent = item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T));
    let unreadable = Err(ParseError { event_type: None, cause: "not yet".into() });
    let (day, body) = (|n: i64| Timestamp::from_millis(T + n * DAY_MS), sent.body.clone());
    is_remembered(&[
        ("clerk", "e1".into(), unreadable, body, day(1)),
        ("clerk", "e1".into(), sent.parse(), sent.body.clone(), day(2)),
    ]);
}

#[test]
fn what_sets_a_record_is_found_however_much_came_after_it() {
    let mut shop = Shop::new();
    let at = Timestamp::from_millis(T);
    let body = json!({"user_id": "user_1", "plan": "pro", "by": "ada", "why": "a bug"}).to_string();
    let grant = Grant::from_json(body.as_bytes(), &Catalog::default(), at).unwrap().event("g1", at);
    deliver(&mut shop, &("operator", "g1".into(), Ok(Parsed::Event(grant)), Vec::new(), at));
    let revoked = revocation(br#"{"by":"bob","why":"a mistake"}"#, "g1", "r1", at).unwrap();
    deliver(&mut shop, &("operator", "r1".into(), Ok(Parsed::Event(revoked)), Vec::new(), at));
    for n in 0..10 {
        shop.deliver(&payment_event(&format!("e{n}"), T + n, "cpa_1", "cpay_1", "paid", T));
    }
    // Each sign-in is news of a user, and nothing of what the user holds.
    shop.deliver(&identity_event("e_profile", "user.updated", T + 20, "user_1"));
    let history = shop.store.history(&payer("user_1"), Timestamp::MAX, 5).unwrap();
    let ids: Vec<&str> = history.events.iter().map(|event| event.event_id.as_str()).collect();
    assert_eq!(
        ids,
        ["e9", "e8", "e7", "e6", "e5", "e4", "r1", "g1"],
        "one more than asked for, and what set the record and gave it"
    );
    assert!(history.is_cut);
    assert!(!shop.store.history(&payer("user_1"), Timestamp::MAX, 11).unwrap().is_cut);
}

#[test]
fn a_history_that_is_too_long_to_look_through_is_cut() {
    let about = |payer: &str| {
        let mut shop = Shop::after(&[item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T))]);
        let sql = format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 2000) \
             INSERT INTO deliveries (provider, event_id, payer, received_at, last_received_at, outcome, event) \
             SELECT 'clerk', 'o' || n, {payer}, {T}, {T}, 'stored', '{{}}' FROM n"
        );
        shop.connection().execute(&sql, []).unwrap();
        let is_cut = |shop: &Shop| shop.store.history(&payer_of_test(), Timestamp::MAX, 100).unwrap().is_cut;
        let many = is_cut(&shop);
        shop.connection().execute("DELETE FROM deliveries WHERE event_id IN ('o1', 'o2')", []).unwrap();
        shop.deliver(&item_event("e2", "active", T + 1, item("org_1", "i_2", "active", "pro", T + 1)));
        (many, is_cut(&shop))
    };
    assert_eq!(about("'user:user_1'"), (true, false), "of rows that name the payer");
    assert_eq!(about("NULL"), (true, false), "of rows that name nobody");
    assert_eq!(about("'user:user_2'"), (false, false), "of another payer's");
}

fn payer_of_test() -> plangate::payer::Payer {
    payer("user_1")
}

#[test]
fn a_past_that_the_ledger_may_have_forgotten_is_not_whole() {
    let (kept_since, day) = (T + 20 * DAY_MS, |n: i64| Timestamp::from_millis(T + n * DAY_MS));
    // Began before that, and was told of again after it.
    let history = [
        arrival(&item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)), T),
        arrival(&item_event("e2", "ended", T + 1, item("user_1", "i_1", "ended", "pro", T + 1)), T + 40 * DAY_MS),
        arrival(&identity_event("e3", "user.deleted", T + 2, "user_2"), T),
    ];
    let mut shop = Shop::new();
    history.iter().for_each(|arrival| deliver(&mut shop, arrival));
    let whole = |shop: &Shop, id: &str, at: Timestamp| {
        let payers = [payer(id)];
        let history = shop.store.history(&payers[0], at, 1_000).unwrap();
        let today = Facts::all_from(Source::D1, vec![shop.snapshot(id)]);
        is_whole(&as_known(&payers, &history, at), &today, &history, at, Timestamp::from_millis(kept_since))
    };
    assert!(whole(&shop, "user_1", day(30)));
    assert!(!whole(&shop, "user_1", day(19)), "before what is kept");
    assert!(whole(&shop, "user_2", day(30)));
    // As if the first events had been thrown away since: nothing rests on them any more.
    shop.connection().execute("DELETE FROM deliveries WHERE event_id IN ('e1', 'e3')", []).unwrap();
    assert!(!whole(&shop, "user_1", day(30)), "a record is missing");
    assert!(whole(&shop, "user_1", day(41)));
    assert!(!whole(&shop, "user_2", day(30)), "a deletion is missing");
    let mut shop = Shop::new();
    let sold = [("e1", "user_1", 21), ("e2", "org_1", 31)];
    for (event_id, owner, at) in sold {
        let sent = item_event(event_id, "active", T + at, item(owner, "i_1", "active", "pro", T + at));
        deliver(&mut shop, &arrival(&sent, T + at * DAY_MS));
    }
    assert!(!whole(&shop, "user_1", day(30)), "it is another payer's today");
}
