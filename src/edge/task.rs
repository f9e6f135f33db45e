//! Runs the futures of requests.
//!
//! wasm-bindgen's own executor wakes a future by `queueMicrotask`, which in workerd makes and collects several objects each
//! time: a tenth of what a webhook costs. Nothing here ever waits but for a promise, and what a promise calls when it
//! settles is a microtask already, of the request that waited for it: the future is polled right there.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;

use super::bindings::ExecutionContext;

// Whoever asked may hang up: then the runtime lets go of the promises of the request, and they never settle. So does JavaScript of
// what they would have called, and tells us.
#[wasm_bindgen(inline_js = "const FULFILLED = 0, REJECTED = 1, GONE = 2;
const abandoned = new FinalizationRegistry(({ wait, resume }) => {
  // An instance that panicked has nothing to let go of.
  try { resume(wait, GONE); } catch {}
});
export const settle = (promise, wait, resume) => {
  const held = {};
  abandoned.register(held, { wait, resume }, held);
  const settled = (how) => (value) => {
    abandoned.unregister(held);
    resume(wait, how, value);
  };
  promise.then(settled(FULFILLED), settled(REJECTED));
};")]
extern "C" {
    fn settle(promise: &Promise, wait: u32, resume: &Resume);
}

/// Called with the number of a wait, what became of its promise, and the value.
type Resume = Closure<dyn Fn(u32, u32, JsValue)>;
const FULFILLED: u32 = 0;
const REJECTED: u32 = 1;

type Settled = Result<JsValue, JsValue>;

thread_local! {
    /// The task that is being polled.
    static CURRENT: RefCell<Option<Rc<Task>>> = const { RefCell::new(None) };
    static WAITS: RefCell<Waits> = const { RefCell::new(Waits { all: Vec::new(), free: Vec::new() }) };
    static RESUME: Resume = Closure::new(|wait, how, value| {
        // Where it is gone, so is a task that waits for nothing else.
        let Some(Wait { task, settled }) = WAITS.with_borrow_mut(|waits| waits.take(wait)) else { return };
        match how {
            FULFILLED => settled.set(Some(Ok(value))),
            REJECTED => settled.set(Some(Err(value))),
            _ => return,
        }
        task.poll();
    });
}

/// A future with everything it waits for. It is dropped when it is done, or when nothing is left that could resume it: its
/// waits own it.
struct Task(RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>);

impl Task {
    fn start(future: impl Future<Output = ()> + 'static) {
        Rc::new(Self(RefCell::new(Some(Box::pin(future))))).poll();
    }

    /// Never called while it runs: JavaScript settles no promise while we run.
    fn poll(self: Rc<Self>) {
        let outer = CURRENT.replace(Some(Rc::clone(&self)));
        let mut future = self.0.borrow_mut();
        let mut context = Context::from_waker(Waker::noop());
        if future.as_mut().is_some_and(|future| future.as_mut().poll(&mut context).is_ready()) {
            *future = None;
        }
        CURRENT.set(outer);
    }
}

/// A promise that a task waits for.
struct Wait {
    task: Rc<Task>,
    settled: Rc<Cell<Option<Settled>>>,
}

/// The promises that are waited for, by a number that is used again.
struct Waits {
    all: Vec<Option<Wait>>,
    free: Vec<u32>,
}

impl Waits {
    fn add(&mut self, wait: Wait) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.all.get_mut(number as usize)
        {
            *place = Some(wait);
            return number;
        }
        self.all.push(Some(wait));
        // There is no memory for four billion of them.
        u32::try_from(self.all.len()).unwrap_or(u32::MAX).saturating_sub(1)
    }

    fn take(&mut self, number: u32) -> Option<Wait> {
        let wait = self.all.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(wait)
    }
}

/// Waits for a promise that a call of ours gave.
pub(super) fn settled(promise: Result<Promise, JsValue>) -> Settling {
    match promise {
        Ok(promise) => Settling::Begun(promise),
        Err(thrown) => Settling::Settled(Rc::new(Cell::new(Some(Err(thrown))))),
    }
}

/// A promise as a future. Its callbacks are registered when it is first polled.
pub(super) enum Settling {
    Begun(Promise),
    Settled(Rc<Cell<Option<Settled>>>),
}

impl Future for Settling {
    type Output = Settled;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Settled> {
        let this = self.get_mut();
        if let Self::Begun(promise) = this {
            let settled = Rc::new(Cell::new(None));
            if let Some(task) = CURRENT.with_borrow(Clone::clone) {
                let wait = Wait { task, settled: Rc::clone(&settled) };
                let number = WAITS.with_borrow_mut(|waits| waits.add(wait));
                RESUME.with(|resume| settle(promise, number, resume));
            }
            *this = Self::Settled(settled);
        }
        match this {
            Self::Settled(settled) => settled.take().map_or(Poll::Pending, Poll::Ready),
            Self::Begun(_) => Poll::Pending,
        }
    }
}

/// How far a future is that JavaScript waits for.
enum Progress {
    Running,
    Done(Settled),
    Awaited { resolve: Function, reject: Function },
}

/// Runs a future. What is done without waiting is given as it is, all else as a promise.
pub(super) fn run(future: impl Future<Output = Settled> + 'static) -> Settled {
    let progress = Rc::new(Cell::new(Progress::Running));
    let inner = Rc::clone(&progress);
    Task::start(async move {
        let result = future.await;
        match inner.replace(Progress::Running) {
            Progress::Awaited { resolve, reject } => {
                let (settle, value) = match result {
                    Ok(value) => (resolve, value),
                    Err(thrown) => (reject, thrown),
                };
                // The functions of a promise do not throw.
                let _ = settle.call1(&JsValue::UNDEFINED, &value);
            }
            Progress::Running | Progress::Done(_) => inner.set(Progress::Done(result)),
        }
    });
    match progress.replace(Progress::Running) {
        Progress::Done(result) => result,
        Progress::Running | Progress::Awaited { .. } => Ok(Promise::new(&mut |resolve, reject| {
            progress.set(Progress::Awaited { resolve, reject });
        })
        .into()),
    }
}

/// Goes on with something after the answer, for as long as the runtime allows.
pub(super) fn wait_until(context: &ExecutionContext, future: impl Future<Output = ()> + 'static) {
    let running = run(async move {
        future.await;
        Ok(JsValue::UNDEFINED)
    });
    // Without a promise it is done already. A context that cannot wait lets it run as far as it comes.
    if let Ok(promise) = running.and_then(JsCast::dyn_into::<Promise>) {
        let _ = context.wait_until(&promise);
    }
}

/// How many promises are waited for.
#[cfg(feature = "panic-probe")]
pub(super) fn waits() -> usize {
    WAITS.with_borrow(|waits| waits.all.iter().flatten().count())
}
