//! The pure core of plangate for JavaScript: verify, parse, apply, decide. Texts of JSON go in and come out, and nothing
//! else happens: no clock, no network, no store, no log.
//!
//! What a function answers is either what it says or `{"error": {"code", "detail"}}`, which `lib/js/core.js` throws. The
//! types are in `lib/index.d.ts`.

#![deny(missing_docs)]
// A panic leaves the instance in any state.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]
#![warn(clippy::pedantic)]
#![allow(clippy::needless_pass_by_value, reason = "JavaScript's copy is ours")]

mod decide;
mod failure;
mod read;
mod state;
mod verify;

use wasm_bindgen::prelude::wasm_bindgen;

use self::failure::text;

/// Checks who sent a delivery. `ask` has `secrets`, `headers` and `ours`. Answers `event_id` and `sent_at`.
#[wasm_bindgen]
#[must_use]
pub fn verify(provider: &str, ask: &str, body: Vec<u8>, now: f64) -> String {
    text(verify::verify(provider, ask, body, now))
}

/// Reads what a delivery says. `ask` has `event_id`, `sent_at` and `ours`. Answers `outcome` and what belongs to it.
#[wasm_bindgen]
#[must_use]
pub fn parse(provider: &str, ask: &str, body: Vec<u8>) -> String {
    text(verify::parse(provider, ask, &body))
}

/// The headers with which a provider would send this body: for tests. `ask` has `secrets` and `event_id`.
#[wasm_bindgen]
#[must_use]
pub fn sign(provider: &str, ask: &str, body: Vec<u8>, now: f64) -> String {
    text(verify::sign(provider, ask, &body, now))
}

/// Adds a delivery's event (`provider`, `event_id`, `event`) to these states. Answers `outcome`, `state` and `keys`.
#[wasm_bindgen]
#[must_use]
pub fn apply(states: &str, delivery: &str) -> String {
    text(state::apply(states, delivery))
}

/// The keys of what an event adds to.
#[wasm_bindgen]
#[must_use]
pub fn keys(delivery: &str) -> String {
    text(state::keys(delivery))
}

/// Answers a question, as `/v1/check` does.
#[wasm_bindgen]
#[must_use]
pub fn decide(states: &str, catalog: &str, policy: &str, question: &str, now: f64) -> String {
    text(decide::decide(states, catalog, policy, question, now))
}

/// Lists all that is held, as `/v1/entitlements` does.
#[wasm_bindgen]
#[must_use]
pub fn entitlements(states: &str, catalog: &str, policy: &str, question: &str, now: f64) -> String {
    text(decide::entitlements(states, catalog, policy, question, now))
}
