// Reads of the chain. A node that cannot be reached is our fault, never the buyer's: every failure of the transport
// becomes `chain_unavailable` (503, safe to retry), and contract reverts stay contract reverts.
import {
  BaseError, ContractFunctionRevertedError, createPublicClient, decodeErrorResult, defineChain, ExecutionRevertedError, http, isHex, type Abi, type Hex,
  type PublicClient,
} from "viem";
import { sessionChannelsAbi } from "../../../sdk/src/abi/session-channels.ts";
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
  const told = (cause: unknown) => cause instanceof ContractFunctionRevertedError || cause instanceof ExecutionRevertedError;
  return error instanceof BaseError && (error.walk(told) !== null || revertData(error) !== undefined);
}

/** Name of the contract's custom error, its reason string, or undefined. Decoded from viem's causes, never from text. */
export function revertName(error: unknown): string | undefined {
  const reverted = error instanceof BaseError ? error.walk((cause) => cause instanceof ContractFunctionRevertedError) : null;
  if (reverted instanceof ContractFunctionRevertedError) return reverted.reason ?? reverted.data?.errorName ?? undefined;
  const data = revertData(error);
  if (data === undefined || data === "0x") return undefined;
  try {
    const { errorName, args } = decodeErrorResult({ abi: sessionChannelsAbi as Abi, data });
    return errorName === "Error" ? String(args?.[0]) : errorName;
  } catch {
    return undefined; // an error of another contract
  }
}

/** What the call reverted with. Nodes put it in the error's `data`, as a string (code 3) or inside an object. */
function revertData(error: unknown): Hex | undefined {
  if (!(error instanceof BaseError)) return undefined;
  const carrier = error.walk((cause) => dataOf(cause) !== undefined);
  return carrier === null ? undefined : dataOf(carrier);
}

function dataOf(cause: unknown): Hex | undefined {
  const { data } = (cause ?? {}) as { data?: unknown };
  const inner = typeof data === "object" && data !== null ? (data as { data?: unknown }).data : data;
  return isHex(inner) ? inner : undefined;
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
