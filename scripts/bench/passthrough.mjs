// The measure: a Worker in plain JavaScript that hands every request on and every answer back, and does nothing else.
// Without an upstream it answers by itself, for the time it takes to start. The classes stand for the bindings of the Worker it is compared with; nobody calls them.
import { DurableObject } from "cloudflare:workers";

export class Account extends DurableObject {}
export class RateLimiter extends DurableObject {}

export default {
  fetch(request, env) {
    if (!env.UPSTREAM) return new Response("ok");
    const { pathname, search } = new URL(request.url);
    return fetch(env.UPSTREAM + pathname + search, request);
  },
};
