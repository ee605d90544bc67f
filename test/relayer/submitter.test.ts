import { expect } from "chai";
import { encodeFunctionData, numberToHex, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { failure, mineOther, startWorld, until, USDC, type TestDeps, type World } from "../support/settlement-world.ts";

describe("submitter", function () {
  this.timeout(60_000);
  let world: World;
  before(async () => void (world = await startWorld()));
  after(() => world.stop());
  afterEach(async () => {
    world.proxy.heal();
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
  });

  // Anybody may approve anything: a call that always passes.
  const approve = (amount: bigint): Hex => encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [USDC, amount] });
  const send = (deps: TestDeps, amount = 1n) => deps.submitter.submit({ purpose: "settle", to: USDC, data: approve(amount) });
  const states = async (deps: TestDeps) =>
    (await world.db.query("SELECT nonce, state FROM chain_tx WHERE signer = $1 ORDER BY nonce", [Buffer.from(deps.submitter.address.slice(2), "hex")])).rows.map((row) => [Number(row.nonce), row.state]);
  const mined = async (deps: TestDeps) => Number(await rpc<Hex>(world.nodeUrl, "eth_getTransactionCount", [deps.submitter.address, "latest"]));

  it("confirms with the receipt and records gas", async () => {
    const deps = await world.relayer();
    const { txId, hash } = await send(deps);
    const outcome = await deps.submitter.wait(txId, 5_000);
    expect(outcome).to.include({ status: "confirmed", hash });
    const { rows } = await world.db.query("SELECT state, gas_used, gas_price_wei, block_hash FROM chain_tx WHERE tx_id = $1", [txId]);
    expect(rows[0].state).to.equal("confirmed");
    expect(rows[0].gas_used > 0n && rows[0].gas_price_wei > 0n).to.equal(true);
  });

  it("takes no nonce for a call that reverts", async () => {
    const deps = await world.relayer();
    const data = encodeFunctionData({ abi: testUSDCAbi, functionName: "transfer", args: [USDC, 1n] });
    const error = await failure(deps.submitter.submit({ purpose: "settle", to: USDC, data }));
    expect(error).to.not.have.property("code", "chain_unavailable");
    expect(await states(deps)).to.deep.equal([]);
    await deps.submitter.wait((await send(deps)).txId, 5_000);
    expect(await states(deps)).to.deep.equal([[0, "confirmed"]]);
  });

  it("commits nothing when the caller's record fails", async () => {
    const deps = await world.relayer();
    const error = await failure(deps.submitter.submit({ purpose: "settle", to: USDC, data: approve(1n), record: async () => { throw new Error("mine"); } }));
    expect(error.message).to.equal("mine");
    expect(await states(deps)).to.deep.equal([]);
    expect(await mined(deps)).to.equal(0);
  });

  it("says chain_unavailable before anything is committed", async () => {
    const deps = await world.relayer();
    world.proxy.fail({ method: "*", kind: "drop" });
    expect(await failure(send(deps))).to.include({ code: "chain_unavailable", status: 503, retry: "safe" });
    expect(await states(deps)).to.deep.equal([]);
  });

  it("refuses to sign what it cannot pay for", async () => {
    const deps = await world.relayer();
    await rpc(world.nodeUrl, "hardhat_setBalance", [deps.submitter.address, "0x1"]);
    expect(await failure(send(deps))).to.include({ code: "submitter_unfunded", status: 503 });
    expect(await states(deps)).to.deep.equal([]);
  });

  it("a crash between commit and broadcast is finished by the next process", async () => {
    const submitterKey = generatePrivateKey();
    const crashed = await world.relayer({ submitterKey });
    world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
    await send(crashed, 1n);
    await send(crashed, 2n);
    expect(await mined(crashed)).to.equal(0);
    world.proxy.heal();

    const next = await world.relayer({ submitterKey });
    await next.submitter.start();
    await until(async () => (await states(next)).every(([, state]) => state === "confirmed"));
    expect(await states(next)).to.deep.equal([[0, "confirmed"], [1, "confirmed"]]);
    expect(await mined(next)).to.equal(2);
    await next.submitter.stop();
  });

  it("an answer lost after the node accepted is resolved by the receipt, and sent once", async () => {
    const deps = await world.relayer();
    world.proxy.fail({ method: "eth_sendRawTransaction", kind: "lose" });
    const { txId } = await send(deps);
    expect(await states(deps)).to.deep.equal([[0, "signed"]]);
    expect(await deps.submitter.wait(txId, 5_000)).to.have.property("status", "confirmed");
    expect(await mined(deps)).to.equal(1);
  });

  it("two processes on one key get distinct consecutive nonces", async () => {
    const submitterKey = generatePrivateKey();
    const [one, two] = [await world.relayer({ submitterKey }), await world.relayer({ submitterKey })];
    const sent = await Promise.all(Array.from({ length: 20 }, (_, index) => send(index % 2 === 0 ? one! : two!, BigInt(index))));
    await Promise.all(sent.map(({ txId }, index) => (index % 2 === 0 ? two! : one!).submitter.wait(txId, 20_000)));
    expect(await states(one!)).to.deep.equal(Array.from({ length: 20 }, (_, nonce) => [nonce, "confirmed"]));
  });

  it("continues after the chain's nonce when the key was used elsewhere", async () => {
    const submitterKey = generatePrivateKey();
    const deps = await world.relayer({ submitterKey });
    await rpc(world.nodeUrl, "hardhat_setNonce", [deps.submitter.address, numberToHex(7)]);
    const { txId } = await send(deps);
    expect(await deps.submitter.wait(txId, 5_000)).to.have.property("status", "confirmed");
    expect(await states(deps)).to.deep.equal([[7, "confirmed"]]);
  });

  it("counts as confirmed only at depth", async () => {
    const deps = await world.relayer({ env: { RELAYER_CONFIRMATIONS: "3" } });
    const { txId } = await send(deps);
    expect(await deps.submitter.wait(txId, 200)).to.have.property("status", "pending");
    await mineOther(world, 1);
    expect(await deps.submitter.wait(txId, 200)).to.have.property("status", "pending");
    await mineOther(world, 1);
    expect(await deps.submitter.wait(txId, 2_000)).to.have.property("status", "confirmed");
  });

  it("a reorganisation that drops a confirmed transaction opens it again, and the hole in the lane heals", async () => {
    const deps = await world.relayer();
    const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
    const first = await send(deps, 1n);
    expect(await deps.submitter.wait(first.txId, 5_000)).to.have.property("status", "confirmed");
    await rpc(world.nodeUrl, "evm_revert", [snapshot]);
    await mineOther(world, 3);
    expect(await mined(deps)).to.equal(0);

    const second = await send(deps, 2n); // nonce 1: stuck until nonce 0 is back
    await deps.submitter.sweep();
    expect(await deps.submitter.wait(first.txId, 10_000)).to.have.property("status", "confirmed");
    expect(await deps.submitter.wait(second.txId, 10_000)).to.have.property("status", "confirmed");
    expect(await mined(deps)).to.equal(2);
  });

  it("a nonce spent by somebody else's transaction ends as dropped", async () => {
    const submitterKey = generatePrivateKey();
    const deps = await world.relayer({ submitterKey });
    world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
    const { txId } = await send(deps, 1n);
    const rival = await privateKeyToAccount(submitterKey).signTransaction({
      type: "eip1559", chainId: deps.config.chainId, nonce: 0, to: USDC, data: approve(9n), gas: 100_000n, maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 1n,
    });
    await rpc(world.nodeUrl, "eth_sendRawTransaction", [rival]);
    world.proxy.heal();
    expect(await deps.submitter.wait(txId, 200)).to.have.property("status", "pending");
    await mineOther(world, 40);
    expect(await deps.submitter.wait(txId, 5_000)).to.have.property("status", "dropped");
    expect(await deps.submitter.wait((await send(deps, 2n)).txId, 5_000)).to.have.property("status", "confirmed");
  });

  describe("a transaction that is not mined", () => {
    const versions = async (txId: bigint) => (await world.db.query("SELECT count(*) AS n FROM chain_tx_version WHERE tx_id = $1", [txId])).rows[0].n as bigint;
    const sweeps = (deps: TestDeps, done: () => Promise<boolean>) => until(async () => (await deps.submitter.sweep(), done()));
    const bumping = (env: Record<string, string> = {}) => world.relayer({ env: { RELAYER_BUMP_AFTER_MS: "100", ...env } });
    /** The next block takes only transactions that offer `wei` or more. */
    const dearer = async (wei: bigint) => {
      await rpc(world.nodeUrl, "evm_setAutomine", [false]);
      await rpc(world.nodeUrl, "hardhat_setNextBlockBaseFeePerGas", [numberToHex(wei)]);
    };

    it("gets higher fees, is mined once, and its record names the version that was", async () => {
      const deps = await bumping();
      await dearer(2n * 10n ** 10n);
      const { txId, hash } = await send(deps);
      await rpc(world.nodeUrl, "evm_mine"); // the base fee is above the offer
      expect(await mined(deps)).to.equal(0);
      await sweeps(deps, async () => (await versions(txId)) >= 2n);
      await rpc(world.nodeUrl, "evm_setAutomine", [true]);
      await rpc(world.nodeUrl, "evm_mine");
      await sweeps(deps, async () => (await states(deps)).every(([, state]) => state === "confirmed"));
      expect(await mined(deps)).to.equal(1);
      const outcome = await deps.submitter.wait(txId, 5_000);
      expect(outcome.status).to.equal("confirmed");
      expect(outcome.hash).to.not.equal(hash);
      const { rows } = await world.db.query("SELECT hash FROM chain_tx WHERE tx_id = $1", [txId]);
      expect(`0x${rows[0].hash.toString("hex")}`).to.equal(outcome.hash);
    });

    it("is known by whichever version was mined, also an older one", async () => {
      const deps = await bumping();
      await rpc(world.nodeUrl, "evm_setAutomine", [false]);
      const { txId, hash } = await send(deps);
      world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" }); // the node never sees the newer version
      await sweeps(deps, async () => (await versions(txId)) >= 2n);
      await rpc(world.nodeUrl, "evm_mine");
      await rpc(world.nodeUrl, "evm_mine");
      const outcome = await deps.submitter.wait(txId, 5_000);
      expect(outcome).to.include({ status: "confirmed", hash });
      world.proxy.heal();
      await rpc(world.nodeUrl, "evm_setAutomine", [true]);
      expect(await deps.submitter.wait((await send(deps, 2n)).txId, 5_000)).to.have.property("status", "confirmed");
    });

    it("gets one newer version when two processes find it stuck", async () => {
      const submitterKey = generatePrivateKey();
      const env = { RELAYER_BUMP_AFTER_MS: "600" };
      const [one, two] = [await world.relayer({ submitterKey, env }), await world.relayer({ submitterKey, env })];
      await rpc(world.nodeUrl, "evm_setAutomine", [false]);
      const { txId } = await send(one!);
      await until(async () => {
        await Promise.all([one!.submitter.sweep(), two!.submitter.sweep(), one!.submitter.sweep(), two!.submitter.sweep()]);
        return (await versions(txId)) > 0n;
      });
      expect(await versions(txId)).to.equal(2n);
      await rpc(world.nodeUrl, "evm_setAutomine", [true]);
      await rpc(world.nodeUrl, "evm_mine");
    });

    it("is never offered more than the cap", async () => {
      const block = await rpc<{ baseFeePerGas: Hex }>(world.nodeUrl, "eth_getBlockByNumber", ["latest", false]);
      const deps = await bumping({ RELAYER_MAX_FEE_WEI: String(BigInt(block.baseFeePerGas) + 1_000n) }); // enough for the next block, not for more
      await rpc(world.nodeUrl, "evm_setAutomine", [false]);
      const { txId } = await send(deps);
      await new Promise((next) => setTimeout(next, 150));
      for (let pass = 0; pass < 3; pass++) await deps.submitter.sweep();
      expect(await versions(txId)).to.equal(0n);
      await rpc(world.nodeUrl, "evm_setAutomine", [true]);
      await rpc(world.nodeUrl, "evm_mine");
    });

    it("has a missing nonce before it filled, as after a restore of the database", async () => {
      const deps = await world.relayer();
      await deps.submitter.start();
      await deps.submitter.stop();
      await world.db.query("UPDATE chain_signer SET next_nonce = 2 WHERE address = $1", [Buffer.from(deps.submitter.address.slice(2), "hex")]);
      const { txId } = await send(deps);
      expect(await mined(deps)).to.equal(0);
      await sweeps(deps, async () => (await mined(deps)) === 3);
      expect(await deps.submitter.wait(txId, 5_000)).to.have.property("status", "confirmed");
      await sweeps(deps, async () => (await states(deps)).every(([, state]) => state === "confirmed"));
      expect((await states(deps)).map(([nonce]) => nonce)).to.deep.equal([0, 1, 2]);
    });
  });
});
