// openapi.json against the running worker: schemathesis makes requests of the document, good and bad ones, and holds every answer
// against it: status, kind, headers and schema.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { schemathesis } from "../../scripts/setup/python.mjs";
import { API_KEY, Plangate, itemEvent, newOrg, newUser, token } from "./harness.mjs";

const DOCUMENT = fileURLToPath(new URL("../../openapi.json", import.meta.url));
const ADMIN_TOKEN = "pga_0123456789abcdef";
const CHECKS = "status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";

const why = schemathesis.whyNot();
if (why !== null) console.error(`contract.test.mjs is not run: ${why}`);

describe("the contract", { concurrency: true, skip: why !== null && `not run: ${why}` }, () => {
  let [plangate, folder, user] = [];
  before(async () => {
    assert.ok(schemathesis.hasPackages(), "schemathesis is not installed; `npm test -- --only e2e` does it");
    folder = mkdtempSync(join(tmpdir(), "plangate-contract-"));
    plangate = await Plangate.start({ bindings: { ADMIN_TOKEN, UPGRADE_URL: "https://app.example.com/pricing", PLANS: { pro: { features: ["export"], limits: { seats: 5 } } } } });
    user = newUser();
    await plangate.delivered(itemEvent(user));
    await plangate.delivered(itemEvent(newOrg(), { plan: "team", status: "past_due" }));
    await plangate.delivered("unreadable", "dead_letter");
  });
  after(async () => {
    await plangate?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [name, paths, credential] of [
    ["the routes of servers", "^/v1/", () => API_KEY],
    ["the routes of people", "^/v1/", () => token(user, { exp: Math.floor(Date.now() / 1000) + 3600 })],
    ["the routes of operators", "^/admin/", () => ADMIN_TOKEN],
    ["what asks nobody who they are", "^/(webhooks|healthz|openapi)", () => undefined],
    ["what strangers are told", "^/(v1|admin)/", () => undefined],
  ]) {
    test(`holds for ${name}`, async () => {
      const { code, output } = await held(folder, DOCUMENT, plangate, paths, credential());
      assert.equal(code, 0, output);
      assert.match(output, /Test cases:\s+\d+ generated/, output);
    });
  }

  test("does not hold for a document that is wrong", async () => {
    const wrong = JSON.parse(readFileSync(DOCUMENT, "utf8"));
    delete wrong.paths["/v1/check"].get.responses["401"];
    const file = join(folder, "wrong.json");
    writeFileSync(file, JSON.stringify(wrong));
    const { code, output } = await held(folder, file, plangate, "^/v1/check");
    assert.equal(code, 1, output);
    assert.match(output, /Undocumented status code/, output);
  });
});

/** What schemathesis says of a document and the worker, by way of these paths. What it reads and writes beside is in this folder. */
async function held(folder, document, plangate, paths, bearer) {
  const options = [
    ...["--url", plangate.url.origin, "--include-path-regex", paths, "--checks", CHECKS, "--phases", "coverage,fuzzing", "--max-examples", "3"],
    ...["--seed", "20261121", "--generation-deterministic", "--workers", "1", "--suppress-health-check", "all", "--no-color"],
    ...(bearer === undefined ? [] : ["--header", `Authorization: Bearer ${bearer}`]),
  ];
  const child = spawn(schemathesis.python, ["-m", "schemathesis.cli", "run", document, ...options], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
  const [code] = await once(child, "close");
  return { code, output };
}
