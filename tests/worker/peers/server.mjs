// What all peers share: a server on a free loopback port, requests read whole, and a stop that leaves no socket behind.

import { createServer } from "node:http";

/** Starts `handler(request, response)` on 127.0.0.1. → `{url, stop}` */
export async function listen(handler) {
  const server = createServer(handler);
  server.keepAliveTimeout = 60_000;
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    server,
    stop: () => new Promise((done) => {
      server.close(done);
      server.closeAllConnections();
    }),
  };
}

/** A port that was free a moment ago, for programs that cannot say which one they took. */
export async function freePort() {
  const { server, stop } = await listen(() => {});
  const { port } = server.address();
  await stop();
  return port;
}

/** The whole body of a request. */
export async function readBody(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

/** A form or JSON body as one flat object, whatever its content type. */
export function fields(buffer, contentType = "") {
  const text = buffer.toString();
  if (contentType.includes("json")) {
    try {
      return JSON.parse(text);
    } catch {
      return {};
    }
  }
  return Object.fromEntries(new URLSearchParams(text));
}

/** The client's id and secret, by HTTP Basic or in the body. */
export function clientCredentials(request, form) {
  const header = request.headers.authorization ?? "";
  if (!header.startsWith("Basic ")) return { client_id: form.client_id, client_secret: form.client_secret, by: "body" };
  const [id, ...secret] = Buffer.from(header.slice(6), "base64").toString().split(":");
  return { client_id: decodeURIComponent(id), client_secret: decodeURIComponent(secret.join(":")), by: "basic" };
}

/** A door that requests wait at while it is shut; `waiting` counts them. */
export class Gate {
  #waiters = [];
  #shut = false;

  get waiting() {
    return this.#waiters.length;
  }

  shut() {
    this.#shut = true;
  }

  /** Lets everybody through, now and later. */
  open() {
    this.#shut = false;
    for (const done of this.#waiters.splice(0)) done(true);
  }

  /** Lets the one through who waits longest; the door stays shut. */
  openForOne() {
    this.#waiters.shift()?.(true);
  }

  /** Turns those who wait away, and lets later ones through. */
  dismiss() {
    this.#shut = false;
    for (const done of this.#waiters.splice(0)) done(false);
  }

  /** → true to go on, false to go away */
  pass() {
    return this.#shut ? new Promise((done) => this.#waiters.push(done)) : Promise.resolve(true);
  }

  /** Resolves when at least `n` requests wait. */
  async queue(n = 1) {
    while (this.waiting < n) await new Promise((done) => setTimeout(done, 5));
  }
}
