// A vendor as one row of the table describes it: authorization server and API at the vendor's own addresses, which the
// Worker reaches unchanged because its network is this function. It is strict where the vendor is: client authentication,
// PKCE, redirect URI, single-use codes and refresh tokens, dead tokens.

import { createHash, createHmac, createPublicKey, randomBytes, verify } from "node:crypto";

import { learn, learnClient } from "../support/secrets.mjs";

const random = (kind) => learn(kind, `${kind.replaceAll(" ", "-")}-${randomBytes(24).toString("base64url")}`);
const json = (status, body, headers = {}) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });

export class Vendor {
  requests = [];
  #codes = new Map();
  #access = new Set();
  #refresh = new Set();
  #temporary = new Map();

  constructor(row) {
    this.row = row;
    this.client = row.client ? learnClient(`${row.id}-client`, random("client secret")) : {};
    this.typed = row.typed?.(random) ?? {};
  }

  /** Requests to one address: `"POST https://…"`, the query left out. */
  seen(address) {
    return this.requests.filter((request) => request.address === address);
  }

  /** Ends access tokens; with `all`, refresh tokens and typed-in credentials too. */
  end({ all = false } = {}) {
    this.#access.clear();
    if (all) {
      this.#refresh.clear();
      this.ended = true;
    }
  }

  begin() {
    this.ended = false;
  }

  /** What the vendor's consent page does when the person agrees: the address the browser goes back to. */
  consent(address) {
    const asked = new URL(address);
    if (this.row.oauth1) return this.#consentOAuth1(asked);
    const parameters = asked.searchParams;
    const code = random("authorization code");
    this.#codes.set(code, { challenge: parameters.get("code_challenge"), redirect: parameters.get("redirect_uri") });
    const back = new URL(parameters.get("redirect_uri"));
    back.searchParams.set("code", code);
    back.searchParams.set("state", learn("state", parameters.get("state")));
    return back.href;
  }

  #consentOAuth1(asked) {
    const token = asked.searchParams.get("oauth_token");
    const pending = this.#temporary.get(token);
    pending.verifier = random("oauth verifier");
    const back = new URL(pending.callback);
    back.searchParams.set("oauth_token", token);
    back.searchParams.set("oauth_verifier", pending.verifier);
    learn("state", back.searchParams.get("state"));
    return back.href;
  }

  /** Answers what leaves the Worker; nothing for an address the vendor does not have. */
  async answer(request) {
    const url = new URL(request.url);
    const text = await request.text();
    const address = `${request.method} ${url.origin}${url.pathname}`;
    const seen = { address, url, text, headers: request.headers };
    this.requests.push(seen);
    const { row } = this;
    if (address === `POST ${row.token}`) return this.#token(seen);
    if (row.oauth1 && address === `POST ${row.oauth1.request}`) return this.#temporaryToken(seen);
    if (row.oauth1 && address === `POST ${row.oauth1.access}`) return this.#finalToken(seen);
    if (row.revoke?.address && matches(row.revoke.address, address)) return this.#revoke(seen);
    const routes = { ...row.identity, ...(row.call && { [row.call.address]: row.call.answer }) };
    const route = Object.keys(routes).find((known) => matches(known, address));
    if (!route) return undefined;
    if (!row.open?.includes(route) && !this.#mayPass(seen)) return json(...row.dead);
    const answer = routes[route];
    return json(200, typeof answer === "function" ? answer(seen, this) : answer);
  }

  #mayPass({ headers }) {
    const { header = "authorization", value = (token) => `Bearer ${token}` } = this.row.credential ?? {};
    const sent = headers.get(header) ?? "";
    if (this.ended) return false;
    if (this.row.accepts) return this.row.accepts(sent, this);
    return [...this.#access].some((token) => sent === value(token, this));
  }

  #token(seen) {
    const { row } = this;
    const fields = (seen.headers.get("content-type") ?? "").includes("json") ? JSON.parse(seen.text) : Object.fromEntries(new URLSearchParams(seen.text));
    if (fields.grant_type === "urn:ietf:params:oauth:grant-type:jwt-bearer") return this.#assertion(fields.assertion);
    const refusal = this.#clientRefused(seen, fields);
    if (refusal) return json(401, { error: "invalid_client", error_description: refusal });
    if (fields.grant_type === "refresh_token") return this.#renew(fields, seen);
    const pending = this.#codes.get(fields.code);
    this.#codes.delete(fields.code);
    const proof = fields.code_verifier && createHash("sha256").update(learn("PKCE verifier", fields.code_verifier)).digest("base64url");
    const fine = pending && pending.redirect === fields.redirect_uri && (!pending.challenge || pending.challenge === proof);
    if (!fine) return json(400, { error: "invalid_grant", error_description: `code, redirect_uri or verifier is wrong: ${seen.text}` });
    return json(200, this.#issue({ first: true }));
  }

  #clientRefused({ headers }, fields) {
    const basic = headers.get("authorization")?.startsWith("Basic ");
    const isJson = (headers.get("content-type") ?? "").includes("json");
    const way = basic ? "basic" : isJson ? "json" : "body";
    if (!this.row.client.includes(way)) return `this vendor takes ${this.row.client}, not ${way}`;
    const [id, ...secret] = basic ? Buffer.from(headers.get("authorization").slice(6), "base64").toString().split(":").map(decodeURIComponent) : [fields.client_id, fields.client_secret];
    const right = id === this.client.client_id && secret.join(":") === this.client.client_secret;
    return right ? undefined : "wrong client";
  }

  #renew(fields, { text, headers }) {
    if (!this.#refresh.has(fields.refresh_token) || this.ended) {
      // A vendor may repeat whatever it was sent; nobody may see it.
      const [status, body] = this.row.refused ?? [400, { error: "invalid_grant" }];
      return json(status, { error_description: `${text} ${headers.get("authorization")}`, ...body });
    }
    if (this.row.rotates) this.#refresh.delete(fields.refresh_token);
    this.#access.clear();
    return json(200, this.#issue({ first: false, kept: fields.refresh_token }));
  }

  #issue({ first, kept }) {
    const { row } = this;
    const access = random("access token");
    this.#access.add(access);
    let refresh;
    if (row.refreshes && (first || row.rotates)) {
      refresh = random("refresh token");
      this.#refresh.add(refresh);
    }
    const usual = { access_token: access, ...(refresh && { refresh_token: refresh }), ...(row.told && { expires_in: row.lifetime }), token_type: "Bearer" };
    return row.shape ? row.shape(usual, { first, kept }) : usual;
  }

  /** A JWT that must be signed with the private key whose public half the vendor has, for this vendor, and fresh. */
  jwt(text) {
    const [head, body, signature] = text.split(".");
    const key = createPublicKey(this.typed.key);
    const fine = verify("RSA-SHA256", Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url"));
    return fine && JSON.parse(Buffer.from(body, "base64url"));
  }

  #assertion(text) {
    const claims = this.jwt(text);
    if (!claims || this.ended) return json(400, { error: "invalid_grant", error_description: "Invalid JWT Signature." });
    this.claims = claims;
    return json(200, this.#issue({ first: false }));
  }

  // OAuth 1.0a: the signature is computed here once more, from what came over the wire.

  #signed(seen) {
    const header = seen.headers.get("authorization") ?? "";
    const own = Object.fromEntries([...header.slice(6).matchAll(/([\w%]+)="([^"]*)"/g)].map(([, name, value]) => [name, decodeURIComponent(value)]));
    const { oauth_signature: signature, ...rest } = own;
    const encode = (value) => encodeURIComponent(value).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
    const pairs = Object.entries(rest).map(([name, value]) => [encode(name), encode(value)]).sort();
    const base = ["POST", encode(seen.url.origin + seen.url.pathname), encode(pairs.map((pair) => pair.join("=")).join("&"))].join("&");
    const secret = this.#temporary.get(rest.oauth_token)?.secret ?? "";
    const wanted = createHmac("sha1", `${encode(this.client.client_secret)}&${encode(secret)}`).update(base).digest("base64");
    return signature === wanted && rest.oauth_consumer_key === this.client.client_id ? rest : undefined;
  }

  #temporaryToken(seen) {
    const signed = this.#signed(seen);
    if (!signed) return json(401, "invalid signature");
    const [token, secret] = [random("temporary token"), random("temporary secret")];
    this.#temporary.set(token, { secret, callback: signed.oauth_callback });
    return new Response(new URLSearchParams({ oauth_token: token, oauth_token_secret: secret, oauth_callback_confirmed: "true" }).toString());
  }

  #finalToken(seen) {
    const signed = this.#signed(seen);
    if (!signed || this.#temporary.get(signed.oauth_token)?.verifier !== signed.oauth_verifier) return json(401, "invalid token");
    const access = random("access token");
    this.#access.add(access);
    return new Response(new URLSearchParams({ oauth_token: access, oauth_token_secret: random("token secret") }).toString());
  }

  #revoke(seen) {
    this.revoked = seen;
    this.end({ all: true });
    return json(200, this.row.revoke.answer ?? {});
  }
}

/** `*` in an address is one path segment. */
export function matches(known, address) {
  return new RegExp(`^${known.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^/]+")}$`).test(address);
}
