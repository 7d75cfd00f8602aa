// What `make serve` needs to be told before it can work.

/** What to say to somebody who has not set this yet; empty when nothing is missing. `stops` when it cannot work at all. */
export function missing(settings) {
  const names = ["VALETKEY_KEYS", "VALETKEY_CLIENT_ID", "VALETKEY_CLIENT_SECRET"].filter((name) => !settings[name]);
  if (names.length === 0) return { stops: false, words: "" };
  const stops = names.includes("VALETKEY_KEYS");
  const lines = {
    VALETKEY_KEYS: "VALETKEY_KEYS=k1:$(openssl rand -base64 32)",
    VALETKEY_CLIENT_ID: "VALETKEY_CLIENT_ID=my-backend",
    VALETKEY_CLIENT_SECRET: "VALETKEY_CLIENT_SECRET=$(openssl rand -hex 32)",
  };
  return { stops, words: [
    `Not set: ${names.join(", ")}. ${stops ? "Without a key nothing can be stored, so valetkey does not start."
      : "Without a first caller nobody can call the API, but for callers made before."}`,
    "Set what is missing in .dev.vars (git ignores it), then start again:", "",
    "cat >> .dev.vars <<EOF", ...names.map((name) => lines[name]), "EOF", "",
    "Environment variables of the same names do as well. All settings: docs/operations.md",
  ].join("\n") };
}
