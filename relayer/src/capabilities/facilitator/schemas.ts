// What a seller's server sends to /verify and /settle. The envelope by @x402/core's own schemas, the rest by ours.
import { PaymentPayloadV2Schema, PaymentRequirementsV2Schema } from "@x402/core/schemas";
import { Type, type Static } from "typebox";
import { Compile } from "typebox/compile";
import { getAddress, type Address, type Hex } from "viem";
import type { PaymentPayload, PaymentRequirements } from "@x402/core/types";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { check, ConfigSchema, SignatureString, toConfig } from "../gateway/schemas.ts";

export type FacilitatorRequest = { payload: PaymentPayload; requirements: PaymentRequirements };

const text = (pattern: string) => Type.String({ pattern, maxLength: 100 });
const PlainTerms = Type.Object(
  {
    scheme: text("^[a-z-]+$"), network: text("^eip155:[0-9]+$"), amount: text("^[0-9]+$"), asset: text("^0x[0-9a-fA-F]{40}$"), payTo: text("^0x[0-9a-fA-F]{40}$"),
    maxTimeoutSeconds: Type.Integer({ minimum: 1, maximum: 1_000_000_000 }), extra: Type.Record(Type.String(), Type.Unknown()),
  },
  { additionalProperties: false },
);
const Payload = Type.Object({ x402Version: Type.Literal(2), accepted: PlainTerms, payload: Type.Record(Type.String(), Type.Unknown()) }, { additionalProperties: false });
/**
 * What nearly everybody sends, in the shape that the official schema would leave as it is: recognised by a compiled check at a fraction of
 * its time. Whatever is not exactly this goes the long way, which also says what is wrong.
 */
const PLAIN = Compile(Type.Object({ x402Version: Type.Literal(2), paymentPayload: Payload, paymentRequirements: PlainTerms }));

/** @throws TallystickError 400 that names the field. */
export function readRequest(body: unknown): FacilitatorRequest {
  if (PLAIN.Check(body)) return { payload: body.paymentPayload as unknown as PaymentPayload, requirements: body.paymentRequirements as unknown as PaymentRequirements };
  const { x402Version, paymentPayload, paymentRequirements } = (body ?? {}) as Record<string, unknown>;
  if (x402Version !== 2) throw malformed("x402Version", `x402Version is ${String(x402Version)}; this facilitator speaks 2.`, "invalid_x402_version");
  const payload = PaymentPayloadV2Schema.safeParse(timed(paymentPayload, "accepted"));
  if (!payload.success) throw malformed(`paymentPayload.${payload.error.issues[0]?.path.join(".") ?? ""}`, payload.error.issues[0]?.message ?? "malformed", "invalid_payload");
  const requirements = PaymentRequirementsV2Schema.safeParse(timed({ paymentRequirements }, "paymentRequirements")["paymentRequirements"]);
  if (!requirements.success) throw malformed(`paymentRequirements.${requirements.error.issues[0]?.path.join(".") ?? ""}`, requirements.error.issues[0]?.message ?? "malformed", "invalid_payment_requirements");
  return { payload: payload.data as PaymentPayload, requirements: requirements.data as PaymentRequirements };
}

/** The official channel manager sends its claims with maxTimeoutSeconds 0, which the official schema refuses. It means nothing there. */
function timed(holder: unknown, field: string): Record<string, unknown> {
  const outer = (holder ?? {}) as Record<string, unknown>;
  const inner = outer[field] as Record<string, unknown> | undefined;
  return inner?.["maxTimeoutSeconds"] === 0 ? { ...outer, [field]: { ...inner, maxTimeoutSeconds: 1 } } : outer;
}

function malformed(field: string, detail: string, x402Error: string): TallystickError {
  return new TallystickError({ code: "request_malformed", status: 400, retry: "never", field, detail: `${field}: ${detail}`, extra: { x402Error } });
}

const Amount = Type.String({ pattern: "^(0|[1-9][0-9]{0,38})$" });
const AddressString = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });
const Claims = Type.Array(
  Type.Object({ voucher: Type.Object({ channel: ConfigSchema, maxClaimableAmount: Amount }), signature: SignatureString, totalClaimed: Amount }),
  { maxItems: 500 },
);
const SCHEMAS = {
  claim: Compile(Type.Object({ type: Type.Literal("claim"), claims: Claims, claimAuthorizerSignature: Type.Optional(SignatureString) })),
  settle: Compile(Type.Object({ type: Type.Literal("settle"), receiver: AddressString, token: AddressString })),
  refund: Compile(
    Type.Object({
      type: Type.Literal("refund"), channelConfig: ConfigSchema, amount: Amount, refundNonce: Amount, claims: Claims, refundAuthorizerSignature: Type.Optional(SignatureString), claimAuthorizerSignature: Type.Optional(SignatureString),
    }),
  ),
} as const;

/** A row that a server wants claimed; amounts in atomic units. */
export type Claim = { config: ChannelConfig; ceiling: bigint; signature: Hex; totalClaimed: bigint };
export type ServerPayload =
  | { type: "claim"; claims: Claim[]; signature: Hex | undefined }
  | { type: "settle"; receiver: Address; token: Address }
  | { type: "refund"; config: ChannelConfig; amount: bigint; nonce: bigint; claims: Claim[]; refundSignature: Hex | undefined; claimSignature: Hex | undefined };

/** What only servers send, to /settle. Undefined for a buyer's payload. @throws TallystickError 400 that names the field. */
export function readServerPayload(payload: Record<string, unknown>): ServerPayload | undefined {
  if (payload["type"] === "claim") {
    const { claims, claimAuthorizerSignature } = check(SCHEMAS.claim, payload);
    return { type: "claim", claims: claims.map(toClaim), signature: claimAuthorizerSignature as Hex | undefined };
  }
  if (payload["type"] === "settle") {
    const { receiver, token } = check(SCHEMAS.settle, payload);
    return { type: "settle", receiver: getAddress(receiver.toLowerCase()), token: getAddress(token.toLowerCase()) };
  }
  if (payload["type"] === "refund" && payload["refundNonce"] !== undefined) {
    const { channelConfig, amount, refundNonce, claims, refundAuthorizerSignature, claimAuthorizerSignature } = check(SCHEMAS.refund, payload);
    return {
      type: "refund", config: toConfig(channelConfig), amount: BigInt(amount), nonce: BigInt(refundNonce), claims: claims.map(toClaim),
      refundSignature: refundAuthorizerSignature as Hex | undefined, claimSignature: claimAuthorizerSignature as Hex | undefined,
    };
  }
  return undefined;
}

function toClaim({ voucher, signature, totalClaimed }: Static<typeof Claims>[number]): Claim {
  return { config: toConfig(voucher.channel), ceiling: BigInt(voucher.maxClaimableAmount), signature: signature as Hex, totalClaimed: BigInt(totalClaimed) };
}
