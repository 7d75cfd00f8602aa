// Every tool's input schema, as a validator and as the makers of language models take it. The rules below are theirs, read from
// their documentation and written down here; the definitions come from the Worker.

import assert from "node:assert/strict";
import { test } from "node:test";

import Ajv from "ajv";
import addFormats from "ajv-formats";

import { answered, refused } from "./support/expect.mjs";
import { openWorld } from "./support/world.mjs";

const world = await openWorld();
const { api } = world;

/** All definitions, over all pages. */
async function all(format) {
  const tools = [];
  for (let page_token; ;) {
    const query = { page_size: "200", ...(format && { format }), ...(page_token && { page_token }) };
    const page = answered(await api.call("GET", "/api/v1/tools", { query }));
    tools.push(...page.tools);
    page_token = page.next_page_token;
    if (!page_token) {
      assert.equal(tools.length, page.total_size);
      return tools;
    }
  }
}

/** Every schema inside a schema, with where it stands. */
function* inside(schema, at = "") {
  yield [at, schema];
  if (schema.items) yield* inside(schema.items, `${at}/items`);
  for (const [name, property] of Object.entries(schema.properties ?? {})) yield* inside(property, `${at}/${name}`);
}

const depth = (schema) => 1 + Math.max(0, ...Object.values(schema.properties ?? {}).map(depth), ...(schema.items ? [depth(schema.items)] : []));

test("every input schema compiles in ajv's strict mode, and its defaults fit it", async () => {
  // A cell is text, a number, a boolean or null: the one place where several types are meant.
  const ajv = addFormats(new Ajv({ strict: true, allErrors: true, allowUnionTypes: true }));
  for (const { definition: { name, description, input_schema: schema } } of await all()) {
    assert.match(name, /^[a-zA-Z0-9_-]{1,64}$/);
    assert.ok(description.length >= 20 && description.length <= 240, name);
    const validate = ajv.compile(schema);
    assert.equal(typeof validate, "function");
    for (const [property, { default: value }] of Object.entries(schema.properties)) {
      if (value === undefined) continue;
      const check = ajv.compile(schema.properties[property]);
      assert.ok(check(value), `${name}.${property}: its default does not fit: ${JSON.stringify(check.errors)}`);
    }
  }
});

// https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
test("OpenAI takes every tool as a strict function", async () => {
  const allowed = new Set(["type", "description", "enum", "properties", "required", "additionalProperties", "items", "pattern", "format", "minimum", "maximum", "minItems", "maxItems"]);
  for (const { type, name, parameters, strict } of await all("openai")) {
    assert.equal(type, "function");
    assert.equal(strict, true);
    assert.match(name, /^[a-zA-Z0-9_-]{1,64}$/);
    assert.equal(parameters.type, "object");
    assert.ok(depth(parameters) <= 10, `${name} nests deeper than ten levels`);
    let properties = 0;
    let choices = 0;
    for (const [at, schema] of inside(parameters)) {
      for (const keyword of Object.keys(schema)) assert.ok(allowed.has(keyword), `${name}${at}: ${keyword}`);
      if (schema.format) assert.ok(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"].includes(schema.format), `${name}${at}`);
      choices += schema.enum?.length ?? 0;
      if (![schema.type].flat().includes("object")) continue;
      assert.equal(schema.additionalProperties, false, `${name}${at} is open`);
      assert.deepEqual(schema.required, Object.keys(schema.properties), `${name}${at}: everything is required`);
      properties += schema.required.length;
    }
    assert.ok(properties <= 5000 && choices <= 1000, `${name} is too large`);
  }
});

// https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
test("Anthropic takes every tool", async () => {
  const ajv = addFormats(new Ajv({ strict: true, allowUnionTypes: true }));
  for (const tool of await all("anthropic")) {
    assert.deepEqual(Object.keys(tool), ["name", "description", "input_schema"]);
    assert.match(tool.name, /^[a-zA-Z0-9_-]{1,64}$/);
    assert.equal(tool.input_schema.type, "object");
    for (const keyword of ["oneOf", "anyOf", "allOf", "not"]) assert.ok(!(keyword in tool.input_schema), `${tool.name}: ${keyword}`);
    ajv.compile(tool.input_schema);
  }
});

// https://ai.google.dev/api/caching#FunctionDeclaration and #Schema
test("Gemini takes every tool as a function declaration", async () => {
  const allowed = new Set(["type", "format", "description", "nullable", "anyOf", "enum", "maxItems", "minItems", "properties", "required", "minLength", "maxLength", "pattern", "items", "minimum", "maximum"]);
  for (const { name, parameters } of await all("gemini")) {
    assert.match(name, /^[a-zA-Z_][a-zA-Z0-9_.-]{0,63}$/);
    for (const [at, schema] of inside(parameters)) {
      for (const keyword of Object.keys(schema)) assert.ok(allowed.has(keyword), `${name}${at}: ${keyword}`);
      // Branches are of one type each, and beside them nothing may stand.
      if (schema.anyOf) assert.deepEqual(Object.keys(schema), ["anyOf"], `${name}${at}`);
      for (const branch of schema.anyOf ?? [schema]) {
        assert.ok(["string", "integer", "number", "boolean", "array", "object"].includes(branch.type), `${name}${at}`);
      }
      if (schema.enum) assert.ok(schema.type === "string" && schema.enum.every((choice) => typeof choice === "string" && choice !== ""), `${name}${at}: enum`);
      if (schema.format) assert.equal(`${schema.type} ${schema.format}`, "string date-time", `${name}${at}`);
      if (schema.type === "array") assert.ok(schema.items, `${name}${at}: an array needs items`);
      for (const property of schema.required ?? []) assert.ok(property in schema.properties, `${name}${at}: ${property} is required and unknown`);
    }
  }
});

test("an unknown format is refused with the known ones", async () => {
  refused(await api.call("GET", "/api/v1/tools", { query: { format: "cohere" } }), "INVALID_REQUEST");
});

test("the catalogue is as large as it is said to be", async () => {
  const { providers } = answered(await api.call("GET", "/api/v1/providers"));
  const listed = await all();
  for (const { id, tools_count } of providers) {
    assert.equal(listed.filter((tool) => tool.provider === id).length, tools_count, id);
  }
});
