//! The one place that prints.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Writes one line to stdout, at once: what reads it may be waiting for it.
///
/// # Errors
/// [`Failure::NobodyReads`] when the reader has gone.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::NoAnswer(format!("stdout cannot be written ({error}); check where it is redirected to")),
    })
}

/// Writes one line of JSON to stdout.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::NoAnswer(format!("the answer cannot be written as JSON ({error}); report this")))?;
    line(&text)
}

/// Writes one sentence to stderr. There is nobody left to tell if that fails.
pub fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{sentence}");
}
