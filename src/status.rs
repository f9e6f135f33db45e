//! The status of a record, in the normal form that all providers are read into.

use std::fmt;

/// A record's status. A status nobody has taught us is kept as its text and grants nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// Paid, or free by plan.
    Active,
    /// Will end at the end of the period that was paid for.
    Canceled,
    /// Over. Also a provider's `abandoned` (an upcoming item that was superseded) and `expired`.
    Ended,
    /// Checkout begun, payment not done.
    Incomplete,
    /// A recurring charge failed.
    PastDue,
    /// Collection is paused.
    Paused,
    /// Active in a trial.
    Trialing,
    /// The provider stopped trying to charge.
    Unpaid,
    /// Scheduled to start later.
    Upcoming,
    /// Anything else, as sent.
    Unrecognized(Box<str>),
}

impl Status {
    /// Reads a status as providers write it. Both spellings of `canceled` and of `past_due` are in the wild.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "active" => Self::Active,
            "canceled" | "cancelled" => Self::Canceled,
            "ended" | "abandoned" | "expired" => Self::Ended,
            "incomplete" => Self::Incomplete,
            "past_due" | "pastDue" => Self::PastDue,
            "paused" => Self::Paused,
            "trialing" => Self::Trialing,
            "unpaid" => Self::Unpaid,
            "upcoming" => Self::Upcoming,
            other => Self::Unrecognized(other.into()),
        }
    }

    /// The normal form as text, as it is stored and answered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "active",
            Self::Canceled => "canceled",
            Self::Ended => "ended",
            Self::Incomplete => "incomplete",
            Self::PastDue => "past_due",
            Self::Paused => "paused",
            Self::Trialing => "trialing",
            Self::Unpaid => "unpaid",
            Self::Upcoming => "upcoming",
            Self::Unrecognized(text) => text,
        }
    }

    /// How far along its life a record in this status is, from 1 to 9. Of two versions of one record with the same
    /// times the one further along wins, so that an end is never lost to a tie.
    #[must_use]
    pub fn progress(&self) -> u8 {
        match self {
            Self::Unrecognized(_) => 1,
            Self::Incomplete => 2,
            Self::Upcoming => 3,
            Self::Trialing => 4,
            Self::Active => 5,
            Self::PastDue | Self::Paused => 6,
            Self::Unpaid => 7,
            Self::Canceled => 8,
            Self::Ended => 9,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_spelling_and_written_in_one() {
        let cases = [
            ("active", "active"),
            ("canceled", "canceled"),
            ("cancelled", "canceled"),
            ("ended", "ended"),
            ("abandoned", "ended"),
            ("expired", "ended"),
            ("incomplete", "incomplete"),
            ("past_due", "past_due"),
            ("pastDue", "past_due"),
            ("paused", "paused"),
            ("trialing", "trialing"),
            ("unpaid", "unpaid"),
            ("upcoming", "upcoming"),
            ("hibernating", "hibernating"),
            ("Active", "Active"),
        ];
        for (sent, stored) in cases {
            let status = Status::parse(sent);
            assert_eq!(status.as_str(), stored);
            assert_eq!(Status::parse(stored), status, "{sent} must survive being stored");
        }
    }
}
