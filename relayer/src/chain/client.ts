// Reads of the chain. A node that cannot be reached is our fault, never the buyer's: every failure of the transport
// becomes `chain_unavailable` (503, safe to retry), and contract reverts stay contract reverts.
import { BaseError, ContractFunctionRevertedError, createPublicClient, defineChain, ExecutionRevertedError, http, type PublicClient } from "viem";
import { TallystickError } from "../../../sdk/src/errors.ts";

export type Chain = { client: PublicClient; chainId: number };

const RPC_TIMEOUT_MS = 10_000;

export function openChain(rpcUrl: string, chainId: number): Chain {
  const chain = defineChain({
    id: chainId,
    name: `eip155:${chainId}`,
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [rpcUrl] } },
    contracts: { multicall3: { address: "0xcA11bde05977b3631167028862bE2a173976CA11" } },
  });
  const client = createPublicClient({ chain, transport: http(rpcUrl, { timeout: RPC_TIMEOUT_MS, retryCount: 1 }) });
  return { client: client as PublicClient, chainId };
}

/** Runs a read or a simulation; a failure that is not a revert becomes `chain_unavailable`. */
export async function readChain<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (isRevert(error)) throw error;
    throw chainUnavailable(error);
  }
}

/** True when the chain itself answered that the call reverts. */
export function isRevert(error: unknown): boolean {
  return error instanceof BaseError && error.walk((cause) => cause instanceof ContractFunctionRevertedError || cause instanceof ExecutionRevertedError) !== null;
}

/** Name of the contract's custom error, its reason string, or undefined. Decoded from viem's causes, never from text. */
export function revertName(error: unknown): string | undefined {
  const reverted = error instanceof BaseError ? error.walk((cause) => cause instanceof ContractFunctionRevertedError) : null;
  return reverted instanceof ContractFunctionRevertedError ? (reverted.data?.errorName ?? reverted.reason ?? undefined) : undefined;
}

export function chainUnavailable(cause: unknown): TallystickError {
  return new TallystickError({ code: "chain_unavailable", status: 503, retry: "safe", detail: "The chain cannot be read right now; nothing was charged.", cause });
}

/** The newest block's number, asked anew each time: viem would remember it for its polling interval. */
export function headOf(chain: Chain): Promise<bigint> {
  return readChain(() => chain.client.getBlockNumber({ cacheTime: 0 }));
}

/** The newest block that counts: `confirmations` deep, itself counted. Block 0 on a chain that is younger. */
export async function confirmedHead(chain: Chain, confirmations: number): Promise<bigint> {
  const head = await headOf(chain);
  const below = BigInt(confirmations - 1);
  return head > below ? head - below : 0n;
}
