// A caller of the Worker's API. It gets its bearer token as an OAuth client would, and hands every answer to the secret scan.

import { learn, learnClient } from "./secrets.mjs";

/** Answers that carry a secret because that is what they are for. The value says which kinds; null is all. */
const CARRIES = [
  [/^POST \/oauth\/token$/, null],
  [/^GET \/api\/v1\/connected_accounts\/auth$/, null],
  [/^POST \/api\/v1\/callers$/, ["client secret"]],
  [/^POST \/api\/v1\/connected_accounts\/magic_link$/, ["magic link"]],
];

/** An answer, read whole. `json` is null when the body is not JSON. */
export class Answer {
  constructor(response, text) {
    this.status = response.status;
    this.headers = response.headers;
    this.text = text;
    try {
      this.json = JSON.parse(text);
    } catch {
      this.json = null;
    }
  }
}

export class Client {
  #bearer = null;

  /** `places` collects what the scan will read; `base` is the Worker's address. */
  constructor({ base, id, secret, scope, places }) {
    Object.assign(this, { base, id, secret, scope, places });
    learnClient(id, secret);
  }

  /** The same caller, talking to another instance of the Worker. */
  at(base) {
    return new Client({ ...this, base });
  }

  /** A bearer token, from the token endpoint the first time and again after `forget()`. */
  async bearer() {
    this.#bearer ??= this.#fetchBearer();
    return this.#bearer;
  }

  forget() {
    this.#bearer = null;
  }

  async #fetchBearer() {
    const form = { grant_type: "client_credentials", ...(this.scope && { scope: this.scope }) };
    const basic = Buffer.from(`${this.id}:${this.secret}`).toString("base64");
    const answer = await this.send("POST", "/oauth/token", { form, headers: { authorization: `Basic ${basic}` } });
    if (answer.status !== 200) throw new Error(`no bearer token: ${answer.status} ${answer.text}`);
    return learn("caller token", answer.json.access_token);
  }

  /** A request with this caller's credential. `json` or `form` or `body`, `query`, `headers`. */
  async call(method, path, options = {}) {
    const authorization = `Bearer ${await this.bearer()}`;
    return this.send(method, path, { ...options, headers: { authorization, ...options.headers } });
  }

  /** A request as it is, without a credential of its own. */
  async send(method, path, { json, form, body, query, headers = {}, redirect = "manual", signal } = {}) {
    const url = new URL(this.base + path);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const type = json !== undefined ? "application/json" : form ? "application/x-www-form-urlencoded" : undefined;
    const response = await fetch(url, {
      method, redirect, signal, headers: { ...(type && { "content-type": type }), ...headers },
      body: json !== undefined ? JSON.stringify(json) : form ? new URLSearchParams(form) : body,
      ...(body && typeof body === "object" && !Buffer.isBuffer(body) && { duplex: "half" }),
    });
    const answer = new Answer(response, await response.text());
    this.#witness(`${method} ${path}`, answer);
    return answer;
  }

  #witness(route, answer) {
    const bare = route.split("?")[0].replace(/(\/connect\/).*/, "$1{token}");
    const carries = CARRIES.find(([pattern]) => pattern.test(bare));
    const ours = !bare.includes(" /proxy/") || answer.headers.get("x-valetkey-error");
    if (answer.status < 400 && (carries?.[1] === null || !ours)) return;
    // The one place in an error where a magic link belongs; the rest is looked at.
    const link = answer.json?.error?.details?.reauthorizeUrl;
    const text = link ? answer.text.replaceAll(link, "[reauthorizeUrl]") : answer.text;
    const page = /^text\/html/.test(answer.headers.get("content-type") ?? "");
    this.places?.add(`answer ${answer.status} to ${bare}`, text, page ? ["magic link"] : answer.status < 400 ? carries?.[1] ?? [] : []);
    this.places?.add(`headers of the answer to ${bare}`, JSON.stringify([...answer.headers]));
  }

  // The API by its operations. Each returns the answer as it is; tests say what they expect of it.

  createConnection(fields) {
    return this.call("POST", "/api/v1/connections", { json: fields });
  }

  async magicLink(fields) {
    const answer = await this.call("POST", "/api/v1/connected_accounts/magic_link", { json: fields });
    if (answer.json?.link) learn("magic link", new URL(answer.json.link).pathname.split("/").pop());
    return answer;
  }

  details(query) {
    return this.call("GET", "/api/v1/connected_accounts/details", { query });
  }

  auth(query) {
    return this.call("GET", "/api/v1/connected_accounts/auth", { query });
  }

  refresh(fields) {
    return this.call("POST", "/api/v1/connected_accounts/refresh", { json: fields });
  }

  disconnect(fields) {
    return this.call("POST", "/api/v1/connected_accounts:delete", { json: fields });
  }

  execute(fields, { headers, query } = {}) {
    return this.call("POST", "/api/v1/execute_tool", { json: fields, headers, query });
  }

  proxy(method, path, { account, headers, ...options } = {}) {
    const { connection_name, identifier, connected_account_id } = account ?? {};
    const named = Object.fromEntries(Object.entries({ connection_name, identifier, connected_account_id }).filter(([, v]) => v));
    return this.call(method, `/proxy/${path}`, { headers: { ...named, ...headers }, ...options });
  }
}
