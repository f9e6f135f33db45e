// The worker as it is, and beside it one route that tells how much memory its WebAssembly has.
import { instances } from "./instances.js";
import worker from "./index.js";

export default {
  ...worker,
  fetch(request, env, context) {
    if (!request.url.endsWith("/bench/memory")) return worker.fetch(request, env, context);
    return Response.json({ bytes: instances.at(-1).exports.memory.buffer.byteLength, instances: instances.length });
  },
};
