// A request exactly as written: `fetch` tidies paths up (`..`, `\`, `//`), attackers do not.

import { request as open } from "node:http";

import { Answer } from "./client.mjs";

/** Sends `method path` to a Worker byte for byte. → an Answer */
export function raw(base, method, path, { headers = {}, body } = {}) {
  const { hostname, port } = new URL(base);
  return new Promise((done, failed) => {
    const request = open({ hostname, port, method, path, headers }, async (response) => {
      const parts = [];
      for await (const part of response) parts.push(part);
      const flat = [];
      for (let at = 0; at < response.rawHeaders.length; at += 2) flat.push([response.rawHeaders[at], response.rawHeaders[at + 1]]);
      done(new Answer({ status: response.statusCode, headers: new Headers(flat) }, Buffer.concat(parts).toString()));
    });
    request.on("error", failed);
    request.end(body);
  });
}
