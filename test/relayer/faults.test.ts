// What buyers hear when something of ours is down: 5xx, safe to retry, never a word against their signature, never a charge
// without an answer.
import { expect } from "chai";
import { parseUnits, pad, toHex } from "viem";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { openPool } from "../../relayer/src/db/pool.ts";
import { channelIdOf } from "../../sdk/src/typed-data.ts";
import { DOMAIN, manualBuyer, settleOf } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";

const PRICE = 1000n;
type Problem = { code: string; retry: string; status: number; field?: string };

describe("faults of ours", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let proxy: RpcProxy;
  let salts = 0;

  before(async () => {
    world = await startTestWorld({
      env: { RELAYER_CHAIN_MAX_LAG_MS: "2000", RELAYER_MAX_UNBILLED_RUNS: "1000" },
      rpcUrl: async (chainUrl) => (proxy = await startRpcProxy(chainUrl)).url,
    });
    await world.chain.mintUSDC(world.chain.account(1).address, parseUnits("10", 6));
  });
  after(async () => {
    await world.stop();
    await proxy.stop();
  });
  afterEach(() => proxy.heal());

  const url = () => `${world.url}/s/echo/`;
  const newBuyer = () => manualBuyer(world.chain.account(1), url(), pad(toHex(++salts)));
  async function opened() {
    const buyer = newBuyer();
    const terms = await buyer.terms();
    const response = await buyer.send(await buyer.depositPayment(terms, 1_000n * PRICE, PRICE));
    expect(response.status).to.equal(200);
    return { buyer, terms, state: async () => (await findChannel(world.relayer.deps.db, buyer.channelId(terms)))! };
  }
  const until = async (condition: () => Promise<boolean>) => {
    for (const deadline = Date.now() + 20_000; !(await condition()); ) if (Date.now() > deadline) throw new Error("did not happen in 20 s");
  };

  for (const kind of ["drop", "error"] as const) {
    it(`a dead node (${kind}): a first payment is 503 and safe, and works once the node is back`, async () => {
      const buyer = newBuyer();
      const terms = await buyer.terms();
      const payment = await buyer.depositPayment(terms, 10n * PRICE, PRICE);
      const voucher = await buyer.voucherPayment(terms, PRICE);
      proxy.fail({ method: "*", kind });
      for (const attempt of [payment, voucher]) {
        const response = await buyer.send(attempt);
        const problem = (await response.json()) as Problem;
        expect(problem).to.include({ code: "chain_unavailable", status: 503, retry: "safe" });
        expect(problem.field).to.equal(undefined);
        expect(response.headers.get("payment-required")).to.equal(null);
      }
      proxy.heal();
      await until(async () => (await fetch(`${world.url}/readyz`)).status === 200);
      expect((await buyer.send(payment)).status).to.equal(200);
    });
  }

  it("a dead node: known channels pay on for a while, then 503; readiness tells, and all comes back", async () => {
    const { buyer, terms, state } = await opened();
    proxy.fail({ method: "*", kind: "drop" });
    expect((await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE))).status).to.equal(200);
    const third = await buyer.voucherPayment(terms, 3n * PRICE);
    await until(async () => (await fetch(`${world.url}/readyz`)).status === 503 && (await buyer.send(await buyer.voucherPayment(terms, PRICE))).status === 503);
    const refused = await buyer.send(third);
    expect((await refused.json()) as Problem).to.include({ code: "chain_unavailable", retry: "safe" });
    expect((await state()).charged).to.equal(2n * PRICE);
    proxy.heal();
    await until(async () => (await fetch(`${world.url}/readyz`)).status === 200);
    expect((await buyer.send(third)).status).to.equal(200);
  });

  it("a node that takes the deposit and loses its answer: one deposit, one charge", async () => {
    const buyer = newBuyer();
    const terms = await buyer.terms();
    const payment = await buyer.depositPayment(terms, 10n * PRICE, PRICE);
    proxy.fail({ method: "eth_sendRawTransaction", kind: "lose", times: 1 });
    const first = await buyer.send(payment);
    const response = first.status === 200 ? first : await buyer.send(payment);
    expect(settleOf(response).extra.channelState).to.include({ balance: String(10n * PRICE), chargedCumulativeAmount: String(PRICE) });
    const { rows } = await world.relayer.deps.db.query("SELECT count(*) AS deposits FROM deposit WHERE channel_id = $1", [Buffer.from(buyer.channelId(terms).slice(2), "hex")]);
    expect(rows[0].deposits).to.equal(1n);
  });

  it("database connections cut again and again: every answer is a 200 or a 503, and charged equals delivered", async () => {
    const { buyer, terms, state } = await opened();
    const killer = openPool(world.relayer.deps.config.databaseUrl, 1);
    let stop = false;
    const cutting = (async () => {
      while (!stop) {
        await killer.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()");
        // As often as this machine can bear: a connection that lives for less time than it takes to make one never does anything.
        const asked = performance.now();
        const fresh = openPool(world.relayer.deps.config.databaseUrl, 1);
        await fresh.query("SELECT 1").catch(() => undefined);
        await fresh.end();
        await new Promise((done) => setTimeout(done, Math.max(40, 3 * (performance.now() - asked))));
      }
    })();
    const bodies = new Map<number, string>();
    for (let call = 2; call < 60; call++) {
      const payment = await buyer.voucherPayment(terms, 900n * PRICE - BigInt(call));
      // As a buyer would: the same payment again until it is answered.
      for (;;) {
        const response = await buyer.send(payment, { method: "POST", body: `${call}` });
        expect([200, 503], await response.clone().text()).to.include(response.status);
        if (response.status === 503) continue;
        bodies.set(call, ((await response.json()) as { body: string }).body);
        break;
      }
    }
    stop = true;
    await cutting;
    await killer.end();
    expect([...bodies].every(([call, body]) => body === `${call}`)).to.equal(true);
    const after = await state();
    expect(after.charged).to.equal(59n * PRICE);
    await until(async () => {
      const { rows } = await world.relayer.deps.db.query("SELECT count(*) AS open FROM payment WHERE state = 'reserved'");
      return rows[0].open === 0n || (await world.relayer.deps.db.query("UPDATE payment SET reserved_until = now() WHERE state = 'reserved'")).rowCount === -1;
    });
    expect((await state()).reserved).to.equal(0n);
  });

  it("refuses a channel whose vouchers a contract wallet would sign", async () => {
    const buyer = newBuyer();
    const terms = await buyer.terms();
    const config = { ...buyer.configFor(terms), payerAuthorizer: pad("0x0", { size: 20 }) };
    const channelId = channelIdOf(DOMAIN, config);
    const response = await buyer.send(buyer.envelope(terms, { type: "voucher", channelConfig: config, voucher: await buyer.voucher(channelId, PRICE) }));
    expect((await response.json()) as Problem).to.include({ code: "contract_wallet_unsupported", field: "payload.channelConfig.payerAuthorizer" });
  });

  it("takes no payment while a withdrawal is pending, and again once it is cancelled", async () => {
    const { buyer, terms } = await opened();
    const { chain, relayer } = world;
    const { sessionChannelsAbi } = await import("../../sdk/src/abi/session-channels.ts");
    const call = async (functionName: "initiateWithdraw" | "cancelWithdraw") => {
      const config = buyer.configFor(terms);
      const args = functionName === "initiateWithdraw" ? [config, 10n * PRICE] : [config];
      const hash = await chain.client.writeContract({ account: buyer.account, chain: null, address: relayer.deps.config.sessionChannels, abi: sessionChannelsAbi, functionName, args: args as never });
      await chain.client.waitForTransactionReceipt({ hash });
    };
    await call("initiateWithdraw");
    const code = async (ceiling: bigint) => {
      const response = await buyer.send(await buyer.voucherPayment(terms, ceiling), { method: "POST", body: `${ceiling}` });
      return response.status === 200 ? "sold" : ((await response.json()) as Problem).code;
    };
    let ceiling = 2n * PRICE;
    await until(async () => (await code((ceiling += PRICE))) === "withdrawal_pending");
    await call("cancelWithdraw");
    await until(async () => (await code((ceiling += PRICE))) === "sold");
  });
});
