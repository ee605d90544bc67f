// Money rule 5: what a mandate refuses leaves an entry that says which mandate, why, and that nothing moved.
import type { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { PaymentRequest } from "../ledger/types.ts";
import type { MandateRefusal } from "./logic.ts";
import { mandateRefused } from "./refusals.ts";

type Refused = Pick<PaymentRequest, "paymentId" | "channelId" | "payer" | "service" | "price">;

/** Records the refusal and makes it an error. */
export async function refusedByMandate({ audit, metrics, log }: Pick<Deps, "audit" | "metrics" | "log">, { paymentId, channelId, payer, service, price }: Refused, refusal: MandateRefusal): Promise<TallystickError> {
  await audit.recordDurably({ kind: "payment.rejected", subject: paymentId, rule: refusal.code, payer, amountAtomic: price, data: { mandateId: refusal.mandateId, service, channelId } });
  metrics.refusals.inc({ code: refusal.code });
  log.info({ event: EVENT.paymentRefused, paymentId, channelId, service, code: refusal.code, mandateId: refusal.mandateId }, "refused by a mandate, nothing moved");
  return mandateRefused(refusal);
}
