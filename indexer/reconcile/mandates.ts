// The mandate tables beside what the registry itself keeps.
import type { Address, Hex, PublicClient } from "viem";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { compareRow, type Difference } from "./reconcile.ts";
import type { Table } from "./replay.ts";

const ORIGIN = "transactionHash logIndex blockNumber timestamp";

/** What GraphQL is asked for. */
export const MANDATE_COLUMNS = {
  mandates:
    "id principal delegate token limit periodLimit paymentLimit period validAfter validUntil epoch payeesRoot capability terms salt parentId rootId depth status " +
    "spent spendCount ownSpent ownSpendCount revokedBy revokedAt transactionHash blockNumber timestamp updatedAt",
  mandateSpends: `mandateId rootId principal payee token amount totalSpent ${ORIGIN}`,
  mandateRevocations: `mandateId principal by ${ORIGIN}`,
  channelFundings: `mandateId channelId principal channels amount ${ORIGIN}`,
  principalEpochs: "principal epoch transactionHash blockNumber timestamp",
  auditAnchors: `relayer day root ${ORIGIN}`,
};

type Indexed = Record<"mandates" | "mandateRevocations" | "principalEpochs", Table>;

/** Spent with all below, depth and state of every mandate, and every principal's epoch. */
export async function compareMandates(client: PublicClient, registry: Address, { mandates, mandateRevocations, principalEpochs }: Indexed, blockNumber: bigint): Promise<Difference[]> {
  const read = { address: registry, abi: mandateRegistryAbi, blockNumber } as const;
  const ids = new Set([...mandates.keys(), ...mandateRevocations.keys()]);
  const perMandate = [...ids].map(async (id) => {
    const { spent, depth, approved, revoked } = await client.readContract({ ...read, functionName: "mandates", args: [id as Hex] });
    const row = mandates.get(id);
    const indexed = { spent: row?.spent ?? "0", depth: row?.depth ?? "0", approved: String(row !== undefined), revoked: String(mandateRevocations.has(id)) };
    return compareRow(`mandates(${id})`, { spent, depth: row === undefined ? 0 : depth, approved: String(approved), revoked: String(revoked) }, indexed);
  });
  const principals = new Set([...mandates.values()].map(({ principal }) => principal!).concat([...principalEpochs.keys()]));
  const perPrincipal = [...principals].map(async (principal) => {
    const epoch = await client.readContract({ ...read, functionName: "epochs", args: [principal as Address] });
    return compareRow(`epochs(${principal})`, { epoch }, { epoch: principalEpochs.get(principal)?.epoch ?? "0" });
  });
  return (await Promise.all([...perMandate, ...perPrincipal])).flat();
}
