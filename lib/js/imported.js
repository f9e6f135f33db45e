// The module as a file that the runtime or its bundler compiles: Cloudflare Workers compile nothing at run time.
import wasm from "./core.wasm";

export const compiled = () => wasm;
