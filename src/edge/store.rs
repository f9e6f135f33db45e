//! D1 and KV, bound to the core's statements and snapshots.

use std::rc::Rc;

use js_sys::Array;
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use worker::Env;

use super::bindings::{D1, D1Result, D1Statement, Kv, WebhookRow, binding, message, object, wait};
use super::isolate::{self, Standing};
use super::log::Line;
use super::response::Failure;
use super::task::settled;
use super::{Edge, clock, task};
use crate::answer::Source;
use crate::api::Reading;
use crate::delivery::Verified;
use crate::event::{ParseError, Parsed};
use crate::ledger::{Filter, History, Page};
use crate::loose::Found;
use crate::ordered::{self, Map};
use crate::payer::Payer;
use crate::reconcile::Held;
use crate::snapshot::Snapshot;
use crate::store::{self, Outcome, Param, Statement};
use crate::time::Timestamp;

/// What a snapshot's key begins with. The number changes with the form of the snapshot, so that two versions of this
/// code never read each other's.
const KEY_PREFIX: &str = "s1:";

const NOT_STORED: &str = "the delivery could not be stored";

/// The pauses before a copy that could not be written is written again: KV takes one write a second for each key, and what a
/// provider tells of one purchase, or of one end, comes within less.
const MENDED_AFTER_MS: [i64; 2] = [1_000, 3_000];

/// The failures of D1 that pass by themselves, and that it wants tried again. Nothing but the text tells them from others, such as an
/// overload, which another try makes worse: <https://developers.cloudflare.com/d1/best-practices/retry-queries/>.
const PASSING: [&str; 3] =
    ["Network connection lost", "storage caused object to be reset", "reset because its code was updated"];
/// The pause before that, as some senders come again after minutes only.
const TRIED_AGAIN_AFTER_MS: f64 = 1_000.0;

/// Whether a delivery is in the ledger already; if so, this attempt is counted there. D1 is asked for it only where this isolate
/// stored it, so that what is sent again and again costs one short statement.
pub(super) async fn is_known(env: &Env, provider: &str, event_id: &str, now: Timestamp) -> Result<bool, Failure> {
    if isolate::an_answer_was_lost() || !isolate::is_stored(provider, event_id) {
        return Ok(false);
    }
    let answered = Batch::run(env, &[store::again(provider, event_id, now)]).await;
    Ok(answered.map_err(|thrown| unavailable(NOT_STORED, &thrown))?.first_row(0).is_some())
}

/// Writes a delivery and reads back the payer's snapshot, in one D1 batch, which is tried once more where D1 lost it.
pub(super) async fn deliver(
    env: &Env,
    provider: &str,
    verified: &Verified<'_>,
    parsed: &Result<Parsed, ParseError>,
    now: Timestamp,
) -> Result<Delivered, Failure> {
    let mut is_last = false;
    let answered = loop {
        // What was tried before may be stored all the same.
        let reads_duplicates_back = isolate::an_answer_was_lost();
        let mut statements = store::webhook(provider, verified, parsed, reads_duplicates_back, now)
            .map_err(|error| Failure::Internal(error.to_string()))?;
        if isolate::settings(env).passes_on && matches!(parsed, Ok(Parsed::Event(event)) if event.touches_holdings()) {
            statements.push(store::outbox::pass_on(provider, verified.event_id(), now));
        }
        match Batch::run(env, &statements).await {
            Ok(answered) => break answered,
            Err(thrown) => {
                isolate::answer_lost();
                let cause = message(&thrown);
                if is_last || !PASSING.iter().any(|passing| cause.contains(passing)) {
                    return Err(Failure::StoreUnavailable { what: NOT_STORED, cause });
                }
            }
        }
        is_last = true;
        // A wait that fails is none.
        settled(wait(TRIED_AGAIN_AFTER_MS)).await.ok();
    };
    let strange = |cause: String| Failure::StoreUnavailable { what: NOT_STORED, cause };
    let row = answered.webhook_row(0).ok_or_else(|| strange("the batch answered no row".into()))?;
    let outcome = row.outcome().as_string().ok_or_else(|| strange("the batch answered no outcome".into()))?;
    let outcome = Outcome::parse(&outcome).map_err(|error| strange(error.to_string()))?;
    if matches!(parsed, Ok(Parsed::Event(_))) {
        isolate::remember_stored(provider, verified.event_id());
    }
    let is_tied = outcome != Outcome::Duplicate && row.detail().as_string().as_deref() == Some(store::TIED);
    Ok(Delivered { outcome, snapshot: answered.fresh(), is_tied })
}

/// Memory and KV follow what was stored. What touches no holdings leaves the copy as right as it was.
///
/// Of events that come at once the last to get its answer is not the newest: its copy would stay. If the newer one touched nothing,
/// nobody has written a copy of this change yet.
pub(super) async fn follow(env: &Env, stored: &Fresh, touches_holdings: bool, ttl_secs: u32, now: Timestamp) -> Copied {
    match isolate::remember_fresh(stored, touches_holdings, now) {
        Standing::Newest if touches_holdings => {
            write_copy(env, &stored.payer, stored.version, &stored.text, ttl_secs).await
        }
        Standing::Superseded { is_copied: false } if touches_holdings => {
            copy_anew(env, &stored.payer, ttl_secs, now).await
        }
        Standing::Newest | Standing::Superseded { .. } => Copied::Newest,
    }
}

/// The same within a request; a copy that is not the newest is mended after the answer.
pub(super) async fn follow_and_mend(edge: &Edge<'_>, stored: &Fresh, touches_holdings: bool) {
    let ttl_secs = edge.settings.snapshot_ttl_secs;
    if follow(edge.env, stored, touches_holdings, ttl_secs, edge.now).await != Copied::Newest {
        let (env, payer) = (edge.env.clone(), stored.payer.clone());
        task::wait_until(edge.context, async move { mend_copy(&env, &payer, ttl_secs).await });
    }
}

/// Writes a payer's copy again, until it is what D1 has. If that fails too, it stays as it is to the end of its time.
pub(super) async fn mend_copy(env: &Env, payer: &Payer, ttl_secs: u32) {
    for pause_ms in MENDED_AFTER_MS {
        // Who waits already reads what was stored until its wait is over.
        if !isolate::begin_pause(payer, pause_ms, clock()) {
            return;
        }
        // A wait that fails is none.
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        settled(wait(pause_ms as f64)).await.ok();
        isolate::end_pause(payer);
        if copy_anew(env, payer, ttl_secs, clock()).await == Copied::Newest {
            return;
        }
    }
}

/// Reads a payer from D1 and writes that to KV.
async fn copy_anew(env: &Env, payer: &Payer, ttl_secs: u32, now: Timestamp) -> Copied {
    let newest = match read(env, std::slice::from_ref(payer), now).await {
        Ok(newest) => newest,
        // What is stored is stored.
        Err(failure) => {
            if let Some(line) = failure.log() {
                line.with("payer.id", payer.key()).write();
            }
            return Copied::Failed;
        }
    };
    let mut copied = Copied::Newest;
    for StoredSnapshot { text, snapshot } in newest {
        match isolate::remember_snapshot(&snapshot, Source::D1, true, now) {
            Standing::Newest => copied = write_copy(env, payer, snapshot.version, &text, ttl_secs).await,
            // Who was stored meanwhile has its own copy,
            Standing::Superseded { is_copied: true } => {}
            // or touched nothing, and then has none.
            Standing::Superseded { is_copied: false } => copied = Copied::Overtaken,
        }
    }
    copied
}

/// What became of a delivery.
pub(super) struct Delivered {
    pub(super) outcome: Outcome,
    /// The payer's, when it is known whom the event is about.
    pub(super) snapshot: Option<Fresh>,
    /// Another event tells otherwise at the same times: only the provider can say which is right.
    pub(super) is_tied: bool,
}

/// Reads the snapshots of a user, an organization, or both from D1, in that order.
pub(super) async fn read(env: &Env, payers: &[Payer], now: Timestamp) -> Result<Vec<StoredSnapshot>, Failure> {
    const WHAT: &str = "the payer could not be read";
    let [first, rest @ ..] = payers else { return Ok(Vec::new()) };
    let statement = store::snapshots((first, rest.first()), now);
    let rows = rows(env, &statement).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    let mut found = Vec::with_capacity(payers.len());
    for row in rows {
        let text = row.unchecked_into::<Array>().get(1).as_string().unwrap_or_default();
        found.push(StoredSnapshot::parse(text)?);
    }
    // The database may answer in any order.
    let in_order = payers.iter().map(|payer| {
        let at = found.iter().position(|stored| stored.snapshot.payer == *payer);
        at.map(|at| found.swap_remove(at))
    });
    let in_order: Option<Vec<_>> = in_order.collect();
    in_order.ok_or_else(|| Failure::StoreUnavailable { what: WHAT, cause: "a payer is missing in the answer".into() })
}

/// Reads a page of the ledger.
pub(super) async fn ledger(env: &Env, filter: &Filter) -> Result<Page, Failure> {
    const WHAT: &str = "the ledger could not be read";
    let rows = rows(env, &store::ledger(filter)).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    let json = rows.get(0).unchecked_into::<Array>().get(0).as_string().unwrap_or_default();
    Page::parse(&json).map_err(|error| Failure::StoreUnavailable { what: WHAT, cause: error.to_string() })
}

/// Reads the newest events behind what a payer holds, as they were known at `at`.
pub(super) async fn history(env: &Env, payer: &Payer, at: Timestamp, limit: u32) -> Result<History, Failure> {
    let statement = store::history(payer, at, limit);
    let rows = rows(env, &statement).await.map_err(|thrown| unavailable("the ledger could not be read", &thrown))?;
    let mut history = History::default();
    for row in rows {
        let row = row.unchecked_into::<Array>();
        history.read(row.get(0).as_f64() == Some(1.0), row.get(1).as_string().as_deref());
    }
    Ok(history)
}

/// Derives the state anew from a row of the ledger.
pub(super) async fn reapply(
    env: &Env,
    provider: &str,
    event_id: &str,
    now: Timestamp,
) -> Result<Option<Fresh>, Failure> {
    let statements = store::reapply(provider, event_id, now);
    let answered = Batch::run(env, &statements).await;
    Ok(answered.map_err(|thrown| unavailable("the event could not be replayed", &thrown))?.fresh())
}

/// Notes in the ledger what an operator did.
pub(super) async fn note(env: &Env, id: &str, action: &str, detail: &str, now: Timestamp) -> Result<(), Failure> {
    let statement = store::note(id, action, detail, now);
    let noted = rows(env, &statement).await;
    noted.map(|_| ()).map_err(|thrown| unavailable("the ledger could not be written", &thrown))
}

/// Reads what is held of the records of this reading, and of the payer.
pub(super) async fn held(env: &Env, provider: &str, reading: &Reading, payer: Option<&Payer>) -> Result<Held, Failure> {
    const WHAT: &str = "the records could not be read";
    let statement = store::held(provider, reading, payer).map_err(|error| Failure::Internal(error.to_string()))?;
    let rows = rows(env, &statement).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    let json = rows.get(0).unchecked_into::<Array>().get(0).as_string().unwrap_or_default();
    Held::parse(&json)
        .map_err(|error| Failure::StoreUnavailable { what: WHAT, cause: format!("reading records: {error}") })
}

/// Reads under which customers' ids the providers have a payer, those told last first: the provider and the id.
pub(super) async fn customers_of(env: &Env, payer: &Payer) -> Result<Vec<(String, String)>, Failure> {
    const WHAT: &str = "the payer's customers could not be read";
    let rows = rows(env, &store::customers_of(payer)).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    Ok(rows.iter().filter_map(pair).collect())
}

/// Reads what waits for an operator.
pub(super) async fn loose(env: &Env, records: u32) -> Result<Found, Failure> {
    const WHAT: &str = "what waits could not be read";
    let rows = rows(env, &store::loose(records)).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    let json = rows.get(0).unchecked_into::<Array>().get(0).as_string().unwrap_or_default();
    Found::parse(&json).map_err(|error| Failure::StoreUnavailable { what: WHAT, cause: error.to_string() })
}

/// Reads what the worker kept for itself under these names.
pub(super) async fn kept(env: &Env, names: &[&str]) -> Result<Map<String, String>, Failure> {
    const WHAT: &str = "what is kept between runs could not be read";
    let statement = store::kept(names).map_err(|error| Failure::Internal(error.to_string()))?;
    let rows = rows(env, &statement).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    Ok(ordered::map(rows.iter().filter_map(pair)))
}

/// A row of two texts.
fn pair(row: JsValue) -> Option<(String, String)> {
    let row = row.unchecked_into::<Array>();
    Some((row.get(0).as_string()?, row.get(1).as_string()?))
}

/// Keeps something between runs.
pub(super) async fn keep(env: &Env, name: &str, value: &str, now: Timestamp) -> Result<(), Failure> {
    let kept = rows(env, &store::keep(name, value, now)).await;
    kept.map(|_| ()).map_err(|thrown| unavailable("what is kept between runs could not be written", &thrown))
}

/// Adds to the numbers of refused deliveries.
pub(super) async fn count_rejections(env: &Env, counted: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string(counted).map_err(|error| error.to_string())?;
    rows(env, &store::count_rejections(json)).await.map(|_| ()).map_err(|thrown| message(&thrown))
}

/// A text of our own in KV.
pub(super) async fn text_copy(env: &Env, name: &str) -> Result<Option<String>, String> {
    let reading = kv(env).and_then(|kv| kv.get(&own_key(name), "text"));
    settled(reading).await.map(|value| value.as_string()).map_err(|thrown| message(&thrown))
}

/// Writes a text of our own to KV. Who does not find it there reads D1.
pub(super) async fn write_text_copy(env: &Env, name: &str, text: &str) {
    let put = kv(env).and_then(|kv| kv.put(&own_key(name), text, &JsValue::UNDEFINED));
    if let Err(thrown) = settled(put).await {
        Line::warn(format!("failed to write the copy of {name}: {}", message(&thrown))).write();
    }
}

/// No payer's key begins so.
fn own_key(name: &str) -> String {
    format!("own1:{name}")
}

/// The first column of a statement's first row.
pub(super) async fn first_text(env: &Env, statement: &Statement) -> Result<String, String> {
    let rows = rows(env, statement).await.map_err(|thrown| message(&thrown))?;
    let row = rows.get(0);
    let first = row.dyn_into::<Array>().ok().and_then(|row| row.get(0).as_string());
    first.ok_or_else(|| "the database answered nothing".into())
}

/// A snapshot that was read back with what changed it. Most of these are never asked for, so they are not read.
pub(super) struct Fresh {
    pub(super) payer: Payer,
    pub(super) version: u64,
    pub(super) text: Rc<str>,
}

impl Fresh {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of deliveries")]
    fn of(row: &WebhookRow) -> Option<Self> {
        let version = row.version().as_f64()? as u64;
        let payer = Payer::from_key(&row.payer().as_string()?)?;
        Some(Self { payer, version, text: row.snapshot().as_string()?.into() })
    }
}

/// A snapshot as text and as read: the text goes to KV as it is.
pub(super) struct StoredSnapshot {
    pub(super) text: String,
    pub(super) snapshot: Rc<Snapshot>,
}

impl StoredSnapshot {
    pub(super) fn parse(text: String) -> Result<Self, Failure> {
        let snapshot = Snapshot::parse(&text).map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(Self { text, snapshot: Rc::new(snapshot) })
    }
}

/// Starts reading a payer's KV copy, so that several can be read at once.
pub(super) fn start_reading_copy(env: &Env, payer: &Payer) -> Result<js_sys::Promise, JsValue> {
    kv(env)?.get(&key(payer), "text")
}

/// The KV copy, if there is one and it can be read. KV is never needed: without it D1 answers.
pub(super) async fn copy(reading: Result<js_sys::Promise, JsValue>, payer: &Payer) -> Option<Snapshot> {
    let value = match settled(reading).await {
        Ok(value) => value.as_string()?,
        Err(thrown) => {
            Line::warn(format!("failed to read the KV copy: {}", message(&thrown)))
                .with("payer.id", payer.key())
                .write();
            return None;
        }
    };
    match Snapshot::parse(&value) {
        // A key that holds somebody else's snapshot must not answer for this payer.
        Ok(snapshot) if snapshot.payer == *payer => Some(snapshot),
        Ok(_) => {
            Line::error("the KV copy is another payer's").with("payer.id", payer.key()).write();
            None
        }
        Err(error) => {
            Line::warn(format!("failed to read the KV copy: {error}")).with("payer.id", payer.key()).write();
            None
        }
    }
}

/// What became of a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copied {
    /// KV has the newest that this isolate knows, or is given it by another request.
    Newest,
    /// A newer one was stored while this one was written: nobody knows which of the two KV keeps.
    Overtaken,
    /// It was not written, which is logged.
    Failed,
}

/// Rewrites the KV copy. KV is never needed: a denial is confirmed in D1 anyway, and a grant is read again from D1 when the
/// copy's time is up.
pub(super) async fn write_copy(env: &Env, payer: &Payer, version: u64, snapshot: &str, ttl_secs: u32) -> Copied {
    let put = || {
        let options = object([("expirationTtl", JsValue::from(ttl_secs))])?;
        kv(env)?.put(&key(payer), snapshot, &options)
    };
    if let Err(thrown) = settled(put()).await {
        Line::warn(format!("failed to write the KV copy: {}", message(&thrown))).with("payer.id", payer.key()).write();
        return Copied::Failed;
    }
    if isolate::knows_newer(payer, version) { Copied::Overtaken } else { Copied::Newest }
}

/// Deletes a KV copy; answers whether that was done. One that stays runs out by itself.
pub(super) async fn delete_copy(env: &Env, payer: &Payer) -> bool {
    let deleted = settled(kv(env).and_then(|kv| kv.delete(&key(payer)))).await;
    if let Err(thrown) = &deleted {
        Line::warn(format!("failed to delete the KV copy: {}", message(thrown))).with("payer.id", payer.key()).write();
    }
    deleted.is_ok()
}

/// Whether KV answers at all.
pub(super) async fn copy_health(env: &Env) -> Result<(), String> {
    let reading = kv(env).and_then(|kv| kv.get("health", "text"));
    settled(reading).await.map(|_| ()).map_err(|thrown| message(&thrown))
}

fn key(payer: &Payer) -> String {
    format!("{KEY_PREFIX}{payer}")
}

fn d1(env: &Env) -> Result<D1, JsValue> {
    binding(env, "DB").map(JsCast::unchecked_into).ok_or_else(|| JsValue::from("the D1 binding DB is missing"))
}

fn kv(env: &Env) -> Result<Kv, JsValue> {
    binding(env, "ENTITLEMENTS")
        .map(JsCast::unchecked_into)
        .ok_or_else(|| JsValue::from("the KV binding ENTITLEMENTS is missing"))
}

/// What the statements of one transaction answered.
pub(super) struct Batch(Array);

impl Batch {
    pub(super) async fn run(env: &Env, statements: &[Statement]) -> Result<Self, JsValue> {
        let d1 = d1(env)?;
        let bound = statements.iter().map(|statement| bind(&d1, statement)).collect::<Result<Array, _>>()?;
        Ok(Self(settled(d1.batch(&bound)).await?.dyn_into()?))
    }

    /// The first row of a statement, if it answered any. Most answer none, so that is not left to JavaScript to find out: an
    /// exception costs more than all else here.
    fn first_row(&self, index: u32) -> Option<JsValue> {
        let result = self.0.get(index).unchecked_into::<D1Result>();
        let row = result.results().ok()?.dyn_into::<Array>().ok()?.get(0);
        row.is_object().then_some(row)
    }

    fn webhook_row(&self, index: u32) -> Option<WebhookRow> {
        self.first_row(index).map(JsCast::unchecked_into)
    }

    /// The last snapshot that a statement answers, if any does.
    fn fresh(&self) -> Option<Fresh> {
        (0..self.0.length()).rev().find_map(|index| Fresh::of(&self.webhook_row(index)?))
    }

    /// A column of the first row of a statement, if it is text.
    pub(super) fn text(&self, index: usize, name: &str) -> Option<String> {
        js_sys::Reflect::get(&self.first_row(u32::try_from(index).ok()?)?, &name.into()).ok()?.as_string()
    }

    /// How many rows a statement wrote.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
    pub(super) fn changes(&self, index: usize) -> Option<u64> {
        let meta = self.0.get(u32::try_from(index).ok()?).unchecked_into::<D1Result>().meta().ok()?;
        Some(js_sys::Reflect::get(&meta, &"changes".into()).ok()?.as_f64()? as u64)
    }
}

/// Runs one statement; answers its rows as arrays.
pub(super) async fn rows(env: &Env, statement: &Statement) -> Result<Array, JsValue> {
    let bound = bind(&d1(env)?, statement)?;
    settled(bound.raw()).await?.dyn_into()
}

fn bind(d1: &D1, statement: &Statement) -> Result<D1Statement, JsValue> {
    let values: Array = statement.params.iter().map(value).collect();
    d1.prepare(&isolate::javascript_text(statement.sql))?.bind(&values)
}

#[allow(clippy::cast_precision_loss, reason = "times in milliseconds are far below 2^53, and D1 takes numbers only")]
fn value(param: &Param) -> JsValue {
    match param {
        Param::Null => JsValue::NULL,
        Param::Integer(number) => JsValue::from_f64(*number as f64),
        Param::Text(text) => JsValue::from_str(text),
    }
}

pub(super) fn unavailable(what: &'static str, thrown: &JsValue) -> Failure {
    Failure::StoreUnavailable { what, cause: message(thrown) }
}
