// tallystick invoices list|pay: the relayer's fee, and paying it as any x402 resource is paid.
import type { Payment } from "../../agent/agent.ts";
import { withAgent } from "../agent.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { usdc } from "../money.ts";
import { columns } from "../output.ts";
import { callRelayer } from "../relayer-api.ts";

type Invoice = { invoiceId: string; number: string; periodFrom: string; periodTo: string; calls: string; grossAtomic: string; feeAtomic: string; state: string; dueAt?: string; paymentId?: string; payUrl?: string };

const INVOICE_ID = /^inv_[0-9a-f]{32}$/;

export const invoicesList: Command = {
  path: "invoices list",
  about: "List the relayer's invoices to you",
  positionals: [0, 0],
  details: "The fee of each payment is rounded down; a draft still takes fees in. The newest fifty are shown.",
  needs: ["relayer", "key"],
  options: {},
  examples: [{ about: "what do I owe?", line: "tallystick invoices list" }],
  async run(context) {
    const { invoices } = await callRelayer<{ invoices: Invoice[] }>(context, "/api/v1/invoices");
    const rows = invoices.map(({ number, invoiceId, periodFrom, periodTo, calls, grossAtomic, feeAtomic, state, dueAt }) => [
      number, `${periodFrom.slice(0, 10)} to ${periodTo.slice(0, 10)}`, calls, usdc(BigInt(grossAtomic)), usdc(BigInt(feeAtomic)), state, state === "open" || state === "overdue" ? `${dueAt?.slice(0, 10)}` : "", invoiceId,
    ]);
    return { json: { invoices }, text: invoices.length === 0 ? "There are no invoices." : columns([["no.", "period", "calls", "gross", "fee", "state", "due", "id"], ...rows], { right: [0, 2, 3, 4] }) };
  },
};

export const invoicesPay: Command = {
  path: "invoices pay",
  about: "Pay an invoice from your channel to the relayer",
  args: "<invoice id>",
  positionals: [1, 1],
  details: "As tallystick pay does it, for exactly the fee: with a voucher on your channel to the relayer, and a deposit first where that is empty.\nPaying twice is charged once.",
  needs: ["chain", "relayer", "key", "state"],
  options: {},
  examples: [{ about: "one of the list", line: "tallystick invoices pay inv_0193b1c2d4e5f60718293a4b5c6d7e8f" }],
  async run(context, { positionals: [id] }) {
    if (!INVOICE_ID.test(id!)) throw usageError("An invoice id is inv_ and 32 hex digits; tallystick invoices list shows them.");
    const invoice = await callRelayer<Invoice>(context, `/api/v1/invoices/${id}`);
    if (invoice.payUrl === undefined) throw new CliError({ code: `invoice_${invoice.state}`, detail: `The invoice is ${invoice.state}: there is nothing to pay.` });
    const payment = await pay(context, invoice.payUrl, BigInt(invoice.feeAtomic));
    const paid = { invoiceId: invoice.invoiceId, state: "paid", feeAtomic: invoice.feeAtomic, paymentId: payment.paymentId, channelId: payment.channelId };
    return { json: paid, text: columns([["paid", `${usdc(payment.charged)} USDC`], ["invoice", `${invoice.number} (${invoice.invoiceId})`], ["payment", payment.paymentId ?? ""]]) };
  },
};

/** For exactly the fee, whatever the relayer asks for by then. */
async function pay(context: Context, url: string, fee: bigint): Promise<Payment> {
  let payment: Payment | undefined;
  const options = { limits: { perCall: fee }, deposit: { calls: 1 }, onPayment: (made: Payment) => void (payment = made) };
  const answer = await withAgent(context, options, (agent) => agent.fetch(url, { method: "POST", signal: context.signal }));
  const text = await answer.text();
  if (answer.ok && payment !== undefined) return payment;
  const { code = "payment_refused", detail = `The relayer answers ${answer.status}.` } = ((): { code?: string; detail?: string } => {
    try {
      return JSON.parse(text) as { code?: string; detail?: string };
    } catch {
      return {}; // not from a relayer
    }
  })();
  throw new CliError({ code, detail, exit: answer.status === 402 ? "refused" : "answer" });
}
