// POST /api/v1/streams/<id>/vouchers: more money for a stream that is under way. The voucher's own signature is the permission.
import type { FastifyInstance } from "fastify";
import type { Static } from "typebox";
import type { Hex } from "viem";
import { problemResponse } from "../../problem-schema.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { StreamParams, VoucherAnswer, VoucherBody } from "./schemas.ts";
import { addVoucher } from "./vouchers.ts";

export function streamRoutes(app: FastifyInstance, deps: GatewayDeps): void {
  app.post(
    "/api/v1/streams/:id/vouchers",
    {
      bodyLimit: 4_096,
      schema: {
        tags: ["streams"],
        summary: "Pay on for a streamed answer",
        description: "A voucher with a higher ceiling lets the stream go on. The same voucher again changes nothing and answers how the stream stands.",
        params: StreamParams,
        body: VoucherBody,
        response: {
          200: VoucherAnswer,
          402: problemResponse("The voucher does not do: `field`, and what would, are named"),
          404: problemResponse("No such metered stream"),
          409: problemResponse("The stream is over"),
        },
      },
    },
    async (request) => {
      const { id } = request.params as Static<typeof StreamParams>;
      const { maxClaimableAmount, signature, amount } = request.body as Static<typeof VoucherBody>;
      const standing = await addVoucher(deps, id, { ceiling: BigInt(maxClaimableAmount), signature: signature as Hex }, amount === undefined ? undefined : BigInt(amount));
      return { paymentId: id, charged: standing.charged.toString(), allowance: standing.allowance.toString() };
    },
  );
}
