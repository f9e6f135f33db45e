//! One HTTP exchange: posting a signed body or asking as a server, and writing down what was said on both sides.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, Proxy};

use crate::failure::{Failure, usage};

/// Svix gives a receiver 15 s, and so do we: <https://docs.svix.com/retries>.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Of an answer no more than this is read, in bytes: a receipt has below 1 kB, an explanation of much below 300 kB.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// How this program names itself.
pub const USER_AGENT: &str = concat!("plangate/", env!("CARGO_PKG_VERSION"));

/// What is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The address.
    pub url: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body, which is JSON.
    pub body: String,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
}

/// Posts a request. A status that is not 200 is an answer like any other, and so is a redirect: no provider follows one.
///
/// # Errors
/// One sentence on why there is no answer.
pub fn post(request: &Request) -> Result<Answer, String> {
    let mut post = agent(&request.url).post(&request.url);
    for (name, value) in &request.headers {
        post = post.header(name, value);
    }
    post.send(&request.body).and_then(read).map_err(|error| why_no_answer(&error))
}

/// Asks as a server, with its key. A redirect is not followed: the key is for this address.
///
/// # Errors
/// One sentence on why there is no answer.
pub fn get(url: &str, key: &str) -> Result<Answer, String> {
    let get = agent(url).get(url).header("authorization", format!("Bearer {key}")).header("user-agent", USER_AGENT);
    get.call().and_then(read).map_err(|error| why_no_answer(&error))
}

fn agent(url: &str) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(TIMEOUT))
        // A proxy cannot reach this machine's own ports.
        .proxy(Proxy::try_from_env().filter(|_| !is_local(url)))
        .build();
    Agent::new_with_config(config)
}

/// The worker's address, without a slash at its end, as this option gave it.
///
/// # Errors
/// When it is none, or holds a secret.
pub fn base<'a>(option: &str, url: &'a str) -> Result<&'a str, Failure> {
    let address = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(address) = address else {
        return Err(usage(format!("{option} is no address; give one that begins with http:// or https://")));
    };
    // It is printed and appears in messages.
    if address.contains('@') {
        return Err(usage(format!("{option} holds a user name or a password; leave them out")));
    }
    Ok(url.trim_end_matches('/'))
}

impl Answer {
    /// Whether it looks like an answer of plangate's: every receipt has an `outcome`, and every problem a `code`.
    pub fn is_of_plangate(&self) -> bool {
        let member = if self.status == 200 { "outcome" } else { "code" };
        serde_json::from_str::<Value>(&self.body).is_ok_and(|body| body.get(member).is_some_and(Value::is_string))
    }
}

/// The failure that somebody else's answer is.
pub fn no_plangate(url: &str) -> Failure {
    Failure::NoAnswer(format!("what answers at {url} is no plangate worker; check --url"))
}

/// The failure that a missing answer is.
pub fn no_answer(url: &str, why: &str) -> Failure {
    Failure::NoAnswer(format!("no answer from {url}: {why}; check --url, and that the worker runs (`npm start`)"))
}

fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local))
}

fn read(mut response: Response<Body>) -> Result<Answer, ureq::Error> {
    let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).lossy_utf8(true).read_to_string()?;
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(Answer { status: response.status().as_u16(), headers: headers.collect(), body })
}

fn why_no_answer(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        ureq::Error::HostNotFound => "there is no such host".into(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "that is no address".into(),
        other => other.to_string(),
    }
}

/// An exchange as `--json` shows it.
#[derive(Serialize)]
pub struct ExchangeView<'a> {
    request: RequestView<'a>,
    /// Null when nothing was sent, or nothing answered.
    response: Option<AnswerView<'a>>,
    /// Why there is no answer, where one was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct RequestView<'a> {
    method: &'static str,
    url: &'a str,
    headers: Headers<'a>,
    body: Content<'a>,
}

#[derive(Serialize)]
struct AnswerView<'a> {
    status: u16,
    headers: Headers<'a>,
    body: Content<'a>,
}

/// JSON as it stood, byte for byte, so that a signature over it can be checked again; else text.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> Content<'a> {
    fn of(body: &'a str) -> Self {
        let is_one_line = !body.contains(['\n', '\r']);
        let json = if is_one_line { serde_json::from_str(body).ok() } else { None };
        json.map_or(Self::Text(body), Self::Json)
    }
}

struct Headers<'a>(&'a [(String, String)]);

impl Serialize for Headers<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, shown(name, value))))
    }
}

impl<'a> ExchangeView<'a> {
    /// What was sent, and the answer or the reason why there is none; neither when nothing was sent.
    pub fn new(request: &'a Request, answer: Option<&'a Result<Answer, String>>) -> Self {
        let answered = answer.and_then(|answer| answer.as_ref().ok());
        Self {
            request: RequestView::of(request),
            response: answered.map(|answer| AnswerView {
                status: answer.status,
                headers: Headers(&answer.headers),
                body: Content::of(&answer.body),
            }),
            error: answer.and_then(|answer| answer.as_ref().err()).map(String::as_str),
        }
    }
}

impl<'a> RequestView<'a> {
    fn of(request: &'a Request) -> Self {
        Self { method: "POST", url: &request.url, headers: Headers(&request.headers), body: Content::of(&request.body) }
    }
}

/// A header's value as it may be printed. Some providers sign with nothing but the secret itself, in `Authorization`.
pub fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if name.eq_ignore_ascii_case("authorization") { "[redacted]" } else { value }
}

/// `200 OK`.
pub fn status_line(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("{status} {}", reason.unwrap_or_default()).trim_end().to_owned()
}
