// What an operator says about the bazaar's registry and what it sends there for others.
import { getAddress, isAddress, type Address } from "viem";
import { deployments } from "../../sdk/src/addresses.ts";
import type { Read } from "./fee-config.ts";

export type BazaarConfig = {
  /** In whose domain listings are signed. Where no contract stands there, nothing is listed on chain. */
  registry: Address;
  /** Transactions of owners that this relayer pays the gas of in a day: of one owner, and in all. */
  actsPerOwner: number;
  actsInAll: number;
  /** Its events are read from this block on: what was listed before this relayer knew of it. */
  fromBlock: bigint;
};

export const BAZAAR_KEYS: { name: string; about: string; fallback: string; secret?: true }[] = [
  { name: "RELAYER_BAZAAR_REGISTRY", about: "BazaarRegistry contract that services are listed in; empty: the published one. Where none stands, services are sold here alone", fallback: "" },
  { name: "RELAYER_BAZAAR_FROM_BLOCK", about: "block that the registry was deployed in; its events are read from there, once. Empty: as published, else 0", fallback: "" },
  { name: "RELAYER_LISTING_ACTS_PER_OWNER", about: "listings, updates and changes of status in 24 hours that this relayer sends for one owner, paying the gas; owners may send their own", fallback: "20" },
  { name: "RELAYER_LISTING_ACTS", about: "the same for all owners together; 0: none", fallback: "1000" },
];

export function readBazaarConfig({ parse, integer }: Read, chainId: number): BazaarConfig {
  const published = deployments[chainId === 8453 ? 8453 : 84532];
  const registry = (parse<string>("RELAYER_BAZAAR_REGISTRY", readOptionalAddress, "a 20-byte address", "") || published.contracts.BazaarRegistry) as Address;
  const fromBlock = parse<string>("RELAYER_BAZAAR_FROM_BLOCK", readOptionalBlock, "a block number", "");
  return {
    registry,
    fromBlock: fromBlock === "" ? BigInt(registry === published.contracts.BazaarRegistry ? published.startBlock : 0) : BigInt(fromBlock),
    actsPerOwner: integer("RELAYER_LISTING_ACTS_PER_OWNER", 0, 100_000),
    actsInAll: integer("RELAYER_LISTING_ACTS", 0, 10_000_000),
  };
}

function readOptionalBlock(value: string): string | undefined {
  return /^\d{0,15}$/.test(value) ? value : undefined;
}

function readOptionalAddress(value: string): string | undefined {
  if (value === "") return "";
  return isAddress(value, { strict: false }) ? getAddress(value) : undefined;
}
