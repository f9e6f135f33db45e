//! A provider's JSON object, read field by field, for large objects of which we use little. A reader derived for each of
//! them would do the same and be loaded by every isolate.
//!
//! A field that is missing, null or `""` is none. One of another kind than expected is an error that names it: an end
//! that cannot be read must not become "without end".

use serde_json::Value;

use crate::payer::{Payer, PayerKind};
use crate::time::Timestamp;

/// What an organization's id begins with at Clerk. A field that holds either kind of payer is told by it.
const ORG_PREFIX: &str = "org_";
/// How applications call the payer in what they attach to a checkout.
const ORG_FIELDS: [&str; 4] = ["orgId", "org_id", "organization_id", "clerk_org_id"];
const USER_FIELDS: [&str; 3] = ["userId", "user_id", "clerk_user_id"];

#[derive(Clone, Copy)]
pub(super) struct Object<'a>(pub(super) &'a Value);

impl<'a> Object<'a> {
    /// The object in that field; an empty one where there is none.
    pub(super) fn object(self, name: &str) -> Self {
        Self(self.0.get(name).unwrap_or(&Value::Null))
    }

    /// The texts of a list.
    pub(super) fn texts(self, name: &str) -> impl Iterator<Item = &'a str> {
        let list = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).filter(|text| !text.is_empty())
    }

    fn field(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A text, or an id that is a number.
    pub(super) fn text(self, name: &str) -> Result<Option<String>, String> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(format!("`{name}` is neither text nor a number")),
        }
    }

    /// A time: RFC 3339, or a number of seconds or milliseconds. Zero and negative are none.
    pub(super) fn moment(self, name: &str) -> Result<Option<Timestamp>, String> {
        let wrong = || format!("`{name}` is no time");
        match self.field(name) {
            None => Ok(None),
            Some(Value::String(text)) => Timestamp::parse_rfc3339(text).map(Some).ok_or_else(wrong),
            Some(number) => Ok(Timestamp::from_provider(number.as_i64().ok_or_else(wrong)?)),
        }
    }

    /// A whole number.
    pub(super) fn whole(self, name: &str) -> Result<Option<i64>, String> {
        self.field(name).map(|number| number.as_i64().ok_or_else(|| format!("`{name}` is no whole number"))).transpose()
    }

    /// A number, whole or not.
    pub(super) fn number(self, name: &str) -> Result<Option<f64>, String> {
        self.field(name).map(|number| number.as_f64().ok_or_else(|| format!("`{name}` is no number"))).transpose()
    }

    /// Yes or no.
    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, String> {
        self.field(name)
            .map(|flag| flag.as_bool().ok_or_else(|| format!("`{name}` is neither true nor false")))
            .transpose()
    }

    /// Whose it is, by what the application attached to the checkout. An organization pays for its users, so it wins.
    /// What is attached is the application's own: a field of another kind is taken to mean something else.
    pub(super) fn attached_payer(self) -> Result<Option<Payer>, String> {
        let first = |names: &[&str]| names.iter().find_map(|name| self.text(name).ok().flatten());
        match first(&ORG_FIELDS) {
            Some(org) => Payer::new(PayerKind::Org, org).map(Some).ok_or_else(too_long),
            None => first(&USER_FIELDS).map(payer_named).transpose(),
        }
    }
}

/// The payer that a single text names.
pub(super) fn payer_named(id: String) -> Result<Payer, String> {
    let kind = if id.starts_with(ORG_PREFIX) { PayerKind::Org } else { PayerKind::User };
    Payer::new(kind, id).ok_or_else(too_long)
}

fn too_long() -> String {
    "the payer's id is too long".into()
}
