//! One line of JSON for each failure, where it is answered. It reads alone and carries its identifiers as fields.

use serde_json::{Map, Value};

use super::bindings::{console_error, console_warn};

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
    fields: Map<String, Value>,
}

impl Line {
    pub(super) fn warn(message: impl Into<String>) -> Self {
        Self::new(Level::Warn, "warn", message.into())
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::new(Level::Error, "error", message.into())
    }

    fn new(level: Level, name: &str, message: String) -> Self {
        let fields = [("level", name.to_owned()), ("message", message)];
        let mut map = Map::new();
        map.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
        Self { level, fields: map }
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.insert(name.to_owned(), value.into().into());
        self
    }

    pub(super) fn write(self) {
        let line = Value::Object(self.fields).to_string();
        match self.level {
            Level::Warn => console_warn(&line),
            Level::Error => console_error(&line),
        }
    }
}
