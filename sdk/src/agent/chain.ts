// What an agent reads from the chain and, when no server helps, sends to it. Amounts in atomic units, times in unix seconds.
import { createClient, erc20Abi, http, type Account, type Address, type Hex, type PublicClient, type WalletClient } from "viem";
import { getBlock, getChainId, readContract, waitForTransactionReceipt } from "viem/actions";
import { sessionChannelsAbi } from "../abi/session-channels.ts";
import { TallystickError } from "../errors.ts";
import type { ChannelConfig } from "../typed-data.ts";

export type ChainReader = Pick<PublicClient, "readContract" | "getChainId" | "getBlock" | "waitForTransactionReceipt">;

export type OnChain = { balance: bigint; totalClaimed: bigint; withdrawAmount: bigint; /** 0 when none is pending. */ withdrawInitiatedAt: number };

export function openReader(rpcUrl: string): ChainReader {
  // The four actions and no more: a public client brings all of viem's into a browser's bundle.
  const client = createClient({ transport: http(rpcUrl) });
  const reader = {
    readContract: (args: never) => readContract(client, args),
    getChainId: () => getChainId(client),
    getBlock: (args?: never) => getBlock(client, args),
    waitForTransactionReceipt: (args: never) => waitForTransactionReceipt(client, args),
  };
  return reader as unknown as ChainReader;
}

export async function readChannel(reader: ChainReader, contract: Address, channelId: Hex): Promise<OnChain> {
  const at = { address: contract, abi: sessionChannelsAbi, args: [channelId] } as const;
  const [[balance, totalClaimed], [withdrawAmount, withdrawInitiatedAt]] = await Promise.all([
    reader.readContract({ ...at, functionName: "channels" }),
    reader.readContract({ ...at, functionName: "pendingWithdrawals" }),
  ]);
  return { balance, totalClaimed, withdrawAmount, withdrawInitiatedAt };
}

export function readBalance(reader: ChainReader, token: Address, owner: Address): Promise<bigint> {
  return reader.readContract({ address: token, abi: erc20Abi, functionName: "balanceOf", args: [owner] });
}

/** Sends transactions from the payer; the account pays its own gas. */
export type ChainWriter = Pick<WalletClient, "writeContract"> & { account: Account; chain: WalletClient["chain"] };

/**
 * @throws TallystickError `transaction_reverted` with the hash.
 */
export async function send(reader: ChainReader, writer: ChainWriter, contract: Address, functionName: "initiateWithdraw" | "finalizeWithdraw", config: ChannelConfig, amount?: bigint): Promise<Hex> {
  const args = functionName === "initiateWithdraw" ? [config, amount] : [config];
  const hash = await writer.writeContract({ address: contract, abi: sessionChannelsAbi, functionName, args, account: writer.account, chain: writer.chain } as never);
  const receipt = await reader.waitForTransactionReceipt({ hash });
  if (receipt.status === "success") return hash;
  throw new TallystickError({ code: "transaction_reverted", status: 502, retry: "never", detail: `${functionName} was refused by the chain in ${hash}.`, extra: { txHash: hash } });
}
