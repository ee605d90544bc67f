// A payment's trace as a timeline. Pure: takes what the relayer tells and the index has, gives steps in order.
import { usdc } from "./money.ts";

export type Step = {
  name: string;
  /** Unix milliseconds; undefined when nobody wrote the time down. */
  atMs: number | undefined;
  facts: [string, string][];
};

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type JsonObject = { [name: string]: Json };

const TIME_FIELDS = ["at", "atMs", "time", "timestamp", "createdAt", "updatedAt"];
const MAX_FACTS = 12;

/** The relayer's steps: a list of them under `steps`, or one member a step. Steps without a time keep their place. */
export function stepsOf(trace: JsonObject): Step[] {
  const listed = trace["steps"];
  const entries: [string, JsonObject][] = Array.isArray(listed)
    ? listed.filter(isObject).map((step) => [String(step["name"] ?? step["step"] ?? step["type"] ?? "step"), step])
    : Object.entries(trace).flatMap(([name, value]): [string, JsonObject][] => (Array.isArray(value) ? value.filter(isObject).map((one) => [name, one]) : isObject(value) ? [[name, value]] : []));
  return entries.map(([name, step]) => ({ name, atMs: timeOf(step), facts: factsOf(step) }));
}

/** A row of the index as a step; its times are unix seconds. */
export function indexedStep(name: string, row: JsonObject): Step {
  const { timestamp, ...rest } = row;
  return { name, atMs: timestamp === undefined || timestamp === null ? undefined : Number(timestamp) * 1_000, facts: factsOf(rest) };
}

/** Every value of that shape in members of those names, wherever it stands. */
export function valuesOf(value: Json, names: readonly string[], shape: RegExp, found = new Set<string>()): Set<string> {
  if (Array.isArray(value)) for (const inner of value) valuesOf(inner, names, shape, found);
  else if (isObject(value)) {
    for (const [name, inner] of Object.entries(value)) {
      if (typeof inner === "string" && names.includes(name) && shape.test(inner)) found.add(inner.toLowerCase());
      else valuesOf(inner, names, shape, found);
    }
  }
  return found;
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function timeOf(step: JsonObject): number | undefined {
  const value = TIME_FIELDS.map((name) => step[name]).find((at) => typeof at === "string" || typeof at === "number");
  if (value === undefined) return undefined;
  if (/^\d+$/.test(String(value))) return Number(value) < 1e11 ? Number(value) * 1_000 : Number(value);
  const parsed = Date.parse(String(value));
  return Number.isNaN(parsed) ? undefined : parsed;
}

/** Members as name and text, nested ones by their path; amounts as USDC. */
function factsOf(step: JsonObject, path = ""): [string, string][] {
  const facts = Object.entries(step).flatMap(([name, value]): [string, string][] => {
    if (value === null || (path === "" && [...TIME_FIELDS, "name", "step", "type"].includes(name))) return [];
    if (isObject(value)) return factsOf(value, `${path}${name}.`);
    return [[`${path}${name}`.replace(/Atomic$/, ""), shown(name, value)]];
  });
  return path === "" ? facts.slice(0, MAX_FACTS) : facts;
}

function shown(name: string, value: Json): string {
  if (name.endsWith("Atomic") && typeof value === "string" && /^\d+$/.test(value)) return `${usdc(BigInt(value))} USDC`;
  if (Array.isArray(value)) return JSON.stringify(value);
  // What a stranger wrote must not steer the terminal.
  return String(value).replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");
}
