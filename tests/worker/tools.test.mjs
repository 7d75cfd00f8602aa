// Tool calls: input, dry runs, idempotency keys, and the provider's errors in the words of the API.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { repeat, reply, startScripted } from "./peers/scripted.mjs";
import { answered, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;
const account = await world.connected(await world.connection(peer, { name: "github" }));
const named = { connected_account_id: account.id };
const slack = { connected_account_id: (await world.connected(await world.connection(peer, { connector: "slack", scopes: ["chat:write"] }), "slack-user")).id };

beforeEach(() => {
  peer.unscript();
  peer.forget();
});

const issue = (params = { owner: "jo", repo: "hello", title: "Broken" }, options) =>
  api.execute({ tool_name: "github_issue_create", ...named, params }, options);

test("a tool sends what its definition says and answers what the provider said", async () => {
  const { data, execution_id } = answered(await issue({ owner: "jo", repo: "hello", title: "Broken", labels: ["bug"] }));
  const [sent] = peer.calls();
  assert.deepEqual([sent.method, sent.url], ["POST", "/api/repos/jo/hello/issues"]);
  assert.deepEqual(sent.json(), { title: "Broken", labels: ["bug"] });
  assert.match(sent.headers["user-agent"], /valetkey/);
  assert.equal(data.number, 1);
  assert.match(execution_id, /^exec_/);
});

test("the account can be left to the connection named as the provider", async () => {
  const call = { tool_name: "github_user_get_authenticated", identifier: account.identifier, tool_input: {} };
  assert.equal(answered(await api.execute(call)).data.login, "jo");
});

test("every problem of an input is listed with its path, and nothing is sent", async () => {
  const answer = await issue({ owner: 5, title: ["x"], colour: "red" });
  const details = refused(answer, "INVALID_TOOL_INPUT", { retryable: false });
  const said = JSON.stringify(answer.json);
  for (const name of ["owner", "repo", "title", "colour"]) assert.ok(said.includes(name), `${name} in ${said}`);
  assert.match(details.executionId, /^exec_/);
  assert.equal(peer.requests.length, 0);
});

test("an unknown tool is named with the nearest ones", async () => {
  const answer = await api.execute({ tool_name: "github_isue_create", ...named, params: {} });
  refused(answer, "TOOL_NOT_FOUND");
  assert.ok(answer.text.includes("github_issue_create"), answer.text);
});

test("a tool of another provider does not run on an account", async () => {
  const answer = await api.execute({ tool_name: "slack_send_message", ...named, params: { channel: "C1", text: "hi" } });
  refused(answer, "INVALID_REQUEST");
  assert.equal(peer.requests.length, 0);
});

test("a dry run answers with the request, the credential masked, and sends nothing", async () => {
  const { request, execution_id } = answered(await issue(undefined, { query: { dry_run: "true" } }));
  assert.deepEqual([request.method, request.url], ["POST", `${peer.url}/api/repos/jo/hello/issues`]);
  assert.deepEqual(typeof request.body === "string" ? JSON.parse(request.body) : request.body, { title: "Broken" });
  const authorization = Object.entries(request.headers).find(([name]) => name.toLowerCase() === "authorization")[1];
  assert.match(authorization, /^(Bearer )?\*\*\*$/);
  assert.match(execution_id, /^exec_/);
  assert.equal(peer.requests.length, 0);
  refused(await issue({}, { query: { dry_run: "true" } }), "INVALID_TOOL_INPUT");
});

test("null empties a field where the vendor lets it, and a strict function says what it empties", async () => {
  const update = async (params) => api.execute({ tool_name: "github_issue_update", ...named, params: { owner: "jo", repo: "hello", issue_number: 1, ...params } }, { query: { dry_run: "true" } });
  const body = async (params) => {
    const { request } = answered(await update(params));
    return typeof request.body === "string" ? JSON.parse(request.body) : request.body;
  };
  assert.deepEqual(await body({ milestone: null }), { milestone: null });
  assert.deepEqual(await body({ issue_number: "1", title: "Found", milestone: null, type: null, clear_fields: ["type"] }), { title: "Found", type: null });
  const uncleared = await update({ title: null });
  refused(uncleared, "INVALID_TOOL_INPUT");
  assert.match(uncleared.text, /cannot be cleared by null here; leave it out/);
  const unchanged = await update({});
  refused(unchanged, "INVALID_TOOL_INPUT");
  assert.match(unchanged.text, /changes nothing; give at least one of title, body/);
  assert.equal(peer.requests.length, 0);
});

test("an idempotency key answers the first result again, and the provider is called once", async () => {
  const headers = { "idempotency-key": "key-1" };
  const first = await issue(undefined, { headers });
  const second = await issue(undefined, { headers });
  assert.deepEqual(answered(second), answered(first));
  assert.equal(first.headers.get("idempotent-replayed"), null);
  assert.equal(second.headers.get("idempotent-replayed"), "true");
  assert.equal(peer.calls().length, 1);
});

test("an idempotency key is not good for another body, another account or another day", async () => {
  const headers = { "idempotency-key": "key-2" };
  answered(await issue(undefined, { headers }));
  refused(await issue({ owner: "jo", repo: "hello", title: "Other" }, { headers }), "CONFLICT", { retryable: false });
  const other = await world.connected(account.connection_name, "user-2");
  answered(await api.execute({ tool_name: "github_issue_create", connected_account_id: other.id, params: { owner: "jo", repo: "hello", title: "Broken" } }, { headers }));
  await world.clock(25 * 3600);
  const later = await issue(undefined, { headers });
  answered(later);
  assert.equal(later.headers.get("idempotent-replayed"), null);
  await world.clock(0);
  refused(await issue(undefined, { headers: { "idempotency-key": "k".repeat(201) } }), "INVALID_REQUEST");
});

test("a key whose first call still runs answers that it does", async () => {
  const headers = { "idempotency-key": "key-3" };
  let release;
  const held = new Promise((done) => (release = done));
  peer.script("POST /api/repos/jo/hello/issues", async () => void (await held));
  const first = issue(undefined, { headers });
  while (peer.calls().length === 0) await new Promise((done) => setTimeout(done, 5));
  refused(await issue(undefined, { headers }), "CONFLICT", { retryable: true });
  release();
  answered(await first);
  assert.equal((await issue(undefined, { headers })).headers.get("idempotent-replayed"), "true");
  assert.equal(peer.calls().length, 1);
});

test("a call with a key goes on when its client has gone away", async () => {
  const headers = { "idempotency-key": "key-4" };
  let release;
  const held = new Promise((done) => (release = done));
  peer.script("POST /api/repos/jo/hello/issues", async () => void (await held));
  const gone = new AbortController();
  const authorization = `Bearer ${await api.bearer()}`;
  const json = { tool_name: "github_issue_create", ...named, params: { owner: "jo", repo: "hello", title: "Broken" } };
  const first = api.send("POST", "/api/v1/execute_tool", { json, headers: { ...headers, authorization }, signal: gone.signal }).catch(() => {});
  while (peer.calls().length === 0) await new Promise((done) => setTimeout(done, 5));
  gone.abort();
  await first;
  release();
  let again;
  do again = await issue(undefined, { headers });
  while (again.status === 409 && again.json.error.details.retryable);
  assert.equal(answered(again) && again.headers.get("idempotent-replayed"), "true");
  assert.equal(peer.calls().length, 1);
});

test("a success that cannot be read is none: a write is not sent again under its key, a read may be", async () => {
  const page = "<html><h1>Your instance is hibernating</h1></html>";
  const headers = { "idempotency-key": "key-page" };
  for (const body of [page, '{"id": 1, "na']) {
    peer.script("POST /api/repos/jo/hello/issues", reply(200, body, { "content-type": "text/html" }));
    const details = refused(await issue(undefined, { headers: { "idempotency-key": `key-${body.length}` } }), "PROVIDER_ERROR", { retryable: false });
    assert.equal(details.providerResponse, body);
  }
  peer.forget();
  peer.script("POST /api/repos/jo/hello/issues", reply(200, page));
  refused(await issue(undefined, { headers }), "PROVIDER_ERROR");
  const again = await issue(undefined, { headers });
  refused(again, "PROVIDER_ERROR");
  assert.equal(again.headers.get("idempotent-replayed"), "true");
  assert.equal(peer.calls().length, 1);
  peer.script("GET /api/repos/jo/hello/issues", reply(200, page), reply(200, "\ufeff[]"));
  const list = { tool_name: "github_issues_list", ...named, params: { owner: "jo", repo: "hello" } };
  refused(await api.execute(list), "PROVIDER_ERROR", { retryable: true });
  assert.deepEqual(answered(await api.execute(list)).data, { items: [] });
});

test("an answer that is too long to keep is answered once, and its call is not sent again", async () => {
  const headers = { "idempotency-key": "key-long" };
  peer.script("POST /api/repos/jo/hello/issues", reply(201, { number: 1, body: "x".repeat(1_100_000) }));
  assert.equal(answered(await issue(undefined, { headers })).data.body.length, 1_100_000);
  const again = await issue(undefined, { headers });
  refused(again, "CONFLICT", { retryable: false });
  assert.match(again.text, /too long/);
  assert.equal(peer.calls().length, 1);
});

test("nothing of what a provider repeats is shown, wherever it cuts through it", async () => {
  const said = [];
  for (const status of [200, 400, 403, 500]) {
    for (const before of [0, 400, 450, 480, 3900, 3960]) {
      peer.script("POST /api/repos/jo/hello/issues", repeat(status, before));
      const answer = await issue();
      said.push(answer.text);
      if (status !== 200) refused(answer, { 400: "PROVIDER_INVALID_REQUEST", 403: "PROVIDER_PERMISSION_DENIED", 500: "PROVIDER_ERROR" }[status]);
    }
  }
  // That no secret is in it is what the scan at the end of this file finds out; here, that there was something to find.
  assert.ok(said.filter((text) => text.includes("***")).length > said.length / 2, "most answers repeated the credential");
});

test("a write that failed in the provider is not sent twice", async () => {
  for (const answer of [reply(503, ""), reply(500, { message: "boom" }), { reset: true }]) {
    peer.forget();
    peer.script("POST /api/repos/jo/hello/issues", answer);
    assert.ok((await issue()).status >= 500);
    assert.equal(peer.calls().length, 1);
  }
});

test("the provider's errors come in the words of the API, with what it said kept as data", async () => {
  for (const [code, status, body, details] of [
    ["RESOURCE_NOT_FOUND", 404, { message: "Not Found" }],
    ["PROVIDER_PERMISSION_DENIED", 403, { message: "Must have admin rights to Repository." }],
    ["PROVIDER_CONFLICT", 409, { message: "Conflict" }],
    ["PROVIDER_INVALID_REQUEST", 422, { message: "Validation Failed", errors: [{ field: "title" }] }],
    ["PROVIDER_INVALID_REQUEST", 400, { message: "Problems parsing JSON" }],
    ["PROVIDER_ERROR", 500, { message: "Server Error" }],
    ["PROVIDER_UNAVAILABLE", 503, "<h1>down</h1>", { retryable: true }],
    ["RATE_LIMIT_EXCEEDED", 403, { message: "You have exceeded a secondary rate limit." }, { origin: "provider", retryAfter: 1 }],
  ]) {
    const once = await world.connected(account.connection_name, `error-${code}-${status}`);
    peer.script("POST /api/repos/jo/hello/issues", reply(status, body, details?.retryAfter ? { "retry-after": "1" } : {}));
    const answer = await api.execute({ tool_name: "github_issue_create", connected_account_id: once.id, params: { owner: "jo", repo: "hello", title: "Broken" } });
    const seen = refused(answer, code, { providerStatus: status, ...details });
    assert.equal(answer.json.error.provider, "github");
    assert.match(seen.executionId, /^exec_/);
    if (body.message) assert.ok(answer.text.includes(body.message), answer.text);
  }
});

test("an error that comes with status 200 is an error", async () => {
  const call = { tool_name: "slack_send_message", ...slack, params: { channel: "C1", text: "hi" } };
  peer.script("POST /api/chat.postMessage", reply(200, { ok: true, ts: "1.2", channel: "C1" }));
  assert.equal(answered(await api.execute(call)).data.ts, "1.2");
  for (const [error, code] of [
    ["channel_not_found", "RESOURCE_NOT_FOUND"], ["missing_scope", "INSUFFICIENT_SCOPE"], ["not_in_channel", "PROVIDER_PERMISSION_DENIED"],
    ["ratelimited", "RATE_LIMIT_EXCEEDED"],
  ]) {
    peer.script("POST /api/chat.postMessage", reply(200, { ok: false, error, needed: "chat:write" }));
    refused(await api.execute(call), code, { providerCode: error });
  }
});

test("an answer that is no JSON, or none at all, is not a crash", async () => {
  peer.script("GET /api/user", reply(200, "<html>maintenance</html>"));
  const page = await api.execute({ tool_name: "github_user_get_authenticated", ...named, params: {} });
  refused(page, "PROVIDER_ERROR");
  peer.script("GET /api/user", { status: 204, body: "", headers: {} });
  answered(await api.execute({ tool_name: "github_user_get_authenticated", ...named, params: {} }));
});

test("the catalogue lists providers and tools, filtered and paged", async () => {
  const { providers } = answered(await api.call("GET", "/api/v1/providers"));
  for (const id of ["gmail", "googlecalendar", "googledrive", "github", "slack", "linear"]) {
    const provider = providers.find((p) => p.identifier === id);
    assert.ok(provider, id);
    assert.ok(provider.tools_count >= 12, `${id} has ${provider.tools_count} tools`);
  }
  const seen = [];
  let page_token;
  do {
    const page = answered(await api.call("GET", "/api/v1/tools", { query: { "filter.provider": "github", page_size: 5, ...(page_token && { page_token }) } }));
    seen.push(...page.tools.map((tool) => tool.definition.name));
    assert.deepEqual(page.tool_names, page.tools.map((tool) => tool.definition.name));
    page_token = page.next_page_token;
  } while (page_token);
  assert.ok(seen.includes("github_issue_create") && new Set(seen).size === seen.length && seen.every((name) => name.startsWith("github_")));
  assert.equal(seen.length, providers.find((p) => p.identifier === "github").tools_count);
  const [tool] = answered(await api.call("GET", "/api/v1/tools", { query: { tool_name: "github_issue_create" } })).tools;
  assert.equal(tool.provider, "github");
  assert.deepEqual(tool.definition.input_schema.required.toSorted(), ["owner", "repo", "title"]);
  assert.equal(tool.definition.annotations.readOnlyHint ?? false, false);
});
