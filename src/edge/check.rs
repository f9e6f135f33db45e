//! `/v1/check`, `/v1/entitlements` and `/v1/sync`.

use std::rc::Rc;

use serde::Serialize;

use super::caller::Caller;
use super::isolate::Standing;
use super::reconcile::{self, Synced};
use super::response::{Failure, Reply};
use super::store::{self, Copied, StoredSnapshot};
use super::{Edge, catalog, isolate, task};
use crate::answer::{self, CheckAnswer, CheckAnswers, Entitlements, Facts, Source};
use crate::catalog::Catalog;
use crate::payer::Payer;
use crate::question::{Asked, Question, QuestionError};
use crate::snapshot::Snapshot;

/// The longest body of a `POST /v1/check`: 100 checks with two names of 255 bytes each fit.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Answers one check or a list of them.
///
/// 1. The caller is verified (401; 503 when it cannot be).
/// 2. The question is read (400).
/// 3. The facts come from memory, then KV, then D1 (503 when none can answer).
/// 4. A denial is confirmed in D1 before it is given.
pub(super) async fn check(edge: &Edge<'_>) -> Result<Reply, Failure> {
    // 1.
    let caller = Caller::of(edge).await?;
    let catalog = catalog::current(edge).await?;

    // 2.
    let asked = match edge.request.method() {
        // Passed over, `?plan=pro` would leave "any paid plan".
        "POST" if !edge.request.query().is_empty() => return Err(QuestionError::QueryBesideBody.into()),
        "POST" => Asked::from_json(&edge.request.body(MAX_BODY_BYTES).await?)?,
        _ => Asked::from_query(edge.request.query())?,
    };
    let payers = caller.payers(&asked)?;

    // 3. and 4.
    let answers = answer_all(edge, &catalog, &asked, &payers).await?;
    match answers.as_slice() {
        [only] if !asked.is_list => Reply::private(only),
        _ => Reply::private(&CheckAnswers { results: answers }),
    }
}

/// Answers questions about these payers, a denial only after D1 confirmed it.
pub(super) async fn answer_all(
    edge: &Edge<'_>,
    catalog: &Catalog,
    asked: &Asked,
    payers: &[Payer],
) -> Result<Vec<CheckAnswer>, Failure> {
    let decide = |facts: &Facts| -> Vec<CheckAnswer> {
        let one = |question| answer::check(facts, catalog, &edge.settings.policy, question, edge.now);
        asked.questions.iter().map(one).collect()
    };
    let cached = Cached::load(edge, payers).await;
    if let Some(facts) = cached.facts() {
        let answers = decide(&facts);
        if cached.may_deny || answers.iter().all(|answer| answer.allowed) {
            return Ok(answers);
        }
    }
    let stored = store::read(edge.env, payers, edge.now).await?;
    let facts = from_d1(edge, stored, &cached);
    Ok(decide(&facts))
}

/// What a check would be answered at this moment on this isolate without asking D1, if it would be. Nothing is remembered.
pub(super) async fn without_d1(
    edge: &Edge<'_>,
    catalog: &Catalog,
    question: &Question,
    payers: &[Payer],
) -> Option<CheckAnswer> {
    let cached = Cached::look(edge, payers).await;
    let facts = cached.facts()?;
    let answer = answer::check(&facts, catalog, &edge.settings.policy, question, edge.now);
    (cached.may_deny || answer.allowed).then_some(answer)
}

/// Lists everything the caller's payers hold. A plan that is not in the list is a denial, so the list is as fresh as one.
///
/// 1. The caller is verified (401; 503 when it cannot be).
/// 2. The question names payers and nothing else (400).
/// 3. The facts come from D1, or from memory when it was read within the last second (503).
pub(super) async fn entitlements(edge: &Edge<'_>) -> Result<Reply, Failure> {
    // 1.
    let caller = Caller::of(edge).await?;
    let catalog = catalog::current(edge).await?;

    // 2.
    let asked = Asked::from_query(edge.request.query())?;
    if asked.questions.iter().any(|question| !question.conditions.is_empty()) {
        return Err(QuestionError::NoConditionsHere.into());
    }
    let payers = caller.payers(&asked)?;

    // 3.
    let cached = Cached::from_memory(edge, &payers);
    let facts = if let Some(facts) = cached.facts().filter(|_| cached.may_deny) {
        facts
    } else {
        let stored = store::read(edge.env, &payers, edge.now).await?;
        from_d1(edge, stored, &cached)
    };
    let entitlements = answer::entitlements(&facts, &catalog, &edge.settings.policy, edge.now);
    let etag = entitlements.etag().map_err(|error| Failure::Internal(error.to_string()))?;
    let is_known = edge
        .request
        .header("if-none-match")
        .is_some_and(|known| known.split(',').map(str::trim).any(|tag| tag == etag || tag == "*"));
    let reply = if is_known { Reply::empty(304) } else { Reply::private(&entitlements)? };
    Ok(reply
        .with("cache-control", "private, no-cache")
        .with("vary", "Authorization, Cookie, Origin")
        .with("etag", etag))
}

/// Asks the providers how the caller's payers stand, now, and lists what they hold: for the return from checkout, which may
/// come before the webhook.
///
/// 1. The caller is verified (401; 503 when it cannot be).
/// 2. The question names payers and nothing else (400).
/// 3. Some provider's API can be asked (503), and it answers (503).
/// 4. The facts come from D1 (503).
pub(super) async fn sync(edge: &Edge<'_>) -> Result<Reply, Failure> {
    // 1.
    let caller = Caller::of(edge).await?;
    let catalog = catalog::current(edge).await?;

    // 2.
    let body = edge.request.body(MAX_BODY_BYTES).await?;
    let asked = if body.is_empty() { Asked::from_query(edge.request.query())? } else { Asked::from_json(&body)? };
    if asked.is_list || asked.questions.iter().any(|question| !question.conditions.is_empty()) {
        return Err(QuestionError::NoConditionsHere.into());
    }
    let payers = caller.payers(&asked)?;

    // 3.
    if edge.settings.apis.is_empty() {
        return Err(Failure::SyncNotConfigured);
    }
    let mut synced = Vec::with_capacity(payers.len());
    for payer in &payers {
        let outcome = if isolate::may_sync(payer, edge.now) {
            let read = reconcile::sync(edge.env, edge.settings, payer).await;
            // Who was told to wait, waits: the other providers are not asked again at once either.
            let is_limited = matches!(&read, Err(Failure::ProviderUnavailable { retry_after_secs: Some(_), .. }));
            read.inspect_err(|_| {
                if !is_limited {
                    isolate::sync_failed(payer);
                }
            })?
        } else {
            // What was asked a moment ago may have been refused.
            reconcile::none_is_left_alone(None)?;
            Synced::RecentlyRead
        };
        synced.push(SyncedPayer { payer, outcome });
    }

    // 4.
    let stored = store::read(edge.env, &payers, edge.now).await?;
    let facts = from_d1(edge, stored, &Cached::nothing());
    let entitlements = answer::entitlements(&facts, &catalog, &edge.settings.policy, edge.now);
    Reply::private(&SyncAnswer { synced, entitlements })
}

#[derive(Serialize)]
struct SyncAnswer<'a> {
    synced: Vec<SyncedPayer<'a>>,
    entitlements: Entitlements<'a>,
}

#[derive(Serialize)]
struct SyncedPayer<'a> {
    payer: &'a Payer,
    outcome: Synced,
}

/// What can be known without asking D1.
struct Cached {
    /// In the order of the payers; `None` where neither memory nor KV had one.
    found: Vec<Option<(Rc<Snapshot>, Source)>>,
    /// All of it was read from D1 within the last second.
    may_deny: bool,
    copies_were_read: bool,
}

impl Cached {
    fn nothing() -> Self {
        Self { found: Vec::new(), may_deny: false, copies_were_read: false }
    }

    fn from_memory(edge: &Edge<'_>, payers: &[Payer]) -> Self {
        let ttl_ms = ttl_ms(edge);
        let remembered: Vec<_> = payers.iter().map(|payer| isolate::snapshot(payer, ttl_ms, edge.now)).collect();
        Self {
            may_deny: remembered.iter().all(|found| found.as_ref().is_some_and(|(_, may_deny)| *may_deny)),
            found: remembered.into_iter().map(|found| found.map(|(snapshot, _)| (snapshot, Source::Memory))).collect(),
            copies_were_read: false,
        }
    }

    /// As [`look`](Self::look), and remembers what came from KV.
    async fn load(edge: &Edge<'_>, payers: &[Payer]) -> Self {
        let cached = Self::look(edge, payers).await;
        for (snapshot, source) in cached.found.iter().flatten() {
            if *source == Source::Kv {
                isolate::remember_snapshot(snapshot, Source::Kv, true, edge.now);
            }
        }
        cached
    }

    /// Memory first, then KV for what memory does not have.
    async fn look(edge: &Edge<'_>, payers: &[Payer]) -> Self {
        let mut cached = Self::from_memory(edge, payers);
        if cached.found.iter().all(Option::is_some) {
            return cached;
        }
        cached.copies_were_read = true;
        // All are begun before the first is waited for.
        let begun: Vec<_> = payers
            .iter()
            .zip(&cached.found)
            .map(|(payer, found)| found.is_none().then(|| store::start_reading_copy(edge.env, payer)))
            .collect();
        for ((payer, found), reading) in payers.iter().zip(&mut cached.found).zip(begun) {
            let Some(reading) = reading else { continue };
            let copy = store::copy(reading, payer).await.filter(|copy| copy.is_within(ttl_ms(edge), edge.now));
            *found = copy.map(|snapshot| (Rc::new(snapshot), Source::Kv));
        }
        cached
    }

    /// The facts, if every payer's are there: a missing one could be a deleted user's.
    fn facts(&self) -> Option<Facts> {
        let found: Option<Vec<_>> = self.found.iter().cloned().collect();
        let (snapshots, sources) = found?.into_iter().unzip();
        Some(Facts { snapshots, sources })
    }

    /// Whether KV was asked and had nothing, or nothing as new as what D1 answers.
    fn copy_is_behind(&self, index: usize, snapshot: &Snapshot) -> bool {
        self.copies_were_read
            && match self.found.get(index) {
                Some(Some((copy, Source::Kv))) => copy.version < snapshot.version,
                Some(Some((_, Source::Memory | Source::D1 | Source::Ledger))) => false,
                Some(None) | None => true,
            }
    }
}

/// Takes over what D1 answered: into memory, and into KV where its copy is missing or old. For somebody we have never
/// heard of no copy is written, or strangers could fill KV.
fn from_d1(edge: &Edge<'_>, stored: Vec<StoredSnapshot>, cached: &Cached) -> Facts {
    let mut facts = Facts { snapshots: Vec::new(), sources: Vec::new() };
    for (index, stored) in stored.into_iter().enumerate() {
        // Where the copy was read, it is as new or is written now.
        let standing = isolate::remember_snapshot(&stored.snapshot, Source::D1, cached.copies_were_read, edge.now);
        facts.snapshots.push(Rc::clone(&stored.snapshot));
        facts.sources.push(Source::D1);
        // What a webhook brought while D1 answered is newer than this answer, and so is its copy.
        let is_behind = standing == Standing::Newest && cached.copy_is_behind(index, &stored.snapshot);
        if stored.snapshot.is_known() && is_behind {
            let (env, ttl_secs) = (edge.env.clone(), edge.settings.snapshot_ttl_secs);
            task::wait_until(edge.context, async move {
                let StoredSnapshot { text, snapshot } = stored;
                let copied = store::write_copy(&env, &snapshot.payer, snapshot.version, &text, ttl_secs).await;
                // One that failed is as good as missing to who asks next.
                if copied == Copied::Overtaken {
                    store::mend_copy(&env, &snapshot.payer, ttl_secs).await;
                }
            });
        }
    }
    facts
}

fn ttl_ms(edge: &Edge<'_>) -> i64 {
    i64::from(edge.settings.snapshot_ttl_secs).saturating_mul(1000)
}
