// What is kept of answers: a buyer may have its own deleted, and what is kept is counted by payer.
import { expect } from "chai";
import { parseUnits } from "viem";
import { generatePrivateKey, privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { limitStoredAnswers, sweepAnswerUsage } from "../../relayer/src/capabilities/answers/service.ts";
import { deletedAt, usageOf } from "../../relayer/src/capabilities/answers/store.ts";
import { signIn } from "../../sdk/src/access.ts";
import { createAgent, type Payment } from "../../sdk/src/agent/agent.ts";
import { keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("stored answers", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let base: string;
  before(async () => {
    world = await startTestWorld({ sweepsByHand: true });
    base = world.relayer.deps.config.publicUrl;
  });
  after(() => world.stop());

  const provider = privateKeyToAccount(keyOf(ROLE.receiver));
  async function call(account: PrivateKeyAccount | undefined, method: string, path: string) {
    const headers: Record<string, string> = account === undefined ? {} : { authorization: `Bearer ${(await signIn({ relayerUrl: base, account })).token}` };
    const response = await fetch(`${base}/api/v1${path}`, { method, headers });
    const text = await response.text();
    return { status: response.status, text, code: response.status >= 400 ? (JSON.parse(text) as { code: string }).code : undefined };
  }
  async function bought(path = "/") {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, parseUnits("1", 6));
    const payments: Payment[] = [];
    const agent = createAgent({ account, rpcUrl: world.chain.url, onPayment: (payment) => void payments.push(payment) });
    const response = await agent.fetch(`${base}/s/echo${path}`);
    expect(response.status).to.equal(200);
    const bytes = (await response.arrayBuffer()).byteLength;
    return { account, agent, id: payments[0]!.paymentId!, bytes };
  }
  const kept = async (account: PrivateKeyAccount) => {
    await sweepAnswerUsage(world.relayer.deps);
    return usageOf(world.relayer.deps.db, account.address);
  };

  it("its buyer has it deleted: the bytes are gone, payment and receipt stand", async () => {
    const { account, id } = await bought();
    expect((await call(account, "GET", `/payments/${id}/answer`)).status).to.equal(200);
    expect((await call(account, "DELETE", `/payments/${id}/answer`)).status).to.equal(204);
    expect((await call(account, "DELETE", `/payments/${id}/answer`)).status, "twice is once").to.equal(204);
    expect(await call(account, "GET", `/payments/${id}/answer`)).to.include({ status: 410, code: "answer_deleted" });
    expect((await world.relayer.deps.db.query("SELECT 1 FROM answer WHERE payment_id = $1", [id])).rowCount).to.equal(0);
    expect(await deletedAt(world.relayer.deps.db, id)).to.be.instanceOf(Date);
    expect((await call(account, "GET", `/payments/${id}`)).status).to.equal(200);
    expect((await call(account, "GET", `/receipts/${id}`)).status).to.equal(200);
  });

  it("nobody else can: not the seller, not a stranger, not without a name, and nothing that is not there", async () => {
    const { account, id } = await bought();
    expect((await call(provider, "DELETE", `/payments/${id}/answer`)).status).to.equal(404);
    expect((await call(privateKeyToAccount(generatePrivateKey()), "DELETE", `/payments/${id}/answer`)).status).to.equal(404);
    expect((await call(undefined, "DELETE", `/payments/${id}/answer`)).status).to.equal(401);
    expect((await call(account, "DELETE", "/payments/pay_none/answer")).status).to.equal(404);
    expect((await call(account, "GET", `/payments/${id}/answer`)).status).to.equal(200);
  });

  it("what is kept for a payer is counted as it comes, is deleted and expires", async () => {
    const { account, agent, id, bytes } = await bought("/large/50000");
    const one = await kept(account);
    expect(Number(one)).to.be.within(bytes, bytes + 2_000);
    await Promise.all(Array.from({ length: 5 }, (_, index) => agent.fetch(`${base}/s/echo/large/${50001 + index}`).then((response) => response.arrayBuffer())));
    const six = await kept(account);
    expect(Number(six)).to.be.within(6 * bytes, 6 * (bytes + 2_000));
    await call(account, "DELETE", `/payments/${id}/answer`);
    expect(await kept(account)).to.equal(six - one);
    const { db } = world.relayer.deps;
    expect((await db.query("SELECT coalesce(sum(octet_length(body)), 0) AS bytes FROM answer JOIN payment USING (payment_id) WHERE payer = $1", [Buffer.from(account.address.slice(2), "hex")])).rows[0].bytes).to.equal(six - one);
    await db.query("DELETE FROM answer WHERE payment_id IN (SELECT payment_id FROM payment WHERE payer = $1)", [Buffer.from(account.address.slice(2), "hex")]);
    expect(await kept(account)).to.equal(0n);
  });

  it("who is full is refused before anything runs, and others are not", async () => {
    const { account, id } = await bought("/large/50000");
    const { account: other } = await bought();
    await kept(account);
    const { db, config } = world.relayer.deps;
    const deps = { db, config: { ...config, limits: { ...config.limits, storedAnswerBytes: 40_000 } } };
    const refused = await limitStoredAnswers(deps, account.address).then(() => undefined, (error: object) => error);
    expect(refused).to.include({ code: "answer_store_full", status: 429, retry: "safe" });
    await limitStoredAnswers(deps, other.address);
    await call(account, "DELETE", `/payments/${id}/answer`);
    await kept(account);
    await limitStoredAnswers(deps, account.address);
  });

  it("many folds at once count everything once", async () => {
    const { account } = await bought("/large/1000");
    await Promise.all(Array.from({ length: 8 }, () => sweepAnswerUsage(world.relayer.deps)));
    const { rows } = await world.relayer.deps.db.query("SELECT coalesce(sum(octet_length(body)), 0) AS bytes FROM answer JOIN payment USING (payment_id) WHERE payer = $1", [Buffer.from(account.address.slice(2), "hex")]);
    expect(await kept(account)).to.equal(rows[0].bytes);
  });
});
