// Does a check or a webhook cost more the more payers there are? The database is filled in steps; at each the same requests are
// measured, in turns with a process that holds the first step, so that a neighbor who comes or goes meets both.
import { BINDINGS } from "../../tests/e2e/harness.mjs";
import { say } from "../../scripts/run.mjs";
import { measure, quartile, storeForBoth } from "./compare.mjs";
import { PHASES } from "./load.mjs";
import { plangate } from "./processes.mjs";

/** The most that a step may cost, in multiples of the first. */
const MOST = 1.25;
const MEASURED = ["check-distinct", "check-denied", "hook-new", "hook-duplicate"];

/** Payers from one number to another, each as `hook-new` leaves one: its delivery, two records, its row. */
async function fill(store, from, to) {
  const template = await exemplar(store);
  for (let at = from; at < to; at += 10_000) {
    const until = Math.min(to, at + 10_000);
    const numbers = `WITH RECURSIVE n(n) AS (SELECT ${at} UNION ALL SELECT n + 1 FROM n WHERE n + 1 < ${until})`;
    for (const { sql, texts } of template) await store.d1.prepare(`${numbers} ${sql}`).bind(...texts).run();
  }
}

/**
 * The rows of one payer that went in as a webhook, as statements that copy them: whatever holds the payer's id holds another's
 * in each copy.
 */
async function exemplar(store) {
  const { results } = await store.d1.prepare("SELECT payer FROM payers ORDER BY payer LIMIT 1").all();
  const [{ payer }] = results;
  const id = payer.split(":")[1];
  const statements = [];
  for (const name of ["deliveries", "records", "payers", "customers"]) {
    const rows = (await store.d1.prepare(`SELECT * FROM ${name} WHERE payer = ?1`).bind(payer).all()).results;
    for (const row of rows) {
      const columns = Object.keys(row).filter((column) => column !== "seq");
      const texts = [];
      const values = columns.map((column) => {
        const value = row[column];
        if (value === null) return "NULL";
        if (typeof value === "number") return String(value);
        texts.push(value);
        const bound = `?${texts.length}`;
        if (column === "event_id") return `${bound} || '_' || n`;
        return value.includes(id) ? `replace(${bound}, '${id}', 'user_filled_' || n)` : bound;
      });
      statements.push({ sql: `INSERT INTO ${name} (${columns.join(", ")}) SELECT ${values.join(", ")} FROM n`, texts });
    }
  }
  return statements;
}

export async function growth({ sizes, rounds, count }) {
  const phases = PHASES.filter(({ name }) => MEASURED.includes(name));
  const stores = [];
  const workers = [];
  const results = [];
  const rows = [];
  try {
    for (let n = 0; n < 2; n++) {
      stores.push(await storeForBoth());
      workers.push(await plangate(stores[n], BINDINGS));
      await measure(stores[n], plangate, PHASES.find(({ name }) => name === "hook-new"), 100, workers[n]);
      await fill(stores[n], 0, sizes[0]);
    }
    let filled = sizes[0];
    for (const size of sizes.slice(1)) {
      say(`▸ ${size} payers`);
      await fill(stores[1], filled, size);
      filled = size;
      const found = {};
      for (let round = 0; round < rounds; round++) {
        for (const phase of phases) {
          // The order changes with the round: who comes second finds a warmer machine.
          for (const n of round % 2 === 0 ? [0, 1] : [1, 0]) ((found[phase.name] ??= [[], []])[n]).push(await measure(stores[n], plangate, phase, count, workers[n]));
        }
      }
      results.push({ size, found });
      for (const [phase, [few, many]] of Object.entries(found)) {
        for (const [what, key] of [["worker", "cpu_us"], ["store", "store_cpu_us"]]) {
          const [a, b] = [few, many].map((list) => quartile(list.map((one) => one[key])));
          const ratio = a === null || a < 20 ? null : b / a;
          rows.push({ size, phase, what, few: a, many: b, ratio });
        }
      }
    }
  } finally {
    for (const worker of workers) await worker.stop();
    for (const store of stores) await store.stop();
  }
  const lines = [`| payers | phase | CPU of | µs among ${sizes[0]} | µs | × |`, "| --: | --- | --- | --: | --: | --: |"];
  for (const { size, phase, what, few, many, ratio } of rows) {
    lines.push(`| ${size} | ${phase} | ${what} | ${few?.toFixed(0) ?? "–"} | ${many?.toFixed(0) ?? "–"} | ${ratio === null ? "–" : ratio.toFixed(2)} |`);
  }
  process.stdout.write(`${lines.join("\n")}\n`);
  const over = rows.filter(({ ratio }) => ratio !== null && ratio > MOST);
  const verdict = over.map(({ size, phase, what, ratio }) => `${phase} at ${size}, ${what}: × ${ratio.toFixed(2)}`).join("; ");
  process.stdout.write(over.length === 0 ? `Nothing costs more than × ${MOST}.\n` : `More than × ${MOST}: ${verdict}\n`);
  if (over.length > 0) process.exitCode = 1;
  return results;
}
