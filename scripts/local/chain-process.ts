// The child process behind chain.ts. Options come as one JSON argument; the address it listens on goes back by IPC.
import { createHardhatRuntimeEnvironment } from "hardhat/hre";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import type { ChainOptions } from "./chain.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as ChainOptions;

// A bare configuration: hardhat.config.ts brings the toolbox, which a node does not need and which doubles its start.
const hre = await createHardhatRuntimeEnvironment({
  networks: {
    local: {
      type: "edr-simulated",
      chainType: "op",
      chainId: BASE_SEPOLIA.chainId,
      hardfork: "isthmus",
      // Else each of several blocks in one second pushes the chain's clock a second ahead of ours, and signatures that are
      // valid for a minute of our clock arrive expired.
      allowBlocksWithSameTimestamp: true,
      mining: { auto: true, interval: options.blockTimeMs ?? 0 },
      // As a public node does: a transaction that reverts is mined, its sender reads that from the receipt.
      throwOnTransactionFailures: false,
      ...(options.genesisTimeS === undefined ? {} : { initialDate: new Date(options.genesisTimeS * 1_000) }),
    },
  },
});
const server = await hre.network.createServer("local", "127.0.0.1", options.port ?? 0);
const { address, port } = await server.listen();
process.send!({ url: `http://${address}:${port}` });

const end = () => process.exit(0);
process.on("disconnect", end).on("SIGTERM", end);
