//! What is done every few minutes without anybody asking: see `[triggers]` in `wrangler.toml`.

use worker::Env;

use super::bindings::message;
use super::log::Line;
use super::store::Batch;
use crate::settings::Settings;
use crate::store::upkeep::{PRUNED_AT_ONCE, prune};
use crate::time::Timestamp;

/// Does a bounded part of each piece of upkeep; what is left is for the next run. A piece that fails keeps no other from
/// being done.
pub(super) async fn run(env: &Env, settings: &Settings, now: Timestamp) {
    prune_ledger(env, settings, now).await;
}

/// Prunes the next part of the ledger.
async fn prune_ledger(env: &Env, settings: &Settings, now: Timestamp) {
    if let Err(thrown) = Batch::run(env, &prune(settings.retention_days, PRUNED_AT_ONCE, now)).await {
        Line::error(format!("failed to prune the ledger: {}", message(&thrown))).write();
    }
}
