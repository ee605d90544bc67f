// All nonce lanes of the relayer: which one is next, and the pass that looks after every one of them. One lane's trouble stops no other.
import { getAddress, type Address, type Hex, type TransactionReceipt } from "viem";
import { EVENT } from "../telemetry/log.ts";
import { coalesced, eachOf } from "./concurrency.ts";
import { inOrder, LANE_STATES, type Candidate } from "./lane-choice.ts";
import { repair } from "./lane-repair.ts";
import { enter, openLane, remind, reopenVanished, resolve, type Lane, type LaneDeps } from "./lane.ts";
import { openPass, type Pass } from "./pass.ts";
import type { SubmitterDeps, TxOutcome } from "./submitter.ts";
import type { Signer } from "./transaction-signer.ts";
import { ensureSigner, findTxs, laneLoads, otherLanes, unresolvedTxs, type ChainTx } from "./tx-store.ts";

/** A lane of ours, as it is offered to one transaction. */
export type LaneChoice = Candidate & {
  lane: Lane;
  signer: Signer;
  /** The most that what is in flight may cost. */
  committedWei: bigint;
  /** Counts as load of the lane while it runs. */
  with<T>(work: () => Promise<T>): Promise<T>;
};

export type Lanes = {
  addresses: readonly Address[];
  /** The lanes in the order in which a transaction tries them. */
  inOrder(): Promise<LaneChoice[]>;
  /** What became of these, as far as it is known now; ids that do not exist are left out. */
  lookAt(txIds: bigint[]): Promise<Map<bigint, TxOutcome>>;
  sweep(): Promise<void>;
};

/** Unresolved transactions of a lane looked at in one pass; nonces are resolved in order, so the rest follows. */
const SWEEP_LIMIT = 256;
/** Questions to the node at the same time, in one pass of one lane. */
const WIDTH = 16;
/** Receipts kept for callers who ask later; a receipt counts only while its block is the one in the database. */
const RECEIPTS_KEPT = 4_096;

export function createLanes(deps: LaneDeps & Pick<SubmitterDeps, "signers">): Lanes {
  const { db, log } = deps;
  const receipts = new Map<bigint, TransactionReceipt>();
  const laneDeps: LaneDeps = { ...deps, onResolved };
  const ours = deps.signers.map((signer) => ({ signer, lane: openLane(laneDeps, getAddress(signer.address), signer) }));
  const addresses = ours.map(({ lane }) => lane.address);
  const lanes = new Map(ours.map(({ lane }) => [lane.address, lane]));
  let known: Promise<unknown> | undefined;
  // Several processes that begin at once should not all begin with the same lane.
  let turn = Math.floor(Math.random() * Math.max(ours.length, 1));

  function onResolved(txId: bigint, outcome: TxOutcome): void {
    if ("receipt" in outcome) keep(txId, outcome.receipt);
    deps.onResolved(txId, outcome);
  }

  function keep(txId: bigint, receipt: TransactionReceipt): void {
    receipts.delete(txId);
    receipts.set(txId, receipt);
    if (receipts.size > RECEIPTS_KEPT) receipts.delete(receipts.keys().next().value!);
  }

  function laneOf(address: Address): Lane {
    const lane = lanes.get(address) ?? openLane(laneDeps, address);
    lanes.set(address, lane);
    return lane;
  }

  /** The rows that are locked to take a nonce. */
  function ensured(): Promise<unknown> {
    known ??= Promise.all(addresses.map((address) => ensureSigner(db, address)));
    known.catch(() => (known = undefined));
    return known;
  }

  async function choices(): Promise<LaneChoice[]> {
    await ensured();
    const loads = await laneLoads(db, addresses);
    const candidates = ours.map(({ lane, signer }): LaneChoice => {
      const { unresolved = 0, committedWei = 0n } = loads.get(lane.address) ?? {};
      return {
        lane, signer, committedWei, state: lane.state, load: unresolved + lane.preparing,
        async with(work) {
          lane.preparing += 1;
          return work().finally(() => (lane.preparing -= 1));
        },
      };
    });
    return inOrder(candidates, turn++);
  }

  async function lookAt(txIds: bigint[]): Promise<Map<bigint, TxOutcome>> {
    const pass = openPass(deps.chain);
    const outcomes = new Map<bigint, TxOutcome>();
    const waiting = new Set<Lane>();
    await eachOf(await findTxs(db, txIds), WIDTH, async (tx) => {
      outcomes.set(tx.txId, await outcomeOf(tx, pass, waiting).catch((error: unknown) => unclear(tx, error)));
    });
    await Promise.all([...waiting].map(async (lane) => remind(lane, await pass.minedCount(lane.address))));
    return outcomes;
  }

  /** @param waiting collects the lanes whose transactions are not mined. */
  async function outcomeOf(tx: ChainTx, pass: Pass, waiting: Set<Lane>): Promise<TxOutcome> {
    if (tx.state === "signed" || tx.state === "broadcast") {
      const lane = laneOf(tx.signer);
      const { outcome, spent } = await resolve(lane, tx, pass);
      if (!spent) waiting.add(lane);
      return outcome;
    }
    if (tx.state === "dropped") return { status: "dropped", hash: tx.hash };
    const receipt = await receiptIn(tx.txId, tx.hash, tx.blockHash, pass);
    // The block may have changed since it was recorded; then the next sweep reopens it.
    return receipt?.blockHash === tx.blockHash ? { status: tx.state, hash: tx.hash, receipt: receipt! } : { status: "pending", hash: tx.hash };
  }

  async function receiptIn(txId: bigint, hash: Hex, blockHash: Hex | undefined, pass: Pass): Promise<TransactionReceipt | undefined> {
    const kept = receipts.get(txId);
    if (kept !== undefined && kept.blockHash === blockHash) return kept;
    const receipt = await pass.receipt(hash);
    if (receipt !== undefined) keep(txId, receipt);
    return receipt;
  }

  function unclear(tx: ChainTx, error: unknown): TxOutcome {
    log.debug({ event: EVENT.failure, err: error, txId: String(tx.txId), paymentId: tx.paymentId });
    return { status: "pending", hash: tx.hash };
  }

  const sweep = coalesced(async () => {
    const pass = openPass(deps.chain);
    try {
      await ensured();
      const others = await otherLanes(db, addresses);
      await Promise.all([...addresses, ...others].map((address) => sweepLane(laneOf(address), pass)));
    } catch (error) {
      log.warn({ event: EVENT.failure, err: error, where: "submitter" });
    }
    for (const state of LANE_STATES) deps.metrics.lanes.set({ state }, ours.filter(({ lane }) => lane.state === state).length);
  });

  /** Never throws: what fails here is tried again in the next pass. */
  async function sweepLane(lane: Lane, pass: Pass): Promise<void> {
    try {
      await reopenVanished(lane, pass);
      const open = await unresolvedTxs(db, lane.address, SWEEP_LIMIT);
      const unmined = new Set<ChainTx>();
      await eachOf(open, WIDTH, async (tx) => {
        const { spent } = await resolve(lane, tx, pass).catch((error: unknown) => ({ outcome: unclear(tx, error), spent: true }));
        if (!spent) unmined.add(tx);
      });
      const first = open.find((tx) => unmined.has(tx));
      if (first !== undefined) {
        const mined = await pass.minedCount(lane.address);
        enter(lane, await repair(lane, first, mined), { txId: String(first.txId), nonce: first.nonce });
        return await remind(lane, mined);
      }
      if (await isUsable(lane)) enter(lane, "ok");
    } catch (error) {
      log.warn({ event: EVENT.failure, err: error, where: "submitter", signer: lane.address });
    }
  }

  /** A lane that could not pay is in trouble until somebody has sent it ether; how much is enough is seen when it is used. */
  async function isUsable(lane: Lane): Promise<boolean> {
    if (lane.state !== "unfunded") return true;
    const { balance } = await deps.market.account(lane.address);
    const { baseFee, tip } = await deps.market.fees();
    return balance >= LEAST_GAS * (2n * baseFee + tip);
  }

  return { addresses, inOrder: choices, lookAt, sweep };
}

/** A lane with less than this is not worth trying: a claim of one row takes about as much. */
const LEAST_GAS = 100_000n;
