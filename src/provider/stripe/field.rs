//! Fields of Stripe's objects, by their path. What is missing, null, empty or of another kind is none.

use serde_json::Value;

use crate::payer::{Payer, PayerKind};
use crate::time::Timestamp;

/// What stands at a path such as `data/object`. `Value::pointer` unescapes its path, which is 2 kB more.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').try_fold(object, |object, name| object.get(name))
}

/// Text.
pub(super) fn text(object: &Value, path: &str) -> Option<String> {
    full(at(object, path)?)
}

fn full(text: &Value) -> Option<String> {
    text.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The id of another object, which may be there whole: every reference of Stripe's can be expanded.
pub(super) fn id(object: &Value, path: &str) -> Option<String> {
    let other = at(object, path)?;
    full(other.get("id").unwrap_or(other))
}

/// A moment: seconds.
pub(super) fn moment(object: &Value, path: &str) -> Option<Timestamp> {
    Timestamp::from_provider(number(object, path)?)
}

/// A whole number.
pub(super) fn number(object: &Value, path: &str) -> Option<i64> {
    at(object, path)?.as_i64()
}

/// Whose something is, by its metadata: an organization before a user.
pub(super) fn payer(object: &Value, metadata: &str) -> Option<Payer> {
    org(object, metadata).or_else(|| user(object, metadata))
}

/// The names of an organization's id in metadata.
pub(super) const ORG: &[&str] = &["orgId", "org_id", "organization_id", "clerk_org_id"];
/// The names of a user's.
pub(super) const USER: &[&str] = &["userId", "user_id", "clerk_user_id"];

/// The organization that metadata names.
pub(super) fn org(object: &Value, metadata: &str) -> Option<Payer> {
    named(object, metadata, PayerKind::Org, ORG)
}

/// The user that metadata names.
pub(super) fn user(object: &Value, metadata: &str) -> Option<Payer> {
    named(object, metadata, PayerKind::User, USER)
}

fn named(object: &Value, metadata: &str, kind: PayerKind, names: &[&str]) -> Option<Payer> {
    let metadata = at(object, metadata)?;
    names.iter().find_map(|name| Payer::new(kind, text(metadata, name)?))
}
