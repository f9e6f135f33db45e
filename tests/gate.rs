//! Which content falls under which rule, however its path is written.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]

mod seeded;

use plangate::answer::{self, Facts, Source};
use plangate::catalog::Catalog;
use plangate::decide::Policy;
use plangate::gate::{BadPath, HEADERS, Path, Rules, Verdict, identity, is_for_a_person, is_link, is_own, network};
use plangate::payer::{Payer, PayerKind};
use plangate::question::{Condition, Question, What};
use plangate::settings::{Content, Gateway, Settings};
use plangate::snapshot::Snapshot;
use plangate::time::Timestamp;
use seeded::Numbers;

/// What the runtime's own functions do to the characters that occur here.
fn fold(text: &str) -> String {
    let mut folded = String::new();
    for c in text.chars() {
        match c {
            '／' | '．' | 'ｒ' | '％' | '？' | '＼' => {
                folded.push(char::from(u8::try_from(u32::from(c) - 0xfee0).unwrap()));
            }
            '‥' => folded.push_str(".."),
            '\u{301}' if folded.ends_with('e') => {
                folded.pop();
                folded.push('é');
            }
            c => folded.extend(c.to_lowercase()),
        }
    }
    folded
}

fn rules(json: &str) -> Rules {
    Rules::parse(json).unwrap()
}

/// The plans that a path needs, in order; an empty list is public, `None` nowhere.
#[track_caller]
fn needs(rules: &Rules, path: &str) -> Option<Vec<String>> {
    needs_where_files_run(rules, path, false)
}

#[track_caller]
fn needs_where_files_run(rules: &Rules, path: &str, runs_files: bool) -> Option<Vec<String>> {
    let path = Path::read(path, &fold).unwrap_or_else(|_| panic!("{path} is refused"));
    match rules.judge(&path, runs_files, &fold) {
        Verdict::Unknown => None,
        Verdict::Public => Some(Vec::new()),
        Verdict::Gated { needs, .. } => {
            let name = |condition: Condition| match condition.what {
                What::Plan(name) | What::Feature(name) => name,
            };
            Some(needs.conditions.into_iter().map(name).collect())
        }
    }
}

const SITE: &str = r#"[
    {"path": "/", "public": true},
    {"path": "/pricing", "public": true},
    {"path": "/reports/free/*", "public": true},
    {"path": "/reports/*", "plan": "pro"},
    {"path": "/team/*/board", "plan": "org:team"},
    {"path": "/files/*.pdf", "feature": "export"},
    {"path": "/members.html", "plan": "basic"},
    {"path": "/résumés/*", "plan": "hr"},
    {"path": "/public/*", "public": true}
]"#;

#[test]
fn the_first_rule_that_has_a_path_speaks() {
    let site = rules(SITE);
    let public = Some(vec![]);
    let plan = |name: &str| Some(vec![name.to_owned()]);
    for (path, expected) in [
        ("/", public.clone()),
        ("/pricing", public.clone()),
        ("/pricing/", public.clone()),
        ("/pricing/old", None),
        ("/reports", plan("pro")),
        ("/reports/", plan("pro")),
        ("/reports/2026/q1.pdf", plan("pro")),
        ("/reports/free", public.clone()),
        ("/reports/free/a/b", public.clone()),
        ("/reports/freedom", plan("pro")),
        ("/reportsx", None),
        ("/team/7/board", plan("team")),
        ("/team/7/8/board", None),
        ("/team/board", None),
        ("/files/a.pdf", plan("export")),
        ("/files/a.pdf.txt", None),
        ("/files/x/a.pdf", None),
        ("/r%C3%A9sum%C3%A9s/1", plan("hr")),
        ("/%72eports/1", plan("pro")),
        ("/elsewhere", None),
    ] {
        assert_eq!(needs(&site, path), expected, "{path}");
    }
}

#[test]
fn another_spelling_never_needs_less() {
    // What no rule names is open: the worst case for whoever forgot a spelling.
    let mut open: Vec<serde_json::Value> = serde_json::from_str(SITE).unwrap();
    open.pop();
    open.push(serde_json::json!({"path": "/*", "public": true}));
    let open = rules(&serde_json::to_string(&open).unwrap());
    for (path, plan) in [
        ("/REPORTS/1", "pro"),
        ("/Reports/free;x=1", "pro"),
        ("/reports/FREE", "pro"),
        ("/reports;jsessionid=1/1", "pro"),
        ("/reports./1", "pro"),
        ("/reports%20/1", "pro"),
        ("/reports%3B/1", "pro"),
        ("/reports::$INDEX_ALLOCATION/1", "pro"),
        ("/FILES/A.PDF", "export"),
        ("/files/a.pdf.", "export"),
        ("/files/a.pdf::$DATA", "export"),
        ("/members", "basic"),
        ("/members/", "basic"),
        ("/Members.HTML", "basic"),
        ("/members/index.html", "basic"),
        ("/re%CC%81sume%CC%81s/1", "hr"),
        ("/%EF%BD%92eports/1", "pro"),
    ] {
        let expected: Vec<String> = if plan.is_empty() { vec![] } else { vec![plan.to_owned()] };
        assert_eq!(needs(&open, path), Some(expected), "{path}");
    }
    // A folder may be named `index`, and a rule may be about the file.
    let named = rules(
        r#"[{"path":"/a/index","plan":"one"},{"path":"/b/index.html","plan":"two"},{"path":"/*","public":true}]"#,
    );
    for (path, plan) in [
        ("/a/index/", "one"),
        ("/a/index/index", "one"),
        ("/a/index/index.html", "one"),
        ("/a/index.html", "one"),
        ("/a/", "one"),
        ("/b/", "two"),
        ("/b/index/", "two"),
    ] {
        assert_eq!(needs(&named, path), Some(vec![plan.to_owned()]), "{path}");
    }
    assert_eq!(needs(&named, "/a/indexes"), Some(vec![]));
    let pages = rules(r#"[{"path":"/a","plan":"one"},{"path":"/b/*","plan":"two"},{"path":"/*","public":true}]"#);
    for (path, plan) in [
        ("/a.html", "one"),
        ("/a/index.html", "one"),
        ("/a.HTM", "one"),
        ("/b.html", "two"),
        ("/b/index.htm", "two"),
        ("/A/INDEX.HTML;x", "one"),
        ("/a/index", "one"),
        ("/a/index/", "one"),
        ("/a/INDEX.html/", "one"),
    ] {
        assert_eq!(needs(&pages, path), Some(vec![plan.to_owned()]), "{path}");
    }
}

#[test]
fn what_follows_a_file_is_the_files_and_may_be_routed_by() {
    let site = rules(
        r#"[{"path":"/a.php/open","public":true},{"path":"/a.php","plan":"one"},{"path":"/d/*.cgi","plan":"two"},
            {"path":"/m.html","plan":"three"},{"path":"/reports/*","plan":"four"},{"path":"/x","plan":"five"},
            {"path":"/*","public":true}]"#,
    );
    // Without running files a folder's name has dots like any other.
    for (path, at_an_origin, elsewhere) in [
        ("/a.php", &["one"][..], &["one"][..]),
        ("/a.php/", &["one"], &["one"]),
        ("/a.php/b", &["one"], &[]),
        ("/a.php/b/c.d/e", &["one"], &[]),
        ("/A.PHP;x/b", &["one"], &[]),
        ("/a.php./b", &["one"], &[]),
        ("/a%2Ephp/b", &["one"], &[]),
        ("/a.php::$DATA/b", &["one"], &[]),
        // An earlier rule opens what is below.
        ("/a.php/open", &[], &[]),
        ("/a.php/open/x", &["one"], &[]),
        ("/d/1.cgi/b", &["two"], &[]),
        ("/m.html/b", &["three"], &[]),
        ("/index.php/reports/1", &["four"], &[]),
        ("/INDEX.php/REPORTS", &["four"], &[]),
        ("/app.v1/index.php/reports/1", &["four"], &[]),
        ("/index.php/a.php", &["one"], &[]),
        ("/index.php/x", &["five"], &[]),
        ("/index.php/x/", &["five"], &[]),
        ("/index.php/xy", &[], &[]),
        // A name without a dot is no file's.
        ("/x/b", &[], &[]),
        ("/index/reports/1", &[], &[]),
        ("/index.php;/reports/1", &["four"], &[]),
        ("/.1/.2/.3/.4/.5/.6/.7/index.php/reports/1", &["four"], &[]),
        // Parameters, which everybody can add, are no part of a name.
        ("/e;.1/e;.2/e;.3/e;.4/e;.5/e;.6/e;.7/e;.8/e;.9/index.php/reports", &["four"], &[]),
    ] {
        for (runs_files, expected) in [(true, at_an_origin), (false, elsewhere)] {
            let expected = expected.iter().map(|&plan| plan.to_owned()).collect();
            assert_eq!(needs_where_files_run(&site, path, runs_files), Some(expected), "{path} {runs_files}");
        }
    }
    // Each reading falls under the first rule that has it: an open file opens nothing else, and a closed one closes itself.
    let site = rules(
        r#"[{"path":"/d/a.php","public":true},{"path":"/d/*","plan":"one"},{"path":"/e/b.php","public":true},
            {"path":"/e/*.php","plan":"two"},{"path":"/*","public":true}]"#,
    );
    for (path, expected) in
        [("/d/a.php/x", vec!["one"]), ("/D/A.PHP/x", vec!["one"]), ("/e/b.php/x", vec![]), ("/e/c.php/x", vec!["two"])]
    {
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(needs_where_files_run(&site, path, true), Some(expected), "{path}");
    }
}

#[test]
fn an_object_is_named_by_its_path_as_long_as_a_bucket_can_name_it() {
    let key = |path: &str| Path::read(path, &fold).unwrap().object_key();
    for (path, expected) in [("/", "index.html"), ("/a%20b", "a b"), ("/A/", "A/index.html"), ("/%C3%A9.txt", "é.txt")]
    {
        assert_eq!(key(path).as_deref(), Some(expected), "{path}");
    }
    for (name, end, longest) in [("a", "", 1024), ("%C3%A9", "", 512), ("a", "/", 1013)] {
        assert!(key(&format!("/{}{end}", name.repeat(longest))).is_some(), "{name}{end}");
        assert_eq!(key(&format!("/{}{end}", name.repeat(longest + 1))), None, "{name}{end}");
    }
}

#[test]
fn an_open_page_before_closed_ones_stays_open() {
    let site =
        rules(r#"[{"path":"/","public":true},{"path":"/docs/*.html","public":true},{"path":"/*","plan":"pro"}]"#);
    assert_eq!(needs(&site, "/"), Some(vec![]));
    assert_eq!(needs(&site, "/docs/a.html"), Some(vec![]));
    assert_eq!(needs(&site, "/docs/a.pdf"), Some(vec!["pro".into()]));
    assert_eq!(needs(&site, "/DOCS/a.html"), Some(vec!["pro".into()]));
    assert_eq!(needs(&site, "/index.html"), Some(vec!["pro".into()]));
}

#[test]
fn a_path_that_can_be_read_in_two_ways_is_refused() {
    for path in [
        "",
        "reports",
        "//",
        "/reports//1",
        "/public//../reports",
        "/.",
        "/..",
        "/public/../reports/1",
        "/public/./1",
        "/public/%2e%2e/reports/1",
        "/public/.%2E/reports/1",
        "/public/..;/reports/1",
        "/public/..%3Bx/reports/1",
        "/public/.../1",
        "/public/..%20/reports",
        "/public/;a/1",
        "/public%2f..%2freports",
        "/public%2F1",
        "/public%5c..%5creports",
        "/public\\..\\reports",
        "/public%00",
        "/public%0a",
        "/public/%7f",
        "/public/%c2%80",
        "/public\t",
        "/public /1",
        "/reports%3fx",
        "/reports%23x",
        "/%2572eports/1",
        "/public/%252e%252e/reports",
        "/%25%37%32eports",
        "/public/%",
        "/public/%7",
        "/public/%zz",
        "/public/%u0041",
        "/public/%ff",
        "/public/%c0%ae%c0%ae/reports",
        "/public/%ed%a0%80",
        "/public/é",
        "/public/%EF%BC%8E%EF%BC%8E/reports",
        "/public/%E2%80%A5/reports",
        "/public%EF%BC%8Freports",
        "/public/%EF%BC%85%37%32",
        "/public/a%EF%BC%9Fb",
        "/public%EF%BC%BC1",
        "/public/<",
        "/public/{x}",
    ] {
        assert_eq!(Path::read(path, &fold), Err(BadPath), "{path}");
    }
    for path in ["/100%25.pdf", "/a'b!$&()*+,=@~_-", "/[id]/x|y", "/.well-known/x", "/a..b/c", "/%25", "/a%20b"] {
        assert!(Path::read(path, &fold).is_ok(), "{path}");
    }
}

/// Servers that read paths more freely than they should, each in its way.
fn careless(path: &str) -> Vec<String> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let digits: Vec<u8> = if byte == b'%' { rest.clone().take(2).collect() } else { Vec::new() };
            match std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(decoded) if digits.len() == 2 => {
                    bytes.push(decoded);
                    rest.nth(1);
                }
                _ => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let resolve = |text: &str| {
        let mut out: Vec<&str> = Vec::new();
        for segment in text.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    out.pop();
                }
                segment => out.push(segment),
            }
        }
        format!("/{}", out.join("/"))
    };
    let without_parameters = |text: &str| {
        let cut: Vec<&str> = text.split('/').map(|segment| segment.split(';').next().unwrap()).collect();
        cut.join("/")
    };
    let windows = |text: &str| {
        let text = text.replace('\\', "/").to_lowercase();
        let cut: Vec<&str> = text
            .split('/')
            .map(|segment| match segment {
                "." | ".." => segment,
                segment => segment.split(':').next().unwrap().trim_end_matches(['.', ' ']),
            })
            .collect();
        cut.join("/")
    };
    // What follows a script is the path, to frameworks.
    let routed = |text: &str| text.rsplit_once("index.php").map_or("", |(_, after)| after).to_owned();
    let once = decode(path);
    let twice = decode(&once);
    let mut seen = Vec::new();
    for text in [path, &once, &twice] {
        seen.push(resolve(text));
        seen.push(resolve(&text.to_lowercase()));
        seen.push(resolve(&without_parameters(text)));
        seen.push(resolve(&without_parameters(text).to_lowercase()));
        seen.push(resolve(&windows(text)));
        seen.push(resolve(&fold(text)));
        seen.push(routed(&resolve(&fold(text))));
        seen.push(routed(&resolve(&windows(text))));
        seen.push(routed(&resolve(&without_parameters(text))));
        seen.push(resolve(text.split(['?', '#', '\0']).next().unwrap()));
    }
    seen
}

#[test]
fn no_path_that_is_open_is_a_closed_one_to_any_careless_server() {
    let site = rules(r#"[{"path":"/secret/*","plan":"pro"},{"path":"/*","public":true}]"#);
    let pieces = [
        "/",
        "/",
        "secret",
        "secret",
        "SECRET",
        "Secret",
        "/index.php",
        "/index.php/",
        "%73ecret",
        "%2573ecret",
        "public",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        ";a=b",
        "..;",
        "%2f",
        "%5c",
        "\\",
        "%00",
        "%20",
        " ",
        ".",
        "::$DATA",
        "%3f",
        "?",
        "#",
        "%23",
        "s",
        "ecret",
        "x",
        "%EF%BC%8F",
        "%EF%BC%8E",
        "%E2%80%A5",
        "／",
        "%c0%af",
        "%",
        "25",
        "%25",
        "//",
    ];
    let mut numbers = Numbers::new(20_261_121);
    let (mut open, mut closed, mut refused) = (0, 0, 0);
    for _ in 0..200_000 {
        let mut path = String::from("/");
        for _ in 0..=numbers.below(7) {
            path.push_str(numbers.pick(&pieces));
        }
        // As an edge takes it out of an address.
        let path = path.split(['?', '#']).next().unwrap();
        let Ok(read) = Path::read(path, &fold) else {
            refused += 1;
            continue;
        };
        if site.judge(&read, true, &fold) != Verdict::Public {
            closed += 1;
            continue;
        }
        open += 1;
        for seen in careless(path) {
            assert!(seen != "/secret" && !seen.starts_with("/secret/"), "`{path}` is open and may be read as `{seen}`");
        }
    }
    assert!(open > 10_000 && closed > 1_000 && refused > 10_000, "{open} {closed} {refused}");
}

#[test]
fn every_path_that_is_read_is_read_the_same_after_a_browser_wrote_it_again() {
    let mut numbers = Numbers::new(7);
    let characters: Vec<char> = "ab/A.é;:%2 ~ü-_*日".chars().collect();
    let mut read = 0;
    for _ in 0..50_000 {
        let mut text = String::from("/");
        for _ in 0..numbers.below(10) {
            text.push(numbers.pick(&characters));
        }
        let encoded: String = text
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() || b"/.;:~-_*".contains(&b) {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02x}")
                }
            })
            .collect();
        let Ok(path) = Path::read(&encoded, &fold) else { continue };
        read += 1;
        assert_eq!(path.exact(), text.strip_suffix('/').unwrap_or(&text), "{encoded}");
        assert_eq!(Path::read(&encoded.replace("~", "%7E"), &fold), Ok(path), "{encoded}");
    }
    assert!(read > 10_000, "{read}");
}

#[test]
fn rules_that_cannot_be_meant_are_refused() {
    let cases = [
        ("{}", "a list with at least one rule was expected"),
        ("[]", "a list with at least one rule was expected"),
        (r#"[{"plan":"pro"}]"#, "rule 1: missing field `path`"),
        (r#"[{"path":"/a"}]"#, "rule 1: it takes `plan`, `feature` or both, or else `public = true`"),
        (
            r#"[{"path":"/a","plan":"pro","public":true}]"#,
            "rule 1: it takes `plan`, `feature` or both, or else `public = true`",
        ),
        (r#"[{"path":"/a","public":false}]"#, "rule 1: it takes `plan`, `feature` or both, or else `public = true`"),
        (
            r#"[{"path":"/a","plna":"pro"}]"#,
            "rule 1: unknown field `plna`, expected one of `path`, `plan`, `feature`, `public`, `upgrade_url`",
        ),
        (r#"[{"path":"/a","plan":"team:x"}]"#, "rule 1: a scope is `user:` (`u:`) or `org:` (`o:`, `organization:`)"),
        (
            r#"[{"path":"/a","plan":"x","upgrade_url":"javascript:1"}]"#,
            "rule 1: `upgrade_url` is neither `https://…` nor a path",
        ),
        (r#"[{"path":"/v1/x","plan":"x"}]"#, "rule 1: `/v1/x` is plangate's own"),
        (
            r#"[{"path":"/*","public":true},{"path":"/a","plan":"x"}]"#,
            "rule 2: `/a` is never reached, `/*` comes first",
        ),
        (
            r#"[{"path":"/a/*","public":true},{"path":"/b","public":true},{"path":"/a/*","plan":"x"}]"#,
            "rule 3: `/a/*` is never reached, `/a/*` comes first",
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(Rules::parse(json).unwrap_err().to_string(), expected, "{json}");
    }
    for path in ["a", "", "//", "/a//b", "/a/../b", "/a%20b", "/a?b", "/a#b", "/a\\b", "/a\u{1}"] {
        let json = serde_json::json!([{"path": path, "public": true}]).to_string();
        let error = Rules::parse(&json).unwrap_err().to_string();
        assert!(error.starts_with("rule 1: `path` begins with `/` and is written decoded"), "{path}: {error}");
    }
    // A narrower rule before a wider one is how it is meant, and one segment is not all below.
    rules(r#"[{"path":"/a/b","public":true},{"path":"/a/**","public":true},{"path":"/a/*","plan":"x"}]"#);
}

#[test]
fn the_rule_of_the_paths_own_spelling_says_where_to_buy() {
    let site = rules(
        r#"[{"path":"/a","plan":"one","upgrade_url":"/buy/one"},{"path":"/b","plan":"two"},
            {"path":"/*","plan":"three","upgrade_url":"https://example.com/buy?x=1"}]"#,
    );
    for (path, expected) in [
        ("/a", Some("/buy/one")),
        ("/b", None),
        ("/c", Some("https://example.com/buy?x=1")),
        ("/A", Some("https://example.com/buy?x=1")),
    ] {
        let path = Path::read(path, &fold).unwrap();
        let Verdict::Gated { upgrade_url, .. } = site.judge(&path, false, &fold) else { panic!("open") };
        assert_eq!(upgrade_url, expected);
    }
}

#[test]
fn a_link_is_an_address_or_a_path_of_the_site() {
    for link in ["https://example.com/buy?plan=pro&x=%20#top", "http://localhost:3000/", "/pricing"] {
        assert!(is_link(link), "{link}");
    }
    for text in [
        "",
        "pricing",
        "//evil.test",
        "javascript:alert(1)",
        "https://a b",
        "/\\evil.test",
        "/\"x",
        "/a\r\nb: c",
        "/é",
        "/<",
        "/a>; rel=x",
    ] {
        assert!(!is_link(text), "{text}");
    }
}

#[test]
fn plangates_own_paths_are_no_content() {
    for path in ["/v1", "/v1/check", "/v1/", "/admin", "/admin/x", "/webhooks/clerk", "/healthz", "/openapi.json"] {
        assert!(is_own(path), "{path}");
    }
    for path in ["/", "/v10", "/v2", "/administrators", "/healthz.html", "/a/v1/x"] {
        assert!(!is_own(path), "{path}");
    }
}

#[test]
fn what_is_told_upstream_is_safe_in_a_header() {
    let payers =
        [Payer::new(PayerKind::User, "u\r\nx-evil: 1 %é").unwrap(), Payer::new(PayerKind::Org, "org_1").unwrap()];
    let now = Timestamp::parse_rfc3339("2026-11-21T00:00:00Z").unwrap();
    let unknown = |payer: &Payer| {
        let text = r#"{"payer":"user:x","version":0,"as_of":0,"deleted_at":null,"trial_used":0,"failed_attempts":0,
            "last_failure":null,"records":[]}"#;
        let mut snapshot = Snapshot::parse(text).unwrap();
        snapshot.payer = payer.clone();
        snapshot
    };
    let facts = Facts::all_from(Source::D1, payers.iter().map(unknown).collect());
    let answer = answer::check(&facts, &Catalog::default(), &Policy::default(), &Question::default(), now);
    let told = identity(&payers, &answer);
    assert_eq!(told[0], ("x-plangate-user", "u%0D%0Ax-evil:%201%20%25%C3%A9".to_owned()));
    assert_eq!(told[1], ("x-plangate-org", "org_1".to_owned()));
    assert!(told.contains(&("x-plangate-reason", "no_subscription".to_owned())), "{told:?}");
    assert_eq!(
        told.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        HEADERS,
        "each is told, if only to clear another's"
    );
    for (name, value) in told {
        assert!(HEADERS.contains(&name));
        assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{name}: {value}");
    }
}

#[test]
fn a_browser_gets_a_page_and_a_program_a_problem() {
    let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
    for (method, accept, expected) in [
        ("GET", chrome, true),
        ("HEAD", "text/html", true),
        ("POST", chrome, false),
        ("GET", "", false),
        ("GET", "*/*", false),
        ("GET", "application/json", false),
        ("GET", "application/json, text/plain, */*", false),
        ("GET", "application/problem+json, text/html;q=0.1", false),
        ("GET", "image/avif,image/webp,*/*", false),
    ] {
        assert_eq!(is_for_a_person(method, accept), expected, "{method} {accept}");
    }
}

#[test]
fn a_network_is_an_address_of_ipv4_and_64_bits_of_ipv6() {
    for (address, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2"),
        ("2001:db8:1:2::6", "2001:db8:1:2"),
        ("2001:db8::6", "2001:db8:"),
        ("::1", ":"),
    ] {
        assert_eq!(network(address), expected);
    }
}

#[test]
fn a_gateway_has_one_place_for_its_content_or_serves_nothing() {
    let gates = r#"[{"path":"/*","plan":"pro"}]"#;
    let gateway = |pairs: &[(&str, &str)]| {
        Settings::read(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    };
    let content = |pairs: &[(&str, &str)]| match gateway(pairs).gateway {
        Gateway::On { content, .. } => Some(content),
        Gateway::Off | Gateway::Unusable => None,
    };
    assert_eq!(content(&[("GATES", gates), ("ASSETS", "{}")]), Some(Content::Assets));
    assert_eq!(content(&[("GATES", gates), ("CONTENT", "{}")]), Some(Content::Bucket));
    let origin = [("GATES", gates), ("ORIGIN", "https://origin.example")];
    assert_eq!(content(&origin), Some(Content::Origin("https://origin.example".into())));
    assert!(matches!(gateway(&[("ASSETS", "{}")]).gateway, Gateway::Off));
    let unusable: [(&[(&str, &str)], &str); 5] = [
        (&[("GATES", gates)], "GATES"),
        (&[("GATES", gates), ("ASSETS", "{}"), ("ORIGIN", "https://origin.example")], "GATES"),
        (&[("GATES", gates), ("ORIGIN", "https://a.example,https://b.example")], "GATES"),
        (&[("GATES", gates), ("ORIGIN", "https://origin.example/path")], "ORIGIN"),
        (&[("GATES", "[{}]"), ("ASSETS", "{}")], "GATES"),
    ];
    for (pairs, setting) in unusable {
        let settings = gateway(pairs);
        assert!(matches!(settings.gateway, Gateway::Unusable), "{pairs:?}");
        let named: Vec<_> = settings.unusable.iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(named, [setting], "{pairs:?}");
    }
    let links = gateway(&[("UPGRADE_URL", "javascript:x"), ("SIGN_IN_URL", "/sign-in")]);
    assert_eq!((links.upgrade_url, links.sign_in_url.as_deref()), (None, Some("/sign-in")));
    assert_eq!(links.unusable[0].setting, "UPGRADE_URL");
}
