// What Tallystick deploys: the channel contract and the two collectors that serve it. No owner, no parameter: the only
// constructor argument is the channel contract's address.
import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import type { NamedArtifactContractDeploymentFuture } from "@nomicfoundation/ignition-core";
import type { Address } from "viem";

export const MODULE = "Tallystick";
/** The deployed contracts, by name. */
export const DEPLOYED = ["SessionChannels", "ERC3009DepositCollector", "AllowanceDepositCollector"] as const;
export type DeployedName = (typeof DEPLOYED)[number];

/**
 * The module, with the contracts of `standing` taken as they are instead of deployed. Create2 addresses do not depend on
 * who deploys, so a stranger may have put the same code there first; creating it again would revert.
 */
export function tallystickModule(standing: Partial<Record<DeployedName, Address>> = {}) {
  return buildModule(MODULE, (m) => {
    const contract = (name: DeployedName, ...args: NamedArtifactContractDeploymentFuture<string>["constructorArgs"]) => {
      const address = standing[name];
      return address === undefined ? m.contract(name, args) : m.contractAt(name, address);
    };
    const channels = contract("SessionChannels");
    return {
      SessionChannels: channels,
      ERC3009DepositCollector: contract("ERC3009DepositCollector", channels),
      AllowanceDepositCollector: contract("AllowanceDepositCollector", channels),
    };
  });
}

export default tallystickModule();
