// What the chain says of a transaction, and whether its sender signed. Reads only; what money depends on is asked of all endpoints.
import { isAddressEqual, recoverMessageAddress, TransactionReceiptNotFoundError, type Address, type Hex, type PublicClient } from "viem";
import { agreed, headOf, readChain } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import type { Mined } from "./types.ts";

type ChainDeps = Pick<Deps, "chain">;

/** Undefined while it is unknown or not mined. */
export function findMined({ chain }: ChainDeps, txHash: Hex): Promise<Mined | undefined> {
  return agreed(chain, (client) => minedBy(client, txHash));
}

async function minedBy(client: PublicClient, hash: Hex): Promise<Mined | undefined> {
  try {
    const { status, blockNumber, blockHash, logs } = await client.getTransactionReceipt({ hash });
    return { success: status === "success", blockNumber, blockHash, logs: logs.map(({ address, topics, data, logIndex }) => ({ address, topics: [...topics] as Hex[], data, logIndex })) };
  } catch (error) {
    if (error instanceof TransactionReceiptNotFoundError) return undefined;
    throw error;
  }
}

/** Blocks on top of it, its own counted. */
export async function depthOf({ chain }: ChainDeps, { blockNumber }: Mined): Promise<number> {
  const depth = (await headOf(chain)) - blockNumber + 1n;
  return depth > 0n ? Number(depth) : 0;
}

/** Unix seconds. */
export function blockTime({ chain }: ChainDeps, { blockHash }: Mined): Promise<bigint> {
  return agreed(chain, async (client) => (await client.getBlock({ blockHash })).timestamp);
}

/** By its key (EIP-191), or by its contract (ERC-1271). */
export async function signedBy({ chain }: ChainDeps, address: Address, message: string, signature: Hex): Promise<boolean> {
  if (await isKeyOf(address, message, signature)) return true;
  const code = await agreed(chain, async (client) => (await client.getCode({ address })) ?? "0x");
  return code !== "0x" && readChain(() => chain.client.verifyMessage({ address, message, signature }));
}

async function isKeyOf(address: Address, message: string, signature: Hex): Promise<boolean> {
  try {
    return isAddressEqual(await recoverMessageAddress({ message, signature }), address);
  } catch {
    return false; // no signature of a key
  }
}
