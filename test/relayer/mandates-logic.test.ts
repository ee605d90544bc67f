// The pure decision, and that PostgreSQL decides the same: for any mandates, payments, charges and revocations, in any order.
import { expect } from "chai";
import fc from "fast-check";
import { getAddress, pad, toHex, zeroHash, type Address, type Hex } from "viem";
import { insertChannel } from "../../relayer/src/capabilities/channels/store.ts";
import { createLedgerGroups } from "../../relayer/src/capabilities/ledger/groups.ts";
import { chargeAll, releaseAll } from "../../relayer/src/capabilities/ledger/store.ts";
import { capabilityOf, foldIdle } from "../../relayer/src/capabilities/mandates/budget-store.ts";
import { decide, MANDATE_REFUSALS, remainingOf, statusOf, windowAt, type Asked, type MandateState, type RefusalCode } from "../../relayer/src/capabilities/mandates/logic.ts";
import { findLineage, revoke } from "../../relayer/src/capabilities/mandates/store.ts";
import { saveEpoch } from "../../relayer/src/capabilities/mandates/chain-store.ts";
import { migrate } from "../../relayer/src/db/migrate.ts";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import { newPaymentId } from "../../relayer/src/payment-id.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import type { Mandate } from "../../sdk/src/mandate.ts";
import { testConfig } from "../support/config.ts";
import { idOfMandate, mandateOf, placeMandates } from "../support/signed-mandates.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";

const DAY_S = 86_400;
let made = 0;
const fresh = (): Address => getAddress(pad(toHex(0xdef000 + ++made), { size: 20 }));
const USDC = BASE_SEPOLIA.usdc.address;

describe("mandates logic", function () {
  this.timeout(180_000);

  const state = (change: Partial<Mandate> = {}, more: Partial<MandateState> = {}): MandateState => {
    const mandate = mandateOf(fresh(), fresh(), { limit: 100n, validAfter: 1_000, validUntil: 2_000, ...change });
    return { mandateId: idOfMandate(mandate), mandate, revoked: false, epochNow: 0, used: 0n, usedInPeriod: 0n, payees: undefined, ...more };
  };
  const asked = (amount: bigint): Asked => ({ amount, payee: fresh(), token: USDC, capability: capabilityOf("echo") });

  it("asks from the root down, and the first and last second count", () => {
    const [root, leaf] = [state({}, { used: 95n }), state({}, { used: 100n })];
    expect(decide([leaf, root], asked(5n), 1_500)).deep.equal({ code: "mandate_exhausted", mandateId: leaf.mandateId });
    expect(decide([leaf, root], asked(6n), 1_500)).deep.equal({ code: "mandate_exhausted", mandateId: root.mandateId });
    for (const [atS, code] of [[999, "mandate_not_yet_valid"], [1_000, undefined], [2_000, undefined], [2_001, "mandate_expired"]] as const) expect(decide([root], asked(5n), atS)?.code).equal(code);
  });

  it("periods begin with validAfter", () => {
    const { mandate } = state({ period: 10, periodLimit: 1n });
    expect([1_000, 1_009, 1_010, 1_999].map((atS) => windowAt(mandate, atS))).deep.equal([0n, 0n, 1n, 99n]);
    expect(windowAt(state().mandate, 1_500)).equal(undefined);
  });

  it("what remains is the least of all above; nothing where one of them has ended", () => {
    const [root, leaf] = [state({ period: 10, periodLimit: 40n }, { used: 30n, usedInPeriod: 15n }), state({}, { used: 90n })];
    expect(remainingOf([root], 1_500)).equal(25n);
    expect(remainingOf([leaf, root], 1_500)).equal(10n);
    for (const [ended, status] of [[{ ...root, revoked: true }, "revoked"], [{ ...root, epochNow: 1 }, "revoked"], [state({ epoch: 1 }), "not_yet_valid"], [state({ validUntil: 1_400 }), "expired"], [state({}, { used: 100n }), "exhausted"]] as const) {
      expect(remainingOf([leaf, ended], 1_500), status).equal(0n);
      expect(statusOf([leaf, ended], 1_500)).equal(status);
    }
  });

  describe("in PostgreSQL", () => {
    let postgres: TestPostgres;
    let db: Db;
    before(async () => {
      postgres = await startTestPostgres();
      db = openPool(await postgres.freshDatabase());
      await migrate(db);
    });
    after(async () => {
      await db.end();
      await postgres.stop();
    });

    const amounts = fc.bigInt({ min: 1n, max: 60n });
    const term = fc.record({
      limit: fc.bigInt({ min: 1n, max: 300n }), paymentLimit: fc.bigInt({ min: 20n, max: 80n }), periodLimit: fc.option(fc.bigInt({ min: 1n, max: 200n }), { nil: 0n }), epoch: fc.constantFrom(0, 0, 0, 1),
      payees: fc.constantFrom(undefined, undefined, "one", "both"), capability: fc.constantFrom(zeroHash, zeroHash, capabilityOf("echo")), ahead: fc.constantFrom(0, 0, 0, 0, DAY_S), over: fc.constantFrom(0, 0, 0, 0, DAY_S * 20),
      token: fc.constantFrom(USDC, USDC, USDC, USDC, USDC, "0x00000000000000000000000000000000000000aa" as Address),
    });
    type Step = { kind: "pay"; amount: bigint; level: number; channel: number; service: string } | { kind: "charge" | "release"; share: number } | { kind: "revoke"; level: number } | { kind: "epoch" } | { kind: "fold" };
    const pay = fc.record({ kind: fc.constant("pay" as const), amount: amounts, level: fc.nat(3), channel: fc.nat(1), service: fc.constantFrom("echo", "echo", "other") });
    const step: fc.Arbitrary<Step> = fc.oneof(
      { weight: 12, arbitrary: pay },
      { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom("charge" as const, "release" as const), share: fc.nat(100) }) },
      { weight: 1, arbitrary: fc.oneof(fc.record({ kind: fc.constant("revoke" as const), level: fc.nat(3) }), fc.constant({ kind: "epoch" as const }), fc.constant({ kind: "fold" as const })) },
    );

    // One for each refusal, so that none is left to chance.
    type Term = typeof term extends fc.Arbitrary<infer T> ? T : never;
    const anything: Term = { limit: 300n, paymentLimit: 80n, periodLimit: 0n, epoch: 0, payees: undefined, capability: zeroHash, ahead: 0, over: 0, token: USDC };
    const buy: Step = { kind: "pay", amount: 50n, level: 0, channel: 1, service: "other" };
    const refused: Record<RefusalCode, [Partial<Term>, ...Step[]]> = {
      mandate_revoked: [{}, { kind: "revoke", level: 0 }, buy],
      mandate_not_yet_valid: [{ ahead: DAY_S }, buy],
      mandate_expired: [{ over: DAY_S * 20 }, buy],
      mandate_token: [{ token: "0x00000000000000000000000000000000000000aa" }, buy],
      mandate_payment_limit: [{ paymentLimit: 49n }, buy],
      mandate_exhausted: [{ limit: 99n }, buy, buy],
      mandate_period_limit: [{ periodLimit: 99n }, buy, buy],
      mandate_payee: [{ payees: "one" }, buy],
      mandate_capability: [{ capability: capabilityOf("echo") }, buy],
    };
    const examples = Object.values(refused).map(([change, ...steps]): [Term[], Step[]] => [[{ ...anything, ...change }], steps]);

    it("decides as the pure function does, and no mandate is ever over", async () => {
      const config = testConfig("postgres://unused", "http://127.0.0.1:1");
      const verdicts = new Map<string, number>();
      await fc.assert(
        fc.asyncProperty(fc.array(term, { minLength: 1, maxLength: 4 }), fc.array(step, { minLength: 5, maxLength: 40 }), async (terms, steps) => {
          const { reserve } = createLedgerGroups({ config, db });
          const principal = fresh();
          const receivers = [fresh(), fresh()];
          const nowS = Math.floor(Date.now() / 1000);
          const list = terms.map(({ payees, periodLimit, ahead, over, ...rest }) => ({
            mandate: mandateOf(principal, fresh(), { ...rest, periodLimit, period: periodLimit === 0n ? 0 : 100 * DAY_S, validAfter: nowS - DAY_S / 2 + ahead, validUntil: nowS + DAY_S * 10 - over + (over > 0 ? 0 : ahead) }),
            ...(payees === undefined ? {} : { payees: payees === "one" ? [receivers[0]!] : receivers }),
          })).map((one) => ({ ...one, mandate: { ...one.mandate, validAfter: Math.min(one.mandate.validAfter, one.mandate.validUntil) } }));
          const ids = await placeMandates(db, list);
          // A voucher key a level, and for each a channel to each receiver.
          const channels: Hex[][] = [];
          for (const [level, id] of ids.entries()) {
            const key = fresh();
            await db.query("SELECT mandate_bind_guard($1, $2, $3, '\\x00')", [principal, key, id].map((hex) => Buffer.from(hex.slice(2), "hex")));
            channels[level] = [];
            for (const receiver of receivers) {
              const channelId = pad(toHex(++made), { size: 32 });
              channels[level].push(channelId);
              await insertChannel(db, channelId, { payer: principal, payerAuthorizer: key, receiver, receiverAuthorizer: fresh(), token: USDC, withdrawDelay: 900, salt: zeroHash }, { balance: 10_000_000n, totalClaimed: 0n, withdrawAmount: 0n, withdrawInitiatedAt: 0, refundNonce: 0n, syncedBlock: 1n });
            }
          }
          // The model: what each has used, who is revoked, which epoch.
          const model: MandateState[] = (await findLineage(db, ids.at(-1)!)).map(({ mandateId, mandate, payees }) => ({ mandateId, mandate, payees, revoked: false, epochNow: 0, used: 0n, usedInPeriod: 0n })).toReversed();
          const move = (level: number, amount: bigint) => {
            for (const above of model.slice(0, level + 1)) {
              above.used += amount;
              above.usedInPeriod += amount;
            }
          };
          const open: { paymentId: string; level: number; price: bigint }[] = [];
          for (const one of steps) {
            if (one.kind === "pay") {
              const level = one.level % ids.length;
              const [channelId, payee] = [channels[level]![one.channel]!, receivers[one.channel]!];
              const paymentId = newPaymentId();
              const verdict = await reserve({ payment: { paymentId, channelId, payer: principal, ceiling: BigInt(++made) * 100n, signature: "0x01", service: one.service, resource: "r", price: one.amount, requestHash: pad("0x1"), clientId: undefined, deposit: undefined }, leaseMs: 60_000 });
              const expected = decide(model.slice(0, level + 1).toReversed(), { amount: one.amount, payee, token: USDC, capability: capabilityOf(one.service) }, nowS);
              expect(verdict).deep.equal(expected === undefined ? "reserved" : { mandate: expected });
              const told = expected?.code ?? "reserved";
              verdicts.set(told, (verdicts.get(told) ?? 0) + 1);
              if (expected !== undefined) continue;
              move(level, one.amount);
              open.push({ paymentId, level, price: one.amount });
            } else if (one.kind === "charge" || one.kind === "release") {
              const payment = open.shift();
              if (payment === undefined) continue;
              const amount = one.kind === "release" ? 0n : (payment.price * BigInt(one.share)) / 100n;
              move(payment.level, amount - payment.price);
              const at = new Date();
              if (one.kind === "release") expect(await releaseAll(db, [{ paymentId: payment.paymentId, reason: "test" }])).deep.equal([true]);
              else expect(await chargeAll(db, [{ paymentId: payment.paymentId, amount, status: 200, sealed: Buffer.alloc(1), outputHash: pad("0x1"), startedAt: at, endedAt: at }], 60)).lengthOf(1);
            } else if (one.kind === "revoke") {
              const level = one.level % ids.length;
              await revoke(db, ids[level]!, principal);
              model[level]!.revoked = true;
            } else if (one.kind === "epoch") {
              await saveEpoch(db, principal, 1, 1n, { followed: true });
              for (const each of model) each.epochNow = 1;
            } else await foldIdle(db, 100);
          }
          const stood = (await findLineage(db, ids.at(-1)!)).toReversed();
          expect(stood.map(({ used, usedInPeriod }) => [used, usedInPeriod])).deep.equal(model.map(({ mandate, used, usedInPeriod }) => [used, mandate.period === 0 ? 0n : usedInPeriod]));
          for (const { mandate, used, usedInPeriod } of stood) {
            expect(used <= mandate.limit).equal(true);
            expect(mandate.period === 0 || usedInPeriod <= mandate.periodLimit).equal(true);
          }
        }),
        { numRuns: 50, examples },
      );
      // Nothing here is true for want of cases.
      for (const code of ["reserved", ...MANDATE_REFUSALS]) expect(verdicts.get(code) ?? 0, code).greaterThan(0);
    });
  });
});
