// The API at its edges: unknown routes, wrong methods, bodies that are not JSON, connections and their rules, keys.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { startScripted } from "./peers/scripted.mjs";
import { Browser } from "./support/browser.mjs";
import { answered, refused } from "./support/expect.mjs";
import { raw } from "./support/raw.mjs";
import { newKey, openWorld } from "./support/world.mjs";

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;

test("an unknown route is the error object", async () => {
  for (const path of ["/", "/api", "/api/v1/nothing", "/oauth/nothing", "/api/v1/connected_accounts/x/y/z", "/%00", "/api/v2/tools"]) {
    const answer = await api.call("GET", path);
    assert.equal(answer.status, 404, `${path}: ${answer.status}`);
    refused(answer, answer.json?.error?.code);
  }
});

test("a name that no tool can have is refused at once, and nobody else waits for it", async () => {
  const long = api.execute({ tool_name: "slack_".repeat(150_000), params: {} });
  const health = await api.send("GET", "/health", { signal: AbortSignal.timeout(10_000) });
  assert.equal(health.status, 200);
  const details = refused(await long, "TOOL_NOT_FOUND");
  assert.equal(details.suggestions, undefined);
  const page = await new Browser().open(`${world.url}/connected/${"x".repeat(15_000)}`);
  assert.equal(page.status, 404);
  assert.ok(page.text.length < 2_000, "what was asked for is not repeated at length");
});

test("what is logged is the route and never what stood in its place", async (t) => {
  const loud = await openWorld({ t, bindings: { LOG_LEVEL: "info" } });
  const pasted = "pasted-secret-0123456789";
  for (const [method, path] of [
    ["GET", `/connect/${pasted}`], ["GET", `//connect/${pasted}`], ["GET", `//proxy/${pasted}`], ["GET", `/choose/${pasted}`], ["POST", `/choose/${pasted}`],
    ["DELETE", `/api/v1/callers/${pasted}`], ["GET", `/${pasted}`], ["GET", `/proxy/${pasted}?key=${pasted}`],
    ["GET", `/callback/x?code=${pasted}&state=${pasted}`], ["GET", `/api/v1/connections/${pasted}`],
  ]) {
    const answer = await raw(loud.url, method, path, { headers: { authorization: `Bearer ${await loud.api.bearer()}` } });
    assert.ok(answer.status >= 400, `${method} ${path}`);
  }
  const lines = loud.worker.logs.filter((line) => line.includes('"request"'));
  assert.ok(lines.length >= 9, lines.join("\n"));
  assert.ok(lines.some((line) => line.includes("/connect/{token}")), lines.join("\n"));
  assert.ok(!loud.worker.logs.join("\n").includes(pasted), lines.join("\n"));
});

test("a wrong method is the error object, and names the right ones", async () => {
  for (const [method, path, allowed] of [
    ["DELETE", "/api/v1/tools", "GET"], ["GET", "/api/v1/execute_tool", "POST"], ["PUT", "/oauth/token", "POST"],
    ["POST", "/api/v1/connected_accounts/details", "GET"], ["PROPFIND", "/api/v1/tools", "GET"],
  ]) {
    const answer = await api.call(method, path);
    assert.equal(answer.status, 405, `${method} ${path}: ${answer.status}`);
    assert.equal(answer.json?.error?.code, "INVALID_REQUEST");
    assert.ok(answer.headers.get("allow")?.split(/, ?/).includes(allowed), `allow: ${answer.headers.get("allow")}`);
  }
});

test("a body that is not the JSON expected is refused by what is wrong with it", async () => {
  const headers = { "content-type": "application/json" };
  for (const body of ["", "{", "null", "[]", "5", '"x"', "name=x", "\u0000", '{"name":{"deep":[]}}']) {
    refused(await api.call("POST", "/api/v1/connections", { headers, body }), "INVALID_REQUEST");
  }
  const typo = await api.createConnection({ name: "typo", connector: "github", ...peer.client, cleint_id: "x" });
  refused(typo, "INVALID_REQUEST");
  assert.match(typo.json.error.message, /cleint_id/);
  refused(await api.call("POST", "/api/v1/connections", { headers, body: `{"name":"${"x".repeat(1_100_000)}"}` }), "INVALID_REQUEST");
});

test("a connection is made, read, changed and deleted, and never shows its secret", async () => {
  const made = await api.createConnection({
    name: "work", connector: "github", ...peer.client, scopes: ["repo"], operator: "Example Ltd.", endpoints: peer.endpoints,
  });
  const { connection } = answered(made);
  assert.match(connection.id, /^conn_/);
  assert.equal(connection.redirect_uri, `${world.url}/callback/work`);
  refused(await api.createConnection({ name: "work", connector: "github", ...peer.client }), "CONFLICT");
  const read = await api.call("GET", "/api/v1/connections/work");
  assert.deepEqual(answered(read).connection, connection);
  const changed = await api.call("PATCH", "/api/v1/connections/work", { json: { operator: "Other Ltd." } });
  assert.equal(answered(changed).connection.operator, "Other Ltd.");
  assert.deepEqual(answered(changed).connection.scopes, ["repo"], "what was not named stays");
  const listed = await api.call("GET", "/api/v1/connections");
  for (const answer of [made, read, changed, listed]) assert.ok(!answer.text.includes(peer.client.client_secret));
  const account = await world.connected("work", "worker");
  assert.ok((await api.call("DELETE", "/api/v1/connections/work")).status < 300);
  refused(await api.call("GET", "/api/v1/connections/work"), "CONNECTION_NOT_FOUND");
  refused(await api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} }), "CONNECTION_NOT_FOUND");
  const { connected_accounts } = answered(await api.call("GET", "/api/v1/connected_accounts", { query: { identifier: "worker" } }));
  assert.deepEqual(connected_accounts.map((a) => a.id), [account.id], "its accounts stay listed");
});

test("a name, connector or field that cannot be is refused", async () => {
  const good = { name: "fine", connector: "github", ...peer.client };
  for (const name of ["", "A", "-x", "_x", "a/b", "a b", "ä", "x".repeat(64), "..", 5]) {
    refused(await api.createConnection({ ...good, name }), "INVALID_REQUEST");
  }
  const unknown = await api.createConnection({ ...good, connector: "gihub" });
  refused(unknown, "PROVIDER_NOT_FOUND");
  assert.ok(unknown.text.includes("github"), "names the nearest");
  for (const [field, value] of [["client_id", ""], ["client_secret", undefined], ["scopes", "repo"], ["scopes", [1]], ["endpoints", { token: "x" }]]) {
    refused(await api.createConnection({ ...good, [field]: value }), "INVALID_REQUEST");
  }
});

test("connections are paged", async () => {
  for (let n = 0; n < 5; n++) await world.connection(peer, { name: `paged-${n}` });
  const seen = [];
  let page_token;
  do {
    const page = answered(await api.call("GET", "/api/v1/connections", { query: { page_size: 2, ...(page_token && { page_token }) } }));
    assert.ok(page.connections.length <= 2);
    seen.push(...page.connections.map((c) => c.name));
    page_token = page.next_page_token;
  } while (page_token);
  assert.equal(seen.filter((name) => name.startsWith("paged-")).length, 5);
});

test("a browser that looks for a page gets a page, also when there is none", async () => {
  const page = await new Browser().open(`${world.url}/connect/nothing`);
  assert.match(page.headers.get("content-type"), /^text\/html/);
  assert.match(page.headers.get("content-security-policy"), /frame-ancestors 'none'/);
  assert.match(page.headers.get("cache-control"), /no-store/);
  assert.equal(page.headers.get("referrer-policy"), "no-referrer");
  assert.ok(!page.text.includes("<script"), "pages need no script");
});

test("the cookie of a flow is bound to its browser: short, HttpOnly, SameSite=Lax", async () => {
  const connection = await world.connection(peer);
  const { link } = answered(await api.magicLink({ connection_name: connection, identifier: "cookie" }));
  const page = await world.browser().open(link);
  const [cookie, ...others] = page.headers.getSetCookie();
  assert.equal(others.length, 0);
  for (const part of [/; *HttpOnly/i, /; *SameSite=Lax/i, /; *Path=\//i, /; *Max-Age=\d{1,4}(;|$)/i]) assert.match(cookie, part);
  assert.ok(!/domain=/i.test(cookie));
  assert.match(page.words, /GitHub/);
});

test("at a public https address, links lead there and the cookie is Secure and host-bound", async (t) => {
  const home = await openWorld({ t, bindings: { PUBLIC_URL: "https://valetkey.example" } });
  const { connection } = answered(await home.api.createConnection({ name: "public", connector: "github", ...peer.client, endpoints: peer.endpoints }));
  assert.equal(connection.redirect_uri, "https://valetkey.example/callback/public");
  const { link } = answered(await home.api.magicLink({ connection_name: "public", identifier: "cookie" }));
  assert.equal(new URL(link).origin, "https://valetkey.example");
  const answer = await home.api.send("GET", new URL(link).pathname);
  const [cookie] = answer.headers.getSetCookie();
  assert.match(cookie, /^__Host-/);
  assert.match(cookie, /; *Secure/i);
  assert.ok(!/domain=/i.test(cookie));
});

test("without a sealing key every request says what to set, and nothing runs", async (t) => {
  for (const bindings of [{ VALETKEY_KEYS: "" }, { VALETKEY_KEYS: "k1:short" }, { VALETKEY_KEYS: "nonsense" }]) {
    const bare = await openWorld({ t, bindings });
    for (const [method, path] of [["GET", "/health"], ["GET", "/api/v1/tools"], ["POST", "/oauth/token"], ["GET", "/connect/x"], ["GET", "/"]]) {
      const answer = await bare.api.send(method, path);
      assert.equal(answer.status, 500, `${method} ${path}: ${answer.status} ${answer.text}`);
      assert.match(answer.text, /VALETKEY_KEYS/);
    }
    assert.deepEqual(await bare.kv(), {});
    await bare.close();
  }
});

test("a secret that can be guessed and an address without TLS are said to be wrong, and nothing runs", async (t) => {
  for (const [name, value] of [["VALETKEY_CLIENT_SECRET", "x".repeat(31)], ["PUBLIC_URL", "http://valetkey.example"]]) {
    const wrong = await openWorld({ t, bindings: { [name]: value } });
    const answer = await wrong.api.send("GET", "/health");
    assert.equal(answer.status, 500);
    assert.match(answer.text, new RegExp(name));
    assert.equal(answer.headers.get("cache-control"), "no-store");
    await wrong.close();
  }
});

test("a new key seals, the old one still opens, and a lost one is said to be lost", async (t) => {
  const storage = mkdtempSync(join(tmpdir(), "valetkey-keys-"));
  const [first, next] = [newKey("k1"), newKey("k2")];
  const keys = await openWorld({ t, persist: storage, bindings: { VALETKEY_KEYS: first } });
  t.after(() => rmSync(storage, { recursive: true, force: true })); // after the world has been read and closed
  const connection = await keys.connection(peer);
  const account = await keys.connected(connection, "keeper");
  const whoami = () => keys.api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} });
  const again = async (value) => {
    await keys.worker.dispose();
    await keys.startAgain({ VALETKEY_KEYS: value });
  };

  await again(`${first},${next}`);
  answered(await whoami());
  answered(await keys.api.refresh({ id: account.id }));
  await again(next);
  refused(await keys.api.refresh({ id: account.id }), "INTERNAL"); // the client secret was sealed with the key that is gone
  answered(await whoami()); // the access token was sealed with the new one
  await again(newKey("k3"));
  refused(await keys.api.auth({ id: account.id }), "INTERNAL");
});
