// `make dev`: the set-up of the demo, to play with. The release Worker on http://localhost:8787 (PORT=… is another port),
// with emulators of Google, GitHub and Slack. State and secrets are kept in .state/dev; remove that folder to start afresh.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseEnv } from "node:util";
import { guide, links } from "./demo/guide.mjs";
import { interrupted, isFree, newSecrets, startLocal } from "./demo/local.mjs";
import { CONNECTIONS, connectionFields } from "./demo/providers.mjs";
import { expect } from "./demo/story.mjs";

const port = Number(process.env.PORT || 8787);
if (!Number.isInteger(port) || port < 1 || port > 65535) giveUp(`PORT=${process.env.PORT} is not a port: use a number from 1 to 65535.`);
if (!(await isFree(port))) giveUp(`Port ${port} is taken, perhaps by another \`make dev\` or \`make serve\`. Stop that one, or choose another: make dev PORT=${port + 1}`);

const state = resolve(process.env.STATE || ".state", "dev");
mkdirSync(state, { recursive: true });
const file = `${state}/secrets.env`;
if (!existsSync(file)) {
  const lines = Object.entries(newSecrets()).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(file, lines.join(""), { mode: 0o600 });
}

const local = await startLocal({
  state, port, secrets: parseEnv(readFileSync(file, "utf8")), publicUrl: `http://localhost:${port}`,
  onLog: ({ level, message }) => (level === "error" || level === "warn" ? console.error(message) : console.log(message)),
}).catch((error) => giveUp(`It did not start: ${error.message}`));
const stopped = interrupted();

try {
  for (const connection of CONNECTIONS) await ensure(connection);
  console.log(await guide(local, state));
} catch (error) {
  await local.stop();
  giveUp(`It did not start: ${error.stack}`);
}
if (process.stdin.isTTY) createInterface({ input: process.stdin }).on("line", async () => console.log(await links(local.api)));

await stopped;
console.log("\nStopped. The connections and accounts are kept for the next time.");
await local.stop();
process.exit(0);

/** Creates a connection, or points an older one at the emulators of today: their ports change with every start. */
async function ensure(connection) {
  const fields = connectionFields(connection, local.peers[connection.service]);
  const answer = await local.api.createConnection(fields);
  if (answer.status !== 409) return expect(answer, 200);
  const { name, connector, ...changed } = fields;
  return expect(await local.api.call("PATCH", `/api/v1/connections/${name}`, { json: changed }), 200);
}

function giveUp(message) {
  console.error(message);
  process.exit(1);
}
