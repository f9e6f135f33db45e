//! What Stripe's API is asked, and what its answers say against what is held.

use plangate::api::{Api, Reading};
use plangate::delivery::Verified;
use plangate::event::Parsed;
use plangate::payer::Payer;
use plangate::provider::Environment;
use plangate::reconcile::differences;
use plangate::store::sqlite::SqliteStore;
use plangate::time::Timestamp;
use serde_json::{Value, json};

use super::{payload, stripe};

/// When the event of `customer.subscription.updated.json` happened, in seconds.
const T: i64 = 1_795_000_000;

fn api() -> &'static dyn Api {
    stripe().api().unwrap()
}

fn user() -> Payer {
    Payer::from_key("user:user_42").unwrap()
}

fn page(subscriptions: &[Value], has_more: bool) -> String {
    json!({"object": "list", "data": subscriptions, "has_more": has_more, "url": "/v1/subscriptions"}).to_string()
}

/// The subscription of `customer.subscription.updated.json`, in this status.
fn subscription(status: &str) -> Value {
    let mut subscription = payload("customer.subscription.updated")["data"]["object"].take();
    subscription["status"] = json!(status);
    subscription
}

/// A listing of it, read so many seconds after [`T`].
fn listed(status: &str, after: i64) -> Reading {
    let read_at = Timestamp::from_millis((T + after) * 1000 + 900);
    api().read_page("live", None, &page(&[subscription(status)], false), read_at).unwrap().0
}

fn searched(status: &str, after: i64) -> Reading {
    read_at(&api().payer_paths(&user(), &[])[0], status, after)
}

/// The answer of one of the payer's paths, read so many seconds after [`T`].
fn read_at(path: &str, status: &str, after: i64) -> Reading {
    let body = page(&[subscription(status)], false);
    api().read_payer(&user(), path, &body, Timestamp::from_secs(T + after)).unwrap()
}

/// A store that holds the subscription as active with two seats, as of [`T`].
fn store() -> SqliteStore {
    let mut store = SqliteStore::in_memory().unwrap();
    let body = payload("customer.subscription.updated").to_string();
    let verified = Verified::recorded("evt_1", Timestamp::from_secs(T), body.as_bytes());
    let parsed = stripe().parse(&verified, &plangate::provider::Ours::default());
    store.deliver("stripe", &verified, &parsed, Timestamp::from_secs(T)).unwrap();
    store
}

/// Stores what a reading shows otherwise; how many differences there were, and the status that is then held.
fn take(store: &mut SqliteStore, reading: Reading, after: i64) -> (usize, String) {
    let now = Timestamp::from_secs(T + after);
    let held = store.held("stripe", &reading, None).unwrap();
    let differences = differences(reading, &held, None, now);
    let count = differences.len();
    for difference in differences {
        let verified = Verified::recorded(difference.event_id, now, &[]);
        store.deliver("stripe", &verified, &Ok(Parsed::Event(difference.event)), now).unwrap();
    }
    let status = store.connection().query_row("SELECT status FROM records", [], |row| row.get(0)).unwrap();
    (count, status)
}

#[test]
fn the_api_is_asked_as_stripe_documents_it() {
    assert_eq!(api().key_setting(), "STRIPE_SECRET_KEY");
    assert_eq!(api().base_setting(), ("STRIPE_API_URL", "https://api.stripe.com"));
    assert_eq!(api().headers(), [("stripe-version", "2025-03-31.basil")]);
    assert_eq!(api().listings(), ["live", "over"]);
    assert_eq!(api().page_path("live", None).unwrap(), "/v1/subscriptions?limit=25");
    assert_eq!(api().page_path("live", Some("sub_1")).unwrap(), "/v1/subscriptions?limit=25&starting_after=sub_1");
    assert_eq!(
        api().page_path("over", Some("sub_1")).unwrap(),
        "/v1/subscriptions?limit=25&status=ended&starting_after=sub_1"
    );
    assert_eq!(api().page_path("live", Some("free_trial:100&x=1")), None);
    assert_eq!(api().plans_path(None), None);

    let query = |payer: &Payer| {
        let path = api().payer_paths(payer, &[]).pop()?;
        let (before, query) = path.split_once("&query=").unwrap();
        assert_eq!(before, "/v1/subscriptions/search?limit=25");
        Some(form_urlencoded::parse(format!("q={query}").as_bytes()).next().unwrap().1.into_owned())
    };
    assert_eq!(
        query(&user()).unwrap(),
        "metadata['userId']:'user_42' OR metadata['user_id']:'user_42' OR metadata['clerk_user_id']:'user_42'"
    );
    assert_eq!(
        query(&Payer::from_key("org:org-7").unwrap()).unwrap(),
        "metadata['orgId']:'org-7' OR metadata['org_id']:'org-7' OR metadata['organization_id']:'org-7' OR \
         metadata['clerk_org_id']:'org-7'"
    );
    let paths = api().payer_paths(&user(), &["cus_2", "cus_1"]);
    assert_eq!(paths.len(), 3);
    assert_eq!(paths[0], "/v1/subscriptions?limit=25&status=all&customer=cus_2");
    assert_eq!(paths[1], "/v1/subscriptions?limit=25&status=all&customer=cus_1");
    for id in ["a'b", "a b", "a&b", "a%27", "ä", "a]"] {
        assert_eq!(query(&Payer::from_key(&format!("user:{id}")).unwrap()), None, "{id}");
    }
}

#[test]
fn pages_are_read_to_the_last() {
    let read = |body: &str| api().read_page("live", None, body, Timestamp::from_secs(T));
    let mut second = subscription("active");
    second["id"] = json!("sub_2");
    let (reading, next) = read(&page(&[subscription("active"), second.clone()], true)).unwrap();
    assert_eq!(next.as_deref(), Some("sub_2"));
    let ids: Vec<_> = reading.shown.iter().map(|shown| shown.record.id.as_str()).collect();
    assert_eq!(ids, ["sub_1Aa", "sub_2"]);
    assert_eq!((reading.whole, reading.unreadable), (None, 0));
    assert_eq!(read(&page(&[second.clone()], false)).unwrap().1, None);
    assert_eq!(read(&page(&[], true)).unwrap().1, None);

    // One that cannot be read spoils none of the others.
    let (reading, _) = read(&page(&[json!({"id": "sub_0"}), second], false)).unwrap();
    assert_eq!((reading.shown.len(), reading.unreadable), (1, 1));
    // A page that goes on after nothing is not the last one.
    assert_eq!(read(&page(&[json!({"id": "a/../b"})], true)).unwrap_err().0, "the last entry of a page has no id");
    assert_eq!(read("{}").unwrap_err().0, "an answer without `data`");
    assert!(read("<html>").unwrap_err().0.starts_with("expected value"));
}

#[test]
fn a_reading_wins_over_what_happened_before_it_and_over_nothing_else() {
    // The same: nothing to store.
    assert_eq!(take(&mut store(), listed("active", 60), 60), (0, "active".into()));
    // An end whose webhook was lost.
    assert_eq!(take(&mut store(), listed("canceled", 60), 60), (1, "ended".into()));
    assert_eq!(take(&mut store(), listed("canceled", 10), 10), (1, "ended".into()));
    // The change may have come after the reading was made.
    assert_eq!(take(&mut store(), listed("past_due", 9), 9), (0, "active".into()));
    // A search may be an hour behind.
    assert_eq!(take(&mut store(), searched("past_due", 3599), 3599), (0, "active".into()));
    assert_eq!(take(&mut store(), searched("past_due", 3600), 3600), (1, "past_due".into()));

    // The list of a known customer is no search.
    let of_customer = api().payer_paths(&user(), &["cus_1"]).remove(0);
    assert_eq!(take(&mut store(), read_at(&of_customer, "past_due", 10), 10), (1, "past_due".into()));
    assert_eq!(take(&mut store(), read_at(&of_customer, "past_due", 9), 9), (0, "active".into()));
    // That is for how long a reading of two events that tie waits.
    assert_eq!(api().lag_ms(), 11_000);

    // A webhook about a later change wins over the reading, in any order.
    let later = |store: &mut SqliteStore| {
        let mut body = payload("customer.subscription.updated");
        body["created"] = json!(T + 100);
        body["data"]["object"]["status"] = json!("unpaid");
        let body = body.to_string();
        let verified = Verified::recorded("evt_2", Timestamp::from_secs(T), body.as_bytes());
        let parsed = stripe().parse(&verified, &plangate::provider::Ours::default());
        store.deliver("stripe", &verified, &parsed, Timestamp::from_secs(T)).unwrap();
    };
    let mut store = store();
    assert_eq!(take(&mut store, listed("past_due", 100), 100), (1, "past_due".into()));
    later(&mut store);
    assert_eq!(take(&mut store, listed("past_due", 100), 101), (0, "unpaid".into()));

    // What we never heard of is stored, unless it is over.
    let mut empty = SqliteStore::in_memory().unwrap();
    assert_eq!(take(&mut empty, searched("trialing", 5), 5), (1, "trialing".into()));
    let reading = listed("canceled", 60);
    let held = SqliteStore::in_memory().unwrap().held("stripe", &reading, None).unwrap();
    assert_eq!(differences(reading, &held, None, Timestamp::from_secs(T)), []);
}

#[test]
fn what_a_key_of_another_mode_shows_is_refused() {
    let read = |livemode: Value| {
        let mut subscription = subscription("active");
        subscription["livemode"] = livemode;
        api().read_page("live", None, &page(&[subscription], false), Timestamp::from_secs(T)).unwrap().0
    };
    let cases = [
        (json!(true), Environment::Production, true),
        (json!(false), Environment::Production, false),
        (json!(true), Environment::Sandbox, false),
        (json!(false), Environment::Sandbox, true),
        (Value::Null, Environment::Production, true),
        (Value::Null, Environment::Sandbox, true),
    ];
    for (livemode, ours, is_ours) in cases {
        assert_eq!(read(livemode.clone()).of(ours).is_ok(), is_ours, "{livemode} {ours:?}");
    }
    let refused = read(json!(false)).of(Environment::Production).unwrap_err();
    assert_eq!(refused.0, "it is of test mode, and `ENVIRONMENT` is `production`: is the key the right one?");
}
