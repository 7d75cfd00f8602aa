// The provider of the benchmark, in a process of its own: one answer, with the headers and about the size of GitHub's to
// GET /user, so that copying them costs what it costs in production.
import { createServer } from "node:http";

const HEADERS = {
  "content-type": "application/json; charset=utf-8",
  "cache-control": "private, max-age=60, s-maxage=60",
  vary: "Accept, Authorization, Cookie, X-GitHub-OTP, Accept-Encoding, X-Requested-With",
  etag: `W/"5d0e1f6f7c2b4a0f9d8c7b6a5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d"`,
  "last-modified": "Wed, 04 Nov 2026 09:12:44 GMT",
  "x-oauth-scopes": "repo",
  "x-accepted-oauth-scopes": "",
  "x-oauth-client-id": "Iv1.0123456789abcdef",
  "x-github-media-type": "github.v3; format=json",
  "x-github-api-version-selected": "2022-11-28",
  "x-ratelimit-limit": "5000",
  "x-ratelimit-remaining": "4987",
  "x-ratelimit-reset": "1893456000",
  "x-ratelimit-used": "13",
  "x-ratelimit-resource": "core",
  "access-control-expose-headers": "ETag, Link, Location, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset",
  "access-control-allow-origin": "*",
  "strict-transport-security": "max-age=31536000; includeSubdomains; preload",
  "x-frame-options": "deny",
  "x-content-type-options": "nosniff",
  "x-xss-protection": "0",
  "referrer-policy": "origin-when-cross-origin, strict-origin-when-cross-origin",
  "content-security-policy": "default-src 'none'",
  server: "github.com",
  "x-github-request-id": "E1B4:3F2A7:1C9D0E4:1D2F3A6:65489ACD",
};
const urls = ["html", "followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events", "received_events"];
const BODY = Buffer.from(JSON.stringify({
  login: "octocat", id: 1, node_id: "MDQ6VXNlcjE=", type: "User", site_admin: false, name: "The Octocat", company: "GitHub",
  ...Object.fromEntries(urls.map((name) => [`${name}_url`, `https://api.github.com/users/octocat/${name}`])),
  public_repos: 8, public_gists: 8, followers: 20000, following: 9, created_at: "2011-01-25T18:44:36Z", updated_at: "2026-11-01T00:00:00Z",
}));

const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { ...HEADERS, "content-length": BODY.length }).end(BODY);
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
process.on("message", () => process.send({ cpu: cpu() }));
process.on("disconnect", () => process.exit(0));

function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
