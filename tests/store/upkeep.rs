//! Upkeep: pruning changes no decision, a rebuild from what is left gives the live state, and of somebody whose data was
//! erased nothing is left and nothing comes back.

use std::collections::BTreeSet;

use plangate::catalog::Catalog;
use plangate::decide::{Policy, Reason, decide};
use plangate::event::Parsed;
use plangate::payer::Payer;
use plangate::question::Asked;
use plangate::store::upkeep::{
    DELIVERY_COLUMNS, PAYER_COLUMNS, PAYMENT_COLUMNS, RECORD_COLUMNS, REPORT_AT, erase, export_ledger, export_state,
    prune, rebuild,
};
use plangate::store::{Outcome, Statement, health, note, webhook};
use plangate::time::{DAY_MS, Timestamp};
use plangate::upkeep::{Erasure, Export, Rebuild, digest};
use rusqlite::types::Value as Stored;
use serde_json::{Value, json};

use crate::convergence::Numbers;
use crate::history::{
    NOW, Sent, Shop, T, flat_event, identity_event, item, item_event, payer, payment_event, run_statement,
    subscription_event, with,
};
use crate::plans::walks;

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
    let rows = batch(shop, &webhook("clerk", &sent.verified(), &sent.parse(), at(now)).unwrap());
    let Some(Stored::Text(outcome)) = rows.last().unwrap()[0].first() else { panic!("no outcome") };
    Outcome::parse(outcome).unwrap()
}

/// A whole sweep over the ledger, that many rows at a time. Only what was received less than a time ago stays for its age.
fn sweep(shop: &Shop, looked_at: u32, before: i64) {
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
fn rebuilds_to_the_live_state(shop: &Shop, what: &str) {
    let report = shop.tentatively(|shop| rebuilt(shop, false));
    assert_eq!(report["differences"], json!([]), "{what}");
    assert_eq!(report["changed_payers"], 0, "{what}");
}

fn erased(shop: &Shop, id: &str, now: i64) {
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
fn random_histories_are_pruned_and_erased_and_rebuild() {
    for seed in 0..25 {
        let mut numbers = Numbers(seed + 1000);
        let history: Vec<Sent> = (0..7).map(|number| numbers.sent(&format!("e{number}"))).collect();
        pruned_and_erased(&history, |_, _| numbers.below(6) == 0);
    }
}

#[test]
fn random_payments_are_pruned_and_nothing_decided_by_them_changes() {
    let mut gone = 0;
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
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
