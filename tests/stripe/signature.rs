//! Stripe's signature: the cases of its own libraries' tests, and what these libraries do with odd headers. Where they
//! differ from each other or from us, the case says so.

use plangate::delivery::{Delivery, Headers, VerifyError};
use plangate::event::Parsed;
use plangate::hex_signature;
use plangate::provider::Ours;
use plangate::secret::{Secret, SecretError};
use plangate::time::Timestamp;

use super::told::STRIPE;
use super::{payload, stripe};

/// The body and the secret of the tests of stripe-node, stripe-python and stripe-go.
const BODY: &str = "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
const SECRET: &str = "whsec_test_secret";
const OTHER_SECRET: &str = "whsec_test_secret_old";
const NOW: i64 = 1_795_009_999;

fn secret(text: &str) -> Secret {
    stripe().parse_secret("STRIPE_WEBHOOK_SECRET", text).unwrap()
}

/// The signature over this text of a time.
fn signed(time: &str, body: &[u8], key: &str) -> String {
    hex_signature::sign(&secret(key), &[time.as_bytes(), b".", body])
}

/// What becomes of a delivery: its event id, or why it is refused.
fn verify(header: &str, body: &[u8], secrets: &[&str]) -> Result<String, VerifyError> {
    let delivery = Delivery { headers: Headers::new([("Stripe-Signature", header)]), body: body.to_vec() };
    let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
    stripe()
        .verify(&delivery, &secrets, &Ours::default(), Timestamp::from_secs(NOW))
        .map(|verified| verified.event_id().to_owned())
}

#[test]
fn a_fixed_vector() {
    // Made with Python's hmac module, as stripe-python does it.
    let signature = signed("1795009999", BODY.as_bytes(), SECRET);
    assert_eq!(signature, VECTOR);
    let headers = stripe().sign(&secret(SECRET), "not in any header", Timestamp::from_secs(NOW), BODY.as_bytes());
    assert_eq!(headers, [("stripe-signature", format!("t=1795009999,v1={VECTOR}"))]);
    assert_eq!(verify(&headers[0].1, BODY.as_bytes(), &[SECRET]), Ok("evt_test_webhook".to_owned()));
}

const VECTOR: &str = "01a249a09b2e961aa724ef16bc8071b1e665337ffa64fd6108c515cec4b683bd";

#[test]
fn headers_are_taken_as_the_libraries_take_them_or_more_strictly() {
    let body = BODY.as_bytes();
    let good = signed("1795009999", body, SECRET);
    let old = signed("1795009999", body, OTHER_SECRET);
    let at = |time: i64| format!("t={time},v1={}", signed(&time.to_string(), body, SECRET));
    let over = |time: &str| format!("t={time},v1={}", signed(time, body, SECRET));
    let ok = || Ok(());
    let no_fit = || Err(VerifyError::NoMatchingSignature);
    let no_time = || Err(VerifyError::MalformedTimestamp);
    let too_old = |age_secs| Err(VerifyError::TimestampTooOld { age_secs });
    let too_new = |ahead_secs| Err(VerifyError::TimestampTooNew { ahead_secs });
    let cases: Vec<(&str, String, Result<(), VerifyError>)> = vec![
        // The libraries' own tests.
        ("valid", at(NOW), ok()),
        ("a bad header", "I'm not even a real signature header".into(), no_time()),
        ("v1 without a value, then a time that is long over", "v1,t=1".into(), no_fit()),
        ("a time without a value", format!("t=,v1={good}"), no_time()),
        ("no signature of the scheme", format!("t={NOW},v0={good}"), no_fit()),
        ("a signature of nothing", format!("t={NOW},v1=bad_signature"), no_fit()),
        ("a junk signature beside", format!("t={NOW},v1={good},v1=potato"), ok()),
        ("a junk signature before", format!("t={NOW},v1=potato,v1={good}"), ok()),
        ("the old signature beside, during a rotation", format!("t={NOW},v1={old},v1={good}"), ok()),
        ("of another secret", format!("t={NOW},v1={old}"), no_fit()),
        ("v0 beside, which test mode sends", format!("t={NOW},v1={good},v0={old}"), ok()),
        ("300 seconds old", at(NOW - 300), ok()),
        ("301 seconds old", at(NOW - 301), too_old(301)),
        ("400 seconds old", at(NOW - 400), too_old(400)),
        ("long ago", at(12_345), too_old(NOW - 12_345)),
        ("long ago and not signed", "t=12345,v1=00".into(), no_fit()),
        // What they do with odd headers.
        ("an entry without `=`", format!("t={NOW},junk,v1={good}"), ok()),
        ("v1 before t", format!("v1={good},t={NOW}"), ok()),
        ("a space after the comma", format!("t={NOW}, v1={good}"), no_fit()),
        ("upper case", format!("t={NOW},v1={}", good.to_uppercase()), no_fit()),
        ("t twice, the last signed, as in Node", format!("t=1,t={NOW},v1={good}"), ok()),
        ("t twice, the first signed, as in Python", format!("t={NOW},t=1,v1={good}"), no_fit()),
        ("t=abc over the text, which Node accepts", over("abc"), no_time()),
        ("t=NaN over the text", over("NaN"), no_time()),
        ("t=-1, which Python accepts", over("-1"), no_time()),
        ("something that is not ASCII, which makes Node throw", format!("t={NOW},v1=é{}", &good[2..]), no_fit()),
        ("a digit too few", format!("t={NOW},v1={}", &good[1..]), no_fit()),
        ("a digit too many", format!("t={NOW},v1={good}0"), no_fit()),
        // Ours alone: listed in docs/stripe.md.
        ("300 seconds ahead", at(NOW + 300), ok()),
        ("301 seconds ahead, which all accept", at(NOW + 301), too_new(301)),
        ("ten years ahead, which all accept", at(NOW + 315_360_000), too_new(315_360_000)),
        ("a second `=` in the value, which Node cuts off", format!("t={NOW},v1={good}=x"), no_fit()),
        ("decimals, which Node cuts off", over("1795009999.5"), no_time()),
        ("a plus, which both read", format!("t=+{NOW},v1={good}"), no_time()),
        ("a space in the number, which both read", format!("t= {NOW},v1={good}"), no_time()),
        ("leading zeros over the number, which both read", format!("t=00{NOW},v1={good}"), no_fit()),
        ("leading zeros over the text as it stands", over("001795009999"), ok()),
    ];
    let mut wrong = Vec::new();
    for (what, header, expected) in cases {
        let verified = verify(&header, body, &[SECRET]).map(|_| ());
        if verified != expected {
            wrong.push(format!("{what}: {verified:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn any_of_our_secrets_may_fit_any_signature() {
    let body = BODY.as_bytes();
    let header = format!("t={NOW},v1={}", signed("1795009999", body, OTHER_SECRET));
    assert_eq!(verify(&header, body, &[SECRET]), Err(VerifyError::NoMatchingSignature));
    assert!(verify(&header, body, &[SECRET, OTHER_SECRET]).is_ok());
    assert!(verify(&header, body, &[OTHER_SECRET, SECRET]).is_ok());
    assert_eq!(verify(&header, body, &[]), Err(VerifyError::NoMatchingSignature));
}

#[test]
fn a_header_that_is_missing_or_empty_is_named() {
    for headers in [Headers::default(), Headers::new([("stripe-signature", "")]), Headers::new([("svix-id", "x")])] {
        let delivery = Delivery { headers, body: BODY.into() };
        let error = stripe()
            .verify(&delivery, &[secret(SECRET)], &Ours::default(), Timestamp::from_secs(NOW))
            .map(|verified| verified.event_id().to_owned())
            .unwrap_err();
        assert_eq!(error, VerifyError::MissingHeaders(vec!["stripe-signature"]));
        assert_eq!(error.code(), "missing_headers");
    }
}

#[test]
fn the_whole_text_is_the_key() {
    let body = BODY.as_bytes();
    // What Svix would make of the same text.
    let header =
        format!("t={NOW},v1={}", hex_signature::sign(&Secret::new(b"test_secret").unwrap(), &[b"1795009999.", body]));
    assert_eq!(verify(&header, body, &[SECRET]), Err(VerifyError::NoMatchingSignature));
    // White space around it comes from copying.
    let header = format!("t={NOW},v1={}", signed("1795009999", body, SECRET));
    assert!(verify(&header, body, &[" whsec_test_secret\n"]).is_ok());
    for blank in ["", "  "] {
        assert_eq!(stripe().parse_secret("STRIPE_WEBHOOK_SECRET", blank).unwrap_err(), SecretError::Empty);
    }
}

#[test]
fn a_delivery_with_any_byte_changed_is_refused() {
    let body = payload("customer.subscription.deleted").to_string();
    STRIPE.check_that_every_byte_counts(&secret(SECRET), body.as_bytes(), Timestamp::from_secs(NOW));
}

#[test]
fn a_body_without_an_id_gets_one_of_its_own_and_becomes_a_dead_letter() {
    // The id is the same for every attempt, and looked for only once the signature fits.
    let cases: [(&[u8], &str); 6] = [
        (b"", "reading the event: EOF while parsing a value at line 1 column 0"),
        (b"hello", "reading the event: expected value at line 1 column 1"),
        (b"\xff", "reading the event: invalid utf-8 sequence of 1 bytes from index 0"),
        (br#"{"type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#, "the event has no `id`"),
        (br#"{"id":"","type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#, "the event has no `id`"),
        (br#"{"id":7,"type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#, "the event has no `id`"),
    ];
    for (body, cause) in cases {
        let headers = stripe().sign(&secret(SECRET), "", Timestamp::from_secs(NOW), body);
        let delivery = Delivery { headers: Headers::new(headers), body: body.to_vec() };
        let attempt =
            |at| stripe().verify(&delivery, &[secret(SECRET)], &Ours::default(), Timestamp::from_secs(at)).unwrap();
        let verified = attempt(NOW);
        let digest = verified.event_id().strip_prefix("sha256_").unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
        assert_eq!(attempt(NOW + 5).event_id(), verified.event_id());
        assert_eq!(stripe().parse(&verified, &Ours::default()).unwrap_err().cause, cause);
    }
    let empty = verify(&format!("t={NOW},v1={}", signed("1795009999", b"", SECRET)), b"", &[SECRET]).unwrap();
    assert_eq!(empty, "sha256_e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn a_signed_event_is_read_under_its_own_id_at_the_signed_time() {
    let mut body = payload("customer.subscription.updated");
    body["id"] = "evt_42".into();
    let body = body.to_string();
    let headers = stripe().sign(&secret(SECRET), "", Timestamp::from_secs(NOW - 7), body.as_bytes());
    let delivery = Delivery { headers: Headers::new(headers), body: body.into_bytes() };
    let verified = stripe().verify(&delivery, &[secret(SECRET)], &Ours::default(), Timestamp::from_secs(NOW)).unwrap();
    assert_eq!(verified.sent_at(), Some(Timestamp::from_secs(NOW - 7)));
    let Ok(Parsed::Event(event)) = stripe().parse(&verified, &Ours::default()) else { panic!() };
    assert!(event.records[0].version.as_str().ends_with(".evt_42"), "{}", event.records[0].version);
}
