// Atlassian: https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/ (the same for Confluence), and Trello's OAuth 1.0a:
// https://developer.atlassian.com/cloud/trello/guides/rest-api/authorization/

const cloud = "11111111-2222-3333-4444-555555555555";
const site = (id, name, scopes) => ({ id, name, url: `https://${name}.atlassian.net`, scopes });
const atlassian = {
  source: "https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/",
  authorize: "https://auth.atlassian.com/authorize",
  token: "https://auth.atlassian.com/oauth/token",
  client: ["json", "body"],
  params: { audience: "api.atlassian.com", prompt: "consent" },
  lifetime: 3600, told: true, refreshes: true, rotates: true,
  refused: [403, { error: "invalid_grant", error_description: "Unknown or invalid refresh token." }],
  revoke: null,
};
const resources = "GET https://api.atlassian.com/oauth/token/accessible-resources";
const me = { account_id: "a1", accountId: "a1", email: "jo@example.com", emailAddress: "jo@example.com", name: "Jo", displayName: "Jo" };
const jira = (id) => `https://api.atlassian.com/ex/jira/${id}`;
const confluence = (id) => `https://api.atlassian.com/ex/confluence/${id}`;
const jiraRow = {
  ...atlassian, scopes: ["read:jira-work", "offline_access"], label: "jo@example.com",
  dead: [401, { code: 401, message: "Unauthorized" }],
  call: { tool: "jira_projects_list", address: `GET ${jira(cloud)}/rest/api/3/project/search`, answer: { values: [], isLast: true } },
};

export const ATLASSIAN = [
  { ...jiraRow, id: "jira", variables: { cloud_id: cloud },
    identity: { [resources]: [site(cloud, "acme", ["read:jira-work"])], "GET https://api.atlassian.com/me": me, [`GET ${jira(cloud)}/rest/api/3/myself`]: me } },
  // A grant that covers several sites, one of them not Jira's: the person chooses.
  { ...jiraRow, id: "jira-several-sites", connector: "jira", variables: { cloud_id: cloud }, choose: { name: "other", place: 1 },
    identity: { [resources]: [site("99999999-2222-3333-4444-555555555555", "other", ["read:jira-work"]), site(cloud, "acme", ["read:jira-work"]), site("88888888-2222-3333-4444-555555555555", "wiki", ["read:confluence-content.all"])],
      "GET https://api.atlassian.com/me": me, [`GET ${jira(cloud)}/rest/api/3/myself`]: me } },
  { ...atlassian, id: "confluence", scopes: ["offline_access"], variables: { cloud_id: cloud }, label: "jo@example.com",
    identity: { [resources]: [site(cloud, "acme", ["read:page:confluence", "read:confluence-content.all"])], "GET https://api.atlassian.com/me": me,
      [`GET ${confluence(cloud)}/wiki/rest/api/user/current`]: me },
    dead: [401, { code: 401, message: "Unauthorized; scope does not match" }],
    call: { tool: "confluence_space_list", address: `GET ${confluence(cloud)}/wiki/api/v2/spaces`, answer: { results: [] } } },
  { id: "trello", type: "OAUTH1", source: "https://developer.atlassian.com/cloud/trello/guides/rest-api/authorization/",
    oauth1: { request: "https://trello.com/1/OAuthGetRequestToken", authorize: "https://trello.com/1/OAuthAuthorizeToken", access: "https://trello.com/1/OAuthGetAccessToken" },
    client: ["oauth1"], params: { expiration: "never" }, label: "jo",
    credential: { value: (token, { client }) => `OAuth oauth_consumer_key="${client.client_id}", oauth_token="${token}"` },
    identity: { "GET https://api.trello.com/1/members/me": { id: "m1", username: "jo", fullName: "Jo", email: "jo@example.com" } },
    call: { tool: "trello_list_my_boards", address: "GET https://api.trello.com/1/members/me/boards", answer: [] },
    dead: [401, "invalid token"],
    revoke: { address: "DELETE https://api.trello.com/1/tokens/*" } },
];
