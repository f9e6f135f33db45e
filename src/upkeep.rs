//! What operators ask of upkeep: that a payer's data be erased or handed over, that the state be derived anew.

use std::fmt::{self, Write as _};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::grant::Signed;
use crate::json::{self, Embedded, Fields, Json, Unreadable};
use crate::payer::{Payer, PayerKind};

/// The longest text of an operator, in bytes.
const MAX_TEXT_BYTES: usize = 500;
/// Rows on a page of an export, unless `limit` says otherwise, and the most there may be.
const MAX_EXPORT_LIMIT: u32 = 500;

/// That everything held on a payer be erased.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erasure {
    /// Whose data.
    pub payer: Payer,
    signed: Signed,
}

impl Erasure {
    /// Reads `{"user_id" | "org_id", "by", "why"}`.
    ///
    /// # Errors
    /// [`UpkeepError`]; also where `by` or `why` repeat the payer's id, which would stay in the ledger.
    pub fn from_json(body: &[u8]) -> Result<Self, UpkeepError> {
        let json = json::parse(body)?;
        let fields = Fields::of(&json)?.only(&["user_id", "org_id", "by", "why"])?;
        let Signed { by, why } = Signed::read(fields)?;
        let (kind, id) = match (fields.text("user_id")?, fields.text("org_id")?) {
            (Some(id), None) => (PayerKind::User, id),
            (None, Some(id)) => (PayerKind::Org, id),
            _ => return Err(UpkeepError::NotOnePayer),
        };
        let payer = Payer::new(kind, id).ok_or(UpkeepError::UnusablePayer)?;
        let signed = Signed { by: text(by, "by")?, why: text(why, "why")? };
        if [&signed.by, &signed.why].into_iter().any(|text| text.contains(payer.id())) {
            return Err(UpkeepError::NamesThePayer);
        }
        Ok(Self { payer, signed })
    }

    /// What the ledger keeps of it.
    #[must_use]
    pub(crate) fn detail(&self) -> String {
        let Signed { by, why } = &self.signed;
        let payer = digest(&self.payer);
        let [by, why] = [by, why].map(|text| Json::Text(text.into()));
        json::object(vec![("by", by), ("payer_sha256", Json::Text(payer.into())), ("why", why)]).to_string()
    }
}

/// The SHA-256 of a payer's key in hexadecimal digits: it says whose the data was to one who knows the id already.
#[must_use]
pub fn digest(payer: &Payer) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(payer.key()) {
        // Writing to a text cannot fail.
        let _ok = write!(digits, "{byte:02x}");
    }
    digits
}

/// That the state be derived anew from the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rebuild {
    /// Whether what is found takes the place of what is held.
    pub replace: bool,
    by: String,
}

impl Rebuild {
    /// Reads `{"replace", "by"}`.
    ///
    /// # Errors
    /// [`UpkeepError`].
    pub fn from_json(body: &[u8]) -> Result<Self, UpkeepError> {
        let json = json::parse(body)?;
        let fields = Fields::of(&json)?.only(&["replace", "by"])?;
        let replace = fields.need("replace", Fields::truth)?;
        Ok(Self { replace, by: text(fields.need("by", Fields::text)?, "by")? })
    }

    /// What the ledger keeps of it.
    #[must_use]
    pub(crate) fn detail(&self) -> String {
        json::object(vec![("by", Json::Text((&self.by).into())), ("replace", Json::Bool(self.replace))]).to_string()
    }
}

/// What a rebuild found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of records.
    pub records: Compared,
    /// Of payments.
    pub payments: Compared,
    /// Of tombstones of payers.
    pub deletions: Compared,
    /// How many payers' state differs.
    pub changed_payers: u64,
    /// The first of them.
    #[serde(skip_serializing)]
    pub changed: Vec<String>,
    /// The first differences: `table`, `key`, `columns`, `live` and `rebuilt`.
    pub differences: Embedded,
}

impl Report {
    /// Reads what the database answers.
    ///
    /// # Errors
    /// [`Unreadable`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let json = json::parse(text.as_bytes())?;
        let fields = Fields::of(&json)?;
        // As they were written, their fields in that order.
        let differences = fields.get("differences").ok_or_else(|| Unreadable::new("missing field `differences`"))?;
        let differences = Embedded::parse(differences.to_string())?;
        Ok(Self {
            records: Compared::read(fields, "records")?,
            payments: Compared::read(fields, "payments")?,
            deletions: Compared::read(fields, "deletions")?,
            changed_payers: fields.need("changed_payers", Fields::count)?,
            changed: fields.need("changed", Fields::texts)?,
            differences,
        })
    }
}

/// How many rows there are, and how many are not the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Compared {
    /// As held.
    pub live: u64,
    /// As derived from the ledger.
    pub rebuilt: u64,
    /// Rows that are not the same, or only in one of the two.
    pub different: u64,
}

impl Compared {
    fn read(fields: Fields<'_>, name: &str) -> Result<Self, Unreadable> {
        let fields = fields.need(name, Fields::object)?;
        Ok(Self {
            live: fields.need("live", Fields::count)?,
            rebuilt: fields.need("rebuilt", Fields::count)?,
            different: fields.need("different", Fields::count)?,
        })
    }
}

/// Which rows to hand over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// Whose; the whole ledger where it is nobody's.
    pub payer: Option<Payer>,
    /// After this row of the ledger: what the page before linked to.
    pub cursor: Option<u64>,
    /// At most so many rows of the ledger.
    pub limit: u32,
}

impl Export {
    /// Reads a query string: `payer` (`user:…` or `org:…`), `cursor`, `limit`.
    ///
    /// # Errors
    /// [`UpkeepError`]; also for a parameter that is not one of these, because a misspelled payer would hand over everybody.
    pub fn from_query(query: &str) -> Result<Self, UpkeepError> {
        let mut export = Self { payer: None, cursor: None, limit: MAX_EXPORT_LIMIT };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "payer" => export.payer = Some(Payer::from_key(&value).ok_or(UpkeepError::UnusablePayer)?),
                "cursor" => {
                    let cursor = value.parse().ok().filter(|cursor| i64::try_from(*cursor).is_ok());
                    export.cursor = Some(cursor.ok_or(UpkeepError::UnusableCursor)?);
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_EXPORT_LIMIT).contains(limit));
                    export.limit = limit.ok_or(UpkeepError::UnusableLimit)?;
                }
                _ => return Err(UpkeepError::UnknownParameter(name.chars().take(64).collect())),
            }
        }
        Ok(export)
    }

    /// The query of the page after the one that ends with this row.
    #[must_use]
    pub fn next(&self, last: u64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(payer) = &self.payer {
            query.append_pair("payer", &payer.key());
        }
        query.append_pair("limit", &self.limit.to_string()).append_pair("cursor", &last.to_string()).finish()
    }
}

/// A payer's key as it stands in a path: `user:…` or `org:…`, percent-encoded or not.
#[must_use]
pub fn payer_in_path(segment: &str) -> Option<Payer> {
    // In a query a plus is a space and an ampersand ends the value; in a path they are what they are.
    let query = format!("payer={}", segment.replace('+', "%2B").replace('&', "%26"));
    let (_, key) = form_urlencoded::parse(query.as_bytes()).next()?;
    Payer::from_key(&key)
}

fn text(text: String, name: &'static str) -> Result<String, UpkeepError> {
    let is_usable = !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES;
    if is_usable { Ok(text) } else { Err(UpkeepError::UnusableText { name }) }
}

/// Why an operator's request cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpkeepError {
    /// Not the JSON that is expected.
    Unreadable(String),
    /// Neither or both of `user_id` and `org_id`.
    NotOnePayer,
    /// An empty or overlong id, or a key that is none.
    UnusablePayer,
    /// Who or why is not said.
    UnusableText {
        /// Which.
        name: &'static str,
    },
    /// Who or why repeats the id that is to be erased.
    NamesThePayer,
    /// A parameter that means nothing here.
    UnknownParameter(String),
    /// A cursor that no page answered.
    UnusableCursor,
    /// No number, or one out of range.
    UnusableLimit,
}

impl fmt::Display for UpkeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(f, "the body is not the JSON that is expected here: {cause}"),
            Self::NotOnePayer => f.write_str("give either `user_id` or `org_id`"),
            Self::UnusablePayer => f.write_str("a payer is `user:…` or `org:…`, with an id of 1 to 255 bytes"),
            Self::UnusableText { name } => write!(f, "`{name}` is said in 1 to {MAX_TEXT_BYTES} bytes"),
            Self::NamesThePayer => f.write_str("`by` and `why` are kept, so they must not name whom they erase"),
            Self::UnknownParameter(name) => write!(f, "`{name}` is not a parameter here"),
            Self::UnusableCursor => f.write_str("`cursor` is what the page before linked to"),
            Self::UnusableLimit => write!(f, "`limit` is a number from 1 to {MAX_EXPORT_LIMIT}"),
        }
    }
}

impl std::error::Error for UpkeepError {}

impl From<Unreadable> for UpkeepError {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_carried_out_is_refused_by_name() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let cases = [
            (r#"{"by":"ada","why":"asked"}"#.to_owned(), UpkeepError::NotOnePayer),
            (r#"{"user_id":"u","org_id":"o","by":"ada","why":"asked"}"#.to_owned(), UpkeepError::NotOnePayer),
            (r#"{"user_id":"","by":"ada","why":"asked"}"#.to_owned(), UpkeepError::UnusablePayer),
            (r#"{"user_id":"user_1","by":" ","why":"asked"}"#.to_owned(), UpkeepError::UnusableText { name: "by" }),
            (format!(r#"{{"user_id":"user_1","by":"ada","why":"{long}"}}"#), UpkeepError::UnusableText { name: "why" }),
            (r#"{"user_id":"user_1","by":"ada","why":"user_1 asked"}"#.to_owned(), UpkeepError::NamesThePayer),
        ];
        for (body, expected) in cases {
            assert_eq!(Erasure::from_json(body.as_bytes()).unwrap_err(), expected, "{body}");
        }
        for body in ["", "{}", r#"{"user_id":"u","by":"ada"}"#, r#"{"user_id":"u","by":"a","why":"b","plan":"pro"}"#] {
            assert!(matches!(Erasure::from_json(body.as_bytes()), Err(UpkeepError::Unreadable(_))), "{body}");
        }
        assert!(Erasure::from_json(br#"{"org_id":"org_1","by":"ada","why":"asked"}"#).is_ok());
        for body in ["", "{}", r#"{"by":"ada"}"#, r#"{"replace":1,"by":"ada"}"#, r#"{"replace":true,"by":"a","x":1}"#] {
            assert!(matches!(Rebuild::from_json(body.as_bytes()), Err(UpkeepError::Unreadable(_))), "{body}");
        }
        let unsigned = Rebuild::from_json(br#"{"replace":true,"by":""}"#);
        assert_eq!(unsigned.unwrap_err(), UpkeepError::UnusableText { name: "by" });
    }

    #[test]
    fn an_export_is_read_and_its_next_page_is_too() {
        let export = Export::from_query("payer=user:a%26b&limit=7").unwrap();
        assert_eq!(export, Export { payer: Payer::from_key("user:a&b"), cursor: None, limit: 7 });
        let next = Export::from_query(&export.next(42)).unwrap();
        assert_eq!(next, Export { cursor: Some(42), ..export });
        let cases = [
            ("payr=user:u", UpkeepError::UnknownParameter("payr".into())),
            ("payer=u", UpkeepError::UnusablePayer),
            ("cursor=-1", UpkeepError::UnusableCursor),
            ("cursor=18446744073709551615", UpkeepError::UnusableCursor),
            ("limit=0", UpkeepError::UnusableLimit),
            ("limit=501", UpkeepError::UnusableLimit),
        ];
        for (query, expected) in cases {
            assert_eq!(Export::from_query(query).unwrap_err(), expected, "{query}");
        }
    }

    #[test]
    fn a_payer_in_a_path_may_be_percent_encoded() {
        for segment in ["user:a+b&c", "user%3Aa%2Bb%26c"] {
            assert_eq!(payer_in_path(segment), Payer::from_key("user:a+b&c"), "{segment}");
        }
        for segment in ["", "user_1", "user:", "team:x"] {
            assert_eq!(payer_in_path(segment), None, "{segment}");
        }
    }

    #[test]
    fn a_digest_is_that_of_the_payers_key() {
        let expected = "7901e753321589f9b07f888d9ad7f18ef9edf2efeb9626a11a438ec800e2b320";
        assert_eq!(digest(&Payer::from_key("user:user_1").unwrap()), expected);
    }
}
