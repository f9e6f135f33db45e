//! `GET /admin/export`: what is held on a payer, or the whole ledger, as lines of JSON.

use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};

use crate::edge::Edge;
use crate::edge::response::{Failure, Reply};
use crate::edge::store::{rows, unavailable};
use crate::store::Statement;
use crate::store::upkeep::{export_ledger, export_state};
use crate::upkeep::Export;

const WHAT: &str = "the export could not be read";

/// Hands over a page. The first page of a payer's begins with the payer's row, its records and its payments; all else is
/// the ledger, oldest first, so that the pages one after another are the whole of it. A `link` header leads to the next.
pub(super) async fn handle(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let export = Export::from_query(edge.request.query())?;
    let mut lines = Vec::new();
    if let (Some(payer), None) = (&export.payer, export.cursor) {
        lines.extend(read(edge, &export_state(payer)).await?.iter().map(|row| text(row, 0)));
    }
    let page = read(edge, &export_ledger(&export)).await?;
    lines.extend(page.iter().map(|row| text(row, 1)));
    let reply = Reply::private_lines(&lines);
    let Some(last) = page.last() else { return Ok(reply) };
    let is_last_page = number(last, 2) <= page.len() as u64;
    if is_last_page {
        return Ok(reply);
    }
    let link = format!("</admin/export?{}>; rel=\"next\"", export.next(number(last, 0)));
    Ok(reply.with("link", link))
}

async fn read(edge: &Edge<'_>, statement: &Statement) -> Result<Vec<Array>, Failure> {
    let rows = rows(edge.env, statement).await.map_err(|thrown| unavailable(WHAT, &thrown))?;
    Ok(rows.iter().map(JsCast::unchecked_into::<Array>).collect())
}

fn text(row: &Array, column: u32) -> String {
    row.get(column).as_string().unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number of a row")]
fn number(row: &Array, column: u32) -> u64 {
    JsValue::as_f64(&row.get(column)).unwrap_or_default() as u64
}
