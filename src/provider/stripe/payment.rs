//! Money in and money back: invoices, refunds, disputes. None of these changes a subscription by itself; Stripe says what
//! becomes of that in events about the subscription.

use super::Sent;
use super::checkout::order;
use super::field::{id, moment, number, payer, text};
use crate::event::{Event, Payment};
use crate::json::Json;

/// An invoice that was paid, or could not be. It is one payment however often it is tried: `attempt_count` counts the first
/// attempt and the automatic ones.
pub(super) fn invoice(sent: &Sent<'_>, invoice: &Json<'_>) -> Result<Event, &'static str> {
    let is_paid = sent.event_type != "invoice.payment_failed";
    // Since basil what an invoice belongs to is its parent; the metadata there is the subscription's when it was finalized.
    let payer = ["parent/subscription_details/metadata", "subscription_details/metadata", "metadata"]
        .iter()
        .find_map(|path| payer(invoice, path));
    let of_subscription = id(invoice, "parent/subscription_details/subscription");
    let payment = Payment {
        payer,
        customer: id(invoice, "customer"),
        record: of_subscription.or_else(|| id(invoice, "subscription")),
        attempt: number(invoice, "attempt_count")
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count > 0),
        payment: id(invoice, "payment_intent"),
        amount: number(invoice, if is_paid { "amount_paid" } else { "amount_due" }),
        charge_type: match text(invoice, "billing_reason").as_deref() {
            Some("subscription_create") => Some("checkout".to_owned()),
            Some(reason) if reason.starts_with("subscription") => Some("recurring".to_owned()),
            _ => None,
        },
        ..described(sent, invoice, if is_paid { "paid" } else { "failed" }, u8::from(is_paid))?
    };
    Ok(about(sent, payment))
}

/// A charge of which something, or all, was given back. A refund does not end what was bought.
pub(super) fn refund(sent: &Sent<'_>, charge: &Json<'_>) -> Result<Event, &'static str> {
    let refunded = number(charge, "amount_refunded");
    let is_whole = match charge.get("refunded").and_then(Json::as_bool) {
        Some(is_whole) => is_whole,
        None => refunded >= number(charge, "amount"),
    };
    let (status, rank) = if is_whole { ("refunded", 1) } else { ("partially_refunded", 0) };
    let created_at = moment(charge, "created").unwrap_or(sent.at);
    let payment = Payment { amount: refunded, created_at, ..of_charge(sent, charge, status, rank)? };
    Ok(about(sent, payment))
}

/// A dispute, whose money is gone unless it is won. `warning_closed` is an inquiry that came to nothing.
pub(super) fn dispute(sent: &Sent<'_>, dispute: &Json<'_>) -> Result<Event, &'static str> {
    let is_won = matches!(text(dispute, "status").as_deref(), Some("won" | "warning_closed"));
    let status = if is_won { "dispute_won" } else { "disputed" };
    let created_at = moment(dispute, "created").unwrap_or(sent.at);
    let failure_code = text(dispute, "reason");
    let payment = Payment { created_at, failure_code, ..of_charge(sent, dispute, status, u8::from(is_won))? };
    Ok(about(sent, payment))
}

/// What is about a charge. Before basil a charge named its invoice. Since then it says nothing of what was bought: if that was
/// an order, then the one of this payment; otherwise there is no record of that name. Where it names no customer either, the
/// session of that order is what tells whose it is.
fn of_charge(sent: &Sent<'_>, object: &Json<'_>, status: &str, rank: u8) -> Result<Payment, &'static str> {
    let payment_intent = id(object, "payment_intent");
    let of_invoice = id(object, "invoice").or_else(|| id(object, "charge/invoice"));
    let bought = payment_intent.as_deref().filter(|_| of_invoice.is_none()).map(order);
    Ok(Payment {
        payer: payer(object, "metadata"),
        customer: id(object, "customer").or_else(|| bought.clone()),
        record: bought.or_else(|| id(object, "invoice/subscription")),
        payment: payment_intent,
        ..described(sent, object, status, rank)?
    })
}

/// What is read of all of them alike. Of two versions of the same second the one with the higher rank is newer.
pub(super) fn described(sent: &Sent<'_>, object: &Json<'_>, status: &str, rank: u8) -> Result<Payment, &'static str> {
    Ok(Payment {
        id: text(object, "id").ok_or("a payment without an id")?,
        version: sent.version(rank),
        occurred_at: sent.at,
        payer: None,
        customer: None,
        record: None,
        attempt: None,
        payment: None,
        status: status.to_owned(),
        amount: number(object, "amount"),
        currency: text(object, "currency"),
        charge_type: None,
        created_at: sent.at,
        failure_code: None,
    })
}

fn about(sent: &Sent<'_>, payment: Payment) -> Event {
    let event = sent.event(payment.payer.as_ref(), payment.customer.as_ref());
    Event { payments: vec![payment], ..event }
}
