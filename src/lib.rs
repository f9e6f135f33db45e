//! plangate: signed payment webhooks in, plan status stored, entitlement answers out.
//!
//! A webhook goes one way: [`delivery`] → verify → parse ([`provider`]) → [`event`] → [`store`]. A check goes the other:
//! [`session`] says who asks, [`question`] what; [`snapshot`] holds the facts, [`decide`](mod@decide) answers,
//! [`answer`] writes it down. Everything here is plain Rust that takes the time as an argument and logs nothing. Only
//! `edge` knows of Cloudflare Workers, and it exists only in WebAssembly.

pub mod answer;
pub mod card;
pub mod catalog;
pub mod decide;
pub mod delivery;
pub mod event;
pub mod memory;
pub mod payer;
pub mod provider;
pub mod publishable_key;
pub mod question;
pub mod secret;
pub mod session;
pub mod settings;
pub mod snapshot;
pub mod standard_webhooks;
pub mod status;
pub mod store;
pub mod time;

#[cfg(target_arch = "wasm32")]
mod edge;
