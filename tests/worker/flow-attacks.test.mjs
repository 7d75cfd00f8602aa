// Attacks on the way a user connects: whatever comes back to the callback, only the browser that set out, with the state it
// was given, on the connection it was meant for, in time and once, may finish. Everything else leaves no trace.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { startScripted } from "./peers/scripted.mjs";
import { Client } from "./support/client.mjs";
import { answered, comes, pageSays, refused } from "./support/expect.mjs";
import { raw } from "./support/raw.mjs";
import { learn } from "./support/secrets.mjs";
import { openWorld } from "./support/world.mjs";

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;
const connection = await world.connection(peer, { name: "first" });
const second = await world.connection(peer, { name: "second" });
const headings = new Map();
let users = 0;

/** A flow that has come as far as the provider's answer: the callback's address, not yet opened. */
async function underway(connection_name = connection, { callback } = {}) {
  users += 1;
  const named = { connection_name, identifier: `user-${users}` };
  const browser = world.browser();
  const { link } = answered(await api.magicLink(named));
  const start = await browser.open(link);
  if (callback) peer.callback = callback;
  const stopped = await browser.submit(start, { until: (url) => url.includes("/callback/") });
  peer.callback = (parameters) => parameters;
  const { id } = answered(await api.details(named)).connected_account;
  return { browser, link, named, id, callback: new URL(stopped.location) };
}

/** What must not change: what KV holds, and what the account says of itself. Why it is not connected may be noted. */
async function stored({ id }) {
  const { status, label, scopes, token_expires_at } = await world.account({ id });
  const kv = Object.fromEntries(Object.entries(await world.kv()).map(([key, text]) =>
    [key, text.replace(/(status_reason|updated_at)\\*":\\*"?[\w:.-]+/g, "$1")]));
  return { kv, status, label, scopes, token_expires_at };
}

/** Opens `url` in `browser` and expects a page that refuses it, a code that was not spent, and nothing stored. */
async function attack(name, flow, url, browser = flow.browser) {
  const before = await stored(flow);
  peer.forget();
  const page = await browser.open(url);
  pageSays(page, page.status);
  assert.ok(page.status >= 400 && page.status < 500, `${name}: ${page.status} ${page.words}`);
  headings.set(name, /<h1[^>]*>([\s\S]*?)<\/h1>/.exec(page.text)?.[1]);
  assert.equal(peer.seen("POST /token").length, 0, `${name}: the code was not exchanged`);
  assert.deepEqual(await stored(flow), before, `${name}: nothing is stored`);
  refused(await api.auth({ id: flow.id }), "REAUTHORIZATION_REQUIRED");
  return page;
}

/** The same address with some parameters changed; `undefined` takes one away. */
function changed(url, parameters) {
  const copy = new URL(url);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) copy.searchParams.delete(name);
    else copy.searchParams.set(name, value);
  }
  return copy;
}

test("a callback opened a second time is refused, and the account stays as it is", async () => {
  const flow = await underway();
  pageSays(await flow.browser.open(flow.callback), 200);
  const before = await stored(flow);
  assert.equal(before.status, "ACTIVE");
  peer.forget();
  const page = await flow.browser.open(flow.callback);
  assert.ok(page.status >= 400 && page.status < 500, page.words);
  headings.set("replayed", /<h1[^>]*>([\s\S]*?)<\/h1>/.exec(page.text)?.[1]);
  assert.equal(peer.seen("POST /token").length, 0);
  assert.deepEqual(await stored(flow), before);
});

test("a callback in another browser is refused", async () => {
  const flow = await underway();
  await attack("other browser", flow, flow.callback, world.browser());
});

test("a callback in a browser with a flow of its own is refused", async () => {
  const victim = await underway();
  const attacker = await underway();
  await attack("other browser", attacker, attacker.callback, victim.browser);
});

test("a callback of another connection is refused", async () => {
  const flow = await underway();
  const moved = new URL(flow.callback.href.replace(`/callback/${connection}`, `/callback/${second}`));
  await attack("other connection", flow, moved);
});

test("a callback after ten minutes is refused", async () => {
  const flow = await underway();
  await world.clock(11 * 60);
  await attack("expired", flow, flow.callback);
  await world.clock(0);
});

test("a link after fifteen minutes is refused", async () => {
  const flow = await underway();
  await world.clock(16 * 60);
  peer.forget();
  const page = await world.browser().open(flow.link);
  assert.ok(page.status >= 400 && page.status < 500, page.words);
  pageSays(page, page.status, /expired/i);
  assert.equal(page.forms.length, 0);
  await world.clock(0);
});

test("a tampered, doubled, emptied or missing state is refused", async () => {
  const flow = await underway();
  const state = flow.callback.searchParams.get("state");
  const flipped = state.slice(0, -2) + (state.at(-2) === "A" ? "B" : "A") + state.at(-1);
  await attack("tampered", flow, changed(flow.callback, { state: flipped }));
  await attack("tampered", flow, changed(flow.callback, { state: `${state}.extra` }));
  await attack("tampered", flow, changed(flow.callback, { state: "../../admin" }));
  await attack("tampered", flow, changed(flow.callback, { state: "" }));
  await attack("tampered", flow, changed(flow.callback, { state: undefined }));
  await attack("tampered", flow, new URL(`${changed(flow.callback, { state: flipped })}&state=${state}`));
});

test("an answer of another authorization server is refused", async () => {
  const flow = await underway();
  await attack("wrong issuer", flow, changed(flow.callback, { iss: "https://evil.example" }));
});

test("a code that was given to somebody else is refused by PKCE, and nothing is stored", async () => {
  const victim = await underway();
  const attacker = await underway();
  const before = await stored(victim);
  peer.forget();
  const page = await victim.browser.open(changed(victim.callback, { code: attacker.callback.searchParams.get("code") }));
  assert.ok(page.status >= 400, page.words);
  headings.set("code injected", /<h1[^>]*>([\s\S]*?)<\/h1>/.exec(page.text)?.[1]);
  assert.equal(peer.seen("POST /token").length, 1, "the provider was asked, with the verifier of this flow");
  const now = await stored(victim);
  assert.deepEqual([now.status, now.token_expires_at, now.label], [before.status, before.token_expires_at, before.label]);
  refused(await api.auth({ id: victim.id }), "REAUTHORIZATION_REQUIRED");
});

test("the button of a page that this browser never opened is refused", async () => {
  users += 1;
  const { link } = answered(await api.magicLink({ connection_name: connection, identifier: `user-${users}` }));
  const page = await world.browser().open(link, { method: "POST", fields: {}, until: (url) => !url.startsWith(world.url) });
  assert.ok(page.status >= 400 && page.status < 500, `${page.status} ${page.location}`);
});

test("a link that was never given out is refused", async () => {
  for (const token of ["x", "../callback/first", "%2e%2e%2fapi", "a".repeat(5000)]) {
    const page = await raw(world.url, "GET", `/connect/${token}`, { headers: { accept: "text/html" } });
    assert.ok(page.status >= 400 && page.status < 500, `${token.slice(0, 20)}: ${page.status}`);
  }
});

test("no parameter of the browser's routes chooses where it is sent", async () => {
  const evil = "https://evil.example/";
  const names = ["redirect", "redirect_uri", "redirect_url", "return_to", "next", "url", "continue", "user_verify_url", "state", "iss", "target"];
  const parameters = Object.fromEntries(names.map((name) => [name, evil]));
  const flow = await underway();
  for (const page of [
    await world.browser().open(changed(flow.link, parameters)),
    await flow.browser.open(changed(flow.link, parameters)),
    await flow.browser.open(changed(flow.link, parameters), { method: "POST", fields: parameters, until: () => true }),
    await flow.browser.open(changed(flow.callback, { ...parameters, state: flow.callback.searchParams.get("state") }), { until: () => true }),
    await flow.browser.open(changed(flow.callback, parameters), { until: () => true }),
  ]) {
    const target = page.location && new URL(page.location, page.url);
    assert.ok(!target || target.origin === new URL(peer.url).origin, `sent to ${page.location}`);
    assert.ok(!/(href|action|src|content)="[^"]*evil\.example/.test(page.text), page.text);
  }
});

test("a consent under way when the account is disconnected stays out, and what it obtained is revoked", async () => {
  const flow = await underway();
  peer.forget();
  peer.gate.shut();
  const back = flow.browser.open(flow.callback);
  while (peer.gate.waiting === 0) await new Promise((done) => setTimeout(done, 20));
  const gone = answered(await api.disconnect({ id: flow.id }));
  assert.equal(gone.connected_account.status, "DISCONNECTED");
  peer.gate.open();
  const page = await back;
  pageSays(page, 410, /ended/i);
  headings.set("disconnected meanwhile", /<h1[^>]*>([\s\S]*?)<\/h1>/.exec(page.text)?.[1]);
  assert.equal((await world.account({ id: flow.id })).status, "DISCONNECTED");
  refused(await api.auth({ id: flow.id }), "REAUTHORIZATION_REQUIRED");
  await comes(() => peer.seen("DELETE /revoke").length > 0, "the token is revoked");
  assert.equal(peer.seen("DELETE /revoke").length, 1, "the token was revoked");
  assert.ok(peer.seen("DELETE /revoke")[0].json().access_token, "and it was the one that came");
});

test("a consent that another browser began with the same link is dead once the first has connected", async () => {
  users += 1;
  const named = { connection_name: connection, identifier: `user-${users}` };
  const { link } = answered(await api.magicLink(named));
  const browsers = [world.browser(), world.browser()];
  const callbacks = [];
  for (const browser of browsers) {
    const stopped = await browser.submit(await browser.open(link), { until: (url) => url.includes("/callback/") });
    callbacks.push(stopped.location);
  }
  pageSays(await browsers[0].open(callbacks[0]), 200);
  const { audit: before } = answered(await api.details(named)).connected_account;
  const page = await browsers[1].open(callbacks[1]);
  assert.ok(page.status >= 400 && page.status < 500, page.words);
  const { audit: after } = answered(await api.details(named)).connected_account;
  const connects = (audit) => audit.filter(({ event }) => event === "connected").length;
  assert.deepEqual([connects(before), connects(after)], [1, 1]);
});

test("an agent that may only call tools cannot give an account to somebody else by the link of an error", async () => {
  const made = answered(await api.call("POST", "/api/v1/callers", { json: { name: "agent", scopes: ["tools"] } }));
  learn("client secret", made.client_secret);
  const agent = new Client({ base: world.url, id: made.caller.client_id, secret: made.client_secret, places: world.places });
  const call = (id) => agent.execute({ tool_name: "github_user_get_authenticated", connected_account_id: id, params: {} });

  const fresh = await underway();
  assert.equal(refused(await call(fresh.id), "REAUTHORIZATION_REQUIRED").reauthorizeUrl, null, "nobody was connected there yet");

  const account = await world.connected(connection, "victim");
  peer.revokeAll();
  const { reauthorizeUrl } = refused(await call(account.id), "REAUTHORIZATION_REQUIRED");
  learn("magic link", new URL(reauthorizeUrl).pathname.split("/").at(-1));
  peer.user = "attacker";
  peer.forget();
  const browser = world.browser();
  const page = await browser.submit(await browser.open(reauthorizeUrl));
  pageSays(page, 409, /another account/i);
  headings.set("other account", /<h1[^>]*>([\s\S]*?)<\/h1>/.exec(page.text)?.[1]);
  await comes(() => peer.seen("DELETE /revoke").length > 0, "what the attacker granted is ended");
  assert.equal((await world.account(account)).label, "jo");
  refused(await call(account.id), "REAUTHORIZATION_REQUIRED");
  peer.user = "jo";
  pageSays(await browser.submit(await browser.open(reauthorizeUrl)), 200);
  assert.equal(answered(await call(account.id)).data.login, "jo");
});

after(() => {
  const seen = [...headings.values()];
  assert.ok(seen.every(Boolean), "every refusal has a heading");
  assert.equal(new Set(seen).size, seen.length, `each refusal says something of its own: ${JSON.stringify([...headings])}`);
});
