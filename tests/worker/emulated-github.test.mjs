// A working day on GitHub: every tool that the emulator can answer, called in the order in which people would.

import assert from "node:assert/strict";
import { test } from "node:test";

import { USER } from "./peers/emulate.mjs";
import { refused } from "./support/expect.mjs";
import { one, openStage, openStory } from "./support/story.mjs";

const LACKS = {
  pull_request_diff_get: "answers the pull request as JSON, whatever `accept` asks for",
  pull_request_files_list: "does not look at the commits: no files, or file1.ts, file2.ts …",
};

const stage = await openStage("github", ["github"]);
const story = await openStory(stage, "github", { scopes: ["repo", "read:org", "delete_repo"] });
const { account, call, execute, pages, proxy, told } = story;

const owner = USER.login;
const other = "someone-else";
const base64 = (text) => Buffer.from(text).toString("base64");
const repo = "valet";
/** Calls a tool in the repository that the story is about. */
const here = (tool, params) => call(tool, { owner, repo, ...params });

test("people: who I am, others, and the organization we share", async () => {
  assert.equal(account.label, USER.login);
  assert.equal((await call("user_get_authenticated")).login, USER.login);
  assert.equal((await call("user_get_by_username", { username: other })).name, "Someone Else");
  one(await call("user_orgs_list"), { login: "acme" });
  assert.equal((await call("org_get", { org: "acme" })).name, "Acme");
  one(await call("org_members_list", { org: "acme" }), { login: other });
  const { items } = await call("search_users", { q: "someone in:login" });
  one(items, { login: other });
});

test("repositories: made, changed, listed, found, forked and deleted", async () => {
  const made = await call("repo_create_for_user", { name: repo, description: "Keys", private: false });
  assert.deepEqual([made.full_name, made.private, made.owner.login], [`${owner}/${repo}`, false, owner]);
  assert.equal((await here("repo_update", { description: "Keys and cars", has_wiki: false })).description, "Keys and cars");
  const read = await here("repo_get");
  assert.deepEqual([read.id, read.description, read.has_wiki], [made.id, "Keys and cars", false]);
  assert.deepEqual(await here("repo_topics_replace", { names: ["rust", "wasm"] }), { names: ["rust", "wasm"] });
  assert.deepEqual((await here("repo_get")).topics, ["rust", "wasm"]);
  one(await call("user_repos_list"), { full_name: `${owner}/${repo}` });
  one(await call("public_repos_list", { username: other }), { name: "library" });
  one((await call("search_repos", { q: "cars in:description" })).items, { id: made.id });
  assert.deepEqual(await call("repo_languages_list", { owner, repo: "hello" }), { Rust: 10000 });
  assert.equal((await call("repo_create_in_org", { org: "acme", name: "shared" })).full_name, "acme/shared");
  const fork = await call("repo_fork_create", { owner: other, repo: "library" });
  assert.deepEqual([fork.full_name, fork.fork], [`${owner}/library`, true]);
  await call("repo_delete", { owner, repo: "library" });
  refused(await execute("repo_get", { owner, repo: "library" }), "RESOURCE_NOT_FOUND", { providerStatus: 404 });
});

test("files and branches: written, read in three ways, compared, deleted", async () => {
  const [main] = await here("branches_list");
  assert.equal((await here("branch_create", { branch_name: "feature", from_branch: main.name })).ref, "refs/heads/feature");
  const text = "Grüße ✓\nneedle\n";
  const page = { path: "docs/a b.md", message: "Add a page", content: text, branch: "feature" };
  const { content, commit } = await here("file_create_update", page);
  assert.equal(content.path, "docs/a b.md");
  const file = { path: "docs/a b.md", ref: "feature" };
  const read = await here("file_contents_get", file);
  assert.deepEqual([read.sha, Buffer.from(read.content, "base64").toString()], [content.sha, text]);
  assert.equal(await here("file_text_get", file), text);
  const bytes = await here("file_download", file);
  assert.deepEqual([bytes.content_base64, bytes.size_bytes], [base64(text), Buffer.byteLength(text)]);
  assert.match(await here("readme_get"), /# valet/);
  assert.equal((await here("branch_get", { branch: "feature" })).commit.sha, commit.sha);
  const [newest, first] = await here("commits_list", { sha: "feature" });
  assert.deepEqual([newest.sha, first.sha], [commit.sha, main.commit.sha]);
  const paged = await pages("commits_list", { owner, repo, sha: "feature", per_page: 1 });
  assert.deepEqual(paged.map(({ sha }) => sha), [newest.sha, first.sha]);
  assert.equal((await here("commit_get", { ref: commit.sha })).commit.message, "Add a page");
  const compared = await here("commits_compare", { basehead: "main...feature" });
  assert.deepEqual([compared.status, compared.ahead_by, compared.files[0].filename], ["ahead", 1, "docs/a b.md"]);
  const { tree } = await here("git_tree_get", { tree_sha: commit.tree.sha, recursive: true });
  one(tree, { path: "docs/a b.md" });
  one(await here("repo_contributors_list"), { login: owner });
  one((await call("search_commits", { q: `page repo:${owner}/${repo}` })).items, { sha: commit.sha });

  const scratch = await here("file_create_update", { path: "scratch.txt", message: "Scratch", content: "needle" });
  one((await call("search_code", { q: `needle repo:${owner}/${repo}` })).items, { path: "scratch.txt" });
  const gone = await here("file_delete", { path: "scratch.txt", message: "Tidy up", sha: scratch.content.sha });
  assert.equal(gone.commit.message, "Tidy up");
  refused(await execute("file_text_get", { owner, repo, path: "scratch.txt" }), "RESOURCE_NOT_FOUND");
  await here("branch_create", { branch_name: "short/lived", sha: commit.sha });
  await here("git_ref_delete", { ref: "heads/short/lived" });
  refused(await execute("branch_get", { owner, repo, branch: "short/lived" }), "RESOURCE_NOT_FOUND");
});

test("an issue: made, labelled, assigned, commented on, found and closed", async () => {
  const label = await here("label_create", { name: "needs review", color: "00ff00" });
  one(await here("labels_list"), { id: label.id, name: "needs review" });
  const milestone = await here("milestone_create", { title: "1.0" });
  one(await here("milestones_list"), { number: milestone.number, title: "1.0" });
  const issue = await here("issue_create", { title: "Valet lost the key", body: "Twice.", milestone: milestone.number });
  assert.deepEqual([issue.user.login, issue.milestone.title], [owner, "1.0"]);
  const it = { issue_number: issue.number };
  one(await here("issue_labels_add", { ...it, labels: ["needs review"] }), { name: "needs review" });
  one((await here("issue_assignees_add", { ...it, assignees: [owner] })).assignees, { login: owner });
  one(await here("issues_list", { labels: "needs review", assignee: owner }), { number: issue.number });
  assert.deepEqual((await here("issue_assignees_remove", { ...it, assignees: [owner] })).assignees, []);
  await here("issue_label_remove", { ...it, label_name: "needs review" });
  const comment = await here("issue_comment_create", { ...it, body: "Found it" });
  assert.equal((await here("issue_comment_update", { comment_id: comment.id, body: "Found it ✓" })).id, comment.id);
  one(await here("issue_comments_list", it), { id: comment.id, body: "Found it ✓" });
  await here("issue_comment_delete", { comment_id: comment.id });
  assert.deepEqual(await here("issue_comments_list", it), []);
  one((await call("search_issues", { q: `lost is:issue repo:${owner}/${repo}` })).items, { number: issue.number });
  assert.equal((await here("issue_update", { ...it, state: "closed", state_reason: "completed" })).state, "closed");
  const read = await here("issue_get", it);
  assert.deepEqual([read.state, read.state_reason, read.labels, read.assignees], ["closed", "completed", [], []]);
  const events = (await here("issue_timeline_list", it)).map(({ event }) => event);
  for (const event of ["labeled", "assigned", "unassigned", "unlabeled", "closed"]) {
    assert.ok(events.includes(event), `${event} in ${events}`);
  }
});

test("a pull request: opened, reviewed, brought up to date and merged", async () => {
  const pull = await here("pull_request_create", { title: "A page", head: "feature", base: "main" });
  assert.deepEqual([pull.state, pull.head.ref, pull.base.ref], ["open", "feature", "main"]);
  const it = { pull_number: pull.number };
  one(await here("pull_requests_list", { head: `${owner}:feature` }), { number: pull.number });
  assert.equal((await here("pull_request_update", { ...it, body: "Please read" })).body, "Please read");
  one((await here("pull_request_reviewers_request", { ...it, reviewers: [other] })).requested_reviewers, { login: other });
  const { requested_reviewers } = await here("pull_request_reviewers_remove", { ...it, reviewers: [other] });
  assert.deepEqual(requested_reviewers, []);
  one(await here("pull_request_commits_list", it), { sha: pull.head.sha });

  const remark = await here("pull_request_comment_create", {
    ...it, body: "Nice", commit_id: pull.head.sha, path: "docs/a b.md", line: 1, side: "RIGHT",
  });
  one(await here("pull_request_review_comments_list", it), { id: remark.id, body: "Nice", path: "docs/a b.md" });
  const pending = await here("pull_request_review_create", { ...it, body: "Hm" });
  assert.equal(pending.state, "PENDING");
  const review = { ...it, review_id: pending.id };
  const submitted = await here("pull_request_review_submit", { ...review, event: "REQUEST_CHANGES", body: "Hm" });
  assert.equal(submitted.state, "CHANGES_REQUESTED");
  assert.equal((await here("pull_request_review_dismiss", { ...review, message: "Done" })).state, "DISMISSED");
  one(await here("pull_request_reviews_list", it), { id: pending.id, state: "DISMISSED" });

  await here("pull_request_branch_update", { ...it, expected_head_sha: pull.head.sha });
  const head = (await here("pull_request_get", it)).head.sha;
  assert.notEqual(head, pull.head.sha);
  const merged = await here("pull_request_merge", { ...it, sha: head, merge_method: "squash", commit_title: "A page" });
  assert.equal(merged.merged, true);
  assert.equal((await here("commit_get", { ref: "main" })).sha, merged.sha);
});

test("a release: drafted, published, given a file, deleted", async () => {
  const release = await here("release_create", { tag_name: "v1.0", name: "One", target_commitish: "main" });
  const it = { release_id: release.id };
  assert.equal(release.draft, true);
  const published = await here("release_update", { ...it, name: "One point zero", draft: false });
  assert.deepEqual([published.name, published.draft], ["One point zero", false]);
  assert.equal((await here("release_get_latest")).name, "One point zero");
  assert.equal((await here("release_get_by_tag", { tag: "v1.0" })).id, release.id);
  // The emulator does not make the tag that a published release stands on, and lists only tags with a message.
  const { object } = await proxy("GET", `repos/${owner}/${repo}/git/ref/heads/main`);
  const tag = { tag: "v1.0", message: "One", object: object.sha, type: "commit" };
  await proxy("POST", `repos/${owner}/${repo}/git/tags`, { json: tag });
  one(await here("tags_list"), { name: "v1.0" });
  const upload = { ...it, name: "key 1.bin", content_base64: base64("\0key"), mime_type: "application/x-key" };
  const asset = await here("release_asset_upload", upload);
  assert.deepEqual([asset.name, asset.size, asset.content_type], ["key 1.bin", 4, "application/x-key"]);
  await here("release_asset_delete", { asset_id: asset.id });
  assert.deepEqual(one(await here("releases_list"), { id: release.id }).assets, []);
  await here("release_delete", it);
  assert.deepEqual(await here("releases_list"), []);
});

test("actions: a workflow run, run again and cancelled; and the checks of a commit", async () => {
  const hello = { owner, repo: "hello" };
  const { workflows: [workflow] } = await call("workflows_list", hello);
  assert.equal(workflow.path, ".github/workflows/ci.yml");
  await call("workflow_dispatch", { ...hello, workflow_id: "ci.yml", ref: "main" });
  const { workflow_runs: [run] } = await call("workflow_runs_list", { ...hello, branch: "main" });
  const it = { ...hello, run_id: run.id };
  assert.deepEqual([run.event, run.workflow_id], ["workflow_dispatch", workflow.id]);
  assert.equal((await call("workflow_run_jobs_list", it)).jobs[0].name, "build");
  await call("workflow_run_cancel", it);
  assert.equal((await call("workflow_run_get", it)).conclusion, "cancelled");
  await call("workflow_run_rerun", it);
  assert.equal((await call("workflow_runs_list", hello)).total_count, 2);

  const check = { name: "lint", status: "in_progress" };
  const { id } = await proxy("POST", `repos/${owner}/hello/check-runs`, { json: { ...check, head_sha: run.head_sha } });
  one((await call("check_runs_list_for_ref", { ...hello, ref: run.head_sha })).check_runs, { id, ...check });
});

test("every tool that the emulator has was called", () => told(LACKS));
