//! `/admin/…`: what operators see of the ledger and can do about it. Without `ADMIN_TOKEN` there is nothing here.

mod export;
mod outbox;
mod payers;
mod upkeep;

use serde::Serialize;

use super::bindings::{message, random_uuid};
use super::health::SweepView;
use super::response::{Failure, Reply};
use super::store::Fresh;
use super::{Edge, catalog, reconcile, store};
use crate::delivery::Verified;
use crate::event::{Event, Parsed};
use crate::grant::{self, Grant};
use crate::json::{self, Fields, Json, Unreadable};
use crate::ledger::{Filter, Row};
use crate::ordered::{self, Map};
use crate::provider;
use crate::settings::ApiKey;
use crate::store::{OPERATOR, Outcome};
use crate::time::Timestamp;

/// The longest body of an operator's request.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Records shown that nobody knows whose they are.
const UNASSIGNED_SHOWN: u32 = 100;
/// Deliveries replayed by one request. Each is one D1 batch and one KV write, and a request may make 50 such calls on
/// Cloudflare's free plan (1000 on the paid one).
const REPLAYED_AT_ONCE: u32 = 20;

/// Carries out an operator's request.
///
/// 1. `ADMIN_TOKEN` has an entry (404 otherwise, as for any other path).
/// 2. The request bears one of them (401).
/// 3. There is such a route and it takes the method (404, 405).
/// 4. The request can be read (400).
pub(super) async fn handle(edge: &Edge<'_>, what: &str) -> Result<Reply, Failure> {
    // 1.
    let tokens = &edge.settings.admin_tokens;
    if tokens.is_empty() {
        return Err(Failure::NotFound);
    }

    // 2.
    let presented = edge.request.header("authorization").unwrap_or_default();
    if !presented.strip_prefix("Bearer ").is_some_and(|presented| ApiKey::any_fits(tokens, presented)) {
        return Err(Failure::NotTheOperator);
    }

    // 3.
    match what {
        "events" => {
            edge.allow(&["GET", "HEAD"])?;
            page(edge, filter(edge)?).await
        }
        "dead-letters" => {
            edge.allow(&["GET", "HEAD"])?;
            page(edge, Filter { outcome: Some(Outcome::DeadLetter), ..filter(edge)? }).await
        }
        "replay" => {
            edge.allow(&["POST"])?;
            replay(edge).await
        }
        "loose-ends" => {
            edge.allow(&["GET", "HEAD"])?;
            loose_ends(edge).await
        }
        "reconcile" => {
            edge.allow(&["POST"])?;
            reconcile_now(edge).await
        }
        "grants" => {
            edge.allow(&["POST"])?;
            give(edge).await
        }
        "erase" => {
            edge.allow(&["POST"])?;
            upkeep::erase(edge).await
        }
        "rebuild" => {
            edge.allow(&["POST"])?;
            upkeep::rebuild(edge).await
        }
        "outbox" => {
            edge.allow(&["GET", "HEAD"])?;
            outbox::list(edge).await
        }
        "outbox/replay" => {
            edge.allow(&["POST"])?;
            outbox::replay(edge).await
        }
        "export" => {
            edge.allow(&["GET", "HEAD"])?;
            export::handle(edge).await
        }
        _ if what.starts_with("payers/") => {
            edge.allow(&["GET", "HEAD"])?;
            payers::handle(edge, what.strip_prefix("payers/").unwrap_or_default()).await
        }
        _ => match what.strip_prefix("grants/").and_then(|rest| rest.strip_suffix("/revoke")) {
            Some(id) if !id.is_empty() && !id.contains('/') => {
                edge.allow(&["POST"])?;
                take_back(edge, id).await
            }
            _ => Err(Failure::NotFound),
        },
    }
}

fn filter(edge: &Edge<'_>) -> Result<Filter, Failure> {
    Filter::from_query(edge.request.query()).map_err(|error| Failure::AdminRequest(error.to_string()))
}

async fn page(edge: &Edge<'_>, filter: Filter) -> Result<Reply, Failure> {
    Reply::private(&store::ledger(edge.env, &filter).await?)
}

/// One delivery, or all that were received since a time.
struct Replay {
    provider: Option<String>,
    event_id: Option<String>,
    since: Option<String>,
    cursor: Option<u64>,
    /// Who asks for it, for the ledger.
    by: Option<String>,
}

impl Replay {
    fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let json = json::parse(body)?;
        let fields = Fields::of(&json)?.only(&["provider", "event_id", "since", "cursor", "by"])?;
        Ok(Self {
            provider: fields.text("provider")?,
            event_id: fields.text("event_id")?,
            since: fields.text("since")?,
            cursor: fields.count("cursor")?,
            by: fields.text("by")?,
        })
    }
}

#[derive(Serialize)]
struct Replayed {
    replayed: Vec<ReplayedEvent>,
    next_cursor: Option<u64>,
}

#[derive(Serialize)]
struct ReplayedEvent {
    provider: String,
    event_id: String,
    outcome: &'static str,
}

/// Plays deliveries of the ledger again: a dead letter is read anew, of anything else the state is derived anew. The
/// order does not matter, and what was applied before stays as it is.
async fn replay(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let body = edge.request.body(MAX_BODY_BYTES).await?;
    let asked = Replay::read(&body)?;
    let since = asked.since.as_deref().map(|text| {
        Timestamp::parse_rfc3339(text).ok_or_else(|| Failure::AdminRequest("`since` is no RFC 3339 time".into()))
    });
    let is_one = asked.event_id.is_some() && asked.provider.is_some();
    if is_one == since.is_some() {
        return Err(Failure::AdminRequest("give either `provider` and `event_id`, or `since`".into()));
    }
    let filter = Filter {
        provider: asked.provider,
        event_id: asked.event_id,
        since: since.transpose()?,
        cursor: asked.cursor,
        limit: REPLAYED_AT_ONCE,
        ..Filter::default()
    };
    let page = store::ledger(edge.env, &filter).await?;
    if is_one && page.events.is_empty() {
        return Err(Failure::NoSuchEvent);
    }
    let id = new_id()?;
    let events = i64::try_from(page.events.len()).unwrap_or(i64::MAX);
    let detail = json::object(vec![("by", asked.by.into()), ("events", Json::Whole(events))]).to_string();
    store::note(edge.env, &id, "admin.replay", &detail, edge.now).await?;

    let mut replayed = Vec::with_capacity(page.events.len());
    for row in page.events {
        let outcome = replay_one(edge, &row).await?;
        replayed.push(ReplayedEvent { provider: row.provider, event_id: row.event_id, outcome });
    }
    Reply::private(&Replayed { replayed, next_cursor: page.next_cursor })
}

async fn replay_one(edge: &Edge<'_>, row: &Row) -> Result<&'static str, Failure> {
    let (outcome, stored) = match (&row.body, &row.event) {
        (Some(body), _) => {
            let Some(provider) = provider::named(&row.provider) else { return Ok("skipped") };
            // What orders an event that has no clock of its own is when it first came.
            let received_at = row.received_at.unwrap_or(edge.now);
            let verified = Verified::recorded(row.event_id.as_str(), received_at, body.as_bytes());
            let parsed = provider.parse(&verified, &edge.settings.ours);
            let delivered = store::deliver(edge.env, provider.name(), &verified, &parsed, edge.now).await?;
            // Still unreadable: the attempt was counted, and that is all.
            let outcome = if parsed.is_err() { Outcome::DeadLetter } else { delivered.outcome };
            (outcome.as_str(), delivered.snapshot)
        }
        (None, Some(_)) => ("reapplied", store::reapply(edge.env, &row.provider, &row.event_id, edge.now).await?),
        // Ignored events are kept without their bodies, and what operators did is not an event.
        (None, None) => return Ok("skipped"),
    };
    take_over(edge, stored).await;
    Ok(outcome)
}

/// What waits for an operator.
async fn loose_ends(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let catalog = catalog::current(edge).await?;
    Reply::private(&store::loose(edge.env, UNASSIGNED_SHOWN).await?.loose(&catalog))
}

/// Who asks for something, for the ledger.
fn by(body: &[u8]) -> Result<Option<String>, Unreadable> {
    if body.is_empty() {
        return Ok(None);
    }
    let json = json::parse(body)?;
    Fields::of(&json)?.only(&["by"])?.text("by")
}

/// Sweeps every provider's API a bounded way further, as the scheduled run does.
async fn reconcile_now(edge: &Edge<'_>) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Report {
        sweeps: Map<&'static str, SweepView>,
    }
    let body = edge.request.body(MAX_BODY_BYTES).await?;
    let by = by(&body)?;
    if edge.settings.apis.is_empty() {
        return Err(Failure::SyncNotConfigured);
    }
    let detail = json::object(vec![("by", by.into())]).to_string();
    store::note(edge.env, &new_id()?, "admin.reconcile", &detail, edge.now).await?;
    let sweeps = reconcile::run(edge.env, edge.settings).await;
    Reply::private(&Report {
        sweeps: ordered::map(sweeps.into_iter().map(|(name, sweep)| (name, SweepView::of(sweep, edge.now)))),
    })
}

#[derive(Serialize)]
struct GrantReceipt<'a> {
    grant_id: &'a str,
    outcome: &'static str,
}

/// Gives a plan or a feature by hand.
async fn give(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let catalog = catalog::current(edge).await?;
    let body = edge.request.body(MAX_BODY_BYTES).await?;
    let grant =
        Grant::from_json(&body, &catalog, edge.now).map_err(|error| Failure::AdminRequest(error.to_string()))?;
    let id = new_id()?;
    let event = grant.event(&id, edge.now);
    let outcome = apply(edge, &id, event).await?;
    Reply::private(&GrantReceipt { grant_id: &id, outcome: outcome.as_str() })
}

/// Takes a grant back, at once.
async fn take_back(edge: &Edge<'_>, grant_id: &str) -> Result<Reply, Failure> {
    let body = edge.request.body(MAX_BODY_BYTES).await?;
    let event_id = new_id()?;
    let event = grant::revocation(&body, grant_id, &event_id, edge.now)
        .map_err(|error| Failure::AdminRequest(error.to_string()))?;
    let filter = Filter {
        provider: Some(OPERATOR.into()),
        event_id: Some(grant_id.to_owned()),
        event_type: Some(grant::CREATED.into()),
        ..Filter::default()
    };
    // Of one to somebody who was erased since, the ledger keeps no more than the id.
    if store::ledger(edge.env, &filter).await?.events.iter().all(|row| row.payer.is_none()) {
        return Err(Failure::NoSuchGrant);
    }
    let outcome = apply(edge, &event_id, event).await?;
    Reply::private(&GrantReceipt { grant_id, outcome: outcome.as_str() })
}

/// Stores what an operator did, the way a provider's event is stored.
async fn apply(edge: &Edge<'_>, event_id: &str, event: Event) -> Result<Outcome, Failure> {
    let recorded = Verified::recorded(event_id, edge.now, &[]);
    let parsed = Ok(Parsed::Event(event));
    let delivered = store::deliver(edge.env, OPERATOR, &recorded, &parsed, edge.now).await?;
    if delivered.outcome == Outcome::Stored {
        outbox::send_later(edge);
    }
    take_over(edge, delivered.snapshot).await;
    Ok(delivered.outcome)
}

/// Memory and KV follow what was stored.
async fn take_over(edge: &Edge<'_>, stored: Option<Fresh>) {
    if let Some(stored) = stored {
        store::follow_and_mend(edge, &stored, true).await;
    }
}

fn new_id() -> Result<String, Failure> {
    random_uuid().map_err(|thrown| Failure::Internal(message(&thrown)))
}
