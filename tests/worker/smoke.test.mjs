// The built Worker starts in workerd and answers; the harness does what its other users rely on.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
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
