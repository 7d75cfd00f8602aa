// However many calls find a token stale, from however many places, the provider sees one refresh request.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { startOidc } from "./peers/oidc.mjs";
import { answered } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const CALLS = 200;
const HOUR = 3600;

const oidc = await startOidc({ lifetime: HOUR });
const world = await openWorld({ instances: 2, peers: [oidc] });
const connection = await world.connection(oidc);
const { api } = world;
const other = api.at(world.worker.urls[1]);
let account;
let users = 0;

beforeEach(async () => {
  users += 1;
  oidc.user = `user-${users}`;
  oidc.gate.open();
  await world.clock(0);
  account = await world.connected(connection, oidc.user);
  oidc.resetCounts();
  oidc.apiTokens.length = 0;
});

const whoami = (caller) => caller.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} });

/** Starts calls, alternating between the callers given. */
const start = (count, ...callers) => Array.from({ length: count }, (_, at) => whoami(callers[at % callers.length]));

/** The token expires for the Worker, and the provider no longer takes it either. */
async function expire() {
  await world.clock(2 * HOUR);
  oidc.expireAccessTokens();
  await Promise.all([api.bearer(), other.forget(), other.bearer()]);
}

async function allSucceed(calls) {
  for (const answer of await Promise.all(calls)) assert.equal(answered(answer).data.login, oidc.user);
}

function oneRefresh() {
  assert.equal(oidc.counts.refresh, 1, "refresh requests the provider answered");
  assert.equal(oidc.counts.reuse, 0, "uses of a refresh token that was spent");
  assert.equal(oidc.liveRefreshTokens(oidc.user).length, 1, "the grant lives, with one refresh token");
  assert.equal(new Set(oidc.apiTokens).size, 1, "every call carried the same new token");
}

test("two hundred calls that find the token expired share one token request", async () => {
  await expire();
  await allSucceed(start(CALLS, api));
  assert.equal(oidc.counts.token, 1);
  assert.equal(oidc.counts.refused, 0, "no call went out with the old token");
  oneRefresh();
});

test("two hundred calls through two instances of the Worker share one token request", async () => {
  await expire();
  await allSucceed(start(CALLS, api, other));
  assert.equal(oidc.counts.token, 1);
  oneRefresh();
});

test("two hundred calls whose fresh-looking token the provider refuses share one token request", async () => {
  oidc.expireAccessTokens();
  await allSucceed(start(CALLS, api, other));
  assert.equal(oidc.counts.token, 1);
  oneRefresh();
});

test("a refusal that comes after the token was renewed does not renew it again", async () => {
  oidc.expireAccessTokens();
  oidc.refusals.shut();
  const calls = start(2, api, other);
  await oidc.refusals.queue(2);
  oidc.refusals.openForOne();
  answered(await Promise.race(calls));
  oidc.refusals.open();
  await allSucceed(calls);
  assert.equal(oidc.counts.token, 1);
  oneRefresh();
});

test("an object evicted between the calls does not ask again", async () => {
  await expire();
  const first = start(CALLS / 2, api, other);
  await Promise.race(first);
  await world.evict(account);
  await allSucceed([...first, ...start(CALLS / 2, api, other)]);
  assert.equal(oidc.counts.token, 1);
  oneRefresh();
});

test("an object that is reset after its refresh, with calls under way, does not ask again", async () => {
  await expire();
  const calls = start(CALLS, api, other);
  while (oidc.counts.refresh === 0) await new Promise((done) => setTimeout(done, 1));
  await Promise.race(calls);
  await world.reset(account);
  await allSucceed(calls);
  assert.equal(oidc.counts.token, 1);
  oneRefresh();
});

test("an object that is reset while its token request is on the way asks again, and every call succeeds", async () => {
  await expire();
  oidc.gate.shut();
  const calls = start(CALLS, api, other);
  await oidc.gate.queue(1);
  await world.reset(account);
  oidc.gate.dismiss();
  await allSucceed(calls);
  oneRefresh();
});

test("calls for the token itself share the request with tool calls", async () => {
  await expire();
  const reads = Array.from({ length: 20 }, () => api.auth({ id: account.id }));
  await allSucceed(start(20, other));
  const tokens = (await Promise.all(reads)).map((answer) => answered(answer).connected_account.authorization_details.oauth_token);
  assert.equal(new Set(tokens.map((t) => t.access_token)).size, 1);
  assert.equal(oidc.counts.token, 1);
  oneRefresh();
});
