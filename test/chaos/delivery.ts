// Charged means delivered: everything that was charged can be fetched again with the payment that bought it, carries a valid receipt,
// is what the service once answered, and costs nothing more.
import { setTimeout as sleep } from "node:timers/promises";
import { isAddressEqual, type Hex } from "viem";
import { inputHash, outputHash, receiptSigner } from "../../sdk/src/receipt.ts";
import { MAX_RUNS } from "../../relayer/src/capabilities/streams/service.ts";
import { receiptOf, type Attempt, type Books, type Purchase } from "./books.ts";
import { attempt, isFinal, type Stage } from "./buyer.ts";
import type { ChannelRow, PaymentRow } from "./ledger.ts";

export const UNIT = 10n;
const FETCHED_AT_ONCE = 8;
const FETCH_MOST_MS = 15_000;

type Answer = Extract<Attempt, { kind: "answer" }>;

/** Fetches every charged payment once more. */
export async function fetchAgain(stage: Stage, payments: readonly PaymentRow[], channels: ReadonlyMap<Hex, ChannelRow>): Promise<void> {
  const queue = payments.filter(({ state, charged }) => state === "charged" && charged > 0n);
  const candidates = byKey(stage.books.purchases);
  const lane = async () => {
    for (let row = queue.pop(); row !== undefined; row = queue.pop()) await fetchOne(stage, row, candidates.get(keyOf(row)) ?? [], channels);
  };
  await Promise.all(Array.from({ length: FETCHED_AT_ONCE }, lane));
}

const keyOf = ({ channelId, ceiling, nonce }: { channelId: Hex | undefined; ceiling: bigint | undefined; nonce: Hex | undefined }) => `${channelId ?? ""} ${ceiling ?? ""} ${nonce ?? ""}`;
const byKey = (purchases: readonly Purchase[]) => Map.groupBy(purchases, keyOf);

async function fetchOne({ books, servers, world }: Stage, row: PaymentRow, signed: readonly Purchase[], channels: ReadonlyMap<Hex, ChannelRow>): Promise<void> {
  const about = { paymentId: row.paymentId };
  if (signed.length === 0) return books.violate("charged without a purchase", `${row.paymentId} was charged ${row.charged} under a voucher for ${row.ceiling} that nobody signed for a purchase`, about);
  // Under one voucher there may be several requests; the identifier says which of them was charged.
  const purchases = signed.filter(({ clientId }) => clientId === row.clientId);
  const seen = purchases.find(({ attempts }) => attempts.some((known) => known.kind === "answer" && known.paid && known.paymentId === row.paymentId));
  const owner = seen ?? (row.clientId === undefined ? undefined : purchases[0]);
  const asked = owner === undefined ? purchases : [owner];
  let last: Attempt | undefined;
  for (const deadline = performance.now() + FETCH_MOST_MS; performance.now() < deadline; await sleep(100)) {
    for (const purchase of asked) {
      const before = purchase.attempts.length;
      last = await attempt(purchase, servers[before % servers.length]!);
      if (last.kind === "answer") last.refetch = true;
      if (last.kind !== "answer" || !last.paid) continue;
      if (last.paymentId !== row.paymentId) return books.violate("paid twice", `${purchase.tag} was delivered as ${last.paymentId}, but ${row.paymentId} was charged for the same voucher`, { ...about, tag: purchase.tag });
      await checkAnswer({ books, row, purchase, answer: last, runs: world.provider.runs.get(purchase.tag) ?? [], channels });
      return;
    }
    // With the voucher alone an answer can be fetched until the voucher is public.
    if (asked.every((purchase) => isPublic(purchase, row, channels))) return;
    if (last !== undefined && isFinal(last) && owner !== undefined) break;
  }
  const said = last?.kind === "answer" ? `${last.status} ${last.code ?? ""}` : (last?.why ?? "nothing");
  books.violate("charged, not delivered", `${row.paymentId} (${row.scheme}, ${row.charged}) cannot be fetched with the payment that bought it: ${said}`, { ...about, tag: signed[0]!.tag });
}

function isPublic(purchase: Purchase, row: PaymentRow, channels: ReadonlyMap<Hex, ChannelRow>): boolean {
  const last = purchase.attempts.at(-1);
  if (purchase.clientId !== undefined || last?.kind !== "answer") return false;
  if (row.scheme === "exact") return last.code === "authorization_used";
  // Another of several requests under one voucher is told that it is used up.
  return last.code === "voucher_used" || (last.code === "voucher_public" && row.channelId !== undefined && channels.has(row.channelId));
}

type Delivered = { books: Books; row: PaymentRow; purchase: Purchase; answer: Answer; runs: readonly { body: string }[]; channels: ReadonlyMap<Hex, ChannelRow> };

async function checkAnswer(delivered: Delivered): Promise<void> {
  const { books, row, purchase, answer, runs } = delivered;
  const about = { paymentId: row.paymentId, tag: purchase.tag };
  const body = withoutOurEvents(purchase, answer.body);
  const events = body.split("\n\n").length - 1;
  // A stream that broke off every time it was run is delivered as far as it came the last time (streams/README.md).
  const inPart = purchase.stream === "metered" || (purchase.stream === "fixed" && runs.length >= MAX_RUNS);
  const genuine = runs.some((run) => (inPart ? run.body.startsWith(body) : run.body === body));
  if (!genuine) books.violate("not the service's answer", `${purchase.tag} got ${JSON.stringify(body.slice(0, 80))}, which no run of it answered`, about);
  if (purchase.stream === "metered" && row.charged !== UNIT * BigInt(events)) books.violate("charged other than delivered", `${row.paymentId}: ${events} events cost ${UNIT * BigInt(events)}, charged is ${row.charged}`, about);
  if (purchase.stream === undefined) {
    const other = purchase.attempts.find((known) => known.kind === "answer" && known.paid && known.paymentId === row.paymentId && known.body !== answer.body);
    if (other !== undefined) books.violate("two answers for one payment", `${row.paymentId} was answered in two ways`, about);
  }
  await checkReceipt(delivered, about);
}

/** Of a metered stream: the bytes that were paid for. */
function withoutOurEvents(purchase: Purchase, body: string): string {
  if (purchase.stream !== "metered") return body;
  return body.split(/(?<=\n\n)/).filter((event) => !event.startsWith("event: tallystick-") && !event.startsWith("event:tallystick-")).join("");
}

async function checkReceipt({ books, row, purchase, answer }: Delivered, about: { paymentId: string; tag: string }): Promise<void> {
  const signed = receiptOf(answer.settle);
  // An answer that passed as it was written has its receipt afterwards, with the next fetch.
  if (signed === undefined) return purchase.stream === undefined ? books.violate("no receipt", `${row.paymentId} came without a receipt`, about) : undefined;
  const { payload } = signed;
  const signer = await receiptSigner(signed);
  const wrong = [
    ...(isAddressEqual(signer, signed.signer) ? [] : [`it is signed by ${signer}`]),
    ...(payload.paymentId === row.paymentId ? [] : [`it names ${payload.paymentId}`]),
    ...(BigInt(payload.amount) === row.charged ? [] : [`it says ${payload.amount}, charged is ${row.charged}`]),
    ...(BigInt(payload.cumulative) === row.cumulative ? [] : [`its cumulative amount is ${payload.cumulative}, the ledger's ${row.cumulative}`]),
    ...(payload.inputHash === inputHash({ method: "GET", target: purchase.path, contentType: "", body: new Uint8Array() }) ? [] : ["it is for another request"]),
    ...(payload.outputHash === outputHash({ status: answer.status, contentType: answer.contentType, body: Buffer.from(answer.body) }) ? [] : ["it is for another answer"]),
  ];
  if (wrong.length > 0) books.violate("invalid receipt", `${row.paymentId}: ${wrong.join(", ")}`, about);
}
