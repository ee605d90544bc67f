// Wire types of the listing API.
import { Type, type Static } from "typebox";
import { SERVICE_STATUSES, SERVICE_VISIBILITIES } from "../../../../sdk/src/bazaar.ts";
import { AVAILABILITIES } from "./store.ts";

const Name = Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$", description: "Path segment under /s/; names are first come, and stay their owner's" });
const AddressString = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });
const Bytes32 = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const Signature = Type.String({ pattern: "^0x(?:[0-9a-fA-F]{2}){64,4096}$", description: "EIP-712, of the owner: a key's, or a wallet's by ERC-1271" });
const UnixSeconds = Type.String({ pattern: "^[0-9]{1,12}$", description: "Unix seconds, the last in which the signature counts" });
const oneOf = (values: readonly string[]) => Type.Unsafe<string>(Type.String({ enum: [...values] }));

const MetadataObject = Type.Unsafe<unknown>(Type.Object({}, { additionalProperties: true, description: "Metadata document (docs/BAZAAR.md): name, description, version, capability, categories, pricing, endpoints, schemes, ..." }));

const offer = {
  metadata: MetadataObject,
  origin: Type.Optional(Type.String({ maxLength: 2_048, description: "Base URL that the gateway forwards calls to" })),
  url: Type.Optional(Type.String({ maxLength: 2_048, description: "Instead of origin: public base URL of your own server, which sells through POST /api/v1/sales" })),
  payTo: Type.Optional(Type.Unsafe<string>({ ...AddressString, description: "Who is paid; the caller when left out" })),
  visibility: Type.Optional(oneOf(SERVICE_VISIBILITIES)),
  minDepositCalls: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
  withdrawDelayS: Type.Optional(Type.Integer({ minimum: 900, maximum: 2_592_000 })),
  upstreamTimeoutMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 600_000 })),
};
const consent = { signature: Type.Optional(Signature), deadline: Type.Optional(UnixSeconds) };
const revision = { revision: Type.Optional(Type.Integer({ minimum: 0, maximum: 16_777_215, description: "Where the service stood when it was signed" })) };

export const Keyed = Type.Object({ "idempotency-key": Type.Optional(Type.String({ pattern: "^[\\x21-\\x7e]{1,255}$" })) });
export const IdParams = Type.Object({ id: Type.String({ pattern: "^(?:0x[0-9a-fA-F]{64}|[a-z0-9][a-z0-9-]{0,62})$", description: "The registry's id of it, or its name" }) });
export const HashParams = Type.Object({ hash: Bytes32 });

export const CreateBody = Type.Object(
  {
    name: Name, ...offer,
    agentId: Type.Optional(Type.String({ pattern: "^(?:0|[1-9][0-9]{0,76})$", description: "ERC-8004 identity that owns it; the caller must be who owns that" })),
    salt: Type.Optional(Type.Unsafe<string>({ ...Bytes32, description: "Tells the services of one owner apart; from the name when left out" })),
  },
  { additionalProperties: false },
);
export const PublishBody = Type.Object({ ...consent, publish: Type.Optional(Type.Boolean({ description: "False: registered as a draft" })) }, { additionalProperties: false });
export const UpdateBody = Type.Object({ ...offer, ...consent, ...revision }, { additionalProperties: false });
export const StatusBody = Type.Object({ status: oneOf(["listed", "suspended", "delisted", "pending_review"]), ...consent, ...revision }, { additionalProperties: false });
export const RemoveBody = Type.Object({ ...consent, ...revision }, { additionalProperties: false });
export const AvailabilityBody = Type.Object({ availability: oneOf(AVAILABILITIES), availableAt: Type.Optional(Type.String({ format: "date-time", description: "When it is online again" })) }, { additionalProperties: false });
export const ListQuery = Type.Object({
  owner: Type.Optional(AddressString), capability: Type.Optional(Type.String({ pattern: "^[a-z0-9][a-z0-9._-]{0,31}$" })),
  after: Type.Optional(Bytes32), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
});

export const AgentView = Type.Object({
  id: Type.String({ description: "The registry's id" }),
  name: Type.Union([Type.String(), Type.Null()]),
  url: Type.Union([Type.String(), Type.Null()], { description: "Where buyers call" }),
  owner: Type.String(),
  agentId: Type.Union([Type.String(), Type.Null()]),
  salt: Type.String(),
  status: oneOf(SERVICE_STATUSES),
  version: Type.Integer(),
  revision: Type.Integer(),
  current: Type.Boolean({ description: "Whether the terms shown are those on chain" }),
  payTo: Type.String(),
  token: Type.String(),
  network: Type.String(),
  registry: Type.String(),
  priceAtomic: Type.String(),
  capability: Type.String(),
  categories: Type.Array(Type.String()),
  schemes: Type.Array(Type.String()),
  visibility: Type.String(),
  contentHash: Type.String(),
  uri: Type.String(),
  availability: oneOf(AVAILABILITIES),
  availableAt: Type.Union([Type.String(), Type.Null()]),
  metadata: Type.Union([MetadataObject, Type.Null()]),
  chainBlock: Type.String(),
  registeredAt: Type.String(),
  updatedAt: Type.String(),
});

export const ToSign = Type.Object({
  primaryType: Type.String(),
  domain: Type.Object({ name: Type.String(), version: Type.String(), chainId: Type.Integer(), verifyingContract: Type.String() }),
  types: Type.Unsafe<unknown>(Type.Object({}, { additionalProperties: true })),
  message: Type.Unsafe<unknown>(Type.Object({}, { additionalProperties: true, description: "Large numbers are decimal strings" })),
  transaction: Type.Object({ to: Type.String(), data: Type.String() }, { description: "Instead of signing: the owner sends this itself" }),
});
export const ActView = Type.Object({
  agent: AgentView,
  sign: Type.Union([ToSign, Type.Null()], { description: "What the owner has to sign, to be sent back as signature and deadline; null: nothing" }),
  transaction: Type.Union([Type.Object({ hash: Type.String(), status: Type.String() }), Type.Null()]),
});

export type WireOffer = Omit<Static<typeof UpdateBody>, "signature" | "deadline" | "revision">;
