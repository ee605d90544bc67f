// What every pairing has to do, whoever made the parts. A behaviour has a buyer of its own, and looks at three sides: the
// answer, the seller's work, the chain.
import { expect } from "chai";
import { encodeHeader, settleOf } from "../../support/buyer.ts";
import type { Buyer, Seller } from "./parties.ts";
import type { Scheme } from "./pairings.ts";
import { FUNDS, PRICE, type MatrixWorld } from "./world.ts";

export type Scene = { world: MatrixWorld; seller: Seller; buyer: Buyer };
export type Behaviour = { name: string; schemes: Scheme[]; run(scene: Scene): Promise<void> };

const BATCH: Scheme[] = ["batch-settlement"];
const EXACT: Scheme[] = ["exact"];
const BOTH: Scheme[] = ["batch-settlement", "exact"];
const TOP_UP_WITHIN_CALLS = 60;

/** Pays one call, which has to succeed; what PAYMENT-RESPONSE says of it. */
async function paid({ seller, buyer }: Scene, path = "/", body?: string) {
  const response = await buyer.pay(seller.url(path), body === undefined ? {} : { method: "POST", body });
  const text = await response.text();
  expect([response.status, text], text).to.include(200);
  const { transaction, amount, success, extra } = settleOf(response);
  expect(success).to.equal(true);
  return { transaction, amount, charged: extra?.chargedAmount, channel: extra?.channelState ?? {}, answer: JSON.parse(text) as { body: string; run: number } };
}

const succeeded = async ({ world }: Scene, hash: string) => {
  expect((await world.chain.client.waitForTransactionReceipt({ hash: hash as `0x${string}` })).status).to.equal("success");
};

const cumulativeOf = (settled: { channel: Record<string, string> }) => BigInt(settled.channel["chargedCumulativeAmount"] ?? "-1");
const idOf = (settled: { channel: Record<string, string> }) => settled.channel["channelId"] ?? "";

/** Sends a payment that was made before, as it is. */
const resend = ({ seller }: Scene, payment: string, path = "/", init: RequestInit = {}) => fetch(seller.url(path), { ...init, headers: { "payment-signature": payment } });

export const BEHAVIOURS: Behaviour[] = [
  {
    name: "deposit: the first call opens a channel with one transaction",
    schemes: BATCH,
    async run(scene) {
      const first = await paid(scene, "/", "hello");
      expect(first.answer.body).to.equal("hello");
      await succeeded(scene, first.transaction);
      expect(first.charged).to.equal(PRICE.toString());
      const { balance, claimed } = await scene.world.channel(idOf(first));
      expect([balance, claimed]).to.deep.equal([BigInt(first.amount ?? ""), 0n]);
      expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(FUNDS - balance);
    },
  },
  {
    name: "vouchers: further calls move nothing on chain and add up",
    schemes: BATCH,
    async run(scene) {
      const first = await paid(scene);
      for (let call = 2n; call <= 4n; call++) {
        const next = await paid(scene, "/", `call ${call}`);
        expect([next.transaction, next.charged, next.answer.body]).to.deep.equal(["", PRICE.toString(), `call ${call}`]);
        expect([idOf(next), cumulativeOf(next)]).to.deep.equal([idOf(first), call * PRICE]);
      }
      expect((await scene.world.channel(idOf(first))).claimed).to.equal(0n);
    },
  },
  {
    name: "partial charge: the handler's own amount is what counts, up to the chain",
    schemes: BATCH,
    async run(scene) {
      await paid(scene);
      const part = await paid(scene, "/charge/400");
      expect([part.charged, cumulativeOf(part)]).to.deep.equal(["400", PRICE + 400n]);
      const half = await paid(scene, "/charge/50pct");
      expect([half.charged, cumulativeOf(half)]).to.deep.equal([(PRICE / 2n).toString(), PRICE + 900n]);
      const last = await paid(scene);
      expect(cumulativeOf(last)).to.equal(2n * PRICE + 900n);
      await scene.seller.claimAndSettle();
      expect((await scene.world.channel(idOf(last))).claimed).to.equal(2n * PRICE + 900n);
    },
  },
  {
    name: "an answer of 4xx or 5xx is passed on and not charged",
    schemes: BOTH,
    async run(scene) {
      const before = await paid(scene);
      const held = await scene.world.usdcOf(scene.buyer.address);
      for (const status of [404, 500]) expect((await scene.buyer.pay(scene.seller.url(`/status/${status}`))).status).to.equal(status);
      expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(held);
      const after = await paid(scene);
      if (idOf(before) !== "") expect(cumulativeOf(after)).to.equal(2n * PRICE);
      else expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(held - PRICE);
    },
  },
  {
    name: "top-up: a used-up deposit is followed by another, and no call fails",
    schemes: BATCH,
    async run(scene) {
      let deposited = 0n;
      let deposits = 0;
      let last = await paid(scene);
      for (let call = 1n; deposits < 2 && call <= TOP_UP_WITHIN_CALLS; call++) {
        if (call > 1n) last = await paid(scene);
        expect(cumulativeOf(last)).to.equal(call * PRICE);
        if (last.transaction === "") continue;
        deposits++;
        deposited += BigInt(last.amount ?? "");
      }
      expect(deposits).to.equal(2);
      expect((await scene.world.channel(idOf(last))).balance).to.equal(deposited);
    },
  },
  {
    name: "claim and settle: the receiver gets exactly what was charged, and the channel goes on",
    schemes: BATCH,
    async run(scene) {
      await scene.seller.claimAndSettle();
      const held = await scene.world.usdcOf(scene.seller.receiver);
      for (let call = 0; call < 2; call++) await paid(scene);
      const third = await paid(scene);
      await scene.seller.claimAndSettle();
      expect((await scene.world.channel(idOf(third))).claimed).to.equal(3n * PRICE);
      expect(await scene.world.usdcOf(scene.seller.receiver)).to.equal(held + 3n * PRICE);
      expect(cumulativeOf(await paid(scene))).to.equal(4n * PRICE);
    },
  },
  {
    name: "refund: a part, then the rest, what was charged is claimed first; the channel is used again",
    schemes: BATCH,
    async run(scene) {
      await paid(scene);
      const second = await paid(scene);
      const { balance } = await scene.world.channel(idOf(second));
      await scene.buyer.refund(scene.seller.url("/"), PRICE);
      expect(await scene.world.channel(idOf(second))).to.deep.equal({ balance: balance - PRICE, claimed: 2n * PRICE });
      expect(cumulativeOf(await paid(scene))).to.equal(3n * PRICE);
      await scene.buyer.refund(scene.seller.url("/"));
      expect(await scene.world.channel(idOf(second))).to.deep.equal({ balance: 3n * PRICE, claimed: 3n * PRICE });
      expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(FUNDS - 3n * PRICE);
      const again = await paid(scene);
      await succeeded(scene, again.transaction);
      expect([idOf(again), cumulativeOf(again)]).to.deep.equal([idOf(second), 4n * PRICE]);
    },
  },
  {
    name: "a buyer that lost its state catches up, in the same channel",
    schemes: BATCH,
    async run(scene) {
      // Different calls: the very same one again, with the voucher signed again, would be the first payment sent twice.
      await paid(scene, "/", "one");
      const second = await paid(scene, "/", "two");
      scene.buyer.loseState();
      const third = await paid(scene, "/", "three");
      expect([idOf(third), cumulativeOf(third), third.charged]).to.deep.equal([idOf(second), 3n * PRICE, PRICE.toString()]);
      expect(cumulativeOf(await paid(scene))).to.equal(4n * PRICE);
    },
  },
  {
    name: "a seller that lost its state after claiming goes on from the chain",
    schemes: BATCH,
    async run(scene) {
      await paid(scene);
      const second = await paid(scene);
      await scene.seller.claimAndSettle();
      await scene.seller.loseState();
      const third = await paid(scene);
      expect([idOf(third), cumulativeOf(third)]).to.deep.equal([idOf(second), 3n * PRICE]);
      await scene.seller.claimAndSettle();
      expect((await scene.world.channel(idOf(third))).claimed).to.equal(3n * PRICE);
    },
  },
  {
    name: "both lost their state: the chain is enough",
    schemes: BATCH,
    async run(scene) {
      const first = await paid(scene);
      await scene.seller.claimAndSettle();
      await scene.seller.loseState();
      scene.buyer.loseState();
      const next = await paid(scene);
      expect([idOf(next), cumulativeOf(next)]).to.deep.equal([idOf(first), 2n * PRICE]);
    },
  },
  {
    name: "one payment sent twice is charged once",
    schemes: BOTH,
    async run(scene) {
      await paid(scene);
      const bought = await paid(scene);
      const held = await scene.world.usdcOf(scene.buyer.address);
      const runs = scene.seller.runs();
      const payment = scene.buyer.sent.at(-1)!;
      const again = await resend(scene, payment);
      const { replays } = scene.seller;
      expect(again.status).to.equal(replays === "all" || (replays === "identified" && isIdentified(payment)) ? 200 : 402);
      if (again.status === 200) expect(((await again.json()) as { run: number }).run).to.equal(bought.answer.run);
      expect(scene.seller.runs()).to.equal(runs);
      expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(held);
      if (idOf(bought) !== "") expect(cumulativeOf(await paid(scene))).to.equal(3n * PRICE);
    },
  },
  {
    name: "a payment whose signature was touched buys nothing",
    schemes: BOTH,
    async run(scene) {
      await paid(scene);
      const runs = scene.seller.runs();
      const held = await scene.world.usdcOf(scene.buyer.address);
      const payment = scene.buyer.sent.at(-1)!;
      // To get what was bought, by its own identifier; and to buy something else, without.
      expect((await resend(scene, forge(payment))).status).to.equal(402);
      expect((await resend(scene, forge(unidentified(payment)), "/", { method: "POST", body: "forged" })).status).to.equal(402);
      expect(scene.seller.runs()).to.equal(runs);
      expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(held);
    },
  },
  {
    name: "pays each call with its own transaction, the price exactly",
    schemes: EXACT,
    async run(scene) {
      const held = await scene.world.usdcOf(scene.seller.receiver);
      const hashes = new Set<string>();
      for (let call = 1n; call <= 2n; call++) {
        const { transaction, answer } = await paid(scene, "/", `call ${call}`);
        await succeeded(scene, transaction);
        hashes.add(transaction);
        expect(answer.body).to.equal(`call ${call}`);
        expect(await scene.world.usdcOf(scene.seller.receiver)).to.equal(held + call * PRICE);
        expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(FUNDS - call * PRICE);
      }
      expect(hashes.size).to.equal(2);
    },
  },
  {
    name: "state lost on both sides: payments go on, and none from before counts again",
    schemes: EXACT,
    async run(scene) {
      await paid(scene);
      const old = scene.buyer.sent.at(-1)!;
      await scene.seller.loseState();
      scene.buyer.loseState();
      const runs = scene.seller.runs();
      expect((await resend(scene, old)).status).to.equal(402);
      expect(scene.seller.runs()).to.equal(runs);
      await paid(scene);
      expect(await scene.world.usdcOf(scene.buyer.address)).to.equal(FUNDS - 2n * PRICE);
    },
  },
];

type Payment = { payload: Record<string, unknown>; extensions?: { "payment-identifier"?: { info?: { id?: string } } } };
const decoded = (header: string) => JSON.parse(Buffer.from(header, "base64").toString()) as Payment;

const isIdentified = (header: string): boolean => decoded(header).extensions?.["payment-identifier"]?.info?.id !== undefined;

function unidentified(header: string): string {
  const payment = decoded(header);
  delete payment.extensions?.["payment-identifier"]?.info?.id;
  return encodeHeader(payment);
}

/** The same payment with one digit of its signature changed. */
function forge(header: string): string {
  const payment = decoded(header);
  const signed = (payment.payload["voucher"] ?? payment.payload) as { signature: string };
  signed.signature = signed.signature.slice(0, 20) + (signed.signature[20] === "0" ? "1" : "0") + signed.signature.slice(21);
  return encodeHeader(payment);
}
