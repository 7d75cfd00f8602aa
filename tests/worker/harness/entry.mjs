// The main module of a Worker under test: the Worker, and what only a test may ask of it.
import { counts, holdNextWrite, resetCounts, setClock } from "./instrument.mjs";
import Worker from "./index.js";

export default class extends Worker {
  fetch(request) {
    const url = new URL(request.url);
    if (url.pathname !== "/__harness") return super.fetch(request);
    if (url.searchParams.has("clock")) setClock(Number(url.searchParams.get("clock")));
    if (url.searchParams.has("reset")) resetCounts();
    if (url.searchParams.has("hold")) holdNextWrite(Number(url.searchParams.get("hold")));
    return Response.json(counts);
  }
}

/** The class, with a way to make the platform reset one object as it does on a deployment: requests in flight break. */
export const resettable = (Class) =>
  class extends Class {
    constructor(ctx, env) {
      super(ctx, env);
      const fetch = this.fetch;
      this.fetch = function (request) {
        if (new URL(request.url).pathname === "/__harness/reset") ctx.abort("reset because its code was updated");
        return fetch.call(this, request);
      };
    }
  };
