// What an OpenAPI 3.x document says of an API's routes, as endpoints of a metadata document. The document is anybody's: it is read within bounds,
// references are followed inside of it alone and not in circles, and nothing of it is fetched or run.
import { TallystickError } from "../errors.ts";
import { METHODS, type Endpoint } from "./metadata.ts";

/** Of the document as it is read. */
export const MAX_OPENAPI_BYTES = 2_097_152;
const MOST_DEPTH = 24;
const MOST_NODES = 20_000;
const MOST_ENDPOINTS = 100;
/** Room for the rest of the metadata. */
const MOST_ENDPOINT_BYTES = 49_152;

type Json = Record<string, unknown>;
export type Derived = {
  title: string | undefined;
  description: string | undefined;
  version: string | undefined;
  /** First server with an absolute http(s) URL. */
  server: string | undefined;
  endpoints: Endpoint[];
  /** What was left out, in words. */
  left: string[];
};

/** @throws TallystickError 400 `openapi_malformed`, `openapi_too_large`, `openapi_external_ref`. */
export function readOpenApi(text: string): Derived {
  if (text.length > MAX_OPENAPI_BYTES) throw fault("openapi_too_large", `The OpenAPI document has more than ${MAX_OPENAPI_BYTES} characters.`);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw fault("openapi_malformed", "The OpenAPI document is not JSON.", cause);
  }
  return deriveEndpoints(document);
}

/** @throws as readOpenApi. */
export function deriveEndpoints(document: unknown): Derived {
  const root = objectOf(document);
  const version = root?.["openapi"];
  if (root === undefined || typeof version !== "string" || !/^3\.\d+(?:\.\d+)?/.test(version)) throw fault("openapi_malformed", 'The document is no OpenAPI 3.x ("openapi": "3.1.0").');
  const info = objectOf(root["info"]) ?? {};
  const resolve = resolver(root);
  const all = Object.entries(objectOf(root["paths"]) ?? {}).flatMap(([path, item]) => endpointsAt(path, resolve.shallow(item), resolve));
  const left = all.length > MOST_ENDPOINTS ? [`${all.length - MOST_ENDPOINTS} routes beyond ${MOST_ENDPOINTS}`] : [];
  const { endpoints, left: shed } = fitting(all.slice(0, MOST_ENDPOINTS));
  return { title: plain(info["title"], 100), description: plain(info["description"], 2_000), version: plain(info["version"], 64), server: serverOf(root["servers"]), endpoints, left: [...left, ...shed] };
}

type Resolver = { shallow(value: unknown): Json; whole(value: unknown): unknown };

/** References as `#/components/schemas/Name`; where one leads back to itself, the schema says nothing more. */
function resolver(root: Json): Resolver {
  const target = (ref: string): unknown => {
    if (!ref.startsWith("#")) throw fault("openapi_external_ref", `The reference ${JSON.stringify(ref.slice(0, 100))} leads out of the document; it is not followed. Bundle the document first.`);
    return ref.slice(1).split("/").filter((part) => part !== "").reduce<unknown>((at, part) => {
      const name = safeDecode(part).replaceAll("~1", "/").replaceAll("~0", "~");
      const here = Array.isArray(at) ? (at as unknown as Json) : objectOf(at);
      return here !== undefined && Object.hasOwn(here, name) ? here[name] : undefined;
    }, root);
  };
  const refOf = (value: unknown): string | undefined => {
    const ref = objectOf(value)?.["$ref"];
    return typeof ref === "string" ? ref : undefined;
  };
  const shallow = (value: unknown): Json => {
    let at = value;
    for (let hops = 0, ref = refOf(at); ref !== undefined; ref = refOf(at)) {
      if (++hops > MOST_DEPTH) return {};
      at = target(ref);
    }
    return objectOf(at) ?? {};
  };
  let nodes = 0;
  const whole = (value: unknown, depth = 0, following: readonly string[] = []): unknown => {
    if (++nodes > MOST_NODES) throw fault("openapi_too_large", `The schemas of the document have more than ${MOST_NODES} parts, references followed.`);
    const ref = refOf(value);
    if (ref !== undefined) return following.includes(ref) || depth > MOST_DEPTH ? {} : whole(target(ref), depth + 1, [...following, ref]);
    if (depth > MOST_DEPTH) return {};
    if (Array.isArray(value)) return value.map((member) => whole(member, depth + 1, following));
    const object = objectOf(value);
    if (object === undefined) return value;
    return Object.fromEntries(Object.entries(object).filter(([name]) => name !== "__proto__" && !name.startsWith("x-")).map(([name, member]) => [name, whole(member, depth + 1, following)]));
  };
  return { shallow, whole: (value) => whole(value) };
}

function endpointsAt(path: string, item: Json, resolve: Resolver): Endpoint[] {
  if (!/^\/[\x21\x23-\x3b\x3d\x3f-\x7e]{0,499}$/.test(path)) return [];
  return METHODS.flatMap((method) => {
    const operation = objectOf(item[method.toLowerCase()]);
    if (operation === undefined) return [];
    const parameters = [...listOf(item["parameters"]), ...listOf(operation["parameters"])].map((parameter) => resolve.shallow(parameter));
    const body = jsonContentOf(resolve.shallow(operation["requestBody"]), resolve);
    const answer = jsonContentOf(successOf(operation["responses"], resolve), resolve);
    return [defined({
      method, path,
      description: plain(operation["summary"] ?? operation["description"], 1_000),
      inputSchema: inputOf(parameters, body.schema, resolve), outputSchema: answer.schema, sampleInput: body.sample, sampleOutput: answer.sample,
    })];
  });
}

/** Parameters of path and query, and the body, as one object. */
function inputOf(parameters: Json[], body: unknown, resolve: Resolver): unknown {
  const named = parameters.filter(({ name, in: where }) => typeof name === "string" && name !== "__proto__" && (where === "query" || where === "path"));
  if (named.length === 0) return body;
  const properties = Object.fromEntries(named.map(({ name, schema }) => [name as string, resolve.whole(schema ?? {})]));
  const required = named.filter(({ required: needed }) => needed === true).map(({ name }) => name as string);
  return { type: "object", properties: body === undefined ? properties : { ...properties, body }, ...(required.length === 0 ? {} : { required }) };
}

function successOf(responses: unknown, resolve: Resolver): Json {
  const all = objectOf(responses) ?? {};
  const code = ["200", "201", "202", "2XX", "default"].find((name) => Object.hasOwn(all, name));
  return code === undefined ? {} : resolve.shallow(all[code]);
}

function jsonContentOf({ content }: Json, resolve: Resolver): { schema: unknown; sample: unknown } {
  const [, media] = Object.entries(objectOf(content) ?? {}).find(([type]) => /^application\/(?:[\w.+-]+\+)?json\b/i.test(type)) ?? [];
  const { schema, example, examples } = objectOf(media) ?? {};
  const first = Object.values(objectOf(examples) ?? {})[0];
  return { schema: schema === undefined ? undefined : resolve.whole(schema), sample: example ?? resolve.shallow(first)["value"] ?? objectOf(schema)?.["example"] };
}

/** A document that is too large loses first its samples, then its schemas: the routes stay. */
function fitting(endpoints: Endpoint[]): { endpoints: Endpoint[]; left: string[] } {
  const size = (list: Endpoint[]) => new TextEncoder().encode(JSON.stringify(list)).length;
  const without = (list: Endpoint[], ...fields: (keyof Endpoint)[]) => list.map((endpoint) => Object.fromEntries(Object.entries(endpoint).filter(([name]) => !fields.includes(name as keyof Endpoint))) as Endpoint);
  const steps: [string, (list: Endpoint[]) => Endpoint[]][] = [
    ["samples", (list) => without(list, "sampleInput", "sampleOutput")],
    ["schemas of answers", (list) => without(list, "outputSchema")],
    ["schemas of requests", (list) => without(list, "inputSchema")],
    ["descriptions", (list) => without(list, "description")],
    ["routes beyond the first 40", (list) => list.slice(0, 40)],
  ];
  const left: string[] = [];
  for (const [what, shed] of steps) {
    if (size(endpoints) <= MOST_ENDPOINT_BYTES) break;
    endpoints = shed(endpoints);
    left.push(what);
  }
  return { endpoints, left };
}

function serverOf(servers: unknown): string | undefined {
  for (const server of listOf(servers)) {
    const url = objectOf(server)?.["url"];
    if (typeof url === "string" && /^https?:\/\//.test(url) && URL.canParse(url) && !url.includes("{")) return url.replace(/\/+$/, "");
  }
  return undefined;
}

/** Prose without markup and control characters; what is not text is not there. */
function plain(value: unknown, most: number): string | undefined {
  if (typeof value !== "string") return undefined;
  const text = value.toWellFormed().replace(/<(?=[a-z/!?])/gi, "").replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+/g, " ").trim().slice(0, most).toWellFormed();
  return text === "" ? undefined : text;
}

function safeDecode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a name with a lone percent sign
  }
}

const objectOf = (value: unknown): Json | undefined => (typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined);
const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value.slice(0, 200) : []);
const defined = <T extends object>(value: { [Name in keyof T]: T[Name] | undefined }): T => Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
const fault = (code: string, detail: string, cause?: unknown): TallystickError => new TallystickError({ code, status: 400, retry: "never", field: "openapi", detail, cause });
