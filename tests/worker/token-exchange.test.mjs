// What the token endpoint can answer when a user connects, and what the user, the account and the operator see of it.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { hang, repeat, reply, startScripted } from "./peers/scripted.mjs";
import { pageSays, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;
const github = await world.connection(peer);
const drive = await world.connection(peer, { connector: "googledrive", scopes: ["https://www.googleapis.com/auth/drive"] });
let users = 0;

beforeEach(() => {
  peer.unscript();
  peer.tokenReply = (tokens) => tokens;
  peer.callback = (parameters) => parameters;
  peer.forget();
});

/** Connects a new user. → `{account, page}` */
function connect(connection = github) {
  users += 1;
  return world.connect(connection, `user-${users}`);
}

/** Seconds until the account's token ends, as the account says. */
const lifetime = ({ token_expires_at }) => (Date.parse(token_expires_at) - Date.now()) / 1000;

/** The user could not be connected: a page of its own says so, the account says why, and there is no token. */
async function failed({ account, page }, reason) {
  assert.equal(account.status, "PENDING_AUTH");
  assert.equal(account.status_reason, reason);
  assert.ok(page.status >= 400, `${page.status}`);
  pageSays(page, page.status);
  refused(await api.auth({ id: account.id }), "REAUTHORIZATION_REQUIRED");
}

test("a token without a lifetime gets the one its connector assumes", async () => {
  peer.tokenReply = ({ expires_in, ...tokens }) => tokens;
  const { account } = await connect(drive);
  assert.equal(account.status, "ACTIVE");
  assert.ok(lifetime(account) > 1800 && lifetime(account) <= 3600, account.token_expires_at);
});

test("a lifetime written as a string is a lifetime", async () => {
  peer.tokenReply = (tokens) => ({ ...tokens, expires_in: "1800" });
  const { account } = await connect();
  assert.ok(lifetime(account) > 1700 && lifetime(account) <= 1800, account.token_expires_at);
});

test("a form-encoded answer connects", async () => {
  const { access_token, refresh_token } = peer.issue("form");
  peer.script("POST /token", reply(200, `access_token=${access_token}&refresh_token=${refresh_token}&scope=repo%2Cgist&token_type=bearer`,
    { "content-type": "application/x-www-form-urlencoded; charset=utf-8" }));
  const { account } = await connect();
  assert.equal(account.status, "ACTIVE");
  assert.deepEqual(account.scopes, ["repo", "gist"]);
});

test("the exchange asks for JSON, names the exact redirect URI and proves the verifier", async () => {
  const { account } = await connect();
  assert.equal(account.status, "ACTIVE");
  const [request] = peer.seen("POST /token");
  assert.match(request.headers.accept, /application\/json/);
  assert.match(request.headers["content-type"], /^application\/x-www-form-urlencoded/);
  assert.equal(request.fields.grant_type ?? "authorization_code", "authorization_code");
  assert.equal(request.fields.redirect_uri, `${world.url}/callback/${github}`);
  assert.equal(peer.lastAuthorize.get("code_challenge_method"), "S256");
  assert.equal(peer.lastAuthorize.get("redirect_uri"), `${world.url}/callback/${github}`);
  assert.match(request.fields.code_verifier, /^[A-Za-z0-9._~-]{43,128}$/);
});

test("a user who says no is told so, and the account says why", async () => {
  peer.callback = ({ state }) => ({ state, error: "access_denied", error_description: "The user said <b>no</b>" });
  const outcome = await connect();
  await failed(outcome, "consent_denied");
  assert.ok(!outcome.page.text.includes("<b>no</b>"), "the provider's words are escaped");
  assert.equal(peer.seen("POST /token").length, 0);
});

test("a client secret that the provider refuses is the operator's to mend", async () => {
  peer.script("POST /token", reply(401, { error: "invalid_client" }));
  await failed(await connect(), "client_rejected");
});

test("a client secret refused with status 200 is the same", async () => {
  peer.script("POST /token", reply(200, { error: "incorrect_client_credentials" }));
  await failed(await connect(), "client_rejected");
});

test("a redirect URI that is not registered is the operator's to mend", async () => {
  peer.script("POST /token", reply(400, { error: "redirect_uri_mismatch" }));
  await failed(await connect(), "redirect_uri_mismatch");
});

test("a code that the provider refuses can be tried again", async () => {
  peer.script("POST /token", reply(200, { error: "bad_verification_code", error_description: "The code passed is incorrect or expired." }));
  await failed(await connect(), "code_refused");
});

test("a token endpoint that is down is not the user's fault", async () => {
  peer.script("POST /token", { always: reply(503, "") });
  await failed(await connect(), "provider_unreachable");
});

test("a token endpoint that hangs is given up on", async () => {
  peer.script("POST /token", hang, hang, hang);
  await failed(await connect(), "provider_unreachable");
});

test("a page instead of a token is not a token", async () => {
  peer.script("POST /token", { always: reply(200, "<h1>Welcome</h1>") });
  await failed(await connect(), "provider_unreachable");
});

test("after a failure the same link connects", async () => {
  peer.script("POST /token", { always: reply(503, "") });
  users += 1;
  const named = { connection_name: github, identifier: `user-${users}` };
  const { link } = (await api.magicLink(named)).json;
  const browser = world.browser();
  const page = await browser.submit(await browser.open(link));
  pageSays(page, 502, /does not answer/);
  const [, back] = /<a class="button" href="([^"]+)">/.exec(page.text) ?? [];
  assert.equal(new URL(back, page.url).href, link, "the page of the failure leads back to the link");
  peer.unscript();
  pageSays(await browser.submit(await browser.open(new URL(back, page.url).href)), 200);
  assert.equal((await api.details(named)).json.connected_account.status, "ACTIVE");
});

test("a page shows nothing of what the provider repeats: code, verifier, secret or token", async () => {
  for (const before of [0, 250, 290]) {
    peer.script("POST /token", repeat(400, before));
    await failed(await connect(), "authorization_failed");
  }
  peer.script("GET /api/user", { always: repeat(401) });
  await failed(await connect(), "identity_lookup_failed");
  peer.callback = ({ code, state }) => ({ code, state, error: "server_error", error_description: `no good: ${code} ${peer.client.client_secret}` });
  const { page } = await connect();
  assert.ok(page.status >= 400);
});
