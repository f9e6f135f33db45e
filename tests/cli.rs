//! The command line tool, as a program: what it prints, how it exits, what it sends. Nothing here leaves this machine.

#![cfg(feature = "cli")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use plangate::delivery::{Delivery, Headers};
use plangate::event::{Event, Parsed, Payment, Record, Seats};
use plangate::provider::{self, Ours};
use plangate::secret::Secret;
use plangate::session::{SessionPolicy, UnverifiedToken};
use plangate::time::Timestamp;
use serde_json::{Value, json};

/// The second vector of the reference, with its secret.
const SECRET: &str = "whsec_ZWRnZS1lbnRpdGxlbWVudHMtdGVzdC1rZXktMDAwMDE=";
const OTHER_SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";
const SECRET_NAME: &str = "CLERK_WEBHOOK_SIGNING_SECRET";
const PRIVATE_KEY: &str = include_str!("data/session/private.pem");
const OTHER_PRIVATE_KEY: &str = include_str!("data/session/other_private.pem");
const PUBLIC_KEY: &str = include_str!("data/session/public.pem");

// ---- verify ----

const VECTOR_ID: &str = "svix-id: msg_2abcTESTvector0001";
const VECTOR_TIMESTAMP: &str = "svix-timestamp: 1767225600";
const VECTOR_SIGNATURE: &str = "svix-signature: v1,KYH0JLoFXs6waRIk/QHs8vx1wATb6I3PuUp7tQGYV5o=";
const VECTOR_BODY: &str =
    r#"{"type":"user.deleted","object":"event","data":{"id":"user_2abcDEF","object":"user","deleted":true}}"#;

/// Runs `verify` on these headers and this body, at the vectors' time unless `more` says otherwise.
#[track_caller]
fn check_verify(secrets: &[&str], headers: &[&str], more: &[&str], body: &str, code: i32, line: &str, answer: &Value) {
    for as_json in [false, true] {
        let mut command = plangate(&["verify", "clerk"]);
        command.args(secrets.iter().flat_map(|secret| ["--secret", secret]));
        command.args(headers.iter().flat_map(|header| ["--header", header])).args(more);
        let ran = if as_json { run(command.arg("--json"), body) } else { run(&mut command, body) };
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""));
        if as_json {
            assert_eq!(&ran.json(), answer);
        } else {
            assert_eq!(ran.stdout, format!("{line}\n"));
        }
    }
}

fn ok(event_id: &str) -> Value {
    json!({"ok": true, "code": null, "detail": null, "event_id": event_id})
}

fn refused(code: &str, detail: &str) -> Value {
    json!({"ok": false, "code": code, "detail": detail, "event_id": null})
}

#[test]
fn verify_accepts_what_was_signed() {
    check_verify(
        &[OTHER_SECRET],
        &[
            "svix-id: msg_loFOjxBNrRLzqYUf",
            "svix-timestamp: 1731705121",
            "svix-signature: v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ],
        &["--now", "1731705121"],
        r#"{"event_type":"ping","data":{"success":true}}"#,
        0,
        "ok msg_loFOjxBNrRLzqYUf",
        &ok("msg_loFOjxBNrRLzqYUf"),
    );
    // Any secret may fit, names of headers have no case, and five minutes are within the tolerance.
    check_verify(
        &[OTHER_SECRET, SECRET],
        &["Webhook-Id:msg_2abcTESTvector0001", VECTOR_TIMESTAMP, VECTOR_SIGNATURE],
        &["--now", "2026-01-01T00:05:00Z"],
        VECTOR_BODY,
        0,
        "ok msg_2abcTESTvector0001",
        &ok("msg_2abcTESTvector0001"),
    );
}

#[test]
fn verify_says_exactly_what_is_wrong() {
    let all = [VECTOR_ID, VECTOR_TIMESTAMP, VECTOR_SIGNATURE];
    let refuses = |secrets: &[&str], headers: &[&str], now: &str, body: &str, code: &str, detail: &str| {
        let line = format!("{code}: {detail}");
        check_verify(secrets, headers, &["--now", now], body, 1, &line, &refused(code, detail));
    };
    let no_fit = "no signature fits the body and any configured secret";
    let now = "1767225600";
    refuses(
        &[SECRET],
        &[VECTOR_ID],
        now,
        VECTOR_BODY,
        "missing_headers",
        "missing headers: `svix-timestamp`, `svix-signature`",
    );
    refuses(&[OTHER_SECRET], &all, now, VECTOR_BODY, "invalid_signature", no_fit);
    refuses(&[SECRET], &all, now, &VECTOR_BODY.replace("deleted", "deleeted"), "invalid_signature", no_fit);
    refuses(&[SECRET], &all, now, "", "invalid_signature", no_fit);
    refuses(
        &[SECRET],
        &[VECTOR_ID, "svix-timestamp: soon", VECTOR_SIGNATURE],
        now,
        VECTOR_BODY,
        "invalid_signature",
        "the timestamp is not a number of seconds",
    );
    refuses(
        &[SECRET],
        &all,
        "1767225901",
        VECTOR_BODY,
        "timestamp_out_of_tolerance",
        "signed 301 s ago, which is too long",
    );
    refuses(
        &[SECRET],
        &all,
        "1767225299",
        VECTOR_BODY,
        "timestamp_out_of_tolerance",
        "signed 301 s ahead of our clock, which is too far",
    );
}

#[test]
fn verify_reads_raw_bytes_and_the_clock() {
    let body = [0xff, 0xfe, b'\n', 0x00];
    let mut command = plangate(&["verify", "clerk", "--secret", SECRET, "--now", "1767225600"]);
    command.args(["--header", VECTOR_ID, "--header", VECTOR_TIMESTAMP]);
    let secret = parse_secret("clerk", SECRET);
    let signed = plangate::standard_webhooks::sign(
        &secret,
        "msg_2abcTESTvector0001",
        Timestamp::from_secs(1_767_225_600),
        &body,
    );
    let signature = &signed.iter().find(|(name, _)| *name == "svix-signature").unwrap().1;
    command.args(["--header", &format!("svix-signature: {signature}")]);
    assert_eq!(run_bytes(&mut command, &body).code, 0);

    let vector = ["--header", VECTOR_ID, "--header", VECTOR_TIMESTAMP, "--header", VECTOR_SIGNATURE];
    let ran = run(plangate(&["verify", "clerk", "--secret", SECRET]).args(vector), VECTOR_BODY);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with("timestamp_out_of_tolerance: "), "{}", ran.stdout);
}

/// What is said of a provider that there is not.
fn no_provider() -> String {
    let names: Vec<_> = provider::PROVIDERS.iter().map(|known| format!("`{}`", known.name())).collect();
    format!("`nobody` is no provider; there is {}\n", names.join(", "))
}

#[test]
fn verify_refuses_what_it_cannot_use() {
    let no_secret = format!(
        "there is no signing secret for `clerk`; give --secret, or set {SECRET_NAME} in the environment or in `{}`\n",
        looked_for()
    );
    let cases: &[(&[&str], &str)] = &[
        (&["verify", "nobody"], &no_provider()),
        (&["verify", "clerk"], &no_secret),
        (
            &["verify", "clerk", "--secret", "whsec_not base64!"],
            "a secret in --secret is not base64 after its `whsec_` prefix; copy it whole from the provider's dashboard\n",
        ),
        (
            &["verify", "clerk", "--secret", "whsec_"],
            "a secret in --secret holds no key; copy it whole from the provider's dashboard\n",
        ),
    ];
    for (args, expected) in cases {
        let ran = run(&mut plangate(args), "");
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (2, "", *expected), "{args:?}");
    }
    for args in [["--header", "svix-id"], ["--now", "soon"]] {
        let ran = run(plangate(&["verify", "clerk", "--secret", SECRET]).args(args), "");
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
    }
}

// ---- simulate ----

/// Plays a history of `tests/data/cli` and compares its answers, to the byte.
#[track_caller]
fn check_history(name: &str, args: &[&str], stderr: &str) {
    let file = data(&format!("{name}.ndjson"));
    let expected = std::fs::read_to_string(data(&format!("{name}.answers.ndjson"))).unwrap();
    let ran = run(plangate(&["simulate", file.to_str().unwrap()]).args(args), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, stderr));
    assert_eq!(ran.stdout, expected, "{name}");

    let history = std::fs::read_to_string(file).unwrap();
    let ran = run(plangate(&["simulate", "-", "--json"]).args(args), &history);
    assert_eq!((ran.code, ran.stdout), (0, expected), "{name} from stdin");
}

#[test]
fn simulate_upgrade() {
    check_history("upgrade", &["--plans", data("plans.json").to_str().unwrap()], "");
}

#[test]
fn simulate_cancel_at_period_end() {
    check_history("cancel_at_period_end", &[], "");
}

#[test]
fn simulate_flat_form() {
    let dead = "line 15 became a dead letter: reading `subscription.created`: \
                a subscription without `items`, `payer` or `user_id`\n";
    check_history("flat_form", &[], dead);
}

#[test]
fn simulate_sent_times() {
    check_history("sent_times", &[], "");
}

#[test]
fn simulate_user_and_organization() {
    check_history("user_and_organization", &[], "");
}

#[test]
fn simulate_past_due_with_grace() {
    check_history("past_due_with_grace", &["--grace-days", "7"], "");
}

#[test]
fn simulate_deleted_user() {
    check_history("deleted_user", &[], "");
}

/// The `allowed` and `valid_until` of every answer to a history.
#[track_caller]
fn answers(history: &str, args: &[&str]) -> Vec<(bool, String)> {
    let ran = run(plangate(&["simulate", "-"]).args(args), history);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let answers = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    answers.map(|answer| (answer["allowed"].as_bool().unwrap(), answer["reason"].to_string())).collect()
}

#[test]
fn simulate_takes_slack_and_grace_from_its_options() {
    let history = std::fs::read_to_string(data("past_due_with_grace.ndjson")).unwrap();
    assert!(!answers(&history, &[])[0].0, "no days of grace");
    let active = |period_end: &str, at: &str| {
        let body = json!({"type": "subscription.created", "data":
            {"user_id": "user_1", "plan": "pro", "current_period_end": period_end}});
        let deliver = json!({"deliver": {"provider": "clerk", "event_id": "msg_1", "body": body}});
        let check = json!({"check": {"user_id": "user_1", "plan": "pro", "at": at}});
        format!("{deliver}\n\n{check}\n")
    };
    let history = active("2026-02-01T00:00:00Z", "2026-02-01T01:00:00Z");
    assert!(answers(&history, &[])[0].0);
    assert!(answers(&history, &["--slack-hours", "2"])[0].0);
    assert!(!answers(&history, &["--slack-hours", "1"])[0].0);
    assert!(!answers(&history, &["--slack-hours", "0"])[0].0);
}

#[test]
fn simulate_takes_back_what_was_refunded_if_it_is_told_to() {
    let deliver =
        |id: &str, body: Value| json!({"deliver": {"provider": "standard-webhooks", "event_id": id, "body": body}});
    let purchase = json!({"type": "purchase.completed", "timestamp": "2026-01-01T00:00:00Z",
        "data": {"id": "1", "user_id": "user_1", "plan": "pro"}});
    let refund = json!({"type": "payment.refunded", "timestamp": "2026-01-02T00:00:00Z",
        "data": {"id": "p_1", "user_id": "user_1", "purchase_id": "1", "amount": 2000, "currency": "usd"}});
    let check = json!({"check": {"user_id": "user_1", "plan": "pro", "at": "2026-01-03T00:00:00Z"}});
    let history = format!("{}\n{}\n{check}\n", deliver("msg_1", purchase), deliver("msg_2", refund));
    assert!(answers(&history, &[])[0].0);
    assert!(!answers(&history, &["--refunds-revoke"])[0].0);
}

#[test]
fn simulate_names_a_bad_line_and_its_cause() {
    let check = |rest: &str| format!(r#"{{"check":{{"user_id":"user_1","at":"2026-01-01T00:00:00Z"{rest}}}}}"#);
    let deliver = |provider: &str| {
        format!(r#"{{"deliver":{{"provider":"{provider}","event_id":"msg_1","body":{{}},"at":"soon"}}}}"#)
    };
    let cases = [
        ("nonsense".to_owned(), "expected value at column 1"),
        (r#"{"chekc":{}}"#.to_owned(), "unknown variant `chekc`, expected `deliver` or `check` at column 8"),
        (r#"{"check":{"user_id":"user_1"}}"#.to_owned(), "missing field `at` at column 29"),
        (
            check(r#","plna":"pro""#),
            "unknown field `plna`, expected one of `user_id`, `org_id`, `plan`, `feature`, `at` at column 63",
        ),
        (check(r#","plan":"team:pro""#), "a scope is `user:` (`u:`) or `org:` (`o:`, `organization:`)"),
        (
            r#"{"check":{"plan":"pro","at":"2026-01-01T00:00:00Z"}}"#.to_owned(),
            "a check needs `user_id`, `org_id` or both",
        ),
        (deliver("clerk"), "`at` is neither RFC 3339 nor a Unix time at column 72"),
        (deliver("nobody").replace(r#","at":"soon""#, ""), "`nobody` is no provider"),
    ];
    for (line, cause) in cases {
        let ran = run(&mut plangate(&["simulate", "-"]), &format!("{}\n{line}\n{}\n", check(""), check("")));
        assert_eq!(ran.stderr, format!("line 2 of `-`: {cause}; mend it and play again\n"));
        assert_eq!((ran.code, ran.stdout.lines().count()), (2, 1), "what came before is answered");
    }
}

#[test]
fn simulate_refuses_files_it_cannot_use() {
    let ran = run(&mut plangate(&["simulate", "no-such-file"]), "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("`no-such-file` cannot be read ("), "{}", ran.stderr);
    let ran = run(&mut plangate(&["simulate", "-", "--plans", "no-such-file"]), "");
    assert_eq!(ran.code, 2);
    let plans = scratch("wrong-plans").join("plans.json");
    std::fs::write(&plans, r#"{"pro":{"includes":["basic"]}}"#).unwrap();
    let ran = run(&mut plangate(&["simulate", "-", "--plans", plans.to_str().unwrap()]), "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("is no catalog: plan `pro`: includes `basic`, which is no plan;"), "{}", ran.stderr);
}

// ---- token ----

fn token(args: &[&str]) -> Ran {
    run(plangate(&["token"]).args(args).env("DEV_SESSION_PRIVATE_KEY", PRIVATE_KEY), "")
}

/// The claims of a token whose signature fits the public key.
#[track_caller]
fn verified_claims(token: &str) -> Value {
    let unverified = UnverifiedToken::parse(token).unwrap();
    assert!(signature_fits(&unverified));
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

fn signature_fits(token: &UnverifiedToken<'_>) -> bool {
    let spki = plangate::session::key::parse_pem(PUBLIC_KEY).unwrap();
    // A SubjectPublicKeyInfo of RSA-2048 is 24 bytes of frame around the RSAPublicKey that ring takes.
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, &spki.spki()[24..]);
    key.verify(token.signed_bytes(), token.signature()).is_ok()
}

#[test]
fn token_prints_a_session_token_alone() {
    let ran = token(&["--user", "user_1", "--org", "org_1"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let text = ran.stdout.trim_end();
    let claims = verified_claims(text);
    let now = Timestamp::from_secs(claims["iat"].as_i64().unwrap());
    assert_eq!(
        claims,
        json!({
            "v": 2, "sub": "user_1", "iss": "https://clerk.plangate.example", "azp": "http://localhost:3000",
            "iat": now.as_secs(), "nbf": now.as_secs() - 10, "exp": now.as_secs() + 60,
            "fva": [0, -1], "sts": "active", "sid": claims["sid"], "jti": claims["jti"],
            "o": {"id": "org_1", "slg": "example-ltd", "rol": "admin"},
        })
    );
    assert!(claims["sid"].as_str().unwrap().starts_with("sess_"));
    let policy = SessionPolicy {
        issuer: Some("https://clerk.plangate.example".into()),
        authorized_parties: vec!["http://localhost:3000".into()],
    };
    let session = UnverifiedToken::parse(text).unwrap().judge(true, &policy, now).unwrap();
    assert_eq!(session.user.key(), "user:user_1");
    assert_eq!(session.org.unwrap().key(), "org:org_1");
    assert_ne!(verified_claims(token(&["--user", "user_1"]).stdout.trim_end())["jti"], claims["jti"]);
}

#[test]
fn token_makes_version_1_and_any_lifetime() {
    let ran = token(&["--user", "user_1", "--org", "org_1", "--v1", "--lifetime-secs", "-30", "--json"]);
    let answer = ran.json();
    let claims = verified_claims(answer["token"].as_str().unwrap());
    assert_eq!(answer["claims"], claims);
    assert_eq!(answer["header"]["alg"], "RS256");
    assert_eq!(claims["exp"], json!(claims["iat"].as_i64().unwrap() - 30));
    assert_eq!(answer["expires_at"], json!(Timestamp::from_secs(claims["exp"].as_i64().unwrap())));
    assert_eq!((&claims["org_id"], &claims["org_role"]), (&json!("org_1"), &json!("org:admin")));
    assert!(claims.get("v").is_none() && claims.get("o").is_none());

    let claims = verified_claims(token(&["--user", "user_1"]).stdout.trim_end());
    assert!(claims.get("o").is_none(), "no organization without --org");
}

#[test]
fn token_takes_issuer_and_origin_from_options_or_settings() {
    let given = token(&["--user", "user_1", "--issuer", "https://a.test", "--azp", "https://b.test"]);
    let claims = verified_claims(given.stdout.trim_end());
    assert_eq!((&claims["iss"], &claims["azp"]), (&json!("https://a.test"), &json!("https://b.test")));

    let mut command = plangate(&["token", "--user", "user_1"]);
    command.env("DEV_SESSION_PRIVATE_KEY", PRIVATE_KEY.replace('\n', "\\n"));
    command.env("CLERK_PUBLISHABLE_KEY", "pk_test_Y2xlcmsuY2xlcmsuZGV2JA");
    command.env("AUTHORIZED_PARTIES", "https://first.test, https://second.test");
    let claims = verified_claims(run(&mut command, "").stdout.trim_end());
    assert_eq!((&claims["iss"], &claims["azp"]), (&json!("https://clerk.clerk.dev"), &json!("https://first.test")));
}

#[test]
fn token_reads_the_key_from_dev_vars() {
    let folder = scratch("token-dev-vars");
    let escaped = PRIVATE_KEY.replace('\n', "\\n");
    std::fs::write(folder.join(".dev.vars"), format!("# ours\nDEV_SESSION_PRIVATE_KEY=\"{escaped}\"\n")).unwrap();
    let ran = run(plangate(&["token", "--user", "user_1"]).current_dir(&folder), "");
    verified_claims(ran.stdout.trim_end());
    // The environment comes first.
    let mut other = plangate(&["token", "--user", "user_1"]);
    let ran = run(other.current_dir(&folder).env("DEV_SESSION_PRIVATE_KEY", OTHER_PRIVATE_KEY), "");
    assert!(!signature_fits(&UnverifiedToken::parse(ran.stdout.trim_end()).unwrap()));
}

#[test]
fn token_refuses_a_key_it_cannot_use() {
    let ran = run(&mut plangate(&["token", "--user", "user_1"]), "");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with("DEV_SESSION_PRIVATE_KEY is not set; run `npm start` once, "), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("there is no `{}`", looked_for())), "{}", ran.stderr);
    // `npm start` writes no key into a file that is there.
    let folder = scratch("token-no-key");
    let file = folder.join(".dev.vars");
    std::fs::write(&file, "API_KEYS=pgk_0123456789abcdef\n").unwrap();
    let ran = run(plangate(&["token", "--user", "user_1"]).current_dir(&folder), "");
    let expected = format!("DEV_SESSION_PRIVATE_KEY is not set; delete `{}` and run `npm start`, ", file.display());
    assert!(ran.code == 2 && ran.stderr.starts_with(&expected), "{}", ran.stderr);
    let cut = PRIVATE_KEY.replacen("\nM", "\n", 1);
    for key in ["hush", PUBLIC_KEY, cut.as_str(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
        let ran = run(plangate(&["token", "--user", "user_1"]).env("DEV_SESSION_PRIVATE_KEY", key), "");
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert_eq!(
            ran.stderr,
            "DEV_SESSION_PRIVATE_KEY is no PKCS8 PEM of an RSA key of 2048 bits or more; make a fresh one\n"
        );
    }
    assert_eq!(token(&["--user", ""]).code, 2);
    assert_eq!(token(&[]).code, 2, "--user is needed");
}

#[test]
fn token_refuses_a_key_whose_public_half_is_not_the_workers() {
    let folder = scratch("token-pair");
    let file = folder.join(".dev.vars");
    let line = |name: &str, pem: &str| format!("{name}=\"{}\"\n", pem.replace('\n', "\\n"));
    let public = line("CLERK_JWT_KEY", PUBLIC_KEY);
    std::fs::write(&file, public.clone() + &line("DEV_SESSION_PRIVATE_KEY", OTHER_PRIVATE_KEY)).unwrap();
    let ran = run(plangate(&["token", "--user", "user_1"]).current_dir(&folder), "");
    let expected =
        "CLERK_JWT_KEY is not the public half of DEV_SESSION_PRIVATE_KEY, so the worker would refuse this token; ";
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with(expected) && ran.stderr.contains(file.to_str().unwrap()), "{}", ran.stderr);
    // A key from the environment is for another worker than the file's.
    let mut other = plangate(&["token", "--user", "user_1"]);
    let ran = run(other.current_dir(&folder).env("DEV_SESSION_PRIVATE_KEY", OTHER_PRIVATE_KEY), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));

    std::fs::write(&file, public + &line("DEV_SESSION_PRIVATE_KEY", PRIVATE_KEY)).unwrap();
    let ran = run(plangate(&["token", "--user", "user_1"]).current_dir(&folder), "");
    verified_claims(ran.stdout.trim_end());
}

// ---- trigger ----

/// Every type of event that is offered, with options, and what the core reads out of what arrives.
const EVENTS: &[(&str, &str, &str)] = &[
    ("subscription.created", "", "user:user_ada: pro active 2026-01-01..2026-01-31, free_user* ended 2026-01-01.."),
    ("subscription.created", "--flat", "user:user_ada: pro active .."),
    ("subscription.created", "--flat --trial --period-end 1768435200", "user:user_ada: pro trialing ..2026-01-15"),
    ("subscription.updated", "", "user:user_ada: pro active 2026-01-01..2026-01-31, free_user* ended 2026-01-01.."),
    (
        "subscription.updated",
        "--status canceled",
        "user:user_ada: pro canceled 2026-01-01..2026-01-31, free_user* upcoming 2026-01-31..",
    ),
    ("subscription.updated", "--plan free_user", "user:user_ada: free_user* active 2026-01-01.."),
    ("subscription.updated", "--flat", "user:user_ada: - -"),
    ("subscription.updated", "--flat --plan team", "user:user_ada: team -"),
    ("subscription.updated", "--flat --status paused", "user:user_ada: - paused .."),
    ("subscription.active", "", "user:user_ada: pro active 2026-01-01..2026-01-31, free_user* ended 2026-01-01.."),
    ("subscription.pastDue", "", "user:user_ada: pro past_due 2025-12-02..2026-01-01, free_user* ended 2026-01-01.."),
    ("subscription.deleted", "", "user:user_ada: - canceled ..2026-01-01"),
    ("subscription.payment_failed", "--plan pro", "user:user_ada: pro past_due .. 1 failed"),
    ("subscriptionItem.created", "", "user:user_ada: pro incomplete 2026-01-01..2026-01-31"),
    ("subscriptionItem.updated", "", "user:user_ada: pro active 2026-01-01..2026-01-31"),
    ("subscriptionItem.active", "", "user:user_ada: pro active 2026-01-01..2026-01-31"),
    ("subscriptionItem.active", "--trial", "user:user_ada: pro trialing 2026-01-01..2026-01-15"),
    ("subscriptionItem.active", "--plan team --seats 5", "user:user_ada: team active 2026-01-01..2026-01-31 5 seats"),
    ("subscriptionItem.active", "--seats unlimited", "user:user_ada: pro active 2026-01-01..2026-01-31 -1 seats"),
    (
        "subscriptionItem.active",
        "--period-end 2026-03-01T00:00:00Z",
        "user:user_ada: pro active 2026-01-30..2026-03-01",
    ),
    ("subscriptionItem.active", "--status asleep", "user:user_ada: pro asleep 2026-01-01..2026-01-31"),
    ("subscriptionItem.canceled", "", "user:user_ada: pro canceled 2026-01-01..2026-01-31"),
    ("subscriptionItem.upcoming", "", "user:user_ada: pro upcoming 2026-01-31..2026-03-02"),
    ("subscriptionItem.ended", "", "user:user_ada: pro ended 2025-12-02..2026-01-01"),
    ("subscriptionItem.abandoned", "", "user:user_ada: pro ended 2026-01-31..2026-03-02"),
    ("subscriptionItem.incomplete", "", "user:user_ada: pro incomplete 2026-01-01..2026-01-31"),
    ("subscriptionItem.pastDue", "", "user:user_ada: pro past_due 2025-12-02..2026-01-01"),
    ("subscriptionItem.freeTrialEnding", "", "user:user_ada: pro trialing 2025-12-21..2026-01-04"),
    ("subscriptionItem.expired", "", "user:user_ada: pro ended 2025-12-02..2026-01-01"),
    ("paymentAttempt.created", "", "user:user_ada: payment pending 2000 USD"),
    ("paymentAttempt.updated", "", "user:user_ada: payment paid 2000 USD"),
    ("paymentAttempt.updated", "--status failed", "user:user_ada: payment failed 2000 USD insufficient_funds"),
    ("user.created", "", "user:user_ada:"),
    ("user.updated", "", "user:user_ada:"),
    ("user.deleted", "", "user:user_ada: deleted 2026-01-01"),
    ("organization.created", "--org org_acme", "org:org_acme:"),
    ("organization.updated", "--org org_acme", "org:org_acme:"),
    ("organization.deleted", "--org org_acme", "org:org_acme: deleted 2026-01-01"),
    ("organizationMembership.created", "--org org_acme", "ignored: unused_type"),
    ("organizationMembership.updated", "", "ignored: unused_type"),
    ("organizationMembership.deleted", "", "ignored: unused_type"),
    ("organizationDomain.created", "", "ignored: unused_type"),
    ("organizationDomain.updated", "", "ignored: unused_type"),
    ("organizationDomain.deleted", "", "ignored: unused_type"),
    ("organizationInvitation.created", "", "ignored: unused_type"),
    ("organizationInvitation.accepted", "", "ignored: unused_type"),
    ("organizationInvitation.revoked", "", "ignored: unused_type"),
    ("session.created", "", "ignored: unused_type"),
    ("session.pending", "", "ignored: unused_type"),
    ("session.ended", "", "ignored: unused_type"),
    ("session.removed", "", "ignored: unused_type"),
    ("session.revoked", "--org org_acme", "ignored: unused_type"),
    ("role.created", "", "ignored: unused_type"),
    ("role.updated", "", "ignored: unused_type"),
    ("role.deleted", "", "ignored: unused_type"),
    ("permission.created", "", "ignored: unused_type"),
    ("permission.updated", "", "ignored: unused_type"),
    ("permission.deleted", "", "ignored: unused_type"),
    ("email.created", "", "ignored: unused_type"),
    ("sms.created", "", "ignored: unused_type"),
    ("waitlistEntry.created", "", "ignored: unused_type"),
    ("waitlistEntry.updated", "", "ignored: unused_type"),
];

/// What the core reads, in one line. A star marks the free plan.
fn in_one_line(parsed: &Parsed) -> String {
    let date = |moment: Option<Timestamp>| moment.map_or(String::new(), |moment| moment.to_string()[..10].to_owned());
    let record = |record: &Record| {
        let plan = record
            .plan
            .as_ref()
            .map_or("-".to_owned(), |plan| format!("{}{}", plan.key, if plan.free { "*" } else { "" }));
        let Some(state) = &record.state else { return format!("{plan} -") };
        let mut text = format!("{plan} {} {}..{}", state.status, date(state.period_start), date(state.period_end));
        if let Some(seats) = state.seats.map(Seats::as_stored) {
            text += &format!(" {seats} seats");
        }
        if state.failed_attempts > 0 {
            text += &format!(" {} failed", state.failed_attempts);
        }
        text
    };
    let payment = |payment: &Payment| {
        let (amount, currency) = (payment.amount.unwrap(), payment.currency.as_deref().unwrap());
        let code = payment.failure_code.as_ref().map_or(String::new(), |code| format!(" {code}"));
        format!("payment {} {amount} {currency}{code}", payment.status)
    };
    match parsed {
        Parsed::Ignored { reason, .. } => format!("ignored: {}", reason.as_str()),
        Parsed::Event(Event { payer, records, payments, deleted_at, .. }) => {
            let deleted = deleted_at.map(|at| format!("deleted {}", date(Some(at))));
            let all: Vec<String> =
                records.iter().map(record).chain(payments.iter().map(payment)).chain(deleted).collect();
            format!("{}: {}", payer.as_ref().unwrap(), all.join(", ")).trim_end().to_owned()
        }
    }
}

/// That this is read out of an event of 2026-01-01.
#[track_caller]
fn check_read(parsed: &Parsed, event_type: &str, options: &str, expected: &str) {
    assert_eq!(in_one_line(parsed), expected, "{event_type} {options}");
    if let Parsed::Event(event) = parsed {
        assert_eq!(event.event_type, event_type);
        assert_eq!(event.occurred_at, Timestamp::from_secs(1_767_225_600), "{event_type}");
    }
}

#[test]
fn trigger_sends_every_event_signed_and_as_the_core_reads_it() {
    let recorder = Recorder::start(stored());
    for (number, (event_type, options, expected)) in EVENTS.iter().enumerate() {
        let mut command = trigger(&[event_type, "--url", &recorder.url]);
        if !options.contains("--org") || event_type.contains("Membership") {
            command.args(["--user", "user_ada"]);
        }
        let event_id = format!("msg_{number}");
        command.args(["--at", "2026-01-01T00:00:00Z", "--sent-at", "2026-01-01T00:00:07Z", "--event-id", &event_id]);
        let ran = run(command.args(options.split_whitespace()), "");
        // A status that nobody has is warned of, and sent.
        let is_strange = options.contains("--status asleep");
        assert_eq!((ran.code, !ran.stderr.is_empty()), (0, is_strange), "{event_type}: {}", ran.stderr);

        let recorded = recorder.next();
        assert_eq!(recorded.line, "POST /webhooks/clerk HTTP/1.1");
        let delivery = recorded.delivery();
        let parsed = parse("clerk", &delivery, Timestamp::from_secs(1_767_225_607), &event_id);
        check_read(&parsed, event_type, options, expected);
        let body: Value = serde_json::from_slice(&delivery.body).unwrap();
        assert_eq!((&body["type"], &body["timestamp"]), (&json!(event_type), &json!(1_767_225_600_000_i64)));
    }
}

/// (type, options, what is read out of it).
const STRIPE_EVENTS: &[(&str, &str, &str)] = &[
    ("checkout.session.completed", "", "user:user_ada:"),
    (
        "checkout.session.async_payment_succeeded",
        "--plan price_book",
        "user:user_ada: price_book active .., payment paid 2000 usd",
    ),
    ("checkout.session.async_payment_failed", "", "user:user_ada: payment failed 2000 usd"),
    ("customer.subscription.created", "", "user:user_ada: price_pro incomplete 2026-01-01..2026-01-31 1 seats"),
    (
        "customer.subscription.updated",
        "--plan price_team --seats 3",
        "user:user_ada: price_team active 2026-01-01..2026-01-31 3 seats",
    ),
    ("customer.subscription.updated", "--trial", "user:user_ada: price_pro trialing 2026-01-01..2026-01-15 1 seats"),
    (
        "customer.subscription.updated",
        "--status past_due",
        "user:user_ada: price_pro past_due 2026-01-01..2026-01-01 1 seats",
    ),
    (
        "customer.subscription.updated",
        "--period-end 2026-03-02T00:00:00Z",
        "user:user_ada: price_pro active 2026-01-31..2026-03-02 1 seats",
    ),
    ("customer.subscription.deleted", "", "user:user_ada: price_pro ended 2025-12-02..2026-01-01 1 seats"),
    ("customer.subscription.paused", "", "user:user_ada: price_pro paused 2026-01-01..2026-01-31 1 seats"),
    ("customer.subscription.resumed", "", "user:user_ada: price_pro active 2026-01-01..2026-01-31 1 seats"),
    ("customer.subscription.trial_will_end", "", "user:user_ada: price_pro trialing 2025-12-21..2026-01-04 1 seats"),
    (
        "customer.subscription.pending_update_applied",
        "",
        "user:user_ada: price_pro active 2026-01-01..2026-01-31 1 seats",
    ),
    (
        "customer.subscription.pending_update_expired",
        "",
        "user:user_ada: price_pro active 2026-01-01..2026-01-31 1 seats",
    ),
    ("invoice.created", "", "ignored: unused_type"),
    ("invoice.finalized", "", "ignored: unused_type"),
    ("invoice.paid", "", "user:user_ada: payment paid 2000 usd"),
    ("invoice.payment_succeeded", "", "user:user_ada: payment paid 2000 usd"),
    ("invoice.payment_failed", "", "user:user_ada: payment failed 2000 usd"),
    ("charge.refunded", "", "user:user_ada: payment refunded 2000 usd"),
    ("charge.dispute.created", "", "user:user_ada: payment disputed 2000 usd fraudulent"),
    ("charge.dispute.closed", "", "user:user_ada: payment disputed 2000 usd fraudulent"),
    ("charge.dispute.closed", "--status won", "user:user_ada: payment dispute_won 2000 usd fraudulent"),
    ("customer.created", "", "user:user_ada:"),
    ("customer.updated", "", "user:user_ada:"),
    ("customer.deleted", "", "ignored: unused_type"),
];

/// `trigger stripe …`, as what it would send.
fn stripe_delivery(args: &[&str]) -> Delivery {
    let ran = run(trigger_of("stripe", args).args(["--sent-at", "2026-01-01T00:00:07Z", "--dry-run"]), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
    shown_delivery(&ran.stdout)
}

#[test]
fn trigger_makes_stripes_events_as_the_core_reads_them() {
    for (event_type, options, expected) in STRIPE_EVENTS {
        let mut args = vec![*event_type, "--user", "user_ada", "--at", "2026-01-01T00:00:00Z", "--event-id", "evt_7"];
        args.extend(options.split_whitespace());
        let parsed = parse("stripe", &stripe_delivery(&args), Timestamp::from_secs(1_767_225_607), "evt_7");
        check_read(&parsed, event_type, options, expected);
    }
    // Each gets an id of its own, and an organization is told as one.
    let ids = [(); 2].map(|()| {
        let delivery = stripe_delivery(&["customer.subscription.updated", "--org", "org_acme"]);
        let body: Value = serde_json::from_slice(&delivery.body).unwrap();
        assert_eq!(body["data"]["object"]["metadata"], json!({"orgId": "org_acme"}));
        body["id"].as_str().unwrap().to_owned()
    });
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.starts_with("evt_")), "{ids:?}");
}

#[test]
fn trigger_offers_every_event_that_is_tested_here_and_no_other() {
    for (name, events) in [("clerk", EVENTS), ("stripe", STRIPE_EVENTS)] {
        let ran = run(&mut trigger_of(name, &["subscription.nonsense"]), "");
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{name}");
        let (unknown, list) = ran.stderr.split_once("; there is ").unwrap();
        assert_eq!(unknown, format!("`subscription.nonsense` is no event of `{name}`"));
        let offered: BTreeSet<&str> = list.trim_end().split(", ").map(|name| name.trim_matches('`')).collect();
        assert_eq!(offered, events.iter().map(|(event_type, ..)| *event_type).collect(), "{name}");
    }
}

#[test]
fn trigger_tells_of_organizations_as_payers() {
    let recorder = Recorder::start(stored());
    for (options, expected) in [
        ("subscriptionItem.active --plan team --seats 3", "org:org_acme: team active 2026-01-01..2026-01-31 3 seats"),
        ("subscription.updated", "org:org_acme: pro active 2026-01-01..2026-01-31, free_org* ended 2026-01-01.."),
        ("subscription.created --flat", "org:org_acme: pro active .."),
        ("paymentAttempt.updated", "org:org_acme: payment paid 2000 USD"),
    ] {
        let mut command = trigger(&["--org", "org_acme", "--url", &recorder.url, "--event-id", "msg_1"]);
        command.args(options.split_whitespace()).args(["--at", "1767225600", "--sent-at", "1767225600"]);
        assert_eq!(run(&mut command, "").code, 0);
        let parsed = parse("clerk", &recorder.next().delivery(), Timestamp::from_secs(1_767_225_600), "msg_1");
        assert_eq!(in_one_line(&parsed), expected);
    }
}

#[test]
fn trigger_keeps_the_id_of_an_item_per_payer_and_plan() {
    let item = |options: &str| {
        let ran = run(trigger(&[]).args(options.split_whitespace()).args(["--dry-run", "--json"]), "");
        let body = &ran.json()["request"]["body"]["data"];
        body["items"][0]["id"].as_str().or(body["id"].as_str()).unwrap().to_owned()
    };
    let first = item("subscriptionItem.active --user user_1 --plan pro");
    assert_eq!(item("subscriptionItem.canceled --user user_1 --plan pro --at 2026-01-01T00:00:00Z"), first);
    assert_eq!(item("subscriptionItem.ended --user user_1"), first, "pro is the plan when nobody says");
    assert_eq!(item("subscription.updated --user user_1 --plan pro"), first);
    assert_ne!(item("subscriptionItem.active --user user_2 --plan pro"), first);
    assert_ne!(item("subscriptionItem.active --user user_1 --plan team"), first);
    assert_ne!(item("subscriptionItem.active --org user_1 --plan pro"), first);
}

#[test]
fn trigger_shows_the_exchange() {
    let recorder = Recorder::start(stored());
    let args = ["user.deleted", "--user", "user_1", "--at", "1767225600", "--sent-at", "1767225601"];
    let with_id = ["--event-id", "msg_1", "--url", &format!("{}/", recorder.url)];
    let ran = run(trigger(&args).args(with_id), "");
    let recorded = recorder.next();
    let signature = recorded.header("svix-signature");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        ran.stdout,
        format!(
            "POST {}/webhooks/clerk\n  content-type: application/json\n  user-agent: plangate/{version}\n  \
             svix-id: msg_1\n  svix-timestamp: 1767225601\n  svix-signature: {signature}\n  \
             (user.deleted of user_1, {} bytes)\n200 OK\n  {{\"outcome\":\"stored\",\"event_id\":\"msg_1\"}}\n",
            recorder.url,
            recorded.body.len()
        )
    );
    assert_eq!(recorded.header("content-type"), "application/json");

    let ran = run(trigger(&args).args(with_id).arg("--json"), "");
    assert_eq!(
        ran.json(),
        json!({
            "request": {
                "method": "POST",
                "url": format!("{}/webhooks/clerk", recorder.url),
                "headers": {
                    "content-type": "application/json", "user-agent": format!("plangate/{version}"),
                    "svix-id": "msg_1", "svix-timestamp": "1767225601", "svix-signature": signature,
                },
                "body": serde_json::from_slice::<Value>(&recorded.body).unwrap(),
            },
            "response": {
                "status": 200,
                "headers": {"content-type": "application/json", "content-length": "39", "connection": "close"},
                "body": {"outcome": "stored", "event_id": "msg_1"},
            },
        })
    );
    let raw = String::from_utf8(recorded.body).unwrap();
    assert!(ran.stdout.contains(&raw), "the body is shown byte for byte");
    assert_eq!(recorder.next().header("svix-signature"), signature, "the same delivery once more");
}

#[test]
fn trigger_makes_a_new_event_id_unless_one_is_given() {
    let id = || {
        let ran = run(&mut trigger(&["user.created", "--dry-run", "--json"]), "");
        ran.json()["request"]["headers"]["svix-id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (id(), id());
    assert!(first.starts_with("msg_") && first.len() == 28, "{first}");
    assert_ne!(first, second);
}

#[test]
fn trigger_dry_run_sends_nothing_and_shows_everything() {
    let recorder = Recorder::start(stored());
    let args = ["subscriptionItem.active", "--dry-run", "--url", &recorder.url, "--sent-at", "1767225600"];
    let ran = run(&mut trigger(&args), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let secret = parse_secret("clerk", SECRET);
    plangate::standard_webhooks::verify(&shown_delivery(&ran.stdout), &[secret], Timestamp::from_secs(1_767_225_600))
        .unwrap();
    let ran = run(trigger(&args).arg("--json"), "");
    assert_eq!((ran.code, &ran.json()["response"]), (0, &Value::Null));
    assert!(recorder.requests.try_recv().is_err());
}

#[test]
fn trigger_succeeds_on_200_alone() {
    let problem = || Recorder::start(answer("400 Bad Request", "", r#"{"code":"invalid_signature"}"#));
    let ran = run(trigger(&["user.created", "--url", &problem().url]).arg("--json"), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    assert_eq!(ran.json()["response"]["status"], 400);
    assert_eq!(ran.json()["response"]["body"]["code"], "invalid_signature");
    let ran = run(&mut trigger(&["user.created", "--url", &problem().url]), "");
    assert!(ran.stdout.ends_with("400 Bad Request\n  {\"code\":\"invalid_signature\"}\n"), "{}", ran.stdout);

    // What refuses nothing and takes nothing has not answered.
    for status in ["404 Not Found", "413 Content Too Large", "503 Service Unavailable"] {
        let recorder = Recorder::start(answer(status, "", r#"{"code":"store_unavailable"}"#));
        let ran = run(&mut trigger(&["user.created", "--url", &recorder.url]), "");
        assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "{status}");
    }
    for other in [
        answer("200 OK", "", "hello"),
        answer("202 Accepted", "", ""),
        // No provider follows a redirect; whoever did would find nobody there.
        answer("302 Found", "location: http://127.0.0.1:9/\r\n", ""),
        answer("400 Bad Request", "", "<h1>Bad request</h1>"),
        answer("503 Service Unavailable", "", "busy"),
    ] {
        let recorder = Recorder::start(other.clone());
        let ran = run(&mut trigger(&["user.created", "--url", &recorder.url]), "");
        let expected = format!("what answers at {} is no plangate worker; check --url\n", recorder.url);
        assert_eq!((ran.code, ran.stderr), (3, expected), "{other}");
    }
}

#[test]
fn trigger_warns_of_a_status_that_the_worker_does_not_know() {
    let known = "`active`, `past_due`, `canceled`, `upcoming`, `ended`, `abandoned`, `incomplete`, `expired`";
    let expected = format!("the worker does not know the status `banana`, so it grants nothing; known are {known}\n");
    for (options, stderr) in [
        ("subscriptionItem.active --status banana", expected.as_str()),
        ("subscription.updated --status banana", &expected),
        ("subscription.updated --status banana --flat", &expected),
        ("subscriptionItem.active --status past_due", ""),
        ("paymentAttempt.updated --status failed", ""),
    ] {
        let recorder = Recorder::start(stored());
        let ran = run(trigger(&["--url", &recorder.url]).args(options.split(' ')), "");
        assert_eq!((ran.code, ran.stderr.as_str()), (0, stderr), "{options}");
        assert_eq!(recorder.next().line, "POST /webhooks/clerk HTTP/1.1", "it is sent all the same");
    }
}

#[test]
fn trigger_says_plainly_that_nothing_answers() {
    // The port of one end of a connection, on which nobody can listen as long as it is there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = held.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let expected =
        format!("no answer from {url}: connection refused; check --url, and that the worker runs (`npm start`)\n");
    let ran = run(&mut trigger(&["user.created", "--url", &url]), "");
    assert_eq!((ran.code, ran.stderr), (3, expected.clone()));
    let ran = run(trigger(&["user.created", "--url", &url]).arg("--json"), "");
    assert_eq!((ran.code, &ran.stderr), (3, &expected));
    assert_eq!((&ran.json()["response"], &ran.json()["error"]), (&Value::Null, &json!("connection refused")));

    let hangs_up = Recorder::start(String::new());
    let ran = run(&mut trigger(&["user.created", "--url", &hangs_up.url]), "");
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.starts_with("no answer from "), "{}", ran.stderr);
}

#[test]
fn trigger_needs_a_secret() {
    let ran = run(&mut plangate(&["trigger", "clerk", "user.created", "--dry-run"]), "");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with("there is no signing secret for `clerk`; give --secret, "), "{}", ran.stderr);
    let ran = run(plangate(&["trigger", "clerk", "user.created"]).env(SECRET_NAME, "whsec_hush!"), "");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("a secret in CLERK_WEBHOOK_SIGNING_SECRET is not base64"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hush"));
}

#[test]
fn trigger_takes_the_secret_from_the_option_then_the_environment_then_dev_vars() {
    let folder = scratch("trigger-dev-vars");
    let signed_with = |secret: &str, command: &mut Command| {
        let ran = run(command.current_dir(&folder).args(["--dry-run", "--json", "--sent-at", "1767225600"]), "");
        let request = &ran.json()["request"];
        let headers = request["headers"].as_object().unwrap();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let delivery = Delivery { headers: Headers::new(headers), body: request["body"].to_string().into_bytes() };
        let secret = parse_secret("clerk", secret);
        plangate::standard_webhooks::verify(&delivery, &[secret], Timestamp::from_secs(1_767_225_600)).is_ok()
    };
    let command = || plangate(&["trigger", "clerk", "user.created"]);
    let third = "whsec_dGhpcmQtc2VjcmV0LW9mLXRoZS10ZXN0cw==";
    std::fs::write(folder.join(".dev.vars"), format!("export {SECRET_NAME} = '{third}, {SECRET}' # rotating\n"))
        .unwrap();
    assert!(signed_with(third, &mut command()), "the first of a list");
    assert!(signed_with(SECRET, command().env(SECRET_NAME, SECRET)));
    assert!(signed_with(OTHER_SECRET, command().env(SECRET_NAME, SECRET).args(["--secret", OTHER_SECRET])));
    std::fs::write(folder.join(".dev.vars"), format!("CLERK_WEBHOOK_SECRET={third}\n")).unwrap();
    assert!(signed_with(third, &mut command()), "the older name");
}

#[test]
fn trigger_proves_an_event_by_every_kind_of_secret_that_is_set() {
    let headers = |settings: &[(&str, &str)]| {
        let mut command =
            plangate(&["trigger", "revenuecat", "RENEWAL", "--at", "1767225600", "--sent-at", "1767225600"]);
        command.args(["--event-id", "evt_1", "--dry-run", "--json"]);
        let ran = run(command.envs(settings.iter().copied()), "");
        let headers = ran.json()["request"]["headers"].as_object().unwrap().clone();
        (headers.get("authorization").cloned(), headers.get("x-revenuecat-webhook-signature").cloned())
    };
    let (value, key) = (("REVENUECAT_WEBHOOK_SECRET", "Bearer hush, old"), ("REVENUECAT_SIGNING_SECRET", "hush"));
    let (authorization, signature) = headers(&[value, key]);
    assert_eq!(authorization, Some(json!("[redacted]")));
    assert!(signature.as_ref().unwrap().as_str().unwrap().starts_with("t=1767225600,v1="));
    assert_eq!(headers(&[value]), (authorization, None));
    assert_eq!(headers(&[key]), (None, signature));
}

#[test]
fn what_trigger_makes_of_our_own_form_verify_believes_and_simulate_counts() {
    let trigger = |options: &str| {
        let mut command = trigger_of("standard-webhooks", &["--dry-run", "--json"]);
        command.args(options.split(' ')).args(["--at", "1767225600", "--sent-at", "1767225600"]);
        run(&mut command, "").json()["request"].clone()
    };
    let verify = |request: &Value, secret: &str, body: &str| {
        let mut command = plangate(&["verify", "standard-webhooks", "--secret", secret, "--now", "1767225601"]);
        for (name, value) in request["headers"].as_object().unwrap() {
            command.args(["--header", &format!("{name}: {}", value.as_str().unwrap())]);
        }
        let ran = run(&mut command, body);
        (ran.code, ran.stdout.trim().to_owned())
    };
    let asked = |deliveries: &[Value]| {
        let mut lines: Vec<Value> = deliveries
            .iter()
            .enumerate()
            .map(|(place, request)| {
                json!({"deliver": {"provider": "standard-webhooks", "event_id": format!("e{place}"), "body": request["body"]}})
            })
            .collect();
        lines.push(json!({"check": {"user_id": "user_7", "plan": "gold", "at": "2026-01-02T00:00:00Z"}}));
        let history: Vec<_> = lines.iter().map(Value::to_string).collect();
        let answer = run(&mut plangate(&["simulate", "-", "--json"]), &history.join("\n")).json();
        (answer["allowed"].as_bool().unwrap(), answer["reason"].as_str().unwrap().to_owned())
    };
    let cases = [
        ("subscription.changed --user user_7 --plan gold", (true, "active")),
        ("subscription.changed --user user_7 --plan gold --trial", (true, "trialing")),
        ("subscription.changed --user user_7 --plan gold --status past_due", (false, "past_due")),
        (
            "subscription.changed --user user_7 --plan gold --status canceled --seats 3",
            (true, "canceled_until_period_end"),
        ),
        ("subscription.changed --user user_7 --plan gold --status ended", (false, "expired")),
        ("subscription.changed --org user_7 --plan gold", (false, "no_subscription")),
        ("purchase.completed --user user_7 --plan gold --seats unlimited", (true, "active")),
        ("purchase.completed --user user_7 --plan gold --period-end 2026-01-02T00:00:00Z", (false, "expired")),
    ];
    for (options, (allowed, reason)) in cases {
        let request = trigger(options);
        let body = request["body"].to_string();
        let id = request["headers"]["webhook-id"].as_str().unwrap();
        assert_eq!(verify(&request, SECRET, &body), (0, format!("ok {id}")), "{options}");
        let refused = "invalid_signature: no signature fits the body and any configured secret".to_owned();
        assert_eq!(verify(&request, OTHER_SECRET, &body), (1, refused.clone()), "{options}");
        assert_eq!(verify(&request, SECRET, &format!("{body} ")), (1, refused), "{options}");
        assert_eq!(asked(&[request]), (allowed, reason.to_owned()), "{options}");
    }
    let bought = trigger("purchase.completed --user user_7 --plan gold");
    let revoked = trigger("purchase.revoked --user user_7");
    assert_eq!(asked(&[bought.clone(), revoked.clone()]), (false, "expired".to_owned()), "of one purchase");
    assert_eq!(asked(&[revoked, bought]), (false, "expired".to_owned()));
    let linked = trigger("customer.linked --user user_7");
    let subscription = trigger("subscription.changed --user user_7");
    assert_eq!(linked["body"]["data"]["customer_id"], subscription["body"]["data"]["customer_id"]);
}

#[test]
fn trigger_names_the_instance_that_is_set() {
    let mut command = trigger(&["user.created", "--dry-run", "--json"]);
    let ran = run(command.env("CLERK_INSTANCE_ID", "ins_ours"), "");
    assert_eq!(ran.json()["request"]["body"]["instance_id"], "ins_ours");
}

/// What follows `trigger` is refused with this message.
#[track_caller]
fn check_refused(command: &str, expected: &str) {
    let (provider, options) = command.split_once(' ').unwrap();
    let ran = run(trigger_of(provider, &[]).args(options.split(' ')), "");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr), (2, "", format!("{expected}\n")), "{command}");
}

#[test]
fn trigger_refuses_options_that_an_event_has_no_place_for() {
    for (command, option) in [
        ("clerk user.deleted --plan pro", "--plan"),
        ("clerk session.ended --status gone", "--status"),
        ("clerk user.created --org org_1", "--org"),
        ("clerk subscriptionItem.active --flat", "--flat"),
        ("clerk subscription.pastDue --flat", "--flat"),
        ("clerk subscription.created --flat --seats 2", "--seats"),
        ("clerk subscription.deleted --trial", "--trial"),
        ("standard-webhooks payment.failed --plan pro", "--plan"),
        ("standard-webhooks purchase.completed --status active", "--status"),
        ("standard-webhooks payer.deleted --period-end 2026-01-02T00:00:00Z", "--period-end"),
        ("standard-webhooks purchase.completed --trial", "--trial"),
        ("standard-webhooks purchase.revoked --seats 2", "--seats"),
        ("standard-webhooks subscription.changed --flat", "--flat"),
        ("stripe customer.subscription.updated --flat", "--flat"),
        ("stripe invoice.paid --plan price_x", "--plan"),
        ("stripe customer.updated --status x", "--status"),
        ("stripe charge.refunded --trial", "--trial"),
        ("stripe invoice.paid --seats 3", "--seats"),
        ("stripe invoice.paid --period-end 1767225600", "--period-end"),
    ] {
        let event_type = command.split(' ').nth(1).unwrap();
        check_refused(command, &format!("`{event_type}` has no place for {option}; leave it out"));
    }
}

#[test]
fn trigger_refuses_values_that_it_cannot_use() {
    for (command, expected) in [
        (
            "clerk subscriptionItem.active --user a --org b",
            "`subscriptionItem.active` is about one payer; give --user or --org, not both",
        ),
        ("clerk user.created --user=", "--user is empty or too long; give an id of 1 to 255 bytes"),
        (
            "clerk user.created --event-id a\u{a0}b",
            "--event-id goes into a header; give one of visible ASCII characters",
        ),
        (
            "clerk user.created --url localhost:8787",
            "--url is no address; give one that begins with http:// or https://",
        ),
        ("clerk user.created --url http://a:b@c", "--url holds a user name or a password; leave them out"),
        (
            "standard-webhooks payer.deleted --user a --org b",
            "`payer.deleted` is about one payer; give --user or --org, not both",
        ),
        ("stripe customer.subscription.updated --seats unlimited", "Stripe counts seats; give --seats a number"),
        ("stripe invoice.paid --user u --org o", "`invoice.paid` is about one payer; give --user or --org, not both"),
        ("stripe invoice.paid --user=", "--user is empty or too long; give an id of 1 to 255 bytes"),
    ] {
        check_refused(command, expected);
    }
    let ran = run(&mut plangate(&["trigger", "nobody", "user.created"]), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (2, no_provider().as_str()));
    for options in ["user.created --at tomorrow", "subscriptionItem.active --seats few", ""] {
        assert_eq!(run(trigger(&[]).args(options.split_whitespace()), "").code, 2, "{options}");
    }
}

// ---- all ----

// ---- explain ----

const SERVER_KEY: &str = "pgk_0123456789abcdef";

/// What the worker answers for a payer whose subscription was canceled and who was given a feature, which was taken back.
fn explanation(allowed: bool) -> Value {
    json!({
        "question": {"user_id": "user_1", "org_id": null, "conditions": [{"what": "plan", "name": "pro", "scope": null}]},
        "at": "2026-01-01T00:00:00Z", "now": "2026-01-01T00:00:00Z",
        "decision": {"allowed": allowed, "reason": "canceled_until_period_end", "plan": "pro", "status": "canceled",
            "payer": {"type": "user", "id": "user_1"}, "valid_until": "2026-01-31T00:00:00Z",
            "as_of": "2026-01-01T00:00:00Z", "source": "d1", "version": 4, "age_seconds": 0},
        "rule": {"code": "until_period_end", "text": "canceled grants until period_end: until 2026-01-31T00:00:00Z"},
        "changes_at": {"at": "2026-01-31T00:00:00Z", "allowed": false, "reason": "expired"},
        "payers": [{"payer": {"type": "user", "id": "user_1"}, "version": 4, "deleted_at": null, "records": [
            {"provider": "clerk", "id": "i_1", "plan": "pro", "feature": null, "plan_key": "pro", "status": "canceled",
                "period_start": "2026-01-01T00:00:00Z", "period_end": "2026-01-31T00:00:00Z", "past_due_since": null,
                "occurred_at": "2026-01-01T00:00:00Z", "event_id": "msg_2", "granted": null, "revoked": null,
                "allowed": true, "reason": "canceled_until_period_end", "valid_until": "2026-01-31T00:00:00Z",
                "decided": true},
            {"provider": "operator", "id": "g_1", "plan": null, "feature": "export", "plan_key": "feature:export",
                "status": "ended", "period_start": null, "period_end": null, "past_due_since": null,
                "occurred_at": "2025-12-30T00:00:00Z", "event_id": "r_1",
                "granted": {"by": "ada", "why": "a bug"}, "revoked": {"by": "bob", "why": "a mistake"},
                "allowed": false, "reason": "expired", "valid_until": null, "decided": false},
        ]}],
        "events": [{"seq": 9, "provider": "clerk", "event_id": "msg_2", "type": "subscriptionItem.canceled",
            "payer": {"type": "user", "id": "user_1"}, "occurred_at": "2026-01-01T00:00:00Z",
            "received_at": "2026-01-01T00:00:01Z", "outcome": "stored", "records": ["i_1"], "decided": true}],
        "has_more_events": true, "complete": true, "source": "d1", "as_of": "2026-01-01T00:00:00Z", "age_seconds": 0,
        "check": {"allowed": true, "reason": "active", "plan": "pro", "status": "active", "payer": null,
            "valid_until": null, "as_of": "2025-12-31T23:59:00Z", "source": "kv", "version": 3, "age_seconds": 60},
    })
}

fn explains(allowed: bool) -> Recorder {
    let body = explanation(allowed).to_string();
    Recorder::start(answer("200 OK", "content-type: application/json\r\n", &body))
}

#[test]
fn explain_asks_as_a_server_and_writes_the_answer_down() {
    let recorder = explains(true);
    let asked = [
        "explain",
        "--user",
        "user_1",
        "--org",
        "org 1",
        "--plan",
        "pro",
        "--plan",
        "org:team",
        "--feature",
        "a&b",
        "--at",
        "1767225600",
        "--url",
        &format!("{}/", recorder.url),
        "--api-key",
        SERVER_KEY,
    ];
    let ran = run(&mut plangate(&asked), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let expected = "yes now: canceled_until_period_end, holding pro
rule: canceled grants until period_end: until 2026-01-31T00:00:00Z (until_period_end)
from 2026-01-31T00:00:00Z on: no, expired
a check is answered: yes, active, from kv (version 3, 60 s old; the facts are at version 4)
user:user_1, version 4
  * clerk i_1: pro canceled, yes (canceled_until_period_end) until 2026-01-31T00:00:00Z
      period 2026-01-01T00:00:00Z to 2026-01-31T00:00:00Z
      as msg_2 told it at 2026-01-01T00:00:00Z
    operator g_1: export ended, no (expired)
      period open to open
      as r_1 told it at 2025-12-30T00:00:00Z
      given by ada: a bug
      taken back by bob: a mistake
events, newest first
  * 2026-01-01T00:00:01Z subscriptionItem.canceled clerk msg_2 stored: i_1
  and more
";
    assert_eq!(ran.stdout, expected);
    let recorded = recorder.next();
    assert_eq!(
        recorded.line,
        "GET /v1/explain?user_id=user_1&org_id=org+1&plan=pro&plan=org%3Ateam&feature=a%26b\
         &at=2026-01-01T00%3A00%3A00Z HTTP/1.1"
    );
    assert_eq!(recorded.header("authorization"), format!("Bearer {SERVER_KEY}"));

    let ran = run(plangate(&asked).arg("--json"), "");
    assert_eq!((ran.code, ran.json()), (0, explanation(true)));
}

#[test]
fn explain_says_no_with_its_exit_code() {
    let args = |url: &str| plangate(&["explain", "--user", "user_1", "--url", url, "--api-key", SERVER_KEY]);
    assert_eq!(run(&mut args(&explains(false).url), "").code, 1);
    let ran = run(args(&explains(false).url).arg("--json"), "");
    assert_eq!((ran.code, ran.json()), (1, explanation(false)));

    for status in ["400 Bad Request", "401 Unauthorized", "404 Not Found", "503 Service Unavailable"] {
        let problem = || Recorder::start(answer(status, "", r#"{"code":"invalid_api_key"}"#));
        let ran = run(&mut args(&problem().url), "");
        let expected = format!("{status}\n  {{\"code\":\"invalid_api_key\"}}\n");
        assert_eq!((ran.code, ran.stdout, ran.stderr.as_str()), (3, expected, ""));
        let ran = run(args(&problem().url).arg("--json"), "");
        assert_eq!((ran.code, ran.json(), ran.stderr.as_str()), (3, json!({"code": "invalid_api_key"}), ""));
    }

    let stranger = Recorder::start(answer("200 OK", "", "hello"));
    let ran = run(&mut args(&stranger.url), "");
    let expected = format!("what answers at {} is no plangate worker; check --url\n", stranger.url);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr), (3, "", expected));
    let ran = run(&mut args(&Recorder::start(String::new()).url), "");
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.starts_with("no answer from "), "{}", ran.stderr);
    // The key is for this address and no other.
    let elsewhere = Recorder::start(answer("302 Found", "location: http://127.0.0.1:9/\r\n", ""));
    let ran = run(&mut args(&elsewhere.url), "");
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "302 Found\n  \n"));
    assert!(ran.stderr.contains(" is no plangate worker; "), "{}", ran.stderr);
}

#[test]
fn explain_takes_the_key_from_the_option_then_the_environment_then_dev_vars() {
    let folder = scratch("explain-dev-vars");
    std::fs::write(folder.join(".dev.vars"), "API_KEYS='pgk_of_the_file_0123, pgk_other_0123456789'\n").unwrap();
    let recorder = explains(true);
    let command = || {
        let mut command = plangate(&["explain", "--org", "org_1", "--url", &recorder.url]);
        command.current_dir(&folder);
        command
    };
    let asked_with = |command: &mut Command| {
        assert_eq!(run(command, "").code, 0);
        recorder.next().header("authorization")
    };
    assert_eq!(asked_with(&mut command()), "Bearer pgk_of_the_file_0123", "the first of a list");
    assert_eq!(asked_with(command().env("API_KEYS", SERVER_KEY)), format!("Bearer {SERVER_KEY}"));
    let given = asked_with(command().env("API_KEYS", SERVER_KEY).args(["--api-key", "pgk_given"]));
    assert_eq!(given, "Bearer pgk_given");
}

#[test]
fn explain_refuses_what_it_cannot_ask() {
    let no_key = format!(
        "there is no server key; give --api-key, or set API_KEYS in the environment or in `{}`\n",
        looked_for()
    );
    let cases: [(&[&str], &str); 5] = [
        (&["--plan", "pro"], "there is nobody to ask about; give --user, --org or both\n"),
        (&["--user", "u"], &no_key),
        (
            &["--user", "u", "--api-key", "ä"],
            "the server key goes into a header; give one of visible ASCII characters\n",
        ),
        (
            &["--user", "u", "--api-key", SERVER_KEY, "--url", "localhost"],
            "--url is no address; give one that begins with http:// or https://\n",
        ),
        (
            &["--user", "u", "--api-key", SERVER_KEY, "--url", "http://a:b@localhost"],
            "--url holds a user name or a password; leave them out\n",
        ),
    ];
    for (args, stderr) in cases {
        let ran = run(plangate(&["explain"]).args(args), "");
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (2, "", stderr));
    }
    assert_eq!(run(&mut plangate(&["explain", "--user", "u", "--at", "yesterday"]), "").code, 2);
}

#[test]
fn every_command_shows_an_example() {
    for command in ["trigger", "token", "verify", "simulate", "explain"] {
        let ran = run(&mut plangate(&[command, "--help"]), "");
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("\nExample:\n  "), "{command}");
        assert!(ran.stdout.contains(&format!("plangate {command} ")), "{command}");
    }
    assert_eq!(run(&mut plangate(&[]), "").code, 2);
    assert_eq!(run(&mut plangate(&["dance"]), "").code, 2);
    let help = run(&mut plangate(&["trigger", "--help"]), "").stdout;
    assert!(help.contains("[default: `user_example`, unless --org is given]"), "{help}");
}

#[test]
fn a_reader_that_stops_early_is_no_error_to_talk_about() {
    let check = r#"{"check":{"user_id":"user_1","at":"2026-01-01T00:00:00Z"}}"#;
    let mut child = plangate(&["simulate", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // The program may be gone before all of it is written.
    let _ = child.stdin.take().unwrap().write_all(format!("{check}\n").repeat(100).as_bytes());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(3), ""));
}

// ---- what the tests share ----

/// What a server says, and then hangs up.
fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn stored() -> String {
    answer("200 OK", "content-type: application/json\r\n", r#"{"outcome":"stored","event_id":"msg_1"}"#)
}

/// The program, in a folder without `.dev.vars` and without any environment.
fn plangate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plangate"));
    command.args(args).env_clear().current_dir(scratch("bare"));
    command
}

/// Where [`plangate`] looks for `.dev.vars`.
fn looked_for() -> String {
    scratch("bare").join(".dev.vars").display().to_string()
}

fn trigger(args: &[&str]) -> Command {
    trigger_of("clerk", args)
}

/// A provider's setting, and the secret that is in it here.
fn secret_of(provider: &str) -> (&'static str, &'static str) {
    match provider {
        "clerk" => (SECRET_NAME, SECRET),
        "standard-webhooks" => ("STANDARD_WEBHOOKS_SECRET", SECRET),
        "stripe" => ("STRIPE_WEBHOOK_SECRET", "whsec_of_stripe"),
        _ => panic!("no secret of {provider}"),
    }
}

fn trigger_of(provider: &str, args: &[&str]) -> Command {
    let (setting, secret) = secret_of(provider);
    let mut command = plangate(&["trigger", provider]);
    command.args(args).env(setting, secret);
    command
}

fn parse_secret(provider: &str, text: &str) -> Secret {
    provider::named(provider).unwrap().parse_secret(secret_of(provider).0, text).unwrap()
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli").join(name)
}

/// A folder of a test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The one line of JSON on stdout.
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

#[track_caller]
fn run(command: &mut Command, stdin: &str) -> Ran {
    run_bytes(command, stdin.as_bytes())
}

/// Runs the program to its end. Whatever it was asked to do, it never prints a secret or a private key.
#[track_caller]
fn run_bytes(command: &mut Command, stdin: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
    // A command that fails at once does not read its input.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    let keys = [PRIVATE_KEY, OTHER_PRIVATE_KEY].into_iter().flat_map(str::lines).filter(|line| !line.starts_with('-'));
    let secrets = [SECRET, OTHER_SECRET].map(|secret| secret.trim_start_matches("whsec_"));
    for secret in keys.chain(secrets) {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "a secret was printed");
    }
    ran
}

/// Checks a delivery as the worker does, and reads it.
#[track_caller]
fn parse(provider: &str, delivery: &Delivery, now: Timestamp, event_id: &str) -> Parsed {
    let secret = parse_secret(provider, secret_of(provider).1);
    let provider = provider::named(provider).unwrap();
    let verified = provider.verify(delivery, &[secret], &Ours::default(), now).unwrap();
    assert_eq!(verified.event_id(), event_id);
    assert_eq!(verified.sent_at(), Some(now));
    provider.parse(&verified, &Ours::default()).unwrap()
}

/// What a dry run shows, as what it would send.
#[track_caller]
fn shown_delivery(stdout: &str) -> Delivery {
    let (head, body) = stdout.split_once("\n\n").unwrap();
    let headers = head.lines().skip(1).map(|line| line.trim().split_once(": ").unwrap());
    Delivery { headers: Headers::new(headers), body: body.trim_end().as_bytes().to_vec() }
}

/// A server that records what it is sent and always answers the same.
struct Recorder {
    url: String,
    requests: mpsc::Receiver<Recorded>,
}

struct Recorded {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Recorder {
    fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let recorded = Recorded::read(&stream);
                stream.write_all(answer.as_bytes()).unwrap();
                if sender.send(recorded).is_err() {
                    break;
                }
            }
        });
        Self { url, requests }
    }

    #[track_caller]
    fn next(&self) -> Recorded {
        self.requests.recv_timeout(std::time::Duration::from_secs(10)).unwrap()
    }
}

impl Recorded {
    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let first = line();
        let lines = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
        let headers: Vec<(String, String)> =
            lines.filter_map(|line| line.split_once(": ").map(|(name, value)| (name.into(), value.into()))).collect();
        let mut recorded = Self { line: first, headers, body: Vec::new() };
        // A question has no body.
        recorded.body = vec![0; recorded.header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut recorded.body).unwrap();
        recorded
    }

    fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn delivery(&self) -> Delivery {
        Delivery { headers: Headers::new(self.headers.clone()), body: self.body.clone() }
    }
}
