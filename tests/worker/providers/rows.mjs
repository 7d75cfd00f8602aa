// What each vendor expects and answers, from the vendor's own documentation (`source`) and not from the connectors.
//
//   authorize, token, revoke   addresses; client: how the client may authenticate at the token endpoint
//   pkce       "required" | "never"; left out: may be used, and is checked when it is
//   lifetime   seconds an access token lives; told: whether the token answer says so; refreshes, rotates: the refresh token
//   scopes     some that must be asked for; null: the vendor has none in the request
//   identity   look-ups and their answers; label: what the account is called after them
//   call       a tool, the address it must reach, and what that answers
//   dead       what the API answers to a token that has ended; refused: what the token endpoint answers then

import { ATLASSIAN } from "./atlassian.mjs";
import { DATA } from "./data.mjs";
import { GOOGLE } from "./google.mjs";
import { MICROSOFT } from "./microsoft.mjs";
import { SALES } from "./sales.mjs";
import { TALK } from "./talk.mjs";
import { WORK } from "./work.mjs";

export const ROWS = [...GOOGLE, ...MICROSOFT, ...ATLASSIAN, ...TALK, ...WORK, ...SALES, ...DATA].sort((a, b) => (a.id < b.id ? -1 : 1));
