// The only part of Tallystick that sends transactions. Signed bytes are committed to Postgres before they are broadcast,
// so that a crash at any instruction is answered by reading the chain.
import { setTimeout as sleep } from "node:timers/promises";
import { type Address, type Hex, type TransactionReceipt, type TransactionSerializableEIP1559 } from "viem";
import { TallystickError } from "../../../sdk/src/errors.ts";
import type { Reached } from "../commit-points.ts";
import type { Config } from "../config.ts";
import { inTransaction, type Db, type Queryable } from "../db/pool.ts";
import { EVENT, type Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Chain } from "./client.ts";
import { gasFor, offerFor, type Offer } from "./fees.ts";
import { broadcast, enter, type Lane } from "./lane.ts";
import { createLanes, type LaneChoice } from "./lanes.ts";
import { createMarket } from "./market.ts";
import { hashOf, type Signer } from "./transaction-signer.ts";
import { advanceNonce, insertTx, lockNextNonce, type ChainTx } from "./tx-store.ts";
import { createWatch } from "./watch.ts";

export type Purpose = "deposit" | "claim" | "settle" | "refund" | "cancel" | "exact" | "fill" | "anchor" | "listing" | "job";
/** Of which the chaos run kills at each commit: all but what mends a lane, which no caller waits for. */
type ChaosPurpose = Exclude<Purpose, "cancel" | "fill">;
const isInChaos = (purpose: Purpose): purpose is ChaosPurpose => purpose !== "cancel" && purpose !== "fill";

export type TxRequest = {
  purpose: Purpose;
  to: Address;
  data: Hex;
  /** Gas limit; without it the node's estimate and some room. */
  gas?: bigint;
  /** Refused when it needs more, for calls that run code which others chose (contract wallets). */
  mostGas?: bigint;
  /** The caller has just simulated it, with this gas or less: it is not simulated again. */
  rehearsed?: boolean;
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
  /** The first of `addresses`, for whoever needs a sender to simulate with. */
  address: Address;
  /** Addresses that pay gas. Each is a nonce lane of its own. */
  addresses: readonly Address[];
  /**
   * Chooses a lane, takes its next nonce, signs, commits, then broadcasts. Two transactions have no order, not even two of one
   * caller: what must not race is guarded in `record`, under the caller's own rows.
   * @returns the id of the durable row: from here on the transaction happens or is replaced, whatever we crash on.
   * @throws TallystickError `chain_unavailable`, `submitter_unfunded`, `signer_unavailable` or `fee_above_cap` (503, safe),
   * `transaction_too_expensive`, `transaction_over_gas_limit`, the contract's revert, or whatever `record` threw: nothing was committed then.
   */
  submit(request: TxRequest): Promise<{ txId: bigint; hash: Hex }>;
  /** Waits until the transaction is resolved at the configured depth, or the time is over (then `pending`). */
  wait(txId: bigint, timeoutMs: number): Promise<TxOutcome>;
  /** One pass over all lanes: notices reorganised blocks, rebroadcasts, resolves, repairs. Failures are logged, not thrown. */
  sweep(): Promise<void>;
  /** Rebroadcasts and resolves what an earlier process left, then keeps doing so. */
  start(): Promise<void>;
  stop(): Promise<void>;
};

export type SubmitterDeps = {
  config: Pick<Config, "confirmations" | "chainPollMs" | "fees">;
  db: Db;
  chain: Chain;
  signers: readonly Signer[];
  log: Log;
  metrics: Metrics;
  reached: Reached;
};

const MAX_WAIT_POLL_MS = 500;

export function createSubmitter(deps: SubmitterDeps): Submitter {
  const { config, db, log } = deps;
  const market = createMarket(deps.chain, config.chainPollMs);
  const lanes = createLanes({ ...deps, market, onResolved: (txId, outcome) => watch.tell(txId, outcome) });
  const watch = createWatch(lanes.lookAt, Math.min(config.chainPollMs, MAX_WAIT_POLL_MS));
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;

  async function submit(request: TxRequest): Promise<{ txId: bigint; hash: Hex }> {
    let trouble: unknown;
    for (const choice of await lanes.inOrder()) {
      try {
        return await choice.with(() => submitIn(choice, request));
      } catch (error) {
        if (!(error instanceof TallystickError) || !(error.code in LANE_TROUBLE)) throw error;
        enter(choice.lane, LANE_TROUBLE[error.code as keyof typeof LANE_TROUBLE], { detail: error.message });
        trouble = error;
      }
    }
    throw trouble;
  }

  async function submitIn({ lane, signer, committedWei }: LaneChoice, request: TxRequest): Promise<{ txId: bigint; hash: Hex }> {
    const [gas, fees, account] = await Promise.all([gasFor(deps.chain, lane.address, request), market.fees(), market.account(lane.address)]);
    const offer = offerFor(fees, config.fees.maxFeeWei);
    const mostWei = gas * offer.maxFeePerGas;
    if (account.balance < committedWei + mostWei) throw unfunded(account.balance, committedWei, mostWei);
    const prepared = { gas, ...offer, mostWei, chainNonce: account.nonce };
    const tx = await inTransaction(db, (client) => signAndRecord(client, lane, signer, request, prepared));
    if (isInChaos(request.purpose)) deps.reached(`tx.committed.${request.purpose}`);
    deps.metrics.transactions.inc({ purpose: request.purpose, result: "signed" });
    log.info({ event: EVENT.txSigned, txId: String(tx.txId), hash: tx.hash, signer: lane.address, nonce: tx.nonce, purpose: tx.purpose, paymentId: tx.paymentId });
    await broadcast(lane, tx);
    return { txId: tx.txId, hash: tx.hash };
  }

  async function signAndRecord(client: Queryable, lane: Lane, signer: Signer, request: TxRequest, prepared: Prepared): Promise<ChainTx> {
    const { gas, maxFeePerGas, maxPriorityFeePerGas, mostWei, chainNonce } = prepared;
    // Ours is ahead while transactions are in flight; the chain's is ahead when the key was used elsewhere, or when the database
    // came back from a backup.
    const nonce = Math.max(await lockNextNonce(client, lane.address), chainNonce);
    const { to, data, purpose, paymentId } = request;
    const raw = await signed(signer, { type: "eip1559", chainId: deps.chain.chainId, nonce, to, data, value: 0n, gas, maxFeePerGas, maxPriorityFeePerGas });
    const hash = hashOf(raw);
    const txId = await insertTx(client, { signer: lane.address, nonce, purpose, hash, raw, paymentId, mostWei });
    await advanceNonce(client, lane.address, nonce + 1);
    await request.record?.(client, txId);
    return { txId, signer: lane.address, nonce, purpose, hash, raw, state: "signed", paymentId, blockNumber: undefined, blockHash: undefined, ageMs: 0, waitingMs: 0 };
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(config.chainPollMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (!stopping.signal.aborted) await lanes.sweep();
    }
  }

  const addresses = lanes.addresses;
  return {
    address: addresses[0]!,
    addresses,
    submit,
    wait: watch.wait,
    sweep: lanes.sweep,
    async start() {
      await lanes.sweep();
      loop = run();
    },
    async stop() {
      stopping.abort();
      await loop;
    },
  };
}

type Prepared = Offer & { gas: bigint; mostWei: bigint; chainNonce: number };

/** Errors that are of one lane only: the next may serve. */
const LANE_TROUBLE = { submitter_unfunded: "unfunded", signer_unavailable: "signer_down" } as const;

function unfunded(balance: bigint, committedWei: bigint, mostWei: bigint): TallystickError {
  return new TallystickError({
    code: "submitter_unfunded",
    status: 503,
    retry: "safe",
    detail: `The relayer's gas account holds ${balance} wei, of which ${committedWei} may be spent by what is in flight; this transaction may cost ${mostWei}.`,
  });
}

/** A key that is not at hand (a KMS that is down) is our fault and passes. */
async function signed(signer: Signer, tx: TransactionSerializableEIP1559): Promise<Hex> {
  try {
    return await signer.signTransaction(tx);
  } catch (cause) {
    throw new TallystickError({ code: "signer_unavailable", status: 503, retry: "safe", detail: "The key that pays gas cannot be used right now; nothing was sent.", cause });
  }
}
