//! The operator's settings: read once, all of them, so that everything missing or unusable is reported together. By
//! name, never by value.

mod reader;

use std::fmt;

use reader::Reader;

use crate::catalog::Catalog;
use crate::decide::Policy;
use crate::gate::Rules;
use crate::ordered::Map;
use crate::provider::Ours;
use crate::publishable_key::PublishableKey;
use crate::secret::Secret;
use crate::session::SessionPolicy;
use crate::session::key::JwtKey;
use crate::standard_webhooks;
use crate::time::Timestamp;

/// How long a KV copy may speak for the database, unless `SNAPSHOT_TTL_SECONDS` says otherwise.
const DEFAULT_SNAPSHOT_TTL_SECS: u32 = 300;
/// The shortest `SNAPSHOT_TTL_SECONDS`: KV keeps nothing for less than a minute.
const MIN_SNAPSHOT_TTL_SECS: u32 = 60;
/// The longest: a day of a grant that was lost is more than anybody means.
const MAX_SNAPSHOT_TTL_SECS: u32 = 86_400;
/// A year: beyond any slack or grace somebody means.
const MAX_POLICY_HOURS: u32 = 8_760;
const MAX_POLICY_DAYS: u32 = 365;
/// How long the ledger keeps what no state rests on any more, unless `RETENTION_DAYS` says otherwise.
const DEFAULT_RETENTION_DAYS: u32 = 180;
/// The shortest: Svix delivers for 28 hours, and a duplicate should be known as one.
const MIN_RETENTION_DAYS: u32 = 7;
/// The longest: ten years.
const MAX_RETENTION_DAYS: u32 = 3_650;
/// Pages of a sweep's run. With what it stores, five of them stay below the 50 calls that a run may make on Cloudflare's
/// free plan, and a hundred below the 1,000 of the paid one.
const DEFAULT_RECONCILE_PAGES: u32 = 5;
const MAX_RECONCILE_PAGES: u32 = 100;
/// The periods that Cloudflare's rate limiting knows.
const MIN_RATE_LIMIT_SECS: u32 = 10;
const MAX_RATE_LIMIT_SECS: u32 = 60;
/// Everything the operator set.
#[derive(Debug)]
pub struct Settings {
    /// Signing secrets, by provider name. A provider without any is not configured.
    pub webhook_secrets: Map<&'static str, Vec<Secret>>,
    /// What tells our events from a neighbor's.
    pub ours: Ours,
    /// How session tokens are judged.
    pub session: SessionPolicy,
    /// Where the keys of session tokens come from; none when session tokens cannot be verified.
    pub session_keys: Option<SessionKeys>,
    /// The publishable key, for the suffix of its cookies.
    pub publishable_key: Option<PublishableKey>,
    /// Keys of servers.
    pub api_keys: Vec<ApiKey>,
    /// The keys of the `/admin` routes; without one there are none.
    pub admin_tokens: Vec<ApiKey>,
    /// Origins that a browser may ask from.
    pub allowed_origins: Vec<String>,
    /// What is sold.
    pub catalog: Catalog,
    /// The content that is served to those entitled.
    pub gateway: Gateway,
    /// Where plans are bought, where a rule does not say it.
    pub upgrade_url: Option<String>,
    /// Where people sign in.
    pub sign_in_url: Option<String>,
    /// After how many seconds somebody who asked too often may ask again.
    pub rate_limit_secs: u32,
    /// Slack and grace.
    pub policy: Policy,
    /// How long a KV copy may speak for the database, in seconds.
    pub snapshot_ttl_secs: u32,
    /// How long the ledger keeps what no state rests on any more, in days.
    pub retention_days: u32,
    /// Pages of a provider's listings that one run of the sweep reads.
    pub reconcile_pages: u32,
    /// The providers' APIs that we hold a key for, by name.
    pub apis: Map<&'static str, ApiAccess>,
    /// Where changes are passed on to.
    pub sink: Option<Sink>,
    /// Whether changes are to be passed on: also while the sink's settings cannot be used, so that none is lost by then.
    pub passes_on: bool,
    /// What is missing.
    pub missing: Vec<Problem>,
    /// What is there and cannot be used.
    pub unusable: Vec<Problem>,
}

/// Where the keys of session tokens come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionKeys {
    /// `CLERK_JWT_KEY`: no network.
    Pem(JwtKey),
    /// A key set, fetched and kept.
    Jwks {
        /// Its address.
        url: String,
        /// Clerk's Backend API wants the secret key.
        bearer: Option<Bearer>,
    },
}

/// The content behind plans.
#[derive(Debug)]
pub enum Gateway {
    /// There is none.
    Off,
    /// `GATES` or what is behind them cannot be used: nothing is served.
    Unusable,
    /// There is.
    On {
        /// Which paths need what.
        rules: Rules,
        /// Where the content is.
        content: Content,
    },
}

/// Where content is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The binding `ASSETS`: static assets that are deployed with the worker.
    Assets,
    /// The binding `CONTENT`: a bucket of R2.
    Bucket,
    /// `ORIGIN`: another server, by its origin (`https://host`).
    Origin(String),
}

/// A provider's API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiAccess {
    /// Its address, without a slash at the end.
    pub base: String,
    /// The key.
    pub bearer: Bearer,
}

/// A receiver of changes.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its address.
    pub url: String,
    secrets: Vec<Secret>,
}

impl Sink {
    /// The headers that prove a message: a signature for each secret, so that a receiver can change its own.
    #[must_use]
    pub fn sign(&self, id: &str, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        let mut headers: Vec<(&'static str, String)> = Vec::new();
        for secret in &self.secrets {
            let signed = standard_webhooks::sign_under(&standard_webhooks::STANDARD_HEADERS, secret, id, now, body);
            match headers.last_mut().zip(signed.last()) {
                // The signature is the last one.
                Some(((_, all), (_, one))) => {
                    all.push(' ');
                    all.push_str(one);
                }
                None => headers = signed,
            }
        }
        headers
    }
}

/// A credential that we send. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(String);

impl Bearer {
    /// The value of the `Authorization` header.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A key of a server. It does not show itself and is compared in constant time.
#[derive(Clone)]
pub struct ApiKey(Vec<u8>);

impl ApiKey {
    /// Whether this is the key that was presented.
    #[must_use]
    pub fn fits(&self, presented: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_slice(), presented.as_bytes()).into()
    }

    /// Whether one of the keys was presented. Every one is compared, so that the time taken does not tell which was close.
    #[must_use]
    pub fn any_fits(keys: &[Self], presented: &str) -> bool {
        keys.iter().fold(false, |fits, key| key.fits(presented) | fits)
    }
}

/// What the keys of Clerk's machines begin with (API keys, M2M and OAuth tokens).
const MACHINE_PREFIXES: [&str; 3] = ["ak_", "mt_", "oat_"];

/// Whether a credential is taken for a token: three parts with dots between them.
#[must_use]
pub fn is_token(presented: &str) -> bool {
    presented.split('.').count() == 3
}

/// Whether a credential is taken for a key of one of Clerk's machines.
#[must_use]
pub fn is_machine_key(presented: &str) -> bool {
    MACHINE_PREFIXES.iter().any(|prefix| presented.starts_with(prefix))
}

/// Whether a credential is never looked for among our own.
fn is_of_clerk(presented: &str) -> bool {
    is_token(presented) || is_machine_key(presented)
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One thing wrong with the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The setting, or the settings of which one is needed.
    pub setting: String,
    /// What is wrong and what it is needed for, never the value.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.problem)
    }
}

impl Settings {
    /// Reads every setting through `lookup`. Never fails: what is wrong is listed, and what is right works.
    #[must_use]
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader::new(lookup);
        let webhook_secrets = reader.webhook_secrets();
        let publishable_key = reader.publishable_key();
        let session_keys = reader.session_keys(publishable_key.as_ref());
        let issuer = reader.issuer().or_else(|| publishable_key.as_ref().map(PublishableKey::issuer));
        let session = SessionPolicy { issuer, authorized_parties: reader.origins("AUTHORIZED_PARTIES", false) };
        let ours = reader.ours();
        let api_keys = reader.api_keys();
        let admin_tokens = reader.admin_tokens();
        let catalog = reader.catalog();
        let slack = reader.number("RENEWAL_SLACK_HOURS", 0..=MAX_POLICY_HOURS, 24);
        let grace = reader.number("PAST_DUE_GRACE_DAYS", 0..=MAX_POLICY_DAYS, 0);
        let refunds_revoke = reader.truth("REFUNDS_REVOKE");
        let ttl = reader.number(
            "SNAPSHOT_TTL_SECONDS",
            MIN_SNAPSHOT_TTL_SECS..=MAX_SNAPSHOT_TTL_SECS,
            DEFAULT_SNAPSHOT_TTL_SECS,
        );
        let retention_days =
            reader.number("RETENTION_DAYS", MIN_RETENTION_DAYS..=MAX_RETENTION_DAYS, DEFAULT_RETENTION_DAYS);
        let reconcile_pages =
            reader.number("RECONCILE_PAGES_PER_RUN", 1..=MAX_RECONCILE_PAGES, DEFAULT_RECONCILE_PAGES);
        let apis = reader.apis(ours.environment);
        let gateway = reader.gateway();
        let upgrade_url = reader.link("UPGRADE_URL");
        let sign_in_url = reader.link("SIGN_IN_URL");
        let rate_limit_secs =
            reader.number("RATE_LIMIT_PERIOD_SECONDS", MIN_RATE_LIMIT_SECS..=MAX_RATE_LIMIT_SECS, MAX_RATE_LIMIT_SECS);
        let sink = reader.sink();
        let passes_on = reader.text("SINK_URL").is_some();
        Self {
            webhook_secrets,
            ours,
            session,
            session_keys,
            publishable_key,
            api_keys,
            admin_tokens,
            allowed_origins: reader.origins("ALLOWED_ORIGINS", true),
            catalog,
            gateway,
            upgrade_url,
            sign_in_url,
            rate_limit_secs,
            policy: Policy { refunds_revoke, ..Policy::new(slack, grace) },
            snapshot_ttl_secs: ttl,
            retention_days,
            reconcile_pages,
            apis,
            sink,
            passes_on,
            missing: reader.missing,
            unusable: reader.unusable,
        }
    }

    /// Everything that is missing or unusable, in one sentence; `None` when nothing is.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let all: Vec<String> = self.missing.iter().chain(&self.unusable).map(ToString::to_string).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The same for who needs one of these settings and has none.
    #[must_use]
    pub fn complaint_about(&self, names: &[&str]) -> String {
        let mut all: Vec<String> = self.complaint().into_iter().collect();
        if !self.unusable.iter().any(|problem| names.contains(&problem.setting.as_str())) {
            all.insert(0, [&names.join(" or "), " is not set"].concat());
        }
        all.join("; ")
    }

    /// Whether nothing is said of a setting that is needed.
    #[must_use]
    pub fn is_missing(&self, name: &str) -> bool {
        self.missing.iter().any(|problem| problem.setting == name)
    }

    /// Whether the worker can do its work: somebody can tell it something, somebody can ask it, and nothing that was
    /// set is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let can_be_told = !self.webhook_secrets.is_empty();
        let can_be_asked = self.session_keys.is_some() || !self.api_keys.is_empty();
        can_be_told && can_be_asked && self.unusable.is_empty()
    }

    /// Whether the catalog could be read. An unreadable one is not an empty one: it would answer wrongly.
    #[must_use]
    pub fn has_catalog_problem(&self) -> bool {
        self.unusable.iter().any(|problem| problem.setting == "PLANS")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::PROVIDERS;

    const PEM: &str = include_str!("../tests/data/session/public.pem");

    /// Settings by name.
    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn read(pairs: Pairs<'_>) -> Settings {
        let map: Map<String, String> = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::read(|name| map.get(name).cloned())
    }

    #[test]
    fn nothing_set_names_everything_that_is_needed_at_once() {
        let settings = read(&[]);
        let secrets: Vec<&str> = PROVIDERS.iter().map(|provider| provider.secret_names()[0]).collect();
        assert_eq!(secrets[0], "CLERK_WEBHOOK_SIGNING_SECRET");
        let complaint = format!(
            "{} is not set: no webhook can be verified; \
             CLERK_JWT_KEY, CLERK_PUBLISHABLE_KEY or CLERK_SECRET_KEY is not set: no session token can be verified; \
             API_KEYS is not set: no server can ask",
            secrets.join(" or ")
        );
        assert_eq!(settings.complaint().unwrap(), complaint);
        assert!(!settings.is_sound());
        assert_eq!(settings.snapshot_ttl_secs, 300);
        assert_eq!(settings.policy, Policy::default());
    }

    #[test]
    fn everything_wrong_is_named_at_once_and_no_value_is_shown() {
        let settings = read(&[
            ("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_hush-hush!"),
            ("CLERK_JWT_KEY", "hush-hush"),
            ("CLERK_PUBLISHABLE_KEY", "pk_hush"),
            ("API_KEYS", "hush"),
            ("PLANS", r#"{"pro":{"features":"hush"}}"#),
            ("PAST_DUE_GRACE_DAYS", "-1"),
            ("RENEWAL_SLACK_HOURS", "soon"),
            ("SNAPSHOT_TTL_SECONDS", "5"),
            ("ALLOWED_ORIGINS", "https://*.example.com"),
        ]);
        let named: Vec<_> = settings.unusable.iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(
            named,
            [
                "CLERK_WEBHOOK_SIGNING_SECRET",
                "CLERK_PUBLISHABLE_KEY",
                "CLERK_JWT_KEY",
                "API_KEYS",
                "PLANS",
                "RENEWAL_SLACK_HOURS",
                "PAST_DUE_GRACE_DAYS",
                "SNAPSHOT_TTL_SECONDS",
                "ALLOWED_ORIGINS",
            ]
        );
        assert!(!format!("{settings:?}").contains("hush-hush"));
        assert!(settings.has_catalog_problem());
        assert!(!settings.is_sound());
    }

    #[test]
    fn a_party_that_no_token_can_name_is_named_and_lets_nobody_in() {
        let cases = [
            ("https://app.example.com, http://localhost:3000, chrome-extension://abc", true),
            ("https://app.example.com/", false),
            ("https://app.example.com/app", false),
            ("https://*.example.com", false),
            ("app.example.com", false),
            (",", false),
        ];
        for (text, is_usable) in cases {
            let settings = read(&[("AUTHORIZED_PARTIES", text)]);
            let named: Vec<_> = settings.unusable.iter().map(|problem| problem.setting.as_str()).collect();
            assert_eq!(named, if is_usable { vec![] } else { vec!["AUTHORIZED_PARTIES"] }, "{text}");
            assert_eq!(settings.session.authorized_parties.len(), if is_usable { 3 } else { 1 }, "{text}");
        }
    }

    #[test]
    fn an_issuer_that_no_token_can_name_is_named() {
        for text in ["https://clerk.example.com/", "clerk.example.com"] {
            let settings = read(&[("CLERK_ISSUER", text)]);
            assert_eq!(
                settings.unusable.iter().map(|problem| problem.setting.as_str()).collect::<Vec<_>>(),
                ["CLERK_ISSUER"]
            );
            assert_eq!(settings.session.issuer.as_deref(), Some(text), "it is not left unchecked");
        }
        assert!(read(&[("CLERK_ISSUER", "https://example.com/__clerk")]).unusable.is_empty());
    }

    #[test]
    fn secrets_are_lists_under_both_names_and_a_bad_one_spoils_no_good_one() {
        let settings = read(&[
            ("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_b25l, whsec_!, whsec_dHdv"),
            ("CLERK_WEBHOOK_SECRET", "dGhyZWU="),
        ]);
        assert_eq!(settings.webhook_secrets.get("clerk").unwrap().len(), 3);
        assert_eq!(settings.unusable.len(), 1);
    }

    #[test]
    fn session_keys_prefer_what_needs_no_network() {
        let jwks = |url: &str| Some((url.to_owned(), false));
        let cases = [
            (vec![("CLERK_JWT_KEY", PEM), ("CLERK_PUBLISHABLE_KEY", "pk_test_Y2xlcmsuY2xlcmsuZGV2JA")], None),
            (
                vec![("CLERK_PUBLISHABLE_KEY", "pk_test_Y2xlcmsuY2xlcmsuZGV2JA"), ("CLERK_SECRET_KEY", "sk_test_x")],
                jwks("https://clerk.clerk.dev/.well-known/jwks.json"),
            ),
            (vec![("CLERK_SECRET_KEY", "sk_test_x")], Some(("https://api.clerk.com/v1/jwks".to_owned(), true))),
        ];
        for (pairs, expected) in cases {
            let found = match read(&pairs).session_keys.unwrap() {
                SessionKeys::Pem(_) => None,
                SessionKeys::Jwks { url, bearer } => Some((url, bearer.is_some())),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_issuer_is_known_from_the_publishable_key_unless_it_is_set() {
        let key = ("CLERK_PUBLISHABLE_KEY", "pk_test_Y2xlcmsuY2xlcmsuZGV2JA");
        assert_eq!(read(&[key]).session.issuer.as_deref(), Some("https://clerk.clerk.dev"));
        assert_eq!(read(&[key, ("CLERK_ISSUER", "https://x.test")]).session.issuer.as_deref(), Some("https://x.test"));
        assert_eq!(read(&[]).session.issuer, None);
    }

    #[test]
    fn what_is_there_and_unusable_is_not_missing_as_well() {
        let session = "CLERK_JWT_KEY, CLERK_PUBLISHABLE_KEY or CLERK_SECRET_KEY";
        let cases: [(Pairs<'_>, &str, &[&str]); 8] = [
            (&[("CLERK_WEBHOOK_SECRET", "whsec_!")], "CLERK_WEBHOOK_SECRET", &[session, "API_KEYS"]),
            (&[("CLERK_PUBLISHABLE_KEY", "pk_x")], "CLERK_PUBLISHABLE_KEY", &["webhooks", "API_KEYS"]),
            (&[("CLERK_SECRET_KEY", "sk\nx")], "CLERK_SECRET_KEY", &["webhooks", "API_KEYS"]),
            (
                &[("CLERK_SECRET_KEY", "sk_x"), ("CLERK_API_URL", "api.clerk.com")],
                "CLERK_API_URL",
                &["webhooks", "API_KEYS"],
            ),
            (&[("API_KEYS", "short")], "API_KEYS", &["webhooks", session]),
            (&[("API_KEYS", "ak_0123456789abcdef")], "API_KEYS", &["webhooks", session]),
            (&[("ADMIN_TOKEN", "short")], "ADMIN_TOKEN", &["webhooks", session, "API_KEYS"]),
            (
                &[("SINK_URL", "https://x.test"), ("SINK_SECRET", "whsec_!")],
                "SINK_SECRET",
                &["webhooks", session, "API_KEYS"],
            ),
        ];
        for (pairs, unusable, missing) in cases {
            let settings = read(pairs);
            let named = |problem: &Problem| problem.setting.clone();
            assert_eq!(settings.unusable.iter().map(named).collect::<Vec<_>>(), [unusable]);
            let named = |problem: &Problem| {
                if problem.problem.contains("webhook") { "webhooks".to_owned() } else { problem.setting.clone() }
            };
            assert_eq!(settings.missing.iter().map(named).collect::<Vec<_>>(), missing, "{unusable}");
        }
    }

    #[test]
    fn an_api_is_asked_at_a_safe_address_and_with_a_key_that_a_header_can_hold() {
        let stripe = |key: &str, url: &str| {
            let settings = read(&[("STRIPE_SECRET_KEY", key), ("STRIPE_API_URL", url)]);
            assert!(!settings.complaint().unwrap().contains("hush"));
            let unusable: Vec<_> = settings.unusable.into_iter().map(|problem| problem.setting).collect();
            (settings.apis.get("stripe").map(|api| api.base.clone()), unusable.concat())
        };
        for url in ["https://api.test", "https://api.test/", "http://127.0.0.1:12111", "http://localhost/"] {
            assert_eq!(stripe("sk_x", url), (Some(url.trim_end_matches('/').to_owned()), String::new()));
        }
        for url in [
            "hush.test",
            "ftp://hush.test",
            "http://hush.test",
            "https://",
            "https:///hush",
            "https://hu sh",
            "https://hu\nsh",
            "https://hush.test?x=1",
            "https://hush.test#x",
        ] {
            assert_eq!(stripe("sk_x", url), (None, "STRIPE_API_URL".to_owned()), "{url}");
        }
        for key in ["hush\nhush", "hush hush", "hush\u{e9}"] {
            assert_eq!(stripe(key, ""), (None, "STRIPE_SECRET_KEY".to_owned()), "{key}");
        }
        // Whose key is not set is not asked.
        assert!(read(&[("STRIPE_API_URL", "hush")]).unusable.is_empty());
    }

    #[test]
    fn a_key_of_a_server_that_would_be_taken_for_another_thing_is_unusable() {
        for key in ["0123456.89abc.def", "ak_0123456789abcdef", "mt_0123456789abcdef", "oat_0123456789abcdef"] {
            let settings = read(&[("API_KEYS", &format!("0123456789abcdef, {key}"))]);
            assert_eq!(settings.api_keys.len(), 1, "{key}");
            let [problem] = settings.unusable.as_slice() else { panic!("{key}") };
            assert_eq!(problem.setting, "API_KEYS");
            assert!(!problem.problem.contains(key));
        }
        assert!(read(&[("API_KEYS", "0123456.89abcdef, sk.live.0123.456789")]).unusable.is_empty());
    }

    #[test]
    fn an_old_and_a_new_admin_token_both_fit() {
        let settings = read(&[("ADMIN_TOKEN", "0123456789abcdef, fedcba9876543210,short")]);
        for token in ["0123456789abcdef", "fedcba9876543210"] {
            assert!(ApiKey::any_fits(&settings.admin_tokens, token), "{token}");
        }
        for other in ["", "short", "0123456789abcdef, fedcba9876543210", "0123456789abcde"] {
            assert!(!ApiKey::any_fits(&settings.admin_tokens, other), "{other}");
        }
        assert_eq!(settings.unusable.len(), 1);
    }

    #[test]
    fn who_needs_a_setting_is_told_that_it_is_not_set() {
        let secrets: &[&str] = &["REVENUECAT_WEBHOOK_SECRET", "REVENUECAT_SIGNING_SECRET"];
        let clerk = ("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_b25l");
        let cases: [(Pairs<'_>, &str); 3] = [
            (
                &[clerk, ("CLERK_JWT_KEY", PEM), ("API_KEYS", "0123456789abcdef")],
                "REVENUECAT_WEBHOOK_SECRET or REVENUECAT_SIGNING_SECRET is not set",
            ),
            (
                &[clerk, ("CLERK_JWT_KEY", PEM)],
                "REVENUECAT_WEBHOOK_SECRET or REVENUECAT_SIGNING_SECRET is not set; \
                 API_KEYS is not set: no server can ask",
            ),
            (
                &[
                    ("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_!"),
                    ("CLERK_JWT_KEY", PEM),
                    ("API_KEYS", "0123456789abcdef"),
                ],
                "REVENUECAT_WEBHOOK_SECRET or REVENUECAT_SIGNING_SECRET is not set; CLERK_WEBHOOK_SIGNING_SECRET has an \
                 entry that is not base64 after its `whsec_` prefix",
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(read(pairs).complaint_about(secrets), expected);
        }
        let unusable = read(&[("REVENUECAT_SIGNING_SECRET", " "), clerk, ("CLERK_WEBHOOK_SECRET", "whsec_!")]);
        assert_eq!(Some(unusable.complaint_about(&["CLERK_WEBHOOK_SECRET"])), unusable.complaint());
    }

    #[test]
    fn an_api_key_fits_itself_alone() {
        let key = &read(&[("API_KEYS", "0123456789abcdef")]).api_keys[0];
        assert!(key.fits("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert!(!key.fits(other));
        }
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn a_sink_needs_a_safe_address_and_a_secret() {
        let secret = ("SINK_SECRET", "whsec_c2luayBzZWNyZXQ=, whsec_b3RoZXI=");
        for url in ["https://x.convex.site/plangate-sink", "http://127.0.0.1:3211/x", "http://localhost/x"] {
            let sink = read(&[("SINK_URL", url), secret]).sink.unwrap();
            let signed = sink.sign("pg_1", Timestamp::from_secs(1_800_000_000), b"{}");
            assert_eq!(
                signed.last().map(|(name, all)| (*name, all.split(' ').count())),
                Some(("webhook-signature", 2))
            );
        }
        for (url, text, wrong) in [
            ("http://example.com/x", secret.1, "SINK_URL"),
            ("http://127.0.0.1.example.com/x", secret.1, "SINK_URL"),
            ("https://", secret.1, "SINK_URL"),
            ("https://example.com/x", "", "SINK_SECRET"),
            ("https://example.com/x", "whsec_***", "SINK_SECRET"),
        ] {
            let settings = read(&[("SINK_URL", url), ("SINK_SECRET", text)]);
            assert!(settings.sink.is_none(), "{url}");
            assert!(settings.unusable.iter().any(|problem| problem.setting == wrong), "{url}");
        }
        assert!(read(&[secret]).sink.is_none());
    }
}
