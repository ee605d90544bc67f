// The background writer: chains what was recorded, seals it about once a second, stores both in one transaction. One chain a process.
// Nothing of it runs in a request but pushing onto a list. It gives way to requests every few entries.
import { randomUUID } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { bytesToHex } from "viem";
import { canonicalJson } from "../../../../sdk/src/audit/canonical.ts";
import { entryHash, epochHash, sealDigest, type AuditEpoch, type AuditSeal } from "../../../../sdk/src/audit/chain.ts";
import { merkleRoot } from "../../../../sdk/src/audit/merkle.ts";
import { auditDomain } from "../../../../sdk/src/typed-data.ts";
import { createGroup } from "../../db/group.ts";
import { inTransaction, isDatabaseUnavailable, type Queryable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { keepable, keptWithBody, nativeSha256, type TimedEntry } from "./encoding.ts";
import * as store from "./store.ts";
import type { Audit, AuditEntry } from "./types.ts";

export type AuditWriter = Audit & {
  start(): void;
  /** Seals what is left. */
  stop(): Promise<void>;
  /** Seals what has been recorded so far, and what waits in the outbox. */
  flush(): Promise<void>;
  /** Recorded and not sealed yet, the newest last. */
  pending(): readonly TimedEntry[];
};

type WriterDeps = Pick<Deps, "config" | "db" | "keyring" | "log" | "metrics" | "now" | "reached">;

const EVERY_MS = 1_000;
/** Entries of one seal. */
const MOST_SEALED = 10_000;
/** Entries between two looks at requests. */
const SLICE = 50;
/** Entries of one INSERT. */
const ROWS = 250;
/** What is kept while the database is away; above it approvals are dropped, and recovered from the payments. */
const MOST_PENDING = 200_000;

/** Where a chain stands: what the next entry and the next seal follow. */
type Chain = { epoch: Uint8Array; epochNo: bigint; seq: bigint; head: Uint8Array; seals: bigint; previous: Uint8Array };

/** A seal that was written. `mine`: how many of its entries were in memory. */
type Attempt = { after: Chain; entries: number; mine: number };

export function createAudit(deps: WriterDeps): AuditWriter {
  const { config, db, keyring, log, metrics, now } = deps;
  const domain = auditDomain(config.chainId, config.sessionChannels);
  const signer = keyring.signerFor(keyring.active);
  const outbox = createGroup(async (entries: AuditEntry[]) => {
    await store.insertOutbox(db, entries);
    return entries.map(() => undefined);
  }, isDatabaseUnavailable);
  let pending: TimedEntry[] = [];
  let chain: Chain | undefined;
  let doubt: Attempt | undefined;
  let working: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  /** One seal. @returns how many entries it covers. */
  async function seal(): Promise<number> {
    await resolveDoubt();
    const mine = pending.slice(0, MOST_SEALED);
    let attempt: Attempt | undefined;
    try {
      await inTransaction(db, async (client) => {
        const entries = [...mine, ...(await store.takeOutbox(client, MOST_SEALED))].sort((a, b) => a.at.getTime() - b.at.getTime());
        if (entries.length > 0) attempt = { ...(await write(client, entries)), mine: mine.length };
      });
    } catch (error) {
      // Whether a commit whose answer was lost has happened is asked before anything else is written.
      doubt = attempt;
      // Anything but a database that is away: what it has of this chain may not be what we know. Begin anew.
      if (attempt === undefined && !isDatabaseUnavailable(error)) chain = undefined;
      throw error;
    }
    return attempt === undefined ? 0 : done(attempt);
  }

  async function resolveDoubt(): Promise<void> {
    if (doubt === undefined) return;
    const { epoch, seals, previous } = doubt.after;
    if (await store.hasSeal(db, epoch, seals, bytesToHex(previous))) done(doubt);
    else chain = undefined;
    doubt = undefined;
  }

  function done({ after, entries, mine }: Attempt): number {
    chain = after;
    pending = pending.slice(mine);
    deps.reached("audit.sealed");
    metrics.auditEntries.inc(entries);
    return entries;
  }

  async function write(client: Queryable, entries: readonly TimedEntry[]): Promise<Omit<Attempt, "mine">> {
    const from = chain ?? (await open(client));
    const chained = await chainOn(from, entries);
    for (let at = 0; at < chained.length; at += ROWS) await store.insertEntries(client, from.epochNo, chained.slice(at, at + ROWS));
    const head = chained.at(-1)!.hash;
    const message: AuditSeal = {
      epoch: bytesToHex(from.epoch), number: from.seals + 1n, firstSeq: from.seq + 1n, entries: BigInt(chained.length), previous: bytesToHex(from.previous),
      root: bytesToHex(merkleRoot(chained.map(({ hash }) => hash), nativeSha256)), head: bytesToHex(head), sealedAtMs: BigInt(now().getTime()),
    };
    const digest = sealDigest(domain, message);
    const signature = await signer.signAuditSeal(domain, message);
    if (!(await store.insertSeal(client, from.epochNo, { ...message, digest: bytesToHex(digest), signer: signer.address, signature }))) throw new Error("the seal before this one is not in the database");
    return { after: { ...from, seq: from.seq + BigInt(chained.length), head, seals: message.number, previous: digest }, entries: chained.length };
  }

  async function open(client: Queryable): Promise<Chain> {
    const told: AuditEpoch = { chainId: config.chainId, contract: config.sessionChannels.toLowerCase(), process: randomUUID(), startedAt: now().toISOString() };
    const opened = canonicalJson(told);
    const epoch = epochHash(opened, nativeSha256);
    return { epoch, epochNo: await store.insertEpoch(client, epoch, opened), seq: 0n, head: epoch, seals: 0n, previous: epoch };
  }

  /** Everything that is there. One at a time: a chain has one end. */
  function flush(): Promise<void> {
    const next = working.then(async () => {
      while ((await seal()) >= MOST_SEALED) await turn();
    });
    working = next.catch(() => {});
    return next;
  }

  function tick(): void {
    timer = setTimeout(() => {
      void flush()
        .catch((err: unknown) => log.warn({ event: EVENT.failure, err }, "audit entries not sealed yet; tried again soon"))
        .then(() => {
          if (timer !== undefined) tick();
        });
    }, EVERY_MS);
  }

  return {
    record(entry) {
      if (pending.length >= MOST_PENDING) return void metrics.auditDropped.inc();
      pending.push(entry.at === undefined ? { ...entry, at: now() } : (entry as TimedEntry));
    },
    recordDurably: (entry) => outbox(keepable(entry)),
    flush,
    pending: () => pending,
    start: tick,
    async stop() {
      clearTimeout(timer);
      timer = undefined;
      await flush()
        .catch(flush)
        .catch((err: unknown) => log.warn({ event: EVENT.failure, err }, "audit entries lost at the stop; those of payments are recovered"));
    },
  };
}

async function chainOn(from: Chain, entries: readonly TimedEntry[]): Promise<store.ChainedEntry[]> {
  const chained: store.ChainedEntry[] = [];
  let { head, seq } = from;
  for (const [at, raw] of entries.entries()) {
    seq += 1n;
    const { entry, body } = keptWithBody(raw, seq);
    head = entryHash(head, body, nativeSha256);
    chained.push({ seq, entry, body, hash: head });
    if (at % SLICE === SLICE - 1) await turn();
  }
  return chained;
}
