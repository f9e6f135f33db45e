//! How often somebody may ask, by Cloudflare's rate limiting, where the operator bound it.

use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};

use super::Edge;
use super::bindings::{RateLimiter, binding, message, object};
use super::caller::{self, Caller};
use super::log::Line;
use super::response::Failure;
use super::task::settled;
use crate::gate::network;

const BINDING: &str = "RATE_LIMITER";

/// Who is counted: people each by themselves, servers by their key, and whoever was refused by their network, so that nobody can
/// try keys for long. Nobody is where nothing is wrong with the caller, but with us.
pub(super) fn counted(edge: &Edge<'_>, caller: &Result<Caller, Failure>) -> Option<String> {
    match caller {
        Ok(Caller::Session(session)) => Some(session.user.key()),
        Ok(Caller::Server) => Some(["key:", &caller::number_of_key(edge).unwrap_or_default().to_string()].concat()),
        Err(failure) if failure.is_refusal() => Some(stranger(edge)),
        Err(_) => None,
    }
}

/// A caller who was refused and did not prove to be anybody.
pub(super) fn stranger(edge: &Edge<'_>) -> String {
    ["ip:", &network(&edge.request.header("cf-connecting-ip").unwrap_or_default())].concat()
}

/// Counts a request, and refuses it when there were too many. A limiter that does not answer limits nobody: it protects our bill,
/// and nothing that was paid for.
pub(super) async fn count(edge: &Edge<'_>, key: Option<String>) -> Result<(), Failure> {
    let (Some(key), Some(limiter)) = (key, binding(edge.env, BINDING)) else { return Ok(()) };
    let limiter: RateLimiter = limiter.unchecked_into();
    let asked = object([("key", key.into())]).and_then(|options| limiter.limit(&options));
    let outcome = settled(asked).await.and_then(|outcome| Reflect::get(&outcome, &"success".into()));
    match outcome {
        Ok(success) if success == JsValue::FALSE => {
            Err(Failure::RateLimited { retry_after_secs: edge.settings.rate_limit_secs })
        }
        Ok(_) => Ok(()),
        Err(thrown) => {
            Line::warn(format!("{BINDING} did not answer: {}", message(&thrown)))
                .with("request.id", edge.request.id())
                .write();
            Ok(())
        }
    }
}
