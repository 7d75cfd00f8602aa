// `make demo`: the whole story on this machine, without any account. The release Worker runs in workerd beside emulators of
// Google, GitHub and Slack; a user connects through the real pages, an agent calls tools. Exit code 0 only if all of it worked.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chapters, STEPS } from "./demo/chapters.mjs";
import { interrupted, newSecrets, startLocal } from "./demo/local.mjs";
import { paint, Story } from "./demo/story.mjs";

const LONGEST = 120_000;

const story = new Story(STEPS);
const state = mkdtempSync(join(tmpdir(), "valetkey-demo-"));
const began = Date.now();
const warnings = [];
let local;

console.log(paint.bold("valetkey: a user connects an account once, agents call its tools, and no agent ever holds the user's credential."));
console.log("This demo needs no account and no internet: Google, GitHub and Slack are emulated on this machine.");

async function tell() {
  const start = async () => (local = await startLocal({
    state, secrets: newSecrets(), onLog: ({ level, message }) => level === "error" && warnings.push(message),
  }));
  await chapters(story, start);
  story.finished();
  return 0;
}

const tooLong = new Promise((_, reject) => {
  setTimeout(() => reject(new Error(`the demo did not end within ${LONGEST / 1000} seconds`)), LONGEST).unref();
});
let code;
try {
  const end = tell();
  // Whoever presses Ctrl-C while the servers start has to wait until they can be stopped.
  code = await Promise.race([end, tooLong, interrupted().then(async (signal) => {
    console.log(`\nStopped by ${signal}.`);
    story.say = () => {};
    await Promise.race([end.catch(() => {}), untilStarted()]);
    return 130;
  })]);
} catch (error) {
  story.failed(error);
  for (const line of warnings) console.log(`  the Worker logged: ${line}`);
  code = 1;
}
await local?.stop();
rmSync(state, { recursive: true, force: true, maxRetries: 5 });
if (code === 0) {
  console.log(`\n${paint.good("Everything worked")}, in ${((Date.now() - began) / 1000).toFixed(1)} seconds. All servers are stopped and nothing is left behind.`);
  console.log("Next: `make dev` keeps the same set-up running, for your own browser and curl.");
}
process.exit(code);

async function untilStarted() {
  while (!local) await new Promise((done) => setTimeout(done, 20));
}
