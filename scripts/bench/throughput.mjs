// Calls a second and how long each takes: the proxy and a tool against the pass-through, in alternating rounds, because
// the machine has other things to do. A ratio is taken inside a round; what is printed is the median of the rounds.
import { openStage } from "./stage.mjs";

const CONNECTIONS = 16;
// GitHub allows 900 points a minute for one account. So an account makes this many calls in a row, as a busy agent does,
// and then the next one follows; no account is used in two rounds.
export const CALLS_OF_ONE_ACCOUNT = 640;
const EACH = CALLS_OF_ONE_ACCOUNT / CONNECTIONS;

export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

const cost = ({ busy, rate }) => (busy.workerd * 1e6) / rate;

/** The kinds of call, each as one request per account. */
function kinds(stage, connection_name) {
  const headers = { authorization: `Bearer ${stage.bearer}`, "user-agent": "bench", accept: "application/json" };
  const proxied = (path) => (identifier) => ({ method: "GET", path, headers: { ...headers, connection_name, identifier } });
  const tool = (identifier) => ({ method: "POST", path: "/api/v1/execute_tool", headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ tool_name: "github_user_get_authenticated", connection_name, identifier, params: {} }) });
  return {
    bare: { url: stage.bare, request: proxied("/user") },
    proxied: { url: stage.url, request: proxied("/proxy/user") },
    tool: { url: stage.url, request: tool },
  };
}

/** `rounds` of each kind, `accounts` accounts long. → one object per kind with the medians, and who was busy. */
export async function throughput({ build, rounds, accounts }) {
  const stage = await openStage(build);
  try {
    const stock = await stage.accounts("bench", accounts * (rounds + 1));
    const all = kinds(stage, "bench");
    const run = async (name, round) => {
      const { url, request } = all[name];
      const requests = stock.slice(round * accounts, (round + 1) * accounts).map(request);
      const before = await stage.cpu();
      const outcome = await stage.load.ask({ url, requests, connections: CONNECTIONS, each: EACH });
      const after = await stage.cpu();
      const wrong = Object.entries(outcome.statuses).filter(([status]) => status !== "200");
      if (wrong.length || outcome.broken) throw new Error(`${name}: ${JSON.stringify(outcome.statuses)}, ${outcome.broken} broken`);
      return { ...outcome, busy: {
        workerd: after.workerd && (after.workerd - before.workerd) / outcome.seconds,
        provider: (after.upstream - before.upstream) / outcome.seconds,
        callers: outcome.cpu / outcome.seconds } };
    };
    const seen = Object.fromEntries(Object.keys(all).map((name) => [name, []]));
    for (const name of Object.keys(all)) await run(name, rounds); // warm-up: code is compiled, connections are open
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 ? Object.keys(all).reverse() : Object.keys(all);
      for (const name of order) seen[name].push(await run(name, round));
    }
    const of = (name, field) => median(seen[name].map(field));
    const ratios = (name) => seen[name].map((one, i) => one.rate / seen.bare[i].rate).toSorted((a, b) => a - b);
    return Object.fromEntries(Object.keys(all).map((name) => [name, {
      rate: of(name, (one) => one.rate), p50: of(name, (one) => one.p50), p99: of(name, (one) => one.p99),
      ratio: median(ratios(name)), lowest: ratios(name)[0], highest: ratios(name).at(-1),
      // What a call costs workerd, in microseconds of processor time: the ratio that a busy machine disturbs least.
      cost: of(name, cost), costRatio: median(seen[name].map((one, i) => cost(seen.bare[i]) / cost(one))),
      busy: Object.fromEntries(["workerd", "provider", "callers"].map((who) => [who, of(name, (one) => one.busy[who])])),
    }]));
  } finally {
    await stage.stop();
  }
}
