//! Times as they are given on the command line.

use plangate::time::Timestamp;

/// Reads RFC 3339, or a number of seconds (or milliseconds, from 100,000,000,000 on) since the Unix epoch.
///
/// # Errors
/// A text for clap to show.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let number = text.parse().ok().and_then(Timestamp::from_provider);
    number
        .or_else(|| Timestamp::parse_rfc3339(text))
        .ok_or_else(|| "neither RFC 3339 (`2026-12-01T00:00:00Z`) nor a Unix time in seconds (`1796083200`)".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_a_unix_time() {
        let expected = Ok(Timestamp::from_secs(1_796_083_200));
        for text in ["2026-12-01T00:00:00Z", "2026-12-01T01:00:00+01:00", "1796083200", "1796083200000"] {
            assert_eq!(parse(text), expected, "{text}");
        }
        for text in ["", "0", "-1", "tomorrow", "2026-12-01"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
