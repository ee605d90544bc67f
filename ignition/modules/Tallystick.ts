// What Tallystick deploys: the channel contract, the two collectors that serve it, the mandate registry, which funds channels in
// ours and in the published contract, the anchor of audit logs, the job escrow with its evaluator of disputes, and the bazaar's
// registry, which reads channels and jobs. No owner; parameters are only for what differs from chain to chain: the token of the escrow,
// USDC, and what the bazaar is built with.
import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import type { NamedArtifactContractDeploymentFuture } from "@nomicfoundation/ignition-core";
import { zeroAddress, type Address } from "viem";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { parametersOf, type ChainParameters } from "../parameters.ts";

export const MODULE = "Tallystick";
/** The deployed contracts, by name. */
export const DEPLOYED = [
  "SessionChannels",
  "ERC3009DepositCollector",
  "AllowanceDepositCollector",
  "MandateRegistry",
  "AuditAnchor",
  "JobEscrow",
  "DisputeEvaluator",
  "BazaarRegistry",
] as const;
export type DeployedName = (typeof DEPLOYED)[number];
/** Platform fee of jobs, basis points: none, and so no treasury. */
export const JOB_FEE_BPS = 0;
/** What a seat on a panel locks, atomic USDC; and the least window of a dispute, seconds. */
export const SEAT_BOND_ATOMIC = 50_000_000n;
export const MIN_DISPUTE_WINDOW_S = 600;

/**
 * The module, with the contracts of `standing` taken as they are instead of deployed. Create2 addresses do not depend on
 * who deploys, so a stranger may have put the same code there first; creating it again would revert.
 */
export function tallystickModule(standing: Partial<Record<DeployedName, Address>> = {}, { usdc, bazaar }: ChainParameters = parametersOf("base")) {
  return buildModule(MODULE, (m) => {
    const contract = (name: DeployedName, ...args: NamedArtifactContractDeploymentFuture<string>["constructorArgs"]) => {
      const address = standing[name];
      return address === undefined ? m.contract(name, args) : m.contractAt(name, address);
    };
    const channels = contract("SessionChannels");
    const erc3009Collector = contract("ERC3009DepositCollector", channels);
    const allowanceCollector = contract("AllowanceDepositCollector", channels);
    const registry = contract("MandateRegistry", channels, SESSION_CHANNELS);
    const anchor = contract("AuditAnchor");
    const escrow = contract("JobEscrow", usdc, registry, JOB_FEE_BPS, zeroAddress);
    return {
      SessionChannels: channels,
      ERC3009DepositCollector: erc3009Collector,
      AllowanceDepositCollector: allowanceCollector,
      MandateRegistry: registry,
      AuditAnchor: anchor,
      JobEscrow: escrow,
      DisputeEvaluator: contract("DisputeEvaluator", escrow, usdc, SEAT_BOND_ATOMIC, MIN_DISPUTE_WINDOW_S),
      BazaarRegistry: contract(
        "BazaarRegistry",
        bazaar.identityRegistry, bazaar.reputationRegistry, channels, SESSION_CHANNELS, escrow, bazaar.curator, bazaar.bondToken, BigInt(bazaar.facilitatorBond),
      ),
    };
  });
}

export default tallystickModule();
