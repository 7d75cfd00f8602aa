// The main module of a Worker under test: the Worker, and a path of the harness's own.
import { counts, resetCounts, setClock } from "./instrument.mjs";
import Worker from "./index.js";
export * from "./index.js";

export default class extends Worker {
  fetch(request) {
    const url = new URL(request.url);
    if (url.pathname !== "/__harness") return super.fetch(request);
    if (url.searchParams.has("clock")) setClock(Number(url.searchParams.get("clock")));
    if (url.searchParams.has("reset")) resetCounts();
    return Response.json(counts);
  }
}
