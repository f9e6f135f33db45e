#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! Who may have what, when, and why. Facts are given as the JSON that `src/store/snapshot.sql` writes.

use std::collections::BTreeSet;

use plangate::answer::{self, Facts, Source};
use plangate::catalog::{Catalog, Limit};
use plangate::decide::{Access, Decision, Policy, Reason, access, decide, holdings};
use plangate::ordered::{self, Set};
use plangate::question::Asked;
use plangate::snapshot::{Snapshot, StoredRecord};
use plangate::store::OPERATOR;
use plangate::time::{DAY_MS, HOUR_MS, Timestamp};
use serde_json::{Value, json};

/// The end of the paid period: the start of 2026, in milliseconds.
const END: i64 = 1_767_225_600_000;
/// Ten days before it.
const NOW: i64 = END - 10 * DAY_MS;

/// A record of a user's, with some of its fields otherwise.
fn record(plan: &str, status: &str, fields: Value) -> Value {
    let mut record = json!({
        "provider": "clerk", "id": format!("i_{plan}_{status}"), "plan": plan, "plan_id": null, "free": 0,
        "status": status, "customer": null, "subscription": null, "started_at": null, "period_start": END - 30 * DAY_MS,
        "period_end": END, "interval": "month", "cancel_at": null, "canceled_at": null, "ended_at": null,
        "past_due_since": null, "seats": null, "failed_attempts": 0, "last_failure_at": null, "refunded_at": null,
        "occurred_at": END - 30 * DAY_MS, "event_id": "e1",
    });
    for (name, value) in fields.as_object().unwrap() {
        assert!(record.get(name).is_some(), "a record has no `{name}`");
        record[name] = value.clone();
    }
    record
}

/// What is known of `user:…` or `org:…`.
fn snapshot(payer: &str, records: &[Value]) -> Snapshot {
    let json = json!({
        "payer": payer, "version": 7, "as_of": NOW, "deleted_at": null, "trial_used": 0, "failed_attempts": 0,
        "last_failure": null, "records": records,
    });
    Snapshot::parse(&json.to_string()).unwrap()
}

fn user(records: &[Value]) -> Snapshot {
    snapshot("user:user_1", records)
}

fn org(records: &[Value]) -> Snapshot {
    snapshot("org:org_1", records)
}

fn deleted(mut snapshot: Snapshot) -> Snapshot {
    snapshot.deleted_at = Some(Timestamp::from_millis(NOW - DAY_MS));
    snapshot
}

fn stored(value: &Value) -> StoredRecord {
    user(std::slice::from_ref(value)).records.remove(0)
}

fn catalog() -> Catalog {
    Catalog::parse(
        r#"{
            "basic": {"features": ["export"], "limits": {"projects": 10}},
            "pro": {"features": ["api"], "includes": ["basic"], "limits": {"projects": 100, "seats": 3}},
            "team": {"features": ["audit"], "limits": {"projects": "unlimited"}, "ids": {"clerk": ["cplan_team"]}},
            "hobby": {"free": true, "features": ["themes"], "limits": {"projects": 1}},
            "club": {"free": true, "payer": "org", "features": ["chat"]}
        }"#,
    )
    .unwrap()
}

fn ask(snapshots: &[Snapshot], catalog: &Catalog, query: &str, at: i64) -> Decision {
    let question = Asked::from_query(query).unwrap().questions.remove(0);
    decide(snapshots, catalog, &Policy::default(), &question, Timestamp::from_millis(at))
}

/// A decision in short: yes or no, why, the plan that is held, and who decided.
type Short<'a> = (bool, Reason, Option<&'a str>, Option<&'a str>);

fn short(decision: &Decision) -> Short<'_> {
    let payer = decision.payer.as_ref().map(plangate::payer::Payer::id);
    (decision.allowed, decision.reason, decision.plan.as_deref(), payer)
}

#[track_caller]
fn check(snapshots: &[Snapshot], catalog: &Catalog, query: &str, expected: Short<'_>) {
    assert_eq!(short(&ask(snapshots, catalog, query, NOW)), expected, "{query}");
}

// One record in time.

/// A row of the table: what a record in this state gives at this time.
struct Row {
    what: &'static str,
    status: &'static str,
    fields: Value,
    slack_hours: u32,
    grace_days: u32,
    at: i64,
    expected: Access,
}

fn row(status: &'static str, what: &'static str, at: i64, expected: Access) -> Row {
    Row { what, status, fields: json!({}), slack_hours: 24, grace_days: 0, at, expected }
}

impl Row {
    fn with(self, fields: Value) -> Self {
        Self { fields, ..self }
    }

    fn slack(self, slack_hours: u32) -> Self {
        Self { slack_hours, ..self }
    }

    fn grace(self, grace_days: u32) -> Self {
        Self { grace_days, ..self }
    }
}

fn until(reason: Reason, end: i64) -> Access {
    Access::Granted(reason, Some(Timestamp::from_millis(end)))
}

fn rows() -> Vec<Row> {
    use Access::{Denied, Granted};
    let mut rows = Vec::new();
    let no_end = || json!({"period_end": null});
    for (status, yes) in [("active", Reason::Active), ("trialing", Reason::Trialing)] {
        let no = Denied(Reason::Expired);
        rows.extend([
            row(status, "long before its end", NOW, until(yes, END + DAY_MS)),
            row(status, "before it began", 0, until(yes, END + DAY_MS)),
            row(status, "a millisecond before its end", END - 1, until(yes, END + DAY_MS)),
            row(status, "at its end", END, until(yes, END + DAY_MS)),
            row(status, "a millisecond before the slack is over", END + DAY_MS - 1, until(yes, END + DAY_MS)),
            row(status, "when the slack is over", END + DAY_MS, no),
            row(status, "long after", END + 900 * DAY_MS, no),
            row(status, "without slack, a millisecond before its end", END - 1, until(yes, END)).slack(0),
            row(status, "without slack, at its end", END, no).slack(0),
            row(status, "an hour of slack, within", END + HOUR_MS - 1, until(yes, END + HOUR_MS)).slack(1),
            row(status, "an hour of slack, over", END + HOUR_MS, no).slack(1),
            row(status, "grace is not for it", END + DAY_MS, no).grace(3),
            row(status, "without an end", Timestamp::MAX.as_millis(), Granted(yes, None)).with(no_end()),
            row(status, "without an end or slack", END, Granted(yes, None)).with(no_end()).slack(0),
        ]);
    }

    let (yes, no) = (Reason::CanceledUntilPeriodEnd, Denied(Reason::Expired));
    rows.extend([
        row("canceled", "long before its end", NOW, until(yes, END)),
        row("canceled", "a millisecond before its end", END - 1, until(yes, END)),
        row("canceled", "at its end, slack is not for it", END, no),
        row("canceled", "at its end, grace is not for it", END, no).grace(3),
        row("canceled", "without a period", NOW, no).with(no_end()),
        row("cancelled", "in the other spelling", NOW, until(yes, END)),
    ]);

    let (yes, no) = (Reason::PastDueGrace, Denied(Reason::PastDue));
    let since = |since: i64| json!({"past_due_since": since});
    let since_without_end = |since: i64| json!({"past_due_since": since, "period_end": null});
    rows.extend([
        // No grace: what was paid for, and not a moment more.
        row("past_due", "failed at the end, before it", END - 1, until(yes, END)).with(since(END)),
        row("past_due", "failed at the end, at it", END, no).with(since(END)),
        row("past_due", "slack is not for it", END + 1, no).with(since(END)).slack(48),
        row("past_due", "failed early, still paid for", END - 1, until(yes, END)).with(since(END - 5 * DAY_MS)),
        row("past_due", "failed early, no longer paid for", END, no).with(since(END - 5 * DAY_MS)),
        row("past_due", "failed after the end, before it failed", END + 4, until(yes, END + 5)).with(since(END + 5)),
        row("past_due", "failed after the end, when it failed", END + 5, no).with(since(END + 5)),
        row("past_due", "failed without a period", END, no).with(since_without_end(END)),
        row("past_due", "failed without a period, before", END - 1, until(yes, END)).with(since_without_end(END)),
        row("past_due", "nobody says since when: when it was changed", END - 1, until(yes, END)),
        row("past_due", "nobody says since when or until when", END - 30 * DAY_MS, no).with(no_end()),
        // Three days of grace, from the failure.
        row("past_due", "in grace", END + 3 * DAY_MS - 1, until(yes, END + 3 * DAY_MS)).with(since(END)).grace(3),
        row("past_due", "grace is over", END + 3 * DAY_MS, no).with(since(END)).grace(3),
        row("past_due", "failed after the end, in grace", END + 4 * DAY_MS - 1, until(yes, END + 4 * DAY_MS))
            .with(since(END + DAY_MS))
            .grace(3),
        row("past_due", "failed after the end, grace is over", END + 4 * DAY_MS, no).with(since(END + DAY_MS)).grace(3),
        row("past_due", "grace is over, still paid for", END - 1, until(yes, END))
            .with(since(END - 9 * DAY_MS))
            .grace(3),
        row("past_due", "grace is over, no longer paid for", END, no).with(since(END - 9 * DAY_MS)).grace(3),
        row("past_due", "in grace, without a period", END + 3 * DAY_MS - 1, until(yes, END + 3 * DAY_MS))
            .with(since_without_end(END))
            .grace(3),
        row("past_due", "grace is over, without a period", END + 3 * DAY_MS, no).with(since_without_end(END)).grace(3),
        row("past_due", "nobody says since when, in grace", END - 1, until(yes, END))
            .with(json!({"occurred_at": END - 3 * DAY_MS, "period_end": null}))
            .grace(3),
        row("pastDue", "in the other spelling", END - 1, until(yes, END)).with(since(END)),
    ]);

    for (status, reason) in [
        ("paused", Reason::Paused),
        ("unpaid", Reason::Unpaid),
        ("incomplete", Reason::Incomplete),
        ("ended", Reason::Expired),
        ("expired", Reason::Expired),
        ("abandoned", Reason::Expired),
        ("upcoming", Reason::NotStarted),
        ("hibernating", Reason::UnknownStatus),
        ("Active", Reason::UnknownStatus),
        ("", Reason::UnknownStatus),
    ] {
        rows.extend([
            row(status, "before its end", NOW, Denied(reason)).grace(3),
            row(status, "after its end", END + 1, Denied(reason)).grace(3),
            row(status, "without an end", NOW, Denied(reason)).with(no_end()),
            // It turns active by an event; until then nobody has charged for it.
            row(status, "when its period has begun", NOW, Denied(reason)).with(json!({"period_start": NOW - 1})),
        ]);
    }

    let far = Timestamp::MAX.as_millis();
    rows.extend([
        row("active", "slack beyond the end of time", far - 1, until(Reason::Active, far))
            .with(json!({"period_end": far})),
        row("past_due", "grace beyond the end of time", far - 1, until(Reason::PastDueGrace, far))
            .with(json!({"past_due_since": far}))
            .grace(365),
    ]);
    rows
}

#[test]
fn what_was_paid_back_in_its_period_grants_only_where_refunds_do_not_revoke() {
    let start = END - 30 * DAY_MS;
    let cases = [
        (json!({"period_start": start, "refunded_at": start}), true),
        (json!({"period_start": start, "refunded_at": END - 1}), true),
        // The period before was paid back; this one was paid.
        (json!({"period_start": start, "refunded_at": start - 1}), false),
        (json!({"period_start": null, "period_end": null, "refunded_at": 1}), true),
        (json!({"period_start": start, "refunded_at": null}), false),
        (json!({"period_start": start}), false),
    ];
    for (fields, is_paid_back) in cases {
        let stored = stored(&record("pro", "active", fields.clone()));
        for refunds_revoke in [false, true] {
            let policy = Policy { refunds_revoke, ..Policy::default() };
            let given = access(&stored, &policy, Timestamp::from_millis(NOW));
            let is_denied = given == Access::Denied(Reason::Expired);
            assert_eq!(is_denied, is_paid_back && refunds_revoke, "{fields} {refunds_revoke}: {given:?}");
        }
    }
}

#[test]
fn every_status_grants_until_its_time_and_says_why() {
    for Row { what, status, fields, slack_hours, grace_days, at, expected } in rows() {
        let value = record("pro", status, fields);
        let (stored, policy, at) = (stored(&value), Policy::new(slack_hours, grace_days), Timestamp::from_millis(at));
        assert_eq!(access(&stored, &policy, at), expected, "{status}, {what}");

        // And asked for the plan, the payer gets the same answer.
        let question = Asked::from_query("plan=pro").unwrap().questions.remove(0);
        let decision = decide(&[user(&[value])], &Catalog::default(), &policy, &question, at);
        let (allowed, reason, valid_until, plan) = match expected {
            Access::Granted(reason, end) => (true, reason, end, "pro"),
            Access::Denied(reason) => (false, reason, None, "free_user"),
        };
        assert_eq!(
            (decision.allowed, decision.reason, decision.valid_until, decision.plan.as_deref()),
            (allowed, reason, valid_until, Some(plan)),
            "{status}, {what}"
        );
        assert_eq!(decision.status, Some(stored.status), "{status}, {what}");
        assert_eq!(decision.record.unwrap().id, stored.id, "{status}, {what}");
        assert_eq!(decision.payer.unwrap().id(), "user_1", "{status}, {what}");
    }
}

#[test]
fn a_grant_holds_until_exactly_when_it_says_and_never_comes_back_by_itself() {
    let moments = [None, Some(END - 9 * DAY_MS), Some(END - 1), Some(END), Some(END + 1), Some(END + 5 * DAY_MS)];
    let statuses = [
        "active",
        "trialing",
        "canceled",
        "past_due",
        "paused",
        "unpaid",
        "incomplete",
        "ended",
        "upcoming",
        "strange",
    ];
    let mut grants = 0;
    for status in statuses {
        for period_end in moments {
            for past_due_since in moments {
                let fields = json!({"period_end": period_end, "past_due_since": past_due_since});
                let record = stored(&record("pro", status, fields));
                for (slack, grace) in [(0, 0), (24, 0), (0, 3), (24, 3), (8_760, 365)] {
                    let policy = Policy::new(slack, grace);
                    let at = |millis| access(&record, &policy, Timestamp::from_millis(millis));
                    let mut over = false;
                    for millis in
                        [0, END - 30 * DAY_MS, NOW, END - 1, END, END + 1, END + 2 * DAY_MS, END + 800 * DAY_MS]
                    {
                        match at(millis) {
                            Access::Granted(_, end) => {
                                assert!(!over, "{record:?} grants again at {millis}");
                                grants += 1;
                                let Some(end) = end.map(Timestamp::as_millis) else { continue };
                                assert_eq!(at(end - 1), at(millis), "{record:?}");
                                assert!(matches!(at(end), Access::Denied(_)), "{record:?}");
                            }
                            Access::Denied(_) => over = true,
                        }
                    }
                }
            }
        }
    }
    assert!(grants > 1_000, "{grants}");
}

#[test]
fn the_default_policy_is_a_day_of_slack_and_no_grace() {
    assert_eq!(Policy::default(), Policy::new(24, 0));
    assert_eq!(
        Policy::new(1, 2),
        Policy { renewal_slack_ms: HOUR_MS, past_due_grace_ms: 2 * DAY_MS, refunds_revoke: false }
    );
}

#[test]
fn the_list_of_reasons_is_closed() {
    let names: Vec<String> =
        Reason::ALL.iter().map(|reason| serde_json::to_string(reason).unwrap().trim_matches('"').to_owned()).collect();
    assert_eq!(
        names,
        [
            "active",
            "trialing",
            "canceled_until_period_end",
            "past_due_grace",
            "granted_manually",
            "expired",
            "past_due",
            "paused",
            "unpaid",
            "incomplete",
            "not_started",
            "unknown_status",
            "no_subscription",
            "plan_mismatch",
            "feature_not_in_plan",
            "unknown_plan",
            "unknown_feature",
            "payer_deleted",
            "quota_exceeded",
        ]
    );
    assert_eq!(Reason::ALL.iter().collect::<BTreeSet<_>>().len(), Reason::ALL.len());
}

// Several records.

/// All orders of a few things.
fn orders<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    if things.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..things.len() {
        let mut rest = things.to_vec();
        let thing = rest.remove(first);
        all.extend(orders(&rest).into_iter().map(|order| [vec![thing.clone()], order].concat()));
    }
    all
}

#[test]
fn any_grant_wins_over_every_denial_in_any_order() {
    let denials = ["past_due", "paused", "unpaid", "incomplete", "ended", "upcoming", "strange"];
    let over = json!({"period_end": NOW - 40 * DAY_MS, "past_due_since": NOW - 40 * DAY_MS});
    for pair in denials.iter().flat_map(|one| denials.iter().map(move |two| [*one, *two])) {
        let grant = record("pro", "active", json!({"id": "i_grant"}));
        let records = pair.map(|status| record("pro", status, over.clone()));
        for order in orders(&[records[0].clone(), grant.clone(), records[1].clone()]) {
            let decision = ask(&[user(&order)], &Catalog::default(), "plan=pro", NOW);
            assert_eq!(short(&decision), (true, Reason::Active, Some("pro"), Some("user_1")), "{pair:?}");
            assert_eq!(decision.record.unwrap().id, "i_grant");
        }
    }
}

#[test]
fn of_several_grants_the_longest_lasting_answers() {
    let one = record("pro", "canceled", json!({"period_end": END, "id": "i_1"}));
    let two = record("pro", "active", json!({"period_end": END + 5 * DAY_MS, "id": "i_2"}));
    let three = record("pro", "trialing", json!({"period_end": null, "id": "i_3"}));
    for order in orders(&[one.clone(), two.clone()]) {
        let decision = ask(&[user(&order)], &Catalog::default(), "plan=pro", NOW);
        assert_eq!((decision.reason, decision.record.unwrap().id.as_str()), (Reason::Active, "i_2"));
        assert_eq!(decision.valid_until, Some(Timestamp::from_millis(END + 6 * DAY_MS)));
    }
    for order in orders(&[one, two, three]) {
        let decision = ask(&[user(&order)], &Catalog::default(), "plan=pro", NOW);
        assert_eq!((decision.reason, decision.record.unwrap().id.as_str()), (Reason::Trialing, "i_3"));
        assert_eq!(decision.valid_until, None);
    }
    // Of equals the newest, which the snapshot lists first.
    let twins = ["i_new", "i_old"].map(|id| record("pro", "active", json!({"id": id})));
    let decision = ask(&[user(&twins)], &Catalog::default(), "plan=pro", NOW);
    assert_eq!(decision.record.unwrap().id, "i_new");
}

#[test]
fn of_several_denials_the_one_closest_to_a_grant_answers() {
    let over = |status: &str| {
        record("pro", status, json!({"period_end": NOW - 40 * DAY_MS, "past_due_since": NOW - 40 * DAY_MS}))
    };
    // From what a payer can mend now to what is over.
    let ranking = [
        ("past_due", Reason::PastDue),
        ("paused", Reason::Paused),
        ("unpaid", Reason::Unpaid),
        ("incomplete", Reason::Incomplete),
        ("strange", Reason::UnknownStatus),
        ("upcoming", Reason::NotStarted),
        ("ended", Reason::Expired),
    ];
    for (rank, (status, reason)) in ranking.iter().enumerate() {
        for (further, _) in &ranking[rank + 1..] {
            for order in orders(&[over(status), over(further)]) {
                let decision = ask(&[user(&order)], &Catalog::default(), "plan=pro", NOW);
                assert_eq!(decision.reason, *reason, "{status} and {further}");
                assert_eq!(decision.status.unwrap().as_str(), *status);
            }
        }
    }
    // An active one that ran out is as far as an ended one; the newest of them answers.
    let ran_out = |occurred_at: i64, status: &str| {
        record("pro", status, json!({"period_end": NOW - 40 * DAY_MS, "occurred_at": occurred_at}))
    };
    for (active, ended, expected) in [(NOW - 5, NOW - 9, "active"), (NOW - 9, NOW - 5, "ended")] {
        for order in orders(&[ran_out(active, "active"), ran_out(ended, "ended")]) {
            let decision = ask(&[user(&order)], &Catalog::default(), "plan=pro", NOW);
            assert_eq!((decision.reason, decision.status.unwrap().as_str()), (Reason::Expired, expected));
        }
    }
}

#[test]
fn an_old_plan_says_nothing_about_a_newer_one() {
    let records = [record("basic", "ended", json!({})), record("pro", "active", json!({}))];
    for order in orders(&records) {
        check(&[user(&order)], &Catalog::default(), "plan=pro", (true, Reason::Active, Some("pro"), Some("user_1")));
        // And what ended is over, though another plan is held.
        check(
            &[user(&order)],
            &Catalog::default(),
            "plan=basic",
            (false, Reason::Expired, Some("pro"), Some("user_1")),
        );
    }
}

#[test]
fn every_denial_says_what_is_missing() {
    let (none, catalog) = (Catalog::default(), catalog());
    let pro = || user(&[record("pro", "active", json!({}))]);
    let nothing = || user(&[]);
    let over = || user(&[record("pro", "ended", json!({}))]);
    let cases = [
        // No catalog: every name may be a plan.
        (nothing(), &none, "plan=pro", (false, Reason::NoSubscription, Some("free_user"), Some("user_1"))),
        (nothing(), &none, "feature=api", (false, Reason::NoSubscription, Some("free_user"), Some("user_1"))),
        (nothing(), &none, "", (false, Reason::NoSubscription, Some("free_user"), Some("user_1"))),
        (pro(), &none, "plan=team", (false, Reason::PlanMismatch, Some("pro"), Some("user_1"))),
        (pro(), &none, "plan=no_such_plan", (false, Reason::PlanMismatch, Some("pro"), Some("user_1"))),
        (pro(), &none, "plan=PRO", (false, Reason::PlanMismatch, Some("pro"), Some("user_1"))),
        (pro(), &none, "feature=api", (false, Reason::FeatureNotInPlan, Some("pro"), Some("user_1"))),
        (over(), &none, "plan=pro", (false, Reason::Expired, Some("free_user"), Some("user_1"))),
        (over(), &none, "plan=team", (false, Reason::NoSubscription, Some("free_user"), Some("user_1"))),
        (over(), &none, "", (false, Reason::Expired, Some("free_user"), Some("user_1"))),
        // With one, a name that nobody knows is said to be unknown.
        (nothing(), &catalog, "plan=pro", (false, Reason::NoSubscription, Some("hobby"), Some("user_1"))),
        (nothing(), &catalog, "plan=no_such_plan", (false, Reason::UnknownPlan, Some("hobby"), Some("user_1"))),
        (nothing(), &catalog, "feature=api", (false, Reason::NoSubscription, Some("hobby"), Some("user_1"))),
        (nothing(), &catalog, "feature=no_such", (false, Reason::UnknownFeature, Some("hobby"), Some("user_1"))),
        (pro(), &catalog, "plan=team", (false, Reason::PlanMismatch, Some("pro"), Some("user_1"))),
        (pro(), &catalog, "plan=no_such_plan", (false, Reason::UnknownPlan, Some("pro"), Some("user_1"))),
        (pro(), &catalog, "feature=audit", (false, Reason::FeatureNotInPlan, Some("pro"), Some("user_1"))),
        (pro(), &catalog, "feature=no_such", (false, Reason::UnknownFeature, Some("pro"), Some("user_1"))),
        // A free plan is known, whoever it is for.
        (pro(), &catalog, "plan=club", (false, Reason::PlanMismatch, Some("pro"), Some("user_1"))),
        (pro(), &catalog, "plan=hobby", (false, Reason::PlanMismatch, Some("pro"), Some("user_1"))),
        (over(), &catalog, "feature=api", (false, Reason::Expired, Some("hobby"), Some("user_1"))),
    ];
    for (payer, catalog, query, expected) in cases {
        check(&[payer], catalog, query, expected);
    }
    // What an organization without a free plan of the catalog's holds for nothing has Clerk's name, and is known by it.
    let users_only = Catalog::parse(r#"{"pro": {}, "hobby": {"free": true}}"#).unwrap();
    check(&[pro()], &users_only, "plan=free_org", (false, Reason::PlanMismatch, Some("pro"), Some("user_1")));
    check(&[pro()], &users_only, "plan=free_user", (false, Reason::UnknownPlan, Some("pro"), Some("user_1")));
    // A plan that a record of the payer's names is known, though the catalog does not list it.
    let legacy = user(&[record("legacy", "ended", json!({})), record("pro", "active", json!({}))]);
    check(&[legacy], &catalog, "plan=legacy", (false, Reason::Expired, Some("pro"), Some("user_1")));
    let legacy = user(&[record("legacy", "active", json!({}))]);
    check(&[legacy], &catalog, "plan=legacy", (true, Reason::Active, Some("legacy"), Some("user_1")));
    // Of either payer: the organization's own records do not have it.
    let payers = [user(&[record("legacy", "active", json!({}))]), org(&[record("team", "active", json!({}))])];
    check(&payers, &catalog, "plan=org:legacy", (false, Reason::PlanMismatch, Some("team"), Some("org_1")));
    check(&payers, &catalog, "plan=org:no_such_plan", (false, Reason::UnknownPlan, Some("team"), Some("org_1")));
    // Nobody asked at all.
    check(&[], &none, "plan=pro", (false, Reason::NoSubscription, None, None));
    check(&[], &none, "", (false, Reason::NoSubscription, None, None));
}

// What plans contain.

#[test]
fn a_plan_gives_what_it_includes_and_not_the_other_way_round() {
    let (catalog, pro) = (catalog(), user(&[record("pro", "active", json!({}))]));
    let yes = (true, Reason::Active, Some("pro"), Some("user_1"));
    for query in ["plan=pro", "plan=basic", "feature=api", "feature=export", "plan=pro&plan=basic&feature=export", ""] {
        check(std::slice::from_ref(&pro), &catalog, query, yes);
    }
    let basic = user(&[record("basic", "active", json!({}))]);
    let no = |reason| (false, reason, Some("basic"), Some("user_1"));
    check(std::slice::from_ref(&basic), &catalog, "plan=pro", no(Reason::PlanMismatch));
    check(&[basic], &catalog, "feature=api", no(Reason::FeatureNotInPlan));
}

#[test]
fn an_id_means_the_plan_that_the_catalog_maps_it_to() {
    let catalog = catalog();
    let yes = (true, Reason::Active, Some("team"), Some("user_1"));
    for fields in [json!({"plan": "cplan_team"}), json!({"plan_id": "cplan_team"})] {
        let payer = user(&[record("renamed", "active", fields)]);
        check(std::slice::from_ref(&payer), &catalog, "plan=team", yes);
        check(&[payer], &catalog, "feature=audit", yes);
    }
}

#[test]
fn a_record_whose_plan_nobody_knows_grants_nothing() {
    for fields in [json!({"plan": null}), json!({"provider": "nobody", "plan": "price_1"})] {
        let payer = user(&[record("x", "active", fields)]);
        for query in ["", "plan=pro", "plan=price_1", "feature=api"] {
            let decision = ask(std::slice::from_ref(&payer), &catalog(), query, NOW);
            assert!(!decision.allowed, "{query}");
        }
        let (all, policy) = (catalog(), Policy::default());
        let held = holdings([&payer], &all, &policy, Timestamp::from_millis(NOW));
        assert_eq!(held.records[0].2, Access::Denied(Reason::UnknownPlan));
        // It does not stand in the way of the free plan either.
        check(&[payer], &all, "plan=hobby", (true, Reason::Active, Some("hobby"), Some("user_1")));
    }
}

#[test]
fn all_that_is_held_is_listed_with_the_more_generous_limits() {
    let payers = [
        user(&[record("pro", "active", json!({})), record("team", "canceled", json!({"period_end": NOW - 1}))]),
        org(&[record("basic", "trialing", json!({}))]),
    ];
    let (all, policy) = (catalog(), Policy::default());
    let held = holdings(&payers, &all, &policy, Timestamp::from_millis(NOW));
    assert_eq!(held.plans, ordered::set(["basic", "pro"]));
    assert_eq!(held.features, ordered::set(["api", "export"]));
    assert_eq!(held.limits.into_iter().collect::<Vec<_>>(), [("projects", Limit::Of(100)), ("seats", Limit::Of(3))]);
    assert_eq!(short(&held.best), (true, Reason::Active, Some("pro"), Some("user_1")));
    let gives: Vec<_> =
        held.records.iter().map(|(record, plan, access)| (record.id.as_str(), *plan, *access)).collect();
    assert_eq!(
        gives,
        [
            ("i_pro_active", Some("pro"), until(Reason::Active, END + DAY_MS)),
            ("i_team_canceled", Some("team"), Access::Denied(Reason::Expired)),
            ("i_basic_trialing", Some("basic"), until(Reason::Trialing, END + DAY_MS)),
        ]
    );
    // While it lasts, the canceled one counts, and its limit is none.
    let held = holdings(&payers, &all, &policy, Timestamp::from_millis(NOW - 2));
    assert_eq!(held.limits.get("projects"), Some(&Limit::Unlimited));
}

// Free plans.

#[test]
fn free_plans_are_held_when_nothing_paid_grants() {
    let (none, catalog) = (Catalog::default(), catalog());
    let nothing = || user(&[]);
    let paid = || user(&[record("pro", "active", json!({}))]);
    let over = || user(&[record("pro", "ended", json!({}))]);
    let free = |plan| (true, Reason::Active, Some(plan), Some("user_1"));
    let denied = |reason, plan| (false, reason, Some(plan), Some("user_1"));
    let cases = [
        (nothing(), &none, "plan=free_user", free("free_user")),
        (nothing(), &none, "plan=u:free_user", free("free_user")),
        (over(), &none, "plan=free_user", free("free_user")),
        (paid(), &none, "plan=free_user", denied(Reason::PlanMismatch, "pro")),
        (nothing(), &none, "plan=free_org", denied(Reason::NoSubscription, "free_user")),
        // What the catalog calls free, with its features.
        (nothing(), &catalog, "plan=hobby", free("hobby")),
        (nothing(), &catalog, "feature=themes", free("hobby")),
        (over(), &catalog, "feature=themes", free("hobby")),
        (paid(), &catalog, "plan=hobby", denied(Reason::PlanMismatch, "pro")),
        (paid(), &catalog, "feature=themes", denied(Reason::FeatureNotInPlan, "pro")),
        (nothing(), &catalog, "plan=free_user", denied(Reason::UnknownPlan, "hobby")),
        (nothing(), &catalog, "plan=club", denied(Reason::NoSubscription, "hobby")),
        // Free is no paid plan.
        (nothing(), &catalog, "", denied(Reason::NoSubscription, "hobby")),
    ];
    for (payer, catalog, query, expected) in cases {
        check(&[payer], catalog, query, expected);
    }
    // In time: held again the moment what was paid for is over.
    let canceled = user(&[record("pro", "canceled", json!({}))]);
    for (at, plan) in [(END - 1, "plan=pro"), (END, "plan=free_user")] {
        for query in ["plan=pro", "plan=free_user"] {
            let decision = ask(std::slice::from_ref(&canceled), &none, query, at);
            assert_eq!(decision.allowed, query == plan, "{query} at {at}");
        }
    }
    let decision = ask(&[nothing()], &none, "plan=free_user", NOW);
    assert_eq!((decision.valid_until, decision.record, decision.status.unwrap().as_str()), (None, None, "active"));
}

#[test]
fn a_free_plan_is_free_by_the_record_by_its_name_or_by_the_catalog_and_never_a_paid_one() {
    let (none, catalog) = (Catalog::default(), catalog());
    let cases = [
        ("by the record", &none, record("starter", "active", json!({"free": 1})), "starter"),
        ("by its name", &none, record("free_user", "active", json!({})), "free_user"),
        ("by the catalog", &catalog, record("hobby", "active", json!({})), "hobby"),
    ];
    for (what, catalog, value, plan) in cases {
        let payer = || user(std::slice::from_ref(&value));
        let decision = ask(&[payer()], catalog, &format!("plan={plan}"), NOW);
        assert_eq!(short(&decision), (true, Reason::Active, Some(plan), Some("user_1")), "{what}");
        assert_eq!(ask(&[payer()], catalog, "", NOW).reason, Reason::NoSubscription, "{what}");
        // With anything paid beside it, it is not held.
        let both = user(&[value.clone(), record("pro", "active", json!({}))]);
        let decision = ask(&[both], catalog, &format!("plan={plan}"), NOW);
        assert_eq!(short(&decision), (false, Reason::PlanMismatch, Some("pro"), Some("user_1")), "{what}");
    }
    // A seat given for nothing is a paid plan.
    let comp = user(&[record("pro", "active", json!({"period_end": null}))]);
    check(&[comp], &none, "", (true, Reason::Active, Some("pro"), Some("user_1")));
    // A free record that is over is not held.
    let over = user(&[record("starter", "ended", json!({"free": 1}))]);
    assert!(!ask(&[over], &none, "plan=starter", NOW).allowed);
}

#[test]
fn each_payer_has_its_own_free_plan() {
    let none = Catalog::default();
    // The organization pays; the user does not.
    let payers = [user(&[]), org(&[record("team", "active", json!({}))])];
    check(&payers, &none, "plan=free_user", (true, Reason::Active, Some("free_user"), Some("user_1")));
    check(&payers, &none, "plan=team", (true, Reason::Active, Some("team"), Some("org_1")));
    check(&payers, &none, "plan=free_org", (false, Reason::PlanMismatch, Some("team"), Some("org_1")));
    let payers = [user(&[record("pro", "active", json!({}))]), org(&[])];
    check(&payers, &none, "plan=free_org", (true, Reason::Active, Some("free_org"), Some("org_1")));
    check(&payers, &catalog(), "feature=org:chat", (true, Reason::Active, Some("club"), Some("org_1")));
    check(&payers, &none, "plan=o:free_user", (false, Reason::NoSubscription, Some("free_org"), Some("org_1")));
}

// Users and organizations.

#[test]
fn a_user_and_the_active_organization_count_together() {
    let none = Catalog::default();
    let payers = [user(&[record("pro", "active", json!({}))]), org(&[record("team", "trialing", json!({}))])];
    check(&payers, &none, "plan=pro", (true, Reason::Active, Some("pro"), Some("user_1")));
    check(&payers, &none, "plan=team", (true, Reason::Trialing, Some("team"), Some("org_1")));
    check(&payers, &none, "plan=pro&plan=team", (true, Reason::Active, Some("pro"), Some("user_1")));
    check(&payers, &none, "", (true, Reason::Active, Some("pro"), Some("user_1")));
    // One denies, the other grants.
    let payers = [user(&[record("team", "ended", json!({}))]), org(&[record("team", "active", json!({}))])];
    check(&payers, &none, "plan=team", (true, Reason::Active, Some("team"), Some("org_1")));
}

#[test]
fn a_scope_counts_one_kind_of_payer_alone() {
    let none = Catalog::default();
    let payers = || [user(&[record("pro", "active", json!({}))]), org(&[record("team", "active", json!({}))])];
    let user_pro = (true, Reason::Active, Some("pro"), Some("user_1"));
    let org_team = (true, Reason::Active, Some("team"), Some("org_1"));
    for scope in ["u", "user"] {
        check(&payers(), &none, &format!("plan={scope}:pro"), user_pro);
        let no = (false, Reason::PlanMismatch, Some("pro"), Some("user_1"));
        check(&payers(), &none, &format!("plan={scope}:team"), no);
    }
    for scope in ["o", "org", "organization"] {
        check(&payers(), &none, &format!("plan={scope}:team"), org_team);
        let no = (false, Reason::PlanMismatch, Some("team"), Some("org_1"));
        check(&payers(), &none, &format!("plan={scope}:pro"), no);
    }
    check(&payers(), &catalog(), "feature=user:api", user_pro);
    check(&payers(), &catalog(), "feature=org:api", (false, Reason::FeatureNotInPlan, Some("team"), Some("org_1")));
    check(&payers(), &catalog(), "feature=org:audit", org_team);
    // Nobody of that kind was asked about.
    let alone = [user(&[record("pro", "active", json!({}))])];
    check(&alone, &none, "plan=org:pro", (false, Reason::NoSubscription, None, None));
    // The same name is two plans, one of each kind.
    let twins = [user(&[record("pro", "ended", json!({}))]), org(&[record("pro", "active", json!({}))])];
    check(&twins, &none, "plan=user:pro", (false, Reason::Expired, Some("free_user"), Some("user_1")));
    check(&twins, &none, "plan=org:pro", (true, Reason::Active, Some("pro"), Some("org_1")));
}

#[test]
fn a_deleted_user_is_given_nothing_not_even_by_an_organization() {
    let payers = [deleted(user(&[record("pro", "active", json!({}))])), org(&[record("team", "active", json!({}))])];
    for catalog in [Catalog::default(), catalog()] {
        for query in [
            "",
            "plan=pro",
            "plan=team",
            "plan=org:team",
            "plan=user:pro",
            "plan=free_user",
            "plan=hobby",
            "feature=api",
        ] {
            let expected = (false, Reason::PayerDeleted, None, Some("user_1"));
            check(&payers, &catalog, query, expected);
            check(&payers[..1], &catalog, query, expected);
        }
        let held = holdings(&payers, &catalog, &Policy::default(), Timestamp::from_millis(NOW));
        assert_eq!((held.plans, held.features), (Set::default(), Set::default()));
        assert_eq!(held.best.reason, Reason::PayerDeleted);
    }
}

#[test]
fn a_deleted_organization_gives_nothing_and_takes_nothing_from_its_user() {
    let none = Catalog::default();
    let gone = || deleted(org(&[record("team", "active", json!({}))]));
    let org_deleted = (false, Reason::PayerDeleted, None, Some("org_1"));
    for query in ["", "plan=team", "plan=org:team", "plan=free_org"] {
        check(&[gone()], &none, query, org_deleted);
    }
    let payers = || [user(&[record("pro", "active", json!({}))]), gone()];
    check(&payers(), &none, "plan=pro", (true, Reason::Active, Some("pro"), Some("user_1")));
    check(&payers(), &none, "", (true, Reason::Active, Some("pro"), Some("user_1")));
    check(&payers(), &none, "plan=team", (false, Reason::PlanMismatch, Some("pro"), Some("user_1")));
    check(&payers(), &none, "plan=org:team", org_deleted);
    check(&payers(), &none, "plan=org:free_org", org_deleted);
    // A user who pays for nothing is told so, not that somebody was deleted.
    let no = (false, Reason::NoSubscription, Some("free_user"), Some("user_1"));
    check(&[gone(), user(&[])], &none, "plan=pro", no);
    let payers = || [user(&[]), gone()];
    check(&payers(), &none, "plan=pro", (false, Reason::NoSubscription, Some("free_user"), Some("user_1")));
    check(&payers(), &none, "plan=free_user", (true, Reason::Active, Some("free_user"), Some("user_1")));
}

// Questions.

#[test]
fn conditions_are_anded_and_the_first_that_fails_answers() {
    let catalog = catalog();
    let payers = [
        user(&[record("pro", "canceled", json!({"period_end": END}))]),
        org(&[record("team", "active", json!({"period_end": END - 5 * DAY_MS}))]),
    ];
    let cases = [
        ("plan=pro", true, Reason::CanceledUntilPeriodEnd, Some(END)),
        ("plan=team", true, Reason::Active, Some(END - 4 * DAY_MS)),
        // The earliest end counts, in either order.
        ("plan=pro&plan=team", true, Reason::CanceledUntilPeriodEnd, Some(END - 4 * DAY_MS)),
        ("plan=team&plan=pro", true, Reason::Active, Some(END - 4 * DAY_MS)),
        ("plan=pro&feature=api&feature=audit", true, Reason::CanceledUntilPeriodEnd, Some(END - 4 * DAY_MS)),
        ("plan=pro&plan=no_such&feature=no_such", false, Reason::UnknownPlan, None),
        ("feature=no_such&plan=no_such", false, Reason::UnknownFeature, None),
        ("plan=pro&plan=org:pro", false, Reason::PlanMismatch, None),
        ("plan=org:pro&plan=pro", false, Reason::PlanMismatch, None),
    ];
    for (query, allowed, reason, valid_until) in cases {
        let decision = ask(&payers, &catalog, query, NOW);
        let until = decision.valid_until.map(Timestamp::as_millis);
        assert_eq!((decision.allowed, decision.reason, until), (allowed, reason, valid_until), "{query}");
    }
    // An end and no end: the end.
    let payers = [
        user(&[record("pro", "active", json!({"period_end": null}))]),
        org(&[record("team", "canceled", json!({"period_end": END}))]),
    ];
    for query in ["plan=pro&plan=team", "plan=team&plan=pro", "plan=pro&plan=team&plan=pro"] {
        let decision = ask(&payers, &catalog, query, NOW);
        assert_eq!(decision.valid_until, Some(Timestamp::from_millis(END)), "{query}");
    }
    assert_eq!(ask(&payers, &catalog, "plan=pro&plan=basic", NOW).valid_until, None);
    // A free plan among the conditions has no end of its own.
    let payers = [user(&[]), org(&[record("team", "canceled", json!({}))])];
    for query in ["plan=hobby&plan=team", "plan=team&plan=hobby"] {
        let decision = ask(&payers, &catalog, query, NOW);
        assert_eq!((decision.allowed, decision.valid_until), (true, Some(Timestamp::from_millis(END))), "{query}");
    }
}

#[test]
fn a_question_without_conditions_asks_for_any_paid_plan() {
    let none = Catalog::default();
    let longest = record("basic", "active", json!({"period_end": END + DAY_MS}));
    let payer = user(&[
        record("pro", "active", json!({})),
        longest,
        record("free_user", "active", json!({"period_end": null})),
    ]);
    check(&[payer], &none, "", (true, Reason::Active, Some("basic"), Some("user_1")));
    let due = record("pro", "past_due", json!({"period_end": NOW - 1, "past_due_since": NOW - 1}));
    check(&[user(&[due])], &none, "", (false, Reason::PastDue, Some("free_user"), Some("user_1")));
}

#[test]
fn the_order_of_records_and_payers_does_not_change_what_is_allowed() {
    let records = [
        record("pro", "canceled", json!({})),
        record("basic", "ended", json!({})),
        record("free_user", "active", json!({"period_end": null})),
    ];
    let others = [
        record("team", "past_due", json!({"past_due_since": NOW, "period_end": END + 2 * DAY_MS})),
        record("team", "upcoming", json!({})),
    ];
    let queries = ["", "plan=pro", "plan=basic", "plan=team", "plan=org:team", "plan=free_user", "feature=api"];
    for query in queries {
        for at in [NOW, END - 1, END, END + DAY_MS, END + 2 * DAY_MS] {
            let mut answers = BTreeSet::new();
            for one in orders(&records) {
                for two in orders(&others) {
                    let decision = ask(&[user(&one), org(&two)], &catalog(), query, at);
                    // The user comes first; of equals the first answers, but no order makes a yes of a no.
                    let swapped = ask(&[org(&two), user(&one)], &catalog(), query, at);
                    assert_eq!(decision.allowed, swapped.allowed, "{query} at {at}");
                    answers.insert((decision.allowed, decision.reason, decision.valid_until, decision.plan));
                }
            }
            assert_eq!(answers.len(), 1, "{query} at {at}: {answers:?}");
        }
    }
}

// What callers read.

#[test]
fn an_answer_is_written_as_documented() {
    let facts = Facts::all_from(Source::Kv, vec![user(&[record("pro", "canceled", json!({}))])]);
    let answer = |query: &str| {
        let question = Asked::from_query(query).unwrap().questions.remove(0);
        let at = Timestamp::from_millis(NOW);
        serde_json::to_value(answer::check(&facts, &Catalog::default(), &Policy::default(), &question, at)).unwrap()
    };
    assert_eq!(
        answer("plan=pro"),
        json!({
            "allowed": true, "reason": "canceled_until_period_end", "plan": "pro", "status": "canceled",
            "payer": {"type": "user", "id": "user_1"}, "valid_until": "2026-01-01T00:00:00Z",
            "as_of": "2025-12-22T00:00:00Z", "source": "kv", "version": 7,
        })
    );
    assert_eq!(
        answer("plan=org:pro"),
        json!({
            "allowed": false, "reason": "no_subscription", "plan": null, "status": null, "payer": null,
            "valid_until": null, "as_of": "2025-12-22T00:00:00Z", "source": "kv", "version": 7,
        })
    );
}

#[test]
fn a_snapshot_that_is_not_what_this_code_writes_is_refused_and_not_half_read() {
    let whole = json!({
        "payer": "user:user_1", "version": 1, "as_of": NOW, "deleted_at": null, "trial_used": 0, "failed_attempts": 0,
        "last_failure": null, "records": [record("pro", "active", json!({}))],
    });
    assert!(Snapshot::parse(&whole.to_string()).is_ok());
    let required = ["payer", "version", "as_of", "trial_used", "failed_attempts", "records"];
    for field in required {
        let mut less = whole.clone();
        less.as_object_mut().unwrap().remove(field);
        let error = Snapshot::parse(&less.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("reading a snapshot: missing field `{field}`")), "{error}");
    }
    for field in ["provider", "id", "free", "status", "failed_attempts", "occurred_at", "event_id"] {
        let mut less = whole.clone();
        less["records"][0].as_object_mut().unwrap().remove(field);
        let error = Snapshot::parse(&less.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("reading a snapshot: missing field `{field}`")), "{error}");
    }
    for text in ["", "null", "{}", "[]"] {
        let error = Snapshot::parse(text).unwrap_err().to_string();
        assert!(error.starts_with("reading a snapshot: "), "{error}");
    }
}

/// A grant by hand, of a plan or a feature.
fn grant(key: &str, status: &str, fields: Value) -> Value {
    let mut grant = record(key, status, json!({"provider": OPERATOR, "id": format!("g_{key}"), "period_end": null}));
    for (name, value) in fields.as_object().unwrap() {
        grant[name] = value.clone();
    }
    grant
}

#[test]
fn what_was_given_by_hand_ends_when_it_was_meant_to_and_not_a_day_later() {
    let given = |at: i64| user(&[grant("pro", "active", json!({"period_end": at}))]);
    let none = Catalog::default();
    let granted = (true, Reason::GrantedManually, Some("pro"), Some("user_1"));
    check(&[given(NOW + 1)], &none, "plan=pro", granted);
    check(&[given(NOW)], &none, "plan=pro", (false, Reason::Expired, Some("free_user"), Some("user_1")));
    check(&[user(&[grant("pro", "active", json!({}))])], &none, "plan=pro", granted);
    check(&[user(&[grant("pro", "active", json!({}))])], &none, "", granted);
    check(
        &[user(&[grant("pro", "ended", json!({}))])],
        &none,
        "plan=pro",
        (false, Reason::Expired, Some("free_user"), Some("user_1")),
    );
}

#[test]
fn a_plan_given_by_hand_gives_what_the_plan_gives() {
    let given = [user(&[grant("pro", "active", json!({}))])];
    let granted = (true, Reason::GrantedManually, Some("pro"), Some("user_1"));
    for query in ["plan=pro", "plan=basic", "feature=api", "feature=export", "plan=user:pro"] {
        check(&given, &catalog(), query, granted);
    }
    check(&given, &catalog(), "plan=team", (false, Reason::PlanMismatch, Some("pro"), Some("user_1")));
    check(&given, &catalog(), "plan=hobby", (false, Reason::PlanMismatch, Some("pro"), Some("user_1")));
}

#[test]
fn a_feature_given_by_hand_is_no_plan() {
    let given = [user(&[grant("feature:beta", "active", json!({}))])];
    for catalog in [Catalog::default(), catalog()] {
        let free = Some(catalog.free_plan(plangate::payer::PayerKind::User));
        check(&given, &catalog, "feature=beta", (true, Reason::GrantedManually, free, Some("user_1")));
        check(&given, &catalog, "", (false, Reason::NoSubscription, free, Some("user_1")));
        let plan = free.map(|plan| format!("plan={plan}")).unwrap();
        check(&given, &catalog, &plan, (true, Reason::Active, free, Some("user_1")));
    }
    check(&given, &catalog(), "feature=gamma", (false, Reason::UnknownFeature, Some("hobby"), Some("user_1")));
    let catalog = catalog();
    let held = holdings(&given, &catalog, &Policy::default(), Timestamp::from_millis(NOW)).features;
    assert_eq!(held, ordered::set(["beta", "themes"]));
    // Beside a plan that is paid for, the answer names the plan.
    let beside = [user(&[grant("feature:beta", "active", json!({})), record("pro", "active", json!({}))])];
    check(&beside, &catalog, "feature=beta", (true, Reason::GrantedManually, Some("pro"), Some("user_1")));
}

#[test]
fn nobody_else_can_send_what_looks_like_a_grant() {
    let sent = [user(&[record("feature:beta", "active", json!({}))])];
    check(&sent, &catalog(), "feature=beta", (false, Reason::UnknownFeature, Some("feature:beta"), Some("user_1")));
}

#[test]
fn a_deleted_user_holds_nothing_that_was_given_by_hand() {
    let gone = [deleted(user(&[grant("pro", "active", json!({})), grant("feature:beta", "active", json!({}))]))];
    for query in ["plan=pro", "feature=beta", ""] {
        check(&gone, &Catalog::default(), query, (false, Reason::PayerDeleted, None, Some("user_1")));
    }
    assert!(holdings(&gone, &Catalog::default(), &Policy::default(), Timestamp::from_millis(NOW)).features.is_empty());
}
