// A service in the form of x402's bazaar: the item that lists it, and the extension that says how it is called. Pure.
import type { PaymentRequirements } from "@x402/core/types";
import { declareDiscoveryExtension, isValidServiceName, sanitizeTags, validateDiscoveryExtension, validateDiscoveryExtensionSpec, type DiscoveryExtension, type DiscoveryResource } from "@x402/extensions/bazaar";
import { SERVICE_CATEGORIES, SERVICE_SCHEMES, namesOf } from "../../../../sdk/src/bazaar.ts";
import type { Config } from "../../config.ts";
import type { DocumentFacts, EndpointFacts, FoundService } from "./types.ts";

export const BAZAAR = "bazaar";
const BODY_METHODS = ["POST", "PUT", "PATCH"];
const QUERY_METHODS = ["GET", "HEAD", "DELETE"];

/** Words of JSON Schema that make whoever validates work, or look elsewhere: a stranger's pattern can take a validator forever. */
const HEAVY_WORDS = new Set(["pattern", "patternProperties", "propertyNames", "$ref", "$id", "id", "$dynamicRef", "$recursiveRef", "$schema", "$anchor", "$dynamicAnchor", "$vocabulary", "format", "uniqueItems", "not", "if", "then", "else", "anyOf", "oneOf", "allOf", "dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems", "contains", "definitions", "$defs"]);
const MOST_SCHEMA_BYTES = 8_192;
const SECONDS_TO_PAY = 60;

type Terms = Pick<Config, "network" | "token">;

export function itemOf(service: FoundService, config: Terms): DiscoveryResource {
  const [endpoint] = service.facts.endpoints;
  const tags = sanitizeTags([...(service.capability === "" ? [] : [service.capability]), ...namesOf(SERVICE_CATEGORIES, service.categories)]);
  const { card } = service.facts;
  return {
    resource: service.url + (endpoint === undefined || endpoint.path === "/" ? "" : endpoint.path),
    type: "http",
    x402Version: 2,
    accepts: acceptsOf(service, config),
    lastUpdated: new Date(Number(service.updatedAt) * 1_000).toISOString(),
    ...(service.description === "" ? {} : { description: service.description }),
    ...(isValidServiceName(service.name) ? { serviceName: service.name } : {}),
    ...(tags === undefined ? {} : { tags }),
    extensions: { ...(card === undefined || card === null ? {} : { [BAZAAR]: card }), tallystick: { serviceId: service.serviceId, capability: service.capability, contentHash: service.contentHash, metadata: service.uri, version: service.version } },
  };
}

/** The registry's terms, a scheme each. The 402 of the service has what else a payment needs. */
function acceptsOf({ schemes, token, price, payTo, facts }: FoundService, config: Terms): PaymentRequirements[] {
  const named = token.toLowerCase() === config.token.address.toLowerCase() ? { name: config.token.name, version: config.token.version } : {};
  return namesOf(SERVICE_SCHEMES, BigInt(schemes)).map((scheme) => ({ scheme, network: config.network, amount: price.toString(), asset: token, payTo, maxTimeoutSeconds: SECONDS_TO_PAY, extra: { ...named, ...(facts.pricing?.unit === "month" ? { subscription: { unit: "month", periodS: facts.pricing.periodS } } : {}) } }));
}

/** How an endpoint is called. Undefined where its provider's own words would not make a valid one. */
export function bazaarExtension({ method, sampleInput, inputSchema, sampleOutput, outputSchema, path }: EndpointFacts): DiscoveryExtension | undefined {
  if (!BODY_METHODS.includes(method) && !QUERY_METHODS.includes(method)) return undefined;
  const input = isObject(sampleInput) ? sampleInput : {};
  const output = sampleOutput === undefined ? {} : { output: { example: sampleOutput, ...schemaPart(outputSchema, "schema") } };
  const body = BODY_METHODS.includes(method) ? { bodyType: "json" as const } : {};
  const pathParams = Object.fromEntries([...path.matchAll(/\{([^{}/]+)\}/g)].map(([, name]) => [name!, String(input[name!] ?? "")]));
  const inPath = Object.keys(pathParams).length === 0 ? {} : { pathParams, pathParamsSchema: { properties: Object.fromEntries(Object.keys(pathParams).map((name) => [name, { type: "string" }])) } };
  const rest = Object.fromEntries(Object.entries(input).filter(([name]) => !(name in pathParams)));
  const declared = withMethod(declareDiscoveryExtension({ input: rest, ...(schemaPart(inputSchema, "inputSchema") as { inputSchema?: Record<string, unknown> }), ...inPath, ...body, ...output })[BAZAAR]!, method);
  if (JSON.stringify(declared).length > 4 * MOST_SCHEMA_BYTES) return undefined;
  return validateDiscoveryExtension(declared).valid && validateDiscoveryExtensionSpec(declared as unknown as Record<string, unknown>).valid ? declared : undefined;
}

/** What the official server adds when it is asked. */
function withMethod(extension: DiscoveryExtension, method: string): DiscoveryExtension {
  const { info, schema } = extension as unknown as { info: { input: object }; schema: { properties: { input: { properties: object; required: string[] } } } };
  const { properties, required } = schema.properties.input;
  const input = { ...schema.properties.input, properties: { ...properties, method: { type: "string", enum: [method] } }, required: [...new Set([...required, "method"])] };
  return { ...extension, info: { ...info, input: { ...info.input, method } }, schema: { ...schema, properties: { ...schema.properties, input } } } as unknown as DiscoveryExtension;
}

function schemaPart(schema: unknown, name: string): Record<string, unknown> {
  if (!isObject(schema) || JSON.stringify(schema).length > MOST_SCHEMA_BYTES) return {};
  return { [name]: light(schema) };
}

/** A schema that takes at least what the provider's takes, and whose check is quick. */
function light(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(light);
  if (!isObject(node)) return node;
  const { properties, ...words } = node;
  const kept = Object.entries(words).filter(([word]) => !HEAVY_WORDS.has(word)).map(([word, value]) => [word, light(value)]);
  // Names of properties are not words of the schema.
  return Object.fromEntries([...kept, ...(isObject(properties) ? [["properties", Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, light(value)]))]] : [])]);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The endpoint that a path below the service means; the first for its root. */
export function endpointAt({ endpoints }: DocumentFacts, path: string): EndpointFacts | undefined {
  if (path === "" || path === "/") return endpoints.find((endpoint) => endpoint.path === "/") ?? endpoints[0];
  return endpoints.find((endpoint) => endpoint.path === path) ?? endpoints.find((endpoint) => fits(endpoint.path, path));
}

function fits(template: string, path: string): boolean {
  const [wanted, given] = [template.split("/"), path.split("/")];
  return wanted.length === given.length && wanted.every((part, at) => (/^\{[^{}]+\}$/.test(part) ? given[at] !== "" : part === given[at]));
}
