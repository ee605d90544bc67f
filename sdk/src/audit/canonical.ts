// JSON with one spelling for one value: RFC 8785 as far as the audit log needs it (strings, safe integers, booleans, null, lists, objects).
// Names are sorted by UTF-16 code units, there is no white space, and strings are written as JSON.stringify writes them.
import { TallystickError } from "../errors.ts";

/** Whole numbers have one spelling in every language; fractions as RFC 8785 writes them, which is how JavaScript does. */
export type Numbers = "integers" | "fractions";

/** Bigints become decimal strings, dates ISO strings; members that are undefined are left out. @throws TallystickError `value_not_canonical`. */
export function canonicalJson(value: unknown, numbers: Numbers = "integers"): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return `"${value}"`;
    case "number":
      // The audit log needs no fractions, and is spared their spelling.
      if (Number.isSafeInteger(value) || (numbers === "fractions" && Number.isFinite(value))) return Object.is(value, -0) ? "0" : String(value);
      throw notCanonical("a number that is no safe integer");
    case "object":
      return objectJson(value, numbers);
    default:
      throw notCanonical(`a ${typeof value}`);
  }
}

function objectJson(value: object | null, numbers: Numbers): string {
  if (value === null) return "null";
  if (value instanceof Date) return JSON.stringify(value.toISOString());
  if (Array.isArray(value)) return `[${value.map((item: unknown) => (item === undefined ? "null" : canonicalJson(item, numbers))).join(",")}]`;
  let json = "";
  for (const name of Object.keys(value).sort()) {
    const member = (value as Record<string, unknown>)[name];
    if (member !== undefined) json += `${json === "" ? "" : ","}${JSON.stringify(name)}:${canonicalJson(member, numbers)}`;
  }
  return `{${json}}`;
}

function notCanonical(what: string): TallystickError {
  return new TallystickError({ code: "value_not_canonical", status: 400, retry: "never", detail: `Canonical JSON has no place for ${what}.` });
}
