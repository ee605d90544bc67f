// The audit log as its readers have it: what was bought and refused, exported, proved, and found out when anything of it is changed.
import { expect } from "chai";
import fc from "fast-check";
import { createHash } from "node:crypto";
import { parseUnits, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { signIn } from "../../sdk/src/access.ts";
import { createAgent, type Payment } from "../../sdk/src/agent/agent.ts";
import { verifyAudit, type AuditHashing, type AuditVerdict } from "../../sdk/src/audit/verify.ts";
import type { Relayer } from "../../relayer/src/relayer.ts";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

type Json = Record<string, any>;

const OPERATOR = "operator-token-of-at-least-32-characters";
const RELAYER = addressOf(ROLE.authorizer);
const hashing: AuditHashing = {
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  running() {
    const hash = createHash("sha256");
    return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
  },
};
const verify = (lines: readonly string[]): Promise<AuditVerdict> => verifyAudit(lines, hashing, [RELAYER]);

describe("the audit log", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let base: string;
  let payments: Payment[];
  const buyer = privateKeyToAccount(generatePrivateKey());
  const seller = privateKeyToAccount(keyOf(ROLE.receiver));
  const stranger = privateKeyToAccount(generatePrivateKey());
  const refusedId = `pay_${"ab".repeat(16)}`;
  const audit = () => (world.relayer as Relayer).deps.audit;

  const tokens = new Map<string, Promise<{ token: string }>>();
  const bearer = async (account: PrivateKeyAccount): Promise<string> => {
    if (!tokens.has(account.address)) tokens.set(account.address, signIn({ relayerUrl: base, account }));
    return (await tokens.get(account.address)!).token;
  };
  async function get(path: string, who: PrivateKeyAccount | string | undefined): Promise<{ status: number; text: string; body: Json }> {
    const token = typeof who === "object" ? await bearer(who) : who;
    const response = await fetch(`${base}${path}`, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
    const text = await response.text();
    return { status: response.status, text, body: text.startsWith("{") && !text.includes("\n{") ? (JSON.parse(text) as Json) : {} };
  }
  async function exported(who: PrivateKeyAccount | string = OPERATOR, query = ""): Promise<string[]> {
    const { status, text } = await get(`/api/v1/audit/export${query}`, who);
    expect(status, text).to.equal(200);
    expect(text.endsWith("\n")).to.equal(true);
    return text.slice(0, -1).split("\n");
  }

  before(async () => {
    world = await startTestWorld({ env: { RELAYER_OPERATOR_TOKEN: OPERATOR } });
    base = world.relayer.deps.config.publicUrl;
    await world.chain.mintUSDC(buyer.address, parseUnits("1", 6));
    payments = [];
    const agent = createAgent({ account: buyer, rpcUrl: world.chain.url, onPayment: (payment) => void payments.push(payment) });
    for (let call = 0; call < 5; call++) expect((await agent.fetch(`${base}/s/echo/${call}`)).status).to.equal(200);
    await audit().flush();
    // Like the firewall: refused, so there is no payment.
    await audit().recordDurably({ kind: "payment.rejected", subject: refusedId, rule: "policy.price_ceiling", reason: "1000 is above the ceiling of 500", policyHash: `0x${"07".repeat(32)}`, payer: buyer.address, payee: seller.address, amountAtomic: 1000n, data: { service: "echo" } });
  });
  after(() => world.stop());

  it("purchases show what was bought and what was refused, newest first, before it is sealed too", async () => {
    const { body } = await get("/api/purchases", buyer);
    expect(body["purchases"]).to.have.length(6);
    const [refused, ...bought] = body["purchases"] as Json[];
    expect(refused).to.include({ paymentId: refusedId, decision: "REJECTED", status: "refused", settlement: "NEVER", txHash: null, proof: "money_never_moved", rule: "policy.price_ceiling", firewallReason: "1000 is above the ceiling of 500", priceAtomic: "1000", chargedAtomic: null, service: "echo" });
    expect(bought.map(({ paymentId }) => paymentId)).to.deep.equal(payments.map(({ paymentId }) => paymentId).reverse());
    for (const purchase of bought) expect(purchase).to.include({ decision: "APPROVED", status: "delivered", settlement: "PENDING", chargedAtomic: "1000", payee: seller.address, service: "echo" });
    expect((await get("/api/purchases", stranger)).body).to.deep.equal({ purchases: [], next: null });
    expect((await get("/api/purchases", undefined)).status).to.equal(401);
  });

  it("purchases come in pages that leave nothing out", async () => {
    const ids: string[] = [];
    for (let next: string | null = ""; next !== null; ) {
      const { body } = await get(`/api/purchases?limit=2${next === "" ? "" : `&before=${next}`}`, buyer);
      ids.push(...(body["purchases"] as Json[]).map(({ paymentId }) => paymentId));
      next = body["next"];
    }
    expect(ids).to.deep.equal([refusedId, ...payments.map(({ paymentId }) => paymentId).reverse()]);
    expect((await get("/api/purchases?before=rubbish", buyer)).body).to.include({ code: "cursor_malformed", status: 400 });
  });

  it("an approval leads to its transaction, a refusal to NEVER; parties only", async () => {
    await audit().flush();
    const never = await get(`/api/v1/audit/payments/${refusedId}`, buyer);
    expect(never.body).to.include({ status: "NEVER", proof: "money_never_moved", transaction: null, reason: "policy.price_ceiling" });
    expect(never.body["entries"]).to.have.length(1);
    expect((await world.relayer.deps.db.query("SELECT 1 FROM payment WHERE payment_id = $1", [refusedId])).rowCount).to.equal(0);

    await world.relayer.settlement.flush();
    const settled = await until(async () => {
      const { body } = await get(`/api/v1/audit/payments/${payments[0]!.paymentId}`, seller);
      return body["status"] === "SETTLED" ? body : undefined;
    });
    const receipt = await world.chain.client.getTransactionReceipt({ hash: settled["transaction"] });
    expect(receipt.status).to.equal("success");
    expect((settled["entries"] as Json[]).map(({ entry }) => entry.kind)).to.deep.equal(["payment.approved"]);
    const purchase = ((await get("/api/purchases", buyer)).body["purchases"] as Json[]).find(({ paymentId }) => paymentId === payments[0]!.paymentId)!;
    expect(purchase).to.include({ settlement: "SETTLED", txHash: settled["transaction"], proof: settled["transaction"] });
    expect((await get(`/api/v1/audit/payments/${refusedId}`, stranger)).status).to.equal(404);
    expect((await get(`/api/v1/audit/payments/${refusedId}`, OPERATOR)).status).to.equal(200);
    expect((await get(`/api/v1/audit/payments/${refusedId}`, OPERATOR.toUpperCase())).status).to.equal(401);
  });

  it("everything is exported for the operator, in pages too, and verifies", async () => {
    const verdict = await verify(await exported());
    expect(verdict.fault).to.equal(undefined);
    expect(verdict).to.include({ scope: "all", entries: 6, epochs: 1 });
    expect(verdict.kinds).to.deep.equal({ "payment.approved": 5, "payment.rejected": 1 });
    expect(verdict.signers).to.deep.equal([RELAYER]);
    let seals = 0;
    for (let cursor = ""; ; ) {
      const page = await exported(OPERATOR, `?limit=1${cursor === "" ? "" : `&after=${cursor}`}`);
      const part = await verify(page);
      expect(part.fault).to.equal(undefined);
      seals += part.seals;
      if (part.seals === 0) break;
      cursor = JSON.parse(page.at(-1)!).cursor;
    }
    expect(seals).to.equal(verdict.seals);
    expect((await get("/api/v1/audit/export", undefined)).status).to.equal(401);
    expect((await get("/api/v1/audit/export?after=e1-2-3", OPERATOR)).body).to.include({ code: "cursor_malformed" });
  });

  it("a party gets its own entries with proofs, and nobody else's", async () => {
    await audit().recordDurably({ kind: "payment.rejected", subject: "pay_of_another", rule: "test", payer: stranger.address });
    await audit().flush();
    const lines = await exported(buyer);
    const verdict = await verify(lines);
    expect(verdict.fault).to.equal(undefined);
    expect(verdict).to.include({ scope: buyer.address, entries: 6 });
    expect(lines.some((line) => line.includes("pay_of_another"))).to.equal(false);
    const half = await exported(buyer, "?limit=3");
    const rest = await exported(buyer, `?after=${JSON.parse(half.at(-1)!).cursor}`);
    expect((await verify(half)).entries + (await verify(rest)).entries).to.equal(6);
    const forged = lines.map((line) => line.replace('"amountAtomic":"1000"', '"amountAtomic":"1"'));
    expect((await verify(forged)).fault).to.include({ code: "hash_mismatch" });
    const swapped = JSON.parse(lines[2]!) as Json;
    swapped["proof"] = [...swapped["proof"], swapped["hash"]];
    expect((await verify([...lines.slice(0, 2), JSON.stringify(swapped), ...lines.slice(3)])).fault).to.include({ code: "proof_mismatch" });
  });

  it("whatever is deleted, changed, moved, inserted or cut off in an export is found", async () => {
    for (let round = 0; round < 3; round++) {
      for (let call = 0; call < 4; call++) audit().record({ kind: "payment.approved", subject: `pay_made_up_${round}_${call}`, payer: buyer.address, amountAtomic: BigInt(call), data: { call } });
      await audit().flush();
    }
    const lines = await exported();
    expect((await verify(lines)).fault).to.equal(undefined);
    const at = fc.nat({ max: lines.length - 1 });
    const mutation = fc.oneof(
      at.map((index) => ({ what: `delete ${index}`, mutated: lines.toSpliced(index, 1) })),
      at.map((index) => ({ what: `truncate to ${index}`, mutated: lines.slice(0, index) })),
      fc.tuple(at, at).map(([from, to]) => ({ what: `insert ${from} at ${to}`, mutated: lines.toSpliced(to, 0, lines[from]!) })),
      fc.tuple(at, at).filter(([a, b]) => a !== b).map(([from, to]) => ({ what: `move ${from} to ${to}`, mutated: lines.toSpliced(from, 1).toSpliced(to, 0, lines[from]!) })),
      fc.tuple(at, fc.nat(), fc.constantFrom(..."09afAF\"{}:, xyz")).map(([index, place, letter]) => {
        const line = lines[index]!;
        const where = place % line.length;
        return { what: `line ${index}: ${letter} at ${where}`, mutated: lines.with(index, line.slice(0, where) + letter + line.slice(where + 1)) };
      }),
    );
    await fc.assert(
      fc.asyncProperty(mutation.filter(({ mutated }) => mutated.join("\n") !== lines.join("\n")), async ({ what, mutated }) => {
        const { fault } = await verify(mutated);
        expect(fault, what).to.not.equal(undefined);
        expect(fault!.line).to.be.at.most(mutated.length + 1);
      }),
      { numRuns: 300 },
    );
  });

  it("the tail behind a seal cannot be dropped, even with everything below made to fit", async () => {
    const lines = await exported();
    const last = lines.findLastIndex((line) => line.startsWith('{"type":"entry"'));
    const { fault } = await verify(lines.toSpliced(last, 1));
    expect(fault).to.deep.include({ line: last + 1, code: "seal_mismatch" });
    const seal = lines.findLastIndex((line) => line.includes('"type":"seal"'));
    expect((await verify(lines.toSpliced(seal, 1))).fault).to.include({ code: "truncated" });
    // Another key may sign as well as it likes.
    expect((await verifyAudit(lines, hashing, [stranger.address])).fault).to.include({ code: "signer_unexpected" });
  });

  it("nothing that is written is changed or deleted in the database", async () => {
    const { db } = world.relayer.deps;
    for (const [table, column] of Object.entries({ audit_epoch: "opened", audit_entry: "body", audit_seal: "root" })) {
      for (const statement of [`UPDATE ${table} SET ${column} = ${column}`, `DELETE FROM ${table}`, `TRUNCATE ${table} CASCADE`]) {
        const refused = await db.query(statement).then(() => undefined, (error: { constraint?: string }) => error.constraint);
        expect(refused, statement).to.equal("audit_append_only");
      }
    }
  });

  it("text that a database cannot keep, and data without end, hold nothing up", async () => {
    await audit().recordDurably({ kind: "payment.rejected", subject: "pay_strange", rule: "a\0b", reason: "half \ud800 a pair", payer: buyer.address, data: { "na\0me": ["\0", { deep: "\udfff" }], fraction: 0.5 } });
    audit().record({ kind: "payment.approved", subject: "pay_endless", payer: buyer.address, data: { text: "x".repeat(100_000) } });
    await audit().flush();
    expect(audit().pending()).to.deep.equal([]);
    const verdict = await verify(await exported());
    expect(verdict.fault).to.equal(undefined);
    const { body } = await get("/api/v1/audit/payments/pay_strange", OPERATOR);
    expect(body["entries"][0].entry).to.deep.include({ rule: "a\uFFFDb", reason: "half \uFFFD a pair", data: { omitted: "not canonical" } });
  });

  it("several processes write chains of their own, and one export holds them all", async () => {
    const { relayer: second } = await world.anotherRelayer();
    await Promise.all([world.relayer, second].map(async ({ deps }, nth) => {
      for (let call = 0; call < 20; call++) deps.audit.record({ kind: "payment.approved", subject: `pay_of_${nth}_${call}`, payer: buyer.address });
      await deps.audit.recordDurably({ kind: "payment.rejected", subject: `pay_refused_by_${nth}`, payer: buyer.address });
      await deps.audit.flush();
    }));
    const lines = await exported();
    const verdict = await verify(lines);
    expect(verdict.fault).to.equal(undefined);
    expect(verdict.epochs).to.equal(2);
    const subjects = lines.flatMap((line) => (line.startsWith('{"type":"entry"') ? [JSON.parse(line).entry.subject as string] : []));
    for (const nth of [0, 1]) expect(subjects.filter((subject) => subject.startsWith(`pay_of_${nth}`) || subject === `pay_refused_by_${nth}`)).to.have.length(21);
    expect(new Set(subjects).size).to.equal(subjects.length);
  });
});

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await new Promise((done) => setTimeout(done, 50))) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error("not so in 30 seconds");
}
