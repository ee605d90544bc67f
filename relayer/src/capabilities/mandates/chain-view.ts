// Reads what the registry says of mandates and principals, all of them at one block.
import type { Address, Hex } from "viem";
import { mandateRegistryAbi as abi } from "../../../../sdk/src/abi/mandate-registry.ts";
import { agreed } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";

export type RegistryDeps = Pick<Deps, "chain" | "config">;

/** As of `block`; spent of it and of every mandate below it, atomic units. */
export type MandateView = { approved: boolean; revoked: boolean; spent: bigint; block: bigint };

/** Reads in one eth_call. */
const READS_A_CALL = 300;

/** True where the registry is deployed; elsewhere nothing is known on the chain. @throws TallystickError `chain_unavailable` (503). */
export function registryStands({ chain, config }: RegistryDeps): Promise<boolean> {
  return agreed(chain, async (client) => ((await client.getCode({ address: config.mandateRegistry })) ?? "0x") !== "0x");
}

/** One that the registry has never heard of reads as neither approved nor revoked. */
export async function readMandates(deps: RegistryDeps, ids: readonly Hex[], block: bigint): Promise<Map<Hex, MandateView>> {
  const views = new Map<Hex, MandateView>();
  for (const page of pagesOf(ids)) {
    const contracts = page.map((id) => ({ address: deps.config.mandateRegistry, abi, functionName: "mandates", args: [id] }) as const);
    const states = await agreed(deps.chain, (client) => client.multicall({ allowFailure: false, batchSize: 0, blockNumber: block, contracts }));
    page.forEach((id, index) => {
      const { approved, revoked, spent } = states[index]!;
      views.set(id, { approved, revoked, spent, block });
    });
  }
  return views;
}

export async function readEpochs(deps: RegistryDeps, principals: readonly Address[], block: bigint): Promise<Map<Address, number>> {
  const epochs = new Map<Address, number>();
  for (const page of pagesOf(principals)) {
    const contracts = page.map((principal) => ({ address: deps.config.mandateRegistry, abi, functionName: "epochs", args: [principal] }) as const);
    const answers = await agreed(deps.chain, (client) => client.multicall({ allowFailure: false, batchSize: 0, blockNumber: block, contracts }));
    page.forEach((principal, index) => epochs.set(principal, answers[index]!));
  }
  return epochs;
}

function pagesOf<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / READS_A_CALL) }, (_, page) => all.slice(page * READS_A_CALL, (page + 1) * READS_A_CALL));
}
