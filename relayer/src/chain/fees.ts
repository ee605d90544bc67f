// What must be known before a nonce is taken: that the call would pass, what it may cost, and that we can pay for it.
import type { Address, Hex } from "viem";
import { TallystickError } from "../../../sdk/src/errors.ts";
import { middle, readChain, type Chain } from "./client.ts";
import type { Fees } from "./market.ts";

export type Call = { to: Address; data: Hex; gas?: bigint; mostGas?: bigint; rehearsed?: boolean };
export type Offer = { maxFeePerGas: bigint; maxPriorityFeePerGas: bigint };

/** Base takes no transaction whose gas limit is higher (EIP-7825). */
export const MAX_TX_GAS = 16_777_216n;
/** Room over the estimate: state may change between the estimate and the block, and what is not used is not paid. */
const GAS_MARGIN_PERCENT = 20n;
/** At least one storage slot more than foreseen: a receiver that empties its wallet meanwhile costs 17,100 gas. */
const LEAST_MARGIN_GAS = 25_000n;

/**
 * Simulates the call from `from` and says its gas limit.
 * @throws the contract's revert, `transaction_too_expensive` (402), `transaction_over_gas_limit` (422) or `chain_unavailable` (503).
 */
export async function gasFor(chain: Chain, from: Address, call: Call): Promise<bigint> {
  const most = smaller(call.mostGas ?? MAX_TX_GAS, MAX_TX_GAS);
  if (call.gas === undefined) {
    const needed = await estimate(chain, from, call);
    refuseAbove(needed, most);
    return smaller(needed + larger((needed * GAS_MARGIN_PERCENT) / 100n, LEAST_MARGIN_GAS), most);
  }
  refuseAbove(call.gas, most);
  if (call.rehearsed !== true) await simulate(chain, from, call);
  return call.gas;
}

/**
 * The first offer for a transaction. Twice the base fee outlives six full blocks, so that it seldom needs a bump.
 * @throws TallystickError `fee_above_cap` (503, safe) when the next block alone costs more than we ever offer.
 */
export function offerFor({ baseFee, tip }: Fees, capWei: bigint): Offer {
  if (baseFee >= capWei) {
    throw new TallystickError({ code: "fee_above_cap", status: 503, retry: "safe", detail: `The base fee is ${baseFee} wei; at most ${capWei} is offered per gas.` });
  }
  const maxFeePerGas = smaller(2n * baseFee + tip, capWei);
  // The tip is paid in full: an endpoint that names a mad one must not cost more than the cap.
  return { maxFeePerGas, maxPriorityFeePerGas: smaller(tip, maxFeePerGas) };
}

/** On the newest block: what other lanes have in the pool may be mined after this, and then this costs more than on top of it. */
async function estimate(chain: Chain, from: Address, { to, data }: Call): Promise<bigint> {
  return middle(chain, (client) => client.estimateGas({ account: from, to, data, blockTag: "latest" }));
}

async function simulate({ client }: Chain, from: Address, { to, data, gas }: Call): Promise<void> {
  await readChain(() => client.call({ account: from, to, data, gas }));
}

function refuseAbove(gas: bigint, most: bigint): void {
  if (gas > MAX_TX_GAS) {
    throw new TallystickError({
      code: "transaction_over_gas_limit",
      status: 422,
      retry: "never",
      detail: `The transaction needs ${gas} gas; the chain takes at most ${MAX_TX_GAS} in one.`,
      extra: { gas: String(gas), limit: String(MAX_TX_GAS) },
    });
  }
  if (gas > most) {
    throw new TallystickError({ code: "transaction_too_expensive", status: 402, retry: "never", detail: `The transaction needs ${gas} gas; at most ${most} is paid for.` });
  }
}

const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
