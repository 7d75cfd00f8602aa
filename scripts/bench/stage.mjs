// What the measurements stand on: the release Worker and the pass-through in one workerd, the provider, the callers, and
// imported accounts.
import { fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { instance, settings, worker } from "../miniflare.mjs";

const OPERATOR = "operator";
const PASSTHROUGH = readFileSync(new URL("passthrough.mjs", import.meta.url), "utf8");

/** A child process of this folder, and how to ask it something. */
export async function child(file) {
  const process = fork(new URL(file, import.meta.url), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  return {
    ask: async (message) => {
      process.send(message);
      const [answer] = await once(process, "message");
      if (answer.error) throw new Error(`${file}: ${answer.error}`);
      return answer.result ?? answer;
    },
    told: async () => (await once(process, "message"))[0],
    stop: async () => {
      process.disconnect();
      await once(process, "exit");
    },
  };
}

/** Secrets that a deployment has; fresh for each run. */
export const secrets = () => ({
  VALETKEY_KEYS: `k1:${randomBytes(32).toString("base64")}`,
  VALETKEY_CLIENT_ID: OPERATOR,
  VALETKEY_CLIENT_SECRET: randomBytes(24).toString("base64url"),
});

/** The pass-through with the same bindings as the Worker, to stand beside it or in its place. */
export function passthrough({ build, name, bindings = {} }) {
  const bare = worker({ build, name, bindings });
  bare.config.manifest = { mainModule: "passthrough.mjs", modules: { "passthrough.mjs": { type: "esm", contents: PASSTHROUGH } } };
  return bare;
}

/** Starts workers in one workerd on a state folder of its own. → `{url(name), stop()}` */
export async function start(workers) {
  const state = mkdtempSync(join(tmpdir(), "bench-"));
  const miniflare = new Miniflare(instance(state, workers, ({ level, message }) => level === "error" && console.error(message)));
  await miniflare.ready;
  return {
    url: async (name) => (await miniflare.unsafeGetDirectURL(name)).origin,
    stop: async () => {
      await miniflare.dispose();
      rmSync(state, { recursive: true, force: true });
    },
  };
}

/** Both Workers, the provider and the callers. */
export async function openStage(build) {
  const bindings = secrets();
  const upstream = await child("upstream.mjs");
  const { url: provider } = await upstream.told();
  const main = settings().name;
  const workerd = await start([worker({ build, bindings }), passthrough({ build, name: "bare", bindings: { UPSTREAM: provider } })]);
  const load = await child("load.mjs");
  const url = await workerd.url(main);
  const bearer = await callerToken(url, bindings);
  return {
    url, bare: await workerd.url("bare"), provider, bearer, load,
    /** Processor seconds used so far by the provider and, where /proc tells, by workerd. */
    cpu: async () => ({ upstream: (await upstream.ask("cpu")).cpu, workerd: workerdCpu() }),
    stop: async () => {
      await load.stop();
      await workerd.stop();
      await upstream.stop();
    },
    /** A connection of GitHub at the provider, with this many imported accounts. → their identifiers */
    async accounts(name, count) {
      await post(url, bearer, "/api/v1/connections", { name, connector: "github", client_id: "bench", client_secret: "bench-secret",
        endpoints: { api_base: provider, token_url: `${provider}/token` } });
      const identifiers = Array.from({ length: count }, (_, i) => `${name}-user-${i}`);
      for (const identifier of identifiers)
        await post(url, bearer, "/api/v1/connected_accounts", { connection_name: name, identifier, connected_account: {
          authorization_details: { oauth_token: { access_token: `gho_${randomBytes(18).toString("hex")}`, scopes: ["repo"] } } } });
      return identifiers;
    },
  };
}

async function callerToken(url, { VALETKEY_CLIENT_ID: id, VALETKEY_CLIENT_SECRET: secret }) {
  const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
  const body = new URLSearchParams({ grant_type: "client_credentials" });
  const answer = await fetch(`${url}/oauth/token`, { method: "POST", headers: { authorization }, body });
  if (!answer.ok) throw new Error(`no caller token: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).access_token;
}

async function post(url, bearer, path, json) {
  const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
  const answer = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(json) });
  if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** Processor seconds of the workerd that this process started; null where there is no /proc. */
function workerdCpu() {
  try {
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
    const stats = children.map((pid) => readFileSync(`/proc/${pid}/stat`, "utf8"));
    const fields = stats.find((stat) => stat.includes("(workerd)")).split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100; // user and system time, in hundredths
  } catch {
    return null;
  }
}
