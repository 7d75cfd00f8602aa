// A user who connects an account: the same pages, forms, redirects and cookies as in a browser.
import { Browser } from "../../tests/worker/support/browser.mjs";
import { consent } from "./providers.mjs";
import { check, expect } from "./story.mjs";

/**
 * Opens a magic link and presses the buttons: ours, then the provider's.
 * → `{way, account}`: the titles of the pages seen, and the account as the API tells it afterwards.
 */
export async function connect(api, connection_name, identifier) {
  const browser = new Browser();
  const { link } = expect(await api.magicLink({ connection_name, identifier }), 200);
  const asked = await browser.open(link);
  check(asked.status === 200 && asked.forms.length === 1, "a page with one button", `${asked.status} ${asked.words}`);
  const provider = await browser.submit(asked);
  check(new URL(provider.url).origin !== new URL(link).origin, "the provider's consent page", `${provider.status} ${provider.words}`);
  const connected = await consent(browser, provider);
  check(connected.status === 200, "the page that says it is connected", `${connected.status} ${connected.words}`);
  const { connected_account: account } = expect(await api.details({ connection_name, identifier }), 200);
  check(account.status === "ACTIVE", "an account that is ACTIVE", `${account.status} (${account.status_reason})`);
  return { way: [asked, provider, connected].map(titleOf), account };
}

const titleOf = ({ text, words }) => /<title>([^<]*)/.exec(text)?.[1].split(" | ")[0].trim() ?? words.slice(0, 40);
