// A small browser: cookies, redirects and forms over `fetch`, and a record of every page and redirect on the way.
// Two instances are two browsers. Cookies follow host, path and expiry as RFC 6265 has them; like the strictest browsers,
// this one refuses `Secure` cookies from plain http, also on loopback.

/** A page or redirect that was seen. */
export class Page {
  constructor(url, response, text) {
    this.url = url;
    this.status = response.status;
    this.headers = response.headers;
    this.location = response.headers.get("location");
    this.text = text;
  }

  /** The page's words, without markup. */
  get words() {
    return wordsOf(this.text);
  }

  /** The forms: `{action, method, fields, label}`, `label` being the words inside. */
  get forms() {
    return [...this.text.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, attributes, inside]) => {
      const form = attributesOf(attributes);
      const fields = {};
      for (const [, control] of inside.matchAll(/<(?:input|button)\b([^>]*)>/gi)) {
        const { name, value = "" } = attributesOf(control);
        if (name) fields[name] = value;
      }
      return { action: new URL(form.action ?? "", this.url).href, method: (form.method ?? "get").toUpperCase(), fields, label: wordsOf(inside) };
    });
  }
}

export class Browser {
  #jar = [];
  /** Every page and redirect, oldest first. */
  history = [];

  /** `witness(page)` is told of each page, for the secret scan. */
  constructor({ witness = () => {} } = {}) {
    this.witness = witness;
  }

  /** Opens an address and follows redirects until a page, or until one leads to where `until(url)` says stop. */
  async open(url, { method = "GET", fields, headers = {}, until = () => false, hops = 15 } = {}) {
    let next = { url: new URL(url).href, method, fields };
    for (let hop = 0; hop < hops; hop++) {
      const page = await this.#load(next, headers);
      if (page.status < 300 || page.status > 399 || !page.location) return page;
      const target = new URL(page.location, page.url).href;
      if (until(target)) return page;
      next = { url: target, method: "GET" };
    }
    throw new Error(`more than ${hops} redirects from ${url}`);
  }

  /** Presses a button of a page: the form that `pick` chooses, by default the first one. */
  async submit(page, { pick = () => true, fields = {}, ...options } = {}) {
    const form = page.forms.find(pick);
    if (!form) throw new Error(`no such form on ${page.url} (${page.status}): ${page.words.slice(0, 300)}`);
    return this.open(form.action, { ...options, method: form.method, fields: { ...form.fields, ...fields } });
  }

  /** The cookies this browser would send to an address. */
  cookies(url) {
    const { hostname, pathname, protocol } = new URL(url);
    const now = Date.now();
    return this.#jar.filter((c) => c.host === hostname && pathname.startsWith(c.path) && (!c.secure || protocol === "https:")
      && (c.expires === undefined || c.expires > now));
  }

  async #load({ url, method, fields }, headers) {
    const sent = { accept: "text/html", ...headers };
    const cookies = this.cookies(url);
    if (cookies.length > 0) sent.cookie = cookies.map((c) => `${c.name}=${c.value}`).join("; ");
    const response = await fetch(url, {
      method, redirect: "manual", headers: sent, body: method === "POST" ? new URLSearchParams(fields) : undefined,
    });
    for (const line of response.headers.getSetCookie()) this.#keep(line, url);
    const page = new Page(url, response, await response.text());
    this.history.push(page);
    this.witness(page);
    return page;
  }

  #keep(line, url) {
    const { hostname, protocol } = new URL(url);
    const [pair, ...rest] = line.split(";").map((part) => part.trim());
    const name = pair.slice(0, pair.indexOf("="));
    const attributes = Object.fromEntries(rest.map((part) => {
      const [key, ...value] = part.split("=");
      return [key.toLowerCase(), value.join("=") || true];
    }));
    const cookie = {
      name, value: pair.slice(name.length + 1), host: hostname, secure: attributes.secure === true,
      path: typeof attributes.path === "string" ? attributes.path : "/", line,
      expires: attributes["max-age"] !== undefined ? Date.now() + Number(attributes["max-age"]) * 1000
        : attributes.expires ? Date.parse(attributes.expires) : undefined,
    };
    if (cookie.secure && protocol !== "https:") return;
    if (name.startsWith("__Host-") && (!cookie.secure || cookie.path !== "/" || attributes.domain)) return;
    this.#jar = this.#jar.filter((c) => !(c.name === name && c.host === cookie.host && c.path === cookie.path));
    if (cookie.expires === undefined || cookie.expires > Date.now()) this.#jar.push(cookie);
  }
}

function wordsOf(markup) {
  return unescape(markup.replace(/<(style|script)[\s\S]*?<\/\1>/g, " ").replace(/<[^>]+>/g, " ")).replace(/\s+/g, " ").trim();
}

function attributesOf(text) {
  return Object.fromEntries([...text.matchAll(/([\w-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?/g)]
    .map(([, name, double, single, bare]) => [name.toLowerCase(), unescape(double ?? single ?? bare ?? "")]));
}

function unescape(text) {
  const named = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " " };
  return text.replace(/&(#x[0-9a-f]+|#\d+|\w+);/gi, (whole, code) => {
    if (code[0] !== "#") return named[code] ?? whole;
    return String.fromCodePoint(code[1] === "x" ? parseInt(code.slice(2), 16) : Number(code.slice(1)));
  });
}
