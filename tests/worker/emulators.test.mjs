// How an account ends at servers that behave like the vendors'. What it can do before that is in emulated-*.test.mjs.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answered, refused } from "./support/expect.mjs";
import { openStage, openStory } from "./support/story.mjs";
import { openWorld } from "./support/world.mjs";

const world = await openWorld();

for (const [service, connector, tool, revoke] of [
  ["google", "gmail", "fetch_mails", "/oauth2/revoke"],
  ["linear", "linear", "viewer_get", "/oauth/revoke"],
  ["microsoft", "outlook", "get_me", null], // the one vendor without such an endpoint
]) {
  test(`${service}: a disconnected account is ${revoke ? "revoked there" : "forgotten here"}, and calls are refused`, async () => {
    const stage = await openStage(service, [connector], world);
    const { account, call, execute } = await openStory(stage, connector);
    await call(tool);
    stage.peer.forget();
    const { revocation } = answered(await world.api.disconnect({ id: account.id }));
    assert.deepEqual([revocation.attempted, revocation.succeeded], [revoke !== null, revoke !== null]);
    refused(await execute(tool), "REAUTHORIZATION_REQUIRED");
    assert.deepEqual(stage.peer.requests.map(({ path }) => path), revoke ? [revoke] : []);
  });
}
