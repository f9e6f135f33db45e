//! How each setting is read, and what is said of one that is missing or wrong.

use std::fmt;

use super::{ApiAccess, ApiKey, Bearer, Content, Gateway, Problem, SessionKeys, Sink, is_of_clerk};
use crate::catalog::Catalog;
use crate::gate::{self, Rules};
use crate::ordered::{self, Map};
use crate::provider::{DEFAULT_PADDLE_TOLERANCE_SECS, Environment, Ours, PROVIDERS, Provider};
use crate::publishable_key::PublishableKey;
use crate::secret::Secret;
use crate::session::key::parse_pem;
use crate::standard_webhooks;

/// The shortest `PADDLE_TOLERANCE_SECONDS` is what Paddle's own libraries take, the longest what others take.
const MIN_PADDLE_TOLERANCE_SECS: u32 = 5;
const MAX_PADDLE_TOLERANCE_SECS: u32 = 300;
/// A server key is compared in full, so it must be long enough not to be guessed.
const MIN_API_KEY_BYTES: usize = 16;

/// The key of Clerk's Backend API, which also lists the keys of session tokens, and where that API is.
const CLERK_SECRET_KEY: &str = "CLERK_SECRET_KEY";
const CLERK_API_URL: (&str, &str) = ("CLERK_API_URL", "https://api.clerk.com");

const NO_SAFE_ADDRESS: &str = "is no address with `https://` (or of this machine)";

/// Whether nobody on the way reads what is sent to this address.
fn is_safe_address(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let end = rest.bytes().position(|byte| matches!(byte, b'/' | b':' | b'?'));
    let host = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
    let is_safe = match scheme {
        "https" => !host.is_empty(),
        "http" => matches!(host, "127.0.0.1" | "localhost"),
        _ => false,
    };
    is_safe && url.bytes().all(|byte| byte > b' ')
}

/// Reads settings one by one, and keeps what is missing or wrong.
pub(super) struct Reader<L> {
    lookup: L,
    pub(super) missing: Vec<Problem>,
    pub(super) unusable: Vec<Problem>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    pub(super) fn new(lookup: L) -> Self {
        Self { lookup, missing: Vec::new(), unusable: Vec::new() }
    }

    /// A setting; white space around it and an empty one count as nothing.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }

    fn missing(&mut self, setting: impl Into<String>, problem: &str) {
        self.missing.push(Problem { setting: setting.into(), problem: problem.to_owned() });
    }

    fn unusable(&mut self, setting: &str, problem: impl fmt::Display) {
        self.unusable_for(setting, problem.to_string());
    }

    /// What is read for two purposes is named once.
    fn unusable_for(&mut self, setting: &str, problem: String) {
        let problem = Problem { setting: setting.to_owned(), problem };
        if !self.unusable.contains(&problem) {
            self.unusable.push(problem);
        }
    }

    /// Whether none of them is there. One that is there and unusable is not missing as well.
    fn is_none_set(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.list(name).is_empty())
    }

    pub(super) fn webhook_secrets(&mut self) -> Map<&'static str, Vec<Secret>> {
        let mut secrets: Map<&'static str, Vec<Secret>> = Map::new();
        for provider in PROVIDERS {
            for name in provider.secret_names() {
                for text in self.list(name) {
                    match provider.parse_secret(name, &text) {
                        Ok(secret) => secrets.update(provider.name(), Vec::new(), |own| own.push(secret)),
                        Err(error) => self.unusable(name, format_args!("has an entry that {error}")),
                    }
                }
            }
        }
        if PROVIDERS.iter().all(|provider| self.is_none_set(provider.secret_names())) {
            let names: Vec<&str> =
                PROVIDERS.iter().filter_map(|provider| provider.secret_names().first().copied()).collect();
            self.missing(names.join(" or "), "is not set: no webhook can be verified");
        }
        secrets
    }

    pub(super) fn ours(&mut self) -> Ours {
        let environment = self.text("ENVIRONMENT").map(|text| Environment::parse(&text));
        if environment == Some(None) {
            self.unusable("ENVIRONMENT", "is neither `production` nor `sandbox`");
        }
        let tolerance = self.number(
            "PADDLE_TOLERANCE_SECONDS",
            MIN_PADDLE_TOLERANCE_SECS..=MAX_PADDLE_TOLERANCE_SECS,
            DEFAULT_PADDLE_TOLERANCE_SECS,
        );
        Ours {
            clerk_instance_id: self.text("CLERK_INSTANCE_ID"),
            environment: environment.flatten().unwrap_or(Environment::Production),
            paddle_tolerance_secs: tolerance,
        }
    }

    pub(super) fn publishable_key(&mut self) -> Option<PublishableKey> {
        let text = self.text("CLERK_PUBLISHABLE_KEY")?;
        let key = PublishableKey::parse(&text);
        if key.is_none() {
            self.unusable("CLERK_PUBLISHABLE_KEY", "is no publishable key (`pk_test_…` or `pk_live_…`)");
        }
        key
    }

    pub(super) fn session_keys(&mut self, publishable_key: Option<&PublishableKey>) -> Option<SessionKeys> {
        if let Some(pem) = self.text("CLERK_JWT_KEY") {
            match parse_pem(&pem) {
                Ok(key) => return Some(SessionKeys::Pem(key)),
                Err(error) => self.unusable("CLERK_JWT_KEY", error),
            }
            return None;
        }
        if let Some(key) = publishable_key {
            return Some(SessionKeys::Jwks { url: format!("{}/.well-known/jwks.json", key.issuer()), bearer: None });
        }
        if let Some(api) = self.api_access(CLERK_SECRET_KEY, CLERK_API_URL) {
            return Some(SessionKeys::Jwks { url: format!("{}/v1/jwks", api.base), bearer: Some(api.bearer) });
        }
        if self.is_none_set(&["CLERK_PUBLISHABLE_KEY", CLERK_SECRET_KEY]) {
            self.missing(
                "CLERK_JWT_KEY, CLERK_PUBLISHABLE_KEY or CLERK_SECRET_KEY",
                "is not set: no session token can be verified",
            );
        }
        None
    }

    fn api_access(&mut self, key: &str, (base, default_base): (&str, &str)) -> Option<ApiAccess> {
        let bearer = self.text(key)?;
        let address = self.text(base).unwrap_or_else(|| default_base.to_owned());
        // A header cannot hold a line break, and no key has anything else of that kind.
        let is_key = bearer.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_key {
            self.unusable(key, "has a character within that is of no key");
        }
        // The key is sent there, and a path is put after it.
        let is_base = is_safe_address(&address) && !address.bytes().any(|byte| matches!(byte, b'?' | b'#'));
        if !is_base {
            self.unusable(base, NO_SAFE_ADDRESS);
        }
        let base = address.trim_end_matches('/').to_owned();
        (is_key && is_base).then_some(ApiAccess { base, bearer: Bearer(bearer) })
    }

    pub(super) fn apis(&mut self, environment: Environment) -> Map<&'static str, ApiAccess> {
        let one = |provider: &&'static dyn Provider| {
            let api = provider.api()?;
            let (base, default_base) = api.base_setting();
            let default_base = if environment == Environment::Sandbox { api.sandbox_base() } else { default_base };
            Some((provider.name(), self.api_access(api.key_setting(), (base, default_base))?))
        };
        ordered::map(PROVIDERS.iter().filter_map(one))
    }

    pub(super) fn sink(&mut self) -> Option<Sink> {
        let url = self.text("SINK_URL")?;
        // What is sent says who pays for what.
        let is_sound = is_safe_address(&url);
        if !is_sound {
            self.unusable("SINK_URL", NO_SAFE_ADDRESS);
        }
        let mut secrets = Vec::new();
        for text in self.list("SINK_SECRET") {
            match standard_webhooks::parse_secret(&text) {
                Ok(secret) => secrets.push(secret),
                Err(error) => self.unusable("SINK_SECRET", format_args!("has an entry that {error}")),
            }
        }
        if self.is_none_set(&["SINK_SECRET"]) {
            self.unusable("SINK_SECRET", "has no entry, and nothing is sent without a signature");
        }
        (is_sound && !secrets.is_empty()).then_some(Sink { url, secrets })
    }

    pub(super) fn api_keys(&mut self) -> Vec<ApiKey> {
        if self.is_none_set(&["API_KEYS"]) {
            self.missing("API_KEYS", "is not set: no server can ask");
        }
        self.keys("API_KEYS", is_of_clerk)
    }

    pub(super) fn admin_tokens(&mut self) -> Vec<ApiKey> {
        self.keys("ADMIN_TOKEN", |_| false)
    }

    /// A list of keys.
    fn keys(&mut self, name: &str, is_taken: fn(&str) -> bool) -> Vec<ApiKey> {
        let mut keys = Vec::new();
        for key in self.list(name) {
            if key.len() < MIN_API_KEY_BYTES {
                self.unusable(name, format_args!("has an entry of fewer than {MIN_API_KEY_BYTES} characters"));
            } else if is_taken(&key) {
                self.unusable(name, "has an entry that would be taken for a token or key of Clerk's");
            } else {
                keys.push(ApiKey(key.into_bytes()));
            }
        }
        keys
    }

    pub(super) fn catalog(&mut self) -> Catalog {
        let Some(json) = self.text("PLANS") else { return Catalog::default() };
        Catalog::parse(&json).unwrap_or_else(|error| {
            self.unusable("PLANS", format_args!("is no catalog: {error}"));
            Catalog::default()
        })
    }

    /// A binding reads as a text of no meaning, like an object.
    pub(super) fn gateway(&mut self) -> Gateway {
        let Some(json) = self.text("GATES") else { return Gateway::Off };
        let rules = Rules::parse(&json).map_err(|error| self.unusable("GATES", error)).ok();
        let mut all = self.origins("ORIGIN", true);
        let is_origin_wrong = all.is_empty() && self.text("ORIGIN").is_some();
        all.extend(["ASSETS", "CONTENT"].into_iter().filter_map(|name| self.text(name).map(|_| name.to_owned())));
        match (rules, all.pop()) {
            (Some(rules), Some(name)) if all.is_empty() && !is_origin_wrong => {
                let content = match name.as_str() {
                    "ASSETS" => Content::Assets,
                    "CONTENT" => Content::Bucket,
                    _ => Content::Origin(name),
                };
                return Gateway::On { rules, content };
            }
            (Some(_), _) if !is_origin_wrong => {
                self.unusable("GATES", "needs one of ASSETS, CONTENT and ORIGIN, and not several of them");
            }
            _ => {}
        }
        Gateway::Unusable
    }

    pub(super) fn link(&mut self, name: &str) -> Option<String> {
        let link = self.text(name);
        if link.as_deref().is_some_and(|link| !gate::is_link(link)) {
            self.unusable(name, "is neither `https://…` nor a path");
            return None;
        }
        link
    }

    pub(super) fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u32>, default: u32) -> u32 {
        let Some(text) = self.text(name) else { return default };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.unusable(name, format_args!("is no whole number from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    /// `true` or `false`; false where it is not set.
    pub(super) fn truth(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.unusable(name, "is neither `true` nor `false`");
                false
            }
        }
    }

    /// Whose tokens are taken. Clerk's are named without a slash at the end.
    pub(super) fn issuer(&mut self) -> Option<String> {
        let issuer = self.text("CLERK_ISSUER")?;
        if issuer.ends_with('/') || !issuer.contains("://") {
            self.unusable(
                "CLERK_ISSUER",
                "is no issuer of Clerk's (`https://clerk.example.com`, without a `/` at its end)",
            );
        }
        Some(issuer)
    }

    /// Origins: of the web, or of any scheme, as apps and extensions of a browser have. What is no origin is left out of the
    /// former. Of the latter it stays, as a list without any would welcome all.
    pub(super) fn origins(&mut self, name: &str, of_the_web: bool) -> Vec<String> {
        let mut origins = self.list(name);
        if origins.is_empty() {
            origins.extend(self.text(name));
        }
        let is_origin = |text: &String| {
            text.split_once("://").is_some_and(|(scheme, host)| {
                (!of_the_web || matches!(scheme, "http" | "https"))
                    && !host.is_empty()
                    && !host.contains(['/', '*', '?', '#'])
            })
        };
        if !origins.iter().all(is_origin) {
            self.unusable(name, "has an entry that is no origin (`https://app.example.com`, no path, no `*`)");
        }
        if of_the_web {
            origins.retain(is_origin);
        }
        origins
    }
}
