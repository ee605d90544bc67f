// Faults that x402 servers and facilitators are known for, and that ours must not have. docs/INTEROP.md lists all of them; here are
// those that no other test shows.
import { expect } from "chai";
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pad, toHex, type Address, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { DOMAIN, manualBuyer, settleOf } from "../support/buyer.ts";
import { authorize, exactTermsOf, newPayer, type ExactTerms } from "../support/exact-hand.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;
const USDC = BASE_SEPOLIA.usdc;
type Answer = { success?: boolean; errorReason?: string; code?: string; transaction?: string };

describe("known faults", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let salts = 0;
  before(async () => void (world = await startTestWorld({ env: { RELAYER_FACILITATOR: "open", RELAYER_MAX_UNBILLED_RUNS: "1000" } })));
  after(() => world.stop());

  const url = () => `${world.url}/s/echo/`;
  const until = async (condition: () => Promise<boolean>) => {
    for (const deadline = Date.now() + 30_000; !(await condition()); await sleep(50)) if (Date.now() > deadline) throw new Error("did not happen in 30 s");
  };
  const usdcOf = (address: Address) => world.chain.client.readContract({ address: USDC.address, abi: testUSDCAbi, functionName: "balanceOf", args: [address] });
  async function settle(payload: unknown, terms: ExactTerms): Promise<Answer> {
    const body = JSON.stringify({ x402Version: 2, paymentPayload: { x402Version: 2, accepted: terms, payload }, paymentRequirements: terms });
    return (await (await fetch(`${world.url}/settle`, { method: "POST", headers: { "content-type": "application/json" }, body })).json()) as Answer;
  }
  async function opened() {
    const buyer = manualBuyer(await newPayer(world.chain), url(), pad(toHex(++salts)));
    const terms = await buyer.terms();
    expect((await buyer.send(await buyer.depositPayment(terms, 100n * PRICE, PRICE))).status).to.equal(200);
    return { buyer, terms, channelId: buyer.channelId(terms) };
  }
  const exactTerms = async () => ({ ...exactTermsOf(await manualBuyer(await newPayer(world.chain), url(), pad(toHex(++salts))).terms()), payTo: privateKeyToAccount(generatePrivateKey()).address });
  const codeOf = (address: Address) => rpc<Hex>(world.chain.url, "eth_getCode", [address, "latest"]);
  const setCode = (address: Address, code: Hex) => rpc(world.chain.url, "hardhat_setCode", [address, code]);

  // A transaction to an address without code succeeds and does nothing.
  describe("success reported with no money moved", () => {
    // As a deployed contract has it: else the account counts as empty without its code, and loses its storage when it is touched.
    before(async () => {
      for (const address of [USDC.address, SESSION_CHANNELS]) await rpc(world.chain.url, "hardhat_setNonce", [address, "0x1"]);
    });

    it("a token that has no code is no transfer, when it is asked", async () => {
      const terms = await exactTerms();
      const payload = await authorize(await newPayer(world.chain), terms);
      const code = await codeOf(USDC.address);
      await setCode(USDC.address, "0x");
      expect((await settle(payload, terms)).success).to.not.equal(true);
      await setCode(USDC.address, code);
      expect(await usdcOf(terms.payTo)).to.equal(0n);
    });

    it("nor when it loses its code while the transfer is under way: the receipt says success, the answer does not", async () => {
      const terms = await exactTerms();
      const payload = await authorize(await newPayer(world.chain), terms);
      const code = await codeOf(USDC.address);
      await rpc(world.chain.url, "evm_setIntervalMining", [0]);
      await rpc(world.chain.url, "evm_setAutomine", [false]);
      const { db } = world.relayer.deps;
      const answer = settle(payload, terms);
      const signed = () => db.query("SELECT t.hash FROM exact_settlement s JOIN chain_tx t USING (tx_id) WHERE s.nonce = $1", [bytes(payload.authorization.nonce)]);
      await until(async () => (await signed()).rowCount === 1);
      const hash = `0x${(await signed()).rows[0].hash.toString("hex")}` as Hex;
      await until(async () => (await rpc<unknown>(world.chain.url, "eth_getTransactionByHash", [hash])) !== null);
      await setCode(USDC.address, "0x");
      await rpc(world.chain.url, "evm_mine");
      await rpc(world.chain.url, "evm_setAutomine", [true]);
      await rpc(world.chain.url, "evm_setIntervalMining", [1_000]);
      expect((await rpc<{ status: Hex; logs: unknown[] }>(world.chain.url, "eth_getTransactionReceipt", [hash]))).to.deep.include({ status: "0x1", logs: [] });
      expect((await answer).success).to.not.equal(true);
      await setCode(USDC.address, code);
      expect(await usdcOf(terms.payTo)).to.equal(0n);
    });

    it("a deposit into a contract that has no code buys nothing", async () => {
      const buyer = manualBuyer(await newPayer(world.chain), url(), pad(toHex(++salts)));
      const terms = await buyer.terms();
      const payment = await buyer.depositPayment(terms, 10n * PRICE, PRICE);
      const runs = world.provider.seen.length;
      const code = await codeOf(SESSION_CHANNELS);
      await setCode(SESSION_CHANNELS, "0x");
      const refused = await buyer.send(payment);
      await setCode(SESSION_CHANNELS, code);
      expect([refused.status === 200, world.provider.seen.length]).to.deep.equal([false, runs]);
    });
  });

  it("a nonce gap does not stall the facilitator: it fills it, and the payment settles", async () => {
    const { deps } = world.relayer;
    await deps.db.query("UPDATE chain_signer SET next_nonce = next_nonce + 2 WHERE address = $1", [bytes(deps.submitter.address)]);
    const terms = await exactTerms();
    const payload = await authorize(await newPayer(world.chain), terms);
    await until(async () => (await settle(payload, terms)).success === true);
    expect(await usdcOf(terms.payTo)).to.equal(PRICE);
    const { rows } = await deps.db.query("SELECT count(*) AS n FROM chain_tx WHERE purpose = 'fill'");
    expect(rows[0].n).to.equal(2n);
  });

  it("what a killed process held locked is free when it is dead: calls and settlement go on", async () => {
    const { buyer, terms, channelId } = await opened();
    const { deps } = world.relayer;
    const holder = await startHolder(deps.config.databaseUrl, channelId);
    expect((await deps.db.query("SELECT 1 FROM channel WHERE channel_id = $1 FOR UPDATE SKIP LOCKED", [bytes(channelId)])).rowCount, "it holds the channel").to.equal(0);
    const call = buyer.send(await buyer.voucherPayment(terms, 2n * PRICE));
    await holder.kill();
    const answer = await call;
    const done = answer.status === 200 ? answer : await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE));
    expect(done.status, await done.clone().text()).to.equal(200);
    expect(settleOf(done).extra.channelState).to.include({ chargedCumulativeAmount: String(2n * PRICE) });
    expect(await world.relayer.settlement.flush()).to.equal(true);
    const [, claimed] = await world.chain.client.readContract({ address: DOMAIN.verifyingContract, abi: sessionChannelsAbi, functionName: "channels", args: [channelId] });
    expect(claimed).to.equal(2n * PRICE);
  });

  it("a process without any memory of a channel takes no old voucher, and goes on from the newest", async () => {
    const { buyer, terms } = await opened();
    const post = (payment: unknown, body: string, at: string) => buyer.send(payment, { method: "POST", body }, `${at}/s/echo/`);
    const old = await buyer.voucherPayment(terms, 2n * PRICE);
    expect((await post(old, "first", world.url)).status).to.equal(200);
    expect((await post(await buyer.voucherPayment(terms, 3n * PRICE), "second", world.url)).status).to.equal(200);
    const fresh = await world.anotherRelayer();
    const runs = world.provider.seen.length;
    expect((await post(old, "something new for an old voucher", fresh.url)).status).to.equal(402);
    expect(world.provider.seen.length).to.equal(runs);
    expect((await post(await buyer.voucherPayment(terms, 4n * PRICE), "third", fresh.url)).status).to.equal(200);
  });
});

const bytes = (hex: string) => Buffer.from(hex.slice(2), "hex");

/** A process that locks the row of a channel and never lets go. */
async function startHolder(databaseUrl: string, channelId: Hex): Promise<{ kill(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "tallystick-holder-"));
  const script = join(folder, "holder.mjs");
  await writeFile(script, `
    import pg from ${JSON.stringify(import.meta.resolve("pg"))};
    const client = new pg.Client({ connectionString: process.argv[2] });
    await client.connect();
    await client.query("BEGIN");
    await client.query("SELECT 1 FROM channel WHERE channel_id = $1 FOR UPDATE", [Buffer.from(process.argv[3].slice(2), "hex")]);
    process.send("held");
    setInterval(() => {}, 1000);
  `);
  const child = fork(script, [databaseUrl, channelId], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const [message] = (await once(child, "message")) as [string];
  expect(message).to.equal("held");
  return {
    async kill() {
      child.kill("SIGKILL");
      await once(child, "exit");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
