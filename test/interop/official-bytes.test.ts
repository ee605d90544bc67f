// What our SDK hashes and what the official packages sign, byte for byte, on random messages: channel ids, vouchers, deposits,
// exact's authorisations, offers, receipts, payment identifiers. (The published vectors: test/contracts/typed-data.test.ts.)
import { BATCH_SETTLEMENT_ADDRESS, ERC3009_DEPOSIT_COLLECTOR_ADDRESS, getDefaultAsset } from "@x402/evm";
import { computeChannelId, createBatchSettlementEIP3009DepositPayload, signVoucher } from "@x402/evm/batch-settlement/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { hashOfferTypedData, hashReceiptTypedData } from "@x402/extensions/offer-receipt";
import { isValidPaymentId } from "@x402/extensions/payment-identifier";
import { expect } from "chai";
import fc from "fast-check";
import { encodeAbiParameters, getAddress, hashTypedData, keccak256, recoverAddress, recoverTypedDataAddress, toHex, type Address, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { newPaymentId } from "../../relayer/src/payment-id.ts";
import { BASE, BASE_SEPOLIA, ERC3009_COLLECTOR, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import {
  channelIdOf,
  receiveWithAuthorizationTypes,
  sessionChannelsDomain,
  transferWithAuthorizationTypes,
  voucherDigest,
  x402OfferDomain,
  x402OfferTypes,
  x402ReceiptDomain,
  x402ReceiptTypes,
} from "../../sdk/src/typed-data.ts";

const RUNS = { numRuns: 25 };
const domain = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
const account = privateKeyToAccount(generatePrivateKey());

const address = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(toHex(bytes)));
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => toHex(bytes));
const uint128 = fc.bigInt({ min: 1n, max: (1n << 128n) - 1n });
const seconds = fc.integer({ min: 0, max: 4_000_000_000 });
const config = fc.record({
  payer: fc.constant(account.address),
  payerAuthorizer: fc.constant(account.address),
  receiver: address,
  receiverAuthorizer: address,
  token: fc.constant(BASE_SEPOLIA.usdc.address),
  withdrawDelay: fc.integer({ min: 900, max: 2_592_000 }),
  salt: bytes32,
});
const terms = (scheme: string, amount: bigint, payTo: Address, extra: Record<string, unknown> = {}) => ({
  scheme,
  network: BASE_SEPOLIA.network,
  amount: amount.toString(),
  asset: BASE_SEPOLIA.usdc.address,
  payTo,
  maxTimeoutSeconds: 60,
  extra: { name: BASE_SEPOLIA.usdc.name, version: BASE_SEPOLIA.usdc.version, ...extra },
});
const usdcDomain = { name: BASE_SEPOLIA.usdc.name, version: BASE_SEPOLIA.usdc.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: BASE_SEPOLIA.usdc.address };
/** JSON-like text: lone surrogates have no UTF-8 form and no place in a URL. */
const text = fc.string({ unit: "grapheme", maxLength: 60 });

describe("bytes of the official packages", function () {
  this.timeout(60_000);

  it("channel ids: computeChannelId", async () => {
    await fc.assert(fc.property(config, (one) => void expect(channelIdOf(domain, one)).to.equal(computeChannelId(one, BASE_SEPOLIA.network))), RUNS);
  });

  it("vouchers: signVoucher", async () => {
    await fc.assert(
      fc.asyncProperty(bytes32, uint128, async (channelId, ceiling) => {
        const { signature } = await signVoucher(account, channelId, ceiling.toString(), BASE_SEPOLIA.network);
        expect(await recoverAddress({ hash: voucherDigest(domain, channelId, ceiling), signature })).to.equal(account.address);
      }),
      RUNS,
    );
  });

  it("deposits: the ERC-3009 authorisation, its nonce bound to the channel, and the first voucher", async () => {
    await fc.assert(
      fc.asyncProperty(config, uint128, uint128, async (one, amount, ceiling) => {
        const { payload } = await createBatchSettlementEIP3009DepositPayload(account, 2, terms("batch-settlement", 1n, one.receiver), one, amount.toString(), ceiling.toString());
        const { voucher, deposit } = payload as { voucher: { channelId: Hex; signature: Hex }; deposit: { authorization: { erc3009Authorization: Record<"validAfter" | "validBefore", string> & Record<"salt" | "signature", Hex> } } };
        const { validAfter, validBefore, salt, signature } = deposit.authorization.erc3009Authorization;
        const channelId = channelIdOf(domain, one);
        const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "uint256" }], [channelId, BigInt(salt)]));
        const message = { from: account.address, to: ERC3009_COLLECTOR, value: amount, validAfter: BigInt(validAfter), validBefore: BigInt(validBefore), nonce };
        const signer = await recoverTypedDataAddress({ domain: usdcDomain, types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization", message, signature });
        expect([voucher.channelId, signer]).to.deep.equal([channelId, account.address]);
        expect(await recoverAddress({ hash: voucherDigest(domain, channelId, ceiling), signature: voucher.signature })).to.equal(account.address);
      }),
      RUNS,
    );
  });

  it("exact: the authorisation that ExactEvmScheme signs", async () => {
    const scheme = new ExactEvmScheme(account);
    await fc.assert(
      fc.asyncProperty(address, uint128, async (payTo, amount) => {
        const { payload } = await scheme.createPaymentPayload(2, terms("exact", amount, payTo));
        const { authorization, signature } = payload as { authorization: Record<"from" | "to" | "nonce", Hex> & Record<"value" | "validAfter" | "validBefore", string>; signature: Hex };
        const { from, to, nonce, value, validAfter, validBefore } = authorization;
        const message = { from, to, nonce, value: BigInt(value), validAfter: BigInt(validAfter), validBefore: BigInt(validBefore) };
        expect([message.to, message.value]).to.deep.equal([payTo, amount]);
        const signer = await recoverTypedDataAddress({ domain: usdcDomain, types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message, signature });
        expect(signer).to.equal(account.address);
      }),
      RUNS,
    );
  });

  it("offers: hashOfferTypedData", () => {
    const offer = fc.record({ version: fc.constant(1), resourceUrl: text, scheme: text, network: text, asset: address, payTo: address, amount: uint128.map(String), validUntil: seconds });
    fc.assert(
      fc.property(offer, (one) => {
        const message = { ...one, version: BigInt(one.version), validUntil: BigInt(one.validUntil) };
        expect(hashTypedData({ domain: x402OfferDomain, types: x402OfferTypes, primaryType: "Offer", message })).to.equal(hashOfferTypedData(one));
      }),
      RUNS,
    );
  });

  it("receipts: hashReceiptTypedData", () => {
    const receipt = fc.record({ version: fc.constant(1), network: text, resourceUrl: text, payer: address, issuedAt: seconds, transaction: fc.oneof(fc.constant(""), bytes32) });
    fc.assert(
      fc.property(receipt, (one) => {
        const message = { ...one, version: BigInt(one.version), issuedAt: BigInt(one.issuedAt) };
        expect(hashTypedData({ domain: x402ReceiptDomain, types: x402ReceiptTypes, primaryType: "Receipt", message })).to.equal(hashReceiptTypedData(one));
      }),
      RUNS,
    );
  });

  it("payment identifiers: our payment ids are valid ones", () => {
    for (let one = 0; one < 100; one++) expect(isValidPaymentId(newPaymentId())).to.equal(true);
  });

  it("addresses: what stock clients hold is what our constants say", () => {
    expect([BATCH_SETTLEMENT_ADDRESS, ERC3009_DEPOSIT_COLLECTOR_ADDRESS]).to.deep.equal([SESSION_CHANNELS, ERC3009_COLLECTOR]);
    expect(getDefaultAsset(BASE_SEPOLIA.network)).to.include({ asset: BASE_SEPOLIA.usdc.address, name: BASE_SEPOLIA.usdc.name, version: BASE_SEPOLIA.usdc.version });
    expect(getDefaultAsset(BASE.network)).to.include({ asset: BASE.usdc.address, name: BASE.usdc.name, version: BASE.usdc.version });
  });
});
