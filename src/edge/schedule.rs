//! What is done every few minutes without anybody asking: see `[triggers]` in `wrangler.toml`.

use worker::Env;

use super::{clock, reconcile, rejections};
use crate::settings::Settings;

/// Does a bounded part of each piece of upkeep; what is left is for the next run. A piece that fails keeps no other from
/// being done.
pub(super) async fn run(env: &Env, settings: &Settings) {
    rejections::flush(env, clock()).await;
    reconcile::run(env, settings).await;
}
