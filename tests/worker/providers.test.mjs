// Every provider, the whole way, against a vendor set up from a table that was not made from the connectors: connect, who it is,
// a tool call, expiry, renewal, revocation, connecting again, disconnecting.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";

import { ROWS } from "./providers/rows.mjs";
import { Vendor, matches } from "./providers/vendor.mjs";
import { answered, pageSays, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const DAY = 86_400;
let vendor;
let ahead = 0;
const world = await openWorld({ outbound: (request) => vendor?.answer(request) });
const { api } = world;

const forward = (seconds) => world.clock((ahead += seconds));

/** From a link to the page at the end. `choose` is the name of the one to take when the vendor knows several. */
async function through(row, link) {
  const browser = world.browser();
  const start = await browser.open(link);
  pageSays(start, 200);
  const out = (url) => !url.startsWith(world.url);
  let page = await browser.submit(start, { fields: { ...row.fields, ...vendor.typed.fields }, until: out });
  if (page.location) {
    checkAuthorize(row, new URL(page.location));
    page = await browser.open(vendor.consent(page.location));
  }
  if (row.choose) {
    pageSays(page, 200, new RegExp(row.choose.name));
    page = await browser.submit(page, { fields: { option: String(row.choose.place) } });
  }
  assert.equal(page.status, 200, page.words);
  pageSays(page, 200, /is connected/);
}

/** The authorization request is the one the vendor documents. */
function checkAuthorize(row, url) {
  const asked = url.searchParams;
  assert.equal(`${url.origin}${url.pathname}`, row.oauth1?.authorize ?? row.authorize);
  for (const [name, value] of Object.entries(row.params ?? {})) assert.equal(asked.get(name), value, `${name} in ${url}`);
  if (row.oauth1) return;
  assert.equal(asked.get("client_id"), vendor.client.client_id);
  assert.equal(asked.get("redirect_uri"), `${world.url}/callback/${row.name}`);
  assert.equal(asked.get("response_type"), "code");
  if (row.pkce === "required") assert.equal(asked.get("code_challenge_method"), "S256");
  if (row.pkce === "never") assert.equal(asked.get("code_challenge"), null, "this vendor does not take PKCE");
  const scope = asked.get(row.scopeParameter ?? "scope");
  for (const wanted of row.scopes ?? []) assert.ok(scope?.split(row.separator ?? " ").includes(wanted), `${wanted} in ${scope}`);
  if (row.scopes === null) assert.equal(scope, null, "this vendor has no scopes in the request");
}

async function call(row, account) {
  vendor.requests.length = 0;
  const answer = await api.execute({ tool_name: row.call.tool, ...account, params: row.call.params ?? {} });
  return answer;
}

function tokenRequests(row) {
  return vendor.requests.filter((request) => request.address === `POST ${row.token}`).length;
}

for (const row of ROWS) {
  row.name = row.id;
  test(`${row.id}: connect, call, expire, renew, revoke, reconnect, disconnect`, async () => {
    vendor = new Vendor(row);
    const made = answered(await api.createConnection({
      name: row.name, connector: row.connector ?? row.id, ...vendor.client, ...(row.method && { method: row.method }), ...row.connection }));
    assert.equal(made.connection.name, row.name);
    const named = { connection_name: row.name, identifier: "jo" };
    const { link } = answered(await api.magicLink({ ...named, ...row.link }));

    await through(row, link);
    const { connected_account: account } = answered(await api.details(named));
    assert.equal(account.status, "ACTIVE", account.status_reason);
    assert.ok(account.label?.includes(row.label ?? ""), `${account.label} is a name that a person recognises`);
    for (const [name, value] of Object.entries(row.variables ?? {})) assert.equal(account.variables[name], value, name);
    assert.equal(account.authorization_type, row.type ?? "OAUTH");

    answered(await call(row, named));
    const sent = vendor.requests.find(({ address }) => matches(row.call.address, address));
    assert.ok(sent, `${row.call.address} was not asked, but ${vendor.requests.map(({ address }) => address)}`);
    row.call.check?.(sent, vendor);

    if (row.refreshes || row.mints) {
      for (const round of [1, 2]) {
        // A lifetime that the vendor tells or documents ends; one that nobody knows shows when the API refuses.
        vendor.end();
        await forward((row.lifetime ?? 0) + 60);
        answered(await call(row, named));
        if (row.token) assert.equal(tokenRequests(row), 1, `one renewal, round ${round}`);
      }
    } else {
      await forward(40 * DAY);
      answered(await call(row, named));
      assert.equal(tokenRequests(row), 0, "what does not end is not renewed");
    }

    vendor.end({ all: true });
    await forward((row.lifetime ?? 0) + 60);
    const details = refused(await call(row, named), "REAUTHORIZATION_REQUIRED");
    assert.ok(details.reauthorizeUrl.startsWith(`${world.url}/connect/`));
    // A JWT is made here and always new: nothing but the API's word says that its key was taken away.
    assert.equal(answered(await api.details(named)).connected_account.status, row.mints && !row.token ? "ACTIVE" : "EXPIRED");

    vendor.begin();
    await through(row, details.reauthorizeUrl);
    answered(await call(row, named));

    const { revocation, connected_account: gone } = answered(await api.disconnect(named));
    assert.equal(gone.status, "DISCONNECTED");
    assert.equal(revocation.attempted, Boolean(row.revoke), "revocation where the vendor has one");
    if (row.revoke) {
      assert.ok(revocation.succeeded, revocation.detail);
      row.revoke.check?.(vendor.revoked, vendor);
    }
    refused(await call(row, named), "REAUTHORIZATION_REQUIRED");
    assert.equal(vendor.requests.length, 0, "nothing is sent for an account that was disconnected");
  });
}

test("the table has a row for every connector", () => {
  const rows = new Set(ROWS.map((row) => row.connector ?? row.id));
  const folders = readdirSync(new URL("../../connectors", import.meta.url), { withFileTypes: true });
  assert.deepEqual(folders.filter((entry) => entry.isDirectory()).map((entry) => entry.name).sort(), [...rows].sort());
});
