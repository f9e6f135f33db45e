//! Fields of Stripe's objects, by their path. What is missing, null, empty or of another kind is none.

use crate::json::Json;
use crate::payer::{Payer, PayerKind};
use crate::provider::object::{ORG_FIELDS, USER_FIELDS};
use crate::time::Timestamp;

/// What stands at a path such as `data/object`.
pub(super) fn at<'a>(object: &'a Json<'a>, path: &str) -> Option<&'a Json<'a>> {
    path.split('/').try_fold(object, |object, name| object.get(name))
}

/// Text.
pub(super) fn text(object: &Json<'_>, path: &str) -> Option<String> {
    full(at(object, path)?)
}

fn full(text: &Json<'_>) -> Option<String> {
    text.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The id of another object, which may be there whole: every reference of Stripe's can be expanded.
pub(super) fn id(object: &Json<'_>, path: &str) -> Option<String> {
    let other = at(object, path)?;
    full(other.get("id").unwrap_or(other))
}

/// A moment: seconds.
pub(super) fn moment(object: &Json<'_>, path: &str) -> Option<Timestamp> {
    Timestamp::from_provider(number(object, path)?)
}

/// A whole number.
pub(super) fn number(object: &Json<'_>, path: &str) -> Option<i64> {
    at(object, path)?.as_i64()
}

/// Whose something is, by its metadata: an organization before a user.
pub(super) fn payer(object: &Json<'_>, metadata: &str) -> Option<Payer> {
    org(object, metadata).or_else(|| user(object, metadata))
}

/// The organization that metadata names.
pub(super) fn org(object: &Json<'_>, metadata: &str) -> Option<Payer> {
    named(object, metadata, PayerKind::Org, &ORG_FIELDS)
}

/// The user that metadata names.
pub(super) fn user(object: &Json<'_>, metadata: &str) -> Option<Payer> {
    named(object, metadata, PayerKind::User, &USER_FIELDS)
}

fn named(object: &Json<'_>, metadata: &str, kind: PayerKind, names: &[&str]) -> Option<Payer> {
    let metadata = at(object, metadata)?;
    names.iter().find_map(|name| Payer::new(kind, text(metadata, name)?))
}
