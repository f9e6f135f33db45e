//! Clerk's publishable key: it names the instance's frontend API, and with it the issuer and the cookies.
//!
//! Source: clerk/javascript `packages/shared/src/keys.ts`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use sha1::{Digest, Sha1};

/// Keys are usually written without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many characters of the key's digest a cookie's name ends in.
const SUFFIX_CHARS: usize = 8;

/// A publishable key, `pk_test_…` or `pk_live_…`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishableKey {
    frontend_api: String,
    production: bool,
    cookie_suffix: String,
}

impl PublishableKey {
    /// Reads a key: three parts parted by `_`, the last one base64 of a host and one final `$`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('_');
        let (Some("pk"), Some(environment), Some(encoded), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let production = match environment {
            "live" => true,
            "test" => false,
            _ => return None,
        };
        let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
        let host = decoded.strip_suffix('$')?;
        let is_host =
            host.contains('.') && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
        let digest = URL_SAFE_NO_PAD.encode(Sha1::digest(text.as_bytes()));
        is_host.then(|| Self {
            frontend_api: host.to_owned(),
            production,
            cookie_suffix: digest.chars().take(SUFFIX_CHARS).collect(),
        })
    }

    /// The host of the frontend API.
    #[must_use]
    pub fn frontend_api(&self) -> &str {
        &self.frontend_api
    }

    /// The `iss` of the instance's tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("https://{}", self.frontend_api)
    }

    /// Whether it is of a production instance.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.production
    }

    /// What the names of the instance's cookies end in.
    #[must_use]
    pub fn cookie_suffix(&self) -> &str {
        &self.cookie_suffix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_instance_and_their_cookies() {
        let cases = [
            ("pk_test_Y2xlcmsuY2xlcmsuZGV2JA", "clerk.clerk.dev", false, "QvfNY2dr"),
            ("pk_live_Y2xlcmsuZWRnZXBsYW4uZXhhbXBsZSQ", "clerk.edgeplan.example", true, "SpkL3CGm"),
            (
                "pk_test_c3Vubnktb3R0ZXItNDIuY2xlcmsuYWNjb3VudHMuZGV2JA",
                "sunny-otter-42.clerk.accounts.dev",
                false,
                "GN2xZf6R",
            ),
        ];
        for (text, host, production, suffix) in cases {
            let key = PublishableKey::parse(text).unwrap();
            assert_eq!((key.frontend_api(), key.is_production(), key.cookie_suffix()), (host, production, suffix));
        }
    }

    #[test]
    fn other_texts_are_no_keys() {
        // The payloads decode to: no `$`; two `$`; no dot; a path.
        for text in [
            "",
            "pk_test_",
            "sk_test_Y2xlcmsuY2xlcmsuZGV2JA",
            "pk_prod_Y2xlcmsuY2xlcmsuZGV2JA",
            "pk_test_Y2xlcmsuY2xlcmsuZGV2JA_x",
            "pk_test_Y2xlcmsuY2xlcmsuZGV2",
            "pk_test_Y2xlcmsuZGV2JCQ",
            "pk_test_Y2xlcmsk",
            "pk_test_YS5iL2Mk",
        ] {
            assert_eq!(PublishableKey::parse(text), None, "{text}");
        }
    }
}
