// The only part of Tallystick that sends transactions. Signed bytes are committed to Postgres before they are broadcast,
// so that a crash at any instruction is answered by reading the chain.
import { keccak256, type Address, type Hex, type LocalAccount, type TransactionReceipt } from "viem";
import { setTimeout as sleep } from "node:timers/promises";
import type { Reached } from "../commit-points.ts";
import type { Config } from "../config.ts";
import { inTransaction, type Db, type Queryable } from "../db/pool.ts";
import { EVENT, type Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { headOf, type Chain } from "./client.ts";
import { prepareTx, type Prepared } from "./fees.ts";
import { bumpStuck, fillGap } from "./lane-repair.ts";
import { broadcast, resolve, reopenVanished, type Lane } from "./lane.ts";
import { advanceNonce, ensureSigner, findTx, insertTx, lockNextNonce, unresolvedTxs, type ChainTx } from "./tx-store.ts";

export type Purpose = "deposit" | "claim" | "settle" | "refund" | "cancel" | "exact" | "fill";

export type TxRequest = {
  purpose: Purpose;
  to: Address;
  data: Hex;
  /** Gas limit; without it the node's estimate plus a fifth. */
  gas?: bigint;
  /** Refused when it needs more, for calls that run code which others chose (contract wallets). */
  mostGas?: bigint;
  /** For logs: joins the transaction to the payment that caused it. */
  paymentId?: string;
  /** Writes the caller's own rows in the same database transaction as the signed bytes. */
  record?: (client: Queryable, txId: bigint) => Promise<void>;
};

export type TxOutcome =
  | { status: "confirmed" | "reverted"; hash: Hex; receipt: TransactionReceipt }
  /** Not known yet: still in flight, or the chain could not be read. */
  | { status: "pending"; hash: Hex }
  /** Its nonce was spent by a transaction that we did not record: it can never happen. */
  | { status: "dropped"; hash: Hex };

export type Submitter = {
  /** Address that pays gas. */
  address: Address;
  /**
   * Takes the next nonce, signs, commits, then broadcasts.
   * @returns the id of the durable row: from here on the transaction happens or is replaced, whatever we crash on.
   * @throws TallystickError `chain_unavailable` or `submitter_unfunded` (503, safe), `transaction_too_expensive`, the contract's revert, or whatever
   * `record` threw: nothing was committed then.
   */
  submit(request: TxRequest): Promise<{ txId: bigint; hash: Hex }>;
  /** Waits until the transaction is resolved at the configured depth, or the time is over (then `pending`). */
  wait(txId: bigint, timeoutMs: number): Promise<TxOutcome>;
  /** One pass of the loop: notices reorganised blocks, rebroadcasts, resolves. Failures are logged, not thrown. */
  sweep(): Promise<void>;
  /** Rebroadcasts and resolves what an earlier process left, then keeps doing so. */
  start(): Promise<void>;
  stop(): Promise<void>;
};

export type SubmitterDeps = {
  config: Pick<Config, "confirmations" | "chainPollMs" | "fees">;
  db: Db;
  chain: Chain;
  /** viem's local account, or anything of its shape: a KMS signer has address and signTransaction. */
  signer: Pick<LocalAccount, "address" | "signTransaction">;
  log: Log;
  metrics: Metrics;
  reached: Reached;
};

/** Unresolved transactions looked at in one pass; nonces are resolved in order, so the rest follows. */
const SWEEP_LIMIT = 256;
const MAX_WAIT_POLL_MS = 500;

export function createSubmitter(deps: SubmitterDeps): Submitter {
  const { config, db, log, metrics } = deps;
  const { address } = deps.signer;
  const lane: Lane = { ...deps, address, sentAt: new Map(), gap: { nonce: -1, passes: 0 } };
  const pollMs = Math.min(config.chainPollMs, MAX_WAIT_POLL_MS);
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;

  async function submit(request: TxRequest): Promise<{ txId: bigint; hash: Hex }> {
    const prepared = await prepareTx(deps.chain, address, request);
    await ensureSigner(db, address);
    const tx = await inTransaction(db, (client) => signAndRecord(client, request, prepared));
    if (request.purpose !== "cancel" && request.purpose !== "fill") deps.reached(`tx.committed.${request.purpose}`);
    metrics.transactions.inc({ purpose: request.purpose, result: "signed" });
    log.info({ event: EVENT.txSigned, txId: String(tx.txId), hash: tx.hash, nonce: tx.nonce, purpose: tx.purpose, paymentId: tx.paymentId });
    await broadcast(lane, tx);
    return { txId: tx.txId, hash: tx.hash };
  }

  async function signAndRecord(client: Queryable, request: TxRequest, { gas, maxFeePerGas, maxPriorityFeePerGas, chainNonce }: Prepared): Promise<ChainTx> {
    // Ours is ahead while transactions are in flight; the chain's is ahead when the key was used elsewhere.
    const nonce = Math.max(await lockNextNonce(client, address), chainNonce);
    const { to, data, purpose, paymentId } = request;
    const raw = await deps.signer.signTransaction({ type: "eip1559", chainId: deps.chain.chainId, nonce, to, data, value: 0n, gas, maxFeePerGas, maxPriorityFeePerGas });
    const hash = keccak256(raw);
    const txId = await insertTx(client, { signer: address, nonce, purpose, hash, raw, paymentId });
    await advanceNonce(client, address, nonce + 1);
    await request.record?.(client, txId);
    return { txId, nonce, purpose, hash, raw, state: "signed", paymentId, blockNumber: undefined, blockHash: undefined, ageMs: 0 };
  }

  async function wait(txId: bigint, timeoutMs: number): Promise<TxOutcome> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const outcome = await look(txId);
      if (outcome.status !== "pending" || performance.now() >= deadline) return outcome;
      await sleep(Math.min(pollMs, Math.max(0, deadline - performance.now())));
    }
  }

  async function look(txId: bigint): Promise<TxOutcome> {
    const tx = await findTx(db, txId);
    if (tx === undefined) throw new RangeError(`no transaction ${txId}`);
    try {
      if (tx.state === "signed" || tx.state === "broadcast") return await resolve(lane, tx, await headOf(deps.chain));
      if (tx.state === "dropped") return { status: "dropped", hash: tx.hash };
      const receipt = await deps.chain.client.getTransactionReceipt({ hash: tx.hash });
      // The block may have changed since it was recorded; then the next sweep reopens it.
      return receipt.blockHash === tx.blockHash ? { status: tx.state, hash: tx.hash, receipt } : { status: "pending", hash: tx.hash };
    } catch (error) {
      log.debug({ event: EVENT.failure, err: error, txId: String(txId), paymentId: tx.paymentId });
      return { status: "pending", hash: tx.hash };
    }
  }

  async function sweep(): Promise<void> {
    try {
      await reopenVanished(lane);
      const open = await unresolvedTxs(db, address, SWEEP_LIMIT);
      if (open.length === 0) return;
      const head = await headOf(deps.chain);
      const pending = [];
      for (const tx of open) if ((await resolve(lane, tx, head)).status === "pending") pending.push(tx);
      // Only the first can hold the others up; what comes after it is looked at when it is first.
      const [first] = pending;
      if (first !== undefined && !(await fillGap(lane, first))) await bumpStuck(lane, first);
    } catch (error) {
      log.warn({ event: EVENT.failure, err: error, where: "submitter" });
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(config.chainPollMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (!stopping.signal.aborted) await sweep();
    }
  }

  return {
    address,
    submit,
    wait,
    sweep,
    async start() {
      await ensureSigner(db, address);
      await sweep();
      loop = run();
    },
    async stop() {
      stopping.abort();
      await loop;
    },
  };
}
