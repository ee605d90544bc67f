// The bazaar's tables beside what the registry itself keeps.
import type { Address, Hex, PublicClient } from "viem";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { compareRow, type Difference } from "./reconcile.ts";
import type { Row, Table } from "./replay.ts";

const ORIGIN = "transactionHash blockNumber timestamp";

/** What GraphQL is asked for. */
export const BAZAAR_COLUMNS = {
  services:
    "id agent owner salt payTo token capability capabilityTag categories price schemes visibility contentHash uri status statusBy statusReason version revision " +
    `bond unbonding bondWithdrawableAt ratingCount ${ORIGIN} updatedAt`,
  ratings: `serviceId rater source payTo token amount score details forwarded logIndex ${ORIGIN}`,
  facilitators: `address endpoint contentHash active bond unbonding bondWithdrawableAt ${ORIGIN} updatedAt`,
};

type Indexed = Record<"services" | "ratings" | "facilitators", Table>;
type Read = { address: Address; abi: typeof bazaarRegistryAbi; blockNumber: bigint };

const STATUS = ["none", "draft", "pending_review", "listed", "suspended", "delisted"];
const VISIBILITY = ["public", "unlisted"];

/** Status, counters, terms and bond of every service; sums of the ratings a service and token; every facilitator. */
export async function compareBazaar(client: PublicClient, registry: Address, { services, ratings, facilitators }: Indexed, blockNumber: bigint): Promise<Difference[]> {
  const read: Read = { address: registry, abi: bazaarRegistryAbi, blockNumber };
  const rated = Map.groupBy(ratings.values(), ({ serviceId, token }) => `${serviceId} ${token}`);
  const compared = await Promise.all([
    ...[...services.values()].map((row) => compareService(client, read, row)),
    ...[...rated.values()].map((rows) => compareRatings(client, read, rows)),
    ...[...facilitators.values()].map((row) => compareFacilitator(client, read, row)),
  ]);
  return compared.flat();
}

async function compareService(client: PublicClient, read: Read, row: Row): Promise<Difference[]> {
  const args = [row["id"] as Hex] as const;
  const offer = {
    capability: row["capability"] as Hex, categories: BigInt(row["categories"]!), price: BigInt(row["price"]!), schemes: Number(row["schemes"]), visibility: VISIBILITY.indexOf(row["visibility"]!),
    contentHash: row["contentHash"] as Hex, uri: row["uri"]!,
  };
  const terms = { payTo: row["payTo"] as Address, token: row["token"] as Address, offer };
  const [{ status, visibility, version, revision }, bond, current] = await Promise.all([
    client.readContract({ ...read, functionName: "services", args }),
    client.readContract({ ...read, functionName: "serviceBonds", args }),
    client.readContract({ ...read, functionName: "isCurrent", args: [...args, terms] }),
  ]);
  const chain = { status: STATUS[status]!, visibility: VISIBILITY[visibility]!, version, revision, bond: bond.amount, unbonding: bond.unbonding, bondWithdrawableAt: bond.withdrawableAt };
  // Bytes that are no text have another hash than the text they read as.
  const readable = !offer.uri.includes("\uFFFD");
  return [...compareRow(`services(${row["id"]})`, chain, row), ...(readable && !current ? [{ what: `isCurrent(${row["id"]})`, chain: "false", indexed: "true" }] : [])];
}

async function compareRatings(client: PublicClient, read: Read, rows: readonly Row[]): Promise<Difference[]> {
  const [{ serviceId, token }] = rows as [Row];
  const total = await client.readContract({ ...read, functionName: "ratings", args: [serviceId as Hex, token as Address] });
  const sum = (value: (row: Row) => bigint) => String(rows.reduce((before, row) => before + value(row), 0n));
  const lastRatedAt = rows.reduce((last, { timestamp }) => (BigInt(timestamp!) > last ? BigInt(timestamp!) : last), 0n);
  const indexed = {
    count: String(rows.length), sum: sum(({ score }) => BigInt(score!)), weight: sum(({ amount }) => BigInt(amount!)), weightedSum: sum(({ score, amount }) => BigInt(score!) * BigInt(amount!)),
    lastRatedAt: String(lastRatedAt),
  };
  return compareRow(`ratings(${serviceId}, ${token})`, { count: total.count, sum: total.sum, weight: total.weight, weightedSum: total.weightedSum, lastRatedAt: total.lastRatedAt }, indexed);
}

async function compareFacilitator(client: PublicClient, read: Read, row: Row): Promise<Difference[]> {
  const { amount, unbonding, withdrawableAt, active } = await client.readContract({ ...read, functionName: "facilitators", args: [row["address"] as Address] });
  return compareRow(`facilitators(${row["address"]})`, { bond: amount, unbonding, bondWithdrawableAt: withdrawableAt, active: String(active) }, row);
}
