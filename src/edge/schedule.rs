//! What is done every few minutes without anybody asking: see `[triggers]` in `wrangler.toml`.

use worker::Env;

use super::bindings::message;
use super::log::Line;
use super::store::Batch;
use super::{clock, reconcile, rejections, sink};
use crate::settings::Settings;
use crate::store::upkeep::{PRUNED_AT_ONCE, prune};

/// Does a bounded part of each piece of upkeep; what is left is for the next run. A piece that fails keeps no other from
/// being done.
pub(super) async fn run(env: &Env, settings: &Settings) {
    rejections::flush(env, clock()).await;
    prune_ledger(env, settings).await;
    sink::run(env, settings).await;
    reconcile::run(env, settings).await;
}

/// Prunes the next part of the ledger.
async fn prune_ledger(env: &Env, settings: &Settings) {
    if let Err(thrown) = Batch::run(env, &prune(settings.retention_days, PRUNED_AT_ONCE, clock())).await {
        Line::error(format!("failed to prune the ledger: {}", message(&thrown))).write();
    }
}
