// Attacks on what the Worker sends: no argument, path or setting chooses another host, and the credential goes nowhere else.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { reply, startScripted } from "./peers/scripted.mjs";
import { answered, refused } from "./support/expect.mjs";
import { raw } from "./support/raw.mjs";
import { openWorld } from "./support/world.mjs";

const peer = await startScripted();
const evil = await startScripted();
const world = await openWorld({ peers: [peer, evil] });
const { api } = world;
const connection = await world.connection(peer);
const account = await world.connected(connection);
const named = { connected_account_id: account.id };

beforeEach(() => {
  peer.forget();
  peer.unscript();
  evil.forget();
});

const nothingLeft = () => {
  assert.equal(evil.requests.length, 0, "nothing reached the other host");
  assert.deepEqual(world.worker.leaks, [], "nothing went to a host that no test mapped");
};

test("a path parameter cannot leave its place", async () => {
  for (const owner of ["../../admin", "..", ".", "../../../token", "a/b", "..%2f..%2fadmin", "x?admin=1", "x#y", "\\..\\admin", "//evil.example"]) {
    const answer = await api.execute({ tool_name: "github_repo_get", ...named, params: { owner, repo: "hello" } });
    if (answer.status === 200) {
      // Encoded, it is one segment and means what it says.
      const [sent] = peer.calls();
      assert.match(sent.url, /^\/api\/repos\/[^/?#]+\/hello$/, `${owner} became ${sent.url}`);
      assert.equal(decodeURIComponent(sent.url.split("/")[3]), owner);
    } else {
      refused(answer, "INVALID_TOOL_INPUT");
      assert.equal(peer.requests.length, 0, `${owner} was refused before anything was sent`);
    }
    assert.ok(![".", "..", "../../admin"].includes(owner) || answer.status === 400, `${owner} climbs and is refused`);
    peer.forget();
  }
  nothingLeft();
});

test("a redirect to another host is not followed by a tool, and the credential stays", async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    peer.script("GET /api/user", reply(status, "", { location: `${evil.url}/steal` }));
    const answer = await api.execute({ tool_name: "github_user_get_authenticated", ...named, params: {} });
    refused(answer, answer.json?.error?.code, { origin: "provider", providerStatus: status });
  }
  nothingLeft();
});

test("a redirect is handed back by the proxy, not followed", async () => {
  peer.script("GET /api/user", reply(302, "", { location: `${evil.url}/steal` }));
  const answer = await api.proxy("GET", "user", { account: named });
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.get("location"), `${evil.url}/steal`);
  nothingLeft();
});

test("a redirect of the token endpoint is not followed", async () => {
  peer.script("POST /token", reply(307, "", { location: `${evil.url}/token` }));
  const answer = await api.refresh({ id: account.id });
  assert.ok(answer.status >= 500, answer.text);
  assert.equal((await world.account(account)).status, "ACTIVE");
  nothingLeft();
});

test("the proxy stays on the connector's hosts however the path is written", async () => {
  const authorization = `Bearer ${await api.bearer()}`;
  const { host } = new URL(evil.url);
  for (const path of [
    `https://${host}/x`, `http://${host}/x`, `//${host}/x`, `/${host}/x`, `%2F%2F${host}/x`, `\\\\${host}\\x`, `/\\${host}/x`,
    `https:${host}/x`, `https:/${host}/x`, `@${host}/x`, `:80@${host}/x`, `https://127.0.0.1@${host}/x`, "https://evil.example/x",
    "https://api.github.com.evil.example/x", "https://evil.example/?api.github.com", "https://evil.example#@api.github.com",
    "http://api.github.com/user", "https://api.github.com:8443/user", "ftp://api.github.com/x", "http://169.254.169.254/latest/meta-data/", "https://localhost/x",
    "https://[::1]/x", "https://0x7f.1/x", "https://2130706433/x",
  ]) {
    peer.forget();
    const answer = await raw(world.url, "GET", `/proxy/${path}`, { headers: { authorization, ...named } });
    assert.equal(evil.requests.length, 0, `${path} reached the other host`);
    if (/^[a-z]+:\/\//.test(path)) refused(answer, answer.status === 400 ? "INVALID_REQUEST" : "PERMISSION_DENIED");
    for (const sent of peer.requests) assert.match(sent.url, /^\/api\//, `${path} became ${sent.url}`);
  }
  nothingLeft();
});

test("the proxy cannot climb out of the connector's base path", async () => {
  const authorization = `Bearer ${await api.bearer()}`;
  for (const path of ["../token", "%2e%2e/token", "..%2ftoken", "a/../../token", "a/%2e%2e/%2e%2e/token", "..\\token", "..;/token"]) {
    await raw(world.url, "GET", `/proxy/${path}`, { headers: { authorization, ...named } });
  }
  for (const sent of peer.requests) {
    const resolved = new URL(sent.url.replaceAll("%2e", ".").replaceAll("%2E", "."), "http://peer").pathname;
    assert.match(resolved, /^\/api\//, sent.url);
  }
  nothingLeft();
});

test("a caller's own headers cannot name the host or replace the credential", async () => {
  const answer = await api.proxy("GET", "user", { account: named, headers: { "x-forwarded-host": "evil.example", "x-api-key": "mine", cookie: "session=1" } });
  answered(answer);
  const [sent] = peer.calls();
  assert.notEqual(sent.headers.authorization, `Bearer ${await api.bearer()}`, "the caller's own token stays here");
  assert.equal(peer.access.get(sent.headers.authorization.slice("Bearer ".length)), "jo");
  for (const name of ["cookie", "connection_name", "identifier", "connected_account_id"]) assert.equal(sent.headers[name], undefined, name);
});

test("endpoint overrides are https or loopback, and never a private network", async () => {
  const before = await world.kv();
  for (const url of [
    "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://evil.example/", "http://127.0.0.1.evil.example/", "http://localhost@evil.example/",
    "http://localhost.evil.example/", "https://169.254.169.254/", "https://10.0.0.1/", "https://192.168.1.1/", "https://172.16.0.1/", "https://[fd00::1]/",
    "https://[::ffff:10.0.0.1]/", "https://metadata.google.internal./", "https://localhost./", "https://[64:ff9b::a00:1]/", "https://[2002:a00:1::]/",
    "https://198.18.0.1/", "https://240.0.0.1/", "https://router.home.arpa/", "https://nas.lan/", "https://user:pass@example.com/", "not a url", "",
  ]) {
    for (const field of ["authorize_url", "token_url", "revoke_url", "api_base"]) {
      const answer = await api.createConnection({ name: "bad", connector: "github", ...peer.client, endpoints: { ...peer.endpoints, [field]: url } });
      assert.equal(answer.status, 400, `${field} = ${url}: ${answer.status} ${answer.text}`);
      refused(answer, "INVALID_REQUEST");
    }
  }
  assert.deepEqual(await world.kv(), before);
});

test("a verify address that is no web address is refused", async () => {
  for (const user_verify_url of ["javascript:alert(1)", "data:text/html,x", "//evil.example", "/callback/x", "http://evil.example/verify", ""]) {
    refused(await api.magicLink({ connection_name: connection, identifier: "verify-attack", user_verify_url }), "INVALID_REQUEST");
  }
  refused(await api.details({ connection_name: connection, identifier: "verify-attack" }), "CONNECTED_ACCOUNT_NOT_FOUND");
});
