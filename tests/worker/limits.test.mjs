// Rate limits: ours stop a call before the provider is bothered, the provider's own are learnt from what it answers.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { reply, startScripted } from "./peers/scripted.mjs";
import { answered, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const LIMIT = "requests_per_hour"; // GitHub's, per account

const peer = await startScripted();
const world = await openWorld({ instances: 2, peers: [peer] });
const { api } = world;
const other = api.at(world.worker.urls[1]);
let account;
let users = 0;

/** A new account, on a connection with these operator limits. */
async function fresh(limits) {
  users += 1;
  const connection = await world.connection(peer, limits && { limits });
  account = await world.connected(connection, `user-${users}`);
  peer.forget();
}

beforeEach(() => {
  peer.unscript();
  other.forget();
});

const whoami = (caller = api) => caller.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} });

test("the call over the operator's limit is refused, and the provider is not called", async () => {
  await fresh({ [LIMIT]: 3 });
  for (let call = 0; call < 3; call++) answered(await whoami(call % 2 ? api : other));
  for (const caller of [api, other]) {
    const details = refused(await whoami(caller), "RATE_LIMIT_EXCEEDED", { origin: "platform", limitType: LIMIT, retryable: true });
    assert.ok(details.retryAfter > 0 && details.retryAfter <= 3600, `${details.retryAfter}`);
  }
  assert.equal(peer.calls().length, 3);
});

test("of many calls at once, through two instances, exactly the limit goes through", async () => {
  await fresh({ [LIMIT]: 20 });
  const calls = Array.from({ length: 60 }, (_, at) => whoami(at % 2 ? api : other));
  const statuses = (await Promise.all(calls)).map((answer) => answer.status);
  assert.equal(statuses.filter((status) => status === 200).length, 20);
  assert.equal(statuses.filter((status) => status === 429).length, 40);
  assert.equal(peer.calls().length, 20);
});

test("after the time named, calls go through again", async () => {
  await fresh({ [LIMIT]: 2 });
  answered(await whoami());
  answered(await whoami());
  const { retryAfter } = refused(await whoami(), "RATE_LIMIT_EXCEEDED");
  await world.clock(retryAfter + 1);
  answered(await whoami());
  await world.clock(0);
});

test("the proxy counts against the same limit", async () => {
  await fresh({ [LIMIT]: 2 });
  const named = { connected_account_id: account.id };
  answered(await whoami());
  answered(await api.proxy("GET", "user", { account: named }));
  const answer = await api.proxy("GET", "user", { account: named });
  refused(answer, "RATE_LIMIT_EXCEEDED", { origin: "platform" });
  assert.equal(answer.headers.get("x-valetkey-error"), "true");
  assert.equal(peer.calls().length, 2);
});

test("a dry run counts against nothing", async () => {
  await fresh({ [LIMIT]: 2 });
  for (let n = 0; n < 3; n++) {
    answered(await api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} }, { query: { dry_run: "true" } }));
  }
  answered(await whoami());
  answered(await whoami());
});

test("one account's use is not another's", async () => {
  const connection = await world.connection(peer, { limits: { [LIMIT]: 2 } });
  const [one, two] = [await world.connected(connection, "one"), await world.connected(connection, "two")];
  account = one;
  answered(await whoami());
  answered(await whoami());
  refused(await whoami(), "RATE_LIMIT_EXCEEDED");
  account = two;
  answered(await whoami());
});

test("a provider's 429 is passed on once, and learnt: the next call is refused without reaching it", async () => {
  await fresh();
  peer.script("GET /api/user", reply(429, { message: "API rate limit exceeded" }, { "retry-after": "37" }));
  const first = refused(await whoami(), "RATE_LIMIT_EXCEEDED", { origin: "provider", providerStatus: 429, retryable: true });
  assert.equal(first.retryAfter, 37);
  assert.equal(peer.calls().length, 1, "a 429 is never multiplied");
  for (const caller of [api, other]) {
    const next = refused(await whoami(caller), "RATE_LIMIT_EXCEEDED", { retryable: true });
    assert.ok(next.retryAfter > 0 && next.retryAfter <= 37, `${next.retryAfter}`);
  }
  assert.equal(peer.calls().length, 1);
  await world.clock(38);
  answered(await whoami());
  await world.clock(0);
});

test("a limit cannot be loosened, and an unknown one is refused by name", async () => {
  for (const limits of [{ [LIMIT]: 1_000_000 }, { no_such_limit: 3 }, { [LIMIT]: 0 }, { [LIMIT]: -1 }, { [LIMIT]: 1.5 }, { [LIMIT]: "3" }]) {
    const answer = await api.createConnection({ name: "loose", connector: "github", ...peer.client, limits });
    refused(answer, "INVALID_REQUEST");
    assert.match(answer.json.error.message, /limit/i);
  }
});
