//! JSON as it is read everywhere in this crate: a tree that borrows from the text, and readers of its objects, field by field.
//! What serde derives for each shape is some 3 kB of code each, which every isolate loads; here all shapes share one parser.
//!
//! **What is absent.** A field that is missing and one that is null are the same everywhere: absent. For [`Fields`], which
//! reads what we or operators wrote, that is all. What providers send (`provider::object`) is also absent where it is `""`.
//! A field of another kind than expected is never absent: it is an error that names the field.
//!
//! **A field twice.** In what we or operators wrote it is refused, because which of the two was meant? ([`parse`]) In what
//! others send the last one counts, as in most parsers. ([`parse_sent`])
//!
//! Nesting is bounded by `serde_json`: at 128 levels.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::ordered::{self, Set};
use crate::payer::Payer;
use crate::time::Timestamp;

/// The most fields of one object that [`parse`] takes: each name is compared with all before it. Ours have up to two dozen, and
/// a session token has room for few more than these.
const MAX_FIELDS: usize = 128;

/// JSON that is not what it should be, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl From<Unreadable> for String {
    fn from(unreadable: Unreadable) -> Self {
        unreadable.0
    }
}

impl Unreadable {
    /// Says what is wrong.
    pub fn new(complaint: impl Into<String>) -> Self {
        Self(complaint.into())
    }

    /// Says of a field that it is not what it should be.
    pub(crate) fn not(name: &str, what: &str) -> Self {
        Self(format!("`{name}` is not {what}"))
    }
}

/// A value. Texts without escapes are those of the text that was read.
#[derive(Clone, PartialEq, Debug)]
pub enum Json<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// A whole number above all of [`Whole`](Self::Whole).
    Large(u64),
    /// A number with a fraction or an exponent, or one that is too large for the others.
    Fraction(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Json<'a>>),
    /// The fields of an object, as they were written.
    Object(Vec<Field<'a>>),
}

/// A field of an object: its name and its value.
pub type Field<'a> = (Cow<'a, str>, Json<'a>);

/// Reads what we or operators wrote. An object that names a field twice is refused, and one of more than 128 fields.
///
/// # Errors
/// [`Unreadable`].
pub fn parse(json: &[u8]) -> Result<Json<'_>, Unreadable> {
    read(json, Reader { is_once: true })
}

/// Reads what somebody else wrote. Of a field that is there twice the last counts.
///
/// # Errors
/// [`Unreadable`].
pub fn parse_sent(json: &[u8]) -> Result<Json<'_>, Unreadable> {
    read(json, Reader { is_once: false })
}

/// Everything is read as text: a second parser, for bytes, would be 3 kB more.
fn read(json: &[u8], reader: Reader) -> Result<Json<'_>, Unreadable> {
    let wrong = |error: serde_json::Error| Unreadable(error.to_string());
    let text = std::str::from_utf8(json).map_err(|error| Unreadable(error.to_string()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = reader.deserialize(&mut deserializer).map_err(wrong)?;
    deserializer.end().map_err(wrong)?;
    Ok(value)
}

/// An object of these fields.
#[must_use]
pub fn object<'a>(fields: Vec<(&'static str, Json<'a>)>) -> Json<'a> {
    Json::Object(fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
}

impl From<Option<String>> for Json<'_> {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.into()))
    }
}

impl<'a> Json<'a> {
    /// A field, null or not; none where this is no object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        field(fields, name)
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// A text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// True or false.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// A whole number.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Whole(number) = self { Some(*number) } else { None }
    }

    /// A whole number from 0.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Whole(number) => u64::try_from(*number).ok(),
            Self::Large(number) => Some(*number),
            _ => None,
        }
    }

    /// A number, whole or not.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "as every reader of JSON does where numbers are floating")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Large(number) => Some(*number as f64),
            Self::Fraction(number) => Some(*number),
            _ => None,
        }
    }

    /// The entries of a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Json<'a>]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }
}

/// Of two of one name the last.
fn field<'a, 'b>(fields: &'b [Field<'a>], name: &str) -> Option<&'b Json<'a>> {
    fields.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// The fields of an object. One that is null counts as left out.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [Field<'a>]);

impl<'a> Fields<'a> {
    /// Those of a value that is an object.
    ///
    /// # Errors
    /// [`Unreadable`] for anything else, as everywhere here.
    pub fn of(json: &'a Json<'a>) -> Result<Self, Unreadable> {
        Self::within(json).ok_or_else(|| Unreadable("an object was expected".into()))
    }

    fn within(json: &'a Json<'a>) -> Option<Self> {
        if let Json::Object(fields) = json { Some(Self(fields)) } else { None }
    }

    /// The same, if it has no other fields than these: a misspelled one must not be passed over.
    ///
    /// # Errors
    /// Names the first that is none of these.
    pub fn only(self, known: &[&str]) -> Result<Self, Unreadable> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_ref())) {
            None => Ok(self),
            Some((unknown, _)) => {
                Err(Unreadable(format!("unknown field `{unknown}`, expected one of `{}`", known.join("`, `"))))
            }
        }
    }

    /// What is read must be there: `fields.need("by", Fields::text)`.
    ///
    /// # Errors
    /// Where it is not, and where it is not what it should be.
    pub fn need<T>(self, name: &str, read: fn(Self, &str) -> Result<Option<T>, Unreadable>) -> Result<T, Unreadable> {
        read(self, name)?.ok_or_else(|| Unreadable(format!("missing field `{name}`")))
    }

    /// A field as it is.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a Json<'a>> {
        field(self.0, name).filter(|value| !value.is_null())
    }

    fn read<T>(
        self,
        name: &str,
        what: &str,
        read: impl FnOnce(&'a Json<'a>) -> Option<T>,
    ) -> Result<Option<T>, Unreadable> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Unreadable::not(name, what))
    }

    /// A text.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn text(self, name: &str) -> Result<Option<String>, Unreadable> {
        self.read(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Yes or no.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn truth(self, name: &str) -> Result<Option<bool>, Unreadable> {
        self.read(name, "true or false", Json::as_bool)
    }

    /// A number of things.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn count(self, name: &str) -> Result<Option<u64>, Unreadable> {
        self.read(name, "a whole number from 0", Json::as_u64)
    }

    /// A whole number.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn whole(self, name: &str) -> Result<Option<i64>, Unreadable> {
        self.read(name, "a whole number", Json::as_i64)
    }

    /// A number, whole or not.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn number(self, name: &str) -> Result<Option<f64>, Unreadable> {
        self.read(name, "a number", Json::as_f64)
    }

    /// A number of things of which there are few.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn small_count(self, name: &str) -> Result<Option<u32>, Unreadable> {
        self.read(name, "a whole number from 0 to 4294967295", |value| u32::try_from(value.as_i64()?).ok())
    }

    /// The payer of that key.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn payer(self, name: &str) -> Result<Option<Payer>, Unreadable> {
        self.read(name, "the key of a payer", |value| Payer::from_key(value.as_str()?))
    }

    /// A moment in milliseconds, the form it is stored in.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn moment(self, name: &str) -> Result<Option<Timestamp>, Unreadable> {
        Ok(self.whole(name)?.map(Timestamp::from_millis))
    }

    /// An object.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn object(self, name: &str) -> Result<Option<Self>, Unreadable> {
        self.read(name, "an object", Self::within)
    }

    /// The entries of an object.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, &'a Json<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// A list.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn list(self, name: &str) -> Result<Option<&'a [Json<'a>]>, Unreadable> {
        self.read(name, "a list", Json::as_list)
    }

    /// A list of objects.
    ///
    /// # Errors
    /// Where it is something else, or one of them cannot be read.
    pub fn objects<T>(self, name: &str, read: fn(Self) -> Result<T, Unreadable>) -> Result<Option<Vec<T>>, Unreadable> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let mut all = Vec::with_capacity(list.len());
        for one in list {
            all.push(read(Fields::of(one)?)?);
        }
        Ok(Some(all))
    }

    /// A list of texts.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn texts(self, name: &str) -> Result<Option<Vec<String>>, Unreadable> {
        self.read(name, "a list of texts", texts)
    }

    /// A list of texts, as a set.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn text_set(self, name: &str) -> Result<Option<Set<String>>, Unreadable> {
        Ok(self.texts(name)?.map(ordered::set))
    }
}

fn texts(list: &Json<'_>) -> Option<Vec<String>> {
    let list = list.as_list()?;
    let mut texts = Vec::with_capacity(list.len());
    for one in list {
        texts.push(one.as_str()?.to_owned());
    }
    Some(texts)
}

/// The one way in which JSON becomes a tree.
#[derive(Clone, Copy)]
struct Reader {
    /// No object may name a field twice.
    is_once: bool,
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Whole(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(number).map_or(Json::Large(number), Json::Whole))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Fraction(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_element_seed(self)? {
            list.push(member);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json<'de>, A::Error> {
        let mut object: Vec<Field<'de>> = Vec::new();
        // A name is read like any other text.
        while let Some(Json::Text(name)) = fields.next_key_seed(self)? {
            if self.is_once {
                if field(&object, &name).is_some() {
                    return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                }
                if object.len() == MAX_FIELDS {
                    return Err(A::Error::custom(format_args!("an object of more than {MAX_FIELDS} fields")));
                }
            }
            object.push((name, fields.next_value_seed(self)?));
        }
        Ok(Json::Object(object))
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reader { is_once: false }.deserialize(deserializer)
    }
}

impl fmt::Display for Json<'_> {
    /// As JSON, without spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Whole(number) => serializer.serialize_i64(*number),
            Self::Large(number) => serializer.serialize_u64(*number),
            // Nothing that we hold or write has one, and what prints them carries a table of powers of ten.
            Self::Fraction(number) => match whole(*number) {
                Some(number) => serializer.serialize_i64(number),
                None => Err(serde::ser::Error::custom("a number with a fraction can be read, but not written")),
            },
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => serializer.collect_seq(list),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

/// The whole number that this is, below 2^53, where all of them are exact.
#[allow(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.trunc().to_bits() == number.to_bits() && number.abs() < EXACT).then_some(number as i64)
}

/// JSON that stands within an answer as it was stored. (The raw value of `serde_json` would do, at 30 kB more.)
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Embedded(String);

impl Embedded {
    /// Takes a text that is JSON.
    ///
    /// # Errors
    /// [`Unreadable`] where it is not.
    pub fn parse(text: String) -> Result<Self, Unreadable> {
        parse_sent(text.as_bytes())?;
        Ok(Self(text))
    }
}

impl Serialize for Embedded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        parse_sent(self.0.as_bytes()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let json = parse(br#"{"text":"a","count":-1,"list":["a",{"b":1}],"nothing":null}"#).unwrap();
        let fields = Fields::of(&json).unwrap();
        assert_eq!(fields.need("text", Fields::text), Ok("a".to_owned()));
        assert_eq!(fields.text("nothing"), Ok(None));
        let complaints = [
            (fields.count("count").map(|_| ()), "`count` is not a whole number from 0"),
            (fields.text("count").map(|_| ()), "`count` is not a text"),
            (fields.texts("list").map(|_| ()), "`list` is not a list of texts"),
            (fields.need("nothing", Fields::truth).map(|_| ()), "missing field `nothing`"),
            (
                fields.only(&["text", "count", "list"]).map(|_| ()),
                "unknown field `nothing`, expected one of `text`, `count`, `list`",
            ),
        ];
        for (read, complaint) in complaints {
            assert_eq!(read.unwrap_err().to_string(), complaint);
        }
    }

    #[test]
    fn it_reads_what_serde_json_reads() {
        for json in [
            r#"{"a":[1,-2,9223372036854775808,true,null,"\u00e9\ud83d\ude00\n"],"b":{},"":[]}"#,
            "7",
            "[]",
            r#" "a" "#,
            r#"{"a":{"a":1},"b":{"a":1}}"#,
        ] {
            let expected: serde_json::Value = serde_json::from_str(json).unwrap();
            for read in [parse(json.as_bytes()).unwrap(), parse_sent(json.as_bytes()).unwrap()] {
                assert_eq!(serde_json::to_value(read).unwrap(), expected);
            }
        }
        for json in ["", "{", "{} {}", "[1,]", "nul", r#"{"a":"#, r"{a:1}", "{1:1}", "1e999", "\u{feff}{}"] {
            let error = serde_json::from_str::<serde_json::Value>(json).unwrap_err();
            assert_eq!(parse(json.as_bytes()).unwrap_err().to_string(), error.to_string());
        }
        let not_utf8 = parse(b"{\"a\":\"\xff\"}").unwrap_err();
        assert_eq!(not_utf8.to_string(), "invalid utf-8 sequence of 1 bytes from index 6");
    }

    #[test]
    fn a_number_that_is_not_whole_is_read_and_never_written() {
        for (json, written) in
            [("[7.0]", Some("[7]")), ("[-1e3]", Some("[-1000]")), ("[0.5]", None), ("[18446744073709551616]", None)]
        {
            let read = parse_sent(json.as_bytes()).unwrap();
            assert_eq!(read.as_list().unwrap()[0].as_f64(), serde_json::from_str::<Vec<f64>>(json).unwrap().pop());
            assert_eq!(serde_json::to_string(&read).ok().as_deref(), written, "{json}");
        }
    }

    #[test]
    fn only_a_text_with_escapes_is_copied() {
        let json = parse(br#"{"a":"plain","\n":"a\"b"}"#).unwrap();
        let Json::Object(fields) = json else { panic!("{json:?}") };
        let is_borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
        let shown = fields.iter().map(|(name, value)| match value {
            Json::Text(text) => (is_borrowed(name), is_borrowed(text)),
            other => panic!("{other:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>(), [(true, true), (false, false)]);
    }

    #[test]
    fn a_field_twice_is_refused_in_what_is_ours_and_elsewhere_the_last_counts() {
        let twice = br#"[{"a":1,"b":0,"a":2}]"#;
        assert_eq!(parse(twice).unwrap_err().to_string(), "duplicate field `a` at line 1 column 17");
        let sent = parse_sent(twice).unwrap();
        assert_eq!(sent.as_list().unwrap()[0].get("a"), Some(&Json::Whole(2)));
    }

    #[test]
    fn what_is_ours_has_few_fields_and_nothing_is_nested_without_end() {
        let wide =
            |fields: usize| format!("{{{}}}", (0..fields).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
        assert!(parse(wide(128).as_bytes()).is_ok() && parse_sent(wide(129).as_bytes()).is_ok());
        let refused = parse(wide(129).as_bytes()).unwrap_err().to_string();
        assert!(refused.starts_with("an object of more than 128 fields at line 1"), "{refused}");

        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for read in [parse, parse_sent] {
            assert!(read(deep(127).as_bytes()).is_ok());
            assert_eq!(
                read(deep(128).as_bytes()).unwrap_err().to_string(),
                "recursion limit exceeded at line 1 column 128"
            );
        }
    }

    #[test]
    fn numbers_are_what_they_are_asked_for_as_if_they_fit() {
        let cases = [
            ("7", Some(7), Some(7), Some(7.0)),
            ("-7", Some(-7), None, Some(-7.0)),
            ("9223372036854775808", None, Some(1 << 63), Some(9_223_372_036_854_775_808.0)),
            ("7.0", None, None, Some(7.0)),
            ("\"7\"", None, None, None),
        ];
        for (text, whole, count, number) in cases {
            let json = parse(text.as_bytes()).unwrap();
            assert_eq!((json.as_i64(), json.as_u64(), json.as_f64()), (whole, count, number), "{text}");
        }
    }
}
