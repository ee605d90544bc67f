// A database that goes back in time: a restored copy, a standby that took over too early. What was charged must not be sold again.
import { expect } from "chai";
import { execFile } from "node:child_process";
import { chmod, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { pad, parseUnits, toHex, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { freePort } from "../../scripts/local/process.ts";
import { startPostgres, type LocalPostgres } from "../../scripts/local/postgres.ts";
import { findChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { judge, type Memory, type Sight } from "../../relayer/src/db/continuity-logic.ts";
import { createRelayer, type Relayer } from "../../relayer/src/relayer.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { signIn } from "../../sdk/src/access.ts";
import { tallystick } from "../support/cli.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";
import { keyOf, ROLE, testConfig } from "../support/config.ts";
import { manualBuyer } from "../support/buyer.ts";
import { startProvider, type Provider } from "../support/relayer.ts";

const run = promisify(execFile);
const PRICE = 1000n;

describe("continuity: what is remembered against what is seen", () => {
  const memory: Memory = { epochId: "e1", stamp: 7n, mark: "m7", system: "s", flushed: "100" };
  const sight: Sight = {
    epochId: "e1", isKnown: true, markThere: "m7", newest: { stamp: 9n, mark: "m9" }, oldestStamp: 1n, missingCharge: undefined, server: "t", system: "s", timeline: "1", flushed: 120n, begunOn: { system: "s", timeline: "1" }, stopped: false,
  };
  it("nothing is missing", () => {
    expect(judge(memory, sight, false)).to.equal(undefined);
    expect(judge(undefined, sight, false)).to.equal(undefined);
    expect(judge(memory, { ...sight, system: undefined, timeline: undefined }, false)).to.equal(undefined);
  });
  const losses: [string, Partial<Sight>][] = [
    ["a stamp is missing", { newest: { stamp: 6n, mark: "m6" }, markThere: undefined }],
    ["there is no stamp at all", { newest: undefined, markThere: undefined, oldestStamp: undefined }],
    ["another stamp has its number", { markThere: "other" }],
    ["less is written than was", { flushed: 99n }],
    ["the epoch is unknown", { isKnown: false, epochId: "e0" }],
    ["a charge is missing", { missingCharge: "pay_1" }],
    ["another cluster", { system: "t" }],
    ["another timeline", { timeline: "2" }],
  ];
  for (const [name, change] of losses) it(`a loss: ${name}`, () => expect(judge(memory, { ...sight, ...change }, false)).to.be.a("string"));
  it("an operator who has resumed, or trusts failovers, is believed; and old stamps are forgotten, not missing", () => {
    expect(judge(memory, { ...sight, epochId: "e2", newest: { stamp: 3n, mark: "x" }, markThere: undefined }, false)).to.equal(undefined);
    expect(judge(memory, { ...sight, timeline: "2" }, true)).to.equal(undefined);
    expect(judge(memory, { ...sight, timeline: "2", flushed: 99n }, true)).to.be.a("string");
    expect(judge(memory, { ...sight, oldestStamp: 8n, markThere: undefined }, false)).to.equal(undefined);
  });
});

describe("continuity", function () {
  this.timeout(240_000);
  let folder: string;
  let port: number;
  let postgres: LocalPostgres;
  let databaseUrl: string;
  let cluster: string;
  let chain: TestChain;
  let provider: Provider;
  const running = new Set<Relayer>();

  const startServer = async () => {
    postgres = await startPostgres({ dataDir: join(folder, "postgres"), port, durable: false });
    return postgres;
  };
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tallystick-continuity-"));
    await chmod(folder, 0o711);
    port = await freePort();
    [chain, provider] = await Promise.all([startTestChain({ blockTimeMs: 1_000 }), startProvider()]);
    await startServer();
    cluster = await asAdmin(async (client) => (await client.query<{ data_directory: string }>("SHOW data_directory")).rows[0]!.data_directory);
    await chain.mintUSDC(chain.account(1).address, parseUnits("100", 6));
  });
  afterEach(async () => {
    await Promise.all([...running].map((relayer) => relayer.stop()));
    running.clear();
  });
  after(async () => {
    await Promise.all([chain.stop(), provider.stop()]);
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
    await rm(`${cluster}.copy`, { recursive: true, force: true });
  });

  async function asAdmin<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    return work(client).finally(() => client.end());
  }
  const inLedger = async <T extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<T[]> => {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    return client.query<T>(sql, values).then(({ rows }) => rows).finally(() => client.end());
  };
  /** Takes a copy of the stopped server; what runs goes on afterwards. */
  async function backup(): Promise<void> {
    await postgres.stop();
    await rm(`${cluster}.copy`, { recursive: true, force: true });
    await run("cp", ["-a", cluster, `${cluster}.copy`]);
    await startServer();
  }
  /** Puts the copy in the server's place. */
  async function restore(prepare: () => Promise<unknown> = async () => {}): Promise<void> {
    await postgres.stop();
    await rm(cluster, { recursive: true, force: true });
    await run("cp", ["-a", `${cluster}.copy`, cluster]);
    await prepare();
    await startServer();
  }

  async function relayer(env: Record<string, string> = {}): Promise<{ relayer: Relayer; url: string }> {
    const own = String(await freePort());
    const config = testConfig(databaseUrl, chain.url, [{ name: "echo", origin: provider.origin, upstreamTimeoutMs: 3_000 }], { RELAYER_PORT: own, ...env });
    const started = await createRelayer(config, createLog("silent"));
    running.add(started);
    return { relayer: started, url: await started.start() };
  }
  const stop = async (one: Relayer) => {
    running.delete(one);
    await one.stop();
  };
  let salts = 0;
  async function open(url: string) {
    const buyer = manualBuyer(chain.account(1), `${url}/s/echo/`, pad(toHex(0xc0ffee + ++salts)));
    const terms = await buyer.terms();
    const paid = await retried(async () => buyer.send(await buyer.depositPayment(terms, 100n * PRICE, PRICE)));
    expect(paid.status, await paid.clone().text()).to.equal(200);
    const pay = async (calls: bigint, path = `/s/echo/${calls}`, at = url) => {
      const payment = await buyer.voucherPayment(terms, calls * PRICE);
      return retried(() => buyer.send(payment, {}, `${at}${path}`));
    };
    return { buyer, terms, pay, channelId: buyer.channelId(terms) as Hex };
  }
  /** While the server is being swapped the ledger is away, and says so. */
  async function retried(send: () => Promise<Response>): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      const response = await send();
      if (response.status !== 503 || attempt > 100) return response;
      const { code } = (await response.clone().json()) as { code: string };
      if (code !== "database_unavailable") return response;
      await new Promise((next) => setTimeout(next, 100));
    }
  }
  const codeOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];
  const resume = () => inLedger("SELECT ledger_resume_sales('test')");

  beforeEach(async () => {
    databaseUrl = await postgres.database(`ledger_${++salts}`, { fresh: true });
  });

  it("a process that lives through a restore sells nothing by channel, not even its first request; all else goes on", async () => {
    const { relayer: living, url } = await relayer();
    const { pay, channelId } = await open(url);
    await backup();
    for (const calls of [2n, 3n]) expect((await pay(calls)).status).to.equal(200);
    await restore();
    // The copy knows nothing of calls 2 and 3: voucher 2 looks unused.
    expect((await inLedger<{ charged: string }>("SELECT charged FROM channel"))[0]!.charged).to.equal("1000");
    const refused = await pay(2n, "/s/echo/other");
    expect(await codeOf(refused)).to.deep.equal([503, "ledger_rewound"]);
    expect(await codeOf(await pay(3n))).to.deep.equal([503, "ledger_rewound"]);
    expect((await inLedger("SELECT 1 FROM payment WHERE state = 'reserved'")).length).to.equal(0);

    const ready = await fetch(`${url}/readyz`);
    expect(ready.status).to.equal(503);
    expect(await ready.text()).to.contain("nothing is sold by channel");
    expect(await (await fetch(`${url}/metrics`)).text()).to.contain("tallystick_ledger_stopped_bool 1");
    const { token } = await signIn({ relayerUrl: url, account: chain.account(1) as never });
    expect((await fetch(`${url}/api/v1/sessions/${channelId}`, { headers: { authorization: `Bearer ${token}` } })).status).to.equal(200);
    // Another process, without any memory, is bound by it too.
    const { url: other } = await relayer();
    expect(await codeOf(await pay(2n, "/s/echo/other", other))).to.deep.equal([503, "ledger_rewound"]);
    await stop(living);
  });

  it("what its receiver has on file is put back, and then old vouchers are old again", async () => {
    const { url } = await relayer();
    const { pay, channelId } = await open(url);
    await backup();
    for (const calls of [2n, 3n]) expect((await pay(calls)).status).to.equal(200);
    const receiver = privateKeyToAccount(keyOf(ROLE.receiver));
    const call = async (account: typeof receiver, path: string, init: RequestInit = {}) => {
      const { token } = await signIn({ relayerUrl: url, account });
      return fetch(`${url}/api/v1${path}`, { ...init, headers: { authorization: `Bearer ${token}`, "content-type": "application/json" } });
    };
    const { vouchers } = (await (await call(receiver, "/vouchers/export")).json()) as { vouchers: Record<string, unknown>[] };
    const imported = async (lines: unknown[], account = receiver) => {
      const response = await call(account, "/vouchers/import", { method: "POST", body: JSON.stringify({ vouchers: lines }) });
      return { status: response.status, ...((await response.json()) as { raised: number; known: number; refused: { code: string }[]; code?: string }) };
    };
    expect(await imported(vouchers), "nothing is lost yet").to.include({ status: 409, code: "ledger_whole" });
    await restore();
    expect(await codeOf(await pay(2n, "/s/echo/other"))).to.deep.equal([503, "ledger_rewound"]);

    const [line] = vouchers;
    const bad = [{ ...line, totalCharged: "99000" }, { ...line, maxClaimableAmount: "50000", totalCharged: "50000" }, { ...line, chainId: 1 }, { nonsense: true }];
    const refused = await imported(bad);
    expect([refused.raised, refused.refused.map(({ code }) => code)]).to.deep.equal([0, ["voucher_invalid", "voucher_invalid", "voucher_invalid", "voucher_malformed"]]);
    expect((await imported(vouchers, privateKeyToAccount(keyOf(ROLE.submitter)))).refused.map(({ code }) => code), "not the receiver").to.deep.equal(["voucher_invalid"]);
    const file = join(folder, "vouchers.jsonl");
    await writeFile(file, `${vouchers.map((voucher) => JSON.stringify(voucher)).join("\n")}\n{"cut off`);
    const told = await tallystick(["vouchers", "import", file, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(ROLE.receiver), TALLYSTICK_RELAYER_URL: url } });
    expect(told.json, told.stderr).to.include({ channels: 1, raised: 1, known: 0 });
    expect([told.code, (told.json["badLines"] as { at: string }[]).map(({ at }) => at)]).to.deep.equal([1, [`${file}:2`]]);
    expect(await imported(vouchers), "the same again").to.include({ status: 200, raised: 0, known: 1 });
    expect(await codeOf(await pay(4n)), "until an operator says so").to.deep.equal([503, "ledger_rewound"]);

    await resume();
    expect((await pay(2n, "/s/echo/other")).status).to.equal(402);
    expect((await pay(3n, "/s/echo/other")).status).to.equal(402);
    const next = await pay(4n);
    expect(next.status, await next.clone().text()).to.equal(200);
    const [row] = await inLedger<{ charged: string; opening_charged: string; sum: string }>(
      "SELECT charged, opening_charged, (SELECT sum(charged_atomic) FROM payment WHERE payment.channel_id = channel.channel_id) AS sum FROM channel WHERE channel_id = $1", [Buffer.from(channelId.slice(2), "hex")],
    );
    expect(BigInt(row!.opening_charged) + BigInt(row!.sum)).to.equal(BigInt(row!.charged));
    // Resumed for good: the process goes on remembering from here.
    await running.values().next().value!.deps.db.query("SELECT 1");
    expect((await pay(5n)).status).to.equal(200);
  });

  it("a process that was away is told by its file, also of a ledger that is another", async () => {
    const stateDir = join(folder, `state-${salts}`);
    const env = { RELAYER_STATE_DIR: stateDir };
    const first = await relayer(env);
    const { pay } = await open(first.url);
    await backup();
    expect((await pay(2n)).status).to.equal(200);
    await new Promise((next) => setTimeout(next, 1_500)); // it looks once a second
    await stop(first.relayer);
    const [file] = await readdir(stateDir);
    const remembered = JSON.parse(await readFile(join(stateDir, file!), "utf8")) as Record<string, string>;
    await restore();
    const again = await relayer(env);
    expect(await codeOf(await pay(2n, "/s/echo/other", again.url))).to.deep.equal([503, "ledger_rewound"]);
    await resume();
    const answered = await pay(2n, "/s/echo/other", again.url);
    expect(answered.status, await answered.text()).to.equal(200);
    await stop(again.relayer);

    // An empty database under the same keys is a loss as well.
    databaseUrl = await postgres.database(`ledger_${++salts}`, { fresh: true });
    await writeFile(join(stateDir, file!), JSON.stringify(remembered));
    const empty = await relayer(env);
    expect((await fetch(`${empty.url}/readyz`)).status).to.equal(503);
    await resume();
    expect((await fetch(`${empty.url}/readyz`)).status).to.equal(200);
  });

  it("a standby that took over stops sales, unless the operator says that it was synchronous", async () => {
    const { url, relayer: one } = await relayer();
    const { pay } = await open(url);
    await backup();
    await restore(() => run("touch", [join(cluster, "standby.signal")]));
    await asAdmin((client) => client.query("SELECT pg_promote()"));
    expect(await codeOf(await pay(2n))).to.deep.equal([503, "ledger_rewound"]);
    const [stopped] = await inLedger<{ reason: string }>("SELECT reason FROM ledger_stop");
    expect(stopped!.reason).to.contain("timeline 00000002");
    await resume();
    const answered = await pay(2n);
    expect(answered.status, await answered.text()).to.equal(200);
    await stop(one);
  });

  it("what the chain has seen claimed is never sold again, whoever remembers", async () => {
    const { url, relayer: one } = await relayer();
    const { pay, channelId } = await open(url);
    await backup();
    for (const calls of [2n, 3n]) expect((await pay(calls)).status).to.equal(200);
    await one.settlement.flush();
    const charged = async () => (await findChannel(running.values().next().value!.deps.db, channelId))?.charged;
    await until(async () => (await findChannel(one.deps.db, channelId))!.totalClaimed === 3000n);
    await stop(one);
    await restore();
    const { url: other } = await relayer();
    await until(async () => (await charged()) === 3000n);
    const served = provider.seen.length;
    // The claim was sent by our own key, and the copy does not know it: that is a loss too.
    await until(async () => (await inLedger("SELECT 1 FROM ledger_stop")).length === 1);
    expect(await codeOf(await pay(4n, "/s/echo/4", other))).to.deep.equal([503, "ledger_rewound"]);
    await resume();
    expect((await pay(2n, "/s/echo/other", other)).status).to.equal(402);
    expect((await pay(3n, "/s/echo/other", other)).status).to.equal(402);
    expect(provider.seen.length).to.equal(served);
    expect((await pay(4n, "/s/echo/4", other)).status).to.equal(200);
  });

  async function until(done: () => Promise<boolean>): Promise<void> {
    for (let attempt = 0; !(await done()); attempt++) {
      if (attempt > 200) throw new Error("it did not happen");
      await new Promise((next) => setTimeout(next, 100));
    }
  }
});
