// @vitest-environment node
// What Convex deploys: the functions, put together by Convex's own bundler settings, load where nothing of Node is.
import { readFileSync } from "node:fs";
import { build } from "esbuild";
import { expect, test } from "vitest";
import { wasmPlugin } from "../node_modules/convex/dist/esm/bundler/wasm.js";

test("Convex's bundler takes the module in, and nothing of Node", async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: ["convex/http.ts"], bundle: true, platform: "browser", format: "esm", target: "esnext", outdir: "out", write: false, metafile: true,
    conditions: ["convex", "module"], plugins: [wasmPlugin], splitting: true, treeShaking: true,
  });
  const inputs = Object.keys(metafile.inputs);
  expect(inputs.filter((input) => /dist\/(imported\.js|core\.wasm)$/.test(input))).toHaveLength(3);
  expect(inputs.filter((input) => input.endsWith("inline.js") || input.startsWith("node:"))).toEqual([]);
  const size = outputFiles.reduce((sum, { contents }) => sum + contents.length, 0);
  expect(size).toBeLessThan(1_000_000);
  expect(readFileSync("node_modules/plangate-core/package.json", "utf8")).toContain('"convex"');
});
