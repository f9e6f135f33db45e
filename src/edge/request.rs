//! The incoming request. What is read of it crosses from JavaScript once.

use std::cell::OnceCell;
use std::ops::Range;

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use worker::web_sys;

use super::bindings::{Chunk, Headers, Reader, message, random_uuid};
use super::isolate;
use super::response::Failure;
use super::task::settled;

/// The longest id of a request that is taken over from Cloudflare.
const MAX_ID_BYTES: usize = 64;
/// The most of a path that is logged: ours are shorter.
const MAX_LOGGED_BYTES: usize = 200;

pub(super) struct Request {
    inner: web_sys::Request,
    method: String,
    url: String,
    /// Where the path begins, and where it ends.
    path: Range<usize>,
    headers: OnceCell<Headers>,
    id: OnceCell<String>,
}

impl Request {
    pub(super) fn new(inner: web_sys::Request) -> Self {
        let url = inner.url();
        let path = path_of(&url);
        Self { method: inner.method(), url, path, inner, headers: OnceCell::new(), id: OnceCell::new() }
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// The path, as sent (not decoded).
    pub(super) fn path(&self) -> &str {
        self.url.get(self.path.clone()).filter(|path| !path.is_empty()).unwrap_or("/")
    }

    /// As much of the path as a line of the log takes: anybody may ask for one of many kB.
    pub(super) fn path_logged(&self) -> &str {
        let path = self.path();
        // A URL has no characters of several bytes.
        path.get(..MAX_LOGGED_BYTES).unwrap_or(path)
    }

    /// The scheme and host that were asked.
    pub(super) fn origin(&self) -> &str {
        self.url.get(..self.path.start).unwrap_or_default()
    }

    /// The query string, as sent, without its `?`.
    pub(super) fn query(&self) -> &str {
        let after_path = self.url.get(self.path.end..).unwrap_or_default();
        after_path.strip_prefix('?').and_then(|query| query.split('#').next()).unwrap_or_default()
    }

    /// A header; `None` when it is not there or empty.
    pub(super) fn header(&self, name: &'static str) -> Option<String> {
        let headers = self.headers.get_or_init(|| self.inner.headers().unchecked_into());
        headers.get(&isolate::javascript_text(name)).ok().flatten().filter(|value| !value.is_empty())
    }

    /// The request itself, to be passed on.
    pub(super) fn inner(&self) -> &web_sys::Request {
        &self.inner
    }

    /// The id of this request: Cloudflare's own, so that its logs and ours can be laid side by side.
    pub(super) fn id(&self) -> String {
        let make = || {
            let ray = self
                .header("cf-ray")
                .filter(|ray| ray.len() <= MAX_ID_BYTES && ray.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            // Without a random source there is no id to give; the answer is worth more than its id.
            ray.unwrap_or_else(|| random_uuid().unwrap_or_else(|_| "unidentified".into()))
        };
        self.id.get_or_init(make).clone()
    }

    /// The body, if it is no longer than `limit`. The announced length is believed only when it is too long.
    pub(super) async fn body(&self, limit: usize) -> Result<Vec<u8>, Failure> {
        let announced = self.header("content-length").and_then(|text| text.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(Failure::PayloadTooLarge { limit });
        }
        let unreadable = |thrown: JsValue| Failure::UnreadableBody(message(&thrown));
        if announced.is_some() {
            // The runtime holds a body to its announced length.
            let buffer = settled(self.inner.array_buffer()).await.map_err(unreadable)?;
            return Ok(Uint8Array::new(&buffer).to_vec());
        }
        read_at_most(self.inner.body(), limit).await.map_err(unreadable)?.ok_or(Failure::PayloadTooLarge { limit })
    }
}

/// Reads a body to its end; nothing where there is more of it than `limit`.
pub(super) async fn read_at_most(
    stream: Option<web_sys::ReadableStream>,
    limit: usize,
) -> Result<Option<Vec<u8>>, JsValue> {
    let Some(stream) = stream else { return Ok(Some(Vec::new())) };
    let reader: Reader = stream.get_reader().unchecked_into();
    let mut body = Vec::new();
    loop {
        let chunk: Chunk = settled(reader.read()).await?.unchecked_into();
        if chunk.done() {
            return Ok(Some(body));
        }
        body.extend(Uint8Array::new(&chunk.value()).to_vec());
        if body.len() > limit {
            // What is left is not wanted; whether the sender hears of it changes nothing.
            let _cancelled = settled(reader.cancel()).await;
            return Ok(None);
        }
    }
}

/// Where the path of an absolute URL stands in it: after the scheme and the host, up to `?` or `#`.
fn path_of(url: &str) -> Range<usize> {
    let end = url.bytes().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(url.len());
    let mut slashes = url.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
    // Those of `//`.
    let start = slashes.nth(2).map_or(end, |at| at.min(end));
    start..end
}
