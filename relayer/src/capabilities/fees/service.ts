// What a provider sees of its fees.
import type { Address } from "viem";
import type { Static } from "typebox";
import type { Deps } from "../../deps.ts";
import { sessionTerms } from "../gateway/terms.ts";
import { bookedAt } from "./book-store.ts";
import { linesOf, listInvoices } from "./invoice-store.ts";
import { feeService, payUrl } from "./invoices.ts";
import { isOverdue, type Invoice } from "./logic.ts";
import type { FeesView, InvoicePage, InvoiceView, LinesPage } from "./schemas.ts";
import { authorization } from "./standing-order.ts";
import { EVERYBODY, newestTerms } from "./terms-store.ts";

type FeeDeps = Pick<Deps, "config" | "db" | "keyring" | "now">;

const INVOICES_A_PAGE = 50;
const LINES_A_PAGE = 1_000;

export async function feesOf(deps: FeeDeps, provider: Address): Promise<Static<typeof FeesView>> {
  const { config, db, keyring } = deps;
  const terms = await newestTerms(db);
  const { scheme, network, asset, payTo, extra } = sessionTerms(config, feeService(deps, 1n), keyring.active, "");
  const { receiverAuthorizer, withdrawDelay } = extra as { receiverAuthorizer: string; withdrawDelay: number };
  const vouchers = await authorization(deps, provider);
  return {
    feeBps: provider === config.fee.receiver ? 0 : (terms.get(provider) ?? terms.get(EVERYBODY) ?? 0),
    receiver: config.fee.receiver,
    terms: { scheme, network, asset, payTo, receiverAuthorizer, withdrawDelay },
    vouchers: vouchers.map(({ channelId, ceiling, invoiceId, charged, balance }) => ({
      channelId, maxClaimableAmount: ceiling.toString(), ...(invoiceId === undefined ? {} : { invoiceId }), chargedAtomic: charged.toString(), balanceAtomic: balance.toString(),
    })),
  };
}

export async function invoicePage(deps: FeeDeps, provider: Address, before: string | undefined): Promise<Static<typeof InvoicePage>> {
  const invoices = await listInvoices(deps.db, provider, before === undefined ? undefined : BigInt(before), INVOICES_A_PAGE);
  const books = await bookedAt(deps.db);
  return { invoices: invoices.map((invoice) => viewOf(deps, invoice)), more: invoices.length === INVOICES_A_PAGE, ...(books === undefined ? {} : { booksAt: books.toISOString() }) };
}

export function viewOf(deps: Pick<Deps, "config" | "now">, invoice: Invoice): Static<typeof InvoiceView> {
  const { invoiceId, number, receiver, token, periodFrom, periodTo, calls, gross, fee, state, issuedAt, dueAt, paidAt, paymentId } = invoice;
  return {
    invoiceId, number: number.toString(), receiver, token, periodFrom: periodFrom.toISOString(), periodTo: periodTo.toISOString(),
    calls: calls.toString(), grossAtomic: gross.toString(), feeAtomic: fee.toString(),
    state: isOverdue(invoice, deps.now()) ? "overdue" : state,
    ...(issuedAt === undefined ? {} : { issuedAt: issuedAt.toISOString() }),
    ...(dueAt === undefined ? {} : { dueAt: dueAt.toISOString() }),
    ...(paidAt === undefined ? {} : { paidAt: paidAt.toISOString() }),
    ...(state === "paid" && paymentId !== undefined ? { paymentId } : {}),
    ...(state === "open" ? { payUrl: payUrl(deps, invoiceId) } : {}),
  };
}

export async function linesPage({ db }: Pick<Deps, "db">, { invoiceId }: Invoice, after: string | undefined): Promise<Static<typeof LinesPage>> {
  const lines = await linesOf(db, invoiceId, after ?? "", LINES_A_PAGE);
  const last = lines.length === LINES_A_PAGE ? lines.at(-1) : undefined;
  return {
    lines: lines.map(({ paymentId, at, service, charged, feeBps, fee }) => ({ paymentId, at: at.toISOString(), service, chargedAtomic: charged.toString(), feeBps, feeAtomic: fee.toString() })),
    ...(last === undefined ? {} : { after: last.paymentId }),
  };
}
