// SQL of payout schedules and requests.
import type { Address } from "viem";
import { toBytes } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";
import { IMMEDIATE, type PayoutState, type Schedule } from "./logic.ts";

export type PayeeKey = { receiver: Address; token: Address };

type StateRow = { receiver: Buffer; token: Buffer; kind: Schedule["kind"] | null; threshold_atomic: bigint | null; at_utc_hour: number | null; served_until: Date | null; asked: boolean };

function stateFromRow({ kind, threshold_atomic, at_utc_hour, served_until, asked }: StateRow): PayoutState {
  const schedule: Schedule =
    kind === "threshold" ? { kind, threshold: threshold_atomic! } : kind === "daily" ? { kind, atUtcHour: at_utc_hour! } : kind === null ? IMMEDIATE : { kind };
  return { schedule, servedUntil: served_until ?? new Date(0), asked };
}

/** In the order asked for. */
export async function statesOf(db: Queryable, payees: readonly PayeeKey[]): Promise<PayoutState[]> {
  const { rows } = await db.query<StateRow>({
    name: "payout_states",
    text: `SELECT w.receiver, w.token, s.kind, s.threshold_atomic, s.at_utc_hour, s.served_until,
             EXISTS (SELECT 1 FROM payout_request r WHERE r.receiver = w.receiver AND r.token = w.token AND r.done_at IS NULL) AS asked
           FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS w (receiver, token, place) LEFT JOIN payout_schedule s ON s.receiver = w.receiver AND s.token = w.token
           ORDER BY w.place`,
    values: [payees.map(({ receiver }) => toBytes(receiver)), payees.map(({ token }) => toBytes(token))],
  });
  return rows.map(stateFromRow);
}

/** From now on; a daily hour that is over today counts from tomorrow. */
export async function setSchedule(db: Queryable, { receiver, token }: PayeeKey, schedule: Schedule): Promise<void> {
  await db.query(
    `INSERT INTO payout_schedule (receiver, token, kind, threshold_atomic, at_utc_hour) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (receiver, token) DO UPDATE SET kind = EXCLUDED.kind, threshold_atomic = EXCLUDED.threshold_atomic, at_utc_hour = EXCLUDED.at_utc_hour,
       served_until = clock_timestamp()`,
    [toBytes(receiver), toBytes(token), schedule.kind, schedule.kind === "threshold" ? schedule.threshold : null, schedule.kind === "daily" ? schedule.atUtcHour : null],
  );
}

/** The chain shows nothing owed: what was asked for is done, and so is today's hour. */
export async function markServed(db: Queryable, { receiver, token }: PayeeKey, now: Date): Promise<void> {
  await db.query("UPDATE payout_request SET done_at = $3 WHERE receiver = $1 AND token = $2 AND done_at IS NULL AND asked_at <= $3", [toBytes(receiver), toBytes(token), now]);
  await db.query("UPDATE payout_schedule SET served_until = GREATEST(served_until, $3) WHERE receiver = $1 AND token = $2 AND kind = 'daily'", [toBytes(receiver), toBytes(token), now]);
}

/** Notes what a request is about to bring, when its payout is sent. */
export async function noteAmount(client: Queryable, { receiver, token }: PayeeKey, owed: bigint): Promise<void> {
  await client.query("UPDATE payout_request SET amount = GREATEST(amount, $3) WHERE receiver = $1 AND token = $2 AND done_at IS NULL", [toBytes(receiver), toBytes(token), owed]);
}

export type PayoutRequest = { requestId: string; askedAt: Date; doneAt: Date | undefined; amount: bigint | undefined };
type RequestRow = { request_id: string; asked_at: Date; done_at: Date | null; amount: bigint | null };
const requestFromRow = (row: RequestRow): PayoutRequest => ({ requestId: row.request_id, askedAt: row.asked_at, doneAt: row.done_at ?? undefined, amount: row.amount ?? undefined });

async function findByKey(client: Queryable, receiver: Address, token: Address, key: string): Promise<PayoutRequest | undefined> {
  const { rows } = await client.query<RequestRow>("SELECT * FROM payout_request WHERE receiver = $1 AND token = $2 AND idempotency_key = $3", [toBytes(receiver), toBytes(token), key]);
  return rows[0] === undefined ? undefined : requestFromRow(rows[0]);
}

/**
 * The request of that key, or the one that is open, or a new one. A receiver's requests take their turn: ON CONFLICT heeds one unique index,
 * and two requests of one key that come at once would meet at the other.
 */
export async function askOnce(db: Db, payee: PayeeKey, key: string | undefined): Promise<PayoutRequest> {
  return inTransaction(db, async (client) => {
    await client.query("SELECT pg_advisory_xact_lock(hashtextextended('payout ' || $1, 0))", [payee.receiver]);
    return (key === undefined ? undefined : await findByKey(client, payee.receiver, payee.token, key)) ?? openRequest(client, payee, key);
  });
}

/** One open request a receiver: another one meanwhile is the same. */
async function openRequest(client: Queryable, { receiver, token }: PayeeKey, key: string | undefined): Promise<PayoutRequest> {
  const { rows } = await client.query<RequestRow>(
    `INSERT INTO payout_request (receiver, token, idempotency_key) VALUES ($1, $2, $3)
     ON CONFLICT (receiver, token) WHERE done_at IS NULL DO UPDATE SET idempotency_key = coalesce(payout_request.idempotency_key, EXCLUDED.idempotency_key) RETURNING *`,
    [toBytes(receiver), toBytes(token), key ?? null],
  );
  return requestFromRow(rows[0]!);
}

/** Makes the worker look at a receiver whose money somebody else claimed. */
export async function ensurePayee(db: Queryable, { receiver, token }: PayeeKey): Promise<void> {
  await db.query(
    "INSERT INTO settlement_payout (receiver, token) SELECT $1::bytea, $2::bytea WHERE EXISTS (SELECT 1 FROM channel WHERE receiver = $1::bytea AND token = $2::bytea) ON CONFLICT DO NOTHING",
    [toBytes(receiver), toBytes(token)],
  );
}

/** Newest first. */
export async function listRequests(db: Queryable, { receiver, token }: PayeeKey, limit: number): Promise<PayoutRequest[]> {
  const { rows } = await db.query<RequestRow>("SELECT * FROM payout_request WHERE receiver = $1 AND token = $2 ORDER BY asked_at DESC LIMIT $3", [toBytes(receiver), toBytes(token), limit]);
  return rows.map(requestFromRow);
}

/** Charged and not claimed, over all channels of a receiver. */
export async function unclaimedOf(db: Queryable, { receiver, token }: PayeeKey): Promise<bigint> {
  const { rows } = await db.query<{ unclaimed: bigint }>(
    "SELECT coalesce(sum(charged - total_claimed), 0) AS unclaimed FROM channel WHERE receiver = $1 AND token = $2 AND charged > total_claimed",
    [toBytes(receiver), toBytes(token)],
  );
  return rows[0]!.unclaimed;
}

