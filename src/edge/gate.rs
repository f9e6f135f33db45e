//! `/v1/gate` for proxies that ask before they serve, and content served here to those entitled.

use js_sys::Date;
use serde_json::{Map, Value};
use wasm_bindgen::{JsCast, JsValue};

use super::bindings::{R2Object, binding, fold_unicode, look_at_object, message, pass_on, serve_object};
use super::caller::{self, Caller};
use super::check::answer_all;
use super::response::{Failure, Reply};
use super::task::settled;
use super::{Edge, catalog};
use crate::answer::CheckAnswer;
use crate::gate::{self, Path, Precondition, Range, Validators, Verdict};
use crate::payer::Payer;
use crate::question::Asked;
use crate::settings::{Content, Gateway};

const NEVER_CACHED: &str = "private, no-store";
/// What an answer depends on.
const VARIES: &str = "Accept, Authorization, Cookie";
/// Headers of requests for a part of an object, or for one that is not the caller's.
const DEPENDENT: [&str; 5] = ["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// Answers whether a caller may pass, by status alone, whatever the method: a proxy may send its client's.
///
/// 1. The caller is verified (401; 429; 503 when it cannot be).
/// 2. The question is read (400). It is the proxy's: no header says whom or what it is about.
/// 3. It is answered as a check is (503), 204 for yes and 403 for no.
pub(super) async fn gate(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let passed = async {
        // 1.
        let caller = Caller::of(edge).await?;

        // 2.
        let asked = Asked::from_query(edge.request.query())?;
        let payers = caller.payers(&asked)?;

        // 3.
        let answer = entitled(edge, &asked, &payers, None).await?;
        let mut reply = Reply::empty(204).with("cache-control", NEVER_CACHED).with("vary", VARIES);
        for (name, value) in gate::identity(&payers, &answer) {
            reply = reply.with(name, value);
        }
        Ok(reply)
    };
    or_page(edge, passed.await)
}

/// Serves content to those entitled.
///
/// 1. The path can be read in one way (400), and a rule speaks of it (404).
/// 2. Unless that is open to everybody: the caller is a person (401; 429; 503) who holds what it takes (403; 503).
/// 3. The content is fetched by the very path that was judged (404, 405, 412, 416, 502), and of what only some may have
///    no cache between us and them keeps a copy.
pub(super) async fn serve(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let (rules, content) = match &edge.settings.gateway {
        Gateway::On { rules, content } => (rules, content),
        Gateway::Off => return Err(Failure::NotFound),
        Gateway::Unusable => {
            let complaint = edge.settings.complaint().unwrap_or_default();
            return Err(Failure::GatewayUnusable { complaint });
        }
    };
    let served = async {
        // 1.
        let path = Path::read(edge.request.path(), &fold).map_err(|_| Failure::UnusablePath)?;
        let (is_gated, identity) = match rules.judge(&path, &fold) {
            Verdict::Unknown => return Err(Failure::NotFound),
            Verdict::Public => (false, Vec::new()),
            Verdict::Gated { needs, upgrade_url } => {
                // 2.
                let caller = Caller::of(edge).await?;
                if matches!(caller, Caller::Server) {
                    return Err(Failure::SessionRequired);
                }
                let asked = Asked { questions: vec![needs], ..Asked::default() };
                let payers = caller.payers(&asked)?;
                let answer = entitled(edge, &asked, &payers, upgrade_url).await?;
                (true, gate::identity(&payers, &answer))
            }
        };

        // 3.
        let method = edge.request.method();
        let methods: &[&str] = match content {
            Content::Origin(_) => &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
            Content::Assets | Content::Bucket => &["GET", "HEAD"],
        };
        edge.allow(methods)?;
        let response = match content {
            Content::Bucket => {
                let (bucket, key) = (binding(edge.env, "CONTENT").unwrap_or_default(), path.object_key());
                let is_plain = DEPENDENT.iter().all(|name| edge.request.header(name).is_none());
                let found = settled(look_at_object(&bucket, &key, method, is_plain)).await.map_err(unavailable)?;
                if found.is_null() {
                    return Err(Failure::NotFound);
                }
                let found: R2Object = found.unchecked_into();
                let Outcome { status, first, last } = weigh(edge, &found);
                settled(serve_object(&bucket, &key, method, &found, status, first, last, is_gated)).await
            }
            Content::Assets | Content::Origin(_) => {
                let (fetcher, base) = match content {
                    Content::Origin(origin) => (JsValue::UNDEFINED, origin.as_str()),
                    _ => (binding(edge.env, "ASSETS").unwrap_or_default(), edge.request.origin()),
                };
                let (path, query) = (edge.request.path(), edge.request.query());
                let url = [base, path, if query.is_empty() { "" } else { "?" }, query].concat();
                let mut told = Map::new();
                for (name, value) in identity {
                    told.insert(name.to_owned(), Value::String(value));
                }
                let told = Value::Object(told).to_string();
                let has_our_key = caller::number_of_key(edge).is_some();
                settled(pass_on(&fetcher, edge.request.inner(), &url, &told, has_our_key, is_gated)).await
            }
        };
        Ok(Reply::content(response.map_err(unavailable)?.unchecked_into()))
    };
    or_page(edge, served.await)
}

/// The answer to the one question, if it is yes.
async fn entitled(
    edge: &Edge<'_>,
    asked: &Asked,
    payers: &[Payer],
    upgrade_url: Option<&str>,
) -> Result<CheckAnswer, Failure> {
    let catalog = catalog::current(edge).await?;
    let answers = answer_all(edge, &catalog, asked, payers).await?;
    let answer = answers.into_iter().next().ok_or_else(|| Failure::Internal("a question has no answer".into()))?;
    if answer.allowed {
        return Ok(answer);
    }
    let upgrade_url = upgrade_url.or(edge.settings.upgrade_url.as_deref()).map(str::to_owned);
    Err(Failure::NotEntitled { reason: gate::reason(&answer).unwrap_or_default(), upgrade_url })
}

/// A person who is refused is shown a page and not a problem.
fn or_page(edge: &Edge<'_>, answer: Result<Reply, Failure>) -> Result<Reply, Failure> {
    let failure = match answer {
        Err(failure) if failure.is_refusal() => failure,
        other => return other,
    };
    let accept = edge.request.header("accept").unwrap_or_default();
    let reply = if gate::is_for_a_person(edge.request.method(), &accept) {
        let link = match &failure {
            Failure::NotEntitled { upgrade_url, .. } => upgrade_url.as_deref().map(|url| ("See the plans", url)),
            _ => edge.settings.sign_in_url.as_deref().map(|url| ("Sign in", url)),
        };
        Reply::page(&failure, link, &edge.request.id())
    } else {
        edge.refuse(&failure)
    };
    Ok(reply.with("cache-control", NEVER_CACHED).with("vary", VARIES))
}

/// One letter case and one form of Unicode. The runtime has the tables that we would have to bring along.
fn fold(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { fold_unicode(text) }
}

/// What an object is answered with.
struct Outcome {
    status: u16,
    /// The bytes of a part.
    first: f64,
    last: f64,
}

#[expect(clippy::cast_possible_truncation, reason = "sizes and times of JavaScript are whole numbers below 2^53")]
#[expect(clippy::cast_sign_loss, reason = "no object has less than nothing")]
#[expect(clippy::cast_precision_loss, reason = "sizes of objects are below 2^53")]
fn weigh(edge: &Edge<'_>, found: &R2Object) -> Outcome {
    let header = |name: &str| edge.request.header(name);
    let time = |name: &str| {
        let millis = Date::parse(&header(name)?);
        (!millis.is_nan()).then_some(millis as i64)
    };
    let asked = Validators {
        if_match: header("if-match"),
        if_none_match: header("if-none-match"),
        if_unmodified_since_ms: time("if-unmodified-since"),
        if_modified_since_ms: time("if-modified-since"),
    };
    let etag = found.http_etag();
    let (status, first, last) = match gate::precondition(&asked, &etag, found.uploaded().get_time() as i64) {
        Precondition::Failed => (412, 0, 0),
        Precondition::NotModified => (304, 0, 0),
        Precondition::Holds => {
            // A part of another object than the caller has the rest of is of no use. A range means nothing to HEAD.
            let is_same = header("if-range").is_none_or(|same| same == etag);
            let wanted = header("range").filter(|_| is_same && edge.request.method() == "GET");
            match wanted.and_then(|wanted| gate::range(&wanted, found.size() as u64)) {
                None => (200, 0, 0),
                Some(Range::Unsatisfiable) => (416, 0, 0),
                Some(Range::Part { first, last }) => (206, first, last),
            }
        }
    };
    Outcome { status, first: first as f64, last: last as f64 }
}

fn unavailable(thrown: JsValue) -> Failure {
    Failure::ContentUnavailable { cause: message(&thrown) }
}
