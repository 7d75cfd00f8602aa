// A working day in Linear: every tool whose operation the emulator has, called in the order in which people would. The
// front takes out of the documents what the emulator's schema lacks (peers/graphql.mjs): of that nothing is asserted.

import assert from "node:assert/strict";
import { test } from "node:test";

import { USER } from "./peers/emulate.mjs";
import { refused } from "./support/expect.mjs";
import { one, openStage, openStory } from "./support/story.mjs";

const LACKS = {
  attachments_list: "its issues have no attachments",
  issue_relations_list: "its issues have no relations",
  project_milestones_list: "its projects have no milestones",
};

const stage = await openStage("linear", ["linear"]);
const { account, call, execute, pages, told } = await openStory(stage, "linear");

const team = one((await call("teams_list")).nodes, { key: "ENG" });
const done = one((await call("workflow_states_list")).nodes, { name: "Done" });

test("the workspace: who I am, others, and how the team works", async () => {
  assert.equal(account.label, USER.email);
  const me = await call("viewer_get");
  assert.deepEqual([me.name, me.email], [USER.name, USER.email]);
  const { id } = one((await call("users_list", { email: "Else@example.com" })).nodes, { name: "Someone Else" });
  assert.equal((await call("user_get", { userId: id })).email, "else@example.com");
  const { states, name } = await call("team_get", { teamId: team.id });
  assert.equal(name, "Engineering");
  one(states.nodes, { id: done.id, type: "completed" });
  const query = "query($id: String!) { team(id: $id) { key } }";
  assert.deepEqual(await call("graphql_query", { query, variables: { id: team.id } }), { team: { key: "ENG" } });
  refused(await execute("graphql_query", { query: "{ nothing }" }), "PROVIDER_INVALID_REQUEST");
});

test("an issue: made with a label in a project and a cycle, moved on, archived and brought back, deleted", async () => {
  const label = await call("label_create", { name: "Key", teamId: team.id, color: "#eb5757" });
  one((await call("labels_list")).nodes, { id: label.id, name: "Key", color: "#eb5757" });
  const project = one((await call("projects_list")).nodes, { name: "Garage" });
  assert.equal((await call("project_get", { projectId: project.id })).name, "Garage");
  const cycle = one((await call("cycles_list", { teamId: team.id })).nodes, { name: "Sprint" });
  const { id: assigneeId } = await call("viewer_get");
  const made = await call("issue_create", {
    teamId: team.id, title: "Valet lost the key", description: "*Twice*", priority: 2, labelIds: [label.id],
    projectId: project.id, cycleId: cycle.id, assigneeId, dueDate: "2027-01-31",
  });
  assert.match(made.identifier, /^ENG-\d+$/);
  const it = { issueId: made.identifier };
  const read = await call("issue_get", it);
  assert.deepEqual([read.id, read.title, read.description, read.priority, read.dueDate],
    [made.id, "Valet lost the key", "*Twice*", 2, "2027-01-31"]);
  assert.deepEqual([read.assignee.name, read.project.name, read.labels.nodes[0].name], [USER.name, "Garage", "Key"]);
  one((await call("cycle_issues_list", { cycleId: cycle.id })).nodes, { id: made.id });
  assert.equal((await call("issue_update", { ...it, title: "Found", stateId: done.id })).state.name, "Done");
  assert.equal(one((await call("issues_list")).nodes, { id: made.id }).title, "Found");
  assert.ok((await call("issue_archive", it)).archivedAt);
  assert.equal((await call("issue_unarchive", it)).archivedAt, null);
  assert.equal((await call("issue_delete", it)).id, made.id);
  assert.ok(!(await call("issues_list")).nodes.some(({ id }) => id === made.id));
});

test("comments: written, changed, read, deleted", async () => {
  const { id: issueId } = await call("issue_create", { teamId: team.id, title: "Talk" });
  const { id: commentId } = await call("comment_create", { issueId, body: "Grüße ✓" });
  assert.equal((await call("comment_update", { commentId, body: "Grüße ✓✓" })).body, "Grüße ✓✓");
  const read = await call("comment_get", { commentId });
  assert.deepEqual([read.body, read.user.name, read.issue.id], ["Grüße ✓✓", USER.name, issueId]);
  const second = await call("comment_create", { issueId, body: "And another" });
  const paged = await pages("comments_list", { issueId, first: 1 }, "nodes");
  assert.deepEqual(paged.map(({ id }) => id).sort(), [commentId, second.id].sort());
  assert.equal((await call("comment_delete", { commentId })).success, true);
  assert.deepEqual((await call("comments_list", { issueId })).nodes.map(({ id }) => id), [second.id]);
});

test("every tool that the emulator has was called", () => told(LACKS));
