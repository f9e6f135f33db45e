//! How a command ends. `main` turns it into the exit code.

/// A command that was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Exit code 0.
    Yes,
    /// Exit code 1. What it says stands on stdout.
    No,
    /// Exit code 3: something answered, but not the question. What it said stands on stdout.
    Unusable,
}

/// A command that was not carried out. Each text is one lowercase sentence that says what to do, without a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Exit code 3: there is no usable answer (nobody is there, or somebody else; the database fails).
    NoAnswer(String),
    /// Exit code 2: what was given cannot be used.
    Usage(String),
    /// Exit code 3, and not a word: whoever read our output stopped (`plangate simulate … | head`).
    NobodyReads,
}

/// Whatever is wrong with what the caller gave.
pub fn usage(sentence: impl Into<String>) -> Failure {
    Failure::Usage(sentence.into())
}
