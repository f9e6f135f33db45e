//! `apply` and `keys`: what a history of events adds up to, as JSON that a host keeps wherever it likes.

use plangate::event::Event;
use plangate::json::{self, Fields, Json, Unreadable};
use plangate::payer::Payer;
use plangate::reduce::Reduced;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Deliveries that a state knows again. A provider sends the same one again within a day or two, and few in between are
/// the same payer's; what is older tells nothing new and is stale.
const REMEMBERED: usize = 32;

/// What is known, and which deliveries told it last.
#[derive(Default)]
pub struct State {
    pub reduced: Reduced,
    /// `provider:event_id`, the last one last.
    seen: Vec<String>,
}

impl State {
    pub fn read(json: &Json<'_>) -> Result<Self, Failure> {
        let unreadable = |cause: String| Failure::new("unreadable_state", cause);
        let known = json.get("known").ok_or_else(|| unreadable("it is no state of plangate".into()))?;
        let reduced = Fields::of(known).and_then(Reduced::read);
        let reduced = reduced.map_err(|error| unreadable(format!("`known` is not what `apply` wrote: {error}")))?;
        let seen = json.get("seen").and_then(Json::as_list).ok_or_else(|| unreadable("`seen` is missing".into()))?;
        let seen = seen.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        Ok(Self { reduced, seen })
    }

    fn json(&self) -> Value {
        json!({"known": self.reduced, "seen": self.seen})
    }

    pub fn merge(&mut self, other: Self) {
        self.reduced.merge(other.reduced);
        for id in other.seen {
            if !self.seen.contains(&id) {
                self.seen.push(id);
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        let excess = self.seen.len().saturating_sub(REMEMBERED);
        self.seen.drain(..excess);
    }
}

struct Told {
    provider: String,
    event_id: String,
    event: Event,
}

impl Told {
    fn read(delivery: &str) -> Result<Self, Failure> {
        let delivery = json::parse(delivery.as_bytes())?;
        let fields = Fields::of(&delivery)?.only(&["provider", "event_id", "event"])?;
        let event = fields.object("event")?.ok_or_else(|| Unreadable::new("missing field `event`"));
        let event = event.and_then(Event::read);
        Ok(Self {
            provider: fields.need("provider", Fields::text)?,
            event_id: fields.need("event_id", Fields::text)?,
            event: event.map_err(|error| Failure::request(format!("`event` is not one that `parse` made: {error}")))?,
        })
    }
}

pub fn apply(states: &str, delivery: &str) -> Result<String, Failure> {
    let Told { provider, event_id, event } = Told::read(delivery)?;
    let mut state = State::default();
    for part in json::parse(states.as_bytes())?.as_list().into_iter().flatten() {
        state.merge(State::read(part)?);
    }
    let id = format!("{provider}:{event_id}");
    let outcome = if state.seen.contains(&id) {
        "duplicate"
    } else {
        let is_news = state.reduced.apply(&provider, &event_id, &event);
        state.seen.push(id);
        state.forget();
        if is_news { "stored" } else { "stale" }
    };
    let payer = state.reduced.payer_of(&provider, &event);
    let payer = payer.as_deref().and_then(Payer::from_key);
    let keys = state.reduced.keys();
    Ok(json!({"outcome": outcome, "payer": payer, "state": state.json(), "keys": keys}).to_string())
}

pub fn keys(delivery: &str) -> Result<String, Failure> {
    let Told { provider, event, .. } = Told::read(delivery)?;
    Ok(serde_json::to_string(&Reduced::keys_of(&provider, &event))?)
}
