import type { Address, Hex } from "viem";
import type { Payment } from "../ledger/types.ts";

/** What somebody asked for, and what it costs: the authority on both, whatever a body says later. */
export type PayRequest = {
  requestId: string;
  service: string;
  method: string;
  /** Path and query below /s/<service>, normalised. */
  path: string;
  headers: { "content-type"?: string };
  body: Buffer;
  requestHash: Hex;
  /** Atomic units. */
  price: bigint;
  receiver: Address;
  token: Address;
  createdAt: Date;
  expiresAt: Date;
  graceUntil: Date;
};

/** What of a transaction's receipt a payment depends on; asked of every endpoint, so nothing in it may be particular to one. */
export type Mined = { success: boolean; blockNumber: bigint; blockHash: Hex; logs: { address: Address; topics: Hex[]; data: Hex; logIndex: number }[] };

/** A Transfer log. `position` counts within its transaction: a reorganisation changes logIndex, which counts within the block. */
export type Transfer = { from: Address; to: Address; value: bigint; token: Address; position: number; logIndex: number };

/** The sender of a transfer names the request it pays for. */
export type Proof = { requestId: string; txHash: Hex; signature: Hex; logIndex?: number };

export type TransferPayment = {
  paymentId: string;
  requestId: string;
  payer: Address;
  receiver: Address;
  token: Address;
  key: Hex;
  signature: Hex;
  txHash: Hex;
  service: string;
  resource: string;
  requestHash: Hex;
  price: bigint;
};
export type StoredTransferPayment = TransferPayment & {
  state: "reserved" | "charged" | "released";
  reservedAt: Date;
  outputHash: Hex | undefined;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  agreed: Payment["agreed"];
};
