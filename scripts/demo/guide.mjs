// What `make dev` prints: links for a browser, and lines for a shell that work as they are.
import { relative } from "node:path";
import { CONNECTIONS, SEEDED, USER } from "./providers.mjs";
import { expect, paint } from "./story.mjs";

const IDENTIFIER = "user-42";
const { owner, repo, channel, mailbox } = SEEDED;

/** Per connection: a tool that writes, one that reads, and a path for the proxy. */
const EXAMPLES = {
  gmail: {
    read: ["gmail_fetch_mails", { max_results: 5 }],
    write: ["gmail_send_message", { to: mailbox, subject: "Hello from a valet", body: "The trunk stays shut." }],
    path: "gmail/v1/users/me/labels",
  },
  googlecalendar: {
    read: ["googlecalendar_list_events", { max_results: 5 }],
    write: ["googlecalendar_create_event", { summary: "Pick up the car", start_datetime: "2027-03-01T09:00:00Z", end_datetime: "2027-03-01T09:30:00Z" }],
    path: "calendar/v3/users/me/calendarList",
  },
  github: {
    read: ["github_issues_list", { owner, repo }],
    write: ["github_issue_create", { owner, repo, title: "The left tyre is flat" }],
    path: "user/repos?per_page=5",
  },
  slack: {
    read: ["slack_list_channels", {}],
    write: ["slack_send_message", { channel, text: "The car is ready." }],
    path: "users.list",
  },
};
const SHOWN = CONNECTIONS.filter(({ name }) => EXAMPLES[name]);

/** A new magic link for each connection. */
export async function links(api) {
  const lines = [];
  for (const { name, title } of SHOWN) {
    const { link } = expect(await api.magicLink({ connection_name: name, identifier: IDENTIFIER }), 200);
    lines.push(`  ${title.padEnd(16)} ${link}`);
  }
  return lines.join("\n");
}

export async function guide({ url, api }, state) {
  const auth = '-H "Authorization: Bearer $TOKEN"';
  const body = (name, [tool_name, params]) =>
    JSON.stringify({ tool_name, connection_name: name, identifier: IDENTIFIER, params });
  const post = (path, data) => `curl -sS "${url}${path}" ${auth} -d '${data}'; echo`;
  const lines = SHOWN.flatMap(({ name, title }) => {
    const { read, write, path } = EXAMPLES[name];
    return ["", paint.soft(`# ${title}: write, read, see a request without sending it (dry_run), any other path of the API (proxy)`),
      post("/api/v1/execute_tool", body(name, write)),
      post("/api/v1/execute_tool", body(name, read)),
      post("/api/v1/execute_tool?dry_run=true", body(name, write)),
      `curl -sS "${url}/proxy/${path}" ${auth} -H 'connection_name: ${name}' -H 'identifier: ${IDENTIFIER}'; echo`];
  });
  const again = process.stdin.isTTY ? "Links work for 15 minutes; press Enter for new ones." : "Links work for 15 minutes.";
  return `
${paint.bold(`valetkey is ready on ${url}`)}, with emulators of Google, GitHub and Slack. Ctrl-C stops everything.

${paint.bold("1  Connect an account")}: open a link in your browser, go on, and choose ${USER.name}.
${await links(api)}
   ${again}
   The emulators forget everything when they stop: connect again after a restart.

${paint.bold("2  Call tools")}, in another terminal. First an agent's token, for an hour:

TOKEN=$(curl -sS ${url}/oauth/token -u '${api.id}:${api.secret}' -d grant_type=client_credentials | sed 's/.*"access_token": *"\\([^"]*\\)".*/\\1/')
${lines.join("\n")}

${paint.soft("# A magic link for another user of yours; then use their identifier in the lines above")}
${post("/api/v1/connected_accounts/magic_link", JSON.stringify({ connection_name: "github", identifier: "user-43" }))}

State and secrets: ${relative(process.cwd(), state) || state}. All operations: docs/api.md.
`;
}
