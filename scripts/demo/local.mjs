// The release Worker and the emulated providers, together on the loopback interface, and the way to stop all of it.
import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { Miniflare } from "miniflare";
import { Client } from "../../tests/worker/support/client.mjs";
import { instance, worker } from "../miniflare.mjs";
import { startProviders } from "./providers.mjs";

/** The secrets a deployment has: the key that seals what is stored, and the first caller. */
export const newSecrets = () => ({
  VALETKEY_KEYS: `k1:${randomBytes(32).toString("base64url")}`,
  VALETKEY_CLIENT_ID: "operator",
  VALETKEY_CLIENT_SECRET: randomBytes(24).toString("base64url"),
});

/**
 * Starts everything. `port` 0 is any; `publicUrl` is how browsers reach the Worker, if not by its address.
 * → `{url, api, peers, stop}`, `api` being a client with the first caller's credentials.
 */
export async function startLocal({ state, secrets, port = 0, publicUrl, onLog = () => {} }) {
  const bindings = { ...secrets, ...(publicUrl && { PUBLIC_URL: publicUrl }) };
  const miniflare = new Miniflare(instance(state, [worker({ bindings, port })], onLog));
  for (const signal of SIGNALS) process.removeAllListeners(signal); // Miniflare's own end the process before anything is tidied up
  try {
    await miniflare.ready;
    const { origin } = await miniflare.unsafeGetDirectURL();
    const url = publicUrl ?? origin;
    const providers = await startProviders(url);
    return {
      url, peers: providers.peers,
      api: new Client({ base: origin, id: secrets.VALETKEY_CLIENT_ID, secret: secrets.VALETKEY_CLIENT_SECRET }),
      stop: async () => void (await Promise.allSettled([miniflare.dispose(), providers.stop()])),
    };
  } catch (error) {
    await miniflare.dispose();
    throw error;
  }
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

/** Resolves when somebody presses Ctrl-C, closes the terminal or asks this process to end. → what it was */
export const interrupted = () => new Promise((done) => {
  for (const signal of SIGNALS) process.on(signal, () => done(signal));
  process.stdout.on("error", () => done("closed output")); // `make demo | head`
});

/** Whether nobody listens on `port` of this machine. */
export async function isFree(port) {
  for (const host of ["127.0.0.1", "::1"]) {
    const code = await new Promise((done) => {
      const server = createServer().once("error", (error) => done(error.code));
      server.listen(port, host, () => server.close(() => done(undefined)));
    });
    if (code === "EADDRINUSE" || code === "EACCES") return false;
  }
  return true;
}
