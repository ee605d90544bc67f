// What the indexed tables should hold, computed again from raw logs. Shares nothing with indexer/src but the ABI: its
// handlers, sums and packed-row codec are what this file exists to check.
import { decodeEventLog, hexToBigInt, hexToNumber, slice, zeroHash, type Address, type Hex } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";

export type RawLog = {
  address: Address;
  topics: [Hex, ...Hex[]];
  data: Hex;
  transactionHash: Hex;
  logIndex: number;
  blockNumber: bigint;
  /** Of the block, unix seconds. */
  timestamp: bigint;
};

/** Values as GraphQL writes them: amounts and numbers in decimal, hex in lower case, null for nothing. */
export type Row = Record<string, string | null>;
export type Table = Map<string, Row>;
export type TableName = (typeof TABLE_NAMES)[number];
export const TABLE_NAMES = [
  "channels",
  "deposits",
  "claims",
  "packedGroups",
  "receiptRoots",
  "skippedClaims",
  "settlements",
  "refunds",
  "withdrawals",
  "accounts",
  "dailyTotals",
  "protocolTotals",
  "mandates",
  "mandateSpends",
  "mandateRevocations",
  "channelFundings",
  "principalEpochs",
  "auditAnchors",
  "services",
  "ratings",
  "facilitators",
  "jobs",
] as const;

/** Columns that name a row in each table; they are the same on any indexer of this chain. */
export const KEYS: Record<TableName, readonly string[]> = {
  channels: ["id"],
  deposits: ["transactionHash", "logIndex"],
  claims: ["transactionHash", "logIndex", "rowIndex"],
  packedGroups: ["transactionHash", "logIndex"],
  receiptRoots: ["root"],
  skippedClaims: ["transactionHash", "logIndex", "rowIndex"],
  settlements: ["transactionHash", "logIndex"],
  refunds: ["transactionHash", "logIndex"],
  withdrawals: ["transactionHash", "logIndex"],
  accounts: ["address", "token"],
  dailyTotals: ["day", "token"],
  protocolTotals: ["token"],
  mandates: ["id"],
  mandateSpends: ["transactionHash", "logIndex"],
  mandateRevocations: ["mandateId"],
  channelFundings: ["transactionHash", "logIndex"],
  principalEpochs: ["principal"],
  auditAnchors: ["transactionHash", "logIndex"],
  services: ["id"],
  ratings: ["transactionHash", "logIndex"],
  facilitators: ["address"],
  jobs: ["id"],
};

export type Value = string | number | bigint | null;
export type Draft = Record<string, Value>;
type Drafts = Record<TableName, Map<string, Draft>>;

const SKIPPED = [
  null,
  "NothingNew",
  "ExceedsCeiling",
  "ExceedsBalance",
  "InvalidSignature",
  "ContractSignatureUnsupported",
  "ReceiverTotalOverflow",
];

/** The tables that logs of one SessionChannels, oldest first, amount to. */
export function replay(logs: readonly RawLog[]): Record<TableName, Table> {
  const tables = Object.fromEntries(TABLE_NAMES.map((name) => [name, new Map()])) as Drafts;
  for (const log of logs) apply(tables, log);
  return Object.fromEntries(
    TABLE_NAMES.map((name) => [name, new Map([...tables[name]].map(([key, draft]) => [key, writeRow(draft)]))]),
  ) as Record<TableName, Table>;
}

function apply(tables: Drafts, log: RawLog): void {
  const { eventName, args } = decodeEventLog({ abi: sessionChannelsAbi, topics: log.topics, data: log.data, strict: true });
  const origin = { transactionHash: log.transactionHash, logIndex: log.logIndex, blockNumber: log.blockNumber, timestamp: log.timestamp };
  const insert = (table: TableName, row: Draft): Draft => {
    tables[table].set(keyOf(table, row), row);
    return row;
  };
  const channel = (id: Hex): Draft => {
    const found = tables.channels.get(keyOf("channels", { id }));
    if (found === undefined) throw new Error(`a log names channel ${id} before its ChannelCreated: is fromBlock too high?`);
    return found;
  };
  const touch = (id: Hex): Draft => Object.assign(channel(id), { updatedAt: log.timestamp });
  const of = ({ id, payer, receiver, token }: Draft): Draft => ({ channelId: id!, payer: payer!, receiver: receiver!, token: token! });
  const count = (token: Value, change: Draft): void => {
    const day = isoDay(log.timestamp);
    add(existing(tables, "dailyTotals", { day, token, ...NO_SUMS }), change);
    add(existing(tables, "protocolTotals", { token, ...NO_SUMS, payers: 0, receivers: 0 }), change);
  };
  const credit = (address: Value, token: Value, change: Draft): Draft => {
    const row = existing(tables, "accounts", { address, token, ...NO_ACCOUNT, firstSeenAt: log.timestamp, lastSeenAt: log.timestamp });
    add(row, change);
    return Object.assign(row, { lastSeenAt: log.timestamp });
  };
  const claimed = (id: Hex, amount: bigint, totalClaimed: bigint, place: Draft): void => {
    const row = touch(id);
    add(row, { claimCount: 1 });
    row.totalClaimed = totalClaimed;
    insert("claims", { ...place, ...of(row), amount, totalClaimed, ...origin });
    credit(row.payer!, row.token!, { spent: amount });
    credit(row.receiver!, row.token!, { earned: amount });
    count(row.token!, { claimed: amount, claims: 1 });
  };
  const withdrawalOf = (row: Draft): Draft | undefined =>
    [...tables.withdrawals.values()].find(({ channelId, status }) => channelId === row.id && status === "pending");
  const end = (row: Draft, status: string, paidAmount: bigint): void =>
    void Object.assign(withdrawalOf(row)!, {
      ...{ status, pendingAmount: 0n, paidAmount },
      ...{ endTransactionHash: log.transactionHash, endBlockNumber: log.blockNumber, endTimestamp: log.timestamp },
    });

  switch (eventName) {
    case "ChannelCreated": {
      const { channelId: id, config } = args;
      if (tables.channels.has(keyOf("channels", { id }))) return void Object.assign(touch(id), { status: "open" });
      insert("channels", { id, ...lower(config), ...NEW_CHANNEL, ...origin, updatedAt: log.timestamp });
      delete channel(id).logIndex;
      count(channel(id).token!, { channelsOpened: 1 });
      const payers = credit(channel(id).payer!, channel(id).token!, { channelsAsPayer: 1 }).channelsAsPayer === 1 ? 1 : 0;
      const receivers = credit(channel(id).receiver!, channel(id).token!, { channelsAsReceiver: 1 }).channelsAsReceiver === 1 ? 1 : 0;
      return add(existing(tables, "protocolTotals", { token: channel(id).token! }), { payers, receivers });
    }
    case "ChannelClosed":
      return void Object.assign(touch(args.channelId), { status: "closed" });
    case "Deposited": {
      const row = touch(args.channelId);
      add(row, { balance: args.amount, totalDeposited: args.amount, depositCount: 1 });
      insert("deposits", { ...of(row), sender: args.sender, amount: args.amount, newBalance: args.newBalance, ...origin });
      credit(row.payer!, row.token!, { deposited: args.amount });
      return count(row.token!, { deposited: args.amount, deposits: 1 });
    }
    case "Claimed":
      return claimed(args.channelId, args.claimAmount, args.newTotalClaimed, { path: "plain", rowIndex: 0, sender: args.sender, receiptsRoot: null });
    case "PackedClaimed": {
      const { receiver, receiverAuthorizer, token, sender, withdrawDelay, results } = args;
      const receiptsRoot = args.receiptsRoot === zeroHash ? null : args.receiptsRoot;
      const known = receiptsRoot === null || tables.receiptRoots.has(keyOf("receiptRoots", { root: receiptsRoot }));
      // Whoever shows a root first.
      if (!known) delete insert("receiptRoots", { root: receiptsRoot, receiver, receiverAuthorizer, token, ...origin }).logIndex;
      const rowCount = (results.length - 2) / 130;
      let claimedCount = 0;
      for (let rowIndex = 0; rowIndex < rowCount; rowIndex++) {
        // status 1 | channelId 32 | claimAmount 16 | totalClaimed 16
        const part = slice(results, 65 * rowIndex, 65 * rowIndex + 65);
        const reason = SKIPPED[hexToNumber(slice(part, 0, 1))]!;
        const channelId = slice(part, 1, 33);
        const [amount, totalClaimed] = [hexToBigInt(slice(part, 33, 49)), hexToBigInt(slice(part, 49, 65))];
        if (reason === null) {
          claimedCount += 1;
          claimed(channelId, amount, totalClaimed, { path: "packed", rowIndex, sender, receiptsRoot });
        } else {
          const payer = tables.channels.get(keyOf("channels", { id: channelId }))?.payer ?? null;
          insert("skippedClaims", { rowIndex, reason, channelId, payer, receiver, token, sender, totalClaimed, ...origin });
          count(token.toLowerCase(), { skippedClaims: 1 });
        }
      }
      const counts = { amount: args.claimAmount, rowCount, claimedCount };
      return void insert("packedGroups", { receiver, receiverAuthorizer, token, sender, withdrawDelay, receiptsRoot, ...counts, ...origin });
    }
    case "Settled":
    case "SettleFailed": {
      const { receiver, token, sender, amount } = args;
      const settled = eventName === "Settled";
      insert("settlements", { status: settled ? "settled" : "failed", receiver, token, sender, amount, ...origin });
      if (settled) credit(receiver.toLowerCase(), token.toLowerCase(), { settled: amount });
      return count(token.toLowerCase(), settled ? { settled: amount, settlements: 1 } : { failedSettlements: 1 });
    }
    case "Refunded": {
      const row = touch(args.channelId);
      add(row, { balance: -args.amount, totalRefunded: args.amount });
      insert("refunds", { ...of(row), sender: args.sender, amount: args.amount, ...origin });
      const pending = withdrawalOf(row);
      if (pending !== undefined && (pending.pendingAmount as bigint) <= args.amount) end(row, "refunded", 0n);
      else if (pending !== undefined) add(pending, { pendingAmount: -args.amount });
      credit(row.payer!, row.token!, { refunded: args.amount });
      return count(row.token!, { refunded: args.amount, refunds: 1 });
    }
    case "WithdrawInitiated": {
      const amounts = { requestedAmount: args.amount, pendingAmount: args.amount, paidAmount: 0n, finalizeAfter: args.finalizeAfter };
      const none = { endTransactionHash: null, endBlockNumber: null, endTimestamp: null };
      return void insert("withdrawals", { status: "pending", ...of(touch(args.channelId)), ...amounts, ...origin, ...none });
    }
    case "WithdrawCancelled":
      return end(touch(args.channelId), "cancelled", 0n);
    case "WithdrawFinalized": {
      const row = touch(args.channelId);
      add(row, { balance: -args.amount, totalWithdrawn: args.amount });
      end(row, "finalized", args.amount);
      credit(row.payer!, row.token!, { withdrawn: args.amount });
      return count(row.token!, { withdrawn: args.amount, withdrawals: 1 });
    }
    default:
      return; // EIP712DomainChanged and the like say nothing about money
  }
}

const NEW_CHANNEL: Draft = {
  status: "open",
  balance: 0n,
  totalClaimed: 0n,
  totalDeposited: 0n,
  totalRefunded: 0n,
  totalWithdrawn: 0n,
  depositCount: 0,
  claimCount: 0,
};
const NO_ACCOUNT: Draft = { deposited: 0n, spent: 0n, refunded: 0n, withdrawn: 0n, channelsAsPayer: 0, earned: 0n, settled: 0n, channelsAsReceiver: 0 };
const NO_SUMS: Draft = {
  ...{ deposited: 0n, claimed: 0n, settled: 0n, refunded: 0n, withdrawn: 0n, channelsOpened: 0 },
  ...{ deposits: 0, claims: 0, skippedClaims: 0, settlements: 0, failedSettlements: 0, refunds: 0, withdrawals: 0 },
};

function existing(tables: Drafts, table: TableName, otherwise: Draft): Draft {
  const key = keyOf(table, otherwise);
  const row = tables[table].get(key) ?? otherwise;
  tables[table].set(key, row);
  return row;
}

function add(row: Draft, change: Draft): void {
  for (const [column, by] of Object.entries(change)) {
    row[column] = typeof by === "bigint" ? (row[column] as bigint) + by : (row[column] as number) + (by as number);
  }
}

export function keyOf(table: TableName, row: Record<string, Value>): string {
  return KEYS[table].map((column) => write(row[column] ?? null)).join(" ");
}

function lower(config: Record<string, Address | Hex | number>): Draft {
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, typeof value === "string" ? value.toLowerCase() : value]));
}

export function writeRow(draft: Draft): Row {
  return Object.fromEntries(Object.entries(draft).map(([column, value]) => [column, write(value)]));
}

/** As GraphQL writes a value. */
export function write(value: Value): string | null {
  return value === null ? null : typeof value === "string" && value.startsWith("0x") ? value.toLowerCase() : String(value);
}

/** UTC date of a unix second, by the calendar and not by Date: civil-from-days. */
function isoDay(timestamp: bigint): string {
  const days = Number(timestamp / 86_400n) + 719_468;
  const era = Math.floor(days / 146_097);
  const ofEra = days - era * 146_097;
  const yearOfEra = Math.floor((ofEra - Math.floor(ofEra / 1_460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365);
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * ofYear + 2) / 153);
  const day = ofYear - Math.floor((153 * shifted + 2) / 5) + 1;
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return [String(year), String(month).padStart(2, "0"), String(day).padStart(2, "0")].join("-");
}
