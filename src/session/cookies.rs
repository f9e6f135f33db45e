//! Which session cookie counts.
//!
//! Clerk sets `__session`, and `__session_<suffix>` for an instance's publishable key, so that several instances can
//! live on one host. The choice follows clerk/javascript `packages/backend/src/tokens/authenticateContext.ts`, with one
//! exception: where the rules choose the plain cookie and there is none, the suffixed one is taken. It is verified like
//! any other token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{self, Fields, Unreadable};
use crate::publishable_key::PublishableKey;
use crate::session::{Session, TokenError};
use crate::time::Timestamp;

const SESSION: &str = "__session";
const CLIENT_UAT: &str = "__client_uat";

/// The session cookie that counts, and when its client last signed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionCookie<'a> {
    /// The token. Not verified yet.
    pub token: &'a str,
    client_uat: Option<&'a str>,
}

impl SessionCookie<'_> {
    /// Whether the verified token is from this sign-in. `__client_uat` is the second of the last sign-in, `0` when
    /// signed out; without it there is nothing to compare with.
    ///
    /// # Errors
    /// [`TokenError::SignedOut`].
    pub fn check_sign_in(&self, session: &Session) -> Result<(), TokenError> {
        let Some(signed_in_at) = self.client_uat.and_then(|text| text.parse::<i64>().ok()) else { return Ok(()) };
        let is_from_before = session.issued_at().is_some_and(|issued_at| issued_at.as_secs() < signed_in_at);
        if signed_in_at == 0 || is_from_before { Err(TokenError::SignedOut) } else { Ok(()) }
    }
}

/// Chooses among the cookies of a `Cookie` header.
#[must_use]
pub fn choose<'a>(header: &'a str, key: Option<&PublishableKey>, now: Timestamp) -> Option<SessionCookie<'a>> {
    let cookies = Cookies(header);
    let plain = SessionCookie {
        token: cookies.value(SESSION, "").unwrap_or_default(),
        client_uat: cookies.value(CLIENT_UAT, ""),
    };
    let Some(key) = key else {
        return present(plain).or_else(|| cookies.only_suffixed_session());
    };
    let suffixed = SessionCookie {
        token: cookies.value(SESSION, key.cookie_suffix()).unwrap_or_default(),
        client_uat: cookies.value(CLIENT_UAT, key.cookie_suffix()),
    };
    if is_suffixed_chosen(&plain, &suffixed, key, now) {
        present(suffixed)
    } else {
        present(plain).or(present(suffixed))
    }
}

fn present(cookie: SessionCookie<'_>) -> Option<SessionCookie<'_>> {
    (!cookie.token.is_empty()).then_some(cookie)
}

fn is_suffixed_chosen(
    plain: &SessionCookie<'_>,
    suffixed: &SessionCookie<'_>,
    key: &PublishableKey,
    now: Timestamp,
) -> bool {
    let plain_claims = Peek::at(plain.token);
    let suffixed_claims = Peek::at(suffixed.token);
    if !plain.token.is_empty() {
        let Some(issuer) = plain_claims.iss.as_deref() else { return false };
        let host = issuer.trim_start_matches("https://").trim_start_matches("http://");
        if host != key.frontend_api() {
            return true;
        }
    }
    let is_signed_out = |cookie: &SessionCookie<'_>| cookie.client_uat == Some("0");
    if suffixed.token.is_empty() && suffixed.client_uat.is_none() {
        return false;
    }
    let plain_is_newer = plain_claims.iat.unwrap_or(0) > suffixed_claims.iat.unwrap_or(0);
    if !is_signed_out(suffixed) && !is_signed_out(plain) && plain_is_newer {
        return false;
    }
    if is_signed_out(suffixed) && !is_signed_out(plain) {
        return false;
    }
    let suffixed_has_expired = suffixed_claims.exp.is_some_and(|exp| exp <= now.as_secs());
    if !key.is_production() && !is_signed_out(suffixed) && is_signed_out(plain) && suffixed_has_expired {
        return false;
    }
    suffixed.client_uat.is_some() || suffixed.token.is_empty()
}

/// What a token says, before anybody has verified it: only good for choosing which one to verify.
#[derive(Default)]
struct Peek {
    iss: Option<String>,
    iat: Option<i64>,
    exp: Option<i64>,
}

impl Peek {
    fn at(token: &str) -> Self {
        let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        claims.and_then(|claims| Self::read(&claims).ok()).unwrap_or_default()
    }

    fn read(claims: &[u8]) -> Result<Self, Unreadable> {
        let json = json::parse(claims)?;
        let fields = Fields::of(&json)?;
        Ok(Self { iss: fields.text("iss")?, iat: fields.whole("iat")?, exp: fields.whole("exp")? })
    }
}

struct Cookies<'a>(&'a str);

impl<'a> Cookies<'a> {
    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split(';').filter_map(|pair| pair.trim().split_once('='))
    }

    /// The first cookie of that name that is not empty.
    fn value(&self, name: &str, suffix: &str) -> Option<&'a str> {
        let is_named = |candidate: &str| match candidate.strip_prefix(name) {
            Some("") => suffix.is_empty(),
            Some(rest) => !suffix.is_empty() && rest.strip_prefix('_') == Some(suffix),
            None => false,
        };
        self.pairs().find(|(candidate, value)| is_named(candidate) && !value.is_empty()).map(|(_, value)| value)
    }

    /// Without a publishable key the suffix is unknown; one suffixed session can be taken, of several none.
    fn only_suffixed_session(&self) -> Option<SessionCookie<'a>> {
        let mut suffixed = self.pairs().filter_map(|(name, token)| Some((name.strip_prefix("__session_")?, token)));
        match (suffixed.next(), suffixed.next()) {
            (Some((suffix, token)), None) => {
                present(SessionCookie { token, client_uat: self.value(CLIENT_UAT, suffix) })
            }
            _ => None,
        }
    }
}
