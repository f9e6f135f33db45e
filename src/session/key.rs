//! The public keys that session tokens are checked with: a PEM text, or the entries of a key set.

use std::fmt;

use crate::json::{self, Fields, Unreadable};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// DER of the object identifier rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017).
const RSA_ENCRYPTION: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// An RSA public key as the DER of a SubjectPublicKeyInfo (RFC 5280), which is what WebCrypto imports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JwtKey {
    spki: Vec<u8>,
}

impl JwtKey {
    /// The DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

/// Reads a PEM `PUBLIC KEY`. Its newlines may be real, escaped (`\n`) or lost; its frame may be lost as well.
///
/// # Errors
/// [`PemError`], which says what is wrong without repeating the text.
pub fn parse_pem(text: &str) -> Result<JwtKey, PemError> {
    let text = text.replace("\\r", "").replace("\\n", "\n");
    if text.contains("PRIVATE KEY") {
        return Err(PemError::Private);
    }
    if text.contains("BEGIN RSA PUBLIC KEY") {
        return Err(PemError::Pkcs1);
    }
    let body = match text.split_once("-----BEGIN PUBLIC KEY-----") {
        Some((_, rest)) => rest.split_once("-----END PUBLIC KEY-----").ok_or(PemError::NotPem)?.0,
        None => text.as_str(),
    };
    let encoded: String = body.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
    let spki = BASE64.decode(encoded).map_err(|_| PemError::NotPem)?;
    let is_rsa =
        spki.first() == Some(&0x30) && spki.windows(RSA_ENCRYPTION.len()).any(|window| window == RSA_ENCRYPTION);
    if is_rsa { Ok(JwtKey { spki }) } else { Err(PemError::NotRsa) }
}

/// Why a text is no public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PemError {
    /// Not PEM.
    NotPem,
    /// A private key: it must not be here at all.
    Private,
    /// The older form, which WebCrypto does not import.
    Pkcs1,
    /// A key of another kind.
    NotRsa,
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => "is not a PEM public key (`-----BEGIN PUBLIC KEY-----` …)",
            Self::Private => "is a private key; the public one belongs here",
            Self::Pkcs1 => "is a PKCS #1 key (`RSA PUBLIC KEY`); the form `PUBLIC KEY` is needed",
            Self::NotRsa => "is not an RSA public key",
        })
    }
}

impl std::error::Error for PemError {}

/// One RSA key of a key set (RFC 7517).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwk {
    /// Its name.
    pub kid: String,
    /// The modulus, base64url.
    pub n: String,
    /// The exponent, base64url.
    pub e: String,
}

/// Reads a key set. Keys that are not RSA, not for signatures or without a name are passed over: Clerk's schema allows
/// others beside ours.
///
/// # Errors
/// [`UnreadableKeySet`] when it is not a key set.
pub fn parse_jwks(body: &[u8]) -> Result<Vec<Jwk>, UnreadableKeySet> {
    read_jwks(body).map_err(|_| UnreadableKeySet)
}

fn read_jwks(body: &[u8]) -> Result<Vec<Jwk>, Unreadable> {
    let json = json::parse(body)?;
    let keys = Fields::of(&json)?.need("keys", |fields, name| fields.objects(name, usable_key))?;
    Ok(keys.into_iter().flatten().collect())
}

fn usable_key(fields: Fields<'_>) -> Result<Option<Jwk>, Unreadable> {
    let is = |name, wanted: &str| Ok(fields.text(name)?.map(|text| text == wanted));
    let fits =
        is("kty", "RSA")? == Some(true) && is("alg", "RS256")? != Some(false) && is("use", "sig")? != Some(false);
    let key = (fields.text("kid")?, fields.text("n")?, fields.text("e")?);
    Ok(match key {
        (Some(kid), Some(n), Some(e)) if fits => Some(Jwk { kid, n, e }),
        _ => None,
    })
}

/// What was fetched is not a key set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnreadableKeySet;

impl fmt::Display for UnreadableKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is not a JSON Web Key Set")
    }
}

impl std::error::Error for UnreadableKeySet {}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = include_str!("../../tests/data/session/public.pem");

    #[test]
    fn a_pem_whose_newlines_were_lost_or_escaped_still_works() {
        let expected = parse_pem(PEM).unwrap();
        let lost = PEM.replace('\n', "");
        let cases = [
            PEM.replace('\n', "\\n"),
            PEM.replace('\n', "\r\n"),
            PEM.replace('\n', "\\r\\n"),
            PEM.replace('\n', " "),
            format!("\"{}\"", PEM.replace('\n', "\\n")),
            lost.replace("-----BEGIN PUBLIC KEY-----", "").replace("-----END PUBLIC KEY-----", ""),
            lost,
        ];
        for text in cases {
            assert_eq!(parse_pem(&text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn other_keys_are_refused_by_name() {
        let cases = [
            ("", PemError::NotRsa),
            ("hello!", PemError::NotPem),
            ("-----BEGIN PUBLIC KEY-----\nAAAA", PemError::NotPem),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", PemError::Private),
            ("-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----", PemError::Pkcs1),
            // P-256.
            (
                "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==",
                PemError::NotRsa,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_pem(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn of_a_key_set_only_rsa_signature_keys_are_taken() {
        let set = br#"{"keys":[
            {"kid":"a","kty":"RSA","alg":"RS256","use":"sig","n":"AQ","e":"AQAB"},
            {"kid":"b","kty":"EC","crv":"P-256","x":"AQ","y":"AQ"},
            {"kid":"c","kty":"RSA","use":"enc","n":"AQ","e":"AQAB"},
            {"kid":"d","kty":"RSA","alg":"RS512","n":"AQ","e":"AQAB"},
            {"kty":"RSA","n":"AQ","e":"AQAB"},
            {"kid":"e","kty":"RSA","n":"AQ","e":"AQAB","x5c":["AQ"]}
        ]}"#;
        let kids: Vec<_> = parse_jwks(set).unwrap().into_iter().map(|key| key.kid).collect();
        assert_eq!(kids, ["a", "e"]);
        assert_eq!(parse_jwks(b"<html>"), Err(UnreadableKeySet));
    }
}
