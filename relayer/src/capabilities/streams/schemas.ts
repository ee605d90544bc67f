// Wire types of POST /api/v1/streams/<payment id>/vouchers.
import { Type } from "typebox";

const Amount = Type.String({ pattern: "^(0|[1-9][0-9]{0,38})$" });

export const StreamParams = Type.Object({ id: Type.String({ pattern: "^pay_[0-9a-f]{32}$", description: "Payment id, which is the stream's id" }) });

export const VoucherBody = Type.Object(
  {
    maxClaimableAmount: Type.String({ ...Amount, description: "Cumulative ceiling of the channel, atomic units" }),
    signature: Type.String({ pattern: "^0x[0-9a-fA-F]{130}$", description: "The payerAuthorizer's EIP-712 Voucher signature" }),
    amount: Type.Optional(Type.String({ pattern: "^[1-9][0-9]{0,38}$", description: "How much of the ceiling's headroom is for this stream; all of it when left out" })),
  },
  { additionalProperties: false },
);

export const VoucherAnswer = Type.Object({
  paymentId: Type.String(),
  charged: Type.String({ description: "By this stream so far, atomic units" }),
  allowance: Type.String({ description: "What this stream may charge in all, atomic units" }),
});
