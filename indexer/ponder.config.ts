// The one file of the indexer that reads the environment. DATABASE_SCHEMA and PORT are read by Ponder itself.
import { createConfig } from "ponder";
import { getAddress } from "viem";
import { auditAnchorAbi } from "../sdk/src/abi/audit-anchor.ts";
import { bazaarRegistryAbi } from "../sdk/src/abi/bazaar-registry.ts";
import { disputeEvaluatorAbi } from "../sdk/src/abi/dispute-evaluator.ts";
import { jobEscrowAbi } from "../sdk/src/abi/job-escrow.ts";
import { mandateRegistryAbi } from "../sdk/src/abi/mandate-registry.ts";
import { sessionChannelsAbi } from "../sdk/src/abi/session-channels.ts";
import { BASE_SEPOLIA, LOCAL_AUDIT_ANCHOR, LOCAL_BAZAAR_REGISTRY, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW, LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../sdk/src/constants.ts";

const env = process.env;

/** Relayers that are asked for the receipts under roots; src/reputation.ts. */
export const receiptSources = (env.RECEIPT_SOURCES ?? "").split(",").filter((source) => source !== "");

export default createConfig({
  database: {
    kind: "postgres",
    connectionString: env.DATABASE_URL ?? "postgres://tallystick:tallystick@127.0.0.1:5432/indexer",
    poolConfig: { max: whole("DATABASE_POOL", 20) },
  },
  chains: {
    base: {
      id: whole("CHAIN_ID", BASE_SEPOLIA.chainId),
      // One URL, or several with commas between: the next is asked when one fails.
      rpc: (env.RPC_URL ?? "http://127.0.0.1:8545").split(","),
      pollingInterval: whole("POLLING_INTERVAL_MS", 1_000),
      // Off for a chain that lives in memory: what was fetched from its predecessor is not its history.
      disableCache: env.RPC_CACHE === "off",
    },
  },
  // Scores move slowly and are made of everything: every ten minutes on Base.
  blocks: { Reputation: { chain: "base", startBlock: whole("START_BLOCK", 0), interval: Math.max(1, whole("REPUTATION_INTERVAL_BLOCKS", 300)) } },
  contracts: {
    SessionChannels: {
      chain: "base",
      abi: sessionChannelsAbi,
      address: getAddress(env.SESSION_CHANNELS_ADDRESS ?? SESSION_CHANNELS),
      startBlock: whole("START_BLOCK", 0),
    },
    MandateRegistry: {
      chain: "base",
      abi: mandateRegistryAbi,
      address: getAddress(env.MANDATE_REGISTRY_ADDRESS ?? LOCAL_MANDATE_REGISTRY),
      startBlock: whole("START_BLOCK", 0),
    },
    AuditAnchor: {
      chain: "base",
      abi: auditAnchorAbi,
      address: getAddress(env.AUDIT_ANCHOR_ADDRESS ?? LOCAL_AUDIT_ANCHOR),
      startBlock: whole("START_BLOCK", 0),
    },
    BazaarRegistry: {
      chain: "base",
      abi: bazaarRegistryAbi,
      address: getAddress(env.BAZAAR_REGISTRY_ADDRESS ?? LOCAL_BAZAAR_REGISTRY),
      startBlock: whole("START_BLOCK", 0),
    },
    JobEscrow: {
      chain: "base",
      abi: jobEscrowAbi,
      address: getAddress(env.JOB_ESCROW_ADDRESS ?? LOCAL_JOB_ESCROW),
      startBlock: whole("START_BLOCK", 0),
    },
    DisputeEvaluator: {
      chain: "base",
      abi: disputeEvaluatorAbi,
      address: getAddress(env.DISPUTE_EVALUATOR_ADDRESS ?? LOCAL_DISPUTE_EVALUATOR),
      startBlock: whole("START_BLOCK", 0),
    },
  },
});

function whole(name: string, fallback: number): number {
  const text = env[name];
  if (text === undefined || text === "") return fallback;
  if (!/^\d+$/.test(text)) throw new Error(`${name} is not a whole number: ${text}`);
  return Number(text);
}
