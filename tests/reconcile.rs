//! What a provider's API shows against what webhooks brought: which differences there are, and that readings and webhooks
//! in any order end in what the provider last said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_wrap,
    reason = "a test fails by panicking"
)]

mod seeded;

use plangate::api::{Api, Reading};
use plangate::delivery::Verified;
use plangate::event::Parsed;
use plangate::ordered::Map;
use plangate::payer::{Payer, PayerKind};
use plangate::provider::{Ours, named};
use plangate::reconcile::{self, Progress, Silence, Sweep, differences, likely_cause};
use plangate::store::sqlite::SqliteStore;
use plangate::store::{self, Outcome};
use plangate::time::{DAY_MS, Timestamp};
use seeded::Numbers;
use serde_json::{Value, json};

/// The start of 2026.
const T: i64 = 1_767_225_600_000;
const MINUTE: i64 = 60_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn api() -> &'static dyn Api {
    named("clerk").unwrap().api().unwrap()
}

fn user() -> Payer {
    Payer::new(PayerKind::User, "user_1").unwrap()
}

/// An item as webhooks show it, changed at `changed_at`.
fn item(id: &str, status: &str, changed_at: i64) -> Value {
    json!({"id": id, "status": status, "is_free_trial": false, "created_at": T, "updated_at": changed_at, "period_start": T,
        "period_end": T + 30 * DAY_MS, "interval": "month", "plan_id": "cplan_pro", "subscription_id": "csub_1",
        "plan": {"id": "cplan_pro", "slug": "pro", "name": "Pro", "is_recurring": true, "amount": 2000, "currency": "USD"},
        "payer": {"id": "cpayer_1", "user_id": "user_1", "organization_id": ""}})
}

/// The same as the API shows it.
fn shown(item: &Value) -> Value {
    let mut shown = item.clone();
    let status = item["status"].as_str().unwrap();
    let is_canceled = status == "canceled";
    shown["canceled_at"] = if is_canceled { item["updated_at"].clone() } else { Value::Null };
    shown["ended_at"] = if status == "ended" { item["updated_at"].clone() } else { Value::Null };
    if is_canceled {
        shown["status"] = json!("active");
    }
    shown["plan_period"] = json!("month");
    let fields = shown.as_object_mut().unwrap();
    fields.remove("interval");
    fields.remove("payer");
    shown
}

fn subscription(items: &[Value]) -> String {
    let items: Vec<Value> = items.iter().map(shown).collect();
    json!({"object": "commerce_subscription", "id": "csub_1", "payer_id": "cpayer_1", "status": "active",
        "subscription_items": items})
    .to_string()
}

struct Shop(SqliteStore);

impl Shop {
    fn new() -> Self {
        Self(SqliteStore::in_memory().unwrap())
    }

    fn webhook(&mut self, event_id: &str, item: &Value) -> Outcome {
        let sent_at = item["updated_at"].as_i64().unwrap() + 20;
        let body = json!({"type": "subscriptionItem.updated", "timestamp": sent_at, "data": item}).to_string();
        let verified = Verified::recorded(event_id, at(sent_at), body.as_bytes());
        let parsed = named("clerk").unwrap().parse(&verified, &Ours::default());
        self.0.deliver("clerk", &verified, &parsed, at(sent_at)).unwrap().0
    }

    fn differences(
        &self,
        reading: Reading,
        payer: Option<&Payer>,
        read_at: i64,
    ) -> Vec<plangate::reconcile::Difference> {
        let held = self.0.held("clerk", &reading, payer).unwrap();
        differences(reading, &held, payer, at(read_at))
    }

    /// Reads the payer at `read_at`; answers the ids of the differences, which are then stored.
    fn read(&mut self, body: &str, read_at: i64) -> Vec<String> {
        let reading = api().read_payer(&user(), "", body, at(read_at)).unwrap();
        let found = self.differences(reading, Some(&user()), read_at);
        found
            .into_iter()
            .map(|difference| {
                let recorded = Verified::recorded(difference.event_id.as_str(), at(read_at), &[]);
                let parsed = Ok(Parsed::Event(difference.event));
                let (outcome, _) = self.0.deliver("clerk", &recorded, &parsed, at(read_at)).unwrap();
                assert_eq!(outcome, Outcome::Stored, "a difference is one");
                difference.event_id
            })
            .collect()
    }

    /// Status, period end, time of change and event of a record.
    fn row(&self, id: &str) -> Option<(String, Option<i64>, i64, String)> {
        let sql = "SELECT status, period_end, occurred_at, event_id FROM records WHERE id = ?1";
        let row =
            self.0.connection().query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        row.ok()
    }

    fn status(&self, id: &str) -> Option<String> {
        self.row(id).map(|(status, ..)| status)
    }
}

#[test]
fn a_reading_of_what_is_held_is_no_difference_whatever_shape_it_has() {
    for status in ["active", "canceled", "past_due", "upcoming", "ended", "incomplete"] {
        let mut shop = Shop::new();
        let item = item("i_1", status, T + 10);
        shop.webhook("e1", &item);
        assert_eq!(shop.read(&subscription(&[item]), T + MINUTE), [""; 0], "{status}");
    }
}

#[test]
fn what_an_answer_leaves_out_is_not_changed_by_it() {
    let mut shop = Shop::new();
    let mut trial = item("i_1", "active", T + 10);
    trial["is_free_trial"] = json!(true);
    trial["seats"] = json!({"quantity": 3});
    shop.webhook("e1", &trial);
    for field in ["is_free_trial", "period_start", "period_end", "seats", "plan_period", "interval", "created_at"] {
        let mut silent = trial.clone();
        silent.as_object_mut().unwrap().remove(field);
        assert_eq!(shop.read(&subscription(&[silent]), T + MINUTE), [""; 0], "{field}");
    }
    let mut without_plan = trial.clone();
    for field in ["plan", "plan_id"] {
        without_plan.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(shop.read(&subscription(&[without_plan.clone()]), T + MINUTE), [""; 0]);
    without_plan["plan_id"] = json!("cplan_pro");
    assert_eq!(
        shop.read(&subscription(&[without_plan]), T + MINUTE),
        [""; 0],
        "a plan known by its id is no other plan"
    );
}

#[test]
fn each_thing_that_answers_rest_on_is_a_difference() {
    let changes = [
        json!({"status": "ended"}),
        json!({"period_end": T + 60 * DAY_MS}),
        json!({"period_start": T + DAY_MS}),
        json!({"seats": {"quantity": 9}}),
        json!({"plan": {"id": "cplan_team", "slug": "team"}, "plan_id": "cplan_team"}),
        json!({"is_free_trial": true}),
    ];
    for change in changes {
        let mut shop = Shop::new();
        shop.webhook("e1", &item("i_1", "active", T + 10));
        let mut changed = item("i_1", "active", T + 20);
        for (field, value) in change.as_object().unwrap() {
            changed[field] = value.clone();
        }
        let found = shop.read(&subscription(&[changed.clone()]), T + MINUTE);
        assert_eq!(found.len(), 1, "{change}");
        assert!(found[0].starts_with("reconciled_"), "{change}");
        assert_eq!(shop.read(&subscription(&[changed]), T + 2 * MINUTE), [""; 0], "{change}: once stored it is none");
    }
}

#[test]
fn two_who_find_one_difference_store_it_once_and_a_later_one_is_another() {
    let mut shop = Shop::new();
    shop.webhook("e1", &item("i_1", "active", T + 10));
    let reading =
        || api().read_payer(&user(), "", &subscription(&[item("i_1", "canceled", T + 20)]), at(T + MINUTE)).unwrap();
    let one = shop.differences(reading(), Some(&user()), T + MINUTE);
    let two = shop.differences(reading(), Some(&user()), T + 2 * MINUTE);
    assert_eq!(one[0].event_id, two[0].event_id);
    let canceled = shop.read(&subscription(&[item("i_1", "canceled", T + 20)]), T + MINUTE);
    let again = shop.read(&subscription(&[item("i_1", "active", T + 30)]), T + 3 * MINUTE);
    let canceled_again = shop.read(&subscription(&[item("i_1", "canceled", T + 40)]), T + 4 * MINUTE);
    assert!(canceled != again && again != canceled_again && canceled != canceled_again);
    assert_eq!(shop.status("i_1").unwrap(), "canceled");
}

#[test]
fn a_delivery_of_a_change_read_before_takes_its_place() {
    let mut shop = Shop::new();
    let bought = item("i_1", "active", T + 10);
    assert_eq!(shop.read(&subscription(std::slice::from_ref(&bought)), T + MINUTE).len(), 1);
    assert!(shop.row("i_1").unwrap().3.starts_with("reconciled_"));
    assert_eq!(shop.webhook("e1", &bought), Outcome::Stored);
    assert_eq!(shop.row("i_1").unwrap().3, "e1");
    assert_eq!(shop.read(&subscription(&[bought]), T + 2 * MINUTE), [""; 0]);
}

#[test]
fn a_tie_is_settled_by_what_the_api_says() {
    let pair = [item("i_1", "active", T + 10), {
        let mut other = item("i_1", "active", T + 10);
        other["period_end"] = json!(T + 90 * DAY_MS);
        other
    }];
    for right in [0, 1] {
        for order in [[0, 1], [1, 0]] {
            let mut shop = Shop::new();
            for index in order {
                shop.webhook(&format!("e{index}"), &pair[index]);
            }
            let tied: i64 = shop
                .0
                .connection()
                .query_row("SELECT count(*) FROM deliveries WHERE detail = 'tied'", [], |row| row.get(0))
                .unwrap();
            assert_eq!(tied, 1);
            let found = shop.read(&subscription(&[pair[right].clone()]), T + MINUTE);
            assert!(found.iter().all(|id| id.starts_with("reread_")), "{found:?}");
            assert_eq!(shop.row("i_1").unwrap().1, pair[right]["period_end"].as_i64());
        }
    }
}

#[test]
fn an_item_left_out_of_its_own_subscription_is_over_once_it_is_settled() {
    let other = item("i_2", "active", T + 10);
    let body = subscription(&[other]);
    let ended = |changed_at: i64, read_at: i64, body: &str| {
        let mut shop = Shop::new();
        shop.webhook("e1", &item("i_1", "active", changed_at));
        shop.read(body, read_at);
        shop.status("i_1").unwrap() == "ended"
    };
    assert!(ended(T, T + 6 * MINUTE, &body));
    assert!(ended(T, T + 5 * MINUTE + 1, &body));
    assert!(!ended(T, T + 5 * MINUTE, &body), "it may be younger than the answer");
    assert!(!ended(T + 10 * MINUTE, T + 6 * MINUTE, &body), "it is from after the answer");
    assert!(!ended(T, T + 6 * MINUTE, &body.replace("csub_1", "csub_2")), "another subscription");
    let broken = body.replace("\"subscription_items\":[", "\"subscription_items\":[{\"id\":\"i_1\"},");
    assert!(!ended(T, T + 6 * MINUTE, &broken), "it may be the one that could not be read");
    assert!(!ended(T, T + 6 * MINUTE, &subscription(&[])), "a subscription has one item at least");
}

#[test]
fn an_item_left_out_keeps_its_period_and_tells_when_it_was_found_to_be_over() {
    let mut shop = Shop::new();
    shop.webhook("e1", &item("i_1", "active", T));
    shop.read(&subscription(&[item("i_2", "ended", T)]), T + 6 * MINUTE);
    let sql = "SELECT period_start, period_end, ended_at FROM records";
    let found: [i64; 3] =
        shop.0.connection().query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap();
    assert_eq!(found, [T, T + 30 * DAY_MS, T + 6 * MINUTE]);
}

#[test]
fn silence_about_a_trial_changes_nothing_else() {
    // What is held, what is shown without a word of a trial, and what is held then.
    let trial = |changed_at: i64| {
        let mut item = item("i_1", "active", changed_at);
        item["is_free_trial"] = json!(true);
        item
    };
    let silent = |status: &str, end: i64| {
        let mut item = item("i_1", status, T + 20);
        item["period_end"] = json!(end);
        item.as_object_mut().unwrap().remove("is_free_trial");
        item
    };
    let end = T + 30 * DAY_MS;
    let cases = [
        (trial(T + 10), silent("active", end), "trialing"),
        (trial(T + 10), silent("active", end + DAY_MS), "active"),
        (trial(T + 10), silent("canceled", end), "canceled"),
        (item("i_1", "canceled", T + 10), silent("active", end), "active"),
        (trial(T + 10), item("i_1", "active", T + 20), "active"),
    ];
    for (held, shown, expected) in cases {
        let mut shop = Shop::new();
        shop.webhook("e1", &held);
        shop.read(&subscription(&[shown]), T + MINUTE);
        assert_eq!(shop.status("i_1").unwrap(), expected);
    }
}

#[test]
fn a_charge_is_past_due_since_it_first_was() {
    let due = |changed_at: i64, since: i64, end: i64| {
        let mut item = item("i_1", "past_due", changed_at);
        item["past_due_at"] = json!(since);
        item["period_end"] = json!(end);
        item
    };
    let (first, later) = (T + MINUTE, T + 5 * MINUTE);
    for (held_since, shown_since, expected) in [(first, later, first), (later, first, first)] {
        let mut shop = Shop::new();
        shop.webhook("e1", &due(T + 10, held_since, T + 30 * DAY_MS));
        shop.read(&subscription(&[due(T + 20, shown_since, T + 31 * DAY_MS)]), T + 10 * MINUTE);
        let since: i64 =
            shop.0.connection().query_row("SELECT past_due_since FROM records", [], |row| row.get(0)).unwrap();
        assert_eq!(since, expected);
    }
    // One that recovered and is due again is due since then.
    let mut shop = Shop::new();
    shop.webhook("e1", &item("i_1", "active", T + 10));
    shop.read(&subscription(&[due(T + 20, later, T + 30 * DAY_MS)]), T + 10 * MINUTE);
    let since: i64 = shop.0.connection().query_row("SELECT past_due_since FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(since, later);
    // Nor does it stay due after it was paid.
    shop.read(&subscription(&[item("i_1", "active", T + 30)]), T + 11 * MINUTE);
    let since: Option<i64> =
        shop.0.connection().query_row("SELECT past_due_since FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(since, None);
}

#[test]
fn what_only_the_api_told_counts_as_missed_after_ten_minutes_if_it_is_from_after_the_first_run() {
    let mut shop = Shop::new();
    shop.0.connection().execute_batch("CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT)").unwrap();
    let first_run = Sweep { since: Some(at(T)), ..Sweep::default() };
    let keep = store::keep(&Sweep::name("clerk"), &serde_json::to_string(&first_run).unwrap(), at(T));
    shop.0.connection().execute(keep.sql, rusqlite::params_from_iter(&keep.params)).unwrap();
    shop.read(&subscription(&[item("i_old", "active", T - 1), item("i_1", "active", T + 1)]), T + MINUTE);
    let missed = |shop: &Shop, now: i64| -> Value {
        let health = store::health(at(now));
        let json: String = shop
            .0
            .connection()
            .query_row(health.sql, rusqlite::params_from_iter(&health.params), |row| row.get(0))
            .unwrap();
        serde_json::from_str::<Value>(&json).unwrap()["undelivered"].clone()
    };
    assert_eq!(missed(&shop, T + 10 * MINUTE), json!([]));
    let one = json!([{"provider": "clerk", "count": 1, "last_at": T + 1}]);
    assert_eq!(missed(&shop, T + 10 * MINUTE + 1), one);
    shop.webhook("e1", &item("i_1", "active", T + 1));
    assert_eq!(missed(&shop, T + 10 * MINUTE + 1), json!([]));
}

#[test]
fn a_sweep_is_overdue_an_hour_after_the_last_that_was_sound() {
    let hour = 60 * MINUTE;
    let sweep = |since: Option<i64>, sound_at: Option<i64>| Sweep {
        since: since.map(at),
        sound_at: sound_at.map(at),
        ..Sweep::default()
    };
    let cases = [
        (sweep(None, None), T, false),
        (sweep(Some(T), None), T + hour, false),
        (sweep(Some(T), None), T + hour + 1, true),
        (sweep(Some(T), Some(T + hour)), T + 2 * hour, false),
        (sweep(Some(T), Some(T + hour)), T + 2 * hour + 1, true),
    ];
    for (sweep, now, expected) in cases {
        assert_eq!(sweep.is_overdue(at(now)), expected, "{sweep:?} at {now}");
    }
}

#[test]
fn how_far_a_sweep_came_reads_back_and_what_cannot_be_read_is_begun_anew() {
    let progress = Progress { cursor: Some("active:100".into()), finished_at: Some(at(T)) };
    let sweep = Sweep {
        since: Some(at(T)),
        checked: 7,
        error: Some("no".into()),
        listings: plangate::ordered::map([("live".to_owned(), progress)]),
        ..Sweep::default()
    };
    assert_eq!(Sweep::parse(Some(&serde_json::to_string(&sweep).unwrap())), sweep);
    for kept in [None, Some(""), Some("[]"), Some(r#"{"since":"soon"}"#)] {
        assert_eq!(Sweep::parse(kept), Sweep::default());
    }
    assert_eq!(Sweep::name("clerk"), "sweep:clerk");
}

#[test]
fn what_the_provider_tells_of_an_item_left_out_before_wins() {
    let mut shop = Shop::new();
    shop.webhook("e1", &item("i_1", "active", T));
    shop.read(&subscription(&[item("i_2", "active", T)]), T + 6 * MINUTE);
    assert_eq!(shop.status("i_1").unwrap(), "ended");
    shop.webhook("e2", &item("i_1", "active", T + 10));
    assert_eq!(shop.status("i_1").unwrap(), "active");
}

#[test]
fn records_of_other_providers_and_payers_are_left_alone() {
    let mut shop = Shop::new();
    let mut others = item("i_9", "active", T);
    others["payer"]["user_id"] = json!("user_2");
    shop.webhook("e1", &others);
    assert_eq!(shop.read(&subscription(&[item("i_2", "ended", T)]), T + 6 * MINUTE), [""; 0]);
    // The flat form's record is none of the API's.
    let flat = json!({"type": "subscription.created", "timestamp": T, "data": {"user_id": "user_1", "plan": "pro"}})
        .to_string();
    let verified = Verified::recorded("e2", at(T), flat.as_bytes());
    let parsed = named("clerk").unwrap().parse(&verified, &Ours::default());
    shop.0.deliver("clerk", &verified, &parsed, at(T)).unwrap();
    assert_eq!(shop.read(&subscription(&[item("i_2", "ended", T)]), T + 6 * MINUTE), [""; 0]);
}

#[test]
fn readings_and_webhooks_in_any_order_end_in_what_the_provider_last_said() {
    let statuses = ["active", "canceled", "past_due", "upcoming", "ended", "incomplete"];
    for seed in 0..150 {
        let mut numbers = Numbers::new(seed);
        // What was true when: the version that each minute ends with.
        let mut truth: Vec<Value> = Vec::new();
        for minute in 0..12 {
            let mut next = item("i_1", statuses[numbers.index(statuses.len())], T + minute * MINUTE);
            next["period_end"] = json!(T + numbers.index(90) as i64 * DAY_MS);
            truth.push(next);
        }
        // Webhooks come late, twice, or not at all; readings show what is true at their time, and are stored late too.
        let mut steps: Vec<(usize, usize, bool)> = Vec::new();
        for version in 0..truth.len() {
            for _ in 0..numbers.index(3) {
                steps.push((version + numbers.index(6), version, false));
            }
            if numbers.index(2) == 0 {
                steps.push((version + numbers.index(2), version, true));
            }
        }
        steps.sort_by_key(|(when, ..)| *when);
        steps.push((0, truth.len() - 1, true));

        let mut shop = Shop::new();
        let mut newest_read = 0;
        for (_, version, is_reading) in steps {
            let before = shop.row("i_1").map_or(0, |(_, _, occurred_at, _)| occurred_at);
            if is_reading {
                shop.read(&subscription(&[truth[version].clone()]), T + version as i64 * MINUTE + 30_000);
                newest_read = newest_read.max(version);
            } else {
                shop.webhook(&format!("e{version}"), &truth[version]);
            }
            let Some((_, _, after, _)) = shop.row("i_1") else {
                // A first reading of what is over is of no use to anybody.
                continue;
            };
            assert!(after >= before, "seed {seed}: an older one overwrote a newer one");
        }
        let last = truth.last().unwrap();
        match shop.row("i_1") {
            Some((status, period_end, ..)) => {
                assert_eq!(status, last["status"].as_str().unwrap(), "seed {seed}");
                assert_eq!(period_end, last["period_end"].as_i64(), "seed {seed}");
            }
            None => assert_eq!(last["status"], "ended", "seed {seed}"),
        }
    }
}

#[test]
fn listings_are_read_page_by_page_to_their_end() {
    let page = |count: usize, total: Option<usize>| {
        let data: Vec<Value> = (0..count).map(|n| shown(&item(&format!("i_{n}"), "active", T))).collect();
        json!({"data": data, "total_count": total}).to_string()
    };
    let next = |cursor: Option<&str>, body: &str| api().read_page("live", cursor, body, at(T)).unwrap().1;
    let cases = [
        (None, page(100, Some(250)), Some("active:100")),
        (Some("active:100"), page(100, Some(250)), Some("active:200")),
        (Some("active:200"), page(50, Some(250)), Some("free_trial:0")),
        (Some("active:0"), page(100, None), Some("active:100")),
        (Some("active:100"), page(99, None), Some("free_trial:0")),
        // The list became shorter while it was read.
        (Some("active:300"), page(0, Some(250)), Some("free_trial:0")),
        (Some("upcoming:0"), page(3, Some(3)), None),
    ];
    for (cursor, body, expected) in cases {
        assert_eq!(next(cursor, &body).as_deref(), expected, "{cursor:?}");
    }
    for unknown in ["", "active", "paused:0", "active:-1", "active:x", "ended:0"] {
        assert_eq!(api().page_path("live", Some(unknown)), None, "{unknown}");
    }
    assert_eq!(
        api().page_path("over", None).unwrap(),
        "/v1/billing/subscription_items?status=ended&include_free=false&limit=100&offset=0"
    );
}

#[test]
fn the_api_is_asked_as_its_provider_documents_it() {
    assert_eq!(api().key_setting(), "CLERK_SECRET_KEY");
    assert_eq!(api().base_setting(), ("CLERK_API_URL", "https://api.clerk.com"));
    // Older versions list items and plans elsewhere.
    assert_eq!(api().headers(), [("clerk-api-version", "2025-11-10")]);
    assert_eq!(api().listings(), ["live", "over"]);
    let org = Payer::new(PayerKind::Org, "org_1").unwrap();
    assert_eq!(api().payer_paths(&user(), &["cpayer_1"]), ["/v1/users/user_1/billing/subscription"]);
    assert_eq!(api().payer_paths(&org, &[]), ["/v1/organizations/org_1/billing/subscription"]);
    for id in ["..", ".", "a/b", "a?b", "a%2Fb", "a b", "ä"] {
        assert_eq!(api().payer_paths(&Payer::new(PayerKind::User, id).unwrap(), &[]), [""; 0], "{id}");
    }
    assert_eq!(api().plans_path(None).unwrap(), "/v1/billing/plans?payer_type=user&limit=100&offset=0");
    assert_eq!(api().plans_path(Some("org:100")).unwrap(), "/v1/billing/plans?payer_type=org&limit=100&offset=100");
    assert_eq!(api().plans_path(Some("team:0")), None);
}

#[test]
fn plans_are_read_with_what_they_give_and_to_whom() {
    let plan = |slug: Value, more: Value| {
        let mut plan = json!({"object": "commerce_plan", "id": "cplan_1", "slug": slug, "is_default": false});
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plan
    };
    let cases = [
        (
            plan(json!("pro"), json!({"features": [{"slug": "api"}, {"slug": "export"}], "for_payer_type": "user"})),
            ("pro", Some(PayerKind::User), false, Some(vec!["api", "export"])),
        ),
        (
            plan(json!("team"), json!({"features": [], "for_payer_type": "org"})),
            ("team", Some(PayerKind::Org), false, Some(vec![])),
        ),
        // Left out is not the same as none; who it is listed for says whose it is.
        (plan(json!("free"), json!({"is_default": true})), ("free", Some(PayerKind::Org), true, None)),
        (plan(Value::Null, json!({"for_payer_type": "robot"})), ("cplan_1", None, false, None)),
    ];
    for (listed, (key, payer, free, features)) in cases {
        let body = json!({"data": [listed], "total_count": 1}).to_string();
        let (plans, next) = api().read_plans(Some("org:0"), &body).unwrap();
        assert_eq!(next, None);
        let read = &plans[0];
        let given: Option<Vec<&str>> =
            read.features.as_ref().map(|features| features.iter().map(String::as_str).collect());
        assert_eq!((read.key.as_str(), read.payer, read.free, given), (key, payer, free, features));
        assert_eq!(read.id.as_deref(), Some("cplan_1"));
    }
    let (_, next) = api().read_plans(None, r#"{"data":[],"total_count":0}"#).unwrap();
    assert_eq!(next.as_deref(), Some("org:0"));
}

#[test]
fn what_is_listed_as_in_a_trial_is_in_one() {
    let mut silent = shown(&item("i_1", "active", T));
    silent.as_object_mut().unwrap().remove("is_free_trial");
    let body = json!({"data": [silent], "total_count": 1}).to_string();
    let status = |cursor: &str| {
        let (reading, _) = api().read_page("live", Some(cursor), &body, at(T)).unwrap();
        reading.shown[0].record.state.as_ref().unwrap().status.to_string()
    };
    assert_eq!([status("active:0"), status("free_trial:0")], ["active", "trialing"]);
}

#[test]
fn an_answer_that_is_no_answer_says_so() {
    let cases = ["", "null", "[]", "{}", "<html>", r#"{"data":{}}"#, r#"{"subscription_items":null}"#];
    for body in cases {
        assert!(api().read_payer(&user(), "", body, at(T)).is_err(), "{body}");
        assert!(api().read_page("live", None, body, at(T)).is_err(), "{body}");
        assert!(api().read_plans(None, body).is_err(), "{body}");
    }
}

#[test]
fn the_likely_cause_of_silence_is_what_was_last_refused() {
    let missed = at(T);
    let before = Some(at(T - 1));
    let after = Some(at(T + 1));
    let cases = [
        (None, None, Silence::NoDeliveries),
        (before, None, Silence::NoDeliveries),
        (after, None, Silence::NotAllEvents),
        (before, Some("invalid_signature"), Silence::WrongSecret),
        (None, Some("timestamp_out_of_tolerance"), Silence::WrongClock),
        (None, Some("missing_headers"), Silence::MissingHeaders),
        (before, Some("store_unavailable"), Silence::OurErrors),
        (before, Some("provider_not_configured"), Silence::OurErrors),
        // Refused before the last good delivery: that is over.
        (after, Some("invalid_signature"), Silence::NotAllEvents),
    ];
    for (delivery, refused, expected) in cases {
        assert_eq!(
            likely_cause(missed, delivery, refused.map(|cause| (cause, at(T)))),
            expected,
            "{delivery:?} {refused:?}"
        );
    }
}

#[test]
fn providers_take_turns_where_the_pages_are_too_few_for_all() {
    let names = ["clerk", "lemonsqueezy", "paddle", "polar", "stripe"];
    let run = |pages: u32, runs: usize, limited: Option<&'static str>| {
        let mut sweeps: Map<&'static str, Sweep> = names.map(|name| (name, Sweep::default())).into_iter().collect();
        if let Some(name) = limited {
            sweeps.insert(name, Sweep { not_before: Some(at(T + 3 * MINUTE)), ..Sweep::default() });
        }
        let mut log = Vec::new();
        for n in 0..runs {
            let now = at(T + i64::try_from(n).unwrap() * MINUTE);
            let turns = reconcile::turns(&sweeps, pages, now);
            for name in &turns {
                let before = sweeps.get(name).cloned().unwrap();
                sweeps.insert(name, Sweep { last_run_at: Some(now), ..before });
            }
            log.push(turns.join(" "));
        }
        log
    };
    let five = [
        "clerk lemonsqueezy",
        "paddle polar",
        "stripe clerk",
        "lemonsqueezy paddle",
        "polar clerk",
        "stripe lemonsqueezy",
    ];
    assert_eq!(run(5, 6, None), five);
    assert_eq!(run(1, 3, None), ["clerk", "lemonsqueezy", "paddle"]);
    assert_eq!(run(10, 2, None), [names.join(" "), names.join(" ")]);
    assert_eq!(run(100, 1, None), [names.join(" ")]);
    // Who wants to be left alone takes nobody's turn, and comes first afterwards.
    let limited = run(4, 4, Some("clerk"));
    assert_eq!(limited, ["lemonsqueezy paddle", "polar stripe", "lemonsqueezy paddle", "clerk polar"]);
    assert_eq!(reconcile::turns(&Map::new(), 5, at(T)), [""; 0]);
}
