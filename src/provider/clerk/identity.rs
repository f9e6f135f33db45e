//! Users and organizations: we keep that they exist, and that they were deleted. Nothing else of a person is read.

use super::Family;
use super::field::moment;
use crate::event::Event;
use crate::payer::{Payer, PayerKind};
use crate::provider::reading::{Object, Sent};

/// `None` when the event does not say whom it is about, as a deletion may.
pub(super) fn event(sent: &Sent<'_>, family: Family, data: Object<'_>) -> Result<Option<Event>, String> {
    let Some(id) = data.text_only("id")? else { return Ok(None) };
    let kind = if matches!(family, Family::Organization) { PayerKind::Org } else { PayerKind::User };
    let payer = Payer::new(kind, id).ok_or("the id is too long")?;
    let occurred_at = moment(data, "updated_at")?.unwrap_or(sent.at);
    Ok(Some(Event {
        deleted_at: sent.event_type.ends_with(".deleted").then_some(sent.at),
        ..sent.event(occurred_at, None, Some(payer))
    }))
}
