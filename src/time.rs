//! Moments in time, as milliseconds since the Unix epoch.
//!
//! Nothing here reads a clock: `now` is always an argument. Arithmetic saturates, because most moments were
//! sent to us by somebody else.

use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat};
use serde::{Serialize, Serializer};

/// Milliseconds in one hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in one day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A moment, in milliseconds since the Unix epoch. Serialized for callers as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

/// Below this a number of a provider's is seconds, from here on milliseconds: Clerk documents milliseconds while
/// its own examples show seconds. 100,000,000,000 is the year 5138 in seconds and March 1973 in milliseconds.
const SECONDS_BELOW: i64 = 100_000_000_000;

impl Timestamp {
    /// The end of the year 9999, the last moment RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// A moment from milliseconds since the epoch, moved into the range from 1970 to 9999.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, Self::MAX.0))
    }

    /// A moment from seconds since the epoch, moved into the range from 1970 to 9999.
    #[must_use]
    pub fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// A moment from a provider's number, in seconds or in milliseconds. Zero and below mean "none": free Clerk
    /// items carried a negative `period_end` before 2026.
    #[must_use]
    pub fn from_provider(number: i64) -> Option<Self> {
        match number {
            i64::MIN..=0 => None,
            1..SECONDS_BELOW => Some(Self::from_secs(number)),
            _ => Some(Self::from_millis(number)),
        }
    }

    /// A moment from RFC 3339 text.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let moment = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self::from_millis(moment.timestamp_millis()))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The day of the month, in UTC, from 1.
    #[must_use]
    pub fn day_of_month(self) -> i64 {
        DateTime::from_timestamp_millis(self.0).map_or(1, |moment| moment.day().into())
    }

    /// This moment `millis` later (or earlier, when negative), without overflow.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` until this moment; negative when `earlier` is later.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_millis(self.0) {
            Some(moment) => f.write_str(&moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            // Every constructor keeps within 1970 to 9999, which chrono can hold.
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `#[serde(with = "millis")]`: an optional moment as a JSON number of milliseconds, the form it is stored in.
pub(crate) mod millis {
    use serde::{Serialize, Serializer};

    use super::Timestamp;

    #[allow(clippy::ref_option, reason = "serde's `with` passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        moment.map(Timestamp::as_millis).serialize(serializer)
    }
}

/// `#[serde(with = "whole_millis")]`: a moment as a JSON number of milliseconds, the form it is stored in.
pub(crate) mod whole_millis {
    use serde::Serializer;

    use super::Timestamp;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(moment.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_number_is_seconds_or_milliseconds() {
        let cases = [
            (i64::MIN, None),
            (-1, None),
            (0, None),
            (1_767_225_600, Some(1_767_225_600_000)),
            (99_999_999_999, Some(99_999_999_999_000)),
            (100_000_000_000, Some(100_000_000_000)),
            (1_767_225_600_123, Some(1_767_225_600_123)),
            (i64::MAX, Some(Timestamp::MAX.as_millis())),
        ];
        for (number, expected) in cases {
            assert_eq!(Timestamp::from_provider(number).map(Timestamp::as_millis), expected, "{number}");
        }
    }

    #[test]
    fn rfc3339_is_written_in_utc_with_milliseconds_only_where_there_are_some() {
        assert_eq!(Timestamp::from_secs(1_767_225_600).to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_millis(1_767_225_600_120).to_string(), "2026-01-01T00:00:00.120Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(
            Timestamp::parse_rfc3339("2026-01-01T01:00:00.120+01:00"),
            Some(Timestamp::from_millis(1_767_225_600_120))
        );
        assert_eq!(Timestamp::parse_rfc3339("2026-01-01"), None);
        assert_eq!(Timestamp::from_millis(1_767_225_600_000 - 1).day_of_month(), 31);
        assert_eq!(Timestamp::from_millis(1_767_225_600_000).day_of_month(), 1);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus_millis(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(5).plus_millis(i64::MIN), Timestamp::from_millis(0));
    }
}
