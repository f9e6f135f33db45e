//! What a provider's API shows against what we hold: webhooks can be late, lost, or never sent.
//!
//! In scope: which differences there are, the events by which they are stored, and how far a sweep came. A difference is
//! stored by the same guarded path as a webhook, so it never overwrites anything newer. Out of scope: asking the API
//! (`edge`) and its shapes ([`api`](crate::api)).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::{Reading, Shown};
use crate::event::{Event, Record, State, Version, is_further_item};
use crate::json::{self, Fields, Unreadable};
use crate::ordered::Map;
use crate::payer::Payer;
use crate::status::Status;
use crate::time::{Timestamp, millis};

/// What the ledger calls a difference that was read from a provider's API. No provider's own type begins so; the counting
/// of deliveries (`migrations/`) leaves it out.
pub const EVENT_TYPE: &str = "plangate.reconciled";
/// What the id of a change begins with that should have been delivered as well. `src/store/health.sql` counts the records
/// that still rest on one.
const UNDELIVERED: &str = "reconciled_";
/// What the id of anything else begins with that was read from an API.
const REREAD: &str = "reread_";
/// A change that no delivery brought for so long counts as missed. Svix tries again after 5 seconds and after 5 minutes.
pub const MISSED_AFTER_MS: i64 = 10 * 60_000;
/// What a scheduled run does comes every five minutes; after twelve that failed or did not happen it is overdue.
pub const OVERDUE_AFTER_MS: i64 = 60 * 60_000;
/// A record that the API leaves out is over only if it did not change for so long before: it may have been made after the
/// API was asked, by a clock that is not ours.
const SETTLED_AFTER_MS: i64 = 5 * 60_000;

/// What we hold of what a reading shows: `src/store/held.sql`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    records: Vec<HeldRecord>,
    /// Payers whose data was erased: nothing of them is read again.
    erased: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct HeldRecord {
    id: String,
    payer: Option<String>,
    plan: Option<String>,
    plan_id: Option<String>,
    status: Status,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    past_due_since: Option<Timestamp>,
    seats: Option<i64>,
    subscription: Option<String>,
    occurred_at: Timestamp,
    event_id: String,
    version: String,
}

impl Held {
    /// Reads what the database answers.
    ///
    /// # Errors
    /// [`Unreadable`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let json = json::parse(text.as_bytes())?;
        let fields = Fields::of(&json)?;
        let records = fields.need("records", |fields, name| fields.objects(name, HeldRecord::read))?;
        Ok(Self { records, erased: fields.need("erased", Fields::texts)? })
    }

    fn of(&self, id: &str) -> Option<&HeldRecord> {
        self.records.iter().find(|held| held.id == id)
    }
}

impl HeldRecord {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: fields.need("id", Fields::text)?,
            payer: fields.text("payer")?,
            plan: fields.text("plan")?,
            plan_id: fields.text("plan_id")?,
            status: Status::parse(&fields.need("status", Fields::text)?),
            period_start: fields.moment("period_start")?,
            period_end: fields.moment("period_end")?,
            past_due_since: fields.moment("past_due_since")?,
            seats: fields.whole("seats")?,
            subscription: fields.text("subscription")?,
            occurred_at: fields.need("occurred_at", Fields::moment)?,
            event_id: fields.need("event_id", Fields::text)?,
            version: fields.need("version", Fields::text)?,
        })
    }
}

/// Something that the API shows and we do not hold, or hold otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The idempotency key: the same for everybody who finds this difference to what we hold.
    pub event_id: String,
    /// The event that stores it.
    pub event: Event,
}

/// What the API shows otherwise than we hold it: for each subscription that is shown whole one event with all its items, as a
/// webhook has them; else for each record one.
#[must_use]
pub fn differences(reading: Reading, held: &Held, payer: Option<&Payer>, read_at: Timestamp) -> Vec<Difference> {
    let is_erased = |shown: &Shown| shown.record.payer.as_ref().is_some_and(|payer| held.erased.contains(&payer.key()));
    let gone: Vec<Shown> = held
        .records
        .iter()
        .filter(|held| !reading.shown.iter().any(|shown| shown.record.id == held.id))
        .filter(|held| held.is_missing_in(&reading, payer, read_at))
        .map(|held| held.ended(read_at))
        .collect();
    let all = reading.shown.into_iter().chain(gone).filter(|shown| !is_erased(shown));
    let mut units: Vec<Unit<'_>> = Vec::new();
    for shown in all {
        let known = held.of(&shown.record.id);
        let shown = known.map_or(shown.clone(), |known| known.complete(shown));
        match units.iter_mut().find(|unit| unit.has(&shown.record)) {
            Some(unit) => {
                // In the order of their ids: the next reading may show them in another one.
                let at = unit.further.partition_point(|(other, _)| other.record.id < shown.record.id);
                unit.further.insert(at, (shown, known));
            }
            None => units.push(Unit { first: (shown, known), further: Vec::new() }),
        }
    }
    units.into_iter().filter(|unit| unit.differs(held)).map(|unit| unit.difference(read_at)).collect()
}

/// What is stored by one event, beside what we hold of it: a record, or a subscription's first and its further items.
struct Unit<'a> {
    first: (Shown, Option<&'a HeldRecord>),
    further: Vec<(Shown, Option<&'a HeldRecord>)>,
}

impl<'a> Unit<'a> {
    fn has(&self, record: &Record) -> bool {
        is_further_item(&record.id, &self.first.0.record.id)
    }

    fn all(&self) -> impl Iterator<Item = &(Shown, Option<&'a HeldRecord>)> {
        std::iter::once(&self.first).chain(&self.further)
    }

    fn differs(&self, held: &Held) -> bool {
        self.all().any(|(shown, held)| match held {
            // What is over before we ever heard of it never gave anything that could still be asked for.
            None => shown.record.state.as_ref().is_some_and(|state| state.status != Status::Ended),
            Some(held) => held.is_no_later_than(shown) && held.differs_from(&shown.record),
        }) || self.has_other_items(held)
    }

    /// Whether the subscription as we hold it has an item that is not shown, or lacks one that is. It has those that were set by
    /// the event that set its first (`decide` counts no others).
    fn has_other_items(&self, held: &Held) -> bool {
        let (shown, Some(first)) = &self.first else { return false };
        let is_shown = |id: &str| self.further.iter().any(|(shown, _)| shown.record.id == id);
        first.is_no_later_than(shown)
            && held
                .records
                .iter()
                .filter(|item| is_further_item(&item.id, &first.id) && item.status != Status::Ended)
                .any(|item| is_shown(&item.id) != (item.event_id == first.event_id))
    }

    fn difference(self, read_at: Timestamp) -> Difference {
        let is_news = self
            .all()
            .all(|(shown, held)| shown.is_dated && held.is_none_or(|held| shown.record.occurred_at > held.occurred_at));
        // A change that we heard of first from the API yields to its delivery, which then shows that deliveries come. What the
        // API says otherwise than a delivery about the same change is the later look at it, and wins.
        let (prefix, sent_at) = if is_news { (UNDELIVERED, Timestamp::from_millis(0)) } else { (REREAD, read_at) };
        let event_id = format!("{prefix}{}", self.step());
        let first = &self.first.0.record;
        let progress = first.state.as_ref().map_or(0, |state| state.status.progress());
        let (occurred_at, payer) = (first.occurred_at, first.payer.clone());
        let versioned = |(shown, _): (Shown, _)| {
            let Shown { mut record, is_final, .. } = shown;
            let clock = if is_final { Timestamp::MAX } else { record.occurred_at };
            record.version = Version::new(clock, sent_at, progress, &event_id);
            record
        };
        let event = Event {
            event_type: EVENT_TYPE.to_owned(),
            occurred_at,
            payer,
            deleted_at: None,
            records: std::iter::once(self.first).chain(self.further).map(versioned).collect(),
            payments: Vec::new(),
            links: Vec::new(),
            signed: None,
        };
        Difference { event_id, event }
    }

    /// Names the step from what is held to what is shown, so that two who take it at once take it once.
    fn step(&self) -> String {
        let mut digest = Sha256::new();
        let moment =
            |moment: Option<Timestamp>| moment.map_or_else(String::new, |moment| moment.as_millis().to_string());
        for (Shown { record, .. }, held) in self.all() {
            let state = record.state.as_ref();
            let parts = [
                record.id.clone(),
                held.map_or_else(String::new, |held| held.version.clone()),
                record.payer.as_ref().map(Payer::key).unwrap_or_default(),
                record.plan.as_ref().map(|plan| plan.key.clone()).unwrap_or_default(),
                state.map(|state| state.status.to_string()).unwrap_or_default(),
                moment(state.and_then(|state| state.period_start)),
                moment(state.and_then(|state| state.period_end)),
                state.and_then(|state| state.seats).map(|seats| seats.as_stored().to_string()).unwrap_or_default(),
            ];
            for part in parts {
                digest.update(part.as_bytes());
                digest.update([0]);
            }
        }
        URL_SAFE_NO_PAD.encode(digest.finalize().get(..18).unwrap_or_default())
    }
}

impl HeldRecord {
    /// Whether what is shown may be the newer of the two.
    fn is_no_later_than(&self, shown: &Shown) -> bool {
        shown.is_final || self.occurred_at <= shown.record.occurred_at
    }

    /// Whether the API should have shown this record and did not. Only what shows a whole subscription can tell: an answer
    /// for nobody, or from another instance of the provider, says nothing about ours.
    fn is_missing_in(&self, reading: &Reading, payer: Option<&Payer>, read_at: Timestamp) -> bool {
        let is_of_subscription = reading.whole.is_some() && self.subscription == reading.whole;
        let is_payers = payer.is_some_and(|payer| self.payer.as_deref() == Some(payer.key().as_str()));
        let is_settled = read_at.millis_since(self.occurred_at) > SETTLED_AFTER_MS;
        is_of_subscription && is_payers && is_settled && self.status != Status::Ended
    }

    /// The record as one that is over. Of versions with the same time that of the reading wins; anything the provider still
    /// tells of it wins over both.
    fn ended(&self, read_at: Timestamp) -> Shown {
        // Its period is completed like that of anything the API leaves out.
        let state = State { ended_at: Some(read_at), ..State::new(Status::Ended) };
        let record = Record {
            id: self.id.clone(),
            version: Version::new(self.occurred_at, read_at, Status::Ended.progress(), ""),
            occurred_at: self.occurred_at,
            payer: self.payer.as_deref().and_then(Payer::from_key),
            customer: None,
            subscription: self.subscription.clone(),
            plan: None,
            state: Some(state),
            trial: false,
            started_at: None,
        };
        Shown { tells_period: false, ..Shown::new(record, false) }
    }

    /// What the API leaves out stays as it was, where that is no statement: silence is not a change.
    fn complete(&self, mut shown: Shown) -> Shown {
        let is_free = shown.record.plan.as_ref().is_some_and(|plan| plan.free);
        if let Some(state) = &mut shown.record.state {
            if !shown.tells_period {
                state.period_start = state.period_start.or(self.period_start);
                // What is paid for has an end; only the free plan has none.
                state.period_end = state.period_end.or(self.period_end.filter(|_| !is_free));
            }
            let is_same_period = state.period_end == self.period_end;
            if !shown.tells_trial && is_same_period && state.status == Status::Active && self.status == Status::Trialing
            {
                state.status = Status::Trialing;
            }
            if state.status == Status::PastDue && self.status == Status::PastDue {
                state.past_due_since = [state.past_due_since, self.past_due_since].into_iter().flatten().min();
            }
        }
        shown
    }

    fn differs_from(&self, record: &Record) -> bool {
        let payer_differs =
            record.payer.as_ref().is_some_and(|payer| self.payer.as_deref() != Some(payer.key().as_str()));
        let plan_differs = record.plan.as_ref().is_some_and(|plan| {
            // One that is known by its id alone is no other plan.
            let is_same = self.plan.as_ref() == Some(&plan.key) || self.plan_id.as_ref() == Some(&plan.key);
            !is_same
        });
        let state_differs = record.state.as_ref().is_some_and(|state| {
            let seats = state.seats.map(crate::event::Seats::as_stored);
            state.status != self.status
                || state.period_start != self.period_start
                || state.period_end != self.period_end
                || seats.is_some_and(|seats| Some(seats) != self.seats)
        });
        payer_differs || plan_differs || state_differs
    }
}

/// How far the sweep of a provider came, as it is kept between runs.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Sweep {
    /// When the first run was: what changed before was never to be delivered to us.
    #[serde(with = "millis")]
    pub since: Option<Timestamp>,
    /// The last run.
    #[serde(with = "millis")]
    pub last_run_at: Option<Timestamp>,
    /// The provider wants to be left alone until then.
    #[serde(with = "millis")]
    pub not_before: Option<Timestamp>,
    /// Records looked at, ever.
    pub checked: u64,
    /// Of these, those that could not be read.
    pub unreadable: u64,
    /// Differences stored, ever.
    pub stored: u64,
    /// Why the last run ended early.
    pub error: Option<String>,
    /// The last run that did not.
    #[serde(with = "millis")]
    pub sound_at: Option<Timestamp>,
    /// By listing.
    pub listings: Map<String, Progress>,
}

/// How far one listing was read.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Progress {
    /// Where the next run goes on; none at the beginning.
    pub cursor: Option<String>,
    /// When it was last read to its end.
    #[serde(with = "millis")]
    pub finished_at: Option<Timestamp>,
}

impl Sweep {
    /// The name under which it is kept.
    #[must_use]
    pub fn name(provider: &str) -> String {
        format!("sweep:{provider}")
    }

    /// Whether nothing has been reconciled for so long that somebody should look: the key was withdrawn, the address is wrong,
    /// or nothing calls the scheduled handler any more. One that never ran is not overdue.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.sound_at.or(self.since).is_some_and(|sound_at| now.millis_since(sound_at) > OVERDUE_AFTER_MS)
    }

    /// From what was kept. What cannot be read is begun anew: nothing rests on it but time.
    #[must_use]
    pub fn parse(kept: Option<&str>) -> Self {
        let read = |text: &str| Self::read(Fields::of(&json::parse(text.as_bytes())?)?);
        kept.and_then(|text| read(text).ok()).unwrap_or_default()
    }

    /// From its fields; those that are missing are as at the beginning.
    ///
    /// # Errors
    /// [`Unreadable`] for what this version of the code never wrote.
    pub fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        let mut sweep = Self {
            since: fields.moment("since")?,
            last_run_at: fields.moment("last_run_at")?,
            not_before: fields.moment("not_before")?,
            checked: fields.count("checked")?.unwrap_or_default(),
            unreadable: fields.count("unreadable")?.unwrap_or_default(),
            stored: fields.count("stored")?.unwrap_or_default(),
            error: fields.text("error")?,
            sound_at: fields.moment("sound_at")?,
            listings: Map::new(),
        };
        if let Some(listings) = fields.object("listings")? {
            for (name, progress) in listings.entries() {
                let progress = Fields::of(progress)?;
                let progress =
                    Progress { cursor: progress.text("cursor")?, finished_at: progress.moment("finished_at")? };
                sweep.listings.insert(name.to_owned(), progress);
            }
        }
        Ok(sweep)
    }
}

/// Pages that a provider's turn has at least: one of each listing.
const PAGES_OF_A_TURN: u32 = 2;

/// Whose turn it is in a run that reads so many pages: of the providers that do not want to be left alone, those whose last
/// run is longest ago. There are fewer than all where each would have less than a page of each listing.
#[must_use]
pub fn turns(sweeps: &Map<&'static str, Sweep>, pages: u32, now: Timestamp) -> Vec<&'static str> {
    let is_due = |sweep: &Sweep| sweep.not_before.is_none_or(|not_before| now >= not_before);
    let mut turns = Vec::new();
    for _ in 0..(pages / PAGES_OF_A_TURN).max(1) {
        let left = sweeps.iter().filter(|(name, sweep)| is_due(sweep) && !turns.contains(*name));
        let Some((next, _)) = left.min_by_key(|(_, sweep)| sweep.last_run_at) else { break };
        turns.push(*next);
    }
    turns
}

/// Why webhooks seem not to arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// Deliveries come and are refused: their signature fits none of the secrets.
    WrongSecret,
    /// Deliveries come and are refused: their time is too far from ours.
    WrongClock,
    /// Requests come without the headers of a signature: something on the way takes them off, or it is somebody else.
    MissingHeaders,
    /// Deliveries come and we failed to take them: no secret, or no store.
    OurErrors,
    /// Nothing comes: no endpoint points here, or the provider switched it off.
    NoDeliveries,
    /// Some come, and these changes were not among them: the endpoint does not subscribe to all events.
    NotAllEvents,
}

/// The likely cause of missed changes, from what was last refused.
///
/// `last_delivery_at` is when a delivery was last verified; `refused` when and why one last was not.
#[must_use]
pub fn likely_cause(
    last_missed_at: Timestamp,
    last_delivery_at: Option<Timestamp>,
    refused: Option<(&str, Timestamp)>,
) -> Silence {
    // What was refused before the last good delivery says nothing of what went wrong since.
    let refused = refused.filter(|(_, at)| last_delivery_at.is_none_or(|delivery| *at >= delivery));
    match refused {
        Some(("invalid_signature", _)) => Silence::WrongSecret,
        Some(("timestamp_out_of_tolerance", _)) => Silence::WrongClock,
        Some(("missing_headers", _)) => Silence::MissingHeaders,
        Some(_) => Silence::OurErrors,
        None if last_delivery_at.is_some_and(|delivery| delivery >= last_missed_at) => Silence::NotAllEvents,
        None => Silence::NoDeliveries,
    }
}
