// One authorisation in a transaction of its own: contract wallets, gas-capped, and what a batch would not take.
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { isRevert } from "../../chain/client.ts";
import { EVENT } from "../../telemetry/log.ts";
import { transferCalldata } from "./calldata.ts";
import type { EngineDeps, Entry } from "./engine.ts";
import { contended, isOver, whenUsed, type Judged } from "./judge.ts";
import { MOST_TRANSFER_GAS } from "./probe.ts";
import * as queue from "./queue-store.ts";
import { SettlementTaken } from "./store.ts";

/** @throws TallystickError 503 (safe): nothing is known to have failed. */
export async function sendAlone(deps: EngineDeps, { authorization, paymentId }: Entry): Promise<{ txId: bigint; hash: Hex } | { judged: Judged }> {
  const token = deps.config.token.address;
  try {
    const sent = await deps.submitter.submit({
      purpose: "exact", to: token, data: transferCalldata(authorization), mostGas: MOST_TRANSFER_GAS, ...(paymentId === undefined ? {} : { paymentId }),
      record: (client, txId) => queue.markSent(client, token, [authorization], txId),
    });
    deps.log.info({ event: EVENT.exactSent, txHash: sent.hash, payer: authorization.from, amount: String(authorization.value), paymentId });
    return sent;
  } catch (error) {
    if (error instanceof SettlementTaken) throw contended(error);
    const judged = await refused(deps, authorization, error);
    await queue.forget(deps.db, token, authorization, undefined);
    return { judged };
  }
}

/** The simulation refused. Between our look and it somebody else may have sent it. */
async function refused(deps: EngineDeps, authorization: Entry["authorization"], error: unknown): Promise<Judged> {
  if (error instanceof TallystickError && error.code === "transaction_too_expensive") return { status: "failed", reason: "transfer_too_expensive", final: isOver(deps, authorization) };
  if (!isRevert(error)) throw error;
  return (await whenUsed(deps, authorization)) ?? { status: "failed", reason: isOver(deps, authorization) ? "authorization_expired" : "transfer_refused", final: isOver(deps, authorization) };
}
