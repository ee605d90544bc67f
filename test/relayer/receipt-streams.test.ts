// Receipts of streams, which are made after their charges, and anew when a broken stream runs again: each is under a root in the end.
import { expect } from "chai";
import { signIn } from "../../sdk/src/access.ts";
import { isReceiptProven } from "../../sdk/src/receipt-tree.ts";
import type { ReceiptProof } from "../../relayer/src/capabilities/receipts/proofs.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { eventsOf, idIn, openedChannel, PRICE, startStreamWorld, until, type StreamWorld } from "../support/stream-world.ts";

const event = (text: string) => `data: ${text}\n\n`;

describe("receipts of streams on chain", function () {
  this.timeout(300_000);
  let streams: StreamWorld;
  let paths = 0;
  const fresh = () => `/${++paths}.sse`;
  const db = () => streams.world.relayer.deps.db;
  before(async () => {
    streams = await startStreamWorld();
    // A claim takes longer than this upstream may be silent for.
    await db().query("UPDATE service SET upstream_timeout_ms = 120000");
  });
  after(() => streams.stop());

  const flush = async () => expect(await streams.world.relayer.settlement.flush()).to.equal(true);
  const ended = async (id: string, state: string) => {
    await until("the stream is over", async () => (await db().query("SELECT state FROM stream WHERE payment_id = $1", [id])).rows[0]?.state !== "open");
    expect((await db().query("SELECT state FROM stream WHERE payment_id = $1", [id])).rows).to.deep.equal([{ state }]);
  };
  type Opened = Awaited<ReturnType<typeof openedChannel>>;
  const prove = async ({ buyer }: Opened, id: string) => {
    const { token } = await signIn({ relayerUrl: streams.world.url, account: buyer.account });
    const response = await fetch(`${streams.world.url}/api/v1/receipts/${id}/proof`, { headers: { authorization: `Bearer ${token}` } });
    return (await response.json()) as ReceiptProof & { code?: string; detail?: string };
  };
  const proven = async (opened: Opened, id: string) => {
    const found = await prove(opened, id);
    expect(found.code, found.detail).to.equal(undefined);
    expect(isReceiptProven(found.root, found.receiptHash, found.proof)).to.equal(true);
    return found;
  };

  for (const metered of [false, true]) {
    it(`a ${metered ? "metered" : "fixed"} stream that runs while its charge is claimed holds nothing else back, and is rooted when it is over`, async () => {
      const opened = await openedChannel(streams);
      const { buyer, terms, ask, url } = opened;
      const path = fresh();
      const [response, upstream] = await Promise.all([ask(path, 0n, { payment: await buyer.voucherPayment(terms, 2n * PRICE), metered }), streams.upstream.next(path)]);
      upstream.write(event("a"));
      const events = eventsOf(response);
      await events.next();
      const call = idIn(await buyer.send(await buyer.voucherPayment(terms, 4n * PRICE), {}, url("/plain")));
      await flush();
      const claimed = await proven(opened, call);
      upstream.write(event("b"));
      upstream.end();
      await events.rest();
      await ended(idIn(response), "complete");
      expect(await prove(opened, idIn(response))).to.include({ code: "receipt_not_rooted" });
      await flush();
      const { root } = await proven(opened, idIn(response));
      expect(root).to.not.equal(claimed.root);
      expect((await proven(opened, call)).root).to.equal(claimed.root);
      expect((await db().query("SELECT 1 FROM receipt_unrooted WHERE channel_id = $1", [toBytes(opened.channelId)])).rowCount).to.equal(0);
    });
  }

  it("a broken stream has no receipt; run again after its claim it has one, and that is rooted", async () => {
    const opened = await openedChannel(streams);
    const { buyer, terms, ask } = opened;
    const path = fresh();
    const payment = await buyer.voucherPayment(terms, 2n * PRICE);
    // The claim shows the voucher to everybody, so whoever asks again has to be known by this.
    payment.extensions["payment-identifier"] = { info: { required: false, id: `again-${opened.channelId.slice(2, 34)}` } };
    const [response, upstream] = await Promise.all([ask(path, 0n, { payment, metered: false }), streams.upstream.next(path)]);
    const id = idIn(response);
    upstream.write(event("a"));
    const events = eventsOf(response);
    await events.next();
    upstream.break();
    await events.rest().catch(() => {});
    await ended(id, "upstream_broken");
    await flush();
    expect((await prove(opened, id)).code).to.equal("not_found");
    const [again, healthy] = await Promise.all([ask(path, 0n, { payment, metered: false }), streams.upstream.next(path)]);
    healthy.write(event("a") + event("b"));
    healthy.end();
    await again.text();
    await ended(id, "complete");
    expect((await prove(opened, id)).detail).to.match(/made after its charge/);
    await flush();
    await proven(opened, id);
  });
});
