// What the runtime loads: the core's handlers, and what follows a panic. A panic leaves the core's memory in any state, so
// the next request begins with a fresh one. Requests that were under way get the runtime's own error.
import { __wbg_reset_state, fetch, scheduled } from "./core.js";

let isBroken = false;

function look(thrown) {
  if (thrown instanceof WebAssembly.RuntimeError) {
    isBroken = true;
    console.error(JSON.stringify({ level: "error", message: "the core panicked and is started anew", cause: thrown.stack }));
  }
}

function guarded(handler) {
  return (subject, env, context) => {
    if (isBroken) {
      __wbg_reset_state();
      isBroken = false;
    }
    try {
      return handler(subject, env, context);
    } catch (thrown) {
      look(thrown);
      throw thrown;
    }
  };
}

addEventListener("unhandledrejection", (event) => look(event.reason));

export default { fetch: guarded(fetch), scheduled: guarded(scheduled) };
