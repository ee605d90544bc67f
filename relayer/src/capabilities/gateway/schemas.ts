// Wire types of a paid call: the PAYMENT-SIGNATURE header, decoded and checked field by field before anything looks at it.
// Outer envelope by @x402/core's own schema, the scheme's payload (which that leaves open) by ours.
import { PaymentPayloadV2Schema, type PaymentPayloadV2 } from "@x402/core/schemas";
import { Type, type Static } from "typebox";
import { Compile } from "typebox/compile";
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { toAddress } from "../../crypto/address.ts";
import { toConfig } from "../../crypto/wire-config.ts";

/** Longest header we decode; a stock deposit payload is about 2,500 characters. */
const MAX_HEADER_CHARS = 16_384;
const MAX_UINT128 = (1n << 128n) - 1n;

const AddressString = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });
const Bytes32String = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
export const SignatureString = Type.String({ pattern: "^0x([0-9a-fA-F]{2})+$", maxLength: 4096 });
const AmountString = Type.String({ pattern: "^(0|[1-9][0-9]{0,38})$" });
const TimeString = Type.String({ pattern: "^(0|[1-9][0-9]{0,77})$" });

export const ConfigSchema = Type.Object({
  payer: AddressString,
  payerAuthorizer: AddressString,
  receiver: AddressString,
  receiverAuthorizer: AddressString,
  token: AddressString,
  withdrawDelay: Type.Integer({ minimum: 900, maximum: 2_592_000 }),
  salt: Bytes32String,
});
const VoucherSchema = Type.Object({ channelId: Bytes32String, maxClaimableAmount: AmountString, signature: SignatureString });
const AuthorizationSchema = Type.Object({ validAfter: TimeString, validBefore: TimeString, salt: Bytes32String, signature: SignatureString });

/** A lineage of nine mandates with signatures and proofs of 1,000 payees each. */
const MOST_MANDATE_DATA = 40_000;

const SCHEMAS = {
  voucher: Compile(Type.Object({ type: Type.Literal("voucher"), channelConfig: ConfigSchema, voucher: VoucherSchema })),
  deposit: Compile(
    Type.Object({
      type: Type.Literal("deposit"),
      channelConfig: ConfigSchema,
      voucher: VoucherSchema,
      deposit: Type.Object({
        amount: AmountString,
        authorization: Type.Object({ erc3009Authorization: AuthorizationSchema }),
        collector: Type.Optional(AddressString),
      }),
    }),
  ),
  mandateDeposit: Compile(
    Type.Object({
      type: Type.Literal("deposit"),
      channelConfig: ConfigSchema,
      voucher: VoucherSchema,
      deposit: Type.Object({
        amount: AmountString,
        authorization: Type.Object({ mandateDeposit: Type.Object({ data: Type.String({ pattern: "^0x([0-9a-fA-F]{2})+$", maxLength: MOST_MANDATE_DATA }) }) }),
        collector: AddressString,
      }),
    }),
  ),
  refund: Compile(
    Type.Object({ type: Type.Literal("refund"), channelConfig: ConfigSchema, voucher: VoucherSchema, amount: Type.Optional(AmountString) }),
  ),
} as const;

export type Voucher = { channelId: Hex; ceiling: bigint; signature: Hex };
export type DepositAuthorization = { validAfter: bigint; validBefore: bigint; salt: Hex; signature: Hex };

/** What a batch-settlement client sends; amounts in atomic units. */
export type SchemePayload = { config: ChannelConfig; voucher: Voucher } & (
  | { type: "voucher" }
  /** collector: whom the authorisation is made out to; the published ERC-3009 collector when left out. */
  | { type: "deposit"; deposit: { amount: bigint; authorization: DepositAuthorization | MandateDeposit; collector: Address | undefined } }
  | { type: "refund"; amount: bigint | undefined }
);

/** Under a mandate: what its registry reads. */
export type MandateDeposit = { data: Hex };

export type Envelope = PaymentPayloadV2;

const UTF8 = new TextDecoder("utf-8", { fatal: true });

// Patterns and not lengths, which would be counted in characters as people see them, at a microsecond each.
const Filled = Type.String({ pattern: "^[\\s\\S]" });
const CaipNetwork = Type.String({ pattern: "^[\\s\\S]+:[\\s\\S]+$" });
const Any = Type.Object({});

/**
 * The envelopes that clients really send, checked by compiled code: a part of what the library's schema accepts, and only where
 * that would hand back the value as it is. All else goes by the library's schema, at ten times the cost.
 */
const PlainEnvelope = Compile(
  Type.Object(
    {
      x402Version: Type.Literal(2),
      resource: Type.Optional(Type.Object({ url: Filled, description: Type.Optional(Type.String()), mimeType: Type.Optional(Type.String()) }, { additionalProperties: false })),
      accepted: Type.Object(
        {
          scheme: Filled,
          network: CaipNetwork,
          amount: Filled,
          asset: Filled,
          payTo: Filled,
          maxTimeoutSeconds: Type.Number({ exclusiveMinimum: 0 }),
          extra: Type.Optional(Any),
        },
        { additionalProperties: false },
      ),
      payload: Any,
      extensions: Type.Optional(Any),
    },
    { additionalProperties: false },
  ),
);

function isPlainEnvelope(json: unknown): json is Envelope {
  if (!PlainEnvelope.Check(json)) return false;
  // The library's schema leaves such a key out of its records.
  return ![json.payload, json.extensions, json.accepted.extra].some((record) => record !== undefined && Object.hasOwn(record, "__proto__"));
}

/**
 * Decodes a PAYMENT-SIGNATURE header (standard base64 of JSON).
 * @throws TallystickError 400 that names the first offending field.
 */
export function decodeEnvelope(header: string): Envelope {
  if (header.length > MAX_HEADER_CHARS) throw malformed("payment_too_large", "PAYMENT-SIGNATURE", `The header is longer than ${MAX_HEADER_CHARS} characters.`);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(header) || header.length % 4 === 1) {
    throw malformed("payment_malformed", "PAYMENT-SIGNATURE", "The header is not standard base64.");
  }
  let json: unknown;
  try {
    json = JSON.parse(UTF8.decode(Buffer.from(header, "base64")));
  } catch (cause) {
    throw malformed("payment_malformed", "PAYMENT-SIGNATURE", "The header is not base64 of UTF-8 JSON.", cause);
  }
  if (isPlainEnvelope(json)) return json;
  const parsed = PaymentPayloadV2Schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw malformed("payment_malformed", issue?.path.join(".") || "PAYMENT-SIGNATURE", `${issue?.message ?? "Not an x402 v2 payment payload"}.`);
}

/** @throws TallystickError 400 that names the first offending field of `payload`. */
export function decodeSchemePayload(payload: Record<string, unknown>): SchemePayload {
  const type = payload["type"];
  if (type === "voucher") {
    const { channelConfig, voucher } = check(SCHEMAS.voucher, payload);
    return { type, config: toConfig(channelConfig), voucher: toVoucher(voucher) };
  }
  if (type === "refund") {
    const { channelConfig, voucher, amount } = check(SCHEMAS.refund, payload);
    return { type, config: toConfig(channelConfig), voucher: toVoucher(voucher), amount: amount === undefined ? undefined : toAmount(amount, "payload.amount") };
  }
  if (type === "deposit" && hasMandateDeposit(payload)) {
    const { channelConfig, voucher, deposit } = check(SCHEMAS.mandateDeposit, payload);
    const authorization = { data: deposit.authorization.mandateDeposit.data as Hex };
    return { type, config: toConfig(channelConfig), voucher: toVoucher(voucher), deposit: { amount: toAmount(deposit.amount, "payload.deposit.amount"), authorization, collector: toAddress(deposit.collector) } };
  }
  if (type === "deposit") {
    const { channelConfig, voucher, deposit } = check(SCHEMAS.deposit, payload);
    const { validAfter, validBefore, salt, signature } = deposit.authorization.erc3009Authorization;
    return {
      type,
      config: toConfig(channelConfig),
      voucher: toVoucher(voucher),
      deposit: {
        amount: toAmount(deposit.amount, "payload.deposit.amount"),
        authorization: { validAfter: BigInt(validAfter), validBefore: BigInt(validBefore), salt: salt as Hex, signature: signature as Hex },
        collector: deposit.collector === undefined ? undefined : toAddress(deposit.collector),
      },
    };
  }
  throw malformed("payment_malformed", "payload.type", "The payload type must be voucher, deposit or refund.");
}

function hasMandateDeposit(payload: Record<string, unknown>): boolean {
  const { authorization } = (payload["deposit"] ?? {}) as { authorization?: { mandateDeposit?: unknown } | null };
  return authorization?.mandateDeposit !== undefined;
}

export function check<T>(validator: { Check(value: unknown): value is T; Errors(value: unknown): { instancePath: string; message: string }[] }, value: unknown): T {
  if (validator.Check(value)) return value;
  // The deepest path names the field; shallower ones only say that something below is wrong.
  const errors = [...validator.Errors(value)];
  const worst = errors.reduce((a, b) => (b.instancePath.length > a.instancePath.length ? b : a));
  const missing = /required propert\w+ (.+)$/.exec(worst.message)?.[1];
  const path = `payload${worst.instancePath.replaceAll("/", ".")}${missing === undefined ? "" : `.${missing.split(",")[0]?.trim()}`}`;
  throw malformed("payment_malformed", path, `${path} ${worst.message}.`);
}

type WireVoucher = Static<typeof VoucherSchema>;

function toVoucher(wire: WireVoucher): Voucher {
  return {
    channelId: wire.channelId.toLowerCase() as Hex,
    ceiling: toAmount(wire.maxClaimableAmount, "payload.voucher.maxClaimableAmount"),
    signature: wire.signature as Hex,
  };
}

function toAmount(value: string, field: string): bigint {
  const amount = BigInt(value);
  if (amount > MAX_UINT128) throw malformed("payment_malformed", field, `${field} does not fit in 128 bits.`);
  return amount;
}

function malformed(code: string, field: string, detail: string, cause?: unknown): TallystickError {
  return new TallystickError({ code, status: 400, retry: "never", field, detail, cause });
}

export { toConfig };
