// A stream is charged step by step and has one fee, of what it came to.
import { expect } from "chai";
import { keepBooks } from "../../relayer/src/capabilities/fees/booking.ts";
import { eventsOf, idIn, openedChannel, PRICE, startStreamWorld, type StreamWorld } from "../support/stream-world.ts";

describe("fees of streams", function () {
  this.timeout(180_000);
  let streams: StreamWorld;
  before(async () => {
    streams = await startStreamWorld();
  });
  after(() => streams.stop());

  it("are not booked while the stream runs, and once when it is over", async () => {
    const { deps } = streams.world.relayer;
    const { ask } = await openedChannel(streams);
    await keepBooks(deps);
    const booked = async (id: string) => (await deps.db.query("SELECT final_xid IS NOT NULL AS final, (SELECT (xid, payment_id) >= (p.final_xid, p.payment_id) FROM fee_cursor) AS past FROM payment p WHERE payment_id = $1", [id])).rows[0];
    const gross = async () => (await deps.db.query("SELECT coalesce(sum(gross_atomic), 0) AS gross, coalesce(sum(calls), 0)::int AS calls FROM booked_day")).rows[0] as { gross: bigint; calls: number };
    const before = await gross();
    const path = "/fees.sse";
    const [response, upstream] = await Promise.all([ask(path, 2n * PRICE), streams.upstream.next(path)]);
    const events = eventsOf(response);
    for (const text of ["data: one\n\n", "tallystick-units: 3\ndata: three\n\n"]) {
      upstream.write(text);
      await events.next();
      await keepBooks(deps);
      expect(await gross()).deep.equal(before);
    }
    upstream.end();
    await events.rest();
    await keepBooks(deps);
    expect(await booked(idIn(response))).deep.equal({ final: true, past: true });
    expect(await gross()).deep.equal({ gross: before.gross + 40n, calls: before.calls + 1 });
    await keepBooks(deps);
    expect(await gross()).deep.equal({ gross: before.gross + 40n, calls: before.calls + 1 });
  });
});
