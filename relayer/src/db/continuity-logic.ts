// Did the ledger lose commits? Pure: what is remembered of it against what it shows.

/** Where the ledger was when it was last looked at. Positions are bytes of write-ahead log, as decimal strings. */
export type Memory = { epochId: string; stamp: bigint; mark: string; system: string | undefined; flushed: string };

/** What the ledger shows now. */
export type Sight = {
  epochId: string;
  /** The remembered epoch is among its epochs. */
  isKnown: boolean;
  /** The mark of the remembered stamp. */
  markThere: string | undefined;
  newest: { stamp: bigint; mark: string } | undefined;
  oldestStamp: bigint | undefined;
  /** A payment whose charge was committed to this process, and that is not charged here. */
  missingCharge: string | undefined;
  /** Since when the server runs: another server, or another run of it, has another. */
  server: string;
  /** Of the cluster; undefined where the server does not tell. */
  system: string | undefined;
  timeline: string | undefined;
  flushed: bigint;
  begunOn: { system: string | undefined; timeline: string | undefined };
  /** Sales are stopped already. */
  stopped: boolean;
};

/** @returns why the ledger cannot be the one remembered, or undefined. */
export function judge(memory: Memory | undefined, sight: Sight, trustFailover: boolean): string | undefined {
  return place(sight, trustFailover) ?? (memory === undefined ? undefined : lost(memory, sight));
}

/** A ledger that stands elsewhere than its epoch began came there by a failover or a restore, and what that lost cannot be known. */
function place({ begunOn, system, timeline }: Sight, trustFailover: boolean): string | undefined {
  if (differ(begunOn.system, system)) return `the database is in another cluster (${system}) than its epoch began in (${begunOn.system}): it was restored or copied`;
  if (!trustFailover && differ(begunOn.timeline, timeline)) return `the database is on timeline ${timeline}, its epoch began on ${begunOn.timeline}: a standby took over, or a backup was restored`;
  return undefined;
}

function lost(memory: Memory, { epochId, isKnown, markThere, newest, oldestStamp, missingCharge, system, flushed }: Sight): string | undefined {
  if (!isKnown) return "the database does not know the epoch that was seen in it: it is another, or an older copy";
  // An operator has resumed since: what was remembered is of before.
  if (epochId !== memory.epochId) return undefined;
  if (missingCharge !== undefined) return `payment ${missingCharge} was charged, and is not charged here`;
  if (newest === undefined || newest.stamp < memory.stamp) return `stamp ${memory.stamp} was seen, the newest is ${newest?.stamp ?? "none"}`;
  const isForgotten = oldestStamp !== undefined && memory.stamp < oldestStamp;
  if (!isForgotten && markThere !== memory.mark) return `stamp ${memory.stamp} was seen with another mark: the ledger went back and on from there`;
  if (system !== undefined && system === memory.system && flushed < BigInt(memory.flushed)) return `the log had been written to ${memory.flushed}, it is at ${flushed}`;
  return undefined;
}

const differ = (a: string | undefined, b: string | undefined): boolean => a !== undefined && b !== undefined && a !== b;
