// Remembers the WebAssembly instances that are made, so that the size of their memory can be told.
export const instances = [];
const { Instance } = WebAssembly;
WebAssembly.Instance = new Proxy(Instance, {
  construct(target, args) {
    const made = new target(...args);
    instances.push(made);
    return made;
  },
});
