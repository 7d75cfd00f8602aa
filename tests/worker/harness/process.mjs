// The child of startWorkerProcess(): starts the Worker and does what the parent asks.
import { startWorker } from "../harness.mjs";

let w;
process.on("message", async ({ id, method, args }) => {
  try {
    let result;
    if (method === "start") {
      w = await startWorker({ ...args[0], onLog: (log) => process.connected && process.send({ log }) });
      result = { urls: w.urls, state: w.state };
    } else result = await w[method](...args);
    process.send({ id, result });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});
// The parent is gone, or done with us.
process.on("disconnect", async () => {
  await w?.dispose();
  process.exit(0);
});
