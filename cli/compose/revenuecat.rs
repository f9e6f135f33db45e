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

    fn statuses(&self) -> &'static [&'static str] {
        &[]
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
