// The parameters of a deployment, one JSON file a network.
import { readFileSync } from "node:fs";
import type { Address, Hex } from "viem";

export const NETWORKS = ["local", "base-sepolia", "base"] as const;
export type NetworkName = (typeof NETWORKS)[number];

/** What BazaarRegistry is built with; see IBazaarRegistry. The zero address: none. */
export type BazaarParameters = {
  identityRegistry: Address;
  reputationRegistry: Address;
  curator: Address;
  bondToken: Address;
  /** Atomic units of the bond token. */
  facilitatorBond: string;
};

/** What the contracts know of the chain they stand on. */
export type ChainParameters = {
  /** The token of JobEscrow and of DisputeEvaluator. */
  usdc: Address;
  bazaar: BazaarParameters;
};

type Common = ChainParameters & {
  chainId: number;
  /** Blocks on top of a transaction before the next one relies on it. */
  requiredConfirmations: number;
  /** Environment variable that names the RPC. */
  rpcUrlVariable: string;
};
/** A public chain: addresses by CreateX from the salt, the journal kept in ignition/deployments. */
export type PublicParameters = Common & { strategy: "create2"; salt: Hex; explorer: string };
/** The local world: addresses by nonce, nothing kept; the chain is gone when its process ends. */
export type LocalParameters = Common & { strategy: "basic"; defaultRpcUrl: string };
export type Parameters = PublicParameters | LocalParameters;

export function isNetwork(name: string): name is NetworkName {
  return (NETWORKS as readonly string[]).includes(name);
}

export function parametersOf(network: "base" | "base-sepolia"): PublicParameters;
export function parametersOf(network: NetworkName): Parameters;
export function parametersOf(network: NetworkName): Parameters {
  return JSON.parse(readFileSync(new URL(`./parameters/${network}.json`, import.meta.url), "utf8")) as Parameters;
}
