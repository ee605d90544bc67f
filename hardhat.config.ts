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

export default defineConfig({
  plugins: [toolbox],
  // One profile: what is tested is, to the byte, what is deployed.
  solidity: { profiles: { default: solc, production: solc } },
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
  test: { solidity: { fuzz: { runs: 256 }, invariant: { runs: 32, depth: 64, failOnRevert: true } } },
});
