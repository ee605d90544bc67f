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
        expect(sealed.length).equal(plain.length + 36);
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

  it("uses a key of its own for each payment, and never the same bytes twice", () => {
    const vault = createVault([FIRST]);
    const [one, again] = [vault.seal("pay_one", Buffer.from("bought")), vault.seal("pay_one", Buffer.from("bought"))];
    expect(one.equals(again)).equal(false);
    const key = createHmac("sha256", Buffer.from(FIRST.slice(2), "hex")).update("answer pay_one").digest();
    const cipher = createCipheriv("aes-256-gcm", key, one.subarray(8, 20)).setAAD(Buffer.from("pay_one"));
    expect(Buffer.concat([cipher.update("bought"), cipher.final(), cipher.getAuthTag()])).deep.equal(one.subarray(20));
  });

  it("takes keys of 32 bytes only, and at least one", () => {
    expect(() => createVault([])).to.throw(RangeError);
    expect(() => createVault(["0x00"])).to.throw(RangeError);
  });
});
