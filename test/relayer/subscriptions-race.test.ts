// A month is charged exactly once: with two relayer processes, many first calls at once, and processes that are killed around the charge.
import { expect } from "chai";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pad, toHex } from "viem";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { freePort } from "../../scripts/local/process.ts";
import { Processes } from "../chaos/processes.ts";
import { manualBuyer, settleOf, type Required } from "../support/buyer.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";
import { testEnvironment } from "../support/config.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { callerAs } from "../support/provider-world.ts";
import { startProvider, type Provider, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";
import { until } from "../support/settlement-world.ts";

const PRICE = 10_000n;
const [OWNER, RACER, KILLED_BEFORE, KILLED_AFTER] = [12, 1, 2, 3];
const CHANNELS = 4;
const CALLS_EACH = 5;

describe("a month, with two relayers that may die", function () {
  this.timeout(240_000);
  let chain: TestChain;
  let postgres: TestPostgres;
  let provider: Provider;
  let folder: string;
  let relayers: Processes;
  let db: Db;

  before(async () => {
    [chain, postgres, provider] = await Promise.all([startTestChain({ blockTimeMs: 1_000 }), startTestPostgres(), startProvider()]);
    folder = await mkdtemp(join(tmpdir(), "tallystick-month-"));
    const databaseUrl = await postgres.freshDatabase();
    const slots = [];
    for (const name of ["one", "two"]) {
      const port = String(await freePort());
      const url = `http://127.0.0.1:${port}`;
      // One public URL: a buyer may go on with its payment at either.
      const env = testEnvironment(databaseUrl, chain.url, [{ name: "echo", origin: provider.origin }], { RELAYER_PORT: port, RELAYER_PUBLIC_URL: slots[0]?.url ?? url, RELAYER_SWEEP_MS: "200" });
      slots.push({ name, url, env });
    }
    relayers = new Processes(folder, slots);
    await relayers.start();
    db = openPool(databaseUrl);
    const owner = await callerAs({ chain, url: slots[0]!.url } as TestWorld, OWNER);
    expect((await owner("POST", "/services", { name: "monthly", origin: provider.origin, priceAtomic: String(PRICE), per: "month", upstreamTimeoutMs: 20_000 })).status).equal(201);
  });
  after(async () => {
    await relayers.stop();
    await db.end();
    await Promise.all([provider.stop(), chain.stop()]);
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const at = (index: number, path: string) => `${relayers.slots[index]!.url}/s/monthly${path}`;

  /** A channel with money in it that no relayer has seen. */
  async function funded(index: number, salt: number) {
    const buyer = manualBuyer(chain.account(index), at(0, "/"), pad(toHex(salt)));
    const terms = await buyer.terms();
    await chain.mintUSDC(buyer.account.address, BigInt(CALLS_EACH + 1) * PRICE);
    await new Sessions(chain).deposit(buyer.configFor(terms), chain.account(index), BigInt(CALLS_EACH + 1) * PRICE);
    return { ...buyer, terms };
  }
  const pay = async (buyer: Awaited<ReturnType<typeof funded>>, terms: Required, ceiling: bigint) => buyer.voucherPayment(terms, ceiling);
  const chargedOf = async (index: number) => {
    const { rows } = await db.query<{ total: bigint; paid: bigint; free: bigint }>(
      "SELECT coalesce(sum(charged_atomic), 0) AS total, count(*) FILTER (WHERE charged_atomic > 0) AS paid, count(*) FILTER (WHERE charged_atomic = 0) AS free FROM payment WHERE payer = $1 AND state = 'charged'",
      [toBytes(chain.account(index).address)],
    );
    return [rows[0]!.total, rows[0]!.paid, rows[0]!.free];
  };

  it("of twenty first calls at once, on four channels and at two processes, one is charged", async () => {
    const buyers = [];
    for (let salt = 1; salt <= CHANNELS; salt++) buyers.push(await funded(RACER, salt));
    const calls: Promise<Response>[] = [];
    for (const [place, buyer] of buyers.entries()) {
      for (let call = 0; call < CALLS_EACH; call++) {
        const payment = await pay(buyer, buyer.terms, BigInt(CALLS_EACH + 1) * PRICE - BigInt(call));
        // The upstream answers none before it has them all, so that all are charged together.
        calls.push(buyer.send(payment, {}, at((place + call) % 2, `/gate/${CHANNELS * CALLS_EACH}`)));
      }
    }
    const answers = await Promise.all(calls);
    expect(answers.map(({ status }) => status)).deep.equal(answers.map(() => 200));
    const amounts = answers.map((answer) => settleOf(answer).extra.chargedAmount);
    expect(amounts.filter((amount) => amount !== "0")).deep.equal([String(PRICE)]);
    expect(await chargedOf(RACER)).deep.equal([PRICE, 1n, BigInt(CHANNELS * CALLS_EACH - 1)]);
    expect((await db.query("SELECT 1 FROM subscription")).rowCount).equal(1);
  });

  const dies = (response: Promise<Response>) => response.then(() => "answered", () => "died");

  it("killed before the charge: nothing stands, the next call takes it, and the reservation comes back", async () => {
    const buyer = await funded(KILLED_BEFORE, 11);
    const [first, second] = [await pay(buyer, buyer.terms, PRICE), await pay(buyer, buyer.terms, 3n * PRICE)];
    relayers.arm({ id: "before", point: "upstream.answered", nth: 1 });
    expect(await dies(buyer.send(first, {}, at(0, "/first")))).equal("died");
    expect(await chargedOf(KILLED_BEFORE)).deep.equal([0n, 0n, 0n]);
    expect(settleOf(await buyer.send(second, {}, at(1, "/second"))).extra.chargedAmount).equal(String(PRICE));
    await db.query("UPDATE payment SET reserved_until = now() WHERE state = 'reserved'"); // the lease has run out
    await until(async () => (await db.query("SELECT 1 FROM payment WHERE state = 'reserved'")).rowCount === 0);
    const third = await buyer.send(await pay(buyer, buyer.terms, 4n * PRICE), {}, at(1, "/third"));
    expect(settleOf(third).extra.chargedAmount).equal("0");
    expect(await chargedOf(KILLED_BEFORE)).deep.equal([PRICE, 1n, 1n]);
    await relayers.whenHealthy();
  });

  it("killed right after it: the month stands, the same payment fetches its answer, and nothing is charged again", async () => {
    const buyer = await funded(KILLED_AFTER, 21);
    const first = await pay(buyer, buyer.terms, PRICE);
    relayers.arm({ id: "after", point: "payment.charged", nth: 1 });
    expect(await dies(buyer.send(first, {}, at(0, "/first")))).equal("died");
    expect(await chargedOf(KILLED_AFTER)).deep.equal([PRICE, 1n, 0n]);
    expect(settleOf(await buyer.send(first, {}, at(1, "/first"))).extra.chargedAmount).equal(String(PRICE));
    expect(settleOf(await buyer.send(await pay(buyer, buyer.terms, 2n * PRICE), {}, at(1, "/second"))).extra.chargedAmount).equal("0");
    expect(await chargedOf(KILLED_AFTER)).deep.equal([PRICE, 1n, 1n]);
    expect(relayers.crashes).deep.equal([]);
  });
});
