// The only part of Tallystick that sends transactions. Signed bytes are committed to Postgres before they are broadcast,
// so that a crash at any instruction is answered by reading the chain.
import type { Address, Hex, TransactionReceipt } from "viem";
import type { Queryable } from "../db/pool.ts";

export type Purpose = "deposit" | "claim" | "settle" | "refund" | "cancel";

export type TxRequest = {
  purpose: Purpose;
  to: Address;
  data: Hex;
  /** Gas limit; without it the node's estimate plus a fifth. */
  gas?: bigint;
  /** For logs: joins the transaction to the payment that caused it. */
  paymentId?: string;
  /** Writes the caller's own rows in the same database transaction as the signed bytes. */
  record?: (client: Queryable, txId: bigint) => Promise<void>;
};

export type TxOutcome =
  | { status: "confirmed" | "reverted"; hash: Hex; receipt: TransactionReceipt }
  /** Not known yet: still in flight, or the chain could not be read. */
  | { status: "pending"; hash: Hex };

export type Submitter = {
  /** Address that pays gas. */
  address: Address;
  /**
   * Takes the next nonce, signs, commits, then broadcasts.
   * @returns the id of the durable row: from here on the transaction happens or is replaced, whatever we crash on.
   * @throws TallystickError `chain_unavailable` (503, safe) when nothing was committed.
   */
  submit(request: TxRequest): Promise<{ txId: bigint; hash: Hex }>;
  /** Waits until the transaction is resolved at the configured depth, or the time is over (then `pending`). */
  wait(txId: bigint, timeoutMs: number): Promise<TxOutcome>;
  /** Rebroadcasts and resolves what an earlier process left, then keeps doing so. */
  start(): Promise<void>;
  stop(): Promise<void>;
};
