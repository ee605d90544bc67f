// The two servers under load, ours and the stock one, in the same shape: where to ask, what was charged, how it is claimed.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Hex } from "viem";
import { openPool } from "../../relayer/src/db/pool.ts";
import { startRelayer } from "../../scripts/local/relayer.ts";
import { freePort } from "../../scripts/local/process.ts";
import { addressOf, keyOf, testEnvironment } from "../../test/support/config.ts";
import type { LoadChannel } from "./job.ts";
import { readLedger } from "./ledger-store.ts";
import { startPart, type Cores, type Part } from "./processes.ts";
import { openChannels, readChannels, termsOf, type OnChain, type Terms, type World } from "./world.ts";

export type ServerName = "tallystick" | "stock";

export type LoadServer = {
  name: ServerName;
  /** One for each process. */
  parts: Part[];
  origins: string[];
  /** Everything below it is sold. */
  path: string;
  /** Costs nothing. */
  freePath: string;
  terms: Terms;
  channels: LoadChannel[];
  /** Claims what was charged, and tells what the server charged and what the chain has. */
  settle(): Promise<Settled>;
  stop(): Promise<void>;
};

export type Settled = { charged: Map<Hex, bigint>; onChain: OnChain; /** Answers that were charged, where the server keeps them. */ payments: number | undefined };

export const SERVICE = "bench";
/** Atomic units a call: 0.0001 USDC. */
export const PRICE = 100n;
/** What each buyer puts into its channel, atomic units: enough for a million calls. */
const DEPOSIT = PRICE * 1_000_000n;
/** Blocks on top of the deposits before anybody is asked: more than any depth that is waited for. */
const BLOCKS_AFTER_DEPOSITS = 12;
/** The peer's own, so that nobody sees another's payouts. */
const STOCK = { authorizer: 9, receiver: 30 } as const;

export type ServerOptions = { world: World; cores: Cores; channels: number; /** Where calls are passed on to; a function of the server when left out. */ upstream?: string; env?: Record<string, string>; /** A database that is there already, and the channels that are. */ databaseUrl?: string; opened?: Opened };

export type Opened = Pick<LoadServer, "terms" | "channels">;

/** As many relayer processes over one database as there are cores given. They only serve; a worker claims afterwards. */
export async function startTallystick({ world, cores, channels, upstream, env: extra = {}, databaseUrl, opened: earlier }: ServerOptions): Promise<LoadServer> {
  const database = databaseUrl ?? (await world.postgres.database("bench_tallystick", { fresh: true }));
  const origin = upstream ?? "http://127.0.0.1:1"; // a function answers: never asked
  const services = [{ name: SERVICE, origin, priceAtomic: PRICE.toString(), description: "benchmark" }];
  // As shipped, but for what a local world needs: keys, services, and a provider on a private address.
  const { RELAYER_CHAIN_POLL_MS: _short, RELAYER_LOG_LEVEL: _silent, ...local } = testEnvironment(database, world.chain.url, services);
  const parts: Part[] = [];
  for (const [index, own] of cores.servers.entries()) {
    const env = { ...local, RELAYER_PORT: String(await freePort()), RELAYER_ROLE: "server", ...extra };
    const options = { env, ...(upstream === undefined ? { inProcess: SERVICE } : {}) };
    parts.push(await startPart({ script: "./tallystick.ts", options, cores: own, logFile: join(world.folder, `tallystick-${index}.log`) }));
  }
  const origins = parts.map(({ ready }) => ready as string);
  const path = `/s/${SERVICE}`;
  const opened = earlier ?? (await withChannels(world, `${origins[0]}${path}/`, "tallystick", channels));
  return {
    name: "tallystick", parts, origins, path, freePath: "/healthz", ...opened,
    async settle() {
      const logFile = join(world.folder, "worker.log");
      const worker = await startRelayer({ env: { ...local, ...extra, RELAYER_ROLE: "worker", RELAYER_SETTLE_MAX_AGE_S: "0" }, logFile });
      const db = openPool(database, 2);
      try {
        const { charged, reserved, chargedPayments, otherPayments } = await readLedger(db, opened.channels.map(({ channelId }) => channelId));
        if (reserved !== 0n || otherPayments !== 0n) throw new Error(`the ledger still holds ${reserved} reserved and ${otherPayments} payments that are not charged`);
        const total = sum(charged.values());
        const onChain = await eventually(() => readChannels(world, opened.channels), ({ receiver }) => receiver.claimed >= total && receiver.settled >= total);
        return { charged, onChain, payments: Number(chargedPayments) };
      } finally {
        await db.end();
        await worker.stop();
      }
    },
    stop: () => stopAll(parts),
  };
}

export async function startStock({ world, cores, channels, upstream }: ServerOptions): Promise<LoadServer> {
  const options = { facilitatorUrl: world.facilitator.url, receiver: addressOf(STOCK.receiver), authorizerKey: keyOf(STOCK.authorizer), price: PRICE.toString(), service: SERVICE, ...(upstream === undefined ? {} : { upstream }) };
  const part = await startPart({ script: "./stock.ts", options, cores: cores.servers[0], logFile: join(world.folder, "stock.log") });
  const origin = part.ready as string;
  const path = `/sold/${SERVICE}`;
  const opened = await withChannels(world, `${origin}${path}/`, "stock", channels);
  return {
    name: "stock", parts: [part], origins: [origin], path, freePath: "/free", ...opened,
    async settle() {
      const charged = await part.ask<Map<Hex, bigint>>("charged");
      await part.ask("claim");
      return { charged, onChain: await readChannels(world, opened.channels), payments: undefined };
    },
    stop: () => part.stop(),
  };
}

async function withChannels(world: World, url: string, name: ServerName, count: number): Promise<Opened> {
  const terms = await termsOf(url);
  const channels = await openChannels(world, terms, name, count, DEPOSIT);
  await world.chain.mineBlocks(BLOCKS_AFTER_DEPOSITS);
  return { terms, channels };
}

async function stopAll(parts: Part[]): Promise<void> {
  await Promise.all(parts.map((part) => part.stop()));
}

export const sum = (amounts: Iterable<bigint>): bigint => [...amounts].reduce((total, amount) => total + amount, 0n);

async function eventually<T>(read: () => Promise<T>, done: (value: T) => boolean, timeoutMs = 120_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await read();
    if (done(value)) return value;
    // What is missing by then is told by the comparison of the sums.
    if (performance.now() > deadline) return value;
    await sleep(200);
  }
}

/** The part that answers for a provider, as a process of its own. */
export async function startUpstream(world: World, cores: string | undefined): Promise<Part> {
  return startPart({ script: "./upstream.ts", options: {}, cores, logFile: join(world.folder, "upstream.log") });
}

export const profileTo = (name: string): string => fileURLToPath(new URL(`../results/${name}`, import.meta.url));
