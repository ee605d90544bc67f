// A streamed answer on its way from the upstream to the buyer. What costs money is committed, with its bytes, before it leaves.
import { setTimeout as sleep } from "node:timers/promises";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { SseSplitter, writeEvent, type SseEvent } from "../../../../sdk/src/sse.ts";
import type { SignedReceipt } from "../../../../sdk/src/receipt.ts";
import { inTransaction, type Queryable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { sealAnswer } from "../ledger/answer-store.ts";
import { insertOutbox } from "../audit/store.ts";
import { answerHash } from "../ledger/logic.ts";
import { affordable, type EndReason } from "./logic.ts";
import type { Sink } from "./sink.ts";
import * as store from "./store.ts";

export type StreamDeps = Pick<Deps, "config" | "db" | "log" | "metrics" | "now" | "reached" | "vault">;

/** A stream that has begun. */
export type Running = {
  paymentId: string;
  upstream: AsyncIterable<Buffer>;
  /** Closes the upstream's connection. */
  stopUpstream(): void;
  sink: Sink;
  /** The relayer is about to stop. */
  stopping: AbortSignal;
  leaseMs: number;
};

export type Metered = Running & {
  unitPrice: bigint;
  funds: store.Standing;
  /** For the last event. */
  receipt(): Promise<SignedReceipt | undefined>;
};

/** How long a stream waits for a voucher before it stops. */
export const VOUCHER_WAIT_MS = 10_000;
const VOUCHER_POLL_MS = 25;
/** A stream may be silent for the service's time limit and wait for a voucher; then another process may end it. */
const LEASE_MARGIN_MS = 15_000;
/** How often the upstream runs for one fixed price when it breaks off. */
export const MAX_RUNS = 5;

export const NEED_VOUCHER_EVENT = "tallystick-need-voucher";
export const FINAL_EVENT = "tallystick-final";

export const leaseMsOf = (upstreamTimeoutMs: number): number => upstreamTimeoutMs + VOUCHER_WAIT_MS + LEASE_MARGIN_MS;

/** Passes a paid stream on. A buyer that left can fetch it later, so it is read to its end all the same. */
export async function passFixed(deps: StreamDeps, running: Running): Promise<void> {
  const { paymentId, upstream, sink } = running;
  let reason: EndReason = "complete";
  try {
    for await (const chunk of upstream) {
      if (!(await store.keep(deps.db, paymentId, deps.vault.seal(paymentId, chunk), running.leaseMs))) throw lost(paymentId);
      await sink.send(chunk);
    }
  } catch (error) {
    reason = reasonOf(running, error);
    deps.log.warn({ event: EVENT.streamBroken, paymentId, err: error }, "a stream broke off");
  }
  await endStream(deps, paymentId, reason);
  if (reason === "complete") sink.end();
  else sink.breakOff();
}

/** Passes a stream on step by step, as far as the money goes. */
export async function passMetered(deps: StreamDeps, running: Metered): Promise<void> {
  const { paymentId, sink } = running;
  let reason: EndReason;
  try {
    reason = await steps(deps, running);
  } catch (error) {
    reason = sink.gone.aborted ? "client_gone" : reasonOf(running, error);
    if (reason !== "client_gone") deps.log.warn({ event: EVENT.streamBroken, paymentId, err: error }, "a stream broke off");
  }
  running.stopUpstream();
  await endStream(deps, paymentId, reason);
  await sink.send(await finalEvent(deps, running, reason));
  sink.end();
}

/** @returns why there are no more steps. @throws what the upstream or the ledger failed with. */
async function steps(deps: StreamDeps, running: Metered): Promise<EndReason> {
  const splitter = new SseSplitter();
  for await (const chunk of running.upstream) {
    // All that is ready goes into one commit.
    const over = await sell(deps, running, splitter.push(chunk));
    if (over !== undefined) return over;
  }
  return running.sink.gone.aborted ? "client_gone" : "complete";
}

async function sell(deps: StreamDeps, running: Metered, ready: SseEvent[]): Promise<EndReason | undefined> {
  for (let events = ready; events.length > 0; ) {
    if (running.sink.gone.aborted) return "client_gone";
    const batch = affordable(events, running.unitPrice, running.funds);
    if (batch.paid.length > 0) {
      const body = Buffer.concat(batch.paid.map(({ raw }) => raw));
      const after = await store.charge(deps.db, running.paymentId, { amount: batch.amount, units: batch.units, sealed: deps.vault.seal(running.paymentId, body) }, running.leaseMs);
      if (after === undefined) throw lost(running.paymentId);
      deps.reached("stream.charged");
      running.funds = after;
      deps.metrics.chargedAtomic.inc(Number(batch.amount));
      if (!(await running.sink.send(body))) return "client_gone";
    }
    events = batch.rest;
    if (events.length === 0) return undefined;
    if (batch.refused) return "upstream_broken";
    const ended = await waitForMoney(deps, running, batch.needed);
    if (ended !== undefined) return ended;
  }
  return undefined;
}

/** Asks for a voucher and waits a while. It may reach any process, so the row is what tells. @returns why the stream ends, or undefined. */
async function waitForMoney(deps: StreamDeps, running: Metered, needed: bigint): Promise<EndReason | undefined> {
  const { paymentId, sink, funds } = running;
  const covers = ({ allowance, charged }: store.Standing) => allowance - charged >= needed;
  const ask = { paymentId, charged: String(funds.charged), allowance: String(funds.allowance), needed: String(needed) };
  const deadline = Date.now() + VOUCHER_WAIT_MS;
  for (let asked = false; ; ) {
    const now = await store.standing(deps.db, paymentId);
    if (now === undefined) throw lost(paymentId);
    running.funds = now;
    if (covers(now)) return undefined;
    if (!asked && !(await sink.send(writeEvent(NEED_VOUCHER_EVENT, JSON.stringify(ask))))) return "client_gone";
    asked = true;
    if (sink.gone.aborted) return "client_gone";
    if (running.stopping.aborted) return "relayer_lost";
    if (Date.now() > deadline) return "money";
    await sleep(VOUCHER_POLL_MS);
  }
}

async function finalEvent(deps: StreamDeps, running: Metered, reason: EndReason): Promise<Uint8Array> {
  const { paymentId } = running;
  const { charged, cumulative } = running.funds;
  // A receipt that cannot be made now can be fetched later; the stream is charged all the same.
  const receipt = await running.receipt().catch((err: unknown) => void deps.log.warn({ event: EVENT.failure, paymentId, err }, "no receipt with the last event"));
  return writeEvent(FINAL_EVENT, JSON.stringify({ paymentId, charged: String(charged), cumulative: String(cumulative), reason, ...(receipt === undefined ? {} : { receipt }) }));
}

function reasonOf({ stopping }: Running, error: unknown): EndReason {
  return stopping.aborted || (error instanceof TallystickError && error.code === "stream_lost") ? "relayer_lost" : "upstream_broken";
}

/** Its lease ran out, and another process ended it. */
function lost(paymentId: string): TallystickError {
  return new TallystickError({ code: "stream_lost", status: 503, retry: "safe", detail: `Stream ${paymentId} was ended by another process.` });
}

/** Everything that was committed of a stream, in order. */
async function committed({ vault }: StreamDeps, client: Queryable, paymentId: string): Promise<Buffer> {
  const chunks = await store.committed(client, paymentId);
  return Buffer.concat(chunks.map(({ body, sealed }) => (sealed ? vault.open(paymentId, body) : body)));
}

/** Stores what was committed as the answer and gives back what is left. Safe to call twice; what fails here is done by the sweeper. */
export async function endStream(deps: StreamDeps, paymentId: string, reason: EndReason): Promise<void> {
  try {
    await inTransaction(deps.db, async (client) => {
      const stream = await store.lockOpen(client, paymentId);
      if (stream === undefined) return;
      const body = await committed(deps, client, paymentId);
      // A fixed price buys a whole answer: a broken one is run again when the payment is sent again. How often the service may break it off
      // is bounded; a relayer that died counts for nothing.
      const whole = stream.unitPrice === undefined ? reason === "complete" || (reason === "upstream_broken" && stream.runs >= MAX_RUNS) : reason === "complete" || body.length > 0;
      const answer = whole ? { sealed: sealAnswer(deps, paymentId, { headers: stream.headers, body }), outputHash: answerHash({ status: stream.status, headers: stream.headers, body }) } : undefined;
      await store.end(client, paymentId, { reason, endedAt: deps.now(), answer }, deps.config.limits.answerTtlS);
      if (reason === "complete" || reason === "client_gone") return;
      const { channelId, payer, service, runs } = stream;
      await insertOutbox(client, [{ kind: "stream.broken", subject: paymentId, rule: `stream_${reason}`, payer, data: { runs, bytes: body.length, owed: stream.unitPrice === undefined, service, channelId } }]);
    });
    deps.reached("stream.ended");
    deps.log.info({ event: EVENT.streamEnded, paymentId, reason }, "stream ended");
  } catch (err) {
    deps.log.warn({ event: EVENT.failure, paymentId, reason, err }, "stream not ended yet; its lease runs out");
  }
}

/** Ends what died with its process. Runs every few seconds in every process. */
export async function sweepStreams(deps: StreamDeps): Promise<void> {
  for (const paymentId of await store.findAbandoned(deps.db, 100)) await endStream(deps, paymentId, "relayer_lost");
}

/** Streams of this process: told to stop, and waited for. */
export type LiveStreams = { stopping: AbortSignal; run(work: Promise<void>): void; stop(): void; ended(): Promise<void> };

export function createLiveStreams(): LiveStreams {
  const stopping = new AbortController();
  const running = new Set<Promise<void>>();
  return {
    stopping: stopping.signal,
    run(work) {
      running.add(work);
      void work.finally(() => running.delete(work));
    },
    stop: () => stopping.abort(),
    ended: async () => void (await Promise.allSettled(running)),
  };
}
