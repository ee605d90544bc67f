// A receiver gave charged money back to a buyer with a transfer of its own. The statement says so once the chain does. What the relayer's
// fee was stays: it was for the call.
import { isAddressEqual, type Address, type Hex } from "viem";
import type { Static } from "typebox";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { confirmationsFor, transfersIn } from "../transfers/logic.ts";
import { blockTime, depthOf, findMined } from "../transfers/transaction.ts";
import { countRefund, findRefundable, type Refundable } from "./refund-store.ts";
import type { RefundBody, RefundView } from "./schemas.ts";

type RefundDeps = Pick<Deps, "chain" | "config" | "db">;

/** @throws TallystickError 404 `payment_unknown`, 409 `refund_not_found`, `refund_not_final`, `refund_counted`, `refund_above_charge`. */
export async function recordRefund(deps: RefundDeps, caller: Address, { paymentId, transaction }: Static<typeof RefundBody>): Promise<Static<typeof RefundView>> {
  const payment = await findRefundable(deps.db, paymentId);
  if (payment === undefined || !isAddressEqual(payment.receiver, caller)) throw new TallystickError({ code: "payment_unknown", status: 404, retry: "never", field: "paymentId", detail: "Unknown, not charged, or not yours." });
  const txHash = transaction.toLowerCase() as Hex;
  const { transfers, at } = await givenBack(deps, payment, txHash);
  let above: bigint | undefined;
  for (const { amount, logIndex } of transfers) {
    const { outcome, refunded } = await countRefund(deps.db, payment, { txHash, logIndex, amount, at });
    if (outcome === "counted") return { paymentId, transaction: txHash, amountAtomic: amount.toString(), refundedAtomic: refunded.toString() };
    if (outcome === "above_charge") above = refunded + amount;
  }
  if (above !== undefined) throw conflict("refund_above_charge", `With it ${above} would be refunded of ${payment.charged} that was charged.`);
  throw conflict("refund_counted", "This transfer is counted as the refund of another payment.");
}

async function givenBack(deps: RefundDeps, { token, receiver, payer }: Refundable, txHash: Hex): Promise<{ transfers: { amount: bigint; logIndex: number }[]; at: Date }> {
  const mined = await findMined(deps, txHash);
  if (mined === undefined || !mined.success) throw conflict("refund_not_found", `The chain has no successful transaction ${txHash}.`, "safe");
  const transfers = transfersIn(mined)
    .filter((moved) => isAddressEqual(moved.token, token) && isAddressEqual(moved.from, receiver) && isAddressEqual(moved.to, payer) && moved.value > 0n)
    .map(({ value: amount, position: logIndex }) => ({ amount, logIndex }));
  if (transfers.length === 0) throw conflict("refund_not_found", `${txHash} moves nothing from ${receiver} to ${payer}.`);
  const most = transfers.reduce((greatest, { amount }) => (amount > greatest ? amount : greatest), 0n);
  const [depth, needed] = [await depthOf(deps, mined), confirmationsFor(deps.config.transferConfirmations, most)];
  if (depth < needed) throw conflict("refund_not_final", `It is ${depth} blocks deep; ${needed} are needed for that amount.`, "safe");
  return { transfers, at: new Date(Number(await blockTime(deps, mined)) * 1000) };
}

function conflict(code: string, detail: string, retry: "never" | "safe" = "never"): TallystickError {
  return new TallystickError({ code, status: 409, retry, field: "transaction", detail });
}
