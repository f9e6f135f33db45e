//! What one isolate remembers between requests: the settings, verified tokens, snapshots, imported keys. All of it is
//! bounded, and all of it can be lost at any time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::JSON;
use wasm_bindgen::JsValue;
use worker::Env;

use super::bindings::binding;
use super::store::Fresh;
use crate::answer::Source;
use crate::memory::Memory;
use crate::ordered::Map;
use crate::payer::Payer;
use crate::session::{Session, TokenError};
use crate::settings::Settings;
use crate::snapshot::{Snapshot, is_within};
use crate::time::Timestamp;

/// A token has about 1 kB, so this is 4 MB of an isolate's 128.
const TOKENS: usize = 4_096;
/// A snapshot has about 2 kB, so this is 8 MB of an isolate's 128.
const SNAPSHOTS: usize = 4_096;
/// A delivery's id has some 40 bytes, so this is 100 kB.
const STORED: usize = 1_024;
/// How often a payer's page may make us ask the provider: Clerk takes 100 requests in 10 s from a development instance.
const SYNC_MS: i64 = 2_000;
/// How long a grant may come from memory.
const GRANT_MS: i64 = 10_000;
/// How long a denial may be repeated after the database confirmed it.
const DENIAL_MS: i64 = 1_000;

thread_local! {
    static SETTINGS: RefCell<Option<Rc<Settings>>> = const { RefCell::new(None) };
    static SESSIONS: RefCell<Memory<String, Session>> = RefCell::new(Memory::new(TOKENS));
    static TEXTS: RefCell<Map<*const str, JsValue>> = const { RefCell::new(Map::new()) };
    static ANSWER_LOST: Cell<bool> = const { Cell::new(false) };
    static SYNCED: RefCell<Memory<String, Timestamp>> = RefCell::new(Memory::new(SNAPSHOTS));
    static PAUSES: RefCell<Memory<String, Timestamp>> = RefCell::new(Memory::new(SNAPSHOTS));
    static LEFT_ALONE: RefCell<Map<&'static str, Timestamp>> = const { RefCell::new(Map::new()) };
    static DELIVERED: RefCell<Memory<String, ()>> = RefCell::new(Memory::new(STORED));
    static REMEMBERED: RefCell<Memory<String, Remembered>> = RefCell::new(Memory::new(SNAPSHOTS));
}

struct Remembered {
    snapshot: Held,
    version: u64,
    as_of: Timestamp,
    /// Read from D1, so that it can confirm a denial.
    from_d1: bool,
    /// KV holds it, or is being given it.
    is_copied: bool,
    since: Timestamp,
}

/// How a snapshot stands among those of its payer that this isolate knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Newest,
    /// A newer one is known, which KV holds or does not.
    Superseded {
        is_copied: bool,
    },
}

/// A snapshot is read when it is first asked for.
enum Held {
    Text(Rc<str>),
    Read(Rc<Snapshot>),
}

/// The settings. A deployment's variables do not change under a running isolate.
pub(super) fn settings(env: &Env) -> Rc<Settings> {
    SETTINGS.with_borrow_mut(|settings| {
        Rc::clone(settings.get_or_insert_with(|| Rc::new(Settings::read(|name| variable(env, name)))))
    })
}

/// A variable as text; an object (such as `PLANS`) as JSON.
fn variable(env: &Env, name: &str) -> Option<String> {
    let value: JsValue = binding(env, name)?;
    value.as_string().or_else(|| JSON::stringify(&value).ok().map(String::from))
}

/// A text of the program as a JavaScript string, made once: a statement has some kB, and crossing costs by the byte.
pub(super) fn javascript_text(text: &'static str) -> JsValue {
    TEXTS.with_borrow_mut(|texts| {
        if let Some(known) = texts.get(&std::ptr::from_ref(text)) {
            return known.clone();
        }
        let made = JsValue::from_str(text);
        texts.insert(text, made.clone());
        made
    })
}

/// The session of a token that was verified before, if it may still be used.
pub(super) fn session(token: &str, now: Timestamp) -> Option<Result<Session, TokenError>> {
    let session = SESSIONS.with_borrow(|sessions| sessions.recall(token).cloned())?;
    Some(session.check_time(now).map(|()| session))
}

pub(super) fn remember_session(token: &str, session: &Session) {
    SESSIONS.with_borrow_mut(|sessions| sessions.remember(token.to_owned(), session.clone()));
}

/// A snapshot that may grant at `now`, and whether it may also deny.
pub(super) fn snapshot(payer: &Payer, ttl_ms: i64, now: Timestamp) -> Option<(Rc<Snapshot>, bool)> {
    REMEMBERED.with_borrow_mut(|memory| {
        let remembered = memory.recall_mut(payer.key().as_str())?;
        let may_grant = now.millis_since(remembered.since) <= GRANT_MS && is_within(remembered.as_of, ttl_ms, now);
        let may_deny = remembered.from_d1 && is_within(remembered.as_of, DENIAL_MS, now);
        if !may_grant {
            return None;
        }
        let snapshot = match &remembered.snapshot {
            Held::Read(snapshot) => Rc::clone(snapshot),
            // What cannot be read is as good as forgotten: where it is read next, that is said.
            Held::Text(text) => Rc::new(Snapshot::parse(text).ok()?),
        };
        remembered.snapshot = Held::Read(Rc::clone(&snapshot));
        Some((snapshot, may_deny))
    })
}

/// Remembers a snapshot, unless a newer one of the same payer is known and may still speak. (A database that was
/// restored to an earlier time has lower versions than we remember.)
pub(super) fn remember_snapshot(snapshot: &Rc<Snapshot>, source: Source, is_copied: bool, now: Timestamp) -> Standing {
    let remembered = Remembered {
        version: snapshot.version,
        as_of: snapshot.as_of,
        snapshot: Held::Read(Rc::clone(snapshot)),
        from_d1: source == Source::D1,
        is_copied,
        since: now,
    };
    remember(&snapshot.payer, remembered)
}

/// The same of one that the database has just given with what changed it.
pub(super) fn remember_fresh(fresh: &Fresh, is_copied: bool, now: Timestamp) -> Standing {
    let snapshot = Held::Text(Rc::clone(&fresh.text));
    let (version, as_of) = (fresh.version, now);
    remember(&fresh.payer, Remembered { snapshot, version, as_of, from_d1: true, is_copied, since: now })
}

fn remember(payer: &Payer, mut remembered: Remembered) -> Standing {
    let key = payer.key();
    REMEMBERED.with_borrow_mut(|memory| {
        if let Some(known) = memory.recall(key.as_str()) {
            if known.version > remembered.version && remembered.since.millis_since(known.since) <= GRANT_MS {
                return Standing::Superseded { is_copied: known.is_copied };
            }
            remembered.is_copied |= known.is_copied && known.version == remembered.version;
        }
        memory.remember(key, remembered);
        Standing::Newest
    })
}

/// Whether a newer snapshot of the payer is known.
pub(super) fn knows_newer(payer: &Payer, version: u64) -> bool {
    REMEMBERED.with_borrow(|memory| memory.recall(payer.key().as_str()).is_some_and(|known| known.version > version))
}

/// Begins the pause before a payer's copy is written again, unless another request is in one already. One whose request was let
/// go of keeps nobody out when its time is over.
pub(super) fn begin_pause(payer: &Payer, pause_ms: i64, now: Timestamp) -> bool {
    let key = payer.key();
    PAUSES.with_borrow_mut(|pauses| {
        let is_free = pauses.recall(key.as_str()).is_none_or(|until| now >= *until);
        if is_free {
            pauses.remember(key, now.plus_millis(pause_ms));
        }
        is_free
    })
}

pub(super) fn end_pause(payer: &Payer) {
    PAUSES.with_borrow_mut(|pauses| pauses.forget(payer.key().as_str()));
}

/// A provider wants no more requests for so long. It is left alone at least as long as the payer is whose page asked.
pub(super) fn leave_alone(provider: &'static str, secs: u32, now: Timestamp) {
    let until = now.plus_millis(i64::from(secs).saturating_mul(1000).max(SYNC_MS));
    LEFT_ALONE.with_borrow_mut(|all| all.insert(provider, until));
}

/// A provider that wants no requests, and for how many more seconds: this one, or any.
pub(super) fn left_alone(only: Option<&str>, now: Timestamp) -> Option<(&'static str, u32)> {
    LEFT_ALONE.with_borrow(|all| {
        all.iter().find_map(|(name, until)| {
            let millis = until.millis_since(now);
            let is_meant = millis > 0 && only.is_none_or(|only| only == *name);
            is_meant.then(|| (*name, u32::try_from(millis.saturating_add(999) / 1000).unwrap_or(u32::MAX)))
        })
    })
}

/// Asking a provider about this payer failed, so it may be asked again at once.
pub(super) fn sync_failed(payer: &Payer) {
    SYNCED.with_borrow_mut(|synced| synced.remember(payer.key(), Timestamp::from_millis(0)));
}

/// Whether it is time to ask a provider about this payer again. If so, it is taken as asked.
pub(super) fn may_sync(payer: &Payer, now: Timestamp) -> bool {
    let key = payer.key();
    SYNCED.with_borrow_mut(|synced| {
        if synced.recall(key.as_str()).is_some_and(|at| now.millis_since(*at) < SYNC_MS) {
            return false;
        }
        synced.remember(key, now);
        true
    })
}

/// Whether this isolate stored a delivery, as far as it remembers. Only a hint of which statement to try first: the ledger knows.
pub(super) fn is_stored(provider: &str, event_id: &str) -> bool {
    DELIVERED.with_borrow(|delivered| delivered.recall(delivery(provider, event_id).as_str()).is_some())
}

pub(super) fn remember_stored(provider: &str, event_id: &str) {
    DELIVERED.with_borrow_mut(|delivered| delivered.remember(delivery(provider, event_id), ()));
}

fn delivery(provider: &str, event_id: &str) -> String {
    [provider, " ", event_id].concat()
}

/// A webhook's answer from the database was lost: it may be stored all the same, and nothing that is remembered or copied
/// of its payer is as new.
pub(super) fn answer_lost() {
    ANSWER_LOST.set(true);
}

/// Whether an answer was ever lost. What is sent again after that is read back, though it is a duplicate.
pub(super) fn an_answer_was_lost() -> bool {
    ANSWER_LOST.get()
}

/// Forgets a payer's snapshot, so that the next answer is read anew.
pub(super) fn forget_snapshot(payer: &Payer) {
    REMEMBERED.with_borrow_mut(|memory| memory.forget(payer.key().as_str()));
}
