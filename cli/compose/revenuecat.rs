//! RevenueCat's events. They have no status: the type and the dates tell.
//!
//! Source: <https://www.revenuecat.com/docs/integrations/webhooks/sample-events>. The plan is the id of a product.

use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use super::{Composed, Composer, MONTH_MS, Wish, WishedPayer, refuse_misplaced, unknown};
use crate::failure::{Failure, usage};
use crate::ids;

pub(super) struct RevenueCat;

/// The product and what it gives, when nobody says.
const PRODUCT: &str = "pro_monthly";
const ENTITLEMENT: &str = "pro";
const APP: &str = "app_example";
const STORE: &str = "APP_STORE";
const PRICE: f64 = 9.99;
const TRIAL_MS: i64 = 7 * DAY_MS;
/// The store's own days of grace.
const GRACE_MS: i64 = 16 * DAY_MS;

const EVENTS: &[&str] = &[
    "TEST",
    "INITIAL_PURCHASE",
    "RENEWAL",
    "CANCELLATION",
    "UNCANCELLATION",
    "NON_RENEWING_PURCHASE",
    "SUBSCRIPTION_PAUSED",
    "EXPIRATION",
    "BILLING_ISSUE",
    "PRODUCT_CHANGE",
    "TRANSFER",
    "SUBSCRIPTION_EXTENDED",
    "TEMPORARY_ENTITLEMENT_GRANT",
    "REFUND_REVERSED",
];

impl Composer for RevenueCat {
    fn provider(&self) -> &'static str {
        "revenuecat"
    }

    fn event_types(&self) -> Vec<&'static str> {
        EVENTS.to_vec()
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        if !EVENTS.contains(&event_type) {
            return Err(unknown(self, event_type));
        }
        check(event_type, wish)?;
        let payer = wish.payer();
        let event = if event_type == "TRANSFER" { transfer(payer, wish) } else { purchase(event_type, payer, wish) };
        Ok(Composed { body: json!({"api_version": "1.0", "event": event}), about: payer.key() })
    }
}

fn check(event_type: &str, wish: &Wish) -> Result<(), Failure> {
    let is_transfer = event_type == "TRANSFER";
    let refused = [
        ("--flat", wish.flat),
        ("--seats", wish.seats.is_some()),
        ("--status (RevenueCat has none)", wish.status.is_some()),
        ("--trial", wish.trial && (is_transfer || event_type == "NON_RENEWING_PURCHASE")),
        ("--plan", wish.plan.is_some() && is_transfer),
        ("--period-end", wish.period_end.is_some() && is_transfer),
    ];
    refuse_misplaced(event_type, &refused)?;
    wish.check_one_payer(event_type)?;
    if wish.org.as_ref().is_some_and(|org| !org.starts_with("org_")) {
        return Err(usage("an app user is an organization if its id begins with `org_`; give --org such an id"));
    }
    wish.check_ids()
}

fn transfer(payer: WishedPayer<'_>, wish: &Wish) -> Value {
    json!({
        "id": wish.event_id,
        "type": "TRANSFER",
        "app_id": APP,
        "event_timestamp_ms": wish.at.as_millis(),
        "store": STORE,
        "environment": "PRODUCTION",
        "transferred_from": [anonymous(payer)],
        "transferred_to": [payer.id],
    })
}

fn purchase(event_type: &str, payer: WishedPayer<'_>, wish: &Wish) -> Value {
    let at = wish.at;
    let is_once = event_type == "NON_RENEWING_PURCHASE";
    let length = if wish.trial { TRIAL_MS } else { MONTH_MS };
    let end = wish.period_end.or_else(|| match event_type {
        "NON_RENEWING_PURCHASE" => None,
        "EXPIRATION" | "BILLING_ISSUE" => Some(at),
        "TEMPORARY_ENTITLEMENT_GRANT" => Some(at.plus_millis(DAY_MS)),
        _ => Some(at.plus_millis(length)),
    });
    let is_paid = matches!(event_type, "INITIAL_PURCHASE" | "RENEWAL" | "NON_RENEWING_PURCHASE" | "REFUND_REVERSED");
    let price = if is_paid && !wish.trial { PRICE } else { 0.0 };
    let what = if is_once { wish.plan.as_deref().unwrap_or(PRODUCT) } else { "subscription" };
    let original = ids::stable("", &[&payer.key(), what]);
    let transaction = match event_type {
        "RENEWAL" => ids::stable("", &[&payer.key(), what, &at.to_string()]),
        _ => original.clone(),
    };
    let mut event = json!({
        "id": wish.event_id,
        "type": event_type,
        "app_id": APP,
        "event_timestamp_ms": at.as_millis(),
        "app_user_id": payer.id,
        "original_app_user_id": anonymous(payer),
        "aliases": [anonymous(payer), payer.id],
        "product_id": wish.plan.as_deref().unwrap_or(PRODUCT),
        "entitlement_id": null,
        "entitlement_ids": wish.plan.is_none().then_some([ENTITLEMENT]),
        "period_type": if wish.trial { "TRIAL" } else { "NORMAL" },
        "purchased_at_ms": match event_type {
            "EXPIRATION" | "BILLING_ISSUE" => at.plus_millis(length.saturating_neg()).as_millis(),
            _ => at.as_millis(),
        },
        "expiration_at_ms": end.map(Timestamp::as_millis),
        "environment": "PRODUCTION",
        "store": STORE,
        "transaction_id": transaction,
        "original_transaction_id": original,
        "is_family_share": false,
        "country_code": "US",
        "currency": "USD",
        "price": price,
        "price_in_purchased_currency": price,
        "takehome_percentage": 0.7,
        "tax_percentage": 0.0,
        "commission_percentage": 0.3,
        "offer_code": null,
        "presented_offering_id": null,
        "subscriber_attributes": {},
    });
    let own = match event_type {
        "CANCELLATION" => Some(("cancel_reason", json!("UNSUBSCRIBE"))),
        "EXPIRATION" => Some(("expiration_reason", json!("UNSUBSCRIBE"))),
        "RENEWAL" => Some(("is_trial_conversion", json!(false))),
        "PRODUCT_CHANGE" => Some(("new_product_id", json!("pro_annual"))),
        "BILLING_ISSUE" => Some(("grace_period_expiration_at_ms", json!(at.plus_millis(GRACE_MS).as_millis()))),
        "SUBSCRIPTION_PAUSED" => {
            Some(("auto_resume_at_ms", json!(end.map(|end| end.plus_millis(MONTH_MS).as_millis()))))
        }
        _ => None,
    };
    if let (Some(fields), Some((name, value))) = (event.as_object_mut(), own) {
        fields.insert(name.to_owned(), value);
    }
    if event_type == "TEMPORARY_ENTITLEMENT_GRANT"
        && let Some(fields) = event.as_object_mut()
    {
        fields.remove("original_transaction_id");
    }
    event
}

/// The name that the app user had before it logged in.
fn anonymous(payer: WishedPayer<'_>) -> String {
    payer.owned("$RCAnonymousID:")
}

#[cfg(test)]
mod tests {
    use plangate::delivery::{Delivery, Headers};
    use plangate::event::{Parsed, Seats};
    use plangate::provider::{Ours, named};

    use super::*;

    fn wish() -> Wish {
        Wish {
            user: None,
            org: None,
            plan: None,
            status: None,
            at: Timestamp::from_secs(1_767_225_600),
            period_end: None,
            trial: false,
            seats: None,
            flat: false,
            instance_id: None,
            event_id: "evt_1".into(),
        }
    }

    /// What the core reads out of the event, signed in both ways and verified.
    fn read(event_type: &str, wish: &Wish) -> String {
        let provider = named("revenuecat").unwrap();
        let secrets = [("REVENUECAT_WEBHOOK_SECRET", "Bearer x"), ("REVENUECAT_SIGNING_SECRET", "key")];
        let secrets = secrets.map(|(setting, text)| provider.parse_secret(setting, text).unwrap());
        let body = RevenueCat.compose(event_type, wish).unwrap().body.to_string().into_bytes();
        let headers = secrets.iter().flat_map(|secret| provider.sign(secret, "unused", wish.at, &body));
        let delivery = Delivery { headers: Headers::new(headers), body: body.clone() };
        let verified = provider.verify(&delivery, &secrets, &Ours::default(), wish.at).unwrap();
        match provider.parse(&verified, &Ours::default()).unwrap() {
            Parsed::Ignored { reason, .. } => reason.as_str().to_owned(),
            Parsed::Event(event) => {
                let records = event.records.iter().map(|record| {
                    let state = record.state.as_ref().unwrap();
                    let end = state.period_end.map_or(String::new(), |end| end.to_string()[..10].to_owned());
                    format!(" {} {} {end}", record.plan.as_ref().unwrap().key, state.status)
                });
                let payments = event.payments.iter().map(|payment| {
                    let amount = payment.amount.map_or(String::new(), |amount| format!(" {amount}"));
                    format!(" {}{amount}", payment.status)
                });
                format!("{}:{}", event.payer.as_ref().unwrap(), records.chain(payments).collect::<String>())
            }
        }
    }

    #[test]
    fn every_event_is_read_as_it_is_meant() {
        let cases = [
            ("TEST", "unused_type"),
            ("INITIAL_PURCHASE", "user:user_example: pro_monthly active 2026-01-31 paid 999"),
            ("RENEWAL", "user:user_example: pro_monthly active 2026-01-31 paid 999"),
            ("CANCELLATION", "user:user_example: pro_monthly canceled 2026-01-31"),
            ("UNCANCELLATION", "user:user_example: pro_monthly active 2026-01-31"),
            ("NON_RENEWING_PURCHASE", "user:user_example: pro_monthly active  paid 999"),
            ("SUBSCRIPTION_PAUSED", "user:user_example: pro_monthly canceled 2026-01-31"),
            ("EXPIRATION", "user:user_example: pro_monthly ended 2026-01-01"),
            ("BILLING_ISSUE", "user:user_example: pro_monthly past_due 2026-01-17 failed"),
            ("PRODUCT_CHANGE", "unused_type"),
            ("TRANSFER", "user:user_example:"),
            ("SUBSCRIPTION_EXTENDED", "user:user_example: pro_monthly active 2026-01-31"),
            ("TEMPORARY_ENTITLEMENT_GRANT", "user:user_example: pro_monthly canceled 2026-01-02"),
            ("REFUND_REVERSED", "user:user_example: pro_monthly active 2026-01-31 paid 999"),
        ];
        assert_eq!(RevenueCat.event_types(), cases.map(|(event_type, _)| event_type));
        for (event_type, expected) in cases {
            assert_eq!(read(event_type, &wish()), expected, "{event_type}");
        }
    }

    #[test]
    fn what_is_wished_for_is_in_the_event_or_refused() {
        let org = Wish { org: Some("org_acme".into()), plan: Some("team".into()), ..wish() };
        assert_eq!(read("RENEWAL", &org), "org:org_acme: team active 2026-01-31 paid 999");
        let trial = Wish { trial: true, user: Some("ada".into()), ..wish() };
        assert_eq!(read("INITIAL_PURCHASE", &trial), "user:ada: pro_monthly trialing 2026-01-08");
        let end = Wish { period_end: Some(Timestamp::from_secs(1_772_323_200)), ..wish() };
        assert_eq!(read("CANCELLATION", &end), "user:user_example: pro_monthly canceled 2026-03-01");
        for (event_type, refused) in [
            ("RENEWAL", Wish { flat: true, ..wish() }),
            ("RENEWAL", Wish { seats: Some(Seats::Limited(2)), ..wish() }),
            ("RENEWAL", Wish { status: Some("active".into()), ..wish() }),
            ("TRANSFER", Wish { plan: Some("pro".into()), ..wish() }),
            ("NON_RENEWING_PURCHASE", Wish { trial: true, ..wish() }),
            ("RENEWAL", Wish { org: Some("acme".into()), ..wish() }),
            ("RENEWAL", Wish { user: Some("u".into()), org: Some("org_1".into()), ..wish() }),
            ("RENEWAL", Wish { user: Some(String::new()), ..wish() }),
            ("REFUND", wish()),
        ] {
            assert!(matches!(RevenueCat.compose(event_type, &refused), Err(Failure::Usage(_))), "{event_type}");
        }
    }
}
