// A relayer that sells streams: service `words`, 1000 atomic units a call, 10 a unit, in front of an upstream that tests drive by hand.
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { pad, parseUnits, toHex, type Hex } from "viem";
import { findChannel, type Channel } from "../../relayer/src/capabilities/channels/store.ts";
import { SseSplitter, type SseEvent } from "../../sdk/src/sse.ts";
import { encodeHeader, manualBuyer } from "./buyer.ts";
import { addressOf, ROLE } from "./config.ts";
import { startTestWorld, type TestWorld } from "./relayer.ts";
import { startStreamProvider, type StreamProvider } from "./stream-provider.ts";

export const PRICE = 1000n;
export const UNIT = 10n;
export const UPSTREAM_TIMEOUT_MS = 5_000;

export type StreamWorld = { world: TestWorld; upstream: StreamProvider; services: string; stop(): Promise<void> };

export async function startStreamWorld(): Promise<StreamWorld> {
  const upstream = await startStreamProvider();
  const service = { name: "words", origin: upstream.origin, receiver: addressOf(ROLE.receiver), priceAtomic: String(PRICE), upstreamTimeoutMs: UPSTREAM_TIMEOUT_MS };
  const services = JSON.stringify([{ ...service, streamUnit: "token", streamPriceAtomic: String(UNIT) }, { ...service, name: "whole" }]);
  const world = await startTestWorld({ env: { RELAYER_SERVICES: services, RELAYER_MAX_UNBILLED_RUNS: "1000" } });
  await world.chain.mintUSDC(world.chain.account(1).address, parseUnits("100", 6));
  return {
    world, upstream, services,
    async stop() {
      await world.stop();
      await upstream.stop();
    },
  };
}

let salts = 0;

/** A funded channel with nothing charged. */
export async function openedChannel({ world }: StreamWorld, deposit = 1_000n * PRICE) {
  const url = (path: string, service = "words", origin = world.url) => `${origin}/s/${service}${path}`;
  const buyer = manualBuyer(world.chain.account(1), url("/"), pad(toHex(BigInt(Date.now()) * 1_000n + BigInt(++salts))));
  const terms = await buyer.terms();
  const channelId = buyer.channelId(terms);
  const first = await buyer.send(await buyer.depositPayment(terms, deposit, PRICE), {}, url("/first"));
  expect(first.status, await first.text()).to.equal(200);
  const state = async (): Promise<Channel> => (await findChannel(world.relayer.deps.db, channelId))!;
  /** Asks for a stream; the voucher's ceiling is above what the first call cost. */
  const ask = async (path: string, ceiling: bigint, options: { metered?: boolean; service?: string; origin?: string; signal?: AbortSignal; payment?: unknown } = {}) => {
    const payment = options.payment ?? (await buyer.voucherPayment({ ...terms, accepts: [{ ...terms.accepts[0], extra: { ...terms.accepts[0].extra, paymentId: freshId() } }] }, ceiling));
    const headers = { "payment-signature": encodeHeader(payment), ...(options.metered === false ? {} : { "tallystick-stream": "metered" }) };
    return fetch(url(path, options.service, options.origin), { headers, ...(options.signal === undefined ? {} : { signal: options.signal }) });
  };
  const voucher = async (paymentId: string, ceiling: bigint, more: { amount?: bigint; signature?: Hex; origin?: string } = {}) => {
    const { maxClaimableAmount, signature } = await buyer.voucher(channelId, ceiling);
    const body = { maxClaimableAmount, signature: more.signature ?? signature, ...(more.amount === undefined ? {} : { amount: String(more.amount) }) };
    return fetch(`${more.origin ?? world.url}/api/v1/streams/${paymentId}/vouchers`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  };
  return { buyer, terms, channelId, url, state, ask, voucher, charged: async () => (await state()).charged - PRICE };
}

export const freshId = (): string => `pay_${Date.now().toString(16).padStart(12, "0")}${crypto.randomUUID().replaceAll("-", "").slice(0, 20)}`;

/** Reads events one by one. */
export function eventsOf(response: Response) {
  const reader = response.body!.getReader();
  const splitter = new SseSplitter();
  const ready: SseEvent[] = [];
  const next = async (): Promise<SseEvent | undefined> => {
    while (ready.length === 0) {
      const { done, value } = await reader.read();
      if (done) return undefined;
      ready.push(...splitter.push(value));
    }
    return ready.shift();
  };
  return {
    next,
    async rest(): Promise<SseEvent[]> {
      const all: SseEvent[] = [];
      for (let event = await next(); event !== undefined; event = await next()) all.push(event);
      return all;
    },
    cancel: () => reader.cancel(),
  };
}

export const dataOf = <T = Record<string, string>>(event: SseEvent | undefined): T => JSON.parse(event?.data ?? "null") as T;
export const idIn = (response: Response): string => response.headers.get("tallystick-payment-id")!;

export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await condition()); await sleep(20)) if (Date.now() > deadline) throw new Error(`${what} did not happen in 60 s`);
}

/** Channels of a payer in the ledger. */
export async function listChannels(world: TestWorld, payer: Hex): Promise<{ charged: bigint; reserved: bigint }[]> {
  const { rows } = await world.relayer.deps.db.query<{ charged: bigint; reserved: bigint }>("SELECT charged, reserved FROM channel WHERE payer = $1", [Buffer.from(payer.slice(2), "hex")]);
  return rows;
}
