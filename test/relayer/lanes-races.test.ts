// What must not race on one channel does not, with several lanes in each of two processes: deposits, claims, refunds and what the
// facilitator sends. Lanes have no order among each other, so every order has to give the same sums.
import { expect } from "chai";
import { encodeFunctionData, keccak256, recoverTransactionAddress, toHex, type Address, type Hex, type TransactionSerialized } from "viem";
import { generatePrivateKey } from "viem/accounts";
import * as channels from "../../relayer/src/capabilities/channels/service.ts";
import { createFollower } from "../../relayer/src/capabilities/channels/follower.ts";
import { refundChannel } from "../../relayer/src/capabilities/channels/refund.ts";
import { findSent, labelOf, takeLabel } from "../../relayer/src/capabilities/facilitator/store.ts";
import { createSettlementWorker } from "../../relayer/src/capabilities/settlement/service.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { charge, depositRequest, lanesOf, newBuyer, signVoucher, startWorld, until, USDC, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

describe("lanes, on one channel", function () {
  this.timeout(90_000);
  let world: World;
  let one: TestDeps;
  let two: TestDeps;

  before(async () => {
    world = await startWorld();
    const submitterKeys = Array.from({ length: 3 }, generatePrivateKey);
    const env = { RELAYER_SETTLE_MAX_AGE_S: "0" };
    [one, two] = await Promise.all([world.relayer({ submitterKeys, env }), world.relayer({ submitterKeys, env })]);
  });
  after(() => world.stop());
  afterEach(async () => {
    world.proxy.heal();
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
  });

  const onChain = async ({ channelId }: Buyer) => {
    const [state] = await Promise.all([one.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [channelId] })]);
    return { balance: state[0], claimed: state[1] };
  };
  const paid = ({ config }: Buyer) => one.chain.client.readContract({ address: USDC, abi: testUSDCAbi, functionName: "balanceOf", args: [config.receiver] });
  const held = ({ config }: Buyer) => one.chain.client.readContract({ address: USDC, abi: testUSDCAbi, functionName: "balanceOf", args: [config.payer] });
  async function opened(amount: bigint): Promise<Buyer> {
    const buyer = await newBuyer(world, {}, amount);
    await channels.carryDeposit(one, await depositRequest(buyer, amount));
    return buyer;
  }
  const refund = async (deps: TestDeps, buyer: Buyer, ceiling: bigint) =>
    refundChannel(deps, { config: buyer.config, channelId: buyer.channelId, amount: undefined, voucher: { ceiling, signature: await signVoucher(buyer, ceiling) }, paymentId: "refund" });

  it("a deposit sent twenty times to two processes is one transaction", async () => {
    const buyer = await newBuyer(world, {}, 5_000n);
    const request = await depositRequest(buyer, 5_000n);
    const done = await Promise.all(Array.from({ length: 20 }, (_, index) => channels.carryDeposit(index % 2 === 0 ? one : two, request)));
    expect(new Set(done.map(({ txHash }) => txHash)).size).to.equal(1);
    expect((await onChain(buyer)).balance).to.equal(5_000n);
  });

  it("claims of many channels by two workers at once: each charge is claimed once, nobody is paid twice", async () => {
    const buyers = await Promise.all(Array.from({ length: 8 }, () => opened(10_000n)));
    for (let round = 1n; round <= 3n; round++) {
      for (const buyer of buyers) await charge(world.db, buyer, round * 1_000n);
      const workers = [createSettlementWorker(one), createSettlementWorker(two)];
      await until(async () => (await Promise.all(workers.map((worker) => worker.flush(5_000)))).includes(true) && (await claimedRows(buyers[0]!)) === round);
    }
    for (const buyer of buyers) {
      expect(await onChain(buyer)).to.deep.equal({ balance: 10_000n, claimed: 3_000n });
      expect(await paid(buyer)).to.equal(3_000n);
    }
    expect([...(await lanesOf(world, one)).values()].every((rows) => rows.length > 1), "every lane worked").to.equal(true);
  });

  it("claims and refunds of the same channels at once leave the same sums, whoever is first", async () => {
    const buyers = await Promise.all(Array.from({ length: 6 }, () => opened(10_000n)));
    for (const buyer of buyers) await charge(world.db, buyer, 4_000n);
    const worker = createSettlementWorker(two);
    await Promise.all([worker.flush(10_000), ...buyers.map((buyer, index) => refund(index % 2 === 0 ? one : two, buyer, 4_000n))]);
    await worker.flush(20_000);
    for (const buyer of buyers) {
      expect([(await onChain(buyer)).claimed, await held(buyer)]).to.deep.equal([4_000n, 6_000n]);
      await until(async () => (await worker.flush(5_000)) && (await paid(buyer)) === 4_000n);
    }
  });

  for (const first of ["claim", "refund"] as const) {
    it(`a claim and a refund under way in two lanes: the ${first} is mined first, the sums are the same`, async () => {
      const buyer = await opened(10_000n);
      await charge(world.db, buyer, 4_000n);
      await createFollower(one).tick();
      await rpc(world.nodeUrl, "evm_setAutomine", [false]);
      await createSettlementWorker(one).tick(); // the claim is under way
      const refunded = refund(two, buyer, 4_000n);
      await until(async () => (await sent(buyer)).length === 2);
      const [claimTx, refundTx] = await sent(buyer);
      expect(claimTx!.signer, "two lanes").to.not.equal(refundTx!.signer);
      // The later one never reached the node's pool when the block is made.
      const late = first === "claim" ? refundTx! : claimTx!;
      await until(async () => (await rpc<unknown>(world.nodeUrl, "eth_getTransactionByHash", [late.hash])) !== null);
      await rpc(world.nodeUrl, "hardhat_dropTransaction", [late.hash]);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop", when: async ([raw]) => (await senderOf(raw)) === late.signer });
      await rpc(world.nodeUrl, "evm_mine");
      world.proxy.heal();
      await rpc(world.nodeUrl, "evm_setAutomine", [true]);
      await refunded;
      const worker = createSettlementWorker(one);
      expect(await worker.flush(20_000)).to.equal(true);
      expect([(await onChain(buyer)).claimed, await paid(buyer), await held(buyer)]).to.deep.equal([4_000n, 4_000n, 6_000n]);
    });
  }

  it("the same request to the facilitator, at once in two processes and three lanes, is one transaction", async () => {
    const data = encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [USDC, 77n] });
    const label = labelOf(keccak256(toHex(`${Math.random()}`)));
    const attempts = await Promise.allSettled(
      Array.from({ length: 12 }, (_, index) =>
        (index % 2 === 0 ? one : two).submitter.submit({
          purpose: "claim", to: USDC, data, paymentId: label,
          record: async (client, txId) => { if (!(await takeLabel(client, label, txId, true))) throw new RangeError("another is under way"); },
        }),
      ),
    );
    const won = attempts.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value.txId] : []));
    expect(won.length).to.equal(1);
    expect(attempts.every((attempt) => attempt.status === "fulfilled" || attempt.reason instanceof RangeError)).to.equal(true);
    await one.submitter.wait(won[0]!, 10_000);
    expect([await findSent(world.db, label, true), await findSent(world.db, label, false)]).to.deep.equal([won[0], undefined]);
    const { rowCount } = await world.db.query("SELECT 1 FROM chain_tx WHERE payment_id = $1", [label]);
    expect(rowCount).to.equal(1);
  });

  it("the second lane waits for the first to decide: what is not committed yet is not there to be seen", async () => {
    const data = encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [USDC, 78n] });
    const label = labelOf(keccak256(toHex(`${Math.random()}`)));
    const gate = Promise.withResolvers<void>();
    let inside = 0;
    const submit = (hold: boolean) =>
      one.submitter.submit({
        purpose: "claim", to: USDC, data, paymentId: label,
        record: async (client, txId) => {
          if (!(await takeLabel(client, label, txId, true))) throw new RangeError("another is under way");
          inside += 1;
          if (hold) await gate.promise;
        },
      });
    const first = submit(true);
    await until(async () => inside === 1);
    const second = submit(false).then(() => "sent", () => "refused");
    const isWaiting = async () => (await world.db.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rowCount! > 0;
    await Promise.race([second, until(isWaiting)]);
    gate.resolve();
    await first;
    expect([await second, inside]).to.deep.equal(["refused", 1]);
  });

  async function claimedRows({ channelId }: Buyer): Promise<bigint> {
    const { rows } = await world.db.query("SELECT count(*) AS n FROM settlement_row WHERE channel_id = $1 AND state = 'claimed'", [toBytes(channelId)]);
    return rows[0].n;
  }

  /** The claim's and the refund's transactions that are under way, in this order. */
  async function sent({ channelId }: Buyer): Promise<{ hash: Hex; signer: Address }[]> {
    const { rows } = await world.db.query(
      `SELECT t.hash, t.raw FROM chain_tx t WHERE t.state IN ('signed', 'broadcast') AND (t.tx_id IN (SELECT tx_id FROM refund WHERE channel_id = $1)
         OR t.tx_id IN (SELECT b.tx_id FROM settlement_batch b JOIN settlement_row r USING (batch_id) WHERE r.channel_id = $1)) ORDER BY t.tx_id`,
      [toBytes(channelId)],
    );
    return Promise.all(rows.map(async (row) => ({ hash: `0x${row.hash.toString("hex")}` as Hex, signer: await senderOf(`0x${row.raw.toString("hex")}`) })));
  }
});

const senderOf = (raw: unknown): Promise<Address> => recoverTransactionAddress({ serializedTransaction: raw as TransactionSerialized });
