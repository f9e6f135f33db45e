//! Who asks: a person's session, or a server with a key.

use super::Edge;
use super::response::Failure;
use super::{isolate, keys, limits};
use crate::payer::Payer;
use crate::question::{Asked, QuestionError};
use crate::session::cookies;
use crate::session::{Session, TokenError, UnverifiedToken};
use crate::settings::{ApiKey, is_machine_key, is_token};

/// A verified caller.
pub(super) enum Caller {
    /// A server: it says itself for whom it asks.
    Server,
    /// A person.
    Session(Session),
}

impl Caller {
    /// Verifies who asks.
    ///
    /// 1. `Authorization: Bearer <session token>`, or the bare token: the session.
    /// 2. `Authorization: Bearer <one of API_KEYS>`: a server.
    /// 3. The session cookie that counts, unless it is from before the last sign-in.
    ///
    /// Whoever it is must not have asked too often.
    pub(super) async fn of(edge: &Edge<'_>) -> Result<Self, Failure> {
        let caller = Self::verified(edge).await?;
        limits::count(edge, &|| limits::key_of(edge, &caller)).await?;
        Ok(caller)
    }

    async fn verified(edge: &Edge<'_>) -> Result<Self, Failure> {
        if let Some(presented) = edge.request.header("authorization").as_deref().and_then(bearer) {
            return if is_token(presented) {
                // 1.
                session(edge, presented).await.map(Self::Session)
            } else {
                // 2.
                server(edge, presented)
            };
        }
        // 3.
        let header = edge.request.header("cookie").unwrap_or_default();
        let cookie = cookies::choose(&header, edge.settings.publishable_key.as_ref(), edge.now);
        let cookie = cookie.ok_or(TokenError::Missing)?;
        let session = session(edge, cookie.token).await?;
        cookie.check_sign_in(&session)?;
        Ok(Self::Session(session))
    }

    /// Verifies a server, where nobody else may ask.
    pub(super) fn server_of(edge: &Edge<'_>) -> Result<Self, Failure> {
        let header = edge.request.header("authorization");
        match header.as_deref().and_then(bearer) {
            Some(presented) if !is_token(presented) => server(edge, presented),
            _ => Err(Failure::ServerKeyRequired),
        }
    }

    /// The payers that the question is about: the user before the organization.
    pub(super) fn payers(self, asked: &Asked) -> Result<Vec<Payer>, QuestionError> {
        let named: Vec<Payer> = asked.user.iter().chain(&asked.org).cloned().collect();
        match self {
            Self::Server if named.is_empty() => Err(QuestionError::NoPayer),
            Self::Server => Ok(named),
            Self::Session(_) if !named.is_empty() => Err(QuestionError::PayerOfSession),
            Self::Session(session) => Ok(std::iter::once(session.user).chain(session.org).collect()),
        }
    }
}

/// The credential of an `Authorization` header; of another scheme there is none. As in Clerk's SDK the scheme is
/// case-sensitive, and a value without one is taken as it is.
fn bearer(header: &str) -> Option<&str> {
    match header.split_once(' ') {
        Some(("Bearer", credential)) => Some(credential.trim()),
        Some(_) => None,
        None => Some(header),
    }
}

/// Which of the operator's keys the request bears, if any: the server's in their order, then that of operators.
pub(super) fn number_of_key(edge: &Edge<'_>) -> Option<usize> {
    let header = edge.request.header("authorization")?;
    let presented = header.split_once(' ').map_or(header.as_str(), |(_, credential)| credential).trim();
    edge.settings.api_keys.iter().chain(&edge.settings.admin_tokens).position(|key| key.fits(presented))
}

fn server(edge: &Edge<'_>, presented: &str) -> Result<Caller, Failure> {
    if is_machine_key(presented) {
        return Err(TokenError::NotASessionToken.into());
    }
    if ApiKey::any_fits(&edge.settings.api_keys, presented) {
        Ok(Caller::Server)
    } else {
        Err(Failure::UnknownApiKey { any_set: !edge.settings.is_missing("API_KEYS") })
    }
}

async fn session(edge: &Edge<'_>, text: &str) -> Result<Session, Failure> {
    if let Some(known) = isolate::session(text, edge.now) {
        return Ok(known?);
    }
    let Some(source) = &edge.settings.session_keys else {
        return Err(Failure::AuthNotConfigured { complaint: edge.settings.complaint().unwrap_or_default() });
    };
    let token = UnverifiedToken::parse(text)?;
    let fits = keys::signature_fits(&token, source, edge).await?;
    let session = token.judge(fits, &edge.settings.session, edge.now)?;
    isolate::remember_session(text, &session);
    Ok(session)
}
