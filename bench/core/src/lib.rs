//! Inputs of known size for the measurements.

use serde_json::json;

/// The time of all of it: the start of 2026, in milliseconds.
pub const NOW: i64 = 1_767_225_600_000;
/// A key for signing, of this folder alone.
pub const SECRET: &str = "whsec_cGxhbmdhdGUgbWVhc3VyZXMgd2l0aCB0aGlzIGtleQ==";

/// One item of a subscription as Clerk sends it.
fn item(payer: &str, number: usize, is_alone: bool) -> serde_json::Value {
    json!({
        "object": if is_alone { "subscription_item" } else { "commerce_subscription_item" },
        "id": format!("csub_item_{number}_{payer}"), "status": if number == 0 { "active" } else { "ended" },
        "is_free_trial": false, "created_at": NOW - 1_000, "updated_at": NOW - 1_000, "period_start": NOW - 1_000,
        "period_end": NOW + 2_592_000_000, "interval": "month", "plan_id": format!("cplan_{number}"),
        "plan": {"id": format!("cplan_{number}"), "slug": if number == 0 { "pro".into() } else { format!("plan_{number}") },
            "name": "Pro", "is_recurring": true, "amount": 2_000, "currency": "USD"},
        "payer": if is_alone { owner(payer) } else { serde_json::Value::Null },
        "subscription_id": format!("csub_{payer}"),
    })
}

fn owner(payer: &str) -> serde_json::Value {
    json!({
        "object": "commerce_payer", "id": format!("cpayer_{payer}"), "user_id": payer, "first_name": "Ada",
        "last_name": "Example", "email": "ada@example.test", "organization_id": "", "organization_name": "",
        "image_url": "https://img.example.test/a.png", "created_at": NOW - 5_000, "updated_at": NOW - 5_000,
    })
}

fn event(kind: &str, data: &serde_json::Value) -> String {
    json!({
        "object": "event", "type": kind, "instance_id": "ins_1", "timestamp": NOW,
        "event_attributes": {"http_request": {"client_ip": "203.0.113.9", "user_agent": "ExampleBrowser/1.0"}},
        "data": data,
    })
    .to_string()
}

/// `subscription.updated` with that many items.
#[must_use]
pub fn subscription(payer: &str, items: usize) -> String {
    let items: Vec<_> = (0..items).map(|number| item(payer, number, false)).collect();
    let data = json!({
        "object": "commerce_subscription", "id": format!("csub_{payer}"), "status": "active", "active_at": NOW,
        "created_at": NOW, "updated_at": NOW, "payer_id": format!("cpayer_{payer}"), "payer": owner(payer), "items": items,
    });
    event("subscription.updated", &data)
}

/// `subscriptionItem.active`.
#[must_use]
pub fn subscription_item(payer: &str) -> String {
    event("subscriptionItem.active", &item(payer, 0, true))
}

/// The stored form of a payer with that many records, of which the first grants `pro`.
#[must_use]
pub fn snapshot(payer: &str, records: usize) -> String {
    let record = |number: usize| {
        json!({
            "provider": "clerk", "id": format!("i_{number}"), "plan": if number == 0 { "pro" } else { "basic" }, "plan_id": null,
            "free": 0, "status": if number == 0 { "active" } else { "ended" }, "customer": null, "subscription": null,
            "started_at": null, "period_start": NOW, "period_end": NOW + 2_592_000_000, "interval": "month", "cancel_at": null,
            "canceled_at": null, "ended_at": null, "past_due_since": null, "seats": null, "failed_attempts": 0,
            "last_failure_at": null, "refunded_at": null, "occurred_at": NOW, "event_id": "e1",
        })
    };
    json!({
        "payer": payer, "version": 7, "as_of": NOW, "deleted_at": null, "trial_used": 0, "failed_attempts": 0,
        "last_failure": null, "records": (0..records).map(record).collect::<Vec<_>>(),
    })
    .to_string()
}

/// A session token whose claims are longer by `more` bytes. Its signature is of the right length and fits nothing.
#[must_use]
pub fn token(more: usize) -> String {
    let seconds = NOW / 1_000;
    let head = json!({"alg": "RS256", "typ": "JWT", "kid": "ins_1", "cat": "cl_B7d4PD111AAA"});
    let claims = json!({
        "v": 2, "iss": "https://clerk.plangate.test", "sub": "user_1", "sid": "sess_1", "iat": seconds, "nbf": seconds - 10,
        "exp": seconds + 60, "jti": "4f1d2c", "sts": "active", "more": "x".repeat(more),
    });
    let part = |bytes: &[u8]| base64_url(bytes);
    format!("{}.{}.{}", part(head.to_string().as_bytes()), part(claims.to_string().as_bytes()), part(&[7; 256]))
}

/// Base64 of URLs without padding (RFC 4648, section 5).
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..=chunk.len() {
            let index = (number >> (18 - 6 * place)) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}
