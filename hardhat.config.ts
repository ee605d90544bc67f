import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import toolbox from "@nomicfoundation/hardhat-toolbox-mocha-ethers";
import { configVariable, defineConfig } from "hardhat/config";

// The compiler is the npm package `solc`: nothing is downloaded, so a build needs only the package registry.
const solc = {
  version: "0.8.37",
  path: fileURLToPath(new URL("./node_modules/solc/soljson.js", import.meta.url)),
  settings: {
    evmVersion: "prague",
    viaIR: true,
    optimizer: { enabled: true, runs: 1_000_000 },
    metadata: { bytecodeHash: "none" as const },
  },
};

// Solidity tests are compiled without IR and optimizer, several times faster. They never import a contract under test: they
// deploy its own artifact (`vm.getCode`), which is compiled as below.
const testSolc = { ...solc, settings: { ...solc.settings, viaIR: false, optimizer: { enabled: false } } };
// Large and seldom called: optimised for size, or it would pass the limit of EIP-170.
const compactSolc = { ...solc, settings: { ...solc.settings, optimizer: { enabled: true, runs: 200 } } };
const COMPACT = { "contracts/DisputeEvaluator.sol": compactSolc };
const testOverrides = Object.fromEntries(
  ["contracts", "contracts/test-support"].flatMap((folder) =>
    readdirSync(new URL(folder, import.meta.url))
      .filter((name) => name.endsWith(folder === "contracts" ? ".t.sol" : ".sol"))
      .map((name) => [`${folder}/${name}`, testSolc]),
  ),
);

const fuzz = (runs: number, invariantRuns: number, depth: number) => ({
  fuzz: { runs },
  invariant: { runs: invariantRuns, depth, failOnRevert: true },
});

export default defineConfig({
  plugins: [toolbox],
  // One profile: what is tested is, to the byte, what is deployed.
  solidity: { profiles: { default: { compilers: [solc], overrides: { ...testOverrides, ...COMPACT } }, production: { compilers: [solc], overrides: COMPACT } } },
  paths: { sources: "./contracts", tests: { solidity: "./contracts", mocha: "./test/contracts" } },
  networks: {
    localhost: { type: "http", chainType: "op", url: configVariable("RPC_URL") },
    "base-sepolia": {
      type: "http",
      chainType: "op",
      chainId: 84532,
      url: configVariable("BASE_SEPOLIA_RPC_URL"),
      accounts: [configVariable("DEPLOYER_PRIVATE_KEY")],
    },
    base: {
      type: "http",
      chainType: "op",
      chainId: 8453,
      url: configVariable("BASE_RPC_URL"),
      accounts: [configVariable("DEPLOYER_PRIVATE_KEY")],
    },
    // What tests and the local world run on: a Base look-alike that carries Base Sepolia's chain id.
    local: { type: "edr-simulated", chainType: "op", chainId: 84532, hardfork: "isthmus" },
  },
  // `npm run fuzz` takes the heavy profile.
  test: { solidity: { profiles: { default: fuzz(256, 32, 64), heavy: fuzz(5_000, 400, 200) } } },
});
