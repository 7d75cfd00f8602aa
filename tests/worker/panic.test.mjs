// A panic costs one request: its caller gets the error object at once, others finish, and what was stored is intact.
// The routes that panic on purpose exist in builds for tests alone.

import assert from "node:assert/strict";
import { test } from "node:test";

import { startScripted } from "./peers/scripted.mjs";
import { answered, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const SOON = 2000; // ms: an answer, not the minutes a caller of a panicked object has been seen to wait

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;
const connection = await world.connection(peer);
const account = await world.connected(connection);

const whoami = () => api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} });
const panics = {
  "a request handler": () => api.send("GET", "/__fault/panic"),
  "the account's object": () => api.send("POST", `/__fault/account-panic?id=${account.id}`),
  "the rate limiter's object": () => api.send("POST", "/__fault/limiter-panic"),
};

/** What must be the same afterwards: the account, its token, and everything in KV. */
async function stored() {
  const { connected_account: { audit: _, last_used_at: __, ...fields } } = answered(await api.details({ id: account.id }));
  const { oauth_token } = answered(await api.auth({ id: account.id })).connected_account.authorization_details;
  return { fields, oauth_token, kv: await world.kv() };
}

for (const [place, panic] of Object.entries(panics)) {
  test(`a panic in ${place} is answered at once with the error object`, async () => {
    const began = Date.now();
    const answer = await panic();
    const took = Date.now() - began;
    refused(answer, "INTERNAL");
    assert.ok(took < SOON, `${took} ms`);
    assert.ok(!/panicked|unwrap|src\/|\.rs/.test(answer.text), "nothing of the inside leaks");
  });

  test(`after a panic in ${place} the next request works and everything stored is intact`, async () => {
    const before = await stored();
    refused(await panic(), "INTERNAL");
    answered(await whoami());
    assert.deepEqual(await stored(), before);
  });

  test(`a panic in ${place} does not touch requests that are under way`, async () => {
    let release;
    const held = new Promise((done) => (release = done));
    peer.script("GET /api/user", { always: async () => void (await held) });
    peer.forget();
    const calls = Array.from({ length: 10 }, whoami);
    while (peer.calls().length < calls.length) await new Promise((done) => setTimeout(done, 5));
    for (let n = 0; n < 3; n++) refused(await panic(), "INTERNAL");
    release();
    for (const answer of await Promise.all(calls)) answered(answer);
    peer.unscript();
  });
}

test("a refresh under way survives a panic in the same object", async () => {
  peer.gate.shut();
  const refresh = api.refresh({ id: account.id });
  await peer.gate.queue(1);
  refused(await panics["the account's object"](), "INTERNAL");
  peer.gate.open();
  answered(await refresh);
  answered(await whoami());
});

test("a panic is logged with the request's id and without a secret", async () => {
  const answer = await panics["a request handler"]();
  const id = answer.headers.get("x-request-id");
  assert.ok(world.worker.logs.some((line) => line.includes(id)), "the log names the request");
});
