// The size of what is uploaded, and the time from starting workerd to the first answer, less what the pass-through takes
// for the same with the same bindings.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { ROOT, settings, worker } from "../miniflare.mjs";
import { passthrough, secrets, start } from "./stage.mjs";
import { median } from "./throughput.mjs";

/** Raw and compressed size of the WebAssembly module. */
export function size(build) {
  const bytes = readFileSync(`${ROOT}/${build}/index_bg.wasm`);
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length };
}

async function firstAnswer(one, path) {
  const began = performance.now();
  const workerd = await start([one]);
  const answer = await fetch((await workerd.url(one.config.name)) + path);
  await answer.arrayBuffer();
  const took = performance.now() - began;
  await workerd.stop();
  return took;
}

/** Milliseconds, as medians of alternating starts. */
export async function startup({ build, rounds }) {
  const { name } = settings();
  const ours = [];
  const bare = [];
  for (let round = 0; round <= rounds; round++) {
    const pair = [await firstAnswer(worker({ build, bindings: secrets() }), "/health"),
      await firstAnswer(passthrough({ build, name }), "/health")];
    if (round === 0) continue; // the disk's cache is filled
    ours.push(pair[0]);
    bare.push(pair[1]);
  }
  return { ours: median(ours), bare: median(bare), more: median(ours.map((took, i) => took - bare[i])) };
}
