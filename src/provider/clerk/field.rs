//! Fields as Clerk has been seen to send them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::time::Timestamp;

/// Text; null and `""` are absent. For a user payer the organization fields may be empty strings.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// A moment: a number of seconds or milliseconds, whole or not, or RFC 3339; null, `""`, zero and negative are absent.
pub(super) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    deserializer.deserialize_any(Moment)
}

struct Moment;

impl Visitor<'_> for Moment {
    type Value = Option<Timestamp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time as a number, as RFC 3339 text, or null")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Timestamp::from_provider(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Timestamp::from_provider(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates, and the fraction of a millisecond is not kept")]
    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Timestamp::from_provider(number as i64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() {
            return Ok(None);
        }
        Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| E::custom("a time that is not RFC 3339"))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
