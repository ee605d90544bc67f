// A relayer that is killed outright while buyers pay: whatever was charged has an audit entry afterwards, and the log verifies.
import { expect } from "chai";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pad, parseUnits, toHex } from "viem";
import { recoverApprovals } from "../../relayer/src/capabilities/audit/recovery.ts";
import { exportAll } from "../../relayer/src/capabilities/audit/export.ts";
import { createRelayer, type Relayer } from "../../relayer/src/relayer.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { startRelayer, type Service } from "../../scripts/local/relayer.ts";
import { freePort } from "../../scripts/local/process.ts";
import { verifyAudit, type AuditHashing } from "../../sdk/src/audit/verify.ts";
import { manualBuyer } from "../support/buyer.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";
import { testConfig, testEnvironment } from "../support/config.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { startProvider, type Provider } from "../support/relayer.ts";

const PRICE = 1000n;
const CALLS = 20;

describe("the audit log of a relayer that is killed", function () {
  this.timeout(240_000);
  let chain: TestChain;
  let postgres: TestPostgres;
  let provider: Provider;
  let folder: string;
  let databaseUrl: string;
  let killed: Service;
  /** The one after it, in this process. Its sweeper is an hour away: the recovery is called by hand. */
  let next: Relayer;

  before(async () => {
    [chain, postgres, provider] = await Promise.all([startTestChain({ blockTimeMs: 1_000 }), startTestPostgres(), startProvider()]);
    folder = await mkdtemp(join(tmpdir(), "tallystick-audit-kill-"));
    databaseUrl = await postgres.freshDatabase();
    const services = [{ name: "echo", origin: provider.origin }];
    killed = await startRelayer({ port: await freePort(), env: testEnvironment(databaseUrl, chain.url, services, { RELAYER_SWEEP_MS: "600000" }), logFile: join(folder, "relayer.log") });
    next = await createRelayer(testConfig(databaseUrl, chain.url, services, { RELAYER_PORT: String(await freePort()), RELAYER_SWEEP_MS: "600000" }), createLog("silent"));
  });
  after(async () => {
    await killed.stop();
    await next.stop();
    await Promise.all([provider.stop(), chain.stop()]);
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const chargedWithoutEntry = async (): Promise<number> => {
    const { rows } = await next.deps.db.query<{ n: bigint }>(
      `SELECT count(*) AS n FROM payment p WHERE state = 'charged'
         AND NOT EXISTS (SELECT 1 FROM audit_entry e WHERE e.subject = p.payment_id AND e.kind IN ('payment.approved', 'payment.recovered'))`,
    );
    return Number(rows[0]!.n);
  };

  it("lost approvals are written from the payments, once, and everything verifies", async () => {
    await chain.mintUSDC(chain.account(1).address, parseUnits("1", 6));
    const buyer = manualBuyer(chain.account(1), `${killed.url}/s/echo/`, pad(toHex(1)));
    const terms = await buyer.terms();
    // While somebody holds the outbox nothing is sealed: the approvals stay in the memory of the process.
    const holder = await next.deps.db.connect();
    await holder.query("BEGIN");
    await holder.query("LOCK TABLE audit_outbox IN ACCESS EXCLUSIVE MODE");
    for (let call = 1; call <= CALLS; call++) {
      const payment = call === 1 ? await buyer.depositPayment(terms, PRICE * BigInt(CALLS), PRICE) : await buyer.voucherPayment(terms, PRICE * BigInt(call));
      expect((await buyer.send(payment)).status).to.equal(200);
    }
    process.kill(killed.pid, "SIGKILL");
    await holder.query("ROLLBACK");
    holder.release();
    const lost = await chargedWithoutEntry();
    expect(lost).to.be.greaterThan(0);

    // What is young may be about to be sealed by a process that lives: it is left alone.
    expect(await recoverApprovals(next.deps, 3_600)).to.equal(0);
    expect((await Promise.all([0, 1, 2].map(() => recoverApprovals(next.deps, 0)))).reduce((sum, one) => sum + one, 0)).to.equal(lost);
    expect(await recoverApprovals(next.deps, 0)).to.equal(0);
    await next.deps.audit.flush();
    expect(await chargedWithoutEntry()).to.equal(0);

    const lines: string[] = [];
    for await (const part of exportAll(next.deps, undefined, 1_000_000)) lines.push(...part.trimEnd().split("\n"));
    const verdict = await verifyAudit(lines, hashing, [next.deps.keyring.active]);
    expect(verdict.fault).to.equal(undefined);
    expect(verdict.kinds["payment.recovered"]).to.equal(lost);
    expect((verdict.kinds["payment.approved"] ?? 0) + lost).to.equal(CALLS);
    const recovered = lines.filter((line) => line.includes('"payment.recovered"')).map((line) => JSON.parse(line).entry);
    for (const entry of recovered) expect(entry).to.include({ amountAtomic: String(PRICE), payer: chain.account(1).address.toLowerCase() });
  });

  it("a refusal is there however soon the process dies after it was told", async () => {
    await next.deps.audit.recordDurably({ kind: "payment.rejected", subject: "pay_refused", rule: "test" });
    const other = await createRelayer(testConfig(databaseUrl, chain.url, [], { RELAYER_PORT: String(await freePort()) }), createLog("silent"));
    try {
      await other.deps.audit.flush(); // another process takes it in; the first never did
      const { rows } = await other.deps.db.query("SELECT kind FROM audit_entry WHERE subject = 'pay_refused'");
      expect(rows).to.deep.equal([{ kind: "payment.rejected" }]);
      await next.deps.audit.flush();
      expect((await other.deps.db.query("SELECT 1 FROM audit_entry WHERE subject = 'pay_refused'")).rowCount).to.equal(1);
    } finally {
      await other.stop();
    }
  });

  it("a database that breaks off costs no entry and doubles none", async () => {
    const { db, audit } = next.deps;
    for (let round = 0; round < 5; round++) {
      for (let entry = 0; entry < 300; entry++) audit.record({ kind: "payment.approved", subject: `pay_broken_${round}_${entry}` });
      const flushed = audit.flush().then(() => true, () => false);
      await sleep(round * 4);
      await db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").catch(() => {});
      await flushed;
    }
    for (let tries = 0; audit.pending().length > 0 && tries < 50; tries++) await audit.flush().catch(() => sleep(100));
    const { rows } = await db.query<{ n: bigint; distinct: bigint }>(`SELECT count(*) AS n, count(DISTINCT subject) AS "distinct" FROM audit_entry WHERE subject LIKE 'pay_broken_%'`);
    expect(rows[0]).to.deep.equal({ n: 1_500n, distinct: 1_500n });
    const lines: string[] = [];
    for await (const part of exportAll(next.deps, undefined, 1_000_000)) lines.push(...part.trimEnd().split("\n"));
    expect((await verifyAudit(lines, hashing)).fault).to.equal(undefined);
  });
});

const hashing: AuditHashing = {
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  running() {
    const hash = createHash("sha256");
    return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
  },
};
