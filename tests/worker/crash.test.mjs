// The process is killed at random points of many refreshes and started again on the same storage. No account may be lost that
// the provider still honours: neither by forgetting a token that was issued, nor by using one that was spent.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { startWorkerProcess } from "./harness.mjs";
import { startOidc } from "./peers/oidc.mjs";
import { hang, startScripted } from "./peers/scripted.mjs";
import { freePort } from "./peers/server.mjs";
import { answered, comes, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const ROUNDS = 12;
const EACH = 3; // accounts per provider: ROUNDS × 2 × EACH refreshes are interrupted
const LATEST = 45; // ms: a refresh is over by then, so a kill before that falls anywhere before, within and after

// The strict provider kills a grant whose spent token comes back; the lenient one takes it until the new one was used.
const strict = await startOidc();
const lenient = await startScripted({ rotate: true, grace: true });
const storage = mkdtempSync(join(tmpdir(), "valetkey-crash-"));
const world = await openWorld({ start: startWorkerProcess, persist: storage, port: await freePort(), peers: [strict, lenient] });
after(() => rmSync(storage, { recursive: true, force: true }));
const { api } = world;
const connections = { strict: await world.connection(strict), lenient: await world.connection(lenient) };

async function connect(provider, identifier) {
  strict.user = identifier;
  return { provider, identifier, ...(await world.connected(connections[provider], identifier)) };
}

/** The refresh tokens the strict provider takes from this user. */
const live = ({ identifier }) => strict.liveRefreshTokens(identifier).map(({ id }) => id).join();

/** When to kill: at a random time, when a random one of the providers' answers has left, or when a caller has got one. */
const MOMENTS = {
  "a random time": () => new Promise((over) => setTimeout(over, Math.random() * LATEST)),
  "an answer of the provider": () => {
    const from = strict.counts.refresh + lenient.answered;
    const wanted = 1 + Math.floor(Math.random() * EACH * 2);
    return until(() => strict.counts.refresh + lenient.answered >= from + wanted);
  },
  "an answer to a caller": (answers) => {
    const wanted = 1 + Math.floor(Math.random() * EACH * 2);
    return until(() => answers.filter(Boolean).length >= wanted);
  },
};

async function until(condition) {
  while (!condition()) await new Promise((done) => setImmediate(done));
}

/** Refreshes every account at once and kills the process at that moment. → which refreshes were answered before that */
async function interrupted(accounts, moment) {
  const answers = accounts.map(() => false);
  const requests = accounts.map((account, at) =>
    api.refresh({ id: account.id }).then((answer) => (answers[at] = answer.status === 200), () => false));
  await MOMENTS[moment](answers);
  const before = [...answers];
  await world.worker.kill();
  await Promise.all(requests);
  return before;
}

test(`no account is lost over ${ROUNDS * 2 * EACH} interrupted refreshes`, async (t) => {
  const accounts = [];
  for (let n = 0; n < EACH; n++) {
    accounts.push(await connect("strict", `strict-${n}`), await connect("lenient", `lenient-${n}`));
  }
  const tally = { kept: 0, spentUnseen: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const moment = Object.keys(MOMENTS)[round % 3];
    const before = accounts.map(live);
    const answeredBefore = await interrupted(accounts, moment);
    const atKill = accounts.map(live);
    await world.startAgain();
    for (const [at, account] of accounts.entries()) {
      const where = `${account.identifier}, round ${round}, killed at ${moment}`;
      const answer = await api.refresh({ id: account.id });
      if (answer.status === 200) {
        tally.kept += 1;
        assert.equal(answer.json.connected_account.status, "ACTIVE", where);
        answered(await api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} }));
        continue;
      }
      // Only one loss can be excused: the provider had spent the old token, and the new one died on the wire with the process.
      refused(answer, "REAUTHORIZATION_REQUIRED");
      assert.equal(account.provider, "strict", `${where}: lost, though the provider takes the old token until the new one is used`);
      assert.notEqual(atKill[at], before[at], `${where}: lost, though its refresh token had not been spent`);
      assert.equal(answeredBefore[at], false, `${where}: lost, though the refresh had been answered`);
      assert.equal(live(account), "", `${where}: lost, though the provider still honours it`);
      tally.spentUnseen += 1;
      accounts[at] = await connect("strict", account.identifier);
    }
  }
  t.diagnostic(`${tally.kept} kept, ${tally.spentUnseen} whose new token died on the wire`);
  assert.ok(tally.kept >= ROUNDS * EACH, "the provider that forgives keeps every account");
});

test("a write whose Worker died under it reaches the provider once for one key", async () => {
  const account = await connect("lenient", "writer");
  const write = (key) => api.execute({ tool_name: "github_issue_create", connected_account_id: account.id, params: { owner: "jo", repo: "r", title: "t" } },
    { headers: { "idempotency-key": key } });
  const route = "POST /api/repos/jo/r/issues";
  lenient.script(route, hang);
  const first = write("key").catch(() => {});
  await until(() => lenient.seen(route).length === 1);
  await world.worker.kill();
  await first;
  await world.startAgain();
  refused(await write("key"), "CONFLICT", { retryable: true });
  for (const minutes of [6, 23 * 60]) {
    await world.clock(minutes * 60);
    refused(await write("key"), "CONFLICT", { retryable: false });
  }
  await world.clock(0);
  assert.equal(lenient.seen(route).length, 1);
  answered(await write("another key"));
});

test("what was stored before a crash is there after it", async () => {
  const account = await connect("lenient", "survivor");
  await world.worker.kill();
  await world.startAgain();
  assert.equal((await world.account(account)).status, "ACTIVE");
  answered(await api.execute({ tool_name: "github_user_get_authenticated", connected_account_id: account.id, params: {} }));
  assert.equal(answered(await api.call("GET", "/api/v1/connections")).connections.length, 2);
});

test("what is owed when a Worker dies is done by itself, though nobody asks the account again", async () => {
  const account = await connect("lenient", "revoked-by-alarm");
  const route = "DELETE /revoke";
  lenient.script(route, hang);
  const disconnecting = api.disconnect({ id: account.id }).catch(() => {});
  await until(() => lenient.seen(route).length === 1);
  await world.worker.kill();
  await disconnecting;
  await world.startAgain();
  await comes(() => lenient.seen(route).length > 1, "the alarm revokes what the disconnect left", 40_000);
  refused(await api.auth({ id: account.id }), "REAUTHORIZATION_REQUIRED");
});

test("an account disconnected before a crash stays disconnected", async () => {
  const account = await connect("lenient", "leaver");
  answered(await api.disconnect({ id: account.id }));
  await world.worker.kill();
  await world.startAgain();
  assert.equal((await world.account(account)).status, "DISCONNECTED");
  refused(await api.auth({ id: account.id }), "REAUTHORIZATION_REQUIRED");
});
