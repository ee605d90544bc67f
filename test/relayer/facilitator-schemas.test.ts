// The short way to read a request accepts nothing that the official schemas refuse, and reads the same.
import { PaymentPayloadV2Schema, PaymentRequirementsV2Schema } from "@x402/core/schemas";
import { expect } from "chai";
import fc from "fast-check";
import { readRequest } from "../../relayer/src/capabilities/facilitator/schemas.ts";

const address = `0x${"1a".repeat(20)}`;
const terms = { scheme: "exact", network: "eip155:84532", amount: "1000", asset: address, payTo: address, maxTimeoutSeconds: 60, extra: { name: "USDC", version: "2" } };
const plain = { x402Version: 2, paymentPayload: { x402Version: 2, accepted: terms, payload: { signature: "0x12", authorization: { from: address } } }, paymentRequirements: terms };

/** A value in place of any one part of the request, or a part left out or added. */
const somewhere = fc.constantFrom(
  ["x402Version"], ["paymentPayload"], ["paymentRequirements"], ["paymentPayload", "x402Version"], ["paymentPayload", "accepted"], ["paymentPayload", "payload"], ["paymentPayload", "resource"],
  ["paymentPayload", "extensions"], ["paymentPayload", "unknown"], ...["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds", "extra", "unknown"].flatMap((field) => [["paymentRequirements", field], ["paymentPayload", "accepted", field]]),
);
const something = fc.oneof(fc.constant(undefined), fc.constantFrom(null, "", 0, -1, 1.5, 2, "0x", "eip155:1", "1", [], {}, { url: "http://x" }), fc.string(), fc.integer());

describe("facilitator, requests", () => {
  it("are read as the official schemas read them, whichever way they go", () => {
    fc.assert(
      fc.property(somewhere, something, (path, value) => {
        const body = structuredClone(plain) as Record<string, unknown>;
        const holder = path.slice(0, -1).reduce((at, key) => at[key] as Record<string, unknown>, body);
        if (value === undefined) delete holder[path.at(-1)!];
        else holder[path.at(-1)!] = value;
        // Their maxTimeoutSeconds of 0 is ours to mend: see schemas.ts.
        fc.pre(!(path.at(-1) === "maxTimeoutSeconds" && value === 0));
        const official = [PaymentPayloadV2Schema.safeParse(body["paymentPayload"]), PaymentRequirementsV2Schema.safeParse(body["paymentRequirements"])] as const;
        const ours = (() => {
          try {
            return readRequest(body);
          } catch {
            return undefined;
          }
        })();
        const theirs = body["x402Version"] === 2 && official[0].success && official[1].success ? { payload: official[0].data, requirements: official[1].data } : undefined;
        expect(ours).to.deep.equal(theirs);
      }),
      { numRuns: 1_000 },
    );
  });
});
