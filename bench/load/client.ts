// The load client: everything is signed and written down before the clock starts, every answer is checked while it runs. One
// connection a request in flight, kept alive; a channel has one request at a time, as a stock client does.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, type Dispatcher } from "undici";
import { outputHash, receiptSigner, RECEIPT_EXTENSION, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { bodyOf } from "./handler.ts";
import type { Finished, Job, LoadChannel, Measured, Signed } from "./job.ts";
import { answer } from "./part.ts";
import { checkDigests, signVoucher } from "./vouchers.ts";

type Prepared = { path: string; headers: Record<string, string>; /** What has to come back. */ body: string; cumulative: string | undefined; channel: LoadChannel };
type Lane = { clients: Client[]; requests: Prepared[] };
type Answered = { status: number; settlement: string | undefined; contentType: string; body: string };
type Kept = { request: Prepared; answered: Answered };

let job: Job | undefined;
let lanes: Lane[] = [];
let kept: Kept[] = [];
/** The highest voucher that was answered, by channel. */
let signed: Signed = new Map();

answer(undefined, {
  /** Signs, connects and warms up. */
  async prepare(asked: Job): Promise<void> {
    job = asked;
    signed = new Map(job.channels.map((channel) => [channel.channelId, channel.signed]));
    if (job.terms !== undefined) checkDigests(job.channels[0]!);
    await closeAll();
    const count = job.requests + job.warmUp;
    const numbers = new Map<LoadChannel, number>();
    const channels = lanesOf(job.channels, job.inFlight);
    lanes = channels.map((own, lane) => {
      const requests = Array.from({ length: share(count, lane, job!.inFlight) }, (_, turn) => {
        const channel = own[turn % own.length]!;
        const number = (numbers.get(channel) ?? 0) + 1;
        numbers.set(channel, number);
        return prepared(job!, channel, number);
      });
      return { clients: job!.origins.map((origin) => new Client(origin, { pipelining: 1, keepAliveTimeout: 60_000 })), requests };
    });
    await run(lanes.map((lane, index) => ({ ...lane, requests: lane.requests.splice(0, share(job!.warmUp, index, job!.inFlight)) })), []);
    await sleep(50);
  },

  /** The measured part: ends when all is asked, or the time is over. */
  async run(): Promise<Measured> {
    const latencies: number[] = [];
    const { user, system } = process.cpuUsage();
    const started = process.hrtime.bigint();
    await run(lanes, latencies, performance.now() + job!.atMostS * 1000);
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    const spent = process.cpuUsage({ user, system });
    latencies.sort((a, b) => a - b);
    const quantile = (part: number) => rounded(latencies[Math.min(latencies.length - 1, Math.ceil(part * latencies.length) - 1)] ?? 0);
    const requests = latencies.length;
    return { requests, seconds: rounded(seconds), rps: rounded(requests / seconds), p50Ms: quantile(0.5), p99Ms: quantile(0.99), maxMs: quantile(1), clientCpuMsPerRequest: rounded((spent.user + spent.system) / 1000 / requests) };
  },

  /** Checks receipts as a buyer does: who signed, for which answer, which charge. What was signed so far goes with it. */
  async finish(): Promise<Finished> {
    for (const one of kept) await checkReceipt(one);
    await closeAll();
    return { receiptsChecked: kept.splice(0).length, signed };
  },
});

const rounded = (value: number): number => Math.round(value * 1000) / 1000;

/** How many of `count` fall to that lane. */
function share(count: number, lane: number, of: number): number {
  return Math.floor(count / of) + (lane < count % of ? 1 : 0);
}

function lanesOf(channels: LoadChannel[], inFlight: number): LoadChannel[][] {
  if (inFlight > channels.length) throw new Error("more in flight than channels: a stock server takes one of each at a time");
  return Array.from({ length: inFlight }, (_, lane) => channels.filter((_channel, index) => index % inFlight === lane));
}

function prepared({ path: base, terms, price, origins, receiptEach }: Job, channel: LoadChannel, number: number): Prepared {
  const path = terms === undefined ? base : `${base}/${channel.channelId.slice(2, 10)}/${channel.signed / price + BigInt(number)}`;
  if (terms === undefined) return { path, headers: {}, body: "", cumulative: undefined, channel };
  const ceiling = channel.signed + price * BigInt(number);
  const extra = terms["extra"] as Record<string, unknown>;
  // As our SDK does where the server mints ids: each payment its own. A stock server mints none.
  const accepted = extra["paymentId"] === undefined ? terms : { ...terms, extra: { ...extra, paymentId: `pay_${randomBytes(16).toString("hex")}` } };
  const voucher = { channelId: channel.channelId, maxClaimableAmount: ceiling.toString(), signature: signVoucher(channel, ceiling) };
  const payment = { x402Version: 2, accepted, resource: { url: origins[0] + path }, payload: { type: "voucher", channelConfig: channel.config, voucher }, ...(receiptEach ? { extensions: { [RECEIPT_EXTENSION]: {} } } : {}) };
  return { path, headers: { "payment-signature": Buffer.from(JSON.stringify(payment)).toString("base64") }, body: bodyOf(path.slice(base.length)), cumulative: ceiling.toString(), channel };
}

async function run(over: Lane[], latencies: number[], deadline = Infinity): Promise<void> {
  const every = Math.max(1, Math.floor(job!.requests / Math.max(1, job!.receipts)));
  let asked = 0;
  await Promise.all(
    over.map(async ({ clients, requests }, lane) => {
      for (const [turn, request] of requests.entries()) {
        if (performance.now() > deadline) break;
        const started = process.hrtime.bigint();
        const answered = await ask(clients[(lane + turn) % clients.length]!, request);
        latencies.push(Number(process.hrtime.bigint() - started) / 1e6);
        check(request, answered);
        if (request.cumulative !== undefined) signed.set(request.channel.channelId, BigInt(request.cumulative));
        if (job!.receipts > 0 && asked++ % every === 0) kept.push({ request, answered });
      }
    }),
  );
}

function ask(client: Client, { path, headers }: Prepared): Promise<Answered> {
  return new Promise((done, failed) => {
    const answered: Answered = { status: 0, settlement: undefined, contentType: "", body: "" };
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart() {},
      onResponseStart(_controller, status, received) {
        answered.status = status;
        answered.settlement = received["payment-response"] as string | undefined;
        answered.contentType = String(received["content-type"] ?? "");
      },
      onResponseData(_controller, chunk) {
        answered.body += chunk.toString();
      },
      onResponseEnd: () => done(answered),
      onResponseError: (_controller, error) => failed(error),
    };
    client.dispatch({ path, method: "GET", headers }, handler);
  });
}

type Settlement = { success?: boolean; extra?: { channelState?: { chargedCumulativeAmount?: string } }; extensions?: Record<string, { info: { receipt: SignedReceipt } }> };
const settlementOf = (header: string): Settlement => JSON.parse(Buffer.from(header, "base64").toString()) as Settlement;

/** @throws when an answer is not what was paid for. */
function check({ path, body, cumulative }: Prepared, answered: Answered): void {
  const wrong = (what: string) => new Error(`${path}: ${what} (${answered.status}: ${answered.body.slice(0, 400)})`);
  if (answered.status !== 200) throw wrong("not 200");
  if (cumulative === undefined) return;
  if (answered.body !== body) throw wrong("another body");
  if (answered.settlement === undefined) throw wrong("no PAYMENT-RESPONSE");
  const { success, extra } = settlementOf(answered.settlement);
  if (success !== true) throw wrong("not settled");
  const charged = extra?.channelState?.chargedCumulativeAmount;
  if (charged !== cumulative) throw wrong(`charged ${charged} so far instead of ${cumulative}`);
}

async function checkReceipt({ request, answered }: Kept): Promise<void> {
  const wrong = (what: string) => new Error(`receipt of ${request.path}: ${what}`);
  const receipt = settlementOf(answered.settlement!).extensions?.[RECEIPT_EXTENSION]?.info.receipt;
  if (receipt === undefined) throw wrong("missing");
  const { payload } = receipt;
  if ((await receiptSigner(receipt)) !== request.channel.config.receiverAuthorizer) throw wrong("not signed by the receiverAuthorizer");
  if (payload.channelId !== request.channel.channelId || payload.cumulative !== request.cumulative || payload.amount !== job!.price.toString()) throw wrong("of another charge");
  const delivered = outputHash({ status: answered.status, contentType: answered.contentType, body: Buffer.from(answered.body) });
  if (payload.outputHash !== delivered) throw wrong("of another answer");
}

async function closeAll(): Promise<void> {
  await Promise.all(lanes.flatMap(({ clients }) => clients.map((client) => client.close())));
  lanes = [];
}
