// Paths, headers, terms and payment headers: pure functions, over tables and random input.
import { expect } from "chai";
import fc from "fast-check";
import { forwardable, normalisePath, privateCacheControl, requestHash } from "../../relayer/src/capabilities/gateway/logic.ts";
import { actualCharge } from "../../sdk/src/charge.ts";
import { decodeEnvelope, decodeSchemePayload } from "../../relayer/src/capabilities/gateway/schemas.ts";
import { isPublic } from "../../relayer/src/http/outbound.ts";
import { answerHash } from "../../relayer/src/capabilities/ledger/logic.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { inputHash, outputHash } from "../../sdk/src/receipt.ts";

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64");
const thrown = (run: () => unknown): { code?: string; status?: number; field?: string } => {
  try {
    run();
  } catch (error) {
    if (error instanceof TallystickError) return error;
    throw error;
  }
  return {};
};

const CONFIG = { payer: `0x${"1".repeat(40)}`, payerAuthorizer: `0x${"1".repeat(40)}`, receiver: `0x${"2".repeat(40)}`, receiverAuthorizer: `0x${"3".repeat(40)}`, token: `0x${"4".repeat(40)}`, withdrawDelay: 900, salt: `0x${"0".repeat(64)}` };
const VOUCHER = { channelId: `0x${"a".repeat(64)}`, maxClaimableAmount: "5", signature: `0x${"b".repeat(130)}` };
const PAYLOAD = { type: "voucher", channelConfig: CONFIG, voucher: VOUCHER };

describe("gateway logic", () => {
  it("forwards a path exactly as it is priced", () => {
    for (const rest of ["", "/", "/a/b.json", "/a?x=%2F..&y=//", "/%7Euser/a-b_c~d", "/a;b=1"]) expect(normalisePath(`/s/echo${rest}`, "echo")).to.equal(rest);
  });

  it("refuses paths that two parsers could read differently", () => {
    for (const rest of ["/../x", "/a/..", "/./a", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/%2e%2e/a", "/%252e", "//a", "/a//b", "/a%00", "/a%0a", "/a#b", "/a%zz", "x", "/\u00e9"]) {
      expect(thrown(() => normalisePath(`/s/echo${rest}`, "echo")), rest).to.include({ code: "path_refused", status: 400 });
    }
    expect(thrown(() => normalisePath("http://evil/s/echo", "echo")).code).to.equal("path_refused");
  });

  it("passes on no payment and no hop-by-hop header", () => {
    const kept = forwardable({
      "content-type": "text/plain", accept: "*/*", authorization: "Bearer x", connection: "close, x-secret", "x-secret": "1", te: "trailers", "transfer-encoding": "chunked",
      host: "h", "payment-signature": "p", "x-payment": "p", "payment-response": "p", "x-402-session-id": "s", "settlement-overrides": "{}", "content-length": "3", "tallystick-payment-id": "forged",
    });
    expect(kept).to.deep.equal({ "content-type": "text/plain", accept: "*/*", authorization: "Bearer x" });
  });

  it("marks a paid answer private", () => {
    expect([undefined, "public, max-age=60", "private", "no-store", "s-maxage=5"].map(privateCacheControl)).to.deep.equal(["private", "private, max-age=60", "private", "private, no-store", "private"]);
  });

  it("hashes requests without ambiguity between their parts", () => {
    const hashes = [["GET", "/a/b", "", ""], ["GET", "/a", "/b", ""], ["GET/", "a/b", "", ""], ["GET", "/a/b", "x", ""], ["GET", "/a/b", "", "x"]].map(([method, target, type, body]) =>
      requestHash(method!, target!, type!, Buffer.from(body!)));
    expect(new Set(hashes).size).to.equal(hashes.length);
  });

  it("hashes requests and answers as the SDK does", () => {
    const body = Buffer.from("h\u00e9llo");
    expect(requestHash("POST", "/s/echo/a?b=1", "text/plain", body)).to.equal(inputHash({ method: "POST", target: "/s/echo/a?b=1", contentType: "text/plain", body }));
    expect(answerHash({ status: 201, headers: { "Content-Type": "application/json" }, body })).to.equal(outputHash({ status: 201, contentType: "application/json", body }));
  });

  it("charges what the provider says, never more than the price", () => {
    const cases: [string | undefined, bigint | undefined][] = [
      [undefined, 3000n], ['{"amount":"1000"}', 1000n], ['{"amount":"0"}', 0n], ['{"amount":"33.33%"}', 999n], ['{"amount":"100%"}', 3000n], ['{"amount":"$0.0025"}', 2500n],
      ['{"amount":"$0.0000019"}', 1n], ['{"amount":"3001"}', undefined], ['{"amount":"101%"}', undefined], ['{"amount":"-1"}', undefined], ['{"amount":1000}', undefined], ["null", undefined], ["1000", undefined], ["", undefined],
    ];
    for (const [header, amount] of cases) expect(actualCharge(header, 3000n, 6), String(header)).to.equal(amount);
  });

  it("names the field of a malformed payment", () => {
    const envelope = { x402Version: 2, accepted: { scheme: "batch-settlement", network: "eip155:84532", amount: "1", asset: "0x1", payTo: "0x2", maxTimeoutSeconds: 60 }, payload: {} };
    const cases: [string, string][] = [
      ["!!!", "PAYMENT-SIGNATURE"], ["e30", "x402Version"], [Buffer.from("nope").toString("base64"), "PAYMENT-SIGNATURE"], [encode({ ...envelope, x402Version: 3 }), "x402Version"],
      [encode({ ...envelope, accepted: { ...envelope.accepted, amount: 1 } }), "accepted.amount"], [encode({ ...envelope, payload: 5 }), "payload"], ["A".repeat(20_000), "PAYMENT-SIGNATURE"],
      [Buffer.from([0xff, 0xfe]).toString("base64"), "PAYMENT-SIGNATURE"],
    ];
    for (const [header, field] of cases) expect(thrown(() => decodeEnvelope(header)), header.slice(0, 20)).to.include({ status: 400, field });
  });

  it("names the field of a malformed scheme payload", () => {
    const cases: [Record<string, unknown>, string][] = [
      [{ ...PAYLOAD, type: "claim" }, "payload.type"],
      [{ ...PAYLOAD, voucher: { ...VOUCHER, maxClaimableAmount: "01" } }, "payload.voucher.maxClaimableAmount"],
      [{ ...PAYLOAD, voucher: { ...VOUCHER, maxClaimableAmount: (1n << 128n).toString() } }, "payload.voucher.maxClaimableAmount"],
      [{ ...PAYLOAD, voucher: { ...VOUCHER, maxClaimableAmount: -1 } }, "payload.voucher.maxClaimableAmount"],
      [{ ...PAYLOAD, voucher: { channelId: VOUCHER.channelId, maxClaimableAmount: "1" } }, "payload.voucher.signature"],
      [{ ...PAYLOAD, channelConfig: { ...CONFIG, payer: "0x12" } }, "payload.channelConfig.payer"],
      [{ ...PAYLOAD, channelConfig: { ...CONFIG, withdrawDelay: 899 } }, "payload.channelConfig.withdrawDelay"],
      [{ ...PAYLOAD, type: "deposit" }, "payload.deposit"],
      [{ ...PAYLOAD, type: "deposit", deposit: { amount: "5", authorization: { permit2Authorization: {} } } }, "payload.deposit.authorization.erc3009Authorization"],
    ];
    for (const [payload, field] of cases) expect(thrown(() => decodeSchemePayload(payload)), field).to.include({ status: 400, field });
    expect(decodeSchemePayload(PAYLOAD)).to.have.nested.property("voucher.ceiling", 5n);
  });

  it("answers any bytes with a precise 400, never with a crash", () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.base64String(), fc.json().map((text) => Buffer.from(text).toString("base64"))), (header) => {
      const { status } = thrown(() => decodeSchemePayload(decodeEnvelope(header).payload));
      expect(status === undefined || status === 400).to.equal(true);
    }), { numRuns: 500 });
  });

  it("tells public addresses from all others", () => {
    for (const address of ["127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "198.18.0.1"]) {
      expect(isPublic(address), address).to.equal(false);
    }
    for (const address of ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"]) expect(isPublic(address), address).to.equal(true);
  });
});
