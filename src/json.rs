//! JSON objects read by hand, where speed does not matter: requests of operators, what the database answers to them, settings.
//! The readers that serde derives are faster and some 3 kB each, which every isolate loads; these are some lines each.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::ordered::{self, Set};
use crate::time::Timestamp;

/// JSON that is not what it should be, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Unreadable {
    /// Says what is wrong.
    pub fn new(complaint: impl Into<String>) -> Self {
        Self(complaint.into())
    }

    fn not(name: &str, what: &str) -> Self {
        Self(format!("`{name}` is not {what}"))
    }
}

/// Reads a text as JSON. An object that names a field twice is refused: which of the two was meant?
///
/// # Errors
/// [`Unreadable`].
pub fn parse(json: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_slice::<Once>(json).map(|Once(value)| value).map_err(|error| Unreadable(error.to_string()))
}

/// The fields of an object. One that is null counts as left out.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// Those of a value that is an object.
    ///
    /// # Errors
    /// [`Unreadable`] for anything else, as everywhere here.
    pub fn of(json: &'a Value) -> Result<Self, Unreadable> {
        json.as_object().map(Self).ok_or_else(|| Unreadable("an object was expected".into()))
    }

    /// The same, if it has no other fields than these: a misspelled one must not be passed over.
    ///
    /// # Errors
    /// Names the first that is none of these.
    pub fn only(self, known: &[&str]) -> Result<Self, Unreadable> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some(unknown) => {
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
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn read<T>(
        self,
        name: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
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
        self.read(name, "true or false", Value::as_bool)
    }

    /// A number of things.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn count(self, name: &str) -> Result<Option<u64>, Unreadable> {
        self.read(name, "a whole number from 0", Value::as_u64)
    }

    /// A whole number.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn whole(self, name: &str) -> Result<Option<i64>, Unreadable> {
        self.read(name, "a whole number", Value::as_i64)
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
        self.read(name, "an object", |value| value.as_object().map(Self))
    }

    /// The entries of an object.
    pub fn entries(self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.0.iter()
    }

    /// A list.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn list(self, name: &str) -> Result<Option<&'a [Value]>, Unreadable> {
        self.read(name, "a list", |value| value.as_array().map(Vec::as_slice))
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

fn texts(list: &Value) -> Option<Vec<String>> {
    let list = list.as_array()?;
    let mut texts = Vec::with_capacity(list.len());
    for one in list {
        texts.push(one.as_str()?.to_owned());
    }
    Some(texts)
}

/// A value in which no object names a field twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(member)) = members.next_element()? {
            list.push(member);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Once(value))) = fields.next_entry::<String, Once>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
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
    fn it_reads_what_serde_json_reads_but_no_field_twice() {
        for json in [r#"{"a":[1,-2,0.5,18446744073709551615,true,null,"\u00e9"],"b":{}}"#, "7", "[]"] {
            assert_eq!(parse(json.as_bytes()).unwrap(), serde_json::from_str::<Value>(json).unwrap());
        }
        for json in ["", "{", "{} {}", "[1,]", "nul"] {
            let error = serde_json::from_str::<Value>(json).unwrap_err();
            assert_eq!(parse(json.as_bytes()).unwrap_err().to_string(), error.to_string());
        }
        let twice = parse(br#"[{"a":1,"a":1}]"#).unwrap_err();
        assert_eq!(twice.to_string(), "duplicate field `a` at line 1 column 14");
    }
}
