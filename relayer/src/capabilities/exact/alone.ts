// One authorisation in a transaction of its own: contract wallets, gas-capped, and what a batch would not take.
import type { Hex } from "viem";
import { isRevert } from "../../chain/client.ts";
import { EVENT } from "../../telemetry/log.ts";
import { transferCalldata } from "./calldata.ts";
import type { EngineDeps, Entry } from "./engine.ts";
import { contended, isOver, letGo, whenUsed, type Judged } from "./judge.ts";
import { isSpent } from "./probe.ts";
import * as queue from "./queue-store.ts";
import { SettlementTaken } from "./store.ts";
import type { ExactFault, Settled } from "./types.ts";

/** Intrinsic gas, and what a byte of calldata costs at most (EIP-7623). */
const BASE_GAS = 41_000n;
const BYTE_GAS = 40n;
/** Over what it needed when it was tried. */
const MARGIN_PERCENT = 125n;

/** @throws TallystickError 503 (safe): nothing is known to have failed. */
export async function sendAlone(deps: EngineDeps, { authorization, paymentId }: Entry): Promise<{ txId: bigint; hash: Hex } | { judged: Judged }> {
  const token = deps.config.token.address;
  const call = Buffer.from(transferCalldata(authorization).slice(2), "hex");
  const tried = await deps.probe.single(call);
  if (!tried.passes) return { judged: await refused(deps, authorization, isSpent(tried.gas) ? "transfer_too_expensive" : "transfer_refused") };
  try {
    const sent = await deps.submitter.submit({
      purpose: "exact", to: token, data: `0x${call.toString("hex")}`, gas: BASE_GAS + BigInt(call.length) * BYTE_GAS + (tried.gas * MARGIN_PERCENT) / 100n, ...(paymentId === undefined ? {} : { paymentId }),
      record: (client, txId) => queue.markSent(client, token, [authorization], txId),
    });
    deps.log.info({ event: EVENT.exactSent, txHash: sent.hash, payer: authorization.from, amount: String(authorization.value), paymentId });
    return sent;
  } catch (error) {
    if (error instanceof SettlementTaken) throw contended(error);
    if (!isRevert(error)) throw error;
    return { judged: await refused(deps, authorization, "transfer_refused") };
  }
}

/** It would fail now. Somebody else may have sent it; else there is nothing to wait for, and whoever asks again starts anew. */
async function refused(deps: EngineDeps, authorization: Entry["authorization"], reason: "transfer_refused" | "transfer_too_expensive"): Promise<Settled> {
  const judged = (await whenUsed(deps, authorization)) ?? failedFor(isOver(deps, authorization) ? "authorization_expired" : reason, isOver(deps, authorization));
  await letGo(deps, authorization, undefined, judged);
  return judged;
}

const failedFor = (reason: ExactFault, final: boolean): Settled => ({ status: "failed", reason, final });
