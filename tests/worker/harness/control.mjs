// The harness's own Worker, beside the one under test.
import { WorkerEntrypoint } from "cloudflare:workers";
import unsafe from "workerd:unsafe";

// The network: every fetch of the Worker under test arrives here with its real URL and goes on to the gateway in the
// test process. (Miniflare's own function hook ends a truncated body as if it were complete, and hides aborts.)
export default {
  fetch(request, env) {
    const headers = new Headers(request.headers);
    headers.set("x-outbound-url", request.url);
    return fetch(env.GATEWAY, { method: request.method, headers, body: request.body, redirect: "manual" });
  },
};

// Commands from the tests. Over HTTP, because Miniflare's calls of this kind stop the whole test process while they
// last, and with it every provider that lives there.
export class Control extends WorkerEntrypoint {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const object = () => this.env[searchParams.get("binding")].getByName(searchParams.get("name"));
    try {
      if (pathname === "/object") return await object().fetch(searchParams.get("url"), request);
      if (pathname === "/evict") await unsafe.evict(object());
      if (pathname === "/reset") await object().fetch("http://harness/__harness/reset");
      if (pathname === "/scheduled") {
        const { cron, time } = Object.fromEntries(searchParams);
        return Response.json(await this.env.WORKER.scheduled({ cron, scheduledTime: time ? new Date(Number(time)) : undefined }));
      }
      return Response.json(null);
    } catch (error) {
      return new Response(error.message, { status: 599 });
    }
  }
}
