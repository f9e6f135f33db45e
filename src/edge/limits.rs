//! How often somebody may ask, by Cloudflare's rate limiting, where the operator bound it.

use super::Edge;
use super::bindings::{binding, may_go_on, message};
use super::caller::{self, Caller};
use super::log::Line;
use super::response::Failure;
use super::task::settled;
use crate::gate::network;

const BINDING: &str = "RATE_LIMITER";

/// What a caller is counted under: people each by themselves, servers by their key.
pub(super) fn key_of(edge: &Edge<'_>, caller: &Caller) -> String {
    match caller {
        Caller::Session(session) => session.user.key(),
        Caller::Server => ["key:", &caller::number_of_key(edge).unwrap_or_default().to_string()].concat(),
    }
}

/// What somebody is counted under who did not prove to be anybody: their network, so that nobody makes us refuse for ever. Who
/// has a right key is no stranger, however many wrong ones came before: that is for the length of keys to prevent.
pub(super) fn stranger(edge: &Edge<'_>) -> String {
    ["ip:", &network(&edge.request.header("cf-connecting-ip").unwrap_or_default())].concat()
}

/// Counts a request, and refuses it when there were too many. A limiter that does not answer limits nobody: it protects our bill,
/// and nothing that was paid for.
pub(super) async fn count(edge: &Edge<'_>, key: &dyn Fn() -> String) -> Result<(), Failure> {
    let Some(limiter) = binding(edge.env, BINDING) else { return Ok(()) };
    match settled(may_go_on(&limiter, &key())).await {
        Ok(answer) if answer == false => Err(Failure::RateLimited { retry_after_secs: edge.settings.rate_limit_secs }),
        Ok(_) => Ok(()),
        Err(thrown) => {
            Line::warn(format!("{BINDING} did not answer: {}", message(&thrown)))
                .with("request.id", edge.request.id())
                .write();
            Ok(())
        }
    }
}
