// The relayer's fast hashing and recovery against viem and the published vectors.
import { expect } from "chai";
import fc from "fast-check";
import { readFile } from "node:fs/promises";
import { bytesToHex, getAddress, hexToBytes, numberToHex, pad, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { isNative, recoverSigner } from "../../relayer/src/crypto/secp256k1.ts";
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
  it("uses the native library here", () => expect(isNative).to.equal(true));

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
});
