//! `GET /healthz`: whether webhooks can be told and checks be answered, and since when nothing came. It tells no
//! stranger anything of a payer, and no setting's value.

use serde::Serialize;

use super::log::Line;
use super::response::{Failure, Reply};
use super::{Edge, rejections, store};
use crate::json::{self, Fields, Unreadable};
use crate::loose::{Sold, unmapped};
use crate::ordered::{self, Map};
use crate::provider::PROVIDERS;
use crate::reconcile::{OVERDUE_AFTER_MS, Silence, Sweep, likely_cause};
use crate::settings::Problem;
use crate::store::{LATEST_MIGRATION, health, last_migration};
use crate::time::Timestamp;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    version: &'static str,
    bindings: Bindings,
    migrations: Migrations,
    settings: SettingsHealth<'a>,
    providers: Map<&'static str, ProviderHealth>,
    dead_letters: Option<u64>,
    unassigned_records: Option<u64>,
    /// When the oldest change was made that waits to be passed on.
    unsent_since: Option<Timestamp>,
    /// What was sold and the catalog maps to no plan.
    unmapped_plans: Option<Vec<Sold>>,
}

#[derive(Serialize)]
struct Bindings {
    #[serde(rename = "DB")]
    d1: &'static str,
    #[serde(rename = "ENTITLEMENTS")]
    kv: &'static str,
}

#[derive(Serialize)]
struct Migrations {
    expected: &'static str,
    applied: Option<String>,
}

#[derive(Serialize)]
struct SettingsHealth<'a> {
    missing: Vec<ProblemView<'a>>,
    unusable: Vec<ProblemView<'a>>,
}

#[derive(Serialize)]
struct ProblemView<'a> {
    setting: &'a str,
    problem: &'a str,
}

#[derive(Default, Serialize)]
struct ProviderHealth {
    configured: bool,
    last_delivery_at: Option<Timestamp>,
    deliveries: Map<String, u64>,
    rejections: Map<String, Rejections>,
    /// Changes that the provider shows and no delivery has brought.
    missed: Option<Missed>,
    reconcile: Option<SweepView>,
}

#[derive(Clone, Copy, Serialize)]
struct Rejections {
    count: u64,
    last_at: Timestamp,
}

#[derive(Serialize)]
struct Missed {
    changes: u64,
    last_at: Timestamp,
    likely_cause: Silence,
    /// No delivery has come since the last of these changes.
    is_silent: bool,
}

/// How far the sweep of a provider came.
#[derive(Serialize)]
pub(super) struct SweepView {
    last_run_at: Option<Timestamp>,
    /// No run has succeeded for an hour.
    is_overdue: bool,
    checked: u64,
    unreadable: u64,
    stored: u64,
    /// When each listing was last read to its end.
    finished_at: Map<String, Option<Timestamp>>,
    not_before: Option<Timestamp>,
    error: Option<String>,
}

impl SweepView {
    pub(super) fn of(sweep: Sweep, now: Timestamp) -> Self {
        Self {
            is_overdue: sweep.is_overdue(now),
            last_run_at: sweep.last_run_at,
            checked: sweep.checked,
            unreadable: sweep.unreadable,
            stored: sweep.stored,
            finished_at: ordered::map(sweep.listings.into_iter().map(|(name, progress)| (name, progress.finished_at))),
            not_before: sweep.not_before,
            error: sweep.error,
        }
    }
}

/// What `src/store/health.sql` answers.
struct Database {
    migration: Option<String>,
    dead_letters: u64,
    unassigned_records: u64,
    unsent_since: Option<Timestamp>,
    deliveries: Vec<Counted>,
    sold: Vec<Sold>,
    rejections: Vec<Counted>,
    sweeps: Vec<KeptSweep>,
    undelivered: Vec<Counted>,
}

/// How many there are of something of a provider's.
struct Counted {
    provider: String,
    /// The outcome of deliveries, the cause of rejections.
    what: String,
    detail: String,
    count: u64,
    last_at: Timestamp,
}

struct KeptSweep {
    name: String,
    sweep: Sweep,
}

impl Database {
    fn parse(text: &str) -> Result<Self, Unreadable> {
        let json = json::parse(text.as_bytes())?;
        let fields = Fields::of(&json)?;
        Ok(Self {
            migration: fields.text("migration")?,
            dead_letters: fields.need("dead_letters", Fields::count)?,
            unassigned_records: fields.need("unassigned_records", Fields::count)?,
            unsent_since: fields.moment("unsent_since")?,
            deliveries: fields.need("deliveries", |fields, name| fields.objects(name, Counted::read))?,
            sold: fields.need("sold", |fields, name| fields.objects(name, Sold::read))?,
            rejections: fields.need("rejections", |fields, name| fields.objects(name, Counted::read))?,
            sweeps: fields.need("sweeps", |fields, name| fields.objects(name, KeptSweep::read))?,
            undelivered: fields.need("undelivered", |fields, name| fields.objects(name, Counted::read))?,
        })
    }
}

impl Counted {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        let what = fields.text("outcome")?.or(fields.text("cause")?);
        Ok(Self {
            provider: fields.need("provider", Fields::text)?,
            what: what.unwrap_or_default(),
            detail: fields.text("detail")?.unwrap_or_default(),
            count: fields.need("count", Fields::count)?,
            last_at: fields.need("last_at", Fields::moment)?,
        })
    }
}

impl KeptSweep {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        // One that another version of the code kept is begun anew, as by the sweep itself.
        let sweep = fields.object("sweep")?.and_then(|sweep| Sweep::read(sweep).ok()).unwrap_or_default();
        Ok(Self { name: fields.need("name", Fields::text)?, sweep })
    }
}

/// 200 when everything is in order, 503 otherwise; the body has the same form either way.
pub(super) async fn handle(edge: &Edge<'_>) -> Result<Reply, Failure> {
    // No more often than for a delivery: anybody may ask.
    if rejections::is_due(edge.now) {
        rejections::flush(edge.env, edge.now).await;
    }
    let database = store::first_text(edge.env, &health(edge.now))
        .await
        .and_then(|json| Database::parse(&json).map_err(|error| error.to_string()));
    let kv = store::copy_health(edge.env).await;
    for (what, cause) in [("D1", database.as_ref().err()), ("KV", kv.as_ref().err())] {
        if let Some(cause) = cause {
            Line::error(format!("{what} is unavailable: {cause}")).write();
        }
    }
    // A database that lacks a table or a column answers. Nothing but the text tells that from one that does not.
    let lacks_some = database.as_ref().is_err_and(|cause| cause.contains("no such "));
    let applied = match &database {
        Ok(database) => database.migration.clone(),
        Err(_) if lacks_some => store::first_text(edge.env, &last_migration()).await.ok(),
        Err(_) => None,
    };
    // A migration only adds, so those of a worker to come change nothing for this one: one may go back to it.
    let is_migrated = !lacks_some && applied.as_deref() >= Some(LATEST_MIGRATION);
    let word = |works: bool| if works { "ok" } else { "unavailable" };
    let d1_works = database.is_ok() || lacks_some;
    let bindings = Bindings { d1: word(d1_works), kv: word(kv.is_ok()) };
    let providers = providers(edge, database.as_ref().ok());
    let is_silent = |health: &ProviderHealth| health.missed.as_ref().is_some_and(|missed| missed.is_silent);
    // Where nothing is to be passed on any more, what waits is no alarm.
    let unsent_since =
        database.as_ref().ok().filter(|_| edge.settings.passes_on).and_then(|database| database.unsent_since);
    let is_overdue = |health: &ProviderHealth| health.reconcile.as_ref().is_some_and(|sweep| sweep.is_overdue);
    let status = if !d1_works || kv.is_err() {
        "unavailable"
    } else if !is_migrated {
        "not_migrated"
    } else if !edge.settings.is_sound() {
        "misconfigured"
    } else if providers.values().any(is_silent) {
        "deliveries_missing"
    } else if providers.values().any(is_overdue) {
        "reconcile_failing"
    } else if unsent_since.is_some_and(|since| edge.now.millis_since(since) > OVERDUE_AFTER_MS) {
        "sink_failing"
    } else {
        "ok"
    };
    let database = database.ok();
    let health = Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        bindings,
        migrations: Migrations { expected: LATEST_MIGRATION, applied },
        settings: SettingsHealth {
            missing: edge.settings.missing.iter().map(view).collect(),
            unusable: edge.settings.unusable.iter().map(view).collect(),
        },
        providers,
        dead_letters: database.as_ref().map(|database| database.dead_letters),
        unassigned_records: database.as_ref().map(|database| database.unassigned_records),
        unsent_since,
        unmapped_plans: database.map(|database| unmapped(database.sold, &edge.settings.catalog)),
    };
    let body = serde_json::to_string(&health).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(Reply::json(if status == "ok" { 200 } else { 503 }, body).with("cache-control", "no-store"))
}

fn view(problem: &Problem) -> ProblemView<'_> {
    ProblemView { setting: &problem.setting, problem: &problem.problem }
}

fn providers(edge: &Edge<'_>, database: Option<&Database>) -> Map<&'static str, ProviderHealth> {
    let one = |name: &'static str| {
        let mut health = ProviderHealth {
            configured: edge.settings.webhook_secrets.contains_key(name),
            ..ProviderHealth::default()
        };
        let counts = database.iter().flat_map(|database| &database.deliveries).filter(|count| count.provider == name);
        for count in counts {
            let last_at = Some(count.last_at);
            health.last_delivery_at = health.last_delivery_at.max(last_at);
            let what = match count.detail.as_str() {
                "" => count.what.clone(),
                detail => format!("{}:{detail}", count.what),
            };
            health.deliveries.insert(what, count.count);
        }
        let Some(database) = database else { return (name, health) };
        let add: &mut dyn FnMut(&str, u64, Timestamp) = &mut |cause: &str, count: u64, last_at: Timestamp| {
            health.rejections.update(cause.to_owned(), Rejections { count: 0, last_at }, |known| {
                known.count = known.count.saturating_add(count);
                known.last_at = known.last_at.max(last_at);
            });
        };
        for refused in database.rejections.iter().filter(|refused| refused.provider == name) {
            add(&refused.what, refused.count, refused.last_at);
        }
        rejections::each_pending(name, add);
        let last_refused = health.rejections.iter().max_by_key(|(_, refused)| refused.last_at);
        let last_refused = last_refused.map(|(cause, refused)| (cause.as_str(), refused.last_at));
        // Whose key was taken out of the settings is compared no more: what was found stays as it is for good.
        if !edge.settings.apis.contains_key(name) {
            return (name, health);
        }
        health.missed = database.undelivered.iter().find(|undelivered| undelivered.provider == name).map(|missed| {
            let last_at = missed.last_at;
            Missed {
                changes: missed.count,
                last_at,
                likely_cause: likely_cause(last_at, health.last_delivery_at, last_refused),
                is_silent: health.last_delivery_at.is_none_or(|delivery| delivery < last_at),
            }
        });
        let kept = database.sweeps.iter().find(|kept| kept.name == Sweep::name(name));
        health.reconcile = kept.map(|kept| SweepView::of(kept.sweep.clone(), edge.now));
        (name, health)
    };
    ordered::map(PROVIDERS.iter().map(|provider| one(provider.name())))
}
