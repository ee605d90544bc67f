// The metadata document of a service: what a buyer reads before it pays. It is named by the keccak256 of its canonical bytes, which the
// registry keeps, so nobody can show another one. Whatever is written in it was written by a stranger: it is checked here, by whoever reads it.
import { isAddress, keccak256, parseUnits, stringToBytes, type Address, type Hex } from "viem";
import { canonicalJson } from "../audit/canonical.ts";
import { SERVICE_CATEGORIES, SERVICE_SCHEMES } from "../bazaar.ts";
import { TallystickError } from "../errors.ts";

export const MAX_METADATA_BYTES = 65_536;
const MOST_ENDPOINTS = 100;
/** Levels of schemas and samples. */
const MOST_DEPTH = 32;
const MOST_NODES = 20_000;

export const PRICING_MODELS = ["per-use", "outcome-based", "subscription"] as const;
export const PRICING_UNITS = ["call", "unit", "month"] as const;
/** What a month is: so long after its first delivered call a subscription stands. */
export const SUBSCRIPTION_PERIOD_S = 30 * 86_400;
export const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] as const;

export type Pricing = {
  model: (typeof PRICING_MODELS)[number];
  /** Decimal, in whole tokens of six decimals (USDC): "0.001". */
  price: string;
  unit: (typeof PRICING_UNITS)[number];
  token: Address;
  /** Of a month, in seconds: SUBSCRIPTION_PERIOD_S. Nothing else is sold by time. */
  periodS?: number;
};
/** minUptimePercent has at most two decimals. */
export type Sla = { maxLatencyMs: number; minUptimePercent: number };
/** Share of a call's price that is credited when the SLA is missed, basis points. */
export type RefundPolicy = { latencyCreditBps: number; failureCreditBps: number };
export type Endpoint = {
  method: (typeof METHODS)[number];
  /** Below the service's URL, with {parameters} as OpenAPI writes them. */
  path: string;
  description?: string;
  /** JSON Schema. */
  inputSchema?: unknown;
  outputSchema?: unknown;
  sampleInput?: unknown;
  sampleOutput?: unknown;
};

export type Metadata = {
  name: string;
  description: string;
  version: string;
  changelog?: string;
  /** A page to read: an http or https URL. */
  documentation?: string;
  /** See capabilityTag. */
  capability: string;
  categories: (typeof SERVICE_CATEGORIES)[number][];
  pricing: Pricing;
  sla?: Sla;
  refundPolicy?: RefundPolicy;
  endpoints: Endpoint[];
  schemes: (typeof SERVICE_SCHEMES)[number][];
  /** Who offers it, in its own words. */
  provider?: string;
};

/** @throws TallystickError 400 `metadata_malformed` with the field. */
export function parseMetadata(value: unknown): Metadata {
  const given = objectOf(value, "metadata", ["name", "description", "version", "changelog", "documentation", "capability", "categories", "pricing", "sla", "refundPolicy", "endpoints", "schemes", "provider"]);
  return defined({
    name: textOf(given["name"], "name", 1, 100),
    description: textOf(given["description"], "description", 0, 2_000),
    version: textOf(given["version"], "version", 1, 64),
    changelog: optional(given["changelog"], (text) => textOf(text, "changelog", 0, 8_000)),
    documentation: optional(given["documentation"], (url) => urlOf(url, "documentation")),
    capability: matching(given["capability"], /^[a-z0-9][a-z0-9._-]{0,31}$/, "capability", 'a tag such as "web.search" (a-z, 0-9, ".", "-", "_"; at most 32)'),
    categories: someOf(given["categories"], SERVICE_CATEGORIES, "categories", 0),
    pricing: pricingOf(given["pricing"]),
    sla: optional(given["sla"], slaOf),
    refundPolicy: optional(given["refundPolicy"], refundPolicyOf),
    endpoints: endpointsOf(given["endpoints"]),
    schemes: someOf(given["schemes"], SERVICE_SCHEMES, "schemes", 1),
    provider: optional(given["provider"], (text) => textOf(text, "provider", 1, 200)),
  });
}

/** The bytes that are stored and hashed. @throws TallystickError 400 `metadata_malformed`, `metadata_too_large`. */
export function metadataBytes(metadata: Metadata): Uint8Array {
  const bytes = stringToBytes(canonicalJson(parseMetadata(metadata), "fractions"));
  if (bytes.length <= MAX_METADATA_BYTES) return bytes;
  throw new TallystickError({ code: "metadata_too_large", status: 400, retry: "never", field: "metadata", detail: `The metadata has ${bytes.length} bytes; ${MAX_METADATA_BYTES} at most.` });
}

export function contentHashOf(metadata: Metadata): Hex {
  return keccak256(metadataBytes(metadata));
}

/**
 * A document that came from anywhere, by the hash that the registry keeps.
 * @throws TallystickError 400 `metadata_hash_mismatch`, `metadata_too_large`, `metadata_malformed`.
 */
export function readMetadata(bytes: Uint8Array, contentHash: Hex): Metadata {
  if (bytes.length > MAX_METADATA_BYTES) throw new TallystickError({ code: "metadata_too_large", status: 400, retry: "never", field: "metadata", detail: `The metadata has ${bytes.length} bytes; ${MAX_METADATA_BYTES} at most.` });
  const found = keccak256(bytes);
  if (found !== contentHash.toLowerCase()) throw new TallystickError({ code: "metadata_hash_mismatch", status: 400, retry: "never", field: "contentHash", detail: `The document hashes to ${found}, the registry has ${contentHash}.` });
  try {
    return parseMetadata(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch (error) {
    if (error instanceof TallystickError) throw error;
    throw malformed("metadata", "JSON in UTF-8");
  }
}

/** Atomic units of a pricing's price. @throws TallystickError 400 `metadata_malformed`. */
export function priceAtomicOf({ price }: Pick<Pricing, "price">): bigint {
  const atomic = /^(?:0|[1-9]\d{0,19})(?:\.\d{1,6})?$/.test(price) ? parseUnits(price, 6) : 0n;
  if (atomic > 0n) return atomic;
  throw malformed("pricing.price", 'a decimal above zero with at most six decimals, such as "0.001"');
}

function pricingOf(value: unknown): Pricing {
  const { model, price, unit, token, periodS } = objectOf(value, "pricing", ["model", "price", "unit", "token", "periodS"]);
  const pricing = { model: oneOf(model, PRICING_MODELS, "pricing.model"), price: textOf(price, "pricing.price", 1, 40), unit: oneOf(unit, PRICING_UNITS, "pricing.unit") };
  priceAtomicOf(pricing);
  if (typeof token !== "string" || !isAddress(token, { strict: false })) throw malformed("pricing.token", "an address");
  if (periodS === undefined) return { ...pricing, token };
  if (pricing.unit !== "month" || periodS !== SUBSCRIPTION_PERIOD_S) throw malformed("pricing.periodS", `${SUBSCRIPTION_PERIOD_S}, and of the unit month alone`);
  return { ...pricing, token, periodS };
}

export function slaOf(value: unknown): Sla {
  const { maxLatencyMs, minUptimePercent } = objectOf(value, "sla", ["maxLatencyMs", "minUptimePercent"]);
  if (typeof minUptimePercent !== "number" || !/^\d{1,3}(?:\.\d{1,2})?$/.test(String(minUptimePercent)) || minUptimePercent > 100) throw malformed("sla.minUptimePercent", "a number from 0 to 100 with at most two decimals");
  return { maxLatencyMs: wholeOf(maxLatencyMs, 1, 3_600_000, "sla.maxLatencyMs"), minUptimePercent };
}

export function refundPolicyOf(value: unknown): RefundPolicy {
  const { latencyCreditBps, failureCreditBps } = objectOf(value, "refundPolicy", ["latencyCreditBps", "failureCreditBps"]);
  return { latencyCreditBps: wholeOf(latencyCreditBps, 0, 10_000, "refundPolicy.latencyCreditBps"), failureCreditBps: wholeOf(failureCreditBps, 0, 10_000, "refundPolicy.failureCreditBps") };
}

function endpointsOf(value: unknown): Endpoint[] {
  if (!Array.isArray(value) || value.length > MOST_ENDPOINTS) throw malformed("endpoints", `a list of at most ${MOST_ENDPOINTS}`);
  return value.map((entry: unknown, index) => {
    const at = `endpoints[${index}]`;
    const given = objectOf(entry, at, ["method", "path", "description", "inputSchema", "outputSchema", "sampleInput", "sampleOutput"]);
    const free = (field: string) => optional(given[field], (json) => jsonOf(json, `${at}.${field}`));
    return defined({
      method: oneOf(given["method"], METHODS, `${at}.method`),
      path: matching(given["path"], /^\/[\x21\x23-\x3b\x3d\x3f-\x7e]{0,499}$/, `${at}.path`, "a path that begins with /, printable, without spaces, quotes and angle brackets"),
      description: optional(given["description"], (text) => textOf(text, `${at}.description`, 0, 1_000)),
      inputSchema: free("inputSchema"), outputSchema: free("outputSchema"), sampleInput: free("sampleInput"), sampleOutput: free("sampleOutput"),
    });
  });
}

/** Control characters, and those that turn the writing direction so that a text reads as another. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;
/** What a page that forgets to escape would run. */
const MARKUP = /<[a-z/!?]/i;

/** A text that people read. */
export function textOf(value: unknown, field: string, min: number, max: number): string {
  if (typeof value !== "string" || value.length > max || value.trim().length < min) throw malformed(field, `a text of ${min} to ${max} characters`);
  if (UNSEEN.test(value) || !value.isWellFormed()) throw malformed(field, "a text without control characters");
  if (MARKUP.test(value)) throw malformed(field, "plain text, without markup");
  return value;
}

/** Schemas and samples are data: anything JSON, within bounds. No reference leads out of a schema, and no name reaches a prototype. */
function jsonOf(value: unknown, field: string): unknown {
  let nodes = 0;
  const walk = (node: unknown, depth: number): void => {
    if (depth > MOST_DEPTH || ++nodes > MOST_NODES) throw malformed(field, `JSON of at most ${MOST_DEPTH} levels and ${MOST_NODES} values`);
    if (typeof node === "string" && !node.isWellFormed()) throw malformed(field, "JSON of well-formed text");
    if (typeof node !== "object" || node === null) return;
    for (const [name, member] of Object.entries(node)) {
      if (name === "__proto__") throw malformed(field, "JSON without the name __proto__");
      if (name === "$ref" && typeof member === "string" && !member.startsWith("#")) throw malformed(field, `a schema that refers to nothing outside itself; ${JSON.stringify(member.slice(0, 100))} does`);
      walk(member, depth + 1);
    }
  };
  walk(value, 0);
  return value;
}

function urlOf(value: unknown, field: string): string {
  const text = textOf(value, field, 1, 2_048);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") throw malformed(field, "an http or https URL without credentials");
  return url.href;
}

function objectOf(value: unknown, field: string, names: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(field, "an object");
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  if (unknown !== undefined) throw malformed(field === "metadata" ? unknown.slice(0, 60) : `${field}.${unknown.slice(0, 60)}`, `left out: known are ${names.join(", ")}`);
  return value as Record<string, unknown>;
}

function oneOf<Name extends string>(value: unknown, names: readonly Name[], field: string): Name {
  const found = names.find((name) => name === value);
  if (found === undefined) throw malformed(field, `one of ${names.join(", ")}`);
  return found;
}

function someOf<Name extends string>(value: unknown, names: readonly Name[], field: string, min: number): Name[] {
  if (!Array.isArray(value) || value.length < min || new Set(value).size !== value.length) throw malformed(field, `a list of at least ${min}, none twice`);
  return value.map((entry) => oneOf(entry, names, field));
}

function matching(value: unknown, pattern: RegExp, field: string, expected: string): string {
  if (typeof value !== "string" || !pattern.test(value)) throw malformed(field, expected);
  return value;
}

function wholeOf(value: unknown, min: number, max: number, field: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) throw malformed(field, `a whole number from ${min} to ${max}`);
  return value;
}

const optional = <T>(value: unknown, read: (value: unknown) => T): T | undefined => (value === undefined ? undefined : read(value));

/** Without the members that are undefined. */
function defined<T extends object>(value: { [Name in keyof T]: T[Name] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
}

function malformed(field: string, expected: string): TallystickError {
  return new TallystickError({ code: "metadata_malformed", status: 400, retry: "never", field, detail: `${field} must be ${expected}.` });
}
