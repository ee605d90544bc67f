// Pays receivers for whom more is claimed than they were paid.
import { sessionChannelsAbi as abi } from "../../../../sdk/src/abi/session-channels.ts";
import { isRevert, readChain, revertName } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { settleCall } from "./adapter.ts";
import { idlePayees, postponePayout, recordPayout, type Payee } from "./payout-store.ts";

export type PayoutDeps = Pick<Deps, "config" | "db" | "chain" | "submitter" | "log" | "now">;

const LONGEST_PAYOUT_PAUSE_S = 3600;

/** Which of these are to be paid now, in the transaction that claims for them: all of them. */
export async function payoutsDue(_deps: PayoutDeps, payees: readonly Payee[]): Promise<Payee[]> {
  return [...payees];
}

/** Pays receivers for whom more is claimed than was paid: their payout was refused before, or somebody else claimed. */
export async function payReceivers(deps: PayoutDeps): Promise<void> {
  const payees = await idlePayees(deps.db, deps.now());
  if (payees.length === 0) return;
  const address = deps.config.sessionChannels;
  const states = await readChain(() =>
    deps.chain.client.multicall({ allowFailure: false, contracts: payees.map(({ receiver, token }) => ({ address, abi, functionName: "receivers", args: [receiver, token] }) as const) }),
  );
  for (const [index, payee] of payees.entries()) {
    const [claimed, settled] = states[index]!;
    if (claimed > settled) await pay(deps, payee);
  }
}

async function pay(deps: PayoutDeps, payee: Payee): Promise<void> {
  try {
    const { hash } = await deps.submitter.submit({
      purpose: "settle", to: deps.config.sessionChannels, data: settleCall(payee),
      record: (client, txId) => recordPayout(client, payee, txId),
    });
    deps.log.info({ event: EVENT.batchSent, form: "settle", receiver: payee.receiver, txHash: hash });
  } catch (error) {
    if (!isRevert(error)) throw error;
    await postponePayout(deps.db, payee, deps.now(), LONGEST_PAYOUT_PAUSE_S);
    deps.log.warn({ event: EVENT.failure, where: "payout", receiver: payee.receiver, reason: revertName(error) });
  }
}
