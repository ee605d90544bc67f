// What the compiler made: the contracts that code outside contracts/ needs, and how to read their artifacts.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Abi, Hex } from "viem";

/** Contracts whose ABI is generated into the SDK, with their source files. */
export const CONTRACTS = {
  SessionChannels: "contracts/SessionChannels.sol",
  ERC3009DepositCollector: "contracts/collectors/ERC3009DepositCollector.sol",
  AllowanceDepositCollector: "contracts/collectors/AllowanceDepositCollector.sol",
  MandateRegistry: "contracts/MandateRegistry.sol",
  AuditAnchor: "contracts/AuditAnchor.sol",
  JobEscrow: "contracts/JobEscrow.sol",
  DisputeEvaluator: "contracts/DisputeEvaluator.sol",
  BazaarRegistry: "contracts/BazaarRegistry.sol",
  IdentityRegistry: "contracts/mocks/IdentityRegistry.sol",
  ReputationRegistry: "contracts/mocks/ReputationRegistry.sol",
  TestUSDC: "contracts/mocks/TestUSDC.sol",
} as const;
export type ContractName = keyof typeof CONTRACTS;

export type Artifact = { abi: Abi; bytecode: Hex; deployedBytecode: Hex };

const path = (relative: string) => fileURLToPath(new URL(`../${relative}`, import.meta.url));

/** Compiles what changed since the last time. A second when nothing did; the compiler is heard only when it refuses. */
export function compile(): void {
  const build = [path("node_modules/hardhat/dist/src/cli.js"), "build", "--no-tests", "--quiet"];
  const { status, stdout, stderr } = spawnSync(process.execPath, build, { cwd: path("."), encoding: "utf8" });
  if (status !== 0) throw new Error(`compiling failed (${status}):\n${stdout}${stderr}`);
}

/** The artifact of a contract, compiling first when there is none. */
export function artifact(name: ContractName): Artifact {
  const file = path(`artifacts/${CONTRACTS[name]}/${name}.json`);
  if (!existsSync(file)) compile();
  return JSON.parse(readFileSync(file, "utf8")) as Artifact;
}
