//! HMAC-SHA256 as lower-case hex, with the signed time in the same header: the way of Stripe, Paddle and RevenueCat; and
//! without a time, that of Lemon Squeezy. Upper case is refused, as their own libraries do.

use subtle::{Choice, ConstantTimeEq as _};

use crate::delivery::VerifyError;
use crate::secret::{MAC_BYTES, Secret};
use crate::time::Timestamp;

/// A header of fields such as `t=…,v1=…`, taken apart.
#[derive(Debug)]
pub struct TimedHeader<'a> {
    time: Option<&'a str>,
    signatures: Vec<&'a str>,
}

impl<'a> TimedHeader<'a> {
    /// Takes the header apart at `separator`. Fields that are neither the time nor a signature are of other versions of the
    /// scheme and count for nothing; of two times the last counts, as in the providers' libraries.
    #[must_use]
    pub fn parse(header: &'a str, separator: char, time: &str, signature: &str) -> Self {
        let mut parsed = Self { time: None, signatures: Vec::new() };
        for field in header.split(separator) {
            match field.split_once('=') {
                Some((name, value)) if name == time => parsed.time = Some(value),
                Some((name, value)) if name == signature => parsed.signatures.push(value),
                _ => {}
            }
        }
        parsed
    }

    /// Checks the signatures over the time, `joint` and the body, and then the time. Any signature may fit any secret. The
    /// time of the signature comes back.
    ///
    /// # Errors
    /// [`VerifyError`]. A signature that does not fit is named before a time that is off: who does not know the secret
    /// learns nothing about our clock.
    pub fn verify(
        &self,
        joint: &[u8],
        body: &[u8],
        secrets: &[Secret],
        tolerance_secs: u32,
        now: Timestamp,
    ) -> Result<Timestamp, VerifyError> {
        let text = self.time.ok_or(VerifyError::MalformedTimestamp)?;
        let signed_at = parse_secs(text).ok_or(VerifyError::MalformedTimestamp)?;
        let content: [&[u8]; 3] = [text.as_bytes(), joint, body];
        if !one_fits(&self.signatures, &content, secrets) {
            return Err(VerifyError::NoMatchingSignature);
        }
        check_time(signed_at, tolerance_secs, now)?;
        Ok(Timestamp::from_secs(signed_at))
    }
}

/// Whether the signature, as hex, is that of the content with any of the secrets.
#[must_use]
pub fn any_fits(signature: &str, content: &[&[u8]], secrets: &[Secret]) -> bool {
    one_fits(&[signature], content, secrets)
}

/// Whether one of the signatures is that of the content with one of the secrets. There is one MAC for each secret, however
/// many signatures a header holds: anybody can send thousands of them over a body of half a megabyte. Every pair is compared,
/// so that the time taken does not tell which one was close.
fn one_fits(signatures: &[&str], content: &[&[u8]], secrets: &[Secret]) -> bool {
    let mut fits = Choice::from(0);
    for secret in secrets {
        let expected = secret.mac(content);
        for presented in signatures.iter().filter_map(|signature| decode(signature)) {
            fits |= expected.ct_eq(&presented);
        }
    }
    fits.into()
}

/// The signature of the content, as hex.
#[must_use]
pub fn sign(secret: &Secret, content: &[&[u8]]) -> String {
    hex(&secret.mac(content))
}

/// Bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

fn decode(text: &str) -> Option<[u8; MAC_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != MAC_BYTES.saturating_mul(2) {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let mut decoded = [0; MAC_BYTES];
    for (byte, pair) in decoded.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(decoded)
}

/// One to twelve digits and nothing else: no sign, no space, no fraction.
fn parse_secs(text: &str) -> Option<i64> {
    let is_number = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn check_time(signed_at: i64, tolerance_secs: u32, now: Timestamp) -> Result<(), VerifyError> {
    let age_secs = now.as_secs().saturating_sub(signed_at);
    let tolerance = i64::from(tolerance_secs);
    if age_secs > tolerance {
        return Err(VerifyError::TimestampTooOld { age_secs });
    }
    if age_secs < tolerance.saturating_neg() {
        return Err(VerifyError::TimestampTooNew { ahead_secs: age_secs.saturating_neg() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::macs_made;

    fn secret() -> Secret {
        Secret::new(b"VALID_SECRET").unwrap()
    }

    #[test]
    fn paddles_own_vector_verifies_and_only_as_it_is() {
        // From the tests of @paddle/paddle-node-sdk.
        let (ts, body) = ("1698796800", r#"{"data": ["1", "2"]}"#.as_bytes());
        let signature = "a300428748dce5c70e4da19bffd60769591ea969c99dea3105d0ec9612cf43f9";
        let content: [&[u8]; 3] = [ts.as_bytes(), b":", body];
        assert_eq!(sign(&secret(), &content), signature);
        assert!(any_fits(signature, &content, &[Secret::new(b"other").unwrap(), secret()]));
        for wrong in [
            signature.trim_start_matches('a'),
            &signature.to_uppercase(),
            "",
            &format!("{signature}0"),
            &signature.replace('a', "g"),
        ] {
            assert!(!any_fits(wrong, &content, &[secret()]), "{wrong}");
        }
    }

    #[test]
    fn times_are_bounded_on_both_sides_and_named_only_to_who_knows_the_secret() {
        let now = Timestamp::from_secs(1_000_000);
        let header = |at: &str, signed: &str| {
            let signature = sign(&secret(), &[signed.as_bytes(), b".", b"{}"]);
            format!("t={at},v0=junk,v1=bad,v1={signature}")
        };
        let check = |text: &str| TimedHeader::parse(text, ',', "t", "v1").verify(b".", b"{}", &[secret()], 300, now);
        let at = |secs: i64| check(&header(&secs.to_string(), &secs.to_string()));
        assert_eq!(at(1_000_000), Ok(now));
        assert_eq!(at(999_700), Ok(Timestamp::from_secs(999_700)));
        assert_eq!(at(1_000_300), Ok(Timestamp::from_secs(1_000_300)));
        assert_eq!(at(999_699), Err(VerifyError::TimestampTooOld { age_secs: 301 }));
        assert_eq!(at(1_000_301), Err(VerifyError::TimestampTooNew { ahead_secs: 301 }));
        assert_eq!(check(&header("1000000", "1000001")), Err(VerifyError::NoMatchingSignature));
        assert_eq!(check("t=1"), Err(VerifyError::NoMatchingSignature), "not: too old");
        for malformed in
            ["", "v1=x", "t=,v1=x", "t=-1,v1=x", "t=1e6,v1=x", "t= 1,v1=x", "t=1234567890123,v1=x", "free text"]
        {
            assert_eq!(check(malformed), Err(VerifyError::MalformedTimestamp), "{malformed}");
        }
    }

    #[test]
    fn a_header_full_of_signatures_costs_one_mac_for_each_secret() {
        let (now, junk) = (Timestamp::from_secs(1_000_000), "00".repeat(MAC_BYTES));
        let secrets = [Secret::new(b"other").unwrap(), secret()];
        let right = sign(&secret(), &[b"1000000", b".", b"{}"]);
        for (last, expected) in [(&right, Ok(now)), (&junk, Err(VerifyError::NoMatchingSignature))] {
            let header = format!("t=1000000{},v1={last}", format!(",v1={junk}").repeat(1_000));
            let before = macs_made();
            assert_eq!(TimedHeader::parse(&header, ',', "t", "v1").verify(b".", b"{}", &secrets, 300, now), expected);
            assert_eq!(macs_made() - before, secrets.len());
        }
    }

    #[test]
    fn a_header_value_is_itself_alone() {
        let value = Secret::header("Bearer abc").unwrap();
        assert!(value.is("Bearer abc"));
        for other in ["", "Bearer ab", "Bearer abd", "bearer abc", "Bearer abc "] {
            assert!(!value.is(other), "{other}");
        }
    }
}
