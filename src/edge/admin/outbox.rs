//! `GET /admin/outbox` and `POST /admin/outbox/replay`.

use js_sys::Array;
use serde::Serialize;
use wasm_bindgen::JsCast;

use super::{MAX_BODY_BYTES, new_id};
use crate::edge::response::{Failure, Reply};
use crate::edge::store::{self, Batch, unavailable};
use crate::edge::{Edge, isolate, sink, task};
use crate::json;
use crate::outbox::Replay;
use crate::store::note;
use crate::store::outbox::{listed, replay as replaying};

/// Rows shown of what waits, and of what was given up.
const SHOWN: u32 = 100;

/// What waits to be passed on, and what was given up.
pub(super) async fn list(edge: &Edge<'_>) -> Result<Reply, Failure> {
    const WHAT: &str = "the outbox could not be read";
    let rows = store::rows(edge.env, &listed(SHOWN)).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    let text = rows.get(0).unchecked_into::<Array>().get(0).as_string();
    let text = text.ok_or_else(|| Failure::StoreUnavailable { what: WHAT, cause: "it answered nothing".into() })?;
    Ok(Reply::json(200, text).with("cache-control", "private, no-store"))
}

#[derive(Serialize)]
struct Replayed {
    replayed: u64,
}

/// Has what was given up tried again, from now on.
pub(super) async fn replay(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let asked = Replay::from_json(&edge.request.body(MAX_BODY_BYTES).await?)?;
    // Not whose: the note outlives an erasure.
    let detail = json::object(vec![("by", asked.by.clone().into())]).to_string();
    let statements = [replaying(&asked, edge.now), note(&new_id()?, "admin.outbox.replay", &detail, edge.now)];
    let answered = Batch::run(edge.env, &statements)
        .await
        .map_err(|thrown| unavailable("the outbox could not be replayed", &thrown))?;
    send_later(edge);
    Reply::private(&Replayed { replayed: answered.changes(0).unwrap_or_default() })
}

/// Begins to send, after the answer.
pub(super) fn send_later(edge: &Edge<'_>) {
    if edge.settings.sink.is_some() {
        let (env, settings) = (edge.env.clone(), isolate::settings(edge.env));
        task::wait_until(edge.context, async move { sink::run(&env, &settings).await });
    }
}
