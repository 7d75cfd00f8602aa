// Google: https://developers.google.com/identity/protocols/oauth2/web-server and …/service-account, and each API's reference.
import { generateKeyPairSync } from "node:crypto";

import { learn } from "../support/secrets.mjs";

const google = {
  source: "https://developers.google.com/identity/protocols/oauth2/web-server",
  authorize: "https://accounts.google.com/o/oauth2/v2/auth",
  token: "https://oauth2.googleapis.com/token",
  client: ["body", "basic"],
  params: { access_type: "offline", prompt: "consent" },
  lifetime: 3599, told: true, refreshes: true, rotates: false,
  label: "jo@example.com",
  identity: {
    "GET https://openidconnect.googleapis.com/v1/userinfo": { sub: "1", email: "jo@example.com" },
    "GET https://www.googleapis.com/oauth2/v3/userinfo": { sub: "1", email: "jo@example.com" },
    "GET https://www.googleapis.com/oauth2/v2/userinfo": { id: "1", email: "jo@example.com" },
    "GET https://gmail.googleapis.com/gmail/v1/users/me/profile": { emailAddress: "jo@example.com" },
    "GET https://www.googleapis.com/drive/v3/about": { user: { displayName: "Jo", emailAddress: "jo@example.com", permissionId: "1" } },
    "GET https://www.googleapis.com/calendar/v3/users/me/calendarList/primary": { id: "jo@example.com" },
    "GET https://www.googleapis.com/calendar/v3/calendars/primary": { id: "jo@example.com" },
  },
  dead: [401, { error: { code: 401, message: "Invalid Credentials", status: "UNAUTHENTICATED", errors: [{ reason: "authError", message: "Invalid Credentials" }] } }],
  refused: [400, { error: "invalid_grant", error_description: "Token has been expired or revoked." }],
  // The token in the form is proof enough.
  revoke: { address: "POST https://oauth2.googleapis.com/revoke" },
};
const scope = (name) => `https://www.googleapis.com/auth/${name}`;

/** A service account: https://developers.google.com/identity/protocols/oauth2/service-account#httprest */
function serviceAccount(row) {
  return {
    ...google, ...row, client: undefined, method: "jwt", type: "SERVICE_ACCOUNT", refreshes: false, mints: true, revoke: undefined,
    typed() {
      const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
      const pem = privateKey.export({ type: "pkcs8", format: "pem" });
      learn("private key", pem.split("\n")[1]);
      const file = { type: "service_account", client_email: "valet@project.iam.gserviceaccount.com", private_key_id: "k1", private_key: pem };
      return { key: publicKey.export({ type: "spki", format: "pem" }), fields: { key_file: JSON.stringify(file), ...row.typedFields } };
    },
  };
}

export const GOOGLE = [
  { ...google, id: "gmail", scopes: [scope("gmail.modify")],
    call: { tool: "gmail_list_labels", address: "GET https://gmail.googleapis.com/gmail/v1/users/me/labels", answer: { labels: [] } } },
  { ...google, id: "googlecalendar", scopes: [scope("calendar.events")],
    call: { tool: "googlecalendar_list_calendars", address: "GET https://www.googleapis.com/calendar/v3/users/me/calendarList", answer: { items: [] } } },
  { ...google, id: "googledrive", scopes: [scope("drive")],
    call: { tool: "googledrive_search_files", address: "GET https://www.googleapis.com/drive/v3/files", answer: { files: [] } } },
  { ...google, id: "googledocs", scopes: [scope("documents")],
    call: { tool: "googledocs_read_document", params: { document_id: "d1" }, address: "GET https://docs.googleapis.com/v1/documents/d1", answer: { documentId: "d1" } } },
  { ...google, id: "googlesheets", scopes: [scope("spreadsheets")],
    call: { tool: "googlesheets_get_values", params: { spreadsheet_id: "s1", range: "A1:B2" }, address: "GET https://sheets.googleapis.com/v4/spreadsheets/s1/values/*", answer: { range: "A1:B2", values: [] } } },
  { ...google, id: "googleforms", scopes: [scope("forms.body")],
    call: { tool: "googleforms_get_form", params: { form_id: "f1" }, address: "GET https://forms.googleapis.com/v1/forms/f1", answer: { formId: "f1" } } },
  { ...google, id: "googlemeet", scopes: [scope("meetings.space.created")],
    call: { tool: "googlemeet_list_conference_records", address: "GET https://meet.googleapis.com/v2/conferenceRecords", answer: { conferenceRecords: [] } } },
  { ...google, id: "googleads", scopes: [scope("adwords")], connection: { fields: { developer_token: "a-developer-token" } },
    source: "https://developers.google.com/google-ads/api/rest/auth",
    call: { tool: "googleads_list_accessible_customers", address: "GET https://googleads.googleapis.com/*/customers:listAccessibleCustomers", answer: { resourceNames: ["customers/1"] },
      check: ({ headers }) => { if (headers.get("developer-token") !== "a-developer-token") throw new Error("the developer token is missing"); } } },
  { ...google, id: "bigquery", scopes: [scope("bigquery")],
    call: { tool: "bigquery_list_datasets", params: { project_id: "p1" }, address: "GET https://bigquery.googleapis.com/bigquery/v2/projects/p1/datasets", answer: { datasets: [] } } },
  serviceAccount({ id: "bigquery-service-account", connector: "bigquery", label: "valet@project.iam.gserviceaccount.com",
    identity: { ...google.identity, "GET https://openidconnect.googleapis.com/v1/userinfo": { sub: "2", email: "valet@project.iam.gserviceaccount.com" },
      "GET https://www.googleapis.com/oauth2/v3/userinfo": { sub: "2", email: "valet@project.iam.gserviceaccount.com" } },
    call: { tool: "bigquery_list_datasets", params: { project_id: "p1" }, address: "GET https://bigquery.googleapis.com/bigquery/v2/projects/p1/datasets", answer: { datasets: [] },
      check: (_, { claims }) => { if (claims.iss !== "valet@project.iam.gserviceaccount.com" || claims.aud !== "https://oauth2.googleapis.com/token") throw new Error(JSON.stringify(claims)); } } }),
  serviceAccount({ id: "gmail-delegated", connector: "gmail", typedFields: { subject: "jo@example.com" },
    call: { tool: "gmail_list_labels", address: "GET https://gmail.googleapis.com/gmail/v1/users/me/labels", answer: { labels: [] },
      check: (_, { claims }) => { if (claims.sub !== "jo@example.com" || !claims.scope.includes("gmail.modify")) throw new Error(JSON.stringify(claims)); } } }),
  serviceAccount({ id: "googlesheets-delegated", connector: "googlesheets", typedFields: { subject: "jo@example.com" },
    call: { tool: "googlesheets_get_values", params: { spreadsheet_id: "s1", range: "A1:B2" }, address: "GET https://sheets.googleapis.com/v4/spreadsheets/s1/values/*", answer: { values: [] },
      check: (_, { claims }) => { if (claims.sub !== "jo@example.com") throw new Error("nobody is impersonated"); } } }),
];
