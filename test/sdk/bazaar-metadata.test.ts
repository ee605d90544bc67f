// Metadata and OpenAPI documents are written by strangers: what is in them is refused or made harmless before anybody keeps it.
import { expect } from "chai";
import fc from "fast-check";
import { keccak256 } from "viem";
import { contentHashOf, metadataBytes, parseMetadata, readMetadata, type Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { deriveEndpoints, readOpenApi } from "../../sdk/src/bazaar/openapi.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { metadataOf } from "../support/listing.ts";

const faultOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof TallystickError) return `${error.code} ${error.field ?? ""}`;
    throw error;
  }
  return "none";
};
const refusal = (change: Record<string, unknown>): string => faultOf(() => metadataBytes({ ...metadataOf(), ...change } as Metadata));
const nested = (levels: number): unknown => Array.from({ length: levels }).reduce<unknown>((inner) => ({ properties: inner }), {});

describe("metadata of a service", () => {
  it("has one spelling, whatever the order it was written in; fractions are kept", () => {
    const reversed = Object.fromEntries(Object.entries(metadataOf()).reverse()) as Metadata;
    expect(contentHashOf(reversed)).equal(contentHashOf(metadataOf()));
    expect(JSON.parse(new TextDecoder().decode(metadataBytes(metadataOf())))).deep.equal(metadataOf());
  });

  it("is what its hash says, or is refused", () => {
    const bytes = metadataBytes(metadataOf());
    expect(readMetadata(bytes, keccak256(bytes))).deep.equal(metadataOf());
    expect(faultOf(() => readMetadata(metadataBytes(metadataOf({ version: "9" })), keccak256(bytes)))).equal("metadata_hash_mismatch contentHash");
    const notJson = new TextEncoder().encode("<html>");
    expect(faultOf(() => readMetadata(notJson, keccak256(notJson)))).equal("metadata_malformed metadata");
    const huge = new Uint8Array(70_000);
    expect(faultOf(() => readMetadata(huge, keccak256(huge)))).equal("metadata_too_large metadata");
  });

  it("holds no script, no unseen characters, no foreign members", () => {
    const endpoint = metadataOf().endpoints[0]!;
    for (const [change, field] of [
      [{ name: "<script>alert(1)</script>" }, "name"], [{ name: "a<img src=x onerror=y>" }, "name"], [{ name: "pay\u202eee" }, "name"], [{ name: "a\u0000b" }, "name"], [{ name: "zero\u200bwidth" }, "name"], [{ name: "" }, "name"],
      [{ description: "x".repeat(2_001) }, "description"], [{ changelog: "</pre><svg onload=x>" }, "changelog"], [{ provider: "\ud800" }, "provider"],
      [{ documentation: "javascript:alert(1)" }, "documentation"], [{ documentation: "https://u:p@x.example/" }, "documentation"], [{ documentation: "data:text/html,x" }, "documentation"],
      [{ capability: "Web Search" }, "capability"], [{ categories: ["data", "data"] }, "categories"], [{ categories: ["gold"] }, "categories"], [{ schemes: [] }, "schemes"], [{ extra: 1 }, "extra"],
      [{ pricing: { ...metadataOf().pricing, price: "0" } }, "pricing.price"], [{ pricing: { ...metadataOf().pricing, price: "0.0000001" } }, "pricing.price"], [{ pricing: { ...metadataOf().pricing, price: "1e3" } }, "pricing.price"],
      [{ pricing: { ...metadataOf().pricing, price: "-1" } }, "pricing.price"], [{ pricing: { ...metadataOf().pricing, token: "0x1" } }, "pricing.token"],
      [{ sla: { maxLatencyMs: 1.5, minUptimePercent: 99 } }, "sla.maxLatencyMs"], [{ sla: { maxLatencyMs: 1, minUptimePercent: 99.999 } }, "sla.minUptimePercent"], [{ sla: { maxLatencyMs: 1, minUptimePercent: 101 } }, "sla.minUptimePercent"],
      [{ refundPolicy: { latencyCreditBps: 10_001, failureCreditBps: 0 } }, "refundPolicy.latencyCreditBps"],
      [{ endpoints: [{ ...endpoint, path: "//evil.example\"><script>" }] }, "endpoints[0].path"], [{ endpoints: [{ ...endpoint, method: "TRACE" }] }, "endpoints[0].method"],
      [{ endpoints: [{ ...endpoint, inputSchema: nested(40) }] }, "endpoints[0].inputSchema"], [{ endpoints: [{ ...endpoint, inputSchema: { $ref: "http://10.0.0.1/schema" } }] }, "endpoints[0].inputSchema"],
      [{ endpoints: [{ ...endpoint, sampleInput: JSON.parse('{"__proto__":{"a":1}}') }] }, "endpoints[0].sampleInput"], [{ endpoints: Array.from({ length: 101 }, () => endpoint) }, "endpoints"],
    ] as const) expect(refusal(change), JSON.stringify(change).slice(0, 80)).equal(`metadata_malformed ${field}`);
    expect(refusal({ endpoints: Array.from({ length: 100 }, () => ({ ...endpoint, sampleOutput: "x".repeat(800) })) })).equal("metadata_too_large metadata");
  });

  it("whatever is given, it is parsed or refused, and what is parsed is parsed again to the same", () => {
    fc.assert(
      fc.property(fc.record({ name: fc.string(), description: fc.string(), version: fc.string(), sample: fc.jsonValue() }), ({ sample, ...change }) => {
        const candidate = { ...metadataOf(), ...change, endpoints: [{ ...metadataOf().endpoints[0], sampleOutput: sample }] };
        try {
          const bytes = metadataBytes(candidate as Metadata);
          expect(parseMetadata(JSON.parse(new TextDecoder().decode(bytes)))).deep.equal(parseMetadata(JSON.parse(JSON.stringify(candidate))));
        } catch (error) {
          expect(error).instanceOf(TallystickError);
        }
      }),
    );
  });
});

describe("routes from OpenAPI", () => {
  const api = (schema: unknown, components: unknown = {}) => ({ openapi: "3.0.3", info: { title: "t", version: "1" }, paths: { "/a": { post: { requestBody: { content: { "application/json": { schema } } }, responses: {} } } }, components });

  it("references in circles end, also over several names and in references alone", () => {
    const circle = { schemas: { A: { properties: { b: { $ref: "#/components/schemas/B" } } }, B: { properties: { a: { $ref: "#/components/schemas/A" } } }, C: { $ref: "#/components/schemas/D" }, D: { $ref: "#/components/schemas/C" } } };
    expect(deriveEndpoints(api({ $ref: "#/components/schemas/A" }, circle)).endpoints[0]!.inputSchema).deep.equal({ properties: { b: { properties: { a: {} } } } });
    expect(deriveEndpoints(api({ $ref: "#/components/schemas/C" }, circle)).endpoints[0]!.inputSchema).deep.equal({});
  });

  it("a few references that would grow to millions of parts are refused, and so is what leads out of the document", () => {
    const bomb = { schemas: Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`S${at}`, { allOf: Array.from({ length: 10 }, () => ({ $ref: `#/components/schemas/S${at + 1}` })) }])) };
    expect(faultOf(() => deriveEndpoints(api({ $ref: "#/components/schemas/S0" }, bomb)))).equal("openapi_too_large openapi");
    for (const ref of ["https://evil.example/x.json", "file:///etc/passwd", "../other.json#/A"]) expect(faultOf(() => deriveEndpoints(api({ $ref: ref })))).equal("openapi_external_ref openapi");
    expect(faultOf(() => deriveEndpoints(api({ $ref: "#/__proto__/constructor" })))).equal("none");
  });

  it("what is no OpenAPI 3 is refused; what is too large keeps its routes and loses the rest", () => {
    for (const text of ["", "[]", "null", '{"swagger":"2.0"}', '{"openapi":3}', "[".repeat(100_000)]) expect(faultOf(() => readOpenApi(text)), text.slice(0, 20)).equal("openapi_malformed openapi");
    const paths = Object.fromEntries(Array.from({ length: 150 }, (_, at) => [`/r${at}`, { get: { description: "d".repeat(900), responses: { 200: { content: { "application/json": { example: "x".repeat(2_000) } } } } } }]));
    const { endpoints, left } = deriveEndpoints({ openapi: "3.1.0", paths });
    expect(endpoints.length).within(40, 100);
    expect(left[0]).equal("50 routes beyond 100");
    expect(refusal({ endpoints })).equal("none");
  });
});
