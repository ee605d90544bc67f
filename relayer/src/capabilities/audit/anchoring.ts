// Once a day, a Merkle root over the day's seals is shown to the chain: from then on not even whoever holds the signing key can write
// another past. Any number of processes may try; one row a day, written with the signed transaction, lets one succeed.
import { bytesToHex, encodeFunctionData, type Address, type Hex } from "viem";
import { auditAnchorAbi } from "../../../../sdk/src/abi/audit-anchor.ts";
import { merkleRoot } from "../../../../sdk/src/audit/merkle.ts";
import { toAddress } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import * as store from "./anchor-store.ts";
import { nativeSha256 } from "./encoding.ts";

type AnchorDeps = Pick<Deps, "config" | "db" | "log" | "now" | "submitter">;

/** Another process has it. */
class Overtaken extends Error {}

/** For the sweeper. Does nothing where no contract is configured. @returns the day that was anchored. */
export async function anchorSeals(deps: AnchorDeps): Promise<bigint | undefined> {
  const { anchor, anchorPeriodS } = deps.config.audit;
  if (anchor === undefined) return undefined;
  for (const unshown of await store.findUnshown(deps.db)) await show(deps, toAddress(unshown.contract), unshown.root, unshown.day, (client, txId) => store.replaceTransaction(client, unshown, txId));
  const today = BigInt(Math.floor(deps.now().getTime() / 1_000 / anchorPeriodS));
  const day = today - 1n;
  const last = await store.lastDay(deps.db);
  if (last !== undefined && last >= day) return undefined;
  const { digests, ...span } = await store.nextSpan(deps.db, Number(today) * anchorPeriodS * 1_000);
  if (digests.length === 0) return undefined;
  const root = bytesToHex(merkleRoot(digests, nativeSha256));
  const shown = await show(deps, anchor, root, day, (client, txId) => store.insertAnchor(client, { ...span, day, seals: digests.length, root, contract: anchor, txId }));
  return shown ? day : undefined;
}

async function show({ submitter, log }: AnchorDeps, to: Address, root: Hex, day: bigint, record: (client: Queryable, txId: bigint) => Promise<boolean>): Promise<boolean> {
  try {
    const { hash } = await submitter.submit({
      purpose: "anchor", to, data: encodeFunctionData({ abi: auditAnchorAbi, functionName: "anchor", args: [root, day] }),
      async record(client, txId) {
        if (!(await record(client, txId))) throw new Overtaken();
      },
    });
    log.info({ event: EVENT.auditAnchored, day: String(day), root, hash }, "audit log anchored");
    return true;
  } catch (error) {
    if (error instanceof Overtaken) return false;
    throw error;
  }
}
