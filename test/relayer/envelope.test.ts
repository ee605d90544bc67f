// PAYMENT-SIGNATURE is checked by compiled code first: whatever comes, the outcome is that of @x402/core's own schema. And the
// answer headers are the text that @x402/core writes.
import { encodePaymentRequiredHeader, encodePaymentResponseHeader } from "@x402/core/http";
import { PaymentPayloadV2Schema } from "@x402/core/schemas";
import { expect } from "chai";
import fc from "fast-check";
import { decodeEnvelope, toConfig } from "../../relayer/src/capabilities/gateway/schemas.ts";
import { encodePaymentRequired, encodePaymentResponse } from "../../relayer/src/http/x402-headers.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const good = {
  x402Version: 2,
  resource: { url: "http://a/s/b", description: "d" },
  accepted: { scheme: "batch-settlement", network: "eip155:84532", amount: "10", asset: "0x1", payTo: "0x2", maxTimeoutSeconds: 60, extra: { name: "USDC" } },
  payload: { type: "voucher" },
  extensions: { "payment-identifier": { info: { id: "x" } } },
};

/** What the stock schema makes of a JSON text: its value, or where it is wrong. */
function stock(text: string): unknown {
  const parsed = PaymentPayloadV2Schema.safeParse(JSON.parse(text));
  return parsed.success ? { value: parsed.data } : { field: parsed.error.issues[0]?.path.join(".") || "PAYMENT-SIGNATURE" };
}

function ours(text: string): unknown {
  try {
    return { value: decodeEnvelope(base64(text)) };
  } catch (error) {
    const { code, status, field } = error as { code: string; status: number; field: string };
    expect([code, status]).to.deep.equal(["payment_malformed", 400]);
    return { field };
  }
}

function same(text: string): void {
  if (base64(text).length > 16_384) return; // refused unread
  expect(ours(text), text).to.deep.equal(stock(text));
}

/** Values that sit on an edge of one of the two schemas. */
const EDGES = [
  undefined, null, "", "a", "ab", ":", "a:", ":a", "a:b", "😀:", "\n:\n", "x".repeat(2049), 0, -1, 1, 2, 1.5, 1e308, true, [], ["a"], {}, { a: 1 }, { url: "" }, { url: "u" },
  { url: "u", description: null }, { url: "u", tags: ["a", "b", "c", "d", "e", "f"] }, { url: "u", serviceName: "é" }, { url: "u", iconUrl: "😀".repeat(1500) }, { url: "u", extra: 1 },
];
const PLACES = [[], ["x402Version"], ["resource"], ["accepted"], ["payload"], ["extensions"], ["unknown"], ...["url", "description", "mimeType", "serviceName"].map((key) => ["resource", key]), ...["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds", "extra", "unknown"].map((key) => ["accepted", key])];

function put(value: unknown, place: readonly string[], edge: unknown): unknown {
  const [key, ...rest] = place;
  return key === undefined ? edge : { ...(value as object), [key]: put((value as Record<string, unknown>)[key] ?? {}, rest, edge) };
}

describe("the envelope of a payment", () => {
  it("is taken as the stock schema takes it, with any one value on an edge", () => {
    for (const place of PLACES) for (const edge of EDGES) same(JSON.stringify(put(good, place, edge)) ?? "null");
    same(JSON.stringify(good));
  });

  it("is taken as the stock schema takes it, with any several values on an edge", () => {
    const change = fc.tuple(fc.constantFrom(...PLACES.filter((place) => place.length > 0)), fc.oneof(fc.constantFrom(...EDGES), fc.jsonValue() as fc.Arbitrary<unknown>));
    fc.assert(fc.property(fc.array(change, { maxLength: 4 }), (changes) => same(JSON.stringify(changes.reduce<unknown>((value, [place, edge]) => put(value, place, edge), good)))), { numRuns: 500 });
  });

  it("is any JSON at all", () => fc.assert(fc.property(fc.json(), same)));

  it("keeps nothing under __proto__, and reads numbers as JSON does", () => {
    const text = JSON.stringify(good);
    for (const [from, to] of [
      ['"type":"voucher"', '"type":"voucher","__proto__":{"polluted":1}'], ['"name":"USDC"', '"\\u005f_proto__":{"polluted":1}'],
      ['"payment-identifier":', '"__proto__":{},"payment-identifier":'], ['"x402Version":2', '"__proto__":{"x402Version":2}'], ['"maxTimeoutSeconds":60', '"maxTimeoutSeconds":1e999'],
    ] as const) {
      const changed = text.replace(from, to);
      expect(changed).to.not.equal(text);
      same(changed);
    }
  });
});

describe("the answer headers", () => {
  const json = fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue() as fc.Arbitrary<unknown>);

  it("are the text that @x402/core writes", () => {
    fc.assert(fc.property(json, (value) => {
      expect(encodePaymentResponse(value as never)).to.equal(encodePaymentResponseHeader(value as never));
      expect(encodePaymentRequired(value as never)).to.equal(encodePaymentRequiredHeader(value as never));
    }));
  });

  it("keep from the buyer what extensions answer to the seller's server", () => {
    const settled = { success: true, transaction: "0x", network: "eip155:1", extensionResponses: { secret: { a: 1 } } } as const;
    expect(JSON.parse(Buffer.from(encodePaymentResponse(settled as never), "base64").toString())).to.deep.equal({ success: true, transaction: "0x", network: "eip155:1" });
    expect(encodePaymentResponse(settled as never)).to.equal(encodePaymentResponseHeader(settled as never));
  });
});

describe("the channel config of a request", () => {
  const digits = (count: number) => fc.stringMatching(new RegExp(`^[0-9a-fA-F]{${count}}$`)).map((text) => `0x${text}`);
  const wire = fc.record({ payer: digits(40), payerAuthorizer: digits(40), receiver: digits(40), receiverAuthorizer: digits(40), token: digits(40), withdrawDelay: fc.integer({ min: 900, max: 2_592_000 }), salt: digits(64) });

  it("is one frozen object for one text, and never another channel's", () => {
    fc.assert(fc.property(wire, wire, (one, two) => {
      const config = toConfig(one);
      expect(toConfig({ ...one })).to.equal(config);
      expect(Object.isFrozen(config)).to.equal(true);
      for (const field of Object.keys(one) as (keyof typeof one)[]) {
        expect(String(config[field]).toLowerCase()).to.equal(String(one[field]).toLowerCase());
        expect(toConfig({ ...one, [field]: two[field] })[field]).to.equal(toConfig(two)[field]);
      }
    }));
  });
});
