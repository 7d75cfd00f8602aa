// An emulator's GraphQL schema is a part of the vendor's, and a document that asks for more is refused as a whole. So what the
// emulator does not have is taken out of a document on the way; it says itself what that is, and where it stands.

async function ask(url, query, operationName) {
  const body = JSON.stringify({ query, operationName });
  return (await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body })).json();
}

/** The fields of Query and Mutation. */
export async function operationsAt(url) {
  const { data } = await ask(url, "{ __schema { queryType { fields { name } } mutationType { fields { name } } } }");
  return new Set([...data.__schema.queryType.fields, ...data.__schema.mutationType.fields].map(({ name }) => name));
}

/** A complaint → how the document goes on without its cause, from `at` where the complaint points to. */
const REPAIRS = [
  [/^Cannot query field/, (text, at) => cut(text, at, at + fieldLength(text.slice(at)))],
  [/^Unknown argument/, (text, at) => cut(text, at, at + /^\w+:\s*\$\w+/.exec(text.slice(at))[0].length)],
  [/^Unknown type/, (text, at) => cut(text, text.lastIndexOf("$", at), at + /^\w+!?/.exec(text.slice(at))[0].length)],
  [/^Variable "\$\w+" is never used/, (text, at) => cut(text, at, at + /^\$\w+:\s*[\w[\]!]+/.exec(text.slice(at))[0].length)],
  [/^Variable "\$\w+" of type ".*?" used in position expecting type "(.*?)"/, (text, at, type) =>
    text.slice(0, at) + text.slice(at).replace(/^(\$\w+:\s*)[\w[\]!]+/, `$1${type}`)],
];

const cut = (text, from, to) => (text.slice(0, from) + text.slice(to)).replace(/\([\s,]*\)/g, "");

/** How far a field reaches: its name, its arguments and its selection. */
function fieldLength(text) {
  const [head] = /^\w+\s*(?:\([^)]*\))?\s*/.exec(text);
  if (text[head.length] !== "{") return head.length;
  for (let at = head.length, depth = 0; at < text.length; at++) {
    depth += text[at] === "{" ? 1 : text[at] === "}" ? -1 : 0;
    if (depth === 0) return at + 1;
  }
  return text.length;
}

/** The document as the emulator understands it. Nothing is carried out here: there is no operation of the name asked for. */
export async function understood(url, document) {
  for (let text = document; ;) {
    const { errors = [] } = await ask(url, text, "none");
    const found = errors.flatMap(({ message, locations }) => REPAIRS.flatMap(([says, repair]) => {
      const match = says.exec(message);
      if (!match) return [];
      const before = text.split("\n").slice(0, locations[0].line - 1).map((line) => line.length + 1);
      return [{ at: before.reduce((sum, length) => sum + length, 0) + locations[0].column - 1, repair, type: match[1] }];
    }));
    if (found.length === 0) return text;
    // One at a time and the last first, so that the places of the others stay what they are.
    const { at, repair, type } = found.sort((a, b) => b.at - a.at)[0];
    text = repair(text, at, type);
  }
}
