//! Dead letters whose ids look like card numbers: what becomes of them when they are replayed, and when a payer is erased.

use plangate::catalog::Catalog;
use plangate::decide::{Policy, Reason, decide};
use plangate::delivery::Verified;
use plangate::event::{IgnoredReason, ParseError, Parsed};
use plangate::ledger::{Filter, Page};
use plangate::provider::{Ours, named};
use plangate::question::Asked;
use plangate::store::{Outcome, ledger};
use plangate::time::Timestamp;
use rusqlite::types::Value;
use serde_json::json;

use crate::history::{NOW, Shop, T, run_statement};
use crate::upkeep::erased;

/// Every number in these passes the Luhn check.
const TRANSACTIONS: [&str; 3] = ["490001234567894", "530007654321003", "GPA.3312-1234-5678-90124"];
const USERS: [&str; 3] = ["175928847299117062", "175928847299117070", "1759288472991175"];

/// A purchase, and in it what a user wrote.
fn purchase(user: &str, transaction: &str) -> String {
    json!({"api_version": "1.0", "event": {
        "id": format!("evt_{user}"), "type": "NON_RENEWING_PURCHASE", "event_timestamp_ms": T, "environment": "PRODUCTION",
        "app_user_id": user, "original_app_user_id": "$RCAnonymousID:aa11", "aliases": ["$RCAnonymousID:aa11", user],
        "store": "APP_STORE", "transaction_id": transaction, "original_transaction_id": transaction,
        "product_id": "pro", "entitlement_ids": ["pro"], "purchased_at_ms": T, "expiration_at_ms": null,
        "price": 9.99, "currency": "USD", "subscriber_attributes": {"note": {"value": "my card is 4242 4242 4242 4242"}},
    }})
    .to_string()
}

fn read(event_id: &str, body: &str) -> Result<Parsed, ParseError> {
    let verified = Verified::recorded(event_id, Timestamp::from_millis(NOW), body.as_bytes());
    named("revenuecat").unwrap().parse(&verified, &Ours::default())
}

fn deliver(shop: &mut Shop, event_id: &str, body: &str, parsed: &Result<Parsed, ParseError>) -> Outcome {
    let now = Timestamp::from_millis(NOW);
    let verified = Verified::recorded(event_id, now, body.as_bytes());
    shop.store.deliver("revenuecat", &verified, parsed, now).unwrap().0
}

/// What is kept of the dead letter of that id.
fn kept(shop: &Shop, event_id: &str) -> Option<String> {
    let sql = "SELECT body FROM deliveries WHERE event_id = ?1";
    shop.connection().query_row(sql, [event_id], |row| row.get(0)).unwrap()
}

/// A store to which each user's purchase came in a form that could not be read.
fn unread() -> Shop {
    let mut shop = Shop::new();
    for (user, transaction) in USERS.iter().zip(TRANSACTIONS) {
        let unread = Err(ParseError { event_type: None, cause: "a shape of tomorrow".into() });
        assert_eq!(deliver(&mut shop, user, &purchase(user, transaction), &unread), Outcome::DeadLetter);
    }
    shop
}

#[test]
fn a_dead_letter_is_read_as_it_came_whatever_its_ids_look_like() {
    let shop = unread();
    for (user, transaction) in USERS.iter().zip(TRANSACTIONS) {
        let (came, kept) = (purchase(user, transaction), kept(&shop, user).unwrap());
        let parsed = read(user, &kept);
        assert!(matches!(parsed, Ok(Parsed::Event(_))), "{parsed:?}");
        assert_eq!(parsed, read(user, &came));
        assert_eq!(kept, came.replace("4242 4242 4242 4242", "**** **** **** ****"));
    }
}

#[test]
fn purchases_of_different_users_that_are_replayed_stay_different() {
    let mut shop = unread();
    for user in USERS {
        let kept = kept(&shop, user).unwrap();
        let parsed = read(user, &kept);
        assert_eq!(deliver(&mut shop, user, &kept, &parsed), Outcome::Stored);
    }
    let mut expected: Vec<_> = USERS
        .iter()
        .zip(TRANSACTIONS)
        .map(|(user, id)| format!(r#"id="APP_STORE:{id}" payer="user:{user}""#))
        .collect();
    expected.sort();
    assert_eq!(shop.rows("SELECT id, payer FROM records ORDER BY id"), expected);
    let catalog = Catalog::parse(&json!({"pro": {"ids": {"revenuecat": ["pro"]}}}).to_string()).unwrap();
    let question = Asked::from_query("plan=pro").unwrap().questions.remove(0);
    for user in USERS {
        let snapshots = [shop.snapshot(user)];
        let decision = decide(&snapshots, &catalog, &Policy::default(), &question, Timestamp::from_millis(NOW));
        assert_eq!((decision.allowed, decision.reason), (true, Reason::Active), "{user}");
    }
}

#[test]
fn an_erasure_finds_the_dead_letters_of_its_payer_alone() {
    let mut shop = unread();
    erased(&shop, USERS[0], NOW);
    assert_eq!(kept(&shop, USERS[0]), None);
    assert!(USERS[1..].iter().all(|user| kept(&shop, user).is_some()));
    // And those that come later.
    for (event_id, user, expected) in
        [("late_0", USERS[0], Outcome::Ignored), ("late_1", USERS[1], Outcome::DeadLetter)]
    {
        let unread = Err(ParseError { event_type: None, cause: "a shape of tomorrow".into() });
        assert_eq!(deliver(&mut shop, event_id, &purchase(user, TRANSACTIONS[0]), &unread), expected);
        assert_eq!(kept(&shop, event_id).is_some(), expected == Outcome::DeadLetter, "{event_id}");
    }
}

#[test]
fn a_page_of_long_dead_letters_ends_before_d1_would_refuse_it_and_all_of_them_are_shown() {
    let mut shop = Shop::new();
    let unread = Err(ParseError { event_type: None, cause: "a shape of tomorrow".into() });
    // Of bodies as long as are taken, short ones, and some that are escaped when a text becomes part of another.
    for (number, length) in
        [500_000, 10, 300_000, 300_000, 10, 500_000, 250_000, 10].into_iter().cycle().take(40).enumerate()
    {
        let body = json!({"note": "\"quoted\" ".repeat(length / 12)}).to_string();
        assert_eq!(deliver(&mut shop, &format!("e{number}"), &body, &unread), Outcome::DeadLetter);
    }
    for limit in [1, 7, 40, 500] {
        for outcome in [None, Some(Outcome::DeadLetter)] {
            let mut filter = Filter { outcome, limit, ..Filter::default() };
            let mut shown = Vec::new();
            loop {
                let rows = run_statement(shop.connection(), &ledger(&filter));
                let Value::Text(text) = &rows[0][0] else { panic!("{rows:?}") };
                // D1 answers no text above 2 MB: https://developers.cloudflare.com/d1/platform/limits/
                assert!(text.len() < 2_000_000, "{limit}: {}", text.len());
                let Page { events, next_cursor } = Page::parse(text).unwrap();
                assert!((1..=usize::try_from(limit).unwrap()).contains(&events.len()));
                shown.extend(events.into_iter().map(|row| row.event_id));
                match next_cursor {
                    None => break,
                    cursor => filter.cursor = cursor,
                }
            }
            let expected: Vec<_> = (0..40).rev().map(|number| format!("e{number}")).collect();
            assert_eq!(shown, expected, "{limit} {outcome:?}");
        }
    }
}

#[test]
fn a_dead_letter_that_turns_out_to_be_nothing_for_us_is_none_any_more() {
    let mut shop = unread();
    let of_users =
        |shop: &Shop| shop.rows("SELECT outcome, detail, body IS NULL AS bare, attempts FROM deliveries ORDER BY seq");
    let ignored = Ok(Parsed::Ignored { event_type: "TEST".into(), reason: IgnoredReason::UnusedType });
    let before = of_users(&shop);
    assert_eq!(deliver(&mut shop, USERS[0], "{}", &ignored), Outcome::Ignored);
    let expected = r#"outcome="ignored" detail="unused_type" bare=1 attempts=2"#;
    assert_eq!(of_users(&shop), [expected, before[1].as_str(), before[2].as_str()]);
    // Once. And what comes after that it can be read is what counts, as ever.
    assert_eq!(deliver(&mut shop, USERS[0], "{}", &ignored), Outcome::Duplicate);
    let body = purchase(USERS[0], TRANSACTIONS[0]);
    assert_eq!(deliver(&mut shop, USERS[0], &body, &read(USERS[0], &body)), Outcome::Stored);
    assert_eq!(deliver(&mut shop, USERS[0], "{}", &ignored), Outcome::Duplicate);
    assert_eq!(shop.rows("SELECT count FROM delivery_counts WHERE outcome = 'ignored'"), ["count=1"]);
}
