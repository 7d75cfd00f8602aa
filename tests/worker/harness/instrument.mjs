// Runs in the Worker's isolate before the Worker's own modules: a clock that tests can set, and counters of what
// the Worker asks of its bindings. Prototypes are patched, not the bindings: the Rust side checks their types.
import { env } from "cloudflare:workers";

const RealDate = Date;
let offset = 0;
globalThis.Date = class Date extends RealDate {
  constructor(...args) {
    if (args.length) super(...args);
    else super(RealDate.now() + offset);
  }
  static now() {
    return RealDate.now() + offset;
  }
};
export const setClock = (ms) => (offset = ms);

const zero = () => ({ durableObjectRequests: 0, kvReads: 0, kvWrites: 0, kvLists: 0, kvDeletes: 0 });
export let counts = zero();
export const resetCounts = () => (counts = zero());

let held = 0;
/** The next write to KV arrives this much later than the Worker sends it. */
export const holdNextWrite = (ms) => (held = ms);
function hold(prototype) {
  const put = prototype.put;
  prototype.put = function (...args) {
    const ms = held;
    held = 0;
    return ms ? new Promise((done) => setTimeout(done, ms)).then(() => put.apply(this, args)) : put.apply(this, args);
  };
}

const patched = new WeakSet();
function count(prototype, method, field) {
  const original = prototype[method];
  if (typeof original !== "function") return;
  prototype[method] = function (...args) {
    counts[field] += 1;
    return original.apply(this, args);
  };
}
for (const binding of Object.values(env)) {
  const prototype = Object.getPrototypeOf(Object(binding));
  const kind = prototype.constructor?.name;
  if (patched.has(prototype)) continue;
  patched.add(prototype);
  if (kind === "KvNamespace") {
    for (const m of ["get", "getWithMetadata"]) count(prototype, m, "kvReads");
    hold(prototype);
    count(prototype, "put", "kvWrites");
    count(prototype, "list", "kvLists");
    count(prototype, "delete", "kvDeletes");
  }
  if (kind === "DurableObjectNamespace") {
    for (const method of ["get", "getByName"]) {
      const original = prototype[method];
      prototype[method] = function (...args) {
        const stub = original.apply(this, args);
        const stubs = Object.getPrototypeOf(stub);
        if (!patched.has(stubs)) {
          patched.add(stubs);
          count(stubs, "fetch", "durableObjectRequests");
        }
        return stub;
      };
    }
  }
}
