// Compares three accounts of the same money: the indexed tables, a replay of the raw logs, and the contract's own state.
// The chain is the authority; a difference means that the indexer (or this file) is wrong, never the chain.
import { createPublicClient, erc20Abi, http, numberToHex, type Address, type Hex, type PublicClient } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { LOCAL_AUDIT_ANCHOR, LOCAL_BAZAAR_REGISTRY, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { BAZAAR_COLUMNS, compareBazaar } from "./bazaar.ts";
import { compareJobs, JOB_COLUMNS } from "./jobs.ts";
import { compareMandates, MANDATE_COLUMNS } from "./mandates.ts";
import { replayBazaar } from "./replay-bazaar.ts";
import { replayJobs } from "./replay-jobs.ts";
import { replayMandates } from "./replay-mandates.ts";
import { keyOf, replay, TABLE_NAMES, write, type RawLog, type Row, type Table, type TableName } from "./replay.ts";

export type ReconcileOptions = {
  rpcUrl: string;
  graphqlUrl: string;
  /** SessionChannels. */
  address: Address;
  /** Where its history begins, at or before the first ChannelCreated. */
  fromBlock: bigint;
  /** MandateRegistry, AuditAnchor, BazaarRegistry, JobEscrow and DisputeEvaluator; the local world's when left out. */
  registry?: Address;
  anchor?: Address;
  bazaar?: Address;
  escrow?: Address;
  evaluator?: Address;
  /** Most blocks that one eth_getLogs may span; public nodes refuse more. */
  blockRange?: bigint;
};

export type Difference = {
  /** Where: table, key and column, or the contract's getter. */
  what: string;
  chain: string | null;
  indexed: string | null;
};

/** Sums of one token, atomic units, from the logs. */
export type TokenTotals = {
  token: Address;
  deposited: bigint;
  claimed: bigint;
  settled: bigint;
  refunded: bigint;
  withdrawn: bigint;
  /** Unclaimed in channels plus claimed and not settled: what the contract owes. */
  held: bigint;
  /** What the contract has of the token. */
  contractBalance: bigint;
  channels: number;
  claims: number;
  settlements: number;
};

export type Reconciliation = { ok: boolean; differences: Difference[]; totals: TokenTotals[]; blockNumber: bigint; logs: number };

type Client = PublicClient;
type Tables = Record<TableName, Table>;

/** Reconciles at the block the indexer has reached. Throws when indexer or chain cannot be read. */
export async function reconcile(options: ReconcileOptions): Promise<Reconciliation> {
  const client = createPublicClient({ transport: http(options.rpcUrl, { batch: { batchSize: 100 } }) });
  const { indexed, logs, blockNumber } = await readStill(client, options);
  const of = (contract: Address) => logs.filter(({ address }) => address.toLowerCase() === contract.toLowerCase());
  const { registry, anchor, bazaar, escrow, evaluator } = contractsOf(options);
  const expected = { ...replay(of(options.address)), ...replayMandates(of(registry), of(anchor)), ...replayBazaar(of(bazaar)), ...replayJobs(of(escrow), of(evaluator)) };
  const differences = TABLE_NAMES.flatMap((name) => compareTable(name, expected[name], indexed[name]));
  differences.push(...(await compareChannels(client, options.address, indexed, blockNumber)));
  differences.push(...(await compareReceivers(client, options.address, indexed, blockNumber)));
  differences.push(...(await compareMandates(client, registry, indexed, blockNumber)));
  differences.push(...(await compareBazaar(client, bazaar, indexed, blockNumber)));
  differences.push(...(await compareJobs(client, escrow, indexed, blockNumber)));
  const totals = await totalsOf(client, options.address, expected, blockNumber);
  for (const { token, held, contractBalance } of totals) {
    // Tokens sent to the contract outside a deposit belong to nobody, so more is no fault.
    if (contractBalance < held) differences.push({ what: `balance of ${token}`, chain: String(contractBalance), indexed: String(held) });
  }
  return { ok: differences.length === 0, differences, totals, blockNumber, logs: logs.length };
}

function contractsOf(options: ReconcileOptions) {
  const { registry = LOCAL_MANDATE_REGISTRY, anchor = LOCAL_AUDIT_ANCHOR, bazaar = LOCAL_BAZAAR_REGISTRY, escrow = LOCAL_JOB_ESCROW, evaluator = LOCAL_DISPUTE_EVALUATOR } = options;
  return { registry, anchor, bazaar, escrow, evaluator };
}

/** The tables and the logs up to one block: read again while the contract has logs that came in between. */
async function readStill(client: Client, options: ReconcileOptions) {
  for (let attempt = 0; attempt < 10; attempt++) {
    const before = await indexedBlock(options.graphqlUrl);
    const indexed = await readTables(options.graphqlUrl);
    const blockNumber = await indexedBlock(options.graphqlUrl);
    const between = before === blockNumber ? [] : await getLogs(client, options, before + 1n, blockNumber);
    if (between.length === 0) return { indexed, blockNumber, logs: await readLogs(client, options, blockNumber) };
  }
  throw new Error("the indexer did not stand still long enough to be read");
}

// ---------------------------------------------------------------- the chain

type RpcLog = { address: Address; topics: [Hex, ...Hex[]]; data: Hex; transactionHash: Hex; logIndex: Hex; blockNumber: Hex };

async function getLogs(client: Client, options: ReconcileOptions, fromBlock: bigint, toBlock: bigint): Promise<RpcLog[]> {
  const filter = { address: [options.address, ...Object.values(contractsOf(options))], fromBlock: numberToHex(fromBlock), toBlock: numberToHex(toBlock) };
  return (await client.request({ method: "eth_getLogs", params: [filter] })) as RpcLog[];
}

async function readLogs(client: Client, options: ReconcileOptions, toBlock: bigint): Promise<RawLog[]> {
  const step = options.blockRange ?? 10_000n;
  const raw: RpcLog[] = [];
  for (let from = options.fromBlock; from <= toBlock; from += step) {
    const to = from + step - 1n < toBlock ? from + step - 1n : toBlock;
    raw.push(...(await getLogs(client, options, from, to)));
  }
  const numbers = [...new Set(raw.map(({ blockNumber }) => BigInt(blockNumber)))];
  const blocks = await Promise.all(numbers.map((blockNumber) => client.getBlock({ blockNumber })));
  const timestamps = new Map(blocks.map(({ number, timestamp }) => [number, timestamp]));
  return raw
    .map((log) => {
      const blockNumber = BigInt(log.blockNumber);
      return { ...log, logIndex: Number(log.logIndex), blockNumber, timestamp: timestamps.get(blockNumber)! };
    })
    .sort((a, b) => Number(a.blockNumber - b.blockNumber) || a.logIndex - b.logIndex);
}

async function compareChannels(client: Client, address: Address, { channels, withdrawals }: Tables, blockNumber: bigint): Promise<Difference[]> {
  const pending = new Map([...withdrawals.values()].filter(({ status }) => status === "pending").map((row) => [row.channelId, row]));
  const read = { address, abi: sessionChannelsAbi, blockNumber } as const;
  const perChannel = [...channels.values()].map(async (row) => {
    const args = [row.id as Hex] as const;
    const [[balance, totalClaimed], [amount, initiatedAt]] = await Promise.all([
      client.readContract({ ...read, functionName: "channels", args }),
      client.readContract({ ...read, functionName: "pendingWithdrawals", args }),
    ]);
    const withdrawal = pending.get(row.id!);
    return [
      ...compareRow(`channels(${row.id})`, { balance, totalClaimed }, row),
      ...compareRow(
        `pendingWithdrawals(${row.id})`,
        { amount, initiatedAt },
        { amount: withdrawal?.pendingAmount ?? "0", initiatedAt: withdrawal?.timestamp ?? "0" },
      ),
    ];
  });
  return (await Promise.all(perChannel)).flat();
}

async function compareReceivers(client: Client, address: Address, { accounts }: Tables, blockNumber: bigint): Promise<Difference[]> {
  const perReceiver = [...accounts.values()].map(async (row) => {
    const args = [row.address as Address, row.token as Address] as const;
    const [earned, settled] = await client.readContract({ address, abi: sessionChannelsAbi, blockNumber, functionName: "receivers", args });
    return compareRow(`receivers(${row.address}, ${row.token})`, { earned, settled }, row);
  });
  return (await Promise.all(perReceiver)).flat();
}

async function totalsOf(client: Client, address: Address, { channels, accounts, protocolTotals }: Tables, blockNumber: bigint): Promise<TokenTotals[]> {
  const sumOf = (table: Table, token: string, value: (row: Row) => bigint) =>
    [...table.values()].filter((row) => row.token === token).reduce((sum, row) => sum + value(row), 0n);
  const perToken = [...protocolTotals.values()].map(async (row) => {
    const token = row.token as Address;
    const unclaimed = sumOf(channels, token, ({ balance, totalClaimed }) => BigInt(balance!) - BigInt(totalClaimed!));
    const unsettled = sumOf(accounts, token, ({ earned, settled }) => BigInt(earned!) - BigInt(settled!));
    return {
      token,
      deposited: BigInt(row.deposited!),
      claimed: BigInt(row.claimed!),
      settled: BigInt(row.settled!),
      refunded: BigInt(row.refunded!),
      withdrawn: BigInt(row.withdrawn!),
      held: unclaimed + unsettled,
      contractBalance: await client.readContract({ address: token, abi: erc20Abi, functionName: "balanceOf", args: [address], blockNumber }),
      channels: Number(row.channelsOpened),
      claims: Number(row.claims),
      settlements: Number(row.settlements),
    };
  });
  return Promise.all(perToken);
}

// ---------------------------------------------------------------- the indexer

const ORIGIN = "transactionHash logIndex blockNumber timestamp";
const PARTIES = "channelId payer receiver token";
const SUMS =
  "deposited claimed settled refunded withdrawn channelsOpened deposits claims skippedClaims settlements failedSettlements refunds withdrawals";
const COLUMNS: Record<TableName, string> = {
  channels:
    "id payer payerAuthorizer receiver receiverAuthorizer token withdrawDelay salt status balance totalClaimed totalDeposited totalRefunded " +
    "totalWithdrawn depositCount claimCount transactionHash blockNumber timestamp updatedAt",
  deposits: `${PARTIES} sender amount newBalance ${ORIGIN}`,
  claims: `${PARTIES} path rowIndex sender amount totalClaimed receiptsRoot ${ORIGIN}`,
  packedGroups: `receiver receiverAuthorizer token withdrawDelay sender receiptsRoot amount rowCount claimedCount ${ORIGIN}`,
  // What lies under a root, and whether it was fetched yet, is no chain's matter. Nor is reputation, an opinion made of the other tables: the
  // scorer's own tests (test/sybil, bench/sybil.ts) are what checks it.
  receiptRoots: "root receiver receiverAuthorizer token transactionHash blockNumber timestamp",
  skippedClaims: `${PARTIES} rowIndex reason sender totalClaimed ${ORIGIN}`,
  settlements: `status receiver token sender amount ${ORIGIN}`,
  refunds: `${PARTIES} sender amount ${ORIGIN}`,
  withdrawals:
    `status ${PARTIES} requestedAmount pendingAmount paidAmount finalizeAfter ${ORIGIN} ` + "endTransactionHash endBlockNumber endTimestamp",
  accounts: "address token deposited spent refunded withdrawn channelsAsPayer earned settled channelsAsReceiver firstSeenAt lastSeenAt",
  dailyTotals: `day token ${SUMS}`,
  protocolTotals: `token ${SUMS} payers receivers`,
  ...MANDATE_COLUMNS,
  ...BAZAAR_COLUMNS,
  ...JOB_COLUMNS,
};

async function readTables(graphqlUrl: string): Promise<Tables> {
  const read = await Promise.all(TABLE_NAMES.map(async (name) => [name, await readTable(graphqlUrl, name)] as const));
  return Object.fromEntries(read) as Tables;
}

type Page = { items: Record<string, string | number | null>[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } };

async function readTable(graphqlUrl: string, name: TableName): Promise<Table> {
  const table: Table = new Map();
  for (let after: string | null = null, more = true; more; ) {
    const query = `query ($after: String) { page: ${name}(limit: 1000, after: $after) { items { ${COLUMNS[name]} } pageInfo { hasNextPage endCursor } } }`;
    const { page }: { page: Page } = await ask(graphqlUrl, query, { after });
    for (const item of page.items) {
      const row = Object.fromEntries(Object.entries(item).map(([column, value]) => [column, write(value)]));
      table.set(keyOf(name, row), row);
    }
    after = page.pageInfo.endCursor;
    more = page.pageInfo.hasNextPage;
  }
  return table;
}

async function indexedBlock(graphqlUrl: string): Promise<bigint> {
  type Meta = { _meta: { status: Record<string, { block: { number: number } | null }> } };
  const { _meta }: Meta = await ask(graphqlUrl, "{ _meta { status } }");
  const [chain] = Object.values(_meta.status);
  if (chain?.block == null) throw new Error("the indexer has indexed no block yet");
  return BigInt(chain.block.number);
}

async function ask<T>(graphqlUrl: string, query: string, variables: Record<string, unknown> = {}): Promise<T> {
  const response = await fetch(graphqlUrl, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await response.json()) as { data?: T; errors?: { message: string }[] };
  if (errors !== undefined || data === undefined) throw new Error(`GraphQL: ${errors?.map(({ message }) => message).join("; ")}`);
  return data;
}

// ---------------------------------------------------------------- comparing

function compareTable(name: TableName, expected: Table, indexed: Table): Difference[] {
  const missing = [...expected.keys()].filter((key) => !indexed.has(key)).map((key) => ({ what: `${name} ${key}`, chain: "a row", indexed: null }));
  const surplus = [...indexed.keys()].filter((key) => !expected.has(key)).map((key) => ({ what: `${name} ${key}`, chain: null, indexed: "a row" }));
  const common = [...expected].flatMap(([key, row]) => (indexed.has(key) ? compareRow(`${name} ${key}`, row, indexed.get(key)!) : []));
  return [...missing, ...surplus, ...common];
}

export function compareRow(what: string, chain: Record<string, string | number | bigint | null>, indexed: Row): Difference[] {
  return Object.entries(chain).flatMap(([column, value]) => {
    const [ours, theirs] = [write(value), indexed[column] ?? null];
    return ours === theirs ? [] : [{ what: `${what}.${column}`, chain: ours, indexed: theirs }];
  });
}
