// A Worker in front of the network: every fetch of the Worker under test arrives here with its real URL and goes on
// to the gateway in the test process. (Miniflare's own function hook ends a truncated body as if it were complete.)
export default {
  fetch(request, env) {
    const headers = new Headers(request.headers);
    headers.set("x-outbound-url", request.url);
    return fetch(env.GATEWAY, { method: request.method, headers, body: request.body, redirect: "manual" });
  },
};
