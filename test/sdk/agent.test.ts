// Our agent against our gateway: real chain, ledger and HTTP. What it pays, how it catches up, what it refuses.
import { expect } from "chai";
import { createWalletClient, http, numberToHex, parseUnits, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { createAgent, type AgentOptions, type Payment } from "../../sdk/src/agent/agent.ts";
import { memoryStorage } from "../../sdk/src/agent/storage.ts";
import { loseChannel } from "../support/forget.ts";
import { settleOf } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;

describe("agent", function () {
  this.timeout(120_000);
  let world: TestWorld;

  before(async () => void (world = await startTestWorld()));
  after(() => world.stop());

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  async function newAgent(options: Partial<AgentOptions> = {}, key = generatePrivateKey()) {
    const account = privateKeyToAccount(key);
    await world.chain.mintUSDC(account.address, parseUnits("10", 6));
    const payments: Payment[] = [];
    const agent = createAgent({ account, rpcUrl: world.chain.url, onPayment: (payment) => void payments.push(payment), ...options });
    return { agent, payments, key, account };
  }
  const channelOf = async (payments: Payment[]) => (await findChannel(world.relayer.deps.db, payments[0]!.channelId!))!;
  const failure = (work: Promise<unknown>): Promise<{ code?: string; field?: string }> => work.then(() => ({ code: "none" }), (error: { code?: string; field?: string }) => error);

  it("asks once, deposits once, and then pays every call with a voucher and no unpaid request", async () => {
    const asked: (string | null)[] = [];
    const counting: typeof fetch = async (input, init) => {
      asked.push(new Headers(init?.headers).get("payment-signature"));
      return fetch(input, init);
    };
    const { agent, payments } = await newAgent({ fetch: counting });
    for (let call = 0; call < 5; call++) {
      const response = await agent.fetch(url(`/path/${call}?q=${call}`), { method: "POST", body: `${call}` });
      expect(response.status).to.equal(200);
      expect(await response.json()).to.include({ body: `${call}`, url: `/path/${call}?q=${call}` });
    }
    expect(asked.map((header) => header === null)).to.deep.equal([true, false, false, false, false, false]);
    expect(payments.map(({ charged }) => charged)).to.deep.equal([PRICE, PRICE, PRICE, PRICE, PRICE]);
    expect(payments.map(({ transaction }) => transaction !== undefined)).to.deep.equal([true, false, false, false, false]);
    expect(payments.every(({ receipt }) => receipt !== undefined)).to.equal(true);
    expect(await channelOf(payments)).to.include({ balance: 100n * PRICE, charged: 5n * PRICE });
  });

  it("has 64 calls of one channel in flight, and every sum is exact", async () => {
    const { agent, payments } = await newAgent();
    await agent.fetch(url());
    const before = world.provider.seen.length;
    // No one is answered before 32 of them are at the service together.
    const answers = await Promise.all(Array.from({ length: 64 }, (_, call) => agent.fetch(url("/gate/32"), { method: "POST", body: `n${call}` }).then((response) => response.json() as Promise<{ body: string }>)));
    expect(answers.map(({ body }) => body)).to.deep.equal(Array.from({ length: 64 }, (_, call) => `n${call}`));
    expect(world.provider.seen.length - before).to.equal(64);
    expect(await channelOf(payments)).to.include({ charged: 65n * PRICE, reserved: 0n });
    expect(payments.reduce((sum, { charged }) => sum + charged, 0n)).to.equal(65n * PRICE);
  });

  it("tops up under load without a failed call", async () => {
    const { agent, payments } = await newAgent({ deposit: { calls: 100 } });
    for (let round = 0; round < 6; round++) await Promise.all(Array.from({ length: 50 }, async () => expect((await agent.fetch(url())).status).to.equal(200)));
    const channel = await channelOf(payments);
    expect(channel.charged).to.equal(300n * PRICE);
    const deposits = payments.filter(({ transaction }) => transaction !== undefined).length;
    expect(deposits).to.be.within(3, 4);
    expect(channel.balance).to.equal(BigInt(deposits) * 100n * PRICE);
  });

  it("goes on from its storage, and without it from what the seller proves", async () => {
    const storage = memoryStorage();
    const { agent, payments, key } = await newAgent({ storage });
    await agent.fetch(url());
    await agent.fetch(url());
    await agent.close();
    const again = await newAgent({ storage }, key);
    expect((await again.agent.fetch(url())).status).to.equal(200);
    const forgetful = await newAgent({}, key);
    expect((await forgetful.agent.fetch(url(), { method: "POST", body: "new" })).status).to.equal(200);
    expect([...again.payments, ...forgetful.payments].every(({ transaction }) => transaction === undefined)).to.equal(true);
    expect(await channelOf(payments)).to.include({ charged: 4n * PRICE, balance: 100n * PRICE });
    expect(await again.agent.spent()).to.equal(3n * PRICE);
  });

  it("goes on from the chain when both sides forgot", async () => {
    const { agent, payments, key } = await newAgent();
    await agent.fetch(url());
    await agent.fetch(url());
    await world.relayer.settlement.flush();
    await loseChannel(world.relayer.deps.db, payments[0]!.channelId!);
    const forgetful = await newAgent({}, key);
    expect((await forgetful.agent.fetch(url())).status).to.equal(200);
    expect(await channelOf(payments)).to.include({ charged: 3n * PRICE });
  });

  it("does not pay for calls that it did not make", async () => {
    const { agent, key } = await newAgent();
    await agent.fetch(url());
    await (await newAgent({}, key)).agent.fetch(url(), { method: "POST", body: "made by somebody else with this key" });
    expect(await failure(agent.fetch(url(), { method: "POST", body: "mine" }))).to.include({ code: "server_overcharged" });
  });

  it("sends the very same payment again after a lost connection: one charge, one answer", async () => {
    let losing = 2;
    const seen = new Set<string>();
    const lossy: typeof fetch = async (input, init) => {
      const payment = new Headers(init?.headers).get("payment-signature");
      const response = await fetch(input, init);
      if (payment === null || losing-- <= 0) return response;
      seen.add(payment);
      await response.arrayBuffer();
      throw new TypeError("fetch failed");
    };
    const { agent, payments } = await newAgent({ fetch: lossy });
    const runs = world.provider.seen.length;
    const response = await agent.fetch(url(), { method: "POST", body: "once" });
    expect([response.status, seen.size, world.provider.seen.length - runs]).to.deep.equal([200, 1, 1]);
    expect(await channelOf(payments)).to.include({ charged: PRICE });
  });

  it("says a payment is undecided when no answer comes, and fetching the same again decides it with the same payment", async () => {
    let down = false;
    const flaky: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      if (!down) return response;
      throw new TypeError("fetch failed");
    };
    const { agent, payments } = await newAgent({ fetch: flaky, patienceMs: 300 });
    await agent.fetch(url());
    down = true;
    expect(await failure(agent.fetch(url(), { method: "POST", body: "again" }))).to.include({ code: "payment_undecided", retry: "safe" });
    down = false;
    const runs = world.provider.seen.length;
    expect((await agent.fetch(url(), { method: "POST", body: "again" })).status).to.equal(200);
    expect(world.provider.seen.length, "the first run's answer").to.equal(runs);
    expect(await channelOf(payments)).to.include({ charged: 2n * PRICE });
    expect((await agent.fetch(url(), { method: "POST", body: "again" })).status).to.equal(200);
    expect(await channelOf(payments)).to.include({ charged: 3n * PRICE });
  });

  it("checks the receipt of an answer whose service names no content type", async () => {
    const { agent, payments } = await newAgent();
    const response = await agent.fetch(url("/large/5000"));
    expect([response.status, response.headers.get("content-type"), (await response.arrayBuffer()).byteLength]).to.deep.equal([200, "application/octet-stream", 5000]);
    expect(payments[0]!.receipt).to.not.equal(undefined);
  });

  it("passes failures of the service on, pays nothing for them, and goes on", async () => {
    const { agent, payments } = await newAgent();
    await agent.fetch(url());
    expect((await agent.fetch(url("/status/404"))).status).to.equal(404);
    expect((await agent.fetch(url("/break"))).status).to.equal(502);
    expect((await agent.fetch(url("/charge/250"))).status).to.equal(200);
    expect(await channelOf(payments)).to.include({ charged: PRICE + 250n });
  });

  it("refuses what its limits forbid before anything is signed", async () => {
    const cases = [[{ perCall: 999n }, "limits.perCall"], [{ deposit: 99_000n, total: 10n * PRICE }, "none"], [{ total: 2n * PRICE }, "limits.total"], [{ perHour: 2n * PRICE }, "limits.perHour"]] as const;
    for (const [limits, field] of cases) {
      const { agent, payments } = await newAgent({ limits });
      const results = [];
      for (let call = 0; call < 3; call++) results.push(await failure(agent.fetch(url())));
      const refused = results.filter((result) => result.code === "limit_exceeded");
      if (field === "limits.perCall") expect([refused.length, payments.length]).to.deep.equal([3, 0]);
      if (field === "none") expect([refused.length, payments.length]).to.deep.equal([0, 3]);
      if (field === "limits.total" || field === "limits.perHour") {
        expect([refused.length, payments.length, refused[0]?.field]).to.deep.equal([1, 2, field]);
        expect(await agent.spent()).to.equal(2n * PRICE);
      }
    }
  });

  it("never signs beyond its limit, however many calls run at once", async () => {
    const { agent, payments } = await newAgent({ limits: { total: 10n * PRICE } });
    const results = await Promise.allSettled(Array.from({ length: 40 }, (_, call) => agent.fetch(url(), { method: "POST", body: `${call}` })));
    expect(results.filter(({ status }) => status === "fulfilled").length).to.be.within(1, 10);
    expect(await agent.spent() <= 10n * PRICE).to.equal(true);
    const channel = await channelOf(payments);
    expect(channel.signedCeiling <= 10n * PRICE).to.equal(true);
  });

  it("acknowledges its receipts, and gets back what it did not spend", async () => {
    const { agent, payments } = await newAgent();
    await agent.fetch(url());
    await agent.fetch(url());
    const [channel] = (await agent.wallet.getBalance()).channels;
    expect(channel).to.include({ balance: 100n * PRICE, charged: 2n * PRICE, free: 98n * PRICE });
    const [refund] = await agent.wallet.withdraw();
    expect(refund).to.include({ state: "refunded", amount: 98n * PRICE });
    expect((await agent.wallet.getBalance()).wallet).to.equal(parseUnits("10", 6) - 2n * PRICE);
    expect((await agent.fetch(url())).status, "and the channel is used again").to.equal(200);
    expect(await channelOf(payments)).to.include({ charged: 3n * PRICE });
  });

  it("gets its money back from the chain when the seller is gone", async () => {
    const key = generatePrivateKey();
    const writer = createWalletClient({ account: privateKeyToAccount(key), chain: baseSepolia, transport: http(world.chain.url), pollingInterval: 25 });
    let gone = false;
    const fetching: typeof fetch = (input, init) => (gone ? Promise.reject(new TypeError("fetch failed")) : fetch(input, init));
    const { agent, account } = await newAgent({ writer, fetch: fetching, patienceMs: 100 }, key);
    await rpc(world.chain.url, "hardhat_setBalance", [account.address, numberToHex(10n ** 18n)]);
    await agent.fetch(url());
    await world.relayer.settlement.flush();
    gone = true;
    const [begun] = await agent.wallet.withdraw();
    expect(begun).to.include({ state: "withdrawing", amount: 99n * PRICE });
    const snapshot = await rpc<Hex>(world.chain.url, "evm_snapshot");
    expect((await agent.wallet.withdraw())[0]).to.include({ state: "withdrawing" });
    await world.chain.warpTo((begun as { availableAt: number }).availableAt + 1);
    expect((await agent.wallet.withdraw())[0]).to.include({ state: "withdrawn", amount: 99n * PRICE });
    expect((await agent.wallet.getBalance()).wallet).to.equal(parseUnits("10", 6) - PRICE);
    await rpc(world.chain.url, "evm_revert", [snapshot]);
  });

  it("funds a channel ahead by its own transaction", async () => {
    const key = generatePrivateKey();
    const writer = createWalletClient({ account: privateKeyToAccount(key), chain: baseSepolia, transport: http(world.chain.url), pollingInterval: 25 });
    const { agent, account, payments } = await newAgent({ writer }, key);
    await rpc(world.chain.url, "hardhat_setBalance", [account.address, numberToHex(10n ** 18n)]);
    expect(await agent.wallet.fund(250n * PRICE, { url: url() })).to.include({ balance: 250n * PRICE });
    const response = await agent.fetch(url());
    expect([response.status, settleOf(response).transaction]).to.deep.equal([200, ""]);
    expect(await channelOf(payments)).to.include({ balance: 250n * PRICE, charged: PRICE });
  });
});
