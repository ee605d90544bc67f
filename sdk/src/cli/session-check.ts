// The checks of a negotiated session that need nothing but its file: each says ok or fail, and why.
import { TallystickError } from "../errors.ts";
import { agreementOf, readSessionFile, sessionFileFaults, type SessionFile } from "../negotiation/session-file.ts";
import type { Fault } from "../negotiation/check.ts";
import { formatAmount } from "../negotiation/decimal.ts";
import { usageError } from "./exit.ts";
import { readReceiptFile, type Check } from "./receipt-check.ts";

const KINDS = ["agreement", "receipts", "total", "vouchers"] as const;

export function readSession(text: string): SessionFile {
  const file = fileIn(text);
  return { ...file, receipts: file.receipts.map((receipt) => readReceiptFile(JSON.stringify(receipt)).receipt) };
}

function fileIn(text: string): SessionFile {
  try {
    return readSessionFile(JSON.parse(text));
  } catch (error) {
    throw usageError(error instanceof TallystickError ? error.message : "The session's file is no JSON.", undefined, "session_malformed");
  }
}

function kindOf({ code, paymentId }: Fault): (typeof KINDS)[number] {
  if (paymentId !== undefined) return "receipts";
  if (code.startsWith("voucher_")) return "vouchers";
  return code.startsWith("charged_") || code === "too_many_calls" ? "total" : "agreement";
}

export async function checkSession(file: SessionFile): Promise<Check[]> {
  const faults = await sessionFileFaults(file);
  return KINDS.flatMap((name): Check[] => {
    const wrong = faults.filter((fault) => kindOf(fault) === name);
    if (wrong.length === 0) return [{ name, result: "ok", detail: fine(file)[name] }];
    return wrong.map(({ code, detail, paymentId }) => ({ name, result: "fail", detail: `${code}${paymentId === undefined ? "" : ` (${paymentId})`}: ${detail}` }));
  });
}

function fine(file: SessionFile): Record<(typeof KINDS)[number], string> {
  const { offer: { message } } = agreementOf(file);
  const total = file.receipts.reduce((sum, { payload }) => sum + BigInt(payload.amount), 0n);
  return {
    agreement: `${message.agent} took ${message.provider}'s offer of ${formatAmount(message.pricePerRequest)} a call`,
    receipts: `${file.receipts.length}, each of this session and at most at its price`,
    total: `${formatAmount(total)} charged, no more than was agreed`,
    vouchers: "signed by the payer for at least what was charged",
  };
}
