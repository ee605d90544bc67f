// Wire types of the firewall. A policy itself is read by the SDK's parsePolicy, which names the field.
import { Type, type Static } from "typebox";

const Amount = Type.String({ pattern: "^(0|[1-9][0-9]{0,38})$", description: "Atomic token units" });
const AddressString = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });
const Bytes32 = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const ServiceName = Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$" });
const Signature = Type.String({ pattern: "^0x([0-9a-fA-F]{2})+$", maxLength: 8192 });
const Loose = (properties: Parameters<typeof Type.Object>[0] = {}) => Type.Object(properties, { additionalProperties: true });

export const ApplyBody = Type.Object({ policy: Type.Unknown({ description: "tallystick-policy/1" }), signature: Signature }, { additionalProperties: false });
export const PolicyView = Loose({ policy: Loose(), policyHash: Bytes32, signature: Type.String(), appliedAt: Type.String() });
export const PoliciesView = Type.Object({ policies: Type.Array(PolicyView) });
export const NameParams = Type.Object({ name: ServiceName });

const CheckShape = {
  sessionId: Type.Optional(Bytes32),
  service: Type.Optional(ServiceName),
  priceAtomic: Type.Optional(Amount),
  payment: Type.Optional(Type.Union([Type.String({ maxLength: 16_384, description: "PAYMENT-SIGNATURE as it would be sent" }), Loose()])),
  paymentId: Type.Optional(Type.String({ maxLength: 64, description: "What became of a payment that was sent" })),
  negotiation: Type.Optional(Type.Object({ service: ServiceName, priceAtomic: Amount }, { additionalProperties: false })),
};
const CheckInputs = Type.Object(CheckShape, { additionalProperties: false });
export type WireCheck = Static<typeof CheckInputs>;

const Action = Type.Object(
  {
    type: Type.String({ minLength: 1, maxLength: 64 }),
    idempotencyKey: Type.String({ minLength: 1, maxLength: 200 }),
    inputs: CheckInputs,
    expected: Type.Union([Type.Literal("txHash"), Type.Literal("money_never_moved")]),
  },
  { additionalProperties: false },
);
export type WireAction = Static<typeof Action>;

/** One of sessionId, payment, paymentId and negotiation; or an intent in words with its action contract. */
export const CheckBody = Type.Object({ ...CheckShape, intent: Type.Optional(Type.String({ maxLength: 4_096 })), action: Type.Optional(Action) }, { additionalProperties: false });

const ProofView = Type.Union([Loose({ type: Type.String() }), Type.Null()]);
export const CheckView = Loose({ decision: Type.Union([Type.Literal("APPROVED"), Type.Literal("REJECTED")]), rule: Type.String(), reason: Type.String(), proof: ProofView });

export const SimulateBody = Type.Object({ policy: Type.Unknown(), from: Type.String({ format: "date-time" }), to: Type.String({ format: "date-time" }) }, { additionalProperties: false });
const SumView = Type.Object({ count: Type.Integer(), amountAtomic: Amount });
export const SimulateView = Type.Object({
  from: Type.String(), to: Type.String(), considered: SumView, unchanged: SumView, wouldReject: SumView, wouldWait: SumView, wouldAllow: SumView,
  byRule: Type.Record(Type.String(), SumView), examples: Type.Array(Loose()), truncatedAt: Type.Union([Type.String(), Type.Null()]),
});

export const DecideBody = Type.Object({ approver: AddressString, signature: Signature }, { additionalProperties: false });
export const ApprovalParams = Type.Object({ id: Type.String({ pattern: "^apr_[0-9a-f]{32}$" }) });
export const ApprovalView = Loose({ id: Type.String(), state: Type.String(), payer: Type.String(), payee: Type.String(), amountAtomic: Amount, resource: Type.String(), policyHash: Type.String(), expiresAt: Type.String() });
export const ApprovalsView = Type.Object({ approvals: Type.Array(ApprovalView) });
export const ApprovalsQuery = Type.Object({
  state: Type.Optional(Type.Union([Type.Literal("pending"), Type.Literal("granted"), Type.Literal("refused")])),
  before: Type.Optional(Type.String({ format: "date-time" })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
});

export const EventsQuery = Type.Object({ cursor: Type.Optional(Type.String({ pattern: "^[0-9]{1,19}$" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })), after: Type.Optional(Type.String()) });
export const EventsView = Type.Object({ events: Type.Array(Loose({ id: Type.String(), kind: Type.String() })), cursor: Type.Union([Type.String(), Type.Null()]) });
