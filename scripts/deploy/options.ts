// The command line of the deploy command, and the one form of complaint it knows.
import { parseArgs } from "node:util";
import { isNetwork, NETWORKS, type NetworkName } from "../../ignition/parameters.ts";

/** One thing that stands in the way, and what to do about it. `code` is stable; the sentences may change. */
export type Problem = { code: string; problem: string; fix: string };

export type Options = {
  network: NetworkName;
  rpcUrl: string | undefined;
  dryRun: boolean;
  yes: boolean;
  /** Keeps the journal of a public chain elsewhere than in ignition/deployments. */
  deployments: string | undefined;
};

export const USAGE = `Deploys Tallystick's contracts.

  npm run deploy -- --network <${NETWORKS.join("|")}> [options]

  --rpc-url <url>      RPC to use; else BASE_RPC_URL, BASE_SEPOLIA_RPC_URL or RPC_URL of the environment
  --dry-run            every check and the predicted addresses; sends nothing
  --yes                no question before sending to a public chain
  --json               one JSON object on stdout; progress goes to stderr
  --deployments <dir>  where the journal of a public chain is kept (default ignition/deployments)

The deployer's key comes from the environment variable DEPLOYER_PRIVATE_KEY, never from an argument.
The page for operators is docs/DEPLOY.md.`;

/** Reads the arguments. Never repeats a value: somebody may have typed a key there. */
export function readOptions(args: string[]): Options | Problem[] {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        network: { type: "string" },
        "rpc-url": { type: "string" },
        "dry-run": { type: "boolean", default: false },
        yes: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        deployments: { type: "string" },
      },
    }));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const what = unknownOption(args);
    return [{ code: "bad_usage", problem: what ?? "the arguments could not be read", fix: "npm run deploy -- --help" }];
  }
  const { network } = values;
  if (network === undefined || !isNetwork(network)) {
    const problem = network === undefined ? "no network was named" : `there is no network "${network.slice(0, 40)}"`;
    return [{ code: "unknown_network", problem, fix: `--network with one of ${NETWORKS.join(", ")}` }];
  }
  return { network, rpcUrl: values["rpc-url"], dryRun: values["dry-run"], yes: values.yes, deployments: values.deployments };
}

const KNOWN = ["--network", "--rpc-url", "--dry-run", "--yes", "--json", "--deployments"];

function unknownOption(args: string[]): string | undefined {
  const names = args.filter((arg) => arg.startsWith("--")).map((arg) => arg.split("=")[0]!);
  const unknown = names.find((name) => !KNOWN.includes(name));
  if (unknown === undefined) return undefined;
  return /key|secret|mnemonic/i.test(unknown)
    ? `${unknown} is not an option: a key in an argument is seen by every process and kept in the shell's history`
    : `${unknown} is not an option`;
}
