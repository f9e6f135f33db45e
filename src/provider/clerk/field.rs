//! Fields as Clerk has been seen to send them.

use crate::json::Json;
use crate::provider::object::Object;
use crate::time::Timestamp;

/// A moment as elsewhere, but for numbers: of Clerk's any is one, whole or not.
#[allow(clippy::cast_possible_truncation, reason = "`as` saturates, and the fraction of a millisecond is not kept")]
pub(super) fn moment(object: Object<'_>, name: &str) -> Result<Option<Timestamp>, String> {
    match object.field(name) {
        Some(Json::Fraction(number)) => Ok(Timestamp::from_provider(*number as i64)),
        Some(Json::Large(_)) => Ok(Timestamp::from_provider(i64::MAX)),
        _ => object.moment(name),
    }
}
