// The whole way on servers that behave like the vendors': a consent page with real buttons, real REST answers, no browser.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { consent, startEmulate, USER } from "./peers/emulate.mjs";
import { answered, pageSays, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const world = await openWorld();
const { api } = world;

/** An emulator with one connection per connector given, each with a redirect URI registered there. */
async function emulated(service, connectors) {
  const peer = await startEmulate(service, { redirects: connectors.map(({ connector }) => `${world.url}/callback/${connector}`) });
  after(() => peer.stop());
  for (const { connector, scopes, endpoints } of connectors) {
    await world.connection(peer, { name: connector, connector, scopes, endpoints: endpoints?.(peer.url) });
  }
  return peer;
}

const github = await emulated("github", [{ connector: "github", scopes: ["repo", "read:user"] }]);
const google = await emulated("google", [
  { connector: "gmail", scopes: ["https://www.googleapis.com/auth/gmail.modify"] },
  { connector: "googlecalendar", scopes: ["https://www.googleapis.com/auth/calendar"] },
  { connector: "googledrive", scopes: ["https://www.googleapis.com/auth/drive"], endpoints: (url) => ({ api_base: `${url}/drive/v3` }) },
]);
const slack = await emulated("slack", [{ connector: "slack", scopes: ["chat:write", "channels:read", "channels:history"] }]);
const peers = { github, gmail: google, googlecalendar: google, googledrive: google, slack };

/** Connects the seeded user through the consent page. → how tools name the account */
async function connect(connector) {
  const browser = world.browser();
  const { account, page } = await world.connect(connector, "jo", { browser, through: (consentPage) => consent(browser, consentPage) });
  pageSays(page, 200);
  assert.equal(account.status, "ACTIVE", account.status_reason);
  return { connection_name: connector, identifier: "jo", account };
}

async function call({ connection_name, identifier }, tool_name, params = {}) {
  return api.execute({ tool_name, connection_name, identifier, params });
}

test("GitHub: who am I, an issue made, read and commented on", async () => {
  const jo = await connect("github");
  assert.equal(jo.account.label, USER.login);
  assert.equal(answered(await call(jo, "github_user_get_authenticated")).data.login, USER.login);
  const made = answered(await call(jo, "github_issue_create", { owner: USER.login, repo: "hello", title: "From a valet" })).data;
  assert.equal(made.title, "From a valet");
  assert.equal(made.user.login, USER.login, "made by the user who consented");
  refused(await call(jo, "github_issue_create", { owner: USER.login, repo: "no-such-repo", title: "x" }), "RESOURCE_NOT_FOUND", { providerStatus: 404 });
});

test("Gmail: a mail is sent, and found in the mailbox", async () => {
  const jo = await connect("gmail");
  const sent = answered(await call(jo, "gmail_send_message", { to: USER.email, subject: "Grüße from a valet", body: "Hello — in UTF-8 ✓" })).data;
  assert.ok(sent.id);
  const listed = answered(await call(jo, "gmail_fetch_mails", {}));
  assert.ok(JSON.stringify(listed.data).includes(sent.id), JSON.stringify(listed.data).slice(0, 500));
  const raw = await (await api.proxy("GET", `gmail/v1/users/me/messages/${sent.id}`, { account: { connection_name: "gmail", identifier: "jo" } })).text;
  assert.ok(raw.includes(sent.id));
});

test("Slack: a message is posted and read, and an error with status 200 is an error", async () => {
  const jo = await connect("slack");
  const channels = answered(await call(jo, "slack_list_channels")).data;
  const list = Array.isArray(channels) ? channels : channels.channels;
  const { id } = list.find((channel) => channel.name === "general");
  const { ts } = answered(await call(jo, "slack_send_message", { channel: id, text: "hi from a valet" })).data;
  assert.match(ts, /^\d+\.\d+$/);
  refused(await call(jo, "slack_send_message", { channel: "C404", text: "x" }), "RESOURCE_NOT_FOUND", { providerCode: "channel_not_found" });
});

for (const connector of ["googlecalendar", "googledrive"]) {
  test(`${connector}: the seeded user connects and the API knows them`, async () => {
    const jo = await connect(connector);
    assert.equal(jo.account.label, USER.email);
    const path = connector === "googlecalendar" ? "calendar/v3/users/me/calendarList" : "files";
    assert.equal((await api.proxy("GET", path, { account: { connection_name: jo.connection_name, identifier: "jo" } })).status, 200);
  });
}

test("a disconnected Google account is revoked at Google", async () => {
  const jo = await connect("gmail");
  google.forget();
  const { revocation } = answered(await api.disconnect({ id: jo.account.id }));
  assert.equal(revocation.succeeded, true);
  assert.ok(google.requests.some((request) => request.path === "/oauth2/revoke"));
  refused(await call(jo, "gmail_fetch_mails"), "REAUTHORIZATION_REQUIRED");
});

test("every call carried a token that the provider had issued to that user", () => {
  for (const peer of new Set(Object.values(peers))) {
    for (const request of peer.calls()) {
      const bearer = request.headers.authorization?.replace(/^(Bearer|token) /i, "");
      assert.ok(peer.issued.has(bearer), `${request.method} ${request.path}`);
    }
  }
});
