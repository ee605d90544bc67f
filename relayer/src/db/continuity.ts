// Is this the ledger that was here a moment ago? A failover to a replica that lagged, or a restore from a backup, takes commits back:
// then vouchers that were used look unused. Every process remembers where the ledger was, in memory and (RELAYER_STATE_DIR) on its own
// disk, and looks again every second and on every new connection before anybody may use it. When something is missing, nothing is sold by
// channel (a trigger refuses, whoever asks) until an operator says so. docs/CONTINUITY.md tells what this can and cannot see.
import { mkdirSync } from "node:fs";
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import { TallystickError } from "../../../sdk/src/errors.ts";
import type { Config } from "../config.ts";
import { EVENT, type Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { judge, type Memory, type Sight } from "./continuity-logic.ts";
import { violatedConstraint, type Db, type Queryable } from "./pool.ts";

export type Continuity = {
  /** The first look; then one every second and on every new connection. @throws when the database cannot be asked. */
  start(): Promise<void>;
  /** Looks now. */
  check(): Promise<void>;
  /** A payment was charged: its commit was told to us, so it has to be there from now on. */
  charged(paymentId: string): void;
  stop(): Promise<void>;
};

export type ContinuityDeps = { db: Db; config: Pick<Config, "stateDir" | "chainId" | "sessionChannels" | "trustFailover">; log: Log; metrics: Metrics };

const LOOK_EVERY_MS = 1_000;
const STAMP_EVERY_S = 5;
/** Stamps are kept this long; whoever remembers an older one is told by epoch, cluster and position alone. */
const STAMPS_KEPT_S = 7 * 86_400;
/** Charges that are remembered by name. What is lost is always the newest, and more than this many are not told out of their order. */
const CHARGES_REMEMBERED = 64;

export function createContinuity({ db, config, log, metrics }: ContinuityDeps): Continuity {
  const file = config.stateDir === undefined ? undefined : join(config.stateDir, `ledger-${config.chainId}-${config.sessionChannels.toLowerCase()}.json`);
  let memory: Memory | undefined;
  let charges: string[] = [];
  /** The server that was found whole: as long as it runs, it loses nothing. */
  let whole: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;

  async function look(client: Queryable): Promise<void> {
    const [before, named] = [memory, [...charges]];
    const sight = await see(client, before, named);
    // Looks overlap, as each new connection has its own: what is seen is held against what was remembered before.
    const verdict = judge(before, sight, config.trustFailover);
    metrics.ledgerStopped.set(sight.stopped || verdict !== undefined ? 1 : 0);
    if (verdict !== undefined) {
      if (await stopSales(client, verdict, before?.epochId, sight.epochId)) log.fatal({ event: EVENT.ledgerRewound, reason: verdict }, "the ledger lost commits: nothing is sold by channel until an operator resumes");
      return;
    }
    if (memory !== undefined && memory.epochId !== sight.epochId) charges = []; // an operator has resumed: they were answered for
    memory = later(memory, sight);
    whole = sight.server;
  }

  /** A connection that is new may lead to another server than the last one did. */
  async function verify(client: Queryable): Promise<void> {
    const { rows } = await client.query<{ server: string }>("SELECT pg_postmaster_start_time()::text AS server");
    if (rows[0]!.server !== whole) await look(client);
  }

  async function stampAndRemember(): Promise<void> {
    await look(db);
    if (await stamp(db)) await look(db);
    if (file !== undefined && memory !== undefined) await save(file, { ...memory, charges });
  }

  function run(): Promise<void> {
    looking ??= stampAndRemember().finally(() => (looking = undefined));
    return looking;
  }

  return {
    check: run,
    charged(paymentId) {
      charges.push(paymentId);
      if (charges.length > CHARGES_REMEMBERED) charges.shift();
    },
    async start() {
      if (file !== undefined) {
        mkdirSync(config.stateDir!, { recursive: true });
        const there = await load(file);
        [memory, charges] = [there, there?.charges ?? []];
      }
      await run();
      db.options.verify = (client: pg.PoolClient, done: (error?: Error) => void) => void verify(client).then(() => done(), done);
      timer = setInterval(() => void run().catch((err: unknown) => log.warn({ event: EVENT.failure, err }, "the ledger could not be looked at; tried again soon")), LOOK_EVERY_MS);
    },
    async stop() {
      clearInterval(timer);
      db.options.verify = undefined;
      await looking?.catch(() => {});
    },
  };
}

/** What is remembered never goes back but to a new epoch. */
function later(memory: Memory | undefined, { epochId, newest, system, flushed }: Sight): Memory | undefined {
  if (newest === undefined) return memory;
  if (memory !== undefined && memory.epochId === epochId && memory.stamp > newest.stamp) return memory;
  const same = memory !== undefined && memory.epochId === epochId && memory.system === system;
  return { epochId, ...newest, system, flushed: same && BigInt(memory.flushed) > flushed ? memory.flushed : String(flushed) };
}

type Row = {
  epoch_id: string; epoch_system: string | null; epoch_timeline: string | null; known: boolean; mark: string | null;
  newest_stamp: bigint | null; newest_mark: string | null; oldest_stamp: bigint | null; missing: string | null; server: string; system: string | null; timeline: string | null; flushed: bigint | null; stopped: boolean;
};

/** One statement, so that all of it is of one moment. */
async function see(client: Queryable, memory: Memory | undefined, charges: readonly string[]): Promise<Sight> {
  const { rows } = await client.query<Row>({
    name: "ledger_see",
    text: `SELECT e.epoch_id, e.system_identifier AS epoch_system, e.timeline AS epoch_timeline,
             EXISTS (SELECT 1 FROM ledger_epoch WHERE epoch_id = $1) OR EXISTS (SELECT 1 FROM ledger_lost_epoch WHERE epoch_id = $1) AS known, (SELECT mark FROM ledger_stamp WHERE stamp = $2) AS mark,
             n.stamp AS newest_stamp, n.mark AS newest_mark, (SELECT min(stamp) FROM ledger_stamp) AS oldest_stamp,
             (SELECT min(c.id) FROM unnest($3::text[]) AS c(id) WHERE NOT EXISTS (SELECT 1 FROM payment WHERE payment_id = c.id AND state = 'charged')) AS missing,
             pg_postmaster_start_time()::text AS server, p.system_identifier AS system, p.timeline, (p.flushed - '0/0'::pg_lsn)::bigint AS flushed, EXISTS (SELECT 1 FROM ledger_stop) AS stopped
           FROM (SELECT * FROM ledger_epoch ORDER BY epoch DESC LIMIT 1) e CROSS JOIN ledger_place() p
           LEFT JOIN (SELECT * FROM ledger_stamp ORDER BY stamp DESC LIMIT 1) n ON true`,
    values: [memory?.epochId ?? null, memory?.stamp ?? null, charges],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("invariant: a ledger has an epoch");
  return {
    epochId: row.epoch_id, isKnown: row.known, markThere: row.mark ?? undefined, oldestStamp: row.oldest_stamp ?? undefined, stopped: row.stopped,
    missingCharge: row.missing ?? undefined, server: row.server,
    newest: row.newest_stamp === null ? undefined : { stamp: row.newest_stamp, mark: row.newest_mark! },
    system: row.system ?? undefined, timeline: row.timeline ?? undefined, flushed: row.flushed ?? 0n,
    begunOn: { system: row.epoch_system ?? undefined, timeline: row.epoch_timeline ?? undefined },
  };
}

/** @returns true when this process wrote one: it is durable then. */
async function stamp(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ written: boolean }>("SELECT ledger_write_stamp($1) AS written", [STAMP_EVERY_S]);
  if (rows[0]?.written !== true) return false;
  await db.query("DELETE FROM ledger_stamp WHERE at < now() - $1 * interval '1 second'", [STAMPS_KEPT_S]);
  return true;
}

/** In the database, so for every process. @returns true for the first to say so. */
export async function stopSales(client: Queryable, reason: string, remembered?: string, seen?: string): Promise<boolean> {
  const { rows } = await client.query<{ first: boolean }>("SELECT ledger_stop_sales($1, $2, $3) AS first", [reason, remembered ?? null, seen ?? null]);
  return rows[0]?.first === true;
}

/** Why nothing is sold by channel, or undefined. */
export async function salesStopped(db: Queryable): Promise<string | undefined> {
  const { rows } = await db.query<{ reason: string }>("SELECT reason FROM ledger_stop");
  return rows[0]?.reason;
}

export const isLedgerRewound = (error: unknown): boolean => violatedConstraint(error) === "ledger_rewound";

export function ledgerRewound(cause: unknown): TallystickError {
  return new TallystickError({ code: "ledger_rewound", status: 503, retry: "safe", detail: "The ledger's database lost what it had committed; nothing is sold by channel until its operator has seen to it. Nothing was charged.", cause, extra: { retryAfterS: 60 } });
}

async function load(file: string): Promise<(Memory & { charges: string[] }) | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const { stamp: number, ...rest } = JSON.parse(text) as Omit<Memory, "stamp"> & { stamp: string; charges: string[] };
  return { ...rest, stamp: BigInt(number) };
}

/** Whole and on the disk, or as it was. Processes that share the folder keep the latest of them. */
async function save(file: string, memory: Memory & { charges: string[] }): Promise<void> {
  const there = await load(file);
  if (there !== undefined && there.epochId === memory.epochId && there.stamp > memory.stamp) return;
  const draft = `${file}.${process.pid}`;
  const handle = await open(draft, "w", 0o600);
  try {
    await handle.writeFile(JSON.stringify({ ...memory, stamp: String(memory.stamp) }));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
}
