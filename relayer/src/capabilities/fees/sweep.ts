// What the worker does for fees every few seconds, in order; each step stands alone, so a pass that stops is gone on with by the next.
import type { GatewayDeps } from "../gateway/rail.ts";
import { keepBooks } from "./booking.ts";
import { applyPauses, closePaid, issueInvoices } from "./invoices.ts";
import { payFromVouchers } from "./standing-order.ts";

export async function sweepFees(deps: GatewayDeps): Promise<void> {
  await keepBooks(deps);
  await issueInvoices(deps);
  await closePaid(deps);
  await payFromVouchers(deps);
  await applyPauses(deps);
}
