// Sells an answer that passes as it is written. Fixed price: charged before the first byte. Metered: charged step by step.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { EVENT } from "../../telemetry/log.ts";
import { isEventStream } from "../streams/logic.ts";
import { endStream, leaseMsOf, passFixed, passMetered, type Running } from "../streams/service.ts";
import { createSink } from "../streams/sink.ts";
import * as store from "../streams/store.ts";
import type { GatewayDeps, OpenPayment, Sale, StreamSale } from "./rail.ts";
import type { Service } from "./store.ts";
import type { Call, UpstreamRun } from "./upstream.ts";

/** A rail's part and the gateway's, for one stream. */
type Selling = { deps: GatewayDeps; service: Service; payment: OpenPayment; sale: StreamSale; run: UpstreamRun; running: Running };

/** Charges or opens the stream, then hands out its head; the body follows by itself. @throws TallystickError 503 `reservation_expired`. */
export async function deliverStream(deps: GatewayDeps, service: Service, call: Call, payment: OpenPayment, sale: StreamSale, run: UpstreamRun): Promise<Sale> {
  const live = call.streams;
  if (live === undefined) throw new Error("invariant: only calls that take streams get them");
  if (call.signal.aborted) throw new TallystickError({ code: "client_gone", status: 499, retry: "safe", detail: "The client closed the connection; nothing was charged." });
  live.stopping.addEventListener("abort", run.stop);
  const { paymentId } = payment;
  const sink = createSink(call.signal, service.upstreamTimeoutMs);
  const running: Running = { paymentId, upstream: run.body, stopUpstream: run.stop, sink, stopping: live.stopping, leaseMs: leaseMsOf(service.upstreamTimeoutMs) };
  const selling: Selling = { deps, service, payment, sale, run, running };
  try {
    const metered = call.metered === true && service.stream !== undefined && isEventStream(run.headers) && run.headers["content-encoding"] === undefined && !sale.owed;
    const begun = metered ? await beginMetered(selling, service.stream!.unitPrice) : await beginFixed(selling);
    deps.reached("stream.opened");
    deps.log.info({ event: EVENT.streamBegun, paymentId, service: service.name, metered }, "an answer passes as it is written");
    deps.metrics.payments.inc({ outcome: "streamed" });
    live.run(begun.pass().finally(() => live.stopping.removeEventListener("abort", run.stop)));
    return { answer: { status: run.status, headers: begun.headers, body: Buffer.alloc(0) }, settlement: begun.settlement, paymentId, live: sink.body };
  } catch (error) {
    run.stop();
    throw error;
  }
}

type Begun = { headers: Sale["answer"]["headers"]; settlement: Sale["settlement"]; pass(): Promise<void> };

async function beginFixed({ deps, payment, sale, run, running }: Selling): Promise<Begun> {
  const { paymentId } = payment;
  // What is paid for is delivered, whether its buyer waits or fetches it later.
  run.detach();
  const head = { paymentId, unitPrice: undefined, status: run.status, headers: run.headers, startedAt: run.startedAt };
  if (sale.owed) await store.replaceHead(deps.db, head);
  const standing = sale.owed ? await store.fixedStanding(deps.db, paymentId) : await store.beginFixed(deps.db, head, run.amount, running.leaseMs);
  if (standing === undefined) throw expired();
  if (!sale.owed) deps.metrics.chargedAtomic.inc(Number(standing.charged));
  return { headers: run.headers, settlement: await sale.settlement(standing.charged, standing.cumulative), pass: () => passFixed(deps, running) };
}

async function beginMetered({ deps, payment, sale, run, running }: Selling, unitPrice: bigint): Promise<Begun> {
  const { paymentId } = payment;
  const head = { paymentId, unitPrice, status: run.status, headers: run.headers, startedAt: run.startedAt };
  const funds = (await store.beginMetered(deps.db, head, running.leaseMs)) ? await store.standing(deps.db, paymentId) : undefined;
  if (funds === undefined) throw expired();
  return {
    headers: { ...run.headers, "tallystick-stream": "metered" },
    settlement: await sale.settlement(0n, funds.cumulative),
    pass: () => passMetered(deps, { ...running, unitPrice, funds, receipt: sale.receipt }),
  };
}

/** An owed answer that is no stream after all. */
export async function endOwed(deps: GatewayDeps, paymentId: string, head: store.StreamHead, body: Buffer, leaseMs: number): Promise<boolean> {
  await store.replaceHead(deps.db, head);
  if (!(await store.keep(deps.db, paymentId, deps.vault.seal(paymentId, body), leaseMs))) return false;
  await endStream(deps, paymentId, "complete");
  return true;
}

function expired(): TallystickError {
  return new TallystickError({ code: "reservation_expired", status: 503, retry: "safe", detail: "The answer came after the reservation had run out; nothing was charged." });
}
