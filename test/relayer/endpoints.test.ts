// Several RPC endpoints: one that is down, lags or lies costs nothing, and is never believed alone where money depends on it.
import { expect } from "chai";
import { encodeFunctionData, numberToHex, type Hex } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { readView } from "../../relayer/src/capabilities/channels/chain-view.ts";
import { headOf, openChain } from "../../relayer/src/chain/client.ts";
import { createSubmitter } from "../../relayer/src/chain/submitter.ts";
import { privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { depositRequest, newBuyer, startWorld, USDC, type TestDeps, type World } from "../support/settlement-world.ts";
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
});
