// The worker, with a way to have garbage collected, for which V8 has to be told `--expose-gc`.
import worker from "./index.js";

export default {
  fetch(request, env, context) {
    if (new URL(request.url).pathname !== "/collect") return worker.fetch(request, env, context);
    globalThis.gc();
    return new Response();
  },
};
