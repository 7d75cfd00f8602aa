// Who may call what: client credentials, scopes, and connections a caller is limited to.

import assert from "node:assert/strict";
import { test } from "node:test";

import { startScripted } from "./peers/scripted.mjs";
import { Client } from "./support/client.mjs";
import { answered, refused } from "./support/expect.mjs";
import { learn } from "./support/secrets.mjs";
import { openWorld } from "./support/world.mjs";

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;
const connection = await world.connection(peer);
const second = await world.connection(peer);
const account = await world.connected(connection);
const elsewhere = await world.connected(second);

const SCOPES = ["accounts", "tools", "tokens", "export", "admin"];
const basic = (id, secret) => ({ authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}` });

/** A new caller with these scopes. */
async function caller(scopes, fields = {}) {
  const made = answered(await api.call("POST", "/api/v1/callers", { json: { name: `caller with ${scopes}`, scopes, ...fields } }));
  learn("client secret", made.client_secret);
  return new Client({ base: world.url, id: made.caller.client_id, secret: made.client_secret, places: world.places });
}

test("the token endpoint takes client credentials by Basic and in the form", async () => {
  const { id, secret } = world.operator;
  for (const options of [
    { form: { grant_type: "client_credentials" }, headers: basic(id, secret) },
    { form: { grant_type: "client_credentials", client_id: id, client_secret: secret } },
  ]) {
    const token = answered(await api.send("POST", "/oauth/token", options));
    learn("caller token", token.access_token);
    assert.equal(token.token_type, "Bearer");
    assert.ok(token.expires_in > 0);
    assert.deepEqual(new Set(token.scope.split(" ")), new Set(SCOPES));
  }
});

test("a token can be asked for with fewer scopes, and has no more", async () => {
  const narrow = new Client({ base: world.url, ...world.operator, scope: "tools", places: world.places });
  answered(await narrow.call("GET", "/api/v1/tools"));
  refused(await narrow.details({ id: account.id }), "PERMISSION_DENIED");
});

test("the token endpoint's errors are those of RFC 6749", async () => {
  const { id, secret } = world.operator;
  const grant = { grant_type: "client_credentials" };
  for (const [error, status, options] of [
    ["invalid_client", 401, { form: grant, headers: basic(id, "wrong") }],
    ["invalid_client", 401, { form: grant, headers: basic("nobody", secret) }],
    ["invalid_client", 401, { form: grant }],
    ["unsupported_grant_type", 400, { form: { grant_type: "password" }, headers: basic(id, secret) }],
    ["invalid_request", 400, { form: {}, headers: basic(id, secret) }],
    ["invalid_scope", 400, { form: { ...grant, scope: "everything" }, headers: basic(id, secret) }],
  ]) {
    const answer = await api.send("POST", "/oauth/token", options);
    assert.deepEqual([answer.status, answer.json?.error], [status, error], answer.text);
    assert.equal(answer.headers.get("cache-control"), "no-store");
    if (options.headers && status === 401) assert.match(answer.headers.get("www-authenticate") ?? "", /^Basic/);
  }
});

test("a missing, foreign, altered or expired token is no credential", async () => {
  const good = await api.bearer();
  for (const authorization of [undefined, "", "Bearer", "Bearer x", `Bearer ${good}x`, `Bearer ${good.slice(0, -2)}`, `Basic ${good}`, good]) {
    const answer = await api.send("GET", "/api/v1/connections", { headers: authorization === undefined ? {} : { authorization } });
    refused(answer, "UNAUTHENTICATED");
    assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer/);
  }
  await world.worker.setClock(25 * 3600 * 1000);
  refused(await api.send("GET", "/api/v1/connections", { headers: { authorization: `Bearer ${good}` } }), "UNAUTHENTICATED");
  await world.clock(0);
});

test("each scope opens its own routes and no others", async () => {
  const named = { id: account.id };
  const routes = [
    [["accounts"], (c) => c.details(named)],
    [["accounts"], (c) => c.call("GET", "/api/v1/connected_accounts")],
    [["accounts"], (c) => c.magicLink({ connection_name: connection, identifier: "scoped" })],
    [["accounts"], (c) => c.refresh(named)],
    [["tokens"], (c) => c.auth(named)],
    [["tools"], (c) => c.call("GET", "/api/v1/tools")],
    [["tools"], (c) => c.call("GET", "/api/v1/providers")],
    [["tools"], (c) => c.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} })],
    [["tools"], (c) => c.proxy("GET", "user", { account: { connected_account_id: account.id } })],
    [["admin", "accounts", "tools"], (c) => c.call("GET", "/api/v1/connections")],
    [["admin", "accounts", "tools"], (c) => c.call("GET", `/api/v1/connections/${connection}`)],
    [["admin"], (c) => c.createConnection({ name: `made-by-${c.id}`.toLowerCase().slice(0, 60), connector: "github", ...peer.client })],
    [["admin"], (c) => c.call("PATCH", `/api/v1/connections/${connection}`, { json: { operator: "Example Ltd." } })],
    [["admin"], (c) => c.call("GET", "/api/v1/callers")],
    [["admin"], (c) => c.call("POST", "/api/v1/callers", { json: { name: "another", scopes: ["tools"] } })],
  ];
  for (const scope of SCOPES) {
    const client = await caller([scope]);
    for (const [allowed, request] of routes) {
      const answer = await request(client);
      if (allowed.includes(scope)) assert.ok(answer.status < 300, `${scope}: ${request}: ${answer.text}`);
      else refused(answer, "PERMISSION_DENIED");
    }
  }
});

test("the refresh token is for the scope export alone", async () => {
  const token = (answer) => answered(answer).connected_account.authorization_details.oauth_token;
  assert.equal(token(await (await caller(["tokens"])).auth({ id: account.id })).refresh_token ?? null, null);
  assert.ok(token(await (await caller(["tokens", "export"])).auth({ id: account.id })).refresh_token);
});

test("a caller limited to a connection sees and uses nothing of another", async () => {
  const limited = await caller(["accounts", "tools", "tokens"], { connections: [connection] });
  answered(await limited.details({ id: account.id }));
  answered(await limited.auth({ id: account.id }));
  const call = { tool_name: "github_user_get_authenticated", params: {} };
  answered(await limited.execute({ ...call, connected_account_id: account.id }));
  // What is not its own does not exist, and has no name.
  const gone = (answer) => {
    refused(answer, "CONNECTED_ACCOUNT_NOT_FOUND");
    assert.ok(!answer.text.includes(second), answer.text);
  };
  gone(await limited.details({ id: elsewhere.id }));
  gone(await limited.auth({ id: elsewhere.id }));
  gone(await limited.execute({ ...call, connected_account_id: elsewhere.id }));
  gone(await limited.proxy("GET", "user", { account: { connected_account_id: elsewhere.id } }));
  gone(await limited.disconnect({ id: elsewhere.id }));
  refused(await limited.execute({ ...call, connection_name: second, identifier: elsewhere.identifier }), "CONNECTION_NOT_FOUND");
  refused(await limited.magicLink({ connection_name: second, identifier: "new" }), "CONNECTION_NOT_FOUND");
  const { connected_accounts } = answered(await limited.call("GET", "/api/v1/connected_accounts"));
  assert.deepEqual([...new Set(connected_accounts.map((a) => a.connection_name))], [connection]);
  const { connections } = answered(await limited.call("GET", "/api/v1/connections"));
  assert.deepEqual(connections.map((c) => c.name), [connection]);
});

test("callers are listed without secrets, and a deleted one stops working", async () => {
  const leaver = await caller(["tools"]);
  answered(await leaver.call("GET", "/api/v1/tools"));
  const listed = await api.call("GET", "/api/v1/callers");
  assert.ok(answered(listed).callers.some((c) => c.client_id === leaver.id && c.scopes[0] === "tools"));
  assert.ok(!listed.text.includes("secret"), listed.text);
  assert.ok((await api.call("DELETE", `/api/v1/callers/${leaver.id}`)).status < 300);
  await world.clock(61);
  const stale = await leaver.bearer();
  refused(await api.send("GET", "/api/v1/tools", { headers: { authorization: `Bearer ${stale}` } }), "UNAUTHENTICATED");
  assert.equal((await api.send("POST", "/oauth/token", { form: { grant_type: "client_credentials" }, headers: basic(leaver.id, leaver.secret) })).status, 401);
  await world.clock(0);
});

test("secrets of callers are stored hashed", async () => {
  const made = await caller(["tools"]);
  assert.ok(!JSON.stringify(await world.kv()).includes(made.secret));
});
