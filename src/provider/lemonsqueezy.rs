//! Lemon Squeezy: subscriptions, their invoices, and orders of what is bought once.
//!
//! In scope: who sent it, test mode, what it says about subscriptions, orders and payments. Out of scope: license keys,
//! and what a variant contains (the catalog says).
//!
//! Sources: <https://docs.lemonsqueezy.com/help/webhooks/event-types>,
//! <https://docs.lemonsqueezy.com/help/webhooks/signing-requests>, <https://docs.lemonsqueezy.com/api/subscriptions>.

mod api;

use sha2::{Digest as _, Sha256};

use super::object::Object;
use super::{Environment, Ours, Provider, listing};
use crate::api::Api;
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{Event, IgnoredReason, Link, ParseError, Parsed, Payment, PlanRef, Record, Seats, State, Version};
use crate::hex_signature;
use crate::json::{self, Json};
use crate::payer::Payer;
use crate::secret::{Secret, SecretError};
use crate::status::Status;
use crate::time::{DAY_MS, Timestamp};

pub(super) struct LemonSqueezy;

const SIGNATURE: &str = "x-signature";

/// A charge that failed is tried four more times within two weeks; then the subscription is `unpaid`.
/// <https://docs.lemonsqueezy.com/help/online-store/recovery-dunning>
const DUNNING_DAYS: i64 = 14;

impl Provider for LemonSqueezy {
    fn name(&self) -> &'static str {
        "lemonsqueezy"
    }

    fn secret_names(&self) -> &'static [&'static str] {
        &["LEMONSQUEEZY_WEBHOOK_SECRET"]
    }

    /// `X-Event-Name` is not signed, so it is not even read.
    fn signature_headers(&self) -> &'static [&'static [&'static str]] {
        &[&[SIGNATURE]]
    }

    fn parse_secret(&self, _setting: &'static str, text: &str) -> Result<Secret, SecretError> {
        Secret::new(text.trim().as_bytes())
    }

    /// 1. The header is there. 2. It is the MAC of the body with one of the secrets. Neither a time nor an id is sent: a
    ///    delivery that is played again is known by the digest of its body, and its order by the object's own clock.
    fn verify<'a>(
        &self,
        delivery: &'a Delivery,
        secrets: &[Secret],
        _ours: &Ours,
        _now: Timestamp,
    ) -> Result<Verified<'a>, VerifyError> {
        // 1.
        let signature =
            delivery.headers.value(SIGNATURE).ok_or_else(|| VerifyError::MissingHeaders(vec![SIGNATURE]))?;

        // 2.
        if !hex_signature::any_fits(&signature, &[&delivery.body], secrets) {
            return Err(VerifyError::NoMatchingSignature);
        }
        let digest = hex_signature::hex(&Sha256::digest(&delivery.body));
        Ok(Verified::new(format!("sha256_{digest}"), None, &delivery.body))
    }

    fn parse(&self, verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
        parse(verified, ours)
    }

    fn api(&self) -> Option<&'static dyn Api> {
        Some(&api::StoreApi)
    }

    fn sign(&self, secret: &Secret, _event_id: &str, _now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        vec![(SIGNATURE, hex_signature::sign(secret, &[body]))]
    }
}

/// What `data` is, by the name of the event. A name that we do not know comes beside `subscription_updated`, which is
/// sent for every change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Subscription,
    Invoice,
    Order,
}

impl Kind {
    fn of(event_type: &str) -> Option<Self> {
        match event_type {
            "subscription_created"
            | "subscription_updated"
            | "subscription_cancelled"
            | "subscription_resumed"
            | "subscription_expired"
            | "subscription_paused"
            | "subscription_unpaused" => Some(Self::Subscription),
            "subscription_payment_success"
            | "subscription_payment_failed"
            | "subscription_payment_recovered"
            | "subscription_payment_refunded" => Some(Self::Invoice),
            "order_created" | "order_refunded" => Some(Self::Order),
            _ => None,
        }
    }

    fn object_type(self) -> &'static str {
        match self {
            Self::Subscription => "subscriptions",
            Self::Invoice => "subscription-invoices",
            Self::Order => "orders",
        }
    }
}

fn parse(verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
    let unread = |event_type, cause| ParseError { event_type, cause };
    let body =
        json::parse_sent(verified.body()).map_err(|error| unread(None, format!("reading the envelope: {error}")))?;
    let in_envelope = |cause| unread(None, format!("reading the envelope: {cause}"));
    let meta = Object(&body).object("meta").map_err(in_envelope)?;
    let event_type = meta.text_only("event_name").map_err(in_envelope)?;
    let Some(event_type) = event_type else {
        return Err(unread(None, "the envelope has no `meta.event_name`".into()));
    };

    let in_event = |cause| unread(Some(event_type.clone()), format!("reading `{event_type}`: {cause}"));
    let data = Object(&body).object("data").map_err(in_event)?;
    let modes = [meta, data.object("attributes").map_err(in_event)?].map(|object| object.flag("test_mode"));
    if is_of_other_environment(modes, ours).map_err(in_event)? {
        return Ok(Parsed::Ignored { event_type, reason: IgnoredReason::OtherEnvironment });
    }
    let Some(kind) = Kind::of(&event_type) else {
        return Ok(Parsed::Ignored { event_type, reason: IgnoredReason::UnusedType });
    };
    let event = Shown::read(&event_type, verified.event_id(), kind, meta, data).and_then(|shown| shown.event(kind));
    event.map(Parsed::Event).map_err(in_event)
}

/// Both the envelope and the object say whether they are of test mode; either is enough to keep it from counting as money.
fn is_of_other_environment(modes: [Result<Option<bool>, String>; 2], ours: &Ours) -> Result<bool, String> {
    let [envelope, object] = modes;
    Ok(envelope?.max(object?).is_some_and(|is_test| is_test != (ours.environment == Environment::Sandbox)))
}

/// The object of an event, with what all kinds of it have.
struct Shown<'a> {
    event_type: &'a str,
    event_id: &'a str,
    id: String,
    payer: Option<Payer>,
    customer: Option<String>,
    /// The object's own clock, and the only one: the envelope has none.
    at: Timestamp,
    created_at: Option<Timestamp>,
    attributes: Object<'a>,
}

impl<'a> Shown<'a> {
    fn read(
        event_type: &'a str,
        event_id: &'a str,
        kind: Kind,
        meta: Object<'a>,
        data: Object<'a>,
    ) -> Result<Self, String> {
        let object_type = kind.object_type();
        if data.text("type")?.is_some_and(|shown| shown != object_type) {
            return Err(format!("`data` is not of type `{object_type}`"));
        }
        let attributes = data.object("attributes")?;
        let created_at = attributes.moment("created_at")?;
        Ok(Self {
            event_type,
            event_id,
            id: data.text("id")?.ok_or("`data` has no `id`")?,
            payer: meta.payer_within("custom_data")?,
            customer: attributes.text("customer_id")?,
            at: attributes.moment("updated_at")?.or(created_at).ok_or("nothing says when it changed")?,
            created_at,
            attributes,
        })
    }

    /// One action makes several events with equal times, so how far along the object is decides among them.
    fn version(&self, progress: u8) -> Version {
        Version::new(self.at, self.at, progress, self.event_id)
    }

    fn event(&self, kind: Kind) -> Result<Event, String> {
        let (records, payments) = match kind {
            Kind::Subscription => (self.subscription()?, Vec::new()),
            Kind::Invoice => (Vec::new(), vec![self.invoice()?]),
            Kind::Order => {
                (vec![self.order()?], vec![self.payment(order_record(&self.id), Some(order_record(&self.id)))?])
            }
        };
        let link = self.customer.clone().zip(self.payer.clone());
        let link = link.map(|(customer, payer)| Link { customer, payer, version: self.version(0) });
        Ok(Event {
            event_type: self.event_type.to_owned(),
            occurred_at: self.at,
            payer: self.payer.clone(),
            deleted_at: None,
            records,
            payments,
            links: link.into_iter().collect(),
            signed: None,
        })
    }

    fn record(&self, id: String, plan: Option<PlanRef>, state: State) -> Record {
        Record {
            id,
            version: self.version(state.status.progress()),
            occurred_at: self.at,
            payer: self.payer.clone(),
            customer: self.customer.clone(),
            subscription: None,
            plan,
            trial: false,
            started_at: self.created_at,
            state: Some(state),
        }
    }

    /// The subscription, and the end of the order by which it was bought.
    fn subscription(&self) -> Result<Vec<Record>, String> {
        let shown = self.attributes;
        let status = shown.text("status")?.ok_or("a subscription without `status`")?;
        let [renews_at, ends_at, trial_ends_at] =
            [shown.moment("renews_at")?, shown.moment("ends_at")?, shown.moment("trial_ends_at")?];
        let pause = object(shown, "pause")?;
        let (status, period_end) = match status.as_str() {
            "on_trial" => (Status::Trialing, trial_ends_at.or(renews_at)),
            "active" => (Status::Active, renews_at),
            "cancelled" => (Status::Canceled, ends_at.or(renews_at)),
            "expired" => (Status::Ended, ends_at),
            // Nothing is collected, but the service goes on.
            "paused" if pause.text("mode")?.as_deref() == Some("free") => (Status::Active, pause.moment("resumes_at")?),
            // `renews_at` is the next attempt to charge now: the time that was paid for is over.
            "paused" | "past_due" | "unpaid" => (Status::parse(&status), None),
            other => (Status::parse(other), renews_at),
        };
        let is_canceled = shown.flag("cancelled")? == Some(true) || ends_at.is_some();
        let (status, period_end) = match status {
            Status::Active | Status::Trialing if is_canceled => {
                (Status::Canceled, [ends_at, period_end].into_iter().flatten().min())
            }
            other => (other, period_end),
        };
        let past_due_since = match status {
            Status::PastDue => Some(self.due_at(trial_ends_at)?),
            _ => None,
        };
        let item = object(shown, "first_subscription_item")?;
        let state = State {
            period_end,
            cancel_at: period_end.filter(|_| status == Status::Canceled),
            ended_at: ends_at.filter(|_| status == Status::Ended),
            past_due_since,
            // What is sold by use has no number of seats.
            seats: if item.flag("is_usage_based")? == Some(true) { None } else { seats(item)? },
            ..State::new(status)
        };
        let subscription = Record {
            subscription: Some(self.id.clone()),
            trial: trial_ends_at.is_some(),
            ..self.record(self.id.clone(), plan(shown)?, state)
        };
        let order = shown.text("order_id")?.map(|order| self.end_of_order(&order));
        Ok([Some(subscription), order].into_iter().flatten().collect())
    }

    /// Every subscription is bought by an order, and `order_created` does not tell such an order from one of something
    /// bought once: it is told by the subscription. The order's record ends with a version that no event of the order can
    /// pass, whichever comes first, so that of the two only the subscription grants.
    fn end_of_order(&self, order: &str) -> Record {
        let state = State::new(Status::Ended);
        Record {
            version: Version::new(Timestamp::MAX, self.at, state.status.progress(), self.event_id),
            payer: None,
            customer: None,
            subscription: Some(self.id.clone()),
            started_at: None,
            ..self.record(order_record(order), None, state)
        }
    }

    /// When the charge that failed was due. The body does not tell, and `updated_at` moves with each further attempt, so
    /// that days of grace would be counted from the last one. Charges are due at the end of a trial and on the day of the
    /// month in `billing_anchor`; the last such day within the two weeks of further attempts is the one.
    fn due_at(&self, trial_ends_at: Option<Timestamp>) -> Result<Timestamp, String> {
        let anchor = self.attributes.whole("billing_anchor")?.unwrap_or(0);
        let days_before = |days: i64| self.at.plus_millis(DAY_MS.saturating_mul(days.saturating_neg()));
        let is_anchor = |day: &Timestamp| {
            let of_month = day.day_of_month();
            // The 31st is the last day of a shorter month.
            let is_last = day.plus_millis(DAY_MS).day_of_month() == 1;
            anchor == of_month || (is_last && anchor > of_month)
        };
        let time_of_day = self.created_at.map_or(0, |created_at| created_at.as_millis().rem_euclid(DAY_MS));
        let by_anchor = (0..=DUNNING_DAYS).map(days_before).find(is_anchor).map(|day| {
            let midnight = day.plus_millis(day.as_millis().rem_euclid(DAY_MS).saturating_neg());
            midnight.plus_millis(time_of_day).min(self.at)
        });
        let earliest = days_before(DUNNING_DAYS);
        let by_trial = trial_ends_at.filter(|end| (earliest..=self.at).contains(end));
        Ok(by_trial.or(by_anchor).unwrap_or(self.at))
    }

    fn invoice(&self) -> Result<Payment, String> {
        let record = self.attributes.text("subscription_id")?;
        self.payment(self.id.clone(), record)
    }

    fn order(&self) -> Result<Record, String> {
        let status = self.attributes.text("status")?.ok_or("an order without `status`")?;
        let status = match status.as_str() {
            // What was paid back is told by the payment; whether that ends anything is not said here.
            "paid" | "refunded" | "partial_refund" => Status::Active,
            "pending" | "failed" => Status::Incomplete,
            other => Status::parse(other),
        };
        let item = object(self.attributes, "first_order_item")?;
        let state = State { seats: seats(item)?, ..State::new(status) };
        Ok(self.record(order_record(&self.id), plan(item)?, state))
    }

    /// The payment that an invoice or an order is. It is one object over all attempts, and they are not counted.
    fn payment(&self, id: String, record: Option<String>) -> Result<Payment, String> {
        let shown = self.attributes;
        let [total, refunded] = [shown.whole("total")?, shown.whole("refunded_amount")?];
        let is_partial =
            || matches!((total, refunded), (Some(total), Some(refunded)) if 0 < refunded && refunded < total);
        // An invoice is `pending` between two attempts: that one has failed is told by the name of the event.
        let status = shown.text("status")?;
        let (status, progress) = match status.as_deref() {
            Some("partial_refund" | "partial_refunded") => ("partially_refunded", 4),
            _ if self.event_type.ends_with("_refunded") && is_partial() => ("partially_refunded", 4),
            Some("refunded") => ("refunded", 5),
            _ if self.event_type.ends_with("_refunded") => ("refunded", 5),
            Some("paid") => ("paid", 3),
            _ if self.event_type.ends_with("_failed") => ("failed", 2),
            other => (other.unwrap_or("pending"), 1),
        };
        Ok(Payment {
            version: self.version(progress),
            occurred_at: self.at,
            payer: self.payer.clone(),
            customer: self.customer.clone(),
            record,
            attempt: None,
            payment: Some(id.clone()),
            status: status.to_owned(),
            amount: refunded.filter(|_| progress >= 4).or(total),
            currency: shown.text("currency")?,
            charge_type: shown.text("billing_reason")?.map(|reason| match reason.as_str() {
                "initial" => "checkout".to_owned(),
                "renewal" => "recurring".to_owned(),
                _ => reason,
            }),
            // The charge, not the making of the invoice: a failure counts while no later charge was paid.
            created_at: self.at,
            failure_code: None,
            id,
        })
    }
}

const ORDER: &str = "order:";

/// The object in a field. PHP writes one without fields as `[]`.
fn object<'a>(of: Object<'a>, name: &str) -> Result<Object<'a>, String> {
    if matches!(of.list(name), Ok([])) { Ok(Object(&Json::Null)) } else { of.object(name) }
}

fn order_record(id: &str) -> String {
    format!("{ORDER}{id}")
}

fn is_order(record: &str) -> bool {
    record.starts_with(ORDER)
}

/// The variant, which is what has a price; the product where there is none.
fn plan(sold: Object<'_>) -> Result<Option<PlanRef>, String> {
    let [variant, product] = [sold.text("variant_id")?, sold.text("product_id")?];
    let Some(key) = variant.or_else(|| product.clone()) else { return Ok(None) };
    // The two are numbers of different lists and may be equal, which would read as a plan without a name of its own.
    let id = product.filter(|product| *product != key);
    Ok(Some(PlanRef { key, id, free: false }))
}

fn seats(item: Object<'_>) -> Result<Option<Seats>, String> {
    let quantity = item.whole("quantity")?.and_then(|quantity| u32::try_from(quantity).ok());
    Ok(quantity.filter(|quantity| *quantity > 0).map(Seats::Limited))
}
