// The addresses that stock x402 clients hold built in, and the terms every part of Tallystick agrees on.
import type { Address } from "viem";

/** SessionChannels: the published `batch-settlement` contract's address (ours stands there in the local world). */
export const SESSION_CHANNELS: Address = "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003";
/** The published ERC-3009 deposit collector's address. */
export const ERC3009_COLLECTOR: Address = "0x4020806089470a89826cB9fB1f4059150b550004";
/**
 * MandateRegistry in the local world and in tests: a fixed address of our own choice, where no key leads. On public chains it
 * stands where `deployments` (addresses.ts) says.
 */
export const LOCAL_MANDATE_REGISTRY: Address = "0x7a11000000000000000000000000000000000005";
/** AuditAnchor in the local world and in tests, likewise. */
export const LOCAL_AUDIT_ANCHOR: Address = "0x7A11000000000000000000000000000000000006";
/** JobEscrow and DisputeEvaluator in the local world and in tests, likewise. */
export const LOCAL_JOB_ESCROW: Address = "0x7A11000000000000000000000000000000000007";
export const LOCAL_DISPUTE_EVALUATOR: Address = "0x7A11000000000000000000000000000000000008";
/** BazaarRegistry and the ERC-8004 registries it composes with, likewise. */
export const LOCAL_BAZAAR_REGISTRY: Address = "0x7A11000000000000000000000000000000000b42";
export const LOCAL_IDENTITY_REGISTRY: Address = "0x7a11000000000000000000000000000000008004";
export const LOCAL_REPUTATION_REGISTRY: Address = "0x7A11000000000000000000000000000000018004";
/** Multicall3, at its address on every chain. */
export const MULTICALL3: Address = "0xcA11bde05977b3631167028862bE2a173976CA11";

/** Name of the x402 scheme that channels speak. */
export const BATCH_SETTLEMENT = "batch-settlement";

/** Bounds of a channel's withdrawDelay, seconds; enforced by the contract. */
export const MIN_WITHDRAW_DELAY_S = 900;
export const MAX_WITHDRAW_DELAY_S = 2_592_000;

export type ChainInfo = {
  chainId: number;
  name: string;
  /** CAIP-2 name, as x402 writes it. */
  network: `eip155:${number}`;
  /** Circle's USDC, with the EIP-712 name its own domain carries. */
  usdc: { address: Address; name: string; version: string; decimals: 6 };
};

export const BASE: ChainInfo = {
  chainId: 8453,
  name: "base",
  network: "eip155:8453",
  usdc: { address: "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", name: "USD Coin", version: "2", decimals: 6 },
};

export const BASE_SEPOLIA: ChainInfo = {
  chainId: 84532,
  name: "base-sepolia",
  network: "eip155:84532",
  usdc: { address: "0x036CbD53842c5426634e7929541eC2318f3dCF7e", name: "USDC", version: "2", decimals: 6 },
};

/** The chain of that id, or undefined where Tallystick is not deployed. */
export function chainById(chainId: number): ChainInfo | undefined {
  return [BASE, BASE_SEPOLIA].find((chain) => chain.chainId === chainId);
}
