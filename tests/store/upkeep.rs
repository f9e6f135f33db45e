//! Upkeep: pruning changes no decision, a rebuild from what is left gives the live state, and of somebody whose data was
//! erased nothing is left and nothing comes back.

use std::collections::BTreeSet;

use plangate::catalog::Catalog;
use plangate::decide::{Policy, Reason, decide};
use plangate::delivery::Verified;
use plangate::event::Parsed;
use plangate::grant::{Grant, revocation};
use plangate::question::Asked;
use plangate::store::upkeep::{
    DELIVERY_COLUMNS, PAYER_COLUMNS, PAYMENT_COLUMNS, PRUNED_AT_ONCE, RECORD_COLUMNS, REPORT_AT, erase, export_ledger,
    export_state, payer as payers_row, prune, rebuild,
};
use plangate::store::{OPERATOR, Outcome, Statement, note, webhook};
use plangate::time::{DAY_MS, Timestamp};
use plangate::upkeep::{Erasure, Export, Rebuild, digest};
use rusqlite::types::Value as Stored;
use serde_json::{Value, json};

use crate::history::{
    NOW, Sent, Shop, T, flat_event, identity_event, item, item_event, payer, payment_event, run_statement,
    subscription_event, with,
};
use crate::plans::walks;
use crate::seeded::Numbers;

/// The shortest retention there is, in days.
const RETENTION: u32 = 7;
/// When the first event of a history is received; each next one comes a day later.
const FIRST: i64 = NOW;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Runs the statements as one transaction; answers the rows of each.
fn batch(shop: &Shop, statements: &[Statement]) -> Vec<Vec<Vec<Stored>>> {
    shop.connection().execute_batch("SAVEPOINT batch").unwrap();
    let rows = statements.iter().map(|statement| run_statement(shop.connection(), statement)).collect();
    shop.connection().execute_batch("RELEASE batch").unwrap();
    rows
}

/// Delivers at a time.
fn deliver(shop: &Shop, sent: &Sent, now: i64) -> Outcome {
    let rows = batch(shop, &webhook("clerk", &sent.verified(), &sent.parse(), false, at(now)).unwrap());
    let Some(Stored::Text(outcome)) = rows.first().unwrap()[0].first() else { panic!("no outcome") };
    Outcome::parse(outcome).unwrap()
}

/// A whole sweep over the ledger, that many rows at a time. Only what was received less than a time ago stays for its age.
pub fn sweep(shop: &Shop, looked_at: u32, before: i64) {
    shop.connection().execute("DELETE FROM kept WHERE name = 'prune'", []).unwrap();
    let now = before + i64::from(RETENTION) * DAY_MS;
    for run in 0..1000 {
        batch(shop, &prune(RETENTION, looked_at, at(now + run)));
        if shop.rows("SELECT value ->> 'next' AS next FROM kept WHERE name = 'prune'") == ["next=0"] {
            return;
        }
    }
    panic!("the sweep comes to no end");
}

fn rebuilt(shop: &Shop, replace: bool) -> Value {
    let asked = Rebuild::from_json(json!({"replace": replace, "by": "ada"}).to_string().as_bytes()).unwrap();
    let rows = batch(shop, &rebuild(&asked, &format!("rebuild_{}", count(shop, "deliveries")), at(NOW)));
    let Stored::Text(report) = &rows[REPORT_AT][0][0] else { panic!("no report") };
    serde_json::from_str(report).unwrap()
}

#[track_caller]
pub fn rebuilds_to_the_live_state(shop: &Shop, what: &str) {
    let report = shop.tentatively(|shop| rebuilt(shop, false));
    assert_eq!(report["differences"], json!([]), "{what}");
    assert_eq!(report["changed_payers"], 0, "{what}");
}

pub fn erased(shop: &Shop, id: &str, now: i64) {
    let key = if id.starts_with("org") { "org_id" } else { "user_id" };
    let asked = json!({key: id, "by": "ada", "why": "asked for it"}).to_string();
    let note_id = format!("erasure_{}", count(shop, "deliveries"));
    batch(shop, &erase(&Erasure::from_json(asked.as_bytes()).unwrap(), &note_id, at(now)));
}

fn count(shop: &Shop, table: &str) -> i64 {
    shop.connection().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

const PAYERS: [&str; 2] = ["user_1", "org_1"];

/// What callers see of the two payers: the facts, and decisions on them at several times.
fn seen(shop: &Shop) -> Vec<String> {
    let mut seen = Vec::new();
    for id in PAYERS {
        // Which delivery came last is told by the version, and changes nothing.
        let snapshot = shop.snapshot(id);
        seen.push(format!("{:?} {:?} {}", snapshot.records, snapshot.deleted_at, snapshot.failed_attempts));
        for query in ["", "plan=pro", "plan=basic", "feature=export"] {
            let question = Asked::from_query(query).unwrap().questions.remove(0);
            for days in [-1, 0, 1, 20, 29, 31, 70] {
                let (catalog, policy) = (Catalog::default(), Policy::default());
                let decision = decide([&snapshot], &catalog, &policy, &question, at(T + days * DAY_MS));
                seen.push(format!("{id} {query} {days} {} {:?}", decision.allowed, decision.reason));
            }
        }
    }
    seen
}

/// What was seen, and the last failure, which a resend may tell anew.
fn seen_with_failures(shop: &Shop) -> Vec<String> {
    let failures = PAYERS.map(|id| format!("{:?} {}", shop.snapshot(id).last_failure, shop.snapshot(id).version));
    [seen(shop), failures.into()].concat()
}

fn rows_but_payments(shop: &Shop) -> Vec<String> {
    let deleted = "SELECT payer, deleted_at, erased_at FROM payers WHERE deleted_at IS NOT NULL ORDER BY payer";
    [shop.rows("SELECT * FROM records ORDER BY provider, id"), shop.rows(deleted)].concat()
}

/// After every prefix of a history: prunes with every cutoff.
#[track_caller]
pub fn pruned_and_erased_at_any_time_it_rebuilds(history: &[Sent]) {
    pruned_and_erased(history, |_, _| true);
}

/// After every prefix of a history: prunes with the chosen cutoffs, and erases each of the payers, and the rest comes after
/// that. Nothing that is decided changes by pruning, and each time a rebuild finds no difference.
#[track_caller]
fn pruned_and_erased(history: &[Sent], mut is_chosen: impl FnMut(usize, usize) -> bool) {
    let received = |index: usize| FIRST + i64::try_from(index).unwrap() * DAY_MS;
    let shop = Shop::new();
    let ids: Vec<_> = history.iter().map(|sent| sent.event_id.as_str()).collect();
    let go_on = |shop: &Shop, from: usize| {
        for (index, sent) in history.iter().enumerate().skip(from) {
            deliver(shop, sent, received(index));
        }
    };
    // What it comes to when nothing is pruned.
    let unpruned = shop.tentatively(|shop| {
        go_on(shop, 0);
        (rows_but_payments(shop), seen(shop))
    });
    for (index, sent) in history.iter().enumerate() {
        deliver(&shop, sent, received(index));
        // The row with the highest number never goes.
        batch(&shop, &[note(&format!("note_{index}"), "admin.replay", "{}", at(received(index)))]);
        rebuilds_to_the_live_state(&shop, &format!("{ids:?} up to {index}"));
        for cutoff in (0..=index + 1).filter(|cutoff| is_chosen(index, *cutoff)) {
            let what = format!("{ids:?} up to {index}, pruned before {cutoff}");
            shop.tentatively(|shop| {
                let before = (rows_but_payments(shop), seen_with_failures(shop));
                sweep(shop, 2, received(cutoff));
                assert_eq!((rows_but_payments(shop), seen_with_failures(shop)), before, "{what}");
                rebuilds_to_the_live_state(shop, &what);
                shop.tentatively(|shop| {
                    for sent in &history[..=index] {
                        deliver(shop, sent, received(index + 1));
                    }
                    assert_eq!((rows_but_payments(shop), seen(shop)), (before.0, seen(shop)), "{what}, resent");
                    assert_eq!(seen(shop), before.1[..seen(shop).len()], "{what}, resent");
                    rebuilds_to_the_live_state(shop, &format!("{what}, resent"));
                });
                go_on(shop, index + 1);
                assert_eq!((rows_but_payments(shop), seen(shop)), unpruned, "{what}, then the rest");
                rebuilds_to_the_live_state(shop, &format!("{what}, then the rest"));
            });
        }
        for id in PAYERS {
            let what = format!("{ids:?}, {id} erased after {index}");
            shop.tentatively(|shop| {
                erased(shop, id, received(index));
                rebuilds_to_the_live_state(shop, &what);
                assert_eq!(shop.decide(id, "plan=pro", NOW).reason, Reason::PayerDeleted, "{what}");
                sweep(shop, 500, received(index));
                go_on(shop, index + 1);
                rebuilds_to_the_live_state(shop, &format!("{what}, then the rest"));
                assert_eq!(shop.decide(id, "plan=pro", NOW).reason, Reason::PayerDeleted, "{what}, then the rest");
                assert_eq!(shop.snapshot(id).records, [], "{what}, then the rest");
            });
        }
    }
}

#[test]
fn each_register_keeps_the_delivery_that_set_it() {
    let at = |at, fields| {
        let bare = json!({"payer": null, "plan": null, "plan_id": null});
        with(with(item("user_1", "i_1", "active", "pro", at), bare), fields)
    };
    pruned_and_erased_at_any_time_it_rebuilds(&[
        item_event("e_payer", "updated", T, at(T, json!({"payer": {"user_id": "user_1"}}))),
        // Known by its id alone.
        item_event("e_plan", "updated", T + 1, at(T + 1, json!({"plan_id": "cplan_pro"}))),
        item_event("e_customer", "updated", T + 2, at(T + 2, json!({"payer_id": "cpayer_1"}))),
        item_event("e_state", "updated", T + 3, at(T + 3, json!({}))),
    ]);
}

#[test]
fn random_histories_are_pruned_and_erased_and_rebuild() {
    for seed in 0..25 {
        let mut numbers = Numbers::new(seed + 1000);
        let history: Vec<Sent> = (0..7).map(|number| numbers.sent(&format!("e{number}"))).collect();
        pruned_and_erased(&history, |_, _| numbers.below(6) == 0);
    }
}

#[test]
fn random_payments_are_pruned_and_nothing_decided_by_them_changes() {
    let mut gone = 0;
    for seed in 0..40 {
        let mut numbers = Numbers::new(seed);
        // Three payments with up to two attempts each. An attempt is made once and settled once.
        let settled = [(); 6].map(|()| numbers.pick(&["failed", "paid"]));
        let history: Vec<Sent> = (0..8)
            .map(|number| {
                let attempt = usize::try_from(numbers.below(6)).unwrap();
                let made_at = T + i64::try_from(attempt).unwrap() * 10;
                let later = i64::try_from(numbers.below(3)).unwrap();
                let status = if later == 0 { "pending" } else { settled[attempt] };
                let (id, payment) = (format!("cpa_{attempt}"), format!("cpay_{}", attempt / 2));
                payment_event(&format!("e{number}"), made_at + later, &id, &payment, status, made_at)
            })
            .collect();
        pruned_and_erased(&history, |_, _| numbers.below(6) == 0);
        let shop = Shop::after(&history);
        let before = count(&shop, "payments");
        batch(&shop, &[note("n", "admin.replay", "{}", at(NOW))]);
        sweep(&shop, 500, NOW + 1);
        sweep(&shop, 500, NOW + 1);
        gone += before - count(&shop, "payments");
    }
    assert!(gone > 20, "{gone} payments were pruned in all");
}

// Pruning.

/// Deliveries of one payer over a year, received when they happened.
fn a_year_of(shop: &Shop) -> i64 {
    let month = 30 * DAY_MS;
    let paid = |number: i64, at| {
        payment_event(&format!("p{number}"), at, &format!("cpa_{number}"), &format!("cpay_{number}"), "paid", at)
    };
    let tried = with(item("user_1", "i_1", "active", "pro", T), json!({"is_free_trial": true}));
    deliver(shop, &item_event("e_trial", "active", T, tried.clone()), T);
    deliver(
        shop,
        &item_event("e_trial_ends", "freeTrialEnding", T + 1, with(tried, json!({"updated_at": T + 1}))),
        T + 1,
    );
    for number in 1..=12 {
        let at = T + number * month;
        deliver(shop, &paid(number, at), at);
        deliver(
            shop,
            &item_event(&format!("e{number}"), "updated", at, item("user_1", "i_1", "active", "pro", at)),
            at,
        );
        deliver(shop, &identity_event(&format!("u{number}"), "user.updated", at, "user_1"), at);
        deliver(shop, &identity_event(&format!("x{number}"), "session.created", at, "user_1"), at);
        deliver(shop, &Sent::raw(&format!("d{number}"), "{"), at);
        batch(shop, &[note(&format!("n{number}"), "admin.replay", "{}", Timestamp::from_millis(at))]);
    }
    T + 13 * month
}

#[test]
fn what_state_rests_on_stays_and_all_else_that_is_old_goes() {
    let shop = Shop::new();
    let end = a_year_of(&shop);
    // All of it is old.
    sweep(&shop, 500, end);
    assert_eq!(
        shop.rows("SELECT event_id FROM deliveries ORDER BY seq"),
        // The first to tell of the trial; the last that was paid; the newest state; and the row with the highest number.
        [r#"event_id="e_trial""#, r#"event_id="p12""#, r#"event_id="e12""#, r#"event_id="n12""#]
    );
    assert_eq!(shop.rows("SELECT id FROM payments"), [r#"id="cpa_12""#]);
    assert!(shop.snapshot("user_1").has_used_trial());
    rebuilds_to_the_live_state(&shop, "a year, pruned");
}

#[test]
fn what_is_younger_than_the_retention_stays() {
    let shop = Shop::new();
    a_year_of(&shop);
    let month = 30 * DAY_MS;
    sweep(&shop, 500, T + 10 * month);
    let left = "SELECT count(*) AS n FROM deliveries WHERE received_at >= ";
    assert_eq!(shop.rows(&format!("{left}{}", T + 10 * month)), ["n=18"]);
    assert_eq!(count(&shop, "deliveries"), 18 + 1, "and the trial");
}

#[test]
fn pruning_leaves_the_counts_of_deliveries() {
    let shop = Shop::new();
    let end = a_year_of(&shop);
    let counts = || shop.rows("SELECT * FROM delivery_counts ORDER BY outcome, detail");
    let before = counts();
    sweep(&shop, 500, end);
    assert_eq!(counts(), before);
}

#[test]
fn a_failure_is_kept_while_it_counts_and_while_it_is_the_last() {
    let attempt = |number: i64, status| {
        payment_event(
            &format!("e{number}"),
            T + number,
            &format!("cpa_{number}"),
            &format!("cpay_{number}"),
            status,
            T + number,
        )
    };
    let cases: [(&[&str], &[i64]); 6] = [
        (&["failed", "failed"], &[1, 2]),
        (&["failed", "failed", "paid"], &[2, 3]),
        (&["paid", "failed", "failed"], &[1, 2, 3]),
        (&["failed", "paid", "failed", "paid"], &[3, 4]),
        (&["paid", "paid", "pending"], &[2, 3]),
        (&["strange", "paid", "paid"], &[3]),
    ];
    for (statuses, expected) in cases {
        let history: Vec<_> = statuses.iter().zip(1..).map(|(status, number)| attempt(number, status)).collect();
        let shop = Shop::after(&history);
        batch(&shop, &[note("n", "admin.replay", "{}", at(NOW))]);
        sweep(&shop, 500, NOW + 1);
        let expected: Vec<_> = expected.iter().map(|number| format!("id=\"cpa_{number}\"")).collect();
        assert_eq!(shop.rows("SELECT id FROM payments ORDER BY id"), expected, "{statuses:?}");
        assert_eq!(count(&shop, "deliveries"), 1 + i64::try_from(expected.len()).unwrap(), "{statuses:?}");
    }
}

#[test]
fn attempts_keep_their_numbers() {
    let attempt = |number: i64, payment: &str, status| {
        payment_event(&format!("e{number}"), T + number, &format!("cpa_{number}"), payment, status, T + number)
    };
    let history = [attempt(1, "cpay_1", "failed"), attempt(2, "cpay_1", "failed"), attempt(3, "cpay_1", "paid")];
    let shop = Shop::after(&history);
    batch(&shop, &[note("n", "admin.replay", "{}", at(NOW))]);
    sweep(&shop, 500, NOW + 1);
    assert_eq!(
        shop.rows("SELECT id, attempt FROM payment_attempts WHERE status = 'paid'"),
        [r#"id="cpa_3" attempt=3"#]
    );
}

#[test]
fn a_payment_goes_with_the_last_delivery_that_shows_it() {
    // Its first version came late and is still young: were the payment gone, a rebuild would take that version for it.
    let shop = Shop::new();
    deliver(&shop, &payment_event("e2", T + 1, "cpa_1", "cpay_1", "paid", T), T);
    deliver(&shop, &payment_event("e3", T + 9, "cpa_2", "cpay_2", "paid", T + 9), T + 9);
    deliver(&shop, &payment_event("e1", T, "cpa_1", "cpay_1", "pending", T), T + 20 * DAY_MS);
    sweep(&shop, 500, T + 10 * DAY_MS);
    assert_eq!((count(&shop, "payments"), count(&shop, "deliveries")), (2, 3));
    rebuilds_to_the_live_state(&shop, "a late first version");
}

#[test]
fn deletions_and_grants_stay_however_old() {
    let shop = Shop::new();
    deliver(&shop, &identity_event("e1", "user.deleted", T, "user_1"), T);
    deliver(&shop, &identity_event("e2", "user.deleted", T + 5, "user_1"), T + 5);
    batch(&shop, &[note("n", "admin.replay", "{}", at(T))]);
    sweep(&shop, 500, NOW);
    assert_eq!(count(&shop, "deliveries"), 3);
    rebuilds_to_the_live_state(&shop, "a deletion");
}

#[test]
fn a_run_looks_at_a_bounded_part_and_a_sweep_that_is_done_rests_for_a_day() {
    let shop = Shop::new();
    for number in 0..10 {
        deliver(&shop, &identity_event(&format!("e{number}"), "session.created", T, "user_1"), T);
    }
    let now = T + 8 * DAY_MS;
    let run = |now: i64| {
        batch(&shop, &prune(RETENTION, 4, at(now)));
        count(&shop, "deliveries")
    };
    assert_eq!([run(now), run(now + 1), run(now + 2), run(now + 3)], [6, 2, 1, 1]);
    // The sweep came to its end with the run after the last row.
    for number in 10..20 {
        deliver(&shop, &identity_event(&format!("e{number}"), "session.created", T, "user_1"), T);
    }
    assert_eq!(run(now + 4), 11);
    assert_eq!(run(now + 3 + DAY_MS), 11 - 4);
    // Rows that are too young end a sweep at once.
    let young = Shop::new();
    for number in 0..10 {
        deliver(&young, &identity_event(&format!("e{number}"), "session.created", T, "user_1"), now);
    }
    batch(&young, &prune(RETENTION, 4, at(now)));
    assert_eq!(young.rows("SELECT value ->> 'next' AS next FROM kept"), ["next=0"]);
    assert_eq!(count(&young, "deliveries"), 10);
}

// Rebuilding.

#[test]
fn rebuilt_tables_have_the_columns_of_those_they_stand_for() {
    let shop = Shop::new();
    let columns =
        |table: &str| shop.rows(&format!("SELECT cid, name, type, \"notnull\", pk FROM pragma_table_info('{table}')"));
    let names = |table: &str| -> Vec<String> {
        let mut prepared =
            shop.connection().prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        prepared.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for (table, listed) in [("records", RECORD_COLUMNS), ("payments", PAYMENT_COLUMNS), ("payers", PAYER_COLUMNS)] {
        assert_eq!(columns(table), columns(&format!("rebuilt_{table}")), "{table}");
        assert_eq!(names(table), listed, "{table}");
    }
    assert_eq!(names("deliveries"), DELIVERY_COLUMNS);
}

/// Something of everything: items, flat events, payments, a deletion, an erasure, a grant.
fn something_of_everything() -> Shop {
    let shop = Shop::after(&[
        item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)),
        subscription_event("e2", "active", T, "org_1", vec![item("org_1", "i_2", "active", "team", T)]),
        flat_event("e3", "created", T, json!({"user_id": "user_2", "plan": "pro"})),
        payment_event("e4", T, "cpa_1", "cpay_1", "failed", T),
        identity_event("e5", "user.deleted", T, "user_3"),
        item_event("e6", "active", T, item("user_4", "i_4", "active", "pro", T)),
        item_event("e7", "active", T, with(item("x", "i_5", "active", "pro", T), json!({"payer": null}))),
    ]);
    erased(&shop, "user_4", NOW);
    let grant = json!({"user_id": "user_5", "plan": "pro", "by": "ada", "why": "beta"}).to_string();
    let grant = Grant::from_json(grant.as_bytes(), &Catalog::default(), at(NOW)).unwrap().event("g_1", at(NOW));
    let recorded = Verified::recorded("g_1", at(NOW), &[]);
    batch(&shop, &webhook(OPERATOR, &recorded, &Ok(Parsed::Event(grant)), false, at(NOW)).unwrap());
    shop
}

#[test]
fn a_rebuild_of_what_is_whole_finds_no_difference_and_leaves_nothing_behind() {
    let shop = something_of_everything();
    let before = (shop.state(), shop.rows("SELECT * FROM payers ORDER BY payer"));
    for replace in [false, true] {
        let report = rebuilt(&shop, replace);
        let same = |rows: u32| json!({"live": rows, "rebuilt": rows, "different": 0});
        assert_eq!(report["records"], same(5));
        assert_eq!(report["payments"], same(1));
        assert_eq!(report["deletions"], same(2));
        assert_eq!((&report["differences"], &report["changed_payers"]), (&json!([]), &json!(0)));
        assert_eq!((shop.state(), shop.rows("SELECT * FROM payers ORDER BY payer")), before);
        for table in ["records", "payments", "payers", "differences"] {
            assert_eq!(count(&shop, &format!("rebuilt_{table}")), 0, "{table}");
        }
    }
    let notes = shop.rows("SELECT detail FROM deliveries WHERE event_type = 'admin.rebuild' ORDER BY seq");
    assert_eq!(
        notes,
        [false, true].map(|replace| format!("detail={:?}", json!({"by": "ada", "replace": replace}).to_string()))
    );
}

#[test]
fn damage_is_named_exactly_and_mended() {
    let invented = "INSERT INTO records (provider, id, payer, payer_version, customer_version, plan_free, plan_version, \
                    status, failed_attempts, occurred_at, event_id, version, trial_used) \
                    VALUES ('clerk', 'i_9', 'user:user_9', '', '', 0, '', 'active', 0, 1, 'e9', '', 0)";
    let cases = [
        (
            "UPDATE records SET status = 'ended', period_end = NULL WHERE id = 'i_1'",
            ("records", "clerk/i_1", vec!["status", "period_end"], vec!["user:user_1"]),
            (
                json!({"status": "ended", "period_end": null}),
                json!({"status": "active", "period_end": T + 30 * DAY_MS}),
            ),
        ),
        (
            "UPDATE records SET payer = 'user:user_1' WHERE id = 'i_2'",
            ("records", "clerk/i_2", vec!["payer"], vec!["org:org_1", "user:user_1"]),
            (json!({"payer": "user:user_1"}), json!({"payer": "org:org_1"})),
        ),
        (
            "DELETE FROM records WHERE id = 'i_1'",
            ("records", "clerk/i_1", vec![], vec!["user:user_1"]),
            (Value::Null, json!("i_1")),
        ),
        (invented, ("records", "clerk/i_9", vec![], vec!["user:user_9"]), (json!("i_9"), Value::Null)),
        (
            "UPDATE payments SET status = 'paid'",
            ("payments", "clerk/cpa_1", vec!["status"], vec!["user:user_1"]),
            (json!({"status": "paid"}), json!({"status": "failed"})),
        ),
        (
            "UPDATE payers SET deleted_at = NULL WHERE payer = 'user:user_3'",
            ("payers", "user:user_3", vec!["deleted_at"], vec!["user:user_3"]),
            (json!({"deleted_at": null}), json!({"deleted_at": T})),
        ),
        (
            "UPDATE payers SET deleted_at = 5 WHERE payer = 'user:user_1'",
            ("payers", "user:user_1", vec!["deleted_at"], vec!["user:user_1"]),
            (json!({"deleted_at": 5}), json!({"deleted_at": null})),
        ),
    ];
    let shop = something_of_everything();
    let whole = shop.state();
    for (damage, (table, key, columns, changed), (live, found)) in cases {
        shop.tentatively(|shop| {
            shop.connection().execute(damage, []).unwrap();
            let damaged = shop.state();
            let versions = || shop.rows("SELECT payer, version FROM payers ORDER BY payer");
            let before = versions();
            let report = rebuilt(shop, false);
            let [difference] = report["differences"].as_array().unwrap().as_slice() else {
                panic!("{damage}: {report}")
            };
            assert_eq!((&difference["table"], &difference["key"]), (&json!(table), &json!(key)), "{damage}");
            assert_eq!(difference["columns"], json!(columns), "{damage}");
            // A row that is only in one of the two is shown whole.
            let shown =
                |side: &Value| if columns.is_empty() && !side.is_null() { side["id"].clone() } else { side.clone() };
            assert_eq!(shown(&difference["live"]), live, "{damage}");
            assert_eq!(shown(&difference["rebuilt"]), found, "{damage}");
            assert_eq!(
                (&report["changed"], &report["changed_payers"]),
                (&json!(changed), &json!(changed.len())),
                "{damage}"
            );
            assert_eq!((shop.state(), versions()), (damaged, before.clone()), "{damage}: looking changes nothing");

            assert_eq!(rebuilt(shop, true)["differences"], report["differences"], "{damage}");
            assert_eq!(shop.state(), whole, "{damage}");
            let grown: BTreeSet<_> = versions().into_iter().filter(|row| !before.contains(row)).collect();
            assert_eq!(grown.len(), changed.len(), "{damage}: {grown:?}");
            rebuilds_to_the_live_state(shop, damage);
        });
    }
}

#[test]
fn of_many_differences_fifty_are_shown_and_all_are_counted_and_mended() {
    let history: Vec<_> = (0..70)
        .map(|number| {
            let id = format!("user_{number}");
            item_event(&format!("e{number}"), "active", T, item(&id, &format!("i_{number}"), "active", "pro", T))
        })
        .collect();
    let shop = Shop::after(&history);
    let whole = shop.state();
    shop.connection().execute("DELETE FROM records", []).unwrap();
    let report = rebuilt(&shop, true);
    assert_eq!(report["records"], json!({"live": 0, "rebuilt": 70, "different": 70}));
    assert_eq!(report["differences"].as_array().unwrap().len(), 50);
    assert_eq!((&report["changed_payers"], report["changed"].as_array().unwrap().len()), (&json!(70), 40));
    assert_eq!(shop.state(), whole);
}

#[test]
fn a_rebuild_writes_no_live_table_but_by_replacing() {
    let asked = |replace| Rebuild::from_json(json!({"replace": replace, "by": "ada"}).to_string().as_bytes()).unwrap();
    let live = |statement: &Statement| {
        ["records", "payments", "payers"].iter().any(|table| {
            [format!("INTO {table} "), format!("FROM {table} WHERE (")].iter().any(|text| statement.sql.contains(text))
        })
    };
    assert_eq!(rebuild(&asked(false), "n", at(NOW)).iter().filter(|statement| live(statement)).count(), 0);
    assert_eq!(rebuild(&asked(true), "n", at(NOW)).iter().filter(|statement| live(statement)).count(), 5);
}

// Erasing.

/// A text that nothing else holds.
const MARKER: &str = "mmarkerm";
/// Whose data is erased: an id that is in every text that tells of it.
const PERSON: &str = "user_1mmarkerm";

/// Every row of every table.
pub fn dump(shop: &Shop) -> Vec<String> {
    let tables =
        shop.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name");
    tables
        .iter()
        .flat_map(|row| {
            let table = row.trim_start_matches("name=").trim_matches('"').to_owned();
            shop.rows(&format!("SELECT * FROM {table}")).into_iter().map(move |row| format!("{table}: {row}"))
        })
        .collect()
}

/// Deliveries with the marker wherever a text can stand.
fn marked() -> Vec<Sent> {
    let m = |what: &str| format!("{what}_{MARKER}");
    let payer = json!({"id": m("cpayer"), "user_id": PERSON, "organization_id": "", "first_name": m("Ada"),
        "last_name": m("Example"), "email": m("ada@example.test"), "image_url": m("https://img.example.test/")});
    let own = |id: &str, at: i64| {
        with(
            item(PERSON, &m(id), &m("status"), "pro", at),
            json!({"payer": payer, "plan": {"id": m("cplan"), "slug": m("plan"), "name": m("Plan")}, "plan_id": m("cplan"),
                "interval": m("month"), "subscription_id": m("csub"), "note": m("note")}),
        )
    };
    let nameless = |id: &str, at: i64| with(own(id, at), json!({"payer": null, "payer_id": m("cpayer")}));
    let payment = json!({"id": m("cpa"), "payment_id": m("cpay"), "status": m("paid"), "charge_type": m("recurring"),
        "created_at": T, "updated_at": T, "payer": payer,
        "totals": {"grand_total": {"amount": 2000, "currency": m("USD")}}, "failed_reason": {"code": m("declined")}});
    vec![
        item_event("e_nameless_first", "active", T, nameless("i_1", T)),
        item_event("e_item", "active", T + 1, own("i_1", T + 1)),
        item_event("e_nameless", "updated", T + 2, nameless("i_1", T + 2)),
        subscription_event("e_sub", "active", T + 3, PERSON, vec![own("i_2", T + 3)]),
        flat_event(
            "e_flat",
            "created",
            T,
            json!({"user_id": PERSON, "plan": m("plan"), "status": m("status"),
            "stripe_customer_id": m("cus")}),
        ),
        Sent::new("e_payment", "paymentAttempt.updated", T, payment),
        Sent::new("e_user", "user.updated", T, json!({"id": PERSON, "updated_at": T, "email": m("ada@example.test")})),
        Sent::new("e_session", "session.created", T, json!({"id": m("sess"), "user_id": PERSON})),
        Sent::new("e_letter", "subscriptionItem.active", T, json!({"note": m("note"), "payer": payer})),
    ]
}

#[test]
fn of_an_erased_payer_only_the_tombstone_is_left_and_nothing_comes_back() {
    let mut shop = Shop::after(&marked());
    let other = item_event("e_other", "active", T, item("user_2", "i_other", "active", "pro", T));
    let letter = Sent::raw("e_other_letter", r#"{"type":"subscriptionItem.active","data":{"payer":"user_2"}}"#);
    shop.deliver(&other);
    shop.deliver(&letter);
    let grant =
        json!({"user_id": PERSON, "plan": format!("plan_{MARKER}"), "by": "ada", "why": format!("for {MARKER}")});
    let grant = Grant::from_json(grant.to_string().as_bytes(), &Catalog::default(), at(NOW)).unwrap();
    let given = Ok(Parsed::Event(grant.event("g_1", at(NOW))));
    shop.store.deliver(OPERATOR, &Verified::recorded("g_1", at(NOW), &[]), &given, at(NOW)).unwrap();
    let taken = revocation(json!({"by": "ada", "why": MARKER}).to_string().as_bytes(), "g_1", "g_2", at(NOW)).unwrap();
    let taken = Ok(Parsed::Event(taken));
    shop.store.deliver(OPERATOR, &Verified::recorded("g_2", at(NOW), &[]), &taken, at(NOW)).unwrap();
    assert!(dump(&shop).iter().filter(|row| row.contains(MARKER)).count() > 12, "{:#?}", dump(&shop));
    let others = |shop: &Shop| {
        let kept = "SELECT * FROM deliveries WHERE event_id LIKE 'e_other%' ORDER BY seq";
        [shop.rows(kept), shop.rows("SELECT * FROM records WHERE id = 'i_other'")].concat()
    };
    let (before, times) =
        (others(&shop), shop.rows("SELECT provider, event_id, received_at FROM deliveries ORDER BY seq"));

    let only_the_tombstone = |shop: &Shop, what: &str| {
        // What a shop sells is nobody's own.
        let left: Vec<_> =
            dump(shop).into_iter().filter(|row| row.contains(MARKER) && !row.starts_with("plan_keys: ")).collect();
        let [tombstone] = left.as_slice() else { panic!("{what}: {left:#?}") };
        let key = format!("payer=\"user:{PERSON}\"");
        assert!(tombstone.starts_with("payers: ") && tombstone.contains(&key), "{what}: {tombstone}");
        assert!(tombstone.ends_with(&format!("deleted_at={NOW} erased_at={NOW}")), "{what}: {tombstone}");
        rebuilds_to_the_live_state(shop, what);
        let decision = shop.decide(PERSON, "", NOW);
        assert_eq!((decision.allowed, decision.reason), (false, Reason::PayerDeleted), "{what}");
        assert_eq!(others(shop), before, "{what}");
    };
    erased(&shop, PERSON, NOW);
    only_the_tombstone(&shop, "erased");
    let digest = digest(&payer(PERSON));
    let detail = json!({"by": "ada", "why": "asked for it", "payer_sha256": digest}).to_string();
    assert_eq!(
        shop.rows("SELECT detail FROM deliveries WHERE event_type = 'admin.erase'"),
        [format!("detail={detail:?}")]
    );
    let still = shop.rows("SELECT provider, event_id, received_at FROM deliveries ORDER BY seq");
    assert_eq!(&still[..times.len()], times, "ids and times stay");

    // Resent: what is known is a duplicate.
    for sent in marked() {
        let unread = ["e_session"].contains(&sent.event_id.as_str());
        assert_eq!(shop.deliver(&sent), Outcome::Duplicate, "{}: {unread}", sent.event_id);
        only_the_tombstone(&shop, &sent.event_id);
    }
    // New events, and the same ones under other ids (as after pruning). Those that name nobody are left out: they may
    // leave a record that is nobody's.
    for (number, sent) in marked().into_iter().filter(|sent| !sent.event_id.starts_with("e_nameless")).enumerate() {
        let late = Sent { event_id: format!("late_{number}"), ..sent };
        let (outcome, snapshot) = shop.deliver_and_read(&late);
        assert_eq!((outcome, snapshot), (Outcome::Ignored, None), "{}", sent.event_id);
        only_the_tombstone(&shop, &format!("{} again", sent.event_id));
        assert_eq!(shop.deliver(&late), Outcome::Duplicate, "{}", sent.event_id);
    }
    let details = "SELECT DISTINCT outcome, detail FROM deliveries WHERE event_id LIKE 'late%' ORDER BY detail";
    assert_eq!(
        shop.rows(details),
        [r#"outcome="ignored" detail="erased""#, r#"outcome="ignored" detail="unused_type""#]
    );

    // A deletion that comes late, and a grant by somebody who does not know.
    shop.deliver(&identity_event("late_deletion", "user.deleted", T, PERSON));
    let (outcome, _) = shop.store.deliver(OPERATOR, &Verified::recorded("g_3", at(NOW), &[]), &given, at(NOW)).unwrap();
    assert_eq!(outcome, Outcome::Ignored);
    only_the_tombstone(&shop, "a late deletion and a grant");

    // Twice is as good as once.
    let before = shop.state();
    erased(&shop, PERSON, NOW + 5);
    assert_eq!(shop.state(), before);
    only_the_tombstone(&shop, "erased twice");
}

#[test]
fn a_late_event_that_names_nobody_leaves_at_most_what_grants_nothing() {
    let mut shop = Shop::after(&[item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T))]);
    erased(&shop, "user_1", NOW);
    let nameless = with(item("user_1", "i_1", "active", "pro", T + 5), json!({"payer": null}));
    assert_eq!(shop.deliver(&item_event("e2", "updated", T + 5, nameless)), Outcome::Stored);
    assert_eq!(shop.rows("SELECT id, payer FROM records"), [r#"id="i_1" payer=null"#]);
    // And stays so when its owner is named.
    let named = item_event("e3", "updated", T + 9, item("user_1", "i_1", "active", "pro", T + 9));
    assert_eq!(shop.deliver(&named), Outcome::Ignored);
    assert_eq!(shop.rows("SELECT id, payer FROM records"), [r#"id="i_1" payer=null"#]);
    assert_eq!(shop.decide("user_1", "plan=pro", NOW).reason, Reason::PayerDeleted);
}

#[test]
fn somebody_unknown_can_be_erased_and_then_never_comes_in() {
    let mut shop = Shop::new();
    erased(&shop, "org_1", NOW);
    assert_eq!(
        shop.rows("SELECT * FROM payers"),
        [format!(r#"payer="org:org_1" version=1 deleted_at={NOW} erased_at={NOW}"#)]
    );
    let sent = item_event("e1", "active", T, item("org_1", "i_1", "active", "team", T));
    assert_eq!(shop.deliver(&sent), Outcome::Ignored);
    assert_eq!(count(&shop, "records"), 0);
    assert_eq!(
        shop.rows("SELECT outcome, detail, count FROM delivery_counts WHERE outcome = 'ignored'"),
        [r#"outcome="ignored" detail="erased" count=1"#]
    );
}

#[test]
fn an_earlier_deletion_keeps_its_time() {
    let shop = Shop::after(&[identity_event("e1", "user.deleted", T, "user_1")]);
    erased(&shop, "user_1", NOW);
    assert_eq!(
        shop.rows("SELECT deleted_at, erased_at, version FROM payers"),
        [format!("deleted_at={T} erased_at={NOW} version=2")]
    );
    rebuilds_to_the_live_state(&shop, "deleted, then erased");
}

#[test]
fn a_dead_letter_of_another_whose_id_only_begins_alike_stays() {
    let letter = |id: &str, whose: &str| {
        Sent::raw(id, format!(r#"{{"type":"user.updated","data":{{"payer":"{whose}","n":}}}}"#))
    };
    let shop = Shop::after(&[letter("e1", "user_1"), letter("e2", "user_11"), letter("e3", "xuser_1")]);
    erased(&shop, "user_1", NOW);
    assert_eq!(
        shop.rows("SELECT event_id, outcome, detail, event, body IS NULL AS bare FROM deliveries WHERE event_id <> 'erasure_3' ORDER BY seq"),
        [
            r#"event_id="e1" outcome="ignored" detail="erased" event="{}" bare=1"#.to_owned(),
            shop.rows("SELECT 'e2' AS event_id, 'dead_letter' AS outcome, detail, null AS event, 0 AS bare FROM deliveries WHERE event_id = 'e2'").remove(0),
            shop.rows("SELECT 'e3' AS event_id, 'dead_letter' AS outcome, detail, null AS event, 0 AS bare FROM deliveries WHERE event_id = 'e3'").remove(0),
        ]
    );
}

// Handing over.

fn lines(shop: &Shop, statement: &Statement) -> Vec<Value> {
    let rows = run_statement(shop.connection(), statement);
    let line = |row: &Vec<Stored>| {
        row.iter().find_map(|cell| {
            if let Stored::Text(text) = cell { Some(serde_json::from_str(text).unwrap()) } else { None }
        })
    };
    rows.iter().map(|row| line(row).unwrap()).collect()
}

/// The pages one after another, as a caller gets them by following the links.
fn pages(shop: &Shop, mut export: Export) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let rows = run_statement(shop.connection(), &export_ledger(&export));
        all.extend(lines(shop, &export_ledger(&export)));
        let Some([Stored::Integer(seq), _, Stored::Integer(total)]) = rows.last().map(Vec::as_slice) else {
            return all;
        };
        if usize::try_from(*total).unwrap() <= rows.len() {
            return all;
        }
        export.cursor = Some(u64::try_from(*seq).unwrap());
    }
}

#[test]
fn everything_about_a_payer_is_handed_over_and_nothing_of_another() {
    let shop = Shop::after(&marked());
    let mine = count(&shop, "deliveries") - 1;
    for sent in [
        item_event("e_other", "active", T, item("user_2", "i_other", "active", "pro", T)),
        item_event(
            "e_nobody",
            "active",
            T,
            with(item("user_2", "i_nobody", "active", "pro", T), json!({"payer": null})),
        ),
        Sent::raw("e_other_letter", r#"{"data":{"payer":"user_2"}}"#),
    ] {
        deliver(&shop, &sent, NOW);
    }
    let whose = payer(PERSON);
    let state = lines(&shop, &export_state(&whose));
    let tables: Vec<_> = state.iter().map(|line| line["table"].as_str().unwrap().to_owned()).collect();
    assert_eq!(tables, ["payers", "records", "records", "records", "payments"]);
    for limit in [1, 2, 500] {
        let ledger = pages(&shop, Export { payer: Some(whose.clone()), cursor: None, limit });
        let ids: Vec<_> = ledger.iter().map(|line| line["event_id"].as_str().unwrap()).collect();
        // All but the session, which is kept without its content.
        let expected: Vec<_> = marked().into_iter().map(|sent| sent.event_id).filter(|id| id != "e_session").collect();
        assert_eq!(ids, expected, "{limit}");
        assert_eq!(ids.len(), usize::try_from(mine).unwrap());
        assert!(ledger.iter().all(|line| line["table"] == "deliveries"));
        assert_eq!(ledger[1]["event"]["payer"], format!("user:{PERSON}"));
    }
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let columns =
        |columns: &[&str]| columns.iter().chain(&["table"]).map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(keys(&state[0]), columns(PAYER_COLUMNS));
    assert_eq!(keys(&state[1]), columns(RECORD_COLUMNS));
    assert_eq!(keys(&state[4]), columns(PAYMENT_COLUMNS));
    assert_eq!(lines(&shop, &export_state(&payer("user_nobody"))), Vec::<Value>::new());
}

#[test]
fn pages_of_the_whole_make_up_the_ledger_in_order() {
    let shop = Shop::new();
    a_year_of(&shop);
    let expected = shop.rows("SELECT provider, event_id, outcome, body FROM deliveries ORDER BY seq");
    for limit in [1, 7, 74, 75, 500] {
        let ledger = pages(&shop, Export { payer: None, cursor: None, limit });
        let text = |value: &Value| value.as_str().map_or("null".into(), |text| format!("{text:?}"));
        let rows: Vec<_> = ledger
            .iter()
            .map(|line| {
                let [provider, id, outcome, body] =
                    ["provider", "event_id", "outcome", "body"].map(|name| text(&line[name]));
                format!("provider={provider} event_id={id} outcome={outcome} body={body}")
            })
            .collect();
        assert_eq!(rows, expected, "{limit}");
        let keys: BTreeSet<_> = ledger[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, DELIVERY_COLUMNS.iter().copied().chain(["table"]).collect());
    }
}

#[test]
fn a_page_that_grows_long_ends_early_and_the_next_goes_on() {
    let shop = Shop::new();
    for number in 0..5 {
        deliver(&shop, &Sent::raw(&format!("e{number}"), "x".repeat(1_500_000)), NOW);
    }
    let first = lines(&shop, &export_ledger(&Export { payer: None, cursor: None, limit: 500 }));
    assert_eq!(first.len(), 3);
    assert_eq!(pages(&shop, Export { payer: None, cursor: None, limit: 500 }).len(), 5);
}

// The statements themselves.

#[test]
fn upkeep_walks_no_table_that_grows_but_to_rebuild_and_to_export_all() {
    let shop = Shop::new();
    let erasure = Erasure::from_json(br#"{"user_id":"user_1","by":"ada","why":"asked"}"#).unwrap();
    let of_payer = Export { payer: Some(payer("user_1")), cursor: Some(5), limit: 50 };
    let mut statements = erase(&erasure, "n", at(NOW));
    statements.extend(prune(180, 500, at(NOW)));
    statements.extend([export_state(&payer("user_1")), export_ledger(&of_payer), payers_row(&payer("user_1"))]);
    for statement in statements {
        assert_eq!(shop.connection().prepare(statement.sql).unwrap().parameter_count(), statement.params.len());
        if statement.sql.starts_with("INSERT INTO payers") {
            // One row, by its key: there is no plan to speak of.
            continue;
        }
        let walks = walks(shop.connection(), statement.sql);
        // What cannot be read, what names nobody and who was erased are few, and indexed.
        let few = |step: &String| {
            ["deliveries_unnamed", "dead_letters", "payers_erased"].iter().any(|index| step.contains(index))
        };
        assert!(walks.iter().all(few), "{walks:?} in\n{}", statement.sql);
    }
}

/// Work done by one run of pruning over the same deliveries, in steps of SQLite's virtual machine.
fn steps_of_pruning_among(others: i64) -> i32 {
    let shop = Shop::new();
    a_year_of(&shop);
    let numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)";
    for (table, columns, values) in [
        (
            "deliveries",
            "provider, event_id, payer, received_at, last_received_at, outcome, event",
            "'clerk', 'o' || n, 'user:o' || n, 1, 1, 'stored', '{\"payments\":[{\"id\":\"cpa_o' || n || '\"}]}'",
        ),
        (
            "payments",
            "provider, id, payer, status, created_at, occurred_at, event_id, version",
            "'clerk', 'cpa_o' || n, 'user:o' || n, 'failed', 1, 1, 'o' || n, '0'",
        ),
    ] {
        shop.connection()
            .execute(&format!("{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM n"), [others])
            .unwrap();
    }
    let steps = |statement: &Statement| {
        let mut prepared = shop.connection().prepare(statement.sql).unwrap();
        let mut rows = prepared.query(rusqlite::params_from_iter(&statement.params)).unwrap();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        prepared.get_status(rusqlite::StatementStatus::VmStep)
    };
    prune(RETENTION, 70, at(NOW + 1000 * DAY_MS)).iter().map(steps).sum()
}

#[test]
fn the_work_of_a_run_of_pruning_does_not_grow_with_the_ledger() {
    let steps = steps_of_pruning_among(10);
    assert!(steps > 1000, "{steps}");
    assert_eq!(steps_of_pruning_among(5_000), steps);
}

/// With `PLANGATE_DELIVERIES=100000` and `cargo test --release --features cli --test store -- --nocapture a_rebuild_of_many`
/// it tells how long a rebuild takes.
#[test]
#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures")]
fn a_rebuild_of_many_deliveries_mends_every_record() {
    let deliveries = std::env::var("PLANGATE_DELIVERIES").ok().and_then(|number| number.parse().ok()).unwrap_or(1_000);
    let mut shop = Shop::new();
    for number in 0..deliveries {
        let (whose, moment) = (format!("user_{}", number / 10), T + number);
        let id = format!("e{number}");
        shop.deliver(&match number % 10 {
            0 | 5 => {
                let sent =
                    payment_event(&id, moment, &format!("cpa_{number}"), &format!("cpay_{number}"), "paid", moment);
                Sent::raw(&id, String::from_utf8(sent.body).unwrap().replace("user_1", &whose))
            }
            1 => identity_event(&id, "user.updated", moment, &whose),
            2 => subscription_event(
                &id,
                "updated",
                moment,
                &whose,
                vec![
                    item(&whose, &format!("i_a_{whose}"), "active", "pro", moment),
                    item(&whose, &format!("i_b_{whose}"), "ended", "basic", moment),
                ],
            ),
            other => item_event(
                &id,
                "updated",
                moment,
                item(&whose, &format!("i_{}_{whose}", other % 3), "active", "pro", moment),
            ),
        });
    }
    let asked = Rebuild::from_json(br#"{"replace":true,"by":"ada"}"#).unwrap();
    let before = shop.state();
    shop.connection().execute("UPDATE records SET status = 'ended'", []).unwrap();
    assert_ne!(shop.state(), before);
    let began = std::time::Instant::now();
    let mut longest = std::time::Duration::ZERO;
    for statement in rebuild(&asked, "n", at(NOW)) {
        let began = std::time::Instant::now();
        run_statement(shop.connection(), &statement);
        longest = longest.max(began.elapsed());
        println!("{:?} {}", began.elapsed(), &statement.sql[..statement.sql.len().min(60)]);
    }
    println!("all: {:?}, longest: {longest:?}, {} records", began.elapsed(), count(&shop, "records"));
    assert_eq!(shop.state(), before);
    for statement in prune(7, PRUNED_AT_ONCE, at(NOW + 30 * DAY_MS)) {
        let began = std::time::Instant::now();
        run_statement(shop.connection(), &statement);
        println!("{:?} {}", began.elapsed(), &statement.sql[..statement.sql.len().min(60)]);
    }
}
