// The built Worker starts in workerd and answers; the harness does what its other users rely on.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startWorker, startWorkerProcess } from "./harness.mjs";

test("the worker answers", async () => {
  const w = await startWorker();
  try {
    const answer = await w.fetch("/health");
    assert.ok(answer.status < 500, `status ${answer.status}`);
  } finally {
    await w.dispose();
  }
});

test("two instances answer, share a clock setting and add up their counts", async () => {
  const w = await startWorker({ instances: 2 });
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

test("a killed worker is gone at once, and starts again", async () => {
  const w = await startWorkerProcess({});
  assert.ok((await w.fetch("/health")).status < 500);
  await w.kill();
  await assert.rejects(w.fetch("/health"));
});
