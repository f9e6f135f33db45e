//! Users and organizations: we keep that they exist, and that they were deleted. Nothing else of a person is read.

use serde::Deserialize;

use super::field::{moment, text};
use super::{Family, Sent, empty_event};
use crate::event::Event;
use crate::payer::{Payer, PayerKind};
use crate::time::Timestamp;

#[derive(Deserialize)]
struct Identity {
    /// Optional in deletions.
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "moment")]
    updated_at: Option<Timestamp>,
}

/// `None` when the event does not say whom it is about.
pub(super) fn event(sent: &Sent<'_>, family: Family, data: &str) -> Result<Option<Event>, String> {
    let identity: Identity = serde_json::from_str(data).map_err(|error| error.to_string())?;
    let Some(id) = identity.id else { return Ok(None) };
    let kind = if matches!(family, Family::Organization) { PayerKind::Org } else { PayerKind::User };
    let payer = Payer::new(kind, id).ok_or("the id is too long")?;
    let occurred_at = identity.updated_at.unwrap_or(sent.at);
    Ok(Some(Event {
        payer: Some(payer),
        deleted_at: sent.event_type.ends_with(".deleted").then_some(sent.at),
        ..empty_event(sent, occurred_at)
    }))
}
