// Runs load on a server and says what it took; afterwards, whether the money adds up.
import type { Finished, Job, Measured } from "./job.ts";
import { cpuOfTree, type Part } from "./processes.ts";
import { PRICE, sum, type LoadServer, type ServerName, type Settled } from "./servers.ts";
import type { World } from "./world.ts";

export type Row = Omit<Measured, "requests"> & {
  server: ServerName;
  /** What was asked for: paid calls, of which every one asks ours for its signed receipt (a stock server has none), the same without receipts, or the free route. */
  route: "paid" | "paid, no receipt" | "free";
  processes: number;
  inFlight: number;
  /** Requests in one measured run. */
  n: number;
  /** Of all server processes, user and system. */
  cpuMsPerRequest: number;
  /** Of PostgreSQL, where it runs here. */
  postgresCpuMsPerRequest: number | undefined;
  rssMiB: number;
  receiptsChecked: number;
};

export type Load = { route: Row["route"]; inFlight: number; requests: number; warmUp: number; /** Receipts to check; a stock server gives none. */ receipts: number };

/** A measured run ends then, whatever it was asked for. */
const AT_MOST_S = 20;

/** One measured run. The channels are moved on by what they signed. */
export async function measure(world: World, client: Part, server: LoadServer, load: Load): Promise<Row> {
  const paid = load.route !== "free";
  const job: Job = {
    origins: server.origins,
    path: paid ? server.path : server.freePath,
    terms: paid ? server.terms.accepted : undefined,
    price: PRICE,
    channels: server.channels,
    inFlight: load.inFlight,
    warmUp: load.warmUp,
    requests: load.requests,
    atMostS: AT_MOST_S,
    receipts: load.route === "paid" && server.name === "tallystick" ? load.receipts : 0,
    receiptEach: load.route === "paid" && server.name === "tallystick",
  };
  await client.ask("prepare", job);
  const before = await usage(world, server);
  const { requests, ...measured } = await client.ask<Measured>("run");
  const after = await usage(world, server);
  const perRequest = (from: number | undefined, to: number | undefined) => (from === undefined || to === undefined ? undefined : Math.round(((to - from) / requests) * 10_000) / 10_000);
  const { receiptsChecked, signed } = await client.ask<Finished>("finish");
  for (const channel of server.channels) channel.signed = signed.get(channel.channelId)!;
  return {
    server: server.name, route: load.route, processes: server.parts.length, inFlight: load.inFlight, n: requests, ...measured,
    cpuMsPerRequest: perRequest(before.cpuMs, after.cpuMs)!,
    postgresCpuMsPerRequest: server.name === "stock" ? undefined : perRequest(before.postgresCpuMs, after.postgresCpuMs),
    rssMiB: Math.round(after.rssBytes / 2 ** 20),
    receiptsChecked,
  };
}

async function usage(world: World, server: LoadServer) {
  const [postgresCpuMs, ...own] = await Promise.all([
    world.postgresPid === undefined ? undefined : cpuOfTree(world.postgresPid),
    ...server.parts.map((part) => part.usage()),
  ] as const);
  return { postgresCpuMs, cpuMs: own.reduce((total, { cpuMs }) => total + cpuMs, 0), rssBytes: own.reduce((total, { rssBytes }) => total + rssBytes, 0) };
}

export type Sums = { server: ServerName; channels: number; signedAtomic: string; chargedAtomic: string; claimedAtomic: string; paidOutAtomic: string; chargedPayments?: number; agree: boolean };

/** Claims everything on chain and compares, channel by channel: signed by the client = charged by the server = claimed on chain. */
export async function settleAndCompare(server: LoadServer): Promise<Sums> {
  const settled = await server.settle();
  const differing = server.channels.filter((channel) => !agrees(channel.signed, settled, channel.channelId));
  const signed = sum(server.channels.map((channel) => channel.signed));
  const { receiver, claimed } = settled.onChain;
  const payments = settled.payments;
  const agree = differing.length === 0 && receiver.claimed === signed && receiver.settled === signed && (payments === undefined || BigInt(payments) * PRICE === signed);
  return {
    server: server.name, channels: server.channels.length, signedAtomic: signed.toString(),
    chargedAtomic: sum(settled.charged.values()).toString(), claimedAtomic: sum(claimed.values()).toString(), paidOutAtomic: receiver.settled.toString(),
    ...(payments === undefined ? {} : { chargedPayments: payments }), agree,
  };
}

function agrees(signed: bigint, { charged, onChain }: Settled, channelId: LoadServer["channels"][number]["channelId"]): boolean {
  return (charged.get(channelId) ?? 0n) === signed && (onChain.claimed.get(channelId) ?? 0n) === signed;
}

/** The middle of each figure over the rounds; rows of one kind only. */
export function medianRow(rows: Row[]): Row {
  const [first] = rows;
  if (first === undefined) throw new Error("no rounds");
  const figures = ["n", "seconds", "rps", "p50Ms", "p99Ms", "maxMs", "cpuMsPerRequest", "postgresCpuMsPerRequest", "clientCpuMsPerRequest", "rssMiB"] as const;
  const middle = (figure: (typeof figures)[number]) => rows.map((row) => row[figure]).filter((value) => value !== undefined).toSorted((a, b) => a - b)[Math.floor(rows.length / 2)];
  const receiptsChecked = rows.reduce((total, row) => total + row.receiptsChecked, 0);
  return { ...first, ...(Object.fromEntries(figures.map((figure) => [figure, middle(figure)])) as Pick<Row, (typeof figures)[number]>), receiptsChecked };
}
