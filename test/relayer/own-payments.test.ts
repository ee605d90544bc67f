// What the parties of a payment can see of it: sessions, payments, receipts, traces, events. And that nobody else sees anything.
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { numberToHex, parseUnits, type Hex, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { statusOf } from "../../relayer/src/capabilities/payments/logic.ts";
import { findStory } from "../../relayer/src/capabilities/payments/store.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { signIn } from "../../sdk/src/access.ts";
import { createAgent, type Payment } from "../../sdk/src/agent/agent.ts";
import { keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";

type Json = Record<string, any>;

describe("one's own payments", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let base: string;

  before(async () => {
    world = await startTestWorld();
    base = world.relayer.deps.config.publicUrl;
  });
  after(() => world.stop());

  const provider = privateKeyToAccount(keyOf(ROLE.receiver));
  const stranger = privateKeyToAccount(generatePrivateKey());
  const tokens = new Map<string, string>();
  async function tokenOf(account: PrivateKeyAccount): Promise<string> {
    const known = tokens.get(account.address) ?? (await signIn({ relayerUrl: base, account })).token;
    tokens.set(account.address, known);
    return known;
  }
  const get = async (account: PrivateKeyAccount | undefined, path: string): Promise<{ status: number; body: Json }> => {
    const response = await fetch(`${base}/api/v1${path}`, { headers: account === undefined ? {} : { authorization: `Bearer ${await tokenOf(account)}` } });
    return { status: response.status, body: (await response.json()) as Json };
  };
  async function newBuyer(options: Partial<Parameters<typeof createAgent>[0]> = {}) {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, parseUnits("1", 6));
    const payments: Payment[] = [];
    const agent = createAgent({ account, rpcUrl: world.chain.url, onPayment: (payment) => void payments.push(payment), ...options });
    return { account, agent, payments, buy: (path = "/") => agent.fetch(`${base}/s/echo${path}`) };
  }

  it("a session shows what was put in, what is left and what it costs, to its parties only", async () => {
    const { account, payments, buy } = await newBuyer();
    await buy();
    await buy();
    const id = payments[0]!.channelId!;
    const seen = await get(account, `/sessions/${id}`);
    expect(seen.body).to.include({
      sessionId: id, state: "open", depositAmount: "100000", remainingBalance: "98000", pricePerRequest: "1000", requestCount: 2, expiresAt: null, charged: "2000", claimed: "0", unsettled: "2000",
      payer: account.address, receiver: provider.address, creationTransaction: payments[0]!.transaction,
    });
    const { history: _, ...session } = seen.body;
    await until(async () => (await get(account, `/sessions/${id}`)).body["history"].length > 0);
    const { history, ...again } = (await get(provider, `/sessions/${id}`)).body;
    expect(again).to.deep.equal(session);
    expect(history.map(({ kind, amount, transaction, ours }: Json) => ({ kind, amount, transaction, ours }))).to.deep.equal([{ kind: "deposit", amount: "100000", transaction: payments[0]!.transaction, ours: true }]);
    expect([(await get(stranger, `/sessions/${id}`)).status, (await get(undefined, `/sessions/${id}`)).status]).to.deep.equal([404, 401]);
    expect((await get(account, "/sessions")).body["sessions"]).to.deep.equal([session]);
    expect((await get(stranger, "/sessions")).body["sessions"]).to.deep.equal([]);
  });

  it("a session that is withdrawn says so, and until when", async () => {
    const { account, payments, buy } = await newBuyer();
    await buy();
    const id = payments[0]!.channelId!;
    await rpc(world.chain.url, "hardhat_setBalance", [account.address, numberToHex(10n ** 18n)]);
    const { rows } = await world.relayer.deps.db.query("SELECT * FROM channel WHERE channel_id = $1", [Buffer.from(id.slice(2), "hex")]);
    const hex = (bytes: Buffer) => `0x${bytes.toString("hex")}` as Hex;
    const row = rows[0];
    const config = { payer: account.address, payerAuthorizer: account.address, receiver: hex(row.receiver), receiverAuthorizer: hex(row.receiver_authorizer), token: hex(row.token), withdrawDelay: row.withdraw_delay_s, salt: hex(row.salt) };
    await new Sessions(world.chain).send(account as never, "initiateWithdraw", [config, 50_000n]);
    await until(async () => (await get(account, `/sessions/${id}`)).body["state"] === "withdrawing");
    const { body } = await get(account, `/sessions/${id}`);
    expect(Date.parse(body["expiresAt"])).to.be.greaterThan(Date.now() + 3_000_000);
  });

  it("a payment is PENDING until its claim is confirmed, SETTLED with the transaction, and PENDING again when a reorganisation takes it back", async () => {
    const { account, payments, buy } = await newBuyer();
    await buy();
    const id = payments[0]!.paymentId!;
    expect((await get(account, `/payments/${id}`)).body).to.include({ status: "PENDING", transaction: null, chargedAtomic: "1000", sessionId: payments[0]!.channelId });
    const snapshot = await rpc<Hex>(world.chain.url, "evm_snapshot");
    await world.relayer.settlement.flush();
    const settled = (await get(account, `/payments/${id}`)).body;
    expect(settled).to.include({ status: "SETTLED" });
    const receipt = await world.chain.client.getTransactionReceipt({ hash: settled["transaction"] });
    expect(receipt.status).to.equal("success");
    await rpc(world.chain.url, "evm_revert", [snapshot]);
    await rpc(world.chain.url, "hardhat_setPrevRandao", [generatePrivateKey()]);
    for (let block = 0; block < 3; block++) await rpc(world.chain.url, "evm_mine");
    await until(async () => (await world.relayer.deps.db.query("SELECT 1 FROM chain_tx WHERE state = 'confirmed' AND purpose = 'claim'")).rowCount === 0 || (await get(account, `/payments/${id}`)).body["status"] === "SETTLED");
    await world.relayer.settlement.flush();
    expect((await get(account, `/payments/${id}`)).body).to.include({ status: "SETTLED" });
    expect([(await get(stranger, `/payments/${id}`)).status, (await get(provider, `/payments/${id}`)).status]).to.deep.equal([404, 200]);
  });

  it("a payment that failed is NEVER, and one by transfer names its transfer", async () => {
    const { account, payments, buy, agent } = await newBuyer();
    await buy();
    const failed = await agent.fetch(`${base}/s/echo/status/500`);
    expect(failed.status).to.equal(500);
    expect((await get(account, `/payments/${failed.headers.get("tallystick-payment-id")}`)).body).to.include({ status: "NEVER", reason: "upstream_500", chargedAtomic: null });
    const direct = await newBuyer({ schemes: ["exact"] });
    await direct.buy();
    const [paid] = direct.payments;
    expect((await get(direct.account, `/payments/${paid!.paymentId}`)).body).to.include({ status: "SETTLED", transaction: paid!.transaction, scheme: "exact", sessionId: null });
    expect(payments.length).to.equal(1);
  });

  it("charged and then emptied by the payer before it was claimed is NEVER; paid by transfer and not delivered is PENDING", async () => {
    const { account, payments, buy } = await newBuyer();
    await buy();
    expect((await get(account, `/payments/${payments[0]!.paymentId}`)).body).to.include({ status: "PENDING" });
    const story = (await findStory(world.relayer.deps.db, payments[0]!.paymentId!))!;
    expect(statusOf({ ...story, channelBalance: 500n }, [])).to.include({ status: "NEVER", reason: "channel_emptied" });
    expect(statusOf({ ...story, channelBalance: 1000n }, [])).to.include({ status: "PENDING" });
    expect(statusOf({ ...story, channelClaimed: 1000n }, [])).to.include({ status: "SETTLED", transaction: undefined });
    expect(statusOf({ ...story, scheme: "transfer", channelId: undefined, state: "released", settledTx: "0x12" }, [])).to.include({ status: "PENDING", transaction: "0x12" });
  });

  it("a receipt is acknowledged by its buyer's agent, and by nobody else", async () => {
    const { account, agent, payments, buy } = await newBuyer();
    await buy();
    const id = payments[0]!.paymentId!;
    const before = (await get(account, `/receipts/${id}`)).body;
    expect(before).to.include({ acknowledged: false });
    expect(before["receipt"]).to.deep.equal(payments[0]!.receipt);
    const { receiptHash } = before as { receiptHash: Hex };
    const ack = async (by: PrivateKeyAccount, hash: Hex) => {
      const { domain } = payments[0]!.receipt!;
      const signature = await by.signTypedData({ domain, types: { ReceiptAck: [{ name: "receiptHash", type: "bytes32" }] }, primaryType: "ReceiptAck", message: { receiptHash: hash } });
      const response = await fetch(`${base}/api/v1/receipts/acks`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ acks: [{ paymentId: id, receiptHash: hash, signature }] }) });
      return (await response.json()) as Json;
    };
    expect(await ack(stranger, receiptHash)).to.deep.equal({ accepted: 0, refused: [{ paymentId: id, code: "ack_signature_invalid" }] });
    expect(await ack(account, `0x${"1".repeat(64)}`)).to.deep.equal({ accepted: 0, refused: [{ paymentId: id, code: "receipt_hash_mismatch" }] });
    await agent.close();
    expect((await get(account, `/receipts/${id}`)).body).to.include({ acknowledged: true });
    expect((await get(stranger, `/receipts/${id}`)).status).to.equal(404);
  });

  it("a trace tells the whole way in order, and the answer can be fetched again by its buyer", async () => {
    const { account, payments, buy } = await newBuyer();
    await buy("/story");
    await world.relayer.settlement.flush();
    const id = payments[0]!.paymentId!;
    const { body } = await get(account, `/payments/${id}/trace`);
    const steps = body["steps"] as Json[];
    expect(steps.map(({ name }) => name)).to.deep.equal(["offer (402)", "decision", "voucher", "upstream", "charge", "receipt", "settlement", "status"]);
    expect(steps.find(({ name }) => name === "settlement")).to.include({ row: "claimed", state: "confirmed" });
    const times = steps.map(({ at }) => at as string | undefined).filter((at) => at !== undefined);
    expect([...times].sort()).to.deep.equal(times);
    const answer = await fetch(`${base}/api/v1/payments/${id}/answer`, { headers: { authorization: `Bearer ${await tokenOf(account)}` } });
    expect(await answer.json()).to.include({ url: "/story" });
    expect((await get(provider, `/payments/${id}/answer`)).status).to.equal(404);
    expect(((await get(account, "/payments")).body["payments"] as Json[]).map(({ paymentId }) => paymentId)).to.deep.equal([id]);
  });

  type Event = { id: string; kind: string; data: Json };
  /** Reads events until `enough`, then hangs up. */
  async function listen(account: PrivateKeyAccount, url: string, enough: (events: Event[]) => boolean, lastId?: string): Promise<Event[]> {
    const ending = new AbortController();
    const token = await tokenOf(account);
    const response = await fetch(`${url}/api/v1/events`, { headers: { authorization: `Bearer ${token}`, ...(lastId === undefined ? {} : { "last-event-id": lastId }) }, signal: ending.signal });
    expect(response.status, await (response.ok ? "" : response.text())).to.equal(200);
    const events: Event[] = [];
    let text = "";
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const frames = text.split("\n\n");
      text = frames.pop()!;
      for (const frame of frames.filter((part) => part.startsWith("id: "))) {
        const [, id, kind, data] = /^id: (.+)\nevent: (.+)\ndata: (.+)$/.exec(frame)!;
        events.push({ id: id!, kind: kind!, data: JSON.parse(data!) as Json });
      }
      if (enough(events)) break;
    }
    ending.abort();
    return events;
  }

  it("events tell a party what happens, resume in another process, and tell nobody else", async () => {
    const { account, payments, buy } = await newBuyer();
    const second = await world.anotherRelayer();
    const first = listen(account, base, (events) => events.some(({ kind }) => kind === "payment.charged"));
    const others = listen(stranger, base, (events) => events.length > 0);
    others.catch(() => {}); // never ends by itself
    await sleep(500);
    await buy();
    const seen = await first;
    expect(seen.map(({ kind }) => kind)).to.include.members(["session.opened", "payment.reserved", "payment.charged"]);
    expect(seen.find(({ kind }) => kind === "payment.charged")!.data).to.include({ paymentId: payments[0]!.paymentId, chargedAtomic: "1000" });
    await buy();
    await world.relayer.settlement.flush();
    const rest = await listen(account, second.url, (events) => events.some(({ kind }) => kind === "session.claimed"), seen.at(-1)!.id);
    expect(rest.filter(({ kind }) => kind === "payment.charged").length).to.equal(1);
    expect(new Set([...seen, ...rest].map(({ id }) => id)).size).to.equal(seen.length + rest.length);
    expect(await Promise.race([others.then(() => "told"), sleep(400).then(() => "silent")])).to.equal("silent");
    const malformed = await fetch(`${base}/api/v1/events`, { headers: { authorization: `Bearer ${await tokenOf(account)}`, "last-event-id": "yesterday" } });
    expect([malformed.status, (await fetch(`${base}/api/v1/events`)).status]).to.deep.equal([400, 401]);
  });

  it("no event is lost or repeated while 200 payments commit at once and the reader keeps reconnecting", async () => {
    const { account, payments, buy } = await newBuyer({ deposit: { calls: 300 } });
    await buy();
    // Transaction numbers of another length in the middle: their order is a number's, not a text's.
    const { db } = world.relayer.deps;
    const next = async () => Number((await db.query("SELECT pg_current_xact_id()::text AS id")).rows[0].id);
    for (let id = await next(), edge = 10 ** String(id).length; id < edge - 100 && edge <= 10_000; id = await next());
    const start = await listen(account, base, (events) => events.some(({ kind }) => kind === "payment.charged"), "0-0");
    let position = start.at(-1)!.id;
    const buying = Promise.all(Array.from({ length: 200 }, () => buy()));
    const charged: string[] = [];
    for (const deadline = Date.now() + 60_000; charged.length < 200; ) {
      const events = await listen(account, base, (seen) => seen.length >= 7, position);
      position = events.at(-1)!.id;
      for (const { kind, data } of events) if (kind === "payment.charged") charged.push(data["paymentId"]);
      expect(Date.now(), `${charged.length} of 200`).to.be.lessThan(deadline);
    }
    await buying;
    const expected = payments.map(({ paymentId }) => paymentId!).sort();
    const before = start.filter(({ kind }) => kind === "payment.charged").map(({ data }) => data["paymentId"] as string);
    expect([...before, ...charged].sort()).to.deep.equal(expected);
  });
});

async function until(done: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; !(await done()); await sleep(50)) if (Date.now() > deadline) throw new Error("it took too long");
}
