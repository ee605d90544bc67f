// The local world: PostgreSQL, chain, contracts, indexer, provider and relayer, each a child process on 127.0.0.1.
import { join } from "node:path";
import { keccak256, parseUnits, stringToBytes, type Address } from "viem";
import { BASE_SEPOLIA, LOCAL_AUDIT_ANCHOR, LOCAL_BAZAAR_REGISTRY, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { AUTHORIZER_INDEX, EXACT_INDEXES, localAccount, localKey, NEWCOMER_INDEX, RECEIVER_INDEX, SUBMITTER_INDEX } from "./accounts.ts";
import { rpc, startChain } from "./chain.ts";
import { ensureCompiled } from "./compiled.ts";
import { mintUSDC, placeContracts } from "./contracts.ts";
import { startGuard, type LocalGuard } from "./guard.ts";
import { startIndexer, type LocalIndexer } from "./indexer.ts";
import { startPostgres } from "./postgres.ts";
import { freePort } from "./process.ts";
import { startProvider, startRelayer } from "./relayer.ts";
import { takeSlot } from "./slot.ts";
import { publishWorld } from "./world-file.ts";

export type WorldOptions = {
  relayerPort?: number;
  indexerPort?: number;
  rpcPort?: number;
  /** A chain to use instead of our own: any node of chain id 84532 that knows hardhat_setCode, or has the contracts. */
  rpcUrl?: string;
  /** A PostgreSQL server to use instead of our own. */
  databaseUrl?: string;
  /** RELAYER_* settings of the user, which go before ours. */
  relayerEnv: Record<string, string>;
};

/** Tells what is going on: one call a step, with the work itself. */
export type Steps = <T>(what: string, work: () => Promise<T>) => Promise<T>;

export type World = {
  rpcUrl: string;
  relayerUrl: string;
  indexer: LocalIndexer;
  /** The relayer's own database, for its operator. */
  ledgerUrl: string;
  receiver: Address;
  guard: LocalGuard;
  /** Sold by somebody whom the main job's mandate does not name. */
  forbiddenUrl: string;
  /** The example API itself, behind the relayer. */
  providerUrl: string;
  /** What a buyer pays at. */
  serviceUrl: string;
  priceAtomic: bigint;
  relayerLog: string;
};

export type Child = { name: string; pid: number };

export const PRICE_ATOMIC = 1_000n; // 0.001 USDC a document
/** A first deposit pays for this many calls. The main job needs fewer a payer, so that each deposits once. */
const DEPOSIT_CALLS = 200;
const BALANCE = parseUnits("10000", BASE_SEPOLIA.usdc.decimals);
const SERVICE = "documents";
const ELSEWHERE = "elsewhere";

/**
 * Starts everything. `children` and `stoppers` are the caller's, filled as things start: it can end what is up when a
 * later step fails or the user interrupts.
 */
export async function startWorld(options: WorldOptions, steps: Steps, children: Child[], stoppers: (() => Promise<void>)[]): Promise<World> {
  const slot = await takeSlot();
  stoppers.push(slot.release);
  const databases = steps("PostgreSQL", () => startDatabases(options, slot.folder, children, stoppers));
  const chain = startChainWithContracts(options, steps, children, stoppers);
  const provider = steps("example provider", startProvider).then((service) => {
    children.push({ name: "provider", pid: service.pid });
    stoppers.push(service.stop);
    return service;
  });
  // All three settle before anything is decided, so that whatever did start can be stopped.
  await Promise.allSettled([databases, chain, provider]);
  const [{ ledgerUrl, indexUrl }, rpcUrl, { url: providerUrl }] = await Promise.all([databases, chain, provider]);

  const receiver = localAccount(RECEIVER_INDEX).address;
  const relayerLog = join(slot.folder, "relayer.log");
  // Known before either starts: the indexer asks the relayer for receipts, the relayer asks the indexer.
  const relayerPort = options.relayerPort || (await freePort());
  const indexer = await startIndexer({ rpcUrl, databaseUrl: indexUrl, port: options.indexerPort, receiptSources: [`http://127.0.0.1:${relayerPort}`] });
  children.push({ name: "indexer", pid: indexer.pid });
  stoppers.push(indexer.stop);
  const env = relayerEnv({ ledgerUrl, rpcUrl, indexerUrl: indexer.url, providerUrl, receiver }, options.relayerEnv);
  const indexed = steps("indexer", () => indexer.waitUntilReady());
  const relayer = steps("relayer", () => startRelayer({ port: relayerPort, env, logFile: relayerLog })).then((service) => {
    children.push({ name: "relayer", pid: service.pid });
    stoppers.push(service.stop);
    return service;
  });
  const guarding = steps("guard", () => startGuard(join(slot.folder, "guard"), rpcUrl)).then((service) => {
    children.push({ name: "guard", pid: service.pid });
    stoppers.push(service.stop);
    return service;
  });
  await Promise.allSettled([indexed, relayer, guarding]);
  const [, { url: relayerUrl }, guard] = await Promise.all([indexed, relayer, guarding]);
  const serviceUrl = `${relayerUrl}/s/${SERVICE}/analyze`;
  const world: World = { rpcUrl, relayerUrl, indexer, ledgerUrl, receiver, guard, forbiddenUrl: `${relayerUrl}/s/${ELSEWHERE}/analyze`, providerUrl, serviceUrl, priceAtomic: PRICE_ATOMIC, relayerLog };
  stoppers.push(await publishWorld(slot.folder, world));
  return world;
}

async function startDatabases(options: WorldOptions, folder: string, children: Child[], stoppers: (() => Promise<void>)[]) {
  const server = await startPostgres({ dataDir: join(folder, "postgres"), databaseUrl: options.databaseUrl });
  if (options.databaseUrl === undefined) {
    const pid = await server.pid();
    children.push({ name: "PostgreSQL", pid });
    // A server that an earlier, killed world left behind is in our folder, so it is ours to stop.
    stoppers.push(server.reused ? async () => void process.kill(pid, "SIGINT") : server.stop);
  }
  // The chain is a new one, so what was indexed or charged on an older one is void.
  const name = (part: string) => (options.databaseUrl === undefined ? part : `tallystick_local_${process.pid}_${part}`);
  const [ledgerUrl, indexUrl] = [await server.database(name("relayer"), { fresh: true }), await server.database(name("indexer"), { fresh: true })];
  if (options.databaseUrl !== undefined) {
    stoppers.push(async () => {
      await server.drop(name("relayer"));
      await server.drop(name("indexer"));
    });
  }
  return { ledgerUrl, indexUrl };
}

async function startChainWithContracts(options: WorldOptions, steps: Steps, children: Child[], stoppers: (() => Promise<void>)[]): Promise<string> {
  const compiled = steps("contracts compiled", ensureCompiled);
  const own = options.rpcUrl === undefined ? steps("chain", () => startChain({ port: options.rpcPort, blockTimeMs: 1_000 })) : undefined;
  await Promise.allSettled([compiled, own]);
  const chain = await own;
  if (chain !== undefined) {
    children.push({ name: "chain", pid: chain.pid });
    stoppers.push(chain.stop);
  }
  const rpcUrl = options.rpcUrl ?? chain!.url;
  await compiled;
  await steps("contracts and test USDC", () => furnish(rpcUrl));
  return rpcUrl;
}

/** Contracts at the addresses that stock clients hold, test USDC for accounts 0 to 9. */
async function furnish(rpcUrl: string): Promise<void> {
  const chainId = Number(await rpc<string>(rpcUrl, "eth_chainId"));
  if (chainId !== BASE_SEPOLIA.chainId) throw new Error(`RPC_URL is a chain of id ${chainId}; the local world needs ${BASE_SEPOLIA.chainId}`);
  await placeContracts(rpcUrl);
  for (const index of [...Array(10).keys(), ...EXACT_INDEXES]) await mintUSDC(rpcUrl, localAccount(index).address, BALANCE);
}

type Addresses = { ledgerUrl: string; rpcUrl: string; indexerUrl: string; providerUrl: string; receiver: Address };

function relayerEnv(at: Addresses, users: Record<string, string>): Record<string, string> {
  const service = {
    name: SERVICE,
    description: "Keywords and a summary of a document",
    origin: at.providerUrl,
    receiver: at.receiver,
    priceAtomic: String(PRICE_ATOMIC),
    minDepositCalls: DEPOSIT_CALLS,
  };
  return {
    RELAYER_CHAIN_POLL_MS: "250",
    RELAYER_FACILITATOR: "open",
    // A few batches while one looks on, instead of one an hour.
    RELAYER_SETTLE_MAX_AGE_S: "5",
    RELAYER_ETH_PRICE_ATOMIC: "0", // the local node's gas price says nothing of Base's
    RELAYER_SETTLE_MIN_VALUE: String(PRICE_ATOMIC * 400n),
    ...users,
    DATABASE_URL: at.ledgerUrl,
    RPC_URL: at.rpcUrl,
    CHAIN_ID: String(BASE_SEPOLIA.chainId),
    RELAYER_SUBMITTER_KEYS: localKey(SUBMITTER_INDEX),
    RELAYER_AUTHORIZER_KEYS: localKey(AUTHORIZER_INDEX),
    RELAYER_ANSWER_KEYS: keccak256(stringToBytes("the local world's answers")),
    RELAYER_OUTBOUND_ALLOW_PRIVATE: "true",
    RELAYER_INDEXER_URL: at.indexerUrl,
    RELAYER_JOB_ESCROW: LOCAL_JOB_ESCROW,
    RELAYER_DISPUTE_EVALUATOR: LOCAL_DISPUTE_EVALUATOR,
    RELAYER_AUDIT_ANCHOR: LOCAL_AUDIT_ANCHOR,
    RELAYER_AUDIT_ANCHOR_PERIOD_S: "60", // a day that one can wait for
    RELAYER_MANDATE_REGISTRY: LOCAL_MANDATE_REGISTRY,
    RELAYER_BAZAAR_REGISTRY: LOCAL_BAZAAR_REGISTRY,
    RELAYER_SERVICES: JSON.stringify([service, { ...service, name: ELSEWHERE, description: "The same, sold by somebody else", receiver: localAccount(NEWCOMER_INDEX).address }]),
  };
}
