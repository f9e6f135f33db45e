//! One line of JSON for each failure, where it is answered. It reads alone and carries its identifiers as fields.

use super::bindings::{console_error, console_warn};
use crate::json::{Field, Json};

/// How bad it is.
#[derive(Clone, Copy)]
enum Level {
    /// Somebody else's fault that an operator should know of.
    Warn,
    /// Ours, or our platform's.
    Error,
}

/// A line to be written.
pub(super) struct Line {
    level: Level,
    fields: Vec<Field<'static>>,
}

impl Line {
    pub(super) fn warn(message: impl Into<String>) -> Self {
        Self::new(Level::Warn, "warn", message.into())
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::new(Level::Error, "error", message.into())
    }

    fn new(level: Level, name: &'static str, message: String) -> Self {
        Self { level, fields: Vec::new() }.with("level", name).with("message", message)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), Json::Text(value.into().into())));
        self
    }

    pub(super) fn write(self) {
        let line = Json::Object(self.fields).to_string();
        match self.level {
            Level::Warn => console_warn(&line),
            Level::Error => console_error(&line),
        }
    }
}
