import type { FastifyInstance } from "fastify";
import { Type, type Static } from "typebox";
import type { Hex } from "viem";
import { receiptView } from "../../../../sdk/src/receipt-view.ts";
import { problemResponse } from "../../problem-schema.ts";
import { callerOf, type AccessDeps } from "../access/service.ts";
import { acknowledge, notYours, receiptFor, type ReceiptDeps } from "./service.ts";

const Hash = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const AcksBody = Type.Object({
  acks: Type.Array(Type.Object({ paymentId: Type.String({ maxLength: 64 }), receiptHash: Hash, signature: Type.String({ pattern: "^0x[0-9a-fA-F]{130}$" }) }), { minItems: 1, maxItems: 100 }),
});
const AcksView = Type.Object({ accepted: Type.Integer(), refused: Type.Array(Type.Object({ paymentId: Type.String(), code: Type.String() })) });
const OrNull = Type.Union([Type.String(), Type.Null()]);
const ReceiptView = Type.Object({
  receipt: Type.Object({}, { additionalProperties: true, description: "Signed EIP-712 receipt: format, domain, payload, signature, signer" }),
  receiptHash: Type.String(),
  acknowledged: Type.Boolean(),
  ack: Type.Optional(Type.Object({ signature: Type.String(), at: Type.String() })),
  // The same in the words of sdk/src/receipt-view.ts.
  receiptId: Type.String(), sessionId: OrNull, requestNumber: Type.String(), inputHash: Type.String(), outputHash: Type.String(), requestStartedAt: Type.String(), requestCompletedAt: Type.String(),
  latencyMs: Type.String(), amountCharged: Type.String({ description: "Atomic units" }), offer: OrNull, mandate: OrNull, signature: Type.String(),
  slaVerification: Type.Object({ met: Type.Union([Type.Boolean(), Type.Null()]), metrics: Type.Object({ latencyMs: Type.String() }) }),
});

export function receiptRoutes(app: FastifyInstance, deps: ReceiptDeps & AccessDeps): void {
  app.get<{ Params: { paymentId: string } }>(
    "/api/v1/receipts/:paymentId",
    { schema: { tags: ["payments"], summary: "The receipt of a payment of yours, and whether its buyer acknowledged it", response: { 200: ReceiptView, 401: problemResponse("Not signed in"), 404: problemResponse("None, or not yours") } } },
    async (request) => {
      const { address } = await callerOf(deps, request);
      const view = await receiptFor(deps, request.params.paymentId, address);
      if (view === undefined) throw notYours("receipt");
      const { receipt, receiptHash, ack } = view;
      return { ...receiptView(receipt), receipt, receiptHash, acknowledged: ack !== undefined, ...(ack === undefined ? {} : { ack: { signature: ack.signature, at: ack.at.toISOString() } }) };
    },
  );
  app.post<{ Body: Static<typeof AcksBody> }>(
    "/api/v1/receipts/acks",
    { schema: { tags: ["payments"], summary: "Signed ReceiptAck of receipts you checked; the signature says who you are", body: AcksBody, response: { 200: AcksView, 400: problemResponse("Malformed") } } },
    async (request) => acknowledge(deps, request.body.acks.map(({ paymentId, receiptHash, signature }) => ({ paymentId, receiptHash: receiptHash as Hex, signature: signature as Hex }))),
  );
}
