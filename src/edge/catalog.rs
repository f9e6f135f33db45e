//! The catalog that answers are given by: what the operator wrote, and what providers list of their own plans.

use std::cell::RefCell;
use std::rc::Rc;

use worker::Env;

use super::log::Line;
use super::response::Failure;
use super::{Edge, store};
use crate::api::ApiPlan;
use crate::catalog::Catalog;
use crate::settings::Settings;
use crate::time::Timestamp;

/// How long an isolate uses the plans it has read before it looks again.
const FRESH_MS: i64 = 60_000;

thread_local! {
    static MERGED: RefCell<Option<Merged>> = const { RefCell::new(None) };
}

struct Merged {
    catalog: Rc<Catalog>,
    read_at: Timestamp,
}

/// Under which name the plans that a provider lists are kept, in D1 and in KV.
pub(super) fn name(provider: &str) -> String {
    format!("plans:{provider}")
}

/// The catalog.
///
/// An unreadable one is not an empty one: with an empty one, answers would be wrong. Where the plans cannot be read, those
/// read before are used for as long as it lasts; an isolate that never read any cannot answer.
pub(super) async fn current(edge: &Edge<'_>) -> Result<Rc<Catalog>, Failure> {
    with_settings(edge.env, edge.settings, edge.now).await
}

/// The same, where nobody asks.
pub(super) async fn with_settings(env: &Env, settings: &Settings, now: Timestamp) -> Result<Rc<Catalog>, Failure> {
    if settings.has_catalog_problem() {
        return Err(Failure::CatalogUnusable { complaint: settings.complaint().unwrap_or_default() });
    }
    let known = MERGED.with_borrow(|merged| {
        merged.as_ref().map(|merged| (Rc::clone(&merged.catalog), now.millis_since(merged.read_at) <= FRESH_MS))
    });
    if let Some((catalog, true)) = known {
        return Ok(catalog);
    }
    let mut catalog = settings.catalog.clone();
    for provider in settings.apis.keys() {
        match plans(env, provider).await {
            Ok(plans) => catalog = catalog.with(provider, &plans),
            Err(failure) => {
                let Some((old, _)) = known else { return Err(failure) };
                if let Some(line) = failure.log() {
                    line.with("provider", *provider).write();
                }
                return Ok(remember(now, old));
            }
        }
    }
    Ok(remember(now, Rc::new(catalog)))
}

fn remember(now: Timestamp, catalog: Rc<Catalog>) -> Rc<Catalog> {
    MERGED.set(Some(Merged { catalog: Rc::clone(&catalog), read_at: now }));
    catalog
}

/// KV first, which is near; D1 where it has none that can be read.
async fn plans(env: &Env, provider: &str) -> Result<Vec<ApiPlan>, Failure> {
    let name = name(provider);
    let read = |text: String| ApiPlan::read_all(&text).map_err(|error| error.to_string());
    let copy = store::text_copy(env, &name).await.and_then(|copy| copy.map(read).transpose());
    let copy = copy.unwrap_or_else(|cause| {
        Line::warn(format!("failed to read the copy of the plans: {cause}")).with("provider", provider).write();
        None
    });
    if let Some(plans) = copy {
        return Ok(plans);
    }
    // Never synced: there are none.
    let Some(text) = store::kept(env, &[&name]).await?.remove(&name) else { return Ok(Vec::new()) };
    read(text).map_err(|error| Failure::Internal(format!("reading the plans of {provider}: {error}")))
}
