// After a round, all quiet: what the buyers know, what the ledger says and what the chain did are the same.
import type { Hex } from "viem";
import { isSale, type Books } from "./books.ts";
import type { ChannelRow, PaymentRow } from "./ledger.ts";
import type { Run } from "./provider.ts";

export type RunsOf = (tag: string) => readonly Run[];

/** Buyers and ledger. */
export function checkBooks(books: Books, runsOf: RunsOf, payments: readonly PaymentRow[], channels: ReadonlyMap<Hex, ChannelRow>): void {
  const byId = new Map(payments.map((row) => [row.paymentId, row]));
  checkDeliveries(books, byId);
  checkAnswers(books, runsOf);
  checkGone(books, runsOf, payments);
  for (const [channelId, rows] of Map.groupBy(payments.filter(({ channelId }) => channelId !== undefined), (row) => row.channelId!)) {
    const channel = channels.get(channelId);
    if (channel === undefined) books.violate("a payment without a channel", channelId);
    else checkChannel(books, channel, rows);
  }
  for (const { paymentId, state } of payments) if (state === "reserved") books.violate("a reservation leaked", `${paymentId} is still reserved`, { paymentId });
}

/** Delivered means charged, and charged what the buyer was told. */
function checkDeliveries(books: Books, byId: ReadonlyMap<string, PaymentRow>): void {
  for (const purchase of books.purchases) {
    for (const sale of purchase.attempts.filter(isSale)) {
      const row = sale.paymentId === undefined ? undefined : byId.get(sale.paymentId);
      const about = { tag: purchase.tag, ...(sale.paymentId === undefined ? {} : { paymentId: sale.paymentId }) };
      if (row?.state === "released" && purchase.stream === "metered" && holdsNothing(sale.body)) continue;
      if (row === undefined || row.state !== "charged") {
        books.violate("delivered, not charged", `${purchase.tag} got an answer as ${sale.paymentId}, which the ledger says is ${row?.state ?? "unknown"}`, about);
        continue;
      }
      const told = BigInt(sale.settle?.extra?.chargedAmount ?? -1);
      if (purchase.stream !== "metered" && told !== row.charged) books.violate("charged other than told", `${purchase.tag} was told ${told}, ${sale.paymentId} was charged ${row.charged}`, about);
      if (row.charged > purchase.price) books.violate("charged above the price", `${sale.paymentId}: ${row.charged} for ${purchase.price}`, about);
    }
  }
}

/** A metered stream that ended before its first event: only the relayer's own word that it cost nothing. */
const holdsNothing = (body: string): boolean => body.split("\n\n").every((event) => event === "" || event.startsWith("event: tallystick-"));

/** Who paid for a request gets that request's answer. Streams are looked at when they are fetched again. */
function checkAnswers(books: Books, runsOf: RunsOf): void {
  for (const purchase of books.purchases.filter(({ stream }) => stream === undefined)) {
    for (const { body, paymentId } of purchase.attempts.filter(isSale)) {
      if (runsOf(purchase.tag).some((run) => run.body === body)) continue;
      books.violate("not the service's answer", `${purchase.tag} got ${JSON.stringify(body.slice(0, 80))}, which no run of it answered`, { tag: purchase.tag, ...(paymentId === undefined ? {} : { paymentId }) });
    }
  }
}

/** What the service needs to notice that a client is gone, and the relayer to hear of it. */
const GONE_FOR_MS = 450;

/** A client that was gone before the service had answered is not charged. */
function checkGone(books: Books, runsOf: RunsOf, payments: readonly PaymentRow[]): void {
  const byKey = Map.groupBy(payments.filter(({ state, charged }) => state === "charged" && charged > 0n), ({ channelId, ceiling }) => `${channelId} ${ceiling}`);
  for (const purchase of books.purchases.filter(({ kind, scheme, stream }) => kind === "aborter" && scheme === "session" && stream === undefined)) {
    const [row] = byKey.get(`${purchase.channelId} ${purchase.ceiling}`) ?? [];
    const [first] = purchase.attempts;
    const during = purchase.attempts.filter((attempt) => attempt.kind === "lost" || !attempt.refetch);
    const runs = runsOf(purchase.tag);
    if (row === undefined || during.length !== 1 || first?.kind !== "lost" || runs.length === 0) continue;
    if (runs.every(({ doneAtMs }) => doneAtMs !== undefined && doneAtMs > first.atMs + GONE_FOR_MS)) books.violate("a client that was gone was charged", `${purchase.tag} hung up ${runs[0]!.doneAtMs! - first.atMs} ms before the service answered, and was charged ${row.charged}`, { tag: purchase.tag, paymentId: row.paymentId });
  }
}

function checkChannel(books: Books, channel: ChannelRow, rows: readonly PaymentRow[]): void {
  const { channelId, charged, opening, reserved } = channel;
  const paid = rows.filter((row) => row.state === "charged" && row.charged > 0n);
  const sum = paid.reduce((total, row) => total + row.charged, 0n);
  if (sum !== charged - opening) books.violate("charges do not add up", `channel ${channelId}: payments ${sum}, channel ${charged} (opened at ${opening})`);
  if (reserved !== 0n) books.violate("a reservation leaked", `channel ${channelId} has ${reserved} reserved and nothing under way`);
  if (channel.frozenBy !== undefined) books.violate("a channel stays frozen", `channel ${channelId}: ${channel.frozenBy}`);
  if (charged > (books.signed.get(channelId) ?? 0n)) books.violate("charged above what was signed", `channel ${channelId}: ${charged}, its buyer signed ${books.signed.get(channelId)}`);
  // Calls in flight may be charged in another order than their vouchers were signed; the highest that bought something covers them all.
  const covered = rows.filter(({ state }) => state === "charged").reduce((highest, { ceiling = 0n }) => (ceiling > highest ? ceiling : highest), opening);
  if (charged > covered && !paid.some(({ streamed }) => streamed)) books.violate("charged above its vouchers", `channel ${channelId}: ${charged}, the highest voucher that bought something is for ${covered}`);
  checkOrder(books, channel, paid);
}

/** Every charge stands on the one before it: nothing was charged twice, nothing is missing. Streams are charged in many steps. */
function checkOrder(books: Books, { channelId, opening }: ChannelRow, paid: readonly PaymentRow[]): void {
  if (paid.some(({ streamed }) => streamed)) return;
  let before = opening;
  for (const row of paid.toSorted((a, b) => (a.cumulative < b.cumulative ? -1 : 1))) {
    if (row.cumulative - row.charged !== before) return books.violate("charges do not follow each other", `${row.paymentId} went from ${row.cumulative - row.charged} to ${row.cumulative}, the channel ${channelId} was at ${before}`, { paymentId: row.paymentId });
    before = row.cumulative;
  }
  const vouchers = paid.map(({ ceiling }) => String(ceiling));
  if (new Set(vouchers).size !== vouchers.length) books.violate("one voucher bought two answers", `channel ${channelId}`);
}

/** Work that nobody paid for is bounded. */
export function checkUnbilled(books: Books, runsOf: RunsOf, most: number): void {
  for (const [payer, purchases] of Map.groupBy(books.purchases.filter(({ kind }) => kind === "failing"), ({ payer }) => payer)) {
    const runs = purchases.filter(({ attempts }) => !attempts.some(isSale)).reduce((total, { tag }) => total + runsOf(tag).length, 0);
    if (runs > most) books.violate("unbilled runs without bound", `${payer} caused ${runs} upstream runs that nobody paid for; at most ${most} could be under the limit`);
  }
}

/** A second reading: asking again must have changed nothing. */
export function checkUnchanged(books: Books, before: readonly PaymentRow[], after: readonly PaymentRow[]): void {
  const known = new Map(before.map((row) => [row.paymentId, row]));
  for (const row of after) {
    const was = known.get(row.paymentId)?.charged ?? 0n;
    if (row.charged !== was) books.violate("charged again", `${row.paymentId}: ${was} before its answers were fetched again, ${row.charged} after`, { paymentId: row.paymentId });
  }
}
