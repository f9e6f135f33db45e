//! Clerk session tokens: who is asking.
//!
//! A token is read here and judged here; only the RSA check between the two is left to the caller, because at the edge
//! WebCrypto does it fifteen times faster. RS256 and nothing else: an `alg` is a claim of whoever wrote the token.
//!
//! Source: clerk/javascript `packages/backend/src/tokens/verify.ts`, `jwt/verifyJwt.ts`, `jwt/assertions.ts`. Stricter
//! than those: `iss` is checked, pending sessions and every token that is not a session's are refused.

pub mod cookies;
pub mod key;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{self, Fields, Unreadable};
use crate::payer::{Payer, PayerKind};
use crate::time::Timestamp;

/// How far the issuer's clock may be from ours.
const SKEW_MS: i64 = 5_000;
/// Session tokens have about 1 kB and must fit into a cookie of 4 kB; this is twice that.
const MAX_TOKEN_BYTES: usize = 8_192;
/// `cat` of a session token, and of a token that says nothing of its class.
const SESSION_CLASSES: [&str; 2] = ["cl_B7d4PD111AAA", "cl_I7d4PD111III"];

/// What a token must say beyond being signed.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SessionPolicy {
    /// The `iss`, when it is known.
    pub issuer: Option<String>,
    /// The accepted `azp`; none means any. With some, a token without `azp` is refused.
    pub authorized_parties: Vec<String>,
}

/// A token whose signature nobody has checked yet.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    kid: Option<String>,
    claims: Claims,
}

/// Who is asking: from a token that was signed, in time, and a session's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The user.
    pub user: Payer,
    /// The organization active in the session.
    pub org: Option<Payer>,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
}

struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    cat: Option<String>,
}

#[derive(Debug)]
struct Claims {
    sub: Option<String>,
    iss: Option<String>,
    azp: Option<String>,
    sts: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    /// Version 1.
    org_id: Option<String>,
    /// Version 2, only with an active organization.
    o: Option<String>,
}

impl Header {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            alg: fields.need("alg", Fields::text)?,
            typ: fields.text("typ")?,
            kid: fields.text("kid")?,
            cat: fields.text("cat")?,
        })
    }
}

impl Claims {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            sub: fields.text("sub")?,
            iss: fields.text("iss")?,
            azp: fields.text("azp")?,
            sts: fields.text("sts")?,
            exp: fields.number("exp")?,
            nbf: fields.number("nbf")?,
            iat: fields.number("iat")?,
            org_id: fields.text("org_id")?,
            o: fields.object("o")?.map(|org| org.need("id", Fields::text)).transpose()?,
        })
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Reads a token.
    ///
    /// 1. Three parts of base64url, the first two JSON ([`TokenError::Malformed`]).
    /// 2. Of the class of session tokens ([`TokenError::NotASessionToken`]).
    /// 3. `alg` is RS256 ([`TokenError::Algorithm`]).
    ///
    /// # Errors
    /// The first of these that fails.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        // 1.
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header = json_part(header, Header::read)?;
        let claims = json_part(claims, Claims::read)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;

        // 2.
        let is_session_class = header.cat.as_deref().is_none_or(|class| SESSION_CLASSES.contains(&class));
        let is_jwt = header.typ.as_deref().is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if !is_session_class || !is_jwt {
            return Err(TokenError::NotASessionToken);
        }

        // 3.
        if header.alg != "RS256" {
            return Err(TokenError::Algorithm);
        }
        Ok(Self { signed, signature, kid: header.kid, claims })
    }

    /// The bytes that the signature is over.
    #[must_use]
    pub fn signed_bytes(&self) -> &'a [u8] {
        self.signed.as_bytes()
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Which key it says it was signed with.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Judges the token, once the caller knows whether its signature fits the issuer's key.
    ///
    /// 1. The signature fits ([`TokenError::Signature`]).
    /// 2. `sub` is a user ([`TokenError::Malformed`], [`TokenError::NotASessionToken`]).
    /// 3. `iss` and `azp` are ours ([`TokenError::Issuer`], [`TokenError::AuthorizedParty`]).
    /// 4. `exp`, `nbf` and `iat` fit the time ([`TokenError::Expired`], [`TokenError::NotActiveYet`],
    ///    [`TokenError::IssuedInTheFuture`]).
    /// 5. The session is not pending ([`TokenError::Pending`]).
    ///
    /// # Errors
    /// The first of these that fails.
    pub fn judge(self, signature_fits: bool, policy: &SessionPolicy, now: Timestamp) -> Result<Session, TokenError> {
        // 1.
        if !signature_fits {
            return Err(TokenError::Signature);
        }

        // 2. Machine tokens are signed with the same key.
        let sub = self.claims.sub.ok_or(TokenError::Malformed)?;
        if sub.starts_with("mch_") {
            return Err(TokenError::NotASessionToken);
        }
        let user = Payer::new(PayerKind::User, sub).ok_or(TokenError::Malformed)?;

        // 3.
        if policy.issuer.is_some() && self.claims.iss != policy.issuer {
            return Err(TokenError::Issuer);
        }
        if !policy.authorized_parties.is_empty()
            && !self.claims.azp.is_some_and(|azp| policy.authorized_parties.contains(&azp))
        {
            return Err(TokenError::AuthorizedParty);
        }

        // 4.
        let session = Session {
            user,
            org: active_org(self.claims.o, self.claims.org_id)?,
            issued_at: self.claims.iat.map(seconds),
            not_before: self.claims.nbf.map(seconds),
            expires_at: seconds(self.claims.exp.ok_or(TokenError::Malformed)?),
        };
        session.check_time(now)?;

        // 5.
        if self.claims.sts.as_deref() == Some("pending") {
            return Err(TokenError::Pending);
        }
        Ok(session)
    }
}

impl Session {
    /// Whether the token may be used at `now`: for one that was judged before and is presented again.
    ///
    /// # Errors
    /// [`TokenError::Expired`], [`TokenError::NotActiveYet`], [`TokenError::IssuedInTheFuture`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TokenError> {
        if self.expires_at <= now.plus_millis(-SKEW_MS) {
            return Err(TokenError::Expired);
        }
        let latest = now.plus_millis(SKEW_MS);
        if self.not_before.is_some_and(|not_before| not_before > latest) {
            return Err(TokenError::NotActiveYet);
        }
        if self.issued_at.is_some_and(|issued_at| issued_at > latest) {
            return Err(TokenError::IssuedInTheFuture);
        }
        Ok(())
    }

    /// When the token was issued.
    #[must_use]
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }
}

fn json_part<T>(part: &str, read: fn(Fields<'_>) -> Result<T, Unreadable>) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    let json = json::parse(&bytes).map_err(|_| TokenError::Malformed)?;
    Fields::of(&json).and_then(read).map_err(|_| TokenError::Malformed)
}

/// A moment from a claim in seconds, which may have a fraction.
#[allow(clippy::cast_possible_truncation, reason = "`as` saturates, and a fraction of a millisecond does not matter")]
fn seconds(claim: f64) -> Timestamp {
    Timestamp::from_millis((claim * 1000.0) as i64)
}

fn active_org(v2: Option<String>, v1: Option<String>) -> Result<Option<Payer>, TokenError> {
    let id = v2.or(v1).filter(|id| !id.is_empty());
    id.map(|id| Payer::new(PayerKind::Org, id).ok_or(TokenError::Malformed)).transpose()
}

/// Why a token does not say who is asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// There is none.
    Missing,
    /// Not a token, or one without what every session token has.
    Malformed,
    /// A machine's, a template's or an OAuth token.
    NotASessionToken,
    /// Signed in another way than RS256.
    Algorithm,
    /// Signed with a key that the issuer does not have.
    UnknownKey,
    /// The signature does not fit.
    Signature,
    /// From another instance.
    Issuer,
    /// For another front end.
    AuthorizedParty,
    /// Too old.
    Expired,
    /// `nbf` is still to come.
    NotActiveYet,
    /// `iat` is still to come.
    IssuedInTheFuture,
    /// The session has tasks left, such as choosing an organization.
    Pending,
    /// A cookie from before the last sign-in, or from after a sign-out.
    SignedOut,
}

impl TokenError {
    /// The code the caller sees: Clerk's own reasons where there is one.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "session_token_missing",
            Self::Malformed => "token_invalid",
            Self::NotASessionToken => "token_type_mismatch",
            Self::Algorithm => "token_invalid_algorithm",
            Self::UnknownKey => "jwk_kid_mismatch",
            Self::Signature => "token_invalid_signature",
            Self::Issuer => "token_invalid_issuer",
            Self::AuthorizedParty => "token_invalid_authorized_parties",
            Self::Expired => "token_expired",
            Self::NotActiveYet => "token_not_active_yet",
            Self::IssuedInTheFuture => "token_iat_in_the_future",
            Self::Pending => "session_pending",
            Self::SignedOut => "session_token_iat_before_client_uat",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is neither a bearer token nor a session cookie",
            Self::Malformed => "the token is not a session token",
            Self::NotASessionToken => "the token is not a session's but a machine's or a template's",
            Self::Algorithm => "the token is not signed with RS256",
            Self::UnknownKey => "the token names a key that the issuer does not have",
            Self::Signature => "the token's signature does not fit",
            Self::Issuer => "the token is from another Clerk instance",
            Self::AuthorizedParty => "the token was made for a front end that is not in AUTHORIZED_PARTIES",
            Self::Expired => "the token has expired",
            Self::NotActiveYet => "the token may not be used yet",
            Self::IssuedInTheFuture => "the token was issued in the future",
            Self::Pending => "the session is pending: the user has a task left to do",
            Self::SignedOut => "the session cookie is from before the last sign-in or sign-out",
        })
    }
}

impl std::error::Error for TokenError {}
