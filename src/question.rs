//! What a check asks, and how it is written in a query or a JSON body.

use std::borrow::Cow;
use std::fmt;

use crate::json::{self, Fields, Unreadable};
use crate::payer::{MAX_PAYER_ID_BYTES, Payer, PayerKind};
use crate::time::Timestamp;

/// The most questions that one `POST /v1/check` may ask.
pub const MAX_QUESTIONS: usize = 100;
/// The longest name of a plan or feature, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// One question: every condition must hold. Without any, it asks for any paid plan.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Question {
    /// The conditions, in the order they were given.
    pub conditions: Vec<Condition>,
}

/// One thing that must be held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// A plan or a feature.
    pub what: What,
    /// Only of this kind of payer (`user:pro`, `org:team`).
    pub scope: Option<PayerKind>,
}

/// A plan or a feature, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A plan.
    Plan(String),
    /// A feature.
    Feature(String),
}

/// A question together with what the caller says about who asks. Only a server key may name payers.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The questions; exactly one for a `GET`.
    pub questions: Vec<Question>,
    /// Whether they came as a list, and are to be answered as one.
    pub is_list: bool,
    /// The user that a server asks for.
    pub user: Option<Payer>,
    /// The organization that a server asks for.
    pub org: Option<Payer>,
}

impl Question {
    /// Asks for a plan, a feature, or both, with their scopes.
    ///
    /// # Errors
    /// [`QuestionError`] for a name that is none.
    pub fn of(plan: Option<&str>, feature: Option<&str>) -> Result<Self, QuestionError> {
        let mut conditions = Vec::new();
        if let Some(plan) = plan {
            conditions.push(Condition::parse(What::Plan, plan)?);
        }
        if let Some(feature) = feature {
            conditions.push(Condition::parse(What::Feature, feature)?);
        }
        Ok(Self { conditions })
    }
}

impl Condition {
    fn parse(make: fn(String) -> What, text: &str) -> Result<Self, QuestionError> {
        let (scope, name) = match text.split_once(':') {
            None => (None, text),
            Some(("o" | "org" | "organization", name)) => (Some(PayerKind::Org), name),
            Some(("u" | "user", name)) => (Some(PayerKind::User), name),
            Some(_) => return Err(QuestionError::UnknownScope),
        };
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(':') || name.chars().any(char::is_control) {
            return Err(QuestionError::UnusableName);
        }
        Ok(Self { what: make(name.to_owned()), scope })
    }
}

impl Asked {
    /// Reads a query string: `plan`, `feature` (each any number of times), `user_id`, `org_id`.
    ///
    /// # Errors
    /// [`QuestionError`]; above all for a parameter we do not know: a misspelled condition that was passed over would
    /// leave the question "any paid plan", and its answer could be yes.
    pub fn from_query(query: &str) -> Result<Self, QuestionError> {
        Self::from_pairs(&mut form_urlencoded::parse(query.as_bytes()))
    }

    /// Reads a query string that may also say at what time: `at`, as RFC 3339.
    ///
    /// # Errors
    /// [`QuestionError`], as for a query without it.
    pub fn from_query_at(query: &str) -> Result<(Self, Option<Timestamp>), QuestionError> {
        let (times, rest): (Vec<_>, Vec<_>) =
            form_urlencoded::parse(query.as_bytes()).partition(|(name, _)| name == "at");
        let at = match times.as_slice() {
            [] => None,
            [(_, text)] => Some(Timestamp::parse_rfc3339(text).ok_or(QuestionError::UnusableTime)?),
            _ => return Err(QuestionError::UnusableTime),
        };
        Ok((Self::from_pairs(&mut rest.into_iter())?, at))
    }

    fn from_pairs<'a>(pairs: &mut dyn Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Result<Self, QuestionError> {
        let mut asked = Self::default();
        let mut question = Question::default();
        for (name, value) in pairs {
            match name.as_ref() {
                "plan" => question.conditions.push(Condition::parse(What::Plan, &value)?),
                "feature" => question.conditions.push(Condition::parse(What::Feature, &value)?),
                "user_id" if asked.user.is_none() => asked.user = Some(payer(PayerKind::User, &value)?),
                "org_id" if asked.org.is_none() => asked.org = Some(payer(PayerKind::Org, &value)?),
                "user_id" | "org_id" => return Err(QuestionError::GivenTwice),
                _ => return Err(QuestionError::UnknownParameter(name.chars().take(64).collect())),
            }
        }
        if question.conditions.len() > MAX_QUESTIONS {
            return Err(QuestionError::TooMany);
        }
        asked.questions.push(question);
        Ok(asked)
    }

    /// Reads a JSON body: `{"checks": [{"plan"?, "feature"?}, …], "user_id"?, "org_id"?}`, or the one question as
    /// `{"plan"?, "feature"?, "user_id"?, "org_id"?}`.
    ///
    /// # Errors
    /// [`QuestionError`], as for a query.
    pub fn from_json(body: &[u8]) -> Result<Self, QuestionError> {
        let body = Body::read(body).map_err(|error| QuestionError::UnreadableBody(error.to_string()))?;
        let single = body.single;
        let (checks, is_list) = match body.checks {
            None => (vec![single], false),
            Some(_) if single.plan.is_some() || single.feature.is_some() => return Err(QuestionError::ListAndSingle),
            Some(checks) if checks.is_empty() => return Err(QuestionError::NoQuestion),
            Some(checks) if checks.len() > MAX_QUESTIONS => return Err(QuestionError::TooMany),
            Some(checks) => (checks, true),
        };
        Ok(Self {
            questions: checks.iter().map(Check::question).collect::<Result<_, _>>()?,
            is_list,
            user: body.user_id.map(|id| payer(PayerKind::User, &id)).transpose()?,
            org: body.org_id.map(|id| payer(PayerKind::Org, &id)).transpose()?,
        })
    }
}

struct Body {
    checks: Option<Vec<Check>>,
    single: Check,
    user_id: Option<String>,
    org_id: Option<String>,
}

struct Check {
    plan: Option<String>,
    feature: Option<String>,
}

impl Body {
    fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let json = json::parse(body)?;
        let fields = Fields::of(&json)?.only(&["checks", "plan", "feature", "user_id", "org_id"])?;
        Ok(Self {
            checks: fields.objects("checks", |check| Check::read(check.only(&["plan", "feature"])?))?,
            single: Check::read(fields)?,
            user_id: fields.text("user_id")?,
            org_id: fields.text("org_id")?,
        })
    }
}

impl Check {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self { plan: fields.text("plan")?, feature: fields.text("feature")? })
    }

    fn question(&self) -> Result<Question, QuestionError> {
        Question::of(self.plan.as_deref(), self.feature.as_deref())
    }
}

fn payer(kind: PayerKind, id: &str) -> Result<Payer, QuestionError> {
    Payer::new(kind, id).ok_or(QuestionError::UnusablePayer)
}

/// Why a question cannot be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuestionError {
    /// A parameter that means nothing here.
    UnknownParameter(String),
    /// A scope other than Clerk's.
    UnknownScope,
    /// An empty, overlong or otherwise impossible name.
    UnusableName,
    /// An empty or overlong id.
    UnusablePayer,
    /// `user_id` or `org_id` more than once.
    GivenTwice,
    /// A time that is none, or two of them.
    UnusableTime,
    /// A body that is not the JSON we expect.
    UnreadableBody(String),
    /// A list of questions and one beside it.
    ListAndSingle,
    /// A query where the body asks.
    QueryBesideBody,
    /// An empty list of questions.
    NoQuestion,
    /// More than [`MAX_QUESTIONS`].
    TooMany,
    /// A server key says whom it asks for.
    NoPayer,
    /// A session token says itself whom it is about.
    PayerOfSession,
    /// A condition where everything is listed.
    NoConditionsHere,
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownParameter(name) => {
                write!(f, "`{name}` is not a parameter here; `plan`, `feature`, `user_id` and `org_id` are")
            }
            Self::UnknownScope => f.write_str("a scope is `user:` (`u:`) or `org:` (`o:`, `organization:`)"),
            Self::UnusableName => {
                write!(f, "a name has 1 to {MAX_NAME_BYTES} bytes, no colon and no control characters")
            }
            Self::UnusablePayer => write!(f, "an id has 1 to {MAX_PAYER_ID_BYTES} bytes"),
            Self::GivenTwice => f.write_str("`user_id` and `org_id` may be given once"),
            Self::UnusableTime => f.write_str("`at` is one RFC 3339 time, such as `2026-12-01T00:00:00Z`"),
            Self::UnreadableBody(cause) => write!(f, "the body is not the JSON that is expected here: {cause}"),
            Self::ListAndSingle => f.write_str("give either `checks` or `plan` and `feature`, not both"),
            Self::QueryBesideBody => f.write_str("a POST takes no query"),
            Self::NoQuestion => f.write_str("`checks` is empty"),
            Self::TooMany => write!(f, "at most {MAX_QUESTIONS} checks at once"),
            Self::NoPayer => f.write_str("a server key needs `user_id`, `org_id` or both"),
            Self::NoConditionsHere => {
                f.write_str("everything that is held is listed here; ask `/v1/check` about a `plan` or `feature`")
            }
            Self::PayerOfSession => {
                f.write_str("`user_id` and `org_id` are for server keys; a session token says whom it is about")
            }
        }
    }
}

impl std::error::Error for QuestionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, scope: Option<PayerKind>) -> Condition {
        Condition { what: What::Plan(name.into()), scope }
    }

    #[test]
    fn queries_are_read() {
        let cases = [
            ("", vec![]),
            ("plan=pro", vec![plan("pro", None)]),
            ("plan=u:pro", vec![plan("pro", Some(PayerKind::User))]),
            ("plan=user%3Apro", vec![plan("pro", Some(PayerKind::User))]),
            (
                "plan=organization:team&plan=o:x",
                vec![plan("team", Some(PayerKind::Org)), plan("x", Some(PayerKind::Org))],
            ),
            ("feature=org:a+b", vec![Condition { what: What::Feature("a b".into()), scope: Some(PayerKind::Org) }]),
        ];
        for (query, conditions) in cases {
            assert_eq!(Asked::from_query(query).unwrap().questions, vec![Question { conditions }], "{query}");
        }
    }

    #[test]
    fn unusable_queries_are_refused() {
        let cases = [
            ("plna=pro", QuestionError::UnknownParameter("plna".into())),
            ("plan=", QuestionError::UnusableName),
            ("plan=user:", QuestionError::UnusableName),
            ("plan=org:pro:x", QuestionError::UnusableName),
            ("plan=team:pro", QuestionError::UnknownScope),
            ("plan=a%00", QuestionError::UnusableName),
            ("user_id=", QuestionError::UnusablePayer),
            ("user_id=a&user_id=b", QuestionError::GivenTwice),
        ];
        for (query, expected) in cases {
            assert_eq!(Asked::from_query(query).unwrap_err(), expected, "{query}");
        }
    }

    #[test]
    fn a_time_may_be_asked_about_where_it_means_something() {
        let asked = Asked::from_query("plan=pro").unwrap();
        let at = Timestamp::parse_rfc3339("2026-12-01T00:00:00Z");
        for query in ["at=2026-12-01T00:00:00Z&plan=pro", "plan=pro&at=2026-12-01T01:00:00%2B01:00"] {
            assert_eq!(Asked::from_query_at(query), Ok((asked.clone(), at)), "{query}");
        }
        assert_eq!(Asked::from_query_at("plan=pro"), Ok((asked, None)));
        for query in ["at=yesterday", "at=", "at=2026-12-01T00:00:00Z&at=2026-12-01T00:00:00Z"] {
            assert_eq!(Asked::from_query_at(query), Err(QuestionError::UnusableTime), "{query}");
        }
        assert_eq!(Asked::from_query_at("plna=pro"), Err(QuestionError::UnknownParameter("plna".into())));
        assert_eq!(
            Asked::from_query("at=2026-12-01T00:00:00Z"),
            Err(QuestionError::UnknownParameter("at".into())),
            "a check is about now"
        );
    }

    #[test]
    fn bodies_are_read_as_one_question_or_as_a_list() {
        let asked = Asked::from_json(br#"{"plan":"pro","feature":"u:x","user_id":"user_1"}"#).unwrap();
        assert!(!asked.is_list);
        assert_eq!(asked.questions[0].conditions.len(), 2);
        assert_eq!(asked.user, Payer::new(PayerKind::User, "user_1"));
        let asked = Asked::from_json(br#"{"checks":[{"plan":"pro"},{}]}"#).unwrap();
        assert!(asked.is_list);
        assert_eq!(asked.questions, vec![Question { conditions: vec![plan("pro", None)] }, Question::default()]);
    }

    #[test]
    fn unusable_bodies_are_refused() {
        let many = format!(r#"{{"checks":[{}]}}"#, vec!["{}"; MAX_QUESTIONS + 1].join(","));
        let cases = [
            (r#"{"checks":[]}"#, QuestionError::NoQuestion),
            (r#"{"checks":[{}],"plan":"pro"}"#, QuestionError::ListAndSingle),
            (&many, QuestionError::TooMany),
        ];
        for (body, expected) in cases {
            assert_eq!(Asked::from_json(body.as_bytes()).unwrap_err(), expected);
        }
        for body in ["", "[]", r#"{"plna":"pro"}"#, r#"{"checks":[{"plna":"pro"}]}"#, r#"{"plan":1}"#] {
            assert!(matches!(Asked::from_json(body.as_bytes()), Err(QuestionError::UnreadableBody(_))), "{body}");
        }
    }
}
