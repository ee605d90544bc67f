import { Type } from "typebox";

const Text = Type.String();
const Optional = Type.Union([Text, Type.Null()]);
const Status = Type.Union([Type.Literal("SETTLED"), Type.Literal("PENDING"), Type.Literal("NEVER")]);
const Entry = Type.Object({ kind: Text, at: Text, subject: Text }, { additionalProperties: true });

export const ExportQuery = Type.Object({
  after: Type.Optional(Type.String({ maxLength: 80, description: "Cursor of the end line of an earlier export" })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000_000, description: "Most seals (operator) or entries (party); the end line's cursor goes on" })),
});
export const PurchasesQuery = Type.Object({ before: Type.Optional(Type.String({ maxLength: 80, description: "`next` of an earlier page" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })) });

export const PaymentAuditView = Type.Object({
  paymentId: Text,
  status: Status,
  transaction: Optional,
  reason: Optional,
  detail: Text,
  proof: Type.Union([Type.Literal("money_never_moved"), Type.Null()], { description: "When the status is NEVER" }),
  entries: Type.Array(
    Type.Object({
      entry: Entry,
      hash: Text,
      previous: Text,
      proof: Type.Array(Text),
      seal: Type.Object({ epoch: Text, number: Text, firstSeq: Text, entries: Text, previous: Text, root: Text, head: Text, sealedAtMs: Text, signer: Text, signature: Text }),
    }),
    { description: "Sealed: hash is sha-256 of previous and the entry's canonical JSON, and proof leads from it to the seal's root (RFC 6962)" },
  ),
  unsealed: Type.Array(Entry, { description: "Decided, and sealed within about a second" }),
});

export const PurchasesView = Type.Object({
  purchases: Type.Array(
    Type.Object({
      paymentId: Text,
      at: Text,
      decision: Type.Union([Type.Literal("APPROVED"), Type.Literal("REJECTED")]),
      status: Type.Union(["delivered", "serving", "paid_undelivered", "not_charged", "refused"].map((status) => Type.Literal(status)), { description: "What you got: paid_undelivered is owed, not_charged ran and cost nothing, refused never ran" }),
      settlement: Type.Union([Type.Literal("SETTLED"), Type.Literal("PENDING"), Type.Literal("NEVER")], { description: "What became of the money" }),
      requestId: Type.Union([Text, Type.Null()], { description: "Payments by transfer" }),
      txHash: Optional,
      proof: Type.Union([Text, Type.Null()], { description: "The transaction's hash, or money_never_moved" }),
      rule: Optional,
      firewallReason: Type.Union([Text, Type.Null()], { description: "Why it was refused, or what allowed it" }),
      policyHash: Optional,
      detail: Text,
      service: Optional,
      resource: Optional,
      payee: Optional,
      amountUsdc: Optional,
      priceAtomic: Optional,
      chargedAtomic: Optional,
    }),
  ),
  next: Optional,
});
