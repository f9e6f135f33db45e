//! One HTTP attempt to tell us something, and the proof that the provider made it.

use std::borrow::Cow;
use std::fmt;

use crate::time::Timestamp;

/// The signature headers of a delivery. Names are compared without regard to case.
#[derive(Clone, Default, Debug)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Headers from name and value pairs, in the order they arrived.
    pub fn new<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a header; a header sent twice is joined by `, `, as the Fetch standard does. An empty one is
    /// as good as missing.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self
            .0
            .iter()
            .filter(|(candidate, value)| candidate.eq_ignore_ascii_case(name) && !value.is_empty())
            .map(|(_, value)| value.as_str());
        let first = values.next()?;
        Some(values.fold(Cow::Borrowed(first), |joined, value| Cow::Owned(format!("{joined}, {value}"))))
    }
}

/// A delivery as it arrived: nothing in it is to be believed yet.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The headers that carry the proof.
    pub headers: Headers,
    /// The raw bytes. Every scheme breaks when the body is read and written again.
    pub body: Vec<u8>,
}

/// A delivery whose signature was right. Only a provider's `verify` makes one from the outside world, and
/// `parse` takes nothing else.
#[derive(Clone, Debug)]
pub struct Verified<'a> {
    event_id: String,
    sent_at: Option<Timestamp>,
    body: &'a [u8],
}

impl<'a> Verified<'a> {
    pub(crate) fn new(event_id: String, sent_at: Option<Timestamp>, body: &'a [u8]) -> Self {
        Self { event_id, sent_at, body }
    }

    /// A delivery that is trusted because of where it was kept, not because of a signature: a recorded history
    /// that is played again. `sent_at` is the signed time, where the scheme has one.
    #[must_use]
    pub fn recorded(event_id: impl Into<String>, sent_at: impl Into<Option<Timestamp>>, body: &'a [u8]) -> Self {
        Self::new(event_id.into(), sent_at.into(), body)
    }

    /// The idempotency key: the same for every attempt to deliver one event.
    #[must_use]
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// The signed time of this attempt, in whole seconds, where the scheme has one. It differs between attempts.
    #[must_use]
    pub fn sent_at(&self) -> Option<Timestamp> {
        self.sent_at
    }

    /// The signed bytes.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

/// Why a delivery was not believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerifyError {
    /// Headers that the scheme needs are missing or empty.
    MissingHeaders(Vec<&'static str>),
    /// The timestamp is not 1 to 12 decimal digits.
    MalformedTimestamp,
    /// Signed longer ago than the tolerance.
    TimestampTooOld {
        /// How long ago, in seconds.
        age_secs: i64,
    },
    /// Signed further in the future than the tolerance.
    TimestampTooNew {
        /// How far ahead, in seconds.
        ahead_secs: i64,
    },
    /// No signature of the delivery fits any secret we hold.
    NoMatchingSignature,
}

impl VerifyError {
    /// The code the caller sees: `missing_headers`, `invalid_signature` or `timestamp_out_of_tolerance`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingHeaders(_) => "missing_headers",
            Self::MalformedTimestamp | Self::NoMatchingSignature => "invalid_signature",
            Self::TimestampTooOld { .. } | Self::TimestampTooNew { .. } => "timestamp_out_of_tolerance",
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeaders(names) => write!(f, "missing headers: `{}`", names.join("`, `")),
            Self::MalformedTimestamp => f.write_str("the timestamp is not a number of seconds"),
            Self::TimestampTooOld { age_secs } => write!(f, "signed {age_secs} s ago, which is too long"),
            Self::TimestampTooNew { ahead_secs } => {
                write!(f, "signed {ahead_secs} s ahead of our clock, which is too far")
            }
            Self::NoMatchingSignature => f.write_str("no signature fits the body and any configured secret"),
        }
    }
}

impl std::error::Error for VerifyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_ignore_case_and_join_what_was_sent_twice() {
        let headers =
            Headers::new([("Svix-Id", "a"), ("svix-signature", "v1,x"), ("SVIX-SIGNATURE", "v1,y"), ("empty", "")]);
        assert_eq!(headers.value("svix-id").as_deref(), Some("a"));
        assert_eq!(headers.value("svix-signature").as_deref(), Some("v1,x, v1,y"));
        assert_eq!(headers.value("empty"), None);
        assert_eq!(headers.value("other"), None);
    }
}
