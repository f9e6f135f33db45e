//! What is done every few minutes without anybody asking: see `[triggers]` in `wrangler.toml`.

use worker::Env;

use crate::settings::Settings;
use crate::time::Timestamp;

/// Does a bounded part of each piece of upkeep; what is left is for the next run. A piece that fails keeps no other from
/// being done.
#[allow(clippy::unused_async, reason = "each piece waits for the database")]
pub(super) async fn run(_env: &Env, _settings: &Settings, _now: Timestamp) {}
