//! What goes out. The only place that knows status codes.

use js_sys::JSON;
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use worker::web_sys;

use super::log::Line;
use super::reconcile::key_settings;
use crate::delivery::VerifyError;
use crate::gate::BadPath;
use crate::json::Unreadable;
use crate::ordered::Map;
use crate::question::QuestionError;
use crate::session::TokenError;
use crate::upkeep::UpkeepError;

/// No cache keeps it, not even the caller's own.
pub(super) const NEVER_CACHED: &str = "private, no-store";
/// What an answer at a gate depends on.
pub(super) const VARIES: &str = "Accept, Authorization, Cookie";
/// The beginning of a page.
const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\">\
    <style>body{font:1.1rem/1.6 system-ui;max-width:32rem;margin:15vh auto;padding:1rem}</style><title>";
/// What a browser may do with an answer that it is shown by itself: nothing.
const CSP: &str = "content-security-policy";

/// An answer, before it becomes a `Response`.
pub(super) struct Reply {
    status: u16,
    headers: Map<&'static str, String>,
    body: Option<String>,
    /// Content that passes through, with its own headers: nothing else of this counts then.
    content: Option<web_sys::Response>,
}

impl Reply {
    pub(super) fn json(status: u16, body: String) -> Self {
        Self { status, headers: Map::new(), body: Some(body), content: None }.with("content-type", "application/json")
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Map::new(), body: None, content: None }
    }

    /// Content that passes through. It is somebody else's, so the headers that it has stay.
    pub(super) fn content(response: web_sys::Response) -> Self {
        Self { content: Some(response), ..Self::empty(200) }
    }

    /// The same for a person: what is wrong, and where to go.
    pub(super) fn into_page(mut self, failure: &Failure, link: Option<(&str, &str)>) -> Self {
        let title = if failure.is_of_a_stranger() { "Please sign in" } else { failure.answer().title };
        let link = match link {
            Some((text, url)) => ["<p><a href=\"", &url.replace('&', "&amp;"), "\">", text, "</a></p>"].concat(),
            None => String::new(),
        };
        self.body = Some([PAGE, title, "</title><h1>", title, "</h1>", &link].concat());
        self.with("content-type", "text/html; charset=utf-8")
            .with(CSP, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
    }

    /// An answer about a payer, which no shared cache may keep and no other caller may see.
    pub(super) fn private(body: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_string(body).map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(Self::json(200, body)
            .with("cache-control", "private, no-store")
            .with("vary", "Authorization, Cookie, Origin"))
    }

    /// Lines of JSON about payers, which no cache may keep.
    pub(super) fn private_lines(lines: &[String]) -> Self {
        let body = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        Self::json(200, body)
            .with("content-type", "application/x-ndjson")
            .with("cache-control", "private, no-store")
            .with("vary", "Authorization, Cookie, Origin")
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    /// RFC 9457.
    pub(super) fn problem(failure: &Failure, request_id: &str) -> Self {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            code: &'a str,
            detail: String,
            request_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            upgrade_url: Option<&'a str>,
        }
        let (reason, upgrade_url) = match failure {
            Failure::NotEntitled { reason, upgrade_url } => (Some(reason.as_str()), upgrade_url.as_deref()),
            _ => (None, None),
        };
        let Answer { status, code, title } = failure.answer();
        let problem = Problem {
            r#type: format!("urn:plangate:problem:{code}"),
            title,
            status,
            code,
            detail: failure.detail(),
            request_id,
            reason,
            upgrade_url,
        };
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut reply =
            Self::json(status, body).with("content-type", "application/problem+json").with("cache-control", "no-store");
        if let Failure::MethodNotAllowed(methods) = failure {
            reply = reply.with("allow", methods.join(", "));
        }
        if let Failure::ProviderUnavailable { retry_after_secs: Some(secs), .. }
        | Failure::RateLimited { retry_after_secs: secs } = failure
        {
            reply = reply.with("retry-after", secs.to_string());
        }
        if let Some(reason) = reason {
            reply = reply.with("x-plangate-reason", reason);
        }
        if let Some(url) = upgrade_url {
            reply = reply.with("x-plangate-upgrade-url", url).with("link", format!("<{url}>; rel=\"payment\""));
        }
        if status == 401 {
            reply = reply.with("www-authenticate", "Bearer");
        }
        reply
    }

    pub(super) fn into_response(self, request_id: &str) -> Result<web_sys::Response, JsValue> {
        #[derive(Serialize)]
        struct Init {
            status: u16,
            headers: Map<&'static str, String>,
        }
        if let Some(content) = self.content {
            content.headers().set("x-request-id", request_id)?;
            return Ok(content);
        }
        let mut reply = self
            .with("x-request-id", request_id)
            .with("x-content-type-options", "nosniff")
            .with("referrer-policy", "no-referrer");
        if !reply.headers.contains_key(CSP) {
            reply = reply.with(CSP, "default-src 'none'; frame-ancestors 'none'");
        }
        let (body, init) = (reply.body, Init { status: reply.status, headers: reply.headers });
        // One text that JavaScript parses crosses faster than a header at a time.
        let init = serde_json::to_string(&init).map_err(|error| JsValue::from(error.to_string()))?;
        let init = JSON::parse(&init)?.unchecked_into::<web_sys::ResponseInit>();
        web_sys::Response::new_with_opt_str_and_init(body.as_deref(), &init)
    }
}

/// Everything that can be answered instead of what was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    NotFound,
    UnknownProvider,
    MethodNotAllowed(&'static [&'static str]),
    PayloadTooLarge {
        limit: usize,
    },
    /// The caller went away or lied about the length.
    UnreadableBody(String),
    Unverified {
        provider: &'static str,
        error: VerifyError,
    },
    ProviderNotConfigured {
        complaint: String,
    },
    Question(QuestionError),
    Token(TokenError),
    /// Neither a session token nor a server key that we know.
    UnknownApiKey {
        any_set: bool,
    },
    /// A session, or nothing, where only a server may ask.
    ServerKeyRequired,
    /// A server, where content is for people.
    SessionRequired,
    /// The caller does not hold what it takes.
    NotEntitled {
        reason: String,
        upgrade_url: Option<String>,
    },
    /// The caller asked too often.
    RateLimited {
        retry_after_secs: u32,
    },
    /// A path that another server may read in another way.
    UnusablePath,
    /// `GATES` or what is behind them cannot be used.
    GatewayUnusable {
        complaint: String,
    },
    /// What is behind the gates did not answer.
    ContentUnavailable {
        cause: String,
    },
    /// An operator's request without the operator's token.
    NotTheOperator,
    /// A filter of the ledger, or an operator's request, that cannot be read.
    AdminRequest(String),
    /// There is no such delivery in the ledger.
    NoSuchEvent,
    /// There is no such grant.
    NoSuchGrant,
    /// Nobody ever told of the payer.
    NoSuchPayer,
    /// No way to verify callers of this kind is set.
    AuthNotConfigured {
        complaint: String,
    },
    /// The issuer's keys could not be fetched.
    KeysUnavailable(String),
    CatalogUnusable {
        complaint: String,
    },
    /// No provider's API can be asked.
    SyncNotConfigured,
    /// A provider's API did not say what was asked.
    ProviderUnavailable {
        provider: &'static str,
        retry_after_secs: Option<u32>,
        cause: String,
    },
    /// A binding is missing, or D1 could not be read or written.
    StoreUnavailable {
        what: &'static str,
        cause: String,
    },
    /// A defect of ours.
    Internal(String),
}

struct Answer {
    status: u16,
    code: &'static str,
    title: &'static str,
}

impl Failure {
    /// The one table from failures to what callers see.
    fn answer(&self) -> Answer {
        let (status, code, title) = match self {
            Self::NotFound => (404, "not_found", "There is nothing at this path"),
            Self::UnknownProvider => (404, "unknown_provider", "There is no such provider"),
            Self::MethodNotAllowed(_) => (405, "method_not_allowed", "This path does not take this method"),
            Self::PayloadTooLarge { .. } => (413, "payload_too_large", "The body is too long"),
            Self::UnreadableBody(_) => (400, "unreadable_body", "The body could not be received"),
            Self::Unverified { error, .. } => (400, error.code(), "The delivery was not verified"),
            Self::ProviderNotConfigured { .. } => (503, "provider_not_configured", "The provider's secret is not set"),
            Self::Question(_) => (400, "invalid_request", "The question cannot be answered"),
            Self::Token(error) => (401, error.code(), "The caller is not signed in"),
            Self::UnknownApiKey { .. } => (401, "invalid_api_key", "The server key is not known"),
            Self::ServerKeyRequired => (401, "server_key_required", "This is for servers"),
            Self::SessionRequired => (401, "session_required", "This is for people who are signed in"),
            Self::NotEntitled { .. } => (403, "not_entitled", "This is part of another plan"),
            Self::RateLimited { .. } => (429, "rate_limited", "Too many requests"),
            Self::UnusablePath => (400, "invalid_path", "The path can be read in two ways"),
            Self::GatewayUnusable { .. } => (503, "gateway_unusable", "The content is not set up yet"),
            Self::ContentUnavailable { .. } => (502, "content_unavailable", "The content could not be fetched"),
            Self::NotTheOperator => (401, "invalid_admin_token", "This is for operators"),
            Self::AdminRequest(_) => (400, "invalid_request", "The request cannot be carried out as it is"),
            Self::NoSuchGrant => (404, "unknown_grant", "There is no such grant"),
            Self::NoSuchPayer => (404, "unknown_payer", "There is no such payer"),
            Self::NoSuchEvent => (404, "unknown_event", "There is no such delivery"),
            Self::AuthNotConfigured { .. } => (503, "auth_not_configured", "Callers cannot be verified yet"),
            Self::KeysUnavailable(_) => (503, "jwks_unavailable", "The issuer's keys could not be fetched"),
            Self::CatalogUnusable { .. } => (503, "catalog_unusable", "The catalog of plans cannot be read"),
            Self::SyncNotConfigured => (503, "sync_not_configured", "No provider can be asked"),
            Self::ProviderUnavailable { .. } => (503, "provider_unavailable", "The provider did not answer"),
            Self::StoreUnavailable { .. } => (503, "store_unavailable", "The store did not answer"),
            Self::Internal(_) => (500, "internal", "Something went wrong here"),
        };
        Answer { status, code, title }
    }

    /// Whether the caller did not prove to be anybody.
    pub(super) fn is_of_a_stranger(&self) -> bool {
        self.answer().status == 401
    }

    /// What callers switch on.
    pub(super) fn code(&self) -> &'static str {
        self.answer().code
    }

    /// What the caller is told of this one. Causes inside our platform stay in the log.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::NotFound => "see /openapi.json for what there is".into(),
            Self::UnknownProvider => format!("providers are: {}", provider_names()),
            Self::MethodNotAllowed(methods) => format!("it takes {}", methods.join(", ")),
            Self::PayloadTooLarge { limit } => format!("at most {limit} bytes are read"),
            Self::UnreadableBody(_) => "it ended early or was not what its length announced".into(),
            Self::Unverified { error, .. } => error.to_string(),
            Self::ProviderNotConfigured { complaint }
            | Self::AuthNotConfigured { complaint }
            | Self::GatewayUnusable { complaint }
            | Self::CatalogUnusable { complaint } => complaint.clone(),
            Self::Question(error) => error.to_string(),
            Self::Token(error) => error.to_string(),
            Self::UnknownApiKey { any_set: true } => "it is none of API_KEYS".into(),
            Self::UnknownApiKey { any_set: false } => "it is no session token, and API_KEYS is not set".into(),
            Self::ServerKeyRequired => "it takes `Authorization: Bearer` with one of API_KEYS".into(),
            Self::SessionRequired => "it takes a session token or a session cookie; a server asks /v1/gate".into(),
            Self::NotEntitled { reason, .. } => format!("{reason}; see /v1/check for what each reason means"),
            Self::RateLimited { retry_after_secs } => format!("try again in {retry_after_secs} s"),
            Self::UnusablePath => BadPath.to_string(),
            Self::NotTheOperator => "it takes `Authorization: Bearer ADMIN_TOKEN`".into(),
            Self::AdminRequest(cause) => cause.clone(),
            Self::NoSuchGrant => "see /admin/events?provider=operator&type=grant.created for what there is".into(),
            Self::NoSuchPayer => "no delivery ever told of it; a payer is `user:…` or `org:…`".into(),
            Self::NoSuchEvent => "no delivery with this provider and event id is in the ledger".into(),
            Self::KeysUnavailable(_) | Self::ContentUnavailable { .. } => "try again in a moment".into(),
            Self::SyncNotConfigured => format!("it takes the key of an API: {}", key_settings().join(", ")),
            Self::ProviderUnavailable { provider, .. } => {
                format!("{provider} could not be asked; try again in a moment")
            }
            Self::StoreUnavailable { what, .. } => format!("{what}; try again in a moment"),
            Self::Internal(_) => "the log has it under this request id".into(),
        }
    }

    /// What the log is told, if anything.
    pub(super) fn log(&self) -> Option<Line> {
        let line = match self {
            Self::Unverified { provider, error } => {
                Line::warn(format!("failed to verify delivery: {error}")).with("provider", *provider)
            }
            Self::ProviderNotConfigured { complaint }
            | Self::AuthNotConfigured { complaint }
            | Self::GatewayUnusable { complaint }
            | Self::CatalogUnusable { complaint } => Line::error(format!("settings are incomplete: {complaint}")),
            Self::KeysUnavailable(cause) => Line::error(format!("failed to fetch the issuer's keys: {cause}")),
            Self::ProviderUnavailable { provider, cause, .. } => {
                Line::error(format!("failed to ask a provider: {cause}")).with("provider", *provider)
            }
            Self::StoreUnavailable { what, cause } => Line::error(format!("{what}: {cause}")),
            Self::ContentUnavailable { cause } => Line::error(format!("failed to fetch content: {cause}")),
            Self::NotTheOperator => Line::warn("an admin route was asked for without the admin token"),
            Self::UnreadableBody(cause) => Line::warn(format!("failed to receive a body: {cause}")),
            Self::Internal(cause) => Line::error(format!("internal failure: {cause}")),
            _ => return None,
        };
        Some(line.with("code", self.answer().code))
    }
}

impl From<QuestionError> for Failure {
    fn from(error: QuestionError) -> Self {
        Self::Question(error)
    }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        Self::AdminRequest(error.to_string())
    }
}

impl From<UpkeepError> for Failure {
    fn from(error: UpkeepError) -> Self {
        Self::AdminRequest(error.to_string())
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

fn provider_names() -> String {
    let names: Vec<&str> = crate::provider::PROVIDERS.iter().map(|provider| provider.name()).collect();
    names.join(", ")
}
