// Roots and reputation indexed from a real chain, with receipts that a relayer (played by a server) has, or has wrong.
import { expect } from "chai";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { encodeFunctionData, keccak256, pad, toHex, zeroHash, type Hex, type LocalAccount } from "viem";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { bazaarRegistryDomain, bitmapOf, capabilityTag, SERVICE_CATEGORIES, serviceIdOf, termsRefOf, type ServiceKey, type ServiceTerms } from "../../sdk/src/bazaar.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { encodePackedRows } from "../../sdk/src/packed-claim.ts";
import { NO_CHANNEL, receiptHash, toWireReceipt, type Receipt } from "../../sdk/src/receipt.ts";
import { publicReceipt } from "../../sdk/src/receipt-public.ts";
import { receiptsRoot } from "../../sdk/src/receipt-tree.ts";
import { receiptAckTypes, receiptDomain, voucherTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import { graphql, startIndexedWorld, type IndexedWorld } from "../support/indexer.ts";
import { domain, idOf } from "../support/session.ts";

const USDC = BASE_SEPOLIA.usdc.address;
const RECEIPTS = receiptDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);

describe("indexed reputation", function () {
  this.timeout(240_000);
  let world: IndexedWorld;
  let indexer: Awaited<ReturnType<IndexedWorld["index"]>>;
  let server: Server;
  let [provider, seller, payer] = [] as unknown as LocalAccount[];
  let channel: ChannelConfig;
  let serviceId: Hex;
  let refused: Hex;
  const served = new Map<string, unknown>();

  before(async () => {
    world = await startIndexedWorld();
    [provider, seller, payer] = [1, 3, 4].map((n) => world.chain.account(n)) as LocalAccount[] as [LocalAccount, LocalAccount, LocalAccount];
    await world.chain.mintUSDC(payer!.address, 5_000_000n);
    server = createServer((request, response) => {
      const body = served.get(request.url!.split("/").at(-1)!.split("?")[0]!);
      response.statusCode = body === undefined ? 404 : 200;
      response.end(JSON.stringify(body ?? {}));
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const key: ServiceKey = { agent: 0n, owner: provider!.address, salt: pad("0x01") };
    serviceId = serviceIdOf(bazaarRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_BAZAAR_REGISTRY), key);
    const offer = { capability: capabilityTag("web.search"), categories: bitmapOf(SERVICE_CATEGORIES, ["search"]), price: 1_000n, schemes: 2, visibility: 0, contentHash: keccak256(toHex("m")), uri: "https://provider.example/m.json" };
    const terms: ServiceTerms = { payTo: seller!.address, token: USDC, offer };
    const call = (account: LocalAccount, functionName: "list" | "rateChannel", args: readonly unknown[]) =>
      world.sessions.sendTo(account, LOCAL_BAZAAR_REGISTRY, encodeFunctionData({ abi: bazaarRegistryAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]));
    await call(provider!, "list", [key, terms, true, { deadline: 0n, signature: "0x" }]);
    channel = { payer: payer!.address, payerAuthorizer: payer!.address, receiver: seller!.address, receiverAuthorizer: seller!.address, token: USDC, withdrawDelay: 900, salt: pad("0x01") };
    await world.sessions.deposit(channel, payer!, 1_000_000n);
    await claimUnder(1_000n, await bundle([1_000n], 1));
    await claimUnder(3_000n, await bundle([2_000n, 3_000n], 1, (leaves) => [...leaves].slice(0, 1)));
    await claimUnder(4_000n, undefined);
    // What was claimed without a root gets one; it names a receipt again that counts already.
    await claimUnder(4_000n, await bundle([1_000n, 4_000n], 2));
    // A row that the chain refuses, for its voucher is another's.
    await claimUnder(5_000n, (refused = await bundle([5_000n], 1)), seller!);
    await call(payer!, "rateChannel", [key, termsRefOf(terms).offerHash, { channels: SESSION_CHANNELS, config: channel, claimed: 4_000n }, { score: 95, details: zeroHash, forward: false, deadline: 0n, signature: "0x" }]);
    indexer = await world.index({ receiptSources: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] });
  });
  after(async () => {
    await world.stop();
    await new Promise((done) => server.close(done));
  });

  /** Receipts up to these totals, the first `acked` of them acknowledged; `spoil` changes what is served, not what is under the root. */
  async function bundle(totals: readonly bigint[], acked: number, spoil = <T>(leaves: readonly T[]): readonly T[] => leaves): Promise<Hex> {
    const leaves = await Promise.all(totals.map(async (cumulative, n) => {
      const receipt: Receipt = {
        paymentId: `pay_${cumulative}`, scheme: "batch-settlement", resource: "https://shop.example/?key=secret", payer: payer!.address, receiver: seller!.address, token: USDC, channelId: idOf(channel), requestNumber: cumulative / 1_000n,
        inputHash: zeroHash, outputHash: zeroHash, startedAtMs: 1n, endedAtMs: 51n, latencyMs: 50n, amount: 1_000n, cumulative, offer: NO_CHANNEL, mandate: zeroHash, session: zeroHash, slaMet: 2,
      };
      const hash = receiptHash(RECEIPTS, receipt);
      const ack = await payer!.signTypedData({ domain: RECEIPTS, types: receiptAckTypes, primaryType: "ReceiptAck", message: { receiptHash: hash } });
      return { receiptHash: hash, ...(n < acked ? { receipt: publicReceipt(toWireReceipt(receipt)), ack } : {}) };
    }));
    const root = receiptsRoot(leaves.map(({ receiptHash: hash }) => hash));
    served.set(root, { leaves: spoil(leaves) });
    return root;
  }

  async function claimUnder(totalClaimed: bigint, root: Hex | undefined, signer = payer!): Promise<void> {
    const signature = await signer.signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId: idOf(channel), maxClaimableAmount: totalClaimed } });
    const rows = encodePackedRows([{ payer: channel.payer, payerAuthorizer: channel.payerAuthorizer, salt: channel.salt, maxClaimableAmount: totalClaimed, totalClaimed, signature }]);
    const { receiver, receiverAuthorizer, token, withdrawDelay } = channel;
    await world.sessions.send(seller!, "claimPacked", [[{ receiver, receiverAuthorizer, token, withdrawDelay, receiptsRoot: root ?? zeroHash, rows, authorization: "0x" }]]);
  }

  const scored = async () => {
    const until = (await world.chain.client.getBlockNumber()) + 6n;
    while ((await world.chain.client.getBlockNumber()) < until) await world.chain.mintUSDC(provider!.address, 1n);
    await indexer.waitForBlock(until);
  };

  it("roots are rows; what is under them counts where it hashes to the root, and is asked for again where it does not", async () => {
    await scored();
    const { receiptRoots } = await graphql<{ receiptRoots: { items: Record<string, unknown>[] } }>(indexer, "{ receiptRoots(orderBy: \"blockNumber\") { items { root receiver status receipts acknowledged attempts } } }");
    expect(receiptRoots.items.map(({ status, receipts, acknowledged }) => [status, receipts, acknowledged])).to.deep.equal([["verified", 1, 1], ["wanted", null, null], ["verified", 2, 1], ["verified", 1, 0]]);
    expect(receiptRoots.items[1]!["attempts"]).to.be.greaterThan(0);
    const { receiptSums } = await graphql<{ receiptSums: { items: Record<string, unknown>[] } }>(indexer, "{ receiptSums { items { channelId acknowledged late amount latencyMs } } }");
    const once = { channelId: idOf(channel), acknowledged: 1, late: 1, amount: "1000", latencyMs: "50" };
    expect(receiptSums.items).to.deep.equal([once, once]);
  });

  it("what was shown with a row that the chain refused counts when it is shown with one that claims", async () => {
    await claimUnder(5_000n, refused);
    await scored();
    const { receiptRoot, receiptSums } = await graphql<{ receiptRoot: Record<string, unknown>; receiptSums: { items: Record<string, unknown>[] } }>(
      indexer, "query ($root: String!) { receiptRoot(root: $root) { status receipts acknowledged attempts } receiptSums(where: { root: $root }) { items { acknowledged amount } } }", { root: refused },
    );
    expect(receiptRoot).to.deep.equal({ status: "verified", receipts: 1, acknowledged: 1, attempts: 2 });
    expect(receiptSums.items).to.deep.equal([{ acknowledged: 1, amount: "1000" }]);
  });

  it("a service that one stranger paid and praised is new, whatever the chain's average, and its score says why", async () => {
    await scored();
    const { reputation, reputationEvents } = await graphql<{ reputation: Record<string, any>; reputationEvents: { items: Record<string, unknown>[] } }>(
      indexer,
      "query ($id: String!) { reputation(serviceId: $id) { overall reliability quality speed honesty collaboration trust wash evidence } reputationEvents(where: { serviceId: $id }) { items { trust trustBefore overallBefore } } }",
      { id: serviceId },
    );
    expect(reputation["trust"]).to.equal("new");
    expect(reputation["overall"]).to.be.lessThan(1);
    for (const factor of ["reliability", "quality", "speed", "honesty", "collaboration"]) expect(reputation[factor], factor).to.be.within(0, 100);
    const evidence = JSON.parse(reputation["evidence"]) as { factor: string; name: string; value: number; weight: number; reason: string }[];
    expect(evidence.filter(({ factor }) => factor === "overall").map(({ name }) => name)).to.include.members(["quality", "counterparties", "bond", "own custom"]);
    for (const { reason, value, weight } of evidence) expect([typeof reason, typeof value, typeof weight]).to.deep.equal(["string", "number", "number"]);
    expect(reputationEvents.items).to.deep.equal([{ trust: "new", trustBefore: null, overallBefore: null }]);
  });
});
