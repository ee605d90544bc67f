// The mandate and anchor tables computed again from raw logs; like replay.ts it shares nothing with indexer/src but the ABIs. Totals are
// sums over the spends at the end, not running ones: the handlers add as they go.
import { decodeEventLog, hexToBigInt, type Hex } from "viem";
import { auditAnchorAbi } from "../../sdk/src/abi/audit-anchor.ts";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { keyOf, writeRow, type Draft, type RawLog, type Table, type TableName, type Value } from "./replay.ts";

type MandateTable = Extract<TableName, "mandates" | "mandateSpends" | "mandateRevocations" | "channelFundings" | "principalEpochs" | "auditAnchors">;

const unlessZero = (hash: Hex): Hex | null => (hexToBigInt(hash) === 0n ? null : hash);

/** Logs oldest first. */
export function replayMandates(registryLogs: readonly RawLog[], anchorLogs: readonly RawLog[]): Record<MandateTable, Table> {
  const rows: Record<MandateTable, Draft[]> = { mandates: [], mandateSpends: [], mandateRevocations: [], channelFundings: [], principalEpochs: [], auditAnchors: [] };
  for (const log of registryLogs) applyRegistry(rows, log);
  for (const log of anchorLogs) {
    const { args } = decodeEventLog({ abi: auditAnchorAbi, topics: log.topics, data: log.data, strict: true });
    rows.auditAnchors.push({ ...args, ...placeOf(log) });
  }
  sumUp(rows);
  return Object.fromEntries(Object.entries(rows).map(([name, drafts]) => [name, new Map(drafts.map((draft) => [keyOf(name as MandateTable, draft), writeRow(draft)]))])) as Record<MandateTable, Table>;
}

const placeOf = ({ transactionHash, logIndex, blockNumber, timestamp }: RawLog): Draft => ({ transactionHash, logIndex, blockNumber, timestamp });

function applyRegistry(rows: Record<MandateTable, Draft[]>, log: RawLog): void {
  const { eventName, args } = decodeEventLog({ abi: mandateRegistryAbi, topics: log.topics, data: log.data, strict: true });
  const place = placeOf(log);
  const { logIndex: _, ...block } = place;
  switch (eventName) {
    case "MandateApproved": {
      const { mandateId, mandate: { parent, payeesRoot, capability, terms, ...plain } } = args;
      const hashes = { payeesRoot: unlessZero(payeesRoot), capability: unlessZero(capability), terms: unlessZero(terms), parentId: unlessZero(parent) };
      return void rows.mandates.push({ id: mandateId, ...plain, ...hashes, ...block });
    }
    case "MandateSpent":
      return void rows.mandateSpends.push({ ...args, ...place });
    case "ChannelFunded":
      return void rows.channelFundings.push({ ...args, ...place });
    case "MandateRevoked":
      return void rows.mandateRevocations.push({ ...args, ...place });
    case "EpochBumped":
      // The last one counts: rows become a map by principal.
      return void rows.principalEpochs.push({ ...args, ...block });
    default:
      return; // what was skipped moved nothing
  }
}

function sumUp({ mandates, mandateSpends, mandateRevocations }: Record<MandateTable, Draft[]>): void {
  const parents = new Map(mandates.map(({ id, parentId }) => [id, parentId]));
  const lineageOf = (id: Value | undefined): Value[] => (id === null || id === undefined ? [] : [id, ...lineageOf(parents.get(id))]);
  const sum = (spends: readonly Draft[]): bigint => spends.reduce((total, { amount }) => total + (amount as bigint), 0n);
  for (const spend of mandateSpends) spend.rootId = lineageOf(spend.mandateId).at(-1)!;
  for (const mandate of mandates) {
    const lineage = lineageOf(mandate.id);
    const own = mandateSpends.filter(({ mandateId }) => mandateId === mandate.id);
    const below = mandateSpends.filter(({ mandateId }) => lineageOf(mandateId).includes(mandate.id!));
    const revocation = mandateRevocations.find(({ mandateId }) => mandateId === mandate.id);
    const times = [mandate, ...below, ...(revocation === undefined ? [] : [revocation])].map(({ timestamp }) => timestamp as bigint);
    Object.assign(mandate, {
      rootId: lineage.at(-1), depth: lineage.length - 1, status: revocation === undefined ? "approved" : "revoked", revokedBy: revocation?.by ?? null, revokedAt: revocation?.timestamp ?? null,
      spent: sum(below), spendCount: below.length, ownSpent: sum(own), ownSpendCount: own.length, updatedAt: times.reduce((a, b) => (a > b ? a : b)),
    });
  }
}
