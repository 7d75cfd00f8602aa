// What the token endpoint can answer when a token is renewed, and what each answer means for the account and for the caller.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { hang, repeat, reply, reset, startScripted } from "./peers/scripted.mjs";
import { answered, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const HOUR = 3600;
const DAY = 24 * HOUR;

const peer = await startScripted({ expiresIn: HOUR });
const world = await openWorld({ peers: [peer] });
const { api } = world;
const connection = await world.connection(peer);
let account;
let users = 0;

beforeEach(async () => {
  users += 1;
  peer.unscript();
  peer.tokenReply = (tokens) => tokens;
  await world.clock(0);
  account = await world.connected(connection, `user-${users}`);
  peer.forget();
});

const whoami = () => api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} });
const tokenRequests = () => peer.seen("POST /token").length;

/** The account has to ask for a token now, and the provider answers as told. */
async function expired(...answers) {
  peer.script("POST /token", ...answers);
  await world.clock(2 * HOUR);
}

/** Still `ACTIVE`: what went wrong heals by itself, or is the operator's to mend, not the user's. */
async function staysActive() {
  const now = await world.account(account);
  assert.equal(now.status, "ACTIVE", now.status_reason);
  return now;
}

test("a token endpoint that is down twice and then works costs no account", async () => {
  await expired(reply(503, { error: "temporarily_unavailable" }), reply(503, "<h1>down</h1>"));
  let late = 2 * HOUR;
  let answer;
  for (let attempt = 0; attempt < 4; attempt++) {
    answer = await whoami();
    if (answer.status === 200) break;
    const { retryAfter } = refused(answer, "PROVIDER_UNAVAILABLE", { retryable: true });
    await staysActive();
    late += (retryAfter ?? 60) + 1;
    await world.clock(late);
  }
  answered(answer);
  assert.equal(tokenRequests(), 3);
  assert.equal((await staysActive()).status_reason, "connected");
});

test("while the token endpoint is down, callers wait and the endpoint is left alone", async () => {
  await expired({ always: reply(503, "") });
  for (let call = 0; call < 10; call++) {
    const { retryAfter } = refused(await whoami(), "PROVIDER_UNAVAILABLE", { retryable: true });
    assert.ok(retryAfter >= 1, "says when to come back");
  }
  assert.ok(tokenRequests() <= 3, `${tokenRequests()} requests to an endpoint that is down`);
  await staysActive();
});

test("a token that is still good is used while a renewal fails", async () => {
  peer.script("POST /token", { always: reply(503, "") });
  refused(await api.refresh({ id: account.id }), "PROVIDER_UNAVAILABLE", { retryable: true });
  answered(await whoami());
  await staysActive();
});

test("a 429 of the token endpoint is waited out, as long as it says", async () => {
  await expired(reply(429, { error: "slow_down" }, { "retry-after": "120" }));
  const details = refused(await whoami(), "RATE_LIMIT_EXCEEDED", { origin: "provider", retryable: true });
  assert.ok(details.retryAfter >= 115 && details.retryAfter <= 150, `${details.retryAfter}`);
  refused(await whoami(), "RATE_LIMIT_EXCEEDED");
  assert.equal(tokenRequests(), 1);
  await staysActive();
  await world.clock(2 * HOUR + 151);
  answered(await whoami());
});

test("a token endpoint that hangs, or breaks the connection, is a timeout or an outage, and costs no account", async () => {
  await expired(hang);
  refused(await whoami(), "PROVIDER_TIMEOUT", { retryable: true });
  await staysActive();
  await expired(reset);
  await world.clock(DAY);
  refused(await whoami(), "PROVIDER_UNAVAILABLE", { retryable: true });
  await staysActive();
});

test("a page instead of JSON is an outage, and costs no account", async () => {
  await expired(reply(200, "<!doctype html><title>Sign in</title>"));
  refused(await whoami(), "PROVIDER_UNAVAILABLE", { retryable: true });
  await staysActive();
});

test("an answer without an access token is an outage, and costs no account", async () => {
  await expired(reply(200, { token_type: "Bearer" }));
  refused(await whoami(), "PROVIDER_UNAVAILABLE", { retryable: true });
  await staysActive();
});

test("invalid_grant ends the account at once, with a link that connects it again", async () => {
  await expired({ always: reply(400, { error: "invalid_grant", error_description: "Token has been revoked." }) });
  const details = refused(await whoami(), "REAUTHORIZATION_REQUIRED", { retryable: false });
  const ended = await world.account(account);
  assert.deepEqual([ended.status, ended.status_reason], ["EXPIRED", "refresh_token_revoked"]);
  assert.equal(tokenRequests(), 1, "asked once");
  refused(await whoami(), "REAUTHORIZATION_REQUIRED");
  assert.equal(tokenRequests(), 1, "and not again");
  peer.unscript();
  const browser = world.browser();
  await browser.submit(await browser.open(details.reauthorizeUrl));
  assert.equal((await world.account(account)).status, "ACTIVE");
  answered(await whoami());
});

test("invalid_client is the operator's to mend, and the account heals when it is", async () => {
  await expired(reply(401, { error: "invalid_client" }));
  refused(await whoami(), "CONNECTION_MISCONFIGURED");
  await staysActive();
  await world.clock(DAY);
  answered(await whoami());
});

test("errors that come with status 200 mean the same", async () => {
  await expired(reply(200, { error: "incorrect_client_credentials", error_description: "The client_id and/or client_secret passed are incorrect." }));
  refused(await whoami(), "CONNECTION_MISCONFIGURED");
  await staysActive();
  peer.script("POST /token", reply(200, { error: "bad_refresh_token", error_description: "The refresh token passed is incorrect or expired." }));
  await world.clock(DAY);
  refused(await whoami(), "REAUTHORIZATION_REQUIRED");
  assert.equal((await world.account(account)).status, "EXPIRED");
});

test("a form-encoded answer is read", async () => {
  const { access_token } = peer.issue("form");
  await expired(reply(200, `access_token=${access_token}&token_type=bearer&expires_in=3600`, { "content-type": "application/x-www-form-urlencoded" }));
  assert.equal(answered(await whoami()).data.login, "form");
});

test("a refresh answer without a refresh token keeps the old one", async () => {
  await expired();
  answered(await whoami());
  const [first] = peer.seen("POST /token");
  assert.equal(first.fields.grant_type, "refresh_token");
  await world.clock(4 * HOUR);
  answered(await whoami());
  assert.equal(peer.seen("POST /token")[1].fields.refresh_token, first.fields.refresh_token);
});

test("a 401 on a token that looks fresh renews it once, repeats the call once, and then says so", async () => {
  peer.expireAccessTokens();
  answered(await whoami());
  assert.deepEqual([tokenRequests(), peer.calls().length], [1, 2]);
  await world.clock(60); // a token that was renewed a moment ago is not renewed again because it is refused
  peer.forget();
  peer.script("GET /api/user", { always: reply(401, { message: "Bad credentials" }) });
  refused(await whoami(), "REAUTHORIZATION_REQUIRED", { providerStatus: 401 });
  assert.deepEqual([tokenRequests(), peer.calls().length], [1, 2]);
});

test("a token is renewed ahead of its expiry without making the call wait", async () => {
  await world.clock(HOUR - 60);
  peer.gate.shut();
  const answer = await whoami();
  assert.equal(answered(answer).data.login, "jo", "answered while the renewal is held at the provider's door");
  await peer.gate.queue(1);
  peer.gate.open();
  while ((await world.account(account)).token_expires_at < new Date(Date.now() + (2 * HOUR - 120) * 1000).toISOString()) {
    await new Promise((done) => setTimeout(done, 20));
  }
  assert.equal(tokenRequests(), 1);
});

test("a token endpoint that repeats all it was sent gives nothing of it away, to callers or in what is stored", async () => {
  for (const [error, code] of [["invalid_request", "CONNECTION_MISCONFIGURED"], ["temporarily_unavailable", "PROVIDER_UNAVAILABLE"], ["invalid_grant", "REAUTHORIZATION_REQUIRED"]]) {
    for (const before of [0, 250, 290]) {
      account = await world.connected(connection, `${error}-${before}`);
      await expired(repeat(400, before, error), repeat(400, before, error));
      refused(await whoami(), code);
      const { refresh } = answered(await api.details({ id: account.id })).connected_account;
      assert.ok(refresh.last_error.message.length < 600, refresh.last_error.message);
      peer.unscript(); // a refusal that was not believed has asked once only
      await world.clock(0);
    }
  }
});

test("an answer of the token endpoint without an end fills no memory and ends no account", async () => {
  await expired(reply(200, { access_token: "x".repeat(3 << 20) }));
  refused(await whoami(), "PROVIDER_UNAVAILABLE", { retryable: true });
  await staysActive();
});
