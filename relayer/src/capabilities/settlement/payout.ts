// Pays receivers for whom more is claimed than they were paid, as they scheduled it.
import { sessionChannelsAbi as abi } from "../../../../sdk/src/abi/session-channels.ts";
import { isRevert, readChain, revertName } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { isDue, isDueWithClaim } from "../payouts/logic.ts";
import { markServed, noteAmount, statesOf } from "../payouts/store.ts";
import { settleCall } from "./adapter.ts";
import { idlePayees, postponePayout, recordPayout, type Payee } from "./payout-store.ts";

export type PayoutDeps = Pick<Deps, "config" | "db" | "chain" | "submitter" | "log" | "now">;

/** A payee of a claim, with the rows that claim for it. */
export type Claiming = Payee & { rows?: readonly { value: bigint }[] };

const LONGEST_PAYOUT_PAUSE_S = 3600;

/** Which of these are to be paid in the very transaction that claims for them. */
export async function payoutsDue<P extends Claiming>(deps: PayoutDeps, payees: readonly P[]): Promise<P[]> {
  const states = await statesOf(deps.db, payees);
  // What is owed matters to a threshold alone: usually nothing is asked of the chain.
  const counted = payees.filter((_, at) => states[at]!.schedule.kind === "threshold" && !states[at]!.asked);
  const owed = new Map<Payee, bigint>((await owedTo(deps, counted)).map((amount, at) => [counted[at]!, amount + valueOf(counted[at]!)]));
  return payees.filter((payee, at) => isDueWithClaim(states[at]!, owed.get(payee) ?? 1n, deps.now()));
}

const valueOf = ({ rows = [] }: Claiming): bigint => rows.reduce((sum, { value }) => sum + value, 0n);

/** Pays receivers for whom more is claimed than was paid, where that is due: by schedule, on demand, or because it was refused before. */
export async function payReceivers(deps: PayoutDeps): Promise<void> {
  // Before the chain is read: what is asked for later is not answered by this reading.
  const now = deps.now();
  const payees = await idlePayees(deps.db, now);
  if (payees.length === 0) return;
  const states = await statesOf(deps.db, payees);
  const owed = await owedTo(deps, payees);
  for (const [at, payee] of payees.entries()) {
    const state = states[at]!;
    if (isDue(state, owed[at]!, now)) await pay(deps, payee, owed[at]!);
    else if (owed[at] === 0n && (state.asked || state.schedule.kind === "daily")) await markServed(deps.db, payee, now);
  }
}

/** Claimed and not paid out, by the chain; in the order asked. */
async function owedTo({ chain, config }: PayoutDeps, payees: readonly Payee[]): Promise<bigint[]> {
  if (payees.length === 0) return [];
  const address = config.sessionChannels;
  const totals = await readChain(() =>
    chain.client.multicall({ allowFailure: false, contracts: payees.map(({ receiver, token }) => ({ address, abi, functionName: "receivers", args: [receiver, token] }) as const) }),
  );
  return totals.map(([claimed, settled]) => claimed - settled);
}

async function pay(deps: PayoutDeps, payee: Payee, owed: bigint): Promise<void> {
  try {
    const { hash } = await deps.submitter.submit({
      purpose: "settle", to: deps.config.sessionChannels, data: settleCall(payee),
      record: async (client, txId) => {
        await recordPayout(client, payee, txId);
        await noteAmount(client, payee, owed);
      },
    });
    deps.log.info({ event: EVENT.batchSent, form: "settle", receiver: payee.receiver, txHash: hash });
  } catch (error) {
    if (!isRevert(error)) throw error;
    await postponePayout(deps.db, payee, deps.now(), LONGEST_PAYOUT_PAUSE_S);
    deps.log.warn({ event: EVENT.failure, where: "payout", receiver: payee.receiver, reason: revertName(error) });
  }
}
