//! Settings on a developer's machine: the environment, else `.dev.vars` in the working directory, where wrangler
//! looks for them too.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use crate::failure::{Failure, usage};

const FILE: &str = ".dev.vars";

/// What is set here.
pub struct LocalSettings {
    file: BTreeMap<String, String>,
    has_file: bool,
}

impl LocalSettings {
    /// Reads `.dev.vars`, if there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read() -> Result<Self, Failure> {
        match std::fs::read_to_string(FILE) {
            Ok(text) => Ok(Self { file: parse_dotenv(&text), has_file: true }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { file: BTreeMap::new(), has_file: false }),
            Err(error) => Err(usage(format!("`{}` cannot be read ({error}); mend it or move it away", Self::place()))),
        }
    }

    /// Where the file is looked for, in full: the program may run in another folder than its user thinks.
    pub fn place() -> String {
        std::path::absolute(FILE).map_or_else(|_| FILE.to_owned(), |path| path.display().to_string())
    }

    /// Whether there is a file.
    pub fn has_file(&self) -> bool {
        self.has_file
    }

    /// A setting; the environment comes first, and an empty one counts as nothing.
    pub fn value(&self, name: &str) -> Option<String> {
        Self::in_environment(name).or_else(|| self.in_file(name))
    }

    /// A setting from where this other one is, the environment or the file: what belongs together is set together.
    pub fn value_beside(&self, name: &str, other: &str) -> Option<String> {
        if Self::in_environment(other).is_some() { Self::in_environment(name) } else { self.in_file(name) }
    }

    fn in_environment(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.trim().is_empty())
    }

    fn in_file(&self, name: &str) -> Option<String> {
        self.file.get(name).filter(|value| !value.trim().is_empty()).cloned()
    }
}

/// Reads `KEY=value` lines as the npm package dotenv does, which wrangler uses: `#` starts a comment, `export` is passed
/// over, quoted values may span lines, `\n` and `\r` count inside double quotes only, the last of two values wins.
///
/// Source: <https://github.com/motdotla/dotenv> (`lib/main.js`, `parse`).
fn parse_dotenv(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after_line) = rest.split_once('\n').unwrap_or((rest, ""));
        let after_equals = line.split_once('=').and_then(|(key, _)| Some((name(key)?, rest.split_once('=')?.1)));
        let Some((key, raw)) = after_equals else {
            rest = after_line;
            continue;
        };
        let (value, after) = match quoted(raw.trim_start_matches([' ', '\t'])) {
            Some((value, after)) => (value, after.split_once('\n').map_or("", |(_, after)| after)),
            None => (unquoted(line.split_once('=').map_or("", |(_, value)| value)), after_line),
        };
        values.insert(key.to_owned(), value);
        rest = after;
    }
    values
}

fn name(text: &str) -> Option<&str> {
    let text = text.trim();
    let key = text.strip_prefix("export ").unwrap_or(text).trim();
    let is_name = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    is_name.then_some(key)
}

/// A value that begins with a quote which is closed somewhere, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\'' | '`'))?;
    let inner = text.get(1..)?;
    let mut escaped = false;
    let end = inner.char_indices().find(|(_, c)| {
        let closes = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    });
    let (value, after) = inner.split_at_checked(end?.0)?;
    let value = if quote == '"' { value.replace("\\n", "\n").replace("\\r", "\r") } else { value.to_owned() };
    Some((value, after.get(1..)?))
}

fn unquoted(text: &str) -> String {
    text.split('#').next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_file_is_read_as_wrangler_reads_it() {
        let text = concat!(
            "# a comment with A=no\r\n",
            "\n",
            "A=plain # and a comment\r\n",
            "  export B = spaced \n",
            "C=\"-----BEGIN-----\\nabc\\n-----END-----\\n\" # quoted\n",
            "D='single \\n # stays'\n",
            "E=\"over\ntwo lines\"\n",
            "F=\n",
            "G=whsec_abc+/==\n",
            "no line of ours\n",
            "H=\"never closed\n",
            "A=last",
        );
        let expected = [
            ("A", "last"),
            ("B", "spaced"),
            ("C", "-----BEGIN-----\nabc\n-----END-----\n"),
            ("D", "single \\n # stays"),
            ("E", "over\ntwo lines"),
            ("F", ""),
            ("G", "whsec_abc+/=="),
            ("H", "\"never closed"),
        ];
        let read = parse_dotenv(text);
        let read: Vec<(&str, &str)> = read.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(read, expected);
    }
}
