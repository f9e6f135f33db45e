//! Passes changes on, after they were committed: see [`crate::outbox`].

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use worker::Env;

use super::bindings::{message, random_uuid};
use super::log::Line;
use super::response::Failure;
use super::store::Batch;
use super::{catalog, clock, outbound};
use crate::catalog::Catalog;
use crate::outbox::Due;
use crate::settings::{Settings, Sink};
use crate::store::outbox::{claim, delivered, failed};
use crate::time::Timestamp;

/// Sent at once. With the two batches around them a round makes ten calls of the 50 that a run may make on Cloudflare's free
/// plan.
const AT_ONCE: u32 = 8;
/// Rounds of one run: a sweep of the providers' APIs needs its calls too.
const ROUNDS: u32 = 2;
/// How long nobody else takes a change that is being sent: longer than an answer may take.
const LEASE_MS: i64 = 30_000;

/// Sends what is due, a bounded part of it. What fails is tried again; what was sent and could not be noted as sent is sent
/// again, which a receiver knows by its sequence.
pub(super) async fn run(env: &Env, settings: &Settings) {
    let Some(sink) = &settings.sink else { return };
    for _ in 0..ROUNDS {
        match round(env, settings, sink).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(cause) => {
                Line::error(format!("failed to pass changes on: {cause}")).write();
                return;
            }
        }
    }
}

/// Answers how many were sent, or were tried to.
async fn round(env: &Env, settings: &Settings, sink: &Sink) -> Result<usize, String> {
    let now = clock();
    let run = random_uuid().map_err(|thrown| message(&thrown))?;
    let claimed = claim(&run, AT_ONCE, now.plus_millis(LEASE_MS), now);
    let answered = Batch::run(env, &claimed).await.map_err(|thrown| message(&thrown))?;
    let text = answered.text(claimed.len().saturating_sub(1), "due").unwrap_or_default();
    let due = Due::read_all(&text).map_err(|error| error.to_string())?;
    if due.is_empty() {
        return Ok(0);
    }
    let catalog = catalog::with_settings(env, settings, now).await.map_err(|failure| reason(&failure))?;
    let sent = all(due.iter().map(|due| send(due, sink, &catalog, settings, now)).collect()).await;
    let now = clock();
    let mut statements = Vec::new();
    for (due, sent) in due.iter().zip(sent) {
        match sent {
            Ok(()) => statements.extend(delivered(due, now)),
            Err(cause) => {
                let line = if due.retry_after_ms().is_some() {
                    Line::warn(format!("failed to pass a change on: {cause}"))
                } else {
                    Line::error(format!("gave up passing a change on: {cause}"))
                };
                line.with("payer.id", due.payer.key()).with("sequence", due.sequence.to_string()).write();
                statements.extend(failed(due, &run, &cause, now));
            }
        }
    }
    Batch::run(env, &statements).await.map_err(|thrown| message(&thrown))?;
    Ok(due.len())
}

fn reason(failure: &Failure) -> String {
    format!("the catalog is not to be had ({})", failure.code())
}

async fn send(due: &Due, sink: &Sink, catalog: &Catalog, settings: &Settings, now: Timestamp) -> Result<(), String> {
    let message = due.message(catalog, &settings.policy, now).map_err(|error| error.to_string())?;
    let headers = sink.sign(&message.id, now, message.body.as_bytes());
    let status = outbound::post(&sink.url, &headers, &message.body).await?;
    if (200..300).contains(&status) { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// Waits for all of them at once. Whatever one of them waits for wakes the whole task.
async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<(Pin<Box<_>>, Option<T>)> =
        futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, done) in &mut running {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if running.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}
