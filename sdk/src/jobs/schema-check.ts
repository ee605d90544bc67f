// A small part of JSON Schema, enough to say what a deliverable looks like, and nothing in it that a hostile schema could make slow: no
// patterns, no references, no combinations; and no fractions, so that it has one hash (audit/canonical.ts). Pure.

export type JsonSchema = {
  type?: JsonType;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean;
  items?: JsonSchema;
  enum?: (string | number | boolean | null)[];
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  title?: string;
  description?: string;
};
type JsonType = "object" | "array" | "string" | "number" | "integer" | "boolean" | "null";

const TYPES: readonly string[] = ["object", "array", "string", "number", "integer", "boolean", "null"];
const COUNTS = ["minItems", "maxItems", "minLength", "maxLength"] as const;
const NUMBERS = ["minimum", "maximum"] as const;
const WORDS = ["title", "description"] as const;
const MAX_DEPTH = 16;
const MAX_NODES = 500;

/** Where a value is not a schema of this kind, or undefined when it is one. */
export function schemaFault(value: unknown): string | undefined {
  let nodes = 0;
  const visit = (schema: unknown, at: string, depth: number): string | undefined => {
    if (!isObject(schema)) return `${at} must be an object`;
    if (depth > MAX_DEPTH || ++nodes > MAX_NODES) return `${at} is too deep or one too many`;
    for (const [keyword, part] of Object.entries(schema)) {
      const fault = keywordFault(keyword, part, `${at}/${keyword}`, (inner, where) => visit(inner, where, depth + 1));
      if (fault !== undefined) return fault;
    }
    return undefined;
  };
  return visit(value, "", 0);
}

function keywordFault(keyword: string, value: unknown, at: string, visit: (schema: unknown, at: string) => string | undefined): string | undefined {
  if (keyword === "type") return TYPES.includes(value as string) ? undefined : `${at} must be one of ${TYPES.join(", ")}`;
  if (keyword === "items") return visit(value, at);
  if (keyword === "properties") {
    if (!isObject(value)) return `${at} must be an object`;
    for (const [name, schema] of Object.entries(value)) {
      const fault = visit(schema, `${at}/${name}`);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }
  if (keyword === "required") return isList(value, (name) => typeof name === "string") ? undefined : `${at} must list names`;
  if (keyword === "enum") return isList(value, (item) => item === null || typeof item === "string" || typeof item === "boolean" || Number.isSafeInteger(item)) ? undefined : `${at} must list plain values`;
  if (keyword === "additionalProperties") return typeof value === "boolean" ? undefined : `${at} must be true or false`;
  if (COUNTS.some((name) => name === keyword)) return Number.isSafeInteger(value) && (value as number) >= 0 ? undefined : `${at} must be a whole number`;
  if (NUMBERS.some((name) => name === keyword)) return Number.isSafeInteger(value) ? undefined : `${at} must be a whole number`;
  if (WORDS.some((name) => name === keyword)) return typeof value === "string" ? undefined : `${at} must be text`;
  return `${at} is a keyword that is not taken`;
}

/** Where a value does not conform, or undefined when it does. */
export function conformityFault(schema: JsonSchema, value: unknown, at = ""): string | undefined {
  const here = at === "" ? "the document" : at;
  if (schema.type !== undefined && !isOfType(schema.type, value)) return `${here} is not of type ${schema.type}`;
  if (schema.enum !== undefined && !schema.enum.some((item) => item === value)) return `${here} is none of the values allowed`;
  if (typeof value === "string") return rangeFault([...value].length, schema.minLength, schema.maxLength, `the length of ${here}`);
  if (typeof value === "number") return rangeFault(value, schema.minimum, schema.maximum, here);
  if (Array.isArray(value)) return arrayFault(schema, value, at, here);
  return isObject(value) ? objectFault(schema, value, at) : undefined;
}

function arrayFault({ items, minItems, maxItems }: JsonSchema, value: unknown[], at: string, here: string): string | undefined {
  const size = rangeFault(value.length, minItems, maxItems, `the length of ${here}`);
  if (size !== undefined || items === undefined) return size;
  for (const [index, item] of value.entries()) {
    const fault = conformityFault(items, item, `${at}/${index}`);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function objectFault({ properties = {}, required = [], additionalProperties = true }: JsonSchema, value: Record<string, unknown>, at: string): string | undefined {
  for (const name of required) if (!Object.hasOwn(value, name)) return `${at}/${name} is missing`;
  for (const [name, member] of Object.entries(value)) {
    const schema = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (schema === undefined && !additionalProperties) return `${at}/${name} is not foreseen`;
    const fault = schema === undefined ? undefined : conformityFault(schema, member, `${at}/${name}`);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function rangeFault(value: number, least: number | undefined, most: number | undefined, what: string): string | undefined {
  if (least !== undefined && value < least) return `${what} is ${value}, at least ${least} is asked for`;
  return most !== undefined && value > most ? `${what} is ${value}, at most ${most} is allowed` : undefined;
}

function isOfType(type: JsonType, value: unknown): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "integer") return Number.isInteger(value);
  return type === "object" ? isObject(value) : typeof value === type;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const isList = (value: unknown, item: (item: unknown) => boolean): boolean => Array.isArray(value) && value.length <= MAX_NODES && value.every(item);
