//! `/v1/gate` for proxies that ask before they serve, and content served here to those entitled.

use wasm_bindgen::JsCast;

use super::bindings::{binding, fold_unicode, from_bucket, message, pass_on};
use super::caller::{self, Caller};
use super::check::answer_all;
use super::response::{Failure, NEVER_CACHED, Reply, VARIES};
use super::task::settled;
use super::{Edge, catalog, outlined};
use crate::gate::{self, Path, Verdict};
use crate::ordered::{self, Map};
use crate::question::Asked;
use crate::settings::{Content, Gateway};

/// Answers whether a caller may pass, by status alone, whatever the method: a proxy may send its client's.
///
/// 1. The caller is verified (401; 429; 503 when it cannot be).
/// 2. The question is read (400). It is the proxy's: no header says whom or what it is about.
/// 3. It is answered as a check is (503), 204 for yes and 403 for no.
pub(super) async fn gate(edge: &Edge<'_>) -> Result<Reply, Failure> {
    let mut reply = Reply::empty(204).with("cache-control", NEVER_CACHED).with("vary", VARIES);
    for (name, value) in outlined(let_through(edge, None, None)).await? {
        reply = reply.with(name, value);
    }
    Ok(reply)
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

    // 1.
    let path = Path::read(edge.request.path(), &fold).map_err(|_| Failure::UnusablePath)?;
    let mut told = Map::new();
    let is_gated = match rules.judge(&path, matches!(content, Content::Origin(_)), &fold) {
        Verdict::Unknown => return Err(Failure::NotFound),
        Verdict::Public => false,
        Verdict::Gated { needs, upgrade_url } => {
            // 2.
            let asked = Asked { questions: vec![needs], ..Asked::default() };
            told = ordered::map(outlined(let_through(edge, Some(asked), upgrade_url)).await?);
            true
        }
    };

    // 3.
    let origin = match content {
        Content::Origin(origin) => {
            edge.allow(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])?;
            Some(origin.as_str())
        }
        Content::Assets | Content::Bucket => {
            edge.allow(&["GET", "HEAD"])?;
            None
        }
    };
    let request = edge.request;
    let answer = if *content == Content::Bucket {
        let bucket = binding(edge.env, "CONTENT").unwrap_or_default();
        let key = path.object_key().ok_or(Failure::NotFound)?;
        from_bucket(&bucket, request.inner(), &key, is_gated)
    } else {
        let assets = binding(edge.env, "ASSETS").filter(|_| origin.is_none()).unwrap_or_default();
        let mark = if request.query().is_empty() { "" } else { "?" };
        let url = [origin.unwrap_or(request.origin()), request.path(), mark, request.query()].concat();
        let has_our_key = caller::number_of_key(edge).is_some();
        let told = serde_json::to_string(&told).map_err(|error| Failure::Internal(error.to_string()))?;
        pass_on(&assets, request.inner(), &url, &told, has_our_key, is_gated)
    };
    match settled(answer).await {
        Ok(answer) if answer.is_undefined() => Err(Failure::NotFound),
        Ok(answer) => Ok(Reply::content(answer.unchecked_into())),
        Err(thrown) => Err(Failure::ContentUnavailable { cause: message(&thrown) }),
    }
}

/// Who was let through, as headers. What is asked is in the query, unless it is given.
async fn let_through(
    edge: &Edge<'_>,
    asked: Option<Asked>,
    upgrade_url: Option<&str>,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let caller = Caller::of(edge).await?;
    let asked = match asked {
        // A server has no plan of its own, and the query belongs to the content.
        Some(_) if matches!(caller, Caller::Server) => return Err(Failure::SessionRequired),
        Some(asked) => asked,
        None => Asked::from_query(edge.request.query())?,
    };
    let payers = caller.payers(&asked)?;
    let catalog = catalog::current(edge).await?;
    let answers = answer_all(edge, &catalog, &asked, &payers).await?;
    let answer = answers.first().ok_or_else(|| Failure::Internal("a question has no answer".into()))?;
    if answer.allowed {
        return Ok(gate::identity(&payers, answer));
    }
    let upgrade_url = upgrade_url.or(edge.settings.upgrade_url.as_deref()).map(str::to_owned);
    Err(Failure::NotEntitled { reason: gate::reason(answer).unwrap_or_default(), upgrade_url })
}

/// One letter case and one form of Unicode. The runtime has the tables that we would have to bring along.
fn fold(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { fold_unicode(text) }
}
