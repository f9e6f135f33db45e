// The module inside the script: for every runtime that may compile WebAssembly.
import encoded from "plangate:base64";

/** Most of the time to start would go into the loop, so what does it faster is taken where there is something. */
function decoded() {
  if (globalThis.Buffer) return globalThis.Buffer.from(encoded, "base64");
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(encoded);
  const text = atob(encoded);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

export const compiled = () => new WebAssembly.Module(decoded());
