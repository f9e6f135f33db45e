//! `GET /admin/payers/{payer}`: one payer, as the database has it now.

use js_sys::Array;
use serde::Serialize;
use wasm_bindgen::JsCast;

use crate::answer::{self, Entitlements, Facts, Source};
use crate::edge::response::{Failure, Reply};
use crate::edge::{Edge, catalog, store};
use crate::json::{self, Fields, Unreadable};
use crate::ledger::{Filter, Row};
use crate::snapshot::Snapshot;
use crate::store::upkeep::payer as payers_row;
use crate::time::Timestamp;
use crate::upkeep::payer_in_path;

/// Events shown of one payer.
const EVENTS_SHOWN: u32 = 20;

#[derive(Serialize)]
struct Shown<'a> {
    payer: PayersRow,
    entitlements: Entitlements<'a>,
    events: Vec<Row>,
}

#[derive(Serialize)]
struct PayersRow {
    payer: String,
    version: u64,
    deleted_at: Option<Timestamp>,
    erased_at: Option<Timestamp>,
}

impl PayersRow {
    fn parse(text: &str) -> Result<Self, Unreadable> {
        let json = json::parse(text.as_bytes())?;
        let fields = Fields::of(&json)?;
        Ok(Self {
            payer: fields.need("payer", Fields::text)?,
            version: fields.need("version", Fields::count)?,
            deleted_at: fields.moment("deleted_at")?,
            erased_at: fields.moment("erased_at")?,
        })
    }
}

/// Shows a payer: its row, what it holds, the newest of its events. 404 when nobody ever told of it.
pub(super) async fn handle(edge: &Edge<'_>, segment: &str) -> Result<Reply, Failure> {
    const WHAT: &str = "the payer could not be read";
    let catalog = catalog::current(edge).await?;
    let payer = payer_in_path(segment).ok_or(Failure::NoSuchPayer)?;
    let rows = store::rows(edge.env, &payers_row(&payer)).await.map_err(|thrown| store::unavailable(WHAT, &thrown))?;
    let row = rows.get(0).dyn_into::<Array>().ok().and_then(|row| row.get(0).as_string());
    let row = PayersRow::parse(&row.ok_or(Failure::NoSuchPayer)?)
        .map_err(|error| Failure::StoreUnavailable { what: WHAT, cause: error.to_string() })?;
    let stored = store::read(edge.env, std::slice::from_ref(&payer), edge.now).await?;
    let snapshots = stored.iter().map(|stored| Snapshot::clone(&stored.snapshot)).collect();
    let facts = Facts::all_from(Source::D1, snapshots);
    let filter = Filter { payer: Some(payer), limit: EVENTS_SHOWN, ..Filter::default() };
    let events = store::ledger(edge.env, &filter).await?.events;
    let entitlements = answer::entitlements(&facts, &catalog, &edge.settings.policy, edge.now);
    Reply::private(&Shown { payer: row, entitlements, events })
}
