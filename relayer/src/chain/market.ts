// What every transaction has to know and many can share: fees, and each lane's balance and nonce. Read once for all that are sent
// in the same moment; where there are several endpoints, none of them alone decides what we pay.
import type { Address } from "viem";
import { middle, type Chain } from "./client.ts";

export type Fees = { baseFee: bigint; tip: bigint };
export type Account = {
  balance: bigint;
  /** The next nonce as the nodes see it, their pools included. */
  nonce: number;
};

export type Market = {
  fees(): Promise<Fees>;
  account(address: Address): Promise<Account>;
  /** Reads the account anew next time: a node has just contradicted what we knew of it. */
  forget(address: Address): void;
};

/** A block of Base: what is older says little. */
const MAX_AGE_MS = 2_000;

/** @param maxAgeMs how long an answer serves others, capped at a block's time. */
export function createMarket(chain: Chain, maxAgeMs: number): Market {
  const ageMs = Math.min(maxAgeMs, MAX_AGE_MS);
  const fees = shared(ageMs, async () => {
    const [baseFee, tip] = await Promise.all([
      middle(chain, async (client) => (await client.getBlock({ blockTag: "latest" })).baseFeePerGas ?? 0n),
      middle(chain, (client) => client.estimateMaxPriorityFeePerGas()),
    ]);
    return { baseFee, tip };
  });
  const accounts = new Map<Address, () => Promise<Account>>();
  const account = (address: Address) =>
    shared(ageMs, async () => {
      const [balance, nonce] = await Promise.all([
        middle(chain, (client) => client.getBalance({ address })),
        middle(chain, async (client) => BigInt(await client.getTransactionCount({ address, blockTag: "pending" }))),
      ]);
      return { balance, nonce: Number(nonce) };
    });
  return {
    fees,
    account(address) {
      const read = accounts.get(address) ?? account(address);
      accounts.set(address, read);
      return read();
    },
    forget: (address) => void accounts.delete(address),
  };
}

/** One read for everybody who asks within `ageMs` of its start; a failure serves only those who waited for it. */
function shared<T>(ageMs: number, read: () => Promise<T>): () => Promise<T> {
  let last: { at: number; answer: Promise<T> } | undefined;
  return () => {
    if (last !== undefined && performance.now() - last.at < ageMs) return last.answer;
    const mine = { at: performance.now(), answer: read() };
    last = mine;
    mine.answer.catch(() => {
      if (last === mine) last = undefined;
    });
    return mine.answer;
  };
}
