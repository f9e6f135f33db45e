// Next's edge runtime compiles nothing at run time either, and marks what is compiled beforehand in this way.
import wasm from "./core.wasm?module";

/** Next compiles it outside of the realm that it runs the code in, where `instanceof`, by which the glue asks, says no. */
export const compiled = () => (wasm instanceof WebAssembly.Module ? wasm : Object.setPrototypeOf(wasm, WebAssembly.Module.prototype));
