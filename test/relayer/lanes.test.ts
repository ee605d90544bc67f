// Several keys pay gas in parallel: work is spread over their lanes, one lane's trouble stops no other, and what must not race
// does not, however many lanes and processes there are.
import { expect } from "chai";
import { encodeFunctionData, numberToHex, parseTransaction, recoverTransactionAddress, type Address, type Hex, type TransactionSerialized } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { inOrder, type LaneState } from "../../relayer/src/chain/lane-choice.ts";
import { createSubmitter } from "../../relayer/src/chain/submitter.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { failure, lanesOf, startWorld, until, USDC, type TestDeps, type World } from "../support/settlement-world.ts";

describe("lane choice", () => {
  const lane = (name: string, load: number, state: LaneState = "ok") => ({ name, load, state });
  const names = (lanes: ReturnType<typeof lane>[], turn = 0) => inOrder(lanes, turn).map(({ name }) => name).join("");

  it("prefers the least loaded, and takes equals by turn", () => {
    expect(names([lane("a", 3), lane("b", 1), lane("c", 2)])).to.equal("bca");
    expect([0, 1, 2, 3].map((turn) => names([lane("a", 1), lane("b", 1), lane("c", 1)], turn))).to.deep.equal(["abc", "bca", "cab", "abc"]);
    expect(names([lane("a", 5), lane("b", 0), lane("c", 0)], 2)).to.equal("cba");
  });

  it("takes a lane in trouble only after every healthy one, whatever the trouble and the load", () => {
    for (const state of ["stuck", "gapped", "fee_capped", "unfunded", "signer_down"] as const) expect(names([lane("a", 0, state), lane("b", 90), lane("c", 80)])).to.equal("cba");
    expect(names([lane("a", 2, "stuck"), lane("b", 1, "gapped")])).to.equal("ba");
  });

  it("has an order for no lane and for one", () => {
    expect(names([], 3)).to.equal("");
    expect(names([lane("a", 7, "stuck")], 5)).to.equal("a");
  });
});

describe("lanes", function () {
  this.timeout(90_000);
  let world: World;
  before(async () => void (world = await startWorld()));
  after(() => world.stop());
  afterEach(async () => {
    world.proxy.heal();
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
  });

  const keys = (count: number) => Array.from({ length: count }, generatePrivateKey);
  const approve = (amount: bigint): Hex => encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [USDC, amount] });
  const send = (deps: TestDeps, amount = 1n) => deps.submitter.submit({ purpose: "settle", to: USDC, data: approve(amount) });
  const confirmed = async (deps: TestDeps, txId: bigint) => expect(await deps.submitter.wait(txId, 20_000)).to.have.property("status", "confirmed");
  const loadsOf = async (deps: TestDeps) => [...(await lanesOf(world, deps)).values()].map((rows) => rows.length);
  const laneStates = async (deps: TestDeps) => {
    const { values } = await deps.metrics.lanes.get();
    return Object.fromEntries(values.filter(({ value }) => value > 0).map(({ labels, value }) => [labels["state"], value]));
  };
  it("spread what is sent at once evenly", async () => {
    const deps = await world.relayer({ submitterKeys: keys(3) });
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const sent = await Promise.all(Array.from({ length: 9 }, (_, index) => send(deps, BigInt(index))));
    const loads = await loadsOf(deps);
    expect(loads.reduce((sum, load) => sum + load)).to.equal(9);
    expect(Math.max(...loads) - Math.min(...loads), String(loads)).to.be.at.most(2);
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
    await Promise.all(sent.map(({ txId }) => confirmed(deps, txId)));
  });

  it("are shared by two processes that have all keys: consecutive nonces in each, everything confirmed", async () => {
    const submitterKeys = keys(3);
    const [one, two] = [await world.relayer({ submitterKeys }), await world.relayer({ submitterKeys })];
    const sent = await Promise.all(Array.from({ length: 40 }, (_, index) => send(index % 2 === 0 ? one! : two!, BigInt(index))));
    await Promise.all(sent.map(({ txId }, index) => confirmed(index % 2 === 0 ? two! : one!, txId)));
    const lanes = [...(await lanesOf(world, one!)).values()];
    expect(lanes.flat().length).to.equal(40);
    for (const rows of lanes) expect(rows).to.deep.equal(rows.map((_, nonce) => [nonce, "confirmed"]));
    expect(lanes.every((rows) => rows.length > 0)).to.equal(true);
  });

  it("one without ether is passed over and told of, and used again when it has some", async () => {
    const deps = await world.relayer({ submitterKeys: keys(2) });
    const [poor, rich] = deps.submitter.addresses;
    await rpc(world.nodeUrl, "hardhat_setBalance", [poor, "0x1"]);
    for (let count = 0; count < 4; count++) await confirmed(deps, (await send(deps)).txId);
    const lanes = await lanesOf(world, deps);
    expect([lanes.get(poor!)!.length, lanes.get(rich!)!.length]).to.deep.equal([0, 4]);
    await deps.submitter.sweep();
    expect(await laneStates(deps)).to.deep.equal({ ok: 1, unfunded: 1 });

    await rpc(world.nodeUrl, "hardhat_setBalance", [poor, numberToHex(10n ** 18n)]);
    await until(async () => (await deps.submitter.sweep(), (await laneStates(deps))["ok"] === 2));
    for (let count = 0; count < 2; count++) await confirmed(deps, (await send(deps)).txId);
    expect((await lanesOf(world, deps)).get(poor!)!.length).to.be.at.least(1);
  });

  it("none of which can pay refuse, and nothing is written", async () => {
    const deps = await world.relayer({ submitterKeys: keys(2) });
    for (const address of deps.submitter.addresses) await rpc(world.nodeUrl, "hardhat_setBalance", [address, "0x1"]);
    expect(await failure(send(deps))).to.include({ code: "submitter_unfunded", status: 503, retry: "safe" });
    expect(await loadsOf(deps)).to.deep.equal([0, 0]);
  });

  it("does not promise the same ether twice: what is in flight counts as spent", async () => {
    const deps = await world.relayer();
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const { txId } = await send(deps, 1n);
    const { rows } = await world.db.query("SELECT most_wei FROM chain_tx WHERE tx_id = $1", [txId]);
    await rpc(world.nodeUrl, "hardhat_setBalance", [deps.submitter.address, numberToHex(((rows[0].most_wei as bigint) * 3n) / 2n)]);
    await new Promise((next) => setTimeout(next, 30)); // longer than a balance is remembered here
    expect(await failure(send(deps, 2n))).to.include({ code: "submitter_unfunded" });
  });

  it("one whose transaction is not mined comes last, and the others go on", async () => {
    const deps = await world.relayer({ submitterKeys: keys(2), env: { RELAYER_BUMP_AFTER_MS: "100" } });
    const [held] = deps.submitter.addresses;
    await holdBack(held!);
    while ((await lanesOf(world, deps)).get(held!)!.length === 0) await send(deps);
    await until(async () => (await deps.submitter.sweep(), (await laneStates(deps))["stuck"] === 1));
    const before = (await lanesOf(world, deps)).get(held!)!.length;
    for (let count = 0; count < 4; count++) await confirmed(deps, (await send(deps)).txId);
    expect((await lanesOf(world, deps)).get(held!)!.length).to.equal(before);
    expect((await lanesOf(world, deps)).get(held!)!.every(([, state]) => state === "signed")).to.equal(true);

    world.proxy.heal();
    await until(async () => (await deps.submitter.sweep(), (await laneStates(deps))["ok"] === 2));
    expect((await lanesOf(world, deps)).get(held!)!.every(([, state]) => state === "confirmed")).to.equal(true);
  });

  it("one about which the nodes say nothing does not keep the others from being resolved", async () => {
    const deps = await world.relayer({ submitterKeys: keys(2) });
    const [dark, other] = deps.submitter.addresses;
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    await Promise.all([send(deps, 1n), send(deps, 2n), send(deps, 3n), send(deps, 4n)]);
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
    world.proxy.fail({ method: "eth_getTransactionCount", kind: "error", when: ([address]) => String(address).toLowerCase() === dark!.toLowerCase() });
    await until(async () => (await deps.submitter.sweep(), (await lanesOf(world, deps)).get(other!)!.every(([, state]) => state === "confirmed")));
    expect((await lanesOf(world, deps)).get(dark!)!.some(([, state]) => state === "confirmed")).to.equal(false);
    world.proxy.heal();
    await until(async () => (await deps.submitter.sweep(), (await lanesOf(world, deps)).get(dark!)!.every(([, state]) => state === "confirmed")));
  });

  it("one whose key is not at hand is passed over; alone it is our fault, and safe to try again", async () => {
    const submitterKeys = keys(2);
    const base = await world.relayer({ submitterKeys });
    const [down, up] = submitterKeys.map((key) => privateKeyToAccount(key));
    const broken = { address: down!.address, signTransaction: async () => { throw new Error("no connection to the key"); } };
    const submitter = createSubmitter({ ...base, signers: [broken, up!] });
    const deps = { ...base, submitter };
    for (let count = 0; count < 4; count++) await confirmed(deps, (await send(deps)).txId);
    const lanes = await lanesOf(world, deps);
    expect([lanes.get(down!.address)!.length, lanes.get(up!.address)!.length]).to.deep.equal([0, 4]);
    const alone = { ...base, submitter: createSubmitter({ ...base, signers: [broken] }) };
    expect(await failure(send(alone))).to.include({ code: "signer_unavailable", status: 503, retry: "safe" });
  });

  it("a key that was taken off the list is followed to the end of what it signed", async () => {
    const submitterKeys = keys(2);
    const before = await world.relayer({ submitterKeys });
    world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop" });
    const sent = await Promise.all([send(before, 1n), send(before, 2n), send(before, 3n)]);
    world.proxy.heal();
    const [retired] = before.submitter.addresses;
    expect((await lanesOf(world, before)).get(retired!)!.length).to.be.at.least(1);

    const after = await world.relayer({ submitterKeys: submitterKeys.slice(1) });
    await until(async () => (await after.submitter.sweep(), [...(await lanesOf(world, before)).values()].flat().every(([, state]) => state === "confirmed")), 20_000);
    for (const { txId } of sent) await confirmed(after, txId);
  });

  it("ask for fees, balance and nonce once for what is sent at once, and simulate each call", async () => {
    const deps = await world.relayer({ env: { RELAYER_CHAIN_POLL_MS: "2000" } });
    world.proxy.calls.clear();
    await Promise.all(Array.from({ length: 20 }, (_, index) => send(deps, BigInt(index))));
    const calls = (method: string) => world.proxy.calls.get(method) ?? 0;
    expect(calls("eth_estimateGas")).to.equal(20);
    expect([calls("eth_getBalance"), calls("eth_maxPriorityFeePerGas")]).to.deep.equal([1, 1]);
  });

  it("many callers that wait for many transactions ask the node once for each", async () => {
    const deps = await world.relayer({ env: { RELAYER_CHAIN_POLL_MS: "200" } });
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const sent = await Promise.all(Array.from({ length: 10 }, (_, index) => send(deps, BigInt(index))));
    world.proxy.calls.clear();
    const waits = sent.flatMap(({ txId }) => Array.from({ length: 30 }, () => deps.submitter.wait(txId, 20_000)));
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
    expect((await Promise.all(waits)).map(({ status }) => status)).to.deep.equal(Array.from({ length: 300 }, () => "confirmed"));
    expect(world.proxy.calls.get("eth_getTransactionReceipt")).to.equal(10);
    world.proxy.calls.clear();
    await Promise.all(sent.map(({ txId }) => confirmed(deps, txId)));
    expect(world.proxy.calls.get("eth_getTransactionReceipt"), "known receipts are not asked for again").to.equal(undefined);
  });

  it("wakes who waits here when another process finds out", async () => {
    const submitterKeys = keys(1);
    const [here, there] = [await world.relayer({ submitterKeys }), await world.relayer({ submitterKeys, direct: true })];
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const { txId } = await send(here!);
    world.proxy.fail({ method: "eth_getTransactionCount", kind: "error" }); // this process cannot see what is mined
    const waiting = here!.submitter.wait(txId, 20_000);
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
    await confirmed(there!, txId);
    expect(await waiting).to.have.property("status", "confirmed");
  });

  it("says what does not exist, and does not wait for it", async () => {
    const deps = await world.relayer();
    expect(await failure(deps.submitter.wait(10n ** 12n, 20_000))).to.be.instanceOf(RangeError);
  });

  it("leave room for a storage slot that was emptied between the estimate and the block", async () => {
    const deps = await world.relayer();
    await confirmed(deps, (await send(deps, 7n)).txId);
    await rpc(world.nodeUrl, "evm_setAutomine", [false]);
    const emptied = await send(deps, 0n);
    const written = await send(deps, 5n); // estimated as if the slot were still written: 17,100 gas too little
    await rpc(world.nodeUrl, "evm_setAutomine", [true]);
    await rpc(world.nodeUrl, "evm_mine");
    for (const { txId } of [emptied, written]) await confirmed(deps, txId);
  });

  it("refuse a call that no block of Base would take, before a nonce is used", async () => {
    const deps = await world.relayer();
    const spender = privateKeyToAccount(generatePrivateKey()).address;
    await rpc(world.nodeUrl, "hardhat_setCode", [spender, GAS_SPENDER]);
    const spend = (slots: bigint, gas?: bigint) => deps.submitter.submit({ purpose: "claim", to: spender, data: numberToHex(slots, { size: 32 }), ...(gas === undefined ? {} : { gas }) });
    expect(await failure(spend(800n))).to.include({ code: "transaction_over_gas_limit", status: 422, retry: "never" });
    expect(await failure(spend(1n, 16_777_217n))).to.include({ code: "transaction_over_gas_limit" });
    expect(await loadsOf(deps)).to.deep.equal([0]);
    // An estimate just below it gets no more room than there is.
    const { txId } = await spend(730n);
    await confirmed(deps, txId);
    const { rows } = await world.db.query("SELECT raw FROM chain_tx WHERE tx_id = $1", [txId]);
    expect(parseTransaction(`0x${rows[0].raw.toString("hex")}` as TransactionSerialized).gas).to.equal(16_777_216n);
  });

  /** The node sees nothing of what that key signs from now on. */
  const holdBack = (address: Address) =>
    world.proxy.fail({ method: "eth_sendRawTransaction", kind: "drop", when: async ([raw]) => (await recoverTransactionAddress({ serializedTransaction: raw as TransactionSerialized })) === address });
});

/** A contract that writes as many fresh slots as its 32 bytes of calldata say: 22,100 gas and more each. */
const GAS_SPENDER = "0x6000355b8015601357808055600190036003565b00";
