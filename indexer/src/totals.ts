// Sums that every handler adds to: the day, the protocol, and the accounts of payer and receiver.
import type { Context } from "ponder:registry";
import { account, dailyTotal, protocolTotal } from "ponder:schema";
import type { Address } from "viem";

type AccountRow = typeof account.$inferSelect;
type Where = { block: { timestamp: bigint } };

const NO_SUMS = {
  deposited: 0n,
  claimed: 0n,
  settled: 0n,
  refunded: 0n,
  withdrawn: 0n,
  deposits: 0,
  claims: 0,
  skippedClaims: 0,
  settlements: 0,
  failedSettlements: 0,
  refunds: 0,
  withdrawals: 0,
  channelsOpened: 0,
};
const NO_ACCOUNT = { deposited: 0n, spent: 0n, refunded: 0n, withdrawn: 0n, channelsAsPayer: 0, earned: 0n, settled: 0n, channelsAsReceiver: 0 };

/** Adds to the sums of the event's UTC day and of the protocol. */
export async function addToTotals(context: Context, event: Where, token: Address, change: Partial<typeof NO_SUMS>): Promise<void> {
  const first = { ...NO_SUMS, ...change };
  const day = new Date(Number(event.block.timestamp) * 1_000).toISOString().slice(0, 10);
  await context.db
    .insert(dailyTotal)
    .values({ day, token, ...first })
    .onConflictDoUpdate((row) => sum(row, change));
  await context.db
    .insert(protocolTotal)
    .values({ token, ...first, payers: 0, receivers: 0 })
    .onConflictDoUpdate((row) => sum(row, change));
}

/** Adds to what `address` did with `token`; counts it as a payer or a receiver of the protocol the first time. */
export async function addToAccount(
  context: Context,
  event: Where,
  address: Address,
  token: Address,
  change: Partial<typeof NO_ACCOUNT>,
): Promise<void> {
  const seen = event.block.timestamp;
  const after: AccountRow = await context.db
    .insert(account)
    .values({ address, token, ...NO_ACCOUNT, ...change, firstSeenAt: seen, lastSeenAt: seen })
    .onConflictDoUpdate((row) => ({ ...sum(row, change), lastSeenAt: seen }));
  const payers = change.channelsAsPayer === 1 && after.channelsAsPayer === 1 ? 1 : 0;
  const receivers = change.channelsAsReceiver === 1 && after.channelsAsReceiver === 1 ? 1 : 0;
  if (payers + receivers > 0) {
    await context.db.update(protocolTotal, { token }).set((row) => sum(row, { payers, receivers }));
  }
}

/** `change`'s keys with `row`'s values added; bigints and numbers never mix in one column. */
function sum<Change extends Record<string, bigint | number>>(row: Record<keyof Change, bigint | number>, change: Change): Change {
  const added = Object.entries(change).map(([key, by]) => [key, typeof by === "bigint" ? (row[key] as bigint) + by : (row[key] as number) + by]);
  return Object.fromEntries(added) as Change;
}
