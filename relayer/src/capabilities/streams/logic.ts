// What a streamed answer costs and how far its money goes. Pure.
import type { SseEvent } from "../../../../sdk/src/sse.ts";

/** Why a stream ended. `relayer_lost`: its process died or was stopped; another one ended it. */
export type EndReason = "complete" | "money" | "upstream_broken" | "client_gone" | "relayer_lost";

/** Atomic units: what the stream may charge in all, and has charged. */
export type Funds = { allowance: bigint; charged: bigint };

/** More than any one event is worth: a larger number is a provider's mistake, or its greed. */
export const MAX_UNITS_PER_EVENT = 10_000;

const OURS = /^tallystick-/;

/** Undefined when the answer is no stream: then it is read whole, charged and sent. */
export function isStreaming(method: string, status: number, headers: Record<string, string | string[]>): boolean {
  if (method === "HEAD" || status < 200 || status >= 300 || status === 204) return false;
  return isEventStream(headers) || String(headers["tallystick-stream"] ?? "") === "1";
}

export function isEventStream(headers: Record<string, string | string[]>): boolean {
  return /^text\/event-stream\s*(;|$)/i.test(String(headers["content-type"] ?? ""));
}

/**
 * Units of one event: what its `tallystick-units` field says, else one when it carries data, else none.
 * @returns undefined for an event that a provider may not send: units that are no number or too many, or an event of ours.
 */
export function unitsOf({ event, data, units }: SseEvent): number | undefined {
  if (OURS.test(event)) return undefined;
  if (units === undefined) return data === undefined ? 0 : 1;
  return units <= MAX_UNITS_PER_EVENT ? units : undefined;
}

/** Events that are paid for together, and what is left. */
export type Batch = { paid: SseEvent[]; units: number; amount: bigint; rest: SseEvent[]; /** Cost of the first of `rest`. */ needed: bigint; /** The first of `rest` may not be sent at all. */ refused: boolean };

/** As many events, in order, as the money covers: one commit for all of them. */
export function affordable(events: readonly SseEvent[], unitPrice: bigint, { allowance, charged }: Funds): Batch {
  const room = allowance - charged;
  let units = 0;
  for (const [index, event] of events.entries()) {
    const own = unitsOf(event);
    const cost = own === undefined ? 0n : unitPrice * BigInt(units + own);
    if (own === undefined || cost > room) {
      const needed = own === undefined ? 0n : unitPrice * BigInt(own);
      return { paid: events.slice(0, index), units, amount: unitPrice * BigInt(units), rest: events.slice(index), needed, refused: own === undefined };
    }
    units += own;
  }
  return { paid: [...events], units, amount: unitPrice * BigInt(units), rest: [], needed: 0n, refused: false };
}
