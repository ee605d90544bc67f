// What every load benchmark stands on: a node with the contracts in place, a durable PostgreSQL, buyers with deposits on chain.
import { chmod, mkdtemp, open, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { keccak256, numberToHex, toHex, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { startPostgres, type LocalPostgres } from "../../scripts/local/postgres.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { requiredOf } from "../../test/support/buyer.ts";
import { startTestChain, type TestChain } from "../../test/support/chain.ts";
import { idOf, Sessions } from "../../test/support/session.ts";
import { startStockFacilitator, type StockFacilitator } from "../../test/support/stock-facilitator.ts";
import type { LoadChannel } from "./job.ts";
import { moveTo } from "./processes.ts";
import { fillWal } from "./wal-store.ts";

/** Accounts of the local mnemonic; the relayer's own roles are in test/support/config.ts. */
const SENDER = 1;
const FACILITATOR = 8;

export type World = {
  chain: TestChain;
  postgres: LocalPostgres;
  facilitator: StockFacilitator;
  /** For logs and profiles. */
  folder: string;
  /** What it takes to have 8 kB on disk, milliseconds, median: below a durable commit nobody can go. */
  fsyncMs: number;
  /** Before this run began: a busy machine shows. */
  loadAverage1Minute: number;
  postgresPid: number | undefined;
  stop(): Promise<void>;
};

/** Everything started from here on runs on `cores`. @param quick on a new PostgreSQL as it comes. */
export async function startBenchWorld(cores: string | undefined, quick = false): Promise<World> {
  moveTo(cores);
  const loadAverage1Minute = Math.round(loadavg()[0]! * 100) / 100;
  const folder = await mkdtemp(join(tmpdir(), "tallystick-bench-"));
  await chmod(folder, 0o711); // started as root, PostgreSQL runs as another user
  const databaseUrl = process.env.DATABASE_URL;
  const [chain, postgres] = await Promise.all([
    startTestChain({ blockTimeMs: 1_000 }),
    startPostgres({ dataDir: join(folder, "postgres"), ...(databaseUrl === undefined ? {} : { databaseUrl }) }),
  ]);
  if (databaseUrl === undefined && !quick) await fillWal(postgres.url);
  const facilitator = await startStockFacilitator(chain.url, chain.account(FACILITATOR));
  return {
    chain, postgres, facilitator, folder, loadAverage1Minute,
    fsyncMs: await measureFsync(join(folder, "fsync")),
    postgresPid: databaseUrl === undefined ? await postgres.pid() : undefined,
    async stop() {
      await Promise.all([facilitator.stop(), chain.stop(), postgres.stop()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function measureFsync(path: string): Promise<number> {
  const file = await open(path, "w");
  const page = Buffer.alloc(8192);
  const times: number[] = [];
  for (let write = 0; write < 100; write++) {
    const started = performance.now();
    await file.write(page, 0, page.length, 0);
    await file.datasync();
    times.push(performance.now() - started);
  }
  await file.close();
  times.sort((a, b) => a - b);
  return Math.round(times[50]! * 1000) / 1000;
}

export type Terms = { accepted: Record<string, unknown>; config(payer: Hex): ChannelConfig };

/** What the server asks for, from its own 402. */
export async function termsOf(url: string): Promise<Terms> {
  const response = await fetch(url);
  if (response.status !== 402) throw new Error(`${url} answered ${response.status} instead of 402: ${await response.text()}`);
  const [accepted] = requiredOf(response).accepts;
  return {
    accepted,
    config: (payer) => ({
      payer, payerAuthorizer: payer, receiver: accepted.payTo, token: accepted.asset,
      receiverAuthorizer: accepted.extra["receiverAuthorizer"] as Hex,
      withdrawDelay: accepted.extra["withdrawDelay"] as number,
      salt: numberToHex(0n, { size: 32 }),
    }),
  };
}

/** Buyers of their own, each with one channel and `deposit` atomic units in it. */
export async function openChannels(world: World, terms: Terms, name: string, count: number, deposit: bigint): Promise<LoadChannel[]> {
  const sessions = new Sessions(world.chain);
  const channels: LoadChannel[] = [];
  for (let index = 0; index < count; index++) {
    const key = keccak256(toHex(`tallystick bench ${name} ${index}`));
    const payer = privateKeyToAccount(key);
    const config = terms.config(payer.address);
    await world.chain.mintUSDC(payer.address, deposit);
    await sessions.deposit(config, payer, deposit, { sender: world.chain.account(SENDER) });
    channels.push({ config, channelId: idOf(config), key, signed: 0n });
  }
  return channels;
}

export type OnChain = { claimed: Map<Hex, bigint>; /** Of the receiver: claimed for it, and paid out to it. */ receiver: { claimed: bigint; settled: bigint } };

export async function readChannels({ chain }: World, channels: LoadChannel[]): Promise<OnChain> {
  const { client } = chain;
  // All at one block: a claim mined between two reads would show in one of them only.
  const contract = { address: SESSION_CHANNELS, abi: sessionChannelsAbi, blockNumber: await client.getBlockNumber() } as const;
  const claimed = await Promise.all(
    channels.map(async ({ channelId }) => [channelId, (await client.readContract({ ...contract, functionName: "channels", args: [channelId] }))[1]] as const),
  );
  const { receiver, token } = channels[0]!.config;
  const [all, settled] = await client.readContract({ ...contract, functionName: "receivers", args: [receiver, token] });
  return { claimed: new Map(claimed), receiver: { claimed: all, settled } };
}
