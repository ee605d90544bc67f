// Several RPC endpoints: one that is down, lags or lies costs nothing, and is never believed alone where money depends on it.
import { expect } from "chai";
import { encodeFunctionData, numberToHex, parseTransaction, type Hex, type TransactionSerialized } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { readView } from "../../relayer/src/capabilities/channels/chain-view.ts";
import { headOf, openChain } from "../../relayer/src/chain/client.ts";
import { createSubmitter } from "../../relayer/src/chain/submitter.ts";
import { privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { depositRequest, lanesOf, mineOther, newBuyer, startWorld, USDC, type TestDeps, type World } from "../support/settlement-world.ts";
import * as channels from "../../relayer/src/capabilities/channels/service.ts";

describe("several RPC endpoints", function () {
  this.timeout(60_000);
  let world: World;
  let proxies: RpcProxy[];
  let deps: TestDeps;
  let channelId: Hex;

  before(async () => {
    world = await startWorld();
    proxies = await Promise.all([0, 1, 2].map(() => startRpcProxy(world.nodeUrl)));
    const submitterKey = generatePrivateKey();
    const base = await world.relayer({ submitterKey });
    const chain = openChain(proxies.map(({ url }) => url), base.config.chainId);
    deps = { ...base, chain, submitter: createSubmitter({ ...base, chain, signers: [privateKeyToAccount(submitterKey)] }) };
    const buyer = await newBuyer(world);
    channelId = buyer.channelId;
    await channels.carryDeposit(deps, await depositRequest(buyer, 5_000n));
  });
  after(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    await world.stop();
  });
  afterEach(() => proxies.forEach((proxy) => proxy.heal()));

  const balance = async () => (await readView(deps, [channelId])).get(channelId)!.balance;
  const failure = (work: Promise<unknown>) => work.then(() => ({ code: "none" }), (error: { code?: string }) => error);
  const send = () => deps.submitter.submit({ purpose: "settle", to: USDC, data: encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [USDC, 1n] }) });

  it("go on with one down, whichever it is", async () => {
    for (const proxy of proxies) {
      proxy.fail({ method: "*", kind: "drop" });
      expect(await balance()).to.equal(5_000n);
      const { txId } = await send();
      expect(await deps.submitter.wait(txId, 5_000)).to.have.property("status", "confirmed");
      proxy.heal();
    }
  });

  it("refuse to tell a balance that only one of them tells", async () => {
    // Every word of the multicall's answer that holds the balance, grown a hundredfold.
    const lie = (result: unknown) => String(result).replaceAll(numberToHex(5_000n, { size: 32 }).slice(2), numberToHex(500_000n, { size: 32 }).slice(2));
    proxies[0]!.fail({ method: "eth_call", kind: "lie", lie });
    expect(await balance()).to.equal(5_000n);
    proxies[1]!.fail({ method: "*", kind: "drop" });
    expect(await failure(balance())).to.include({ code: "chain_unavailable", status: 503 });
  });

  it("take the newest block that most of them have", async () => {
    const head = BigInt(await rpc<Hex>(world.nodeUrl, "eth_blockNumber"));
    proxies[0]!.fail({ method: "eth_blockNumber", kind: "lie", lie: () => numberToHex(head + 1_000n) });
    expect(await headOf(deps.chain)).to.equal(head);
    proxies[0]!.heal();
    proxies[0]!.fail({ method: "eth_blockNumber", kind: "lie", lie: () => "0x1" });
    expect(await headOf(deps.chain)).to.equal(head);
  });

  it("are not believed alone that a transaction was mined", async () => {
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const earlier = await rpc<{ transactions: Hex[] }>(world.nodeUrl, "eth_getBlockByNumber", ["latest", false]);
    const real = await rpc<Record<string, unknown>>(world.nodeUrl, "eth_getTransactionReceipt", [earlier.transactions[0]]);
    const { txId } = await send();
    proxies[0]!.fail({ method: "eth_getTransactionReceipt", kind: "lie", lie: (_truth, [hash]) => ({ ...real, transactionHash: hash }) });
    expect(await deps.submitter.wait(txId, 500)).to.have.property("status", "pending");
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
    proxies[0]!.heal();
    expect(await deps.submitter.wait(txId, 5_000)).to.have.property("status", "confirmed");
  });

  describe("and one that does not tell the truth", () => {
    const liar = (method: string, lie: (result: unknown, params: unknown[]) => unknown) => proxies[0]!.fail({ method, kind: "lie", lie });
    const confirmed = async (txId: bigint) => expect(await deps.submitter.wait(txId, 10_000)).to.have.property("status", "confirmed");
    const nonces = async () => [...(await lanesOf(world, deps)).values()].flat().map(([nonce]) => nonce);
    const offered = async (txId: bigint) => {
      const { rows } = await world.db.query("SELECT raw FROM chain_tx WHERE tx_id = $1", [txId]);
      return parseTransaction(`0x${rows[0].raw.toString("hex")}` as TransactionSerialized);
    };
    /** Longer than fees, balance and nonce are remembered here. */
    const forget = () => new Promise((next) => setTimeout(next, 40));
    beforeEach(forget);

    it("lags ten blocks behind: nothing waits for it", async () => {
      const head = BigInt(await rpc<Hex>(world.nodeUrl, "eth_blockNumber"));
      const behind = numberToHex(head > 10n ? head - 10n : 1n);
      liar("eth_blockNumber", () => behind);
      liar("eth_getTransactionCount", () => "0x0");
      for (const method of ["eth_getTransactionReceipt", "eth_getTransactionByHash"]) liar(method, () => null);
      const before = await nonces();
      for (let count = 0; count < 3; count++) await confirmed((await send()).txId);
      expect(await nonces()).to.deep.equal([...before, before.length, before.length + 1, before.length + 2]);
    });

    it("counts more transactions than there are: no nonce is skipped", async () => {
      liar("eth_getTransactionCount", () => numberToHex(1_000_000));
      const before = await nonces();
      await confirmed((await send()).txId);
      expect(await nonces()).to.deep.equal([...before, before.length]);
      await mineOther(world, 40);
      await rpc(world.nodeUrl, "evm_setAutomine", [false]);
      const { txId } = await send();
      for (let pass = 0; pass < 3; pass++) await deps.submitter.sweep();
      expect(await deps.submitter.wait(txId, 0), "nor is what waits taken for dropped").to.have.property("status", "pending");
      await rpc(world.nodeUrl, "evm_setAutomine", [true]);
      await rpc(world.nodeUrl, "evm_mine");
      await confirmed(txId);
    });

    it("names mad fees: we pay what the others name", async () => {
      liar("eth_maxPriorityFeePerGas", () => numberToHex(10n ** 18n));
      liar("eth_getBlockByNumber", (block) => ({ ...(block as object), baseFeePerGas: numberToHex(10n ** 18n) }));
      const { txId } = await send();
      expect((await offered(txId)).maxFeePerGas! < 10n ** 12n).to.equal(true);
      await confirmed(txId);
    });

    it("says our account is empty, or that the call reverts or needs hardly any gas: the others are asked", async () => {
      liar("eth_getBalance", () => "0x0");
      await confirmed((await send()).txId);
      proxies[0]!.heal();
      proxies[0]!.fail({ method: "eth_estimateGas", kind: "error", code: 3, message: "execution reverted" });
      await confirmed((await send()).txId);
      proxies[0]!.heal();
      liar("eth_estimateGas", () => numberToHex(21_001));
      const { txId } = await send();
      expect((await offered(txId)).gas! > 30_000n).to.equal(true);
      await confirmed(txId);
    });

    it("takes our transactions and tells nobody: the others have them", async () => {
      proxies[0]!.fail({ method: "eth_sendRawTransaction", kind: "fake", lie: () => numberToHex(7n, { size: 32 }) });
      await confirmed((await send()).txId);
    });

    it("invents logs, or another outcome: the receipt that most of them have counts", async () => {
      const forged = (change: Record<string, unknown>) => liar("eth_getTransactionReceipt", (receipt) => receipt && { ...(receipt as object), ...change });
      for (const change of [{ logs: [] }, { status: "0x0" }, { blockHash: numberToHex(5n, { size: 32 }) }]) {
        forged(change);
        const outcome = await deps.submitter.wait((await send()).txId, 10_000);
        expect(outcome.status).to.equal("confirmed");
        if ("receipt" in outcome) expect([outcome.receipt.logs.length, outcome.receipt.status]).to.deep.equal([1, "success"]);
        proxies[0]!.heal();
      }
    });

    it("speaks of a reorganisation that did not happen: nothing is opened again", async () => {
      const { txId } = await send();
      await confirmed(txId);
      liar("eth_getBlockByNumber", (block) => ({ ...(block as object), hash: numberToHex(6n, { size: 32 }) }));
      for (let pass = 0; pass < 3; pass++) await deps.submitter.sweep();
      const { rows } = await world.db.query("SELECT state FROM chain_tx WHERE tx_id = $1", [txId]);
      expect(rows[0].state).to.equal("confirmed");
    });

    it("never answers: the others do not wait for it", async () => {
      proxies[0]!.fail({ method: "*", kind: "delay", delayMs: 60_000 });
      await confirmed((await send()).txId);
      expect(await balance()).to.equal(5_000n);
      proxies[0]!.heal();
    });
  });
});
