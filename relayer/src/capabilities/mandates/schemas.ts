// Wire types of mandates. A lineage is read by sdk/src/lineage.ts, which names the field that is wrong; here it is only described.
import { Type } from "typebox";

const Atomic = Type.String({ description: "Atomic token units" });
const Usd = Type.String({ description: "US dollars (USDC), as a decimal" });
const Address = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });
const Bytes32 = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);

const Mandate = Type.Object(
  {
    principal: Address, delegate: Address, token: Address,
    limit: Atomic, periodLimit: Type.String({ description: "Most in one period; 0 exactly where period is" }), paymentLimit: Type.String({ description: "Most in one payment" }),
    period: Type.Integer({ description: "Seconds; period n begins at validAfter + n * period" }), validAfter: Type.Integer({ description: "Unix seconds" }), validUntil: Type.Integer({ description: "Unix seconds; the last one" }),
    epoch: Type.Integer(), payeesRoot: Bytes32, capability: Bytes32, parent: Bytes32, terms: Bytes32, salt: Bytes32,
  },
  { description: "What is signed (EIP-712, the registry's domain); its hash is its id" },
);

const Grant = Type.Object({
  mandate: Mandate,
  signature: Type.String({ pattern: "^0x[0-9a-fA-F]*$", maxLength: 8_194, description: "The grantor's; 0x for one that is approved on the chain" }),
  payees: Type.Optional(Type.Array(Address, { description: "Whom payeesRoot is the root of" })),
});

export const GuardBody = Type.Object(
  { authorizer: Address, signature: Type.String({ pattern: "^0x[0-9a-fA-F]*$", maxLength: 8_194, description: "The authorizer's own, over GuardBinding(bytes32 mandateId,address authorizer)" }) },
  { additionalProperties: false },
);

export const RegisterBody = Type.Object(
  {
    lineage: Type.Array(Grant, { minItems: 1, maxItems: 9, description: "The mandate, its parent, up to the root. What is registered already may be left out at the end" }),
    guards: Type.Optional(Type.Array(GuardBody, { maxItems: 64, description: "Voucher keys that spend under the mandate" })),
  },
  { additionalProperties: false },
);

export const RevokeBody = Type.Optional(
  Nullable(Type.Object({ by: Address, signature: Type.String({ pattern: "^0x[0-9a-fA-F]*$", maxLength: 8_194, description: "Over MandateRevocation(bytes32 mandateId); then nobody has to be signed in" }) }, { additionalProperties: false })),
);

export const Keyed = Type.Object({ "idempotency-key": Type.Optional(Type.String({ pattern: "^[\\x21-\\x7e]{1,255}$" })) });
export const IdParams = Type.Object({ mandateId: Bytes32 });
export const ListQuery = Type.Object({ before: Type.Optional(Type.String({ format: "date-time" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })) });
export const HistoryQuery = Type.Object({ before: Type.Optional(Type.String({ pattern: "^\\d{1,19}-[\\x21-\\x7e]{1,160}$", description: "`next` of the page before" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })) });

const Period = Type.Object({ seconds: Type.Integer(), limitAtomic: Atomic, spentAtomic: Atomic, reservedAtomic: Atomic, remainingAtomic: Atomic, endsAt: Type.String() });

const figures = {
  maxAtomic: Atomic, spentAtomic: Type.String({ description: "Charged by this relayer, under it and under every mandate below it" }), reservedAtomic: Type.String({ description: "Set aside for calls under way" }),
  remainingAtomic: Type.String({ description: "What could be spent now, over it and all above it" }), max_amount_usd: Nullable(Usd), amount_spent_usd: Nullable(Usd),
  maxPaymentAtomic: Atomic, period: Nullable(Period),
};
const Status = Type.Union([Type.Literal("active"), Type.Literal("not_yet_valid"), Type.Literal("expired"), Type.Literal("revoked"), Type.Literal("exhausted")], { description: "Of the whole lineage" });

export const MandateView = Type.Object({
  mandateId: Type.String(), status: Status, depth: Type.Integer(), mandate: Mandate, lineage: Type.Array(Type.String(), { description: "It, its parent, up to the root" }), payees: Nullable(Type.Array(Type.String())), ...figures,
  validAfter: Type.String(), validUntil: Type.String(), revokedBy: Nullable(Type.String({ description: "Who ended it here" })), revokedAt: Nullable(Type.String()), registeredAt: Type.String(),
  onChain: Type.Object({ registry: Type.String(), approved: Type.Boolean(), revoked: Type.Boolean(), spentAtomic: Atomic, epoch: Type.Integer({ description: "The principal's now" }), block: Type.String({ description: "As of; 0: never read" }) }),
});
export const MandateWithGuards = Type.Intersect([MandateView, Type.Object({ guards: Type.Array(Type.Object({ authorizer: Type.String(), boundAt: Type.String() })) })]);

export const RemainingView = Type.Object({
  mandateId: Type.String(), status: Status, remainingAtomic: Atomic, remaining_usd: Nullable(Usd),
  levels: Type.Array(Type.Object({ mandateId: Type.String(), remainingAtomic: Atomic, maxPaymentAtomic: Atomic, period: Nullable(Period) }), { description: "Each by itself, the mandate first" }),
});

export const HistoryView = Type.Object({
  payments: Type.Array(
    Type.Object({
      paymentId: Type.String(), mandateId: Type.String(), sessionId: Nullable(Type.String()), service: Type.String(), resource: Type.String(), payee: Type.String(), state: Type.String(), priceAtomic: Atomic,
      chargedAtomic: Nullable(Atomic), reason: Nullable(Type.String()), at: Type.String(),
    }),
  ),
  next: Nullable(Type.String({ description: "For `before` of the next page" })),
});

export const TreeView = Type.Object({
  mandateId: Type.String(),
  nodes: Type.Array(
    Type.Object({
      mandateId: Type.String(), parent: Nullable(Type.String()), depth: Type.Integer({ description: "0: the one that was asked for" }), delegate: Type.String(), status: Status, maxAtomic: Atomic, spentAtomic: Atomic,
      reservedAtomic: Atomic, remainingAtomic: Atomic, max_amount_usd: Nullable(Usd), amount_spent_usd: Nullable(Usd),
    }),
    { description: "It and every mandate below it, parents before their children; what is spent below is in what is spent above" },
  ),
});

export const RevokedView = Type.Object({
  mandateId: Type.String(), ended: Type.Array(Type.String(), { description: "It and every mandate below it: refused here from now on" }),
  transaction: Nullable(Type.Object({ to: Type.String(), data: Type.String(), from: Nullable(Type.String({ description: "Who must send it; null: anybody" })) }, { description: "To be sent for the chain to hear of it" })),
  channels: Type.Array(Type.Object({ sessionId: Type.String(), mandateId: Type.String(), payee: Type.String(), balanceAtomic: Atomic, chargedAtomic: Atomic, claimedAtomic: Atomic, withdrawing: Type.Boolean() }), {
    description: "Channels under them that hold money: their payer starts the withdrawals",
  }),
});
export const GuardsView = Type.Object({ mandateId: Type.String(), authorizer: Type.String() });
