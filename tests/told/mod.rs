//! What providers tell, for the tests of each: payload files with the events they must be read into, signed deliveries,
//! and lifecycles played into the production statements.
#![allow(dead_code, unused_imports, reason = "not every test needs all of it")]

#[cfg(feature = "sqlite")]
mod shop;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plangate::card;
use plangate::delivery::{Delivery, Headers, Verified, VerifyError};
use plangate::event::{ParseError, Parsed};
use plangate::payer::Payer;
use plangate::provider::{Ours, Provider, named};
use plangate::secret::Secret;
use plangate::time::Timestamp;
use serde_json::{Value, json};

#[cfg(feature = "sqlite")]
pub use shop::{Shop, check_every_order};

/// When the attempts are signed: later than anything in the payloads, so that it shows where it is used.
pub const SENT_AT_SECS: i64 = 1_800_000_000;

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is no time"))
}

pub fn payer(key: &str) -> Payer {
    Payer::from_key(key).unwrap()
}

/// A provider and the folder of its payloads.
#[derive(Clone, Copy)]
pub struct Teller {
    pub name: &'static str,
    /// Where a body says of what type its event is.
    pub type_at: &'static str,
    /// The id a payload is delivered under; `{}` stands for the payload's name.
    pub event_id: &'static str,
    /// The instance whose events the payloads of Clerk are.
    pub instance: Option<&'static str>,
    pub least: Least,
}

/// More than this there must be, or the payloads are not where they were, or what is put into them does not reach what
/// it was meant for.
#[derive(Clone, Copy)]
pub struct Least {
    pub payloads: usize,
    /// Of the payloads with an odd value in them, how many are read and how many are not.
    pub read: usize,
    pub unreadable: usize,
    /// How many of those readings differ from all others and are stored as an event, and as a dead letter.
    pub events: usize,
    pub dead_letters: usize,
}

const PLAIN: Teller = Teller {
    name: "",
    type_at: "/type",
    event_id: "evt_{}",
    instance: None,
    least: Least { payloads: 0, read: 0, unreadable: 0, events: 0, dead_letters: 0 },
};

pub const CLERK: Teller = Teller {
    name: "clerk",
    event_id: "msg_{}",
    instance: Some("ins_2abcINSTANCE"),
    least: Least { payloads: 120, read: 41_000, unreadable: 20_000, events: 2_800, dead_letters: 450 },
    ..PLAIN
};

pub const LEMONSQUEEZY: Teller = Teller {
    name: "lemonsqueezy",
    type_at: "/meta/event_name",
    event_id: "sha256_{}",
    least: Least { payloads: 50, read: 28_000, unreadable: 12_000, events: 2_400, dead_letters: 250 },
    ..PLAIN
};

pub const PADDLE: Teller = Teller {
    name: "paddle",
    type_at: "/event_type",
    least: Least { payloads: 80, read: 50_000, unreadable: 16_000, events: 3_900, dead_letters: 380 },
    ..PLAIN
};

pub const POLAR: Teller = Teller {
    name: "polar",
    least: Least { payloads: 80, read: 50_000, unreadable: 17_000, events: 3_500, dead_letters: 400 },
    ..PLAIN
};

pub const REVENUECAT: Teller = Teller {
    name: "revenuecat",
    type_at: "/event/type",
    least: Least { payloads: 50, read: 20_000, unreadable: 5_500, events: 1_800, dead_letters: 150 },
    ..PLAIN
};

pub const STANDARD_WEBHOOKS: Teller = Teller {
    name: "standard-webhooks",
    least: Least { payloads: 50, read: 4_000, unreadable: 10_000, events: 2_100, dead_letters: 160 },
    ..PLAIN
};

pub const STRIPE: Teller = Teller {
    name: "stripe",
    event_id: "evt_1Qa",
    least: Least { payloads: 110, read: 80_000, unreadable: 6_000, events: 2_300, dead_letters: 45 },
    ..PLAIN
};

/// Whose name this is.
pub fn teller(name: &str) -> Teller {
    let all = [CLERK, LEMONSQUEEZY, PADDLE, POLAR, REVENUECAT, STANDARD_WEBHOOKS, STRIPE];
    all.into_iter().find(|teller| teller.name == name).unwrap()
}

pub struct Payload {
    pub name: String,
    pub path: PathBuf,
    pub text: String,
}

impl Payload {
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Teller {
    pub fn provider(self) -> &'static dyn Provider {
        named(self.name).unwrap()
    }

    pub fn ours(self) -> Ours {
        Ours { clerk_instance_id: self.instance.map(str::to_owned), ..Ours::default() }
    }

    pub fn secret(self, text: &str) -> Secret {
        self.provider().parse_secret(self.provider().secret_names()[0], text).unwrap()
    }

    /// A delivery as the provider would sign it.
    pub fn signed(self, secret: &Secret, event_id: &str, now: Timestamp, body: &[u8]) -> Delivery {
        Delivery { headers: Headers::new(self.provider().sign(secret, event_id, now, body)), body: body.to_vec() }
    }

    fn files(self) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(self.name);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    pub fn payloads(self) -> Vec<Payload> {
        let payload = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.strip_suffix(".json").filter(|name| !name.ends_with(".event"))?;
            Some(Payload { name: name.to_owned(), text: fs::read_to_string(&path).unwrap(), path: path.clone() })
        };
        let payloads: Vec<_> = self.files().into_iter().filter_map(payload).collect();
        assert!(payloads.len() > self.least.payloads, "the payloads are not where they were");
        payloads
    }

    pub fn parse(self, event_id: &str, body: &[u8]) -> Result<Parsed, ParseError> {
        self.parse_sent_at(event_id, SENT_AT_SECS, body)
    }

    pub fn parse_sent_at(self, event_id: &str, secs: i64, body: &[u8]) -> Result<Parsed, ParseError> {
        self.provider().parse(&Verified::recorded(event_id, Timestamp::from_secs(secs), body), &self.ours())
    }

    /// Every payload is read into what stands in the file beside it.
    ///
    /// After a change that is meant: with `PLANGATE_REWRITE_EXPECTED=1` the expected files are written anew. Read the
    /// difference before committing it.
    #[track_caller]
    pub fn check_payloads(self) {
        let mut wrong = Vec::new();
        for payload in self.payloads() {
            let read = match self.parse(&self.event_id.replace("{}", &payload.name), payload.text.as_bytes()) {
                Ok(Parsed::Event(event)) => serde_json::to_value(event).unwrap(),
                Ok(Parsed::Ignored { event_type, reason }) => json!({"ignored": event_type, "reason": reason.as_str()}),
                Err(error) => panic!("{}: {error}", payload.name),
            };
            let path = payload.path.with_extension("event.json");
            if std::env::var_os("PLANGATE_REWRITE_EXPECTED").is_some() {
                fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&read).unwrap())).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", payload.name));
            let expected: Value = serde_json::from_str(&expected).unwrap();
            if read != expected {
                wrong.push(format!("{}\n  expected {expected}\n  read     {read}", payload.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Each of these types has a payload, which is of that type, and every expectation has a payload too.
    #[track_caller]
    pub fn check_that_nothing_is_without_a_payload(self, event_types: &[&str]) {
        let payloads = self.payloads();
        assert!(event_types.windows(2).all(|pair| pair[0] < pair[1]), "each type once, in order");
        for event_type in event_types {
            let payload = payloads.iter().find(|payload| payload.name == *event_type);
            let body = payload.unwrap_or_else(|| panic!("`{event_type}` has no payload")).body();
            assert_eq!(body.pointer(self.type_at), Some(&json!(event_type)), "the file is named after its type");
        }
        let names: BTreeSet<&str> = payloads.iter().map(|payload| payload.name.as_str()).collect();
        for file in self.files().iter().filter_map(|path| path.file_name()?.to_str()) {
            let Some(name) = file.strip_suffix(".event.json") else { continue };
            assert!(names.contains(name), "`{file}` has no payload");
        }
    }

    /// Two attempts of one event say the same: only then does it not matter which one arrives.
    #[track_caller]
    pub fn check_that_attempts_say_the_same_but_for(self, without_clock: &[&str]) {
        for payload in self.payloads() {
            let parse = |secs| self.parse_sent_at("evt_1", secs, payload.text.as_bytes());
            let has_clock = !without_clock.contains(&payload.name.as_str());
            assert_eq!(parse(SENT_AT_SECS) == parse(SENT_AT_SECS + 3600), has_clock, "{}", payload.name);
        }
    }

    /// Calls `with` for every payload with each one of its values replaced by every odd one, and with how it is read.
    #[track_caller]
    fn for_every_odd_payload(self, mut with: impl FnMut(&str, &[u8], &Result<Parsed, ParseError>)) {
        let odd_values = odd_values();
        let (mut read, mut unreadable) = (0, 0);
        for payload in self.payloads() {
            let body = payload.body();
            for pointer in pointers(&body) {
                for odd in &odd_values {
                    let mut changed = body.clone();
                    *changed.pointer_mut(&pointer).unwrap() = odd.clone();
                    let what = format!("{} with {pointer} = {odd}", payload.name);
                    let bytes = serde_json::to_vec(&changed).unwrap();
                    let parsed = std::panic::catch_unwind(|| self.parse("evt_1", &bytes))
                        .unwrap_or_else(|_| panic!("reading panicked: {what}"));
                    *(if parsed.is_ok() { &mut read } else { &mut unreadable }) += 1;
                    with(&what, &bytes, &parsed);
                }
            }
        }
        let Least { read: least_read, unreadable: least_unreadable, .. } = self.least;
        assert!(read > least_read && unreadable > least_unreadable, "{read} read, {unreadable} unreadable");
    }

    /// Whatever stands in the place of any one value, nothing panics.
    #[track_caller]
    pub fn check_that_reading_never_panics(self) {
        self.for_every_odd_payload(|_, _, _| {});
    }

    /// Masking changes nothing of what is read as an id and looks like a card number, wherever in a body it comes from; but
    /// for these fields, all of which hold something else, or ids that never look like that.
    #[track_caller]
    pub fn check_that_masking_keeps_ids_but_for(self, others: &[&str]) {
        let (mut kept, mut changed) = (0, BTreeSet::new());
        for payload in self.payloads() {
            let body = payload.body();
            for pointer in pointers(&body).into_iter().filter(|pointer| is_text_or_number(&body, pointer)) {
                for id in like_card_numbers() {
                    assert_ne!(card::mask(&id.to_string()), id.to_string(), "or it shows nothing");
                    let mut body = body.clone();
                    *body.pointer_mut(&pointer).unwrap() = id.clone();
                    let parsed = self.parse("evt_1", body.to_string().as_bytes());
                    if !parsed.as_ref().is_ok_and(|parsed| is_read_as_id(parsed, &id)) {
                        continue;
                    }
                    if self.parse("evt_1", card::mask(&body.to_string()).as_bytes()) == parsed {
                        kept += 1;
                    } else {
                        let names = pointer.rsplit('/').filter(|name| name.parse::<usize>().is_err());
                        changed.extend(names.map(str::to_owned).next());
                    }
                }
            }
        }
        assert_eq!(changed.iter().map(String::as_str).collect::<Vec<_>>(), others);
        assert!(kept > self.least.payloads, "{kept} ids were kept");
    }

    #[track_caller]
    pub fn check_causes(self, cases: &[(&[u8], Option<&str>, &str)]) {
        let mut wrong = Vec::new();
        for (body, event_type, cause) in cases {
            let expected = ParseError { event_type: event_type.map(str::to_owned), cause: (*cause).to_owned() };
            let read = self.parse("evt_1", body);
            if read != Err(expected) {
                let body: String = String::from_utf8_lossy(body).chars().take(120).collect();
                wrong.push(format!("{body}\n  expected {event_type:?} {cause:?}\n  read     {read:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Of a genuine delivery no byte of the body and none of the headers can be another.
    #[track_caller]
    pub fn check_that_every_byte_counts(self, secret: &Secret, body: &[u8], now: Timestamp) {
        let secrets = std::slice::from_ref(secret);
        let verify = |headers: &[(&'static str, String)], body: &[u8]| {
            let delivery = Delivery { headers: Headers::new(headers.to_vec()), body: body.to_vec() };
            let verified = self.provider().verify(&delivery, secrets, &self.ours(), now)?;
            Ok(verified.sent_at().is_some())
        };
        let refused = Err(VerifyError::NoMatchingSignature);
        let headers = self.provider().sign(secret, "evt_1", now, body);
        let has_time = verify(&headers, body).unwrap();
        for index in 0..body.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut changed = body.to_vec();
                changed[index] ^= bit;
                assert_eq!(verify(&headers, &changed), refused, "byte {index}");
            }
        }
        for cut in [&body[1..], &body[..body.len() - 1], b""] {
            assert_eq!(verify(&headers, cut), refused, "of {} bytes", cut.len());
        }
        for which in 0..headers.len() {
            for (index, byte) in headers[which].1.bytes().enumerate() {
                // Another byte at all, and another digit.
                for other in [byte ^ 1, if byte == b'0' { b'1' } else { b'0' }] {
                    let mut changed = headers.clone();
                    let mut value = changed[which].1.clone().into_bytes();
                    value[index] = other;
                    changed[which].1 = String::from_utf8(value).unwrap();
                    let answer = verify(&changed, body);
                    let what = format!("{} with byte {index} changed: {answer:?}", headers[which].0);
                    assert!(if has_time { answer.is_err() } else { answer == refused }, "{what}");
                }
            }
        }
    }
}

/// What stands in for a value of a body.
pub fn odd_values() -> [Value; 16] {
    [
        Value::Null,
        json!(""),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(true),
        json!([]),
        json!({}),
        json!([null]),
        json!([null, 1, {"price": 7}]),
        json!("\u{0}'\"; DROP TABLE"),
        json!("\u{0}'\"; DROP TABLE records; --"),
        json!("4242424242424242"),
        json!("x".repeat(300)),
    ]
}

/// Ids as they are given out that are card numbers by their digits: of a transaction in Apple's store and in Google's, of a
/// user where ids are times and counters, and a number.
pub fn like_card_numbers() -> [Value; 4] {
    [
        json!("490001234567894"),
        json!("GPA.3312-1234-5678-90124"),
        json!("175928847299117062"),
        json!(530_007_654_321_003_i64),
    ]
}

fn is_text_or_number(body: &Value, pointer: &str) -> bool {
    body.pointer(pointer).is_some_and(|value| value.is_string() || value.is_number())
}

/// Whether an event names something or somebody by this.
fn is_read_as_id(parsed: &Parsed, id: &Value) -> bool {
    let Parsed::Event(event) = parsed else { return false };
    let event = serde_json::to_value(event).unwrap();
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let names = ["/payer", "/customer", "/subscription", "/record", "/payment", "/id", "/key"];
    pointers(&event).iter().any(|pointer| {
        let text = event.pointer(pointer).and_then(Value::as_str);
        names.iter().any(|name| pointer.ends_with(name)) && text.is_some_and(|text| text.contains(&id))
    })
}

/// JSON pointers to everything, the whole too.
pub fn pointers(value: &Value) -> Vec<String> {
    let below = |key: &str, value: &Value| -> Vec<String> {
        let key = key.replace('~', "~0").replace('/', "~1");
        pointers(value).into_iter().map(|rest| format!("/{key}{rest}")).collect()
    };
    let mut all = vec![String::new()];
    match value {
        Value::Object(entries) => all.extend(entries.iter().flat_map(|(key, value)| below(key, value))),
        Value::Array(entries) => {
            all.extend(entries.iter().enumerate().flat_map(|(index, value)| below(&index.to_string(), value)));
        }
        _ => {}
    }
    all
}

/// Every order of a list.
pub fn permutations<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    if list.len() < 2 {
        return vec![list.to_vec()];
    }
    let mut all = Vec::new();
    for index in 0..list.len() {
        let mut rest = list.to_vec();
        let first = rest.remove(index);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}
