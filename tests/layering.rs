#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! What is absent, held: outside `src/edge*` nothing knows of Workers, of a clock or of a log, and outside `src/provider*`
//! nothing knows a provider by name.

use std::fs;
use std::path::{Path, PathBuf};

use plangate::provider::PROVIDERS;

/// Files below `folder`, as paths from the root of the repository.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
            found.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What a file of Rust says, in pieces: its code, each of its texts, and nothing of its comments.
#[derive(Default)]
struct Source {
    code: String,
    texts: Vec<String>,
}

impl Source {
    fn of(rust: &str) -> Self {
        let mut source = Self::default();
        let mut rest = rust;
        while let Some(next) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else if let Some(hashes) = raw_text(rest) {
                let (start, end) = (hashes + 2, format!("\"{}", "#".repeat(hashes)));
                let length = rest[start..].find(&end).unwrap();
                source.texts.push(rest[start..start + length].to_owned());
                start + length + end.len()
            } else if next == '"' {
                let mut escaped = false;
                let length = rest[1..]
                    .find(|c| {
                        let is_end = c == '"' && !escaped;
                        escaped = c == '\\' && !escaped;
                        is_end
                    })
                    .unwrap();
                source.texts.push(rest[1..=length].to_owned());
                length + 2
            } else if rest.starts_with("'\"'") || rest.starts_with("b'\"'") {
                rest.find("\"'").unwrap() + 2
            } else {
                source.code.push(next);
                next.len_utf8()
            };
            if length > next.len_utf8() {
                source.code.push(' ');
            }
            rest = &rest[length..];
        }
        source
    }

    /// Without the tests at the end of the file.
    fn without_tests(rust: &str) -> Self {
        Self::of(rust.split_once("\n#[cfg(test)]\nmod tests {").map_or(rust, |(code, _)| code))
    }

    /// Whether the code has this word, or these words in a row.
    fn has(&self, words: &str) -> bool {
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        self.code.match_indices(words).any(|(at, _)| {
            let (before, after) = (&self.code[..at], &self.code[at + words.len()..]);
            !is_part(before.chars().next_back()) && !is_part(after.chars().next())
        })
    }
}

/// How many `#` a raw text that starts here has.
fn raw_text(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The files of the core: all of `src/` but the edge.
fn core() -> Vec<PathBuf> {
    let core: Vec<_> = files("src", &["rs"])
        .into_iter()
        .filter(|path| path != Path::new("src/edge.rs") && !path.starts_with("src/edge"))
        .collect();
    assert!(core.len() > 20, "the source is not where it was");
    core
}

#[test]
fn the_reader_of_rust_tells_code_from_texts_and_comments() {
    let rust =
        "// worker\nlet a = \"js_sys \\\" x\"; /* Instant */ let b = r#\"dbg!\"\"#; let c = '\"'; let d = b'\"'; // x";
    let source = Source::of(rust);
    assert_eq!(source.texts, ["js_sys \\\" x", "dbg!\""]);
    let code: String = source.code.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code, "let a = ; let b = ; let c = ; let d = ;");
    let source = Source::of("use worker::Env; let workers = web_sys_like;");
    assert!(source.has("worker") && !source.has("web_sys") && !source.has("Env;x"));
}

#[test]
fn the_core_knows_no_workers_no_clock_and_no_log() {
    let forbidden = [
        // The platform.
        "worker",
        "worker_sys",
        "wasm_bindgen",
        "wasm_bindgen_futures",
        "js_sys",
        "web_sys",
        // A clock.
        "SystemTime",
        "Instant",
        "UNIX_EPOCH",
        "Utc",
        "Local",
        "Date",
        // A log.
        "println",
        "eprintln",
        "print",
        "eprint",
        "dbg",
        "log",
        "tracing",
        "console",
        "console_log",
        "stdout",
        "stderr",
        // The rest of the world.
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
    ];
    for path in core() {
        let source = Source::of(&read(&path));
        for word in forbidden {
            assert!(!source.has(word), "{} names `{word}`", path.display());
        }
    }
    // Or the test sees nothing.
    let edge = files("src", &["rs"]).into_iter().filter(|path| path.starts_with("src/edge"));
    let edge: Vec<Source> = edge.map(|path| Source::of(&read(&path))).collect();
    assert!(edge.iter().any(|source| source.has("worker")), "the edge does name `worker`");
}

#[test]
fn the_core_is_built_without_the_edge() {
    let library = Source::of(&read(Path::new("src/lib.rs")));
    let modules: Vec<&str> = library.code.lines().map(str::trim).filter(|line| line.ends_with("mod edge;")).collect();
    assert_eq!(modules, ["mod edge;"], "private, and once");
    let text = read(Path::new("src/lib.rs"));
    assert!(
        text.contains("#[cfg(all(target_arch = \"wasm32\", feature = \"edge\"))]\nmod edge;"),
        "only in the worker"
    );
    for path in core() {
        if path != Path::new("src/lib.rs") {
            assert!(!Source::of(&read(&path)).has("crate::edge"), "{} uses the edge", path.display());
        }
    }
}

/// What a provider is called in code: a route may have hyphens, and a module may not.
fn module(name: &str) -> String {
    name.replace('-', "")
}

#[test]
fn no_provider_is_known_by_name_outside_its_own_files() {
    let registry = Path::new("src/provider.rs");
    for provider in PROVIDERS {
        let name = provider.name();
        for path in files("src", &["rs"]) {
            if path.starts_with("src/provider") || path == registry {
                continue;
            }
            let source = Source::without_tests(&read(&path));
            // Settings of an identity provider are named after it; a text that is or contains a provider's name as a
            // word is a provider chosen by hand.
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            let is_named = |text: &String| text.split(|c| !is_part(c)).any(|word| word == name);
            let text = source.texts.iter().find(|text| is_named(text) && !text.contains("://"));
            assert_eq!(text, None, "{} names the provider `{name}`", path.display());
            assert!(!source.has(&module(name)), "{} names the provider `{name}`", path.display());
        }
    }
    for path in [files("src", &["sql"]), files("migrations", &["sql"])].concat() {
        let text = read(&path).to_lowercase();
        for provider in PROVIDERS {
            assert!(!text.contains(provider.name()), "{} names the provider `{}`", path.display(), provider.name());
        }
    }
}

#[test]
fn a_provider_is_one_line_of_the_registry_and_files_of_its_own() {
    let registry = Source::without_tests(&read(Path::new("src/provider.rs")));
    for provider in PROVIDERS {
        let name = module(provider.name());
        assert!(registry.has(&format!("mod {name};")), "{name}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/provider/{name}.rs")).is_file(), "{name}");
        // Once to declare it and once to list it.
        let uses = registry.code.matches(&format!("{name}::")).count();
        assert_eq!(uses, 1, "{name} is used {uses} times in src/provider.rs");
    }
}
