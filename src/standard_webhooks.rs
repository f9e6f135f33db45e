//! The Standard Webhooks signature scheme, which Svix began: HMAC-SHA256 over `id.timestamp.body`.
//!
//! Sources: <https://www.standardwebhooks.com>, <https://docs.svix.com/receiving/verifying-payloads/how-manual>.
//! Where the public libraries differ from one another, the stricter reading is taken; `tests/standard_webhooks.rs`
//! lists the differences. Asymmetric signatures (`v1a`) are skipped like every other version but `v1`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use subtle::ConstantTimeEq;

use crate::delivery::{Delivery, Verified, VerifyError};
use crate::secret::{MAC_BYTES, Secret, SecretError};
use crate::time::Timestamp;

/// How far the signed time may be from ours, either way. The value every public library uses.
pub const TOLERANCE_SECS: i64 = 300;

/// The longest timestamp that is read: 12 digits are the year 33658, so nothing real is cut and nothing overflows.
const MAX_TIMESTAMP_DIGITS: usize = 12;

/// Secrets are configured by hand, so their padding and spare bits are not held against them. Signatures are made by
/// machines and are read strictly.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The headers of the scheme, each under its Svix name and its Standard Webhooks name. Chosen one by one, the Svix
/// name first, as the Svix libraries do.
pub const HEADERS: [(&str, &str); 3] =
    [("svix-id", "webhook-id"), ("svix-timestamp", "webhook-timestamp"), ("svix-signature", "webhook-signature")];

/// The headers of the scheme under their Standard Webhooks names alone, for senders that never were Svix's customers.
pub const STANDARD_HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "webhook-id"),
    ("webhook-timestamp", "webhook-timestamp"),
    ("webhook-signature", "webhook-signature"),
];

/// Reads a secret: base64, with or without its `whsec_` prefix, padding and surrounding white space.
///
/// # Errors
/// [`SecretError`] when the text is not base64 or holds no bytes.
pub fn parse_secret(text: &str) -> Result<Secret, SecretError> {
    let text = text.trim();
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let bytes = LENIENT.decode(encoded).map_err(|_| SecretError::NotBase64)?;
    Secret::new(&bytes)
}

/// [`verify_under`] the headers' Svix names or their Standard Webhooks names.
///
/// # Errors
/// As there.
pub fn verify<'a>(delivery: &'a Delivery, secrets: &[Secret], now: Timestamp) -> Result<Verified<'a>, VerifyError> {
    verify_under(&HEADERS, delivery, secrets, now)
}

/// Checks a delivery, with these names of headers, against every secret we hold.
///
/// 1. The three headers are there ([`VerifyError::MissingHeaders`]).
/// 2. The timestamp is 1 to 12 digits ([`VerifyError::MalformedTimestamp`]) and within [`TOLERANCE_SECS`] of `now`.
/// 3. One of the `v1` signatures fits one of the secrets ([`VerifyError::NoMatchingSignature`]).
///
/// # Errors
/// The first of these that fails.
pub fn verify_under<'a>(
    names: &[(&'static str, &'static str); 3],
    delivery: &'a Delivery,
    secrets: &[Secret],
    now: Timestamp,
) -> Result<Verified<'a>, VerifyError> {
    // 1.
    let [id, timestamp, signatures] =
        names.map(|(first, second)| delivery.headers.value(first).or_else(|| delivery.headers.value(second)));
    let (Some(id), Some(timestamp), Some(signatures)) = (&id, &timestamp, &signatures) else {
        let present = [id.is_some(), timestamp.is_some(), signatures.is_some()];
        let missing = names.iter().zip(present).filter(|(_, present)| !present).map(|((first, _), _)| *first);
        return Err(VerifyError::MissingHeaders(missing.collect()));
    };

    // 2.
    let signed_at = parse_timestamp(timestamp).ok_or(VerifyError::MalformedTimestamp)?;
    let age_secs = now.as_secs().saturating_sub(signed_at);
    if age_secs > TOLERANCE_SECS {
        return Err(VerifyError::TimestampTooOld { age_secs });
    }
    if age_secs < -TOLERANCE_SECS {
        return Err(VerifyError::TimestampTooNew { ahead_secs: age_secs.saturating_neg() });
    }

    // 3. Every pair is tried, so that the time taken does not tell which one fitted.
    let mut fits = subtle::Choice::from(0);
    for secret in secrets.iter().flat_map(Secret::keys) {
        let expected = mac(secret, id, timestamp, &delivery.body);
        for candidate in signatures.split(' ').filter_map(parse_signature) {
            fits |= expected.ct_eq(&candidate);
        }
    }
    if bool::from(fits) {
        Ok(Verified::new(id.clone().into_owned(), Some(Timestamp::from_secs(signed_at)), &delivery.body))
    } else {
        Err(VerifyError::NoMatchingSignature)
    }
}

/// The three headers, under their Svix names, that a sender puts on a body.
#[must_use]
pub fn sign(secret: &Secret, id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
    sign_under(&HEADERS, secret, id, now, body)
}

/// The three headers, under the first of these names each, that a sender puts on a body.
#[must_use]
pub fn sign_under(
    names: &[(&'static str, &'static str); 3],
    secret: &Secret,
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let timestamp = now.as_secs().to_string();
    let signature = format!("v1,{}", STANDARD.encode(mac(secret, id, &timestamp, body)));
    let values = [id.to_owned(), timestamp, signature];
    names.iter().map(|(first, _)| *first).zip(values).collect()
}

fn mac(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> [u8; MAC_BYTES] {
    secret.mac(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
}

fn parse_timestamp(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= MAX_TIMESTAMP_DIGITS && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// One entry of the signature header; `None` for other versions and for anything that is not strict base64 of 32 bytes.
fn parse_signature(entry: &str) -> Option<[u8; MAC_BYTES]> {
    let encoded = entry.strip_prefix("v1,")?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}
