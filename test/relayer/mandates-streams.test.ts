// Streams under a mandate: what a voucher adds is asked of the mandate too, what a stream leaves is given back, and a revocation ends it.
import { expect } from "chai";
import type { Hex } from "viem";
import { findLineage, revoke } from "../../relayer/src/capabilities/mandates/store.ts";
import { mandateOf, placeMandates } from "../support/signed-mandates.ts";
import { dataOf, eventsOf, idIn, openedChannel, PRICE, startStreamWorld, UNIT, type StreamWorld } from "../support/stream-world.ts";

type Final = { charged: string; reason: string };
const event = (data: string) => `data: ${data}\n\n`;
const units = (count: number, data: string) => `tallystick-units: ${count}\n${event(data)}`;

describe("mandates: streams", function () {
  this.timeout(120_000);
  let streams: StreamWorld;
  before(async () => void (streams = await startStreamWorld()));
  after(() => streams.stop());

  it("takes vouchers as far as the mandate goes, and gives back what is left", async () => {
    const { world, upstream: upstreams } = streams;
    const { db } = world.relayer.deps;
    const { address } = world.chain.account(1);
    const { ask, voucher, state, channelId } = await openedChannel(streams);
    const ids: Hex[] = await placeMandates(db, [{ mandate: mandateOf(address, world.chain.account(2).address, { limit: 3_000n, paymentLimit: 2_000n }) }, { mandate: mandateOf(address, world.chain.account(3).address, { limit: 3_000n }) }], address);
    const budget = async () => (await findLineage(db, ids[1]!)).map(({ spent, reserved }) => [spent, reserved]);
    const refusal = async (response: Response) => {
      const body = (await response.json()) as Record<string, string>;
      return [response.status, body["code"], body["mandateId"], body["moved"]];
    };

    const first = await Promise.all([ask("/mandate-1.sse", 2n * PRICE), upstreams.next("/mandate-1.sse")]);
    const id = idIn(first[0]);
    const events = eventsOf(first[0]);
    expect(await budget()).deep.equal([[0n, PRICE], [0n, PRICE]]);
    first[1].write(`${units(100, "all")}${event("more")}`);
    expect([(await events.next())!.data, (await events.next())!.event]).deep.equal(["all", "tallystick-need-voucher"]);
    expect(await budget()).deep.equal([[PRICE, 0n], [PRICE, 0n]]);
    expect(await refusal(await voucher(id, 10n * PRICE, { amount: 1_001n }))).deep.equal([403, "mandate_payment_limit", ids[0], "0"]);
    expect((await voucher(id, 10n * PRICE, { amount: 500n })).status).equal(200);
    // The same voucher again extends it once.
    expect((await voucher(id, 10n * PRICE, { amount: 500n })).status).equal(200);
    expect((await events.next())!.data).equal("more");
    expect(await budget()).deep.equal([[PRICE + UNIT, 490n], [PRICE + UNIT, 490n]]);
    first[1].end();
    expect(dataOf<Final>((await events.rest()).at(-1))).include({ charged: "1010", reason: "complete" });
    expect(await budget()).deep.equal([[PRICE + UNIT, 0n], [PRICE + UNIT, 0n]]);

    const second = await Promise.all([ask("/mandate-2.sse", 4n * PRICE), upstreams.next("/mandate-2.sse")]);
    const later = eventsOf(second[0]);
    expect(await refusal(await voucher(idIn(second[0]), 10n * PRICE + 1n, { amount: 991n }))).deep.equal([403, "mandate_exhausted", ids[0], "0"]);
    await revoke(db, ids[0]!, address);
    second[1].write(`${units(100, "all")}${event("more")}`);
    expect([(await later.next())!.data, (await later.next())!.event]).deep.equal(["all", "tallystick-need-voucher"]);
    expect(await refusal(await voucher(idIn(second[0]), 10n * PRICE + 1n, { amount: 10n }))).deep.equal([403, "mandate_revoked", ids[0], "0"]);
    expect(dataOf<Final>((await later.rest()).at(-1))).include({ charged: "1000", reason: "money" });
    expect(await budget()).deep.equal([[2n * PRICE + UNIT, 0n], [2n * PRICE + UNIT, 0n]]);
    // What was sold before the key was bound is not in it.
    expect((await state()).charged).equal(3n * PRICE + UNIT);
    const { rows } = await db.query("SELECT code FROM audit WHERE channel_id = $1 AND code LIKE 'mandate%' ORDER BY at", [Buffer.from(channelId.slice(2), "hex")]);
    expect(rows.map(({ code }) => code as string)).deep.equal(["mandate_payment_limit", "mandate_exhausted", "mandate_revoked"]);
  });
});
