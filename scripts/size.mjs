// size.mjs DIR: what `wrangler deploy` would upload from DIR, raw and compressed; fails over the budget.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const BUDGET = 1_572_864; // 1.5 MB gzip
const dir = process.argv[2] ?? "build";
let raw = 0;
let zipped = 0;
for (const name of ["index.js", "index_bg.wasm"]) {
  const bytes = readFileSync(`${dir}/${name}`);
  const gz = gzipSync(bytes, { level: 9 }).length;
  console.log(`${name.padEnd(14)} ${String(bytes.length).padStart(9)} bytes ${String(gz).padStart(9)} gzip`);
  raw += bytes.length;
  zipped += gz;
}
console.log(`${"total".padEnd(14)} ${String(raw).padStart(9)} bytes ${String(zipped).padStart(9)} gzip of ${BUDGET} allowed`);
if (zipped > BUDGET) {
  console.error(`The Worker is ${zipped - BUDGET} bytes over its budget.`);
  process.exit(1);
}
