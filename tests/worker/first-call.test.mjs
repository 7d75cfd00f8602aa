// What was just written is what the next call sees: the truth is in the object, not in a copy that spreads slowly.

import assert from "node:assert/strict";
import { test } from "node:test";

import { startOidc } from "./peers/oidc.mjs";
import { answered, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const oidc = await startOidc();
const world = await openWorld({ instances: 2, peers: [oidc] });
const connection = await world.connection(oidc);
const { api } = world;
const other = api.at(world.worker.urls[1]);

const whoami = (caller, id) => caller.execute({ tool_name: "github_user_get_authenticated", connected_account_id: id, params: {} });

test("the first call after consent sees the token, on every instance", async () => {
  for (const identifier of ["first-1", "first-2", "first-3"]) {
    oidc.user = identifier;
    const before = { connection_name: connection, identifier };
    answered(await api.magicLink(before));
    const { connected_account: pending } = answered(await api.details(before));
    assert.equal(pending.status, "PENDING_AUTH");
    // Both instances look before the consent, so that each has something old to remember.
    for (const caller of [api, other]) refused(await whoami(caller, pending.id), "REAUTHORIZATION_REQUIRED");
    await world.connected(connection, identifier);
    for (const answer of await Promise.all([whoami(other, pending.id), whoami(api, pending.id)])) {
      assert.equal(answered(answer).data.login, identifier);
    }
  }
});

test("a second consent replaces the token for the next call", async () => {
  oidc.user = "again";
  const account = await world.connected(connection, "again");
  answered(await whoami(api, account.id));
  const before = oidc.apiTokens.at(-1);
  oidc.expireAccessTokens();
  oidc.revokeGrants("again");
  await world.connected(connection, "again");
  const refused = oidc.counts.refused;
  for (const caller of [other, api]) answered(await whoami(caller, account.id));
  assert.equal(oidc.counts.refused, refused, "the old token was not tried");
  assert.notEqual(oidc.apiTokens.at(-1), before);
});

test("a disconnected account is refused at once, on every instance, and nothing reaches the provider", async () => {
  oidc.user = "leaver";
  const account = await world.connected(connection, "leaver");
  for (const caller of [api, other]) answered(await whoami(caller, account.id));
  const { connected_account: gone } = answered(await api.disconnect({ id: account.id }));
  assert.equal(gone.status, "DISCONNECTED");
  oidc.resetCounts();
  for (const caller of [other, api, other]) {
    const details = refused(await whoami(caller, account.id), "REAUTHORIZATION_REQUIRED");
    assert.equal(details.retryable, false);
    refused(await caller.auth({ id: account.id }), "REAUTHORIZATION_REQUIRED");
    refused(await caller.proxy("GET", "user", { account: { connected_account_id: account.id } }), "REAUTHORIZATION_REQUIRED");
  }
  assert.deepEqual({ api: oidc.counts.api, token: oidc.counts.token }, { api: 0, token: 0 });
});

test("a write to KV that arrives late does not bring a disconnected account back", async () => {
  oidc.user = "late";
  const account = await world.connected(connection, "late");
  const renewed = oidc.counts.token;
  // The copy with the renewed token is on its way to KV when the account is disconnected.
  await world.worker.holdNextWrite(1500);
  const refreshing = api.refresh({ id: account.id });
  while (oidc.counts.token === renewed) await new Promise((done) => setTimeout(done, 20));
  await new Promise((done) => setTimeout(done, 300));
  const gone = answered(await api.disconnect({ id: account.id }));
  assert.equal(gone.connected_account.status, "DISCONNECTED");
  assert.equal(gone.published, true);
  await refreshing;
  await new Promise((done) => setTimeout(done, 2000));
  oidc.resetCounts();
  for (const caller of [other, api]) refused(await whoami(caller, account.id), "REAUTHORIZATION_REQUIRED");
  assert.equal(oidc.counts.api, 0, "nothing reaches the provider");
  const { connected_accounts: listed } = answered(await api.call("GET", "/api/v1/connected_accounts", { query: { connection_name: connection } }));
  assert.equal(listed.find((row) => row.id === account.id).status, "DISCONNECTED");
});

test("the account is found by id and by connection and identifier, and both mean the same one", async () => {
  oidc.user = "twice-named";
  const account = await world.connected(connection, "twice-named");
  const { id, ...named } = account;
  const byName = await api.execute({ tool_name: "github_user_get_authenticated", ...named, params: {} });
  const byOtherName = await api.execute({
    tool_name: "github_user_get_authenticated", connector: connection, identifier: named.identifier, tool_input: {},
  });
  for (const answer of [byName, byOtherName, await whoami(api, id)]) assert.equal(answered(answer).data.login, "twice-named");
  assert.equal(answered(await api.details({ connector: connection, identifier: named.identifier })).connected_account.id, id);
});
