// Wire types of statements and of refunds that receivers make themselves.
import { Type, type Static } from "typebox";

const Day = Type.String({ pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" });
const Atomic = Type.String({ description: "Atomic token units" });

export const StatementQuery = Type.Object({
  from: Type.Optional(Type.Unsafe<string>({ ...Day, description: "First day (UTC); the first of this month when left out" })),
  to: Type.Optional(Type.Unsafe<string>({ ...Day, description: "Day after the last (UTC); tomorrow when left out" })),
  token: Type.Optional(Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" })),
  receiver: Type.Optional(Type.String({ pattern: "^0x[0-9a-fA-F]{40}$", description: "Yourself; may be left out" })),
  format: Type.Optional(Type.Union([Type.Literal("json"), Type.Literal("csv")], { description: "Or by Accept: text/csv" })),
});
export type WireStatementQuery = Static<typeof StatementQuery>;

const sums = {
  calls: Type.Integer({ description: "Payments" }),
  grossAtomic: Type.String({ description: "What buyers were charged" }),
  feesAtomic: Type.String({ description: "The relayer's fee, invoiced apart" }),
  refundsAtomic: Type.String({ description: "What was charged and given back to buyers" }),
  netAtomic: Type.String({ description: "gross - fees - refunds" }),
};

export const StatementView = Type.Object({
  receiver: Type.String(),
  token: Type.String(),
  from: Day,
  to: Type.Unsafe<string>({ ...Day, description: "Exclusive" }),
  provisional: Type.Boolean({ description: "The period is not over, or not wholly booked yet" }),
  booksAt: Type.Optional(Type.String({ description: "What was charged before is in" })),
  lines: Type.Array(Type.Object({ day: Day, service: Type.String(), ...sums })),
  totals: Type.Object(sums),
  balance: Type.Object({
    openingAtomic: Type.String({ description: "Charged by channel and not paid out before the period" }),
    chargedAtomic: Type.String({ description: "Charged by channel in it" }),
    paidDirectlyAtomic: Type.String({ description: "Charged in it by transfers, which paid the receiver at once" }),
    settledAtomic: Type.String({ description: "Paid out by the contract in it" }),
    closingAtomic: Type.String({ description: "opening + charged - settled" }),
    unclaimedNowAtomic: Type.String({ description: "Charged and not claimed on chain, at this moment" }),
  }),
  transactions: Type.Array(
    Type.Object({ kind: Type.Union([Type.Literal("claim"), Type.Literal("settlement"), Type.Literal("refund")]), at: Type.String(), transaction: Type.String(), block: Type.Optional(Type.String()), amountAtomic: Atomic }),
  ),
});
export type WireStatement = Static<typeof StatementView>;

export const RefundBody = Type.Object(
  { paymentId: Type.String({ pattern: "^pay_[0-9a-f]{32}$" }), transaction: Type.String({ pattern: "^0x[0-9a-fA-F]{64}$", description: "Moved the payment's token from you to its payer" }) },
  { additionalProperties: false },
);
export const RefundView = Type.Object({ paymentId: Type.String(), transaction: Type.String(), amountAtomic: Atomic, refundedAtomic: Type.String({ description: "Of this payment, in all" }) });
