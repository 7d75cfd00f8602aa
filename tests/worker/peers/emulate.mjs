// GitHub, Google, Slack, Linear and Microsoft as npm `emulate` has them: consent pages with a button per user, and answers
// of the real shape.
//
// The emulators take any bearer token for their first user. So a small front stands before each: it knows the tokens that were
// issued, refuses all others as the vendor would, counts what passes, and maps the few addresses that differ from the vendor's.

import { readdirSync, readFileSync } from "node:fs";

import { createEmulator } from "emulate";

import { learn, learnClient } from "../support/secrets.mjs";
import { operationsAt, understood } from "./graphql.mjs";
import { freePort, listen, readBody } from "./server.mjs";

/** The user that tests connect: seeded second, so that the emulator's fallback to the first would show. */
export const USER = { login: "jo", email: "jo@example.com", name: "Jo Doe" };

const SERVICES = {
  github: {
    seed: (client, redirects) => ({
      users: [{ login: "someone-else", email: "else@example.com", name: "Someone Else" }, USER],
      orgs: [{ login: "acme", name: "Acme", members: [{ login: "someone-else" }, { login: USER.login, role: "admin" }] }],
      repos: [{ owner: USER.login, name: "hello", language: "Rust", auto_init: true },
        { owner: "someone-else", name: "library", description: "For all", auto_init: true }],
      oauth_apps: [{ ...client, name: "valetkey tests", redirect_uris: redirects }],
    }),
    endpoints: (url) => ({ authorize_url: `${url}/login/oauth/authorize`, token_url: `${url}/login/oauth/access_token`, api_base: url }),
    // No request makes a workflow there, not even a file in .github/workflows.
    furnish: (store) => {
      const { id } = store.collection("github.repos", ["owner_id", "full_name"]).findOneBy("full_name", `${USER.login}/hello`);
      const workflow = { repo_id: id, node_id: "", name: "CI", path: ".github/workflows/ci.yml", state: "active" };
      store.collection("github.workflows", ["repo_id"]).insert(workflow);
    },
    token: "/login/oauth/access_token",
    open: ["/login/", "/settings/", "/_emulate/"],
    refuse: () => [401, { message: "Bad credentials", documentation_url: "https://docs.github.com/rest" }],
  },
  google: {
    seed: (client, redirects) => ({
      users: [{ email: "else@example.com", name: "Someone Else" }, { email: USER.email, name: USER.name }],
      oauth_clients: [{ ...client, name: "valetkey tests", redirect_uris: redirects }],
      // The emulator has a msg_welcome and a drv_docs of its own, for somebody else.
      messages: [{ id: "msg_jo", user_email: USER.email, from: "welcome@example.com", to: USER.email, subject: "Welcome",
        body_text: "Hello.", label_ids: ["INBOX", "UNREAD"] }],
      calendars: [{ id: "primary", user_email: USER.email, summary: USER.email, primary: true, selected: true, time_zone: "UTC" }],
      drive_items: [{ id: "drv_jo", user_email: USER.email, name: "Docs", mime_type: "application/vnd.google-apps.folder", parent_ids: ["root"] }],
    }),
    endpoints: (url) => ({ authorize_url: `${url}/o/oauth2/v2/auth`, token_url: `${url}/oauth2/token`, revoke_url: `${url}/oauth2/revoke`, api_base: url }),
    token: "/oauth2/token",
    open: ["/o/oauth2/", "/oauth2/token", "/oauth2/revoke", "/_emulate/"],
    // What the emulator lacks, from what it knows of the user.
    lacks: {
      "/drive/v3/about": (user) => ({ user: { displayName: user.name, emailAddress: user.email, permissionId: user.sub } }),
      "/gmail/v1/users/me/profile": (user) => ({ emailAddress: user.email }),
    },
    map: { "/v1/userinfo": "/oauth2/v2/userinfo", "/oauth2/v3/userinfo": "/oauth2/v2/userinfo", "/token": "/oauth2/token" },
    refuse: () => [401, { error: { code: 401, message: "Invalid Credentials", status: "UNAUTHENTICATED" } }],
  },
  slack: {
    seed: (client, redirects) => ({
      team: { name: "Workspace", domain: "workspace" },
      users: [{ name: "someone-else", real_name: "Someone Else", email: "else@example.com" },
        { name: USER.login, real_name: USER.name, email: USER.email }],
      channels: [{ name: "general", topic: "All" }],
      oauth_apps: [{ ...client, app_id: "A000000001", name: "valetkey tests", redirect_uris: redirects }],
      strict_scopes: true,
    }),
    endpoints: (url) => ({ authorize_url: `${url}/oauth/v2/authorize`, token_url: `${url}/api/oauth.v2.access`, revoke_url: `${url}/api/auth.revoke`, api_base: `${url}/api` }),
    token: "/api/oauth.v2.access",
    open: ["/oauth/", "/api/oauth.v2.access", "/upload/v1/", "/_emulate/"], // the address of an upload is its own credential
    postOnly: true,
    refuse: () => [200, { ok: false, error: "invalid_auth" }],
  },
  linear: {
    seed: (client, redirects) => ({
      organization: { name: "Workspace", url_key: "workspace" },
      users: [{ email: "else@example.com", name: "Someone Else" }, { email: USER.email, name: USER.name }],
      teams: [{ key: "ENG", name: "Engineering" }],
      projects: [{ name: "Garage", team: "ENG" }],
      cycles: [{ name: "Sprint", team: "ENG", number: 1 }],
      oauth_apps: [{ ...client, name: "valetkey tests", redirect_uris: redirects, scopes: ["read", "write"] }],
    }),
    endpoints: (url) => ({
      authorize_url: `${url}/oauth/authorize`, token_url: `${url}/oauth/token`, revoke_url: `${url}/oauth/revoke`, api_base: url,
    }),
    token: "/oauth/token",
    open: ["/oauth/", "/_emulate/"],
    graphql: "/graphql",
    refuse: () => [401, { errors: [{ message: "Authentication required", extensions: { code: "AUTHENTICATION_ERROR" } }] }],
  },
  microsoft: {
    seed: (client, redirects) => ({
      users: [{ email: "else@example.com", name: "Someone Else" }, { email: USER.email, name: USER.name }],
      oauth_clients: [{ ...client, name: "valetkey tests", redirect_uris: redirects }],
    }),
    endpoints: (url) => ({
      authorize_url: `${url}/common/oauth2/v2.0/authorize`, token_url: `${url}/common/oauth2/v2.0/token`,
      api_base: `${url}/v1.0`,
    }),
    token: "/oauth2/v2.0/token",
    open: ["/common/oauth2/v2.0/", "/oauth2/v2.0/", "/_emulate/"],
    // The emulator has these without a tenant.
    map: { "/common/oauth2/v2.0/authorize": "/oauth2/v2.0/authorize", "/common/oauth2/v2.0/token": "/oauth2/v2.0/token" },
    refuse: () => [401, { error: { code: "InvalidAuthenticationToken", message: "Access token is empty." } }],
  },
};

/** The plugin of a service, the very object that createEmulator() will use: its file has a name that changes. */
async function pluginOf(service) {
  const folder = new URL("./", import.meta.resolve("emulate"));
  for (const file of readdirSync(folder).filter((name) => /^dist-\w+\.js$/.test(name))) {
    if (!readFileSync(new URL(file, folder), "utf8").includes(`var ${service}Plugin = `)) continue;
    return (await import(new URL(file, folder)))[`${service}Plugin`];
  }
  throw new Error(`emulate has no plugin for ${service}`);
}

/** Starts an emulator. → with the routes it registered, and with its store, for what no request can put there */
async function emulatorOf(options) {
  const plugin = await pluginOf(options.service);
  const { register } = plugin;
  const seen = {};
  plugin.register = (app, store, ...rest) => {
    register(app, store, ...rest);
    Object.assign(seen, { routes: app.routeTable, store });
  };
  try {
    return { emulator: await createEmulator(options), ...seen };
  } finally {
    plugin.register = register;
  }
}

/** Starts one emulator behind its front. `redirects` are the redirect URIs registered for the client. */
export async function startEmulate(service, { redirects = [] } = {}) {
  const definition = SERVICES[service];
  const client = learnClient(`${service}-client`, `${service}-client-secret-0123456789`);
  const issued = new Set();
  const port = await freePort();
  const upstream = `http://127.0.0.1:${port}`;
  const peer = { service, client, requests: [], issued, upstream };
  const { url, stop } = await listen(async (request, response) => {
    const address = new URL(request.url, upstream);
    const body = await readBody(request);
    peer.requests.push({ method: request.method, path: address.pathname, query: address.search.slice(1), headers: request.headers, body });
    const [status, headers, answer] = await pass(definition, issued, upstream, request, address, body);
    response.writeHead(status, headers).end(answer);
  });
  const seed = { [service]: definition.seed(client, redirects) };
  const { emulator, routes, store } = await emulatorOf({ service, port, baseUrl: url, seed });
  definition.furnish?.(store);
  if (definition.graphql) peer.operations = await operationsAt(upstream + definition.graphql);
  return Object.assign(peer, {
    url, routes, anyMethod: definition.postOnly, endpoints: definition.endpoints(url),
    calls: () => peer.requests.filter((r) => !definition.open.some((prefix) => r.path.startsWith(prefix))),
    forget: () => (peer.requests.length = 0),
    stop: async () => (await stop(), await emulator.close()),
  });
}

/** Presses the button of the seeded user on a consent page, and follows to wherever the provider sends the browser. */
export function consent(browser, page, options = {}) {
  return browser.submit(page, { pick: (form) => form.label.includes(USER.email), ...options });
}

async function pass(definition, issued, upstream, request, address, body) {
  const json = { "content-type": "application/json" };
  const path = definition.map?.[address.pathname] ?? address.pathname;
  const bearer = /^(?:Bearer|token) (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
  if (!definition.open.some((prefix) => path.startsWith(prefix)) && !issued.has(bearer)) {
    const [status, answer] = definition.refuse();
    return [status, json, JSON.stringify(answer)];
  }
  if (definition.lacks?.[path]) {
    const user = await fetch(`${upstream}/oauth2/v2/userinfo`, { headers: { authorization: request.headers.authorization } });
    return [200, json, JSON.stringify(definition.lacks[path](await user.json()))];
  }
  let { method } = request;
  const headers = { ...request.headers };
  for (const name of ["host", "connection", "content-length", "transfer-encoding", "accept-encoding", "keep-alive"]) delete headers[name];
  let search = address.search;
  if (definition.postOnly && method === "GET" && path.startsWith("/api/")) {
    method = "POST";
    headers["content-type"] = "application/x-www-form-urlencoded";
    body = address.search.slice(1);
    search = "";
  }
  if (method === "POST" && path === definition.graphql) {
    const { query, ...rest } = JSON.parse(body);
    body = JSON.stringify({ query: await understood(upstream + path, query), ...rest });
  }
  const answer = await fetch(upstream + path + search, {
    method, headers, redirect: "manual", body: ["GET", "HEAD"].includes(method) ? undefined : body,
  });
  const text = Buffer.from(await answer.arrayBuffer());
  if (path === definition.token) remember(issued, text.toString(), body.toString());
  const back = Object.fromEntries(answer.headers);
  delete back["content-encoding"];
  delete back["content-length"];
  delete back["transfer-encoding"];
  return [answer.status, back, text];
}

function remember(issued, text, asked) {
  const asJson = text.startsWith("{") ? JSON.parse(text) : Object.fromEntries(new URLSearchParams(text));
  for (const token of [asJson.access_token, asJson.authed_user?.access_token]) {
    if (token) issued.add(learn("access token", token));
  }
  learn("refresh token", asJson.refresh_token);
  const sent = new URLSearchParams(asked);
  learn("authorization code", sent.get("code") ?? undefined);
  learn("PKCE verifier", sent.get("code_verifier") ?? undefined);
}
