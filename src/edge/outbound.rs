//! Requests that we make: the issuer's keys, and providers' APIs.

use std::fmt;

use js_sys::Object;
use wasm_bindgen::{JsCast, JsValue};

use super::bindings::{FetchedResponse, abort_after, fetch, message, object};
use super::request::read_at_most;
use super::task::settled;
use crate::api::{Api, UnreadableAnswer};
use crate::settings::{ApiAccess, Bearer};

/// How long an answer may take.
const TIMEOUT_MS: f64 = 5_000.0;
/// How long a receiver of changes may take: it may have to start first.
const POST_TIMEOUT_MS: f64 = 10_000.0;
/// The longest answer that is read: a page of a listing has some 100 kB, and an isolate has 128 MB for all its requests.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// How long a provider is left alone that wants to be and does not say how long.
const DEFAULT_RETRY_AFTER_SECS: u32 = 30;
/// The longest that a provider is believed: an hour without a sweep is enough.
const MAX_RETRY_AFTER_SECS: u32 = 3_600;

/// What came back.
pub(super) struct Answered {
    pub(super) status: u16,
    retry_after: Option<String>,
    pub(super) body: String,
}

/// Fetches a text. A redirect is not followed: the key is for the address that was set.
pub(super) async fn get(url: &str, bearer: Option<&Bearer>, headers: &[(&str, &str)]) -> Result<Answered, String> {
    let fetched = async {
        let all = object([("accept", JsValue::from("application/json"))])?;
        let authorization = bearer.map(Bearer::header);
        let with_bearer = authorization.iter().map(|value| ("authorization", value.as_str()));
        for (name, value) in headers.iter().copied().chain(with_bearer) {
            js_sys::Reflect::set(all.unchecked_ref::<Object>(), &name.into(), &value.into())?;
        }
        let options = object([("headers", all), ("redirect", "manual".into()), ("signal", abort_after(TIMEOUT_MS)?)])?;
        let response: FetchedResponse = settled(fetch(url, &options)).await?.unchecked_into();
        let retry_after = response.headers().get("retry-after").ok().flatten();
        let body = read_at_most(response.body(), MAX_BODY_BYTES).await?;
        let body = body.ok_or_else(|| JsValue::from("its answer is longer than 4 MiB"))?;
        // What is no text is unreadable in any case.
        let body = String::from_utf8(body).unwrap_or_default();
        Ok(Answered { status: response.status(), retry_after, body })
    };
    fetched.await.map_err(|thrown| cause(&thrown, url))
}

/// Sends a JSON text; answers the status.
pub(super) async fn post(url: &str, headers: &[(&'static str, String)], body: &str) -> Result<u16, String> {
    let fetched = async {
        let all = object([("content-type", JsValue::from("application/json"))])?;
        for (name, value) in headers {
            js_sys::Reflect::set(all.unchecked_ref::<Object>(), &(*name).into(), &value.into())?;
        }
        let options = object([
            ("method", "POST".into()),
            ("headers", all),
            ("body", body.into()),
            ("redirect", "manual".into()),
            ("signal", abort_after(POST_TIMEOUT_MS)?),
        ])?;
        let response: FetchedResponse = settled(fetch(url, &options)).await?.unchecked_into();
        // A body that is not read holds one of the few connections that a run may have.
        read_at_most(response.body(), MAX_BODY_BYTES).await?;
        Ok(response.status())
    };
    fetched.await.map_err(|thrown| cause(&thrown, url))
}

/// What was thrown, without the address, in which there may be a secret: the runtime quotes one that it cannot use.
fn cause(thrown: &JsValue, url: &str) -> String {
    message(thrown).replace(url, "its address")
}

/// Why a provider's API did not say what was asked.
#[derive(Debug)]
pub(super) enum ApiError {
    /// There is no such thing there.
    NotFound,
    /// We asked too often.
    Limited { retry_after_secs: u32 },
    /// Our key is not good, or anything else that is not 200.
    Refused { status: u16 },
    /// It could not be reached.
    Unreachable(String),
    /// It said something that it does not document.
    Unreadable(UnreadableAnswer),
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("it knows nothing of that"),
            Self::Limited { retry_after_secs } => write!(f, "it wants to be left alone for {retry_after_secs} s"),
            Self::Refused { status: 401 | 403 } => f.write_str("it refused our key"),
            Self::Refused { status } => write!(f, "it answered {status}"),
            // `/healthz` shows this to anybody, and the cause may name what was set. `{:#}` is for the log.
            Self::Unreachable(cause) if f.alternate() => write!(f, "it could not be reached: {cause}"),
            Self::Unreachable(_) => f.write_str("it could not be reached"),
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}

impl From<UnreadableAnswer> for ApiError {
    fn from(error: UnreadableAnswer) -> Self {
        Self::Unreadable(error)
    }
}

/// Asks a provider's API.
pub(super) async fn ask(api: &dyn Api, access: &ApiAccess, path: &str) -> Result<String, ApiError> {
    let url = format!("{}{path}", access.base);
    let answered = get(&url, Some(&access.bearer), api.headers()).await.map_err(ApiError::Unreachable)?;
    match answered.status {
        200 => Ok(answered.body),
        404 => Err(ApiError::NotFound),
        429 => {
            // A date is as good as nothing: the clock that stands still between two waits cannot count to it.
            let secs = answered.retry_after.and_then(|text| text.trim().parse().ok());
            let retry_after_secs = secs.unwrap_or(DEFAULT_RETRY_AFTER_SECS).min(MAX_RETRY_AFTER_SECS);
            Err(ApiError::Limited { retry_after_secs })
        }
        status => Err(ApiError::Refused { status }),
    }
}
