// Sellers that lie: what our agent says to each, and that what it signed stays within its limits whatever they do. The lies are told on
// the way between a real relayer and the agent.
import { expect } from "chai";
import { parseUnits } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { createAgent, type AgentOptions } from "../../sdk/src/agent/agent.ts";
import { RECEIPT_EXTENSION } from "../../sdk/src/receipt.ts";
import { encodeHeader } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;
type Json = Record<string, any>;
type Lie = { terms?: (required: Json) => void; settlement?: (settled: Json) => void; body?: (text: string) => string; refuse?: (required: Json) => void };

describe("agent and sellers that lie", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let terms: Json;
  before(async () => {
    world = await startTestWorld();
    terms = read((await fetch(url())).headers.get("payment-required")!);
  });
  after(() => world.stop());

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  const read = (header: string) => JSON.parse(Buffer.from(header, "base64").toString()) as Json;
  const attacker = privateKeyToAccount(generatePrivateKey());

  /** An agent whose seller tells the truth until `lie` is set. */
  async function cheated(options: Partial<AgentOptions> = {}, first: Lie = {}) {
    const seller = { lie: first, payments: [] as Json[] };
    const lying: typeof fetch = async (input, init) => {
      const payment = new Headers(init?.headers).get("payment-signature");
      if (payment !== null) seller.payments.push(read(payment));
      const { refuse } = seller.lie;
      if (payment !== null && refuse !== undefined) {
        const required = structuredClone(terms);
        required["extensions"] = {};
        refuse(required);
        return new Response("{}", { status: 402, headers: { "payment-required": encodeHeader(required) } });
      }
      const response = await fetch(input, init);
      const headers = new Headers(response.headers);
      headers.delete("content-length");
      const twist = (name: string, change: ((value: Json) => void) | undefined) => {
        const value = headers.get(name);
        if (value === null || change === undefined) return;
        const json = read(value);
        change(json);
        headers.set(name, encodeHeader(json));
      };
      twist("payment-required", seller.lie.terms);
      twist("payment-response", seller.lie.settlement);
      const text = await response.text();
      return new Response(seller.lie.body?.(text) ?? text, { status: response.status, headers });
    };
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, parseUnits("1", 6));
    const agent = createAgent({ account, rpcUrl: world.chain.url, fetch: lying, patienceMs: 200, ...options });
    const buy = () => agent.fetch(url()).then((response) => ({ code: String(response.status), field: undefined }), (error: { code: string; field?: string }) => error);
    return { agent, seller, buy };
  }

  const LIES: [string, Lie, string, string | undefined][] = [
    ["charges more than the price", { settlement: (settled) => (settled["extra"].chargedAmount = "1001") }, "server_overcharged", undefined],
    ["says that more is charged in all than our calls explain", { settlement: (settled) => (settled["extra"].channelState.chargedCumulativeAmount = "3000") }, "server_overcharged", undefined],
    ["says that less is charged in all than by this call", { settlement: (settled) => (settled["extra"].channelState.chargedCumulativeAmount = "10") }, "server_overcharged", undefined],
    ["delivers something else than it signed for", { body: (text) => text.replace("GET", "PUT") }, "receipt_invalid", "receipt.outputHash"],
    ["hands out a receipt for another amount", { settlement: (settled) => (settled["extensions"][RECEIPT_EXTENSION].info.receipt.payload.amount = "1") }, "receipt_invalid", "receipt.amount"],
    ["hands out a receipt for another request", { settlement: (settled) => (settled["extensions"][RECEIPT_EXTENSION].info.receipt.payload.inputHash = `0x${"1".repeat(64)}`) }, "receipt_invalid", "receipt.inputHash"],
    ["hands out a receipt that its key did not sign", { settlement: (settled) => (settled["extensions"][RECEIPT_EXTENSION].info.receipt.payload.latencyMs = "123456") }, "receipt_invalid", "receipt.signature"],
    ["writes amounts that are none", { settlement: (settled) => (settled["extra"].chargedAmount = "1e3") }, "seller_malformed", "chargedAmount"],
  ];
  for (const [title, lie, code, field] of LIES) {
    it(`one that ${title} is told so and paid no more`, async () => {
      const { seller, buy, agent } = await cheated();
      expect((await buy()).code).to.equal("200");
      seller.lie = lie;
      const told = await buy();
      expect({ code: told.code, field: told.field }).to.deep.equal({ code, field });
      expect(await agent.spent()).to.equal(2n * PRICE);
      if (code === "seller_malformed") return; // unreadable is no proof of a lie: the next call is tried
      seller.lie = {};
      const sent = seller.payments.length;
      expect((await buy()).code, "the channel signs no more").to.equal(code);
      expect([seller.payments.length, await agent.spent()]).to.deep.equal([sent, 2n * PRICE]);
    });
  }

  const change = (edit: (entry: Json) => void) => (required: Json) => {
    for (const entry of required["accepts"]) edit(entry);
  };

  it("one that wants to be paid elsewhere, all of a sudden, is refused", async () => {
    const { seller, buy, agent } = await cheated();
    await buy();
    seller.lie = { refuse: change((entry) => (entry.payTo = attacker.address)) };
    expect(await buy()).to.include({ code: "terms_changed", field: "accepts.payTo" });
    expect(seller.payments.every(({ payload }) => payload.channelConfig.receiver !== attacker.address)).to.equal(true);
    expect(await agent.spent()).to.equal(2n * PRICE);
  });

  it("one whose terms are not what it signed in its offer is refused before anything is signed", async () => {
    for (const edit of [(entry: Json) => (entry["amount"] = "900"), (entry: Json) => (entry["payTo"] = attacker.address)]) {
      const { seller, buy, agent } = await cheated({}, { terms: change(edit) });
      expect((await buy()).code).to.equal("offer_invalid");
      expect([seller.payments.length, await agent.spent()]).to.deep.equal([0, 0n]);
    }
  });

  it("one that raises its price above the limit gets nothing signed at it", async () => {
    const { seller, buy, agent } = await cheated({ limits: { perCall: PRICE } });
    await buy();
    seller.lie = { refuse: change((entry) => (entry.amount = "5000")) };
    expect(await buy()).to.include({ code: "limit_exceeded", field: "limits.perCall" });
    expect(await agent.spent()).to.equal(2n * PRICE);
  });

  it("one that makes up a state of the channel has to prove it", async () => {
    const { seller, buy, agent } = await cheated();
    await buy();
    const channelId = seller.payments[0]!["payload"].voucher.channelId;
    const state = { channelId, balance: "100000", totalClaimed: "0", withdrawRequestedAt: 0, refundNonce: "0", chargedCumulativeAmount: "90000" };
    const forged = { signedMaxClaimable: "90000", signature: await attacker.signMessage({ message: "90000" }) };
    seller.lie = { refuse: change((entry) => Object.assign(entry.extra, { channelState: state, voucherState: forged })) };
    expect((await buy()).code).to.equal("state_unproven");
    expect(await agent.spent()).to.equal(2n * PRICE);
  });

  it("one that refuses every payment gets a few vouchers for the same amount and no more", async () => {
    const { seller, buy, agent } = await cheated({ limits: { total: 10n * PRICE } });
    await buy();
    seller.lie = { refuse: (required) => (required["error"] = "try again") };
    for (let call = 0; call < 20; call++) expect((await buy()).code).to.match(/payment_refused|limit_exceeded/);
    expect((await agent.spent()) <= 10n * PRICE).to.equal(true);
  });

  it("one that names itself as the collector of deposits gets none", async () => {
    const { seller, buy } = await cheated({}, { terms: change((entry) => entry.extra.tallystick && (entry.extra.tallystick.collector = attacker.address)) });
    expect((await buy()).code).to.equal("200");
    expect(JSON.stringify(seller.payments.map(({ payload }) => payload)).toLowerCase()).to.not.contain(attacker.address.toLowerCase());
  });

  it("one that shows somebody else's voucher, or takes the money and never answers, costs at most what was signed", async () => {
    const { buy, agent, seller } = await cheated({ limits: { total: 5n * PRICE } });
    await buy();
    seller.lie = { settlement: (settled) => delete settled["extra"] };
    for (let call = 0; call < 10; call++) await buy();
    const spent = await agent.spent();
    expect(spent <= 5n * PRICE, String(spent)).to.equal(true);
  });
});
