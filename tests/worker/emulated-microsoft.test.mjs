// Microsoft's sign-in, with every connector that goes through it, and the little of Graph that the emulator has: people.

import assert from "node:assert/strict";
import { test } from "node:test";

import { USER } from "./peers/emulate.mjs";
import { answered, refused } from "./support/expect.mjs";
import { openStage, openStory, signInAt } from "./support/story.mjs";

const connectors = signInAt("login.microsoftonline.com");
const stage = await openStage("microsoft", connectors);
const { world, peer } = stage;
/** Scopes, where those asked for by default do not reach. */
const SCOPES = { microsoftteams: ["offline_access", "User.Read", "User.ReadBasic.All"] };
const LACKS = { sharepoint: { find_user_by_email: "finds people by id, not by the name they sign in with" } };

assert.ok(connectors.includes("outlook") && connectors.includes("onedrive"), connectors.join());
for (const connector of connectors) {
  test(`${connector}: the user signs in, and every tool that the emulator has says who that is`, async () => {
    const story = await openStory(stage, connector, { scopes: SCOPES[connector] });
    const { account, call, execute, proxy, implemented, told } = story;
    assert.equal(account.label, USER.email);
    const { id } = await proxy("GET", "me");
    for (const tool of implemented.filter((name) => !LACKS[connector]?.[name])) {
      const me = await call(tool, tool === "get_user" ? { user_id: id } : {});
      assert.deepEqual([me.id, me.displayName, me.userPrincipalName], [id, USER.name, USER.email]);
    }
    if (implemented.includes("get_user")) refused(await execute("get_user", { user_id: "nobody" }), "RESOURCE_NOT_FOUND");
    told(LACKS[connector]);
  });
}

test("an hour later the token is renewed, and the refresh token with it", async () => {
  const who = { connection_name: "outlook", identifier: "jo" };
  peer.forget();
  await world.clock(3700);
  for (let time = 0; time < 2; time++) {
    const { data } = answered(await world.api.execute({ tool_name: "outlook_get_me", ...who }));
    assert.equal(data.userPrincipalName, USER.email);
    assert.equal(answered(await world.api.refresh(who)).connected_account.status, "ACTIVE");
  }
  const sent = peer.requests.filter(({ path }) => path.endsWith("/token"));
  const renewals = sent.map(({ body }) => new URLSearchParams(body.toString()));
  assert.deepEqual(renewals.map((form) => form.get("grant_type")), ["refresh_token", "refresh_token", "refresh_token"]);
  assert.equal(new Set(renewals.map((form) => form.get("refresh_token"))).size, 3);
});
