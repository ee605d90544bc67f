// Wire types of payouts.
import { Type, type Static } from "typebox";

export const ScheduleBody = Type.Object(
  {
    kind: Type.Union([Type.Literal("immediate"), Type.Literal("threshold"), Type.Literal("daily"), Type.Literal("on_demand")], { description: "immediate: with every claim" }),
    thresholdAtomic: Type.Optional(Type.String({ pattern: "^[1-9][0-9]{0,37}$", description: "threshold: once so much is claimed and not paid out, atomic units" })),
    atUtcHour: Type.Optional(Type.Integer({ minimum: 0, maximum: 23, description: "daily: from that hour on" })),
  },
  { additionalProperties: false },
);
export type WireSchedule = Static<typeof ScheduleBody>;

const Request = Type.Object({ requestId: Type.String(), state: Type.Union([Type.Literal("open"), Type.Literal("done")]), askedAt: Type.String(), doneAt: Type.Optional(Type.String()), amountAtomic: Type.Optional(Type.String({ description: "What was owed when it was sent" })) });
export const RequestView = Request;
export const PayoutsView = Type.Object({
  receiver: Type.String(),
  token: Type.String(),
  schedule: Type.Object({ kind: Type.String(), thresholdAtomic: Type.Optional(Type.String()), atUtcHour: Type.Optional(Type.Integer()) }),
  unclaimedAtomic: Type.String({ description: "Charged, and not claimed on chain yet" }),
  owedAtomic: Type.String({ description: "Claimed on chain, and not paid out yet" }),
  paidOutAtomic: Type.String({ description: "Paid out so far, by the contract" }),
  requests: Type.Array(Request),
});
export const Keyed = Type.Object({ "idempotency-key": Type.Optional(Type.String({ pattern: "^[\\x21-\\x7e]{1,255}$" })) });
