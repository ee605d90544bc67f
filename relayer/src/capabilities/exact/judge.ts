// What follows when a transaction did not move what it carried.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { TxOutcome } from "../../chain/submitter.ts";
import type { Deps } from "../../deps.ts";
import { hasCode } from "./authorization.ts";
import * as queue from "./queue-store.ts";
import { handOver } from "./stranger-store.ts";
import type { Authorization, Settled } from "./types.ts";
import { findUse } from "./use.ts";

type JudgeDeps = Pick<Deps, "config" | "db" | "chain" | "now">;

/** `again`: it could have moved, and is in the queue for another transaction. */
export type Judged = Settled | "again";

/** How long a row is left to the process that judges it. */
const LEASE_MS = 30_000;
/** Past validBefore no block takes it; a margin for the chain's clock. */
const CLOCK_MARGIN_S = 30n;

export function isOver(deps: Pick<Deps, "now">, { validBefore }: Authorization): boolean {
  return validBefore < lastTaken(deps);
}

/** What is not valid until then is taken by no block, unix seconds. */
export function lastTaken({ now }: Pick<Deps, "now">): bigint {
  return BigInt(Math.floor(now().getTime() / 1000)) - CLOCK_MARGIN_S;
}

/** "Authorization used" is no failure before the logs have said what it did. */
export async function whenUsed(deps: JudgeDeps, authorization: Authorization): Promise<Settled | undefined> {
  const use = await findUse(deps, authorization);
  if (use === undefined) return undefined;
  if (!use.moved) return { status: "failed", reason: "authorization_used", final: true };
  return use.deep ? { status: "settled", txHash: use.txHash } : { status: "pending", txHash: use.txHash };
}

/** Resolved, and no log of it says that this was moved: a stranger was faster, or it failed among others, or for good. */
export async function afterTx(deps: JudgeDeps, { authorization, attempts }: queue.Queued, txId: bigint, { status }: TxOutcome, { together, most }: { together: boolean; most: number }): Promise<Judged> {
  const token = deps.config.token.address;
  const final = await forGood(deps, authorization, { alone: !together, status, tried: attempts + 1 >= most });
  if (final === undefined) {
    if (await queue.requeue(deps.db, token, authorization, txId, LEASE_MS)) return "again";
    throw contended();
  }
  await letGo(deps, authorization, txId, final);
  return final;
}

/** Nothing is left to send: for good, or as long as the stranger's transaction that moved it stands. */
export async function letGo(deps: Pick<JudgeDeps, "config" | "db">, authorization: Authorization, txId: bigint | undefined, { status }: Settled): Promise<void> {
  const wasMoved = status !== "failed";
  await (wasMoved ? handOver : queue.forget)(deps.db, deps.config.token.address, authorization, txId);
}

async function forGood(deps: JudgeDeps, authorization: Authorization, { alone, status, tried }: { alone: boolean; status: TxOutcome["status"]; tried: boolean }): Promise<Settled | undefined> {
  const used = await whenUsed(deps, authorization);
  if (used !== undefined) return used;
  // A token that says yes and does nothing.
  if (alone && status === "confirmed") return { status: "failed", reason: "transfer_missing", final: true };
  if (isOver(deps, authorization)) return { status: "failed", reason: "authorization_expired", final: true };
  // A wallet may say yes to every simulation and no on chain: then each further try would only burn our gas.
  const burns = alone && status === "reverted" && (await hasCode(deps.chain, authorization.from));
  return burns || tried ? { status: "failed", reason: "transfer_reverted", final: false } : undefined;
}

/** Another request, or another process, has it in hand. */
export function contended(cause?: unknown): TallystickError {
  return new TallystickError({ code: CONTENDED, status: 503, retry: "safe", detail: "The payment is being settled by another request.", cause });
}
export const CONTENDED = "settlement_contended";
