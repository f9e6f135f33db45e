#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
//! Session tokens and the cookies they come in.
//!
//! Tokens are signed here with `ring` and checked with `ring`, which stands where WebCrypto does at the edge: it is given
//! the key that `parse_pem` read, the bytes that the token says are signed, and its signature.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use plangate::payer::{MAX_PAYER_ID_BYTES, Payer, PayerKind};
use plangate::publishable_key::PublishableKey;
use plangate::session::cookies::choose;
use plangate::session::key::{JwtKey, parse_pem};
use plangate::session::{Session, SessionPolicy, TokenError, UnverifiedToken};
use plangate::time::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaEncoding, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

const PRIVATE: &str = include_str!("data/session/private.pem");
const PUBLIC: &str = include_str!("data/session/public.pem");
const OTHER_PRIVATE: &str = include_str!("data/session/other_private.pem");

/// When the token is issued: the start of 2026, in seconds.
const IAT: i64 = 1_767_225_600;
const ISSUER: &str = "https://clerk.edgeplan.example";
const PARTY: &str = "https://app.edgeplan.example";

fn key_pair(pem: &str) -> RsaKeyPair {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap()
}

fn header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": "ins_2abcINSTANCE", "cat": "cl_B7d4PD111AAA"})
}

/// The claims of a session with an active organization, as in version 2.
fn claims() -> Value {
    json!({
        "v": 2, "iss": ISSUER, "sub": "user_2abcUSER", "sid": "sess_2abcS", "azp": PARTY, "iat": IAT, "nbf": IAT - 10,
        "exp": IAT + 60, "fva": [3, -1], "jti": "4f1d2c", "sts": "active", "pla": "o:team", "fea": "u:themes,o:reports",
        "o": {"id": "org_2abcORG", "slg": "example-ltd", "rol": "admin", "per": "edit,view", "fpm": "3"},
    })
}

/// With some fields otherwise; null leaves a field out.
fn with(mut object: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = value.clone();
        }
    }
    object
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn sign_with(pair: &RsaKeyPair, padding: &'static dyn RsaEncoding, signed: &str) -> String {
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A token of ours with this header and these claims.
fn token(header: &Value, claims: &Value) -> String {
    sign_with(&key_pair(PRIVATE), &RSA_PKCS1_SHA256, &unsigned(header, claims))
}

fn policy() -> SessionPolicy {
    SessionPolicy { issuer: Some(ISSUER.into()), authorized_parties: vec!["https://x.test".into(), PARTY.into()] }
}

/// What stands before the PKCS #1 key in the SubjectPublicKeyInfo of an RSA key of 2048 bits.
const SPKI_PREFIX_BYTES: usize = 24;

/// Whether the signature fits, as WebCrypto would say of RSASSA-PKCS1-v1_5 with SHA-256.
fn fits(key: &JwtKey, token: &UnverifiedToken<'_>) -> bool {
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.spki()[SPKI_PREFIX_BYTES..]);
    public.verify(token.signed_bytes(), token.signature()).is_ok()
}

fn judge_at(token: &str, policy: &SessionPolicy, millis: i64) -> Result<Session, TokenError> {
    let key = parse_pem(PUBLIC).unwrap();
    let token = UnverifiedToken::parse(token)?;
    let fits = fits(&key, &token);
    token.judge(fits, policy, Timestamp::from_millis(millis))
}

fn judge(token: &str) -> Result<Session, TokenError> {
    judge_at(token, &policy(), IAT * 1000)
}

fn payer(kind: PayerKind, id: &str) -> Payer {
    Payer::new(kind, id).unwrap()
}

/// Who is asking, or why nobody is believed to be.
fn who(session: Result<Session, TokenError>) -> Result<(String, Option<String>), TokenError> {
    session.map(|session| (session.user.id().to_owned(), session.org.map(|org| org.id().to_owned())))
}

#[track_caller]
fn check_claims(changed: Value, expected: Result<(), TokenError>) {
    let judged = judge(&token(&header(), &with(claims(), changed.clone())));
    assert_eq!(judged.map(|_| ()), expected, "{changed}");
}

#[test]
fn the_test_keys_belong_together() {
    let public = parse_pem(PUBLIC).unwrap();
    assert!(public.spki().ends_with(key_pair(PRIVATE).public().as_ref()));
    assert!(!public.spki().ends_with(key_pair(OTHER_PRIVATE).public().as_ref()));
    assert_eq!(public.spki().len(), SPKI_PREFIX_BYTES + key_pair(PRIVATE).public().as_ref().len());
}

#[test]
fn a_right_token_says_who_asks() {
    let session = judge(&token(&header(), &claims())).unwrap();
    assert_eq!(session.user, payer(PayerKind::User, "user_2abcUSER"));
    assert_eq!(session.org, Some(payer(PayerKind::Org, "org_2abcORG")));
    assert_eq!(session.issued_at(), Some(Timestamp::from_secs(IAT)));
}

#[test]
fn the_active_organization_is_read_in_both_versions() {
    let without = json!({"o": null, "v": null});
    let org = |fields: Value| with(with(claims(), without.clone()), fields);
    let cases = [
        (claims(), Some("org_2abcORG")),
        (org(json!({})), None),
        // Version 1.
        (org(json!({"org_id": "org_2abcOLD", "org_role": "org:admin", "org_permissions": []})), Some("org_2abcOLD")),
        (org(json!({"org_id": ""})), None),
        // Version 2.
        (org(json!({"o": {"id": "org_2abcNEW"}})), Some("org_2abcNEW")),
        (org(json!({"o": {"id": ""}})), None),
        // Both: the newer.
        (org(json!({"o": {"id": "org_2abcNEW"}, "org_id": "org_2abcOLD"})), Some("org_2abcNEW")),
    ];
    for (claims, expected) in cases {
        let expected = Ok(("user_2abcUSER".to_owned(), expected.map(str::to_owned)));
        assert_eq!(who(judge(&token(&header(), &claims))), expected, "{claims}");
    }
    let null = r#"{"sub":"user_1","iss":"https://clerk.edgeplan.example","azp":"https://app.edgeplan.example","exp":1767225660,"o":null,"org_id":null,"nbf":null,"iat":null,"sts":null}"#;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header().to_string()), URL_SAFE_NO_PAD.encode(null));
    let judged = judge(&sign_with(&key_pair(PRIVATE), &RSA_PKCS1_SHA256, &signed));
    assert_eq!(who(judged), Ok(("user_1".into(), None)), "null is absent");

    check_claims(json!({"o": {"slg": "no-id"}}), Err(TokenError::Malformed));
    check_claims(json!({"o": "org_2abcORG"}), Err(TokenError::Malformed));
    check_claims(json!({"o": {"id": "x".repeat(MAX_PAYER_ID_BYTES + 1)}}), Err(TokenError::Malformed));
    check_claims(json!({"o": null, "org_id": 7}), Err(TokenError::Malformed));
}

#[test]
fn each_claim_wrong_in_turn_is_refused_for_itself() {
    let long = "x".repeat(MAX_PAYER_ID_BYTES + 1);
    let cases = [
        (json!({}), Ok(())),
        // Who.
        (json!({"sub": null}), Err(TokenError::Malformed)),
        (json!({"sub": ""}), Err(TokenError::Malformed)),
        (json!({"sub": 7}), Err(TokenError::Malformed)),
        (json!({"sub": ["user_2abcUSER"]}), Err(TokenError::Malformed)),
        (json!({ "sub": long }), Err(TokenError::Malformed)),
        // Machine tokens are signed with the same key.
        (json!({"sub": "mch_2abcMACHINE"}), Err(TokenError::NotASessionToken)),
        // Whose instance.
        (json!({"iss": null}), Err(TokenError::Issuer)),
        (json!({"iss": ""}), Err(TokenError::Issuer)),
        (json!({"iss": "https://clerk.other.example"}), Err(TokenError::Issuer)),
        (json!({"iss": "http://clerk.edgeplan.example"}), Err(TokenError::Issuer)),
        (json!({"iss": "https://clerk.edgeplan.example/"}), Err(TokenError::Issuer)),
        (json!({"iss": "https://CLERK.edgeplan.example"}), Err(TokenError::Issuer)),
        (json!({"iss": "https://clerk.edgeplan.example.evil.test"}), Err(TokenError::Issuer)),
        (json!({"iss": 7}), Err(TokenError::Malformed)),
        // Whose front end.
        (json!({"azp": null}), Err(TokenError::AuthorizedParty)),
        (json!({"azp": ""}), Err(TokenError::AuthorizedParty)),
        (json!({"azp": "https://evil.test"}), Err(TokenError::AuthorizedParty)),
        (json!({"azp": "https://app.edgeplan.example/"}), Err(TokenError::AuthorizedParty)),
        (json!({"azp": "https://app.edgeplan.example,https://x.test"}), Err(TokenError::AuthorizedParty)),
        (json!({"azp": "https://x.test"}), Ok(())),
        (json!({"azp": [PARTY]}), Err(TokenError::Malformed)),
        // When.
        (json!({"exp": null}), Err(TokenError::Malformed)),
        (json!({"exp": "1767225660"}), Err(TokenError::Malformed)),
        (json!({"exp": 0}), Err(TokenError::Expired)),
        (json!({"exp": -1}), Err(TokenError::Expired)),
        (json!({"exp": -1e300}), Err(TokenError::Expired)),
        (json!({"exp": 1e300}), Ok(())),
        (json!({"exp": u64::MAX}), Ok(())),
        (json!({"exp": IAT as f64 + 0.5}), Ok(())),
        (json!({"nbf": null}), Ok(())),
        (json!({"nbf": "soon"}), Err(TokenError::Malformed)),
        (json!({"nbf": IAT + 600}), Err(TokenError::NotActiveYet)),
        (json!({"nbf": 1e300}), Err(TokenError::NotActiveYet)),
        (json!({"nbf": -1e300}), Ok(())),
        (json!({"iat": null}), Ok(())),
        (json!({"iat": true}), Err(TokenError::Malformed)),
        (json!({"iat": IAT + 600}), Err(TokenError::IssuedInTheFuture)),
        (json!({"iat": u64::MAX}), Err(TokenError::IssuedInTheFuture)),
        (json!({"iat": i64::MIN}), Ok(())),
        // How it stands.
        (json!({"sts": null}), Ok(())),
        (json!({"sts": "pending"}), Err(TokenError::Pending)),
        (json!({"sts": "something new"}), Ok(())),
        (json!({"sts": 7}), Err(TokenError::Malformed)),
        // Claims that are not read may be anything, or absent.
        (
            json!({"sid": null, "v": null, "fva": null, "jti": null, "pla": 7, "fea": {}, "act": {"sub": "user_x"}}),
            Ok(()),
        ),
    ];
    for (changed, expected) in cases {
        check_claims(changed, expected);
    }
}

#[test]
fn what_is_wrong_first_is_said_first() {
    let everything =
        json!({"sub": "mch_1", "iss": "x", "azp": "x", "exp": 0, "nbf": IAT + 600, "iat": IAT + 600, "sts": "pending"});
    let mut claims = with(claims(), everything);
    let steps = [
        ("sub", json!("user_1"), TokenError::NotASessionToken),
        ("iss", json!(ISSUER), TokenError::Issuer),
        ("azp", json!(PARTY), TokenError::AuthorizedParty),
        ("exp", json!(IAT + 60), TokenError::Expired),
        ("nbf", json!(IAT), TokenError::NotActiveYet),
        ("iat", json!(IAT), TokenError::IssuedInTheFuture),
        ("sts", json!("active"), TokenError::Pending),
    ];
    for (claim, mended, expected) in steps {
        assert_eq!(judge(&token(&header(), &claims)), Err(expected), "{claim}");
        // An unsigned token is told nothing else.
        let unsigned = format!("{}.AAAA", unsigned(&header(), &claims));
        assert_eq!(judge(&unsigned), Err(TokenError::Signature), "{claim}");
        claims[claim] = mended;
    }
    assert_eq!(who(judge(&token(&header(), &claims))), Ok(("user_1".into(), Some("org_2abcORG".into()))));
}

#[test]
fn issuer_and_parties_are_checked_only_where_they_are_known() {
    let strange = token(&header(), &with(claims(), json!({"iss": "https://x.test", "azp": "https://y.test"})));
    let bare = token(&header(), &with(claims(), json!({"iss": null, "azp": null})));
    let issuer = || SessionPolicy { authorized_parties: vec![], ..policy() };
    let parties = || SessionPolicy { issuer: None, ..policy() };
    for (policy, expected) in [
        (SessionPolicy::default(), Ok(())),
        (issuer(), Err(TokenError::Issuer)),
        (parties(), Err(TokenError::AuthorizedParty)),
        (policy(), Err(TokenError::Issuer)),
    ] {
        for token in [&strange, &bare] {
            assert_eq!(judge_at(token, &policy, IAT * 1000).map(|_| ()), expected, "{policy:?}");
        }
    }
}

#[test]
fn times_are_judged_with_five_seconds_of_skew_to_the_millisecond() {
    let at = |claims: &Value, millis: i64| judge_at(&token(&header(), claims), &policy(), millis).map(|_| ());
    let (exp, claims) = ((IAT + 60) * 1000, claims());
    for (millis, expected) in [
        (exp - 1, Ok(())),
        (exp, Ok(())),
        (exp + 4_999, Ok(())),
        (exp + 5_000, Err(TokenError::Expired)),
        (exp + 5_001, Err(TokenError::Expired)),
    ] {
        assert_eq!(at(&claims, millis), expected, "exp at {millis}");
    }
    let soon = with(claims.clone(), json!({"nbf": IAT + 20, "iat": IAT}));
    for (millis, expected) in [
        (IAT * 1000 + 14_999, Err(TokenError::NotActiveYet)),
        (IAT * 1000 + 15_000, Ok(())),
        (IAT * 1000 + 20_000, Ok(())),
    ] {
        assert_eq!(at(&soon, millis), expected, "nbf at {millis}");
    }
    let future = with(claims, json!({"nbf": null, "iat": IAT + 20}));
    for (millis, expected) in [
        (IAT * 1000 + 14_999, Err(TokenError::IssuedInTheFuture)),
        (IAT * 1000 + 15_000, Ok(())),
        (IAT * 1000 + 20_000, Ok(())),
    ] {
        assert_eq!(at(&future, millis), expected, "iat at {millis}");
    }
}

#[test]
fn a_session_that_was_judged_before_is_checked_against_the_time_again() {
    let session = judge(&token(&header(), &claims())).unwrap();
    let at = |millis| session.check_time(Timestamp::from_millis(millis));
    let exp = (IAT + 60) * 1000;
    assert_eq!(at(exp + 4_999), Ok(()));
    assert_eq!(at(exp + 5_000), Err(TokenError::Expired));
    assert_eq!(at((IAT - 5) * 1000), Ok(()));
    assert_eq!(at((IAT - 5) * 1000 - 1), Err(TokenError::IssuedInTheFuture));
    assert_eq!(at((IAT - 15) * 1000 - 1), Err(TokenError::NotActiveYet));
}

#[test]
fn only_rs256_is_an_algorithm() {
    let signed_with = |alg: &str| token(&with(header(), json!({ "alg": alg })), &claims());
    for alg in ["RS384", "RS512", "PS256", "ES256", "EdDSA", "HS256", "none", "None", "rs256", "RS256 ", ""] {
        assert_eq!(judge(&signed_with(alg)), Err(TokenError::Algorithm), "{alg}");
    }
    let absent = token(&with(header(), json!({"alg": null})), &claims());
    assert_eq!(judge(&absent), Err(TokenError::Malformed));
    let number = token(&with(header(), json!({"alg": 256})), &claims());
    assert_eq!(judge(&number), Err(TokenError::Malformed));

    // Signed as it says: without a key, with the public key as a shared secret, and with another digest.
    let none = unsigned(&with(header(), json!({"alg": "none"})), &claims());
    assert_eq!(judge(&format!("{none}.")), Err(TokenError::Algorithm));
    let signed = unsigned(&with(header(), json!({"alg": "HS256"})), &claims());
    for secret in [PUBLIC.as_bytes(), parse_pem(PUBLIC).unwrap().spki()] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let mac = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
        assert_eq!(judge(&format!("{signed}.{mac}")), Err(TokenError::Algorithm));
        // And the same under the name that is accepted.
        let signed = unsigned(&header(), &claims());
        let mac = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
        assert_eq!(judge(&format!("{signed}.{mac}")), Err(TokenError::Signature));
    }
    let rs384 = unsigned(&with(header(), json!({"alg": "RS384"})), &claims());
    assert_eq!(judge(&sign_with(&key_pair(PRIVATE), &RSA_PKCS1_SHA384, &rs384)), Err(TokenError::Algorithm));
    let disguised = sign_with(&key_pair(PRIVATE), &RSA_PKCS1_SHA384, &unsigned(&header(), &claims()));
    assert_eq!(judge(&disguised), Err(TokenError::Signature));
}

#[test]
fn another_key_or_no_signature_is_refused() {
    let signed = unsigned(&header(), &claims());
    let other = sign_with(&key_pair(OTHER_PRIVATE), &RSA_PKCS1_SHA256, &signed);
    assert_eq!(judge(&other), Err(TokenError::Signature));
    for signature in ["", "AA", &URL_SAFE_NO_PAD.encode([0; 256]), &URL_SAFE_NO_PAD.encode([0xff; 256])] {
        assert_eq!(judge(&format!("{signed}.{signature}")), Err(TokenError::Signature), "{signature}");
    }
    // The signature of other claims.
    let ours = token(&header(), &claims());
    let (_, signature) = ours.rsplit_once('.').unwrap();
    let forged = unsigned(&header(), &with(claims(), json!({"sub": "user_2abcVICTIM"})));
    assert_eq!(judge(&format!("{forged}.{signature}")), Err(TokenError::Signature));
}

#[test]
fn only_session_tokens_are_accepted() {
    let cases = [
        (json!({}), Ok(())),
        (json!({"typ": null}), Ok(())),
        (json!({"cat": null}), Ok(())),
        (json!({"kid": null}), Ok(())),
        (json!({"typ": "jwt"}), Ok(())),
        // The no-information class.
        (json!({"cat": "cl_I7d4PD111III"}), Ok(())),
        (json!({"oiat": IAT - 600, "crit": ["x"], "new": {}}), Ok(())),
        // JWT template, machine to machine, and what may come.
        (json!({"cat": "cl_B7d4PD222AAA"}), Err(TokenError::NotASessionToken)),
        (json!({"cat": "cl_B7d4PD333AAA"}), Err(TokenError::NotASessionToken)),
        (json!({"cat": "cl_B7d4PD999AAA"}), Err(TokenError::NotASessionToken)),
        (json!({"cat": "CL_B7D4PD111AAA"}), Err(TokenError::NotASessionToken)),
        (json!({"cat": ""}), Err(TokenError::NotASessionToken)),
        (json!({"cat": 1}), Err(TokenError::Malformed)),
        (json!({"typ": "at+jwt"}), Err(TokenError::NotASessionToken)),
        (json!({"typ": "AT+JWT"}), Err(TokenError::NotASessionToken)),
        (json!({"typ": "application/at+jwt"}), Err(TokenError::NotASessionToken)),
        (json!({"typ": ""}), Err(TokenError::NotASessionToken)),
        (json!({"typ": ["JWT"]}), Err(TokenError::Malformed)),
        // The class is judged before the algorithm.
        (json!({"cat": "cl_B7d4PD333AAA", "alg": "none"}), Err(TokenError::NotASessionToken)),
    ];
    for (changed, expected) in cases {
        let judged = judge(&token(&with(header(), changed.clone()), &claims()));
        assert_eq!(judged.map(|_| ()), expected, "{changed}");
    }
}

#[test]
fn the_key_id_is_read_and_believed_by_nobody() {
    let (ours, anonymous) = (token(&header(), &claims()), token(&with(header(), json!({"kid": null})), &claims()));
    assert_eq!(UnverifiedToken::parse(&ours).unwrap().kid(), Some("ins_2abcINSTANCE"));
    assert_eq!(UnverifiedToken::parse(&anonymous).unwrap().kid(), None);
}

#[test]
fn what_is_no_token_is_malformed() {
    let right = token(&header(), &claims());
    let (signed, signature) = right.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let text = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let cases = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "hello".into(),
        "a.b.c".into(),
        "Bearer".into(),
        head.into(),
        signed.into(),
        format!("{right}."),
        format!(".{right}"),
        format!("{right}.{signature}"),
        format!("{head}.{body}.{body}.{signature}"),
        format!(" {right}"),
        format!("{right} "),
        format!("{right}\n"),
        format!("{head}..{signature}"),
        format!(".{body}.{signature}"),
        // Padded, in the other alphabet, with a character that has spare bits.
        format!("{head}.{body}.{signature}=="),
        format!("{}.{body}.{signature}", URL_SAFE.encode(format!("{} ", header()))),
        format!("{head}.{body}.{}+", &signature[..signature.len() - 1]),
        format!("{head}.{body}.{}/", &signature[..signature.len() - 1]),
        format!("{head}.{body}.☃"),
        // Base64, but not of JSON; JSON, but not an object.
        format!("{}.{body}.{signature}", text("hello")),
        format!("{}.{body}.{signature}", text("null")),
        format!("{}.{body}.{signature}", text("\"RS256\"")),
        format!("{}.{body}.{signature}", text(r#"{"alg":"RS256"}}"#)),
        format!("{}.{body}.{signature}", text(r#"{"alg":"none","alg":"RS256"}"#)),
        format!("{head}.{}.{signature}", text("{")),
        format!("{head}.{}.{signature}", text("7")),
        format!("{head}.{}.{signature}", text(&"[".repeat(5_000))),
        format!("{head}.{}.{signature}", text(r#"{"sub":"user_1","sub":"user_2"}"#)),
        format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(b"{\"sub\":\"\xff\"}")),
    ];
    for case in cases {
        assert_eq!(UnverifiedToken::parse(&case).map(|_| ()), Err(TokenError::Malformed), "{case}");
    }
}

#[test]
fn a_token_may_have_8192_bytes_and_not_one_more() {
    // Not every length can be had by filling one part: base64 never has 1 character over a multiple of 4.
    let of_length = |bytes: usize| {
        let filled = |(one, two): (usize, usize)| {
            unsigned(&with(header(), json!({"x": "y".repeat(one)})), &with(claims(), json!({"x": "y".repeat(two)})))
        };
        let fillers = (0..4).flat_map(|one| (5_000..6_500).map(move |two| (one, two)));
        let signed = fillers.map(filled).find(|signed| signed.len() + ".".len() + 342 == bytes).unwrap();
        let token = sign_with(&key_pair(PRIVATE), &RSA_PKCS1_SHA256, &signed);
        assert_eq!(token.len(), bytes);
        token
    };
    assert_eq!(judge(&of_length(8_192)).map(|_| ()), Ok(()));
    assert_eq!(judge(&of_length(8_193)).map(|_| ()), Err(TokenError::Malformed));
    assert_eq!(judge(&"a".repeat(1_000_000)), Err(TokenError::Malformed));
}

#[test]
fn every_bit_of_a_token_counts() {
    let right = token(&header(), &claims());
    let key = parse_pem(PUBLIC).unwrap();
    assert!(fits(&key, &UnverifiedToken::parse(&right).unwrap()), "or this test shows nothing");
    let signature_from = right.rfind('.').unwrap() + 1;
    let mut classes = BTreeMap::new();
    for bit in 0..right.len() * 8 {
        let mut bytes = right.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // As the Fetch standard reads headers: a byte is a character of Latin-1.
        let flipped: String = bytes.into_iter().map(char::from).collect();
        let error = judge(&flipped).map(|_| ()).expect_err(&flipped);
        let part = if bit / 8 >= signature_from { "signature" } else { "signed" };
        *classes.entry((part, error.code())).or_insert(0) += 1;
    }
    // A flip either spoils the form (base64, JSON, a field that must be there) or the signature; in the header it can
    // also spell another class or algorithm. Never a judgment on claims, for nobody vouches for them.
    let found: Vec<_> = classes.keys().copied().collect();
    assert_eq!(
        found,
        [
            ("signature", "token_invalid"),
            ("signature", "token_invalid_signature"),
            ("signed", "token_invalid"),
            ("signed", "token_invalid_algorithm"),
            ("signed", "token_invalid_signature"),
            ("signed", "token_type_mismatch"),
        ],
        "{classes:?}"
    );
}

#[test]
fn every_error_has_the_code_that_callers_see() {
    let cases = [
        (TokenError::Missing, "session_token_missing"),
        (TokenError::Malformed, "token_invalid"),
        (TokenError::NotASessionToken, "token_type_mismatch"),
        (TokenError::Algorithm, "token_invalid_algorithm"),
        (TokenError::UnknownKey, "jwk_kid_mismatch"),
        (TokenError::Signature, "token_invalid_signature"),
        (TokenError::Issuer, "token_invalid_issuer"),
        (TokenError::AuthorizedParty, "token_invalid_authorized_parties"),
        (TokenError::Expired, "token_expired"),
        (TokenError::NotActiveYet, "token_not_active_yet"),
        (TokenError::IssuedInTheFuture, "token_iat_in_the_future"),
        (TokenError::Pending, "session_pending"),
        (TokenError::SignedOut, "session_token_iat_before_client_uat"),
    ];
    for (error, code) in cases {
        assert_eq!(error.code(), code);
        assert!(!error.to_string().is_empty());
    }
}

// Cookies.

/// A development instance, so that every rule applies.
const TEST_KEY: &str = "pk_test_Y2xlcmsuY2xlcmsuZGV2JA";
const TEST_SUFFIX: &str = "QvfNY2dr";
const LIVE_KEY: &str = "pk_live_Y2xlcmsuZWRnZXBsYW4uZXhhbXBsZSQ";
const LIVE_SUFFIX: &str = "SpkL3CGm";

/// An unsigned token, for choosing: nobody has looked at signatures yet.
fn peek(iss: Option<&str>, iat: i64, exp: i64) -> String {
    let claims = match iss {
        Some(iss) => json!({"iss": iss, "iat": iat, "exp": exp, "sub": "user_1"}),
        None => json!({"iat": iat, "exp": exp, "sub": "user_1"}),
    };
    format!("{}.c2ln", unsigned(&header(), &claims))
}

/// One row: the cookies that are there, and which session is taken.
struct Jar {
    rule: &'static str,
    plain: Option<String>,
    plain_uat: Option<&'static str>,
    suffixed: Option<String>,
    suffixed_uat: Option<&'static str>,
    expected: Option<&'static str>,
}

impl Jar {
    fn header(&self, suffix: &str) -> String {
        let pairs = [
            self.plain.as_ref().map(|token| format!("__session={token}")),
            self.plain_uat.map(|uat| format!("__client_uat={uat}")),
            self.suffixed.as_ref().map(|token| format!("__session_{suffix}={token}")),
            self.suffixed_uat.map(|uat| format!("__client_uat_{suffix}={uat}")),
            Some("theme=dark".to_owned()),
        ];
        pairs.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    #[track_caller]
    fn check(&self, key: &str, suffix: &str) {
        let key = PublishableKey::parse(key).unwrap();
        assert_eq!(key.cookie_suffix(), suffix);
        let header = self.header(suffix);
        let chosen = choose(&header, Some(&key), Timestamp::from_secs(IAT)).map(|cookie| cookie.token);
        let name = match chosen {
            None => None,
            chosen if chosen == self.plain.as_deref() => Some("plain"),
            chosen if chosen == self.suffixed.as_deref() => Some("suffixed"),
            Some(other) => panic!("{}: {other}", self.rule),
        };
        assert_eq!(name, self.expected, "{}: {header}", self.rule);
    }
}

/// The rules of clerk/javascript `authenticateContext.ts`, in their order. Each row breaks none of the rules above it.
fn jars(issuer: &str, is_production: bool) -> Vec<Jar> {
    let ours = |iat: i64| Some(peek(Some(issuer), iat, IAT + 60));
    let other = |iat: i64| Some(peek(Some("https://clerk.other.example"), iat, IAT + 60));
    let without_issuer = || Some(peek(None, IAT + 5, IAT + 60));
    let expired = || Some(peek(Some(issuer), IAT - 60, IAT));
    let in_development = |yes, no| if is_production { no } else { yes };
    let jar = |rule, plain, plain_uat, suffixed: Option<String>, suffixed_uat, expected| Jar {
        rule,
        plain,
        plain_uat,
        // Otherwise signed, so that the two can be told apart.
        suffixed: suffixed.map(|token| format!("{token}x")),
        suffixed_uat,
        expected,
    };
    vec![
        jar("nothing is there", None, None, None, None, None),
        jar("only a sign-in", None, Some("5"), None, Some("5"), None),
        // 1.
        jar("1 the plain one has no issuer", without_issuer(), Some("0"), ours(IAT), Some("5"), Some("plain")),
        jar("1 the plain one is no token", Some("junk".into()), Some("5"), ours(IAT), Some("5"), Some("plain")),
        jar("1 the plain one's claims are no claims", Some("a.b.c".into()), None, ours(IAT), Some("5"), Some("plain")),
        // 2.
        jar("2 the plain one is another instance's", other(IAT + 5), Some("9"), ours(IAT), Some("5"), Some("suffixed")),
        jar("2 … though the suffixed one signed out", other(IAT), Some("9"), ours(IAT), Some("0"), Some("suffixed")),
        jar("2 … though the suffixed one has no sign-in", other(IAT), None, ours(IAT), None, Some("suffixed")),
        jar("2 … and there is no suffixed one", other(IAT), Some("9"), None, None, None),
        // 3.
        jar("3 nothing suffixed", ours(IAT), Some("5"), None, None, Some("plain")),
        jar("3 nothing suffixed, no sign-in", ours(IAT), None, None, None, Some("plain")),
        jar("3 nothing suffixed, signed out", ours(IAT), Some("0"), None, None, Some("plain")),
        // 4.
        jar("4 both signed in, plain newer", ours(IAT + 1), Some("5"), ours(IAT), Some("5"), Some("plain")),
        jar("4 both signed in, same age", ours(IAT), Some("5"), ours(IAT), Some("5"), Some("suffixed")),
        jar("4 both signed in, suffixed newer", ours(IAT), Some("5"), ours(IAT + 1), Some("5"), Some("suffixed")),
        jar("4 no sign-in at all, plain newer", ours(IAT + 1), None, ours(IAT), None, Some("plain")),
        jar("4 suffixed has no session", ours(IAT), Some("5"), None, Some("5"), Some("plain")),
        // 5.
        jar("5 suffixed signed out", ours(IAT), Some("5"), ours(IAT + 1), Some("0"), Some("plain")),
        jar("5 suffixed signed out, plain has no sign-in", ours(IAT), None, ours(IAT + 1), Some("0"), Some("plain")),
        jar("5 both signed out", ours(IAT + 1), Some("0"), ours(IAT), Some("0"), Some("suffixed")),
        // 6.
        jar(
            "6 plain signed out, suffixed expired",
            ours(IAT - 99),
            Some("0"),
            expired(),
            Some("5"),
            in_development(Some("plain"), Some("suffixed")),
        ),
        jar("6 plain signed out, suffixed good", ours(IAT - 99), Some("0"), ours(IAT), Some("5"), Some("suffixed")),
        // 7.
        jar("7 suffixed has no sign-in", ours(IAT), Some("5"), ours(IAT + 1), None, Some("plain")),
        jar("7 suffixed has no sign-in, plain signed out", ours(IAT), Some("0"), ours(IAT + 1), None, Some("plain")),
        // 8.
        jar("8 only a suffixed one", None, None, ours(IAT), Some("5"), Some("suffixed")),
        jar("8 only a suffixed session, and sign-ins", None, Some("5"), ours(IAT), Some("5"), Some("suffixed")),
        jar("8 signed out in both and no plain session", None, Some("0"), ours(IAT), Some("0"), Some("suffixed")),
        jar("8 suffixed chosen and gone", ours(IAT - 5), Some("0"), None, Some("5"), None),
        // Where the rules choose the plain one and there is none, the suffixed one is taken: it is verified all the same.
        jar("beyond 5 there is no plain one", None, Some("5"), ours(IAT), Some("0"), Some("suffixed")),
        jar("beyond 6 there is no plain one", None, Some("0"), expired(), Some("5"), Some("suffixed")),
        jar("beyond 7 there is no plain one", None, None, ours(IAT), None, Some("suffixed")),
    ]
}

#[test]
fn of_two_session_cookies_the_one_clerks_rules_name_is_taken() {
    for (key, suffix, issuer, is_production) in [
        (TEST_KEY, TEST_SUFFIX, "https://clerk.clerk.dev", false),
        (LIVE_KEY, LIVE_SUFFIX, "https://clerk.edgeplan.example", true),
    ] {
        for jar in jars(issuer, is_production) {
            jar.check(key, suffix);
        }
    }
}

#[test]
fn the_issuer_of_a_cookie_is_compared_by_host() {
    let key = PublishableKey::parse(LIVE_KEY).unwrap();
    let suffixed = peek(Some("https://clerk.edgeplan.example"), IAT + 5, IAT + 60);
    for (issuer, is_ours) in [
        ("https://clerk.edgeplan.example", true),
        ("http://clerk.edgeplan.example", true),
        ("clerk.edgeplan.example", true),
        ("https://clerk.edgeplan.example/", false),
        ("https://clerk.edgeplan.example.evil.test", false),
        ("https://other.example", false),
        ("", false),
    ] {
        let plain = peek(Some(issuer), IAT, IAT + 60);
        // Ours and signed in alone: rule 7 takes the plain one; another's: rule 2 the suffixed one.
        let header = format!("__session={plain}; __client_uat=5; __session_{LIVE_SUFFIX}={suffixed}");
        let chosen = choose(&header, Some(&key), Timestamp::from_secs(IAT)).unwrap().token;
        assert_eq!(chosen == plain, is_ours, "{issuer}");
    }
}

#[test]
fn without_a_publishable_key_a_single_session_is_taken_and_of_several_none() {
    let at = Timestamp::from_secs(IAT);
    let cases = [
        ("", None),
        ("theme=dark", None),
        ("__session=plain", Some("plain")),
        ("__session=plain; __session_QvfNY2dr=suffixed", Some("plain")),
        ("__session_QvfNY2dr=suffixed; __session=plain", Some("plain")),
        ("__session_QvfNY2dr=suffixed", Some("suffixed")),
        ("__session=; __session_QvfNY2dr=suffixed", Some("suffixed")),
        ("__session_QvfNY2dr=one; __session_SpkL3CGm=two", None),
        ("__session_QvfNY2dr=", None),
        ("__client_uat=5", None),
    ];
    for (header, expected) in cases {
        assert_eq!(choose(header, None, at).map(|cookie| cookie.token), expected, "{header}");
    }
}

#[test]
fn cookies_are_found_by_their_whole_name() {
    let key = PublishableKey::parse(TEST_KEY).unwrap();
    let at = Timestamp::from_secs(IAT);
    let cases = [
        ("__session=a", Some("a")),
        ("x=1;__session=a;y=2", Some("a")),
        ("  __session=a  ;", Some("a")),
        ("__session=; __session=a", Some("a")),
        ("__session=a; __session=b", Some("a")),
        ("__session=a=b", Some("a=b")),
        ("__session", None),
        ("__session=", None),
        ("__Session=a", None),
        ("x__session=a", None),
        ("__sessionx=a", None),
        ("__session_=a", None),
        ("__session_SpkL3CGm=a", None),
        ("__session_QvfNY2drx=a", None),
        ("__session_qvfny2dr=a", None),
        ("__session_QvfNY2dr=a", Some("a")),
        (";;;=;=a;__session=a", Some("a")),
    ];
    for (header, expected) in cases {
        assert_eq!(choose(header, Some(&key), at).map(|cookie| cookie.token), expected, "{header}");
    }
}

#[test]
fn a_session_cookie_from_before_the_last_sign_in_or_after_a_sign_out_is_refused() {
    let token = token(&header(), &claims());
    let session = judge(&token).unwrap();
    let ageless = judge(&self::token(&header(), &with(claims(), json!({"iat": null})))).unwrap();
    let cases = [
        (None, Ok(())),
        (Some(IAT.to_string()), Ok(())),
        (Some((IAT - 1).to_string()), Ok(())),
        (Some("1".into()), Ok(())),
        (Some((IAT + 1).to_string()), Err(TokenError::SignedOut)),
        (Some("0".into()), Err(TokenError::SignedOut)),
        // Nothing to compare with.
        (Some("soon".into()), Ok(())),
        (Some("".into()), Ok(())),
    ];
    for (uat, expected) in cases {
        let uat = uat.map(|uat| format!("; __client_uat={uat}")).unwrap_or_default();
        let header = format!("__session={token}{uat}");
        let cookie = choose(&header, None, Timestamp::from_secs(IAT)).unwrap();
        assert_eq!(cookie.token, token);
        assert_eq!(cookie.check_sign_in(&session), expected, "{uat}");
        let ageless_expected = if uat.ends_with("=0") { Err(TokenError::SignedOut) } else { Ok(()) };
        assert_eq!(cookie.check_sign_in(&ageless), ageless_expected, "{uat}");
    }
    // Of the session that is taken its own sign-in counts.
    let key = PublishableKey::parse(LIVE_KEY).unwrap();
    let header = format!("__session_{LIVE_SUFFIX}={token}; __client_uat_{LIVE_SUFFIX}=1; __client_uat=0");
    let cookie = choose(&header, Some(&key), Timestamp::from_secs(IAT)).unwrap();
    assert_eq!(cookie.check_sign_in(&session), Ok(()));
    let header = format!("__session_{LIVE_SUFFIX}={token}; __client_uat_{LIVE_SUFFIX}=0; __client_uat=1");
    let cookie = choose(&header, Some(&key), Timestamp::from_secs(IAT)).unwrap();
    assert_eq!(cookie.check_sign_in(&session), Err(TokenError::SignedOut), "taken for want of a plain one");
    let header = format!("__session_{LIVE_SUFFIX}={token}; __client_uat_{LIVE_SUFFIX}=0");
    let cookie = choose(&header, None, Timestamp::from_secs(IAT)).unwrap();
    assert_eq!(cookie.check_sign_in(&session), Err(TokenError::SignedOut), "with no publishable key");
}
