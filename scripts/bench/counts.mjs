// What one operation asks of the platform, counted exactly: Durable Object requests, KV reads and KV writes. Each costs
// money and a round trip in production. Objects' own KV writes are counted with those of the Worker.
import { startScripted } from "../../tests/worker/peers/scripted.mjs";
import { openWorld } from "../../tests/worker/support/world.mjs";

const TOOL = "github_user_get_authenticated";
const LEASE = 1_100; // a little longer than an isolate keeps an account's token and permits
const CALLS_IN_A_ROW = 640;
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** The JSON of an answer that went well. */
function answered({ status, json, text }) {
  if (status > 299) throw new Error(`${status} ${text}`);
  return json;
}

/** → rows `{what, objects, reads, writes}` */
export async function counts(build) {
  const peer = await startScripted({ rotate: true });
  let close;
  const world = await openWorld({ build, peers: [peer], t: { after: (work) => (close = work) } });
  try {
    const { connection } = answered(await world.api.createConnection({ name: "bench", connector: "github", scopes: ["repo"],
      ...peer.client, endpoints: peer.endpoints }));
    return await count(world, peer, connection.name);
  } finally {
    await close();
  }
}

async function count(world, peer, connection_name) {
  const { api, worker } = world;
  const rows = [];
  /** Counts what `work` asks for, on average over `calls`, with what goes on behind the last answer. */
  const row = async (what, work, calls = 1) => {
    await worker.resetCounts();
    await work();
    await pause(100);
    const seen = await worker.counts();
    rows.push({ what, objects: seen.durableObjectRequests / calls, reads: seen.kvReads / calls, writes: seen.kvWrites / calls });
  };

  const account = { connection_name, identifier: "user-1" };
  await row("connect: magic link, consent pages, callback", async () => {
    const { link } = answered(await api.magicLink(account));
    const browser = world.browser();
    const page = await browser.submit(await browser.open(link));
    if (page.status !== 200) throw new Error(`connecting ended with ${page.status}: ${page.words}`);
  });
  const proxied = async () => answered(await api.proxy("GET", "user", { account }));
  const tool = async () => answered(await api.execute({ tool_name: TOOL, ...account, params: {} }));
  const kinds = { "proxied call": proxied, "tool call": tool };
  for (const [name, call] of Object.entries(kinds)) {
    // Forty calls, one after the other, lease 1, 2, 4, 8, 16 and 32 permits: after them some are left.
    for (let i = 0; i < 40; i++) await call();
    await row(`${name}, warm and leased`, call);
  }
  for (const [name, call] of Object.entries(kinds)) {
    await pause(LEASE);
    await row(`${name}, after a quiet second`, call);
  }
  await row(`proxied call, mean of ${CALLS_IN_A_ROW} in a row, 16 at a time`, async () => {
    await Promise.all(Array.from({ length: 16 }, async () => {
      for (let i = 0; i < CALLS_IN_A_ROW / 16; i++) await proxied();
    }));
  }, CALLS_IN_A_ROW);
  await row("refresh asked for: POST …/refresh", async () => answered(await api.refresh(account)));
  await world.clock(3 * peer.expiresIn);
  await api.bearer();
  await row("call whose token has ended: refresh, then the call", proxied);
  return rows;
}
