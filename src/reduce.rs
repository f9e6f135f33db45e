//! What a history of events adds up to, in memory: the rules of `src/store/records.sql`, `payments.sql`, `payers.sql` and
//! `snapshot.sql` without a database.
//!
//! The store is what counts; this says what the store would hold after other events than those it was given, such as the
//! ones that were known at some earlier time. The tests hold the two against each other, in every order of arrival. What
//! the store keeps for operators alone (which delivery wrote what, ties) is not here.

use std::cmp::Reverse;

use serde::Serialize;

use crate::event::{Event, Payment, PlanRef, Record, Seats, State};
use crate::json::{Fields, Unreadable};
use crate::ordered::{self, Set};
use crate::payer::Payer;
use crate::snapshot::{Failure, Snapshot, StoredRecord};
use crate::status::Status;
use crate::time::{Timestamp, millis, whole_millis};

/// The records of a snapshot, at most: the limit of `src/store/snapshot.sql`.
const SNAPSHOT_RECORDS: usize = 64;

/// Everything that the events so far tell. Any order of them, and any duplication, adds up to the same, but for the
/// versions of payers, which count.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Reduced {
    // Lists, because there are few of each: maps would be most of the code here.
    records: Vec<Kept>,
    payments: Vec<Charge>,
    customers: Vec<Customer>,
    payers: Vec<Known>,
}

/// A customer of a provider that some event tied to a payer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Customer {
    provider: String,
    id: String,
    /// The payer's key.
    payer: Register<String>,
}

/// A record: four registers, and what is only ever added to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Kept {
    provider: String,
    id: String,
    /// The payer's key.
    payer: Register<String>,
    customer: Register<String>,
    plan: Register<PlanRef>,
    state: Register<State>,
    #[serde(with = "whole_millis")]
    occurred_at: Timestamp,
    event_id: String,
    subscription: Option<String>,
    trial_used: bool,
    #[serde(with = "millis")]
    started_at: Option<Timestamp>,
}

/// A payment, whole as its newest event told it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Charge {
    provider: String,
    payment: Payment,
}

/// Somebody an event was about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Known {
    /// The payer's key.
    payer: String,
    version: u64,
    #[serde(with = "millis")]
    deleted_at: Option<Timestamp>,
}

/// What the newest event that spoke of it said. The version is empty while none has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Register<T> {
    version: String,
    value: Option<T>,
}

impl<T> Register<T> {
    fn read(
        fields: Fields<'_>,
        name: &str,
        value: fn(Fields<'_>) -> Result<Option<T>, Unreadable>,
    ) -> Result<Self, Unreadable> {
        let register = fields.need(name, Fields::object)?;
        Ok(Self { version: register.need("version", Fields::text)?, value: value(register)? })
    }
}

fn text(register: Fields<'_>) -> Result<Option<String>, Unreadable> {
    register.text("value")
}

impl Customer {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            provider: fields.need("provider", Fields::text)?,
            id: fields.need("id", Fields::text)?,
            payer: Register::read(fields, "payer", text)?,
        })
    }
}

impl Charge {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        let payment = fields.need("payment", Fields::object)?;
        Ok(Self { provider: fields.need("provider", Fields::text)?, payment: Payment::read(payment)? })
    }
}

impl Known {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            payer: fields.need("payer", Fields::text)?,
            version: fields.need("version", Fields::count)?,
            deleted_at: fields.moment("deleted_at")?,
        })
    }
}

impl<T: Clone> Register<T> {
    fn empty() -> Self {
        Self { version: String::new(), value: None }
    }

    /// Takes a value over if it is newer; says whether it was. Silence is not a change.
    fn hear(&mut self, version: &str, value: Option<&T>) -> bool {
        let is_newer = value.is_some() && version > self.version.as_str();
        if is_newer {
            version.clone_into(&mut self.version);
            self.value = value.cloned();
        }
        is_newer
    }
}

impl Reduced {
    /// Reads the JSON that this is written as.
    ///
    /// # Errors
    /// [`Unreadable`] for what this version of the code never wrote.
    pub fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            records: fields.objects("records", Kept::read)?.unwrap_or_default(),
            payments: fields.objects("payments", Charge::read)?.unwrap_or_default(),
            customers: fields.objects("customers", Customer::read)?.unwrap_or_default(),
            payers: fields.objects("payers", Known::read)?.unwrap_or_default(),
        })
    }

    /// Adds an event, which the provider sent under this id. Answers whether it told anything that was not known: whether
    /// the store would call it `stored`, and not `stale`.
    pub fn apply(&mut self, provider: &str, event_id: &str, event: &Event) -> bool {
        // Only who it is about, which is never too late to say.
        let mut is_news = event.records.is_empty() && event.payments.is_empty();
        for record in &event.records {
            let known = self.records.iter().position(|kept| kept.is(provider, &record.id));
            if let Some(kept) = known.and_then(|place| self.records.get_mut(place)) {
                is_news |= kept.hear(record, event_id);
            } else {
                self.records.push(Kept::first(provider, record, event_id));
                is_news = true;
            }
        }
        for payment in &event.payments {
            let is_it = |charge: &&mut Charge| charge.provider == provider && charge.payment.id == payment.id;
            match self.payments.iter_mut().find(is_it) {
                Some(charge) if payment.version > charge.payment.version => {
                    charge.payment.clone_from(payment);
                    is_news = true;
                }
                Some(_) => {}
                None => {
                    self.payments.push(Charge { provider: provider.to_owned(), payment: payment.clone() });
                    is_news = true;
                }
            }
        }
        for link in &event.links {
            let (version, payer) = (link.version.as_str(), link.payer.key());
            let is_it = |known: &&mut Customer| known.provider == provider && known.id == link.customer;
            if let Some(known) = self.customers.iter_mut().find(is_it) {
                is_news |= known.payer.hear(version, Some(&payer));
            } else {
                self.customers.push(Customer {
                    provider: provider.to_owned(),
                    id: link.customer.clone(),
                    payer: Register { version: version.to_owned(), value: Some(payer) },
                });
                is_news = true;
            }
        }
        if let Some(payer) = self.payer_of(provider, event) {
            match self.payers.iter_mut().find(|known| known.payer == payer) {
                Some(known) => {
                    known.version = known.version.saturating_add(1);
                    known.deleted_at = earlier(known.deleted_at, event.deleted_at);
                }
                None => self.payers.push(Known { payer, version: 1, deleted_at: event.deleted_at }),
            }
        }
        is_news
    }

    /// What may be kept apart: a part of what is known holds all that is needed for an event, or for a payer, if it holds
    /// everything that shares one of these keys, directly or through others. So one payer's state can be one document.
    #[must_use]
    pub fn keys(&self) -> Set<String> {
        let mut keys = Vec::new();
        for kept in &self.records {
            keys.push(Key::Record(&kept.id).of(&kept.provider));
            keys.extend(kept.customer.value.as_ref().map(|id| Key::Customer(id).of(&kept.provider)));
            keys.extend(kept.payer.value.clone());
        }
        for Charge { provider, payment } in &self.payments {
            keys.extend(keys_of_payment(provider, payment));
        }
        for known in &self.customers {
            keys.push(Key::Customer(&known.id).of(&known.provider));
            keys.extend(known.payer.value.clone());
        }
        keys.extend(self.payers.iter().map(|known| known.payer.clone()));
        ordered::set(keys)
    }

    /// The keys of what an event adds to.
    #[must_use]
    pub fn keys_of(provider: &str, event: &Event) -> Set<String> {
        let mut keys: Vec<String> = event.payer.iter().map(Payer::key).collect();
        for record in &event.records {
            keys.push(Key::Record(&record.id).of(provider));
            keys.extend(record.customer.as_ref().map(|id| Key::Customer(id).of(provider)));
            keys.extend(record.payer.as_ref().map(Payer::key));
        }
        for payment in &event.payments {
            keys.extend(keys_of_payment(provider, payment));
        }
        for link in &event.links {
            keys.push(Key::Customer(&link.customer).of(provider));
            keys.push(link.payer.key());
        }
        ordered::set(keys)
    }

    /// Takes in what another part holds. Two parts share nothing, unless they are one.
    pub fn merge(&mut self, other: Self) {
        for kept in other.records {
            if !self.records.iter().any(|own| own.is(&kept.provider, &kept.id)) {
                self.records.push(kept);
            }
        }
        for charge in other.payments {
            let is_it = |own: &Charge| own.provider == charge.provider && own.payment.id == charge.payment.id;
            if !self.payments.iter().any(is_it) {
                self.payments.push(charge);
            }
        }
        for known in other.customers {
            if !self.customers.iter().any(|own| own.provider == known.provider && own.id == known.id) {
                self.customers.push(known);
            }
        }
        for known in other.payers {
            if !self.payers.iter().any(|own| own.payer == known.payer) {
                self.payers.push(known);
            }
        }
    }

    /// Whom an event is about: as it says, or as an earlier event about the same record, payment or customer said.
    #[must_use]
    pub fn payer_of(&self, provider: &str, event: &Event) -> Option<String> {
        let of_record = |record: &Record| {
            let kept = self.records.iter().find(|kept| kept.is(provider, &record.id))?;
            self.payer_of_record(kept).cloned()
        };
        let of_payment = |payment: &Payment| {
            let is_it = |charge: &&Charge| charge.provider == provider && charge.payment.id == payment.id;
            self.payer_of_charge(self.payments.iter().find(is_it)?)
        };
        let named = event.payer.as_ref().map(Payer::key);
        named
            .or_else(|| event.records.iter().find_map(of_record))
            .or_else(|| event.payments.iter().find_map(of_payment))
    }

    fn stored(&self, kept: &Kept, owner: &String) -> StoredRecord {
        let has_start = kept.state.value.as_ref().is_some_and(|state| state.period_start.is_some());
        let of_owner =
            |charge: &Charge| charge.provider == kept.provider && self.payer_of_charge(charge).as_ref() == Some(owner);
        // Where no start of the period is told, the next charge begins one.
        let is_over = |refund: &Payment| {
            !has_start
                && self.payments.iter().any(|charge| {
                    let paid = &charge.payment;
                    paid.status == "paid"
                        && paid.charge_type.as_deref() == Some("recurring")
                        && paid.created_at > refund.occurred_at
                        && paid.record == refund.record
                        && of_owner(charge)
                })
        };
        // What was charged on top of the period pays for none.
        let is_of_extra = |refund: &Payment| {
            self.payments.iter().any(|charge| {
                let paid = &charge.payment;
                paid.status == "paid"
                    && paid.charge_type.as_deref() == Some("subscription_charge")
                    && paid.payment.is_some()
                    && paid.payment == refund.payment
                    && of_owner(charge)
            })
        };
        let is_refund = |charge: &&Charge| {
            let payment = &charge.payment;
            // A subscription is paid for whole, with all its items.
            let of_subscription = payment.record.is_some() && payment.record == kept.subscription;
            (of_subscription || payment.record.as_ref() == Some(&kept.id))
                && matches!(payment.status.as_str(), "refunded" | "disputed")
                && of_owner(charge)
                && !is_over(payment)
                && !is_of_extra(payment)
        };
        let refunds = self.payments.iter().filter(is_refund);
        StoredRecord { refunded_at: refunds.map(|charge| charge.payment.occurred_at).max(), ..kept.stored() }
    }

    /// Whose a record is: its own word counts before its customer's.
    fn payer_of_record<'a>(&'a self, kept: &'a Kept) -> Option<&'a String> {
        kept.payer.value.as_ref().or_else(|| self.payer_of_customer(&kept.provider, kept.customer.value.as_ref()?))
    }

    fn payer_of_charge(&self, charge: &Charge) -> Option<String> {
        let named = charge.payment.payer.as_ref().map(Payer::key);
        named.or_else(|| self.payer_of_customer(&charge.provider, charge.payment.customer.as_ref()?).cloned())
    }

    fn payer_of_customer(&self, provider: &str, id: &str) -> Option<&String> {
        self.customers.iter().find(|known| known.provider == provider && known.id == id)?.payer.value.as_ref()
    }

    /// A payer's facts, as the store would read them at `as_of`. The version counts the events about the payer.
    #[must_use]
    pub fn snapshot(&self, payer: &Payer, as_of: Timestamp) -> Snapshot {
        let key = payer.key();
        let known = self.payers.iter().find(|known| known.payer == key);
        let own_records = || self.records.iter().filter(|kept| self.payer_of_record(kept) == Some(&key));
        // Of more than are shown, what a newer one says again comes after what no other says.
        let is_cut = own_records().count() > SNAPSHOT_RECORDS;
        let is_said_again = |kept: &Kept| is_cut && own_records().any(|newer| newer.says_again(kept));
        let mut records: Vec<&Kept> = Vec::new();
        for kept in own_records() {
            let place = kept.place(as_of, is_said_again(kept));
            let at = records.partition_point(|other| other.place(as_of, is_said_again(other)) < place);
            records.insert(at, kept);
        }
        records.truncate(SNAPSHOT_RECORDS);

        let own = |status: &'static str| {
            let charges = self.payments.iter().filter(move |charge| charge.payment.status == status);
            charges.filter(|charge| self.payer_of_charge(charge).as_ref() == Some(&key))
        };
        let paid = own("paid").map(|charge| charge.payment.created_at);
        let last_paid = paid.max().unwrap_or(Timestamp::from_millis(0));
        let failed_since = own("failed").map(|charge| &charge.payment).filter(|payment| payment.created_at > last_paid);
        let failed_attempts = failed_since.map(|payment| payment.attempt.unwrap_or(1)).fold(0, u32::saturating_add);
        let last_failure = own("failed")
            .max_by_key(|charge| (charge.payment.created_at, &charge.provider, &charge.payment.id))
            .map(|charge| &charge.payment);

        Snapshot {
            payer: payer.clone(),
            version: known.map_or(0, |known| known.version),
            as_of,
            deleted_at: known.and_then(|known| known.deleted_at),
            trial_used: own_records().any(|kept| kept.trial_used),
            failed_attempts,
            last_failure: last_failure
                .map(|payment| Failure { at: payment.occurred_at, code: payment.failure_code.clone() }),
            records: records.into_iter().map(|kept| self.stored(kept, &key)).collect(),
        }
    }
}

/// What two parts of what is known can share, besides a payer.
enum Key<'a> {
    Record(&'a str),
    Payment(&'a str),
    Customer(&'a str),
}

impl Key<'_> {
    /// As text. No payer's key begins so.
    fn of(&self, provider: &str) -> String {
        let (kind, id) = match self {
            Self::Record(id) => ("record", id),
            Self::Payment(id) => ("payment", id),
            Self::Customer(id) => ("customer", id),
        };
        format!("{kind}:{provider}:{id}")
    }
}

fn keys_of_payment(provider: &str, payment: &Payment) -> impl Iterator<Item = String> {
    let own = Key::Payment(&payment.id).of(provider);
    let customer = payment.customer.as_ref().map(|id| Key::Customer(id).of(provider));
    std::iter::once(own).chain(customer).chain(payment.payer.as_ref().map(Payer::key))
}

impl Kept {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            provider: fields.need("provider", Fields::text)?,
            id: fields.need("id", Fields::text)?,
            payer: Register::read(fields, "payer", text)?,
            customer: Register::read(fields, "customer", text)?,
            plan: Register::read(fields, "plan", |register| register.object("value")?.map(PlanRef::read).transpose())?,
            state: Register::read(fields, "state", |register| register.object("value")?.map(State::read).transpose())?,
            occurred_at: fields.need("occurred_at", Fields::moment)?,
            event_id: fields.need("event_id", Fields::text)?,
            subscription: fields.text("subscription")?,
            trial_used: fields.need("trial_used", Fields::truth)?,
            started_at: fields.moment("started_at")?,
        })
    }

    fn first(provider: &str, record: &Record, event_id: &str) -> Self {
        let mut kept = Self {
            provider: provider.to_owned(),
            id: record.id.clone(),
            payer: Register::empty(),
            customer: Register::empty(),
            plan: Register::empty(),
            state: Register::empty(),
            occurred_at: record.occurred_at,
            event_id: event_id.to_owned(),
            subscription: None,
            trial_used: false,
            started_at: None,
        };
        kept.hear(record, event_id);
        kept
    }

    fn is(&self, provider: &str, id: &str) -> bool {
        self.provider == provider && self.id == id
    }

    /// Where it stands in a snapshot: what may grant first, then what says why not, what is over last; of equals the newest.
    fn place(&self, as_of: Timestamp, is_said_again: bool) -> impl Ord + '_ {
        let status = self.status();
        let may_grant = matches!(status, Status::Active | Status::Trialing | Status::Canceled | Status::PastDue);
        let period_end = self.state.value.as_ref().and_then(|state| state.period_end);
        let is_past = period_end.map_or(status == Status::Canceled, |end| end <= as_of);
        let newest = Reverse(&self.state.version);
        (status == Status::Ended, !may_grant, is_past, is_said_again, newest, &self.provider, &self.id)
    }

    /// Whether this is newer and says the same: the same thing bought once more, without end.
    fn says_again(&self, other: &Self) -> bool {
        let said = |kept: &Self| {
            let plan = kept.plan.value.as_ref().map(|plan| plan.key.clone());
            (plan, kept.status(), kept.state.value.as_ref().and_then(|state| state.period_end))
        };
        self.state.version > other.state.version && self.provider == other.provider && said(self) == said(other)
    }

    /// Takes over what is newer; says whether anything was.
    fn hear(&mut self, record: &Record, event_id: &str) -> bool {
        let version = record.version.as_str();
        let names_payer = self.payer.hear(version, record.payer.as_ref().map(Payer::key).as_ref());
        let names_customer = self.customer.hear(version, record.customer.as_ref());
        // A plan known by its id alone yields to any that has a name: '!' sorts before every digit.
        let nameless = record.plan.as_ref().is_some_and(|plan| plan.id.as_ref() == Some(&plan.key));
        let names_plan = self.plan.hear(&format!("{}{version}", if nameless { "!" } else { "" }), record.plan.as_ref());
        let tells_state = self.state.hear(version, record.state.as_ref());
        // The newest event about the state; while nothing has told the state, the newest that names the payer.
        if tells_state || (self.state.value.is_none() && names_payer) {
            self.occurred_at = record.occurred_at;
            event_id.clone_into(&mut self.event_id);
        }
        let before = (self.subscription.is_some(), self.trial_used, self.started_at);
        if self.subscription.is_none() {
            self.subscription.clone_from(&record.subscription);
        }
        self.trial_used |= record.trial;
        self.started_at = earlier(self.started_at, record.started_at);
        let adds = before != (self.subscription.is_some(), self.trial_used, self.started_at);
        names_payer || names_customer || names_plan || tells_state || adds
    }

    /// Until something tells it, what is heard of is taken for active.
    fn status(&self) -> Status {
        self.state.value.as_ref().map_or(Status::Active, |state| state.status.clone())
    }

    fn stored(&self) -> StoredRecord {
        let plan = self.plan.value.clone();
        let (key, plan_id, free) = plan.map_or((None, None, false), |plan| (Some(plan.key), plan.id, plan.free));
        let state = self.state.value.clone().unwrap_or_else(|| State::new(Status::Active));
        StoredRecord {
            provider: self.provider.clone(),
            id: self.id.clone(),
            plan: key,
            plan_id,
            plan_free: free,
            status: state.status,
            customer: self.customer.value.clone(),
            subscription: self.subscription.clone(),
            started_at: self.started_at,
            period_start: state.period_start,
            period_end: state.period_end,
            interval: state.interval,
            cancel_at: state.cancel_at,
            canceled_at: state.canceled_at,
            ended_at: state.ended_at,
            past_due_since: state.past_due_since,
            stored_seats: state.seats.map(Seats::as_stored),
            failed_attempts: state.failed_attempts,
            last_failure_at: state.last_failure_at,
            refunded_at: None,
            occurred_at: self.occurred_at,
            event_id: self.event_id.clone(),
        }
    }
}

/// The earlier of two times, where there are two.
fn earlier(one: Option<Timestamp>, two: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(two).min()
}
