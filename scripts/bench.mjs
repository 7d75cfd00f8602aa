// bench.mjs [--rounds=7] [--accounts=15] [--build=build] [--only=throughput,counts,start]: what the release Worker costs, beside what it should cost at most.
//
// Throughput is measured against a pass-through Worker of a few lines of JavaScript in the same workerd, with the same
// provider behind both (scripts/bench/). Absolute figures are this machine's; the ratios are what to compare. Nothing is
// asserted: the exit code says only whether everything ran.
import { parseArgs } from "node:util";
import { counts } from "./bench/counts.mjs";
import { size, startup } from "./bench/startup.mjs";
import { CALLS_OF_ONE_ACCOUNT, throughput } from "./bench/throughput.mjs";

const { values: flags } = parseArgs({ options: { rounds: { type: "string", default: "7" }, accounts: { type: "string", default: "15" },
  build: { type: "string", default: "build" }, only: { type: "string" } } });
const { build } = flags;
const rounds = Number(flags.rounds);
const wanted = (part) => !flags.only || flags.only.split(",").includes(part);

/** Rows of cells as a table; the first row is its head, the first column stands left and the others right. */
function table(rows) {
  const width = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  const line = (row) => row.map((cell, i) => (i ? String(cell).padStart(width[i]) : String(cell).padEnd(width[i]))).join("  ").trimEnd();
  console.log([line(rows[0]), width.map((w) => "-".repeat(w)).join("  "), ...rows.slice(1).map(line)].join("\n"));
}
const ms = (n) => `${n.toFixed(1)} ms`;
const each = (n) => (n === 0 || n >= 1 ? String(Math.round(n * 100) / 100) : n.toFixed(3));
const share = (n) => (n === null ? "?" : `${Math.round(n * 100)} %`);

if (wanted("throughput")) {
  const accounts = Number(flags.accounts);
  console.log(`Throughput: ${rounds} rounds of ${accounts * CALLS_OF_ONE_ACCOUNT} calls each, 16 connections; medians`);
  const seen = await throughput({ build, rounds, accounts });
  const names = { bare: "pass-through in JavaScript", proxied: "proxied call, GET /proxy/user", tool: "tool call, github_user_get_authenticated" };
  const aims = { bare: "", proxied: "≥ 0.60", tool: "" };
  const known = seen.bare.busy.workerd !== null;
  table([["", "calls/s", "p50", "p99", "ratio", "from – to", "aim", "CPU of workerd", "ratio"],
    ...Object.entries(seen).map(([name, one]) => [names[name], Math.round(one.rate), ms(one.p50), ms(one.p99), one.ratio.toFixed(2),
      `${one.lowest.toFixed(2)} – ${one.highest.toFixed(2)}`, aims[name],
      known ? `${Math.round(one.cost)} µs` : "?", known ? one.costRatio.toFixed(2) : "?"])]);
  console.log(`Busy (of one core each): ${Object.entries(seen).map(([name, { busy }]) =>
    `${name}: workerd ${share(busy.workerd)}, provider ${share(busy.provider)}, callers ${share(busy.callers)}`).join("; ")}\n`);
}

if (wanted("counts")) {
  console.log("Asked of the platform, for one operation");
  const aims = (what) => (/warm and leased/.test(what) ? "0 / ≤ 1 / 0" : "");
  const rows = await counts(build);
  table([["", "objects", "KV reads", "KV writes", "aim"],
    ...rows.map(({ what, objects, reads, writes }) => [what, each(objects), each(reads), each(writes), aims(what)])]);
  console.log();
}

if (wanted("start")) {
  console.log("Size and start");
  const { raw, gzip } = size(build);
  const { ours, bare, more } = await startup({ build, rounds });
  table([["", "measured", "aim"], ["WebAssembly, raw", `${raw} bytes`, ""], ["WebAssembly, gzip", `${gzip} bytes`, "≤ 1572864 bytes with its JavaScript"],
    ["start to first answer", `${Math.round(ours)} ms`, ""], ["the same, pass-through", `${Math.round(bare)} ms`, ""],
    ["start-up time (median difference)", `${Math.round(more)} ms`, ""]]);
}
