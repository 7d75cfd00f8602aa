// The callers of the benchmark, in a process of their own: autocannon, over requests that change with the account. Each
// message from the parent is one round; the answer is what it took.
import autocannon from "autocannon";

/**
 * `requests`: one per account. Every connection sends `each` calls of one account, then goes on to the next, so that all
 * connections are on the same account at about the same time and none of its limits is reached.
 */
function round({ url, requests, connections, each }) {
  const took = [];
  const statuses = {};
  let first;
  let last;
  const setupClient = (client) => {
    let made = 0;
    let at = 0;
    client.setRequests([{ ...requests[0] }]);
    client.on("request", () => (first ??= performance.now()));
    client.on("response", (status, _bytes, milliseconds) => {
      last = performance.now();
      took.push(milliseconds);
      statuses[status] = (statuses[status] ?? 0) + 1;
      made += 1;
      if (made % each === 0 && ++at < requests.length) client.setRequests([{ ...requests[at] }]);
    });
  };
  const before = process.cpuUsage();
  return new Promise((resolve, reject) => {
    const amount = connections * each * requests.length;
    autocannon({ url, connections, amount, setupClient, timeout: 30 }, (error, result) => {
      if (error) return reject(error);
      const { user, system } = process.cpuUsage(before);
      took.sort((a, b) => a - b);
      const quantile = (q) => took[Math.min(took.length - 1, Math.floor(took.length * q))];
      const seconds = (last - first) / 1000;
      resolve({ seconds, rate: took.length / seconds, p50: quantile(0.5), p99: quantile(0.99), statuses,
        broken: result.errors + result.timeouts, cpu: (user + system) / 1e6 });
    });
  });
}

process.on("message", async (options) => {
  try {
    process.send({ result: await round(options) });
  } catch (error) {
    process.send({ error: error.message });
  }
});
process.on("disconnect", () => process.exit(0));
