// Budgets of mandates in the ledger, against a real PostgreSQL: what is set aside, charged and given back, over every mandate above.
import { expect } from "chai";
import { getAddress, pad, toHex, zeroHash, type Address, type Hex } from "viem";
import { createLedgerGroups } from "../../relayer/src/capabilities/ledger/groups.ts";
import * as ledger from "../../relayer/src/capabilities/ledger/service.ts";
import type { Delivery, PaymentRequest } from "../../relayer/src/capabilities/ledger/types.ts";
import { insertChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { capabilityOf, foldIdle } from "../../relayer/src/capabilities/mandates/budget-store.ts";
import { bindGuard } from "../../relayer/src/capabilities/mandates/guard-store.ts";
import { findLineage, listPayments, revoke } from "../../relayer/src/capabilities/mandates/store.ts";
import { createAudit } from "../../relayer/src/capabilities/audit/writer.ts";
import { keyringFromPrivateKeys } from "../../relayer/src/chain/keyring.ts";
import { createVault } from "../../relayer/src/crypto/vault.ts";
import { migrate } from "../../relayer/src/db/migrate.ts";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import type { Deps } from "../../relayer/src/deps.ts";
import { newPaymentId } from "../../relayer/src/payment-id.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { createMetrics } from "../../relayer/src/telemetry/metrics.ts";
import type { Mandate } from "../../sdk/src/mandate.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { testConfig } from "../support/config.ts";
import { mandateOf, placeMandates } from "../support/signed-mandates.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";

let made = 0;
const fresh = (): Address => getAddress(pad(toHex(0xabc000 + ++made), { size: 20 }));
const DAY_S = 86_400;

describe("mandates in the ledger", function () {
  this.timeout(120_000);
  let postgres: TestPostgres;
  let deps: Deps;
  let other: Deps;
  let db: Db;

  before(async () => {
    postgres = await startTestPostgres();
    const url = await postgres.freshDatabase();
    db = openPool(url);
    await migrate(db);
    const config = testConfig(url, "http://127.0.0.1:1");
    const over = (pool: Db) => {
      const parts = { config, db: pool, log: createLog("silent"), metrics: createMetrics(), reached: () => {}, now: () => new Date(), keyring: keyringFromPrivateKeys(config.receiverAuthorizerKeys) };
      return { ...parts, groups: createLedgerGroups({ config, db: pool }), vault: createVault(config.answerKeys), audit: createAudit(parts) } as unknown as Deps;
    };
    deps = over(db);
    other = over(openPool(url));
  });
  after(async () => {
    await Promise.all([db.end(), other.db.end()]);
    await postgres.stop();
  });

  async function channel(payer: Address, payerAuthorizer: Address, receiver = fresh()): Promise<Hex> {
    const channelId = pad(toHex(++made), { size: 32 });
    const config = { payer, payerAuthorizer, receiver, receiverAuthorizer: fresh(), token: BASE_SEPOLIA.usdc.address, withdrawDelay: 900, salt: zeroHash };
    await insertChannel(db, channelId, config, { balance: 10_000_000n, totalClaimed: 0n, withdrawAmount: 0n, withdrawInitiatedAt: 0, refundNonce: 0n, syncedBlock: 1n });
    return channelId;
  }
  const request = (channelId: Hex, payer: Address, price: bigint, more: Partial<PaymentRequest> = {}): PaymentRequest => ({
    paymentId: newPaymentId(), channelId, payer, ceiling: BigInt(++made) * 1_000n, signature: toHex(1n, { size: 65 }), service: "echo", resource: "http://relayer.test/s/echo", price,
    requestHash: pad(toHex(++made)), clientId: undefined, deposit: undefined, ...more,
  });
  const delivery = (amount: bigint): Delivery => ({ answer: { status: 200, headers: {}, body: Buffer.from("work") }, amount, startedAt: new Date(), endedAt: new Date() });
  /** A principal with mandates (a root first), a guard key for the last, and a channel under it. */
  async function world(...lineage: (Partial<Mandate> & { payees?: Address[] })[]) {
    const [principal, guard] = [fresh(), fresh()];
    const ids = await placeMandates(db, lineage.map(({ payees, ...change }) => ({ mandate: mandateOf(principal, fresh(), change), ...(payees === undefined ? {} : { payees }) })), guard);
    return { principal, guard, ids, channelId: await channel(principal, guard) };
  }
  const take = (on: Deps, payment: PaymentRequest) => ledger.take(on, payment, 1_000);
  const pay = async (payment: PaymentRequest, amount = payment.price) => {
    const taken = await take(deps, payment);
    if (taken.outcome !== "reserved") throw new Error(`not reserved: ${taken.outcome}`);
    return ledger.charge(deps, taken.payment, delivery(amount));
  };
  const refusal = (promise: Promise<unknown>) => promise.then(() => "taken", (error: { code: string; status: number; extra: Record<string, unknown> }) => ({ code: error.code, status: error.status, by: error.extra["mandateId"] }));
  /** spent, reserved and used in the period, of each mandate, the root last. */
  const budgets = async (leaf: Hex) => (await findLineage(db, leaf)).map(({ spent, reserved, usedInPeriod }) => [spent, reserved, usedInPeriod]);

  it("sets aside, charges and gives back, of the mandate and of every one above", async () => {
    const { principal, ids, channelId } = await world({ limit: 1_000n, period: DAY_S, periodLimit: 900n }, { limit: 500n }, { limit: 400n });
    const first = request(channelId, principal, 100n);
    const taken = await take(deps, first);
    expect(await budgets(ids[2]!)).deep.equal([[0n, 100n, 0n], [0n, 100n, 0n], [0n, 100n, 100n]]);
    if (taken.outcome !== "reserved") throw new Error("not reserved");
    await ledger.charge(deps, taken.payment, delivery(60n));
    expect(await budgets(ids[2]!)).deep.equal([[60n, 0n, 0n], [60n, 0n, 0n], [60n, 0n, 60n]]);
    const second = await take(deps, request(channelId, principal, 100n));
    if (second.outcome !== "reserved") throw new Error("not reserved");
    await ledger.giveBack(deps, second.payment.paymentId, "upstream_500");
    await ledger.giveBack(deps, second.payment.paymentId, "upstream_500");
    expect(await budgets(ids[2]!)).deep.equal([[60n, 0n, 0n], [60n, 0n, 0n], [60n, 0n, 60n]]);
    await foldIdle(db, 100);
    expect(await budgets(ids[2]!)).deep.equal([[60n, 0n, 0n], [60n, 0n, 0n], [60n, 0n, 60n]]);
    expect((await listPayments(db, ids[0]!, undefined, 10)).map(({ paymentId, state }) => [paymentId, state])).deep.equal([[second.payment.paymentId, "released"], [first.paymentId, "charged"]]);
  });

  it("a replay charges no budget, and is answered when the budget is gone", async () => {
    const { principal, ids, channelId } = await world({ limit: 100n });
    const payment = request(channelId, principal, 100n);
    await pay(payment);
    expect((await take(deps, { ...payment, paymentId: newPaymentId() })).outcome).equal("replay");
    expect((await take(other, { ...payment, paymentId: newPaymentId() })).outcome).equal("replay");
    expect(await refusal(take(deps, request(channelId, principal, 1n)))).deep.equal({ code: "mandate_exhausted", status: 403, by: ids[0] });
    expect(await budgets(ids[0]!)).deep.equal([[100n, 0n, 0n]]);
  });

  it("names the mandate that refuses, from the root down, and leaves a row that nothing moved", async () => {
    const nowS = Math.floor(Date.now() / 1000);
    const [payee, service] = [fresh(), capabilityOf("another")];
    const cases: [string, number, ...(Partial<Mandate> & { payees?: Address[] })[]][] = [
      ["mandate_exhausted", 0, { limit: 99n, paymentLimit: 1_000n }, {}],
      ["mandate_exhausted", 1, {}, { limit: 99n, paymentLimit: 1_000n }],
      ["mandate_payment_limit", 1, {}, { paymentLimit: 99n }],
      ["mandate_period_limit", 0, { period: DAY_S, periodLimit: 99n }, {}],
      ["mandate_expired", 0, { validUntil: nowS - 10 }, { validUntil: nowS - 10 }],
      ["mandate_not_yet_valid", 1, {}, { validAfter: nowS + 100 }],
      ["mandate_not_yet_valid", 0, { epoch: 1 }, { epoch: 1 }],
      ["mandate_payee", 0, { payees: [payee] }, {}],
      ["mandate_payee", 1, {}, { payees: [payee] }],
      ["mandate_capability", 1, {}, { capability: service }],
      ["mandate_token", 0, { token: fresh() }, {}],
    ];
    for (const [code, at, ...lineage] of cases) {
      const { principal, ids, channelId } = await world(...lineage);
      const payment = request(channelId, principal, 100n);
      expect(await refusal(take(deps, payment)), code).deep.equal({ code, status: 403, by: ids[at] });
      expect(await budgets(ids[1]!), code).deep.equal([[0n, 0n, 0n], [0n, 0n, 0n]]);
      const { rows } = await db.query("SELECT code, moved_atomic, detail->>'mandateId' AS by FROM audit WHERE payment_id = $1", [payment.paymentId]);
      expect(rows, code).deep.equal([{ code, moved_atomic: 0n, by: ids[at] }]);
    }
  });

  it("allows what every mandate above allows", async () => {
    const [payee, elsewhere] = [fresh(), fresh()];
    const { principal, guard, ids } = await world({ payees: [payee, elsewhere], capability: capabilityOf("echo") }, { payees: [payee], capability: capabilityOf("echo") });
    await pay(request(await channel(principal, guard, payee), principal, 100n));
    expect(await refusal(take(deps, request(await channel(principal, guard, elsewhere), principal, 100n)))).deep.equal({ code: "mandate_payee", status: 403, by: ids[1] });
  });

  it("a channel that is bound later is found by every process at its next call", async () => {
    const [principal, guard] = [fresh(), fresh()];
    const channelId = await channel(principal, guard);
    await pay(request(channelId, principal, 100n));
    expect((await take(other, request(channelId, principal, 100n))).outcome).equal("reserved");
    const [id] = await placeMandates(db, [{ mandate: mandateOf(principal, fresh(), { limit: 100n }) }], guard);
    expect((await take(deps, request(channelId, principal, 100n))).outcome).equal("reserved");
    expect(await refusal(take(other, request(channelId, principal, 1n)))).deep.equal({ code: "mandate_exhausted", status: 403, by: id });
    expect(await bindGuard(db, principal, guard, (await placeMandates(db, [{ mandate: mandateOf(principal, fresh()) }]))[0]!, "0x00")).equal(false);
  });

  it("ends a whole subtree at once; what is in flight ends as it began", async () => {
    const { principal, guard, ids, channelId } = await world({ limit: 1_000n }, { limit: 500n });
    const taken = await take(deps, request(channelId, principal, 100n));
    await revoke(db, ids[0]!, principal);
    for (const on of [deps, other]) expect(await refusal(take(on, request(channelId, principal, 1n)))).deep.equal({ code: "mandate_revoked", status: 403, by: ids[0] });
    if (taken.outcome !== "reserved") throw new Error("not reserved");
    expect(await ledger.charge(deps, taken.payment, delivery(100n))).include({ charged: 100n });
    expect(await budgets(ids[1]!)).deep.equal([[100n, 0n, 0n], [100n, 0n, 0n]]);
    expect(await refusal(take(deps, request(await channel(principal, guard), principal, 1n)))).include({ code: "mandate_revoked" });
  });

  it("counts a charge in the period of its reservation", async () => {
    const nowS = Math.floor(Date.now() / 1000);
    const { principal, ids, channelId } = await world({ period: DAY_S, periodLimit: 100n, validAfter: nowS - 10 * DAY_S - 5 });
    const taken = await take(deps, request(channelId, principal, 100n));
    expect(await refusal(take(deps, request(channelId, principal, 1n)))).include({ code: "mandate_period_limit" });
    // As if it had been reserved in the period before this one.
    await db.query("UPDATE mandate_window SET window_no = window_no - 1 WHERE mandate_id = $1", [Buffer.from(ids[0]!.slice(2), "hex")]);
    await db.query("UPDATE payment SET reserved_at = reserved_at - interval '1 day' WHERE payment_id = $1", [taken.outcome === "reserved" ? taken.payment.paymentId : ""]);
    expect((await take(deps, request(channelId, principal, 100n))).outcome).equal("reserved");
    if (taken.outcome !== "reserved") throw new Error("not reserved");
    await ledger.charge(deps, taken.payment, delivery(40n));
    const [root] = await findLineage(db, ids[0]!);
    expect(root).include({ spent: 40n, reserved: 100n, spentInPeriod: 0n, usedInPeriod: 100n });
  });

  it("one unit of budget is spent once: 1,000 payments over 1,000 channels and 2 processes at the same time", async () => {
    const [principal, guard] = [fresh(), fresh()];
    const ids = await placeMandates(db, [{ mandate: mandateOf(principal, fresh(), { limit: 5n }) }, { mandate: mandateOf(principal, fresh(), { limit: 1n }) }], guard);
    const channels = await Promise.all(Array.from({ length: 1_000 }, () => channel(principal, guard)));
    const outcomes = await Promise.all(channels.map((channelId, at) => refusal(take(at % 2 === 0 ? deps : other, request(channelId, principal, 1n)))));
    expect(outcomes.filter((outcome) => outcome === "taken")).lengthOf(1);
    expect(outcomes.filter((outcome) => typeof outcome === "object" && outcome.code === "mandate_exhausted" && outcome.by === ids[1])).lengthOf(999);
    expect(await budgets(ids[1]!)).deep.equal([[0n, 1n, 0n], [0n, 1n, 0n]]);
  });
});
