// SQL that tells the story of a payment. Reads only.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Payer, who signs for it, and receiver: those who may read. Undefined for an unknown payment. */
export async function partiesOf(db: Queryable, paymentId: string): Promise<[payer: Address, payerAuthorizer: Address, receiver: Address] | undefined> {
  const { rows } = await db.query<{ payer: Buffer; authorizer: Buffer; receiver: Buffer }>({
    name: "payment_parties",
    text: `SELECT p.payer, coalesce(c.payer_authorizer, p.payer) AS authorizer, coalesce(p.receiver, c.receiver) AS receiver
           FROM payment p LEFT JOIN channel c USING (channel_id) WHERE p.payment_id = $1`,
    values: [paymentId],
  });
  const [row] = rows;
  return row === undefined ? undefined : [toAddress(row.payer), toAddress(row.authorizer), toAddress(row.receiver)];
}

export type PaymentStory = {
  paymentId: string;
  scheme: string;
  service: string;
  resource: string;
  payer: Address;
  receiver: Address;
  channelId: Hex | undefined;
  state: "reserved" | "settling" | "charged" | "released";
  releaseReason: string | undefined;
  price: bigint;
  charged: bigint | undefined;
  cumulative: bigint | undefined;
  requestNumber: bigint | undefined;
  /** Transfers: the request that was paid for. */
  requestId: string | undefined;
  ceiling: bigint | undefined;
  authorizationNonce: Hex | undefined;
  reservedAt: Date;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  resolvedAt: Date | undefined;
  depositTx: Hex | undefined;
  settledTx: Hex | undefined;
  /** Of the channel, as last read from the chain. */
  channelClaimed: bigint | undefined;
  channelBalance: bigint | undefined;
  quarantine: string | undefined;
};

type Row = {
  payment_id: string; scheme: string; service: string; resource: string; payer: Buffer; receiver: Buffer; channel_id: Buffer | null; state: PaymentStory["state"]; release_reason: string | null;
  price_atomic: bigint; charged_atomic: bigint | null; charged_cumulative: bigint | null; request_number: bigint | null; request_id: string | null; ceiling: bigint | null; authorization_nonce: Buffer | null;
  reserved_at: Date; started_at: Date | null; ended_at: Date | null; resolved_at: Date | null; deposit_tx: Buffer | null; settled_tx: Buffer | null;
  channel_claimed: bigint | null; channel_balance: bigint | null; quarantine: string | null;
};

const STORY = `SELECT p.*, coalesce(p.receiver, c.receiver) AS receiver, c.total_claimed AS channel_claimed, c.balance + c.pending_atomic AS channel_balance, q.reason AS quarantine
  FROM payment p LEFT JOIN channel c USING (channel_id) LEFT JOIN settlement_quarantine q USING (channel_id)`;

const hex = (bytes: Buffer | null): Hex | undefined => (bytes === null ? undefined : toHex(bytes));

function fromRow(row: Row): PaymentStory {
  return {
    paymentId: row.payment_id, scheme: row.scheme, service: row.service, resource: row.resource, payer: toAddress(row.payer), receiver: toAddress(row.receiver), channelId: hex(row.channel_id),
    state: row.state, releaseReason: row.release_reason ?? undefined, price: row.price_atomic, charged: row.charged_atomic ?? undefined, cumulative: row.charged_cumulative ?? undefined,
    requestNumber: row.request_number ?? undefined, requestId: row.request_id ?? undefined, ceiling: row.ceiling ?? undefined, authorizationNonce: hex(row.authorization_nonce), reservedAt: row.reserved_at,
    startedAt: row.started_at ?? undefined, endedAt: row.ended_at ?? undefined, resolvedAt: row.resolved_at ?? undefined, depositTx: hex(row.deposit_tx), settledTx: hex(row.settled_tx),
    channelClaimed: row.channel_claimed ?? undefined, channelBalance: row.channel_balance ?? undefined, quarantine: row.quarantine ?? undefined,
  };
}

export async function findStory(db: Queryable, paymentId: string): Promise<PaymentStory | undefined> {
  const { rows } = await db.query<Row>(`${STORY} WHERE p.payment_id = $1`, [paymentId]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

export async function findStories(db: Queryable, paymentIds: readonly string[]): Promise<PaymentStory[]> {
  const { rows } = await db.query<Row>(`${STORY} WHERE p.payment_id = ANY($1)`, [paymentIds]);
  return rows.map(fromRow);
}

/** A party's payments, the newest first, from before `before`. */
export async function listStories(db: Queryable, caller: Address, before: Date | undefined, limit: number): Promise<PaymentStory[]> {
  const { rows } = await db.query<Row>(
    `${STORY} WHERE (p.payer = $1 OR p.receiver = $1 OR c.payer_authorizer = $1 OR c.receiver = $1) AND ($2::timestamptz IS NULL OR p.reserved_at < $2) ORDER BY p.reserved_at DESC LIMIT $3`,
    [toBytes(caller), before ?? null, limit],
  );
  return rows.map(fromRow);
}

/** A transaction of ours as it stands now; a reorganisation makes a confirmed one `broadcast` again. */
export type Carrier = { hash: Hex; state: string; purpose: string; blockNumber: bigint | undefined; gasUsed: bigint | undefined; createdAt: Date; batchId: bigint | undefined; rowState: string | undefined; rowTotal: bigint | undefined; reason: string | undefined };

type CarrierRow = { hash: Buffer; state: string; purpose: string; block_number: bigint | null; gas_used: bigint | null; created_at: Date; batch_id: bigint | null; row_state: string | null; row_total: bigint | null; reason: string | null };

function carrierFromRow(row: CarrierRow): Carrier {
  return {
    hash: toHex(row.hash), state: row.state, purpose: row.purpose, blockNumber: row.block_number ?? undefined, gasUsed: row.gas_used ?? undefined, createdAt: row.created_at,
    batchId: row.batch_id ?? undefined, rowState: row.row_state ?? undefined, rowTotal: row.row_total ?? undefined, reason: row.reason ?? undefined,
  };
}

/** Claims of a channel that reach `cumulative`, the earliest first: by batches, and by the refunds that claim before they pay back. */
export async function claimsCovering(db: Queryable, channelId: Hex, cumulative: bigint): Promise<Carrier[]> {
  const { rows } = await db.query<CarrierRow>(
    `SELECT tx.hash, tx.state, tx.purpose, tx.block_number, tx.gas_used, tx.created_at, b.batch_id, r.state AS row_state, r.total_claimed AS row_total, r.reason
     FROM settlement_row r JOIN settlement_batch b USING (batch_id) JOIN chain_tx tx USING (tx_id)
     WHERE r.channel_id = $1 AND r.total_claimed >= $2
     UNION ALL
     SELECT tx.hash, tx.state, tx.purpose, tx.block_number, tx.gas_used, tx.created_at, NULL, CASE f.state WHEN 'done' THEN 'claimed' ELSE f.state END, NULL, NULL
     FROM refund f JOIN chain_tx tx USING (tx_id)
     WHERE f.channel_id = $1 AND f.claimed_atomic > 0 AND f.created_at >= (SELECT min(resolved_at) FROM payment WHERE channel_id = $1 AND charged_cumulative >= $2)
     ORDER BY 6 LIMIT 20`,
    [toBytes(channelId), cumulative],
  );
  return rows.map(carrierFromRow);
}

/** Our transaction of that hash, or undefined when somebody else sent it. */
export async function findCarrier(db: Queryable, hash: Hex): Promise<Carrier | undefined> {
  const { rows } = await db.query<CarrierRow>(
    "SELECT hash, state, purpose, block_number, gas_used, created_at, NULL::bigint AS batch_id, NULL AS row_state, NULL::numeric AS row_total, NULL AS reason FROM chain_tx WHERE hash = $1",
    [toBytes(hash)],
  );
  return rows[0] === undefined ? undefined : carrierFromRow(rows[0]);
}

export type Refusal = { at: Date; code: string; detail: Record<string, unknown> };

export async function refusalsOf(db: Queryable, paymentId: string): Promise<Refusal[]> {
  const { rows } = await db.query<Refusal>("SELECT at, code, detail FROM audit WHERE payment_id = $1 ORDER BY at LIMIT 50", [paymentId]);
  return rows;
}
