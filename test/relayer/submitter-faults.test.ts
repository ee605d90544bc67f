// What the wire and the node can do to a transaction after its bytes are committed. Whatever they say, it happens once or its
// owner is told that it never will.
import { expect } from "chai";
import { encodeFunctionData, numberToHex, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import * as channels from "../../relayer/src/capabilities/channels/service.ts";
import { createSettlementWorker } from "../../relayer/src/capabilities/settlement/service.ts";
import { openChain } from "../../relayer/src/chain/client.ts";
import { createSubmitter } from "../../relayer/src/chain/submitter.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { Fault } from "../support/rpc-proxy.ts";
import { charge, depositRequest, failure, lanesOf, mineOther, newBuyer, startWorld, until, USDC, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

describe("submitter, when the node misbehaves", function () {
  this.timeout(90_000);
  let world: World;
  before(async () => void (world = await startWorld()));
  after(() => world.stop());
  afterEach(async () => {
    world.proxy.heal();
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
  });

  const approve = (amount: bigint): Hex => encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [USDC, amount] });
  const send = (deps: TestDeps, amount = 1n) => deps.submitter.submit({ purpose: "settle", to: USDC, data: approve(amount) });
  const states = async (deps: TestDeps) => [...(await lanesOf(world, deps)).values()].flat();
  const mined = async (deps: TestDeps) => Number(await rpc<Hex>(world.nodeUrl, "eth_getTransactionCount", [deps.submitter.address, "latest"]));
  const totalOf = async (deps: TestDeps, { channelId }: Buyer) =>
    (await deps.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [channelId] }))[1];

  const REFUSALS: Record<string, Omit<Fault, "method">> = {
    "nonce too low": { kind: "error", code: -32000, message: "nonce too low: next nonce 9, tx nonce 0" },
    "nonce too high": { kind: "error", code: -32000, message: "nonce too high" },
    "already known, and it is": { kind: "late", code: -32000, message: "already known" },
    "already known, and it is not": { kind: "error", code: -32000, message: "already known" },
    "replacement underpriced": { kind: "error", code: -32000, message: "replacement transaction underpriced" },
    "insufficient funds": { kind: "error", code: -32000, message: "insufficient funds for gas * price + value" },
    "an internal error, after accepting": { kind: "late" },
    "rate limited (429)": { kind: "status", status: 429 },
    "broken (500)": { kind: "status", status: 500 },
    "a connection that breaks after accepting": { kind: "lose" },
    "a connection that breaks before": { kind: "drop" },
    "another hash than ours": { kind: "lie", lie: () => numberToHex(7n, { size: 32 }) },
    "accepted, though it is thrown away": { kind: "fake", lie: () => numberToHex(7n, { size: 32 }) },
  };
  for (const [answer, fault] of Object.entries(REFUSALS)) {
    it(`a broadcast that is answered "${answer}": mined once`, async () => {
      const deps = await world.relayer();
      // Twice: the transport asks a second time when there was no answer.
      world.proxy.fail({ method: "eth_sendRawTransaction", times: 2, ...fault });
      const { txId, hash } = await send(deps);
      expect(await deps.submitter.wait(txId, 20_000)).to.include({ status: "confirmed", hash });
      expect([await mined(deps), await states(deps)]).to.deep.equal([1, [[0, "confirmed"]]]);
    });
  }

  it("a node that accepts and answers after we gave up: mined once, and what follows goes on", async () => {
    const base = await world.relayer();
    const chain = openChain([world.proxy.url], base.config.chainId, 150);
    const deps = { ...base, chain, submitter: createSubmitter({ ...base, chain, signers: [privateKeyToAccount(base.config.submitterKeys[0]!)] }) };
    world.proxy.fail({ method: "eth_sendRawTransaction", kind: "delay", delayMs: 400, times: 2 });
    const { txId } = await send(deps, 1n);
    expect(await states(deps)).to.deep.equal([[0, "signed"]]);
    expect(await deps.submitter.wait(txId, 20_000)).to.have.property("status", "confirmed");
    expect(await deps.submitter.wait((await send(deps, 2n)).txId, 20_000)).to.have.property("status", "confirmed");
    expect(await mined(deps)).to.equal(2);
  });

  it("a pool that forgets it gets it again", async () => {
    const deps = await world.relayer();
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const sent = [await send(deps, 1n), await send(deps, 2n)];
    for (const { hash } of sent) expect(await rpc(world.nodeUrl, "hardhat_dropTransaction", [hash])).to.equal(true);
    await rpc(world.nodeUrl, "evm_mine");
    expect(await mined(deps)).to.equal(0);
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    for (const { txId, hash } of sent) expect(await deps.submitter.wait(txId, 20_000)).to.include({ status: "confirmed", hash });
    expect(await states(deps)).to.deep.equal([[0, "confirmed"], [1, "confirmed"]]);
  });

  it("every endpoint down for a while, with work under way: nothing is lost, nothing is said to have failed", async () => {
    const deps = await world.relayer();
    await deps.submitter.start();
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const { txId } = await send(deps, 1n);
    world.proxy.fail({ method: "*", kind: "drop" });
    expect(await failure(send(deps, 2n))).to.include({ code: "chain_unavailable", status: 503, retry: "safe" });
    const waiting = deps.submitter.wait(txId, 30_000);
    expect(await deps.submitter.wait(txId, 300)).to.have.property("status", "pending");
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
    expect(await states(deps)).to.deep.equal([[0, "broadcast"]]);
    world.proxy.heal();
    expect(await waiting).to.have.property("status", "confirmed");
    expect(await deps.submitter.wait((await send(deps, 2n)).txId, 20_000)).to.have.property("status", "confirmed");
    await deps.submitter.stop();
  });

  describe("and the work behind it", () => {
    const env = { RELAYER_SETTLE_MAX_AGE_S: "0" };
    const settle = (deps: TestDeps) => createSettlementWorker(deps);
    async function charged(deps: TestDeps, amount: bigint): Promise<Buyer> {
      const buyer = await newBuyer(world);
      await channels.carryDeposit(deps, await depositRequest(buyer, 10_000n));
      await charge(world.db, buyer, amount);
      return buyer;
    }
    const rowsOf = async ({ channelId }: Buyer) => {
      const { rows } = await world.db.query("SELECT r.state, r.reason FROM settlement_row r WHERE channel_id = $1 ORDER BY batch_id", [toBytes(channelId)]);
      return rows.map(({ state, reason }) => (reason === null ? state : `${state}: ${reason}`));
    };
    /** Spends the lane's next nonce with a transaction that we know nothing of. */
    async function rival(key: Hex, deps: TestDeps): Promise<void> {
      const nonce = await mined(deps);
      const raw = await privateKeyToAccount(key).signTransaction({
        type: "eip1559", chainId: deps.config.chainId, nonce, to: USDC, data: approve(9n), gas: 100_000n, maxFeePerGas: 10n ** 11n, maxPriorityFeePerGas: 1n,
      });
      await rpc(world.nodeUrl, "eth_sendRawTransaction", [raw]);
      expect(await mined(deps)).to.equal(nonce + 1);
    }

    it("a claim whose nonce somebody else spent is dropped, and claimed again", async () => {
      const submitterKey = generatePrivateKey();
      const deps = await world.relayer({ submitterKey, env });
      const buyer = await charged(deps, 1_000n);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
      await settle(deps).tick();
      expect(await rowsOf(buyer)).to.deep.equal(["sent"]);
      await rival(submitterKey, deps);
      world.proxy.heal();
      await settle(deps).tick();
      expect(await rowsOf(buyer), "not so soon: the node may be behind").to.deep.equal(["sent"]);
      await mineOther(world, 40);
      expect(await settle(deps).flush()).to.equal(true);
      expect(await rowsOf(buyer)).to.deep.equal(["failed: dropped", "claimed"]);
      expect(await totalOf(deps, buyer)).to.equal(1_000n);
    });

    it("a deposit whose nonce somebody else spent is carried again when its payment comes again", async () => {
      const submitterKey = generatePrivateKey();
      const deps = await world.relayer({ submitterKey, env });
      const buyer = await newBuyer(world);
      const request = await depositRequest(buyer, 5_000n);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
      const first = { ...deps, submitter: { ...deps.submitter, wait: async () => Promise.reject(new RangeError("crash")) } };
      expect(await failure(channels.carryDeposit(first, request))).to.be.instanceOf(RangeError);
      await rival(submitterKey, deps);
      world.proxy.heal();
      await mineOther(world, 40);
      await until(async () => (await deps.submitter.sweep(), (await states(deps))[0]![1] === "dropped"));
      await channels.carryDeposit(deps, request);
      const [balance] = await deps.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [buyer.channelId] });
      expect(balance).to.equal(5_000n);
      expect((await states(deps)).map(([, state]) => state)).to.deep.equal(["dropped", "confirmed"]);
    });

    it("a database from before the claim: the chain's nonce is ahead, nothing is claimed twice, and the lane goes on", async () => {
      const submitterKey = generatePrivateKey();
      const deps = await world.relayer({ submitterKey, env });
      const buyer = await charged(deps, 1_000n);
      const restore = await backup();
      expect(await settle(deps).flush()).to.equal(true);
      const nonce = await mined(deps);
      await restore();

      const next = await world.relayer({ submitterKey, env });
      expect(await settle(next).flush()).to.equal(true);
      expect(await totalOf(next, buyer)).to.equal(1_000n);
      await charge(world.db, buyer, 3_000n);
      expect(await settle(next).flush()).to.equal(true);
      expect(await totalOf(next, buyer)).to.equal(3_000n);
      expect(await paid(next, buyer)).to.equal(3_000n);
      expect((await states(next)).every(([, state]) => state === "confirmed")).to.equal(true);
      expect((await states(next)).at(-1)![0], "no nonce is used again").to.be.at.least(nonce);
    });

    it("a database from before a fee bump that was mined: the old version is dropped, and nothing is claimed twice", async () => {
      const submitterKey = generatePrivateKey();
      const deps = await world.relayer({ submitterKey, env: { ...env, RELAYER_BUMP_AFTER_MS: "100" } });
      const buyer = await charged(deps, 1_000n);
      await rpc(world.nodeUrl, "evm_setAutomine", [false]);
      await settle(deps).tick();
      const restore = await backup();
      await until(async () => (await deps.submitter.sweep(), (await world.db.query("SELECT 1 FROM chain_tx_version v JOIN chain_tx t USING (tx_id) WHERE t.signer = $1", [toBytes(deps.submitter.address)])).rowCount! >= 2));
      await rpc(world.nodeUrl, "evm_setAutomine", [true]);
      await rpc(world.nodeUrl, "evm_mine");
      expect(await totalOf(deps, buyer)).to.equal(1_000n);
      await restore();

      const next = await world.relayer({ submitterKey, env });
      await settle(next).tick();
      expect(await rowsOf(buyer)).to.deep.equal(["sent"]);
      await mineOther(world, 40);
      expect(await settle(next).flush()).to.equal(true);
      expect([await totalOf(next, buyer), await paid(next, buyer)]).to.deep.equal([1_000n, 1_000n]);
      expect((await rowsOf(buyer))[0], "what was claimed already is success").to.match(/^(claimed|failed: dropped)/);
      await charge(world.db, buyer, 2_000n);
      expect(await settle(next).flush()).to.equal(true);
      expect([await totalOf(next, buyer), await paid(next, buyer)]).to.deep.equal([2_000n, 2_000n]);
    });

    const paid = (deps: TestDeps, { config }: Buyer) => deps.chain.client.readContract({ address: USDC, abi: testUSDCAbi, functionName: "balanceOf", args: [config.receiver] });
  });

  /** What a restored backup is: every table that says what was sent, as it is now. @returns what puts it back. */
  async function backup(): Promise<() => Promise<void>> {
    const { rows: tables } = await world.db.query("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migration'");
    const name = `backup_${Date.now()}`;
    await world.db.query(`CREATE SCHEMA ${name}`);
    for (const table of tables) await world.db.query(`CREATE TABLE ${name}."${table.name}" AS SELECT * FROM public."${table.name}"`);
    return async () => {
      const client = await world.db.connect();
      try {
        await client.query("BEGIN; SET LOCAL session_replication_role = replica");
        for (const table of tables) {
          const { rows } = await client.query("SELECT string_agg(quote_ident(column_name), ', ') AS columns FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'", [table.name]);
          await client.query(`DELETE FROM public."${table.name}"; INSERT INTO public."${table.name}" (${rows[0].columns}) OVERRIDING SYSTEM VALUE SELECT ${rows[0].columns} FROM ${name}."${table.name}"`);
        }
        await client.query("COMMIT");
      } finally {
        client.release();
      }
    };
  }
});
