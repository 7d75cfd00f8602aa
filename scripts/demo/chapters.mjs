// The steps of `make demo`. Each one throws if anything is not as a user of the real thing would see it.
import { CONNECTIONS, connectionFields, SEEDED, USER } from "./providers.mjs";
import { connect } from "./connect.mjs";
import { check, expect } from "./story.mjs";
import { endings } from "./endings.mjs";

/** The account of all steps: the operator's own name for one of their users. */
export const IDENTIFIER = "user-42";
const CONNECTED = ["gmail", "googlecalendar", "github", "slack"];
export const STEPS = 3 + CONNECTED.length + CONNECTED.length + 5;

/** Tells everything. `start()` starts the servers, see startLocal(). */
export async function chapters(story, start) {
  let local;
  await story.step("The servers start", [
    "The Worker runs in workerd, the engine of Cloudflare Workers, as `make deploy` would publish it.",
    "Beside it run emulators with the consent pages and the API answers of Google, GitHub and Slack.",
  ], async (result) => {
    local = await start();
    const health = expect(await local.api.send("GET", "/health"), 200);
    result(`GET /health → ${health.status}, version ${health.version}, on ${local.url}`);
    result(Object.values(local.peers).map(({ service, url }) => `${service} ${url}`).join(", "));
  });
  const { api } = local;

  await story.step("An agent signs in", [
    "Agents and backends sign in to valetkey with a client id and secret and get a bearer token.",
    "It is all they ever hold: what Google, GitHub and Slack issue stays inside the Worker.",
  ], async (result) => {
    const credentials = { grant_type: "client_credentials", client_id: api.id, client_secret: api.secret };
    const token = expect(await api.send("POST", "/oauth/token", { form: credentials }), 200);
    check(token.token_type === "Bearer" && token.expires_in > 0, "a bearer token with an expiry", Object.keys(token));
    result(`POST /oauth/token → a ${token.token_type} token for ${token.expires_in / 60} minutes, scopes: ${token.scope}`);
  });

  await story.step("The operator creates connections", [
    "A connection is your OAuth app at a provider: client id, secret (stored encrypted) and scopes.",
    "Here `endpoints` points each one at an emulator; without it the real provider is used.",
  ], async (result) => {
    for (const connection of CONNECTIONS) {
      const fields = connectionFields(connection, local.peers[connection.service]);
      const answer = await api.createConnection(fields);
      const { connection: made } = expect(answer, 200);
      check(!answer.text.includes(fields.client_secret), "an answer without the client secret", "one with it");
      result(`POST /api/v1/connections → ${made.name} (${made.id})${connection.limits ? `, limited: ${JSON.stringify(made.limits)}` : ""}`);
    }
  });

  for (const name of CONNECTED) {
    const { title } = CONNECTIONS.find((c) => c.name === name);
    await story.step(`A user connects ${title}`, name === CONNECTED[0] ? [
      "The operator's backend asks for a magic link and shows it to the user, who opens it, reads who asks",
      "for what, agrees on the provider's own page, and comes back. Everything is checked on the way.",
    ] : ["The same pages for another provider: the backend's code is the same for all of them."], async (result) => {
      const { way, account } = await connect(api, name, IDENTIFIER);
      result(way.map((page) => `“${page}”`).join(" → "));
      result(`The account is ${account.status}: ${account.label} on ${account.provider}, known to the operator as ${account.identifier}`);
    });
  }

  const call = async (tool_name, params) => {
    const [provider] = tool_name.split("_");
    return expect(await api.execute({ tool_name, connection_name: provider, identifier: IDENTIFIER, params }), 200);
  };

  await story.step("The agent uses Gmail", [
    "One request per tool call: valetkey checks the input, adds the user's token, makes the e-mail's MIME",
    "source and sends it. If the token is old it is renewed first, once, however many calls wait.",
  ], async (result) => {
    const { data: sent, execution_id } = await call("gmail_send_message", {
      to: SEEDED.mailbox, subject: "Hello from a valet", body: "The car starts, the trunk stays shut." });
    check(sent.id && execution_id, "a message id and an execution id", sent);
    result(`gmail_send_message → sent, message ${sent.id} (execution ${execution_id})`);
    const { data: found } = await call("gmail_fetch_mails", { max_results: 5 });
    check(found.messages?.some(({ id }) => id === sent.id), `a list with the message ${sent.id}`, found);
    result(`gmail_fetch_mails → the mailbox has ${found.messages.length === 1 ? "one message, the new one" : `${found.messages.length} messages, the new one among them`}`);
  });

  await story.step("The agent uses Google Calendar", [
    "Another of Google's products is another connection, so each user agrees to exactly what is needed.",
  ], async (result) => {
    const { data: made } = await call("googlecalendar_create_event", { summary: "Pick up the car",
      start_datetime: "2027-03-01T09:00:00Z", end_datetime: "2027-03-01T09:30:00Z" });
    check(made.summary === "Pick up the car", "the event “Pick up the car”", made);
    result(`googlecalendar_create_event → “${made.summary}”, ${made.start.dateTime}`);
    const { data: list } = await call("googlecalendar_list_events", { time_min: "2027-03-01T00:00:00Z" });
    check(list.items?.some(({ id }) => id === made.id), `a list with the event ${made.id}`, list);
    result(`googlecalendar_list_events → ${list.items.map(({ summary }) => `“${summary}”`).join(", ")}`);
  });

  const { owner, repo } = SEEDED;
  await story.step("The agent uses GitHub", [
    "The tool acts as the user who agreed, not as a robot account: look at who opened the issue.",
  ], async (result) => {
    const { data: issue } = await call("github_issue_create", { owner, repo, title: "The left tyre is flat" });
    check(issue.user?.login === USER.login, `an issue by ${USER.login}`, issue);
    result(`github_issue_create → #${issue.number} “${issue.title}”, opened by ${issue.user.login}`);
    const { data: list } = await call("github_issues_list", { owner, repo });
    const issues = Array.isArray(list) ? list : Object.values(list).find(Array.isArray);
    check(issues?.some(({ number }) => number === issue.number), `a list with the issue #${issue.number}`, list);
    result(`github_issues_list → ${issues.map(({ number, title }) => `#${number} “${title}”`).join(", ")}`);
  });

  await story.step("The agent uses Slack", [
    "Slack answers in its own way (an error is a 200 with ok: false); the agent need not know.",
  ], async (result) => {
    const { data } = await call("slack_list_channels");
    const channels = Array.isArray(data) ? data : data.channels;
    const general = channels?.find(({ name }) => name === "general");
    check(general, "a list with the channel general", data);
    result(`slack_list_channels → ${channels.map(({ name }) => `#${name}`).join(", ")}`);
    const { data: posted } = await call("slack_send_message", { channel: general.id, text: "The car is ready." });
    check(posted.ts, "the timestamp of the message", posted);
    result(`slack_send_message → posted to #general at ${posted.ts}`);
  });

  await endings(story, local, IDENTIFIER);
}
