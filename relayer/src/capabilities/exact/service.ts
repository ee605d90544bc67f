// Carries EIP-3009 authorisations to the chain, each once, whoever asks and however often: the gateway for its own payments, the
// facilitator for other sellers. Success is said only when the money has moved and is deep enough; pending is said as pending.
import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { hasCode } from "./authorization.ts";
import { LEASE_MS, type Entry } from "./engine.ts";
import type { Exact } from "./exact.ts";
import { CONTENDED, contended, isOver, lastTaken, whenUsed } from "./judge.ts";
import * as strangers from "./stranger-store.ts";
import { isUsed, movedIn } from "./use.ts";
import * as queue from "./queue-store.ts";
import { findSettlement, type SettlementKey, type SettlementRow } from "./store.ts";
import type { Authorization, Settled } from "./types.ts";

export type ExactDeps = Pick<Deps, "config" | "db" | "chain" | "submitter" | "log" | "now"> & { exact: Exact };

/** How long a request waits for its transfer to be mined before it hears `pending`. */
const SETTLE_WAIT_MS = 20_000;
/** How often is looked at what another process has in hand. */
const LOOK_MS = 50;

type Options = {
  paymentId?: string;
  waitMs?: number;
  /** The caller has just looked, and it was neither sent nor queued: that is not asked again. Who was faster since, the queue says. */
  unknown?: boolean;
};

/**
 * Settles an authorisation whose signature was checked. The same one again, at any time and in any process, finds the transaction
 * instead of sending another.
 * @throws TallystickError `chain_unavailable`, `submitter_unfunded`, `settlement_contended` (503, safe): nothing is known to have failed.
 */
export async function settleAuthorization(deps: ExactDeps, authorization: Authorization, options: Options = {}): Promise<Settled> {
  const deadline = performance.now() + (options.waitMs ?? SETTLE_WAIT_MS);
  for (let first = options.unknown === true; ; first = false) {
    const settled = await attempt(deps, authorization, options.paymentId, deadline, first).catch((error: unknown) => {
      if (error instanceof TallystickError && error.code === CONTENDED) return undefined;
      throw error;
    });
    if (settled !== undefined) return settled;
    if (performance.now() >= deadline) throw contended();
    await sleep(LOOK_MS);
  }
}

/** Undefined while another has it in hand. */
async function attempt(deps: ExactDeps, authorization: Authorization, paymentId: string | undefined, deadline: number, unknown: boolean): Promise<Settled | undefined> {
  const { engine, lookUp } = deps.exact;
  const inHand = engine.find(authorization);
  if (inHand !== undefined) return isSame(inHand.authorization, authorization) ? outcomeOf(inHand, deadline) : undefined;
  const settlement = unknown ? undefined : (await lookUp(authorization)).settlement;
  if (settlement !== undefined && isLive(settlement)) {
    const followed = await follow(deps, authorization, settlement, deadline);
    if (followed !== "unmoved") return followed;
  }
  if (settlement?.txState === "reverted" && (await hasCode(deps.chain, authorization.from))) {
    return (await whenUsed(deps, authorization)) ?? { status: "failed", reason: "transfer_reverted", final: isOver(deps, authorization) };
  }
  if (isOver(deps, authorization)) return (await whenUsed(deps, authorization)) ?? { status: "failed", reason: "authorization_expired", final: true };
  if (engine.find(authorization) !== undefined) return attempt(deps, authorization, paymentId, deadline, false);
  const entry = await engine.add({ authorization, paymentId, attempts: 0 });
  return entry === undefined ? undefined : outcomeOf(entry, deadline);
}

const isSame = (one: Authorization, other: Authorization): boolean => one.to === other.to && one.value === other.value && one.validBefore === other.validBefore && one.validAfter === other.validAfter;
const isLive = ({ txState }: SettlementRow): boolean => txState !== "reverted" && txState !== "dropped";

/** What comes of one in hand, as far as is known when the time is over. */
async function outcomeOf(entry: Entry, deadline: number): Promise<Settled> {
  return within(entry.outcome, deadline, () => ({ status: "pending", txHash: entry.txHash }));
}

async function within<T>(work: Promise<T>, deadline: number, late: () => T): Promise<T> {
  const over = new AbortController();
  try {
    return await Promise.race([work, sleep(Math.max(0, deadline - performance.now()), undefined, { signal: over.signal }).then(late)]);
  } finally {
    over.abort();
  }
}

/** `unmoved`: its transaction is done with, the authorisation is unused, and nobody has it in hand: it may be sent anew. */
async function follow(deps: ExactDeps, authorization: Authorization, { txId }: SettlementRow, deadline: number): Promise<Settled | "unmoved" | undefined> {
  const { engine, lookUp } = deps.exact;
  const outcome = await deps.submitter.wait(txId, Math.max(0, deadline - performance.now()));
  if (outcome.status === "pending") return { status: "pending", txHash: outcome.hash };
  if (outcome.status === "confirmed" && movedIn(deps, authorization, outcome.receipt)) return { status: "settled", txHash: outcome.hash };
  // It failed among others, or was displaced: perhaps because a stranger was faster with the very same authorisation.
  const used = await whenUsed(deps, authorization);
  if (used !== undefined) return used;
  if ((await engine.read(txId)) > 0 || engine.find(authorization) !== undefined) return undefined;
  const known = await lookUp(authorization);
  return known.queued || known.settlement?.txId !== txId ? undefined : "unmoved";
}

/** Rows taken in one pass of the sweeper. */
const SWEEP_MOST = 600;
/** A process that sent a transaction reads it itself, if it lives. */
const READ_GRACE_MS = 5_000;
/** Longer than any reorganisation is deep. */
const KEPT_S = 3_600;

/** For the sweeper of every process: what was queued or sent by one that died, and what a reorganisation undid. */
export async function sweepQueue(deps: ExactDeps): Promise<void> {
  const { config, db, exact, log } = deps;
  const reopened = await queue.reopenMoved(db);
  if (reopened > 0) log.warn({ event: EVENT.exactSent, reopened }, "a reorganisation undid transfers; they are looked at again");
  exact.engine.take(await queue.takeQueued(db, config.token.address, SWEEP_MOST, LEASE_MS));
  for (const txId of await queue.unreadTxs(db, config.token.address, READ_GRACE_MS)) await exact.engine.read(txId);
  await lookAfterStrangers(deps);
  await queue.purgeMoved(db, KEPT_S);
  await strangers.purgeStrangers(db, KEPT_S);
}

/** What strangers moved is looked at this often, so many in one pass. */
const STRANGERS_EVERY_MS = 2_000;
const STRANGERS_MOST = 50;

/** What a stranger moved can be undone by a reorganisation, with its payment charged and its answer gone: then we send it ourselves. */
async function lookAfterStrangers({ chain, config, db, log, now }: ExactDeps): Promise<void> {
  const token = config.token.address;
  const keys = await strangers.takeStrangers(db, token, STRANGERS_MOST, STRANGERS_EVERY_MS);
  if (keys.length === 0) return;
  const used = await Promise.all(keys.map((key) => isUsed({ chain, config }, key)));
  const gone = keys.filter((_, index) => !used[index]);
  const lost = await strangers.giveUp(db, token, gone, lastTaken({ now }));
  for (const { from, nonce, paymentId } of lost) log.error({ event: EVENT.failure, where: "exact", payer: from, nonce, paymentId }, "a stranger's transfer is gone from the chain and its authorisation is over: what it paid for is not paid");
  for (const key of gone.filter(({ nonce }) => !lost.some((other) => other.nonce === nonce))) {
    if (await strangers.takeBack(db, token, key)) log.warn({ event: EVENT.exactSent, payer: key.from, nonce: key.nonce }, "a stranger's transfer is gone from the chain; it is sent again");
  }
  for (const { paymentId, txHash, ...key } of await strangers.movedAgain(db, token, keys)) await strangers.nameTransaction(db, key, txHash, paymentId);
}

/** Which transaction carries an authorisation, for those who look from outside. */
export async function transactionOf(deps: Pick<Deps, "db">, key: SettlementKey): Promise<Hex | undefined> {
  return (await findSettlement(deps.db, key))?.txHash;
}
