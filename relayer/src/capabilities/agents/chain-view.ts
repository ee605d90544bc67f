// Reads what the registry says of services, all of them at one block.
import { BaseError, ContractFunctionRevertedError, type Address, type Hex } from "viem";
import { bazaarRegistryAbi as abi } from "../../../../sdk/src/abi/bazaar-registry.ts";
import { SERVICE_STATUSES, type ServiceKey, type ServiceStatus } from "../../../../sdk/src/bazaar.ts";
import { agreed, isRevert } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";

export type RegistryDeps = Pick<Deps, "chain" | "config">;

/** As of `block`. */
export type ServiceView = {
  status: ServiceStatus;
  version: number;
  revision: number;
  /** First 25 bytes of the hash of its terms; undefined when there is no such service. */
  termsTag: Hex | undefined;
  /** Who signs for it; undefined when its identity is gone. */
  owner: Address | undefined;
  block: bigint;
};

/** Services in one eth_call: two reads each. */
const READS_A_CALL = 150;

/** True where the registry is deployed; elsewhere nothing is listed. @throws TallystickError `chain_unavailable` (503). */
export function registryStands({ chain, config }: RegistryDeps): Promise<boolean> {
  return agreed(chain, async (client) => ((await client.getCode({ address: config.bazaar.registry })) ?? "0x") !== "0x");
}

/** @throws TallystickError `chain_unavailable` (503). */
export async function readServices({ chain, config }: RegistryDeps, keys: ReadonlyMap<Hex, ServiceKey>, block: bigint): Promise<Map<Hex, ServiceView>> {
  const views = new Map<Hex, ServiceView>();
  const all = [...keys];
  for (let start = 0; start < all.length; start += READS_A_CALL) {
    const page = all.slice(start, start + READS_A_CALL);
    const at = { address: config.bazaar.registry, abi } as const;
    const [states, owners] = await agreed(chain, (client) =>
      Promise.all([
        client.multicall({ allowFailure: false, batchSize: 0, blockNumber: block, contracts: page.map(([id]) => ({ ...at, functionName: "services", args: [id] }) as const) }),
        // An identity that was burnt has no owner: that read alone reverts.
        client.multicall({ allowFailure: true, batchSize: 0, blockNumber: block, contracts: page.map(([, key]) => ({ ...at, functionName: "serviceOwner", args: [key] }) as const) }).then((told) => told.map((answer) => answer.result)),
      ]),
    );
    page.forEach(([id], index) => {
      const { status, version, revision, termsTag } = states[index]!;
      const name = SERVICE_STATUSES[status] ?? "suspended";
      views.set(id, { status: name, version, revision, termsTag: name === "none" ? undefined : termsTag, owner: owners[index], block });
    });
  }
  return views;
}

/** Name of the registry's own error, with its arguments, or undefined. */
export function registryError(error: unknown): { name: string; args: readonly unknown[] } | undefined {
  if (!isRevert(error) || !(error instanceof BaseError)) return undefined;
  const reverted = error.walk((cause) => cause instanceof ContractFunctionRevertedError);
  if (!(reverted instanceof ContractFunctionRevertedError) || reverted.data === undefined) return undefined;
  return { name: reverted.data.errorName, args: reverted.data.args ?? [] };
}
