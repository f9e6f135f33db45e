//! Statements without their comments and line breaks, made so while compiling: their text is loaded by every isolate and
//! crosses to D1 with every request. No text within our statements holds `--` or a line break.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "all of this runs while compiling, where a panic is an error like any other"
)]

/// The files and texts, one after another, as one compact statement.
macro_rules! compact {
    ($($part:expr),+) => {{
        const TEXT: &[u8] = concat!($($part),+).as_bytes();
        const COMPACT: [u8; crate::store::compact::length(TEXT)] = crate::store::compact::compacted(TEXT);
        const SQL: &str = match std::str::from_utf8(&COMPACT) {
            Ok(sql) => sql,
            Err(_) => panic!("a statement is not UTF-8"),
        };
        SQL
    }};
}

pub(super) use compact;

/// How long the compact form is.
pub(super) const fn length(sql: &[u8]) -> usize {
    write(sql, &mut [])
}

/// The compact form, which has this length.
pub(super) const fn compacted<const N: usize>(sql: &[u8]) -> [u8; N] {
    let mut compact = [0; N];
    write(sql, &mut compact);
    compact
}

/// Writes as much of the compact form as there is room for; answers its length. A line ends at its comment and loses the
/// spaces around it; what is left of the lines is joined by one space each.
const fn write(sql: &[u8], compact: &mut [u8]) -> usize {
    let (mut read, mut written) = (0, 0);
    while read < sql.len() {
        let line = line(sql.split_at(read).1);
        read += line.len() + 1;
        let statement = until_comment(line).trim_ascii();
        if statement.is_empty() {
            continue;
        }
        if written > 0 {
            put(compact, written, b' ');
            written += 1;
        }
        let mut at = 0;
        while at < statement.len() {
            put(compact, written, statement[at]);
            written += 1;
            at += 1;
        }
    }
    written
}

const fn put(compact: &mut [u8], place: usize, byte: u8) {
    if place < compact.len() {
        compact[place] = byte;
    }
}

const fn line(text: &[u8]) -> &[u8] {
    let mut end = 0;
    while end < text.len() && text[end] != b'\n' {
        end += 1;
    }
    text.split_at(end).0
}

const fn until_comment(line: &[u8]) -> &[u8] {
    let mut end = 0;
    while end < line.len() && !(line[end] == b'-' && end + 1 < line.len() && line[end + 1] == b'-') {
        end += 1;
    }
    line.split_at(end).0
}

#[cfg(test)]
mod tests {
    #[test]
    fn comments_indents_and_line_breaks_are_left_out() {
        let sql = compact!("-- What it does.\n\n  SELECT a, -- the first\n    b - c\n", "FROM t -- é", "\n");
        assert_eq!(sql, "SELECT a, b - c FROM t");
        assert_eq!(compact!(""), "");
    }
}
