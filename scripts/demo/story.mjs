// How the demo is told: numbered steps, what happens and why in a line or two, then what came back.

const colour = (code) => (text) => (process.stdout.isTTY && !process.env.NO_COLOR ? `\x1b[${code}m${text}\x1b[0m` : text);
export const paint = { bold: colour(1), soft: colour(2), good: colour(32), bad: colour(31) };

const MARGIN = "     ";

/** Why a step failed: what should have come, and what came. */
export class Unexpected extends Error {
  constructor(expected, came) {
    super(`expected ${expected}, came ${came}`);
    Object.assign(this, { expected, came });
  }
}

/** An answer with this status, and `error.code` if one is given. → its JSON */
export function expect(answer, status, code) {
  const expected = code ? `${status} with the code ${code}` : `status ${status}`;
  if (answer.status !== status || (code && answer.json?.error?.code !== code))
    throw new Unexpected(expected, `${answer.status} ${answer.text.replace(/\s+/g, " ").slice(0, 600)}`);
  return answer.json ?? answer.text;
}

/** Something that must hold. */
export function check(holds, expected, came) {
  if (!holds) throw new Unexpected(expected, typeof came === "string" ? came : JSON.stringify(came));
}

export class Story {
  #number = 0;
  #title = "the start";

  constructor(steps, say = console.log) {
    Object.assign(this, { steps, say });
  }

  /** Tells a step and runs it. `result(text)` prints what came back. */
  async step(title, why, run) {
    this.#title = title;
    this.say(`\n${paint.bold(`${String(++this.#number).padStart(2)}/${this.steps}  ${title}`)}`);
    for (const line of why) this.say(paint.soft(`${MARGIN}  ${line}`));
    await run((text) => this.say(`${MARGIN}${paint.good("✓")} ${text}`));
  }

  failed(error) {
    this.say(`\n${paint.bad(`✗ Failed at: ${this.#title}`)}`);
    if (error instanceof Unexpected) this.say(`  expected: ${error.expected}\n  came:     ${error.came}`);
    else this.say(`  expected: no error\n  came:     ${error.stack}`);
  }

  /** All steps were told: a story that ends early is not a success. */
  finished() {
    check(this.#number === this.steps, `${this.steps} steps`, `${this.#number}`);
  }
}
