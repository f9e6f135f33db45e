// What may be asked. The worker's own rules (`Condition::parse`), applied before anything is sent: one unusable name would
// otherwise cost every question of its batch the answer.

/** The name of a plan or feature. `user:` (`u:`) or `org:` (`o:`, `organization:`) in front asks one kind of payer only. */
export type Name = `user:${string}` | `org:${string}` | (string & {});

/** What must be held. With both, both must. */
export type Condition = { plan: Name; feature?: Name | undefined } | { plan?: Name | undefined; feature: Name };

/** What goes over the wire. */
export interface Question {
  plan?: string;
  feature?: string;
}

/** The longest name or id, in bytes of UTF-8. */
const MAX_BYTES = 255;

/** No colon, no control character, and no half of a surrogate pair, which JSON cannot carry. */
const NAME = /^(?:(?:o|org|organization|u|user):)?([^:\p{Cc}\p{Cs}]+)$/u;

export const isShort = (text: string): boolean => new TextEncoder().encode(text).length <= MAX_BYTES;

/** Reads a condition. Throws a `TypeError` for one that the worker would refuse, or that would ask for something else. */
export function questionOf(condition: Condition): Question {
  const question: Question = {};
  for (const [field, name] of Object.entries(condition ?? {})) {
    if (name === undefined) continue;
    if (field !== "plan" && field !== "feature") {
      // Passed over, `{ plna: "pro" }` would ask for any paid plan, and the answer could be yes.
      throw new TypeError(`plangate answers for \`plan\` and \`feature\`, not for \`${field}\``);
    }
    const bare = typeof name === "string" ? NAME.exec(name)?.[1] : undefined;
    if (bare === undefined || !isShort(bare)) throw new TypeError(`plangate: \`${field}\` is not the name of a ${field}`);
    question[field] = name;
  }
  if (!question.plan && !question.feature) throw new TypeError("plangate: ask for a `plan`, a `feature`, or both");
  return question;
}

/** Equal for equal questions. */
export const keyOf = ({ plan, feature }: Question): string => JSON.stringify([plan, feature]);
