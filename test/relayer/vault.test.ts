// Answers at rest: what is sealed opens for its payment under its key, and for nothing else.
import { expect } from "chai";
import fc from "fast-check";
import { createCipheriv, createHmac } from "node:crypto";
import { toHex } from "viem";
import { createVault } from "../../relayer/src/crypto/vault.ts";

const FIRST = toHex(1, { size: 32 });
const SECOND = toHex(2, { size: 32 });
const refusal = (open: () => unknown): string | undefined => {
  try {
    open();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

describe("vault", () => {
  it("opens what it sealed, also under a key that was retired since", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.string(), (plain, paymentId) => {
        const sealed = createVault([FIRST]).seal(paymentId, plain);
        expect(createVault([SECOND, FIRST]).open(paymentId, sealed)).deep.equal(Buffer.from(plain));
        expect(sealed.length).equal(plain.length + 52);
      }),
    );
  });

  it("refuses another payment's bytes, changed bytes, cut bytes, and a key that is gone", () => {
    const vault = createVault([FIRST]);
    const sealed = vault.seal("pay_one", Buffer.from("bought"));
    expect(refusal(() => vault.open("pay_two", sealed))).equal("answer_unreadable");
    expect(refusal(() => createVault([SECOND]).open("pay_one", sealed))).equal("answer_unreadable");
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at]! ^= 1;
      expect(refusal(() => vault.open("pay_one", changed)), `byte ${at}`).equal("answer_unreadable");
      expect(refusal(() => vault.open("pay_one", sealed.subarray(0, at))), `cut at ${at}`).equal("answer_unreadable");
    }
  });

  it("draws a data key each start, and counts its nonces", () => {
    const vault = createVault([FIRST]);
    const sealed = Array.from({ length: 3 }, () => vault.seal("pay_one", Buffer.from("bought")));
    sealed.forEach((one, nth) => {
      expect(one.subarray(0, 24), "key and salt").deep.equal(sealed[0]!.subarray(0, 24));
      expect(one.subarray(24, 36).readBigUInt64BE(4), "nonce").equal(BigInt(nth));
      const key = createHmac("sha256", Buffer.from(FIRST.slice(2), "hex")).update("answers ").update(one.subarray(8, 24)).digest();
      const cipher = createCipheriv("aes-256-gcm", key, one.subarray(24, 36)).setAAD(Buffer.from("pay_one"));
      expect(Buffer.concat([cipher.update("bought"), cipher.final(), cipher.getAuthTag()])).deep.equal(one.subarray(36));
    });
    const next = createVault([FIRST]).seal("pay_one", Buffer.from("bought"));
    expect(next.subarray(8, 24).equals(sealed[0]!.subarray(8, 24)), "the same salt after a start").equal(false);
    expect(vault.open("pay_one", next)).deep.equal(Buffer.from("bought"));
  });

  it("takes keys of 32 bytes only, and at least one", () => {
    expect(() => createVault([])).to.throw(RangeError);
    expect(() => createVault(["0x00"])).to.throw(RangeError);
  });
});
