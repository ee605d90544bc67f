// Attacks on MandateRegistry, on a real node with the contracts of the local world. Each ends with a look at the chain: what left
// the principal is what it allowed, to whom it allowed it.
import { expect } from "chai";
import { createHardhatRuntimeEnvironment } from "hardhat/hre";
import { decodeErrorResult, encodeFunctionData, getAddress, maxUint256, numberToHex, zeroHash, type Address, type Hex } from "viem";
import { rpc } from "../../scripts/local/chain.ts";
import { placeContracts } from "../../scripts/local/contracts.ts";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { mandateDepositData, mandateDepositDigest, spendOrder } from "../../sdk/src/mandate-messages.ts";
import { mandateRegistryDomain, type Mandate } from "../../sdk/src/mandate.ts";
import { payeeProof, payeesRoot } from "../../sdk/src/payees.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";
import { call, dataOf, exactly, granted, idOf, inOneBlock, moved, newCast, refusalOf, rootOf, sendTo, signedBy, submit, USDC, DOMAIN, type Cast } from "../support/mandate-attacks.ts";
import { idOf as channelIdOf } from "../support/session.ts";

describe("attacks on the contract", function () {
  this.timeout(120_000);
  let chain: TestChain;
  let cast: Cast;
  before(async () => void (chain = await startTestChain()));
  after(() => chain.stop());
  beforeEach(async () => void (cast = await newCast(chain)));

  /** An approved root with these terms. */
  async function approvedRoot(terms: Partial<Mandate> = {}): Promise<Mandate> {
    const root = rootOf(cast, terms);
    expect((await call(chain, cast.principal, "approve", [[root]])).status).to.equal("success");
    return root;
  }

  function channelTo(receiver: Address, terms: Partial<ChannelConfig> = {}): ChannelConfig {
    return {
      payer: cast.principal.address, payerAuthorizer: cast.agent.address, receiver, receiverAuthorizer: receiver,
      token: USDC, withdrawDelay: 900, salt: zeroHash, ...terms,
    };
  }

  async function depositOf(config: ChannelConfig, root: Mandate, amount: bigint): Promise<Hex> {
    const row = { order: spendOrder({ lineage: [root], payee: config.receiver, amount }), nonce: 0n, deadline: maxUint256 };
    return mandateDepositData(config, { ...row, signature: await cast.agent.sign({ hash: mandateDepositDigest(DOMAIN, channelIdOf(config), row) }) });
  }

  it("swapped payee: a relayer writes itself into a signed payment, a stolen agent key pays outside the tree", async () => {
    const payees = [cast.payee.address, cast.subAgent.address];
    const root = await approvedRoot({ payeesRoot: payeesRoot(payees) });
    const proofs = [payeeProof(payees, cast.payee.address)];
    const row = await signedBy(cast.agent, { lineage: [root], payee: cast.payee.address, amount: 1_000n, proofs });
    const swapped = { ...row, order: { ...row.order, payee: cast.subAgent.address, proofs: [payeeProof(payees, cast.subAgent.address)] } };
    expect(await refusalOf(chain, cast.thief, "spendWithSignature", [swapped])).to.equal("InvalidSignature");
    // With the agent's key, to the thief: proofs of others, none, and the root itself.
    for (const proof of [proofs[0]!, [], [root.payeesRoot]]) {
      const stolen = await signedBy(cast.agent, { lineage: [root], payee: cast.thief.address, amount: 1_000n, proofs: [proof] });
      expect(await refusalOf(chain, cast.thief, "spendWithSignature", [stolen])).to.equal("PayeeNotAllowed");
      expect((await call(chain, cast.thief, "spendWithSignature", [stolen])).status).to.equal("reverted");
    }
    expect((await call(chain, cast.thief, "spendWithSignature", [row])).status).to.equal("success");
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(1_000n));
  });

  it("replay: on the same chain, at another registry, on another chain", async () => {
    const root = await approvedRoot();
    const row = await signedBy(cast.agent, { lineage: [root], payee: cast.payee.address, amount: 1_000n, approvals: [await granted(cast.principal, root)] });
    expect((await call(chain, cast.thief, "spendWithSignature", [row])).status).to.equal("success");
    expect(await refusalOf(chain, cast.thief, "spendWithSignature", [row])).to.equal("NonceAlreadyUsed");

    // The same code at another address; the mandate was never granted there, and neither signature counts.
    const twin = getAddress(`0x${"7a12".padEnd(40, "0")}`);
    await rpc(chain.url, "hardhat_setCode", [twin, await chain.client.getCode({ address: LOCAL_MANDATE_REGISTRY })]);
    expect(await refusalOf(chain, cast.thief, "spendWithSignature", [row], twin)).to.equal("InvalidSignature");
    expect(await refusalOf(chain, cast.thief, "approveWithSignature", [[root], row.order.approvals[0]!], twin)).to.equal("InvalidSignature");

    // Another chain with the same contracts at the same addresses, whose clock and accounts do not matter.
    const other = await startChainWithId(8453);
    try {
      expect(await other.refusal(dataOf("spendWithSignature", [row]))).to.match(/InvalidSignature/);
      const there = mandateRegistryDomain(8453, LOCAL_MANDATE_REGISTRY);
      const foreign = await signedBy(cast.agent, { lineage: [root], payee: cast.thief.address, amount: 1_000n }, 7n, there);
      expect(await refusalOf(chain, cast.thief, "spendWithSignature", [foreign])).to.equal("InvalidSignature");
    } finally {
      await other.stop();
    }
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(1_000n));
  });

  it("foreign caller of collect(): a deposit's consent pulls tokens into the channel contract or nowhere", async () => {
    const root = await approvedRoot();
    const config = channelTo(cast.payee.address);
    const data = await depositOf(config, root, 1_000n);
    const pull = [cast.principal.address, USDC, 1_000n, channelIdOf(config), data] as const;
    for (const caller of [cast.thief, cast.agent, cast.principal]) {
      expect(await refusalOf(chain, caller, "collect", pull)).to.equal("OnlyChannelContract");
      expect((await call(chain, caller, "collect", pull)).status).to.equal("reverted");
    }
    // Through the channel contract, but into a channel of the thief's making.
    const thiefs = [channelTo(cast.thief.address), channelTo(cast.payee.address, { payer: cast.thief.address }), channelTo(cast.payee.address, { receiverAuthorizer: cast.thief.address })];
    for (const other of thiefs) {
      const receipt = await sendTo(chain, cast.thief, SESSION_CHANNELS, depositCall(other, 1_000n, data));
      expect(receipt.status).to.equal("reverted");
    }
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(0n));
    expect((await sendTo(chain, cast.thief, SESSION_CHANNELS, depositCall(config, 1_000n, data))).status).to.equal("success");
    expect((await sendTo(chain, cast.thief, SESSION_CHANNELS, depositCall(config, 1_000n, data))).status).to.equal("reverted");
    const [balance] = await chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [channelIdOf(config)] });
    expect(balance).to.equal(1_000n);
    expect(await moved(chain, cast, root)).to.deep.equal({ ...exactly(1_000n), toPayee: 0n });
  });

  it("sub-mandate wider than its parent: refused where it can be compared, bounded by the parent where not", async () => {
    const payees = [cast.payee.address, cast.agent.address];
    const root = await approvedRoot({ limit: 10_000n, paymentLimit: 4_000n, period: 3_600, periodLimit: 5_000n, payeesRoot: payeesRoot(payees), validUntil: 2 ** 39 });
    const below = (terms: Partial<Mandate>): Mandate => ({ ...root, parent: idOf(root), delegate: cast.subAgent.address, ...terms });
    const wider: Partial<Mandate>[] = [
      { limit: root.limit + 1n }, { paymentLimit: root.paymentLimit + 1n }, { validUntil: root.validUntil + 1 },
      { token: SESSION_CHANNELS }, { epoch: 1 }, { principal: cast.thief.address },
    ];
    for (const terms of wider) {
      const mandate = below(terms);
      expect(await refusalOf(chain, cast.agent, "approve", [[mandate, root]])).to.equal("WiderThanParent");
      const approvals = [await granted(cast.agent, mandate)];
      const row = await signedBy(cast.subAgent, { lineage: [mandate, root], payee: cast.payee.address, amount: 1n, approvals, proofs: [payeeProof(payees, cast.payee.address), payeeProof(payees, cast.payee.address)] });
      expect(await refusalOf(chain, cast.thief, "spendWithSignature", [row])).to.equal("WiderThanParent");
    }
    // Any payee, no periods: it may be granted, and is held against its parent at every payment.
    const open = below({ payeesRoot: zeroHash, period: 0, periodLimit: 0n });
    expect((await call(chain, cast.agent, "approve", [[open, root]])).status).to.equal("success");
    const order = (payee: Address, amount: bigint) => spendOrder({ lineage: [open, root], payee, amount, proofs: [[], payee === cast.payee.address ? payeeProof(payees, payee) : []] });
    expect(await refusalOf(chain, cast.subAgent, "spend", [order(cast.thief.address, 1n)])).to.equal("PayeeNotAllowed");
    expect((await call(chain, cast.subAgent, "spend", [order(cast.payee.address, 4_000n)])).status).to.equal("success");
    expect(await refusalOf(chain, cast.subAgent, "spend", [order(cast.payee.address, 1_001n)])).to.equal("PeriodLimitExceeded");
    expect((await call(chain, cast.subAgent, "spend", [order(cast.payee.address, 1_001n)])).status).to.equal("reverted");
    // A child that names the parent but goes past it in its lineage.
    expect(await refusalOf(chain, cast.subAgent, "spend", [{ ...order(cast.payee.address, 1n), lineage: [open] }])).to.equal("InvalidLineage");
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(4_000n));
  });

  it("race on the last unit: two payments in one block, by two routes and by two children", async () => {
    const root = await approvedRoot({ limit: 1_000n });
    const children = [cast.subAgent, cast.thief].map(({ address }) => ({ ...root, parent: idOf(root), delegate: address }));
    for (const child of children) await call(chain, cast.agent, "approve", [[child, root]]);
    const payment = { payee: cast.payee.address, amount: 1n };
    expect((await call(chain, cast.agent, "spend", [spendOrder({ lineage: [root], payee: cast.payee.address, amount: 999n })])).status).to.equal("success");

    const byRelayer = await signedBy(cast.agent, { lineage: [root], ...payment });
    const calls: [Cast[keyof Cast], Hex][] = [
      [cast.agent, dataOf("spend", [spendOrder({ lineage: [root], ...payment })])],
      [cast.principal, dataOf("spendWithSignature", [byRelayer])],
      [cast.subAgent, dataOf("spend", [spendOrder({ lineage: [children[0]!, root], ...payment })])],
      [cast.thief, dataOf("spend", [spendOrder({ lineage: [children[1]!, root], ...payment })])],
    ];
    const receipts = await inOneBlock(chain, () => Promise.all(calls.map(([from, data]) => submit(chain, from, LOCAL_MANDATE_REGISTRY, data))));
    expect(receipts.filter(({ status }) => status === "success")).to.have.length(1);
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(1_000n));
  });

  it("revoked while in flight: whatever is mined behind the revocation pays nothing, below it too", async () => {
    const root = await approvedRoot();
    const child = { ...root, parent: idOf(root), delegate: cast.subAgent.address };
    await call(chain, cast.agent, "approve", [[child, root]]);
    const payment = { payee: cast.payee.address, amount: 700n };
    const config = channelTo(cast.payee.address);
    const deposit = await depositOf(config, root, 700n);
    const relayed = await signedBy(cast.agent, { lineage: [root], ...payment });
    // The payments were sent first; the revocation pays the higher tip.
    const receipts = await inOneBlock(chain, async () => [
      await submit(chain, cast.agent, LOCAL_MANDATE_REGISTRY, dataOf("spend", [spendOrder({ lineage: [root], ...payment })])),
      await submit(chain, cast.subAgent, LOCAL_MANDATE_REGISTRY, dataOf("spend", [spendOrder({ lineage: [child, root], ...payment })])),
      await submit(chain, cast.thief, SESSION_CHANNELS, depositCall(config, 700n, deposit)),
      await submit(chain, cast.principal, LOCAL_MANDATE_REGISTRY, dataOf("revoke", [[root]]), 50n),
    ]);
    expect(receipts.map(({ status }) => status)).to.deep.equal(["reverted", "reverted", "reverted", "success"]);
    expect(receipts[3]!.transactionIndex).to.equal(0);
    expect(await refusalOf(chain, cast.thief, "spendWithSignature", [relayed])).to.equal("MandateIsRevoked");
    expect(await refusalOf(chain, cast.subAgent, "spend", [spendOrder({ lineage: [child, root], ...payment })])).to.equal("MandateIsRevoked");
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(0n));
  });

  it("an older epoch in flight: the panic button ends what was only signed, too", async () => {
    const root = rootOf(cast);
    const approvals = [await granted(cast.principal, root)];
    const receipts = await inOneBlock(chain, async () => [
      await submit(chain, cast.agent, LOCAL_MANDATE_REGISTRY, dataOf("spend", [spendOrder({ lineage: [root], payee: cast.payee.address, amount: 1n, approvals })])),
      await submit(chain, cast.principal, LOCAL_MANDATE_REGISTRY, dataOf("bumpEpoch", []), 50n),
    ]);
    expect(receipts.map(({ status }) => status)).to.deep.equal(["reverted", "success"]);
    // Approval of a mandate of an old epoch lets nothing through.
    expect((await call(chain, cast.thief, "approveWithSignature", [[root], approvals[0]!])).status).to.equal("success");
    expect(await refusalOf(chain, cast.agent, "spend", [spendOrder({ lineage: [root], payee: cast.payee.address, amount: 1n })])).to.equal("WrongEpoch");
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(0n));
  });

  it("clock at the edges of validity: the chain's seconds count, the first and the last are inside", async () => {
    const now = Number((await chain.client.getBlock()).timestamp);
    const [from, until] = [now + 1_000, now + 2_000];
    const root = await approvedRoot({ validAfter: from, validUntil: until, period: 400, periodLimit: 100n });
    const paysAt = async (second: number, amount: bigint) => {
      const data = dataOf("spend", [spendOrder({ lineage: [root], payee: cast.payee.address, amount })]);
      const [receipt] = await inOneBlock(chain, async () => {
        await chain.client.setNextBlockTimestamp({ timestamp: BigInt(second) });
        return [await submit(chain, cast.agent, LOCAL_MANDATE_REGISTRY, data)];
      });
      expect((await chain.client.getBlock({ blockNumber: receipt!.blockNumber })).timestamp).to.equal(BigInt(second));
      return receipt!.status;
    };
    expect(await paysAt(from - 1, 1n)).to.equal("reverted");
    expect(await paysAt(from, 100n)).to.equal("success");
    // The last second of a period, and the first of the next.
    expect(await paysAt(from + 399, 1n)).to.equal("reverted");
    expect(await paysAt(from + 400, 100n)).to.equal("success");
    expect(await paysAt(from + 799, 1n)).to.equal("reverted");
    expect(await paysAt(until, 100n)).to.equal("success");
    expect(await paysAt(until + 1, 1n)).to.equal("reverted");
    expect(await moved(chain, cast, root)).to.deep.equal(exactly(300n));
  });
});

function depositCall(config: ChannelConfig, amount: bigint, data: Hex): Hex {
  return encodeFunctionData({ abi: sessionChannelsAbi, functionName: "deposit", args: [config, amount, LOCAL_MANDATE_REGISTRY, data] });
}

/** A second node with another chain id and the same contracts at the same addresses. */
async function startChainWithId(chainId: number) {
  const node = await createHardhatRuntimeEnvironment({ networks: { other: { type: "edr-simulated", chainType: "op", chainId, hardfork: "isthmus" } } });
  const server = await node.network.createServer("other", "127.0.0.1", 0);
  const { port } = await server.listen();
  const url = `http://127.0.0.1:${port}`;
  await placeContracts(url);
  return {
    /** The name of the error with which the registry there refuses the call, or "none". */
    async refusal(data: Hex): Promise<string> {
      const body = { jsonrpc: "2.0", id: 1, method: "eth_call", params: [{ to: LOCAL_MANDATE_REGISTRY, data, gas: numberToHex(2_000_000) }, "latest"] };
      const answer = (await (await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json()) as { error?: { data?: Hex | { data?: Hex } } };
      const raw = typeof answer.error?.data === "string" ? answer.error.data : answer.error?.data?.data;
      if (raw === undefined) return "none";
      return decodeErrorResult({ abi: mandateRegistryAbi, data: raw }).errorName;
    },
    stop: () => server.close(),
  };
}
