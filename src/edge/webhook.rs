//! `POST /webhooks/{provider}`.

use serde::Serialize;

use super::Edge;
use super::log::Line;
use super::response::{Failure, Reply};
use super::store::Delivered;
use super::{isolate, reconcile, sink, store, task};
use crate::delivery::{Delivery, Headers};
use crate::event::{Event, Parsed};
use crate::provider::Provider;
use crate::store::Outcome;

/// The longest body that is read. Real deliveries have a few kB; Svix itself sends at most 350 kB.
const MAX_BODY_BYTES: usize = 512 * 1024;

#[derive(Serialize)]
struct Receipt<'a> {
    outcome: &'static str,
    event_id: &'a str,
}

/// Takes one delivery.
///
/// 1. The provider has a usable secret (503, so that the sender tries again once it has).
/// 2. The body is at most [`MAX_BODY_BYTES`] long (413).
/// 3. The signature fits (400).
/// 4. From here on the sender may hang up: what is stored is copied as well, as what it sends again is a duplicate. One that this
///    isolate stored before, and that the ledger knows, is only counted.
/// 5. The event is read; one that cannot be is kept whole. One D1 batch (503, so that the sender tries again).
/// 6. The KV copy and this isolate's memory follow; without them the answer is as right, only slower. A duplicate has changed
///    nothing, so it does neither, unless the answer to an earlier attempt may have been lost here.
/// 7. What ties with another event is asked of the provider, after the answer. If that fails, the next sweep finds it.
/// 8. What changed is passed on, after the answer, where a sink is set. If that fails, a scheduled run tries again.
pub(super) async fn handle(edge: &Edge<'_>, provider: &'static dyn Provider) -> Result<Reply, Failure> {
    // 1.
    let Some(secrets) = edge.settings.webhook_secrets.get(provider.name()) else {
        return Err(Failure::ProviderNotConfigured {
            complaint: edge.settings.complaint_about(provider.secret_names()),
        });
    };

    // 2.
    let present =
        |names: &&'static [&'static str]| names.iter().find_map(|name| Some((*name, edge.request.header(name)?)));
    let headers = Headers::new(provider.signature_headers().iter().filter_map(present));
    let delivery = Delivery { headers, body: edge.request.body(MAX_BODY_BYTES).await? };

    // 3.
    let verified = provider
        .verify(&delivery, secrets, &edge.settings.ours, edge.now)
        .map_err(|error| Failure::Unverified { provider: provider.name(), error })?;

    // 4.
    edge.ending.ensure()?;
    if store::is_known(edge.env, provider.name(), verified.event_id(), edge.now).await? {
        return receipt(Outcome::Duplicate, verified.event_id());
    }

    // 5.
    let parsed = provider.parse(&verified, &edge.settings.ours);
    if let Err(error) = &parsed {
        Line::error("failed to read an event: it is kept as a dead letter")
            .with("provider", provider.name())
            .with("event.id", verified.event_id())
            .with("event.type", error.event_type.as_deref().unwrap_or_default())
            .write();
    }

    let Delivered { outcome, snapshot, is_tied } =
        store::deliver(edge.env, provider.name(), &verified, &parsed, edge.now).await?;

    // 6.
    if let Some(stored) = snapshot {
        let touches_holdings = matches!(&parsed, Ok(Parsed::Event(event)) if event.touches_holdings());
        store::follow_and_mend(edge, &stored, touches_holdings).await;
        // 7.
        if is_tied
            && let Ok(Parsed::Event(Event { occurred_at, .. })) = parsed
            && let Some(api) = provider.api().filter(|_| edge.settings.apis.contains_key(provider.name()))
        {
            let (env, settings, payer) = (edge.env.clone(), isolate::settings(edge.env), stored.payer.clone());
            task::wait_until(edge.context, async move {
                reconcile::settle(&env, &settings, &payer, api, occurred_at).await;
            });
        }
    }
    // 8.
    if outcome == Outcome::Stored && edge.settings.sink.is_some() {
        let (env, settings) = (edge.env.clone(), isolate::settings(edge.env));
        task::wait_until(edge.context, async move { sink::run(&env, &settings).await });
    }
    receipt(outcome, verified.event_id())
}

fn receipt(outcome: Outcome, event_id: &str) -> Result<Reply, Failure> {
    let receipt = Receipt { outcome: outcome.as_str(), event_id };
    let body = serde_json::to_string(&receipt).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(Reply::json(200, body).with("cache-control", "no-store"))
}
