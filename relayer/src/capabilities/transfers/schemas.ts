import { Type, type Static } from "typebox";
import { Value } from "typebox/value";
import { TallystickError } from "../../../../sdk/src/errors.ts";

const RequestId = Type.String({ pattern: "^req_[0-9a-f]{32}$" });
const TxHash = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
const Signature = Type.String({ pattern: "^0x([0-9a-fA-F]{2}){1,8192}$" });
const LogIndex = Type.Integer({ minimum: 0, maximum: 1_000_000 });
const Usdc = Type.String({ pattern: "^\\d{1,30}(\\.\\d{1,6})?$" });

export const AskBody = Type.Object({
  providerId: Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$", description: "Name of the service" }),
  method: Type.Optional(Type.String({ pattern: "^(GET|POST|PUT|PATCH|DELETE)$" })),
  path: Type.Optional(Type.String({ maxLength: 4096, description: "Path and query below /s/<service>" })),
  body: Type.Optional(Type.String()),
  contentType: Type.Optional(Type.String({ maxLength: 200, pattern: "^[\\x20-\\x7e]*$" })),
});
export type Ask = Static<typeof AskBody>;

const proof = { requestId: RequestId, txHash: TxHash, signature: Signature, logIndex: Type.Optional(LogIndex) };
const ProofHeader = Type.Object(proof);

/** Everything beside the proof is compared with what is stored, never believed. */
export const SubmitBody = Type.Object({
  ...proof,
  expectedAmountUsdc: Type.Optional(Usdc), amountUsdc: Type.Optional(Usdc), amountAtomic: Type.Optional(Type.String({ pattern: "^\\d{1,78}$" })),
  providerId: Type.Optional(Type.String()), recipient: Type.Optional(Type.String()), token: Type.Optional(Type.String()),
  chainId: Type.Optional(Type.Integer()), network: Type.Optional(Type.String()), payer: Type.Optional(Type.String()),
});
export type Submit = Static<typeof SubmitBody>;

const WireReceipt = Type.Object({
  paymentId: Type.String(), scheme: Type.String(), resource: Type.String(), payer: Type.String(), receiver: Type.String(), token: Type.String(), channelId: Type.String(),
  inputHash: Type.String(), outputHash: Type.String(),
  ...Object.fromEntries(["requestNumber", "startedAtMs", "endedAtMs", "latencyMs", "amount", "cumulative"].map((name) => [name, Type.String({ pattern: "^\\d{1,78}$" })])),
  // Not in receipts of before they said what was agreed.
  offer: Type.Optional(Type.String()), mandate: Type.Optional(Type.String()), session: Type.Optional(Type.String()), slaMet: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 })),
});
const ReceiptHeader = Type.Object({ format: Type.Literal("eip712"), domain: Type.Object({}, { additionalProperties: true }), payload: WireReceipt, signature: Signature });

export const PaymentTerms = Type.Object({
  payment: Type.Object({
    requestId: RequestId, recipient: Type.String(), token: Type.String(), amountUsdc: Type.String({ description: "USDC, decimal" }), amountAtomic: Type.String({ description: "Atomic token units" }),
    chainId: Type.Integer(), network: Type.String(), providerId: Type.String(), expiresAt: Type.String(), graceUntil: Type.String({ description: "A late payment is taken until here, at this price" }),
    confirmations: Type.Integer(), message: Type.String({ description: "To be signed by the sender of the transfer (EIP-191 personal_sign)" }),
  }),
});

export type TransferHeader = { kind: "hash" } | { kind: "proof"; proof: Static<typeof ProofHeader> } | { kind: "receipt"; receipt: Static<typeof ReceiptHeader> };

/** What an X-402-Payment header says, or undefined for one that is an x402 payload. @throws 400 for ours that are malformed. */
export function readTransferHeader(header: string): TransferHeader | undefined {
  if (/^0x[0-9a-fA-F]{64}$/.test(header)) return { kind: "hash" };
  const value = parse(header);
  if (typeof value !== "object" || value === null || "x402Version" in value) return undefined;
  if ("txHash" in value) {
    if (Value.Check(ProofHeader, value)) return { kind: "proof", proof: value };
    throw malformed("It is base64 JSON of txHash, requestId, signature and, where needed, logIndex.");
  }
  if (!("format" in value && "domain" in value)) return undefined;
  if (Value.Check(ReceiptHeader, value)) return { kind: "receipt", receipt: value };
  throw malformed("It is no signed receipt.");
}

function parse(header: string): unknown {
  try {
    return JSON.parse(Buffer.from(header, "base64").toString("utf8"));
  } catch {
    return undefined; // not ours: the x402 decoder says what is wrong
  }
}

const malformed = (detail: string) => new TallystickError({ code: "payment_malformed", status: 400, retry: "never", field: "X-402-Payment", detail });
