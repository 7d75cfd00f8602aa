// serve.mjs --port=8787 --state=.state: the release Worker in workerd, with the real network outside it and its state
// in a folder. Variables and secrets: .dev.vars, and over it environment variables of the names in .dev.vars.example.
import { existsSync, readFileSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs, parseEnv } from "node:util";
import { Miniflare } from "miniflare";
import { ROOT, instance, worker } from "./miniflare.mjs";
import { missing } from "./settings.mjs";

const { values: flags } = parseArgs({
  options: { port: { type: "string", default: "8787" }, state: { type: "string", default: ".state" },
    build: { type: "string", default: "build" } },
});

const read = (file) => (existsSync(`${ROOT}/${file}`) ? readFileSync(`${ROOT}/${file}`, "utf8") : "");
const bindings = parseEnv(read(".dev.vars"));
for (const [, name] of read(".dev.vars.example").matchAll(/^#? ?([A-Z][A-Z0-9_]*)=/gm))
  if (process.env[name] !== undefined) bindings[name] = process.env[name];

const lack = missing(bindings);
if (lack.words) console.error(lack.words);
if (lack.stops) process.exit(1);

const state = resolve(flags.state);
mkdirSync(state, { recursive: true });
const options = instance(state, [worker({ build: flags.build, bindings, port: Number(flags.port) })],
  ({ level, message }) => (level === "error" || level === "warn" ? console.error(message) : console.log(message)));

const miniflare = new Miniflare(options);
const stop = async () => {
  await miniflare.dispose();
  process.exit(0);
};
for (const signal of ["SIGTERM", "SIGINT"]) process.removeAllListeners(signal).on(signal, stop); // Miniflare's own would exit with an error
try {
  await miniflare.ready;
  const url = await miniflare.unsafeGetDirectURL();
  console.log(`valetkey is ready on ${url.origin}`);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
