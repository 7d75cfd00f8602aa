// An OAuth provider and API that does as it is told: right by default, and wrong in exactly the way a test asks for.
//
//   peer.script("POST /token", reply(503), reply(503), { then: "default" })
//
// Scripted answers are used up in order; a route without any left answers as a provider should. Every request is recorded.

import { createHash, randomBytes } from "node:crypto";

import { learn, learnClient } from "../support/secrets.mjs";
import { Gate, clientCredentials, fields, listen, readBody } from "./server.mjs";

/** An answer: a status, and a body as JSON or text. */
export const reply = (status, body, headers = {}) => ({ status, body, headers });
/** Everything a request said, in every spelling a server might repeat it in. */
export function everything({ method, url, headers, text }) {
  const said = `${method} ${url} ${JSON.stringify(headers)} ${text}`;
  const credential = headers.authorization ?? "";
  const opened = Buffer.from(credential.replace(/^\S+ /, ""), "base64").toString();
  const again = [said, decodeURIComponent(said.replace(/%(?![0-9a-f]{2})/gi, "%25")), credential, opened, encodeURIComponent(said)];
  return [...again, ...[said, credential.replace(/^\S+ /, "")].flatMap((part) => ["base64", "base64url", "hex"].map((way) => Buffer.from(part).toString(way)))].join(" ");
}
/** An answer that repeats everything it was sent, behind so many other characters: an error's message is cut somewhere. */
export const repeat = (status, before = 0, error = "invalid_request") => (seen) => {
  const said = "x".repeat(before) + everything(seen);
  return reply(status, { error, error_description: said, message: said, sent: [said] });
};
/** An answer that never comes. */
export const hang = { hang: true };
/** A connection that ends without an answer. */
export const reset = { reset: true };
/** A body that comes in pieces, `every` milliseconds apart. */
export const drip = (pieces, every, headers = {}) => ({ status: 200, pieces, every, headers });

const random = (prefix) => `${prefix}_${randomBytes(24).toString("base64url")}`;

/**
 * Starts the peer. `tokenReply(tokens)` shapes every good token answer. `grace` keeps a rotated refresh token working until
 * its successor has been used, as some providers do; without it, a used refresh token is refused.
 */
export async function startScripted({ expiresIn = 3600, rotate = false, grace = false, user = "jo", tokenReply = (tokens) => tokens } = {}) {
  const client = learnClient("scripted-client", "scripted-client-secret-0123456789");
  const scripts = new Map();
  const peer = {
    client, user, expiresIn, tokenReply, requests: [], answered: 0, gate: new Gate(), held: new Set(),
    codes: new Map(), access: new Map(), refresh: new Map(),
    /** Extra or changed parameters of the redirect back to the Worker. */
    callback: (parameters) => parameters,
  };

  const { url, stop, server } = await listen(async (request, response) => {
    const address = new URL(request.url, "http://peer");
    const body = await readBody(request);
    const seen = {
      method: request.method, path: address.pathname, query: address.search.slice(1), url: request.url, headers: request.headers,
      body, text: body.toString(), json: () => JSON.parse(body.toString()), fields: fields(body, request.headers["content-type"]),
    };
    peer.requests.push(seen);
    const route = `${seen.method} ${seen.path}`;
    if (route === "POST /token" && !(await peer.gate.pass())) return response.destroy();
    const queue = scripts.get(route) ?? scripts.get(seen.path) ?? [];
    const scripted = queue[0]?.always ? queue[0].always : queue.shift();
    const answer = typeof scripted === "function" ? await scripted(seen) : scripted;
    await send(response, answer ?? usual(peer, grace, rotate, seen, address), peer);
    if (route === "POST /token") peer.answered += 1;
  });

  return Object.assign(peer, {
    url, server,
    stop: () => (peer.held.forEach((response) => response.destroy()), stop()),
    endpoints: { authorize_url: `${url}/authorize`, token_url: `${url}/token`, revoke_url: `${url}/revoke`, api_base: `${url}/api` },
    script: (route, ...answers) => scripts.set(route, answers),
    unscript: () => scripts.clear(),
    /** The requests of one route: `"POST /token"`, or a path alone. */
    seen: (route) => peer.requests.filter((r) => route === `${r.method} ${r.path}` || route === r.path),
    calls: () => peer.requests.filter((r) => r.path.startsWith("/api/")),
    forget: () => (peer.requests.length = 0),
    /** Ends access tokens, so that the API answers 401 to them. */
    expireAccessTokens: () => peer.access.clear(),
    /** Ends refresh tokens too. */
    revokeAll: () => (peer.access.clear(), peer.refresh.clear()),
    /** A pair of working tokens, as another program of the operator's may have had them. */
    issue: (account = peer.user) => issue(peer, account),
  });
}

/** What a well-behaved provider answers. */
function usual(peer, grace, rotate, seen, address) {
  if (seen.path === "/authorize") return authorize(peer, address.searchParams);
  if (seen.path === "/token") return token(peer, grace, rotate, seen);
  if (seen.path === "/revoke") return revoke(peer, seen);
  return api(peer, seen);
}

function authorize(peer, asked) {
  const code = learn("authorization code", random("code"));
  peer.codes.set(code, { challenge: asked.get("code_challenge"), redirect: asked.get("redirect_uri"), account: peer.user, scope: asked.get("scope") });
  peer.lastAuthorize = asked;
  learn("state", asked.get("state"));
  const back = new URL(asked.get("redirect_uri"));
  const parameters = peer.callback({ code, state: asked.get("state") });
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) back.searchParams.set(name, value);
  return reply(302, "", { location: back.href });
}

function token(peer, grace, rotate, seen) {
  const credentials = clientCredentials(seen, seen.fields);
  if (credentials.client_id !== peer.client.client_id || credentials.client_secret !== peer.client.client_secret) {
    return reply(401, { error: "invalid_client" });
  }
  const { grant_type: kind = "authorization_code", code, code_verifier: verifier, redirect_uri: redirect, refresh_token: old } = seen.fields;
  learn("PKCE verifier", verifier);
  if (kind === "authorization_code") {
    const pending = peer.codes.get(code);
    peer.codes.delete(code);
    const proof = verifier && createHash("sha256").update(verifier).digest("base64url");
    if (!pending || pending.redirect !== redirect || (pending.challenge && pending.challenge !== proof)) {
      return reply(400, { error: "invalid_grant", error_description: "code, redirect_uri or verifier is wrong" });
    }
    return reply(200, peer.tokenReply(issue(peer, pending.account, pending.scope)));
  }
  const known = peer.refresh.get(old);
  if (!known) return reply(400, { error: "invalid_grant" });
  known.worked?.();
  if (!rotate) return reply(200, peer.tokenReply({ ...issue(peer, known.account, known.scope, false) }));
  const tokens = issue(peer, known.account, known.scope);
  if (grace) peer.refresh.get(tokens.refresh_token).worked = () => peer.refresh.delete(old);
  else peer.refresh.delete(old);
  return reply(200, peer.tokenReply(tokens));
}

function issue(peer, account, scope = "repo", withRefresh = true) {
  const access = learn("access token", random("at"));
  peer.access.set(access, account);
  const tokens = { access_token: access, token_type: "Bearer", expires_in: peer.expiresIn, scope };
  if (withRefresh) {
    tokens.refresh_token = learn("refresh token", random("rt"));
    peer.refresh.set(tokens.refresh_token, { account, scope });
  }
  return tokens;
}

function revoke(peer, seen) {
  const { token: dead } = seen.fields;
  peer.access.delete(dead);
  peer.refresh.delete(dead);
  return reply(200, "");
}

function api(peer, seen) {
  const bearer = /^Bearer (.+)$/i.exec(seen.headers.authorization ?? "")?.[1];
  const account = peer.access.get(bearer);
  if (!account) return reply(401, { message: "Bad credentials" });
  const identity = IDENTITIES[seen.path]?.(account);
  if (identity) return reply(200, identity);
  return reply(seen.method === "POST" ? 201 : 200, { ok: true, id: 1, number: 1, login: account, email: `${account}@example.com`, path: seen.path, query: seen.query });
}

/** A number for each account, as GitHub has one. */
const numberOf = (account) => [...account].reduce((sum, sign) => (sum * 31 + sign.codePointAt(0)) % 1_000_000_007, 7);

/** Who the account is, where vendors say it elsewhere than GitHub's `GET /user`. */
const IDENTITIES = {
  "/api/user": (account) => ({ ok: true, id: numberOf(account), login: account, email: `${account}@example.com` }),
  "/api/auth.test": (account) => ({ ok: true, team: "Workspace", team_id: "T1", user: account, user_id: "U1" }),
  "/api/about": (account) => ({ user: { displayName: account, emailAddress: `${account}@example.com`, permissionId: "1" } }),
  "/v1/userinfo": (account) => ({ sub: "1", email: `${account}@example.com`, name: account }),
  "/api/graphql": (account) => ({ data: { viewer: { id: "1", name: account, email: `${account}@example.com` }, organization: { id: "O1", name: "Workspace", urlKey: "workspace" } } }),
};

async function send(response, answer, peer) {
  if (answer.hang) return peer.held.add(response);
  if (answer.reset) return response.destroy();
  const text = typeof answer.body === "string" || Buffer.isBuffer(answer.body) ? answer.body : JSON.stringify(answer.body ?? {});
  const type = typeof answer.body === "string" ? "text/html" : "application/json";
  response.writeHead(answer.status, { "content-type": type, ...answer.headers });
  if (!answer.pieces) return response.end(text);
  peer.held.add(response);
  for (const piece of answer.pieces) {
    if (response.destroyed) return;
    response.write(piece);
    await new Promise((done) => setTimeout(done, answer.every));
  }
  peer.held.delete(response);
  return response.end();
}
