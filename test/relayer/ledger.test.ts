// The ledger against a real PostgreSQL: its statements, its replay rule, and its invariants under any interleaving.
import { expect } from "chai";
import fc from "fast-check";
import { getAddress, pad, toHex, type Hex } from "viem";
import { createLedgerGroups } from "../../relayer/src/capabilities/ledger/groups.ts";
import { decide } from "../../relayer/src/capabilities/ledger/logic.ts";
import * as ledger from "../../relayer/src/capabilities/ledger/service.ts";
import type { Answer, Delivery, PaymentRequest } from "../../relayer/src/capabilities/ledger/types.ts";
import { findChannel, insertChannel, updateChainView, type ChainView } from "../../relayer/src/capabilities/channels/store.ts";
import { createVault } from "../../relayer/src/crypto/vault.ts";
import { migrate, pendingMigrations } from "../../relayer/src/db/migrate.ts";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import type { Deps } from "../../relayer/src/deps.ts";
import { newPaymentId } from "../../relayer/src/payment-id.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { createMetrics } from "../../relayer/src/telemetry/metrics.ts";
import { testConfig } from "../support/config.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";

const address = (n: number) => getAddress(pad(toHex(n), { size: 20 }));
const CONFIG = { payer: address(1), payerAuthorizer: address(1), receiver: address(2), receiverAuthorizer: address(3), token: address(4), withdrawDelay: 900, salt: pad("0x0") };
const VIEW: ChainView = { balance: 1_000_000n, totalClaimed: 0n, withdrawAmount: 0n, withdrawInitiatedAt: 0, refundNonce: 0n, syncedBlock: 10n };
const ANSWER: Answer = { status: 200, headers: { "content-type": "text/plain" }, body: Buffer.from("work") };
const TIMEOUT_MS = 1_000;

describe("ledger", function () {
  this.timeout(60_000);
  let postgres: TestPostgres;
  let deps: Deps;
  let other: Deps;
  let db: Db;
  let channels = 0;

  before(async () => {
    postgres = await startTestPostgres();
    const url = await postgres.freshDatabase();
    db = openPool(url);
    await migrate(db);
    const config = testConfig(url, "http://127.0.0.1:1");
    const over = (pool: Db) => ({ config, db: pool, groups: createLedgerGroups({ config, db: pool }), vault: createVault(config.answerKeys), log: createLog("silent"), metrics: createMetrics(), reached: () => {}, now: () => new Date() }) as unknown as Deps;
    deps = over(db);
    other = over(openPool(url));
  });
  after(async () => {
    await Promise.all([db.end(), other.db.end()]);
    await postgres.stop();
  });

  async function channel(view: Partial<ChainView> = {}, config = CONFIG): Promise<Hex> {
    const channelId = pad(toHex(++channels), { size: 32 });
    await insertChannel(db, channelId, config, { ...VIEW, ...view });
    return channelId;
  }
  /** A channel whose payer has no other: what one run of a property leaves unbilled is not held against the next. */
  async function ownChannel(view: Partial<ChainView>): Promise<Hex> {
    const payer = address(1_000 + channels);
    return channel(view, { ...CONFIG, payer, payerAuthorizer: payer });
  }
  const request = (channelId: Hex, ceiling: bigint, more: Partial<PaymentRequest> = {}): PaymentRequest => ({
    paymentId: newPaymentId(), channelId, payer: CONFIG.payer, ceiling, signature: toHex(ceiling, { size: 65 }), service: "echo", resource: "http://relayer.test/s/echo", price: 100n,
    requestHash: pad("0x1"), clientId: undefined, deposit: undefined, ...more,
  });
  const delivery = (amount: bigint): Delivery => ({ answer: ANSWER, amount, startedAt: new Date(), endedAt: new Date() });
  const pay = async (payment: PaymentRequest, on = deps) => {
    const taken = await ledger.take(on, payment, TIMEOUT_MS);
    if (taken.outcome !== "reserved") return taken;
    const charged = await ledger.charge(on, taken.payment, delivery(payment.price));
    return charged ?? "expired";
  };
  const load = async (channelId: Hex) => (await findChannel(db, channelId))!;
  const refusalOf = (taken: unknown) => (taken as { refusal?: string }).refusal;

  it("applies every migration once, over concurrent starters", async () => {
    const url = await postgres.freshDatabase();
    const pools = [openPool(url), openPool(url), openPool(url)];
    const applied = await Promise.all(pools.map(migrate));
    expect(applied.flat().sort()).to.deep.equal(applied.find((names) => names.length > 0));
    expect(await pendingMigrations(pools[0]!)).to.deep.equal([]);
    await pools[0]!.query("UPDATE migration SET digest = 'other' WHERE name LIKE '0001%'");
    const changed = await migrate(pools[0]!).then(() => undefined, (error: { code?: string }) => error.code);
    expect(changed).to.equal("migration_changed");
    await Promise.all(pools.map((pool) => pool.end()));
  });

  it("charges what was reserved and keeps the answer with it", async () => {
    const id = await channel();
    const payment = request(id, 150n);
    const charged = await pay(payment);
    expect(charged).to.include({ state: "charged", charged: 100n, chargedCumulative: 100n, requestNumber: 1n });
    const after = await load(id);
    expect(after).to.include({ charged: 100n, reserved: 0n, signedCeiling: 150n, signedSignature: payment.signature, requestCount: 1n });
    const again = await ledger.take(deps, { ...payment, paymentId: newPaymentId() }, TIMEOUT_MS);
    expect(again.outcome).to.equal("replay");
    if (again.outcome !== "replay") return;
    expect(again.answer.body.toString()).to.equal("work");
    expect(again.payment.paymentId).to.equal(payment.paymentId);
    expect((await load(id)).charged).to.equal(100n);
  });

  it("refuses a known voucher with another request, and after release takes it again", async () => {
    const id = await channel();
    await pay(request(id, 100n));
    expect(refusalOf(await pay(request(id, 100n, { requestHash: pad("0x2") })))).to.equal("voucher_used");
    const second = await ledger.take(deps, request(id, 200n), TIMEOUT_MS);
    if (second.outcome !== "reserved") throw new Error("not reserved");
    await ledger.giveBack(deps, second.payment.paymentId, "upstream_500");
    await ledger.giveBack(deps, second.payment.paymentId, "upstream_500");
    expect(await load(id)).to.include({ charged: 100n, reserved: 0n });
    expect(await pay(request(id, 200n, { requestHash: pad("0x2") }))).to.include({ chargedCumulative: 200n });
  });

  it("after the voucher was shown to the chain, replays only with the payment-identifier", async () => {
    const id = await channel();
    const plain = request(id, 100n);
    const named = request(id, 200n, { clientId: "client-chosen-id-1", requestHash: pad("0x2") });
    await pay(plain);
    await pay(named);
    await db.query("UPDATE channel SET broadcast_ceiling = 200 WHERE channel_id = $1", [Buffer.from(id.slice(2), "hex")]);
    expect(refusalOf(await pay({ ...named, paymentId: newPaymentId(), clientId: undefined }))).to.equal("voucher_public");
    expect(await ledger.take(deps, { ...named, paymentId: newPaymentId() }, TIMEOUT_MS)).to.include({ outcome: "replay" });
    expect(await ledger.take(deps, { ...plain, paymentId: newPaymentId() }, TIMEOUT_MS)).to.include({ outcome: "replay" });
    const conflict = await pay({ ...named, paymentId: newPaymentId(), requestHash: pad("0x3") }).then(() => undefined, (error: { code: string; status: number }) => [error.code, error.status]);
    expect(conflict).to.deep.equal(["payment_identifier_conflict", 409]);
  });

  it("says exactly why a voucher is refused, and reserves nothing", async () => {
    const cases: [string, Partial<ChainView>, bigint][] = [
      ["ceiling_below_charged", {}, 99n],
      ["ceiling_below_charged", { totalClaimed: 500n }, 599n],
      ["ceiling_above_balance", { balance: 199n }, 200n],
      ["withdrawal_pending", { withdrawInitiatedAt: 5, withdrawAmount: 1n }, 100n],
    ];
    for (const [reason, view, ceiling] of cases) {
      const id = await channel(view);
      expect(refusalOf(await pay(request(id, ceiling))), reason).to.equal(reason);
      expect((await load(id)).reserved).to.equal(0n);
    }
    const wallet = await channel({}, { ...CONFIG, payerAuthorizer: address(0) });
    expect(refusalOf(await pay(request(wallet, 100n)))).to.equal("contract_wallet_unsupported");
  });

  it("lets requests with headroom run side by side, and makes exact ones wait", async () => {
    const id = await channel();
    const first = await ledger.take(deps, request(id, 100n), TIMEOUT_MS);
    const ahead = await ledger.take(other, request(id, 200n, { requestHash: pad("0x2") }), TIMEOUT_MS);
    expect([first.outcome, ahead.outcome]).to.deep.equal(["reserved", "reserved"]);
    const waiting = pay(request(id, 101n, { requestHash: pad("0x3") }), other); // covers nothing in flight
    if (first.outcome !== "reserved" || ahead.outcome !== "reserved") throw new Error("not reserved");
    await ledger.giveBack(deps, ahead.payment.paymentId, "upstream_500");
    await ledger.giveBack(deps, first.payment.paymentId, "upstream_500");
    expect(await waiting).to.include({ chargedCumulative: 100n });
  });

  it("gives up, and says that it is ours, when the database refuses for no reason that it shows", async () => {
    await db.query("CREATE UNIQUE INDEX unheard_of ON payment (service) WHERE service = 'odd'");
    const [first, second] = [await channel(), await channel()];
    expect(await ledger.take(deps, request(first, 100n, { service: "odd" }), TIMEOUT_MS)).to.include({ outcome: "reserved" });
    const refused = await ledger.take(deps, request(second, 100n, { service: "odd" }), TIMEOUT_MS).then(() => undefined, (error: { code: string; status: number; retry: string }) => error);
    await db.query("DROP INDEX unheard_of");
    expect(refused).to.include({ code: "reservation_refused", status: 503, retry: "safe" });
    expect(await load(second)).to.include({ reserved: 0n, charged: 0n });
  });

  it("charges one of 40 identical requests over two processes, and answers all", async () => {
    const id = await channel();
    const results = await Promise.all(Array.from({ length: 40 }, (_, i) => pay(request(id, 100n), i % 2 === 0 ? deps : other)));
    const charged = results.filter((result) => typeof result === "object" && "state" in result);
    const replays = results.filter((result) => typeof result === "object" && "outcome" in result && result.outcome === "replay");
    expect([charged.length, replays.length]).to.deep.equal([1, 39]);
    expect(await load(id)).to.include({ charged: 100n, reserved: 0n, requestCount: 1n });
  });

  it("never charges past a lease: the sweeper's release and the late charge exclude each other", async () => {
    const id = await channel();
    const taken = await ledger.take(deps, request(id, 100n), TIMEOUT_MS);
    if (taken.outcome !== "reserved") throw new Error("not reserved");
    await db.query("UPDATE payment SET reserved_until = now() - interval '1 second' WHERE payment_id = $1", [taken.payment.paymentId]);
    await ledger.sweep(other);
    expect(await ledger.charge(deps, taken.payment, delivery(100n))).to.equal(undefined);
    expect(await load(id)).to.include({ charged: 0n, reserved: 0n, signedCeiling: 0n });
    const answers = await db.query("SELECT 1 FROM answer WHERE payment_id = $1", [taken.payment.paymentId]);
    expect(answers.rowCount).to.equal(0);
  });

  it("refuses to charge above the price and to let amounts fall", async () => {
    const id = await channel();
    const taken = await ledger.take(deps, request(id, 500n), TIMEOUT_MS);
    if (taken.outcome !== "reserved") throw new Error("not reserved");
    expect(await ledger.charge(deps, taken.payment, delivery(101n))).to.equal(undefined);
    await ledger.charge(deps, taken.payment, delivery(40n));
    expect(await load(id)).to.include({ charged: 40n, reserved: 0n, signedCeiling: 500n });
    for (const column of ["charged", "signed_ceiling"]) {
      const constraint = await db.query(`UPDATE channel SET ${column} = ${column} - 1 WHERE channel_id = $1`, [Buffer.from(id.slice(2), "hex")])
        .then(() => undefined, (error: { constraint: string }) => error.constraint);
      expect(constraint, column).to.equal("channel_never_decreases");
    }
  });

  it("counts what others claimed on chain as charged, so it is never charged twice", async () => {
    const id = await channel();
    await pay(request(id, 100n));
    await updateChainView(db, id, { ...VIEW, totalClaimed: 700n, syncedBlock: 11n });
    expect(await load(id)).to.include({ charged: 700n, totalClaimed: 700n });
    expect(refusalOf(await pay(request(id, 750n, { requestHash: pad("0x2") })))).to.equal("ceiling_below_charged");
    await updateChainView(db, id, { ...VIEW, totalClaimed: 0n, syncedBlock: 9n });
    expect((await load(id)).totalClaimed, "an older read changes nothing").to.equal(700n);
  });

  it("bounds upstream runs that were not charged", async () => {
    const id = await channel();
    const payer = address(77);
    const most = deps.config.limits.unbilledRunsPerMinute;
    await db.query(
      `INSERT INTO payment (payment_id, channel_id, payer, ceiling, signature, service, request_hash, price_atomic, state, release_reason, reserved_until, resolved_at)
       SELECT 'pay_bound' || n, $1, $2, n, '\\x00', 'echo', $1, 1, 'released', 'client_gone', now(), now() FROM generate_series(1, $3::int) n`,
      [Buffer.from(id.slice(2), "hex"), Buffer.from(payer.slice(2), "hex"), most]);
    const error = await ledger.limitUnbilledRuns(deps, payer).then(() => undefined, (thrown: { code: string; status: number }) => thrown);
    expect(error).to.include({ code: "unbilled_runs_exceeded", status: 429 });
    await ledger.limitUnbilledRuns(deps, address(78));
  });

  it("keeps its invariants under random interleavings of two processes", async () => {
    const step = fc.record({ ceiling: fc.bigInt(1n, 2_000n), price: fc.bigInt(1n, 300n), ending: fc.constantFrom("charge", "part", "release", "leave"), process: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), fc.bigInt(0n, 1_500n), async (steps, balance) => {
        const id = await ownChannel({ balance });
        await Promise.all(
          steps.map(async ({ ceiling, price, ending, process }, index) => {
            const on = process ? deps : other;
            const payment = request(id, ceiling, { price, requestHash: pad(toHex(index + 1)) });
            if (!(await reserveOnce(on, payment))) return;
            if (ending === "charge") await ledger.charge(on, payment, delivery(price));
            if (ending === "part") await ledger.charge(on, payment, delivery(price / 2n));
            if (ending === "release") await ledger.giveBack(on, payment.paymentId, "upstream_500");
          }),
        );
        await checkInvariants(id, balance);
      }),
      { numRuns: 40 },
    );
  });

  /** One attempt, without waiting for a busy channel. */
  async function reserveOnce(on: Deps, payment: PaymentRequest): Promise<boolean> {
    return (await on.groups.reserve({ payment, leaseMs: TIMEOUT_MS })) === "reserved";
  }

  async function checkInvariants(id: Hex, balance: bigint): Promise<void> {
    const { rows } = await db.query(
      `SELECT coalesce(sum(charged_atomic), 0)::numeric(78,0) AS charged, coalesce(sum(price_atomic) FILTER (WHERE state = 'reserved'), 0)::numeric(78,0) AS reserved,
              count(*) FILTER (WHERE state = 'charged') AS sales, (SELECT count(*) FROM answer a JOIN payment p USING (payment_id) WHERE p.channel_id = $1) AS answers
       FROM payment WHERE channel_id = $1`, [Buffer.from(id.slice(2), "hex")]);
    const state = await load(id);
    expect(state.charged, "charged = sum of payments").to.equal(rows[0].charged);
    expect(state.reserved, "reserved = sum of open payments").to.equal(rows[0].reserved);
    expect(rows[0].answers, "an answer for every charge, no other").to.equal(rows[0].sales);
    expect(state.charged <= state.signedCeiling, "charged within what was signed").to.equal(true);
    expect(state.signedCeiling <= balance && state.charged + state.reserved <= balance, "within the balance").to.equal(true);
  }

  it("decides as the reserving statement does", async () => {
    /** Around what has to be signed, and around what is signed. */
    const about = fc.bigInt(-2n, 2n);
    const state = fc.constantFrom("open", "open", "open", "withdrawing", "frozen");
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.bigInt(0n, 300n), fc.bigInt(0n, 300n), fc.bigInt(1n, 200n), about, about, state, async (claimed, reserved, price, slack, spare, state) => {
        const ceiling = claimed + reserved + price + slack > 0n ? claimed + reserved + price + slack : 1n;
        const balance = ceiling + spare > claimed ? ceiling + spare : claimed;
        const id = await ownChannel({ balance, totalClaimed: claimed, withdrawInitiatedAt: state === "withdrawing" ? 1 : 0 });
        await db.query("UPDATE channel SET reserved = $2, frozen_by = $3 WHERE channel_id = $1", [Buffer.from(id.slice(2), "hex"), reserved, state === "frozen" ? "refund" : null]);
        const decision = decide(await load(id), ceiling, price);
        seen.add(decision.accept ? "accept" : decision.refusal);
        expect(await reserveOnce(deps, request(id, ceiling, { price }))).to.equal(decision.accept);
      }),
      {
        numRuns: 150,
        examples: [[0n, 0n, 1n, 0n, 0n, "open"], [5n, 0n, 2n, -1n, 2n, "open"], [5n, 7n, 2n, 0n, -1n, "open"], [5n, 7n, 2n, -1n, 2n, "open"], [5n, 7n, 2n, 0n, 0n, "withdrawing"], [5n, 7n, 2n, 0n, 0n, "frozen"]],
      },
    );
    expect([...seen]).to.have.members(["accept", "ceiling_below_charged", "ceiling_above_balance", "channel_busy", "withdrawal_pending"]);
  });
});
