//! plangate: signed payment webhooks in, plan status stored, entitlement answers out.
//!
//! A webhook goes one way: [`delivery`] → verify → parse ([`provider`]) → [`event`] → [`store`]. A check goes the other:
//! [`session`] says who asks, [`question`] what; [`snapshot`] holds the facts, [`decide`](mod@decide) answers,
//! [`answer`] writes it down. Everything here is plain Rust that takes the time as an argument and logs nothing. Only
//! `edge` knows of Cloudflare Workers, and it exists only in WebAssembly, with the feature of that name.

#![deny(missing_docs)]
// A panic resets the WebAssembly instance and fails every other request in flight there.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]
// Time is an argument, and nothing but `edge` writes a log.
#![deny(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout, clippy::dbg_macro)]
#![warn(clippy::pedantic)]
#![allow(clippy::struct_field_names, reason = "fields have the names that providers gave them")]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        reason = "a test fails by panicking"
    )
)]

pub mod answer;
pub mod api;
pub mod card;
pub mod catalog;
pub mod decide;
pub mod delivery;
pub mod event;
pub mod explain;
pub mod gate;
pub mod grant;
pub mod hex_signature;
pub mod json;
pub mod ledger;
pub mod loose;
pub mod memory;
pub mod ordered;
pub mod outbox;
pub mod payer;
pub mod provider;
pub mod publishable_key;
pub mod question;
pub mod reconcile;
pub mod reduce;
pub mod secret;
pub mod session;
pub mod settings;
pub mod snapshot;
pub mod standard_webhooks;
pub mod status;
pub mod store;
pub mod time;
pub mod upkeep;

#[cfg(all(target_arch = "wasm32", feature = "edge"))]
mod edge;
