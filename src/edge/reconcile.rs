//! What webhooks may have missed, asked from the providers' APIs: every few minutes in bounded pieces, and for one payer at
//! once.

use serde::Serialize;
use worker::Env;

use super::bindings::wait;
use super::log::Line;
use super::outbound::{ApiError, ask};
use super::response::Failure;
use super::store::Fresh;
use super::task::settled;
use super::{catalog, clock, isolate, store};
use crate::api::{Api, ApiPlan, Reading};
use crate::delivery::Verified;
use crate::event::Parsed;
use crate::ordered::{self, Map};
use crate::payer::Payer;
use crate::provider::{self, PROVIDERS, is_id};
use crate::reconcile::{self, Sweep, differences};
use crate::settings::{ApiAccess, Settings};
use crate::time::Timestamp;

/// Differences stored for every five pages that are read. Each is a D1 batch of four statements and a KV write; with the
/// pages this stays below the 50 calls that a run may make on Cloudflare's free plan.
const STORED_EACH_FIVE_PAGES: u32 = 6;
/// A payer's customers that a provider is asked about: each may be a request.
const MAX_CUSTOMERS: usize = 4;
/// Pages of plans that are read at most: 1,000 plans.
const MAX_PLAN_PAGES: usize = 10;

/// A provider, its API and our access to it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    provider: &'static str,
    api: &'static dyn Api,
    access: &'a ApiAccess,
}

/// The APIs that we hold a key for.
fn apis(settings: &Settings) -> impl Iterator<Item = Asked<'_>> {
    settings.apis.iter().filter_map(|(name, access)| {
        let provider = provider::named(name)?;
        Some(Asked { provider: provider.name(), api: provider.api()?, access })
    })
}

/// Whether any provider's API can be asked, and the settings of which one is needed.
pub(super) fn key_settings() -> Vec<&'static str> {
    PROVIDERS.iter().filter_map(|provider| provider.api()).map(Api::key_setting).collect()
}

/// Sweeps the APIs a bounded way further. What fails is in the answer and in `/healthz`, and is tried again by the next run.
///
/// The calls that a run may make are shared among the providers. Where they are too few for all, those whose last run is
/// longest ago have their turn, and the others the next time.
pub(super) async fn run(env: &Env, settings: &Settings) -> Map<&'static str, Sweep> {
    let mut sweeps = Map::new();
    let names: Vec<String> = apis(settings).map(|asked| Sweep::name(asked.provider)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let kept = match store::kept(env, &names).await {
        Ok(kept) => kept,
        Err(failure) => {
            if let Some(line) = failure.log() {
                line.write();
            }
            return sweeps;
        }
    };
    for asked in apis(settings) {
        sweeps.insert(asked.provider, Sweep::parse(kept.get(&Sweep::name(asked.provider)).map(String::as_str)));
    }
    let turns = reconcile::turns(&sweeps, settings.reconcile_pages, clock());
    let pages = settings.reconcile_pages.div_ceil(u32::try_from(turns.len()).unwrap_or(u32::MAX).max(1));
    for asked in apis(settings).filter(|asked| turns.contains(&asked.provider)) {
        let before = sweeps.remove(asked.provider).unwrap_or_default();
        match sweep(env, settings, asked, pages, before).await {
            Ok(sweep) => sweeps.insert(asked.provider, sweep),
            Err(failure) => {
                if let Some(line) = failure.log() {
                    line.with("provider", asked.provider).write();
                }
            }
        }
    }
    sweeps
}

async fn sweep(
    env: &Env,
    settings: &Settings,
    asked: Asked<'_>,
    pages: u32,
    mut sweep: Sweep,
) -> Result<Sweep, Failure> {
    let now = clock();
    let name = Sweep::name(asked.provider);
    sweep.since = sweep.since.or(Some(now));
    sweep.last_run_at = Some(now);
    sweep.not_before = None;
    sweep.error = None;
    let swept = match sweep_listings(env, settings, asked, pages, &mut sweep).await {
        Ok(()) => sync_plans(env, asked).await,
        Err(interruption) => Err(interruption),
    };
    match swept {
        Ok(()) => sweep.sound_at = Some(now),
        Err(Interruption::Api(error)) => {
            // Who sells nothing at this provider has nothing to be told.
            if matches!(error, ApiError::NotFound) {
                sweep.sound_at = Some(now);
            }
            if let ApiError::Limited { retry_after_secs } = error {
                sweep.not_before = Some(now.plus_millis(i64::from(retry_after_secs).saturating_mul(1000)));
            }
            failed(&asked, &format!("asking {}: {error:#}", asked.provider));
            sweep.error = Some(format!("asking {}: {error}", asked.provider));
        }
        // What was found so far is stored; the page is read again by the next run.
        Err(Interruption::Store(failure)) => {
            failed(&asked, &failure.detail());
            sweep.error = Some(failure.detail());
        }
    }
    let json = serde_json::to_string(&sweep).map_err(|error| Failure::Internal(error.to_string()))?;
    store::keep(env, &name, &json, now).await?;
    Ok(sweep)
}

fn failed(asked: &Asked<'_>, cause: &str) {
    Line::error(format!("failed to reconcile: {cause}")).with("provider", asked.provider).write();
}

/// Why a run ends early.
enum Interruption {
    Api(ApiError),
    Store(Failure),
}

impl From<ApiError> for Interruption {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

async fn sweep_listings(
    env: &Env,
    settings: &Settings,
    asked: Asked<'_>,
    pages: u32,
    sweep: &mut Sweep,
) -> Result<(), Interruption> {
    let Asked { provider, api, access } = asked;
    let mut may_store = pages.saturating_mul(STORED_EACH_FIVE_PAGES).div_ceil(5);
    for (index, listing) in api.listings().iter().enumerate() {
        // The first gets four pages of five: what may grant matters most.
        let share = pages.div_ceil(5);
        let budget = if index == 0 { pages.saturating_sub(share).max(1) } else { share };
        for _ in 0..budget {
            let mut progress = sweep.listings.get(*listing).cloned().unwrap_or_default();
            let cursor = progress.cursor.take();
            // A cursor of another version of the code is no place to go on from.
            let cursor = cursor.filter(|cursor| api.page_path(listing, Some(cursor)).is_some());
            let Some(path) = api.page_path(listing, cursor.as_deref()) else { break };
            let read_at = clock();
            let body = match ask(api, access, &path).await {
                Ok(body) => body,
                Err(error) => {
                    // What the cursor names may be gone there, or another account's: the next run begins anew.
                    if matches!(error, ApiError::NotFound | ApiError::Refused { status: 400 }) {
                        sweep.listings.insert((*listing).to_owned(), progress);
                    }
                    return Err(error.into());
                }
            };
            let (reading, next) = api.read_page(listing, cursor.as_deref(), &body, read_at).map_err(ApiError::from)?;
            let reading = reading.of(settings.ours.environment).map_err(ApiError::from)?;
            let (shown, unreadable) = (reading.shown.len(), reading.unreadable);
            let took = take_over(env, settings, provider, reading, None, read_at, may_store).await?;
            sweep.stored = sweep.stored.saturating_add(u64::from(took.stored));
            may_store = may_store.saturating_sub(took.stored);
            if took.is_cut_short {
                // The next run reads this page again and finds what is left.
                progress.cursor = cursor;
                sweep.listings.insert((*listing).to_owned(), progress);
                return Ok(());
            }
            sweep.checked = sweep.checked.saturating_add(u64::try_from(shown).unwrap_or(u64::MAX));
            sweep.unreadable = sweep.unreadable.saturating_add(unreadable);
            let is_finished = next.is_none();
            if is_finished {
                progress.finished_at = Some(read_at);
            }
            progress.cursor = next;
            sweep.listings.insert((*listing).to_owned(), progress);
            if is_finished {
                break;
            }
        }
    }
    Ok(())
}

struct Took {
    stored: u32,
    is_cut_short: bool,
}

/// Stores what the API shows otherwise, the way a provider's event is stored.
async fn take_over(
    env: &Env,
    settings: &Settings,
    provider: &'static str,
    reading: Reading,
    payer: Option<&Payer>,
    read_at: Timestamp,
    at_most: u32,
) -> Result<Took, Failure> {
    let held = store::held(env, provider, &reading, payer).await?;
    let mut took = Took { stored: 0, is_cut_short: false };
    // A payer may have several differences, and KV takes one write a second for each key.
    let mut changed: Map<String, (Fresh, Timestamp)> = Map::new();
    let mut failed = None;
    for difference in differences(reading, &held, payer, read_at) {
        if took.stored >= at_most {
            took.is_cut_short = true;
            break;
        }
        let recorded = Verified::recorded(difference.event_id, read_at, &[]);
        let parsed = Ok(Parsed::Event(difference.event));
        let now = clock();
        let delivered = match store::deliver(env, provider, &recorded, &parsed, now).await {
            Ok(delivered) => delivered,
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        };
        if let Some(fresh) = delivered.snapshot {
            changed.insert(fresh.payer.key(), (fresh, now));
        }
        took.stored = took.stored.saturating_add(1);
    }
    // Also of what was stored before a failure: it will be no difference any more.
    for (fresh, read_at) in changed.values() {
        store::follow(env, fresh, true, settings.snapshot_ttl_secs, *read_at).await;
    }
    match failed {
        None => Ok(took),
        Some(failure) => Err(failure),
    }
}

/// The provider's own plans, into D1 and KV where they changed.
async fn sync_plans(env: &Env, asked: Asked<'_>) -> Result<(), Interruption> {
    let Asked { provider, api, access } = asked;
    if api.plans_path(None).is_none() {
        return Ok(());
    }
    let name = catalog::name(provider);
    let before = store::kept(env, &[&name]).await?.remove(&name);
    let known: Vec<ApiPlan> = before.as_deref().and_then(|text| ApiPlan::read_all(text).ok()).unwrap_or_default();

    let mut plans: Vec<ApiPlan> = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PLAN_PAGES {
        let Some(path) = api.plans_path(cursor.as_deref()) else { break };
        let body = ask(api, access, &path).await?;
        let (page, next) = api.read_plans(cursor.as_deref(), &body).map_err(ApiError::from)?;
        plans.extend(page);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    for plan in &mut plans {
        // Left out is not the same as none.
        if plan.features.is_none() {
            let was = known.iter().find(|was| was.key == plan.key && was.payer == plan.payer);
            plan.features = was.and_then(|was| was.features.clone());
        }
    }
    // The same plans are the same text, in whatever order they are listed.
    let plans: Vec<ApiPlan> = ordered::set(plans).into_iter().collect();
    // Half a list takes features away from people who paid for them; so does an empty one where there were plans.
    if cursor.is_some() || (plans.is_empty() && !known.is_empty()) {
        Line::warn("the provider's list of plans is cut off or empty: the one of before stays")
            .with("provider", provider)
            .write();
        return Ok(());
    }
    let json = serde_json::to_string(&plans).map_err(|error| Failure::Internal(error.to_string()))?;
    if before.as_deref() != Some(json.as_str()) {
        store::keep(env, &name, &json, clock()).await?;
    }
    let copy = store::text_copy(env, &name).await;
    if !copy.is_ok_and(|copy| copy.as_deref() == Some(json.as_str())) {
        store::write_text_copy(env, &name, &json).await;
    }
    Ok(())
}

/// What came of asking about one payer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Synced {
    /// No provider shows anything of the payer, or nothing says which customer there it is.
    Unknown,
    /// It was asked a moment ago.
    RecentlyRead,
    /// All is as we hold it.
    Unchanged,
    /// Something was otherwise, and is stored now.
    Changed,
}

/// Differences that one payer may have; more than a payer has records.
const MAX_OF_PAYER: u32 = 20;

/// A provider that wants to be left alone is a failure: this one, or any.
pub(super) fn none_is_left_alone(only: Option<&str>) -> Result<(), Failure> {
    match isolate::left_alone(only, clock()) {
        Some((provider, retry_after_secs)) => Err(unavailable(provider, &ApiError::Limited { retry_after_secs })),
        None => Ok(()),
    }
}

fn unavailable(provider: &'static str, error: &ApiError) -> Failure {
    let retry_after_secs = match error {
        ApiError::Limited { retry_after_secs } => Some(*retry_after_secs),
        _ => None,
    };
    Failure::ProviderUnavailable { provider, retry_after_secs, cause: format!("{error:#}") }
}

/// Asks every API about one payer, now. One that fails keeps no other from being asked.
pub(super) async fn sync(env: &Env, settings: &Settings, payer: &Payer) -> Result<Synced, Failure> {
    let customers = store::customers_of(env, payer).await?;
    let mut synced = Synced::Unknown;
    let mut failed = None;
    for asked in apis(settings) {
        let mut own: Vec<&str> = Vec::new();
        for (provider, id) in &customers {
            if provider == asked.provider && is_id(id) && own.len() < MAX_CUSTOMERS {
                own.push(id);
            }
        }
        match sync_with(env, settings, asked, payer, &own).await {
            Ok(found) => synced = found.max(synced),
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    match failed {
        None => Ok(synced),
        Some(failure) => Err(failure),
    }
}

async fn sync_with(
    env: &Env,
    settings: &Settings,
    asked: Asked<'_>,
    payer: &Payer,
    customers: &[&str],
) -> Result<Synced, Failure> {
    let Asked { provider, api, access } = asked;
    none_is_left_alone(Some(provider))?;
    let mut synced = Synced::Unknown;
    let newest = api.newest_path();
    let mut paths = api.payer_paths(payer, customers);
    if let Some(newest) = newest {
        paths.push(newest.to_owned());
    }
    for path in paths {
        let read_at = clock();
        let body = match ask(api, access, &path).await {
            Ok(body) => body,
            Err(ApiError::NotFound) => continue,
            Err(error) => {
                if let ApiError::Limited { retry_after_secs } = error {
                    isolate::leave_alone(provider, retry_after_secs, clock());
                }
                return Err(unavailable(provider, &error));
            }
        };
        let reading = api.read_payer(payer, &path, &body, read_at);
        let reading = reading.and_then(|reading| reading.of(settings.ours.environment));
        let mut reading = reading.map_err(|error| unavailable(provider, &error.into()))?;
        if newest == Some(path.as_str()) {
            reading.keep_of(payer);
        }
        let is_known = reading.whole.is_some() || !reading.shown.is_empty() || reading.unreadable > 0;
        let took = take_over(env, settings, provider, reading, Some(payer), read_at, MAX_OF_PAYER).await?;
        if is_known || took.stored > 0 {
            synced = synced.max(if took.stored > 0 { Synced::Changed } else { Synced::Unchanged });
        }
    }
    Ok(synced)
}

/// Asks about a payer of whom two events at `occurred_at` told otherwise, as soon as the answer is newer than both. Nobody
/// waits for it; if it fails, the next sweep finds the difference.
pub(super) async fn settle(
    env: &Env,
    settings: &Settings,
    payer: &Payer,
    api: &'static dyn Api,
    occurred_at: Timestamp,
) {
    let millis = occurred_at.plus_millis(api.lag_ms()).millis_since(clock()).clamp(0, api.lag_ms());
    if millis > 0 {
        // A wait that fails is none.
        settled(wait(f64::from(u32::try_from(millis).unwrap_or(0)))).await.ok();
    }
    match sync(env, settings, payer).await {
        // Its copy came within the second of the webhook's, and KV may have refused it.
        Ok(Synced::Changed) => store::mend_copy(env, payer, settings.snapshot_ttl_secs).await,
        Ok(_) => {}
        Err(failure) => {
            if let Some(line) = failure.log() {
                line.with("payer.id", payer.key()).write();
            }
        }
    }
}
