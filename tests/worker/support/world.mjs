// The Worker under test, with everything a test file needs around it: a first caller, browsers, connections to peers, and the
// scan for secrets when the file is done. Test files open worlds; only this one knows the harness.

import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { after } from "node:test";

import { startWorker } from "../harness.mjs";
import { Browser } from "./browser.mjs";
import { Client } from "./client.mjs";
import { answered } from "./expect.mjs";
import { Places } from "./scan.mjs";
import { count, learn } from "./secrets.mjs";

/** What an object may keep as it is: it is of no use in a quarter of an hour. Tokens, verifiers and client secrets are sealed. */
const SHORT_LIVED = ["magic link", "state"];

/** A sealing key as the Worker's secret names it. */
export const newKey = (id) => `${id}:${learn("sealing key", randomBytes(32).toString("base64url"))}`;

/**
 * Starts a Worker. Options go to the harness; `bindings` are added to the usual ones. `peers` are stopped with the world.
 * The world closes by itself when the test file (or the test `t`) ends, and fails then if a secret was seen in clear.
 */
export async function openWorld({ bindings = {}, peers = [], t, start = startWorker, ...options } = {}) {
  const places = new Places();
  const operator = { id: "operator", secret: randomBytes(24).toString("base64url") };
  const usual = { VALETKEY_KEYS: newKey("k1"), VALETKEY_CLIENT_ID: operator.id, VALETKEY_CLIENT_SECRET: operator.secret };
  const again = (changed = {}) => start({ ...options, bindings: { ...usual, ...bindings, ...changed } });
  const world = new World(await again(), again, operator, places, peers);
  (t ?? { after }).after(() => world.close());
  return world;
}

class World {
  #number = 0;

  constructor(worker, again, operator, places, peers) {
    Object.assign(this, { worker, again, places, peers, operator });
    this.api = new Client({ base: worker.url, ...operator, places });
  }

  get url() {
    return this.worker.url;
  }

  /** Starts the Worker again after it was killed or disposed of, with the options of before and some bindings changed. */
  async startAgain(bindings) {
    this.#readLogs();
    this.worker = await this.again(bindings);
    this.api.base = this.url;
    this.api.forget();
  }

  /** A new browser. */
  browser() {
    return new Browser({ witness: (page) => this.#witness(page) });
  }

  /** A connection of `connector` that points at `peer`. → the connection's name */
  async connection(peer, { connector = "github", name, scopes = ["repo"], endpoints, ...fields } = {}) {
    this.#number += 1;
    const created = answered(await this.api.createConnection({
      name: name ?? `${connector}-${this.#number}`, connector, scopes, ...peer.client,
      endpoints: { ...peer.endpoints, ...endpoints }, ...fields,
    }), 200);
    peer.allowRedirect?.(created.connection.redirect_uri);
    return created.connection.name;
  }

  /** Connects an account through the pages, as a user would. → `{account, page, browser}`, the account as the API tells it. */
  async connect(connection_name, identifier = "user-1", { browser = this.browser(), through = (page) => page, ...link } = {}) {
    const { link: address } = answered(await this.api.magicLink({ connection_name, identifier, ...link }));
    const start = await browser.open(address);
    const page = await through(await browser.submit(start));
    const account = answered(await this.api.details({ connection_name, identifier })).connected_account;
    return { account, page, browser };
  }

  /** An account that is connected and ready; throws what the user would have seen if it is not. */
  async connected(connection_name, identifier, options) {
    const { account, page } = await this.connect(connection_name, identifier, options);
    if (account.status !== "ACTIVE") throw new Error(`${account.status} (${account.status_reason}): ${page.words}`);
    return { connection_name: account.connection_name, identifier: account.identifier, id: account.id };
  }

  /** The account as the API tells it now. */
  async account({ id }) {
    return answered(await this.api.details({ id })).connected_account;
  }

  /** Moves the Worker's clock forward (from its start, in seconds). The caller gets a new bearer token, the old one has aged. */
  async clock(seconds) {
    await this.worker.setClock(seconds * 1000);
    this.api.forget();
  }

  /** Everything KV holds, over all namespaces: `namespace/key` → value and metadata, as text. */
  async kv() {
    const all = {};
    for (const namespace of ["CONFIG", "ACCOUNTS"]) {
      for (const [key, entry] of Object.entries(await this.worker.kv(namespace))) all[`${namespace}/${key}`] = JSON.stringify(entry);
    }
    return all;
  }

  /** The databases of all objects as they lie on disk: file name → bytes, as text. */
  async objects() {
    const all = {};
    for (const kind of ["Account", "RateLimiter"]) {
      for (const { id, file } of await this.worker.durableObjects(kind)) {
        const parts = [file, `${file}-wal`].filter((part) => existsSync(part));
        all[`${kind} ${id.slice(0, 8)}`] = parts.map((part) => readFileSync(part, "latin1")).join("");
      }
    }
    return all;
  }

  /** Drops the memory of an account's object when it has nothing to do, as the platform does. */
  evict({ id }) {
    return this.worker.evict("Account", id);
  }

  /** Drops it at once, with everything under way in it, as a deployment does. */
  reset({ id }) {
    return this.worker.reset("Account", id);
  }

  #witness(page) {
    if (!page.url.startsWith(this.url)) return;
    const { pathname } = new URL(page.url);
    const name = pathname.replace(/^\/connect\/.*/, "/connect/{token}");
    this.places.add(`page ${name} (${page.status})`, page.text, ["magic link"]);
  }

  #readLogs() {
    this.worker.logs.forEach((line, at) => this.places.add(`log line ${at + 1}`, line));
  }

  /** Reads what the Worker logged and stored, stops everything, and fails if a secret was seen. */
  async close() {
    if (this.closed) return;
    this.closed = true;
    try {
      for (const [key, value] of Object.entries(await this.kv())) this.places.add(`KV ${key}`, `${key}\n${value}`);
      for (const [name, bytes] of Object.entries(await this.objects())) this.places.add(`storage of ${name}`, bytes, SHORT_LIVED);
      this.#readLogs();
    } finally {
      await this.worker.dispose();
      await Promise.all(this.peers.map((peer) => peer.stop()));
    }
    if (count() === 0) throw new Error("the scan knew no secret");
    this.places.assertClean();
  }
}
