//! Lemon Squeezy's events: JSON:API documents with the envelope's facts in `meta`.
//!
//! Source: <https://docs.lemonsqueezy.com/help/webhooks/example-payloads>. Ids are numbers; the plan is the id of a variant.

use plangate::event::Seats;
use plangate::payer::PayerKind;
use plangate::time::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use super::{Composed, Composer, MONTH_MS, PRICE, TRIAL_MS, Wish, WishedPayer, names, refuse_misplaced, shape_of};
use crate::failure::Failure;
use crate::ids;

pub(super) struct LemonSqueezy;

/// The variant and its product, when nobody says.
const VARIANT: &str = "1001";
const PRODUCT: i64 = 500;
const STORE: i64 = 7;
/// The next attempt after one that failed.
const RETRY_MS: i64 = 3 * DAY_MS;

/// What `data` is, and in which status unless another is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Subscription(&'static str),
    Invoice(&'static str),
    Order(&'static str),
    LicenseKey,
}

const EVENTS: &[(&str, Shape)] = &[
    ("order_created", Shape::Order("paid")),
    ("order_refunded", Shape::Order("refunded")),
    ("subscription_created", Shape::Subscription("active")),
    ("subscription_updated", Shape::Subscription("active")),
    ("subscription_cancelled", Shape::Subscription("cancelled")),
    ("subscription_resumed", Shape::Subscription("active")),
    ("subscription_expired", Shape::Subscription("expired")),
    ("subscription_paused", Shape::Subscription("paused")),
    ("subscription_unpaused", Shape::Subscription("active")),
    ("subscription_payment_success", Shape::Invoice("paid")),
    ("subscription_payment_failed", Shape::Invoice("pending")),
    ("subscription_payment_recovered", Shape::Invoice("paid")),
    ("subscription_payment_refunded", Shape::Invoice("refunded")),
    ("license_key_created", Shape::LicenseKey),
    ("license_key_updated", Shape::LicenseKey),
];

impl Composer for LemonSqueezy {
    fn provider(&self) -> &'static str {
        "lemonsqueezy"
    }

    fn event_types(&self) -> Vec<&'static str> {
        names(EVENTS)
    }

    fn statuses(&self) -> &'static [&'static str] {
        &["on_trial", "active", "paused", "past_due", "unpaid", "cancelled", "expired"]
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let shape = shape_of(self, EVENTS, event_type)?;
        check(event_type, shape, wish)?;
        let scene = Scene { wish, payer: wish.payer() };
        let (object_type, id, attributes) = match shape {
            Shape::Subscription(status) => ("subscriptions", scene.subscription_id(), scene.subscription(status)),
            Shape::Invoice(status) => ("subscription-invoices", scene.number("invoice"), scene.invoice(status)),
            Shape::Order(status) => ("orders", scene.order_id(), scene.order(status)),
            Shape::LicenseKey => ("license-keys", scene.number("license"), scene.license_key()),
        };
        let custom = match scene.payer.kind {
            PayerKind::User => json!({"user_id": scene.payer.id}),
            PayerKind::Org => json!({"org_id": scene.payer.id}),
        };
        let body = json!({
            "meta": {"test_mode": false, "event_name": event_type, "custom_data": custom},
            "data": {
                "type": object_type,
                "id": id.to_string(),
                "attributes": attributes,
                "links": {"self": format!("https://api.lemonsqueezy.com/v1/{object_type}/{id}")},
            },
        });
        Ok(Composed { body, about: scene.payer.key() })
    }
}

fn check(event_type: &str, shape: Shape, wish: &Wish) -> Result<(), Failure> {
    let is_subscription = matches!(shape, Shape::Subscription(_));
    let is_license = shape == Shape::LicenseKey;
    let refused = [
        ("--flat", wish.flat),
        ("--trial", wish.trial && !is_subscription),
        ("--period-end", wish.period_end.is_some() && !is_subscription),
        ("--seats", wish.seats.is_some() && (is_license || matches!(shape, Shape::Invoice(_)))),
        ("--status", wish.status.is_some() && is_license),
        ("--seats unlimited", wish.seats == Some(Seats::Unlimited)),
        ("--plan", wish.plan.is_some() && matches!(shape, Shape::Invoice(_))),
    ];
    refuse_misplaced(event_type, &refused)?;
    wish.check_one_payer(event_type)?;
    wish.check_ids()
}

struct Scene<'a> {
    wish: &'a Wish,
    payer: WishedPayer<'a>,
}

impl Scene<'_> {
    /// A number that is the same whenever it names the same thing of this payer.
    fn number(&self, what: &str) -> u32 {
        let digits = ids::stable("", &[&self.payer.key(), what]);
        digits.get(..7).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(1)
    }

    fn subscription_id(&self) -> u32 {
        self.number("subscription")
    }

    /// The order of something bought once, which is another than the one by which the subscription was bought.
    fn order_id(&self) -> u32 {
        self.number(&format!("order {}", self.variant()))
    }

    fn variant(&self) -> Value {
        let variant = self.wish.plan.as_deref().unwrap_or(VARIANT);
        variant.parse::<u64>().map_or_else(|_| json!(variant), |number| json!(number))
    }

    fn at(&self) -> String {
        moment(self.wish.at)
    }

    fn quantity(&self) -> u32 {
        self.wish.counted_seats().unwrap_or(1)
    }

    fn subscription(&self, status: &'static str) -> Value {
        let status = self.wish.status_or(if self.wish.trial { "on_trial" } else { status });
        let at = self.wish.at;
        let end = self.wish.period_end.unwrap_or_else(|| match status {
            "expired" => at,
            "past_due" => at.plus_millis(RETRY_MS),
            "on_trial" => at.plus_millis(TRIAL_MS),
            _ => at.plus_millis(MONTH_MS),
        });
        let is_over = matches!(status, "cancelled" | "expired");
        let anchor = moment(end).get("2026-01-".len().."2026-01-01".len()).and_then(|day| day.parse::<u8>().ok());
        json!({
            "store_id": STORE,
            "customer_id": self.number("customer"),
            "order_id": self.number("subscription order"),
            "order_item_id": self.number("subscription order item"),
            "product_id": PRODUCT,
            "variant_id": self.variant(),
            "product_name": "Example",
            "variant_name": "Monthly",
            "user_name": "Ada Example",
            "user_email": "ada@example.test",
            "status": status,
            "status_formatted": status,
            "card_brand": "visa",
            "card_last_four": "4242",
            "pause": (status == "paused").then(|| json!({"mode": "void", "resumes_at": null})),
            "cancelled": is_over,
            "trial_ends_at": (status == "on_trial").then(|| moment(end)),
            "billing_anchor": anchor,
            "first_subscription_item": {
                "id": self.number("subscription item"),
                "subscription_id": self.subscription_id(),
                "price_id": self.number("price"),
                "quantity": self.quantity(),
                "is_usage_based": false,
            },
            "urls": {
                "update_payment_method": "https://shop.example.test/subscription/payment-details",
                "customer_portal": "https://shop.example.test/billing",
            },
            "renews_at": moment(end),
            "ends_at": is_over.then(|| moment(end)),
            "created_at": self.at(),
            "updated_at": self.at(),
            "test_mode": false,
        })
    }

    fn invoice(&self, status: &'static str) -> Value {
        self.charge(
            status,
            [
                ("subscription_id", json!(self.subscription_id())),
                ("billing_reason", json!("renewal")),
                ("card_brand", json!("visa")),
                ("card_last_four", json!("4242")),
            ],
        )
    }

    fn order(&self, status: &'static str) -> Value {
        let item = json!({
            "id": self.number("order item"),
            "order_id": self.order_id(),
            "product_id": PRODUCT,
            "variant_id": self.variant(),
            "product_name": "Example",
            "variant_name": "Once",
            "price": PRICE,
            "quantity": self.quantity(),
            "created_at": self.at(),
            "updated_at": self.at(),
            "test_mode": false,
        });
        self.charge(
            status,
            [
                ("identifier", json!(ids::stable("", &[&self.payer.key(), "order"]))),
                ("order_number", json!(1)),
                ("first_order_item", item),
                ("urls", json!({"receipt": "https://shop.example.test/receipt"})),
            ],
        )
    }

    /// What invoices and orders alike say of what was paid, with what only one of them says.
    fn charge<const N: usize>(&self, status: &'static str, own: [(&str, Value); N]) -> Value {
        let status = self.wish.status_or(status);
        let is_refunded = status == "refunded";
        let mut charge = json!({
            "store_id": STORE,
            "customer_id": self.number("customer"),
            "user_name": "Ada Example",
            "user_email": "ada@example.test",
            "currency": "USD",
            "currency_rate": "1.00000000",
            "status": status,
            "status_formatted": status,
            "refunded": is_refunded,
            "refunded_at": is_refunded.then(|| self.at()),
            "subtotal": PRICE,
            "total": PRICE,
            "refunded_amount": if is_refunded { PRICE } else { 0 },
            "created_at": self.at(),
            "updated_at": self.at(),
            "test_mode": false,
        });
        if let Some(fields) = charge.as_object_mut() {
            fields.extend(own.map(|(name, value)| (name.to_owned(), value)));
        }
        charge
    }

    fn license_key(&self) -> Value {
        json!({
            "store_id": STORE,
            "customer_id": self.number("customer"),
            "order_id": self.order_id(),
            "product_id": PRODUCT,
            "user_email": "ada@example.test",
            "key_short": "XXXX-000000000001",
            "activation_limit": 1,
            "instances_count": 0,
            "disabled": false,
            "status": "inactive",
            "expires_at": null,
            "created_at": self.at(),
            "updated_at": self.at(),
            "test_mode": false,
        })
    }
}

/// As Lemon Squeezy writes it: with microseconds, of which it keeps none.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}.000000Z", text.get(.."2026-01-01T00:00:00".len()).unwrap_or_default())
}
