//! RevenueCat: purchases in the app stores (and others), told as events without a status.
//!
//! In scope: who sent it, sandbox, what it says about subscriptions, purchases and payments. Out of scope: what a product
//! contains (the catalog says), virtual currency, experiments, paywalls.
//!
//! An event does not carry the object, so its status follows from the event's type and its dates.
//!
//! Sources: <https://www.revenuecat.com/docs/integrations/webhooks/event-types-and-fields>,
//! <https://www.revenuecat.com/docs/integrations/webhooks/event-flows>. No official text was found for the signature
//! header; it is read as several independent public integrations read it.

use sha2::{Digest as _, Sha256};

use super::object::{Object, payer_named};
use super::{Environment, Ours, Provider};
use crate::delivery::{Delivery, Verified, VerifyError};
use crate::event::{Event, IgnoredReason, Link, ParseError, Parsed, Payment, PlanRef, Record, State, Version};
use crate::hex_signature::{self, TimedHeader};
use crate::json;
use crate::payer::Payer;
use crate::secret::{Secret, SecretError, Use};
use crate::status::Status;
use crate::time::{DAY_MS, Timestamp};

pub(super) struct RevenueCat;

const AUTHORIZATION: &str = "authorization";
const SIGNATURE: &str = "x-revenuecat-webhook-signature";
/// The value of the `Authorization` header, as it stands in the dashboard.
const HEADER_SETTING: &str = "REVENUECAT_WEBHOOK_SECRET";
/// The key of the signature, for integrations that have it switched on.
const SIGNING_SETTING: &str = "REVENUECAT_SIGNING_SECRET";
/// What integrations use, either way.
const TOLERANCE_SECS: u32 = 300;

/// What RevenueCat calls somebody who has not logged in.
const ANONYMOUS: &str = "$RCAnonymousID:";

/// `CANCELLATION` for an error of billing, `BILLING_ISSUE` and, without a grace period, `EXPIRATION` are sent for one
/// thing that happened, in any order and with times of their own. The last says most, so a `BILLING_ISSUE` counts as a
/// second older: otherwise it would bring back what expired with it. The first says least, and above all not the grace period
/// that `BILLING_ISSUE` alone tells. So it counts as older than what told of the period whose end it is about, and changes
/// nothing where that is known.
///
/// A `RENEWAL` may come before the `BILLING_ISSUE` about the charge that it made good, which then still tells the end of the
/// period before: it is about that time, whenever it was made.
const TWIN_MS: i64 = 1_000;

impl Provider for RevenueCat {
    fn name(&self) -> &'static str {
        "revenuecat"
    }

    fn secret_names(&self) -> &'static [&'static str] {
        &[HEADER_SETTING, SIGNING_SETTING]
    }

    fn signature_headers(&self) -> &'static [&'static [&'static str]] {
        &[&[AUTHORIZATION], &[SIGNATURE]]
    }

    fn parse_secret(&self, setting: &'static str, text: &str) -> Result<Secret, SecretError> {
        let text = text.trim();
        if setting == SIGNING_SETTING { Secret::new(text.as_bytes()) } else { Secret::header(text) }
    }

    /// 1. For each kind of secret that is set, its header is there: who set a signing secret is not answered by a header
    ///    that anybody who once saw it can repeat. 2. The `Authorization` header is one of the values. 3. The signature
    ///    fits, and its time is within the tolerance.
    fn verify<'a>(
        &self,
        delivery: &'a Delivery,
        secrets: &[Secret],
        _ours: &Ours,
        now: Timestamp,
    ) -> Result<Verified<'a>, VerifyError> {
        // 1.
        let of = |use_| -> Vec<Secret> { secrets.iter().filter(|secret| secret.use_() == use_).cloned().collect() };
        let (values, keys) = (of(Use::Header), of(Use::Signing));
        let needed = [(AUTHORIZATION, !values.is_empty()), (SIGNATURE, !keys.is_empty())];
        let needed = needed.into_iter().filter(|(_, is_needed)| *is_needed).map(|(name, _)| name);
        let missing: Vec<_> = needed.filter(|name| delivery.headers.value(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(VerifyError::MissingHeaders(missing));
        }

        // 2. Every value is looked at, so that the time taken does not tell which one was close.
        let presented = delivery.headers.value(AUTHORIZATION).unwrap_or_default();
        let fits = values.iter().fold(false, |fits, value| value.is(&presented) | fits);
        if !fits && (keys.is_empty() || !values.is_empty()) {
            return Err(VerifyError::NoMatchingSignature);
        }

        // 3.
        let sent_at = match delivery.headers.value(SIGNATURE).filter(|_| !keys.is_empty()) {
            None => None,
            Some(header) => {
                let header = TimedHeader::parse(&header, ',', "t", "v1");
                Some(header.verify(b".", &delivery.body, &keys, TOLERANCE_SECS, now)?)
            }
        };
        Ok(Verified::new(event_id(&delivery.body), sent_at, &delivery.body))
    }

    fn parse(&self, verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
        parse(verified, ours)
    }

    fn sign(&self, secret: &Secret, _event_id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        if let Some(value) = secret.header_value() {
            return vec![(AUTHORIZATION, value.to_owned())];
        }
        let time = now.as_secs().to_string();
        let signature = hex_signature::sign(secret, &[time.as_bytes(), b".", body]);
        vec![(SIGNATURE, format!("t={time},v1={signature}"))]
    }
}

/// The event's own id, which is the same for every attempt; of a body without one, its digest.
fn event_id(body: &[u8]) -> String {
    let read = json::parse_sent(body).ok();
    let id = read.and_then(|body| Object(&body).object("event").ok()?.text("id").ok().flatten());
    id.unwrap_or_else(|| format!("sha256_{}", hex_signature::hex(&Sha256::digest(body))))
}

/// What an event says about a purchase.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Paid for, and renews.
    Renews,
    /// Paid for once.
    Once,
    /// Goes on to the end of what was paid for.
    Ends,
    /// The charge failed.
    Fails,
    /// Over.
    Over,
    /// For a day at most, while the store cannot be asked.
    Temporary,
    /// Moves purchases between users without naming them.
    Transfer,
}

impl Kind {
    /// `PRODUCT_CHANGE` only announces; the change comes with the next `RENEWAL` or `INITIAL_PURCHASE`.
    fn of(event_type: &str, reason: Option<&str>) -> Option<Self> {
        match (event_type, reason) {
            ("INITIAL_PURCHASE" | "RENEWAL" | "UNCANCELLATION" | "SUBSCRIPTION_EXTENDED" | "REFUND_REVERSED", _) => {
                Some(Self::Renews)
            }
            ("NON_RENEWING_PURCHASE", _) => Some(Self::Once),
            ("BILLING_ISSUE", _) | ("CANCELLATION", Some("BILLING_ERROR")) => Some(Self::Fails),
            // A pause begins when the period ends, with an `EXPIRATION`.
            ("CANCELLATION" | "SUBSCRIPTION_PAUSED", _) => Some(Self::Ends),
            ("EXPIRATION", _) => Some(Self::Over),
            ("TEMPORARY_ENTITLEMENT_GRANT", _) => Some(Self::Temporary),
            ("TRANSFER", _) => Some(Self::Transfer),
            _ => None,
        }
    }
}

fn parse(verified: &Verified<'_>, ours: &Ours) -> Result<Parsed, ParseError> {
    let unread = |event_type, cause| ParseError { event_type, cause };
    let body =
        json::parse_sent(verified.body()).map_err(|error| unread(None, format!("reading the envelope: {error}")))?;
    let in_envelope = |cause| unread(None, format!("reading the envelope: {cause}"));
    let told = Object(&body).object("event").map_err(in_envelope)?;
    let event_type = told.text_only("type").map_err(in_envelope)?;
    let Some(event_type) = event_type else {
        return Err(unread(None, "the envelope has no `event.type`".into()));
    };

    let in_event = |cause| unread(Some(event_type.clone()), format!("reading `{event_type}`: {cause}"));
    let environment = match told.text("environment").map_err(in_event)?.as_deref() {
        Some("SANDBOX") => Some(Environment::Sandbox),
        Some("PRODUCTION") => Some(Environment::Production),
        _ => None,
    };
    if environment.is_some_and(|environment| environment != ours.environment) {
        return Ok(Parsed::Ignored { event_type, reason: IgnoredReason::OtherEnvironment });
    }
    let reason = told.text("cancel_reason").map_err(in_event)?;
    let Some(kind) = Kind::of(&event_type, reason.as_deref()) else {
        return Ok(Parsed::Ignored { event_type, reason: IgnoredReason::UnusedType });
    };
    let purchase = Purchase::read(&event_type, verified.event_id(), kind, told);
    purchase.and_then(|purchase| purchase.event(reason.as_deref())).map(Parsed::Event).map_err(in_event)
}

/// What an event tells of a purchase.
struct Purchase<'a> {
    event_type: &'a str,
    event_id: &'a str,
    kind: Kind,
    told: Object<'a>,
    /// When the event was made; the same for every attempt.
    at: Timestamp,
    payer: Option<Payer>,
    customer: Option<String>,
    purchased_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl<'a> Purchase<'a> {
    fn read(event_type: &'a str, event_id: &'a str, kind: Kind, told: Object<'a>) -> Result<Self, String> {
        let [user, original] = [told.text("app_user_id")?, told.text("original_app_user_id")?];
        let names = user.iter().map(String::as_str).chain(told.texts("aliases")).chain(original.as_deref());
        // A transfer is told for the one who has the purchases now.
        let names = names.chain(told.texts("transferred_to"));
        let known = names.into_iter().find(|name| !name.starts_with(ANONYMOUS)).map(str::to_owned);
        Ok(Self {
            event_type,
            event_id,
            kind,
            told,
            at: told.moment("event_timestamp_ms")?.ok_or("an event without `event_timestamp_ms`")?,
            payer: known.map(payer_named).transpose()?,
            // The customer keeps the first name it had.
            customer: original.or(user),
            purchased_at: told.moment("purchased_at_ms")?,
            expires_at: told.moment("expiration_at_ms")?,
        })
    }

    fn event(&self, reason: Option<&str>) -> Result<Event, String> {
        let mut event = Event {
            event_type: self.event_type.to_owned(),
            occurred_at: self.at,
            payer: self.payer.clone(),
            deleted_at: None,
            records: Vec::new(),
            payments: Vec::new(),
            links: Vec::new(),
            signed: None,
        };
        // Which purchases move is not told. One that names its user names the new one in its next event; what was bought
        // anonymously is the customer's, and goes over with that.
        if self.kind == Kind::Transfer {
            for name in self.told.texts("transferred_from") {
                self.link(name.starts_with(ANONYMOUS).then(|| name.to_owned()), &mut event);
            }
            return Ok(event);
        }
        let id = self.record_id()?;
        event.payments.extend(self.payment(&id, reason)?);
        event.records.push(self.record(id, reason)?);
        self.link(self.customer.clone(), &mut event);
        Ok(event)
    }

    /// The customer is the payer's, where both are told.
    fn link(&self, customer: Option<String>, event: &mut Event) {
        if let Some((customer, payer)) = customer.zip(self.payer.clone()) {
            event.links.push(Link { customer, payer, version: self.version(self.at, 0) });
        }
    }

    fn version(&self, counts_as: Timestamp, progress: u8) -> Version {
        Version::new(counts_as, self.at, progress, self.event_id)
    }

    /// The purchase over all its renewals. A temporary grant has no original transaction, and later turns out to be the
    /// first of one with the same number. What is given by hand may have neither; then a user has a product once.
    fn record_id(&self) -> Result<String, String> {
        let store = self.told.text("store")?.unwrap_or_default();
        let transaction = self.told.text("original_transaction_id")?;
        let transaction = transaction.map_or_else(|| self.told.text("transaction_id"), |known| Ok(Some(known)))?;
        if let Some(transaction) = transaction {
            return Ok(format!("{store}:{transaction}"));
        }
        let product = self.told.text("product_id")?;
        let (customer, product) =
            self.customer.as_ref().zip(product).ok_or("nothing says which purchase it is about")?;
        Ok(format!("{store}:{customer}:{product}"))
    }

    fn record(&self, id: String, reason: Option<&str>) -> Result<Record, String> {
        let is_trial = self.told.text("period_type")?.as_deref() == Some("TRIAL");
        let grace_until = self.told.moment("grace_period_expiration_at_ms")?;
        let day_after = self.at.plus_millis(DAY_MS);
        // "No end" is for what was bought once. A subscription that tells none cannot be read.
        let is_subscription = self.kind == Kind::Renews && self.event_type != "REFUND_REVERSED";
        if is_subscription && self.expires_at.is_none() {
            return Err("a subscription without `expiration_at_ms`".into());
        }
        let (status, period_end) = match self.kind {
            Kind::Renews if is_trial => (Status::Trialing, self.expires_at),
            Kind::Renews | Kind::Once | Kind::Transfer => (Status::Active, self.expires_at),
            // After a refund the expiration is that of the refund, mostly past.
            Kind::Ends => (Status::Canceled, self.expires_at),
            // The store's own days of grace, during which it expects us to go on.
            Kind::Fails => (Status::PastDue, grace_until.max(self.expires_at)),
            Kind::Over => (Status::Ended, self.expires_at),
            // It ends by itself, so there is no renewal to wait for.
            Kind::Temporary => (Status::Canceled, Some(self.expires_at.map_or(day_after, |end| end.min(day_after)))),
        };
        // When the period ended: the next charge was due then.
        let due_at = self.expires_at.map_or(self.at, |end| end.min(self.at));
        let counts_as = match (self.kind, self.event_type) {
            (Kind::Fails, "BILLING_ISSUE") => due_at.plus_millis(TWIN_MS.saturating_neg()),
            (Kind::Fails, _) => self.purchased_at.unwrap_or(due_at).min(due_at).plus_millis(TWIN_MS.saturating_mul(-2)),
            _ => self.at,
        };
        let state = State {
            period_start: self.purchased_at,
            period_end,
            cancel_at: period_end.filter(|_| self.kind == Kind::Ends && status == Status::Canceled),
            canceled_at: (self.event_type == "CANCELLATION" && status == Status::Canceled).then_some(self.at),
            ended_at: (self.kind == Kind::Over).then_some(due_at),
            past_due_since: (self.kind == Kind::Fails).then_some(due_at),
            ..State::new(status)
        };
        // Bought once and without end: nothing runs out. That it was paid back is told by the payment alone.
        let is_told = self.expires_at.is_some() || reason != Some("CUSTOMER_SUPPORT");
        let begins = matches!(self.event_type, "INITIAL_PURCHASE" | "NON_RENEWING_PURCHASE");
        Ok(Record {
            id,
            version: self.version(counts_as, state.status.progress()),
            occurred_at: self.at,
            payer: self.payer.clone(),
            customer: self.customer.clone(),
            subscription: self.told.text("original_transaction_id")?,
            plan: self.plan()?,
            trial: is_trial,
            started_at: self.purchased_at.filter(|_| begins),
            state: Some(state).filter(|_| is_told),
        })
    }

    /// The product, and the first of the entitlements that it gives, by which the catalog may know it as well.
    fn plan(&self) -> Result<Option<PlanRef>, String> {
        let entitlement = self.told.texts("entitlement_ids").next().map(str::to_owned);
        let entitlement = entitlement.map_or_else(|| self.told.text("entitlement_id"), |known| Ok(Some(known)))?;
        let Some(key) = self.told.text("product_id")?.or_else(|| entitlement.clone()) else { return Ok(None) };
        // Where the two have one name it is a name all the same, and not an id that stands in for one.
        let id = entitlement.filter(|entitlement| *entitlement != key);
        Ok(Some(PlanRef { key, id, free: false }))
    }

    fn payment(&self, record: &str, reason: Option<&str>) -> Result<Option<Payment>, String> {
        let (status, progress) = match (self.event_type, reason) {
            ("INITIAL_PURCHASE" | "RENEWAL" | "NON_RENEWING_PURCHASE" | "REFUND_REVERSED", _) => ("paid", 2),
            ("CANCELLATION", Some("CUSTOMER_SUPPORT")) => ("refunded", 3),
            // Its twin, the cancellation for an error of billing, is not another failure.
            ("BILLING_ISSUE", _) => ("failed", 1),
            _ => return Ok(None),
        };
        let store = self.told.text("store")?.unwrap_or_default();
        let transaction = self.told.text("transaction_id")?.map(|id| format!("{store}:{id}"));
        // The transaction of a failure is the last one that was paid, and the price none of its own.
        let is_failure = status == "failed";
        let id = transaction.filter(|_| !is_failure).unwrap_or_else(|| self.event_id.to_owned());
        let (amount, currency) = if is_failure { None } else { self.amount()? }.unzip();
        // A free trial is no payment, nor is what was given by hand.
        if status == "paid" && amount == Some(0) {
            return Ok(None);
        }
        Ok(Some(Payment {
            id,
            version: self.version(self.at, progress),
            occurred_at: self.at,
            payer: self.payer.clone(),
            customer: self.customer.clone(),
            record: Some(record.to_owned()),
            attempt: None,
            payment: None,
            status: status.to_owned(),
            amount,
            currency,
            charge_type: None,
            created_at: self.purchased_at.filter(|_| !is_failure).unwrap_or(self.at),
            failure_code: None,
        }))
    }

    /// In the smallest unit. The price is negative in refunds; without one in the buyer's currency it is in US dollars.
    fn amount(&self) -> Result<Option<(i64, String)>, String> {
        let currency = self.told.text("currency")?;
        let (price, currency) = match (self.told.number("price_in_purchased_currency")?, currency) {
            (Some(price), Some(currency)) => (price, currency),
            _ => match self.told.number("price")? {
                Some(price) => (price, "USD".to_owned()),
                None => return Ok(None),
            },
        };
        let units = match currency.as_str() {
            "BIF" | "CLP" | "DJF" | "GNF" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV" | "XAF"
            | "XOF" | "XPF" => 1.0,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 1000.0,
            _ => 100.0,
        };
        #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let amount = (price.abs() * units).round() as i64;
        Ok(Some((amount, currency)))
    }
}
