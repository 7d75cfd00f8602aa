// A working day with Gmail, Google Calendar and Google Drive: every tool that the emulator can answer, called in the
// order in which people would.

import assert from "node:assert/strict";
import { test } from "node:test";

import { USER } from "./peers/emulate.mjs";
import { refused } from "./support/expect.mjs";
import { one, openStage, openStory } from "./support/story.mjs";

const GOOGLE = "https://www.googleapis.com/auth";
const stage = await openStage("google", ["gmail", "googlecalendar", "googledrive"]);
const gmail = await openStory(stage, "gmail", { scopes: ["https://mail.google.com/", `${GOOGLE}/gmail.settings.basic`] });
const calendar = await openStory(stage, "googlecalendar", { scopes: [`${GOOGLE}/calendar`] });
const drive = await openStory(stage, "googledrive", {
  scopes: [`${GOOGLE}/drive`], endpoints: (url) => ({ api_base: `${url}/drive/v3` }),
});

const DRIVE_LACKS = {
  trash_file: "a change takes name and parents only; trashed stays as it was",
  untrash_file: "as trash_file",
  search_content: "of a query it reads parents, types and trashed only, so it finds every file",
};

const friend = "friend@example.com";
/** A header of a message; the emulator leaves encoded words as they were sent. */
const header = ({ payload }, name) => payload.headers.find((each) => each.name.toLowerCase() === name.toLowerCase())?.value
  .replace(/=\?UTF-8\?B\?(.*?)\?=/g, (_, word) => Buffer.from(word, "base64").toString());
const base64 = (text) => Buffer.from(text).toString("base64");
/** The text of a message, of its first part that is text. */
const bodyOf = ({ payload }) => Buffer.from((payload.parts?.[0] ?? payload).body.data, "base64url").toString();

test("everybody is the one who consented", () => {
  for (const { account } of [gmail, calendar, drive]) assert.equal(account.label, USER.email);
});

test("mail: sent with an attachment, read whole, answered in its thread", async () => {
  const { call } = gmail;
  assert.equal((await call("list_send_as")).sendAs[0].sendAsEmail, USER.email);
  const sent = await call("send_message", {
    to: friend, subject: "Grüße from a valet", body: "The key — ✓\n--valetkey--\nEnd",
    attachments: [{ file_name: "key.txt", mime_type: "text/plain", content_base64: base64("c2h") }],
  });
  assert.ok(sent.labelIds.includes("SENT"));
  const read = await call("get_message_by_id", { message_id: sent.id });
  const said = [header(read, "Subject"), header(read, "To"), bodyOf(read).trim()];
  assert.deepEqual(said, ["Grüße from a valet", friend, "The key — ✓\r\n--valetkey--\r\nEnd"]);
  const part = read.payload.parts.find(({ filename }) => filename);
  assert.equal(part.filename, "key.txt");
  const file = await call("get_attachment_by_id", { message_id: sent.id, attachment_id: part.body.attachmentId });
  assert.equal(file.content_base64, base64("c2h"));

  const reply = await call("reply_to_thread", { thread_id: sent.threadId, to: friend, body: "And the car?" });
  assert.equal(reply.threadId, sent.threadId);
  const { messages } = await call("get_thread_by_id", { thread_id: sent.threadId });
  assert.deepEqual(messages.map(({ id }) => id), [sent.id, reply.id]);
  assert.equal(header(messages[1], "In-Reply-To"), header(messages[0], "Message-ID"));
  assert.match(header(messages[1], "Subject"), /Grüße from a valet$/);
  const more = await call("send_message", { to: friend, body: "Hello?", thread_id: sent.threadId });
  assert.equal(more.threadId, sent.threadId);
  one((await call("fetch_mails", { query: `to:${friend}`, label_ids: ["SENT"] })).messages, { id: sent.id });
  const mails = await gmail.pages("fetch_mails", { label_ids: ["SENT"], max_results: 1 }, "messages");
  assert.deepEqual(mails.map(({ id }) => id).sort(), [more.id, reply.id, sent.id].sort());
  one((await call("list_threads", { query: `to:${friend}` })).threads, { id: sent.threadId });
});

test("mail: labelled, filed, binned and deleted, one by one and together", async () => {
  const { call, execute } = gmail;
  const { id: label } = await call("create_label", { name: "Keys" });
  assert.equal((await call("update_label", { label_id: label, name: "Keys/Cars" })).name, "Keys/Cars");
  assert.equal((await call("get_label", { label_id: label })).name, "Keys/Cars");
  one((await call("list_labels")).labels, { id: label, type: "user" });
  const labelsOf = async (message_id) => (await call("get_message_by_id", { message_id, format: "minimal" })).labelIds;
  const { historyId } = await call("get_message_by_id", { message_id: "msg_jo" });
  const welcome = { message_id: "msg_jo" };
  const changed = await call("modify_message_labels", { ...welcome, add_label_ids: [label], remove_label_ids: ["UNREAD"] });
  assert.ok(changed.labelIds.includes(label) && !changed.labelIds.includes("UNREAD"), changed.labelIds.join());
  const { history } = await call("list_history", { start_history_id: historyId, history_types: ["labelAdded"] });
  const relabelled = history.flatMap(({ labelsAdded = [] }) => labelsAdded).map(({ message }) => message.id);
  assert.ok(relabelled.includes("msg_jo"), JSON.stringify(history));
  await call("batch_modify_messages", { message_ids: ["msg_jo"], add_label_ids: ["STARRED"], remove_label_ids: [label] });
  const labels = await labelsOf("msg_jo");
  assert.ok(labels.includes("STARRED") && !labels.includes(label), labels.join());
  assert.ok((await call("trash_message", welcome)).labelIds.includes("TRASH"));
  assert.ok(!(await call("untrash_message", welcome)).labelIds.includes("TRASH"));

  const { id, threadId: thread_id } = await call("send_message", { to: friend, subject: "Over", body: "x" });
  const all = (thread) => thread.messages.flatMap(({ labelIds }) => labelIds);
  assert.ok(all(await call("modify_thread_labels", { thread_id, add_label_ids: [label] })).includes(label));
  assert.ok(all(await call("trash_thread", { thread_id })).includes("TRASH"));
  assert.ok(!all(await call("untrash_thread", { thread_id })).includes("TRASH"));
  await call("delete_label", { label_id: label });
  refused(await execute("get_label", { label_id: label }), "RESOURCE_NOT_FOUND");
  await call("delete_thread", { thread_id });
  refused(await execute("get_message_by_id", { message_id: id }), "RESOURCE_NOT_FOUND");
  const first = await call("send_message", { to: friend, body: "1" });
  const second = await call("send_message", { to: friend, body: "2" });
  await call("delete_message", { message_id: first.id });
  await call("batch_delete_messages", { message_ids: [second.id] });
  for (const { id: message_id } of [first, second]) {
    refused(await execute("get_message_by_id", { message_id }), "RESOURCE_NOT_FOUND");
  }
});

test("drafts: written, rewritten, sent or thrown away; and a filter", async () => {
  const { call, execute } = gmail;
  const { threadId: thread_id } = await call("send_message", { to: friend, subject: "Plan", body: "?" });
  const draft = await call("create_draft", { to: friend, thread_id, body: "Dear" });
  const it = { draft_id: draft.id };
  const read = async () => (await call("get_draft", it)).message;
  const first = await read();
  assert.equal(first.threadId, thread_id);
  assert.match(header(first, "Subject"), /Plan$/, "the thread's");
  await call("update_draft", { ...it, to: friend, thread_id, body: "Dear friend" });
  const message = await read();
  assert.deepEqual([header(message, "Subject"), bodyOf(message).trim()], [header(first, "Subject"), "Dear friend"]);
  one((await call("list_drafts")).drafts, { id: draft.id });
  assert.ok((await call("send_draft", it)).labelIds.includes("SENT"));
  refused(await execute("get_draft", it), "RESOURCE_NOT_FOUND");
  const { id } = await call("create_draft", { body: "No" });
  await call("delete_draft", { draft_id: id });
  refused(await execute("get_draft", { draft_id: id }), "RESOURCE_NOT_FOUND");

  const filter = await call("create_filter", { from: friend, add_label_ids: ["STARRED"] });
  assert.equal(one((await call("list_filters")).filter, { id: filter.id }).criteria.from, friend);
  await call("delete_filter", { filter_id: filter.id });
  assert.deepEqual((await call("list_filters")).filter, []);
});

test("calendar: an event planned, found, in the way of others, and called off", async () => {
  const { call } = calendar;
  one((await call("list_calendars")).items, { id: "primary", summary: USER.email });
  const [start, end] = ["2027-01-11T10:00:00Z", "2027-01-11T11:00:00Z"];
  const event = await call("create_event", {
    summary: "Handing over the key", location: "Garage", start_datetime: start, end_datetime: end,
    attendees_emails: [friend],
  });
  assert.deepEqual([event.summary, event.start.dateTime], ["Handing over the key", start]);
  one(event.attendees, { email: friend });
  const day = { time_min: "2027-01-11T00:00:00Z", time_max: "2027-01-12T00:00:00Z" };
  one((await call("list_events", day)).items, { id: event.id, location: "Garage" });
  one((await call("search_events", { query: "key" })).items, { id: event.id });
  assert.deepEqual((await call("search_events", { query: "boat" })).items, []);
  const { primary } = await call("query_freebusy", { ...day, calendar_ids: ["primary"] });
  assert.deepEqual(primary.busy, [{ start, end }]);
  const second = await call("create_event", { summary: "Car wash", start_date: "2027-01-11", end_date: "2027-01-12" });
  const ids = (await calendar.pages("list_events", { ...day, max_results: 1 }, "items")).map(({ id }) => id);
  assert.deepEqual(ids.sort(), [event.id, second.id].sort());
  await call("delete_event", { event_id: second.id });
  await call("delete_event", { event_id: event.id });
  assert.deepEqual((await call("list_events", day)).items, []);
});

test("drive: folders and files, up and down, renamed and moved", async () => {
  const { call, execute } = drive;
  const folder = await call("create_folder", { name: "Keys", parent_folder_id: "drv_jo" });
  assert.deepEqual([folder.mimeType, folder.parents], ["application/vnd.google-apps.folder", ["drv_jo"]]);
  const text = "Grüße ✓\r\n--valetkey--\r\n"; // with what would end a part of the request, were it not looked out for
  const upload = { name: "key.txt", mime_type: "text/plain", content: text, parent_folder_id: folder.id };
  const file = await call("upload_file", upload);
  assert.deepEqual([file.name, file.parents, Number(file.size)], ["key.txt", [folder.id], Buffer.byteLength(text)]);
  const it = { file_id: file.id };
  assert.equal(await call("read_text_file", it), text);
  const bytes = await call("download_file", it);
  assert.deepEqual([bytes.content_base64, bytes.mime_type], [base64(text), "text/plain"]);
  one((await call("list_folder_contents", { folder_id: folder.id })).files, { id: file.id });
  assert.equal((await call("update_file_metadata", { ...it, name: "key 2.txt" })).name, "key 2.txt");
  await call("move_file", { ...it, new_parent_id: "drv_jo" });
  const read = await call("get_file_metadata", it);
  assert.deepEqual([read.name, read.parents], ["key 2.txt", ["drv_jo"]]);
  const document = await call("create_file", { name: "Notes", mime_type: "application/vnd.google-apps.document" });
  assert.equal(document.name, "Notes");
  const { files } = await call("search_files", { query: "mimeType = 'application/vnd.google-apps.document'" });
  assert.deepEqual(files.map(({ id }) => id), [document.id]);
  const all = await drive.pages("search_files", { page_size: 1 }, "files");
  assert.deepEqual(all.map(({ id }) => id).sort(), ["drv_jo", folder.id, file.id, document.id].sort());
  refused(await execute("download_file", { file_id: "nothing" }), "RESOURCE_NOT_FOUND");
});

test("every tool that the emulator has was called", () => {
  gmail.told();
  calendar.told();
  drive.told(DRIVE_LACKS);
});
