// Salesforce, HubSpot, Zendesk, Freshdesk.
import { Buffer } from "node:buffer";

export const SALES = [
  { id: "salesforce", source: "https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_web_server_flow.htm",
    authorize: "https://login.salesforce.com/services/oauth2/authorize", token: "https://login.salesforce.com/services/oauth2/token", client: ["body", "basic"],
    // The session timeout of the org decides, 2 hours unless changed; the answer does not say.
    lifetime: 7200, told: false, refreshes: true, rotates: false, scopes: ["api", "refresh_token"], label: "jo@example.com",
    shape: (tokens) => ({ ...tokens, instance_url: "https://acme.my.salesforce.com", id: "https://login.salesforce.com/id/00D1/0051", issued_at: "1", signature: "s" }),
    identity: { "GET https://acme.my.salesforce.com/services/oauth2/userinfo": { user_id: "0051", organization_id: "00D1", preferred_username: "jo@example.com", email: "jo@example.com" } },
    call: { tool: "salesforce_query_soql", params: { query: "SELECT Id FROM Account", soql_query: "SELECT Id FROM Account" }, address: "GET https://acme.my.salesforce.com/services/data/*/query", answer: { totalSize: 0, done: true, records: [] } },
    dead: [401, [{ message: "Session expired or invalid", errorCode: "INVALID_SESSION_ID" }]],
    refused: [400, { error: "invalid_grant", error_description: "expired access/refresh token" }],
    revoke: { address: "POST https://login.salesforce.com/services/oauth2/revoke" } },
  { id: "hubspot", source: "https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/oauth/working-with-oauth",
    authorize: "https://app.hubspot.com/oauth/authorize", token: "https://api.hubapi.com/oauth/2026-09/token", client: ["body"],
    lifetime: 1800, told: true, refreshes: true, rotates: false, label: "jo@example.com",
    identity: { "POST https://api.hubapi.com/oauth/2026-09/token/introspect": { active: true, hub_id: 1, user_id: 2, user: "jo@example.com", hub_domain: "acme.example" },
      "GET https://api.hubapi.com/account-info/v3/details": { portalId: 1, accountType: "STANDARD", uiDomain: "app.hubspot.com" } },
    open: ["POST https://api.hubapi.com/oauth/2026-09/token/introspect"],
    call: { tool: "hubspot_owners_list", address: "GET https://api.hubapi.com/crm/owners/2026-09", answer: { results: [] } },
    dead: [401, { status: "error", message: "The OAuth token used to make this call expired", category: "EXPIRED_AUTHENTICATION" }],
    refused: [400, { status: "BAD_REFRESH_TOKEN", message: "missing or invalid refresh token" }],
    revoke: { address: "POST https://api.hubapi.com/oauth/2026-09/token/revoke" } },
  { id: "zendesk", source: "https://developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens/", fields: { subdomain: "acme" },
    authorize: "https://acme.zendesk.com/oauth/authorizations/new", token: "https://acme.zendesk.com/oauth/tokens", client: ["json", "body"],
    lifetime: 1800, told: true, refreshes: true, rotates: true, label: "jo@example.com",
    identity: { "GET https://acme.zendesk.com/api/v2/users/me.json": { user: { id: 1, name: "Jo", email: "jo@example.com" } }, "GET https://acme.zendesk.com/api/v2/users/me": { user: { id: 1, name: "Jo", email: "jo@example.com" } } },
    call: { tool: "zendesk_groups_list", address: "GET https://acme.zendesk.com/api/v2/groups", answer: { groups: [], meta: { has_more: false } } },
    dead: [401, { error: "invalid_token", error_description: "The access token provided is expired, revoked, malformed or invalid for other reasons." }],
    revoke: { address: "DELETE https://acme.zendesk.com/api/v2/oauth/tokens/current.json" } },
  // https://developers.freshdesk.com/api/#authentication: the API key as user, anything as password.
  { id: "freshdesk", type: "API_KEY", source: "https://developers.freshdesk.com/api/#authentication", refreshes: false, fields: { domain: "acme" },
    typed: (random) => ({ fields: { api_key: random("API key") } }),
    accepts: (sent, { typed }) => sent === `Basic ${Buffer.from(`${typed.fields.api_key}:X`).toString("base64")}`,
    identity: { "GET https://acme.freshdesk.com/api/v2/agents/me": { id: 1, contact: { name: "Jo", email: "jo@example.com" } } }, label: "jo@example.com",
    call: { tool: "freshdesk_tickets_list", address: "GET https://acme.freshdesk.com/api/v2/tickets", answer: [] },
    dead: [401, { code: "invalid_credentials", message: "You have to be logged in to perform this action." }], revoke: null },
];
