// Wire types of negotiating. The messages themselves are read field by field by sdk/src/negotiation: what is signed has one description.
import { Type } from "typebox";

const Hash = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const Signature = Type.String({ pattern: "^0x(?:[0-9a-fA-F]{2})+$", maxLength: 8_192 });
const Message = (about: string) => Type.Object({}, { additionalProperties: true, description: about });

/** {message, signature}, as the SDK writes it. */
export const SignedBody = (about: string) => Type.Object({ message: Message(about), signature: Signature }, { additionalProperties: false });
export const IntentParams = Type.Object({ intentId: Hash });
export const SessionParams = Type.Object({ sessionId: Hash });
export const PolicyParams = Type.Object({ policyHash: Hash });
export const NameParams = Type.Object({ name: Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$" }) });
export const CounterOrOffer = Type.Object({ counter: Type.Optional(SignedBody("Counter")), offer: Type.Optional(SignedBody("Offer")) }, { additionalProperties: false });

export const OfferView = Type.Object({
  offerHash: Type.String(), message: Message("Offer"), signature: Type.String(), policyHash: Type.Union([Type.String(), Type.Null()], { description: "GET /api/v1/price-policies/<hash>; null: signed by the provider itself" }),
  renews: Type.Union([Type.String(), Type.Null()], { description: "The session that it goes on from" }),
});
export const NegotiationView = Type.Object({
  intentId: Type.String(), intentHash: Type.String(), sessionId: Type.String({ description: "Of the negotiation: the intent's id" }), state: Type.Union([Type.Literal("open"), Type.Literal("expired")]), expiresAt: Type.Integer(),
  offers: Type.Array(OfferView), declined: Type.Array(Type.Object({ service: Type.String(), reason: Type.String() })),
});
export const AnswerView = Type.Object({ state: Type.Union([Type.Literal("answered"), Type.Literal("waiting")], { description: "waiting: the provider answers when it comes by" }), offer: Type.Union([OfferView, Type.Null()]) });
export const SessionView = Type.Object({
  sessionId: Type.String(), intentId: Type.String(), offerHash: Type.String(), agent: Type.String(), provider: Type.String(), service: Type.String(), payTo: Type.String(), token: Type.String(),
  pricePerRequest: Type.String({ description: "Token units, such as 0.008" }), budget: Type.String(), calls: Type.Integer({ description: "How many calls the budget buys" }), callsLeft: Type.Integer(), callsCharged: Type.Integer(), callsFailed: Type.Integer(),
  charged: Type.String(), credit: Type.String({ description: "Comes off the next charges" }), credited: Type.String(), state: Type.Union([Type.Literal("active"), Type.Literal("exhausted"), Type.Literal("expired")]),
  acceptedAt: Type.String(), expiresAt: Type.String(), channelId: Type.Union([Type.String(), Type.Null()]),
  sessionToken: Type.Optional(Type.String({ description: "Given once, to whoever accepted first" })),
});
export const PolicyView = Type.Object({ policyHash: Type.String(), message: Message("PricePolicy"), signature: Type.String() });
export const IntentsView = Type.Object({ intents: Type.Array(Type.Object({ intentHash: Type.String(), message: Message("Intent"), signature: Type.String(), counters: Type.Array(Type.Object({ message: Message("Counter"), signature: Type.String() })) })) });

/** As the `batch-settlement` scheme writes them; read by the gateway's own schema. */
export const VoucherBody = Type.Object({ channelConfig: Message("ChannelConfig"), voucher: Message("Voucher: channelId, maxClaimableAmount, signature") }, { additionalProperties: false });
export const KeptView = Type.Intersect([SessionView, Type.Object({ ceilingAtomic: Type.String({ description: "Atomic token units" }) })]);
