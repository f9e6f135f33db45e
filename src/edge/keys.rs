//! The issuer's keys, imported into WebCrypto once an isolate.

use std::cell::RefCell;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::JsValue;

use super::bindings::{import_key, message, object, verify_signature};
use super::log::Line;
use super::outbound::get;
use super::response::Failure;
use super::task::settled;
use crate::ordered::Map;
use crate::session::key::{Jwk, JwtKey, parse_jwks};
use crate::session::{TokenError, UnverifiedToken};
use crate::settings::{Bearer, SessionKeys};
use crate::time::Timestamp;

/// What RS256 (RFC 7518) is called in WebCrypto.
const ALGORITHM: &str = "RSASSA-PKCS1-v1_5";
/// How long a fetched key set is used before it is fetched again. Clerk's own SDK keeps it as long.
const FRESH_MS: i64 = 5 * 60_000;
/// How long it is used when it cannot be fetched again: an outage of the issuer's key server must not sign everyone
/// out, and a withdrawn key must not live on for long.
const USABLE_MS: i64 = 60 * 60_000;
/// An unknown key id makes us fetch again, but not more often than this: anybody can make up key ids.
const REFETCH_MS: i64 = 5_000;

thread_local! {
    static PEM: RefCell<Option<JsValue>> = const { RefCell::new(None) };
    static KEY_SET: RefCell<Option<KeySet>> = const { RefCell::new(None) };
}

/// Keys by id. An isolate has one issuer, so a key id cannot belong to another's.
struct KeySet {
    keys: Map<String, JsValue>,
    fetched_at: Timestamp,
    tried_at: Timestamp,
}

/// Whether the token's signature fits the issuer's key.
pub(super) async fn signature_fits(
    token: &UnverifiedToken<'_>,
    source: &SessionKeys,
    now: Timestamp,
) -> Result<bool, Failure> {
    let key = match source {
        SessionKeys::Pem(key) => pem_key(key).await?,
        SessionKeys::Jwks { url, bearer } => {
            let kid = token.kid().ok_or(TokenError::UnknownKey)?;
            set_key(kid, url, bearer.as_ref(), now).await?
        }
    };
    let verdict = settled(verify_signature(ALGORITHM, &key, token.signature(), token.signed_bytes())).await;
    let verdict = verdict.map_err(|thrown| Failure::Internal(format!("checking a signature: {}", message(&thrown))))?;
    Ok(verdict.is_truthy())
}

async fn pem_key(key: &JwtKey) -> Result<JsValue, Failure> {
    if let Some(known) = PEM.with_borrow(Clone::clone) {
        return Ok(known);
    }
    let spki = Uint8Array::from(key.spki());
    let imported = import("spki", &spki).await.map_err(|thrown| Failure::AuthNotConfigured {
        complaint: format!("CLERK_JWT_KEY could not be imported: {}", message(&thrown)),
    })?;
    PEM.set(Some(imported.clone()));
    Ok(imported)
}

async fn set_key(kid: &str, url: &str, bearer: Option<&Bearer>, now: Timestamp) -> Result<JsValue, Failure> {
    let (known, age, since_try) = KEY_SET.with_borrow(|set| match set {
        Some(set) => (set.keys.get(kid).cloned(), now.millis_since(set.fetched_at), now.millis_since(set.tried_at)),
        None => (None, i64::MAX, i64::MAX),
    });
    if let Some(key) = known.clone().filter(|_| age <= FRESH_MS) {
        return Ok(key);
    }
    if since_try >= REFETCH_MS {
        match fetch_set(url, bearer).await {
            Ok(keys) => {
                let found = keys.get(kid).cloned();
                KEY_SET.set(Some(KeySet { keys, fetched_at: now, tried_at: now }));
                return found.ok_or_else(|| TokenError::UnknownKey.into());
            }
            Err(cause) => {
                KEY_SET.with_borrow_mut(|set| set.iter_mut().for_each(|set| set.tried_at = now));
                return match known.filter(|_| age <= USABLE_MS) {
                    Some(key) => {
                        Line::warn(format!("failed to fetch the issuer's keys, using those of before: {cause}"))
                            .write();
                        Ok(key)
                    }
                    None => Err(Failure::KeysUnavailable(cause)),
                };
            }
        }
    }
    known.filter(|_| age <= USABLE_MS).ok_or_else(|| TokenError::UnknownKey.into())
}

async fn fetch_set(url: &str, bearer: Option<&Bearer>) -> Result<Map<String, JsValue>, String> {
    let answered = get(url, bearer, &[]).await?;
    if answered.status != 200 {
        return Err(format!("the key server answered {}", answered.status));
    }
    let mut keys = Map::new();
    for jwk in parse_jwks(answered.body.as_bytes()).map_err(|error| error.to_string())? {
        let imported = import("jwk", &jwk_object(&jwk).map_err(|thrown| message(&thrown))?).await;
        match imported {
            Ok(key) => {
                keys.insert(jwk.kid, key);
            }
            // One entry that is broken says nothing about the others.
            Err(thrown) => Line::warn(format!("failed to import a key of the issuer: {}", message(&thrown)))
                .with("key.id", jwk.kid)
                .write(),
        }
    }
    Ok(keys)
}

fn jwk_object(jwk: &Jwk) -> Result<JsValue, JsValue> {
    object([
        ("kty", "RSA".into()),
        ("alg", "RS256".into()),
        ("n", jwk.n.as_str().into()),
        ("e", jwk.e.as_str().into()),
        ("ext", true.into()),
    ])
}

async fn import(format: &str, key: &JsValue) -> Result<JsValue, JsValue> {
    let algorithm = object([("name", ALGORITHM.into()), ("hash", "SHA-256".into())])?;
    settled(import_key(format, key, &algorithm, false, &Array::of1(&"verify".into()))).await
}
