// A certified authorization server (oidc-provider) with a small API behind it that really checks its tokens.
//
// PKCE is required; refresh tokens rotate, and the second use of one kills the grant, as the strictest providers do it.
// Consent is given at once, in the name of `user`, or refused while `deny` is set.

import { generateKeyPairSync } from "node:crypto";

import Provider from "oidc-provider";

import { learn, learnClient } from "../support/secrets.mjs";
import { Gate, listen } from "./server.mjs";

const SCOPES = ["openid", "offline_access", "repo", "read:user", "user:email", "read", "write", "items"];

/**
 * Starts a provider. `redirects` are the redirect URIs of its one client; more can be added later with `allowRedirect`.
 * `lifetime` is that of an access token in seconds.
 */
export async function startOidc({
  redirects = [], lifetime = 3600, auth = "client_secret_post", rotate = true, user = "jo",
} = {}) {
  const store = new Map();
  const gate = new Gate();
  const counts = { token: 0, refresh: 0, code: 0, reuse: 0, revocation: 0, api: 0, refused: 0 };
  const peer = { counts, gate, refusals: new Gate(), user, deny: false, lifetime, apiTokens: [], client: null };
  let handle = (_request, response) => response.writeHead(503).end();
  const { url, stop } = await listen((request, response) => handle(request, response));

  const client = learnClient("valetkey-tests", "oidc-client-secret-0123456789abcdef");
  const redirectUris = [...redirects];
  const provider = new Provider(url, {
    adapter: adapterOver(store),
    clients: [],
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    scopes: SCOPES,
    claims: { openid: ["sub"] },
    pkce: { required: () => true },
    cookies: { keys: ["test cookie key"] },
    ttl: { AccessToken: () => peer.lifetime, RefreshToken: 86_400, Grant: 86_400, Interaction: 600, Session: 600,
      AuthorizationCode: 60, IdToken: 3600 },
    rotateRefreshToken: rotate,
    issueRefreshToken: () => true,
    expiresWithSession: () => false,
    jwks: { keys: [{ ...generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }), alg: "ES256" }] },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    features: { devInteractions: { enabled: false }, revocation: { enabled: true, allowedPolicy: () => true },
      introspection: { enabled: true } },
  });
  store.set(`Client:${client.client_id}`, {
    ...client, redirect_uris: redirectUris, grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"], token_endpoint_auth_method: auth, scope: SCOPES.join(" "),
    id_token_signed_response_alg: "ES256",
  });

  provider.use(async (ctx, next) => {
    const tokenRequest = ctx.method === "POST" && ctx.path === "/token";
    if (tokenRequest) {
      counts.token += 1;
      if (!(await gate.pass())) {
        ctx.respond = false;
        return ctx.req.destroy();
      }
    }
    await next();
    if (ctx.method === "POST" && ctx.path === "/token/revocation" && ctx.status === 200) counts.revocation += 1;
    if (!tokenRequest) return;
    const grant = ctx.oidc?.params?.grant_type;
    if (grant === "refresh_token") counts.refresh += 1;
    if (grant === "authorization_code") {
      counts.code += 1;
      learn("PKCE verifier", ctx.oidc.params.code_verifier);
      learn("authorization code", ctx.oidc.params.code);
    }
    learn("access token", ctx.body?.access_token);
    learn("refresh token", ctx.body?.refresh_token);
  });
  provider.on("grant.error", (_ctx, error) => {
    if (error.error_detail === "refresh token already used") counts.reuse += 1;
  });
  provider.on("server_error", (_ctx, error) => console.error("oidc-provider:", error));

  const oidc = provider.callback();
  handle = (request, response) => {
    const { pathname } = new URL(request.url, url);
    if (pathname.startsWith("/interaction/")) return interact(provider, peer, request, response);
    if (pathname.startsWith("/api/")) return api(provider, peer, pathname, request, response);
    // GitHub's own value of `prompt`, which OpenID Connect's list has and this server does not take.
    request.url = request.url.replace(/([?&])prompt=select_account&?/, "$1");
    return oidc(request, response);
  };

  /** Entries of one model: `entries("RefreshToken")` → `[{id, payload}]`. */
  const entries = (model) => [...store]
    .filter(([key]) => key.startsWith(`${model}:`))
    .map(([key, payload]) => ({ id: key.slice(model.length + 1), payload }));

  return Object.assign(peer, {
    url, stop, client, entries,
    endpoints: {
      authorize_url: `${url}/auth`, token_url: `${url}/token`, revoke_url: `${url}/token/revocation`, api_base: `${url}/api`,
    },
    allowRedirect: (uri) => redirectUris.push(uri),
    resetCounts: () => Object.keys(counts).forEach((name) => (counts[name] = 0)),
    /** Refresh tokens of a user that the provider would accept now. */
    liveRefreshTokens: (account) => entries("RefreshToken").filter(({ payload }) =>
      payload.accountId === account && !payload.consumed && store.has(`Grant:${payload.grantId}`)),
    /** Ends every access token at once, whatever the expiry it was given out with. */
    expireAccessTokens: () => entries("AccessToken").forEach(({ id }) => store.delete(`AccessToken:${id}`)),
    /** Ends every grant of a user: their refresh tokens answer `invalid_grant` from now on. */
    revokeGrants: (account) => entries("Grant").forEach(({ id, payload }) =>
      payload.accountId === account && store.delete(`Grant:${id}`)),
  });
}

/** Storage that a test can look into: one map, `Model:id` → payload. */
function adapterOver(store) {
  return class {
    constructor(model) {
      this.model = model;
    }
    key(id) {
      return `${this.model}:${id}`;
    }
    async upsert(id, payload) {
      store.set(this.key(id), payload);
    }
    async find(id) {
      return store.get(this.key(id));
    }
    async findByUid(uid) {
      return [...store].find(([key, value]) => key.startsWith(`${this.model}:`) && value.uid === uid)?.[1];
    }
    async findByUserCode() {
      return undefined;
    }
    async destroy(id) {
      store.delete(this.key(id));
    }
    async consume(id) {
      store.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
    }
    async revokeByGrantId(grantId) {
      for (const [key, value] of store) if (value.grantId === grantId) store.delete(key);
    }
  };
}

/** The interaction page: signs `peer.user` in and consents to everything asked, or refuses. */
async function interact(provider, peer, request, response) {
  if (peer.deny) {
    return provider.interactionFinished(request, response, { error: "access_denied", error_description: "user said no" });
  }
  const { params } = await provider.interactionDetails(request, response);
  const grant = new provider.Grant({ accountId: peer.user, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? "");
  const grantId = await grant.save();
  return provider.interactionFinished(request, response, { login: { accountId: peer.user, remember: false }, consent: { grantId } });
}

/** The API: every path answers who is calling, to a token that the provider issued and has not ended. */
async function api(provider, peer, pathname, request, response) {
  peer.counts.api += 1;
  const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
  const token = bearer && (await provider.AccessToken.find(bearer));
  const answer = (status, body, headers = {}) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  request.resume();
  if (!token || token.isExpired) {
    peer.counts.refused += 1;
    await peer.refusals.pass();
    return answer(401, { message: "Bad credentials" }, { "www-authenticate": 'Bearer error="invalid_token"' });
  }
  peer.apiTokens.push(bearer);
  if (pathname === "/api/items") return answer(200, { items: [{ id: 1 }, { id: 2 }] });
  return answer(request.method === "POST" ? 201 : 200, {
    id: 1, login: token.accountId, name: token.accountId, email: `${token.accountId}@example.com`, path: pathname,
  });
}
