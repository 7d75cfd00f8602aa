// Connected accounts over the API: listing, importing, reading tokens, disconnecting.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { reply, startScripted } from "./peers/scripted.mjs";
import { answered, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;
const github = await world.connection(peer, { name: "code" });
const gmail = await world.connection(peer, { name: "mail", connector: "gmail", scopes: ["https://www.googleapis.com/auth/gmail.modify"] });

beforeEach(() => {
  peer.unscript();
  peer.forget();
});

const list = async (query = {}) => answered(await api.call("GET", "/api/v1/connected_accounts", { query }));
const create = (fields) => api.call("POST", "/api/v1/connected_accounts", { json: fields });
const tokenOf = (answer) => answered(answer).connected_account.authorization_details.oauth_token;

test("an account has the fields of the API, and never a token", async () => {
  const account = await world.account(await world.connected(github, "fields"));
  for (const [name, value] of Object.entries({
    identifier: "fields", connection_name: github, connector: "github", provider: "github", authorization_type: "OAUTH",
    status: "ACTIVE", status_reason: "connected", scopes: ["repo"], label: "jo",
  })) assert.deepEqual(account[name], value, name);
  assert.match(account.id, /^ca_/);
  assert.match(account.connection_id, /^conn_/);
  for (const name of ["token_expires_at", "created_at", "updated_at"]) assert.match(account[name], /^\d{4}-\d\d-\d\dT[\d:.]+Z$/, name);
  assert.ok(!JSON.stringify(account).includes("_token\""), JSON.stringify(account));
  assert.ok(account.audit.some((entry) => JSON.stringify(entry).includes("connected")), "the audit trail begins with the consent");
});

test("an object whose table is of the version before is brought to this one's form, and knows when each record ends", async () => {
  const { id } = await world.connected(github, "former");
  const { link } = answered(await api.magicLink({ connection_name: github, identifier: "former" }));
  const write = () => api.execute({ tool_name: "github_issue_create", connected_account_id: id, params: { owner: "jo", repo: "r", title: "t" } }, { headers: { "idempotency-key": "former" } });
  answered(await write());
  const ask = async (question) => (await world.worker.durableObject("Account", id, "/", { method: "POST", body: JSON.stringify(question) })).json();
  // The version before kept no answers apart from their keys.
  const dues = async () => Object.fromEntries(Object.entries((await ask("dues")).Ok.Settled.answer).filter(([key]) => !key.startsWith("answer:")));
  const before = await dues();
  for (const kind of ["link", "idempotency"]) assert.ok(Object.entries(before).some(([key, due]) => key.startsWith(`${kind}:`) && due > Date.now()), kind);
  assert.equal(before.account, null);
  assert.equal((await ask("former")).Ok, "Done");
  await world.worker.evict("Account", id);
  assert.deepEqual(await dues(), before);
  assert.equal((await write()).headers.get("idempotent-replayed"), "true");
  assert.equal((await world.browser().open(link)).status, 200);
  assert.equal((await world.account({ id })).status, "ACTIVE");
});

test("the list is filtered and paged", async () => {
  for (let n = 0; n < 5; n++) answered(await create({ connection_name: github, identifier: `listed-${n}` }));
  answered(await create({ connection_name: gmail, identifier: "listed-0" }));
  const seen = [];
  let page_token;
  do {
    const page = await list({ connection_name: github, page_size: 2, ...(page_token && { page_token }) });
    assert.ok(page.connected_accounts.length <= 2);
    seen.push(...page.connected_accounts.map((a) => a.identifier));
    page_token = page.next_page_token;
  } while (page_token);
  assert.deepEqual(seen.filter((i) => i.startsWith("listed-")).sort(), ["listed-0", "listed-1", "listed-2", "listed-3", "listed-4"]);
  assert.equal(new Set(seen).size, seen.length, "no account twice");
  assert.equal((await list({ identifier: "listed-0" })).connected_accounts.length, 2);
  assert.deepEqual((await list({ identifier: "listed-0", provider: "gmail" })).connected_accounts.map((a) => a.connection_name), [gmail]);
  assert.deepEqual((await list({ connector: github, identifier: "listed-0" })).connected_accounts.map((a) => a.connection_name), [github]);
  assert.ok((await list({ status: "PENDING_AUTH" })).connected_accounts.every((a) => a.status === "PENDING_AUTH"));
  assert.deepEqual((await list({ status: "EXPIRED" })).connected_accounts, []);
  for (const query of [{ page_size: 101 }, { page_size: 0 }, { page_size: "x" }, { page_token: "nonsense" }, { status: "WELL" }, { colour: "red" }]) {
    refused(await api.call("GET", "/api/v1/connected_accounts", { query }), "INVALID_REQUEST");
  }
});

test("an account is made once", async () => {
  const made = answered(await create({ connection_name: github, identifier: "once" })).connected_account;
  assert.deepEqual([made.status, made.status_reason], ["PENDING_AUTH", "never_connected"]);
  refused(await create({ connection_name: github, identifier: "once" }), "CONFLICT");
  refused(await create({ connection_name: "nothing", identifier: "once" }), "CONNECTION_NOT_FOUND");
  for (const fields of [{}, { connection_name: github }, { connection_name: github, identifier: "" }, { connection_name: github, identifier: "x", surprise: 1 }]) {
    refused(await create(fields), "INVALID_REQUEST");
  }
});

test("an account that nobody made is not found, by any name", async () => {
  for (const query of [{ id: "ca_unknown" }, { connection_name: github, identifier: "unknown" }]) {
    refused(await api.details(query), "CONNECTED_ACCOUNT_NOT_FOUND");
    refused(await api.auth(query), "CONNECTED_ACCOUNT_NOT_FOUND");
    refused(await api.refresh(query), "CONNECTED_ACCOUNT_NOT_FOUND");
    refused(await api.disconnect(query), "CONNECTED_ACCOUNT_NOT_FOUND");
  }
  refused(await api.details({ connection_name: "nothing", identifier: "unknown" }), "CONNECTION_NOT_FOUND");
  refused(await api.details({}), "INVALID_REQUEST");
});

test("tokens that were granted elsewhere are imported and renewed", async () => {
  const { access_token, refresh_token } = peer.issue("jo");
  const expires_at = new Date(Date.now() + 1800_000).toISOString();
  const fields = { connection_name: github, identifier: "imported",
    authorization_details: { oauth_token: { access_token, refresh_token, scopes: ["repo"], expires_at } } };
  const { id, status } = answered(await create(fields)).connected_account;
  assert.equal(status, "ACTIVE");
  assert.equal((await world.account({ id })).label, "jo", "the provider was asked whose they are");
  refused(await create({ ...fields, identifier: "elsewhere", fields: { nonsense: "x" } }), "INVALID_REQUEST");
  fields.authorization_details.oauth_token.access_token = "unknown-to-the-provider";
  refused(await create({ ...fields, identifier: "elsewhere" }), "PROVIDER_PERMISSION_DENIED");
  refused(await api.details({ connection_name: github, identifier: "elsewhere" }), "CONNECTED_ACCOUNT_NOT_FOUND");
  assert.equal(tokenOf(await api.auth({ id })).access_token, access_token);
  answered(await api.refresh({ id }));
  assert.notEqual(tokenOf(await api.auth({ id })).access_token, access_token);
  assert.equal(peer.seen("POST /token")[0].fields.refresh_token, refresh_token);
});

test("a token read is fresh for a minute, has its expiry and scopes, and is written in the audit trail", async () => {
  const account = await world.connected(github, "reader");
  const token = tokenOf(await api.auth({ id: account.id }));
  assert.equal(peer.access.get(token.access_token), "jo");
  assert.ok(Date.parse(token.expires_at) > Date.now() + 60_000);
  assert.deepEqual(token.scopes, ["repo"]);
  const { audit } = await world.account(account);
  assert.ok(audit.some((entry) => /read/.test(JSON.stringify(entry))), JSON.stringify(audit));
});

test("disconnecting revokes at the provider, says that it worked, and forgets the tokens", async () => {
  const account = await world.connected(gmail, "leaver");
  const { access_token } = tokenOf(await api.auth({ id: account.id }));
  const answer = answered(await api.disconnect({ id: account.id }));
  assert.deepEqual([answer.revocation.attempted, answer.revocation.succeeded], [true, true]);
  assert.equal(answer.connected_account.status, "DISCONNECTED");
  assert.ok(peer.seen("/revoke").length >= 1);
  assert.equal(peer.access.has(access_token) && peer.refresh.size > 0 && peer.seen("/revoke").length === 0, false);
  refused(await api.auth({ id: account.id }), "REAUTHORIZATION_REQUIRED");
  assert.equal((await list({ status: "DISCONNECTED" })).connected_accounts.some((a) => a.id === account.id), true);
});

test("a revocation that fails is reported, and the tokens are forgotten all the same", async () => {
  for (const failure of [reply(503, ""), reply(400, { error: "invalid_token" })]) {
    const account = await world.connected(gmail, "unlucky");
    peer.script("/revoke", { always: failure });
    const { revocation, connected_account } = answered(await api.disconnect({ id: account.id }));
    assert.equal(revocation.attempted, true);
    assert.equal(revocation.succeeded, false);
    assert.ok(revocation.detail, "says why");
    assert.equal(connected_account.status, "DISCONNECTED");
    refused(await api.auth({ id: account.id }), "REAUTHORIZATION_REQUIRED");
    peer.unscript();
  }
});

test("a disconnected account can be connected again, under the same id", async () => {
  const account = await world.connected(github, "returner");
  answered(await api.disconnect({ id: account.id }));
  assert.equal((await world.connected(github, "returner")).id, account.id);
});

test("identifiers are opaque: odd ones are kept apart and kept as they are", async () => {
  const odd = ["a/b", "a b", "ä", "a%2Fb", "../x", "a:b", "'; drop", "x".repeat(200), "💡"];
  const ids = new Set();
  for (const identifier of odd) {
    const { id, identifier: kept } = answered(await create({ connection_name: github, identifier })).connected_account;
    assert.equal(kept, identifier);
    assert.equal(answered(await api.details({ connection_name: github, identifier })).connected_account.id, id);
    ids.add(id);
  }
  assert.equal(ids.size, odd.length);
});

test("the longest and oddest names there can be fit wherever they are kept", async () => {
  const name = "n".repeat(63);
  const connection = await world.connection(peer, { name });
  for (const sign of ['"', "\\", "é", "💡"]) {
    peer.user = sign.repeat(100);
    const identifier = sign.repeat(Math.floor(256 / Buffer.byteLength(sign)));
    const account = await world.account(await world.connected(connection, identifier));
    assert.equal(account.identifier, identifier);
    assert.ok(account.label?.startsWith(sign.repeat(20)), account.label);
    assert.deepEqual((await list({ connection_name: name, identifier })).connected_accounts.map((a) => a.id), [account.id]);
  }
  peer.user = "jo";
});
