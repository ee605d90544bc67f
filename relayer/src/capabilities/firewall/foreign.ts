// Payments that another server sells and our facilitator checks or carries: what is bought is known by its URL, where that is registered.
import { zeroHash } from "viem";
import { paymentIdFrom } from "../../payment-id.ts";
import type { FacilitatorRequest } from "../facilitator/schemas.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { admit, isAsleep, type Asked } from "./gate.ts";
import { registered, serviceSoldAt } from "./registry.ts";

type Foreign = Pick<Asked, "payer" | "payerAuthorizer" | "payee" | "channelId" | "prove" | "isPaid"> & { identity: { scheme: "exact"; nonce: `0x${string}` } | { scheme: "batch-settlement"; channelId: `0x${string}`; ceiling: bigint } };

/** @throws as admit. */
export async function admitForeign(deps: GatewayDeps, { payload, requirements }: FacilitatorRequest, payment: Foreign): Promise<void> {
  if (isAsleep(deps, undefined)) return;
  const resource = payload.resource?.url ?? "";
  const service = await registered(deps, await serviceSoldAt(deps, resource));
  const { identity } = payment;
  await admit(deps, {
    ...payment, resource, service: service?.name, serviceOwner: service?.owner, price: BigInt(requirements.amount), paymentId: paymentIdFrom(payload.accepted.extra?.["paymentId"]),
    // Another server's request is not seen here: its payment is known by what was signed.
    identity: identity.scheme === "exact" ? { ...identity, token: deps.config.token.address, requestHash: zeroHash } : { ...identity, requestHash: zeroHash },
  });
}
