// Google Docs, Sheets, Forms and Meet where they lean on Drive and on Google's sign-in: all that the emulator has of them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { USER } from "./peers/emulate.mjs";
import { one, openStage, openStory } from "./support/story.mjs";

const DRIVE = "https://www.googleapis.com/auth/drive";
const SEARCH = "of a query the emulator reads parents, types and trashed only, so it finds every file of the type";
const TRASH = "a change takes name and parents only; trashed stays as it was";

const stage = await openStage("google", ["googledrive", "googledocs", "googlesheets", "googleforms", "googlemeet"]);
const drive = await openStory(stage, "googledrive", { scopes: [DRIVE], endpoints: (url) => ({ api_base: `${url}/drive/v3` }) });
const scopes = [DRIVE, "https://www.googleapis.com/auth/userinfo.email"];
const docs = await openStory(stage, "googledocs", { scopes });
const sheets = await openStory(stage, "googlesheets", { scopes });
const forms = await openStory(stage, "googleforms", { scopes });
const meet = await openStory(stage, "googlemeet");

test("each knows who is connected", async () => {
  for (const story of [docs, sheets, forms, meet]) {
    assert.equal(story.account.label, USER.email);
    assert.equal((await story.call("get_current_user")).email, USER.email);
  }
});

test("a document is made from Markdown, listed page by page, and renamed", async () => {
  const made = await docs.call("create_document_from_text", { name: "Minutes", content: "# Minutes\n\n- ✓" });
  assert.equal(made.name, "Minutes");
  const { mimeType, parents } = await drive.call("get_file_metadata", { file_id: made.id });
  assert.deepEqual([mimeType, parents], ["application/vnd.google-apps.document", ["root"]]);
  assert.equal((await docs.call("rename_document", { document_id: made.id, name: "Minutes 2" })).name, "Minutes 2");
  const second = await docs.call("create_document_from_text", { name: "More", content: "x", format: "text" });
  one((await docs.call("list_documents")).files, { id: made.id, name: "Minutes 2" });
  const all = await docs.pages("list_documents", { page_size: 1 }, "files");
  assert.deepEqual(all.map(({ id }) => id).sort(), [made.id, second.id].sort());
});

test("spreadsheets and forms are found by their type", async () => {
  const make = (kind) => drive.call("create_file", { name: kind, mime_type: `application/vnd.google-apps.${kind}` });
  const [spreadsheet, form] = [await make("spreadsheet"), await make("form")];
  assert.deepEqual((await sheets.call("list_spreadsheets")).files.map(({ id }) => id), [spreadsheet.id]);
  assert.deepEqual((await forms.call("list_forms")).files.map(({ id }) => id), [form.id]);
});

test("every tool that the emulator has was called", () => {
  docs.told({ search_documents: SEARCH, trash_document: TRASH });
  sheets.told({ search_spreadsheets: SEARCH, trash_spreadsheet: TRASH });
  forms.told({ trash_form: TRASH });
  meet.told();
});
