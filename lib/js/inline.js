// The module inside the script: for every runtime that may compile WebAssembly.
import encoded from "plangate:base64";

export function compiled() {
  const text = atob(encoded);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return new WebAssembly.Module(bytes);
}
