// What Tallystick deploys: the channel contract, the two collectors that serve it, the mandate registry, which funds channels in
// ours and in the published contract, the anchor of audit logs, and the bazaar's registry, which reads channels. No owner; parameters
// are the bazaar's alone, for what differs from chain to chain.
import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import type { NamedArtifactContractDeploymentFuture } from "@nomicfoundation/ignition-core";
import type { Address } from "viem";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { parametersOf, type BazaarParameters } from "../parameters.ts";

export const MODULE = "Tallystick";
/** The deployed contracts, by name. */
export const DEPLOYED = ["SessionChannels", "ERC3009DepositCollector", "AllowanceDepositCollector", "MandateRegistry", "AuditAnchor", "BazaarRegistry"] as const;
export type DeployedName = (typeof DEPLOYED)[number];

/**
 * The module, with the contracts of `standing` taken as they are instead of deployed. Create2 addresses do not depend on
 * who deploys, so a stranger may have put the same code there first; creating it again would revert.
 */
export function tallystickModule(standing: Partial<Record<DeployedName, Address>> = {}, bazaar: BazaarParameters = parametersOf("base").bazaar) {
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
      MandateRegistry: contract("MandateRegistry", channels, SESSION_CHANNELS),
      AuditAnchor: contract("AuditAnchor"),
      BazaarRegistry: contract(
        "BazaarRegistry",
        bazaar.identityRegistry, bazaar.reputationRegistry, channels, SESSION_CHANNELS, bazaar.jobs, bazaar.curator, bazaar.bondToken, BigInt(bazaar.facilitatorBond),
      ),
    };
  });
}

export default tallystickModule();
