//! Which payer a customer is: told by any event that names both, and then true of all of the customer's records and
//! payments that name no payer themselves, whatever came first.

use plangate::delivery::Verified;
use plangate::event::{Event, Link, ParseError, Parsed, Payment, PlanRef, Record, State, Version};
use plangate::reduce::Reduced;
use plangate::snapshot::StoredRecord;
use plangate::status::Status;
use plangate::store::upkeep::export_ledger;
use plangate::store::{Outcome, reapply};
use plangate::time::{DAY_MS, Timestamp};
use plangate::upkeep::Export;
use serde_json::json;

use crate::history::{NOW, Shop, T, payer, run_statement};
use crate::seeded::Numbers;
use crate::upkeep::{dump, erased, rebuilds_to_the_live_state, sweep};

const PROVIDER: &str = "stripe";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// An event of a provider that knows customers, sent at `sent_at`.
fn event(event_id: &str, sent_at: i64) -> (String, Event) {
    let event = Event {
        event_type: "test".into(),
        occurred_at: at(sent_at),
        payer: None,
        deleted_at: None,
        records: Vec::new(),
        payments: Vec::new(),
        links: Vec::new(),
        signed: None,
    };
    (event_id.to_owned(), event)
}

fn version(event_id: &str, sent_at: i64) -> Version {
    Version::new(at(sent_at), at(sent_at), 5, event_id)
}

/// A subscription of a customer, which may name its payer.
fn subscription(
    event_id: &str,
    sent_at: i64,
    id: &str,
    customer: Option<&str>,
    named: Option<&str>,
) -> (String, Event) {
    let (event_id, mut event) = event(event_id, sent_at);
    event.payer = named.map(payer);
    event.records.push(Record {
        id: id.into(),
        version: version(&event_id, sent_at),
        occurred_at: at(sent_at),
        payer: named.map(payer),
        customer: customer.map(str::to_owned),
        subscription: Some(id.into()),
        plan: Some(PlanRef { key: "price_pro".into(), id: Some("prod_pro".into()), free: false }),
        state: Some(State { period_end: Some(at(T + 30 * DAY_MS)), ..State::new(Status::Active) }),
        trial: false,
        started_at: None,
    });
    (event_id, event)
}

/// A charge of a customer.
fn charge(event_id: &str, sent_at: i64, id: &str, customer: &str, status: &str) -> (String, Event) {
    let (event_id, mut event) = event(event_id, sent_at);
    event.payments.push(Payment {
        id: id.into(),
        version: version(&event_id, sent_at),
        occurred_at: at(sent_at),
        payer: None,
        customer: Some(customer.into()),
        record: None,
        attempt: Some(3),
        payment: None,
        status: status.into(),
        amount: Some(1000),
        currency: Some("usd".into()),
        charge_type: None,
        created_at: at(sent_at),
        failure_code: None,
    });
    (event_id, event)
}

/// What a finished checkout tells: who the customer is.
fn link(event_id: &str, sent_at: i64, customer: &str, to: &str) -> (String, Event) {
    let (event_id, mut event) = event(event_id, sent_at);
    event.payer = Some(payer(to));
    event.links.push(Link { customer: customer.into(), payer: payer(to), version: version(&event_id, sent_at) });
    (event_id, event)
}

fn deliver(shop: &mut Shop, (event_id, event): &(String, Event)) -> (Outcome, Option<String>) {
    let recorded = Verified::recorded(event_id.as_str(), at(NOW), &[]);
    let (outcome, snapshot) =
        shop.store.deliver(PROVIDER, &recorded, &Ok(Parsed::Event(event.clone())), at(NOW)).unwrap();
    (outcome, snapshot.map(|snapshot| snapshot.payer.key()))
}

/// The user's records once these are delivered in this order; those in memory are the same.
fn records_after(history: &[(String, Event)], order: &[usize]) -> Vec<StoredRecord> {
    let (mut shop, mut reduced) = (Shop::new(), Reduced::default());
    for index in order {
        let (event_id, event) = &history[*index];
        deliver(&mut shop, &history[*index]);
        reduced.apply(PROVIDER, event_id, event);
    }
    let records = shop.snapshot("user_1").records;
    assert_eq!(reduced.snapshot(&payer("user_1"), at(NOW)).records, records, "{order:?}");
    records
}

fn whose(shop: &Shop) -> Vec<String> {
    let mut rows = shop.rows("SELECT id, payer FROM records ORDER BY id");
    rows.extend(shop.rows("SELECT id, payer FROM payments ORDER BY id"));
    rows
}

#[test]
fn a_customers_records_are_the_payers_whatever_came_first() {
    let history = [
        subscription("e1", T, "sub_1", Some("cus_1"), None),
        charge("e2", T + 1, "ch_1", "cus_1", "failed"),
        link("e3", T + 2, "cus_1", "user_1"),
        subscription("e4", T + 3, "sub_2", Some("cus_1"), None),
        subscription("e5", T + 4, "sub_1", None, None),
        subscription("e6", T + 5, "sub_3", Some("cus_1"), Some("org_1")),
    ];
    let expected = [
        "id=\"sub_1\" payer=\"user:user_1\"",
        "id=\"sub_2\" payer=\"user:user_1\"",
        "id=\"sub_3\" payer=\"org:org_1\"",
        "id=\"ch_1\" payer=\"user:user_1\"",
    ];
    let mut numbers = Numbers::new(4);
    let mut states = Vec::new();
    for round in 0..60 {
        let mut order: Vec<usize> = (0..history.len()).collect();
        order.extend((0..round % 3).map(|_| numbers.index(history.len())));
        numbers.shuffle(&mut order);
        let mut shop = Shop::new();
        let mut reduced = Reduced::default();
        let mut seen = Vec::new();
        for index in &order {
            let (event_id, event) = &history[*index];
            if !seen.contains(index) {
                reduced.apply(PROVIDER, event_id, event);
                seen.push(*index);
            }
            deliver(&mut shop, &history[*index]);
        }
        assert_eq!(whose(&shop), expected, "{order:?}");
        states.push(shop.state());
        let snapshot = shop.snapshot("user_1");
        assert_eq!((snapshot.records.len(), snapshot.failed_attempts), (2, 3), "{order:?}");
        let known = reduced.snapshot(&payer("user_1"), at(NOW));
        assert_eq!((known.records, known.failed_attempts), (snapshot.records, 3), "{order:?}");
        rebuilds_to_the_live_state(&shop, &format!("{order:?}"));
    }
    assert!(states.iter().all(|state| *state == states[0]));
}

#[test]
fn the_newest_link_counts_and_one_that_is_taken_away_leaves_nobody() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let history = [
            link("e1", T, "cus_1", "user_1"),
            link("e2", T + 1, "cus_1", "user_2"),
            subscription("e3", T, "sub_1", Some("cus_1"), None),
        ];
        let mut shop = Shop::new();
        for index in order {
            deliver(&mut shop, &history[index]);
        }
        assert_eq!(whose(&shop), ["id=\"sub_1\" payer=\"user:user_2\""], "{order:?}");
        // The subscription moves to a customer of whom nobody has told.
        deliver(&mut shop, &subscription("e4", T + 5, "sub_1", Some("cus_2"), None));
        assert_eq!(whose(&shop), ["id=\"sub_1\" payer=null"]);
        rebuilds_to_the_live_state(&shop, "a customer of nobody");
    }
}

#[test]
fn customers_of_two_providers_are_two_whatever_they_are_called() {
    let mut shop = Shop::new();
    deliver(&mut shop, &link("e1", T, "cus_1", "user_1"));
    let (event_id, event) = subscription("e2", T, "sub_1", Some("cus_1"), None);
    let recorded = Verified::recorded(event_id, at(NOW), &[]);
    shop.store.deliver("paddle", &recorded, &Ok(Parsed::Event(event)), at(NOW)).unwrap();
    assert_eq!(whose(&shop), ["id=\"sub_1\" payer=null"]);
}

#[test]
fn what_a_link_brings_is_stored_once_and_read_back_for_the_payer() {
    let mut shop = Shop::new();
    assert_eq!(deliver(&mut shop, &subscription("e1", T, "sub_1", Some("cus_1"), None)), (Outcome::Stored, None));
    let linked = link("e2", T + 1, "cus_1", "user_1");
    let owner = Some("user:user_1".to_owned());
    assert_eq!(deliver(&mut shop, &linked), (Outcome::Stored, owner.clone()));
    assert_eq!(deliver(&mut shop, &linked), (Outcome::Duplicate, None));
    // An event that names nobody is about the customer's payer.
    assert_eq!(deliver(&mut shop, &charge("e3", T + 2, "ch_1", "cus_1", "paid")), (Outcome::Stored, owner));
    let before = shop.state();
    for (provider, event_id) in [(PROVIDER, "e1"), (PROVIDER, "e2"), (PROVIDER, "e3")] {
        let answers = reapply(provider, event_id, at(NOW)).iter().map(|it| run_statement(shop.connection(), it)).last();
        // Also what came twice is read back when it is replayed: its copy in KV may be what is wrong.
        assert!(matches!(answers.unwrap()[0][2], rusqlite::types::Value::Text(_)), "{event_id}");
    }
    assert_eq!(shop.state(), before, "played again");
}

#[test]
fn a_payment_that_was_paid_back_is_told_of_the_record_it_was_for() {
    let refund = |event_id: &str, sent_at: i64, id: &str, status: &str, record: &str| {
        let (event_id, mut event) = charge(event_id, sent_at, id, "cus_1", status);
        event.payments[0].record = Some(record.into());
        (event_id, event)
    };
    let history = [
        subscription("e1", T, "sub_1", Some("cus_1"), None),
        subscription("e2", T, "sub_2", Some("cus_1"), None),
        link("e3", T, "cus_1", "user_1"),
        refund("e4", T + 1, "ch_1", "paid", "sub_1"),
        refund("e5", T + 2, "ch_1", "refunded", "sub_1"),
        refund("e6", T + 3, "ch_2", "disputed", "sub_1"),
        refund("e7", T + 4, "ch_3", "partially_refunded", "sub_2"),
    ];
    for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [4, 2, 0, 6, 5, 1, 3]] {
        let records = records_after(&history, &order);
        let told: Vec<_> = records.iter().map(|record| (record.id.as_str(), record.refunded_at)).collect();
        assert_eq!(told, [("sub_2", None), ("sub_1", Some(at(T + 3)))], "{order:?}");
    }
}

#[test]
fn what_is_old_is_stored_for_the_link_that_it_brings() {
    let old = |event_id: &str, sent_at: i64, to: &str| {
        let (event_id, mut event) = subscription(event_id, sent_at, "sub_1", Some("cus_1"), Some("user_1"));
        let version = version(&event_id, sent_at);
        event.links.push(Link { customer: "cus_1".into(), payer: payer(to), version });
        (event_id, event)
    };
    let mut shop = Shop::new();
    let outcome = |shop: &mut Shop, told: &(String, Event)| deliver(shop, told).0;
    let newest = subscription("e1", T + 10, "sub_1", Some("cus_1"), Some("user_1"));
    assert_eq!(outcome(&mut shop, &newest), Outcome::Stored);
    for (event_id, sent_at, expected) in
        [("e2", 5, Outcome::Stored), ("e3", 4, Outcome::Stale), ("e4", 6, Outcome::Stored), ("e5", 5, Outcome::Stale)]
    {
        assert_eq!(outcome(&mut shop, &old(event_id, T + sent_at, "user_1")), expected, "{event_id}");
    }
}

#[test]
fn a_record_of_another_plan_is_free_or_not_as_that_one_is() {
    let told = |event_id: &str, sent_at: i64, key: &str, free: bool| {
        let (event_id, mut event) = subscription(event_id, sent_at, "sub_1", None, Some("user_1"));
        event.records[0].plan = Some(PlanRef { key: key.into(), id: None, free });
        (event_id, event)
    };
    let history = [
        told("e1", T, "hobby", true),
        told("e2", T + 1, "pro", false),
        told("e3", T + 2, "hobby", true),
        told("e4", T + 3, "team", false),
    ];
    for last in 1..=history.len() {
        for backward in [false, true] {
            let mut order: Vec<usize> = (0..last).collect();
            if backward {
                order.reverse();
            }
            let records = records_after(&history, &order);
            assert_eq!(records[0].is_free(), last % 2 == 1, "{last} {backward}");
        }
    }
}

#[test]
fn an_event_that_names_an_erased_payer_in_what_it_shows_alone_is_ignored() {
    for of_payment in [false, true] {
        let mut shop = Shop::new();
        deliver(&mut shop, &subscription("e1", T, "sub_1", None, Some("user_1")));
        erased(&shop, "user_1", NOW);
        let (event_id, mut event) = if of_payment {
            charge("e2", T + 1, "ch_1", "cus_1", "paid")
        } else {
            subscription("e2", T + 1, "sub_2", None, Some("user_1"))
        };
        event.payer = None;
        event.payments.iter_mut().for_each(|payment| payment.payer = Some(payer("user_1")));
        assert_eq!(deliver(&mut shop, &(event_id, event)).0, Outcome::Ignored, "{of_payment}");
        assert!(whose(&shop).is_empty(), "{:?}", whose(&shop));
    }
}

#[test]
fn what_was_charged_on_top_and_paid_back_is_told_of_no_record() {
    let paid_for = |event_id: &str, sent_at: i64, id: &str, status: &str, payment: &str, charge_type: Option<&str>| {
        let (event_id, mut event) = charge(event_id, sent_at, id, "cus_1", status);
        let told = &mut event.payments[0];
        (told.record, told.payment) = (Some("sub_1".into()), Some(payment.into()));
        told.charge_type = charge_type.map(str::to_owned);
        (event_id, event)
    };
    let history = [
        subscription("e1", T, "sub_1", Some("cus_1"), None),
        link("e2", T, "cus_1", "user_1"),
        paid_for("e3", T + 1, "ch_1", "paid", "txn_1", Some("checkout")),
        paid_for("e4", T + 2, "ch_2", "paid", "txn_2", Some("subscription_charge")),
        paid_for("e5", T + 3, "adj_2", "refunded", "txn_2", None),
        paid_for("e6", T + 4, "adj_1", "refunded", "txn_1", None),
    ];
    for (last, expected) in [(5, None), (6, Some(at(T + 4)))] {
        for backward in [false, true] {
            let mut order: Vec<usize> = (0..last).collect();
            if backward {
                order.reverse();
            }
            let records = records_after(&history, &order);
            assert_eq!(records[0].refunded_at, expected, "{last} {backward}");
        }
    }
}

/// When what was paid for each record was paid back, by id.
fn refunds(shop: &Shop) -> Vec<(String, Option<Timestamp>)> {
    let records = shop.snapshot("user_1").records;
    let mut refunds: Vec<_> = records.into_iter().map(|record| (record.id, record.refunded_at)).collect();
    refunds.sort();
    refunds
}

#[test]
fn what_is_known_of_refunds_stays_when_old_payments_are_pruned() {
    let paid = |event_id: &str, sent_at: i64, id: &str, status: &str, record: &str| {
        let (event_id, mut event) = charge(event_id, sent_at, id, "cus_1", status);
        event.payments[0].record = Some(record.into());
        event.payments[0].charge_type = Some("recurring".into());
        event.payer = Some(payer("user_1"));
        event.payments[0].payer.clone_from(&event.payer);
        (event_id, event)
    };
    // Of the first no start of the period is told, so the charge after the refund begins one.
    let mut second = subscription("e2", T, "sub_2", Some("cus_1"), None);
    second.1.records[0].state.as_mut().unwrap().period_start = Some(at(T));
    let item = {
        let mut item = second.1.records[0].clone();
        item.id = "sub_2/item".into();
        item
    };
    second.1.records.push(item);
    let history = [
        link("e0", T, "cus_1", "user_1"),
        subscription("e1", T, "sub_1", Some("cus_1"), None),
        second,
        paid("e3", T + 1, "ch_1", "refunded", "sub_1"),
        paid("e4", T + 2, "ch_2", "paid", "sub_1"),
        paid("e5", T + 3, "ch_3", "refunded", "sub_2"),
        paid("e6", T + 4, "ch_4", "paid", "sub_2"),
        paid("e7", T + 5, "ch_5", "paid", "sub_9"),
        paid("e7b", T + 6, "ch_6", "paid", "sub_9"),
        subscription("e8", T + 6, "sub_1", Some("cus_1"), None),
    ];
    let shop = {
        let mut shop = Shop::new();
        for one in &history {
            deliver(&mut shop, one);
        }
        shop
    };
    let expected = [("sub_1", None), ("sub_2", Some(at(T + 3))), ("sub_2/item", Some(at(T + 3)))];
    let expected = expected.map(|(id, at)| (id.to_owned(), at));
    assert_eq!(refunds(&shop), expected);
    assert_eq!(shop.rows("SELECT id FROM payments").len(), 6);
    sweep(&shop, 100, NOW + 400 * DAY_MS);
    assert_eq!(refunds(&shop), expected);
    assert_eq!(
        shop.rows("SELECT id FROM payments").len(),
        5,
        "the last of all stays, and what is older of the same record goes"
    );
    rebuilds_to_the_live_state(&shop, "pruned");
}

#[test]
fn what_was_sold_is_listed_once() {
    let mut shop = Shop::new();
    for number in 0..3 {
        deliver(&mut shop, &subscription(&format!("e{number}"), T, &format!("sub_{number}"), None, Some("user_1")));
    }
    assert_eq!(shop.rows("SELECT * FROM plan_keys"), ["provider=\"stripe\" key=\"price_pro\" id=\"prod_pro\""]);
}

#[test]
fn of_an_erased_payer_no_customer_is_left_and_pruning_keeps_what_links() {
    let history = [
        subscription("e1", T, "sub_1", Some("cus_1"), None),
        charge("e2", T + 1, "ch_1", "cus_1", "failed"),
        link("e3", T + 2, "cus_1", "user_1"),
        subscription("e4", T + 3, "sub_2", Some("cus_2"), Some("user_2")),
    ];
    let mut shop = Shop::new();
    for one in &history {
        deliver(&mut shop, one);
    }
    let before = (shop.state(), shop.snapshot("user_1").records);
    sweep(&shop, 500, NOW + 400 * DAY_MS);
    assert_eq!((shop.state(), shop.snapshot("user_1").records), before);
    rebuilds_to_the_live_state(&shop, "pruned");
    erased(&shop, "user_1", NOW);
    let left: Vec<_> = dump(&shop).into_iter().filter(|row| row.contains("cus_1") || row.contains("sub_1")).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(shop.snapshot("user_2").records.len(), 1);
    rebuilds_to_the_live_state(&shop, "erased");
}

#[test]
fn of_an_erased_payer_no_order_is_left_that_a_subscription_alone_told_of() {
    let bought = |event_id: &str, id: &str, order: &str, named: &str| {
        let (event_id, mut event) = subscription(event_id, T, id, Some(named), Some(named));
        let order = Record {
            id: order.into(),
            payer: None,
            customer: None,
            plan: None,
            state: Some(State::new(Status::Ended)),
            ..event.records[0].clone()
        };
        event.records.push(order);
        (event_id, event)
    };
    let mut shop = Shop::new();
    deliver(&mut shop, &bought("e1", "991", "order:12", "user_1"));
    deliver(&mut shop, &bought("e2", "992", "order:13", "user_2"));
    erased(&shop, "user_1", NOW);
    assert_eq!(shop.rows("SELECT id FROM records ORDER BY id"), [r#"id="992""#, r#"id="order:13""#]);
    rebuilds_to_the_live_state(&shop, "erased");
}

#[test]
fn what_could_not_be_read_and_names_the_customer_alone_is_the_payers_too() {
    let [linked, told, others] = ["cus_QXg1o8vlqPyMhC", "cus_Rf2pB7wL0dVnKe", "cus_RTm9c3xkZa4UuS"];
    let history = [
        link("e1", T, linked, "user_1"),
        link("e2", T, "1200", "user_1"),
        // A purchase of hers without an account there.
        link("e5", T, "order:pi_3Q5v2tLkdIwHu7ix", "user_1"),
        link("e6", T, "order:118822", "user_1"),
        subscription("e3", T, "sub_1", Some(told), Some("user_1")),
        link("e4", T, others, "user_2"),
    ];
    let letters = [
        ("l_linked", PROVIDER, json!({"customer": linked, "email": "ada@example.test"}), true),
        ("l_told", PROVIDER, json!({"customer": {"id": told}}), true),
        ("l_order", PROVIDER, json!({"payment_intent": "pi_3Q5v2tLkdIwHu7ix", "customer": null}), true),
        ("l_others", PROVIDER, json!({"customer": others}), false),
        // There it is somebody else.
        ("l_elsewhere", "polar", json!({"customer": linked}), false),
        // What is short is any number.
        ("l_short", PROVIDER, json!({"customer": others, "amount": 118_822, "quantity": "1200"}), false),
    ];
    let mut shop = Shop::new();
    for one in &history {
        deliver(&mut shop, one);
    }
    let unread = Err(ParseError { event_type: None, cause: "a shape of tomorrow".into() });
    for (id, provider, body, _) in &letters {
        let recorded = body.to_string();
        let recorded = Verified::recorded(*id, at(NOW), recorded.as_bytes());
        assert_eq!(shop.store.deliver(provider, &recorded, &unread, at(NOW)).unwrap().0, Outcome::DeadLetter);
    }
    let export = Export { payer: Some(payer("user_1")), cursor: None, limit: 500 };
    let exported = format!("{:?}", run_statement(shop.connection(), &export_ledger(&export)));
    for (id, _, _, is_hers) in &letters {
        assert_eq!(exported.contains(id), *is_hers, "{id}");
    }
    erased(&shop, "user_1", NOW);
    for (id, _, body, is_hers) in &letters {
        let expected = if *is_hers { "body=null".to_owned() } else { format!("body={:?}", body.to_string()) };
        assert_eq!(shop.rows(&format!("SELECT body FROM deliveries WHERE event_id = '{id}'")), [expected], "{id}");
    }
}
