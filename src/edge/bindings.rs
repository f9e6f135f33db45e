//! The parts of the Workers runtime that we call, declared so that every call that can throw is a `Result`: the
//! wrappers of the `worker` crate unwrap some of them, and a panic takes the other requests of an isolate down.

use js_sys::{Array, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use worker::Env;

#[wasm_bindgen]
extern "C" {
    /// A D1 database.
    pub(super) type D1;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn prepare(this: &D1, sql: &JsValue) -> Result<D1Statement, JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn batch(this: &D1, statements: &Array) -> Result<Promise, JsValue>;

    /// A statement of D1.
    pub(super) type D1Statement;

    #[wasm_bindgen(method, structural, catch, variadic)]
    pub(super) fn bind(this: &D1Statement, values: &Array) -> Result<D1Statement, JsValue>;

    /// Rows as arrays.
    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn raw(this: &D1Statement) -> Result<Promise, JsValue>;

    /// What a statement of a batch answered.
    pub(super) type D1Result;

    #[wasm_bindgen(method, structural, getter, catch)]
    pub(super) fn results(this: &D1Result) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(method, structural, getter, catch)]
    pub(super) fn meta(this: &D1Result) -> Result<JsValue, JsValue>;

    /// The row that the statements of a webhook answer. A column that the statement does not have is undefined.
    pub(super) type WebhookRow;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn outcome(this: &WebhookRow) -> JsValue;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn detail(this: &WebhookRow) -> JsValue;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn payer(this: &WebhookRow) -> JsValue;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn version(this: &WebhookRow) -> JsValue;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn snapshot(this: &WebhookRow) -> JsValue;

    /// A KV namespace.
    pub(super) type Kv;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn get(this: &Kv, key: &str, kind: &str) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn put(this: &Kv, key: &str, value: &str, options: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn delete(this: &Kv, key: &str) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = importKey, catch)]
    pub(super) fn import_key(
        format: &str,
        key: &JsValue,
        algorithm: &JsValue,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = verify, catch)]
    pub(super) fn verify_signature(
        algorithm: &str,
        key: &JsValue,
        signature: &[u8],
        data: &[u8],
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = crypto, js_name = randomUUID, catch)]
    pub(super) fn random_uuid() -> Result<String, JsValue>;

    #[wasm_bindgen(js_name = fetch, catch)]
    pub(super) fn fetch(url: &str, options: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = AbortSignal, js_name = timeout, catch)]
    pub(super) fn abort_after(millis: f64) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(js_namespace = scheduler, js_name = wait, catch)]
    pub(super) fn wait(millis: f64) -> Result<Promise, JsValue>;

    /// A `Response`.
    #[wasm_bindgen(js_name = Response)]
    pub(super) type FetchedResponse;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn status(this: &FetchedResponse) -> u16;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn headers(this: &FetchedResponse) -> worker::web_sys::Headers;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn body(this: &FetchedResponse) -> Option<worker::web_sys::ReadableStream>;

    /// The headers of a request.
    #[wasm_bindgen(js_name = Headers)]
    pub(super) type Headers;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn get(this: &Headers, name: &JsValue) -> Result<Option<String>, JsValue>;

    /// A reader of a body.
    pub(super) type Reader;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn read(this: &Reader) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn cancel(this: &Reader) -> Result<Promise, JsValue>;

    /// What a reader has read.
    pub(super) type Chunk;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn done(this: &Chunk) -> bool;

    #[wasm_bindgen(method, structural, getter)]
    pub(super) fn value(this: &Chunk) -> JsValue;

    /// What outlives a request.
    pub(super) type ExecutionContext;

    #[wasm_bindgen(method, structural, catch, js_name = waitUntil)]
    pub(super) fn wait_until(this: &ExecutionContext, promise: &Promise) -> Result<(), JsValue>;

    #[wasm_bindgen(js_namespace = console, js_name = warn)]
    pub(super) fn console_warn(line: &str);

    #[wasm_bindgen(js_namespace = console, js_name = error)]
    pub(super) fn console_error(line: &str);
}

#[wasm_bindgen(module = "/src/edge/content.js")]
extern "C" {
    /// Whether somebody may go on, by a binding of rate limiting.
    #[wasm_bindgen(js_name = mayGoOn, catch)]
    pub(super) fn may_go_on(limiter: &JsValue, key: &str) -> Result<Promise, JsValue>;

    /// One letter case and one form of Unicode.
    #[wasm_bindgen(js_name = fold)]
    pub(super) fn fold_unicode(text: &str) -> String;

    /// The answer of a binding, or of an origin where there is none, as it streams.
    #[wasm_bindgen(js_name = passOn, catch)]
    pub(super) fn pass_on(
        fetcher: &JsValue,
        request: &worker::web_sys::Request,
        url: &str,
        told: &str,
        has_our_key: bool,
        is_gated: bool,
    ) -> Result<Promise, JsValue>;

    /// The answer with an object of a bucket, as it streams; undefined where there is none.
    #[wasm_bindgen(js_name = fromBucket, catch)]
    pub(super) fn from_bucket(
        bucket: &JsValue,
        request: &worker::web_sys::Request,
        key: &str,
        is_gated: bool,
    ) -> Result<Promise, JsValue>;
}

/// A binding or variable of the environment; `None` when it is not there.
pub(super) fn binding(env: &Env, name: &str) -> Option<JsValue> {
    Reflect::get(env, &name.into()).ok().filter(|value| !value.is_undefined() && !value.is_null())
}

/// An object from its fields.
pub(super) fn object<const N: usize>(fields: [(&str, JsValue); N]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &name.into(), &value)?;
    }
    Ok(object.into())
}

/// The message of whatever was thrown, for a log.
pub(super) fn message(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => error.message().into(),
        None => thrown.as_string().unwrap_or_else(|| "something that is no error was thrown".into()),
    }
}
