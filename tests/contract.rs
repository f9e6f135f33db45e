//! `openapi.json` and the README say what the code does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use plangate::decide::Reason;
use plangate::delivery::VerifyError;
use plangate::explain::RuleCode;
use plangate::provider::PROVIDERS;
use plangate::store::Outcome;
use plangate::store::upkeep::ERASED;
use serde_json::Value;

const README: &str = include_str!("../README.md");

fn openapi() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).unwrap()
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn reasons() -> BTreeSet<String> {
    Reason::ALL.iter().map(|reason| serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_closed_list_of_reasons_is_the_same_everywhere() {
    let expected = [
        "active",
        "canceled_until_period_end",
        "expired",
        "feature_not_in_plan",
        "granted_manually",
        "incomplete",
        "no_subscription",
        "not_started",
        "past_due",
        "past_due_grace",
        "paused",
        "payer_deleted",
        "plan_mismatch",
        "quota_exceeded",
        "trialing",
        "unknown_feature",
        "unknown_plan",
        "unknown_status",
        "unpaid",
    ];
    assert_eq!(reasons(), expected.map(str::to_owned).into());
    assert_eq!(texts(&openapi()["components"]["schemas"]["Reason"]["enum"]), reasons());
    for reason in reasons() {
        assert!(README.contains(&format!("`{reason}`")), "{reason} is not in the README");
    }
}

#[test]
fn the_closed_list_of_rules_is_documented() {
    let codes = RuleCode::ALL.map(|code| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned());
    assert_eq!(texts(&openapi()["components"]["schemas"]["RuleCode"]["enum"]), codes.into());
}

#[test]
fn outcomes_and_providers_are_the_same_everywhere() {
    let outcomes = [Outcome::Stored, Outcome::Duplicate, Outcome::Stale, Outcome::Ignored, Outcome::DeadLetter];
    let outcomes: BTreeSet<_> = outcomes.iter().map(|outcome| outcome.as_str().to_owned()).collect();
    let document = openapi();
    assert_eq!(texts(&document["components"]["schemas"]["Receipt"]["properties"]["outcome"]["enum"]), outcomes);
    let providers: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.name().to_owned()).collect();
    let parameter = &document["paths"]["/webhooks/{provider}"]["post"]["parameters"][0];
    assert_eq!(texts(&parameter["schema"]["enum"]), providers);
}

#[test]
fn every_refusal_of_a_delivery_is_documented() {
    let errors = [
        VerifyError::MissingHeaders(vec!["svix-id"]),
        VerifyError::MalformedTimestamp,
        VerifyError::TimestampTooOld { age_secs: 301 },
        VerifyError::TimestampTooNew { ahead_secs: 301 },
        VerifyError::NoMatchingSignature,
    ];
    let document = openapi();
    let refusal =
        document["paths"]["/webhooks/{provider}"]["post"]["responses"]["400"]["description"].as_str().unwrap();
    for error in errors {
        assert!(refusal.contains(&format!("`{}`", error.code())), "{}", error.code());
    }
}

#[test]
fn every_setting_is_in_the_readme() {
    let settings = concat!(include_str!("../src/settings.rs"), include_str!("../src/settings/reader.rs"));
    let names = settings.split('"').filter(|text| {
        text.len() > 4 && text.contains('_') && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    });
    let names: BTreeSet<_> = names.collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        assert!(README.contains(&format!("`{name}`")), "{name} is not in the README");
    }
    for provider in PROVIDERS {
        for name in provider.secret_names() {
            assert!(README.contains(&format!("`{name}`")), "{name} is not in the README");
        }
        let Some(api) = provider.api() else { continue };
        let (base, address) = api.base_setting();
        for text in [api.key_setting(), base, address, api.sandbox_base()] {
            assert!(README.contains(&format!("`{text}`")), "{text} is not in the README");
        }
        assert!(
            include_str!("../.dev.vars.example").contains(&format!("# {}=", api.key_setting())),
            "{}",
            provider.name()
        );
    }
}

#[test]
fn what_an_erasure_counts_is_documented() {
    let document = openapi();
    let answer =
        &document["paths"]["/admin/erase"]["post"]["responses"]["200"]["content"]["application/json"]["schema"];
    let documented: BTreeSet<_> =
        answer["properties"]["erased"]["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(documented, ERASED.map(str::to_owned).into());
}

#[test]
fn every_route_of_operators_is_documented() {
    let document = openapi();
    let admin = include_str!("../src/edge/admin.rs");
    let (_, routes) = admin.split_once("match what {").unwrap();
    let (routes, _) = routes.split_once("\nfn filter").unwrap();
    let arms: Vec<_> = routes
        .lines()
        .filter_map(|line| line.trim().strip_suffix(" => {")?.strip_prefix('"')?.strip_suffix('"'))
        .collect();
    assert!(arms.len() >= 7, "{arms:?}");
    for arm in arms {
        assert!(document["paths"].get(format!("/admin/{arm}")).is_some(), "/admin/{arm} is not in openapi.json");
        assert!(README.contains(&format!("/admin/{arm}`")), "/admin/{arm} is not in the README");
    }
}
