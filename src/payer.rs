//! Who pays and holds access: a user or an organization.

use std::fmt;

use serde::Serialize;

use crate::json::{Fields, Unreadable};

/// The longest accepted payer id, in bytes. A KV key may have 512 bytes and holds the id with a short prefix.
pub const MAX_PAYER_ID_BYTES: usize = 255;

/// The two kinds of payer. Plans of the two are separate: the same slug may exist in both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PayerKind {
    /// A person.
    User,
    /// An organization.
    Org,
}

impl PayerKind {
    /// `user` or `org`, as in keys and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Org => "org",
        }
    }

    /// A field that names one.
    pub(crate) fn read(fields: Fields<'_>, name: &str) -> Result<Option<Self>, Unreadable> {
        match fields.text(name)?.as_deref() {
            None => Ok(None),
            Some("user") => Ok(Some(Self::User)),
            Some("org") => Ok(Some(Self::Org)),
            Some(_) => Err(Unreadable::new(format!("`{name}` is neither `user` nor `org`"))),
        }
    }

    /// The slug Clerk gives the default plan of this kind of payer.
    #[must_use]
    pub fn default_free_plan(self) -> &'static str {
        match self {
            Self::User => "free_user",
            Self::Org => "free_org",
        }
    }
}

/// A payer: its kind and the id the identity provider gave it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Payer {
    #[serde(rename = "type")]
    kind: PayerKind,
    id: String,
}

impl Payer {
    /// A payer, unless `id` is empty or longer than [`MAX_PAYER_ID_BYTES`].
    #[must_use]
    pub fn new(kind: PayerKind, id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (!id.is_empty() && id.len() <= MAX_PAYER_ID_BYTES).then_some(Self { kind, id })
    }

    /// A payer from its [`key`](Self::key).
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let (kind, id) = key.split_once(':')?;
        let kind = match kind {
            "user" => PayerKind::User,
            "org" => PayerKind::Org,
            _ => return None,
        };
        Self::new(kind, id)
    }

    /// User or organization.
    #[must_use]
    pub fn kind(&self) -> PayerKind {
        self.kind
    }

    /// The id, without its kind.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `user:<id>` or `org:<id>`: the one text that names a payer in D1 and, with a prefix, in KV.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.id)
    }
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_an_unusable_id_is_none() {
        let payer = Payer::new(PayerKind::Org, "org_1:x").unwrap();
        assert_eq!(payer.key(), "org:org_1:x");
        assert_eq!(Payer::from_key(&payer.key()), Some(payer));
        for key in ["user:", "org", "team:x", ""] {
            assert_eq!(Payer::from_key(key), None, "{key}");
        }
        assert_eq!(Payer::new(PayerKind::User, "x".repeat(MAX_PAYER_ID_BYTES + 1)), None);
    }
}
