// Wire types of the services API.
import { Type, type Static } from "typebox";

const Name = Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$", description: "Path segment under /s/; names are first come, and stay their owner's" });
const AddressString = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });

const terms = {
  origin: Type.Optional(Type.String({ maxLength: 2_048, description: "Base URL that the gateway forwards calls to" })),
  url: Type.Optional(Type.String({ maxLength: 2_048, description: "Instead of origin: public base URL of your own server, which sells through POST /api/v1/sales" })),
  priceAtomic: Type.Optional(Type.String({ pattern: "^[1-9][0-9]{0,37}$", description: "Price of one call, atomic token units" })),
  price: Type.Optional(Type.String({ maxLength: 40, description: 'Instead of priceAtomic: "$0.001"' })),
  description: Type.Optional(Type.String({ maxLength: 500 })),
  receiver: Type.Optional(Type.Unsafe<string>({ ...AddressString, description: "Who is paid; the caller when left out" })),
  minDepositCalls: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: "A first deposit must pay for so many calls" })),
  withdrawDelayS: Type.Optional(Type.Integer({ minimum: 900, maximum: 2_592_000 })),
  upstreamTimeoutMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 600_000 })),
  streamUnit: Type.Optional(Type.String({ pattern: "^[a-z][a-z0-9-]{0,31}$", description: "What a streamed answer is sold by" })),
  streamPriceAtomic: Type.Optional(Type.String({ pattern: "^[1-9][0-9]{0,37}$" })),
  per: Type.Optional(Type.Unsafe<"call" | "month">(Type.String({ enum: ["call", "month"], description: "What the price buys: one call, or all calls of a buyer for 30 days from its first" }))),
};

export const NameParams = Type.Object({ name: Name });
export const ListBody = Type.Object({ name: Name, ...terms }, { additionalProperties: false });
/** The name may be repeated; the path decides. */
export const ReplaceBody = Type.Object({ name: Type.Optional(Name), ...terms }, { additionalProperties: false });
export type WireTerms = Static<typeof ReplaceBody>;

export const ServiceView = Type.Object({
  name: Type.String(),
  description: Type.String(),
  url: Type.String({ description: "Where buyers call" }),
  selfHosted: Type.Boolean({ description: "True: its provider's own server sells it" }),
  priceAtomic: Type.String({ description: "Price of one call, atomic token units; routes of a provider's own server may have others" }),
  token: Type.String(),
  network: Type.String(),
  receiver: Type.String(),
  owner: Type.Union([Type.String(), Type.Null()], { description: "Who may change it; null: this relayer's operator" }),
  withdrawDelayS: Type.Integer(),
  subscription: Type.Union([Type.Object({ periodS: Type.Integer({ description: "Seconds" }) }), Type.Null()], { description: "Sold by the month: the price buys all calls of a buyer for so long" }),
  stream: Type.Union([Type.Object({ unit: Type.String(), priceAtomic: Type.String() }), Type.Null()]),
});
