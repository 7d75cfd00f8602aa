// strip-names.mjs OUT_DIR: takes the names of functions out of the built WebAssembly, a sixteenth of the upload, and leaves
// them beside it in functions.txt: line 124 names what a stack trace calls `wasm-function[123]`.
// The format: https://webassembly.github.io/spec/core/appendix/custom.html#name-section
import { readFileSync, writeFileSync } from "node:fs";

const [out] = process.argv.slice(2);
const file = `${out}/index_bg.wasm`;
const wasm = readFileSync(file);
let at = 8; // behind magic number and version

/** A number in LEB128, at `at`. */
function number() {
  for (let value = 0, shift = 0; ; shift += 7) {
    const byte = wasm[at++];
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return value;
  }
}

function text() {
  const length = number();
  at += length;
  return wasm.toString("utf8", at - length, at);
}

/** The names of functions: the part of the section with number 1, up to its `end`. */
function names(end) {
  const found = [];
  while (at < end) {
    const [kind, length] = [wasm[at++], number()];
    const next = at + length;
    if (kind === 1) for (let left = number(); left > 0; left -= 1) found[number()] = text();
    at = next;
  }
  return found;
}

const kept = [wasm.subarray(0, at)];
let functions = [];
while (at < wasm.length) {
  const start = at;
  const [id, length] = [wasm[at++], number()];
  const end = at + length;
  if (id === 0 && text() === "name") functions = names(end);
  else kept.push(wasm.subarray(start, end));
  at = end;
}
writeFileSync(file, Buffer.concat(kept));
if (functions.length) writeFileSync(`${out}/functions.txt`, `${Array.from(functions, (name) => name ?? "").join("\n")}\n`);
