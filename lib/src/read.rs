//! What several functions are given.

use plangate::json::Fields;
use plangate::provider::{DEFAULT_PADDLE_TOLERANCE_SECS, Environment, Ours, Provider, named};
use plangate::secret::Secret;
use plangate::time::Timestamp;

use crate::failure::Failure;

/// A time of JavaScript's: milliseconds since the epoch.
pub fn moment(now: f64) -> Result<Timestamp, Failure> {
    // Beyond, milliseconds are not whole.
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    if !(-LARGEST..=LARGEST).contains(&now) {
        return Err(Failure::request("`now` is no time in milliseconds"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds, and checked")]
    Ok(Timestamp::from_millis(now.floor() as i64))
}

/// A provider.
pub fn provider(name: &str) -> Result<&'static dyn Provider, Failure> {
    named(name).ok_or_else(|| Failure::new("unknown_provider", format_args!("there is no provider `{name}`")))
}

/// What tells our events from others'.
pub fn ours(fields: Fields<'_>) -> Result<Ours, Failure> {
    let Some(fields) = fields.object("ours")? else { return Ok(Ours::default()) };
    let fields = fields.only(&["clerk_instance_id", "environment", "paddle_tolerance_seconds"])?;
    let environment = match fields.text("environment")? {
        None => Environment::Production,
        Some(text) => Environment::parse(&text)
            .ok_or_else(|| Failure::request("`environment` is neither `production` nor `sandbox`"))?,
    };
    let tolerance = fields.count("paddle_tolerance_seconds")?.map(u32::try_from).transpose();
    Ok(Ours {
        clerk_instance_id: fields.text("clerk_instance_id")?,
        environment,
        paddle_tolerance_secs: tolerance
            .map_err(|_| Failure::request("`paddle_tolerance_seconds` is too large"))?
            .unwrap_or(DEFAULT_PADDLE_TOLERANCE_SECS),
    })
}

/// Signing secrets: pairs of the setting's name, empty for the provider's first one, and its text, a comma list as in the
/// worker's settings.
pub fn secrets(provider: &'static dyn Provider, fields: Fields<'_>) -> Result<Vec<Secret>, Failure> {
    let mut secrets = Vec::new();
    for pair in pairs(fields, "secrets")? {
        let (name, texts) = pair;
        let names = provider.secret_names();
        let known = if name.is_empty() { names.first() } else { names.iter().find(|known| **known == name) };
        let Some(setting) = known else {
            let detail = format_args!("`{name}` is no secret of {}; `{}` is", provider.name(), names.join("` or `"));
            return Err(Failure::request(detail));
        };
        for text in texts.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let secret = provider.parse_secret(setting, text);
            let unusable = |error| Failure::new("unusable_secret", format_args!("a secret {error}"));
            secrets.push(secret.map_err(unusable)?);
        }
    }
    if secrets.is_empty() {
        return Err(Failure::new("provider_not_configured", format_args!("no secret of {} is given", provider.name())));
    }
    Ok(secrets)
}

/// A list of pairs of texts.
pub fn pairs<'a>(fields: Fields<'a>, name: &str) -> Result<Vec<(&'a str, &'a str)>, Failure> {
    let pairs = fields.list(name)?.unwrap_or_default().iter().map(|pair| match pair.as_list()? {
        [first, second] => Some((first.as_str()?, second.as_str()?)),
        _ => None,
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs.ok_or_else(|| Failure::request(format_args!("`{name}` is no list of names and texts")))
}
