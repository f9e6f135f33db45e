#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! The Standard Webhooks signature scheme, case by case.
//!
//! Signatures are made here with `ring`, a second implementation of HMAC, over whatever text a case puts into the
//! headers. The public libraries were run with the same cases (svix 2.5.0 and standardwebhooks 1.1.1 from npm, svix
//! 2.9.1 and standardwebhooks 1.1.0 from PyPI, the crates svix 2.9.1 and standardwebhooks 1.0.1). Where we differ:
//!
//! | case | the libraries | here | why |
//! |---|---|---|---|
//! | timestamp with decimals, exponent, sign, spaces, `_` | some read them (Python all, JS some, Rust a `+`) | `MalformedTimestamp` | a sender writes digits; what is signed and what is compared must be one number |
//! | timestamp followed by letters | JS reads the digits | `MalformedTimestamp` | the same |
//! | timestamp with leading zeros, signature over the number | all accept | `NoMatchingSignature` | the header's text is what is signed |
//! | timestamp of the least `i64` | crate standardwebhooks: a panic before any signature check, or accepted | `MalformedTimestamp` | at most 12 digits, so no subtraction can overflow |
//! | empty id, signature over it | Rust crates accept | `MissingHeaders` | the id is the idempotency key |
//! | third comma field after the value | JS accepts | refused | an entry is a version and a value |
//! | junk entry, doubled spaces | Python raises another error | skipped | one bad entry says nothing of the next |
//! | signature with non-canonical last bits | Python accepts | refused | one MAC has one text |
//! | secret without padding, with spare bits, with a newline at the end | Rust crates refuse | accepted | a person pasted it; the key is unmistakable |
//! | secret in the url-safe alphabet | Python drops the characters and uses another key | `NotBase64` | never another key than was given |
//! | empty secret, `whsec_` alone | crate standardwebhooks accepts: anybody can sign | `Empty` | |
//! | only `webhook-*` headers | Clerk's own SDK refuses | accepted | the svix libraries accept both |
//! | body that is not UTF-8 | JS decodes with U+FFFD first, Python and Rust refuse | verified as bytes | bytes are what is signed; reading them comes later |
//! | signature header sent twice | joined by `, `; JS finds both | only the last of the two can match | Fetch joins them so; no sender does it |

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use plangate::delivery::{Delivery, Headers, Verified, VerifyError};
use plangate::provider::{Ours, named};
use plangate::secret::{Secret, SecretError};
use plangate::standard_webhooks::{HEADERS, TOLERANCE_SECS, parse_secret, sign, verify};
use plangate::time::Timestamp;
use ring::hmac;

const ID: &str = "msg_2abcTESTvector0001";
const NOW: i64 = 1_767_225_600;
const SECRET: &str = "whsec_ZWRnZS1lbnRpdGxlbWVudHMtdGVzdC1rZXktMDAwMDE=";
const BODY: &[u8] =
    br#"{"type":"user.deleted","object":"event","data":{"id":"user_2abcDEF","object":"user","deleted":true}}"#;
const SIGNATURE: &str = "v1,KYH0JLoFXs6waRIk/QHs8vx1wATb6I3PuUp7tQGYV5o=";

/// A delivery, and what must come of it at [`NOW`].
struct Case {
    what: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    secrets: Vec<Secret>,
    now_secs: i64,
}

impl Case {
    /// The vector above, right in everything.
    fn new(what: &'static str) -> Self {
        Self {
            what,
            headers: headers(ID, &NOW.to_string(), SIGNATURE),
            body: BODY.to_vec(),
            secrets: vec![secret(SECRET)],
            now_secs: NOW,
        }
    }

    fn headers(self, headers: Vec<(&'static str, String)>) -> Self {
        Self { headers, ..self }
    }

    /// With this signature header.
    fn signature(self, signature: impl Into<String>) -> Self {
        self.headers(headers(ID, &NOW.to_string(), &signature.into()))
    }

    /// With this timestamp header, rightly signed as it stands.
    fn timestamp(self, timestamp: &str) -> Self {
        let signature = mac_text(SECRET, ID, timestamp, &self.body);
        self.headers(headers(ID, timestamp, &signature))
    }

    fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// With this body, rightly signed.
    fn signed_body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let signature = mac_text(SECRET, ID, &NOW.to_string(), &body);
        self.body(body).signature(signature)
    }

    fn secrets(self, secrets: Vec<Secret>) -> Self {
        Self { secrets, ..self }
    }

    fn now(self, now_secs: i64) -> Self {
        Self { now_secs, ..self }
    }

    #[track_caller]
    fn check(&self, expected: Result<(), VerifyError>) {
        let delivery = Delivery { headers: Headers::new(self.headers.clone()), body: self.body.clone() };
        let verified = verify(&delivery, &self.secrets, Timestamp::from_secs(self.now_secs));
        assert_eq!(verified.map(|_| ()), expected, "{}: {:?}", self.what, self.headers);
    }
}

fn secret(text: &str) -> Secret {
    parse_secret(text).unwrap()
}

fn headers(id: &str, timestamp: &str, signature: &str) -> Vec<(&'static str, String)> {
    vec![("svix-id", id.into()), ("svix-timestamp", timestamp.into()), ("svix-signature", signature.into())]
}

fn standard_headers(id: &str, timestamp: &str, signature: &str) -> Vec<(&'static str, String)> {
    vec![("webhook-id", id.into()), ("webhook-timestamp", timestamp.into()), ("webhook-signature", signature.into())]
}

fn mac(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &content).as_ref().to_vec()
}

fn key_of(secret: &str) -> Vec<u8> {
    STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap()
}

/// One entry of a signature header.
fn mac_text(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    format!("v1,{}", STANDARD.encode(mac(&key_of(secret), id, timestamp, body)))
}

const WRONG: Result<(), VerifyError> = Err(VerifyError::NoMatchingSignature);

/// (secret, id, timestamp, body, signature)
const VECTORS: &[(&str, &str, i64, &str, &str)] = &[
    // The sign vector of every official suite and of the Svix server.
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        r#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    // From Svix' page on verifying by hand.
    (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1_731_705_121,
        r#"{"event_type":"ping","data":{"success":true}}"#,
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
    (
        SECRET,
        ID,
        NOW,
        r#"{"type":"user.deleted","object":"event","data":{"id":"user_2abcDEF","object":"user","deleted":true}}"#,
        SIGNATURE,
    ),
];

/// The Ed25519 vector of the Svix server, over the first of the vectors.
const V1A: &str = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

#[test]
fn published_vectors_verify_under_both_families_and_sign_makes_them() {
    for (text, id, at, body, signature) in VECTORS {
        for headers in [headers, standard_headers] {
            let headers = Headers::new(headers(id, &at.to_string(), signature));
            let delivery = Delivery { headers, body: body.as_bytes().to_vec() };
            let verified = verify(&delivery, &[secret(text)], Timestamp::from_secs(*at)).unwrap();
            assert_eq!(verified.event_id(), *id);
            assert_eq!(verified.sent_at(), Some(Timestamp::from_secs(*at)));
            assert_eq!(verified.body(), body.as_bytes());
        }
        let signed = sign(&secret(text), id, Timestamp::from_secs(*at), body.as_bytes());
        assert_eq!(signed, headers(id, &at.to_string(), signature));
        assert_eq!(
            mac_text(text, id, &at.to_string(), body.as_bytes()),
            *signature,
            "the second implementation agrees"
        );
    }
}

#[test]
fn clerk_verifies_and_signs_with_this_scheme() {
    let clerk = named("clerk").unwrap();
    let secrets = [clerk.parse_secret("CLERK_WEBHOOK_SIGNING_SECRET", SECRET).unwrap()];
    let now = Timestamp::from_secs(NOW);
    let delivery = Delivery { headers: Headers::new(clerk.sign(&secrets[0], ID, now, BODY)), body: BODY.to_vec() };
    assert_eq!(clerk.verify(&delivery, &secrets, &Ours::default(), now).unwrap().event_id(), ID);
    for (name, _) in clerk.sign(&secrets[0], ID, now, BODY) {
        assert!(clerk.signature_headers().concat().contains(&name), "the edge copies `{name}`");
    }
    // The order in which the scheme chooses, so that what the edge leaves out is what would not be read.
    assert_eq!(clerk.signature_headers(), HEADERS.map(|(svix, standard)| [svix, standard]));
    let unsigned = Delivery { headers: Headers::default(), body: BODY.to_vec() };
    let names = HEADERS.iter().map(|(svix, _)| *svix).collect();
    assert_eq!(
        clerk.verify(&unsigned, &secrets, &Ours::default(), now).map(|_| ()),
        Err(VerifyError::MissingHeaders(names))
    );
}

#[test]
fn missing_headers_are_all_named_in_either_family() {
    for present in 0..8_usize {
        let is_present = |index: usize| present & (1 << index) != 0;
        let missing: Vec<&str> = (0..3).filter(|index| !is_present(*index)).map(|index| HEADERS[index].0).collect();
        let expected = if missing.is_empty() { Ok(()) } else { Err(VerifyError::MissingHeaders(missing)) };
        for headers in [headers, standard_headers] {
            let all = headers(ID, &NOW.to_string(), SIGNATURE);
            let dropped = all.iter().enumerate().filter(|(index, _)| is_present(*index)).map(|(_, pair)| pair.clone());
            Case::new("headers left out").headers(dropped.collect()).check(expected.clone());
            let emptied = all
                .iter()
                .enumerate()
                .map(|(index, (name, value))| (*name, if is_present(index) { value.clone() } else { String::new() }));
            Case::new("headers that are empty").headers(emptied.collect()).check(expected.clone());
        }
    }
}

#[test]
fn header_families_may_be_mixed_and_svix_wins() {
    let at = NOW.to_string();
    // Any choice of a family for each header.
    for choice in 0..8_usize {
        let pairs = headers(ID, &at, SIGNATURE).into_iter().zip(standard_headers(ID, &at, SIGNATURE));
        let mixed = pairs
            .enumerate()
            .map(|(index, (svix, standard))| if choice & (1 << index) != 0 { svix } else { standard })
            .collect();
        Case::new("one from each").headers(mixed).check(Ok(()));
    }
    // Both sent: the `svix-` one is read.
    let good = || headers(ID, &at, SIGNATURE);
    let bad = || standard_headers("msg_other", "1", "v1,AAAA");
    Case::new("svix right, standard wrong").headers([good(), bad()].concat()).check(Ok(()));
    let good = || standard_headers(ID, &at, SIGNATURE);
    let bad = || headers("msg_other", &at, SIGNATURE);
    Case::new("standard right, svix wrong").headers([good(), bad()].concat()).check(WRONG);
    let empty = || headers("", "", "");
    Case::new("standard right, svix empty").headers([empty(), good()].concat()).check(Ok(()));
}

#[test]
fn header_names_are_read_in_any_case() {
    let at = NOW.to_string();
    for names in [
        ["SVIX-ID", "SVIX-TIMESTAMP", "SVIX-SIGNATURE"],
        ["Svix-Id", "Svix-Timestamp", "Svix-Signature"],
        ["WebHook-ID", "wEBHOOK-tIMESTAMP", "webhook-Signature"],
    ] {
        let values = [ID.to_owned(), at.clone(), SIGNATURE.to_owned()];
        Case::new("case of names").headers(names.into_iter().zip(values).collect()).check(Ok(()));
    }
    for names in [["svix_id", "svix-timestamp", "svix-signature"], [" svix-id", "svix-timestamp", "svix-signature"]] {
        let values = [ID.to_owned(), at.clone(), SIGNATURE.to_owned()];
        let headers = names.into_iter().zip(values).collect();
        Case::new("another name").headers(headers).check(Err(VerifyError::MissingHeaders(vec!["svix-id"])));
    }
}

#[test]
fn a_header_sent_twice_counts_as_the_two_joined() {
    let twice = |name: &'static str, value: &str| {
        let mut headers = headers(ID, &NOW.to_string(), SIGNATURE);
        headers.push((name, value.to_owned()));
        headers
    };
    let cases = [
        ("two ids", twice("svix-id", ID), WRONG),
        ("two timestamps", twice("svix-timestamp", &NOW.to_string()), Err(VerifyError::MalformedTimestamp)),
        // `v1,good, v1,bad`: the comma sticks to the first.
        ("a second signature", twice("svix-signature", "v1,AAAA"), WRONG),
        ("an empty second", twice("svix-signature", ""), Ok(())),
        (
            "the right signature second",
            vec![
                ("svix-id", ID.into()),
                ("svix-timestamp", NOW.to_string()),
                ("svix-signature", "v1,AAAA".into()),
                ("Svix-Signature", SIGNATURE.into()),
            ],
            Ok(()),
        ),
    ];
    for (what, headers, expected) in cases {
        Case::new(what).headers(headers).check(expected);
    }
}

#[test]
fn the_id_is_signed_as_it_stands() {
    let at = NOW.to_string();
    let signed = |id: &str| headers(id, &at, &mac_text(SECRET, id, &at, BODY));
    for id in [ID, "x", "0", "evt_grüße", "msg_with.a.dot", &"long".repeat(100)] {
        Case::new("any id that is signed").headers(signed(id)).check(Ok(()));
    }
    for id in
        ["msg_2abctestVECTOR0001", "msg_2abcTESTvector000", "msg_2abcTESTvector00011", " ", ID.trim_end_matches('1')]
    {
        Case::new("another id").headers(headers(id, &at, SIGNATURE)).check(WRONG);
    }
    for id in [format!(" {ID}"), format!("{ID} "), format!("{ID}\t")] {
        Case::new("white space around the id").headers(headers(&id, &at, SIGNATURE)).check(WRONG);
    }
    let empty = || headers("", &at, &mac_text(SECRET, "", &at, BODY));
    Case::new("empty id, rightly signed").headers(empty()).check(Err(VerifyError::MissingHeaders(vec!["svix-id"])));
}

#[test]
fn the_tolerance_is_300_seconds_either_way_to_the_second() {
    assert_eq!(TOLERANCE_SECS, 300);
    let old = |age_secs| Err(VerifyError::TimestampTooOld { age_secs });
    let new = |ahead_secs| Err(VerifyError::TimestampTooNew { ahead_secs });
    let cases = [
        (0, Ok(())),
        (1, Ok(())),
        (-1, Ok(())),
        (299, Ok(())),
        (300, Ok(())),
        (301, old(301)),
        (302, old(302)),
        (86_400, old(86_400)),
        (-299, Ok(())),
        (-300, Ok(())),
        (-301, new(301)),
        (-302, new(302)),
        (-86_400, new(86_400)),
    ];
    for (age, expected) in cases {
        Case::new("age").now(NOW + age).check(expected);
    }
    // Fractions of our own second do not count.
    let delivery = Delivery { headers: Headers::new(headers(ID, &NOW.to_string(), SIGNATURE)), body: BODY.to_vec() };
    let at = |millis| verify(&delivery, &[secret(SECRET)], Timestamp::from_millis(millis)).map(|_| ());
    assert_eq!(at(NOW * 1000 + 300_999), Ok(()));
    assert_eq!(at(NOW * 1000 + 301_000), old(301));
    assert_eq!(at(NOW * 1000 - 300_000), Ok(()));
    assert_eq!(at(NOW * 1000 - 300_001), new(301));
    // The year 2000, as in the suite of svix go.
    Case::new("year 2000").timestamp("946684800").check(old(NOW - 946_684_800));
}

#[test]
fn the_time_is_judged_before_the_signature_and_the_headers_before_the_time() {
    let wrong = |timestamp: &str| headers(ID, timestamp, "v1,AAAA");
    Case::new("old").headers(wrong("1")).check(Err(VerifyError::TimestampTooOld { age_secs: NOW - 1 }));
    Case::new("malformed").headers(wrong("hello")).check(Err(VerifyError::MalformedTimestamp));
    let without_id = vec![("svix-timestamp", "hello".to_owned()), ("svix-signature", "v1,AAAA".to_owned())];
    Case::new("no id").headers(without_id).check(Err(VerifyError::MissingHeaders(vec!["svix-id"])));
}

#[test]
fn a_timestamp_one_second_off_the_signed_one_is_refused() {
    for off in [-1, 1] {
        let headers = headers(ID, &(NOW + off).to_string(), SIGNATURE);
        Case::new("one second off").headers(headers).check(WRONG);
    }
}

#[test]
fn a_timestamp_is_one_to_twelve_digits_and_nothing_else() {
    let malformed = [
        "hello",
        "-1",
        "-0",
        "+1767225600",
        "-1767225600",
        "1767225600.0",
        "1767225600.5",
        "1767225600,0",
        "1.7672256e9",
        "1.6e9",
        "1e9",
        "1_767_225_600",
        "1767225600_",
        "0x69560600",
        " 1767225600",
        "1767225600 ",
        "1767225600\t",
        "\u{a0}1767225600",
        " ",
        "1767225600abc",
        "1767225600n",
        "1767225600Z",
        "2026-01-01T00:00:00Z",
        "NaN",
        "Infinity",
        // Milliseconds.
        "1767225600000",
        // 13 digits, by leading zeros.
        "0001767225600",
        "9999999999999",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "99999999999999999999999999999999999999999999",
        // Digits, but not ASCII ones.
        "１７６７２２５６００",
        "١٧٦٧٢٢٥٦٠٠",
        "1767225600\0",
    ];
    for timestamp in malformed {
        Case::new("signed as it stands").timestamp(timestamp).check(Err(VerifyError::MalformedTimestamp));
        let over_the_number = headers(ID, timestamp, SIGNATURE);
        Case::new("signed over the number").headers(over_the_number).check(Err(VerifyError::MalformedTimestamp));
        Case::new("at the epoch").timestamp(timestamp).now(0).check(Err(VerifyError::MalformedTimestamp));
        let unsigned = headers(ID, timestamp, "v1,AAAA");
        Case::new("unsigned").headers(unsigned).check(Err(VerifyError::MalformedTimestamp));
    }
    Case::new("empty").timestamp("").check(Err(VerifyError::MissingHeaders(vec!["svix-timestamp"])));

    // Leading zeros are digits; what is signed is the text.
    for timestamp in ["01767225600", "001767225600"] {
        Case::new("zeros, signed as it stands").timestamp(timestamp).check(Ok(()));
        let over_the_number = headers(ID, timestamp, SIGNATURE);
        Case::new("zeros, signed over the number").headers(over_the_number).check(WRONG);
    }
    Case::new("0 at the epoch").timestamp("0").now(0).check(Ok(()));
    Case::new("300 at the epoch").timestamp("300").now(0).check(Ok(()));
    Case::new("301 at the epoch").timestamp("301").now(0).check(Err(VerifyError::TimestampTooNew { ahead_secs: 301 }));
    let ahead_secs = 999_999_999_999 - NOW;
    Case::new("12 digits").timestamp("999999999999").check(Err(VerifyError::TimestampTooNew { ahead_secs }));
}

#[test]
fn any_of_several_signatures_may_fit() {
    let good = SIGNATURE;
    let bad = mac_text("whsec_b3RoZXIga2V5IG9mIGFuIG9sZCBlbmRwb2ludA==", ID, &NOW.to_string(), BODY);
    let value = good.strip_prefix("v1,").unwrap();
    let v2 = format!("v2,{value}");
    let many = vec![bad.as_str(); 20].join(" ");
    let right = [
        good.to_owned(),
        format!("{good} {bad}"),
        format!("{bad} {good}"),
        // The official "multi" case.
        format!("{bad} {v2} {good} {bad}"),
        format!("{good} {good}"),
        format!("{many} {good}"),
        // Asymmetric signatures beside it are skipped.
        format!("{V1A} {good}"),
        format!("{good} {V1A}"),
        // Junk is skipped, and so are spaces too many.
        format!("junk {good}"),
        format!("v1, {good}"),
        format!(", ,, v1 {good}"),
        format!("  {good}"),
        format!("{good}  "),
        format!("{bad}    {good}"),
        format!("v1,☃ {good}"),
    ];
    for signature in right {
        Case::new("one fits").signature(signature).check(Ok(()));
    }
    let wrong = [bad.clone(), format!("{bad} {bad} {bad}"), format!("{bad} {V1A} {v2}"), many];
    for signature in wrong {
        Case::new("none fits").signature(signature).check(WRONG);
    }
}

#[test]
fn only_version_v1_counts() {
    let value = SIGNATURE.strip_prefix("v1,").unwrap();
    for version in ["v1a", "v2", "v0", "v10", "v11", "v01", "V1", "v", "1", "", "v1 ", "v1\u{200b}", "hmac", "v1,v1"] {
        Case::new("another version").signature(format!("{version},{value}")).check(WRONG);
    }
    for entry in [
        value.to_owned(),
        format!("v1{value}"),
        format!("v1={value}"),
        format!("v1:{value}"),
        format!("v1 {value}"),
        format!("v1;{value}"),
        format!("{value},v1"),
    ] {
        Case::new("no version").signature(entry).check(WRONG);
    }

    // The Ed25519 vector of the Svix server is right and still no proof to somebody who holds a symmetric key.
    let (text, id, at, body, _) = VECTORS[0];
    let case = Case::new("v1a").secrets(vec![secret(text)]).now(at).body(body.as_bytes());
    case.headers(headers(id, &at.to_string(), V1A)).check(WRONG);
}

#[test]
fn a_signature_is_strict_base64_of_32_bytes() {
    let (text, id, at, body, signature) = VECTORS[0];
    let value = signature.strip_prefix("v1,").unwrap();
    let mac = STANDARD.decode(value).unwrap();
    assert!(value.contains('+') && value.contains('/'), "or the url-safe case shows nothing");
    let flipped_last = value.replace("E=", "F=");
    assert_ne!(flipped_last, value);
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let wrong = [
        // Cut short, by anything from all of it to one character.
        String::new(),
        value[..8].to_owned(),
        value[..42].to_owned(),
        value[..43].to_owned(),
        // Padded otherwise.
        STANDARD_NO_PAD.encode(&mac),
        format!("{value}="),
        format!("{value}=="),
        format!("{}==", &value[..43]),
        // In another alphabet.
        URL_SAFE.encode(&mac),
        hex,
        value.to_lowercase(),
        // The same bytes by another last character.
        flipped_last,
        // With more or fewer bytes.
        STANDARD.encode(&mac[..31]),
        STANDARD.encode([mac.as_slice(), &[0]].concat()),
        STANDARD.encode([mac.as_slice(), mac.as_slice()].concat()),
        STANDARD.encode([0; 32]),
        // With something in it or after it.
        format!("{value},"),
        format!("{value},junk"),
        format!(",{value}"),
        format!("{value}\n"),
        format!("{value}\t"),
        format!("\t{value}"),
        format!("{}\n{}", &value[..20], &value[20..]),
        format!("\"{value}\""),
        format!("{value}\0"),
        format!("{value}☃"),
    ];
    for value in wrong {
        let case = Case::new("not the text of the MAC").secrets(vec![secret(text)]).now(at).body(body.as_bytes());
        case.headers(headers(id, &at.to_string(), &format!("v1,{value}"))).check(WRONG);
    }
    // Entries are parted by spaces, not by other white space.
    let case = Case::new("tab").secrets(vec![secret(text)]).now(at).body(body.as_bytes());
    case.headers(headers(id, &at.to_string(), &format!("v1,AAAA\t{signature}"))).check(WRONG);
}

#[test]
fn any_of_several_secrets_may_fit() {
    let other = || secret("whsec_b3RoZXIga2V5IG9mIGFuIG9sZCBlbmRwb2ludA==");
    let cases = [
        ("the one", vec![secret(SECRET)], Ok(())),
        ("the first", vec![secret(SECRET), other()], Ok(())),
        ("the last", vec![other(), other(), secret(SECRET)], Ok(())),
        ("twice", vec![secret(SECRET), secret(SECRET)], Ok(())),
        ("another", vec![other()], WRONG),
        ("none at all", vec![], WRONG),
        // Stripe's and Polar's key is the whole text.
        ("the text as the key", vec![Secret::new(SECRET.as_bytes()).unwrap()], WRONG),
        ("the text without its prefix as the key", vec![Secret::new(&SECRET.as_bytes()[6..]).unwrap()], WRONG),
    ];
    for (what, secrets, expected) in cases {
        Case::new(what).secrets(secrets).check(expected);
    }
    // Old and new key sign in parallel: either secret, or both, may be configured.
    let both = format!(
        "{} {SIGNATURE}",
        mac_text("whsec_b3RoZXIga2V5IG9mIGFuIG9sZCBlbmRwb2ludA==", ID, &NOW.to_string(), BODY)
    );
    for secrets in [vec![other()], vec![secret(SECRET)], vec![secret(SECRET), other()]] {
        Case::new("rotation in place").signature(both.clone()).secrets(secrets).check(Ok(()));
    }
}

#[test]
fn the_body_is_verified_byte_for_byte() {
    let bodies: [&[u8]; 9] = [
        b"",
        b"{}",
        b"\xff\xfe\x00\x80",
        b"\xef\xbb\xbf{\"type\":\"ping\"}",
        b"{\r\n}\r\n",
        b"\0",
        "{\"name\":\"grüße ☃\"}".as_bytes(),
        b"1767225600.{}",
        &[b'x'; 100_000],
    ];
    for body in bodies {
        Case::new("any body that is signed").signed_body(body).check(Ok(()));
    }
    let value: serde_json::Value = serde_json::from_slice(BODY).unwrap();
    let changed = [
        // Read and written again.
        serde_json::to_vec_pretty(&value).unwrap(),
        serde_json::to_vec(&value).unwrap(),
        [BODY, b"\n"].concat(),
        [b"\xef\xbb\xbf", BODY].concat(),
        BODY[..BODY.len() - 1].to_vec(),
        Vec::new(),
    ];
    for body in changed {
        assert_ne!(body, BODY);
        Case::new("another body").body(body).check(WRONG);
    }
}

#[test]
fn secrets_are_read_with_or_without_prefix_padding_and_white_space() {
    // The same three keys, of 24, 25 and 26 bytes, so that 0, 2 and 1 characters of padding are due.
    let long = b"0123456789abcdefghijklmnop";
    for key in [&long[..24], &long[..25], &long[..26], &long[..1], &[0xff; 64]] {
        let padded = STANDARD.encode(key);
        let bare = STANDARD_NO_PAD.encode(key);
        let texts = [
            format!("whsec_{padded}"),
            format!("whsec_{bare}"),
            padded.clone(),
            bare.clone(),
            format!(" whsec_{padded}"),
            format!("whsec_{padded}\n"),
            format!("\twhsec_{bare}\r\n"),
        ];
        for text in texts {
            let signature = format!("v1,{}", STANDARD.encode(mac(key, ID, &NOW.to_string(), BODY)));
            Case::new("the key of the text").secrets(vec![secret(&text)]).signature(signature).check(Ok(()));
        }
    }
    // Spare bits in the last character, which make no difference to the key.
    let key = STANDARD.decode("b25lMQ==").unwrap();
    for text in ["whsec_b25lMQ==", "whsec_b25lMR==", "whsec_b25lMf", "b25lMX=="] {
        let signature = format!("v1,{}", STANDARD.encode(mac(&key, ID, &NOW.to_string(), BODY)));
        Case::new("spare bits").secrets(vec![secret(text)]).signature(signature).check(Ok(()));
    }
}

#[test]
fn texts_that_are_no_secrets_are_refused_and_never_taken_for_another_key() {
    let cases = [
        ("", SecretError::Empty),
        (" \n", SecretError::Empty),
        ("whsec_", SecretError::Empty),
        ("whsec_\n", SecretError::Empty),
        ("=", SecretError::NotBase64),
        ("whsec_=", SecretError::NotBase64),
        ("whsec_====", SecretError::NotBase64),
        ("whsec_A", SecretError::NotBase64),
        ("whsec_AAAAA", SecretError::NotBase64),
        ("whsec_AA=A", SecretError::NotBase64),
        ("whsec_hello world", SecretError::NotBase64),
        ("whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD", SecretError::NotBase64),
        ("whsec_C2FVsBQIhrscChlQIMV_b5sSYspob7oD", SecretError::NotBase64),
        ("whsec_whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", SecretError::NotBase64),
        ("WHSEC_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", SecretError::NotBase64),
        // The asymmetric keys of the scheme.
        ("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", SecretError::NotBase64),
        ("whsk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", SecretError::NotBase64),
        ("\"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"", SecretError::NotBase64),
        ("whsec_C2FVsBQIhrscChlQ,IMV+b5sSYspob7oD", SecretError::NotBase64),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_secret(text).map(|_| ()), Err(expected), "{text:?}");
        assert!(text.trim().is_empty() || !expected.to_string().contains(text), "an error does not repeat the text");
    }
}

#[test]
fn every_error_has_the_code_and_the_text_that_callers_see() {
    let cases = [
        (
            VerifyError::MissingHeaders(vec!["svix-id", "svix-signature"]),
            "missing_headers",
            "missing headers: `svix-id`, `svix-signature`",
        ),
        (VerifyError::MalformedTimestamp, "invalid_signature", "the timestamp is not a number of seconds"),
        (
            VerifyError::TimestampTooOld { age_secs: 301 },
            "timestamp_out_of_tolerance",
            "signed 301 s ago, which is too long",
        ),
        (
            VerifyError::TimestampTooNew { ahead_secs: 302 },
            "timestamp_out_of_tolerance",
            "signed 302 s ahead of our clock, which is too far",
        ),
        (VerifyError::NoMatchingSignature, "invalid_signature", "no signature fits the body and any configured secret"),
    ];
    for (error, code, text) in cases {
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
    }
}

#[test]
fn what_is_signed_here_verifies_at_any_time_with_any_key() {
    for secs in [0, 1, 300, 946_684_800, NOW, 4_102_444_800, 253_402_300_799] {
        for key in [&b"k"[..], &[0; 24], &[0xff; 64], &[7; 65], &[1; 200]] {
            for body in [&b""[..], b"{}", BODY] {
                let (secret, now) = (Secret::new(key).unwrap(), Timestamp::from_secs(secs));
                let delivery = Delivery { headers: Headers::new(sign(&secret, ID, now, body)), body: body.to_vec() };
                let verified = verify(&delivery, &[secret], now).unwrap();
                assert_eq!((verified.event_id(), verified.sent_at(), verified.body()), (ID, Some(now), body));
                let signature = delivery.headers.value("svix-signature").unwrap().into_owned();
                let by_ring = STANDARD.encode(mac(key, ID, &secs.to_string(), body));
                assert_eq!(signature, format!("v1,{by_ring}"));
            }
        }
    }
}

/// Every text that differs from `text` in one bit. Bytes from 0x80 on become the characters of Latin-1, as the Fetch
/// standard reads headers.
fn flips(text: &str) -> impl Iterator<Item = String> {
    (0..text.len() * 8).map(move |bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes.into_iter().map(char::from).collect()
    })
}

fn verified<'a>(delivery: &'a Delivery, secrets: &[Secret]) -> Result<Verified<'a>, VerifyError> {
    verify(delivery, secrets, Timestamp::from_secs(NOW))
}

#[test]
fn every_bit_of_the_body_counts() {
    for bit in 0..BODY.len() * 8 {
        let mut body = BODY.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        Case::new("a bit of the body").body(body).check(WRONG);
    }
}

#[test]
fn every_bit_of_the_id_counts() {
    for id in flips(ID) {
        Case::new("a bit of the id").headers(headers(&id, &NOW.to_string(), SIGNATURE)).check(WRONG);
    }
}

#[test]
fn every_bit_of_the_timestamp_counts() {
    let (mut malformed, mut far, mut near) = (0, 0, 0);
    for timestamp in flips(&NOW.to_string()) {
        // What each must be refused for, told without the code under test.
        let expected = match timestamp.parse::<i64>() {
            Ok(secs) if !timestamp.starts_with(['+', '-']) => match NOW - secs {
                age_secs @ 301.. => VerifyError::TimestampTooOld { age_secs },
                age @ ..=-301 => VerifyError::TimestampTooNew { ahead_secs: -age },
                _ => VerifyError::NoMatchingSignature,
            },
            _ => VerifyError::MalformedTimestamp,
        };
        match expected {
            VerifyError::MalformedTimestamp => malformed += 1,
            VerifyError::NoMatchingSignature => near += 1,
            _ => far += 1,
        }
        Case::new("a bit of the timestamp").headers(headers(ID, &timestamp, SIGNATURE)).check(Err(expected));
    }
    assert!(malformed > 0 && far > 0 && near > 0, "{malformed} {far} {near}");
}

#[test]
fn every_bit_of_the_signature_counts() {
    for signature in flips(SIGNATURE) {
        Case::new("a bit of the signature").signature(signature).check(WRONG);
    }
}

#[test]
fn every_bit_of_the_key_counts() {
    let key = key_of(SECRET);
    for bit in 0..key.len() * 8 {
        let mut key = key.clone();
        key[bit / 8] ^= 1 << (bit % 8);
        Case::new("a bit of the key").secrets(vec![Secret::new(&key).unwrap()]).check(WRONG);
    }
}

#[test]
fn every_bit_of_the_secrets_text_counts() {
    // A text without spare bits: 24 bytes in 32 characters.
    let (text, id, at, body, signature) = VECTORS[0];
    let delivery =
        Delivery { headers: Headers::new(headers(id, &at.to_string(), signature)), body: body.as_bytes().to_vec() };
    let (mut unreadable, mut another) = (0, 0);
    for text in flips(text) {
        match parse_secret(&text) {
            Err(error) => {
                assert_eq!(error, SecretError::NotBase64, "{text}");
                unreadable += 1;
            }
            Ok(secret) => {
                let verified = verify(&delivery, &[secret], Timestamp::from_secs(at)).map(|_| ());
                assert_eq!(verified, WRONG, "{text}");
                another += 1;
            }
        }
    }
    assert!(unreadable > 0 && another > 0, "{unreadable} {another}");
}

#[test]
fn every_piece_cut_off_is_noticed() {
    for end in 0..BODY.len() {
        Case::new("body cut short").body(&BODY[..end]).check(WRONG);
    }
    for end in 1..ID.len() {
        Case::new("id cut short").headers(headers(&ID[..end], &NOW.to_string(), SIGNATURE)).check(WRONG);
    }
    for end in 1..SIGNATURE.len() {
        Case::new("signature cut short").signature(&SIGNATURE[..end]).check(WRONG);
    }
    // A byte moved from the end of the id to the start of the timestamp, or from the body into it, is another message.
    let delivery = Delivery {
        headers: Headers::new(headers("msg_2abcTESTvector000", "11767225600", SIGNATURE)),
        body: BODY.to_vec(),
    };
    let error = verified(&delivery, &[secret(SECRET)]).map(|_| ());
    assert_eq!(error, Err(VerifyError::TimestampTooNew { ahead_secs: 11_767_225_600 - NOW }));
}
