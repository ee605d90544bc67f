// Carries EIP-3009 authorisations to the chain, each once, whoever asks and however often: the gateway for its own payments, the
// facilitator for other sellers. Success is said only when the money has moved and is deep enough; pending is said as pending.
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { isRevert } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { findUse, hasCode, MOST_TRANSFER_GAS, movedIn, transferCalldata } from "./authorization.ts";
import { findSettlement, insertSettlement, SettlementTaken, type SettlementKey, type SettlementRow } from "./store.ts";
import type { Authorization, Settled } from "./types.ts";

export type ExactDeps = Pick<Deps, "config" | "db" | "chain" | "submitter" | "log" | "now">;

/** How long a request waits for its transfer to be mined before it hears `pending`. */
const SETTLE_WAIT_MS = 20_000;

/**
 * Settles an authorisation whose signature was checked. The same one again, at any time and in any process, finds the transaction
 * instead of sending another.
 * @throws TallystickError `chain_unavailable`, `submitter_unfunded` (503, safe): nothing is known to have failed.
 */
export async function settleAuthorization(deps: ExactDeps, authorization: Authorization, options: { paymentId?: string; waitMs?: number } = {}): Promise<Settled> {
  const key = { token: deps.config.token.address, payer: authorization.from, nonce: authorization.nonce };
  const row = await findSettlement(deps.db, key);
  if (row !== undefined && isLive(row)) return follow(deps, authorization, row, options.waitMs);
  const used = await whenUsed(deps, authorization);
  if (used !== undefined) return used;
  // A wallet may say yes to every simulation and no on chain: then each further try would only burn our gas.
  if (row?.txState === "reverted" && (await hasCode(deps.chain, authorization.from))) return { status: "failed", reason: "transfer_reverted", final: isOver(deps, authorization) };
  if (isOver(deps, authorization)) return { status: "failed", reason: "authorization_expired", final: true };
  try {
    const { txId, hash } = await deps.submitter.submit({
      purpose: "exact", to: key.token, data: transferCalldata(authorization), mostGas: MOST_TRANSFER_GAS, ...(options.paymentId === undefined ? {} : { paymentId: options.paymentId }),
      record: (client, newTxId) => insertSettlement(client, key, { receiver: authorization.to, amount: authorization.value, txId: newTxId }),
    });
    deps.log.info({ event: EVENT.exactSent, txHash: hash, payer: authorization.from, amount: String(authorization.value), paymentId: options.paymentId });
    return await follow(deps, authorization, { receiver: authorization.to, amount: authorization.value, txId, txHash: hash, txState: "signed" }, options.waitMs);
  } catch (error) {
    return refused(deps, authorization, key, error, options.waitMs);
  }
}

/** The simulation refused, or another process was faster. */
async function refused(deps: ExactDeps, authorization: Authorization, key: SettlementKey, error: unknown, waitMs: number | undefined): Promise<Settled> {
  const known = await findSettlement(deps.db, key);
  if (known !== undefined && isLive(known)) return follow(deps, authorization, known, waitMs);
  if (error instanceof TallystickError && error.code === "transaction_too_expensive") return { status: "failed", reason: "transfer_too_expensive", final: isOver(deps, authorization) };
  if (error instanceof SettlementTaken) throw new TallystickError({ code: "settlement_contended", status: 503, retry: "safe", detail: "The payment is being settled by another request.", cause: error });
  if (!isRevert(error)) throw error;
  // Between our look and the simulation somebody else may have sent it.
  return (await whenUsed(deps, authorization)) ?? { status: "failed", reason: "transfer_refused", final: isOver(deps, authorization) };
}

const isLive = ({ txState }: SettlementRow): boolean => txState !== "reverted" && txState !== "dropped";

async function follow(deps: ExactDeps, authorization: Authorization, row: SettlementRow, waitMs = SETTLE_WAIT_MS): Promise<Settled> {
  const outcome = await deps.submitter.wait(row.txId, waitMs);
  if (outcome.status === "pending") return { status: "pending", txHash: outcome.hash };
  if (outcome.status === "confirmed") {
    if (movedIn(deps, authorization, outcome.receipt)) return { status: "settled", txHash: outcome.hash };
    return { status: "failed", reason: "transfer_missing", final: true };
  }
  // Reverted, or displaced: perhaps because a stranger was faster with the very same authorisation.
  return (await whenUsed(deps, authorization)) ?? { status: "failed", reason: "transfer_reverted", final: isOver(deps, authorization) };
}

/** "Authorization used" is no failure before the logs have said what it did. */
async function whenUsed(deps: ExactDeps, authorization: Authorization): Promise<Settled | undefined> {
  const use = await findUse(deps, authorization);
  if (use === undefined) return undefined;
  if (!use.moved) return { status: "failed", reason: "authorization_used", final: true };
  return use.deep ? { status: "settled", txHash: use.txHash } : { status: "pending", txHash: use.txHash };
}

/** Past validBefore no block takes it; a margin for the chain's clock. */
const CLOCK_MARGIN_S = 30n;

function isOver({ now }: Pick<Deps, "now">, { validBefore }: Authorization): boolean {
  return BigInt(Math.floor(now().getTime() / 1000)) > validBefore + CLOCK_MARGIN_S;
}

/** Which transaction carries an authorisation, for those who look from outside. */
export async function transactionOf(deps: Pick<Deps, "db">, key: SettlementKey): Promise<Hex | undefined> {
  return (await findSettlement(deps.db, key))?.txHash;
}
