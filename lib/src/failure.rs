//! What goes wrong, by code.

use std::fmt::Display;

use plangate::json::Unreadable;
use serde_json::json;

/// What was asked cannot be done.
#[derive(Debug)]
pub struct Failure {
    code: &'static str,
    detail: String,
}

impl Failure {
    /// A failure with the code that callers tell it by.
    pub fn new(code: &'static str, detail: impl Display) -> Self {
        Self { code, detail: detail.to_string() }
    }

    /// An argument that is not what the types say.
    pub fn request(detail: impl Display) -> Self {
        Self::new("invalid_request", detail)
    }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        Self::request(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::request(error)
    }
}

/// The answer, or the failure in its place.
pub fn text(answer: Result<String, Failure>) -> String {
    answer.unwrap_or_else(|Failure { code, detail }| json!({"error": {"code": code, "detail": detail}}).to_string())
}
