//! Deliveries that were refused, counted by cause. Nothing of them is kept but their number.
//!
//! Anybody can send what will be refused, so a count is not a write: an isolate counts in memory and hands its numbers to
//! the database now and then. Those of an isolate that ends before are lost, which changes no cause.

use std::cell::RefCell;

use serde::Serialize;
use worker::Env;

use super::log::Line;
use super::{Edge, store, task};
use crate::ordered::Map;
use crate::time::Timestamp;

/// How often an isolate writes at most: 8,640 writes a day at the very worst, of the 100,000 of Cloudflare's free plan.
const FLUSH_MS: i64 = 10_000;

thread_local! {
    /// When a refusal was last logged.
    static LOGGED: RefCell<Map<(&'static str, &'static str), Timestamp>> = const { RefCell::new(Map::new()) };
    static PENDING: RefCell<Pending> = const { RefCell::new(Pending { counts: Map::new(), flushed_at: None }) };
}

struct Pending {
    counts: Map<(&'static str, &'static str), Count>,
    flushed_at: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Count {
    count: u64,
    last_at: Timestamp,
}

#[derive(Serialize)]
struct Row {
    provider: &'static str,
    cause: &'static str,
    count: u64,
    last_at: i64,
}

/// Counts one.
pub(super) fn count(provider: &'static str, cause: &'static str, now: Timestamp) {
    add(provider, cause, Count { count: 1, last_at: now });
}

/// Whether a refusal for this cause is to be logged: the first in ten seconds is. All are counted, and anybody can make
/// thousands, each of whose lines would cost as much as all else that is done for it.
pub(super) fn is_news(provider: &'static str, cause: &'static str, now: Timestamp) -> bool {
    LOGGED.with_borrow_mut(|logged| {
        let is_news = logged.get(&(provider, cause)).is_none_or(|at| now.millis_since(*at) >= FLUSH_MS);
        if is_news {
            logged.insert((provider, cause), now);
        }
        is_news
    })
}

/// Hands the numbers to the database after the answer, if it is time to.
pub(super) fn flush_later(edge: &Edge<'_>) {
    if is_due(edge.now) {
        let (env, now) = (edge.env.clone(), edge.now);
        task::wait_until(edge.context, async move { flush(&env, now).await });
    }
}

/// Whether there are numbers to be handed over and it is time to.
pub(super) fn is_due(now: Timestamp) -> bool {
    PENDING.with_borrow(|pending| {
        let is_time = pending.flushed_at.is_none_or(|at| now.millis_since(at) >= FLUSH_MS);
        is_time && !pending.counts.is_empty()
    })
}

/// Gives what this isolate has not handed over yet of a provider's: for each cause how many, and when the last was.
pub(super) fn each_pending(provider: &str, take: &mut dyn FnMut(&str, u64, Timestamp)) {
    PENDING.with_borrow(|pending| {
        for ((name, cause), count) in pending.counts.iter() {
            if *name == provider {
                take(cause, count.count, count.last_at);
            }
        }
    });
}

/// Hands the numbers to the database. What it does not take is kept for the next time.
pub(super) async fn flush(env: &Env, now: Timestamp) {
    let taken = PENDING.with_borrow_mut(|pending| {
        pending.flushed_at = Some(now);
        std::mem::take(&mut pending.counts)
    });
    if taken.is_empty() {
        return;
    }
    let row = |((provider, cause), count): (&(&'static str, &'static str), &Count)| Row {
        provider,
        cause,
        count: count.count,
        last_at: count.last_at.as_millis(),
    };
    let rows: Vec<Row> = taken.iter().map(row).collect();
    if let Err(cause) = store::count_rejections(env, &rows).await {
        Line::warn(format!("failed to count refused deliveries: {cause}")).write();
        for ((provider, cause), count) in taken {
            add(provider, cause, count);
        }
    }
}

fn add(provider: &'static str, cause: &'static str, more: Count) {
    PENDING.with_borrow_mut(|pending| {
        pending.counts.update((provider, cause), Count { count: 0, last_at: more.last_at }, |known| {
            known.count = known.count.saturating_add(more.count);
            known.last_at = known.last_at.max(more.last_at);
        });
    });
}
