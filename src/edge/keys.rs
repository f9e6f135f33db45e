//! The issuer's keys, imported into WebCrypto once an isolate.

use std::cell::{Cell, RefCell};

use js_sys::{Array, Uint8Array};
use wasm_bindgen::JsValue;

use super::bindings::{import_key, message, object, verify_signature, wait};
use super::log::Line;
use super::outbound::get;
use super::response::Failure;
use super::task::settled;
use super::{Edge, clock};
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
/// An unknown key id makes us fetch again, but not sooner than this after the last try ended: anybody can make up key ids, and
/// a server that hangs holds up whoever asks it.
const REFETCH_MS: i64 = 5_000;
/// Tries in that time while no set may be used: an outage may be over.
const FIRST_TRIES: u32 = 4;
/// A try that has not ended by then never will: the runtime let go of it. A fetch takes 5 s at most.
const LOST_MS: i64 = 10_000;
/// How often a request that needs what another one is fetching looks whether it is there: for 5 s, as long as a fetch takes.
/// It cannot wait for the other's promise, which is the other request's own.
const LOOKS: u32 = 100;
const LOOK_MS: f64 = 50.0;

thread_local! {
    static PEM: RefCell<Option<JsValue>> = const { RefCell::new(None) };
    static KEY_SET: RefCell<Option<KeySet>> = const { RefCell::new(None) };
    static TRIES: Cell<Tries> =
        const { Cell::new(Tries { begun: 0, under_way: 0, last_at: None }) };
}

/// Keys by id. An isolate has one issuer, so a key id cannot belong to another's.
struct KeySet {
    keys: Map<String, JsValue>,
    fetched_at: Timestamp,
}

/// What was tried of late to fetch the set.
#[derive(Clone, Copy)]
struct Tries {
    begun: u32,
    under_way: u32,
    /// When the last one began or ended.
    last_at: Option<Timestamp>,
}

/// What a request may do that needs another key than is held.
enum Turn {
    Fetch,
    Wait,
    /// Too much was tried of late.
    Over,
}

impl Tries {
    /// Takes a turn. It counts from here on, so that of a thousand requests at once few fetch.
    fn take_turn(now: Timestamp, at_most: u32) -> Turn {
        let mut tries = TRIES.get();
        let pause = if tries.under_way > 0 { LOST_MS } else { REFETCH_MS };
        if tries.last_at.is_none_or(|at| now.millis_since(at) >= pause) {
            tries = Self { begun: 0, under_way: 0, last_at: None };
        }
        if tries.begun >= at_most {
            return if tries.under_way > 0 { Turn::Wait } else { Turn::Over };
        }
        TRIES.set(Self {
            begun: tries.begun.saturating_add(1),
            under_way: tries.under_way.saturating_add(1),
            last_at: Some(now),
        });
        Turn::Fetch
    }

    fn ended(now: Timestamp) {
        let tries = TRIES.get();
        TRIES.set(Self { under_way: tries.under_way.saturating_sub(1), last_at: Some(now), ..tries });
    }
}

/// Whether the token's signature fits the issuer's key.
pub(super) async fn signature_fits(
    token: &UnverifiedToken<'_>,
    source: &SessionKeys,
    edge: &Edge<'_>,
) -> Result<bool, Failure> {
    let key = match source {
        SessionKeys::Pem(key) => pem_key(key).await?,
        SessionKeys::Jwks { url, bearer } => {
            let kid = token.kid().ok_or(TokenError::UnknownKey)?;
            set_key(kid, url, bearer.as_ref(), edge).await?
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

/// The key of a set.
///
/// 1. It is held and fresh.
/// 2. The set is fetched, if it is time to; when that fails a key that is held is still good for a while.
/// 3. While another request fetches it, a key that is held is good, and for another one we wait.
async fn set_key(kid: &str, url: &str, bearer: Option<&Bearer>, edge: &Edge<'_>) -> Result<JsValue, Failure> {
    let (mut now, mut looks) = (edge.now, LOOKS);
    loop {
        // 1.
        let (known, age) = KEY_SET.with_borrow(|set| match set {
            Some(set) => (set.keys.get(kid).cloned(), now.millis_since(set.fetched_at)),
            None => (None, i64::MAX),
        });
        let is_usable = age <= USABLE_MS;
        let known = match known {
            Some(key) if age <= FRESH_MS => return Ok(key),
            known => known.filter(|_| is_usable),
        };
        match Tries::take_turn(now, if is_usable { 1 } else { FIRST_TRIES }) {
            // 2.
            Turn::Fetch => {
                // Or anybody could take every turn and hang up.
                edge.ending.ensure()?;
                let fetched = fetch_set(url, bearer).await;
                Tries::ended(clock());
                return match (fetched, known) {
                    (Ok(keys), _) => {
                        let found = keys.get(kid).cloned();
                        KEY_SET.set(Some(KeySet { keys, fetched_at: now }));
                        found.ok_or_else(|| TokenError::UnknownKey.into())
                    }
                    (Err(cause), Some(key)) => {
                        Line::warn(format!("failed to fetch the issuer's keys, using those of before: {cause}"))
                            .write();
                        Ok(key)
                    }
                    (Err(cause), None) => Err(Failure::KeysUnavailable(cause)),
                };
            }
            // 3.
            Turn::Wait if known.is_none() && looks > 0 => {
                // A wait that fails is none.
                settled(wait(LOOK_MS)).await.ok();
                now = clock();
                looks = looks.saturating_sub(1);
            }
            Turn::Wait | Turn::Over => {
                return known.ok_or_else(|| {
                    if is_usable {
                        TokenError::UnknownKey.into()
                    } else {
                        Failure::KeysUnavailable("it was tried a moment ago".into())
                    }
                });
            }
        }
    }
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
    // Without any key nobody could sign in: what was held before is more likely to be right.
    if keys.is_empty() { Err("the key server lists no key that can be used".into()) } else { Ok(keys) }
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
