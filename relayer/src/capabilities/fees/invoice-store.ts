// SQL of invoices: issued, claimed by one payment at a time, paid.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Invoice } from "./logic.ts";

type Row = {
  invoice_id: string; number: bigint; receiver: Buffer; token: Buffer; period_from: Date; period_to: Date; calls: bigint; gross_atomic: bigint; fee_atomic: bigint;
  state: Invoice["state"]; issued_at: Date | null; due_at: Date | null; paid_at: Date | null; payment_id: string | null;
};

function fromRow(row: Row): Invoice {
  return {
    invoiceId: row.invoice_id, number: row.number, receiver: toAddress(row.receiver), token: toAddress(row.token), periodFrom: row.period_from, periodTo: row.period_to,
    calls: row.calls, gross: row.gross_atomic, fee: row.fee_atomic, state: row.state,
    issuedAt: row.issued_at ?? undefined, dueAt: row.due_at ?? undefined, paidAt: row.paid_at ?? undefined, paymentId: row.payment_id ?? undefined,
  };
}

/**
 * Issues drafts whose period is over and wholly booked, and those that reached the threshold; nothing is due on one that came to nothing.
 * The caller holds the books, so no fee is added to an invoice that is issued.
 */
export async function issueDue(client: Queryable, now: Date, threshold: bigint, dueS: number): Promise<Invoice[]> {
  const { rows } = await client.query<Row>(
    `UPDATE invoice SET state = CASE WHEN fee_atomic = 0 THEN 'paid' ELSE 'open' END, issued_at = $1, due_at = $1::timestamptz + $3 * interval '1 second',
       paid_at = CASE WHEN fee_atomic = 0 THEN $1::timestamptz END
     WHERE state = 'draft' AND ((period_to <= $1 AND period_to < (SELECT booked_at FROM fee_cursor)) OR ($2::numeric > 0 AND fee_atomic >= $2::numeric))
     RETURNING *`,
    [now, threshold, dueS],
  );
  return rows.map(fromRow);
}

export async function findInvoice(db: Queryable, invoiceId: string): Promise<Invoice | undefined> {
  const { rows } = await db.query<Row>("SELECT * FROM invoice WHERE invoice_id = $1", [invoiceId]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** Newest first; `before` is a number of an earlier page. */
export async function listInvoices(db: Queryable, receiver: Address, before: bigint | undefined, limit: number): Promise<Invoice[]> {
  const { rows } = await db.query<Row>(
    "SELECT * FROM invoice WHERE receiver = $1 AND ($2::bigint IS NULL OR number < $2) ORDER BY number DESC LIMIT $3",
    [toBytes(receiver), before ?? null, limit],
  );
  return rows.map(fromRow);
}

export type FeeLine = { paymentId: string; at: Date; service: string; charged: bigint; feeBps: number; fee: bigint };

/** What an invoice is made of, by payment id. */
export async function linesOf(db: Queryable, invoiceId: string, after: string, limit: number): Promise<FeeLine[]> {
  const { rows } = await db.query<{ payment_id: string; at: Date; service: string; charged_atomic: bigint; fee_bps: number; fee_atomic: bigint }>(
    "SELECT payment_id, at, service, charged_atomic, fee_bps, fee_atomic FROM fee_line WHERE invoice_id = $1 AND payment_id > $2 ORDER BY payment_id LIMIT $3",
    [invoiceId, after, limit],
  );
  return rows.map((row) => ({ paymentId: row.payment_id, at: row.at, service: row.service, charged: row.charged_atomic, feeBps: row.fee_bps, fee: row.fee_atomic }));
}

/** The payment that an invoice is tied to is not given back. */
const STANDS = "SELECT 1 FROM payment p WHERE p.payment_id = invoice.payment_id AND p.state IN ('reserved', 'settling', 'charged')";

/** Ties an invoice to the payment that is about to pay it. @returns false while another payment stands for it, or when it is not open. */
export async function claim(db: Queryable, invoiceId: string, paymentId: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `UPDATE invoice SET payment_id = $2 WHERE invoice_id = $1 AND state = 'open' AND (payment_id IS NULL OR payment_id = $2 OR NOT EXISTS (${STANDS}))`,
    [invoiceId, paymentId],
  );
  return rowCount === 1;
}

/** Closes invoices whose payment is charged, whichever process charged it; all of them, or one. */
export async function closePaid(db: Queryable, invoiceId?: string): Promise<Invoice[]> {
  const { rows } = await db.query<Row>(
    `WITH paid AS (
       UPDATE invoice SET state = 'paid', paid_at = p.resolved_at FROM payment p
       WHERE invoice.state = 'open' AND ($1::text IS NULL OR invoice_id = $1) AND p.payment_id = invoice.payment_id AND p.state = 'charged' AND p.charged_atomic = invoice.fee_atomic
       RETURNING invoice.*, p.channel_id, p.ceiling),
     used AS (UPDATE fee_voucher v SET invoice_id = paid.invoice_id FROM paid WHERE v.channel_id = paid.channel_id AND v.ceiling = paid.ceiling)
     SELECT * FROM paid`,
    [invoiceId ?? null],
  );
  return rows.map(fromRow);
}

/** Open invoices for which their receiver left a voucher that is not used yet. */
export async function payableFromVouchers(db: Queryable, limit: number): Promise<Invoice[]> {
  const { rows } = await db.query<Row>(
    `SELECT invoice.* FROM invoice WHERE state = 'open' AND (payment_id IS NULL OR NOT EXISTS (${STANDS}))
       AND EXISTS (SELECT 1 FROM fee_voucher v WHERE v.receiver = invoice.receiver AND v.invoice_id IS NULL)
     ORDER BY number LIMIT $1`,
    [limit],
  );
  return rows.map(fromRow);
}

export type StoredVoucher = { receiver: Address; channelId: Hex; ceiling: bigint; channelConfig: Record<string, unknown>; signature: Hex };
type VoucherRow = { channel_id: Buffer; ceiling: bigint; receiver: Buffer; channel_config: Record<string, unknown>; signature: Buffer };
const voucherFromRow = (row: VoucherRow): StoredVoucher => ({ receiver: toAddress(row.receiver), channelId: toHex(row.channel_id), ceiling: row.ceiling, channelConfig: row.channel_config, signature: toHex(row.signature) });

/** A provider's unused vouchers that still cover `amount` on top of what their channel was charged, the smallest first. */
export async function coveringVouchers(db: Queryable, receiver: Address, amount: bigint): Promise<StoredVoucher[]> {
  const { rows } = await db.query<VoucherRow>(
    `SELECT v.* FROM fee_voucher v LEFT JOIN channel c USING (channel_id)
     WHERE v.receiver = $1 AND v.invoice_id IS NULL AND v.ceiling >= coalesce(c.charged, 0) + $2::numeric
       AND NOT EXISTS (SELECT 1 FROM payment p WHERE p.channel_id = v.channel_id AND p.ceiling = v.ceiling AND p.state <> 'released' AND (p.charged_atomic IS NULL OR p.charged_atomic > 0))
     ORDER BY v.ceiling LIMIT 5`,
    [toBytes(receiver), amount],
  );
  return rows.map(voucherFromRow);
}

/** Keeps vouchers; one that is known stays as it is. */
export async function keepVouchers(db: Queryable, vouchers: readonly StoredVoucher[]): Promise<void> {
  for (const { receiver, channelId, ceiling, channelConfig, signature } of vouchers) {
    await db.query(
      "INSERT INTO fee_voucher (channel_id, ceiling, receiver, channel_config, signature) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (channel_id, ceiling) DO NOTHING",
      [toBytes(channelId), ceiling, toBytes(receiver), JSON.stringify(channelConfig), toBytes(signature)],
    );
  }
}

/** Forgets the vouchers that paid nothing. */
export async function dropVouchers(db: Queryable, receiver: Address): Promise<number> {
  const { rowCount } = await db.query("DELETE FROM fee_voucher WHERE receiver = $1 AND invoice_id IS NULL", [toBytes(receiver)]);
  return rowCount ?? 0;
}

export type VoucherState = { channelId: Hex; ceiling: bigint; invoiceId: string | undefined; charged: bigint; balance: bigint };

export async function vouchersOf(db: Queryable, receiver: Address, limit: number): Promise<VoucherState[]> {
  const { rows } = await db.query<{ channel_id: Buffer; ceiling: bigint; invoice_id: string | null; charged: bigint; balance: bigint }>(
    `SELECT v.channel_id, v.ceiling, v.invoice_id, coalesce(c.charged::numeric, 0) AS charged, coalesce(c.balance::numeric, 0) AS balance
     FROM fee_voucher v LEFT JOIN channel c USING (channel_id) WHERE v.receiver = $1 ORDER BY v.invoice_id IS NOT NULL, v.ceiling LIMIT $2`,
    [toBytes(receiver), limit],
  );
  return rows.map((row) => ({ channelId: toHex(row.channel_id), ceiling: row.ceiling, invoiceId: row.invoice_id ?? undefined, charged: row.charged, balance: row.balance }));
}

/** Pauses whoever has an invoice that was due before `since`, and ends the pause of everybody else. */
export async function setPauses(db: Queryable, since: Date | undefined): Promise<{ paused: Address[]; resumed: Address[] }> {
  const paused = await db.query<{ receiver: Buffer }>(
    `INSERT INTO service_pause (receiver) SELECT DISTINCT receiver FROM invoice WHERE state = 'open' AND $1::timestamptz IS NOT NULL AND due_at < $1
     ON CONFLICT DO NOTHING RETURNING receiver`,
    [since ?? null],
  );
  const resumed = await db.query<{ receiver: Buffer }>(
    `DELETE FROM service_pause s WHERE NOT EXISTS (SELECT 1 FROM invoice i WHERE i.receiver = s.receiver AND i.state = 'open' AND $1::timestamptz IS NOT NULL AND i.due_at < $1)
     RETURNING receiver`,
    [since ?? null],
  );
  return { paused: paused.rows.map((row) => toAddress(row.receiver)), resumed: resumed.rows.map((row) => toAddress(row.receiver)) };
}
