//! Endpoint keys. A secret never shows itself: not in `Debug`, not in an error.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// HMAC-SHA256 has 32 bytes.
pub(crate) const MAC_BYTES: usize = 32;

/// The key a provider signs its deliveries with, prepared for HMAC-SHA256.
#[derive(Clone)]
pub struct Secret {
    mac: Hmac<Sha256>,
    /// Where one text may stand for two keys, the other one.
    other: Option<Box<Secret>>,
    /// The text of a header, which is sent as it is; a key is never wanted back.
    header: Option<Box<str>>,
}

/// What a secret is for, where a provider has several kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The body is signed with it.
    Signing,
    /// It is the value of a header itself.
    Header,
}

impl Secret {
    /// A key from its bytes.
    ///
    /// # Errors
    /// [`SecretError::Empty`] when there are none: anybody can sign with an empty key.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        // HMAC takes a key of any length; its constructor is fallible only because other MACs are pickier.
        let mac = Hmac::new_from_slice(bytes).map_err(|_| SecretError::Empty)?;
        Ok(Self { mac, header: None, other: None })
    }

    /// The value of a header.
    ///
    /// # Errors
    /// [`SecretError::Empty`] when there is none.
    pub fn header(text: &str) -> Result<Self, SecretError> {
        Ok(Self { header: Some(text.into()), ..Self::new(text.as_bytes())? })
    }

    /// This key or the other one: what is signed with either fits.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { other: Some(Box::new(other)), ..self }
    }

    /// The keys that may have been signed with; one signs with the first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.other.as_deref())
    }

    /// What it is for.
    #[must_use]
    pub fn use_(&self) -> Use {
        if self.header.is_some() { Use::Header } else { Use::Signing }
    }

    /// The value of the header, where that is what it is: for those who send it.
    #[must_use]
    pub fn header_value(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// Whether this is the text that was presented, in constant time: the two are keys of one MAC, and equal where those
    /// are. (A key and the same followed by NUL make one MAC; no header can hold NUL.)
    #[must_use]
    pub fn is(&self, presented: &str) -> bool {
        let presented = Self::new(presented.as_bytes());
        presented.is_ok_and(|presented| self.mac(&[]).ct_eq(&presented.mac(&[])).into())
    }

    /// The MAC of the parts, one after the other.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        #[cfg(test)]
        MACS.set(MACS.get() + 1);
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
std::thread_local! {
    static MACS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many MACs this thread has made.
#[cfg(test)]
pub(crate) fn macs_made() -> usize {
    MACS.get()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a text is no secret. The text itself is not repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretError {
    /// No bytes of key.
    Empty,
    /// Not base64.
    NotBase64,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "holds no key",
            Self::NotBase64 => "is not base64 after its `whsec_` prefix",
        })
    }
}

impl std::error::Error for SecretError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself_and_is_never_empty() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2").unwrap()), "[redacted]");
        assert_eq!(format!("{:?}", Secret::header("hunter2").unwrap()), "[redacted]");
        assert_eq!(Secret::new(b"").unwrap_err(), SecretError::Empty);
        assert_eq!(Secret::header("").unwrap_err(), SecretError::Empty);
        assert_eq!(SecretError::Empty.to_string(), "holds no key");
        assert_eq!(SecretError::NotBase64.to_string(), "is not base64 after its `whsec_` prefix");
    }

    #[test]
    fn what_a_secret_is_for_is_known() {
        assert_eq!(Secret::new(b"key").unwrap().use_(), Use::Signing);
        assert_eq!(Secret::header("key").unwrap().use_(), Use::Header);
    }
}
