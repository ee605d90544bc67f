// The facilitator against those who want other people's gas or other people's money: whose transactions it pays for, and what its key
// signs for a stranger who has read a voucher off the chain.
import { expect } from "chai";
import { encodeFunctionData, pad, parseAbi, toHex, type Address, type Hex, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { DOMAIN, manualBuyer, requiredOf, type Required } from "../support/buyer.ts";
import { authorize, exactTermsOf, newPayer, paymentOf, sendPayment, type ExactTerms } from "../support/exact-hand.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;
const USDC = BASE_SEPOLIA.usdc;
type Answer = { isValid?: boolean; invalidReason?: string; success?: boolean; errorReason?: string; transaction?: string };

describe("facilitator, hostile", function () {
  this.timeout(120_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld({ env: { RELAYER_FACILITATOR: "services" } })));
  after(() => world.stop());

  const own = addressOf(ROLE.receiver);
  const stranger = privateKeyToAccount(generatePrivateKey());
  let salts = 0;
  const requirements = (change: Partial<ExactTerms> = {}): ExactTerms => ({ scheme: "batch-settlement", network: BASE_SEPOLIA.network, amount: "0", asset: USDC.address, payTo: own, maxTimeoutSeconds: 60, extra: {}, ...change });
  async function ask(path: string, payload: unknown, terms: ExactTerms): Promise<{ status: number; answer: Answer }> {
    const body = JSON.stringify({ x402Version: 2, paymentPayload: { x402Version: 2, accepted: terms, payload }, paymentRequirements: terms });
    const response = await fetch(`${world.url}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body });
    return { status: response.status, answer: (await response.json()) as Answer };
  }
  const claimed = async (channelId: Hex) => (await world.chain.client.readContract({ address: DOMAIN.verifyingContract, abi: sessionChannelsAbi, functionName: "channels", args: [channelId] }))[1];
  const sent = async () => (await world.relayer.deps.db.query("SELECT count(*) AS sent FROM chain_tx WHERE payment_id LIKE 'facilitator %'")).rows[0].sent as bigint;

  /** A channel on chain that the relayer has no part in. */
  async function foreignChannel(receiver: Address, authorizer: PrivateKeyAccount) {
    const terms = requirements({ payTo: receiver, extra: { name: USDC.name, version: USDC.version, receiverAuthorizer: authorizer.address, withdrawDelay: 900 } });
    const required = { x402Version: 2, error: "", resource: { url: "http://seller.test/" }, accepts: [terms], extensions: {} } as unknown as Required;
    const buyer = manualBuyer(await newPayer(world.chain), "http://seller.test/", pad(toHex(++salts)));
    const config: ChannelConfig = buyer.configFor(required);
    return { buyer, config, required, channelId: buyer.channelId(required) };
  }
  const claimOf = (config: ChannelConfig, voucher: { maxClaimableAmount: string; signature: Hex }, totalClaimed: bigint) => ({ voucher: { channel: config, maxClaimableAmount: voucher.maxClaimableAmount }, signature: voucher.signature, totalClaimed: String(totalClaimed) });

  it("pays gas for the receivers it serves, whatever name is put in front", async () => {
    const { buyer, config, channelId } = await foreignChannel(stranger.address, stranger);
    const voucher = await buyer.voucher(channelId, PRICE);
    const before = await sent();
    const payloads = [
      { type: "claim", claims: [claimOf(config, voucher, PRICE)], claimAuthorizerSignature: voucher.signature },
      { type: "settle", receiver: stranger.address, token: USDC.address },
      { type: "settle", receiver: own, token: stranger.address },
      { type: "refund", channelConfig: config, voucher, amount: "1", refundNonce: "0", claims: [], refundAuthorizerSignature: voucher.signature },
      { type: "refund", channelConfig: { ...config, receiver: own, token: stranger.address }, voucher, amount: "1", refundNonce: "0", claims: [], refundAuthorizerSignature: voucher.signature },
    ];
    for (const payload of payloads) {
      const { answer } = await ask("/settle", payload, requirements());
      expect(answer.errorReason, payload.type).to.match(/^invalid_batch_settlement_evm_(receiver|token)_mismatch$/);
    }
    expect(await sent()).to.equal(before);
  });

  it("answers terms that make no sense, it does not break on them", async () => {
    const payer = await newPayer(world.chain);
    const terms = requirements({ scheme: "exact", amount: String(PRICE) });
    const payload = await authorize(payer, terms);
    for (const change of [{ amount: "a lot" }, { amount: "-1" }, { amount: "1e3" }, { payTo: "the seller" as Hex }, { asset: "gold" }]) {
      for (const path of ["/verify", "/settle"]) {
        const { status, answer } = await ask(path, payload, { ...terms, ...change });
        expect([status, answer.isValid ?? answer.success, answer.invalidReason ?? answer.errorReason], JSON.stringify(change)).to.deep.equal([200, false, "invalid_payment_requirements"]);
      }
    }
    const { buyer, config, required, channelId } = await foreignChannel(own, stranger);
    const voucher = await buyer.voucher(channelId, PRICE);
    const odd = { ...requirements(), extra: { receiverAuthorizer: "nobody" } };
    expect((await ask("/verify", { type: "voucher", channelConfig: config, voucher }, odd)).status, JSON.stringify(required.accepts)).to.equal(200);
  });

  it("a stranger with a voucher that it read off the chain cannot have more claimed than was charged here", async () => {
    const url = `${world.url}/s/echo/`;
    const buyer = manualBuyer(await newPayer(world.chain), url, pad(toHex(++salts)));
    const required = await buyer.terms();
    // Headroom for 64 calls, one of them made.
    const payment = await buyer.depositPayment(required, 100n * PRICE, 64n * PRICE);
    expect((await buyer.send(payment)).status).to.equal(200);
    const config = buyer.configFor(required);
    const channelId = buyer.channelId(required);
    const { voucher } = payment["payload"] as { voucher: { maxClaimableAmount: string; signature: Hex } };
    const { answer } = await ask("/settle", { type: "claim", claims: [claimOf(config, voucher, 64n * PRICE)] }, requirements());
    expect(answer).to.include({ success: false });
    expect(await claimed(channelId)).to.equal(0n);
    // What was charged is claimed by the ledger, as ever.
    await world.relayer.settlement.flush();
    expect(await claimed(channelId)).to.equal(PRICE);
  });

  it("verifies nothing that the token would refuse", async () => {
    const payer = await newPayer(world.chain);
    const terms = requirements({ scheme: "exact", amount: String(PRICE) });
    const data = encodeFunctionData({ abi: parseAbi(["function blacklist(address account)"]), args: [payer.address] });
    const admin = world.chain.account(0);
    await world.chain.client.waitForTransactionReceipt({ hash: await world.chain.client.sendTransaction({ account: admin, to: USDC.address, data, chain: null }) });
    const { answer } = await ask("/verify", await authorize(payer, terms), terms);
    expect(answer).to.include({ isValid: false, invalidReason: "invalid_exact_evm_transaction_simulation_failed" });
  });

  it("one authorisation shown to the gateway and to a seller at the same moment delivers once", async () => {
    const url = `${world.url}/s/echo/`;
    const accepted = exactTermsOf(requiredOf(await fetch(url)));
    const payer = await newPayer(world.chain);
    for (let round = 0; round < 12; round++) {
      const payload = await authorize(payer, accepted);
      const [bought, settled] = await Promise.all([sendPayment(`${world.url}/s/echo/slow/${round * 15}`, paymentOf(accepted, payload)), ask("/settle", payload, accepted)]);
      expect([bought.status === 200, settled.answer.success === true].filter(Boolean).length, `round ${round}: ${bought.status} ${JSON.stringify(settled.answer)}`).to.equal(1);
    }
  });

  it("asked again while its transaction is under way, it follows that one", async () => {
    const { buyer, config, required, channelId } = await foreignChannel(own, stranger);
    const deposit = await buyer.depositPayment(required, 10n * PRICE, PRICE);
    expect((await ask("/settle", deposit["payload"], required.accepts[0] as unknown as ExactTerms)).answer).to.include({ success: true });
    const { signClaim } = claimSigner(stranger, channelId);
    const voucher = await buyer.voucher(channelId, 3n * PRICE);
    const payload = { type: "claim", claims: [claimOf(config, voucher, 3n * PRICE)], claimAuthorizerSignature: await signClaim(3n * PRICE) };
    const before = await sent();
    const answers = await Promise.all([0, 1, 2].map(() => ask("/settle", payload, requirements())));
    const again = answers.map(({ answer }) => answer);
    expect(new Set(again.map(({ transaction }) => transaction)).size, JSON.stringify(again)).to.equal(1);
    expect(again.every(({ success }) => success === true)).to.equal(true);
    expect(await sent() - before).to.equal(1n);
  });

  const claimSigner = (by: PrivateKeyAccount, channelId: Hex) => ({
    signClaim: (amount: bigint) =>
      by.signTypedData({
        domain: DOMAIN, primaryType: "ClaimBatch", message: { claims: [{ channelId, maxClaimableAmount: amount, totalClaimed: amount }] },
        types: { ClaimBatch: [{ name: "claims", type: "ClaimEntry[]" }], ClaimEntry: [{ name: "channelId", type: "bytes32" }, { name: "maxClaimableAmount", type: "uint128" }, { name: "totalClaimed", type: "uint128" }] },
      }),
  });
});
