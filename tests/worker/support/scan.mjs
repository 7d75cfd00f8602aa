// Looks for known secrets in clear. Places are collected while a test file runs (error bodies, pages, logs, KV), and searched
// once at its end, so that a secret learnt late is also looked for in what was written early.

import { fingerprint, spellings } from "./secrets.mjs";

const PROBE = 10;

/** Half of a secret, but no less than this, is a leak as well: what was cut off may be short. */
const HALF = 20;

/** The beginning of a secret that tells it. Of a JWT, and of a client's id and secret, the first part is no secret. */
function telling(kind, form) {
  const whole = kind === "basic credential" || form.startsWith("eyJ") || kind === "private key";
  return whole ? form : form.slice(0, Math.max(HALF, Math.ceil(form.length / 2)));
}

/** A place is text with a name: `{where: "log line 12", text, allow: ["magic link"]}`. */
export class Places {
  #places = [];

  /** Adds a text. Kinds of secret in `allow` belong there: a page carries its own link token, for instance. */
  add(where, text, allow = []) {
    if (text) this.#places.push({ where, text: String(text), allow });
  }

  get size() {
    return this.#places.length;
  }

  /** Every secret found: `{where, kind, near}`, `near` being the text around it with the secret cut out. */
  findings() {
    const probes = new Map();
    for (const { kind, form } of spellings()) {
      const key = form.slice(0, PROBE);
      if (!probes.has(key)) probes.set(key, []);
      probes.get(key).push({ kind, form });
    }
    const found = [];
    for (const { where, text, allow } of this.#places) {
      for (let at = 0; at + PROBE <= text.length; at++) {
        const candidates = probes.get(text.slice(at, at + PROBE));
        if (!candidates) continue;
        for (const { kind, form } of candidates) {
          if (allow.includes(kind) || !text.startsWith(telling(kind, form), at)) continue;
          const before = text.slice(Math.max(0, at - 60), at);
          let end = at;
          while (end < text.length && text[end] === form[end - at]) end += 1;
          const after = text.slice(end, end + 20);
          found.push({ where, kind, near: `${before}[${kind} ${fingerprint(form)}]${after}` });
          at = end; // two spellings may begin alike
          break;
        }
      }
    }
    return found;
  }

  /** Throws with every place a secret was found in. */
  assertClean() {
    const found = this.findings();
    if (found.length === 0) return;
    const lines = found.slice(0, 20).map(({ where, near }) => `  ${where}: …${near}…`);
    throw new Error(`${found.length} secrets in clear:\n${lines.join("\n")}`);
  }
}
