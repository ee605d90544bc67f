// The relayer's configuration: one schema, read once by main, all mistakes reported at once.
import { deployments } from "../../sdk/src/addresses.ts";
import { BATCH_SETTLEMENT, chainById, ERC3009_COLLECTOR, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { getAddress, isAddress, type Address, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { AUDIT_KEYS, readAuditConfig, type AuditConfig } from "./audit-config.ts";
import { BAZAAR_KEYS, readBazaarConfig, type BazaarConfig } from "./bazaar-config.ts";
import { DISCOVERY_KEYS, readDiscoveryConfig, type DiscoveryConfig } from "./discovery-config.ts";
import { FEE_KEYS, readFeeConfig, type FeeConfig } from "./fee-config.ts";
import { JOBS_KEYS, readJobsConfig, type JobsConfig } from "./jobs-config.ts";

/** What the gateway sells, as configured. Amounts are atomic token units. */
export type ServiceConfig = {
  /** Path segment under /s/. */
  name: string;
  /** Base URL requests are forwarded to. */
  origin: string;
  description: string;
  receiver: Address;
  priceAtomic: bigint;
  /** A first deposit must pay for at least this many calls; the stock client follows the hint. */
  minDepositCalls: number;
  withdrawDelayS: number;
  upstreamTimeoutMs: number;
  /** Streamed answers are also sold by the unit, at this price. */
  stream: { unit: string; unitPrice: bigint } | undefined;
};

export type SettlementMode = "tallystick" | "canonical";

export type SettleConfig = {
  maxAgeS: number;
  hardAgeS: number;
  minValueAtomic: bigint;
  maxGasShareBps: bigint;
  /** What an ether is worth in units of the token; 0 lets gas count for nothing. */
  etherPriceAtomic: bigint;
  maxRows: number;
  maxGas: bigint;
  maxCalldataBytes: number;
};

export type Config = {
  databaseUrl: string;
  /** In the order in which they are asked; what money depends on is asked of all. */
  rpcUrls: string[];
  chainId: number;
  network: `eip155:${number}`;
  scheme: typeof BATCH_SETTLEMENT;
  /** What this process does: both, or one of them. Any number of each may share a database. */
  role: "all" | "server" | "worker";
  host: string;
  port: number;
  /** What buyers see as our origin, no trailing slash; resource URLs are built from it, never from the Host header. */
  publicUrl: string;
  sessionChannels: Address;
  erc3009Collector: Address;
  guardKey: Hex | undefined; // master secret of the guard that this relayer hosts
  /** In whose domain mandates are signed. Where no contract stands there, mandates are kept here alone. */
  mandateRegistry: Address;
  token: { address: Address; name: string; version: string };
  settlementMode: SettlementMode;
  /** Pay gas, one nonce lane each. */
  submitterKeys: Hex[];
  /** Authorise claims and refunds for the receivers; the first is advertised, the others stay good for old channels. */
  receiverAuthorizerKeys: Hex[];
  confirmations: number;
  /** How deep a plain transfer has to be, by its amount; the first step is from 0. */
  transferConfirmations: { fromAtomic: bigint; depth: number }[];
  /** How deep a deposit has to be, by what its payer has put in lately; never less than `confirmations`. */
  depositConfirmations: { fromAtomic: bigint; depth: number }[];
  /** By payer in lower case: how much of its deposits counts before it is that deep, at the operator's risk. */
  bridgedPayers: ReadonlyMap<string, bigint>;
  chainPollMs: number;
  /** How often what died with its process is given back, and what is due is tried again. */
  sweepMs: number;
  /** Payments are refused (503) when the chain has not been read for this long. */
  chainMaxLagMs: number;
  /** A transaction that waits this long gets higher fees, up to the cap. */
  fees: { bumpAfterMs: number; maxFeeWei: bigint };
  settle: SettleConfig;
  /** What may be unsettled, atomic units: beyond it new calls wait until something is claimed. */
  exposure: { perChannelAtomic: bigint; perPayerAtomic: bigint };
  /** Seal stored answers; the first seals, all open. */
  answerKeys: Hex[];
  fee: FeeConfig; audit: AuditConfig; bazaar: BazaarConfig; discovery: DiscoveryConfig; jobs: JobsConfig;
  limits: { requestBytes: number; answerBytes: number; unbilledRunsPerMinute: number; answerTtlS: number; storedAnswerBytes: number };
  /** Where this process keeps what outlives it and the database: how far the ledger was. */
  stateDir: string | undefined;
  /** A standby that takes over has every commit (it is synchronous), so a failover is no loss. */
  trustFailover: boolean;
  /** For whom the facilitator pays gas: anybody, nobody, the receivers of what is sold here, or these. */
  facilitator: "open" | "off" | "services" | Address[];
  /** Whose policies of the kind operator are in force here. */
  firewallOperators: Address[];
  outboundAllowPrivate: boolean;
  indexerUrl: string | undefined;
  logLevel: string;
  services: ServiceConfig[];
};

type Key = { name: string; about: string; fallback?: string; secret?: true };

/** Every key the relayer reads. `.env.example` lists exactly these; a test compares them. */
export const CONFIG_KEYS: readonly Key[] = [
  { name: "DATABASE_URL", about: "PostgreSQL of the ledger", secret: true },
  { name: "RPC_URL", about: "JSON-RPC endpoints of the chain, comma separated; what money depends on must be told by more than half of them" },
  { name: "CHAIN_ID", about: "8453 (Base) or 84532 (Base Sepolia and the local world)" },
  { name: "RELAYER_ROLE", about: "all; server (answers requests) or worker (settles, sweeps), to run them as processes of their own", fallback: "all" },
  { name: "RELAYER_HOST", about: "address to listen on", fallback: "127.0.0.1" },
  { name: "RELAYER_PORT", about: "port to listen on", fallback: "8402" },
  { name: "RELAYER_PUBLIC_URL", about: "origin that buyers see", fallback: "" },
  { name: "RELAYER_SESSION_CHANNELS", about: "SessionChannels contract", fallback: SESSION_CHANNELS },
  { name: "RELAYER_ERC3009_COLLECTOR", about: "deposit collector that stock clients sign for", fallback: ERC3009_COLLECTOR },
  { name: "RELAYER_MANDATE_REGISTRY", about: "MandateRegistry contract, in whose domain mandates are signed; empty: the published one. Where none stands, mandates are kept off chain alone", fallback: "" },
  { name: "RELAYER_GUARD_KEY", about: "32-byte hex master secret of a guard that this relayer hosts for principals: it holds their voucher keys; empty: none", secret: true, fallback: "" },
  { name: "RELAYER_SETTLEMENT_MODE", about: "tallystick (packed claims) or canonical (published interface only)", fallback: "tallystick" },
  { name: "RELAYER_SUBMITTER_KEYS", about: "private keys that pay gas, comma separated; each is a nonce lane of its own, used in parallel", secret: true },
  { name: "RELAYER_AUTHORIZER_KEYS", about: "receiverAuthorizer private keys, comma separated; the first is advertised", secret: true },
  { name: "RELAYER_ANSWER_KEYS", about: "32-byte hex keys that stored answers are encrypted with, comma separated; the first is used for new ones", secret: true },
  { name: "RELAYER_CONFIRMATIONS", about: "blocks before a transaction of ours is final enough to act on, and before any deposit counts; the including one counted", fallback: "1" },
  { name: "RELAYER_DEPOSIT_CONFIRMATIONS", about: "blocks before deposits count, by what a payer has put in lately: atomic units and depth, from 0 upwards", fallback: "0:1,10000000:3" },
  { name: "RELAYER_BRIDGE_PAYERS", about: "payers whose young deposits count at the operator's risk, each up to an amount: address:atomic units, comma separated", fallback: "" },
  { name: "RELAYER_TRANSFER_CONFIRMATIONS", about: "blocks before a payment by transaction hash counts, by amount: atomic units and depth, from 0 upwards", fallback: "0:1,10000000:3" },
  { name: "RELAYER_CHAIN_POLL_MS", about: "how often the chain is followed", fallback: "1000" },
  { name: "RELAYER_SWEEP_MS", about: "how often what died with its process is given back", fallback: "5000" },
  { name: "RELAYER_CHAIN_MAX_LAG_MS", about: "refuse payments when the chain was not read for this long", fallback: "60000" },
  { name: "RELAYER_BUMP_AFTER_MS", about: "raise a transaction's fees when it was not mined for this long", fallback: "20000" },
  { name: "RELAYER_MAX_FEE_WEI", about: "highest fee per gas that is ever offered", fallback: "100000000000" },
  { name: "RELAYER_SETTLE_MAX_AGE_S", about: "claim a channel when its oldest unclaimed charge is this old", fallback: "3600" },
  { name: "RELAYER_SETTLE_MIN_VALUE", about: "claim a receiver's channels when this much is unclaimed, atomic units", fallback: "5000000" },
  { name: "RELAYER_SETTLE_MAX_GAS_SHARE_BPS", about: "an old charge waits while its claim's gas is more than this of what it claims, in hundredths of a percent", fallback: "500" },
  { name: "RELAYER_SETTLE_HARD_AGE_S", about: "but not longer than this, if it is worth more than the gas", fallback: "86400" },
  { name: "RELAYER_ETH_PRICE_ATOMIC", about: "what an ether is worth, atomic units of the token; 0 lets gas count for nothing", fallback: "3000000000" },
  { name: "RELAYER_SETTLE_MAX_ROWS", about: "rows in one claim transaction", fallback: "500" },
  { name: "RELAYER_SETTLE_MAX_GAS", about: "estimated gas of one claim transaction; with a fifth of room it stays below Base's 16777216", fallback: "12000000" },
  { name: "RELAYER_SETTLE_MAX_CALLDATA_BYTES", about: "calldata of one claim transaction", fallback: "100000" },
  { name: "RELAYER_MAX_UNSETTLED_CHANNEL", about: "most that one channel may owe unsettled, atomic units", fallback: "20000000" },
  { name: "RELAYER_MAX_UNSETTLED_PAYER", about: "most that all channels of one payer may owe unsettled, atomic units", fallback: "100000000" },
  { name: "RELAYER_MAX_REQUEST_BYTES", about: "largest request body", fallback: "4194304" },
  { name: "RELAYER_MAX_ANSWER_BYTES", about: "largest upstream answer", fallback: "16777216" },
  { name: "RELAYER_MAX_UNBILLED_RUNS", about: "upstream runs a payer may cause in a minute without being charged", fallback: "30" },
  { name: "RELAYER_ANSWER_TTL_S", about: "how long an answer can be fetched again", fallback: "86400" },
  ...FEE_KEYS, ...AUDIT_KEYS, ...BAZAAR_KEYS, ...DISCOVERY_KEYS, ...JOBS_KEYS,
  { name: "RELAYER_MAX_STORED_ANSWER_BYTES", about: "bytes of answers kept for one payer; who is full buys nothing until some expire or are deleted", fallback: "268435456" },
  { name: "RELAYER_STATE_DIR", about: "folder on this machine's own disk that remembers how far the ledger was, so that a restored backup is noticed; empty: memory only", fallback: "" },
  { name: "RELAYER_TRUST_FAILOVER", about: "true when every standby of the database is synchronous, so that a failover loses nothing; else sales by channel stop until an operator resumes", fallback: "false" },
  { name: "RELAYER_FACILITATOR", about: "whom the facilitator settles for: services (receivers of what is sold here), open, off, or addresses, comma separated", fallback: "services" },
  { name: "RELAYER_FIREWALL_OPERATORS", about: "addresses whose signed operator policies bind every payment here (kill switch, global deny), comma separated", fallback: "" },
  { name: "RELAYER_OUTBOUND_ALLOW_PRIVATE", about: "true lets services live on private addresses (local use only)", fallback: "false" },
  { name: "RELAYER_INDEXER_URL", about: "indexer that search reads, and whose lag readiness reports; empty: search knows what is listed here", fallback: "" },
  { name: "RELAYER_LOG_LEVEL", about: "pino level", fallback: "info" },
  { name: "RELAYER_SERVICES", about: "JSON array of services to sell: name, origin, receiver, priceAtomic, description, streamUnit, streamPriceAtomic", fallback: "[]" },
];

/**
 * Reads the configuration from an environment.
 * @throws TallystickError `config_invalid` that lists every mistake; values of secrets are never in it.
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const problems: string[] = [];
  const raw = (name: string): string => {
    const key = CONFIG_KEYS.find((candidate) => candidate.name === name);
    const value = env[name] ?? key?.fallback;
    if (value === undefined) problems.push(`${name} is missing (${key?.about})`);
    return value ?? "";
  };
  const parse = <T>(name: string, read: (value: string) => T | undefined, expected: string, fallback: T): T => {
    const value = raw(name);
    if (value === "" && CONFIG_KEYS.find((key) => key.name === name)?.fallback === undefined) return fallback;
    const parsed = read(value);
    if (parsed === undefined) problems.push(`${name} must be ${expected}`);
    return parsed ?? fallback;
  };
  const integer = (name: string, min: number, max: number) =>
    parse(name, (value) => inRange(value, min, max), `a whole number from ${min} to ${max}`, min);
  const address = (name: string) => parse(name, readAddress, "a 20-byte address", SESSION_CHANNELS);

  for (const name of Object.keys(env)) {
    if (name.startsWith("RELAYER_") && !CONFIG_KEYS.some((key) => key.name === name)) problems.push(`${name} is not a known key`);
  }

  const chainId = integer("CHAIN_ID", 1, Number.MAX_SAFE_INTEGER);
  const chain = chainById(chainId);
  if (chain === undefined) problems.push(`CHAIN_ID ${chainId} is not a chain Tallystick knows`);
  const port = integer("RELAYER_PORT", 1, 65535);
  const host = raw("RELAYER_HOST");

  const submitterKeys = parse("RELAYER_SUBMITTER_KEYS", readDistinctKeys, "32-byte hex private keys, each once", [] as Hex[]);
  const config: Config = {
    databaseUrl: parse("DATABASE_URL", readUrl, "a URL", ""),
    rpcUrls: parse("RPC_URL", readUrls, "URLs, comma separated", []),
    chainId,
    network: `eip155:${chainId}`,
    scheme: BATCH_SETTLEMENT,
    role: parse("RELAYER_ROLE", readRole, "all, server or worker", "all"),
    host,
    port,
    publicUrl: (raw("RELAYER_PUBLIC_URL") || `http://${host}:${port}`).replace(/\/+$/, ""),
    sessionChannels: address("RELAYER_SESSION_CHANNELS"),
    erc3009Collector: address("RELAYER_ERC3009_COLLECTOR"),
    guardKey: raw("RELAYER_GUARD_KEY") === "" ? undefined : parse("RELAYER_GUARD_KEY", readKeys, "one 32-byte hex secret", [])[0],
    mandateRegistry: raw("RELAYER_MANDATE_REGISTRY") === "" ? deployments[chainId === 8453 ? 8453 : 84532].contracts.MandateRegistry : address("RELAYER_MANDATE_REGISTRY"),
    token: chain?.usdc ?? { address: SESSION_CHANNELS, name: "", version: "" },
    settlementMode: parse("RELAYER_SETTLEMENT_MODE", readMode, "tallystick or canonical", "tallystick"),
    submitterKeys,
    receiverAuthorizerKeys: parse("RELAYER_AUTHORIZER_KEYS", readKeys, "32-byte hex private keys", []),
    confirmations: integer("RELAYER_CONFIRMATIONS", 1, MOST_DEPTH),
    depositConfirmations: parse("RELAYER_DEPOSIT_CONFIRMATIONS", readDepositSteps, `amount:depth pairs, comma separated, rising from 0, to a depth of at most ${MOST_DEPTH}`, []),
    bridgedPayers: raw("RELAYER_BRIDGE_PAYERS") === "" ? new Map() : parse("RELAYER_BRIDGE_PAYERS", readBridged, "address:amount pairs, comma separated", new Map()),
    transferConfirmations: parse("RELAYER_TRANSFER_CONFIRMATIONS", readSteps, "amount:depth pairs, comma separated, rising from 0", []),
    chainPollMs: integer("RELAYER_CHAIN_POLL_MS", 10, 600_000),
    sweepMs: integer("RELAYER_SWEEP_MS", 50, 600_000),
    chainMaxLagMs: integer("RELAYER_CHAIN_MAX_LAG_MS", 1000, 600_000),
    fees: {
      bumpAfterMs: integer("RELAYER_BUMP_AFTER_MS", 100, 3_600_000),
      maxFeeWei: parse("RELAYER_MAX_FEE_WEI", readAmount, "wei", 0n),
    },
    settle: {
      maxAgeS: integer("RELAYER_SETTLE_MAX_AGE_S", 0, 604_800),
      minValueAtomic: parse("RELAYER_SETTLE_MIN_VALUE", readAmount, "atomic units", 0n),
      hardAgeS: integer("RELAYER_SETTLE_HARD_AGE_S", 0, 2_592_000),
      maxGasShareBps: BigInt(integer("RELAYER_SETTLE_MAX_GAS_SHARE_BPS", 0, 10_000)),
      etherPriceAtomic: parse("RELAYER_ETH_PRICE_ATOMIC", readAmount, "atomic units", 0n),
      maxRows: integer("RELAYER_SETTLE_MAX_ROWS", 1, 500),
      maxGas: BigInt(integer("RELAYER_SETTLE_MAX_GAS", 500_000, 13_900_000)),
      maxCalldataBytes: integer("RELAYER_SETTLE_MAX_CALLDATA_BYTES", 4_096, 120_000),
    },
    exposure: {
      perChannelAtomic: parse("RELAYER_MAX_UNSETTLED_CHANNEL", readAmount, "atomic units", 0n),
      perPayerAtomic: parse("RELAYER_MAX_UNSETTLED_PAYER", readAmount, "atomic units", 0n),
    },
    answerKeys: parse("RELAYER_ANSWER_KEYS", readSecrets, "32-byte hex keys", []),
    limits: {
      requestBytes: integer("RELAYER_MAX_REQUEST_BYTES", 1, 1 << 30),
      answerBytes: integer("RELAYER_MAX_ANSWER_BYTES", 1, 1 << 30),
      unbilledRunsPerMinute: integer("RELAYER_MAX_UNBILLED_RUNS", 1, 1_000_000),
      answerTtlS: integer("RELAYER_ANSWER_TTL_S", 1, 31_536_000),
      storedAnswerBytes: integer("RELAYER_MAX_STORED_ANSWER_BYTES", 1, Number.MAX_SAFE_INTEGER),
    },
    fee: readFeeConfig({ parse, integer }, submitterKeys),
    audit: readAuditConfig({ parse, integer }),
    bazaar: readBazaarConfig({ parse, integer }, chainId), discovery: readDiscoveryConfig({ parse, integer }), jobs: readJobsConfig({ parse, integer }, chainId),
    stateDir: raw("RELAYER_STATE_DIR") || undefined,
    trustFailover: parse("RELAYER_TRUST_FAILOVER", readBoolean, "true or false", false),
    facilitator: parse("RELAYER_FACILITATOR", readFacilitator, "services, open, off, or addresses", "services"),
    firewallOperators: raw("RELAYER_FIREWALL_OPERATORS") === "" ? [] : parse("RELAYER_FIREWALL_OPERATORS", readAddresses, "addresses, comma separated", []),
    outboundAllowPrivate: parse("RELAYER_OUTBOUND_ALLOW_PRIVATE", readBoolean, "true or false", false),
    indexerUrl: raw("RELAYER_INDEXER_URL") === "" ? undefined : parse("RELAYER_INDEXER_URL", readUrl, "a URL", ""),
    logLevel: parse("RELAYER_LOG_LEVEL", readLevel, LOG_LEVELS.join(", "), "info"),
    services: readServices(raw("RELAYER_SERVICES"), problems),
  };
  if (problems.length > 0) {
    throw new TallystickError({
      code: "config_invalid",
      status: 500,
      retry: "never",
      detail: `The configuration has ${problems.length} mistake(s):\n- ${problems.join("\n- ")}`,
      extra: { problems },
    });
  }
  return config;
}
function inRange(value: string, min: number, max: number): number | undefined {
  const number = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  return number >= min && number <= max ? number : undefined;
}
function readAmount(value: string): bigint | undefined {
  return /^\d{1,38}$/.test(value) ? BigInt(value) : undefined;
}
function readSteps(value: string): Config["transferConfirmations"] | undefined {
  const pairs = value.split(",").map((pair) => /^(\d{1,38}):([1-9]\d{0,2})$/.exec(pair.trim()));
  const steps = pairs.flatMap((pair) => (pair === null ? [] : [{ fromAtomic: BigInt(pair[1]!), depth: Number(pair[2]) }]));
  const rising = steps.every(({ fromAtomic, depth }, at) => (at === 0 ? fromAtomic === 0n : fromAtomic > steps[at - 1]!.fromAtomic && depth >= steps[at - 1]!.depth));
  return steps.length === pairs.length && rising ? steps : undefined;
}
/** 800 s on Base, less than the shortest withdrawDelay: no withdrawal begins and ends between two depths that are compared. */
const MOST_DEPTH = 400;
function readDepositSteps(value: string): Config["depositConfirmations"] | undefined {
  const steps = readSteps(value);
  return steps?.every(({ depth }) => depth <= MOST_DEPTH) ? steps : undefined;
}
function readBridged(value: string): Config["bridgedPayers"] | undefined {
  const pairs = value.split(",").map((pair) => pair.trim().split(":"));
  const bridged = pairs.map(([payer = "", most = "", ...rest]) => (rest.length > 0 ? undefined : ([readAddress(payer)?.toLowerCase(), readAmount(most)] as const)));
  return bridged.every((entry): entry is readonly [string, bigint] => entry?.[0] !== undefined && entry[1] !== undefined) ? new Map(bridged) : undefined;
}
function readUrl(value: string): string | undefined {
  return URL.canParse(value) ? value : undefined;
}
function readUrls(value: string): string[] | undefined {
  const urls = value.split(",").map((url) => url.trim());
  return urls.every((url) => readUrl(url) !== undefined) ? urls : undefined;
}
function readAddress(value: string): Address | undefined {
  return isAddress(value, { strict: false }) ? getAddress(value) : undefined;
}
function readKey(value: string): Hex | undefined {
  if (!/^0x[0-9a-fA-F]{64}$/.test(value)) return undefined;
  try {
    privateKeyToAccount(value as Hex);
    return value as Hex;
  } catch {
    return undefined; // zero or not below the curve order
  }
}
function readKeys(value: string): Hex[] | undefined {
  const keys = value.split(",").map((key) => readKey(key.trim()));
  return keys.every((key) => key !== undefined) ? keys : undefined;
}
/** A key that is listed twice would be two lanes over one nonce. */
function readDistinctKeys(value: string): Hex[] | undefined {
  const keys = readKeys(value);
  return new Set(keys?.map((key) => key.toLowerCase())).size === keys?.length ? keys : undefined;
}
function readSecrets(value: string): Hex[] | undefined {
  const keys = value.split(",").map((key) => key.trim());
  return keys.every((key) => /^0x[0-9a-fA-F]{64}$/.test(key)) ? (keys as Hex[]) : undefined;
}
function readMode(value: string): SettlementMode | undefined {
  return value === "tallystick" || value === "canonical" ? value : undefined;
}
function readRole(value: string): Config["role"] | undefined {
  return value === "all" || value === "server" || value === "worker" ? value : undefined;
}
function readFacilitator(value: string): Config["facilitator"] | undefined {
  return value === "open" || value === "off" || value === "services" ? value : readAddresses(value);
}
function readAddresses(value: string): Address[] | undefined {
  const addresses = value.split(",").map((address) => readAddress(address.trim()));
  return addresses.every((address) => address !== undefined) ? addresses : undefined;
}
function readBoolean(value: string): boolean | undefined {
  return value === "true" ? true : value === "false" ? false : undefined;
}
const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"];
function readLevel(value: string): string | undefined {
  return LOG_LEVELS.includes(value) ? value : undefined;
}

/** What a service has that does not say otherwise. */
export const SERVICE_DEFAULTS = { description: "", minDepositCalls: 100, withdrawDelayS: 3600, upstreamTimeoutMs: 30_000 };

function readServices(value: string, problems: string[]): ServiceConfig[] {
  let list: unknown;
  try {
    list = JSON.parse(value);
  } catch {
    list = undefined;
  }
  if (!Array.isArray(list)) {
    problems.push("RELAYER_SERVICES must be a JSON array");
    return [];
  }
  return list.map((entry: Record<string, unknown>, index) => readService(entry ?? {}, `RELAYER_SERVICES[${index}]`, problems));
}

function readService(entry: Record<string, unknown>, at: string, problems: string[]): ServiceConfig {
  const check = <T>(field: string, value: T | undefined, expected: string, fallback: T): T => {
    if (value === undefined) problems.push(`${at}.${field} must be ${expected}`);
    return value ?? fallback;
  };
  const known = ["name", "origin", "receiver", "priceAtomic", "streamUnit", "streamPriceAtomic", ...Object.keys(SERVICE_DEFAULTS)];
  for (const field of Object.keys(entry)) if (!known.includes(field)) problems.push(`${at}.${field} is not a known field`);
  const text = (field: string) => (typeof entry[field] === "string" ? (entry[field] as string) : "");
  const count = (field: "minDepositCalls" | "withdrawDelayS" | "upstreamTimeoutMs", min: number, max: number) =>
    check(field, inRange(String(entry[field] ?? SERVICE_DEFAULTS[field]), min, max), `a whole number from ${min} to ${max}`, min);
  const price = readAmount(text("priceAtomic"));
  return {
    name: check("name", /^[a-z0-9][a-z0-9-]{0,62}$/.test(text("name")) ? text("name") : undefined, "lower-case letters, digits and dashes", ""),
    origin: check("origin", readOrigin(text("origin")), "an http or https URL without query", ""),
    description: text("description"),
    receiver: check("receiver", readAddress(text("receiver")), "a 20-byte address", SESSION_CHANNELS),
    priceAtomic: check("priceAtomic", price !== undefined && price > 0n ? price : undefined, "a decimal string above 0", 1n),
    minDepositCalls: count("minDepositCalls", 1, 1_000_000),
    withdrawDelayS: count("withdrawDelayS", 900, 2_592_000),
    upstreamTimeoutMs: count("upstreamTimeoutMs", 1, 600_000),
    stream: readStream(entry, at, problems),
  };
}

/** `streamPriceAtomic` sells streams by the unit; `streamUnit` only names it, `event` when left out. */
function readStream({ streamUnit = "event", streamPriceAtomic }: Record<string, unknown>, at: string, problems: string[]): ServiceConfig["stream"] {
  if (streamPriceAtomic === undefined) return undefined;
  const unitPrice = typeof streamPriceAtomic === "string" ? readAmount(streamPriceAtomic) : undefined;
  if (unitPrice === undefined || unitPrice === 0n) problems.push(`${at}.streamPriceAtomic must be a decimal string above 0`);
  if (typeof streamUnit !== "string" || !/^[a-z][a-z0-9-]{0,31}$/.test(streamUnit)) problems.push(`${at}.streamUnit must be lower-case letters, digits and dashes`);
  return { unit: String(streamUnit), unitPrice: unitPrice ?? 1n };
}

/** An http or https URL without query and credentials, no trailing slash. */
export function readOrigin(value: string): string | undefined {
  if (!URL.canParse(value)) return undefined;
  const url = new URL(value);
  const plain = url.search === "" && url.hash === "" && url.username === "" && url.password === "";
  return /^https?:$/.test(url.protocol) && plain ? url.href.replace(/\/+$/, "") : undefined;
}
