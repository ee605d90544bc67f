// A receipt in the words that the market uses: for people and for clients that know those names. What is signed is in receipt.ts.
import type { Hex } from "viem";
import { NO_CHANNEL, SLA, type SignedReceipt } from "./receipt.ts";

export type ReceiptView = {
  receiptId: string;
  /** The session whose price was agreed; else the channel; null for a payment by neither. */
  sessionId: Hex | null;
  requestNumber: string;
  inputHash: Hex;
  outputHash: Hex;
  /** ISO 8601. */
  requestStartedAt: string;
  requestCompletedAt: string;
  latencyMs: string;
  /** Atomic units of the token. */
  amountCharged: string;
  /** met is null where nothing was promised. */
  slaVerification: { met: boolean | null; metrics: { latencyMs: string } };
  offer: Hex | null;
  mandate: Hex | null;
  signature: Hex;
};

export function receiptView({ payload, signature }: SignedReceipt): ReceiptView {
  const { paymentId, requestNumber, inputHash, outputHash, latencyMs, amount, offer, mandate, session, channelId, slaMet = SLA.none } = payload;
  const at = (ms: string) => new Date(Number(ms)).toISOString();
  return {
    receiptId: paymentId, sessionId: some(session) ?? some(channelId), requestNumber, inputHash, outputHash,
    requestStartedAt: at(payload.startedAtMs), requestCompletedAt: at(payload.endedAtMs), latencyMs, amountCharged: amount,
    slaVerification: { met: slaMet === SLA.none ? null : slaMet === SLA.met, metrics: { latencyMs } },
    offer: some(offer), mandate: some(mandate), signature,
  };
}

const some = (hash: Hex | undefined): Hex | null => (hash === undefined || hash === NO_CHANNEL ? null : hash);
