// Wire types of disputes.
import { Type } from "typebox";
import { Address, Authorization, Base64, Bytes, Bytes32, MediaType, UnixS } from "../jobs/schemas.ts";

const closed = { additionalProperties: false } as const;
const Uploaded = Type.Object({ name: Type.String({ minLength: 1, maxLength: 200 }), mediaType: MediaType, contentBase64: Base64("The file") }, closed);
const Share = Type.Integer({ minimum: 0, maximum: 10_000, description: "The provider's share, basis points: 0 refunds all, 10000 nothing" });
const Seat = Type.Integer({ minimum: 0, maximum: 18 });
const statement = {
  description: Type.String({ minLength: 1, maxLength: 16_384 }),
  attachments: Type.Optional(Type.Array(Uploaded, { maxItems: 8 })),
  logs: Type.Optional(Type.Array(Uploaded, { maxItems: 8 })),
};

export const DisputeBody = Type.Object(
  { ...statement, party: Address, authorization: Authorization },
  { ...closed, description: "The evidence on chain is the SHA-256 of the statement's canonical JSON: jobId, party, description, and name, mediaType, sha256 and size of each file" },
);
export const EvidenceBody = Type.Object(statement, closed);
export const EscalateBody = Type.Object({ party: Address, authorization: Authorization }, closed);
export const CommitBody = Type.Object({ seat: Seat, commitment: Bytes32, deadline: UnixS, signature: Bytes }, closed);
export const RevealBody = Type.Object({ seat: Seat, providerBps: Share, reason: Bytes32, salt: Bytes32 }, closed);
export const RuleBody = Type.Object({ providerBps: Share, reason: Bytes32, deadline: UnixS, signature: Bytes }, closed);

export const EvidenceView = Type.Object({ sha256: Type.String() });
export const DisputeView = Type.Object({ jobId: Type.String(), dispute: Type.Object({}, { additionalProperties: true }), statements: Type.Array(Type.Object({}, { additionalProperties: true })) });
