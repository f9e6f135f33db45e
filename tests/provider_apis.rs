#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! What the APIs of Lemon Squeezy, Paddle and Polar are asked, and what their answers say against what webhooks brought.
//!
//! `tests/data/<provider>/api/subscriptions.json` is a first page in the documented shape, of more than one, with invented ids.

mod told;

use std::fs;
use std::path::Path;

use plangate::api::{Api, Reading};
use plangate::catalog::Catalog;
use plangate::decide::{Policy, decide};
use plangate::delivery::Verified;
use plangate::event::{Parsed, Record};
use plangate::payer::Payer;
use plangate::provider::{Environment, named};
use plangate::question::{Condition, Question, What};
use plangate::reconcile::differences;
use plangate::settings::Settings;
use plangate::store::Outcome;
use plangate::store::sqlite::SqliteStore;
use plangate::time::Timestamp;
use serde_json::{Value, json};

use told::{at, odd_values, pointers, teller};

const PROVIDERS: [&str; 3] = ["lemonsqueezy", "paddle", "polar"];
const READ_AT: &str = "2026-12-01T00:00:00Z";

fn api(provider: &str) -> &'static dyn Api {
    named(provider).unwrap().api().unwrap()
}

fn user() -> Payer {
    told::payer("user:user_42")
}

/// The documented page.
fn page(provider: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(provider).join("api/subscriptions.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The same page with other entries, as the last one.
fn last_page(provider: &str, entries: &[Value]) -> String {
    let mut page = page(provider);
    page[if provider == "polar" { "items" } else { "data" }] = json!(entries);
    match provider {
        "lemonsqueezy" => page["meta"]["page"]["lastPage"] = json!(1),
        "paddle" => page["meta"]["pagination"]["has_more"] = json!(false),
        _ => page["pagination"]["max_page"] = json!(1),
    }
    page.to_string()
}

fn read(provider: &str, entries: &[Value]) -> Reading {
    api(provider).read_page("live", None, &last_page(provider, entries), at(READ_AT)).unwrap().0
}

/// The object of a payload.
fn object(provider: &str, payload: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{provider}/{payload}.json"));
    let body: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    body["data"].clone()
}

fn updated(provider: &str) -> Value {
    object(provider, if provider == "lemonsqueezy" { "subscription_updated" } else { "subscription.updated" })
}

/// The object in this status, changed at this time.
fn changed(provider: &str, status: &str, changed_at: &str) -> Value {
    let mut object = updated(provider);
    match provider {
        "lemonsqueezy" => {
            object["attributes"]["status"] = json!(status);
            object["attributes"]["updated_at"] = json!(changed_at);
        }
        "paddle" => {
            object["status"] = json!(status);
            object["updated_at"] = json!(changed_at);
        }
        _ => {
            object["status"] = json!(status);
            object["modified_at"] = json!(changed_at);
        }
    }
    object
}

/// The webhook about an object.
fn webhook(provider: &str, object: &Value) -> String {
    match provider {
        "lemonsqueezy" => json!({
            "meta": {"event_name": "subscription_updated", "test_mode": false, "custom_data": {"user_id": "user_42"}},
            "data": object
        }),
        "paddle" => json!({
            "event_id": "evt_1", "event_type": "subscription.updated", "occurred_at": "2026-11-21T01:02:04Z", "data": object
        }),
        _ => json!({"type": "subscription.updated", "timestamp": "2026-11-21T01:02:04Z", "data": object}),
    }
    .to_string()
}

fn deliver(store: &mut SqliteStore, provider: &'static str, event_id: &str, body: &str) -> Outcome {
    let verified = Verified::recorded(event_id, at("2026-11-21T01:02:05Z"), body.as_bytes());
    let parsed = teller(provider).parse(event_id, body.as_bytes());
    store.deliver(provider, &verified, &parsed, at("2026-11-21T01:02:05Z")).unwrap().0
}

/// Stores what a reading shows otherwise, and answers how many differences there were.
fn take(store: &mut SqliteStore, provider: &str, reading: Reading, payer: Option<&Payer>) -> usize {
    let held = store.held(provider, &reading, payer).unwrap();
    let differences = differences(reading, &held, payer, at(READ_AT));
    let count = differences.len();
    for difference in differences {
        let verified = Verified::recorded(difference.event_id, at(READ_AT), &[]);
        store.deliver(provider, &verified, &Ok(Parsed::Event(difference.event)), at(READ_AT)).unwrap();
    }
    count
}

/// Status, payer and event of a record.
fn held(store: &SqliteStore, id: &str) -> (String, Option<String>, String) {
    let sql = "SELECT status, payer, event_id FROM records WHERE id = ?1";
    store.connection().query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

const ID: [&str; 3] = ["991", "sub_01hv8x29sub", "5e0c0000-0000-4000-8000-000000000001"];

/// An API, a listing, a cursor and the path that they come to.
type Case<'a> = (&'a dyn Api, &'a str, Option<&'a str>, Option<&'a str>);

#[test]
fn the_apis_are_asked_as_their_providers_document_them() {
    let [lemonsqueezy, paddle, polar] = PROVIDERS.map(api);
    let settings = PROVIDERS.map(|name| (api(name).key_setting(), api(name).base_setting(), api(name).sandbox_base()));
    let one_host = "https://api.lemonsqueezy.com";
    assert_eq!(
        settings,
        [
            ("LEMONSQUEEZY_API_KEY", ("LEMONSQUEEZY_API_URL", one_host), one_host),
            ("PADDLE_API_KEY", ("PADDLE_API_URL", "https://api.paddle.com"), "https://sandbox-api.paddle.com"),
            ("POLAR_ACCESS_TOKEN", ("POLAR_API_URL", "https://api.polar.sh"), "https://sandbox-api.polar.sh"),
        ]
    );
    let json_api = "application/vnd.api+json";
    assert_eq!(lemonsqueezy.headers(), [("accept", json_api), ("content-type", json_api)]);
    assert_eq!(paddle.headers(), [("paddle-version", "1")]);
    for api in [lemonsqueezy, paddle, polar] {
        assert_eq!(api.listings(), ["live", "over"]);
        assert_eq!((api.plans_path(None), api.lag_ms()), (None, 0));
    }

    let live = "/v1/subscriptions?filter%5Bstatus%5D=active&page%5Bsize%5D=25&page%5Bnumber%5D=";
    let cases: [Case<'_>; 20] = [
        (lemonsqueezy, "live", None, Some(&format!("{live}1"))),
        (lemonsqueezy, "live", Some("active:2"), Some(&format!("{live}3"))),
        (lemonsqueezy, "over", None, Some(&live.replace("active", "unpaid").replace("number%5D=", "number%5D=1"))),
        (lemonsqueezy, "live", Some("expired:2"), None),
        (lemonsqueezy, "live", Some("active:-1"), None),
        (lemonsqueezy, "live", Some("active&x=1:1"), None),
        (lemonsqueezy, "live", Some("sub_1"), None),
        (paddle, "live", None, Some("/subscriptions?per_page=25&status=active,trialing,past_due,paused")),
        (paddle, "over", None, Some("/subscriptions?per_page=25&status=canceled")),
        (paddle, "over", Some("sub_1"), Some("/subscriptions?per_page=25&status=canceled&after=sub_1")),
        (paddle, "live", Some("active:2"), None),
        (paddle, "live", Some("../customers"), None),
        (paddle, "live", Some(""), None),
        (paddle, "live", Some("a&b=1"), None),
        (polar, "live", None, Some("/v1/subscriptions/?active=true&limit=25&page=1&sorting=started_at")),
        (polar, "live", Some("true:1"), Some("/v1/subscriptions/?active=true&limit=25&page=2&sorting=started_at")),
        (polar, "over", None, Some("/v1/subscriptions/?active=false&limit=25&page=1&sorting=started_at")),
        (polar, "live", Some("false:1"), None),
        (polar, "live", Some("true:x"), None),
        (polar, "live", Some("true"), None),
    ];
    for (api, listing, cursor, expected) in cases {
        assert_eq!(api.page_path(listing, cursor).as_deref(), expected, "{listing} {cursor:?}");
    }
}

#[test]
fn a_payer_is_looked_for_under_all_that_is_known() {
    let [lemonsqueezy, paddle, polar] = PROVIDERS.map(api);
    assert_eq!(lemonsqueezy.payer_paths(&user(), &[]), [""; 0]);
    assert_eq!(
        lemonsqueezy.payer_paths(&user(), &["55", "7"]),
        ["/v1/customers/55/subscriptions?page%5Bsize%5D=25", "/v1/customers/7/subscriptions?page%5Bsize%5D=25"]
    );
    let newest = "/subscriptions?per_page=25&order_by=id%5BDESC%5D";
    assert_eq!(paddle.payer_paths(&user(), &[]), [""; 0]);
    assert_eq!((paddle.newest_path(), lemonsqueezy.newest_path()), (Some(newest), None));
    let customers = "/subscriptions?per_page=25&customer_id=ctm_1,ctm_2";
    assert_eq!(paddle.payer_paths(&user(), &["ctm_1", "ctm_2"]), [customers]);
    let newest = "/v1/subscriptions/?limit=25&sorting=-started_at";
    let [external, customers] = ["&external_customer_id=user_42", "&customer_id=c_1&customer_id=c_2"];
    assert_eq!(polar.payer_paths(&user(), &[]), [format!("{newest}{external}")]);
    assert_eq!(polar.newest_path(), Some(newest));
    assert_eq!(
        polar.payer_paths(&user(), &["c_1", "c_2"]),
        [format!("{newest}{external}"), format!("{newest}{customers}")]
    );
    // No id leads elsewhere.
    let odd = Payer::from_key("user:a&b=../c d").unwrap();
    assert_eq!(polar.payer_paths(&odd, &[])[0], format!("{newest}&external_customer_id=a%26b%3D..%2Fc+d"));
}

#[test]
fn of_the_newest_of_all_only_the_payers_own_are_taken() {
    for (provider, other) in [("paddle", "custom_data"), ("polar", "metadata")] {
        let mut somebody = updated(provider);
        somebody["id"] = json!("another");
        somebody["customer"] = Value::Null;
        somebody[other] = json!({"userId": "user_41"});
        let body = last_page(provider, &[somebody, json!({"id": "broken"}), updated(provider)]);
        let path = api(provider).newest_path().unwrap();
        let mut newest = api(provider).read_payer(&user(), path, &body, at(READ_AT)).unwrap();
        assert_eq!((newest.shown.len(), newest.unreadable), (2, 1), "{provider}");
        newest.keep_of(&user());
        let payers: Vec<_> = newest.shown.iter().map(|shown| shown.record.payer.clone().unwrap()).collect();
        assert_eq!((payers, newest.unreadable), (vec![user()], 0), "{provider}");
    }
}

#[test]
fn a_documented_page_is_read_and_the_next_one_found() {
    let cursors = [["active:1", "on_trial:0"], ["sub_01hv8x28two", ""], ["true:1", ""]];
    let second = [
        ("canceled", None, Some("56")),
        ("ended", None, Some("ctm_01hv8other")),
        ("trialing", Some("user:user_43"), Some("c0570000-0000-4000-8000-000000000002")),
    ];
    for (((provider, next), id), second) in PROVIDERS.into_iter().zip(cursors).zip(ID).zip(second) {
        let body = page(provider).to_string();
        let (reading, after) = api(provider).read_page("live", None, &body, at(READ_AT)).unwrap();
        assert_eq!(after.as_deref(), Some(next[0]), "{provider}");
        assert!(api(provider).page_path("live", after.as_deref()).is_some(), "a cursor of ours is known");
        assert_eq!((reading.unreadable, reading.whole), (0, None), "{provider}");
        let records: Vec<_> = reading.shown.iter().filter(|shown| !shown.is_final).collect();
        assert_eq!(records.len(), 2, "{provider}");
        assert!(records.iter().all(|shown| shown.is_dated && shown.tells_trial));
        assert_eq!(records[0].record.id, id);
        let other = &records[1].record;
        let status = other.state.as_ref().unwrap().status.to_string();
        let payer = other.payer.as_ref().map(Payer::key);
        assert_eq!((status.as_str(), payer.as_deref(), other.customer.as_deref()), second, "{provider}");

        // The last page, and one past it: a listing may have become shorter.
        for entries in [&[updated(provider)][..], &[]] {
            let body = last_page(provider, entries);
            let (_, after) = api(provider).read_page("live", None, &body, at(READ_AT)).unwrap();
            assert_eq!(after.unwrap_or_default(), next[1], "{provider}");
        }
        for (body, cause) in
            [("<html>", "expected value"), ("{}", "an answer without `"), ("[]", "an answer without `")]
        {
            let refused = api(provider).read_page("live", None, body, at(READ_AT)).unwrap_err().0;
            assert!(refused.starts_with(cause), "{provider}: {refused}");
        }
    }
    // What says where it goes on, unreadably, is no last page.
    let broken = [
        ("lemonsqueezy", json!({"data": [], "meta": {"page": {"lastPage": "x"}}}), "`lastPage` is not a whole number"),
        ("paddle", json!({"data": [], "meta": {"pagination": {"has_more": 1}}}), "`has_more` is not true or false"),
        (
            "paddle",
            json!({"data": [{"id": "a/b"}], "meta": {"pagination": {"has_more": true}}}),
            "the last entry of a page has no id",
        ),
        // With it no server would read the next request.
        ("stripe", json!({"data": [{"id": "s".repeat(256)}], "has_more": true}), "the last entry of a page has no id"),
        ("polar", json!({"items": [], "pagination": {"max_page": []}}), "`max_page` is not a whole number"),
    ];
    for (provider, body, cause) in broken {
        let refused = api(provider).read_page("live", None, &body.to_string(), at(READ_AT)).unwrap_err();
        assert_eq!(refused.0, cause, "{provider}");
    }
}

#[test]
fn every_listing_is_read_part_by_part_to_its_end() {
    for provider in PROVIDERS {
        for listing in api(provider).listings() {
            let (mut cursor, mut paths) = (None, Vec::new());
            loop {
                let path = api(provider).page_path(listing, cursor.as_deref()).unwrap();
                assert!(!paths.contains(&path), "{path} twice");
                paths.push(path);
                let entries = [updated(provider)];
                let body = last_page(provider, &entries);
                cursor = api(provider).read_page(listing, cursor.as_deref(), &body, at(READ_AT)).unwrap().1;
                if cursor.is_none() {
                    break;
                }
            }
            let expected = match (provider, *listing) {
                ("lemonsqueezy", "live") => 5,
                ("lemonsqueezy", _) => 2,
                _ => 1,
            };
            assert_eq!(paths.len(), expected, "{paths:?}");
        }
    }
}

/// Everything but the version, which no reading has, and whom only a webhook of Lemon Squeezy names.
fn comparable(provider: &str, record: &Record) -> Value {
    let mut record = serde_json::to_value(record).unwrap();
    let fields = record.as_object_mut().unwrap();
    fields.remove("version");
    if provider == "lemonsqueezy" {
        fields.remove("payer");
    }
    record
}

#[test]
fn a_subscription_says_the_same_by_the_api_as_by_a_webhook() {
    for provider in PROVIDERS {
        let mut compared = 0;
        for payload in teller(provider).payloads() {
            let Ok(Parsed::Event(event)) = teller(provider).parse("evt_1", payload.text.as_bytes()) else { continue };
            let body: Value = serde_json::from_str(&payload.text).unwrap();
            let event_type = event.event_type.as_str();
            // The name of this event says more than its object.
            if !event_type.starts_with("subscription")
                || event_type.contains("payment")
                || event_type.contains("revoked")
            {
                continue;
            }
            let reading = read(provider, &[body["data"].clone()]);
            let shown: Vec<_> = reading.shown.iter().map(|shown| comparable(provider, &shown.record)).collect();
            let told: Vec<_> = event.records.iter().map(|record| comparable(provider, record)).collect();
            let has_clock = reading.shown.iter().all(|shown| shown.is_dated || shown.is_final);
            if has_clock {
                assert_eq!(shown, told, "{provider} {}", payload.name);
                compared += 1;
            } else {
                assert_eq!(shown.len(), told.len(), "{provider} {}", payload.name);
            }
        }
        assert!(compared >= 15, "{provider}: {compared}");
    }
}

#[test]
fn what_webhooks_missed_is_stored_once_and_yields_to_its_webhook() {
    let [before, after] = ["2026-11-21T01:02:03Z", "2026-11-22T01:02:03Z"];
    for (provider, id) in PROVIDERS.into_iter().zip(ID) {
        let over = if provider == "lemonsqueezy" { "expired" } else { "canceled" };
        let mut store = SqliteStore::in_memory().unwrap();
        deliver(&mut store, provider, "evt_1", &webhook(provider, &changed(provider, "active", before)));
        let payer = Some("user:user_42".to_owned());
        // As it is held.
        assert_eq!(take(&mut store, provider, read(provider, &[changed(provider, "active", before)]), None), 0);
        // The end of it was lost.
        assert_eq!(
            take(&mut store, provider, read(provider, &[changed(provider, over, after)]), None),
            1,
            "{provider}"
        );
        let (status, owner, event_id) = held(&store, id);
        assert_eq!((status.as_str(), owner), ("ended", payer.clone()), "{provider}");
        assert!(event_id.starts_with("reconciled_"), "{event_id}");
        assert_eq!(take(&mut store, provider, read(provider, &[changed(provider, over, after)]), None), 0);
        // An older answer changes nothing; the webhook, when it comes, confirms.
        assert_eq!(take(&mut store, provider, read(provider, &[changed(provider, "active", before)]), None), 0);
        deliver(&mut store, provider, "evt_2", &webhook(provider, &changed(provider, over, after)));
        assert_eq!(held(&store, id), ("ended".to_owned(), payer, "evt_2".to_owned()), "{provider}");
        // What is told otherwise of the same change is the later look at it.
        assert_eq!(take(&mut store, provider, read(provider, &[changed(provider, "past_due", after)]), None), 1);
        let (status, _, event_id) = held(&store, id);
        assert_eq!(status, "past_due", "{provider}");
        assert!(event_id.starts_with("reread_"), "{event_id}");
    }
}

#[test]
fn what_is_found_of_a_customer_belongs_to_whom_any_webhook_named() {
    for (provider, id) in PROVIDERS.into_iter().zip(ID) {
        let nobodys = |id: &str| {
            let mut object = changed(provider, "active", "2026-11-22T01:02:03Z");
            object["id"] = json!(id);
            object["custom_data"] = Value::Null;
            object["customer"]["external_id"] = Value::Null;
            object
        };
        let mut store = SqliteStore::in_memory().unwrap();
        assert_eq!(take(&mut store, provider, read(provider, &[nobodys("early")]), None), 1, "{provider}");
        assert_eq!(held(&store, "early").1, None, "{provider}");
        assert_eq!(store.customers_of(&user()).unwrap(), []);
        deliver(
            &mut store,
            provider,
            "evt_1",
            &webhook(provider, &changed(provider, "active", "2026-11-21T01:02:03Z")),
        );
        let customer = match provider {
            "lemonsqueezy" => "55",
            "paddle" => "ctm_01hv8customer",
            _ => "c0570000-0000-4000-8000-000000000001",
        };
        assert_eq!(store.customers_of(&user()).unwrap(), [(provider.to_owned(), customer.to_owned())]);
        assert_eq!(take(&mut store, provider, read(provider, &[nobodys("late")]), None), 1, "{provider}");
        for id in ["early", "late", id] {
            assert_eq!(held(&store, id).1.as_deref(), Some("user:user_42"), "{provider} {id}");
        }
    }
}

#[test]
fn the_customers_of_a_payer_are_those_of_every_provider_the_last_told_first() {
    let mut store = SqliteStore::in_memory().unwrap();
    for (n, day) in [(1, 21), (2, 23), (3, 22)] {
        let mut object = changed("paddle", "active", &format!("2026-11-{day}T00:00:00Z"));
        object["id"] = json!(format!("sub_{n}"));
        object["customer_id"] = json!(format!("ctm_{n}"));
        deliver(&mut store, "paddle", &format!("evt_{n}"), &webhook("paddle", &object));
    }
    let found = store.customers_of(&user()).unwrap();
    let ids: Vec<_> = found.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["ctm_2", "ctm_3", "ctm_1"]);
    // A reading makes no link, and is as good.
    take(&mut store, "polar", read("polar", &[updated("polar")]), None);
    assert!(store.customers_of(&user()).unwrap().iter().any(|(provider, _)| provider == "polar"));
    assert_eq!(store.customers_of(&told::payer("user:somebody_else")).unwrap(), []);
    // The order of a guest links its payment to the payer, and no API has a customer of that name.
    let session = json!({"id": "evt_9", "type": "checkout.session.completed", "created": 1_795_000_000, "data": {"object": {
        "id": "cs_1", "mode": "payment", "payment_status": "paid", "payment_intent": "pi_1", "customer": null,
        "client_reference_id": "user_42", "metadata": {"price_id": "price_book"}}}});
    deliver(&mut store, "stripe", "evt_9", &session.to_string());
    assert!(!store.customers_of(&user()).unwrap().iter().any(|(provider, _)| provider == "stripe"));
}

#[test]
fn an_order_of_a_subscription_that_only_the_api_showed_grants_nothing_for_good() {
    let order = |refunded_at: Option<&str>| {
        let mut order = object("lemonsqueezy", "order_created");
        order["id"] = json!("12");
        order["attributes"]["updated_at"] = json!(refunded_at.unwrap_or("2026-11-05T10:00:00Z"));
        let name = if refunded_at.is_some() { "order_refunded" } else { "order_created" };
        json!({"meta": {"event_name": name, "custom_data": {"user_id": "user_42"}}, "data": order}).to_string()
    };
    let mut store = SqliteStore::in_memory().unwrap();
    deliver(&mut store, "lemonsqueezy", "evt_1", &order(None));
    assert_eq!(held(&store, "order:12").0, "active");
    let reading = || read("lemonsqueezy", &[updated("lemonsqueezy")]);
    assert_eq!(take(&mut store, "lemonsqueezy", reading(), None), 2, "the subscription, and the end of its order");
    assert_eq!(held(&store, "order:12").0, "ended");
    assert_eq!(take(&mut store, "lemonsqueezy", reading(), None), 0);
    // News of the order, later than any of the subscription.
    deliver(&mut store, "lemonsqueezy", "evt_2", &order(Some("2026-11-30T00:00:00Z")));
    assert_eq!(held(&store, "order:12").0, "ended");

    // That news came first.
    let mut store = SqliteStore::in_memory().unwrap();
    deliver(&mut store, "lemonsqueezy", "evt_2", &order(Some("2026-11-30T00:00:00Z")));
    assert_eq!(take(&mut store, "lemonsqueezy", reading(), None), 2);
    assert_eq!(held(&store, "order:12").0, "ended");
}

#[test]
fn what_a_key_of_test_mode_shows_is_refused_where_money_is_real() {
    let read = |is_test: Value| {
        let mut object = updated("lemonsqueezy");
        object["attributes"]["test_mode"] = is_test;
        read("lemonsqueezy", &[object])
    };
    assert!(read(json!(true)).of(Environment::Production).is_err());
    assert!(read(json!(true)).of(Environment::Sandbox).is_ok());
    assert!(read(json!(false)).of(Environment::Production).is_ok());
    assert!(read(json!(false)).of(Environment::Sandbox).is_err());
    assert!(read(Value::Null).of(Environment::Production).is_ok());
}

#[test]
fn the_sandbox_has_its_own_address_unless_one_is_set() {
    let base = |environment: &str, url: Option<&str>| {
        let settings = Settings::read(|name| match name {
            "ENVIRONMENT" => Some(environment.to_owned()),
            "PADDLE_API_KEY" | "LEMONSQUEEZY_API_KEY" | "POLAR_ACCESS_TOKEN" => Some("a_key_of_ours".into()),
            "POLAR_API_URL" => url.map(str::to_owned),
            _ => None,
        });
        assert!(!format!("{settings:?}").contains("a_key_of_ours"));
        PROVIDERS.map(|provider| settings.apis.get(provider).unwrap().base.clone())
    };
    let [lemonsqueezy, paddle, polar] =
        ["https://api.lemonsqueezy.com", "https://api.paddle.com", "https://api.polar.sh"];
    assert_eq!(base("production", None), [lemonsqueezy, paddle, polar]);
    let sandbox = ["https://sandbox-api.paddle.com", "https://sandbox-api.polar.sh"];
    assert_eq!(base("sandbox", None), [lemonsqueezy, sandbox[0], sandbox[1]]);
    assert_eq!(base("sandbox", Some("http://127.0.0.1:1/")), [lemonsqueezy, sandbox[0], "http://127.0.0.1:1"]);
}

#[test]
fn whatever_stands_in_a_page_is_read_or_refused() {
    let odd = odd_values();
    for provider in PROVIDERS {
        let page = page(provider);
        let (mut read, mut refused) = (0, 0);
        for pointer in pointers(&page) {
            for odd in &odd {
                // A list that is put in brings entries of its own.
                let entries = odd.as_array().map_or(0, Vec::len) as u64;
                let mut changed = page.clone();
                *changed.pointer_mut(&pointer).unwrap() = odd.clone();
                match api(provider).read_page("live", None, &changed.to_string(), Timestamp::from_secs(1)) {
                    Ok((reading, next)) => {
                        read += 1;
                        assert!(reading.unreadable <= entries.max(2), "one entry spoils no other: {pointer} = {odd}");
                        if let Some(next) = next {
                            assert!(
                                api(provider).page_path("live", Some(&next)).is_some(),
                                "{pointer} = {odd}: {next}"
                            );
                        }
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(read > 1_400 && refused > 45, "{provider}: {read} read, {refused} refused");
    }
}

/// What a shop knows of one provider, where webhooks and readings of the API come one after the other.
struct Shop {
    provider: &'static str,
    store: SqliteStore,
    catalog: Catalog,
}

impl Shop {
    /// The plans `pro`, sold as `pri_pro`, and `addon`, sold as `pri_addon`.
    fn new(provider: &'static str) -> Self {
        let plan = |id: &str| json!({"ids": {provider: [id]}});
        let plans = json!({"pro": plan("pri_pro"), "addon": plan("pri_addon")});
        let catalog = Catalog::parse(&plans.to_string()).unwrap();
        Self { provider, store: SqliteStore::in_memory().unwrap(), catalog }
    }

    fn hears(&mut self, event_id: &str, body: &Value) {
        assert_eq!(deliver(&mut self.store, self.provider, event_id, &body.to_string()), Outcome::Stored, "{event_id}");
    }

    /// Reads a subscription in a listing, and answers by how many events the differences were stored.
    fn reads(&mut self, object: &Value, read_at: &str) -> usize {
        let body = json!({"data": [object], "has_more": false,
            "meta": {"pagination": {"has_more": false}, "page": {"lastPage": 1}}});
        let reading = api(self.provider).read_page("live", None, &body.to_string(), at(read_at)).unwrap().0;
        let held = self.store.held(self.provider, &reading, None).unwrap();
        let differences = differences(reading, &held, None, at(read_at));
        let count = differences.len();
        for difference in differences {
            let verified = Verified::recorded(difference.event_id, at(read_at), &[]);
            let parsed = Ok(Parsed::Event(difference.event));
            assert_eq!(self.store.deliver(self.provider, &verified, &parsed, at(read_at)).unwrap().0, Outcome::Stored);
        }
        count
    }

    /// Which of the two plans the payer has.
    fn has(&self, when: &str) -> Vec<&'static str> {
        let snapshots = self.store.snapshots((&user(), None), at(when)).unwrap();
        let has = |plan: &&str| {
            let question =
                Question { conditions: vec![Condition { what: What::Plan((*plan).to_owned()), scope: None }] };
            decide(&snapshots, &self.catalog, &Policy::default(), &question, at(when)).allowed
        };
        ["pro", "addon"].into_iter().filter(has).collect()
    }
}

const BOTH: [&str; 2] = ["pri_pro", "pri_addon"];
const ONE: [&str; 1] = ["pri_pro"];

/// A subscription for the year 2026 at Paddle or Stripe, with these items, as it stood since that day.
fn year(provider: &str, day: &str, status: &str, items: &[&str]) -> Value {
    let (first, last) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let over = status == "canceled";
    if provider == "paddle" {
        let item =
            |price: &&str| json!({"status": "active", "quantity": 1, "price": {"id": price, "product_id": "pro_1"}});
        return json!({
            "id": "sub_1", "status": status, "customer_id": "ctm_1", "created_at": first, "updated_at": day,
            "canceled_at": over.then_some(day), "custom_data": {"userId": "user_42"},
            "current_billing_period": (!over).then(|| json!({"starts_at": first, "ends_at": last})),
            "items": items.iter().map(item).collect::<Vec<Value>>()});
    }
    let item = |price: &&str| {
        json!({"id": price.replace("pri", "si"), "created": at(first).as_secs() + i64::from(*price != "pri_pro"), "quantity": 1,
            "current_period_start": at(first).as_secs(), "current_period_end": at(last).as_secs(), "price": {"id": price}})
    };
    json!({
        "id": "sub_1", "object": "subscription", "status": status, "customer": "cus_1", "created": at(first).as_secs(),
        "livemode": true, "ended_at": over.then(|| at(day).as_secs()), "metadata": {"userId": "user_42"},
        "items": {"data": items.iter().map(item).collect::<Vec<Value>>()}})
}

/// The webhook about it.
fn told_of(provider: &str, day: &str, status: &str, items: &[&str]) -> Value {
    let object = year(provider, day, status, items);
    if provider == "paddle" {
        return json!({"event_id": day, "event_type": "subscription.updated", "occurred_at": day, "data": object});
    }
    let name = if status == "canceled" { "deleted" } else { "updated" };
    json!({"id": day, "object": "event", "created": at(day).as_secs(), "livemode": true,
        "type": format!("customer.subscription.{name}"), "data": {"object": object}})
}

#[test]
fn an_item_that_was_taken_off_is_over_whoever_told_of_it() {
    const JANUARY: &str = "2026-01-02T00:00:00Z";
    const MARCH: &str = "2026-03-02T00:00:00Z";
    const APRIL: &str = "2026-04-02T00:00:00Z";
    const MAY: &str = "2026-05-02T00:00:00Z";
    for provider in ["paddle", "stripe"] {
        let told = |day, status, items: &[&str]| told_of(provider, day, status, items);
        let shown = |day, status, items: &[&str]| year(provider, day, status, items);

        // First known by a reading, taken off by a webhook.
        let mut shop = Shop::new(provider);
        assert_eq!(shop.reads(&shown(JANUARY, "active", &BOTH), JANUARY), 1, "{provider}: one event for all items");
        assert_eq!(shop.has(MARCH), ["pro", "addon"], "{provider}");
        shop.hears("e2", &told(MARCH, "active", &ONE));
        assert_eq!(shop.has(MAY), ["pro"], "{provider}");
        assert_eq!(shop.reads(&shown(MARCH, "active", &ONE), MAY), 0, "{provider}");

        // The webhook was lost.
        let mut shop = Shop::new(provider);
        shop.hears("e1", &told(JANUARY, "active", &BOTH));
        assert_eq!(shop.reads(&shown(JANUARY, "active", &BOTH), MARCH), 0, "{provider}: all is as held");
        assert_eq!(shop.reads(&shown(MARCH, "active", &ONE), APRIL), 1, "{provider}");
        assert_eq!(shop.has(MAY), ["pro"], "{provider}");
        assert_eq!(shop.reads(&shown(MARCH, "active", &ONE), MAY), 0, "{provider}: that is stored once");
        // And it was added again.
        assert_eq!(shop.reads(&shown(MAY, "active", &BOTH), "2026-05-03T00:00:00Z"), 1, "{provider}");
        assert_eq!(shop.has("2026-06-01T00:00:00Z"), ["pro", "addon"], "{provider}");

        // It stays over when something else is read, up to the end of all.
        let mut shop = Shop::new(provider);
        shop.hears("e1", &told(JANUARY, "active", &BOTH));
        shop.hears("e2", &told(MARCH, "active", &ONE));
        assert_eq!(shop.has(APRIL), ["pro"], "{provider}");
        let mut seats = shown(APRIL, "active", &ONE);
        *seats
            .pointer_mut(if provider == "paddle" { "/items/0/quantity" } else { "/items/data/0/quantity" })
            .unwrap() = json!(5);
        assert_eq!(shop.reads(&seats, APRIL), 1, "{provider}");
        assert_eq!(shop.has(MAY), ["pro"], "{provider}");
        assert_eq!(shop.reads(&shown(MAY, "canceled", &ONE), MAY), 1, "{provider}");
        assert_eq!(shop.has("2026-06-01T00:00:00Z"), [""; 0], "{provider}");

        // Neither its end nor that of the subscription was delivered before the end was read.
        let mut shop = Shop::new(provider);
        shop.hears("e1", &told(JANUARY, "active", &BOTH));
        assert_eq!(shop.reads(&shown(APRIL, "canceled", &ONE), MAY), 1, "{provider}");
        deliver(&mut shop.store, provider, "e3", &told(APRIL, "canceled", &ONE).to_string());
        assert_eq!(shop.has("2026-06-01T00:00:00Z"), [""; 0], "{provider}");
    }
}

#[test]
fn a_reading_that_is_older_takes_no_item_off() {
    for provider in ["paddle", "stripe"] {
        let mut shop = Shop::new(provider);
        shop.hears("e1", &told_of(provider, "2026-03-02T00:00:00Z", "active", &BOTH));
        assert_eq!(
            shop.reads(&year(provider, "2026-01-02T00:00:00Z", "active", &ONE), "2026-03-01T23:59:59Z"),
            0,
            "{provider}"
        );
        assert_eq!(shop.has("2026-05-01T00:00:00Z"), ["pro", "addon"], "{provider}");
    }
}

#[test]
fn a_free_pause_that_no_webhook_told_of_has_no_end() {
    let object = |status: &str, updated_at: &str, pause: Value| {
        json!({"type": "subscriptions", "id": "991", "attributes": {
            "customer_id": 55, "product_id": 3, "variant_id": "pri_pro", "status": status, "pause": pause,
            "renews_at": "2026-12-05T00:00:00Z", "created_at": "2026-10-05T00:00:00Z", "updated_at": updated_at}})
    };
    let mut shop = Shop::new("lemonsqueezy");
    let active = object("active", "2026-11-05T00:00:07Z", Value::Null);
    shop.hears("e1", &serde_json::from_str(&webhook("lemonsqueezy", &active)).unwrap());
    let paused = object("paused", "2026-11-20T00:00:00Z", json!({"mode": "free", "resumes_at": null}));
    assert_eq!(shop.reads(&paused, "2026-11-20T00:10:00Z"), 1);
    assert_eq!(shop.has("2027-01-10T00:00:00Z"), ["pro"]);
    assert_eq!(shop.reads(&paused, "2026-11-21T00:10:00Z"), 0);
}
