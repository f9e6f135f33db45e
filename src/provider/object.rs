//! A provider's JSON object, read field by field, for large objects of which we use little.
//!
//! A field that is missing, null or `""` is absent. One of another kind than expected is an error that names it: what is
//! absent can mean more than what is there, and an end that cannot be read must not become "without end".

use std::borrow::Cow;

use crate::json::{Json, Unreadable};
use crate::payer::{Payer, PayerKind};
use crate::time::Timestamp;

/// What an organization's id begins with at Clerk. A field that holds either kind of payer is told by it.
const ORG_PREFIX: &str = "org_";
/// How applications call an organization in what they attach to a checkout.
pub(super) const ORG_FIELDS: [&str; 4] = ["orgId", "org_id", "organization_id", "clerk_org_id"];
/// The same of a user.
pub(super) const USER_FIELDS: [&str; 3] = ["userId", "user_id", "clerk_user_id"];

/// The fields of a value; one that is no object has none.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(pub(super) &'a Json<'a>);

impl<'a> Object<'a> {
    /// The field, unless it is absent.
    pub(super) fn field(self, name: &str) -> Option<&'a Json<'a>> {
        self.0.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    fn read<T>(
        self,
        name: &str,
        kind: &str,
        read: impl FnOnce(&'a Json<'a>) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.field(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Unreadable::not(name, kind).into())
    }

    /// A text; of an id that is a number its digits.
    pub(super) fn text(self, name: &str) -> Result<Option<String>, String> {
        self.read(name, "a text", text)
    }

    /// A text, of providers whose ids are never numbers: what a number in its place is, nobody knows.
    pub(super) fn text_only(self, name: &str) -> Result<Option<String>, String> {
        self.read(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A text that must be there.
    pub(super) fn required(self, name: &str) -> Result<String, String> {
        self.text(name)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    /// A moment: RFC 3339, or a number of seconds or milliseconds. Zero and negative are absent.
    pub(super) fn moment(self, name: &str) -> Result<Option<Timestamp>, String> {
        Ok(self.read(name, "a time", moment)?.flatten())
    }

    /// A whole number; also as its digits, the way amounts of money are sent.
    pub(super) fn whole(self, name: &str) -> Result<Option<i64>, String> {
        self.read(name, "a whole number", |value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
    }

    /// A number of things.
    pub(super) fn count(self, name: &str) -> Result<Option<u32>, String> {
        self.read(name, "a whole number from 0", |value| u32::try_from(value.as_i64()?).ok())
    }

    /// A number, whole or not.
    pub(super) fn number(self, name: &str) -> Result<Option<f64>, String> {
        self.read(name, "a number", Json::as_f64)
    }

    /// Yes or no.
    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, String> {
        self.read(name, "true or false", Json::as_bool)
    }

    /// The object in a field; an absent one has no fields.
    pub(super) fn object(self, name: &str) -> Result<Self, String> {
        let object = self.read(name, "an object", |value| value.is_object().then_some(value))?;
        Ok(Self(object.unwrap_or(&Json::Null)))
    }

    /// The list in a field; an absent one is empty.
    pub(super) fn list(self, name: &str) -> Result<&'a [Json<'a>], String> {
        Ok(self.read(name, "a list", Json::as_list)?.unwrap_or_default())
    }

    /// The texts of a list, and none where there is no list.
    pub(super) fn texts(self, name: &str) -> impl Iterator<Item = &'a str> {
        let list = self.0.get(name).and_then(Json::as_list).unwrap_or_default();
        list.iter().filter_map(Json::as_str).filter(|text| !text.is_empty())
    }

    /// The payer that a field names by id alone.
    pub(super) fn payer(self, name: &str) -> Result<Option<Payer>, String> {
        self.text(name)?.map(payer_named).transpose()
    }

    /// The payer that free fields of the application's own name, which it attached to the checkout. An organization pays for
    /// its users, so it wins. What else is in them, and of what kind, is the application's affair.
    pub(super) fn payer_within(self, name: &str) -> Result<Option<Payer>, String> {
        let Some(attached) = self.field(name).map(Object) else { return Ok(None) };
        let first = |names: &[&str]| names.iter().find_map(|name| attached.field(name).and_then(text));
        match first(&ORG_FIELDS) {
            Some(org) => Payer::new(PayerKind::Org, org).map(Some).ok_or_else(too_long),
            None => first(&USER_FIELDS).map(payer_named).transpose(),
        }
    }
}

fn text(value: &Json<'_>) -> Option<String> {
    match value {
        Json::Text(text) => Some(Cow::clone(text).into_owned()),
        Json::Whole(number) => Some(number.to_string()),
        Json::Large(number) => Some(number.to_string()),
        _ => None,
    }
}

#[allow(clippy::option_option, reason = "what is no time, and what is none")]
fn moment(value: &Json<'_>) -> Option<Option<Timestamp>> {
    match value {
        Json::Text(text) => Timestamp::parse_rfc3339(text).map(Some),
        _ => value.as_i64().map(Timestamp::from_provider),
    }
}

/// The payer that a single text names: an organization's begins with `org_`, as Clerk's do.
pub(super) fn payer_named(id: String) -> Result<Payer, String> {
    let kind = if id.starts_with(ORG_PREFIX) { PayerKind::Org } else { PayerKind::User };
    Payer::new(kind, id).ok_or_else(too_long)
}

fn too_long() -> String {
    "the payer's id is too long".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse_sent;

    #[test]
    fn what_is_missing_null_or_empty_is_absent_and_what_is_of_another_kind_is_named() {
        for text in ["{}", r#"{"a":null}"#, r#"{"a":""}"#] {
            let json = parse_sent(text.as_bytes()).unwrap();
            let object = Object(&json);
            assert_eq!((object.text("a"), object.moment("a")), (Ok(None), Ok(None)), "{text}");
            assert_eq!((object.whole("a"), object.number("a")), (Ok(None), Ok(None)), "{text}");
            assert_eq!((object.flag("a"), object.payer("a")), (Ok(None), Ok(None)), "{text}");
            assert_eq!((object.list("a"), object.payer_within("a")), (Ok([].as_slice()), Ok(None)), "{text}");
            assert_eq!(object.object("a").unwrap().text("b"), Ok(None), "{text}");
            assert_eq!(object.required("a"), Err("`a` is missing".into()), "{text}");
        }
        let json = parse_sent(br#"{"a":{},"b":[1],"c":1.5,"d":"soon","e":-1}"#).unwrap();
        let object = Object(&json);
        let complaints = [
            (object.text("a").map(|_| ()), "`a` is not a text"),
            (object.text("c").map(|_| ()), "`c` is not a text"),
            (object.moment("d").map(|_| ()), "`d` is not a time"),
            (object.moment("a").map(|_| ()), "`a` is not a time"),
            (object.moment("c").map(|_| ()), "`c` is not a time"),
            (object.whole("c").map(|_| ()), "`c` is not a whole number"),
            (object.whole("d").map(|_| ()), "`d` is not a whole number"),
            (object.count("e").map(|_| ()), "`e` is not a whole number from 0"),
            (object.number("d").map(|_| ()), "`d` is not a number"),
            (object.flag("d").map(|_| ()), "`d` is not true or false"),
            (object.object("b").map(|_| ()), "`b` is not an object"),
            (object.object("d").map(|_| ()), "`d` is not an object"),
            (object.list("a").map(|_| ()), "`a` is not a list"),
        ];
        for (read, complaint) in complaints {
            assert_eq!(read, Err(complaint.to_owned()));
        }
    }

    #[test]
    fn each_kind_is_read_in_every_form_that_is_sent() {
        let json = parse_sent(
            br#"{"id":42,"long":18446744073709551615,"at":[1767225600,1767225600000,"2026-01-01T00:00:00Z"],
                "never":-1,"amount":"1999","names":["a","",7,"b"]}"#,
        )
        .unwrap();
        let object = Object(&json);
        assert_eq!(object.text("id"), Ok(Some("42".into())));
        assert_eq!(object.text_only("id"), Err("`id` is not a text".into()));
        assert_eq!(object.text_only("amount"), Ok(Some("1999".into())));
        assert_eq!(object.text("long"), Ok(Some("18446744073709551615".into())));
        let times = object.list("at").unwrap().iter().map(|at| moment(at).unwrap().unwrap().as_millis());
        assert_eq!(times.collect::<Vec<_>>(), [1_767_225_600_000; 3]);
        assert_eq!(object.moment("never"), Ok(None));
        assert_eq!((object.whole("amount"), object.whole("id")), (Ok(Some(1999)), Ok(Some(42))));
        assert_eq!(object.texts("names").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn an_organization_that_is_attached_pays_before_a_user() {
        let cases = [
            (r#"{"m":{"user_id":"user_1","orgId":"acme"}}"#, Ok(Payer::from_key("org:acme"))),
            (r#"{"m":{"user_id":"org_1"}}"#, Ok(Payer::from_key("org:org_1"))),
            (r#"{"m":{"userId":7,"org_id":{}}}"#, Ok(Payer::from_key("user:7"))),
            (r#"{"m":"user_1"}"#, Ok(None)),
            (r#"{"m":[]}"#, Ok(None)),
        ];
        for (text, expected) in cases {
            assert_eq!(Object(&parse_sent(text.as_bytes()).unwrap()).payer_within("m"), expected, "{text}");
        }
        let long = format!(r#"{{"m":{{"org_id":"{}"}}}}"#, "x".repeat(10_000));
        let long = Object(&parse_sent(long.as_bytes()).unwrap()).payer_within("m");
        assert_eq!(long, Err("the payer's id is too long".into()));
    }
}
