//! `verify`, `parse` and `sign`.

use plangate::card;
use plangate::delivery::{Delivery, Headers, Verified};
use plangate::event::Parsed;
use plangate::json::{self, Fields};
use plangate::time::Timestamp;
use serde_json::json;

use crate::failure::Failure;
use crate::read::{moment, ours, pairs, provider, secrets};

pub fn verify(name: &str, ask: &str, body: Vec<u8>, now: f64) -> Result<String, Failure> {
    let provider = provider(name)?;
    let now = moment(now)?;
    let ask = json::parse(ask.as_bytes())?;
    let fields = Fields::of(&ask)?;
    let secrets = secrets(provider, fields)?;
    let delivery = Delivery { headers: Headers::new(pairs(fields, "headers")?), body };
    let verified =
        provider.verify(&delivery, &secrets, &ours(fields)?, now).map_err(|error| Failure::new(error.code(), error))?;
    let sent_at = verified.sent_at().map(Timestamp::as_millis);
    Ok(json!({"event_id": verified.event_id(), "sent_at": sent_at}).to_string())
}

pub fn parse(name: &str, ask: &str, body: &[u8]) -> Result<String, Failure> {
    let provider = provider(name)?;
    let ask = json::parse(ask.as_bytes())?;
    let fields = Fields::of(&ask)?;
    let verified = Verified::recorded(fields.need("event_id", Fields::text)?, fields.moment("sent_at")?, body);
    let answer = match provider.parse(&verified, &ours(fields)?) {
        Ok(Parsed::Event(event)) => json!({
            "outcome": "event", "type": event.event_type,
            "delivery": {"provider": provider.name(), "event_id": verified.event_id(), "event": event},
        }),
        Ok(Parsed::Ignored { event_type, reason }) => {
            json!({"outcome": "ignored", "type": event_type, "reason": reason.as_str()})
        }
        Err(error) => json!({
            "outcome": "dead_letter", "type": error.event_type,
            // An error repeats what it found.
            "cause": card::mask(&error.cause), "body": card::mask(&String::from_utf8_lossy(body)),
        }),
    };
    Ok(answer.to_string())
}

pub fn sign(name: &str, ask: &str, body: &[u8], now: f64) -> Result<String, Failure> {
    let provider = provider(name)?;
    let now = moment(now)?;
    let ask = json::parse(ask.as_bytes())?;
    let fields = Fields::of(&ask)?;
    let event_id = fields.need("event_id", Fields::text)?;
    let secrets = secrets(provider, fields)?;
    let headers: serde_json::Map<_, _> = secrets
        .iter()
        .flat_map(|secret| provider.sign(secret, &event_id, now, body))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    Ok(serde_json::Value::Object(headers).to_string())
}
