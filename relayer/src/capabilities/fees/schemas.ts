// Wire types of fees and invoices.
import { Type, type Static } from "typebox";
import { ConfigSchema, SignatureString } from "../gateway/schemas.ts";

const Atomic = Type.String({ description: "Atomic token units" });
const Time = Type.String({ description: "ISO 8601" });

export const InvoiceParams = Type.Object({ invoiceId: Type.String({ pattern: "^inv_[0-9a-f]{32}$" }) });

export const InvoiceView = Type.Object({
  invoiceId: Type.String(),
  number: Type.String(),
  receiver: Type.String({ description: "Who owes it" }),
  token: Type.String(),
  periodFrom: Time,
  periodTo: Type.String({ description: "Exclusive" }),
  calls: Type.String({ description: "Payments with a fee" }),
  grossAtomic: Atomic,
  feeAtomic: Atomic,
  state: Type.Union([Type.Literal("draft"), Type.Literal("open"), Type.Literal("overdue"), Type.Literal("paid")]),
  issuedAt: Type.Optional(Time),
  dueAt: Type.Optional(Time),
  paidAt: Type.Optional(Time),
  paymentId: Type.Optional(Type.String({ description: "The payment that paid it" })),
  payUrl: Type.Optional(Type.String({ description: "POST: 402 with terms, paid with PAYMENT-SIGNATURE" })),
});

export const InvoiceQuery = Type.Object({ before: Type.Optional(Type.String({ pattern: "^[1-9][0-9]{0,18}$", description: "Number of the last invoice of the page before" })) });
export const InvoicePage = Type.Object({ invoices: Type.Array(InvoiceView), more: Type.Boolean(), booksAt: Type.Optional(Type.String({ description: "What was charged before is in them" })) });

export const LinesQuery = Type.Object({ after: Type.Optional(Type.String({ pattern: "^pay_[0-9a-f]{32}$", description: "Last payment of the page before" })) });
export const LinesPage = Type.Object({
  lines: Type.Array(Type.Object({ paymentId: Type.String(), at: Time, service: Type.String(), chargedAtomic: Atomic, feeBps: Type.Integer(), feeAtomic: Atomic })),
  after: Type.Optional(Type.String()),
});

export const AuthorizationBody = Type.Object(
  {
    channelConfig: Type.Unsafe<Static<typeof ConfigSchema>>({ ...ConfigSchema, description: "A channel of yours to the relayer's fee receiver" }),
    vouchers: Type.Array(
      Type.Object({ channelId: Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" }), maxClaimableAmount: Type.String({ pattern: "^[1-9][0-9]{0,37}$" }), signature: SignatureString }),
      { minItems: 1, maxItems: 100, description: "Each pays one invoice; the highest is the most that can be taken" },
    ),
  },
  { additionalProperties: false },
);
export type WireAuthorization = Static<typeof AuthorizationBody>;

export const FeesView = Type.Object({
  feeBps: Type.Integer({ description: "Of what is charged from now on, hundredths of a percent, rounded down for each payment" }),
  receiver: Type.String({ description: "Whom fees are paid to" }),
  terms: Type.Object({}, { additionalProperties: true, description: "x402 terms of a channel that pays fees: receiver, receiverAuthorizer, withdrawDelay" }),
  vouchers: Type.Array(
    Type.Object({ channelId: Type.String(), maxClaimableAmount: Atomic, invoiceId: Type.Optional(Type.String({ description: "What it paid" })), chargedAtomic: Atomic, balanceAtomic: Atomic }),
  ),
});
