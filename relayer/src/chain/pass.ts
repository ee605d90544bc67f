// What one look at the chain sees: each thing is asked for once, however many transactions and lanes need it, and believed only
// when more than half of the endpoints say it.
import { BlockNotFoundError, TransactionNotFoundError, TransactionReceiptNotFoundError, type Address, type Hex, type TransactionReceipt } from "viem";
import { agreed, headOf, middle, type Chain } from "./client.ts";

export type Pass = {
  head(): Promise<bigint>;
  /** How many transactions of that sender are in blocks: nonces below are spent. */
  minedCount(address: Address): Promise<number>;
  countAt(address: Address, blockNumber: bigint): Promise<number>;
  /** undefined when there is no such block. */
  blockHash(blockNumber: bigint): Promise<Hex | undefined>;
  /** Asked each time. undefined when most endpoints have none. @throws TallystickError `chain_unavailable` when they do not agree. */
  receipt(hash: Hex): Promise<TransactionReceipt | undefined>;
};

export function openPass(chain: Chain): Pass {
  const head = once(() => headOf(chain));
  const minedCount = once((address: Address) => middle(chain, async (client) => BigInt(await client.getTransactionCount({ address }))));
  const blockHash = once((blockNumber: bigint) => agreed(chain, async (client) => orNone(BlockNotFoundError, async () => (await client.getBlock({ blockNumber })).hash ?? undefined)));
  return {
    head: () => head(undefined),
    minedCount: async (address) => Number(await minedCount(address)),
    countAt: async (address, blockNumber) => Number(await middle(chain, async (client) => BigInt(await client.getTransactionCount({ address, blockNumber })))),
    blockHash,
    receipt: (hash) => agreedReceipt(chain, hash),
  };
}

/** Everything that anybody decides by is compared, logs included. */
export async function agreedReceipt(chain: Chain, hash: Hex): Promise<TransactionReceipt | undefined> {
  return agreed(
    chain,
    async (client) => orNone([TransactionReceiptNotFoundError, TransactionNotFoundError], () => client.getTransactionReceipt({ hash })),
    (receipt) => receipt && [receipt.transactionHash, receipt.blockHash, receipt.status, receipt.logs.map(({ address, topics, data }) => [address, topics, data])],
  );
}

type ErrorType = new (...args: never[]) => Error;

/** "There is none" is an answer. */
async function orNone<T>(none: ErrorType | ErrorType[], read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if ([none].flat().some((type) => error instanceof type)) return undefined;
    throw error;
  }
}

function once<K, T>(read: (key: K) => Promise<T>): (key: K) => Promise<T> {
  const answers = new Map<K, Promise<T>>();
  return (key) => {
    const answer = answers.get(key) ?? read(key);
    answers.set(key, answer);
    return answer;
  };
}
