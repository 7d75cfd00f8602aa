// Microsoft identity platform: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow, and Microsoft Graph.

const graph = "https://graph.microsoft.com/v1.0";
const microsoft = {
  source: "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow",
  authorize: "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
  token: "https://login.microsoftonline.com/common/oauth2/v2.0/token",
  client: ["body", "basic"],
  lifetime: 3600, told: true, refreshes: true, rotates: true,
  scopes: ["offline_access"],
  label: "jo@example.com",
  identity: {
    [`GET ${graph}/me`]: { id: "1", displayName: "Jo", mail: "jo@example.com", userPrincipalName: "jo@example.com" },
    [`GET ${graph}/me/drive`]: { id: "d1", driveType: "business" },
    [`GET ${graph}/organization`]: { value: [{ id: "t1" }] },
  },
  dead: [401, { error: { code: "InvalidAuthenticationToken", message: "Lifetime validation failed, the token is expired." } }],
  refused: [400, { error: "invalid_grant", error_description: "AADSTS50173: The provided grant has expired due to it being revoked.", error_codes: [50173] }],
  revoke: null, // there is no revocation endpoint
};

export const MICROSOFT = [
  { ...microsoft, id: "outlook", call: { tool: "outlook_list_messages", address: `GET ${graph}/me/messages`, answer: { value: [] } } },
  { ...microsoft, id: "outlook-tenant", connector: "outlook",
    connection: { fields: { tenant: "organizations" } },
    authorize: "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize", token: "https://login.microsoftonline.com/organizations/oauth2/v2.0/token",
    call: { tool: "outlook_list_messages", address: `GET ${graph}/me/messages`, answer: { value: [] } } },
  { ...microsoft, id: "onedrive", call: { tool: "onedrive_get_drive", address: `GET ${graph}/me/drive`, answer: { id: "d1" } } },
  { ...microsoft, id: "sharepoint", call: { tool: "sharepoint_get_site", params: { site_id: "s1" }, address: `GET ${graph}/sites/s1`, answer: { id: "s1" } } },
  // Teams has no personal accounts: https://learn.microsoft.com/graph/teams-concept-overview
  { ...microsoft, id: "microsoftteams",
    authorize: "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize", token: "https://login.microsoftonline.com/organizations/oauth2/v2.0/token",
    call: { tool: "microsoftteams_list_teams", address: `GET ${graph}/me/joinedTeams`, answer: { value: [] } } },
  { ...microsoft, id: "microsoftexcel", call: { tool: "microsoftexcel_list_worksheets", params: { item_id: "i1" }, address: `GET ${graph}/drives/d1/items/i1/workbook/worksheets`, answer: { value: [] } } },
  { ...microsoft, id: "microsoftword", call: { tool: "microsoftword_get_document", params: { item_id: "i1" }, address: `GET ${graph}/me/drive/items/i1`, answer: { id: "i1" } } },
  { ...microsoft, id: "onenote", call: { tool: "onenote_list_notebooks", address: `GET ${graph}/me/onenote/notebooks`, answer: { value: [] } } },
];
