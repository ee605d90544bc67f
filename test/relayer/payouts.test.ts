// When receivers are paid out, on a real chain: by threshold, once a day, on demand, and with every claim.
import { expect } from "chai";
import { erc20Abi } from "viem";
import { hourBefore, isDue, isDueWithClaim, type Schedule } from "../../relayer/src/capabilities/payouts/logic.ts";
import { payReceivers } from "../../relayer/src/capabilities/settlement/payout.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { stockBuyer } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const [BUYER, PROVIDER, STRANGER] = [1, ROLE.receiver, 5];

describe("payouts", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let provider: Caller;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_ROLE: "server" } });
    await world.chain.mintUSDC(addressOf(BUYER), 10_000_000n);
    provider = await callerAs(world, PROVIDER);
  });
  after(() => world.stop());

  const received = () => world.chain.client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: erc20Abi, functionName: "balanceOf", args: [addressOf(PROVIDER)] });
  /** Buys one call for 1000, claims it, and tells what the provider received of it. */
  const sell = async () => {
    const before = await received();
    expect((await stockBuyer(world.chain.account(BUYER), world.chain.url).fetch(`${world.url}/s/echo/x`)).status).equal(200);
    await settle();
    return (await received()) - before;
  };
  const settle = async () => expect(await world.relayer.settlement.flush()).equal(true);
  const schedule = async (body: Record<string, unknown>) => (await provider("PUT", "/payouts/schedule", body)).body;
  const state = async () => (await provider("GET", "/payouts")).body;

  it("go with every claim when nothing else was asked for", async () => {
    expect(await sell()).equal(1000n);
    expect(await state()).deep.include({ schedule: { kind: "immediate" }, unclaimedAtomic: "0", owedAtomic: "0", paidOutAtomic: "1000", requests: [] });
  });

  it("wait for a threshold, while claims do not wait", async () => {
    expect(await schedule({ kind: "threshold", thresholdAtomic: "3000" })).deep.include({ schedule: { kind: "threshold", thresholdAtomic: "3000" } });
    expect(await sell()).equal(0n);
    expect(await sell()).equal(0n);
    expect(await state()).include({ unclaimedAtomic: "0", owedAtomic: "2000" });
    expect(await sell()).equal(3000n);
    // In the transaction that claims: none was sent for the payout alone.
    expect((await world.relayer.deps.db.query("SELECT 1 FROM chain_tx WHERE purpose = 'settle'")).rowCount).equal(0);
  });

  it("on demand: only then, everything, once; the same request while it is open and by its key", async () => {
    await schedule({ kind: "on_demand" });
    expect(await sell()).equal(0n);
    expect(await sell()).equal(0n);
    const asked = await Promise.all(Array.from({ length: 12 }, () => provider("POST", "/payouts", undefined, { "idempotency-key": "november" })));
    expect(new Set(asked.map(({ status }) => status))).deep.equal(new Set([202]));
    const ids = new Set(asked.map(({ body }) => body["requestId"] as string));
    expect(ids.size).equal(1);
    expect(asked[0]!.body["state"]).equal("open");
    const before = await received();
    await settle();
    await settle();
    expect((await received()) - before).equal(2000n);
    const done = (await provider("POST", "/payouts", undefined, { "idempotency-key": "november" })).body;
    expect(done).include({ requestId: [...ids][0], state: "done", amountAtomic: "2000" });
    expect(await sell()).equal(0n);
    expect((await state())["requests"]).lengthOf(1);
  });

  it("daily: from the hour on, once, and what is claimed later waits for the next day", async () => {
    // The claim of before is still owed.
    await schedule({ kind: "daily", atUtcHour: 6 });
    const { deps } = world.relayer;
    const day = 86_400_000;
    const six = hourBefore(6, new Date()).getTime() + day; // the first one after the schedule was set
    const at = (ms: number) => ({ ...deps, now: () => new Date(ms) });
    const pass = async (ms: number) => {
      const before = await received();
      await payReceivers(at(ms));
      await settle();
      await payReceivers(at(ms));
      return (await received()) - before;
    };
    expect(await pass(six - 1)).equal(0n);
    expect(await pass(six + 60_000)).equal(1000n);
    expect(await sell()).equal(0n);
    expect(await pass(six + 3_600_000)).equal(0n);
    expect(await pass(six + day - 1)).equal(0n);
    expect(await pass(six + day)).equal(1000n);
  });

  it("are each receiver's own to decide", async () => {
    const stranger = await callerAs(world, STRANGER);
    await stranger("PUT", "/payouts/schedule", { kind: "immediate" });
    expect((await state())["schedule"]).include({ kind: "daily" });
    expect((await stranger("GET", "/payouts")).body).deep.include({ receiver: addressOf(STRANGER), paidOutAtomic: "0" });
    for (const [method, path] of [["GET", ""], ["PUT", "/schedule"], ["POST", ""]]) {
      const answer = await fetch(`${world.url}/api/v1/payouts${path}`, { method: method!, ...(method === "PUT" ? { headers: { "content-type": "application/json" }, body: '{"kind":"immediate"}' } : {}) });
      expect(answer.status, `${method} ${path}`).equal(401);
    }
    const wrong = [{ kind: "threshold" }, { kind: "daily" }, { kind: "daily", atUtcHour: 24 }, { kind: "on_demand", atUtcHour: 1 }, { kind: "immediate", thresholdAtomic: "1" }, { kind: "weekly" }, { kind: "threshold", thresholdAtomic: "-1" }];
    for (const body of wrong) expect((await provider("PUT", "/payouts/schedule", body)).status, JSON.stringify(body)).equal(400);
  });

  it("are decided by what is owed, asked and scheduled alone", () => {
    const now = new Date("2026-03-04T12:00:00Z");
    const ago = (hours: number) => new Date(now.getTime() - hours * 3_600_000);
    const due = (schedule: Schedule, owed: bigint, asked = false, servedUntil = ago(24)) => [isDue({ schedule, servedUntil, asked }, owed, now), isDueWithClaim({ schedule, servedUntil, asked }, owed, now)];
    expect(due({ kind: "immediate" }, 1n)).deep.equal([true, true]);
    expect(due({ kind: "threshold", threshold: 10n }, 9n)).deep.equal([false, false]);
    expect(due({ kind: "threshold", threshold: 10n }, 10n)).deep.equal([true, true]);
    expect(due({ kind: "daily", atUtcHour: 12 }, 1n)).deep.equal([true, false]);
    expect(due({ kind: "daily", atUtcHour: 13 }, 1n, false, ago(22))).deep.equal([false, false]);
    expect(due({ kind: "daily", atUtcHour: 12 }, 1n, false, now)).deep.equal([false, false]);
    expect(due({ kind: "on_demand" }, 1n)).deep.equal([false, false]);
    expect(due({ kind: "on_demand" }, 1n, true)).deep.equal([true, true]);
    for (const kind of ["immediate", "on_demand"] as const) expect(due({ kind }, 0n, true)).deep.equal([false, false]);
  });
});
