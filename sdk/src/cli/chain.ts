// The chain as the command line uses it: plain JSON-RPC reads of SessionChannels, and transactions that are simulated first.
import {
  BaseError,
  ContractFunctionRevertedError,
  createPublicClient,
  createWalletClient,
  defineChain,
  http,
  HttpRequestError,
  InsufficientFundsError,
  TimeoutError,
  type Account,
  type Address,
  type ContractFunctionArgs,
  type Hex,
  type PublicClient,
  type TransactionReceipt,
} from "viem";
import { sessionChannelsAbi } from "../abi/session-channels.ts";
import { chainById, type ChainInfo } from "../constants.ts";
import { sessionChannelsDomain, type SessionChannelsDomain } from "../typed-data.ts";
import { CliError, messageOf } from "./exit.ts";

export type Chain = { client: PublicClient; rpcUrl: string; info: ChainInfo; contract: Address; domain: SessionChannelsDomain };

const RPC_TIMEOUT_MS = 15_000;
const RECEIPT_TIMEOUT_MS = 180_000;

export const minimalTokenAbi = [
  { type: "function", name: "balanceOf", stateMutability: "view", inputs: [{ name: "account", type: "address" }], outputs: [{ name: "", type: "uint256" }] },
] as const;

/** @throws CliError `rpc_unreachable`, `chain_unknown`. */
export async function openChain(rpcUrl: string, contract: Address): Promise<Chain> {
  const probe = createPublicClient({ transport: http(rpcUrl, { timeout: RPC_TIMEOUT_MS, retryCount: 1 }) });
  const chainId = await reading(() => probe.getChainId());
  const info = chainById(chainId);
  if (info === undefined) throw new CliError({ code: "chain_unknown", exit: "usage", detail: `The node serves chain ${chainId}; Tallystick is on 8453 (Base) and 84532 (Base Sepolia and the local world).` });
  const chain = defineChain({ id: chainId, name: info.name, nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [rpcUrl] } } });
  const client = createPublicClient({ chain, transport: http(rpcUrl, { timeout: RPC_TIMEOUT_MS, retryCount: 1 }), pollingInterval: 250, cacheTime: 0 }) as PublicClient;
  return { client, rpcUrl, info, contract, domain: sessionChannelsDomain(chainId, contract) };
}

/** Runs reads; what goes wrong on the way to the node is `rpc_unreachable`, without the URL (it may hold a key). */
export async function reading<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw chainError(error);
  }
}

export type Write = "claim" | "claimAndSettle" | "settle" | "initiateWithdraw" | "finalizeWithdraw" | "cancelWithdraw";
type Args<Name extends Write> = ContractFunctionArgs<typeof sessionChannelsAbi, "nonpayable", Name>;
/** A call of the contract. */
export type Call = { [Name in Write]: { functionName: Name; args: Args<Name> } }[Write];

/** Throws what the contract would answer; changes nothing. @throws CliError `contract_refused` with the contract's error in `reason`. */
export async function simulate({ client, contract }: Chain, account: Account, call: Call): Promise<void> {
  await reading(() => client.simulateContract({ address: contract, abi: sessionChannelsAbi, account, ...call } as Parameters<typeof client.simulateContract>[0]));
}

/** Simulates, sends and waits. @throws CliError `contract_refused`, `no_ether`, `transaction_reverted`, `transaction_unknown`. */
export async function send(chain: Chain, account: Account, call: Call, onSent?: (hash: Hex) => void): Promise<TransactionReceipt> {
  await simulate(chain, account, call);
  const { client, rpcUrl, contract } = chain;
  const wallet = createWalletClient({ account, chain: client.chain, transport: http(rpcUrl, { timeout: RPC_TIMEOUT_MS, retryCount: 0 }) });
  const request = { address: contract, abi: sessionChannelsAbi, account, ...call };
  const hash = await reading(() => wallet.writeContract({ ...request, chain: client.chain } as Parameters<typeof wallet.writeContract>[0])).catch(async (error: unknown) => {
    throw (await lacksEther(chain, account, request as Parameters<typeof client.estimateContractGas>[0])) ? noEther() : error;
  });
  onSent?.(hash);
  const receipt = await client.waitForTransactionReceipt({ hash, timeout: RECEIPT_TIMEOUT_MS }).catch((cause: unknown) => {
    // It is out: whether it counts is for the chain to say, so nothing is sent again.
    throw new CliError({ code: "transaction_unknown", retry: "unknown", detail: `Transaction ${hash} was sent, and is not mined yet.`, hint: "Look it up before you run this again; running it again is safe once it is mined.", extra: { transaction: hash }, cause });
  });
  if (receipt.status === "success") return receipt;
  throw new CliError({ code: "transaction_reverted", retry: "safe", detail: `Transaction ${hash} was mined and reverted: somebody was faster. Nothing moved but its gas.`, extra: { transaction: hash } });
}

/** Nodes say in many ways that there is too little ether, so the balance is compared with the price. */
async function lacksEther({ client }: Chain, { address }: Account, call: Parameters<PublicClient["estimateContractGas"]>[0]): Promise<boolean> {
  const [balance, gas, fees] = await Promise.all([
    client.getBalance({ address }).catch(() => undefined),
    client.estimateContractGas(call).catch(() => 21_000n),
    client.estimateFeesPerGas().catch(() => ({ maxFeePerGas: 1n })),
  ]);
  return balance !== undefined && balance < gas * fees.maxFeePerGas;
}

function noEther(): CliError {
  return new CliError({ code: "no_ether", retry: "safe", detail: "The account has too little ether to pay for gas.", hint: "Send it some, then run this again." });
}

/** The contract's error name when it refused, else undefined. */
export function refusalOf(error: unknown): string | undefined {
  return error instanceof CliError && error.code === "contract_refused" ? (error.extra["reason"] as string) : undefined;
}

function chainError(error: unknown): unknown {
  if (!(error instanceof BaseError)) return error;
  const reverted = error.walk((cause) => cause instanceof ContractFunctionRevertedError) as ContractFunctionRevertedError | null;
  if (reverted !== null) {
    const reason = reverted.data?.errorName ?? reverted.reason ?? reverted.signature ?? "no reason given";
    return new CliError({ code: "contract_refused", detail: `The contract refuses: ${reason}.`, extra: { reason } });
  }
  if (error.walk((cause) => cause instanceof InsufficientFundsError) !== null) return noEther();
  const away = error.walk((cause) => cause instanceof HttpRequestError || cause instanceof TimeoutError);
  if (away !== null) {
    const why = away instanceof HttpRequestError ? (away.status === undefined ? "no connection" : `HTTP ${away.status}`) : "no answer in time";
    return new CliError({ code: "rpc_unreachable", exit: "unreachable", retry: "safe", detail: `The chain's RPC endpoint cannot be used: ${why}.`, hint: "Check --rpc or TALLYSTICK_RPC_URL." });
  }
  return new CliError({ code: "chain_error", retry: "unknown", detail: error.shortMessage || messageOf(error) });
}

/** Maps with at most eight calls under way: public endpoints limit more. */
export async function mapLimited<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index]!, index);
  };
  await Promise.all(Array.from({ length: Math.min(8, items.length) }, lane));
  return results;
}
