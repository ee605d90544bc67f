// The relayer as a process of its own, killed outright again and again while buyers pay: after every restart the ledger, the
// chain and what buyers got must agree to the unit. A small sample; heavier runs belong to a command of their own.
import { expect } from "chai";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pad, parseUnits, toHex, type Hex } from "viem";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import { startRelayer, type Service } from "../../scripts/local/relayer.ts";
import { freePort } from "../../scripts/local/process.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { manualBuyer } from "../support/buyer.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";
import { testEnvironment } from "../support/config.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { startProvider, type Provider } from "../support/relayer.ts";

const PRICE = 1000n;
const CHANNELS = 6;
const CALLS = 16;
const KILLS = 6;

describe("a relayer that is killed", function () {
  this.timeout(420_000);
  let chain: TestChain;
  let postgres: TestPostgres;
  let provider: Provider;
  let db: Db;
  let relayer: Service;
  let folder: string;
  let restart: () => Promise<void>;

  before(async () => {
    [chain, postgres, provider] = await Promise.all([startTestChain({ blockTimeMs: 1_000 }), startTestPostgres(), startProvider()]);
    folder = await mkdtemp(join(tmpdir(), "tallystick-kill-"));
    const databaseUrl = await postgres.freshDatabase();
    db = openPool(databaseUrl, 2);
    const services = [{ name: "echo", origin: provider.origin, upstreamTimeoutMs: 1_000 }];
    // Settles all the time, so that kills fall into deposits, calls, claims and payouts alike.
    const env = { RELAYER_LOG_LEVEL: "info", RELAYER_SETTLE_MAX_AGE_S: "0", RELAYER_SETTLE_MIN_VALUE: "1", RELAYER_MAX_UNBILLED_RUNS: "100000", RELAYER_SWEEP_MS: "1000" };
    const port = await freePort();
    restart = async () => {
      relayer = await startRelayer({ port, env: testEnvironment(databaseUrl, chain.url, services, env), logFile: join(folder, "relayer.log") });
    };
    await restart();
    for (let index = 1; index <= CHANNELS; index++) await chain.mintUSDC(chain.account(index).address, parseUnits("10", 6));
  });
  after(async () => {
    await relayer.stop();
    await db.end();
    await Promise.all([provider.stop(), chain.stop()]);
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /**
   * As any careful buyer: the very same payment again until it is answered. It carries the payment-identifier, for the answer was perhaps lost
   * with the process and its voucher claimed since: what the chain has seen proves nothing of who asks.
   */
  async function untilAnswered(send: () => Promise<Response>): Promise<string> {
    for (const deadline = Date.now() + 180_000; Date.now() < deadline; ) {
      const response = await send().catch(() => undefined); // the process is down
      if (response?.status === 200) {
        const text = await response.text().catch(() => undefined); // killed in the middle of its answer
        if (text !== undefined) return text;
      } else if (response !== undefined) {
        expect(response.status, await response.text()).to.equal(503);
      }
      await sleep(60);
    }
    throw new Error("not answered in three minutes");
  }

  async function buy(index: number): Promise<Hex> {
    const buyer = manualBuyer(chain.account(index), `${relayer.url}/s/echo/`, pad(toHex(index)));
    const terms = await buyer.terms();
    const channelId = buyer.channelId(terms);
    for (let call = 1; call <= CALLS; call++) {
      const ceiling = BigInt(call) * PRICE;
      // The deposit covers half the calls; a top-up comes in the middle.
      const half = BigInt(Math.ceil(CALLS / 2));
      const first = call === 1 || BigInt(call) === half + 1n;
      const payment = first ? await buyer.depositPayment(terms, half * PRICE, ceiling) : await buyer.voucherPayment(terms, ceiling);
      payment.extensions["payment-identifier"] = { info: { required: false, id: `kill_${String(index).padStart(8, "0")}_${String(call).padStart(8, "0")}` } };
      const body = `${index}/${call}`;
      const answer = JSON.parse(await untilAnswered(() => buyer.send(payment, { method: "POST", body }))) as { body: string };
      expect(answer.body).to.equal(body);
    }
    return channelId;
  }

  it("charges exactly what it delivered, deposits once, and settles it all", async () => {
    let selling = true;
    const killing = (async () => {
      let kills = 0;
      for (; kills < KILLS || (selling && kills < 2 * KILLS); kills++) {
        await sleep(150 + Math.random() * 900);
        process.kill(relayer.pid, "SIGKILL");
        await restart();
      }
      return kills;
    })();
    const ids = await Promise.all(Array.from({ length: CHANNELS }, (_, index) => buy(index + 1))).finally(() => (selling = false));
    expect(await killing).to.be.at.least(KILLS);

    const owed = BigInt(CALLS) * PRICE;
    const settled = async () => {
      const states = await Promise.all(ids.map((id) => chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [id] })));
      return states.every(([, totalClaimed]) => totalClaimed === owed);
    };
    for (const deadline = Date.now() + 60_000; !(await settled()); await sleep(200)) expect(Date.now(), "all is claimed within a minute").to.be.lessThan(deadline);

    const query = async (sql: string) => (await db.query(sql)).rows;
    expect(await query(`SELECT count(*) AS channels FROM channel WHERE charged = ${owed}`)).to.deep.equal([{ channels: BigInt(CHANNELS) }]);
    expect(await query("SELECT count(*) AS sales, sum(charged_atomic)::text AS charged FROM payment WHERE state = 'charged'")).to.deep.equal([
      { sales: BigInt(CHANNELS * CALLS), charged: String(BigInt(CHANNELS) * owed) },
    ]);
    expect(await query("SELECT count(*) AS lost FROM payment p LEFT JOIN answer a USING (payment_id) WHERE p.state = 'charged' AND a.payment_id IS NULL")).to.deep.equal([{ lost: 0n }]);
    const events = await chain.client.getContractEvents({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, eventName: "Deposited", fromBlock: 0n });
    expect(events.length, "each authorisation funded its channel once").to.equal(2 * CHANNELS);
    const [claimed, paid] = await chain.client.readContract({
      address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "receivers",
      args: [await receiver(), await token()],
    });
    expect([claimed, paid]).to.deep.equal([BigInt(CHANNELS) * owed, BigInt(CHANNELS) * owed]);
  });

  const receiver = async () => `0x${((await db.query("SELECT receiver FROM service")).rows[0].receiver as Buffer).toString("hex")}` as Hex;
  const token = async () => `0x${((await db.query("SELECT token FROM service")).rows[0].token as Buffer).toString("hex")}` as Hex;
});
