// What an answer must look like. The table is design, not code under test: code → status and whose fault it may be.

import assert from "node:assert/strict";

const CODES = {
  INVALID_REQUEST: [400, "caller"], INVALID_TOOL_INPUT: [400, "caller"], UNAUTHENTICATED: [401, "caller"],
  PERMISSION_DENIED: [403, "caller"], PROVIDER_NOT_FOUND: [404, "caller"], CONNECTION_NOT_FOUND: [404, "caller"],
  CONNECTED_ACCOUNT_NOT_FOUND: [404, "caller"], TOOL_NOT_FOUND: [404, "caller"], CONFLICT: [409, "caller"],
  REAUTHORIZATION_REQUIRED: [401, "provider"], INSUFFICIENT_SCOPE: [403, "provider"],
  PROVIDER_PERMISSION_DENIED: [403, "provider"], RESOURCE_NOT_FOUND: [404],
  PROVIDER_INVALID_REQUEST: [400, "provider"], PROVIDER_CONFLICT: [409, "provider"],
  RATE_LIMIT_EXCEEDED: [429], QUOTA_EXCEEDED: [429], FEATURE_RESTRICTED: [403],
  PROVIDER_ERROR: [502], PROVIDER_UNAVAILABLE: [503], PROVIDER_TIMEOUT: [504],
  CONNECTION_MISCONFIGURED: [424], INTERNAL: [500, "platform"],
};

/** An error object with this code, the status that belongs to it, and a complete shape. → its `details` */
export function refused(answer, code, details = {}) {
  const seen = `${answer.status} ${answer.text.slice(0, 400)}`;
  assert.equal(answer.json?.error?.code, code, seen);
  const [status, origin] = CODES[code];
  assert.equal(answer.status, status, seen);
  assert.match(answer.headers.get("content-type") ?? "", /^application\/json/);
  assert.ok(answer.headers.get("x-request-id"), "every answer carries x-request-id");
  const { error } = answer.json;
  assert.ok(typeof error.message === "string" && error.message.length > 0, "an error says what happened");
  assert.ok(["caller", "platform", "provider", "network"].includes(error.details?.origin), `origin in ${seen}`);
  assert.equal(typeof error.details.retryable, "boolean", `retryable in ${seen}`);
  if (origin) assert.equal(error.details.origin, origin, seen);
  const wait = error.details.retryAfter;
  assert.equal(answer.headers.get("retry-after"), wait === null || wait === undefined ? null : String(wait), seen);
  for (const [name, value] of Object.entries(details)) assert.deepEqual(error.details[name], value, `details.${name} in ${seen}`);
  return error.details;
}

/** An answer with this status. → its JSON */
export function answered(answer, status = 200) {
  assert.equal(answer.status, status, answer.text.slice(0, 600));
  return answer.json;
}

/** A page for people: HTML with this status, guarded against framing and script. → its words */
export function pageSays(page, status, words) {
  assert.match(page.headers.get("content-type") ?? "", /^text\/html/, `${page.url}: ${page.text.slice(0, 200)}`);
  assert.equal(page.status, status, page.words.slice(0, 300));
  assert.ok(page.headers.get("content-security-policy"), "a page has a content security policy");
  if (words) assert.match(page.words, words);
  return page.words;
}

/** What an alarm does comes a moment after the answer. */
export async function comes(condition, what, patience = 5_000) {
  for (const end = Date.now() + patience; !condition(); ) {
    assert.ok(Date.now() < end, `does not come: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
