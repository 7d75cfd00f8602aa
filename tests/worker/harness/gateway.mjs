// The network as the tests define it: receives every request that leaves the Worker and answers or forwards it.
import { createServer, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable } from "node:stream";

const raw = new WeakMap(); // Request → the connection it came on, for forwarding byte by byte
const FORWARDED = Symbol("forwarded");
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/;

/** An `outbound` that sends each host to a local peer; path, query, method, headers and body stay as they are. */
export function routeHosts(hosts) {
  return async (request) => {
    const url = new URL(request.url);
    const peer = hosts[url.host] ?? (LOOPBACK.test(url.hostname) ? url.origin : undefined);
    return peer === undefined ? undefined : forward(request, new URL(url.pathname + url.search, peer));
  };
}

/** Answers `request` with what `target` says, unread: encodings, odd status codes, slow and broken bodies survive. */
export function forward(request, target) {
  const { res, headers } = raw.get(request);
  return new Promise((resolve, reject) => {
    const send = target.protocol === "https:" ? httpsRequest : httpRequest;
    const out = send(target, { method: request.method, headers: { ...headers, host: target.host } }, (answer) => {
      const { connection, "keep-alive": keepAlive, ...kept } = answer.headers;
      res.writeHead(answer.statusCode, answer.statusMessage, kept);
      answer.on("error", () => res.destroy());
      answer.on("close", () => answer.complete || res.destroy());
      answer.pipe(res);
      resolve(FORWARDED);
    });
    out.on("error", reject);
    res.on("close", () => out.destroy()); // the Worker gave up: so do we
    if (request.body) Readable.fromWeb(request.body).on("error", () => out.destroy()).pipe(out);
    else out.end();
  });
}

async function answer(response, res) {
  const headers = {};
  for (const [name, value] of new Headers(response.headers))
    headers[name] = name === "set-cookie" ? [headers[name] ?? [], value].flat() : value;
  if (response.url) {
    delete headers["content-encoding"]; // it comes from fetch(), which has decoded the body
    delete headers["content-length"];
  }
  res.writeHead(response.status ?? 200, headers);
  const body = response.body ?? "";
  if (typeof body === "string" || body instanceof Uint8Array) return res.end(body);
  Readable.fromWeb(body).on("error", () => res.destroy()).pipe(res);
}

/**
 * `outbound(request)` answers with a Response (or `{status, headers, body}` for what a Response cannot hold), and with
 * nothing for a host it does not know: then the connection breaks and the request is recorded as a leak.
 */
export async function openGateway(outbound = routeHosts({})) {
  const requests = [];
  const leaks = [];
  const server = createServer(async (req, res) => {
    res.shouldKeepAlive = false; // else workerd repeats a GET or DELETE whose reused connection breaks
    const { "x-outbound-url": url, host, connection, ...headers } = req.headers;
    const visible = Object.entries(headers).filter(([name]) => name !== "transfer-encoding");
    const abort = new AbortController();
    res.on("close", () => res.writableFinished || abort.abort());
    const hasBody = req.method !== "GET" && req.method !== "HEAD";
    const init = { method: req.method, headers: visible.flatMap(([k, v]) => [v].flat().map((x) => [k, x])),
      body: hasBody ? Readable.toWeb(req) : undefined, duplex: "half", signal: abort.signal, redirect: "manual" };
    try {
      const request = new Request(url, init);
      raw.set(request, { res, headers });
      requests.push({ method: req.method, url });
      const response = await outbound(request);
      if (response === FORWARDED) return;
      if (response) return await answer(response, res);
      leaks.push({ method: req.method, url });
      console.error(`harness: the Worker called ${req.method} ${url}, which no test mapped`);
      res.destroy();
    } catch (error) {
      if (!abort.signal.aborted) console.error(`harness: ${req.method} ${url}: ${error.message}`);
      res.destroy();
    }
  });
  server.requestTimeout = 0;
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const close = () => new Promise((done) => { server.close(done); server.closeAllConnections(); });
  return { url: `http://127.0.0.1:${server.address().port}/`, requests, leaks, close };
}
