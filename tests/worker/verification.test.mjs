// The operator's own check of who came back: until their backend confirms the identifier, a new account stays unusable.

import assert from "node:assert/strict";
import { test } from "node:test";

import { startScripted } from "./peers/scripted.mjs";
import { answered, refused } from "./support/expect.mjs";
import { learn } from "./support/secrets.mjs";
import { openWorld } from "./support/world.mjs";

const peer = await startScripted();
const world = await openWorld({ peers: [peer] });
const { api } = world;
const connection = await world.connection(peer);
const verifyUrl = "http://127.0.0.1:9/verify?from=valetkey"; // nobody listens: the browser stops before it
let users = 0;

/** A user who has consented and was sent to the verify address. → `{named, id, request, state}` */
async function consented({ state = "operator's own state" } = {}) {
  users += 1;
  const named = { connection_name: connection, identifier: `user-${users}` };
  const { link } = answered(await api.magicLink({ ...named, user_verify_url: verifyUrl, state }));
  const browser = world.browser();
  const last = await browser.submit(await browser.open(link), { until: (url) => url.startsWith("http://127.0.0.1:9/") });
  const target = new URL(last.location);
  assert.equal(target.origin + target.pathname, "http://127.0.0.1:9/verify");
  assert.equal(target.searchParams.get("from"), "valetkey", "the address keeps its own parameters");
  assert.deepEqual([...target.searchParams.keys()].sort(), ["auth_request_id", "from", "state"], "and gets no more than it needs");
  const { id } = answered(await api.details(named)).connected_account;
  return { named, id, request: target.searchParams.get("auth_request_id"), state: target.searchParams.get("state") };
}

const verify = (fields) => api.call("POST", "/api/v1/connected_accounts/user/verify", { json: fields });
const whoami = (id) => api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: id, params: {} });

/** Not connected yet: no token, no call, nothing sent to the provider. */
async function unusable(id, status = "PENDING_VERIFICATION") {
  assert.equal((await world.account({ id })).status, status);
  peer.forget();
  refused(await whoami(id), "REAUTHORIZATION_REQUIRED");
  refused(await api.auth({ id }), "REAUTHORIZATION_REQUIRED");
  refused(await api.refresh({ id }), "REAUTHORIZATION_REQUIRED");
  refused(await api.proxy("GET", "user", { account: { connected_account_id: id } }), "REAUTHORIZATION_REQUIRED");
  // Beside what the alarm revokes.
  assert.deepEqual(peer.requests.filter(({ path }) => path !== "/revoke"), []);
}

test("an account is usable only after the operator confirmed the identifier", async () => {
  const { named, id, request, state } = await consented();
  assert.equal(state, "operator's own state");
  await unusable(id);
  const { post_user_verify_redirect_url: next } = answered(await verify({ auth_request_id: request, identifier: named.identifier }));
  assert.equal(new URL(next).origin, world.url);
  const page = await world.browser().open(next);
  assert.equal(page.status, 200, page.words);
  assert.equal((await world.account({ id })).status, "ACTIVE");
  assert.equal(answered(await whoami(id)).data.login, "jo");
});

test("a wrong identifier is refused, and the consent is dropped", async () => {
  for (const wrong of ["somebody-else", "USER", "user-"]) {
    const { named, id, request } = await consented();
    refused(await verify({ auth_request_id: request, identifier: wrong }), "PERMISSION_DENIED");
    await unusable(id, "PENDING_AUTH");
    assert.equal((await world.account({ id })).status_reason, "verification_mismatch");
    assert.ok((await verify({ auth_request_id: request, identifier: named.identifier })).status >= 400, "guessing has one try");
    await unusable(id, "PENDING_AUTH");
  }
  const { id, request } = await consented();
  refused(await verify({ auth_request_id: request, identifier: "" }), "INVALID_REQUEST");
  refused(await verify({ identifier: "user" }), "INVALID_REQUEST");
  await unusable(id);
});

test("an unknown, foreign or used request is refused", async () => {
  const first = await consented();
  const second = await consented();
  assert.ok((await verify({ auth_request_id: "nothing", identifier: first.named.identifier })).status >= 400);
  refused(await verify({ auth_request_id: second.request, identifier: first.named.identifier }), "PERMISSION_DENIED");
  await unusable(first.id);
  await unusable(second.id, "PENDING_AUTH");
  answered(await verify({ auth_request_id: first.request, identifier: first.named.identifier }));
  assert.ok((await verify({ auth_request_id: first.request, identifier: first.named.identifier })).status >= 400, "works once");
  assert.equal((await world.account({ id: first.id })).status, "ACTIVE");
});

test("a user who comes back to connect again does not lose the account that works", async () => {
  const { named, id, request } = await consented();
  answered(await verify({ auth_request_id: request, identifier: named.identifier }));
  const { link } = answered(await api.magicLink({ ...named, user_verify_url: verifyUrl }));
  answered(await whoami(id));
  const browser = world.browser();
  await browser.submit(await browser.open(link), { until: (url) => url.startsWith("http://127.0.0.1:9/") });
  answered(await whoami(id));
});

test("the first-seen tokens of a stranger never reach the account", async () => {
  // A link sent on to somebody else: they consent with their own account at the provider, the operator's backend says no.
  peer.user = "stranger";
  const { named, id, request } = await consented();
  refused(await verify({ auth_request_id: request, identifier: "stranger's own identifier" }), "PERMISSION_DENIED");
  peer.user = "jo";
  const { link } = answered(await api.magicLink({ ...named, user_verify_url: verifyUrl }));
  const browser = world.browser();
  const last = await browser.submit(await browser.open(link), { until: (url) => url.startsWith("http://127.0.0.1:9/") });
  const again = new URL(last.location).searchParams.get("auth_request_id");
  learn("auth request", again);
  answered(await verify({ auth_request_id: again, identifier: named.identifier }));
  assert.equal(answered(await whoami(id)).data.login, "jo");
});
