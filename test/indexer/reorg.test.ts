import { expect } from "chai";
import fc from "fast-check";
import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "viem";
import { reconcile } from "../../indexer/reconcile/reconcile.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { graphql, startIndexedWorld, type IndexedWorld } from "../support/indexer.ts";
import { cast, configs, prepare } from "./history.ts";

type Indexer = Awaited<ReturnType<IndexedWorld["index"]>>;
type Counts = Record<"channels" | "deposits" | "claims" | "skippedClaims" | "refunds" | "withdrawals", number>;

describe("indexer, when the chain reorganises", function () {
  this.timeout(180_000);
  let world: IndexedWorld;
  let indexer: Indexer;
  let snapshot: Hex;
  let base: Counts;
  /** Signed bytes of one transaction each by another sender, so that any of them can be mined without the others. */
  const signed = {} as Record<"topUp" | "claim" | "packed" | "withdraw" | "refund" | "open", Hex>;
  type Name = keyof typeof signed;
  const names: Name[] = ["topUp", "claim", "packed", "withdraw", "refund", "open"];

  before(async () => {
    world = await startIndexedWorld();
    const { chain, sessions } = world;
    const { ada, bob, cyd, bobKey, rex, sue, authorizer, relayer } = cast(chain);
    const token = await prepare(chain, sessions);
    const { adaRex, bobRex, cydSue, cydRex, unknown } = configs(chain, token);
    [indexer] = await Promise.all([
      world.index(),
      (async () => {
        await sessions.deposit(adaRex, ada, 1_000n);
        await sessions.deposit(bobRex, bob, 1_000n);
        await sessions.deposit(cydSue, cyd, 1_000n);
      })(),
    ]);
    base = await follow(indexer);
    snapshot = await chain.client.snapshot();

    signed.topUp = (await sessions.deposit(adaRex, ada, 500n)).raw;
    const plain = [{ config: adaRex, voucherKey: ada, totalClaimed: 100n }];
    signed.claim = (await sessions.send(relayer, "claimWithSignature", [await sessions.claimRows(plain), await sessions.claimBatchSignature(authorizer, plain)])).raw;
    const rows = [
      await sessions.packedRow({ config: bobRex, voucherKey: bobKey, totalClaimed: 200n }),
      await sessions.packedRow({ config: unknown, voucherKey: bobKey, totalClaimed: 1n }),
    ];
    signed.packed = (await sessions.send(rex, "claimPacked", [[await sessions.packedGroup(authorizer, bobRex, rows)]])).raw;
    signed.withdraw = (await sessions.send(bob, "initiateWithdraw", [bobRex, 300n])).raw;
    signed.refund = (await sessions.send(sue, "refund", [cydSue, 1_000n])).raw;
    signed.open = (await sessions.deposit(cydRex, cyd, 77n)).raw;
  });
  after(() => world.stop());

  /** Waits until the head is indexed, checks every row against logs and contract, and counts. */
  async function follow(at: Indexer): Promise<Counts> {
    await at.waitForBlock(await world.chain.client.getBlockNumber());
    const { differences } = await reconcile({ rpcUrl: world.chain.url, graphqlUrl: at.graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n });
    expect(differences).to.deep.equal([]);
    const tables = ["channels", "deposits", "claims", "skippedClaims", "refunds", "withdrawals"];
    const found = await graphql<Record<string, { totalCount: number }>>(at, `{ ${tables.map((name) => `${name} { totalCount }`).join(" ")} }`);
    return Object.fromEntries(tables.map((name) => [name, found[name]!.totalCount])) as Counts;
  }

  /** Drops everything after the snapshot and mines these instead, in this order, up to a higher head than before. */
  async function reorganise(instead: readonly Name[]): Promise<void> {
    const { chain, sessions } = world;
    const [old, { timestamp }] = await Promise.all([chain.client.getBlockNumber(), chain.client.getBlock()]);
    await chain.client.revert({ id: snapshot });
    snapshot = await chain.client.snapshot(); // a snapshot can be used once
    // A later time than any block had, so that no block is mined again with its old hash.
    await chain.warpTo(timestamp + 1n);
    for (const name of instead) await sessions.sendRaw(signed[name]);
    while ((await chain.client.getBlockNumber()) <= old) await chain.mineBlocks(1);
  }

  const more = (by: Partial<Counts>): Counts => Object.fromEntries(Object.entries(base).map(([name, count]) => [name, count + (by[name as keyof Counts] ?? 0)])) as Counts;
  const ALL = { channels: 1, deposits: 2, claims: 2, skippedClaims: 1, refunds: 1, withdrawals: 1 };

  it("indexes what was mined first", async () => {
    expect(await follow(indexer)).to.deep.equal(more(ALL));
  });

  it("forgets transactions that are mined no more", async () => {
    await reorganise([]);
    expect(await follow(indexer)).to.deep.equal(more({}));
  });

  it("follows when some of them are mined again", async () => {
    await reorganise(["topUp", "withdraw"]);
    expect(await follow(indexer)).to.deep.equal(more({ deposits: 1, withdrawals: 1 }));
  });

  it("follows when all are mined again in another order", async () => {
    await reorganise([...names].reverse());
    expect(await follow(indexer)).to.deep.equal(more(ALL));
  });

  it("follows to a shorter chain before it grows again", async () => {
    await world.chain.client.revert({ id: snapshot });
    snapshot = await world.chain.client.snapshot();
    const head = Number(await world.chain.client.getBlockNumber());
    for (;;) {
      const status = (await (await fetch(`${indexer.url}/status`)).json()) as { base: { block: { number: number } } };
      if (status.base.block.number === head) break;
      await sleep(25);
    }
    expect(await follow(indexer)).to.deep.equal(more({}));
    await reorganise(names);
    expect(await follow(indexer)).to.deep.equal(more(ALL));
  });

  it("follows any sequence of reorganisations", async () => {
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(names), async (instead) => {
        await reorganise(instead);
        const count = (name: Name) => (instead.includes(name) ? 1 : 0);
        expect(await follow(indexer)).to.deep.equal(
          more({
            channels: count("open"),
            deposits: count("topUp") + count("open"),
            claims: count("claim") + count("packed"),
            skippedClaims: count("packed"),
            refunds: count("refund"),
            withdrawals: count("withdraw"),
          }),
        );
      }),
      { numRuns: 12, seed: 1, endOnFailure: true },
    );
  });

  it("follows a reorganisation that happened while it was down", async () => {
    await reorganise(["open", "claim"]);
    await follow(indexer);
    await indexer.stop();
    await reorganise(["packed", "refund"]);
    indexer = await world.index({ databaseUrl: indexer.databaseUrl });
    expect(await follow(indexer)).to.deep.equal(more({ claims: 1, skippedClaims: 1, refunds: 1 }));
  });

  it("keeps what is older than its finality and follows what is younger", async () => {
    await reorganise(names);
    await world.chain.mineBlocks(70); // Ponder takes 30 blocks as final
    expect(await follow(indexer)).to.deep.equal(more(ALL));
    snapshot = await world.chain.client.snapshot();
    const { chain, sessions } = world;
    const { ada } = cast(chain);
    await sessions.deposit(configs(chain, SESSION_CHANNELS).adaRex, ada, 9n);
    expect(await follow(indexer)).to.deep.equal(more({ ...ALL, deposits: 3 }));
    await reorganise([]);
    expect(await follow(indexer)).to.deep.equal(more(ALL));
  });
});
