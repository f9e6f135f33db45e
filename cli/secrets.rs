//! The signing secrets of a provider, from where they were given. None of them is ever repeated in a message.

use plangate::provider::Provider;
use plangate::secret::Secret;

use crate::failure::{Failure, usage};
use crate::look_up::LocalSettings;

/// Reads the secrets given as options; without any, those that are set for the provider, the preferred name first.
///
/// # Errors
/// When there is none, or one that cannot be used.
pub fn read(provider: &dyn Provider, given: &[String], settings: &LocalSettings) -> Result<Vec<Secret>, Failure> {
    let parse = |setting: &'static str, source: &str, text: &str| {
        let copy = "copy it whole from the provider's dashboard";
        provider.parse_secret(setting, text).map_err(|error| usage(format!("a secret in {source} {error}; {copy}")))
    };
    let names = provider.secret_names();
    if !given.is_empty() {
        let preferred = names.first().copied().unwrap_or_default();
        return given.iter().map(|text| parse(preferred, "--secret", text)).collect();
    }
    let mut secrets = Vec::new();
    for name in names {
        let list = settings.value(name).unwrap_or_default();
        for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            secrets.push(parse(name, name, text)?);
        }
    }
    if secrets.is_empty() {
        let name = names.first().copied().unwrap_or_default();
        return Err(usage(format!(
            "there is no signing secret for `{}`; give --secret, or set {name} in the environment or in `{}`",
            provider.name(),
            LocalSettings::place()
        )));
    }
    Ok(secrets)
}

/// The provider of that name.
///
/// # Errors
/// When there is none; the message lists what there is.
pub fn provider(name: &str) -> Result<&'static dyn Provider, Failure> {
    plangate::provider::named(name).ok_or_else(|| {
        let names: Vec<_> = plangate::provider::PROVIDERS.iter().map(|known| format!("`{}`", known.name())).collect();
        usage(format!("`{name}` is no provider; there is {}", names.join(", ")))
    })
}
