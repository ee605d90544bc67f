// Mandates, their trees and what was spent under them, indexed from a real chain: history, then reorganisations. Every row is compared with
// the replayed logs and with the registry's own state.
import { expect } from "chai";
import fc from "fast-check";
import { encodeFunctionData, erc20Abi, maxUint256, pad, zeroHash, type Hex, type LocalAccount } from "viem";
import { reconcile } from "../../indexer/reconcile/reconcile.ts";
import { auditAnchorAbi } from "../../sdk/src/abi/audit-anchor.ts";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { BASE_SEPOLIA, LOCAL_AUDIT_ANCHOR, LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { mandateDepositData, mandateDepositDigest, spendOrder } from "../../sdk/src/mandate-messages.ts";
import { mandateIdOf, mandateRegistryDomain, type Mandate } from "../../sdk/src/mandate.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { graphql, startIndexedWorld, type IndexedWorld } from "../support/indexer.ts";
import { idOf as channelIdOf } from "../support/session.ts";

const USDC = BASE_SEPOLIA.usdc.address;
const DOMAIN = mandateRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_MANDATE_REGISTRY);
const FOREVER = 2 ** 40 - 1;
const idOf = (mandate: Mandate): Hex => mandateIdOf(DOMAIN, mandate);

type Rows = { items: Record<string, any>[]; totalCount: number };
type Indexer = Awaited<ReturnType<IndexedWorld["index"]>>;

describe("indexed mandates", function () {
  this.timeout(240_000);
  let world: IndexedWorld;
  let indexer: Indexer;
  let cast: Record<"principal" | "agent" | "sub" | "worker" | "payee" | "relayer" | "authorizer", LocalAccount>;
  let root: Mandate;
  let child: Mandate;
  let leaf: Mandate;
  let unused: Mandate;
  let channel: ChannelConfig;

  const write = (functionName: "approve" | "spend" | "revoke" | "bumpEpoch", args: readonly unknown[]): Hex => encodeFunctionData({ abi: mandateRegistryAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]);
  const call = (account: LocalAccount, data: Hex, to = LOCAL_MANDATE_REGISTRY) => world.sessions.sendTo(account, to, data);
  const spend = (account: LocalAccount, lineage: Mandate[], amount: bigint) => call(account, write("spend", [spendOrder({ lineage, payee: cast.payee.address, amount })]));

  /** The deposit of a channel, paid for by the leaf. */
  async function fund(amount: bigint, nonce: bigint): Promise<Hex> {
    const row = { order: spendOrder({ lineage: [leaf, child, root], payee: channel.receiver, amount }), nonce, deadline: maxUint256 };
    const signature = await cast.worker.sign!({ hash: mandateDepositDigest(DOMAIN, channelIdOf(channel), row) });
    return encodeFunctionData({ abi: sessionChannelsAbi, functionName: "deposit", args: [channel, amount, LOCAL_MANDATE_REGISTRY, mandateDepositData(channel, { ...row, signature })] });
  }

  before(async () => {
    world = await startIndexedWorld();
    const account = (n: number) => world.chain.account(n);
    cast = { principal: account(1), agent: account(2), sub: account(3), worker: account(4), payee: account(5), relayer: account(6), authorizer: account(8) };
    await world.chain.mintUSDC(cast.principal.address, 10_000n);
    await call(cast.principal, encodeFunctionData({ abi: erc20Abi, functionName: "approve", args: [LOCAL_MANDATE_REGISTRY, maxUint256] }), USDC);
    root = {
      principal: cast.principal.address, delegate: cast.agent.address, token: USDC, limit: 5_000n, periodLimit: 0n, paymentLimit: 1_000n, period: 0, validAfter: 0, validUntil: FOREVER, epoch: 0,
      payeesRoot: zeroHash, capability: zeroHash, parent: zeroHash, terms: pad("0x77"), salt: zeroHash,
    };
    child = { ...root, delegate: cast.sub.address, limit: 2_000n, parent: idOf(root) };
    leaf = { ...child, delegate: cast.worker.address, limit: 1_000n, parent: idOf(child) };
    unused = { ...root, salt: pad("0x09") };
    channel = { payer: cast.principal.address, payerAuthorizer: cast.worker.address, receiver: cast.payee.address, receiverAuthorizer: cast.authorizer.address, token: USDC, withdrawDelay: 900, salt: pad("0x01") };

    // Some of it is backfilled, some is followed.
    await call(cast.principal, write("approve", [[root]]));
    await call(cast.agent, write("approve", [[child, root]]));
    await call(cast.sub, write("approve", [[leaf, child, root]]));
    [indexer] = await Promise.all([
      world.index(),
      (async () => {
        await spend(cast.agent, [root], 100n);
        await spend(cast.sub, [child, root], 20n);
        await spend(cast.worker, [leaf, child, root], 3n);
        await call(cast.relayer, await fund(400n, 0n), SESSION_CHANNELS);
        await call(cast.principal, write("revoke", [[unused]]));
        await call(cast.relayer, encodeFunctionData({ abi: auditAnchorAbi, functionName: "anchor", args: [pad("0xaa"), 20_000n] }), LOCAL_AUDIT_ANCHOR);
      })(),
    ]);
  });
  after(() => world.stop());

  async function agreed(): Promise<void> {
    await indexer.waitForBlock(await world.chain.client.getBlockNumber());
    const { differences } = await reconcile({ rpcUrl: world.chain.url, graphqlUrl: indexer.graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n });
    expect(differences).to.deep.equal([]);
  }
  const ask = <T = Record<string, Rows>>(query: string, variables: Record<string, unknown> = {}) => graphql<T>(indexer, query, variables);

  it("agree with the replayed logs and the registry, row by row", agreed);

  it("a spend counts once, and at every mandate above it", async () => {
    const { mandates, mandateSpends } = await ask(`{
      mandates(orderBy: "depth") { items { id parentId rootId depth delegate status spent spendCount ownSpent ownSpendCount terms capability principalEpoch { epoch } children { items { id } } } }
      mandateSpends(orderBy: "amount") { items { mandateId rootId payee amount totalSpent } }
    }`);
    const row = (mandate: Mandate, depth: number, spent: string, spendCount: number, ownSpent: string, ownSpendCount: number, children: Mandate[]) => ({
      id: idOf(mandate), parentId: mandate.parent === zeroHash ? null : mandate.parent, rootId: idOf(root), depth, delegate: mandate.delegate.toLowerCase(), status: "approved", spent, spendCount, ownSpent, ownSpendCount,
      terms: pad("0x77"), capability: null, principalEpoch: null, children: { items: children.map((below) => ({ id: idOf(below) })) },
    });
    expect(mandates!.items).to.deep.equal([row(root, 0, "523", 4, "100", 1, [child]), row(child, 1, "423", 3, "20", 1, [leaf]), row(leaf, 2, "403", 2, "403", 2, [])]);
    expect(mandateSpends!.items.map(({ amount, totalSpent }) => [amount, totalSpent])).to.deep.equal([["3", "3"], ["20", "20"], ["100", "100"], ["400", "403"]]);
    for (const { rootId, payee } of mandateSpends!.items) expect([rootId, payee]).to.deep.equal([idOf(root), cast.payee.address.toLowerCase()]);
  });

  it("a channel leads to the mandate that funded it, and back", async () => {
    const { channel: found } = await ask<{ channel: Record<string, any> }>(`query ($id: String!) { channel(id: $id) { balance fundings { items { amount mandate { id depth } } } } }`, { id: channelIdOf(channel) });
    expect(found).to.deep.equal({ balance: "400", fundings: { items: [{ amount: "400", mandate: { id: idOf(leaf), depth: 2 } }] } });
    const { mandate } = await ask<{ mandate: Record<string, any> }>(`query ($id: String!) { mandate(id: $id) { fundings { items { channel { payerAuthorizer totalDeposited } } } } }`, { id: idOf(leaf) });
    expect(mandate["fundings"].items).to.deep.equal([{ channel: { payerAuthorizer: cast.worker.address.toLowerCase(), totalDeposited: "400" } }]);
  });

  it("revoked before anybody used it; anchors under their relayer", async () => {
    const { mandateRevocations, auditAnchors } = await ask(`{ mandateRevocations { items { mandateId principal by } } auditAnchors { items { relayer day root } } }`);
    const principal = cast.principal.address.toLowerCase();
    expect(mandateRevocations!.items).to.deep.equal([{ mandateId: idOf(unused), principal, by: principal }]);
    expect(auditAnchors!.items).to.deep.equal([{ relayer: cast.relayer.address.toLowerCase(), day: "20000", root: pad("0xaa") }]);
  });

  it("any reorganisation leaves what the chain says", async () => {
    const { chain, sessions } = world;
    let snapshot = await chain.client.snapshot();
    // By a sender each, so that any of them can be mined without the others.
    const signed = {
      spend: (await spend(cast.worker, [leaf, child, root], 7n)).raw,
      mid: (await spend(cast.sub, [child, root], 11n)).raw,
      fund: (await call(cast.relayer, await fund(50n, 1n), SESSION_CHANNELS)).raw,
      revoke: (await call(cast.agent, write("revoke", [[child, root]]))).raw,
      bump: (await call(cast.principal, write("bumpEpoch", []))).raw,
    };
    await agreed();
    const { mandate } = await ask<{ mandate: Record<string, any> }>(`query ($id: String!) { mandate(id: $id) { status revokedBy spent principalEpoch { epoch } } }`, { id: idOf(child) });
    expect(mandate).to.deep.equal({ status: "revoked", revokedBy: cast.agent.address.toLowerCase(), spent: "491", principalEpoch: { epoch: 1 } });
    // What is dead stays dead, so payments come first; which and in what order is open.
    const payments = ["spend", "mid", "fund"] as const;
    const ends = ["revoke", "bump"] as const;
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...payments]), fc.shuffledSubarray([...ends]), async (first, then) => {
        const [old, { timestamp }] = await Promise.all([chain.client.getBlockNumber(), chain.client.getBlock()]);
        await chain.client.revert({ id: snapshot });
        snapshot = await chain.client.snapshot();
        await chain.warpTo(timestamp + 1n);
        for (const name of [...first, ...then]) await sessions.sendRaw(signed[name]);
        while ((await chain.client.getBlockNumber()) <= old) await chain.mineBlocks(1);
        await agreed();
        const { mandateSpends, channelFundings, principalEpochs } = await ask(`{ mandateSpends { totalCount } channelFundings { totalCount } principalEpochs { totalCount } }`);
        expect([mandateSpends!.totalCount, channelFundings!.totalCount, principalEpochs!.totalCount]).to.deep.equal([4 + first.length, 1 + Number(first.includes("fund")), Number(then.includes("bump"))]);
      }),
      { numRuns: 8, seed: 1, endOnFailure: true },
    );
  });
});
