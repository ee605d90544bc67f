// Reads of the chain. A node that cannot be reached is our fault, never the buyer's: every failure of the transport
// becomes `chain_unavailable` (503, safe to retry), and contract reverts stay contract reverts.
import { setTimeout as sleep } from "node:timers/promises";
import {
  BaseError, ContractFunctionRevertedError, createPublicClient, decodeErrorResult, defineChain, ExecutionRevertedError, fallback, http, isHex, type Abi, type Hex,
  type PublicClient, type Transport,
} from "viem";
import { sessionChannelsAbi } from "../../../sdk/src/abi/session-channels.ts";
import { TallystickError } from "../../../sdk/src/errors.ts";

export type Chain = {
  /** Asks the first endpoint that answers. */
  client: PublicClient;
  /** One an endpoint: for reads on which money depends, see `agreed`. */
  endpoints: readonly PublicClient[];
  chainId: number;
};

const RPC_TIMEOUT_MS = 10_000;

/** @param rpcUrls in the order in which they are asked. */
export function openChain(rpcUrls: readonly string[], chainId: number, timeoutMs = RPC_TIMEOUT_MS): Chain {
  const chain = defineChain({
    id: chainId,
    name: `eip155:${chainId}`,
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [...rpcUrls] } },
    contracts: { multicall3: { address: "0xcA11bde05977b3631167028862bE2a173976CA11" } },
  });
  const open = (transport: Transport) => createPublicClient({ chain, transport }) as PublicClient;
  const transports = rpcUrls.map((url) => http(url, { timeout: timeoutMs, retryCount: 1 }));
  const [only] = transports;
  if (only === undefined) throw new TallystickError({ code: "config_invalid", status: 500, retry: "never", detail: "At least one RPC endpoint is needed." });
  return { client: open(transports.length === 1 ? only : fallback(transports, { retryCount: 0 })), endpoints: transports.map(open), chainId };
}

/** Once more than half of the endpoints have answered, the others get this much longer: one that hangs must not slow every read. */
const LATE_MS = 1_000;

type Read<T> = (client: PublicClient) => Promise<T>;

/**
 * What more than half of the endpoints answer alike. One endpoint that lies, lags or is down changes nothing.
 * @param told what has to be alike of an answer; all of it when left out.
 * @throws TallystickError `chain_unavailable` when there is no such answer; the call's revert when that is the answer.
 */
export async function agreed<T>(chain: Chain, read: Read<T>, told: (answer: T) => unknown = (answer) => answer): Promise<T> {
  if (chain.endpoints.length === 1) return readChain(() => read(chain.client));
  const answers = await askAll(chain, read);
  const votes = Map.groupBy(answers, (answer) => ballot(answer, told));
  votes.delete(undefined);
  const majority = [...votes.values()].find((same) => same.length * 2 > answers.length)?.[0];
  if (majority === undefined) throw disagreement(answers);
  if (majority.status === "rejected") throw majority.reason;
  return majority.value;
}

/**
 * The middle of what the endpoints answer, for numbers in which honest endpoints differ a little; the lower one of two. One
 * endpoint that lies cannot move it beyond what another one says.
 * @throws TallystickError `chain_unavailable` when half of them or fewer answer; the call's revert when more than half say so.
 */
export async function middle(chain: Chain, read: Read<bigint>): Promise<bigint> {
  if (chain.endpoints.length === 1) return readChain(() => read(chain.client));
  const answers = await askAll(chain, read);
  const values = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : [])).sort((a, b) => (a < b ? -1 : 1));
  if (values.length * 2 > answers.length) return values[Math.floor((values.length - 1) / 2)]!;
  const reverts = answers.filter((answer) => answer.status === "rejected" && isRevert(answer.reason));
  if (reverts.length * 2 > answers.length) throw (reverts[0] as PromiseRejectedResult).reason;
  throw disagreement(answers);
}

/** One answer an endpoint, in their order. */
async function askAll<T>({ endpoints }: Chain, read: Read<T>): Promise<PromiseSettledResult<T>[]> {
  const answers: PromiseSettledResult<T>[] = endpoints.map(() => ({ status: "rejected", reason: new Error("no answer in time") }));
  const majority = Promise.withResolvers<void>();
  let told = 0;
  const all = Promise.all(
    endpoints.map(async (client, index) => {
      const [answer] = await Promise.allSettled([read(client)]);
      answers[index] = answer;
      if ((answer.status === "fulfilled" || isRevert(answer.reason)) && ++told * 2 > endpoints.length) majority.resolve();
    }),
  );
  await Promise.race([all, majority.promise.then(() => Promise.race([all, sleep(LATE_MS, undefined, { ref: false })]))]);
  return [...answers];
}

/** Equal for equal answers; undefined for an endpoint that gave none. A revert is an answer. */
function ballot<T>(answer: PromiseSettledResult<T>, told: (answer: T) => unknown): string | undefined {
  if (answer.status === "rejected") return isRevert(answer.reason) ? `revert ${revertName(answer.reason) ?? ""}` : undefined;
  return JSON.stringify(told(answer.value), (_key, value: unknown) => (typeof value === "bigint" ? `${value}n` : value)) ?? "nothing";
}

function disagreement(answers: readonly PromiseSettledResult<unknown>[]): TallystickError {
  return chainUnavailable(new AggregateError(answers.flatMap((answer) => (answer.status === "rejected" ? [answer.reason as Error] : [])), "the RPC endpoints do not agree"));
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
export function revertData(error: unknown): Hex | undefined {
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

/** The newest block that more than half of the endpoints have; asked anew each time: viem would remember it for its polling interval. */
export async function headOf(chain: Chain): Promise<bigint> {
  const asked = await askAll(chain, (client) => client.getBlockNumber({ cacheTime: 0 }));
  const heads = asked.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : [])).sort((a, b) => (a > b ? -1 : 1));
  const head = heads[Math.floor(asked.length / 2)];
  if (head === undefined) throw disagreement(asked);
  return head;
}

/** The newest block that counts: `confirmations` deep, itself counted. Block 0 on a chain that is younger. */
export async function confirmedHead(chain: Chain, confirmations: number): Promise<bigint> {
  const head = await headOf(chain);
  const below = BigInt(confirmations - 1);
  return head > below ? head - below : 0n;
}
