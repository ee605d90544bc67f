// Text of sdk/src/addresses.ts: where the contracts of public chains stand, from Ignition's journal; before there is one,
// where they would come to stand.
import { zeroAddress } from "viem";
import { readJournal, journalFolder } from "../ignition/journal.ts";
import { parametersOf, type PublicParameters } from "../ignition/parameters.ts";
import { planFor } from "./deploy/plan.ts";

const PUBLIC = ["base", "base-sepolia"] as const;

export function renderAddresses(deployments?: string): string {
  const entries = PUBLIC.map((network) => renderDeployment(network, parametersOf(network), deployments));
  return `// Generated from ignition/deployments and ignition/parameters by scripts/generate.ts (npm run build). Do not edit.
import type { Address } from "viem";

export type Deployment = {
  /**
   * \`deployed\`: the addresses are those of the deployment's journal. \`predicted\`: nothing stands there yet; this is where
   * today's code would come to stand, and a change of the code moves it.
   */
  status: "deployed" | "predicted";
  /** Block from which an indexer has to read; 0 when it is not known. */
  startBlock: number;
  contracts: { SessionChannels: Address; ERC3009DepositCollector: Address; AllowanceDepositCollector: Address; MandateRegistry: Address; AuditAnchor: Address; JobEscrow: Address; DisputeEvaluator: Address; BazaarRegistry: Address };
};

/** Tallystick's contracts on public chains, by chain id. The local world has its own: see constants.ts. */
export const deployments: Record<8453 | 84532, Deployment> = {
${entries.join("\n")}
};
`;
}

function renderDeployment(network: string, parameters: PublicParameters, deployments?: string): string {
  const { chainId } = parameters;
  const plan = planFor(parameters, { deployer: zeroAddress, chainId });
  const journal = readJournal(journalFolder(chainId, deployments));
  const deployed = plan.every(({ futureId }) => journal.addresses[futureId] !== undefined);
  const contracts = plan.map(({ name, futureId, address }) => `      ${name}: "${(deployed && journal.addresses[futureId]) || address}",\n`);
  const first = plan.map(({ futureId }) => journal.blocks[futureId] ?? 0);
  return `  // ${network}
  ${chainId}: {
    status: "${deployed ? "deployed" : "predicted"}",
    startBlock: ${deployed ? Math.min(...first) : 0},
    contracts: {
${contracts.join("")}    },
  },`;
}
