// The peers themselves: a double that accepts anything would make every other test pass.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, test } from "node:test";

import { consent, startEmulate, USER } from "./peers/emulate.mjs";
import { understood } from "./peers/graphql.mjs";
import { startOidc } from "./peers/oidc.mjs";
import { drip, hang, reply, startScripted } from "./peers/scripted.mjs";
import { Browser } from "./support/browser.mjs";
import { Places } from "./support/scan.mjs";
import { learn } from "./support/secrets.mjs";

const redirect_uri = "http://127.0.0.1:9/callback";
const peers = {
  oidc: await startOidc({ redirects: [redirect_uri] }),
  strict: await startScripted({ rotate: true }),
  lenient: await startScripted({ rotate: true, grace: true }),
};
after(() => Promise.all(Object.values(peers).map((peer) => peer.stop())));

/** Goes through a peer's consent with PKCE. → `{code, verifier, back}` */
async function authorized(peer) {
  const verifier = randomBytes(32).toString("base64url");
  const url = new URL(peer.endpoints.authorize_url);
  url.search = new URLSearchParams({
    response_type: "code", client_id: peer.client.client_id, redirect_uri, state: "a state of its own", scope: "repo",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
  });
  const page = await new Browser().open(url, { until: (target) => target.startsWith(redirect_uri) });
  const back = new URL(page.location).searchParams;
  return { code: back.get("code"), verifier, back };
}

async function token(peer, fields) {
  const answer = await fetch(peer.endpoints.token_url, { method: "POST", body: new URLSearchParams({ ...peer.client, ...fields }) });
  return { status: answer.status, ...(await answer.json()) };
}

const exchange = (peer, { code, verifier }, changed) =>
  token(peer, { grant_type: "authorization_code", code, code_verifier: verifier, redirect_uri, ...changed });
const refresh = (peer, refresh_token) => token(peer, { grant_type: "refresh_token", refresh_token });
const me = (peer, bearer) => fetch(`${peer.endpoints.api_base}/user`, { headers: { authorization: `Bearer ${bearer}` } });

for (const [name, peer] of Object.entries(peers)) {
  test(`${name}: a code is good once, with its verifier, its redirect URI and the client's secret`, async () => {
    assert.equal((await exchange(peer, await authorized(peer), { code_verifier: "x".repeat(43) })).error, "invalid_grant");
    assert.equal((await exchange(peer, await authorized(peer), { redirect_uri: "http://127.0.0.1:9/other" })).error, "invalid_grant");
    assert.equal((await exchange(peer, await authorized(peer), { client_secret: "wrong" })).error, "invalid_client");
    const grant = await authorized(peer);
    assert.equal(grant.back.get("state"), "a state of its own");
    assert.equal((await exchange(peer, grant)).status, 200);
    assert.equal((await exchange(peer, grant)).error, "invalid_grant");
  });

  test(`${name}: the API takes a token it issued and no other, and stops when told`, async () => {
    const { access_token } = await exchange(peer, await authorized(peer));
    assert.equal((await (await me(peer, access_token)).json()).login, "jo");
    assert.equal((await me(peer, "another")).status, 401);
    peer.expireAccessTokens();
    assert.equal((await me(peer, access_token)).status, 401);
  });
}

test("oidc: the second use of a refresh token is counted and ends the grant", async () => {
  const peer = peers.oidc;
  const first = await exchange(peer, await authorized(peer));
  const second = await refresh(peer, first.refresh_token);
  assert.equal(second.status, 200);
  assert.ok(peer.liveRefreshTokens("jo").length >= 1);
  peer.resetCounts();
  assert.equal((await refresh(peer, first.refresh_token)).error, "invalid_grant");
  assert.equal((await refresh(peer, second.refresh_token)).error, "invalid_grant", "the successor died with it");
  assert.deepEqual([peer.counts.refresh, peer.counts.reuse], [2, 1]);
});

test("oidc: without PKCE there is no consent", async () => {
  const url = new URL(peers.oidc.endpoints.authorize_url);
  url.search = new URLSearchParams({ response_type: "code", client_id: peers.oidc.client.client_id, redirect_uri, state: "s", scope: "repo" });
  const page = await new Browser().open(url, { until: (target) => target.startsWith(redirect_uri) });
  assert.equal(new URL(page.location).searchParams.get("error"), "invalid_request");
});

test("scripted: a spent refresh token is dead at once, or lives until its successor was used", async () => {
  const strict = peers.strict.issue();
  assert.equal((await refresh(peers.strict, strict.refresh_token)).status, 200);
  assert.equal((await refresh(peers.strict, strict.refresh_token)).error, "invalid_grant");
  const lenient = peers.lenient.issue();
  const next = await refresh(peers.lenient, lenient.refresh_token);
  assert.equal((await refresh(peers.lenient, lenient.refresh_token)).status, 200);
  assert.equal((await refresh(peers.lenient, next.refresh_token)).status, 200);
  assert.equal((await refresh(peers.lenient, lenient.refresh_token)).error, "invalid_grant");
});

test("scripted: answers come in the order of the script, then as usual", async () => {
  const peer = peers.strict;
  peer.script("GET /api/thing", reply(503, "down"), drip(["a", "b"], 1), hang);
  const get = (options) => fetch(`${peer.url}/api/thing`, { headers: { authorization: `Bearer ${peer.issue().access_token}` }, ...options });
  assert.equal((await get()).status, 503);
  assert.equal(await (await get()).text(), "ab");
  await assert.rejects(get({ signal: AbortSignal.timeout(50) }), "hangs");
  assert.equal((await get()).status, 200);
  assert.equal(peer.seen("GET /api/thing").length, 4);
});

test("a gate holds token requests until it opens, or turns them away", async () => {
  const peer = peers.lenient;
  peer.gate.shut();
  const held = refresh(peer, peer.issue().refresh_token);
  await peer.gate.queue(1);
  peer.gate.open();
  assert.equal((await held).status, 200);
  peer.gate.shut();
  const away = refresh(peer, peer.issue().refresh_token);
  await peer.gate.queue(1);
  peer.gate.dismiss();
  await assert.rejects(away);
});

for (const service of ["github", "google", "slack", "linear", "microsoft"]) {
  test(`${service}: the emulator behind its front gives tokens to the seeded user and refuses all others`, async (t) => {
    const peer = await startEmulate(service, { redirects: [redirect_uri] });
    t.after(() => peer.stop());
    const browser = new Browser();
    const url = new URL(peer.endpoints.authorize_url);
    const scope = service === "linear" ? "read" : "chat:write";
    url.search = new URLSearchParams({ response_type: "code", client_id: peer.client.client_id, redirect_uri, state: "s", scope });
    const last = await consent(browser, await browser.open(url), { until: (target) => target.startsWith(redirect_uri) });
    const tokens = await token(peer, { grant_type: "authorization_code", code: new URL(last.location).searchParams.get("code"), redirect_uri });
    const [path, holds] = {
      github: ["/user", USER.login], google: ["/v1/userinfo", USER.email], slack: ["/api/auth.test", "workspace"],
      linear: ["/graphql?query={viewer{email}}", USER.email], microsoft: ["/v1.0/me", USER.email],
    }[service];
    const ask = async (bearer) => (await fetch(peer.url + path, { headers: { authorization: `Bearer ${bearer}` } })).text();
    assert.ok((await ask(tokens.access_token)).includes(holds));
    assert.ok(!(await ask("another")).includes(holds));
    assert.deepEqual(peer.calls().map((request) => request.path), [path, path].map((each) => each.split("?")[0]));
  });
}

test("a document loses what the emulator's schema does not have, and nothing is carried out meanwhile", async (t) => {
  const peer = await startEmulate("linear");
  t.after(() => peer.stop());
  const lean = (document) => understood(`${peer.upstream}/graphql`, document);
  const tidy = (text) => text.replace(/[\s,]+/g, " ").trim();
  assert.equal(tidy(await lean(`query Q($first: Int, $filter: ProjectFilter, $orderBy: PaginationOrderBy) {
    projects(first: $first, filter: $filter, orderBy: $orderBy) { nodes { id slugId lead(a: 1) { id { x } } name } }
    nothing(first: $first) { id }
  }`)), "query Q($first: Int ) { projects(first: $first ) { nodes { id name } } }");
  assert.equal(await lean("{ teams { nodes { id } } }"), "{ teams { nodes { id } } }");
  assert.equal(await lean("{ teams {"), "{ teams {", "what is no document stays as it is");
});

test("the scan finds a secret in every spelling, and lets it be where it belongs", () => {
  const secret = learn("planted", "s3cret/with+odd characters?");
  const bytes = Buffer.from(secret);
  const places = new Places();
  for (const text of [secret, encodeURIComponent(secret), bytes.toString("base64"), bytes.toString("base64url"), bytes.toString("hex")]) {
    places.add("somewhere", `before ${text} after`);
  }
  places.add("its own page", secret, ["planted"]);
  places.add("elsewhere", "nothing here");
  assert.equal(places.findings().length, 5);
  assert.ok(places.findings().every(({ where, near }) => where === "somewhere" && !near.includes(secret)));
  assert.throws(() => places.assertClean(), /5 secrets in clear/);
});

test("the scan finds half a secret, too", () => {
  const secret = learn("planted", "half-a-secret-" + "0123456789abcdefghijklmnop");
  const places = new Places();
  places.add("cut", `it ends with ${secret.slice(0, 24)}`);
  places.add("less than half", `it ends with ${secret.slice(0, 18)}`);
  assert.deepEqual(places.findings().map(({ where }) => where), ["cut"]);
  assert.ok(!places.findings()[0].near.includes(secret.slice(0, 24)));
});

test("two browsers share no cookie, and none is sent where it does not belong", async () => {
  const peer = peers.strict;
  const cookies = ["plain=1; Path=/", "narrow=1; Path=/only", "secure=1; Secure", "__Host-x=1; Secure; Path=/", "gone=1; Max-Age=0"];
  peer.script("GET /cookies", { status: 200, body: "set", headers: { "set-cookie": cookies } });
  const browser = new Browser();
  await browser.open(`${peer.url}/cookies`);
  const names = (url) => browser.cookies(url).map((c) => c.name);
  assert.deepEqual(names(`${peer.url}/`), ["plain"], "plain http keeps no Secure cookie");
  assert.deepEqual(names(`${peer.url}/only/here`), ["plain", "narrow"]);
  assert.deepEqual(names("http://other.example/"), []);
  assert.deepEqual(new Browser().cookies(peer.url), []);
});
