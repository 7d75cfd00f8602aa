// Snowflake and ServiceNow, whose accounts are an instance of their own.
import { createHash, createPublicKey, generateKeyPairSync } from "node:crypto";

import { learn } from "../support/secrets.mjs";

const host = "https://acme-prod.snowflakecomputing.com";
const statement = { resultSetMetaData: { numRows: 1, rowType: [{ name: "U" }, { name: "A" }, { name: "R" }] }, data: [["JO", "ACME", "PUBLIC"]], code: "090001", statementHandle: "h1" };

export const DATA = [
  { id: "snowflake", source: "https://docs.snowflake.com/user-guide/oauth-custom", fields: { account: "acme-prod" },
    authorize: `${host}/oauth/authorize`, token: `${host}/oauth/token-request`, client: ["basic", "body"],
    lifetime: 599, told: true, refreshes: true, rotates: false, scopes: ["refresh_token"], label: "JO",
    shape: (tokens) => ({ ...tokens, username: "JO", scope: "refresh_token session:role:PUBLIC" }),
    identity: { [`POST ${host}/api/v2/statements`]: statement },
    call: { tool: "snowflake_list_databases", address: `GET ${host}/api/v2/databases`, answer: [],
      check: ({ headers }) => { if (headers.get("x-snowflake-authorization-token-type") !== "OAUTH") throw new Error("the token's kind is missing"); } },
    dead: [401, { code: "390318", message: "OAuth access token expired." }],
    refused: [400, { error: "invalid_grant", message: "The refresh token is invalid." }], revoke: null },
  // https://docs.snowflake.com/developer-guide/sql-api/authenticating#using-key-pair-authentication
  { id: "snowflake-key-pair", connector: "snowflake", method: "jwt", type: "SERVICE_ACCOUNT", mints: true, lifetime: 3600, label: "JO",
    source: "https://docs.snowflake.com/developer-guide/sql-api/authenticating", fields: { account: "acme-prod" },
    typed() {
      const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
      const pem = privateKey.export({ type: "pkcs8", format: "pem" });
      learn("private key", pem.split("\n")[1]);
      return { key: publicKey.export({ type: "spki", format: "pem" }), fields: { user: "jo", account_identifier: "acme-prod", private_key: pem } };
    },
    accepts(sent, vendor) {
      const claims = vendor.jwt(sent.replace("Bearer ", ""));
      const print = createHash("sha256").update(createPublicKey(vendor.typed.key).export({ type: "spki", format: "der" })).digest("base64");
      return claims && claims.sub === "ACME-PROD.JO" && claims.iss === `ACME-PROD.JO.SHA256:${print}`;
    },
    identity: { [`POST ${host}/api/v2/statements`]: statement },
    call: { tool: "snowflake_list_databases", address: `GET ${host}/api/v2/databases`, answer: [],
      check: ({ headers }) => { if (headers.get("x-snowflake-authorization-token-type") !== "KEYPAIR_JWT") throw new Error("the token's kind is missing"); } },
    dead: [401, { code: "390144", message: "JWT token is invalid." }], revoke: null },
  { id: "servicenow", source: "https://www.servicenow.com/docs/bundle/xanadu-platform-security/page/administer/security/concept/c_OAuthApplications.html", fields: { instance: "acme" },
    authorize: "https://acme.service-now.com/oauth_auth.do", token: "https://acme.service-now.com/oauth_token.do", client: ["body", "basic"],
    lifetime: 1799, told: true, refreshes: true, rotates: false, label: "Jo",
    shape: (tokens) => ({ ...tokens, scope: "useraccount" }),
    identity: { "GET https://acme.service-now.com/api/now/table/sys_user": { result: [{ sys_id: "u1", user_name: "jo", email: "jo@example.com", name: "Jo" }] },
      "GET https://acme.service-now.com/api/now/ui/user/current_user": { result: { user_sys_id: "u1", user_name: "jo", user_display_name: "Jo" } } },
    call: { tool: "servicenow_incident_list", address: "GET https://acme.service-now.com/api/now/table/incident", answer: { result: [] } },
    dead: [401, { error: { message: "User Not Authenticated", detail: "Required to provide Auth information" }, status: "failure" }],
    revoke: { address: "POST https://acme.service-now.com/oauth_revoke_token.do" } },
];
