// The relayer's fast hashing and recovery against viem and the published vectors.
import { expect } from "chai";
import fc from "fast-check";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { bytesToHex, getAddress, hexToBytes, keccak256, numberToHex, pad, type Address, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { hashOf, signerOf } from "../../relayer/src/chain/transaction-signer.ts";
import { addressOf, toAddress } from "../../relayer/src/crypto/address.ts";
import { createBoundedCache } from "../../relayer/src/crypto/bounded-cache.ts";
import { FALLBACKS } from "../../relayer/src/crypto/fallbacks.ts";
import { hashesRight, isWasm, keccak, slowKeccak } from "../../relayer/src/crypto/keccak.ts";
import { isNative, isRight, isSignedBy, recoverSigner, signDigest, type Bindings } from "../../relayer/src/crypto/secp256k1.ts";
import { createHasher } from "../../relayer/src/crypto/voucher.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { channelIdOf, sessionChannelsDomain, voucherDigest, voucherTypes } from "../../sdk/src/typed-data.ts";

const domain = sessionChannelsDomain(84532, SESSION_CHANNELS);
const hasher = createHasher(domain);
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

const hex = (size: number) => fc.uint8Array({ minLength: size, maxLength: size }).map((bytes) => bytesToHex(bytes));
const config = fc.record({
  payer: hex(20).map((value) => getAddress(value)), payerAuthorizer: hex(20).map((value) => getAddress(value)), receiver: hex(20).map((value) => getAddress(value)),
  receiverAuthorizer: hex(20).map((value) => getAddress(value)), token: hex(20).map((value) => getAddress(value)), withdrawDelay: fc.integer({ min: 0, max: 2 ** 40 - 1 }), salt: hex(32),
});

describe("voucher hashing and recovery", () => {
  it("uses the native library here", () => expect([isNative, isWasm, FALLBACKS.length]).to.deep.equal([true, true, 0]));

  it("gives the published vectors", async () => {
    const vector = async (name: string) => JSON.parse(await readFile(new URL(`../contracts/vectors/${name}.json`, import.meta.url), "utf8"));
    const [l1, l2] = await Promise.all([vector("L2.1-channel-config"), vector("L2.2-voucher")]);
    expect(hasher.channelId(l1.input)).to.equal(l1.expected_digest);
    expect(bytesToHex(hasher.voucherDigest(l2.input.channelId, BigInt(l2.input.maxClaimableAmount)))).to.equal(l2.expected_digest);
  });

  it("hashes as the SDK's typed data for every input", () => {
    fc.assert(fc.property(config, fc.bigInt(0n, (1n << 128n) - 1n), (value, ceiling) => {
      const channelId = hasher.channelId(value);
      expect(channelId).to.equal(channelIdOf(domain, value));
      expect(bytesToHex(hasher.voucherDigest(channelId, ceiling))).to.equal(voucherDigest(domain, channelId, ceiling));
    }));
  });

  it("recovers the signer, and nobody for what the contract refuses", async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    const channelId = pad("0x1");
    const signature = await account.signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: 5n } });
    expect(await hasher.voucherSigner(channelId, 5n, signature)).to.equal(account.address);
    expect(await hasher.voucherSigner(channelId, 6n, signature)).to.not.equal(account.address);
    const [r, s, v] = [signature.slice(2, 66), signature.slice(66, 130), signature.slice(130)];
    const flipped = numberToHex(ORDER - BigInt(`0x${s}`), { size: 32 }).slice(2);
    const refused: Hex[] = [
      `0x${r}${flipped}${v === "1b" ? "1c" : "1b"}`, // the same signature with high s
      `0x${r}${s}${v === "1b" ? "00" : "01"}`, `0x${r}${s}`, `0x${r}${s}${v}00`, `0x${"00".repeat(64)}1b`, `0x${"ff".repeat(64)}1b`, "0x",
    ];
    for (const bad of refused) expect(await hasher.voucherSigner(channelId, 5n, bad), bad).to.equal(undefined);
  });

  it("never throws, whatever the bytes", async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 70 }), async (bytes) => {
      await recoverSigner(hexToBytes(pad("0x7")), bytesToHex(bytes));
    }));
  });

  it("tells whose voucher it is as it tells the signer, in any case of letters", async () => {
    const [account, other] = [privateKeyToAccount(generatePrivateKey()), privateKeyToAccount(generatePrivateKey())];
    await fc.assert(fc.asyncProperty(hex(32), fc.bigInt(0n, (1n << 128n) - 1n), fc.boolean(), async (channelId, ceiling, right) => {
      const signature = await (right ? account : other).sign({ hash: voucherDigest(domain, channelId, ceiling) });
      for (const authorizer of [account.address, account.address.toLowerCase() as Address]) expect(await hasher.isVoucherOf(authorizer, channelId, ceiling, signature)).to.equal(right);
    }), { numRuns: 25 });
  });

  it("is nobody's voucher above what the contract can hold", async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    for (const ceiling of [1n << 128n, (1n << 256n) - 1n, -1n]) {
      const signature = await account.sign({ hash: keccak256("0x01") });
      expect(await hasher.voucherSigner(pad("0x1"), ceiling, signature)).to.equal(undefined);
      expect(await hasher.isVoucherOf(account.address, pad("0x1"), ceiling, signature)).to.equal(false);
      expect(() => hasher.voucherDigest(pad("0x1"), ceiling)).to.throw(RangeError);
    }
  });

  it("remembers the id of a config that cannot change, and of no other", () => {
    fc.assert(fc.property(config, hex(32), (value, salt) => {
      const frozen = Object.freeze({ ...value });
      expect([hasher.channelId(frozen), hasher.channelId(frozen)]).to.deep.equal([channelIdOf(domain, value), channelIdOf(domain, value)]);
      const open = { ...value };
      hasher.channelId(open);
      open.salt = salt;
      expect(hasher.channelId(open)).to.equal(channelIdOf(domain, open));
    }));
  });

  it("signs as viem's account does, to the byte", async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ minLength: 32, maxLength: 32 }), hex(32), async (digest, key) => {
      const account = privateKeyToAccount(key);
      const signature = await signDigest(hexToBytes(key), digest);
      expect(signature).to.equal(await account.sign({ hash: bytesToHex(digest) }));
      expect(await isSignedBy(digest, signature, account.address)).to.equal(true);
    }), { numRuns: 25 });
  });
});

describe("transactions", () => {
  it("are signed as viem's account signs them, to the byte, and named by viem's hash", async () => {
    const quantity = fc.bigInt(0n, 2n ** 96n);
    const transaction = fc.record({ chainId: fc.constantFrom(8453, 84532), nonce: fc.nat(), to: hex(20), data: fc.uint8Array({ maxLength: 3_000 }).map((bytes) => bytesToHex(bytes)), value: quantity, gas: fc.bigInt(21_000n, 2n ** 32n), maxFeePerGas: quantity, maxPriorityFeePerGas: fc.constant(0n) });
    await fc.assert(
      fc.asyncProperty(transaction, hex(32).filter((key) => BigInt(key) > 0n && BigInt(key) < ORDER), async (asked, key) => {
        const tx = { type: "eip1559" as const, ...asked };
        const account = privateKeyToAccount(key);
        const raw = await account.signTransaction(tx);
        const signer = signerOf(key);
        expect([signer.address, await signer.signTransaction(tx), hashOf(raw)]).to.deep.equal([account.address, raw, keccak256(raw)]);
      }),
      { numRuns: 60 },
    );
  });
});

describe("keccak and addresses", () => {
  it("hashes as viem does, whatever the length, bytes or buffer", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 700 }), (bytes) => {
      expect(bytesToHex(keccak(bytes))).to.equal(keccak256(bytes));
      expect(bytesToHex(keccak(Buffer.from(bytes)))).to.equal(keccak256(bytes));
    }));
    const large = new Uint8Array(300_000).fill(9);
    expect(bytesToHex(keccak(large))).to.equal(keccak256(large));
  });

  it("gives bytes that a later hash does not change", () => {
    const first = keccak(new Uint8Array(1));
    const copy = Uint8Array.from(first);
    keccak(new Uint8Array(2));
    expect(first).to.deep.equal(copy);
  });

  it("believes no keccak that is wrong at any edge", () => {
    expect(hashesRight(slowKeccak)).to.equal(true);
    for (const length of [0, 32, 135, 136, 137, 1000]) expect(hashesRight((bytes) => (bytes.length === length ? new Uint8Array(32) : slowKeccak(bytes))), String(length)).to.equal(false);
  });

  it("writes checksums as viem does", () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), fc.boolean(), (bytes, upper) => {
      const text = bytesToHex(bytes);
      expect(addressOf(bytes)).to.equal(getAddress(text));
      expect(toAddress(upper ? `0x${text.slice(2).toUpperCase()}` : text)).to.equal(getAddress(text));
    }));
  });
});

describe("the native binding", () => {
  const right: Bindings = createRequire(import.meta.url)("secp256k1/bindings");
  const WRONG: Record<string, Partial<Bindings>> = {
    "signs with another nonce": { ecdsaSign: (digest, key) => right.ecdsaSign(digest.map((byte) => byte ^ 1), key) },
    "turns the recovery id round": { ecdsaSign: (digest, key) => ({ ...right.ecdsaSign(digest, key), recid: 1 - right.ecdsaSign(digest, key).recid }) },
    "knows one recovery id": { ecdsaSign: (digest, key) => ({ ...right.ecdsaSign(digest, key), recid: 0 }) },
    "cannot sign": { ecdsaSign: () => { throw new Error("no"); } },
    "recovers another key": { ecdsaRecover: (signature, id, digest, compressed) => right.ecdsaRecover(signature, 1 - id, digest, compressed) },
    "recovers a key for anything": { ecdsaRecover: (signature, id, digest, compressed) => { try { return right.ecdsaRecover(signature, id, digest, compressed); } catch { return new Uint8Array(65); } } },
    "recovers nothing": { ecdsaRecover: () => { throw new Error("no"); } },
  };

  it("is believed when it gives the known answers", () => expect(isRight(right)).to.equal(true));
  for (const [name, wrong] of Object.entries(WRONG)) {
    it(`is not believed when it ${name}`, () => expect(isRight({ ecdsaSign: right.ecdsaSign, ecdsaRecover: right.ecdsaRecover, ...wrong })).to.equal(false));
  }
});

describe("a bounded cache", () => {
  it("never holds more than its bound, nor another key's value", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 20 }), fc.array(fc.tuple(fc.nat(40), fc.boolean()), { maxLength: 200 }), (max, uses) => {
      const cache = createBoundedCache<number, string>(max);
      for (const [key, write] of uses) {
        if (write) cache.set(key, `v${key}`);
        else expect([undefined, `v${key}`]).to.include(cache.get(key));
        expect(cache.size()).to.be.at.most(Math.max(2, max));
      }
    }));
  });

  it("keeps what is used", () => {
    const cache = createBoundedCache<string, number>(8);
    cache.set("used", 1);
    for (let i = 0; i < 100; i++) {
      cache.set(String(i), i);
      expect(cache.get("used")).to.equal(1);
    }
    expect(cache.get("0")).to.equal(undefined);
  });
});
