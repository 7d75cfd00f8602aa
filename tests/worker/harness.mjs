// The one place where tests start the Worker: the built modules in workerd, with the bindings of wrangler.toml.
//
//   const w = await startWorker({ outbound: routeHosts({ "slack.com": "http://127.0.0.1:4003" }), bindings: {…} });
//   const answer = await w.fetch("/health");
//   await w.dispose();            // throws if the Worker called a host that no test had mapped
//
// startWorkerProcess() is the same in a process of its own, for kill(): the crash that no clean-up code sees.
import { fork } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { instance, settings, worker } from "../../scripts/miniflare.mjs";
import { openGateway } from "./harness/gateway.mjs";

export { forward, routeHosts } from "./harness/gateway.mjs";

const source = (file) => readFileSync(new URL(`harness/${file}`, import.meta.url), "utf8");
const CONFIG = settings();
const OWNER = CONFIG.name;
const OBJECTS = Object.fromEntries(CONFIG.durable_objects.bindings.map((o) => [o.class_name, o.name])); // class → binding
const MAIN = `export { default } from "./entry.mjs"; import { resettable } from "./entry.mjs"; import * as built from "./index.js";
${Object.keys(OBJECTS).map((c) => `export const ${c} = resettable(built.${c});`).join("\n")}`;

/**
 * `build`: folder of the built Worker. `outbound`: see harness/gateway.mjs. `bindings`: variables and secrets.
 * `persist`: folder that keeps the state; without it the state lives as long as this object, restarts included.
 * `clock`: false runs the bare Worker, without setClock() and counts(). `instances`: Workers (isolates) that share
 * the Durable Objects and KV of the first. `port`: of the first instance, 0 for any.
 */
export async function startWorker({ build = "build-test", outbound, bindings = {}, persist, clock = true, instances = 1,
  port = 0, gatewayUrl, onLog } = {}) {
  const state = persist ?? mkdtempSync(join(tmpdir(), "worker-test-"));
  const gateway = gatewayUrl ? { url: gatewayUrl, close() {} } : await openGateway(outbound);
  const logs = [];
  const names = Array.from({ length: instances }, (_, i) => (i === 0 ? OWNER : `${OWNER}-${i}`));
  const entry = clock ? { "main.mjs": MAIN, "entry.mjs": source("entry.mjs"), "instrument.mjs": source("instrument.mjs") } : {};
  const controller = {
    config: { name: "harness", compatibilityDate: CONFIG.compatibility_date,
      compatibilityFlags: ["unsafe_module", "service_binding_extra_handlers"],
      manifest: { mainModule: "control.mjs", modules: { "control.mjs": { type: "esm", contents: source("control.mjs") } } },
      env: { GATEWAY: { type: "text", value: gateway.url }, WORKER: { type: "worker", worker: OWNER },
        ...Object.fromEntries(Object.entries(OBJECTS).map(([exportName, binding]) => [binding, { type: "durable-object", worker: OWNER, exportName }])) } },
    dev: { unsafeDirectSockets: [{ host: "127.0.0.1", port: 0, entrypoint: "Control" }] },
  };
  const options = () => instance(state,
    [...names.map((name, i) => worker({ build, bindings, name, owner: OWNER, entry, port: i === 0 ? port : 0, outbound: "harness" })), controller],
    ({ level, message }) => { logs.push(message); onLog?.(message, level); });

  let miniflare;
  let controlUrl;
  let offset = 0;
  const w = {
    url: undefined, urls: [], logs, state, requests: gateway.requests, leaks: gateway.leaks,
    /** Like fetch(), with a path; redirects are returned, not followed. */
    fetch: (path, init = {}, instance = 0) => fetch(new URL(path, w.urls[instance]), { redirect: "manual", ...init }),
    async start() {
      miniflare = new Miniflare(options());
      await miniflare.ready;
      const urls = await Promise.all(names.map((name) => miniflare.unsafeGetDirectURL(name)));
      w.urls = urls.map((u) => u.origin);
      w.url = w.urls[0];
      controlUrl = (await miniflare.unsafeGetDirectURL("harness", "Control")).origin;
      if (offset) await w.setClock(offset);
    },
    /** A new workerd on the same state: every isolate and every object's memory is gone. The URL changes unless `port` was given. */
    async restart() {
      await miniflare.dispose();
      await w.start();
    },
    async dispose() {
      await miniflare.dispose();
      await gateway.close();
      if (!persist) rmSync(state, { recursive: true, force: true });
      if (gateway.leaks?.length) throw new Error(`calls to hosts that no test mapped: ${JSON.stringify(gateway.leaks)}`);
    },
    /** The Worker's clock runs `ms` ahead of the real one. Timers and alarms still wait in real time. */
    async setClock(ms) {
      offset = ms;
      await instrument(`clock=${ms}`);
    },
    /** Durable Object requests and KV operations since resetCounts(), over all instances. */
    counts: () => instrument(""),
    resetCounts: () => instrument("reset"),
    /** The next write to KV arrives this many milliseconds after the Worker sent it. */
    holdNextWrite: (ms) => instrument(`hold=${ms}`),
    /** Every entry of a KV namespace: key → { value, metadata, expiration }. */
    async kv(binding) {
      const namespace = await miniflare.getKVNamespace(binding, OWNER);
      const entries = {};
      for (let cursor, page; !page || !page.list_complete; cursor = page.cursor) {
        page = await namespace.list({ cursor });
        for (const { name, expiration } of page.keys) entries[name] = { ...(await namespace.getWithMetadata(name)), expiration };
      }
      return entries;
    },
    kvNamespace: (binding) => miniflare.getKVNamespace(binding, OWNER),
    /** The objects of a class that have stored something: `{ id, file }`, `file` being their SQLite database. */
    durableObjects(className) {
      const dir = join(state, "do", `${OWNER}-${className}`);
      const files = existsSync(dir) ? readdirSync(dir).filter((f) => /^[0-9a-f]{64}\.sqlite$/.test(f)) : [];
      return files.map((f) => ({ id: f.slice(0, -".sqlite".length), file: join(dir, f) }));
    },
    /** Sends a request straight to one object, past the Worker. */
    durableObject: (className, name, path, init = {}) =>
      fetch(`${controlUrl}/object?${new URLSearchParams({ binding: OBJECTS[className], name, url: `http://object${path}` })}`, init),
    /**
     * Drops the memory of one idle object, as the platform does after ten quiet seconds. While the object works (a request,
     * a fetch, an alarm, waitUntil) this waits for it, and fails after 30 seconds.
     */
    evict: (className, name) => command("evict", { binding: OBJECTS[className], name }),
    /** Resets one object as a deployment does: its memory is gone and every request in flight in it breaks. Needs `clock`. */
    reset: (className, name) => command("reset", { binding: OBJECTS[className], name }).catch(() => {}),
    /** Runs the cron handler; resolves when its work is done. `time` in milliseconds. */
    scheduled: (cron = "* * * * *", time = Date.now()) => command("scheduled", { cron, time }),
  };
  async function command(name, query) {
    const answer = await fetch(`${controlUrl}/${name}?${new URLSearchParams(query)}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }
  async function instrument(query) {
    const all = await Promise.all(w.urls.map(async (url) => (await fetch(`${url}/__harness?${query}`)).json()));
    return all.reduce((sum, one) => Object.fromEntries(Object.keys(one).map((k) => [k, (sum[k] ?? 0) + one[k]])), {});
  }
  await w.start();
  return w;
}

/**
 * startWorker() in a child process. `kill()` ends it and workerd at the same instant; start another one with the same
 * `persist` to see what survived. Without `kvNamespace`, `durableObject` and `restart`, which cannot cross processes.
 */
export async function startWorkerProcess({ outbound, ...options }) {
  const gateway = await openGateway(outbound);
  const logs = [];
  const pending = new Map();
  // A process group of its own: workerd is the child of our child, and one signal must reach both.
  const child = fork(new URL("harness/process.mjs", import.meta.url), { detached: true, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const exited = new Promise((done) => child.once("exit", done));
  exited.then(() => { for (const { reject } of pending.values()) reject(new Error("the Worker's process is gone")); });
  child.on("message", ({ id, result, error, log }) => {
    if (log !== undefined) return logs.push(log);
    const { resolve, reject } = pending.get(id);
    pending.delete(id);
    if (error) reject(new Error(error));
    else resolve(result);
  });
  let last = 0;
  const call = (method, ...args) => new Promise((resolve, reject) => {
    pending.set(++last, { resolve, reject });
    child.send({ id: last, method, args });
  });
  const { urls, state } = await call("start", { ...options, gatewayUrl: gateway.url });
  const w = {
    url: urls[0], urls, state, logs, child, requests: gateway.requests, leaks: gateway.leaks,
    fetch: (path, init = {}, instance = 0) => fetch(new URL(path, urls[instance]), { redirect: "manual", ...init }),
    async kill() {
      process.kill(-child.pid, "SIGKILL");
      await exited;
      while (await listens(urls[0])) await new Promise((r) => setTimeout(r, 2)); // workerd is not our child: watch its port
      await gateway.close();
      if (!options.persist) rmSync(state, { recursive: true, force: true });
    },
    async dispose() {
      await call("dispose");
      child.disconnect();
      await exited;
      await gateway.close();
      if (gateway.leaks.length) throw new Error(`calls to hosts that no test mapped: ${JSON.stringify(gateway.leaks)}`);
    },
  };
  for (const method of ["setClock", "counts", "resetCounts", "kv", "durableObjects", "evict", "reset", "scheduled"])
    w[method] = (...args) => call(method, ...args);
  return w;
}

const listens = (url) => new Promise((resolve) => {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.once("connect", () => { socket.destroy(); resolve(true); });
  socket.once("error", () => resolve(false));
});
