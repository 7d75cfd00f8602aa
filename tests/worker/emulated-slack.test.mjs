// A working day in Slack: every tool that the emulator can answer, called in the order in which people would. The
// emulator checks scopes, so the scopes that the connector names for its tools are tried, too.

import assert from "node:assert/strict";
import { test } from "node:test";

import { USER } from "./peers/emulate.mjs";
import { refused } from "./support/expect.mjs";
import { one, openStage, openStory } from "./support/story.mjs";

const LACKS = {
  send_markdown_message: "knows no markdown_text and refuses with no_text",
};

const stage = await openStage("slack", ["slack"]);
const { call, execute, pages, told } = await openStory(stage, "slack", {
  scopes: ["chat:write", "channels:read", "channels:history", "channels:join", "channels:manage", "im:write", "im:read",
    "im:history", "users:read", "users:read.email", "users.profile:write", "reactions:write", "pins:read", "pins:write",
    "files:read", "files:write"],
});

const jo = await call("lookup_user_by_email", { email: USER.email });
const { id: channel } = await call("create_channel", { name: "valet-parking" });
/** Calls a tool in the channel that the story is about. */
const here = (tool, params) => call(tool, { channel, ...params });
/** The texts in the channel, newest first. */
const history = async () => (await here("fetch_conversation_history")).messages.map(({ text }) => text);

test("people: who the app is, who is there, and a status", async () => {
  const me = await call("auth_test");
  assert.equal(me.team, "Workspace");
  assert.equal(jo.profile.real_name, USER.name);
  const { members } = await call("list_users");
  one(members, { id: jo.id, name: USER.login });
  one(members, { id: me.user_id, is_bot: true });
  assert.equal((await call("get_user_info", { user: jo.id })).profile.email, USER.email);
  const profile = await call("set_user_status", { status_text: "Parking", status_emoji: ":car:", status_expiration: 0 });
  assert.deepEqual([profile.status_text, profile.status_emoji], ["Parking", ":car:"]);
});

test("channels: made, described, filled with people, left for good", async () => {
  await here("set_conversation_topic", { topic: "Cars & keys" });
  await here("set_conversation_purpose", { purpose: "Nobody waits" });
  await here("invite_users_to_channel", { users: jo.id });
  const info = await here("get_conversation_info");
  assert.deepEqual([info.name, info.topic.value, info.purpose.value], ["valet-parking", "Cars & keys", "Nobody waits"]);
  assert.ok((await here("list_channel_members")).members.includes(jo.id));
  const { channels } = await call("list_channels");
  one(channels, { id: channel });
  assert.deepEqual(await pages("list_channels", { limit: 1 }, "channels"), channels);
  const general = one(channels, { name: "general" });
  assert.equal((await call("join_conversation", { channel: general.id })).id, general.id);
  const { id } = await call("create_channel", { name: "over" });
  await call("archive_conversation", { channel: id });
  assert.ok(!(await call("list_channels")).channels.some((each) => each.id === id));
  const refusal = await execute("send_message", { channel: id, text: "x" });
  refused(refusal, "PROVIDER_CONFLICT", { providerCode: "is_archived" });
});

test("messages: sent, answered in a thread, changed, deleted", async () => {
  const { ts, message } = await here("send_message", { text: "Who has the *key*?" });
  assert.equal(message.text, "Who has the *key*?");
  const blocks = [{ type: "section", text: { type: "mrkdwn", text: "I _do_" } }];
  await here("send_rich_message", { text: "I do", thread_ts: ts, blocks });
  const { messages: [first, answer] } = await here("get_conversation_replies", { ts });
  assert.deepEqual([first.ts, first.reply_count, answer.text, answer.blocks[0].text.text], [ts, 1, "I do", "I _do_"]);
  assert.equal((await here("update_message", { ts, text: "Found it" })).text, "Found it");
  assert.ok((await history()).includes("Found it"));
  const { permalink } = await here("get_permalink", { message_ts: ts });
  assert.ok(permalink.includes(channel) && permalink.includes(ts.replace(".", "")), permalink);
  assert.match((await here("send_ephemeral_message", { user: jo.id, text: "Psst" })).message_ts, /^\d+\.\d+$/);
  assert.ok(!(await history()).includes("Psst"));
  const { ts: wrong } = await here("send_message", { text: "Oops" });
  assert.equal((await here("delete_message", { ts: wrong })).ts, wrong);
  assert.ok(!(await history()).includes("Oops"));
  const paged = await pages("fetch_conversation_history", { channel, limit: 1 }, "messages");
  assert.deepEqual(paged.map(({ text }) => text), await history());
  const { id: direct } = await call("open_conversation", { users: jo.id });
  assert.match(direct, /^D/);
  assert.equal((await call("send_message", { channel: direct, text: "Only you" })).channel, direct);
});

test("messages for later: scheduled, listed, called off", async () => {
  const post_at = Math.floor(Date.now() / 1000) + 3600;
  const { scheduled_message_id } = await here("schedule_rich_message", { text: "Good morning", post_at });
  const listed = async () => (await here("list_scheduled_messages")).scheduled_messages;
  assert.equal(one(await listed(), { id: scheduled_message_id }).post_at, post_at);
  await here("delete_scheduled_message", { scheduled_message_id });
  assert.deepEqual(await listed(), []);
});

test("reactions and pins: set and taken back", async () => {
  const { ts } = await here("send_message", { text: "Lunch?" });
  const read = async () => one((await here("fetch_conversation_history")).messages, { ts });
  await here("add_reaction", { timestamp: ts, name: "pizza" });
  one((await read()).reactions, { name: "pizza", count: 1 });
  const again = await execute("add_reaction", { channel, timestamp: ts, name: "pizza" });
  refused(again, "PROVIDER_CONFLICT", { providerCode: "already_reacted" });
  await here("remove_reaction", { timestamp: ts, name: "pizza" });
  assert.deepEqual((await read()).reactions ?? [], []);
  await here("pin_message", { timestamp: ts });
  assert.equal((await here("list_pinned_items"))[0].message.ts, ts);
  await here("remove_pin", { timestamp: ts });
  assert.deepEqual(await here("list_pinned_items"), []);
});

test("files: uploaded in three requests, found, deleted", async () => {
  const content = "Grüße ✓\n";
  const file = await call("upload_file", {
    filename: "key.txt", length: Buffer.byteLength(content), content, mime_type: "text/plain", title: "The key",
    channel_id: channel, initial_comment: "Here",
  });
  const [upload] = stage.peer.requests.filter(({ path }) => path.startsWith("/upload/"));
  assert.equal(upload.body.toString(), content);
  const { file: info } = await call("get_file_info", { file: file.id });
  assert.deepEqual([info.name, info.title, info.channels], ["key.txt", "The key", [channel]]);
  assert.equal(info.size, Buffer.byteLength(content));
  one((await here("list_files")).files, { id: file.id });
  await call("delete_file", { file: file.id });
  refused(await execute("get_file_info", { file: file.id }), "RESOURCE_NOT_FOUND");
});

test("every tool that the emulator has was called", () => told(LACKS));
