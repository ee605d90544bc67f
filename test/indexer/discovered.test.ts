// From a paid call to a place in the list, with every part real: a claim's receipts lie with the relayer, the indexer asks it for them and
// scores, and discovery ranks by that score.
import { expect } from "chai";
import { isDeepStrictEqual } from "node:util";
import { pad, parseUnits, toHex, type Hex, type LocalAccount } from "viem";
import { fetchDocuments } from "../../relayer/src/capabilities/discovery/documents.ts";
import { syncDiscovery } from "../../relayer/src/capabilities/discovery/sync.ts";
import { startIndexer, type LocalIndexer } from "../../scripts/local/indexer.ts";
import { until } from "../../scripts/local/process.ts";
import { createListingClient } from "../../sdk/src/bazaar/listing.ts";
import { rateService } from "../../sdk/src/bazaar/rate.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { fromWireReceipt, RECEIPT_EXTENSION, receiptHash, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { receiptAckTypes } from "../../sdk/src/typed-data.ts";
import { bazaarOf, metadataOf } from "../support/bazaar-chain.ts";
import { manualBuyer, settleOf } from "../support/buyer.ts";
import { graphql } from "../support/indexer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";

const PRICE = parseUnits("10", 6);
const SCORE = 95;
/** A dealing is believed in full after so long. */
const RIPE_S = 15n * 86_400n;

type Agent = { serviceId: Hex; reputation: Record<string, unknown>; rank: { factors: { factor: string; weight: number; value: number; why: string }[] } };
type Scores = Record<"overall" | "reliability" | "quality" | "speed" | "honesty" | "collaboration", number> & { trust: string; evidence: string };

describe("reputation in discovery", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let indexer: LocalIndexer;
  let searched: Awaited<ReturnType<TestWorld["anotherRelayer"]>>;
  let serviceId: Hex;

  before(async () => {
    // Nothing is claimed before both charges are acknowledged.
    world = await startTestWorld({ sweepsByHand: true, env: { RELAYER_BAZAAR_REGISTRY: LOCAL_BAZAAR_REGISTRY, RELAYER_PROBE_PERIOD_S: "0", RELAYER_SETTLE_MIN_VALUE: String(1_000n * PRICE), RELAYER_MAX_UNSETTLED_CHANNEL: String(10n * PRICE) } });
    const [provider, hotel, airline] = [1, 2, 3].map((n) => world.chain.account(n)) as LocalAccount[] as [LocalAccount, LocalAccount, LocalAccount];
    const [ann, bea, cem] = [4, 5, 6].map((n) => world.chain.account(n)) as LocalAccount[] as [LocalAccount, LocalAccount, LocalAccount];
    for (const { address } of [ann, bea, cem]) await world.chain.mintUSDC(address, 10n * PRICE);
    const listing = createListingClient({ relayerUrl: world.url, account: provider, registry: LOCAL_BAZAAR_REGISTRY });
    const pricing = { model: "per-use", price: "10", unit: "call", token: BASE_SEPOLIA.usdc.address } as const;
    const metadata = metadataOf({ pricing, endpoints: [{ method: "GET", path: "/" }], schemes: ["batch-settlement"] });
    serviceId = (await listing.list({ name: "shop", metadata, origin: world.provider.origin })).agent.id;

    // Who buys here buys elsewhere too, where somebody else buys as well: that is what makes a voice.
    for (const owner of [hotel, airline]) await bazaarOf(world.chain).list(owner, metadataOf());
    await payOnChain(ann, hotel);
    await payOnChain(bea, hotel);
    await payOnChain(bea, airline);
    await payOnChain(cem, airline);
    const bought = [await buy(ann), await buy(cem)];
    for (const { account, signed } of bought) await acknowledge(account, signed);
    expect(await world.relayer.settlement.flush()).to.equal(true);
    for (const { account, channelId } of bought) await rateService({ relayerUrl: world.url, account, chainId: BASE_SEPOLIA.chainId, registry: LOCAL_BAZAAR_REGISTRY, service: serviceId, paidBy: { channelId }, score: SCORE });
    await world.chain.warpTo((await world.chain.client.getBlock()).timestamp + RIPE_S);

    indexer = await startIndexer({ rpcUrl: world.chain.url, databaseUrl: await world.postgres.freshDatabase(), receiptSources: [world.url], logLevel: "error" });
    await indexer.waitUntilReady();
    searched = await world.anotherRelayer({ RELAYER_INDEXER_URL: indexer.url, RELAYER_ROLE: "server" });
  });
  after(async () => {
    await indexer.stop();
    await world.stop();
  });

  async function payOnChain(payer: LocalAccount, seller: LocalAccount): Promise<void> {
    const sessions = new Sessions(world.chain);
    const config = { payer: payer.address, payerAuthorizer: payer.address, receiver: seller.address, receiverAuthorizer: seller.address, token: BASE_SEPOLIA.usdc.address, withdrawDelay: 900, salt: pad("0x01") } as const;
    await sessions.deposit(config, payer, PRICE);
    await sessions.send(seller, "claim", [await sessions.claimRows([{ config, voucherKey: payer, totalClaimed: PRICE }])]);
  }
  async function buy(account: LocalAccount) {
    const buyer = manualBuyer(account, `${world.url}/s/shop/`, pad(toHex(1)));
    const terms = await buyer.terms();
    const response = await buyer.send(await buyer.depositPayment(terms, 8n * PRICE, PRICE));
    expect(response.status, await response.clone().text()).to.equal(200);
    const signed = (settleOf(response) as unknown as { extensions: Record<string, { info: { receipt: SignedReceipt } }> }).extensions[RECEIPT_EXTENSION]!.info.receipt;
    return { account, channelId: buyer.channelId(terms), signed };
  }
  async function acknowledge(account: LocalAccount, signed: SignedReceipt): Promise<void> {
    const hash = receiptHash(signed.domain, fromWireReceipt(signed.payload));
    const signature = await account.signTypedData({ domain: signed.domain, types: receiptAckTypes, primaryType: "ReceiptAck", message: { receiptHash: hash } });
    const response = await fetch(`${world.url}/api/v1/receipts/acks`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ acks: [{ paymentId: signed.payload.paymentId, receiptHash: hash, signature }] }) });
    expect(await response.json()).to.deep.equal({ accepted: 1, refused: [] });
  }
  /** Of blocks that came after everything: with the acknowledged receipt and the rating in it. */
  const scored = () => until("the score", async () => {
    const { reputation } = await graphql<{ reputation: Scores | null }>(indexer, "query ($id: String!) { reputation(serviceId: $id) { overall reliability quality speed honesty collaboration trust evidence } }", { id: serviceId });
    const names = (JSON.parse(reputation?.evidence ?? "[]") as { name: string }[]).map(({ name }) => name);
    // Scored while the dealings were young, it was nothing.
    return reputation !== null && reputation.overall > 0.5 && ["acknowledged receipts", "ratings"].every((name) => names.includes(name)) ? reputation : undefined;
  }, 90_000);
  const synced = async () => {
    const { deps } = searched.relayer;
    await syncDiscovery(deps);
    while ((await fetchDocuments(deps)) > 0);
    await syncDiscovery(deps);
  };
  const discover = async (question: Record<string, unknown> = {}): Promise<Agent[]> => {
    const response = await fetch(`${searched.url}/api/v1/a2a/discover`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(question) });
    return ((await response.json()) as { agents: Agent[] }).agents;
  };

  it("a service that was paid, claimed, acknowledged and rated stands where the scorer puts it, not where the chain's average would", async () => {
    await synced();
    // Every few blocks it is scored again: what is compared was read with nothing in between.
    const { evidence, scores, agents: [agent, ...others] } = await until("the score in discovery", async () => {
      const { evidence: own, ...now } = await scored();
      await synced();
      const agents = await discover({ owner: world.chain.account(1).address });
      return isDeepStrictEqual(agents[0]?.reputation, now) ? { evidence: own, scores: now, agents } : undefined;
    }, 60_000);
    const { receiptRoots } = await graphql<{ receiptRoots: { items: unknown[] } }>(indexer, "{ receiptRoots { items { status receipts acknowledged } } }");
    expect(receiptRoots.items).to.deep.equal([{ status: "verified", receipts: 2, acknowledged: 2 }]);

    expect([agent!.serviceId, others.length]).to.deep.equal([serviceId, 0]);
    const factor = agent!.rank.factors.find(({ factor: name }) => name === "reputation")!;
    expect(factor.value).to.be.closeTo(scores.overall / 100, 1e-6);
    expect(factor.why).to.contain(`${scores.overall} of 100`);

    // Two buyers' word is worth little, whatever the registry's sums say.
    expect(scores.overall).to.be.below(SCORE / 2);
    expect(JSON.parse(evidence)).to.be.an("array").that.is.not.empty;
    expect((await discover({ minRating: scores.overall })).map((found) => found.serviceId)).to.deep.equal([serviceId]);
    expect(await discover({ minRating: SCORE / 2 })).to.deep.equal([]);
  });
});
