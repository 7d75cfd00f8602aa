// The built Worker as Miniflare takes it, with the bindings of wrangler.toml: the tests, `make serve` and the
// other scripts all start it from here, so what they run cannot drift from what `wrangler deploy` publishes.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "smol-toml";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const settings = () => parse(readFileSync(`${ROOT}/wrangler.toml`, "utf8"));

// Keys that mean nothing on this machine. Any other key needs a line in `bindings` or `worker` below.
const IGNORED = new Set(["name", "main", "compatibility_date", "compatibility_flags", "workers_dev", "preview_urls", "build",
  "rules", "migrations", "observability", "logpush", "account_id", "routes", "route", "limits", "placement", "keep_vars",
  "send_metrics", "minify", "upload_source_maps", "env", "$schema"]);
const READ = new Set(["kv_namespaces", "durable_objects", "vars", "ratelimits", "analytics_engine_datasets", "triggers",
  "version_metadata"]);

function env(config, owner, extra) {
  const out = {};
  for (const kv of config.kv_namespaces ?? []) out[kv.binding] = { type: "kv", id: kv.binding };
  for (const o of config.durable_objects?.bindings ?? [])
    out[o.name] = { type: "durable-object", worker: owner, exportName: o.class_name };
  for (const r of config.ratelimits ?? []) out[r.name] = { type: "rate-limit", namespace: r.namespace_id, simple: r.simple };
  for (const a of config.analytics_engine_datasets ?? [])
    out[a.binding] = { type: "analytics-engine-dataset", name: a.dataset ?? a.binding };
  if (config.version_metadata) out[config.version_metadata.binding] = { type: "version-metadata" };
  for (const [name, value] of Object.entries({ ...config.vars, ...extra }))
    out[name] = typeof value === "string" ? { type: "text", value } : { type: "json", value };
  return out;
}

/**
 * One entry of Miniflare's `workers`.
 * `build`: folder of the built Worker. `bindings`: variables and secrets, over those of wrangler.toml.
 * `name`, `owner`: this Worker, and the one that holds the Durable Objects (itself, unless a second Worker shares them).
 * `entry`: modules to put in front of the Worker, the first one being the new main module.
 */
export function worker({ build = "build", bindings = {}, name, owner, entry = {}, port = 0, outbound } = {}) {
  const config = settings();
  for (const key of Object.keys(config))
    if (!IGNORED.has(key) && !READ.has(key)) throw new Error(`wrangler.toml has "${key}", which scripts/miniflare.mjs does not know yet`);
  name ??= config.name;
  owner ??= name;
  const dir = `${ROOT}/${build}`;
  const modules = Object.fromEntries(Object.entries(entry).map(([file, contents]) => [file, { type: "esm", contents }]));
  modules["index.js"] = { type: "esm", contents: readFileSync(`${dir}/index.js`, "utf8") };
  modules["index_bg.wasm"] = { type: "wasm", contents: readFileSync(`${dir}/index_bg.wasm`) };
  const classes = config.migrations.flatMap((m) => m.new_sqlite_classes ?? []);
  return {
    config: {
      name,
      compatibilityDate: config.compatibility_date,
      compatibilityFlags: config.compatibility_flags ?? [],
      manifest: { mainModule: Object.keys(modules)[0], modulesRoot: dir, modules },
      env: env(config, owner, bindings),
      exports: owner === name ? Object.fromEntries(classes.map((c) => [c, { type: "durable-object", storage: "sqlite" }])) : {},
      triggers: (config.triggers?.crons ?? []).map((schedule) => ({ type: "scheduled", schedule })),
    },
    dev: {
      // Straight to the Worker, without Miniflare's own router in between.
      unsafeDirectSockets: [{ host: "127.0.0.1", port }],
      ...(outbound && { outboundService: { type: "worker", worker: outbound } }),
    },
  };
}

/** Miniflare's options around the workers: nothing leaves for Cloudflare, nothing is written outside `state`. */
export const instance = (state, workers, onLog) => ({
  workers,
  cf: false,
  telemetry: { enabled: false },
  enableDevRegistry: false,
  resourcePersistencePath: state,
  resourceTmpPath: `${state}/tmp`,
  handleStructuredLogs: (line) => void onLog(line),
});
