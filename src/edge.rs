//! Cloudflare Workers: the only part that knows of them. It translates requests into the core's questions and the
//! core's answers into responses; it reads the clock, once a request; it logs.

mod admin;
mod bindings;
mod caller;
mod catalog;
mod check;
mod explain;
mod gate;
mod health;
mod isolate;
mod keys;
mod limits;
mod log;
mod outbound;
mod reconcile;
mod rejections;
mod request;
mod response;
mod schedule;
mod sink;
mod store;
mod task;
mod webhook;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use worker::{Env, web_sys};

use self::bindings::{ExecutionContext, message};
use self::request::Request;
use self::response::{Failure, Reply};
use crate::gate::{is_for_a_person, is_own};
use crate::provider;
use crate::settings::Settings;
use crate::time::Timestamp;

const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// What every handler gets.
struct Edge<'a> {
    request: &'a Request,
    env: &'a Env,
    context: &'a ExecutionContext,
    ending: &'a Ending,
    settings: &'a Settings,
    now: Timestamp,
}

/// Sees to it that a request is carried out to its end, though whoever sent it hangs up. Only for those that need it: the runtime
/// has its work with every promise that it waits for.
struct Ending {
    context: ExecutionContext,
    answer: RefCell<Option<Promise>>,
    is_ensured: Cell<bool>,
}

impl Ending {
    fn of(context: ExecutionContext) -> Self {
        Self { context, answer: RefCell::new(None), is_ensured: Cell::new(false) }
    }

    /// From here on.
    fn ensure(&self) -> Result<(), Failure> {
        self.is_ensured.set(true);
        let ensured = self.answer.take().map_or(Ok(()), |answer| self.context.wait_until(&answer));
        ensured.map_err(|thrown| Failure::Internal(message(&thrown)))
    }

    /// The request is waiting for something, and this is its answer.
    fn is_promised(&self, answer: &Promise) -> Result<(), JsValue> {
        if self.is_ensured.get() {
            return self.context.wait_until(answer);
        }
        self.answer.replace(Some(answer.clone()));
        Ok(())
    }
}

/// Answers a request. `src/edge/entry.js` gives this to the runtime.
///
/// # Errors
/// What the runtime throws when a response is made.
#[wasm_bindgen]
pub fn fetch(request: web_sys::Request, env: Env, context: JsValue) -> Result<JsValue, JsValue> {
    let context: ExecutionContext = context.unchecked_into();
    let request = Request::new(request);
    let ending = Rc::new(Ending::of(context));
    let inner = Rc::clone(&ending);
    let answer = task::run(async move {
        let now = clock();
        let settings = isolate::settings(&env);
        let edge =
            Edge { request: &request, env: &env, context: &inner.context, ending: &inner, settings: &settings, now };
        let reply = match edge.route().await {
            Ok(reply) => reply,
            Err(failure) => {
                let counted = if failure.is_of_a_stranger() {
                    limits::count(&edge, &|| limits::stranger(&edge)).await
                } else {
                    Ok(())
                };
                edge.refuse(&counted.err().unwrap_or(failure))
            }
        };
        let reply = edge.with_cors(reply);
        reply.into_response(&request.id()).map(JsValue::from)
    })?;
    if let Some(promise) = answer.dyn_ref::<Promise>() {
        ending.is_promised(promise)?;
    }
    Ok(answer)
}

/// Does a run of upkeep.
///
/// # Errors
/// None: what fails is logged.
#[wasm_bindgen]
pub fn scheduled(_event: &JsValue, env: Env) -> Result<JsValue, JsValue> {
    task::run(async move {
        schedule::run(&env, &isolate::settings(&env)).await;
        Ok(JsValue::UNDEFINED)
    })
}

/// The only clock there is. In Workers it stands still between two waits for something outside.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
#[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch fit an i64 for ages")]
fn clock() -> Timestamp {
    Timestamp::from_millis(js_sys::Date::now() as i64)
}

impl Edge<'_> {
    async fn route(&self) -> Result<Reply, Failure> {
        let path = self.request.path();
        if let Some(name) = path.strip_prefix("/webhooks/") {
            let provider = provider::named(name).ok_or(Failure::UnknownProvider)?;
            self.allow(&["POST"])?;
            let answer = webhook::handle(self, provider).await;
            if let Err(failure) = &answer {
                rejections::count(provider.name(), failure.code(), self.now);
            }
            rejections::flush_later(self);
            return answer;
        }
        if let Some(what) = path.strip_prefix("/admin/") {
            return outlined(admin::handle(self, what)).await;
        }
        match path {
            "/v1/check" | "/v1/entitlements" | "/v1/sync" if self.request.method() == "OPTIONS" => Ok(self.preflight()),
            "/v1/check" => {
                self.allow(&["GET", "HEAD", "POST"])?;
                check::check(self).await
            }
            "/v1/entitlements" => {
                self.allow(&["GET", "HEAD"])?;
                check::entitlements(self).await
            }
            "/v1/sync" => {
                self.allow(&["POST"])?;
                outlined(check::sync(self)).await
            }
            // No preflight: a proxy may ask with its client's method.
            "/v1/gate" => outlined(gate::gate(self)).await,
            "/v1/explain" => {
                self.allow(&["GET", "HEAD"])?;
                outlined(explain::explain(self)).await
            }
            "/healthz" => {
                self.allow(&["GET", "HEAD"])?;
                outlined(health::handle(self)).await
            }
            "/openapi.json" => {
                self.allow(&["GET", "HEAD"])?;
                Ok(Reply::json(200, OPENAPI.to_owned()).with("cache-control", "public, max-age=300"))
            }
            #[cfg(feature = "panic-probe")]
            "/panic-probe" => probe(self).await,
            _ if is_own(path) => Err(Failure::NotFound),
            _ => outlined(gate::serve(self)).await,
        }
    }

    fn allow(&self, methods: &'static [&'static str]) -> Result<(), Failure> {
        if methods.contains(&self.request.method()) { Ok(()) } else { Err(Failure::MethodNotAllowed(methods)) }
    }

    /// Answers a failure, and logs it where it is ours or an operator should know: a check refused for its token is
    /// everyday life, a webhook refused for its signature is a wrong secret until proven otherwise.
    fn refuse(&self, failure: &Failure) -> Reply {
        let is_known = match failure {
            Failure::Unverified { provider, .. } => !rejections::is_news(provider, failure.code(), self.now),
            _ => false,
        };
        if !is_known && let Some(log) = failure.log() {
            log.with("request.id", self.request.id())
                .with("request.method", self.request.method())
                .with("request.path", self.request.path_logged())
                .write();
        }
        let reply = Reply::problem(failure, &self.request.id());
        // At the gates there may be a person, who is shown a page.
        let path = self.request.path();
        if path != "/v1/gate" && is_own(path) { reply } else { self.with_page(reply, failure) }
    }

    fn with_page(&self, reply: Reply, failure: &Failure) -> Reply {
        let accept = self.request.header("accept").unwrap_or_default();
        let link = match failure {
            Failure::NotEntitled { upgrade_url, .. } => upgrade_url.as_deref().map(|url| ("See the plans", url)),
            _ if failure.is_of_a_stranger() => self.settings.sign_in_url.as_deref().map(|url| ("Sign in", url)),
            _ => None,
        };
        let reply = reply.with("cache-control", response::NEVER_CACHED).with("vary", response::VARIES);
        if is_for_a_person(self.request.method(), &accept) { reply.into_page(failure, link) } else { reply }
    }

    /// The origin that asks, if it is one that may read the answer.
    fn allowed_origin(&self) -> Option<String> {
        if self.settings.allowed_origins.is_empty() || !self.request.path().starts_with("/v1/") {
            return None;
        }
        self.request.header("origin").filter(|origin| self.settings.allowed_origins.contains(origin))
    }

    fn with_cors(&self, reply: Reply) -> Reply {
        match self.allowed_origin() {
            Some(origin) => reply
                .with("access-control-allow-origin", origin)
                .with("access-control-allow-credentials", "true")
                .with("access-control-expose-headers", "etag, retry-after, x-request-id"),
            None => reply,
        }
    }

    /// An origin that may not ask gets no permission, and the browser refuses for us.
    fn preflight(&self) -> Reply {
        let reply = Reply::empty(204).with("vary", "Origin");
        if self.allowed_origin().is_none() {
            return reply;
        }
        reply
            .with("access-control-allow-methods", "GET, POST")
            .with("access-control-allow-headers", "authorization, content-type, if-none-match")
            .with("access-control-max-age", "86400")
    }
}

/// A future with a place of its own: what is rarely asked for would else make the state of every request as large as the
/// largest of them.
fn outlined<'a, T>(rare: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(rare)
}

/// Panics, `?later` after it has waited for something. `?waits` tells how many promises are waited for.
#[cfg(feature = "panic-probe")]
#[expect(clippy::panic, reason = "that is what the probe is for")]
async fn probe(edge: &Edge<'_>) -> Result<Reply, Failure> {
    match edge.request.query() {
        "waits" => return Ok(Reply::json(200, task::waits().to_string())),
        "later" => {
            let _ = store::copy_health(edge.env).await;
        }
        _ => {}
    }
    panic!("the probe was asked to panic")
}
