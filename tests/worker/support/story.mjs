// Stories told to an emulator: every tool of a connector that the emulator can answer is called once, through the Worker,
// by a user who pressed the emulator's button. Which tools those are is not written down but found: a tool's requests are
// compared with the routes that the emulator has registered, or with the operations of its GraphQL schema.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after } from "node:test";

import { parse } from "smol-toml";

import { consent, startEmulate } from "../peers/emulate.mjs";
import { answered, pageSays } from "./expect.mjs";
import { openWorld } from "./world.mjs";

const CONNECTORS = new URL("../../../connectors/", import.meta.url);
const read = (file) => parse(readFileSync(new URL(file, CONNECTORS), "utf8"));

/** What a connector's folder says: connector.toml, with all its tools. */
function connectorOf(id) {
  const files = readdirSync(new URL(`${id}/tools/`, CONNECTORS));
  return { ...read(`${id}/connector.toml`), tools: files.flatMap((file) => read(`${id}/tools/${file}`).tool) };
}

/** What an answer is about: `data` is always an object, and what is none is its only member. */
function bare(data) {
  const [name, ...more] = Object.keys(data);
  return more.length === 0 && ["items", "text"].includes(name) ? data[name] : data;
}

/** The connectors whose people sign in at `host`. */
export function signInAt(host) {
  const ids = readdirSync(CONNECTORS, { withFileTypes: true }).filter((each) => each.isDirectory()).map(({ name }) => name);
  return ids.filter((id) => read(`${id}/connector.toml`).auth.oauth2?.authorize_url.includes(`//${host}/`));
}

/** Whether a route, such as `/repos/:owner/contents/:path{.+}`, is the one for a tool's path with its `{holes}`. */
function fits(route, path) {
  // One hole of a tool is one segment for it, so a parameter of a route that takes several still stands for one hole.
  const parts = path.split("/");
  const pattern = route.split("/");
  return parts.length === pattern.length && pattern.every((part, at) => part.startsWith(":") || part === parts[at]);
}

/** The fields that a GraphQL document asks of Query or Mutation. */
function operationsOf(graphql) {
  const found = [];
  let depth = 0;
  for (const [token] of graphql.matchAll(/[{}()]|[\w$]+/g)) {
    if ("{(".includes(token)) depth += token === "{" ? 1 : 100;
    else if ("})".includes(token)) depth -= token === "}" ? 1 : 100;
    else if (depth === 1) found.push(token);
  }
  return found;
}

/** The tools that the emulator has a route for, and for each request before them. */
function implemented(peer, { http, tools }) {
  const has = ({ request, graphql }, at, steps) => {
    const [method, target] = request.split(" ");
    const hole = /^\{(\w+)\}$/.exec(target)?.[1]; // a whole address: fine if a step before gets it from the emulator
    if (hole) return steps.slice(0, at).some(({ save = {} }) => hole in save);
    if (graphql) return operationsOf(graphql).every((field) => peer.operations.has(field));
    const path = (target.startsWith("https:") ? target : http.base_url + target).replace(/^https:\/\/[^/]+|\?.*$/g, "");
    return peer.routes.some((route) => (peer.anyMethod || route.method === method) && fits(route.path, path));
  };
  return tools.filter((tool) => [...(tool.before ?? []), tool].every(has)).map(({ name }) => name);
}

/** A Worker, and an emulator where the client has the redirect URI of each of the connectors. */
export async function openStage(service, connectors, world) {
  world ??= await openWorld();
  const peer = await startEmulate(service, { redirects: connectors.map((id) => `${world.url}/callback/${id}`) });
  after(() => peer.stop());
  return { world, peer };
}

/** Connects the seeded user to `connector`. → how to call its tools, and to prove at the end that all were called */
export async function openStory({ world, peer }, connector, { scopes, endpoints } = {}) {
  const definition = connectorOf(connector);
  const called = new Set();
  const asked = scopes ?? Object.keys(definition.auth.oauth2.scopes);
  const name = await world.connection(peer, { name: connector, connector, scopes: asked, endpoints: endpoints?.(peer.url) });
  const browser = world.browser();
  const through = (consentPage) => consent(browser, consentPage);
  const { account, page } = await world.connect(name, "jo", { browser, through });
  pageSays(page, 200);
  assert.equal(account.status, "ACTIVE", account.status_reason);
  const who = { connection_name: name, identifier: "jo" };
  const execute = (tool, params = {}) => world.api.execute({ tool_name: `${connector}_${tool}`, ...who, params });
  const there = implemented(peer, definition);
  return {
    account, execute,
    /** The names of the tools that the emulator has, without the connector's. */
    implemented: there.map((tool) => tool.slice(connector.length + 1)),
    /** Calls a tool, which must answer. → the useful part of the answer */
    async call(tool, params) {
      const { data } = answered(await execute(tool, params));
      called.add(`${connector}_${tool}`);
      return bare(data);
    },
    /** Reads a list page by page; there must be more than one. → all items, which stand at `at` of an answer */
    async pages(tool, params, at) {
      const all = [];
      for (let count = 1, cursor; ; count++) {
        const { data, next_cursor } = answered(await execute(tool, { ...params, ...(cursor && { cursor }) }));
        all.push(...(at ? data[at] : bare(data)));
        if (!next_cursor) {
          assert.ok(count > 1, `${tool} has one page only: ${JSON.stringify(data).slice(0, 300)}`);
          return all;
        }
        cursor = next_cursor;
      }
    },
    /** What the emulator says to a request of our own, for what no tool does: JSON. */
    async proxy(method, path, options) {
      const answer = await world.api.proxy(method, path, { account: who, ...options });
      assert.ok(answer.status < 300, `${answer.status} ${answer.text.slice(0, 300)}`);
      return answer.json;
    },
    /**
     * Every tool that the emulator has was called, apart from those that it gets wrong (`lacks`: name → reason), and every
     * call carried a token that the emulator had issued.
     */
    told(lacks = {}) {
      const bearers = peer.calls().map(({ headers }) => headers.authorization?.replace(/^(Bearer|token) /i, ""));
      assert.deepEqual(bearers.filter((bearer) => !peer.issued.has(bearer)), []);
      const wrong = Object.keys(lacks).map((tool) => `${connector}_${tool}`);
      const accounted = [...called, ...wrong];
      assert.deepEqual(there.filter((tool) => !accounted.includes(tool)), [], "tools that nobody called");
      assert.deepEqual(accounted.filter((tool) => !there.includes(tool)), [], "tools without a route");
      assert.deepEqual(wrong.filter((tool) => called.has(tool)), [], "tools said to be wrong, but they answer");
    },
  };
}

/** The one item of a list that has these members. */
export function one(list, members) {
  const found = list.filter((item) => Object.entries(members).every(([name, value]) => item[name] === value));
  assert.equal(found.length, 1, `${JSON.stringify(members)} in ${JSON.stringify(list).slice(0, 600)}`);
  return found[0];
}
