//! The nine rules that keep answers right, each proved by a test that is named after it. Those here need more than one
//! case; the others stand where their subject is, here or in `tests/e2e`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plangate::decide::Reason;
use plangate::event::Parsed;
use plangate::provider::named;
use plangate::status::Status;
use plangate::store::Outcome;
use plangate::time::{DAY_MS, HOUR_MS, Timestamp};
use serde_json::{Value, json};

use crate::history::{
    NOW, Sent, Shop, T, flat_event, identity_event, item, item_event, payer, payment_event, subscription_event, with,
};

const RULES: [&str; 9] = [
    "one transaction",
    "order by the object's own clock",
    "nothing is deleted by an event",
    "all of a payer's records count",
    "time decides on read",
    "a denial is at most a second old, a grant stale for a bounded time",
    "unknown is safe",
    "card data never gets in",
    "fail closed, and say so",
];

/// The names of all tests: of Rust, and of the end-to-end tests as they are written in a call of `test`.
fn names_of_tests() -> BTreeSet<String> {
    fn below(folder: PathBuf) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { below(path) } else { vec![path] }).collect()
    }
    let mut names = BTreeSet::new();
    for path in below(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")) {
        let name = path.to_str().unwrap();
        let (before, after) = match name {
            name if name.ends_with(".rs") => ("#[test]\nfn ", '('),
            name if name.ends_with(".test.mjs") => ("\ntest(\"", '"'),
            _ => continue,
        };
        let text = fs::read_to_string(&path).unwrap();
        names.extend(text.split(before).skip(1).filter_map(|rest| rest.split(after).next().map(str::to_owned)));
    }
    names
}

#[test]
fn every_rule_has_a_test_that_is_named_after_it() {
    let names = names_of_tests();
    assert!(names.len() > 200, "only {} tests were found", names.len());
    for (number, rule) in (1..).zip(RULES) {
        let prefix = format!("rule_{number}_");
        assert!(names.iter().any(|name| name.starts_with(&prefix)), "no test is named after rule {number}: {rule}");
    }
    let beyond = names.iter().find(|name| name.starts_with("rule_10_") || name.starts_with("rule_0_"));
    assert_eq!(beyond, None, "there are nine rules");
}

#[test]
fn rule_5_time_decides_on_read_and_a_cancellation_takes_effect_without_an_event() {
    let end = T + 30 * DAY_MS;
    let slack = 24 * HOUR_MS;
    // What is known, what is asked last with a yes and first with a no.
    let cases = [
        ("canceled", end, Reason::CanceledUntilPeriodEnd, Reason::Expired),
        ("active", end + slack, Reason::Active, Reason::Expired),
        ("past_due", end, Reason::PastDueGrace, Reason::PastDue),
    ];
    for (status, until, granted, denied) in cases {
        let shop = Shop::after(&[
            item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)),
            item_event("e2", "updated", T + 5, item("user_1", "i_1", status, "pro", T + 5)),
        ]);
        let before = shop.everything();
        for (at, allowed, reason) in [
            (T + 6, true, granted),
            (until - 1, true, granted),
            (until, false, denied),
            (until + 400 * DAY_MS, false, denied),
            // And back: nothing was spent by asking.
            (until - 1, true, granted),
        ] {
            let decision = shop.decide("user_1", "plan=pro", at);
            assert_eq!((decision.allowed, decision.reason), (allowed, reason), "{status} at {at}");
        }
        assert_eq!(shop.everything(), before, "{status}: asking wrote something");
    }
}

#[test]
fn rule_5_time_decides_on_read_so_no_column_says_who_has_access() {
    let columns = "SELECT m.name || '.' || c.name AS name FROM sqlite_master m, pragma_table_info(m.name) c \
                   WHERE m.type IN ('table', 'view') ORDER BY 1";
    let names = Shop::new().rows(columns);
    assert!(names.iter().any(|name| name.contains("records.status")), "{names:?}");
    for name in names {
        for word in ["access", "allow", "entitle", "grant", "valid", "expired"] {
            assert!(!name.contains(word), "{name}");
        }
    }
}

#[test]
fn rule_7_unknown_is_safe() {
    assert!(named("nobody").is_none(), "an unknown provider has no route");

    // Kept, successful, and granting nothing.
    let cases = [
        (identity_event("e", "session.created", T, "user_1"), Outcome::Ignored),
        (Sent::new("e", "a.type.of.tomorrow", T, json!({"user_id": "user_1", "plan": "pro"})), Outcome::Ignored),
        (Sent::new("e", "subscription.exploded", T, json!({"user_id": "user_1", "plan": "pro"})), Outcome::Ignored),
        (item_event("e", "updated", T, item("user_1", "i_1", "hibernating", "pro", T)), Outcome::Stored),
        (flat_event("e", "updated", T, json!({"user_id": "user_1", "plan": "pro", "status": "half"})), Outcome::Stored),
        (Sent::raw("e", r#"{"type":"subscriptionItem.active","data":{"id":7}}"#), Outcome::DeadLetter),
        (Sent::raw("e", "{}"), Outcome::DeadLetter),
        (Sent::raw("e", ""), Outcome::DeadLetter),
    ];
    for (sent, outcome) in cases {
        let mut shop = Shop::after(&[item_event("e0", "active", T, item("user_2", "i_2", "active", "pro", T))]);
        let what = String::from_utf8_lossy(&sent.body).into_owned();
        assert_eq!(shop.deliver(&sent), outcome, "{what}");
        assert!(!shop.allows("user_1", "pro", NOW), "{what}");
        assert!(shop.allows("user_2", "pro", NOW), "{what}");
        assert_eq!(shop.rows("SELECT 1 FROM deliveries WHERE event_id = 'e'").len(), 1, "{what}: it is in the ledger");
        let kept = shop.rows("SELECT body FROM deliveries WHERE outcome = 'dead_letter'");
        let whole = if outcome == Outcome::DeadLetter { vec![format!("body={what:?}")] } else { vec![] };
        assert_eq!(kept, whole, "a dead letter is kept whole");

        // After a fix it can be played, and counts then.
        let fixed = item_event("e", "active", T + 9, item("user_1", "i_1", "active", "pro", T + 9));
        let parsed = fixed.parse();
        assert!(matches!(parsed, Ok(Parsed::Event(_))));
        let again = if outcome == Outcome::Stored { Outcome::Duplicate } else { Outcome::Stored };
        assert_eq!(shop.deliver_as(&sent, &parsed).0, again, "{what}");
        assert_eq!(shop.allows("user_1", "pro", NOW), again == Outcome::Stored, "{what}");
    }

    // A status nobody has taught us is kept as its text, so that it can be understood later.
    let shop = Shop::after(&[item_event("e", "updated", T, item("user_1", "i_1", "hibernating", "pro", T))]);
    assert_eq!(shop.snapshot("user_1").records[0].status, Status::Unrecognized("hibernating".into()));
}

#[test]
fn rule_8_card_data_never_gets_in_by_any_kind_of_event() {
    const CARDS: [&str; 5] =
        ["4242424242424242", "4242 4242 4242 4242", "4000-0566-5566-5556", "378282246310005", "6011111111111117"];
    let card = |number: &str| json!({"number": number, "card_number": number, "last4": "4242", "holder": "Ada", "note": number});
    let kinds: [fn(&str) -> Sent; 8] = [
        |id| item_event(id, "active", T, item("user_1", "i_1", "active", "pro", T)),
        |id| subscription_event(id, "updated", T, "org_1", vec![item("org_1", "i_2", "active", "team", T)]),
        |id| flat_event(id, "created", T, json!({"user_id": "user_1", "plan": "pro"})),
        |id| payment_event(id, T, "cpa_1", "cpay_1", "failed", T),
        |id| identity_event(id, "user.updated", T, "user_1"),
        |id| identity_event(id, "session.created", T, "user_1"),
        |id| identity_event(id, "user.deleted", T, "user_3"),
        // Cannot be read, so that it is kept whole.
        |id| item_event(id, "active", T, with(item("user_1", "i_1", "active", "pro", T), json!({"plan": 1}))),
    ];
    for number in CARDS {
        let mut shop = Shop::new();
        for (kind, make) in kinds.iter().enumerate() {
            let mut sent = make(&format!("e{kind}"));
            let mut body: Value = serde_json::from_slice(&sent.body).unwrap();
            // At every level, and in every list.
            body["payment_source"] = card(number);
            body["data"]["payment_source"] = card(number);
            body["data"]["charges"] = json!([card(number), number]);
            if let Some(payer) = body["data"].get_mut("payer") {
                payer["card"] = card(number);
            }
            sent.body = body.to_string().into_bytes();
            assert!(String::from_utf8_lossy(&sent.body).contains(number));
            shop.deliver(&sent);
        }
        let everything = shop.everything();
        assert!(
            everything.contains("outcome=\"dead_letter\"") && everything.contains("provider=\"clerk\" id=\"cpa_1\"")
        );
        assert!(!everything.contains(number), "{number}: {everything}");
        // Nor in other clothes: no digits of it in a row, whatever stands between them.
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let bare = |text: &str| text.replace([' ', '-'], "");
        assert!(!bare(&everything).contains(&digits(number)), "{number}: {everything}");
        for id in ["user_1", "org_1"] {
            let mut snapshots = shop.store.snapshots((&payer(id), None), Timestamp::from_millis(NOW)).unwrap();
            assert!(!bare(&format!("{:?}", snapshots.remove(0))).contains(&digits(number)));
        }
    }
}
