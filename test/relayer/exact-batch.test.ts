// Many authorisations in one transaction, with bad ones among them: what is good is settled by that transaction, what is bad harms itself
// alone, and what was told is what the token's balances say.
import { expect } from "chai";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeFunctionData, erc20Abi, parseAbi, parseSignature, type Abi, type Address, type Hex } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { plainCall, transferCalldata } from "../../relayer/src/capabilities/exact/calldata.ts";
import { createProbe, type Probe } from "../../relayer/src/capabilities/exact/probe.ts";
import { settleAuthorization } from "../../relayer/src/capabilities/exact/service.ts";
import type { Authorization, Settled } from "../../relayer/src/capabilities/exact/types.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { mintUSDC, USDC_ADMIN } from "../../scripts/local/contracts.ts";
import { MULTICALL3 } from "../../sdk/src/constants.ts";
import { DOMAIN, exactRelayer, holdBlocks, letBlocks, newAddress, payer, PRICE, sendAhead, signed, type ExactTestDeps } from "../support/exact-world.ts";
import { sendToToken, startWorld, USDC, type World } from "../support/settlement-world.ts";

const adminAbi = parseAbi(["function blacklist(address account)", "function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)", "function transfer(address to, uint256 value)"]);
const CANCEL = { CancelAuthorization: [{ name: "authorizer", type: "address" }, { name: "nonce", type: "bytes32" }] } as const;

describe("exact, many in one transaction", function () {
  this.timeout(120_000);
  let world: World;
  let deps: ExactTestDeps;
  before(async () => {
    world = await startWorld();
    deps = await exactRelayer(world, { submitterKey: generatePrivateKey() });
    await deps.submitter.start();
  });
  after(async () => {
    await deps.submitter.stop();
    await world.stop();
  });
  afterEach(() => rpc(world.nodeUrl, "evm_setAutomine", [true]));

  const settleAll = (all: readonly Authorization[], waitMs = 20_000): Promise<Settled[]> => Promise.all(all.map((authorization) => settleAuthorization(deps, authorization, { waitMs })));
  const balanceOf = (owner: Address) => deps.chain.client.readContract({ address: USDC, abi: erc20Abi, functionName: "balanceOf", args: [owner] });
  const queueOf = async ({ nonce }: Authorization) => (await world.db.query("SELECT state, attempts FROM exact_queue WHERE nonce = $1", [Buffer.from(nonce.slice(2), "hex")])).rows[0] as { state: string; attempts: number } | undefined;
  const hashesOf = (settled: readonly Settled[]) => new Set(settled.map((one) => (one.status === "settled" ? one.txHash : one.status)));
  const targetOf = async (hash: Hex) => (await deps.chain.client.getTransaction({ hash })).to?.toLowerCase();
  async function cancellation(account: Awaited<ReturnType<typeof payer>>, nonce: Hex): Promise<Hex> {
    const { r, s, yParity } = parseSignature(await account.signTypedData({ domain: DOMAIN, types: CANCEL, primaryType: "CancelAuthorization", message: { authorizer: account.address, nonce } }));
    return encodeFunctionData({ abi: adminAbi, functionName: "cancelAuthorization", args: [account.address, nonce, 27 + yParity, r, s] });
  }
  async function newWallet(owner: Address): Promise<{ address: Address; abi: Abi }> {
    const { abi, bytecode } = JSON.parse(readFileSync(new URL("../../artifacts/contracts/test-support/Wallets.sol/ScriptedWallet.json", import.meta.url), "utf8")) as { abi: Abi; bytecode: Hex };
    const { encodeDeployData } = await import("viem");
    const hash = await rpc<Hex>(world.nodeUrl, "eth_sendTransaction", [{ from: USDC_ADMIN, data: encodeDeployData({ abi, bytecode, args: [owner] }) }]);
    const { contractAddress } = await deps.chain.client.getTransactionReceipt({ hash });
    await mintUSDC(world.nodeUrl, contractAddress!, 100n * PRICE);
    return { address: contractAddress!, abi };
  }
  /** Until all are in a transaction that waits in the pool. */
  async function carried(all: readonly Authorization[]): Promise<void> {
    for (const deadline = Date.now() + 20_000; ; await sleep(20)) {
      const states = await Promise.all(all.map(queueOf));
      if (states.every((row) => row?.state === "sent")) return;
      expect(Date.now(), JSON.stringify(states)).to.be.lessThan(deadline);
    }
  }

  it("settles what comes together in one transaction, by its logs", async () => {
    const seller = newAddress();
    const all = await Promise.all(Array.from({ length: 40 }, async () => signed(await payer(world), seller)));
    const settled = await settleAll(all);
    const hashes = hashesOf(settled);
    expect(settled.every(({ status }) => status === "settled"), JSON.stringify(settled)).to.equal(true);
    expect(hashes.size).to.equal(1);
    expect(await targetOf([...hashes][0] as Hex)).to.equal(MULTICALL3.toLowerCase());
    expect(await balanceOf(seller)).to.equal(40n * PRICE);
    // The same ones again find the transaction and send none.
    expect(hashesOf(await settleAll(all))).to.deep.equal(hashes);
    expect(await balanceOf(seller)).to.equal(40n * PRICE);
  });

  describe("what has just been looked at", () => {
    const looks = () => world.proxy.calls.get("eth_call") ?? 0;
    let clockMs = 0;
    let probe: Probe;
    before(() => void (probe = createProbe(deps, () => clockMs)));
    const newCalls = async (accounts: Awaited<ReturnType<typeof payer>>[]) => (await Promise.all(accounts.map((account) => signed(account, newAddress())))).map((authorization) => plainCall(authorization)!);
    /** How many questions the sequence took, and what it says. */
    async function sequence(calls: Buffer[]) {
      const before = looks();
      const passes = (await probe.sequence(calls)).map((outcome) => outcome?.passes);
      return { asked: looks() - before, passes };
    }

    it("is not rehearsed again, once, and for half a second", async () => {
      const calls = await newCalls(await Promise.all([0, 1, 2].map(() => payer(world))));
      await Promise.all(calls.map((call) => probe.one(call)));
      clockMs += 500;
      expect(await sequence(calls)).to.deep.equal({ asked: 0, passes: [true, true, true] });
      expect(await sequence(calls)).to.deep.equal({ asked: 1, passes: [true, true, true] });
      await Promise.all(calls.map((call) => probe.one(call)));
      clockMs += 501;
      expect(await sequence(calls)).to.deep.equal({ asked: 1, passes: [true, true, true] });
    });

    it("is, when its payer pays another, when it did not pass, or has code; in the order of all", async () => {
      const [poor, empty, turned, rich] = [await payer(world, PRICE), await payer(world, 0n), await payer(world), await payer(world)];
      const calls = await newCalls([rich, poor, empty, poor, turned]);
      await rpc(world.nodeUrl, "hardhat_setCode", [turned.address, GAS_BURNER]);
      await Promise.all(calls.map((call) => probe.one(call)));
      expect(await sequence(calls)).to.deep.equal({ asked: 1, passes: [true, true, false, false, false] });
      expect((await probe.sequence(calls.slice(-1)))[0]).to.include({ hasCode: true, passes: false });
    });

    it("needs no more gas among others than it took alone, and the margin", async () => {
      const all = await Promise.all(Array.from({ length: 30 }, async () => signed(await payer(world), newAddress())));
      await Promise.all(all.map((authorization) => deps.exact.probe.one(plainCall(authorization)!)));
      const settled = await settleAll(all);
      expect(settled.map(({ status }) => status)).to.deep.equal(all.map(() => "settled"));
      expect((await Promise.all(all.map(queueOf))).map((row) => row?.attempts)).to.deep.equal(all.map(() => 0));
    });

    it("turns bad before the next block: the others are settled, and it is told why it was not", async () => {
      const seller = newAddress();
      const accounts = await Promise.all(Array.from({ length: 4 }, () => payer(world)));
      const all = await Promise.all(accounts.map((account) => signed(account, seller)));
      await Promise.all(all.map((authorization) => deps.exact.probe.one(plainCall(authorization)!)));
      await sendAhead(world, accounts[0]!.address, USDC, encodeFunctionData({ abi: adminAbi, functionName: "transfer", args: [newAddress(), 100n * PRICE] }));
      const [drained, ...others] = await settleAll(all);
      expect(drained).to.deep.equal({ status: "failed", reason: "transfer_refused", final: false });
      expect(others.map(({ status }) => status)).to.deep.equal(others.map(() => "settled"));
      expect(await balanceOf(seller)).to.equal(3n * PRICE);
    });
  });

  it("takes the 64 bytes of ERC-2098 as well as 65", async () => {
    const seller = newAddress();
    const all = await Promise.all(Array.from({ length: 4 }, async () => signed(await payer(world), seller)));
    const compact = all.map((authorization) => {
      const { r, s, yParity } = parseSignature(authorization.signature);
      const high = BigInt(s) | (BigInt(yParity) << 255n);
      return { ...authorization, signature: `${r}${high.toString(16).padStart(64, "0")}` as Hex };
    });
    expect(hashesOf(await settleAll(compact)).size).to.equal(1);
    expect(await balanceOf(seller)).to.equal(4n * PRICE);
  });

  it("bad ones among good ones: cancelled, expired, unfunded, blacklisted, replayed and front-run", async () => {
    const seller = newAddress();
    const good = await Promise.all(Array.from({ length: 5 }, async () => signed(await payer(world), seller)));
    const canceller = await payer(world);
    const cancelled = await signed(canceller, seller);
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await sendAhead(world, USDC_ADMIN, USDC, await cancellation(canceller, cancelled.nonce));
    const expired = await signed(await payer(world), seller, { validBefore: BigInt(Math.floor(Date.now() / 1000)) - 10n });
    const unfunded = await signed(await payer(world, PRICE - 1n), seller);
    const listed = await payer(world);
    const blacklisted = await signed(listed, seller);
    await sendToToken(world, "blacklist", [listed.address]);
    const replayed = await signed(await payer(world), seller);
    const [first] = await settleAll([replayed]);
    const frontRun = await signed(await payer(world), seller);
    const stranger = await sendAhead(world, newAddress(), USDC, transferCalldata(frontRun));

    const settled = await settleAll([...good, cancelled, expired, unfunded, blacklisted, replayed, frontRun]);
    const [byUs, bad] = [settled.slice(0, 5), settled.slice(5)];
    expect(hashesOf(byUs).size).to.equal(1);
    expect(bad).to.deep.equal([
      { status: "failed", reason: "authorization_used", final: true },
      { status: "failed", reason: "transfer_refused", final: false },
      { status: "failed", reason: "transfer_refused", final: false },
      { status: "failed", reason: "transfer_refused", final: false },
      first,
      { status: "settled", txHash: stranger },
    ]);
    expect(await balanceOf(seller)).to.equal(7n * PRICE);
    expect(await Promise.all([cancelled, expired, unfunded, blacklisted].map(queueOf))).to.deep.equal([undefined, undefined, undefined, undefined]);
  });

  it("the same when they turn bad after the rehearsal: the transaction stands, and each is told apart", async () => {
    const seller = newAddress();
    const accounts = await Promise.all(Array.from({ length: 6 }, () => payer(world)));
    const all = await Promise.all(accounts.map((account) => signed(account, seller)));
    const [, , cancelled, drained, frontRun, listed] = all as [Authorization, Authorization, Authorization, Authorization, Authorization, Authorization];
    await holdBlocks(world);
    const settling = settleAll(all);
    await carried(all);
    await sendAhead(world, newAddress(), USDC, await cancellation(accounts[2]!, cancelled.nonce));
    await sendAhead(world, drained.from, USDC, encodeFunctionData({ abi: adminAbi, functionName: "transfer", args: [newAddress(), 100n * PRICE] }));
    const stranger = await sendAhead(world, newAddress(), USDC, transferCalldata(frontRun));
    await sendAhead(world, USDC_ADMIN, USDC, encodeFunctionData({ abi: adminAbi, functionName: "blacklist", args: [listed.from] }));
    await letBlocks(world);
    const settled = await settling;
    expect(hashesOf(settled.slice(0, 2)).size).to.equal(1);
    expect((await deps.chain.client.getTransactionReceipt({ hash: [...hashesOf(settled.slice(0, 2))][0] as Hex })).status).to.equal("success");
    expect(settled.slice(2)).to.deep.equal([
      { status: "failed", reason: "authorization_used", final: true },
      { status: "failed", reason: "transfer_refused", final: false },
      { status: "settled", txHash: stranger },
      { status: "failed", reason: "transfer_refused", final: false },
    ]);
    expect(await balanceOf(seller)).to.equal(3n * PRICE);
  });

  it("two payments from funds for one: one moves, by whatever way they go", async () => {
    const seller = newAddress();
    const poor = await payer(world, PRICE);
    const settled = await settleAll([await signed(poor, seller), await signed(poor, seller), await signed(await payer(world), seller)]);
    expect(settled.map(({ status }) => status).sort()).to.deep.equal(["failed", "settled", "settled"]);
    expect(await balanceOf(seller)).to.equal(2n * PRICE);
  });

  it("a contract wallet goes alone, and the others together", async () => {
    const seller = newAddress();
    const owner = await payer(world, 0n);
    const wallet = await newWallet(owner.address);
    const good = await Promise.all(Array.from({ length: 3 }, async () => signed(await payer(world), seller)));
    const settled = await settleAll([...good, await signed(owner, seller, { from: wallet.address })]);
    expect(settled.every(({ status }) => status === "settled"), JSON.stringify(settled)).to.equal(true);
    const targets = await Promise.all(settled.map((one) => targetOf((one as { txHash: Hex }).txHash)));
    expect(targets).to.deep.equal([...Array.from({ length: 3 }, () => MULTICALL3.toLowerCase()), USDC.toLowerCase()]);
    expect(await balanceOf(seller)).to.equal(4n * PRICE);
  });

  it("an account that turns into a wallet after the rehearsal burns the gas of one transaction, not the others' payments", async () => {
    const seller = newAddress();
    const burner = await signed(await payer(world), seller);
    const good = await Promise.all(Array.from({ length: 5 }, async () => signed(await payer(world), seller)));
    await holdBlocks(world);
    const settling = settleAll([burner, ...good]);
    await carried([burner, ...good]);
    await rpc(world.nodeUrl, "hardhat_setCode", [burner.from, GAS_BURNER]);
    await letBlocks(world);
    const [burned, ...others] = await settling;
    expect(burned).to.deep.include({ status: "failed", final: false });
    expect(others.every(({ status }) => status === "settled"), JSON.stringify(others)).to.equal(true);
    expect(await balanceOf(seller)).to.equal(5n * PRICE);
    // They were in the first transaction, which moved none of them.
    expect(await Promise.all(good.map(queueOf))).to.deep.equal(good.map(() => ({ state: "moved", attempts: 1 })));
  });

  it("more than one transaction has room for go in several, and nobody is lost", async () => {
    const seller = newAddress();
    const rich = await payer(world, 1_000n * PRICE);
    const all = await Promise.all(Array.from({ length: 180 }, () => signed(rich, seller)));
    const settled = await settleAll(all);
    expect(settled.every(({ status }) => status === "settled")).to.equal(true);
    expect(hashesOf(settled).size).to.be.greaterThan(1);
    expect(await balanceOf(seller)).to.equal(180n * PRICE);
  });
});

/** isValidSignature that loops for ever, on whatever gas it has. */
const GAS_BURNER: Hex = "0x5b600056";
