// Sends claim transactions. What is bad in a batch is set aside, what is too big is halved, and a payout that is refused never holds
// a claim back.
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { isRevert, revertName } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { claimCall, payable, runsPayersCode, withoutPoisoned } from "./adapter.ts";
import { CONTRACT_WALLET_GAS, PAYOUT } from "./costs.ts";
import { pauseAfter } from "./logic.ts";
import { asPlain, halves, payeeKey, type Batch, type Limits, type PlannedRow } from "./packing.ts";
import { payoutsDue } from "./payout.ts";
import { postponePayout, type Payee } from "./payout-store.ts";
import { withReceipts } from "./receipt-roots.ts";
import { insertBatch, quarantine, RowsInFlight } from "./store.ts";

export type SendingDeps = Pick<Deps, "config" | "db" | "chain" | "keyring" | "submitter" | "log" | "metrics" | "now" | "reached">;

const LONGEST_PAYOUT_PAUSE_S = 3600;
/** Base takes no transaction with a higher limit (EIP-7825). */
const MOST_GAS = 16_777_216n;

/** @returns whether something was sent. */
export async function sendBatch(deps: SendingDeps, planned: Batch): Promise<boolean> {
  const { batch, poisoned } = await withoutPoisoned(deps, planned);
  deps.reached("batch.prepared");
  for (const { row, reason } of poisoned) await setAside(deps, row, reason);
  if (batch.groups.length === 0) return false;
  try {
    return await sendClean(deps, await withReceipts(deps, batch));
  } catch (error) {
    if (error instanceof RowsInFlight) return true;
    if (error instanceof TallystickError && error.code === "transaction_too_expensive") return sendSmaller(deps, batch);
    throw error;
  }
}

async function sendClean(deps: SendingDeps, batch: Batch): Promise<boolean> {
  const payees = await payoutsDue(deps, payeesOf(batch));
  if (payees.length > 0 && (await submitClaim(deps, batch, payees))) return true;
  const accepted = payees.length < 2 ? [] : await payable(deps, batch, payees);
  for (const payee of payees.filter((candidate) => !accepted.includes(candidate))) await postponePayout(deps.db, payee, deps.now(), LONGEST_PAYOUT_PAUSE_S);
  if (accepted.length > 0 && (await submitClaim(deps, batch, accepted))) return true;
  if (await submitClaim(deps, batch, [])) return true;
  // Every row passed its simulation a moment ago, so the next pass looks again; packed ones go the published way meanwhile.
  deps.log.error({ event: EVENT.failure, where: "settlement", ...describe(batch) });
  if (batch.form === "plain" || batch.rootsOnly === true) return false;
  let sent = false;
  for (const plain of asPlain(batch, limitsOf(deps))) sent = (await sendBatch(deps, plain)) || sent;
  return sent;
}

/** A row that needs too much gas alone is set aside; among others it is looked for. */
async function sendSmaller(deps: SendingDeps, batch: Batch): Promise<boolean> {
  const parts = halves(batch);
  if (parts === undefined) {
    await setAside(deps, batch.groups[0]!.rows[0]!, "TooMuchGas");
    return false;
  }
  const first = await sendBatch(deps, parts[0]);
  return (await sendBatch(deps, parts[1])) || first;
}

async function setAside({ db, metrics, log, now }: SendingDeps, row: PlannedRow, reason: string): Promise<void> {
  await quarantine(db, row, reason, now(), pauseAfter(reason));
  metrics.settlementRows.inc({ result: "quarantined" });
  log.warn({ event: EVENT.rowSkipped, channelId: row.channelId, reason });
}

/** False when the simulation refuses the call; nothing was sent then and no nonce was used. */
async function submitClaim(deps: SendingDeps, batch: Batch, payees: readonly Payee[]): Promise<boolean> {
  try {
    const { hash } = await deps.submitter.submit({
      purpose: "claim",
      to: deps.config.sessionChannels,
      data: await claimCall(deps, batch, payees),
      mostGas: batch.form === "plain" && batch.groups.some(({ rows }) => rows.some(runsPayersCode)) ? CONTRACT_WALLET_GAS + BigInt(payees.length) * PAYOUT.gas : MOST_GAS,
      record: (client, txId) => insertBatch(client, batch, txId),
    });
    deps.log.info({ event: EVENT.batchSent, ...describe(batch), payouts: payees.length, txHash: hash });
    return true;
  } catch (error) {
    if (!isRevert(error)) throw error;
    deps.log.info({ event: EVENT.batchSent, outcome: "refused", ...describe(batch), payouts: payees.length, refusal: revertName(error) });
    return false;
  }
}

function describe({ form, reason, groups }: Batch) {
  const payees = payeesOf({ groups });
  const rows = groups.reduce((count, group) => count + group.rows.length, 0);
  return { form, reason, rows, receivers: payees.length, ...(payees.length === 1 ? { receiver: payees[0]!.receiver } : {}) };
}

/** Each receiver once, with what the batch claims for it. */
function payeesOf({ groups }: Pick<Batch, "groups">): (Payee & { rows: PlannedRow[] })[] {
  return [...Map.groupBy(groups, payeeKey).values()].map((own) => ({ receiver: own[0]!.receiver, token: own[0]!.token, rows: own.flatMap(({ rows }) => rows) }));
}

export function limitsOf({ config: { settle } }: Pick<Deps, "config">): Limits {
  return { maxRows: settle.maxRows, maxGas: settle.maxGas, maxCalldataBytes: settle.maxCalldataBytes };
}
