// Runs Ignition: signs and sends, keeps the journal, tells what happens.
import { errorDeploymentResultToExceptionMessage, HardhatArtifactResolver } from "@nomicfoundation/hardhat-ignition/helpers";
import { deploy, DeploymentResultType, type ExecutionEventListener } from "@nomicfoundation/ignition-core";
import type { Address, Hex } from "viem";
import { MODULE, tallystickModule, type DeployedName } from "../../ignition/modules/Tallystick.ts";
import type { NetworkName, Parameters } from "../../ignition/parameters.ts";
import type { Addresses } from "./verify.ts";

export type Run = {
  network: NetworkName;
  parameters: Parameters;
  rpcUrl: string;
  privateKey: Hex;
  deployer: Address;
  /** Contracts taken as they stand. */
  standing: Partial<Addresses>;
  /** Folder of the journal; nothing is kept without one. */
  journal: string | undefined;
  say(line: string): void;
};

/** Deploys what is missing. Throws Ignition's own account of a failure; the journal then holds what was done. */
export async function ignite(run: Run): Promise<Addresses> {
  const { default: hre } = await import("hardhat");
  const connection = await hre.network.create({
    network: run.network === "local" ? "localhost" : run.network,
    override: { url: run.rpcUrl, accounts: [run.privateKey], chainId: run.parameters.chainId },
  });
  try {
    const { parameters } = run;
    const result = await deploy({
      artifactResolver: new HardhatArtifactResolver(hre.artifacts),
      provider: connection.provider,
      ...(run.journal === undefined ? {} : { deploymentDir: run.journal }),
      executionEventListener: listener(run.say),
      ignitionModule: tallystickModule(run.standing, parameters),
      deploymentParameters: {},
      accounts: [run.deployer],
      defaultSender: run.deployer,
      strategy: parameters.strategy,
      ...(parameters.strategy === "create2" ? { strategyConfig: { salt: parameters.salt } } : {}),
      config: { requiredConfirmations: parameters.requiredConfirmations },
    });
    if (result.type !== DeploymentResultType.SUCCESSFUL_DEPLOYMENT) throw new Error(errorDeploymentResultToExceptionMessage(result));
    const entries = Object.values(result.contracts).map(({ contractName, address }) => [contractName as DeployedName, address as Address]);
    return Object.fromEntries(entries) as Addresses;
  } finally {
    await connection.close();
  }
}

/** Ignition wants a handler for every event; these are the ones worth a line. */
function listener(say: Run["say"]): ExecutionEventListener {
  const name = (futureId: string) => futureId.replace(`${MODULE}#`, "");
  const told: Partial<ExecutionEventListener> = {
    deploymentStart: async ({ isResumed }) => void (isResumed && say("resuming what an earlier run began")),
    contractAtExecutionStateInitialize: async ({ futureId }) => say(`${name(futureId)}  taken as it stands`),
    transactionSend: async ({ futureId, hash }) => say(`${name(futureId)}  sent ${hash}`),
    transactionConfirm: async ({ futureId, hash }) => say(`${name(futureId)}  confirmed ${hash}`),
    onchainInteractionBumpFees: async ({ futureId }) => say(`${name(futureId)}  still not mined, offering more`),
    deploymentExecutionStateComplete: async ({ futureId, result }) => {
      if ("address" in result) say(`${name(futureId)}  stands at ${result.address}`);
    },
  };
  const silent = async () => {};
  return new Proxy(told, { get: (handlers, event) => Reflect.get(handlers, event) ?? silent }) as ExecutionEventListener;
}
