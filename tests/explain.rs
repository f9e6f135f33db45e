#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! Why an answer is what it is. Facts are given as the JSON that `src/store/snapshot.sql` writes, events as the rows that
//! `src/store/history.sql` answers. How the past is read out of the ledger is in `store/past.rs`.

mod seeded;

use std::collections::{BTreeMap, BTreeSet};

use plangate::answer::{Facts, Source};
use plangate::catalog::Catalog;
use plangate::decide::{Policy, decide};
use plangate::explain::{Inquiry, RuleCode, explain};
use plangate::ledger::History;
use plangate::question::Asked;
use plangate::snapshot::Snapshot;
use plangate::time::{DAY_MS, HOUR_MS, Timestamp};
use seeded::Numbers;
use serde_json::{Value, json};

/// The end of the paid period: the start of 2026, in milliseconds.
const END: i64 = 1_767_225_600_000;
/// Ten days before it.
const NOW: i64 = END - 10 * DAY_MS;

/// A record of `pro`, with some of its fields otherwise.
fn record(status: &str, fields: Value) -> Value {
    let mut record = json!({
        "provider": "clerk", "id": "i_1", "plan": "pro", "plan_id": null, "free": 0, "status": status, "customer": null,
        "subscription": null, "started_at": null, "period_start": END - 30 * DAY_MS, "period_end": END,
        "interval": "month", "cancel_at": null, "canceled_at": null, "ended_at": null, "past_due_since": null,
        "seats": null, "failed_attempts": 0, "last_failure_at": null, "refunded_at": null,
        "occurred_at": END - 30 * DAY_MS, "event_id": "e1",
    });
    for (name, value) in fields.as_object().unwrap() {
        assert!(record.get(name).is_some(), "a record has no `{name}`");
        record[name] = value.clone();
    }
    record
}

fn snapshot(payer: &str, deleted_at: Option<i64>, records: &[Value]) -> Snapshot {
    let json = json!({
        "payer": payer, "version": 7, "as_of": NOW - 90_000, "deleted_at": deleted_at, "trial_used": 0,
        "failed_attempts": 0, "last_failure": null, "records": records,
    });
    Snapshot::parse(&json.to_string()).unwrap()
}

fn user(records: &[Value]) -> Snapshot {
    snapshot("user:user_1", None, records)
}

fn catalog() -> Catalog {
    Catalog::parse(r#"{"basic":{"features":["export"]},"pro":{"features":["api"],"includes":["basic"]},"team":{"features":["audit"]}}"#).unwrap()
}

fn policy() -> Policy {
    Policy { refunds_revoke: true, ..Policy::new(24, 3) }
}

/// The explanation as callers read it, ninety seconds after the facts were read.
fn explained(snapshots: Vec<Snapshot>, catalog: &Catalog, query: &str, at: i64, history: &History) -> Value {
    let (asked, at) = (Asked::from_query(query).unwrap(), Timestamp::from_millis(at));
    let (now, policy) = (Timestamp::from_millis(NOW), policy());
    let facts = Facts::all_from(Source::D1, snapshots);
    let inquiry = Inquiry { asked: &asked, at, now, catalog, policy: &policy };
    serde_json::to_value(explain(&inquiry, &facts, history, true, None)).unwrap()
}

fn of(records: &[Value], query: &str) -> Value {
    explained(vec![user(records)], &catalog(), query, NOW, &History::default())
}

/// `n` events of one item's, the newest first.
fn history(n: u64) -> History {
    let mut history = History::default();
    for seq in (1..=n).rev() {
        let event = json!({
            "type": "subscriptionItem.active", "occurred_at": NOW, "payer": "user:user_1",
            "records": [{"id": "i_1", "version": "1", "occurred_at": NOW, "payer": "user:user_1", "customer": null,
                "subscription": null, "plan": null, "state": null, "trial": false, "started_at": null}],
        });
        let row = json!({"seq": seq, "provider": "clerk", "event_id": format!("e{seq}"), "received_at": NOW,
            "outcome": "stored", "event": event});
        history.read(false, Some(&row.to_string()));
    }
    assert_eq!((history.events.len() as u64, history.is_cut), (n, false));
    history
}

#[test]
fn every_rule_is_told_with_its_numbers() {
    let by_hand = |end: Value| record("active", json!({"provider": "operator", "period_end": end}));
    let since = END - DAY_MS;
    let cases = [
        (
            vec![record("active", json!({}))],
            "plan=pro",
            "until_period_end_and_slack",
            "active grants until period_end + RENEWAL_SLACK_HOURS (24): until 2026-01-02T00:00:00Z",
        ),
        (
            vec![record("trialing", json!({}))],
            "",
            "until_period_end_and_slack",
            "trialing grants until period_end + RENEWAL_SLACK_HOURS (24): until 2026-01-02T00:00:00Z",
        ),
        (
            vec![record("active", json!({"period_end": null}))],
            "plan=pro",
            "no_period_end",
            "active without a period_end grants without end",
        ),
        (
            vec![record("canceled", json!({}))],
            "plan=pro",
            "until_period_end",
            "canceled grants until period_end: until 2026-01-01T00:00:00Z",
        ),
        (
            vec![record("canceled", json!({"period_end": null}))],
            "plan=pro",
            "canceled_without_period",
            "canceled without a period_end grants nothing",
        ),
        (
            vec![record("past_due", json!({"past_due_since": since}))],
            "plan=pro",
            "until_period_end_or_grace",
            "past_due grants until the later of period_end and past_due_since + PAST_DUE_GRACE_DAYS (3): until \
             2026-01-03T00:00:00Z",
        ),
        (
            vec![record("active", json!({"refunded_at": END - DAY_MS}))],
            "plan=pro",
            "paid_back",
            "its payment was paid back or disputed at 2025-12-31T00:00:00Z, which ends what it gives (REFUNDS_REVOKE)",
        ),
        (vec![record("paused", json!({}))], "plan=pro", "status_grants_nothing", "paused grants nothing"),
        (
            vec![record("hibernating", json!({}))],
            "plan=pro",
            "status_unknown",
            "`hibernating` is a status that is not known and grants nothing",
        ),
        (
            vec![by_hand(json!(END))],
            "plan=pro",
            "granted_until_its_end",
            "what was given by hand lasts until its end: until 2026-01-01T00:00:00Z",
        ),
        (
            vec![by_hand(Value::Null)],
            "plan=pro",
            "granted_without_end",
            "what was given by hand lasts until it is taken back",
        ),
        (
            vec![],
            "plan=free_user",
            "free_plan_while_nothing_paid",
            "`free_user` is held without paying while nothing paid grants",
        ),
        (vec![], "plan=pro", "nothing_bought", "nothing was ever bought that gives `pro`"),
        (vec![], "", "nothing_bought", "nothing was ever bought that gives `a paid plan`"),
        (
            vec![record("active", json!({}))],
            "plan=pro&plan=team",
            "plan_not_held",
            "`pro` is held, which neither is `team` nor includes it",
        ),
        (
            vec![record("active", json!({}))],
            "feature=audit",
            "feature_not_held",
            "`pro` is held, which does not give `audit`",
        ),
        (vec![], "plan=gold", "plan_unknown", "neither the catalog nor any record knows a plan `gold`"),
        (vec![], "feature=gold", "feature_unknown", "no plan of the catalog gives `gold`"),
    ];
    let mut told: BTreeSet<String> = BTreeSet::new();
    for (records, query, code, text) in cases {
        let answer = of(&records, query);
        assert_eq!(answer["rule"], json!({"code": code, "text": text}), "{records:?} {query}");
        told.insert(code.to_owned());
    }
    let deleted = snapshot("user:user_1", Some(NOW - 1), &[record("active", json!({}))]);
    let answer = explained(vec![deleted], &catalog(), "plan=pro", NOW, &History::default());
    assert_eq!(answer["rule"]["code"], "deleted_payer_holds_nothing");
    told.insert("deleted_payer_holds_nothing".to_owned());
    // Nothing is counted yet.
    told.insert("quota_used_up".to_owned());
    let all = RuleCode::ALL.map(|code| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned());
    assert_eq!(told, all.into());
}

#[test]
fn the_rule_holds_before_and_after_the_end() {
    // The reason says on which side of the end the answer lies; the rule is the same.
    let records = [record("canceled", json!({}))];
    for (at, allowed, reason) in [(END - 1, true, "canceled_until_period_end"), (END, false, "expired")] {
        let answer = explained(vec![user(&records)], &catalog(), "plan=pro", at, &History::default());
        assert_eq!(answer["decision"]["allowed"], allowed);
        assert_eq!(answer["decision"]["reason"], reason);
        assert_eq!(answer["rule"]["code"], "until_period_end");
    }
}

#[test]
fn it_says_when_the_answer_will_change_by_itself() {
    let at = |at: i64| Timestamp::from_millis(at).to_string();
    let pro = |status: &str, fields: Value| record(status, fields);
    let cases = [
        (vec![], "plan=pro", Value::Null),
        (vec![pro("active", json!({"period_end": null}))], "plan=pro", Value::Null),
        (
            vec![pro("active", json!({}))],
            "plan=pro",
            json!({"at": at(END + 24 * HOUR_MS), "allowed": false, "reason": "expired"}),
        ),
        (vec![pro("canceled", json!({}))], "plan=pro", json!({"at": at(END), "allowed": false, "reason": "expired"})),
        // Another record takes over: the answer stays yes, for another reason.
        (
            vec![pro("canceled", json!({"id": "i_2"})), pro("past_due", json!({"past_due_since": END - 2 * DAY_MS}))],
            "plan=pro",
            json!({"at": at(END + DAY_MS), "allowed": false, "reason": "past_due"}),
        ),
        // And for a free plan a no becomes a yes.
        (
            vec![pro("canceled", json!({}))],
            "plan=free_user",
            json!({"at": at(END), "allowed": true, "reason": "active"}),
        ),
        // What ends and changes nothing is passed over.
        (
            vec![pro("active", json!({"period_end": null})), pro("active", json!({"id": "i_2"}))],
            "plan=pro",
            Value::Null,
        ),
    ];
    for (records, query, expected) in cases {
        assert_eq!(of(&records, query)["changes_at"], expected, "{records:?} {query}");
    }
}

#[test]
fn no_change_is_missed_and_none_is_told_too_late() {
    let statuses = ["active", "trialing", "canceled", "past_due", "paused", "unpaid", "incomplete", "ended", "strange"];
    // Every time at which any setting or field could matter, and a moment to either side of it.
    let days: Vec<i64> = (-21..=21).map(|day| END + day * DAY_MS).collect();
    let times: BTreeSet<i64> = days.iter().flat_map(|day| [day - 1, *day, day + 1]).collect();
    let (catalog, policy, mut changes) = (catalog(), policy(), 0);
    for seed in 0..2_000 {
        let mut numbers = Numbers::new(seed);
        let mut records = |payer: &str| -> Vec<Value> {
            (0..numbers.pick(&[0, 1, 2, 3]))
                .map(|n| {
                    let ends = [json!(null), json!(END), json!(END + DAY_MS), json!(END - 5 * DAY_MS)];
                    let fields = json!({
                        "id": format!("i_{payer}_{n}"), "plan": numbers.pick(&["basic", "pro", "free_user"]),
                        "provider": numbers.pick(&["clerk", "clerk", "operator"]),
                        "period_end": ends[numbers.pick(&[0, 1, 2, 3])],
                        "past_due_since": numbers.pick(&[END - 20 * DAY_MS, END - DAY_MS, END + 2 * DAY_MS]),
                    });
                    record(numbers.pick(&statuses), fields)
                })
                .collect()
        };
        let snapshots = [user(&records("user")), snapshot("org:org_1", None, &records("org"))];
        let at = Numbers::new(seed + 10_000).pick(&days);
        let query = Numbers::new(seed).pick(&[
            "",
            "plan=pro",
            "plan=basic",
            "feature=api",
            "plan=free_user",
            "plan=pro&feature=export",
        ]);
        let question = Asked::from_query(query).unwrap().questions.remove(0);
        let decided = |at: i64| {
            let decision = decide(&snapshots, &catalog, &policy, &question, Timestamp::from_millis(at));
            (decision.allowed, serde_json::to_value(decision.reason).unwrap())
        };
        let now = decided(at);
        let expected = times.range(at + 1..).map(|at| (*at, decided(*at))).find(|(_, then)| *then != now);
        let expected = expected.map_or(
            Value::Null,
            |(at, (allowed, reason))| json!({"at": Timestamp::from_millis(at), "allowed": allowed, "reason": reason}),
        );
        changes += i32::from(!expected.is_null());
        let told = &explained(snapshots.to_vec(), &catalog, query, at, &History::default())["changes_at"];
        assert_eq!(*told, expected, "seed {seed} at {at}: {query} {snapshots:#?}");
    }
    assert!(changes > 300, "only {changes} answers change by themselves");
}

#[test]
fn every_record_says_what_it_gives_and_which_one_decided() {
    let records = [
        record("active", json!({"id": "i_new"})),
        record("ended", json!({"id": "i_old"})),
        record("active", json!({"id": "i_what", "plan": null})),
    ];
    let org = snapshot("org:org_1", None, &[record("past_due", json!({"id": "i_org", "past_due_since": NOW}))]);
    let answer = explained(vec![user(&records), org], &catalog(), "plan=pro", NOW, &History::default());
    let given = answer["payers"].as_array().unwrap().iter().flat_map(|payer| payer["records"].as_array().unwrap());
    let given: Vec<_> = given
        .map(|record| {
            json!([record["id"], record["allowed"], record["reason"], record["valid_until"], record["decided"]])
        })
        .collect();
    let end = |at: i64| Timestamp::from_millis(at);
    assert_eq!(
        json!(given),
        json!([
            ["i_new", true, "active", end(END + DAY_MS), true],
            ["i_old", false, "expired", null, false],
            ["i_what", false, "unknown_plan", null, false],
            ["i_org", true, "past_due_grace", end(END), false],
        ])
    );
    assert_eq!(
        answer["question"],
        json!({"user_id": null, "org_id": null, "conditions": [{"what": "plan", "name": "pro", "scope": null}]})
    );
    assert_eq!((&answer["source"], &answer["decision"]["age_seconds"]), (&json!("d1"), &json!(90)));
    assert_eq!(answer["age_seconds"], 90);
}

/// Whether the fields of an answer are those that `openapi.json` lists.
#[track_caller]
fn is_documented(schema: &Value, value: &Value) {
    let schemas =
        serde_json::from_str::<Value>(include_str!("../openapi.json")).unwrap()["components"]["schemas"].take();
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => schemas[reference.rsplit('/').next().unwrap()].clone(),
        None => schema.clone(),
    };
    let schema = resolved(schema);
    let all = schema["allOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    let properties: BTreeMap<String, Value> =
        all.iter().flat_map(|part| resolved(part)["properties"].as_object().cloned().unwrap_or_default()).collect();
    let fields = value.as_object().unwrap();
    assert!(fields.keys().eq(properties.keys()), "{:?} is answered, {:?} documented", fields.keys(), properties.keys());
    for (name, field) in fields {
        let property = &properties[name];
        let nested = property["oneOf"].get(0).unwrap_or(property);
        match field {
            Value::Object(_) => is_documented(nested, field),
            Value::Array(items) if items.first().is_some_and(Value::is_object) => {
                items.iter().for_each(|item| is_documented(&nested["items"], item));
            }
            _ => {}
        }
    }
}

#[test]
fn every_field_is_documented() {
    let by_hand = record("active", json!({"provider": "operator", "id": "e1"}));
    let answer =
        explained(vec![user(&[record("canceled", json!({})), by_hand])], &catalog(), "plan=pro", NOW, &history(2));
    assert!(answer["changes_at"].is_object());
    is_documented(&json!({"$ref": "#/components/schemas/Explanation"}), &answer);
}

#[test]
fn a_deleted_payers_records_give_nothing() {
    let deleted = snapshot("user:user_1", Some(NOW - 1), &[record("active", json!({}))]);
    let answer = explained(vec![deleted], &catalog(), "plan=pro", NOW, &History::default());
    let payer = &answer["payers"][0];
    assert_eq!(
        (&payer["records"][0]["allowed"], &payer["records"][0]["reason"]),
        (&json!(false), &json!("payer_deleted"))
    );
    assert_eq!(payer["deleted_at"], json!(Timestamp::from_millis(NOW - 1)));
}

#[test]
fn events_are_the_newest_and_those_that_set_a_record() {
    let facts = || vec![user(&[record("active", json!({"event_id": "e2"}))])];
    let answer = explained(facts(), &catalog(), "plan=pro", NOW, &history(5));
    let ids: Vec<_> =
        answer["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["e5", "e4", "e3", "e2", "e1"]);
    assert_eq!(answer["has_more_events"], false);
    let decided: Vec<_> =
        answer["events"].as_array().unwrap().iter().filter(|event| event["decided"] == true).collect();
    assert_eq!(decided.len(), 1);
    assert_eq!(
        decided[0],
        &json!({"seq": 2, "provider": "clerk", "event_id": "e2", "type": "subscriptionItem.active",
            "payer": {"type": "user", "id": "user_1"}, "occurred_at": Timestamp::from_millis(NOW),
            "received_at": Timestamp::from_millis(NOW), "outcome": "stored", "records": ["i_1"], "decided": true})
    );

    let answer = explained(facts(), &catalog(), "plan=pro", NOW, &history(150));
    let events = answer["events"].as_array().unwrap();
    assert_eq!((events.len(), &events[0]["event_id"], &events[100]["event_id"]), (101, &json!("e150"), &json!("e2")));
    assert_eq!(answer["has_more_events"], true);
    let mut cut = history(3);
    cut.read(true, None);
    assert_eq!(explained(facts(), &catalog(), "plan=pro", NOW, &cut)["has_more_events"], true);
}

#[test]
fn an_event_that_cannot_be_read_is_missing_and_said_to_be() {
    let mut history = History::default();
    history.read(false, Some(r#"{"seq":1,"event":{"form":"of another version"}}"#));
    assert_eq!((history.events.len(), history.is_cut), (0, true));
}

#[test]
fn payers_share_an_event_that_is_about_both() {
    let mut all = history(4);
    all.merge(history(6));
    assert_eq!(all.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
    let mut cut = history(1);
    cut.read(true, None);
    all.merge(cut);
    assert!(all.is_cut);
}
