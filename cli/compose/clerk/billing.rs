//! Subscriptions, subscription items and payment attempts.

use plangate::payer::PayerKind;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use super::super::{MONTH_MS, PRICE, TRIAL_MS};
use super::{CREATED_AT, Scene, millis};
use crate::ids;

/// Clerk tells of a trial's end three days before.
const TRIAL_WARNING_MS: i64 = 3 * DAY_MS;
/// Between the making of a charge and its settlement.
const CHARGE_MS: i64 = 2_000;
/// What an invented seat costs, in cents.
const SEAT_PRICE: i64 = 500;
/// The plan, when nobody says.
const PLAN: &str = "pro";

/// A subscription with the paid item in this status, and the free item that every payer has.
pub(super) fn subscription<'a>(scene: &'a Scene<'a>, status: &'a str) -> Value {
    let paid = Item::new(scene, scene.wish.status_or(status));
    let mut items = vec![paid.json(Place::Inside)];
    if !paid.is_free() {
        items.push(paid.free_item_beside().json(Place::Inside));
    }
    let is_past_due = paid.status == "past_due";
    json!({
        "object": "commerce_subscription",
        "id": scene.payer.owned("csub_"),
        "status": if is_past_due { "past_due" } else { "active" },
        "active_at": scene.created_at(),
        "canceled_at": null,
        "ended_at": null,
        "past_due_at": is_past_due.then_some(scene.at()),
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
        "latest_payment_id": scene.payer.owned("cpay_"),
        "payment_source_id": scene.payer.owned("cps_"),
        "payer_id": scene.payer.owned("cpayer_"),
        "payer": payer(scene),
        "items": items,
    })
}

/// One item in this status.
pub(super) fn standalone_item<'a>(scene: &'a Scene<'a>, status: &'a str) -> Value {
    Item::new(scene, scene.wish.status_or(status)).json(Place::Standalone)
}

/// An attempt to charge for the paid item.
pub(super) fn payment_attempt<'a>(scene: &'a Scene<'a>, status: &'a str) -> Value {
    let status = scene.wish.status_or(status);
    let item = Item::new(scene, if status == "failed" { "past_due" } else { "active" });
    let is_settled = scene.event_type == "paymentAttempt.updated";
    let made_at = if is_settled { scene.after(-CHARGE_MS) } else { scene.at() };
    let mut payer = payer(scene);
    if let Some(fields) = payer.as_object_mut() {
        // Clerk's own examples of this event have no `object` here.
        fields.remove("object");
    }
    json!({
        "object": "commerce_payment_attempt",
        "id": ids::stable("pa_", &[&scene.payer.key(), item.plan]),
        "instance_id": scene.instance,
        "payment_id": ids::stable("cpay_", &[&scene.payer.key(), item.plan]),
        "invoice_id": ids::stable("inv_", &[&scene.payer.key(), item.plan]),
        "statement_id": scene.payer.owned("stmt_"),
        "gateway_external_id": ids::stable("pi_", &[&scene.payer.key(), item.plan]),
        "status": status,
        "charge_type": "recurring",
        "created_at": made_at,
        "updated_at": scene.at(),
        "billing_date": made_at,
        "paid_at": (status == "paid").then_some(scene.at()),
        "failed_at": (status == "failed").then_some(scene.at()),
        "failed_reason": (status == "failed")
            .then(|| json!({"code": "card_declined", "decline_code": "insufficient_funds"})),
        "payer": payer,
        "payee": {
            "id": ids::stable("cpayee_", &[scene.instance]),
            "gateway_type": "stripe",
            "gateway_external_id": ids::stable("acct_", &[scene.instance]),
            "gateway_status": "active",
        },
        "totals": {"subtotal": money(item.price()), "tax_total": money(0), "grand_total": money(item.price())},
        "payment_source": {
            "id": scene.payer.owned("cps_"),
            "gateway": "stripe",
            "gateway_external_id": scene.payer.owned("pm_"),
            "gateway_external_account_id": null,
            "payment_method": "card",
            "status": "active",
            "card_type": "visa",
            "last4": "4242",
        },
        "subscription_items": [item.json(Place::InPayment)],
    })
}

/// Where an item is shown. Each place shows it a little differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// As the `data` of its own event.
    Standalone,
    /// Among the `items` of a subscription.
    Inside,
    /// In a payment attempt.
    InPayment,
}

struct Item<'a> {
    scene: &'a Scene<'a>,
    plan: &'a str,
    status: &'a str,
    trial: bool,
    start: Timestamp,
    end: Option<Timestamp>,
}

impl<'a> Item<'a> {
    /// The item that was bought, in this status and with a period that fits it.
    fn new(scene: &'a Scene<'a>, status: &'a str) -> Self {
        let wish = scene.wish;
        let plan = wish.plan.as_deref().unwrap_or(PLAN);
        let is_warning = scene.event_type == "subscriptionItem.freeTrialEnding";
        let trial = wish.trial || is_warning;
        let length = if trial { TRIAL_MS } else { MONTH_MS };
        let in_full = wish.at.plus_millis(length);
        let end = wish.period_end.unwrap_or_else(|| match status {
            // The period is over; of one that is past due the next charge failed.
            "ended" | "expired" | "past_due" => wish.at,
            // It was to come after the current one.
            "upcoming" | "abandoned" => in_full.plus_millis(length),
            _ if is_warning => wish.at.plus_millis(TRIAL_WARNING_MS),
            _ => in_full,
        });
        let item = Self { scene, plan, status, trial, start: end.plus_millis(length.saturating_neg()), end: Some(end) };
        // The free plan does not end.
        if item.is_free() { Self { start: wish.at, end: None, ..item } } else { item }
    }

    /// The free item beside this one: it waits for the end of what is paid, and stands in where nothing is.
    fn free_item_beside(&self) -> Self {
        let (status, start) = match self.status {
            "active" | "past_due" => ("ended", self.scene.wish.at),
            "canceled" => ("upcoming", self.end.unwrap_or(self.scene.wish.at)),
            _ => ("active", self.scene.wish.at),
        };
        let plan = self.scene.payer.kind.default_free_plan();
        Self { scene: self.scene, plan, status, trial: false, start, end: None }
    }

    fn is_free(&self) -> bool {
        self.plan == self.scene.payer.kind.default_free_plan()
    }

    /// In cents.
    fn price(&self) -> i64 {
        if self.is_free() { 0 } else { PRICE }
    }

    fn json(&self, place: Place) -> Value {
        let scene = self.scene;
        let key = scene.payer.key();
        let at = scene.at();
        let mut item = json!({
            "object": match place {
                Place::Inside => "commerce_subscription_item",
                Place::Standalone | Place::InPayment => "subscription_item",
            },
            "id": ids::stable("csub_item_", &[&key, self.plan]),
            "status": self.status,
            "is_free_trial": self.trial,
            "created_at": self.start.as_millis().min(at),
            "updated_at": at,
            "period_start": self.start.as_millis(),
            "period_end": millis(self.end),
            "canceled_at": (self.status == "canceled").then_some(at),
            "past_due_at": (self.status == "past_due").then_some(at),
            "credit": {
                "amount": money(0),
                "cycle_days_remaining": 0,
                "cycle_days_total": 30,
                "cycle_remaining_percent": 0,
            },
            "proration_date": scene.wish.at.to_string().chars().take("2026-01-01".len()).collect::<String>(),
            "lifetime_paid": self.price(),
            "next_payment_amount": self.price(),
            "next_payment_date": millis(self.end),
            "amount": money(self.price()),
            "plan_id": self.plan_id(),
            "plan": self.plan_json(),
        });
        let Some(fields) = item.as_object_mut() else { return item };
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if scene.wish.seats.is_some() && !self.is_free() {
            put("seats", json!({"quantity": scene.wish.counted_seats()}));
        }
        match place {
            Place::Standalone => {
                put("interval", json!("month"));
                put("payer", payer(scene));
                put("subscription_id", json!(scene.payer.owned("csub_")));
            }
            Place::Inside => {
                put("interval", json!("month"));
                put("payer", Value::Null);
                put("subscription_id", Value::Null);
            }
            // The shape of clerk/javascript: another name for the interval, and no times of its own.
            Place::InPayment => {
                put("plan_period", json!("month"));
                fields.remove("created_at");
                fields.remove("updated_at");
            }
        }
        item
    }

    fn plan_id(&self) -> String {
        ids::stable("cplan_", &[self.scene.payer.kind.as_str(), self.plan])
    }

    fn plan_json(&self) -> Value {
        let is_free = self.is_free();
        let mut plan = json!({
            "object": "commerce_plan",
            "id": self.plan_id(),
            "instance_id": self.scene.instance,
            "product_id": ids::stable("cprod_", &[self.scene.payer.kind.as_str()]),
            "slug": self.plan,
            "name": plan_name(self.plan),
            "description": "Invented for a test",
            "is_default": is_free,
            "is_recurring": !is_free,
            "is_prorated": !is_free,
            "has_base_fee": !is_free,
            "publicly_visible": true,
            "amount": self.price(),
            "annual_monthly_amount": self.price(),
            "currency": "USD",
            "period": "month",
            "interval": 1,
        });
        if let (Some(fields), Some(_), false) = (plan.as_object_mut(), self.scene.wish.seats, is_free) {
            let tier = json!({
                "starts_at_block": 1,
                "ends_after_block": null,
                "amount_per_block": SEAT_PRICE,
                "currency": "USD",
            });
            let prices = json!([{"name": "seats", "block_size": 1, "tiers": [tier]}]);
            fields.insert("unit_prices".to_owned(), prices);
        }
        plan
    }
}

/// The fields of the other kind of payer are empty texts, as Clerk sends them.
fn payer(scene: &Scene<'_>) -> Value {
    let is_org = scene.payer.kind == PayerKind::Org;
    let of_user = |text: &'static str| if is_org { "" } else { text };
    json!({
        "object": "commerce_payer",
        "id": scene.payer.owned("cpayer_"),
        "instance_id": scene.instance,
        "user_id": if is_org { "" } else { scene.payer.id },
        "first_name": of_user("Ada"),
        "last_name": of_user("Example"),
        "email": if is_org { "billing@example.test" } else { "ada@example.test" },
        "organization_id": if is_org { scene.payer.id } else { "" },
        "organization_name": if is_org { "Example Ltd" } else { "" },
        "image_url": "https://img.example.test/payer.png",
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
    })
}

/// An amount of cents as Clerk writes it.
fn money(cents: i64) -> Value {
    let dollars = cents.div_euclid(100);
    let rest = cents.rem_euclid(100);
    json!({
        "amount": cents,
        "amount_formatted": format!("${dollars}.{rest:02}"),
        "currency": "USD",
        "currency_symbol": "$",
    })
}

/// `free_user` → `Free user`.
fn plan_name(slug: &str) -> String {
    let words = slug.replace(['_', '-'], " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
