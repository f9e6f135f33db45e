// Next's edge runtime compiles nothing at run time either, and marks what is compiled beforehand in this way.
import wasm from "./core.wasm?module";

export const compiled = () => wasm;
