// Wire types of the sales API.
import { Type, type Static } from "typebox";

const HeaderMap = Type.Record(Type.String(), Type.Union([Type.String({ maxLength: 16_384 }), Type.Array(Type.String({ maxLength: 16_384 }), { maxItems: 100 })]));

export const TakeBody = Type.Object(
  {
    service: Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$", description: "One of yours, listed with a url" }),
    priceAtomic: Type.Optional(Type.String({ pattern: "^[1-9][0-9]{0,37}$", description: "The most that this call may be charged; the service's price when left out" })),
    resource: Type.String({ maxLength: 8_192, description: "Public URL of what is bought, below the service's url" }),
    inputHash: Type.String({ pattern: "^0x[0-9a-f]{64}$", description: "sdk/src/receipt.ts inputHash of the buyer's request" }),
    session: Type.Optional(Type.String({ pattern: "^0x[0-9a-fA-F]{64}$", description: "The buyer's X-402-Session-Id header: a session that was negotiated is sold at its price" })),
    payment: Type.Optional(Type.String({ maxLength: 16_384, description: "The buyer's PAYMENT-SIGNATURE header" })),
  },
  { additionalProperties: false },
);
export type WireTake = Static<typeof TakeBody>;

/** An answer to pass to the buyer as it is. */
export const AnswerView = Type.Object({ status: Type.Integer(), headers: HeaderMap, bodyBase64: Type.String() });

export const TakeView = Type.Union([
  Type.Object({ outcome: Type.Literal("reserved"), paymentId: Type.String(), payer: Type.String(), priceAtomic: Type.String(), leaseMs: Type.Integer({ description: "Charge within this time" }) }),
  Type.Object({ outcome: Type.Union([Type.Literal("unpaid"), Type.Literal("refused"), Type.Literal("replay")]), code: Type.String(), answer: AnswerView }),
]);

export const SaleParams = Type.Object({ paymentId: Type.String({ pattern: "^pay_[0-9a-f]{32}$" }) });

export const ChargeBody = Type.Object(
  {
    amountAtomic: Type.Optional(Type.String({ pattern: "^(0|[1-9][0-9]{0,37})$", description: "At most the price; the price when left out" })),
    answer: Type.Object({ status: Type.Integer({ minimum: 200, maximum: 399 }), headers: HeaderMap, bodyBase64: Type.String({ description: "Standard base64" }) }),
    startedAtMs: Type.Integer({ minimum: 0, description: "Unix milliseconds" }),
    endedAtMs: Type.Integer({ minimum: 0 }),
  },
  { additionalProperties: false },
);
export type WireCharge = Static<typeof ChargeBody>;

const Headers = Type.Record(Type.String(), Type.String(), { description: "Set these on the answer" });

export const ChargeView = Type.Union([
  Type.Object({
    outcome: Type.Literal("charged"),
    chargedAtomic: Type.String(),
    headers: Headers,
    receipt: Type.Optional(Type.Object({}, { additionalProperties: true, description: "Signed EIP-712 receipt" })),
  }),
  Type.Object({ outcome: Type.Literal("refused"), code: Type.String(), answer: AnswerView }),
]);

export const ReleaseBody = Type.Object({ reason: Type.String({ pattern: "^[a-z0-9_]{1,64}$" }) }, { additionalProperties: false });
export const ReleaseView = Type.Object({ headers: Headers });
