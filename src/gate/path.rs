//! The path of a request, read in one way or refused. What is judged is exactly what is passed on.

use std::fmt;

/// Bytes of the name of an object (<https://developers.cloudflare.com/r2/platform/limits/>). A bucket throws at more.
const LONGEST_KEY: usize = 1024;

/// A path that means one thing to everybody who reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Decoded, without a slash at its end: that of the root is empty.
    exact: String,
    /// The same in one letter case and one form of Unicode.
    folded: String,
    ends_in_slash: bool,
}

/// A path that two servers may read in two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPath;

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a path is percent-encoded UTF-8, once, without `//`, dot segments, control characters and encoded `/`, `\\`, `?`, `#`",
        )
    }
}

impl std::error::Error for BadPath {}

impl Path {
    /// Reads the path of a request, as it was sent. `fold` brings a text into one letter case and one form of Unicode.
    ///
    /// # Errors
    /// [`BadPath`] for whatever a server may take for something else: not what a browser would send, dot segments, empty
    /// segments, encoded separators, anything encoded twice, and all of these in characters that only fold to them.
    pub fn read(raw: &str, fold: &dyn Fn(&str) -> String) -> Result<Self, BadPath> {
        let decoded = decode(raw).ok_or(BadPath)?;
        let ends_in_slash = decoded.ends_with('/');
        let exact = decoded.strip_suffix('/').unwrap_or(&decoded);
        let folded = fold(exact);
        let as_many = folded.matches('/').count() == exact.matches('/').count();
        if !raw.starts_with('/') || !as_many || !is_plain(exact) || !is_plain(&folded) || folded.ends_with('/') {
            return Err(BadPath);
        }
        Ok(Self { exact: exact.to_owned(), folded, ends_in_slash })
    }

    /// The path, decoded, without a slash at its end.
    #[must_use]
    pub fn exact(&self) -> &str {
        &self.exact
    }

    /// What a bucket calls it: no slash before it, and the index of a folder. `None` where no bucket can have it.
    #[must_use]
    pub fn object_key(&self) -> Option<String> {
        let key = self.exact.strip_prefix('/').unwrap_or_default();
        let key = match (key, self.ends_in_slash) {
            ("", _) => "index.html".to_owned(),
            (key, true) => format!("{key}/index.html"),
            (key, false) => key.to_owned(),
        };
        (key.len() <= LONGEST_KEY).then_some(key)
    }

    /// The spellings, folded, that a server may answer with the same content. One that `runs_files` may take what follows a
    /// file's name as data for that file, or route by it: `/a.php/b` may be `/a.php`, and `/b` in a framework's eyes.
    pub(super) fn spellings(&self, runs_files: bool) -> Vec<String> {
        let mut all = Vec::new();
        spell(&self.folded, &mut all);
        let slashes = self.folded.match_indices('/').filter_map(|(at, _)| self.folded.split_at_checked(at));
        let files = slashes.filter(|(file, _)| file.rsplit('/').next().is_some_and(|name| trim(name).contains('.')));
        for (file, below) in files.take(if runs_files { MOST_DOTS } else { 0 }) {
            spell(file, &mut all);
            spell(below, &mut all);
        }
        all
    }
}

/// Names of folders and files with a dot, one below the other, of which the first may be a file. The folders above it are the
/// server's own, which nobody who asks can add to; and a path of a thousand such names is not looked at a thousand times.
const MOST_DOTS: usize = 8;

/// The spellings of one path.
fn spell(folded: &str, all: &mut Vec<String>) {
    let trimmed: Vec<&str> = folded.split('/').map(trim).collect();
    let trimmed = trimmed.join("/");
    let page = trimmed.strip_suffix(".html").or_else(|| trimmed.strip_suffix(".htm")).unwrap_or(&trimmed);
    // An index is its folder, and a folder may be named so itself.
    for page in [Some(page), page.strip_suffix("/index")].into_iter().flatten() {
        for ending in ["", ".html", ".htm", "/index", "/index.html", "/index.htm"] {
            all.push(format!("{page}{ending}"));
        }
    }
    all.extend([folded.to_owned(), trimmed]);
}

/// Decodes once. `None` for what no browser sends in a path, and for what decodes to no text.
fn decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                let decoded = high << 4 | low;
                // A separator that is not one, or is it?
                if decoded == b'/' {
                    return None;
                }
                decoded
            }
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'}' => return None,
            byte if byte.is_ascii_graphic() => byte,
            _ => return None,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether a decoded path without a slash at its end is one and the same to everybody.
pub(super) fn is_plain(path: &str) -> bool {
    // Most servers that decode twice want two digits.
    let is_encoded = |after: &str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    !path.chars().any(|c| c.is_control() || matches!(c, '\\' | '?' | '#'))
        && !path.split('%').skip(1).any(is_encoded)
        && !path.split('/').skip(1).any(|segment| trim(segment).is_empty())
}

/// A segment without its parameters (`;v=1`), its stream (`::$DATA`), and the dots and spaces that Windows does not see at
/// its end.
fn trim(segment: &str) -> &str {
    segment.split([';', ':']).next().unwrap_or_default().trim_end_matches(['.', ' '])
}
