// The last steps of the demo: what an agent gets besides results.
import { connect } from "./connect.mjs";
import { SEEDED, USER } from "./providers.mjs";
import { check, expect } from "./story.mjs";

const oneLine = (json) => JSON.stringify(json).replace(/([,:])(?=["{[\dtfn])/g, "$1 ");

export async function endings(story, { api, peers }, identifier) {
  const { owner, repo, channel } = SEEDED;

  await story.step("A dry run", [
    "The exact request a tool would send, without sending it: for reviews, approvals and tests.",
  ], async (result) => {
    peers.github.forget();
    const { request } = expect(await api.execute({ tool_name: "github_issue_create", connection_name: "github", identifier,
      params: { owner, repo, title: "Not created" } }, { query: { dry_run: "true" } }), 200);
    const credential = Object.entries(request.headers).find(([name]) => name.toLowerCase() === "authorization")?.[1];
    check(credential?.includes("***"), "a request with its credential masked", request);
    check(peers.github.calls().length === 0, "no call to GitHub", `${peers.github.calls().length}`);
    result(`${request.method} ${request.url}`);
    result(`authorization: ${credential}, body: ${typeof request.body === "string" ? request.body : oneLine(request.body)}`);
  });

  await story.step("An error is the same everywhere", [
    "Providers report errors in many shapes; valetkey gives agents one shape with codes they can act on,",
    "says whose fault it was, and keeps what the provider said.",
  ], async (result) => {
    const answer = await api.execute({ tool_name: "github_issues_list", connection_name: "github", identifier,
      params: { owner, repo: "no-such-repository" } });
    const { error } = expect(answer, 404, "RESOURCE_NOT_FOUND");
    check(error.details.origin === "provider" && error.details.providerStatus === 404, "details with the provider's status", error);
    result(`404 ${error.code}: ${error.message}`);
    result(`details: ${oneLine(kept(error.details))}`);
  });

  await story.step("A limit of the operator's own", [
    "The connection slack-careful allows one message a minute. The second call is refused before Slack",
    "hears of it, with the seconds to wait: an agent in a loop cannot use up the provider's limit.",
  ], async (result) => {
    await connect(api, "slack-careful", identifier);
    const send = () => api.execute({ tool_name: "slack_send_message", connection_name: "slack-careful", identifier,
      params: { channel, text: "Once a minute is enough." } });
    expect(await send(), 200);
    peers.slack.forget();
    const answer = await send();
    const { error } = expect(answer, 429, "RATE_LIMIT_EXCEEDED");
    const { retryAfter, limitType } = error.details;
    // A unit comes back at most a sixtieth of the period late.
    check(retryAfter >= 1 && retryAfter <= 61 && answer.headers.get("retry-after") === String(retryAfter), "retryAfter of about a minute, in the body and as a header", error);
    check(peers.slack.calls().length === 0, "no call to Slack", `${peers.slack.calls().length}`);
    result("the first message → sent");
    result(`the second → 429 ${error.code}: retryAfter ${retryAfter}, limitType ${limitType}`);
  });

  await story.step("The proxy", [
    "For what no tool covers: any path of the provider's API, with the user's token added on the way.",
    "Status, headers and body are the provider's own.",
  ], async (result) => {
    const answer = await api.proxy("GET", "user", { account: { connection_name: "github", identifier } });
    const user = expect(answer, 200);
    check(user.login === USER.login, `the user ${USER.login}`, user);
    result(`GET /proxy/user → 200, GitHub's own answer: login ${user.login}, name ${user.name}`);
  });

  await story.step("The user disconnects", [
    "valetkey has the token revoked at the provider and forgets it. The next call is refused, with a link",
    "to connect again.",
  ], async (result) => {
    const account = { connection_name: "gmail", identifier };
    const { revocation } = expect(await api.disconnect(account), 200);
    check(revocation.attempted && revocation.succeeded, "a token revoked at Google", revocation);
    result(`POST /api/v1/connected_accounts:delete → revoked at Google: ${revocation.succeeded}`);
    const { error } = expect(await api.execute({ ...account, tool_name: "gmail_fetch_mails", params: {} }), 401, "REAUTHORIZATION_REQUIRED");
    check(/\/connect\//.test(error.details.reauthorizeUrl), "a link to connect again", error);
    result(`gmail_fetch_mails → 401 ${error.code}: ${error.message}`);
  });
}

/** The details that say something. */
const kept = (details) => Object.fromEntries(Object.entries(details).filter(([, v]) => v !== null && !(Array.isArray(v) && v.length === 0)));
