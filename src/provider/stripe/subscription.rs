//! Subscriptions: each event shows one whole, as it then stood.
//!
//! **Several items.** A record holds one plan, so the first item made is the record `sub_…` and each further one a record
//! `sub_…/si_…`. The record of the subscription is then always there and is told by every event, whether there is one item or
//! many. An item that is taken out is ended by the event that takes it out, whose `previous_attributes` list the items as
//! they were. If that event never comes, `decide` takes the item for over as soon as another one shows the subscription without
//! it.
//!
//! **Order.** `created` of an event tells seconds, and Stripe changes one object several times in a second. See [`rank`].
//!
//! `pause_collection` changes nothing here: Stripe documents each of its three kinds as services offered for free
//! (<https://docs.stripe.com/billing/subscriptions/pause-payment>). The status `paused` is another thing. Neither does
//! `pending_update`, which is an upgrade that is not yet paid, nor a schedule.

use std::cmp::Ordering;

use super::Sent;
use super::field::{at, id, moment, number, payer, text};
use crate::event::{Event, PlanRef, Record, Seats, State};
use crate::json::Json;
use crate::payer::Payer;
use crate::provider::reading::due_at;
use crate::status::Status;

pub(super) fn event(sent: &Sent<'_>, object: &Json<'_>) -> Result<Event, &'static str> {
    let records = records(sent, object)?;
    let first = records.first();
    let payer = first.and_then(|first| first.payer.as_ref());
    let customer = first.and_then(|first| first.customer.as_ref());
    let event = sent.event(payer, customer);
    Ok(Event { records, ..event })
}

/// The records of a subscription: the first is that of the subscription itself.
pub(super) fn records(sent: &Sent<'_>, object: &Json<'_>) -> Result<Vec<Record>, &'static str> {
    let subscription = Subscription {
        id: text(object, "id").ok_or("a subscription without an id")?,
        status: if sent.event_type == DELETED {
            // It says that the subscription is over, whatever status is written beside it.
            Status::Ended
        } else {
            status(&text(object, "status").ok_or("a subscription without a status")?)
        },
        payer: payer(object, "metadata"),
        customer: id(object, "customer"),
        object,
        sent,
    };
    let (first, further) = items(object);
    let mut records = vec![subscription.record(subscription.id.clone(), first)];
    let mut shown = Vec::new();
    for item in further {
        let item_id = text(item, "id").ok_or("an item without an id")?;
        records.push(subscription.record(format!("{}/{item_id}", subscription.id), Some(item)));
        shown.push(item_id);
    }
    let (_, before) = sent.previous.map_or((None, Vec::new()), items);
    for gone in before.into_iter().filter_map(|item| text(item, "id")).filter(|gone| !shown.contains(gone)) {
        records.push(subscription.ended(format!("{}/{gone}", subscription.id)));
    }
    Ok(records)
}

const CREATED: &str = "customer.subscription.created";
const DELETED: &str = "customer.subscription.deleted";

/// The items, the first that was made apart from the others. Lists are shown in no documented order.
fn items<'a>(subscription: &'a Json<'a>) -> (Option<&'a Json<'a>>, Vec<&'a Json<'a>>) {
    let items = at(subscription, "items/data").and_then(Json::as_list).unwrap_or_default();
    let made = |item: &&Json<'_>| (number(item, "created"), text(item, "id"));
    let first = items.iter().min_by_key(made);
    let further = items.iter().filter(|item| first.is_some_and(|first| made(item) != made(&first)));
    (first, further.collect())
}

/// `canceled` is over, not to be over; so is a subscription whose first charge was not paid within 23 hours.
fn status(text: &str) -> Status {
    match text {
        "canceled" | "incomplete_expired" => Status::Ended,
        other => Status::parse(other),
    }
}

struct Subscription<'a> {
    id: String,
    /// Without regard to a cancellation that is to come.
    status: Status,
    payer: Option<Payer>,
    customer: Option<String>,
    object: &'a Json<'a>,
    sent: &'a Sent<'a>,
}

impl Subscription<'_> {
    /// One item, or the subscription where there is none.
    fn record(&self, id: String, item: Option<&Json<'_>>) -> Record {
        let item = item.unwrap_or(&Json::Null);
        let state = self.state(item);
        Record {
            plan: self.plan(item),
            trial: text(self.object, "status").as_deref() == Some("trialing"),
            // The first item is as old as the subscription, or stands for one that was.
            started_at: moment(item, "created")
                .filter(|_| id != self.id)
                .or_else(|| moment(self.object, "start_date").or_else(|| moment(self.object, "created"))),
            ..self.with(id, state)
        }
    }

    /// An item that the subscription no longer has.
    fn ended(&self, id: String) -> Record {
        self.with(id, State { ended_at: Some(self.sent.at), ..State::new(Status::Ended) })
    }

    fn with(&self, id: String, state: State) -> Record {
        Record {
            id,
            version: self.sent.version(rank(self.sent, self.object, &state.status)),
            occurred_at: self.sent.at,
            payer: self.payer.clone(),
            customer: self.customer.clone(),
            subscription: Some(self.id.clone()),
            plan: None,
            state: Some(state),
            trial: false,
            started_at: None,
        }
    }

    fn state(&self, item: &Json<'_>) -> State {
        let object = self.object;
        // Before basil the period was the subscription's; since then items may differ.
        let of_item = |path| moment(item, path).or_else(|| moment(object, path));
        let period_start = of_item("current_period_start");
        let period_end = of_item("current_period_end");
        let period_end = match self.status {
            Status::Trialing => moment(object, "trial_end").or(period_end),
            _ => period_end,
        };
        // What was paid for ended when the period began that is not paid. How long Stripe tries within it is set in its
        // dashboard, how long access goes on meanwhile in ours.
        let due_at = due_at(period_start, period_end, self.sent.at).filter(|_| self.status == Status::PastDue);
        let at_period_end = object.get("cancel_at_period_end").and_then(Json::as_bool) == Some(true);
        let cancel_at = moment(object, "cancel_at").or(period_end.filter(|_| at_period_end));
        // What is to be canceled in a later period renews until then.
        let is_last_period = cancel_at.is_some_and(|cancel_at| period_end.is_none_or(|end| cancel_at <= end));
        let status = match &self.status {
            Status::Active | Status::Trialing if is_last_period => Status::Canceled,
            status => status.clone(),
        };
        State {
            period_start,
            period_end: [due_at.or(period_end), cancel_at].into_iter().flatten().min(),
            interval: ["price/recurring/interval", "plan/interval"]
                .iter()
                .find_map(|path| text(item, path))
                .or_else(|| text(object, "plan/interval")),
            cancel_at,
            canceled_at: moment(object, "canceled_at"),
            ended_at: (status == Status::Ended).then(|| moment(object, "ended_at").unwrap_or(self.sent.at)),
            past_due_since: (status == Status::PastDue).then(|| due_at.unwrap_or(self.sent.at)),
            seats: number(item, "quantity")
                .or_else(|| number(object, "quantity"))
                .and_then(|quantity| u32::try_from(quantity).ok())
                .map(Seats::Limited),
            ..State::new(status)
        }
    }

    /// The price, and the product it is a price of. Prices were called plans; a subscription with one item had it itself.
    fn plan(&self, item: &Json<'_>) -> Option<PlanRef> {
        let places = [(item, "price"), (item, "plan"), (self.object, "plan")];
        let (place, path) = places.into_iter().find(|(place, path)| id(place, path).is_some())?;
        Some(PlanRef { key: id(place, path)?, id: id(place, &format!("{path}/product")), free: false })
    }
}

/// What of a subscription we keep. An event that changed none of it shows what another had brought about.
const KEPT: [&str; 12] = [
    "cancel_at",
    "cancel_at_period_end",
    "canceled_at",
    "current_period_end",
    "current_period_start",
    "customer",
    "items",
    "metadata",
    "plan",
    "quantity",
    "status",
    "trial_end",
];

/// Which of two events of the same second is newer, as far as an event by itself can tell:
///
/// 1. The creation comes first.
/// 2. Then an event that changed nothing of what we keep. Where it and an event that did change something disagree, it shows
///    what was before; and where they agree, it does not matter.
/// 3. Then what changed something, by how far along its life the subscription is *or was*: `past_due` → `active` comes after
///    `active` → `past_due`, and taking a cancellation back after canceling. What is changed while the status stays comes after
///    the change to that status: an item is added to what has just become `active`.
/// 4. The end comes last, whatever else happened.
///
/// What is left (two changes of seats within a second) is a tie. The event ids settle it alike in every order of arrival,
/// and the delivery is marked so that the subscription is read again.
fn rank(sent: &Sent<'_>, subscription: &Json<'_>, now: &Status) -> u8 {
    const UNCHANGED: u8 = 10;
    const CHANGED: u8 = 30;
    const END: u8 = 90;
    if *now == Status::Ended {
        return END;
    }
    if sent.event_type == CREATED {
        return 0;
    }
    let progress = now.progress();
    let Some(previous) = sent.previous.filter(|previous| KEPT.iter().any(|name| previous.get(name).is_some())) else {
        return UNCHANGED.saturating_add(progress);
    };
    let was_to_end = moment(previous, "cancel_at").is_some()
        || previous.get("cancel_at_period_end").and_then(Json::as_bool) == Some(true);
    let before = if was_to_end {
        Status::Canceled
    } else {
        text(previous, "status").or_else(|| text(subscription, "status")).map_or(Status::Active, |text| status(&text))
    };
    let before = before.progress();
    // Coming to a status, then what is changed within it, then leaving it for one that is less far along.
    let step = match before.cmp(&progress) {
        Ordering::Less => 0,
        Ordering::Equal => 1,
        Ordering::Greater => 2,
    };
    CHANGED.saturating_add(before.max(progress).saturating_mul(3)).saturating_add(step)
}
