// The worker as it is, and beside it one route that tells how much memory its WebAssembly has.
import { instances } from "./instances.js";
import worker from "./index.js";

/** Under whatever name the build gave it. */
const memoryOf = ({ exports }) => Object.values(exports).find((value) => value instanceof WebAssembly.Memory);

export default {
  ...worker,
  fetch(request, env, context) {
    if (!request.url.endsWith("/bench/memory")) return worker.fetch(request, env, context);
    return Response.json({ bytes: memoryOf(instances.at(-1)).buffer.byteLength, instances: instances.length });
  },
};
