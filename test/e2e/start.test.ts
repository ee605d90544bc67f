// `npm start` as its user runs it: a child process, judged by its exit code and the last line of its output.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { startTestChain } from "../support/chain.ts";
import { startTestPostgres } from "../support/postgres.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const DOCUMENTS = 60;
const EXACT_DOCUMENTS = 50;
const PRICE_ATOMIC = 1_000;

type Ended = { code: number | null; stdout: string; stderr: string };

function npmStart(args: string[], env: Record<string, string> = {}): Promise<Ended> {
  // A user's shell has no settings of the test runner in it.
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|RELAYER_|DATABASE_URL|RPC_URL)/.test(name)));
  const child = spawn("npm", ["start", "--", ...args], { cwd: root, env: { ...clean, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) child[name].setEncoding("utf8").on("data", (text: string) => void (said[name] += text));
  return new Promise((done, failed) => child.on("error", failed).on("close", (code) => done({ code, ...said })));
}

function lastLine({ stdout }: Ended): Record<string, any> {
  return JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as Record<string, any>;
}

describe("npm start", function () {
  this.timeout(180_000);

  for (const mode of ["tallystick", "canonical"]) {
    it(`stock clients pay, the chain settles and GraphQL agrees, settling ${mode}`, async () => {
      const ended = await npmStart(["--once", "--json", "--documents", String(DOCUMENTS)], { RELAYER_SETTLEMENT_MODE: mode });
      expect(ended.code, ended.stderr).equal(0);
      const report = lastLine(ended);
      const paid = String(DOCUMENTS * PRICE_ATOMIC);
      const byChannel = String(2 * DOCUMENTS * PRICE_ATOMIC);
      expect(report).include({ ok: true, indexedAtomic: byChannel, contractAtomic: byChannel });
      expect(report.seconds).greaterThan(0);
      expect(report.agents.map(({ name }: { name: string }) => name)).deep.equal(["stock-batch", "stock-exact", "sdk"]);
      const [batch, exact, sdk] = report.agents;
      expect(batch).include({ calls: DOCUMENTS, chargedAtomic: paid, settledAtomic: paid });
      expect(exact).include({ calls: EXACT_DOCUMENTS, chargedAtomic: String(EXACT_DOCUMENTS * PRICE_ATOMIC), settledAtomic: String(EXACT_DOCUMENTS * PRICE_ATOMIC) });
      expect(sdk).include({ calls: DOCUMENTS, chargedAtomic: paid, settledAtomic: paid });
      // Those that come while a transaction is under way share the next one.
      expect(exact.transactions).within(1, EXACT_DOCUMENTS);
      // Eight payers deposit once each, one of the SDK; one transaction a call would be 60 more.
      expect(batch.transactions).within(9, 30);
      expect(sdk.transactions).within(2, 15);
      expect(batch.gasPerCall).within(1_000, 100_000);
      expect(exact.gasPerCall).greaterThan(batch.gasPerCall);
      // The SDK's agents pay under a mandate, and one payment that it does not allow moves nothing.
      expect(report.mandate).deep.equal({ limitAtomic: "8000000", spentAtomic: paid, refused: 1, overspentAtomic: "0" });
      expect(ended.stdout).contain("blocked: $0 moved. mandate.payees:").and.match(/audit row \d+ of the guard's journal, 0x[0-9a-f]{64}/);
      // One job stays open; what the escrow holds is its budget.
      expect(report.jobs).deep.equal({ completed: 1, split: 1, refunded: 1, escrowAtomic: "500000", openBudgetsAtomic: "500000" });
      // Two providers listed themselves, and what was bought from them was bought below the listed price.
      expect(report.bazaar).include({ services: 2, negotiated: 20, chargesAboveAgreed: 0 });
      expect(report.bazaar.savedPercent).within(1, 60);
      for (const agent of report.agents) expect(agent.p50Ms).within(0.1, agent.p99Ms);
      expect(ended.stdout).contain(`tallystick trace ${report.tracedPayment}`);
      for (const step of ["offer (402)", "decision", "voucher", "charge", "receipt", "settlement", "indexed claim"]) expect(ended.stdout).contain(step);
      for (const name of ["relayerUrl", "graphqlUrl", "rpcUrl", "serviceUrl"]) expect(report[name]).match(/^http:\/\/127\.0\.0\.1:\d+/);
      expect(Object.keys(report)).not.include("reasons");
    });
  }

  it("a purchase that fails makes the run fail, and the report says which and why", async () => {
    const ended = await npmStart(["--once", "--json", "--documents", "8"], { RELAYER_MAX_REQUEST_BYTES: "1500" });
    const report = lastLine(ended);
    expect(ended.code).equal(1);
    expect(report.ok).equal(false);
    expect(report.reasons[0]).match(/^\d+ of 24 documents were not bought well$/);
    expect(report.reasons[1]).match(/answered 413/);
    // What was bought is still paid and settled to the unit.
    expect(report.indexedAtomic).equal(report.contractAtomic);
    for (const agent of report.agents) expect(agent.settledAtomic).equal(agent.chargedAtomic);
  });

  it("a world that cannot start says so in JSON too", async () => {
    const ended = await npmStart(["--once", "--json"], { RELAYER_SETTLEMENT_MODE: "sideways" });
    expect(ended.code).equal(1);
    expect(lastLine(ended)).deep.include({ ok: false, agents: [] });
    expect(lastLine(ended).reasons.join()).match(/RELAYER_SETTLEMENT_MODE must be tallystick or canonical/);
  });

  it("an unknown option is refused with the list of options", async () => {
    const ended = await npmStart(["--onze"]);
    expect(ended.code).equal(2);
    expect(ended.stderr).match(/--onze/).and.match(/--relayer-port <port>/);
  });

  it("takes another chain and another PostgreSQL, also a chain where the same payers have paid before", async () => {
    const [chain, postgres] = await Promise.all([startTestChain({ blockTimeMs: 1_000 }), startTestPostgres()]);
    try {
      const env = { RPC_URL: chain.url, DATABASE_URL: await postgres.freshDatabase() };
      const paid = String(2 * 10 * PRICE_ATOMIC);
      for (const run of ["first", "second"]) {
        const ended = await npmStart(["--once", "--json", "--documents", "10"], env);
        expect(ended.code, `${run}: ${ended.stderr}`).equal(0);
        expect(lastLine(ended), run).include({ ok: true, indexedAtomic: paid, contractAtomic: paid, rpcUrl: chain.url });
      }
    } finally {
      await chain.stop();
      await postgres.stop();
    }
  });
});
