// What must never be seen in clear: every peer and client tells this list each secret it hands out, and `scan.mjs` looks
// for them in everything the Worker wrote. One list per test process, so that no secret has to be passed around.

import { createHash } from "node:crypto";

/** @type {Map<string, string>} value → what it is */
const known = new Map();

/** Remembers a secret. `kind` is what the failure message calls it. Returns the value, so calls can be wrapped. */
export function learn(kind, value) {
  if (typeof value === "string" && value.length >= 12) known.set(value, kind);
  return value;
}

/** Remembers a client's id and secret, also in the form HTTP Basic gives them. */
export function learnClient(id, secret) {
  learn("client secret", secret);
  learn("basic credential", Buffer.from(`${id}:${secret}`).toString("base64"));
  return { client_id: id, client_secret: secret };
}

/** Every secret, with the spellings it could hide behind: as it is, percent-encoded, base64 in both alphabets, hex. */
export function spellings() {
  const out = [];
  for (const [value, kind] of known) {
    const bytes = Buffer.from(value);
    const forms = new Set([
      value,
      encodeURIComponent(value),
      bytes.toString("base64").replace(/=+$/, ""),
      bytes.toString("base64url"),
      bytes.toString("hex"),
    ]);
    for (const form of forms) out.push({ kind, form });
  }
  return out;
}

/** How many secrets are known: a scan that knows none proves nothing. */
export function count() {
  return known.size;
}

/** A short name for a secret in a failure message; the secret itself is not printed. */
export function fingerprint(value) {
  return createHash("sha256").update(value).digest("hex").slice(0, 8);
}
