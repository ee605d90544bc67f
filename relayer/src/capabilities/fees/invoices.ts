// Invoices: issued from the books, paid like any call that is sold here. There is one way for money to move, the gateway's rails; an
// invoice is only a thing that is bought once.
import { isAddressEqual, type Address } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { unpaid } from "../gateway/challenge.ts";
import { requestHash } from "../gateway/logic.ts";
import type { GatewayDeps, Sale } from "../gateway/rail.ts";
import { openPurchase, type ReadPayment } from "../gateway/service.ts";
import type { Service } from "../gateway/store.ts";
import { lockBooks } from "./book-store.ts";
import { checkPayable, type Invoice } from "./logic.ts";
import * as store from "./invoice-store.ts";

/** What invoices are in the ledger. No service can be listed under this name. */
export const FEE_SERVICE = "relayer.fees";
/** Of the channels that pay invoices: the longest a relayer has to claim what it was paid. */
const WITHDRAW_DELAY_S = 86_400;
const LEASE_MS = 10_000;

export const payPath = (invoiceId: string): string => `/api/v1/invoices/${invoiceId}/pay`;
export const payUrl = ({ config }: Pick<Deps, "config">, invoiceId: string): string => config.publicUrl + payPath(invoiceId);

/** How fees are paid, whatever the amount. */
export function feeService({ config }: Pick<Deps, "config">, price: bigint, token: Address = config.token.address): Service {
  return {
    name: FEE_SERVICE, origin: undefined, url: undefined, owner: undefined, description: "The relayer's fee", receiver: config.fee.receiver, token,
    price, minDepositCalls: 1, withdrawDelayS: WITHDRAW_DELAY_S, upstreamTimeoutMs: LEASE_MS, stream: undefined,
  };
}

/** Issues what is due. @returns the invoices issued; undefined when another process keeps the books. */
export async function issueInvoices({ config, db, log, now, reached }: Pick<Deps, "config" | "db" | "log" | "now" | "reached">): Promise<Invoice[] | undefined> {
  const issued = await inTransaction(db, async (client) => ((await lockBooks(client)) === undefined ? undefined : store.issueDue(client, now(), config.fee.invoiceThreshold, config.fee.dueS)));
  if (issued === undefined || issued.length === 0) return issued;
  reached("invoice.issued");
  for (const { invoiceId, receiver, fee } of issued) log.info({ event: EVENT.invoiceIssued, invoiceId, receiver, feeAtomic: fee.toString() }, "invoice issued");
  return issued;
}

/** @throws TallystickError 404 `invoice_unknown`. */
export async function invoiceOf({ db }: Pick<Deps, "db">, invoiceId: string): Promise<Invoice> {
  const invoice = await store.findInvoice(db, invoiceId);
  if (invoice !== undefined) return invoice;
  throw new TallystickError({ code: "invoice_unknown", status: 404, retry: "never", field: "invoiceId", detail: `There is no invoice ${invoiceId}.` });
}

/** For whoever owes it; for others it does not exist. @throws TallystickError 404. */
export async function ownInvoice(deps: Pick<Deps, "db">, caller: Address, invoiceId: string): Promise<Invoice> {
  const invoice = await invoiceOf(deps, invoiceId);
  if (isAddressEqual(invoice.receiver, caller)) return invoice;
  throw new TallystickError({ code: "invoice_unknown", status: 404, retry: "never", field: "invoiceId", detail: `There is no invoice ${invoiceId}.` });
}

export type PayRequest = { contentType: string; body: Buffer };

/**
 * Pays an invoice with an x402 payment. The same payment again gives the same answer.
 * @throws TallystickError 402 the payment does not do (the route adds the terms), 404, 409 `invoice_paid`, `invoice_not_issued`; 503 `invoice_being_paid`.
 */
export async function payInvoice(deps: GatewayDeps, invoice: Invoice, payment: ReadPayment | undefined, request: PayRequest): Promise<Sale> {
  // The id is the client's to name, so it alone shows nothing: the rail checks the payment, and knows it again.
  if (payment === undefined || invoice.paymentId !== payment.paymentId) checkPayable(invoice);
  if (payment === undefined) throw unpaid();
  const { invoiceId } = invoice;
  const purchase = { service: feeService(deps, invoice.fee, invoice.token), resource: payUrl(deps, invoiceId), requestHash: requestHash("POST", payPath(invoiceId), request.contentType, request.body) };
  const opened = await openPurchase(deps, purchase, payment);
  if (opened.outcome === "sold") return opened.sale;
  const { payment: reserved } = opened;
  if (!(await store.claim(deps.db, invoiceId, reserved.paymentId))) {
    await reserved.abandon("invoice_taken");
    checkPayable(await invoiceOf(deps, invoiceId));
    throw new TallystickError({ code: "invoice_being_paid", status: 503, retry: "safe", detail: `Another payment of invoice ${invoiceId} is under way.`, extra: { retryAfterS: 5 } });
  }
  const startedAt = deps.now();
  const body = Buffer.from(JSON.stringify({ invoiceId, state: "paid", feeAtomic: invoice.fee.toString(), token: invoice.token, paymentId: reserved.paymentId }));
  const sale = await reserved.charge({ answer: { status: 200, headers: { "content-type": "application/json", "cache-control": "private" }, body }, amount: invoice.fee, startedAt, endedAt: deps.now() });
  await closePaid(deps, invoiceId);
  return sale;
}

/** Closes what is charged. After a crash between charge and close, the next pass of any process does it. */
export async function closePaid({ db, log }: Pick<Deps, "db" | "log">, invoiceId?: string): Promise<void> {
  for (const paid of await store.closePaid(db, invoiceId)) log.info({ event: EVENT.invoicePaid, invoiceId: paid.invoiceId, receiver: paid.receiver, feeAtomic: paid.fee.toString(), paymentId: paid.paymentId }, "invoice paid");
}

/** Pauses and resumes services by the operator's grace period. */
export async function applyPauses({ config, db, log, now }: Pick<Deps, "config" | "db" | "log" | "now">): Promise<void> {
  const since = config.fee.graceS === undefined ? undefined : new Date(now().getTime() - config.fee.graceS * 1000);
  const { paused, resumed } = await store.setPauses(db, since);
  for (const receiver of paused) log.warn({ event: EVENT.servicePaused, receiver }, "services paused: an invoice is overdue");
  for (const receiver of resumed) log.info({ event: EVENT.serviceResumed, receiver }, "services resumed");
}
