// The emulated providers of `make demo` and `make dev`, and the connections that point at them.
import { startEmulate, USER } from "../../tests/worker/peers/emulate.mjs";

export { consent, USER } from "../../tests/worker/peers/emulate.mjs";

/** Who runs this installation, as the consent page says it. */
const OPERATOR = "Example Ltd.";

/**
 * One connection each. `service` is the emulator; scopes are left to the connector. The second Slack connection has a
 * limit of its operator: one message a minute.
 */
export const CONNECTIONS = [
  { name: "gmail", connector: "gmail", service: "google", title: "Gmail" },
  { name: "googlecalendar", connector: "googlecalendar", service: "google", title: "Google Calendar" },
  { name: "github", connector: "github", service: "github", title: "GitHub" },
  { name: "slack", connector: "slack", service: "slack", title: "Slack" },
  { name: "slack-careful", connector: "slack", service: "slack", title: "Slack", limits: { posts_per_minute: 1 } },
];

/** Where things are in the emulators, seeded or there from the start. */
export const SEEDED = { owner: USER.login, repo: "hello", channel: "C000000001", mailbox: USER.email };

/** Starts the emulators; their apps know the callbacks of the Worker at `url`. → `{peers: {service: peer}, stop}` */
export async function startProviders(url) {
  const services = [...new Set(CONNECTIONS.map(({ service }) => service))];
  const started = await Promise.allSettled(services.map((service) => startEmulate(service, {
    redirects: CONNECTIONS.filter((c) => c.service === service).map((c) => `${url}/callback/${c.name}`),
  })));
  const peers = Object.fromEntries(started.flatMap(({ value }) => (value ? [[value.service, value]] : [])));
  const stop = () => Promise.all(Object.values(peers).map((peer) => peer.stop()));
  const failed = started.find(({ reason }) => reason);
  if (failed) {
    await stop();
    throw failed.reason;
  }
  return { peers, stop };
}

/** What the API is told to create a connection that uses an emulator instead of the vendor. */
export function connectionFields({ name, connector, limits }, peer) {
  return { name, connector, operator: OPERATOR, ...peer.client, endpoints: peer.endpoints, ...(limits && { limits }) };
}
