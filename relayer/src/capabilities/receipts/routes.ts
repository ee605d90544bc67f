import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { receiptView } from "../../../../sdk/src/receipt-view.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { proofFor, publicTree } from "./proofs.ts";
import { acknowledge, notYours, receiptFor, type ReceiptDeps, type ReceiptView } from "./service.ts";

const Hash = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const AcksBody = Type.Object({
  acks: Type.Array(Type.Object({ paymentId: Type.String({ maxLength: 64 }), receiptHash: Hash, signature: Type.String({ pattern: "^0x[0-9a-fA-F]{130}$" }) }), { minItems: 1, maxItems: 100 }),
});
const AcksView = Type.Object({ accepted: Type.Integer(), refused: Type.Array(Type.Object({ paymentId: Type.String(), code: Type.String() })) });
const OrNull = Type.Union([Type.String(), Type.Null()]);
const ReceiptBody = Type.Object({
  receipt: Type.Object({}, { additionalProperties: true, description: "Signed EIP-712 receipt: format, domain, payload, signature, signer" }),
  receiptHash: Type.String(),
  acknowledged: Type.Boolean(),
  ack: Type.Optional(Type.Object({ signature: Type.String(), at: Type.String() })),
  // The same in the words of sdk/src/receipt-view.ts.
  receiptId: Type.String(), sessionId: OrNull, requestNumber: Type.String(), inputHash: Type.String(), outputHash: Type.String(), requestStartedAt: Type.String(), requestCompletedAt: Type.String(),
  latencyMs: Type.String(), amountCharged: Type.String({ description: "Atomic units" }), offer: OrNull, mandate: OrNull, signature: Type.String(),
  slaVerification: Type.Object({ met: Type.Union([Type.Boolean(), Type.Null()]), metrics: Type.Object({ latencyMs: Type.String() }) }),
});
const ProofView = Type.Intersect([ReceiptBody, Type.Object({ root: Type.String(), proof: Type.Array(Type.String()), transaction: Type.String(), state: Type.Union([Type.Literal("sent"), Type.Literal("claimed")]) })]);
const TreePage = Type.Object({ offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })) });
const TreeView = Type.Object({
  root: Type.String(),
  domain: Type.Object({}, { additionalProperties: true }),
  count: Type.Integer(),
  transactions: Type.Array(Type.Object({ hash: Type.String(), state: Type.String() })),
  offset: Type.Integer(),
  leaves: Type.Array(Type.Object({ receiptHash: Type.String(), receipt: Type.Optional(Type.Object({}, { additionalProperties: true })), ack: Type.Optional(Type.String()) })),
  next: Type.Optional(Type.Integer()),
});

export function receiptRoutes(app: FastifyInstance, deps: ReceiptDeps & AccessDeps): void {
  app.get<{ Params: { paymentId: string } }>(
    "/api/v1/receipts/:paymentId",
    { schema: { tags: ["payments"], summary: "The receipt of a payment of yours, and whether its buyer acknowledged it", response: { 200: ReceiptBody, 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours") } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      const view = await receiptFor(deps, request.params.paymentId, address);
      if (view === undefined) throw notYours("receipt");
      return wireView(view);
    },
  );
  app.get<{ Params: { paymentId: string } }>(
    "/api/v1/receipts/:paymentId/proof",
    { schema: { tags: ["payments"], summary: "A receipt of yours, and the proof that it is under the root of a claim", response: { 200: ProofView, 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours"), 409: problemResponse("It is under no root") } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      const found = await proofFor(deps, request.params.paymentId, address);
      if (found === undefined) throw notYours("receipt");
      const { root, proof, transaction, state } = found;
      return { ...wireView(found), root, proof, transaction, state };
    },
  );
  app.get<{ Params: { root: string }; Querystring: Static<typeof TreePage> }>(
    "/api/v1/receipt-roots/:root",
    { schema: { tags: ["payments"], summary: "The receipts under a root: all digests, and what acknowledged ones say", params: Type.Object({ root: Hash }), querystring: TreePage, response: { 200: TreeView, 404: problemResponse("No claim of this relayer carries it") } } },
    async (request) => {
      const { offset = 0, limit = 500 } = request.query;
      const tree = await publicTree(deps, request.params.root.toLowerCase() as Hex, offset, limit);
      if (tree === undefined) throw new TallystickError({ code: "not_found", status: 404, retry: "never", detail: "No claim of this relayer carries that root.", field: "root" });
      return tree;
    },
  );
  app.post<{ Body: Static<typeof AcksBody> }>(
    "/api/v1/receipts/acks",
    { schema: { tags: ["payments"], summary: "Signed ReceiptAck of receipts you checked; the signature says who you are", body: AcksBody, response: { 200: AcksView, 400: problemResponse("Malformed") } } },
    async (request) => acknowledge(deps, request.body.acks.map(({ paymentId, receiptHash, signature }) => ({ paymentId, receiptHash: receiptHash as Hex, signature: signature as Hex }))),
  );
}

function wireView({ receipt, receiptHash, ack }: ReceiptView): Static<typeof ReceiptBody> {
  return { ...receiptView(receipt), receipt, receiptHash, acknowledged: ack !== undefined, ...(ack === undefined ? {} : { ack: { signature: ack.signature, at: ack.at.toISOString() } }) };
}
