//! `/v1/explain`: why an answer is what it is.

use super::caller::Caller;
use super::check;
use super::response::{Failure, Reply};
use super::{Edge, catalog, limits, store};
use crate::answer::{self, Facts, Source};
use crate::explain::{Inquiry, MAX_EVENTS, MAX_PAST_EVENTS, as_known, explain as explained, is_whole};
use crate::ledger::History;
use crate::payer::Payer;
use crate::question::Asked;
use crate::time::{DAY_MS, Timestamp};

/// Explains one answer. Nothing is remembered and no copy is written: looking must not change what a check answers.
///
/// 1. The caller is a server (401; 429): the ledger tells more than a person's own browser needs to know.
/// 2. The question and its time are read (400).
/// 3. What a check would be answered is looked up, where that is about now.
/// 4. Today's facts and the events behind them are read from D1 (503).
/// 5. The facts are today's, or what those events tell that were known at a time that is past.
pub(super) async fn explain(edge: &Edge<'_>) -> Result<Reply, Failure> {
    // 1.
    let caller = Caller::server_of(edge)?;
    limits::count(edge, &|| limits::key_of(edge, &caller)).await?;
    let catalog = catalog::current(edge).await?;

    // 2.
    let (asked, at) = Asked::from_query_at(edge.request.query())?;
    let payers = caller.payers(&asked)?;
    let at = at.unwrap_or(edge.now);
    let (catalog, policy) = (catalog.as_ref(), &edge.settings.policy);

    // 3.
    let question = asked.questions.first().filter(|_| at == edge.now);
    let without_d1 = match question {
        Some(question) => check::without_d1(edge, catalog, question, &payers).await,
        None => None,
    };

    // 4.
    let is_past = at < edge.now;
    let stored = store::read(edge.env, &payers, edge.now).await?;
    let today = Facts {
        sources: vec![Source::D1; stored.len()],
        snapshots: stored.into_iter().map(|stored| stored.snapshot).collect(),
    };
    let limit = if is_past { MAX_PAST_EVENTS } else { MAX_EVENTS };
    let history = history(edge, &payers, at, limit).await?;

    // 5.
    let check = question
        .map(|question| without_d1.unwrap_or_else(|| answer::check(&today, catalog, policy, question, edge.now)))
        .map(|check| check.aged(edge.now));
    let inquiry = Inquiry { asked: &asked, at, now: edge.now, catalog, policy };
    if is_past {
        let then = as_known(&payers, &history, at);
        let kept_since = edge.now.plus_millis(i64::from(edge.settings.retention_days).saturating_mul(-DAY_MS));
        let complete = is_whole(&then, &today, &history, at, kept_since);
        Reply::private(&explained(&inquiry, &then, &history, complete, None))
    } else {
        Reply::private(&explained(&inquiry, &today, &history, true, check.as_ref()))
    }
}

async fn history(edge: &Edge<'_>, payers: &[Payer], at: Timestamp, limit: u32) -> Result<History, Failure> {
    let mut all = History::default();
    for payer in payers {
        all.merge(store::history(edge.env, payer, at, limit).await?);
    }
    Ok(all)
}
