// What must be known before a nonce is taken: that the call would pass, what it may cost, and that we can pay for it.
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../sdk/src/errors.ts";
import { readChain, type Chain } from "./client.ts";

export type Prepared = { gas: bigint; maxFeePerGas: bigint; maxPriorityFeePerGas: bigint; chainNonce: number };

/** Room over the estimate, in percent: state may change between the estimate and the block. */
const GAS_MARGIN_PERCENT = 20n;

/**
 * Simulates the call from `from` and prices it.
 * @throws the contract's revert, `transaction_too_expensive` (402), `submitter_unfunded` (503) or `chain_unavailable` (503); no nonce is
 * used up by any of them.
 */
export async function prepareTx(chain: Chain, from: Address, call: { to: Address; data: Hex; gas?: bigint; mostGas?: bigint }): Promise<Prepared> {
  const { client } = chain;
  const [gas, block, maxPriorityFeePerGas, chainNonce, balance] = await readChain(() =>
    Promise.all([
      call.gas === undefined ? estimate(chain, from, call) : simulate(chain, from, call),
      client.getBlock({ blockTag: "latest" }),
      client.estimateMaxPriorityFeePerGas(),
      client.getTransactionCount({ address: from, blockTag: "pending" }),
      client.getBalance({ address: from }),
    ]),
  );
  if (call.mostGas !== undefined && gas > call.mostGas) {
    throw new TallystickError({ code: "transaction_too_expensive", status: 402, retry: "never", detail: `The transaction needs ${gas} gas; at most ${call.mostGas} is paid for.` });
  }
  // Twice the base fee outlives six full blocks, so that a transaction seldom needs a bump.
  const maxFeePerGas = 2n * (block.baseFeePerGas ?? 0n) + maxPriorityFeePerGas;
  if (balance < gas * maxFeePerGas) {
    throw new TallystickError({
      code: "submitter_unfunded",
      status: 503,
      retry: "safe",
      detail: `The relayer's gas account holds ${balance} wei; this transaction may cost ${gas * maxFeePerGas}.`,
    });
  }
  return { gas, maxFeePerGas, maxPriorityFeePerGas, chainNonce };
}

async function estimate({ client }: Chain, from: Address, { to, data }: { to: Address; data: Hex }): Promise<bigint> {
  const needed = await client.estimateGas({ account: from, to, data });
  return needed + (needed * GAS_MARGIN_PERCENT) / 100n;
}

async function simulate({ client }: Chain, from: Address, { to, data, gas }: { to: Address; data: Hex; gas?: bigint }): Promise<bigint> {
  await client.call({ account: from, to, data, gas });
  return gas!;
}
