// The built Worker starts in workerd and answers; the harness does what its other users rely on.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { missing } from "../../scripts/settings.mjs";
import { startWorker, startWorkerProcess } from "./harness.mjs";

const bindings = { VALETKEY_KEYS: `k1:${randomBytes(32).toString("base64")}` };

test("the worker answers", async () => {
  const w = await startWorker({ bindings });
  try {
    const answer = await w.fetch("/health");
    assert.ok(answer.status < 500, `status ${answer.status}`);
  } finally {
    await w.dispose();
  }
});

test("two instances answer, share a clock setting and add up their counts", async () => {
  const w = await startWorker({ bindings, instances: 2 });
  try {
    assert.notEqual(w.urls[0], w.urls[1]);
    for (const i of [0, 1]) assert.ok((await w.fetch("/health", {}, i)).status < 500);
    await w.setClock(86_400_000);
    await w.resetCounts();
    assert.equal((await w.counts()).kvReads, 0);
  } finally {
    await w.dispose();
  }
});

test("a killed worker is gone at once, and starts again on its state", async () => {
  const persist = mkdtempSync(join(tmpdir(), "smoke-"));
  try {
    const first = await startWorkerProcess({ bindings, persist });
    assert.ok((await first.fetch("/health")).status < 500);
    await first.kill();
    await assert.rejects(first.fetch("/health"));
    const second = await startWorkerProcess({ bindings, persist });
    assert.ok((await second.fetch("/health")).status < 500);
    await second.dispose();
  } finally {
    rmSync(persist, { recursive: true, force: true });
  }
});

test("the release build has no way to break it on purpose", { skip: !existsSync("build/index_bg.wasm") && "there is no release build" }, () => {
  assert.ok(readFileSync("build-test/index_bg.wasm").includes("injected panic"), "the build for tests has it");
  assert.ok(!readFileSync("build/index_bg.wasm").includes("injected panic"));
});

test("what `make serve` lacks is said, with the lines that set it", () => {
  const all = { VALETKEY_KEYS: "k1:x", VALETKEY_CLIENT_ID: "my-backend", VALETKEY_CLIENT_SECRET: "x" };
  assert.deepEqual(missing(all), { stops: false, words: "" });
  const nothing = missing({});
  assert.ok(nothing.stops);
  for (const name of Object.keys(all)) assert.match(nothing.words, new RegExp(`^${name}=`, "m"));
  const caller = missing({ VALETKEY_KEYS: "k1:x", VALETKEY_CLIENT_ID: "" });
  assert.equal(caller.stops, false);
  assert.ok(!caller.words.includes("VALETKEY_KEYS=") && caller.words.includes("VALETKEY_CLIENT_SECRET="));
});
