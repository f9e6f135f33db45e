//! `POST /admin/erase` and `POST /admin/rebuild`.

use serde::Serialize;

use super::{MAX_BODY_BYTES, new_id};
use crate::answer::Source;
use crate::edge::response::{Failure, Reply};
use crate::edge::store::{self, Batch, StoredSnapshot, unavailable};
use crate::edge::{Edge, isolate};
use crate::ordered::{self, Map};
use crate::payer::Payer;
use crate::store::upkeep::{COPIES_DELETED_AT_ONCE, ERASED, REPORT_AT, erase as erasure, rebuild as rebuilding};
use crate::upkeep::{Erasure, Rebuild, Report, digest};

#[derive(Serialize)]
struct Erased {
    /// The payer's key as a digest, by which the note in the ledger is found.
    payer_sha256: String,
    erased: Map<&'static str, u64>,
    /// Whether the KV copy is gone already, and not only when its time is up.
    copy_deleted: bool,
}

/// Erases what is held on a payer, and keeps a tombstone.
///
/// 1. The request names one payer, and says who and why (400).
/// 2. One D1 batch (503; then nothing was erased).
/// 3. The KV copy goes, and this isolate remembers the tombstone. Elsewhere a grant may be repeated from memory for ten
///    seconds.
pub(super) async fn erase(edge: &Edge<'_>) -> Result<Reply, Failure> {
    // 1.
    let asked = Erasure::from_json(&edge.request.body(MAX_BODY_BYTES).await?)?;

    // 2.
    let statements = erasure(&asked, &new_id()?, edge.now);
    let answered = Batch::run(edge.env, &statements)
        .await
        .map_err(|thrown| unavailable("the payer could not be erased", &thrown))?;

    // 3.
    let copy_deleted = store::delete_copy(edge.env, &asked.payer).await;
    if let Some(text) = answered.text(statements.len().saturating_sub(1), "snapshot") {
        // Not written to KV: a copy would be one more place that knows the payer.
        isolate::remember_snapshot(&StoredSnapshot::parse(text)?.snapshot, Source::D1, false, edge.now);
    }
    let counts = ERASED.iter().enumerate().map(|(index, what)| (*what, answered.changes(index).unwrap_or_default()));
    Reply::private(&Erased { payer_sha256: digest(&asked.payer), erased: ordered::map(counts), copy_deleted })
}

#[derive(Serialize)]
struct Rebuilt {
    replaced: bool,
    #[serde(flatten)]
    report: Report,
    /// KV copies of changed payers that were deleted; those of others run out by themselves.
    copies_deleted: u64,
}

/// Derives the state anew from the ledger, compares it with what is held, and puts it in its place if that is asked for.
///
/// 1. The request says who, and whether to replace (400).
/// 2. One D1 batch (503; then nothing was changed).
/// 3. Where state was replaced, memory and KV forget it.
pub(super) async fn rebuild(edge: &Edge<'_>) -> Result<Reply, Failure> {
    const WHAT: &str = "the state could not be rebuilt";
    // 1.
    let asked = Rebuild::from_json(&edge.request.body(MAX_BODY_BYTES).await?)?;

    // 2.
    let statements = rebuilding(&asked, &new_id()?, edge.now);
    let answered = Batch::run(edge.env, &statements).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    let text = answered.text(REPORT_AT, "report").unwrap_or_default();
    let report =
        Report::parse(&text).map_err(|error| Failure::StoreUnavailable { what: WHAT, cause: error.to_string() })?;

    // 3.
    let mut copies_deleted: u64 = 0;
    if asked.replace {
        for payer in report.changed.iter().take(COPIES_DELETED_AT_ONCE).filter_map(|key| Payer::from_key(key)) {
            isolate::forget_snapshot(&payer);
            copies_deleted = copies_deleted.saturating_add(store::delete_copy(edge.env, &payer).await.into());
        }
    }
    Reply::private(&Rebuilt { replaced: asked.replace, report, copies_deleted })
}
