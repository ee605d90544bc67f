// SQL of the log's writer: epochs, entries, seals and what waits to be sealed.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { TimedEntry } from "./encoding.ts";
import type { AuditEntry, AuditKind } from "./types.ts";

/** An entry at its place. `body`: its canonical JSON. */
export type ChainedEntry = { seq: bigint; entry: TimedEntry; body: string; hash: Uint8Array };

export type StoredSeal = { number: bigint; firstSeq: bigint; entries: bigint; previous: Hex; root: Hex; head: Hex; sealedAtMs: bigint; digest: Hex; signer: Address; signature: Hex };

/** @returns its number. */
export async function insertEpoch(client: Queryable, epoch: Uint8Array, opened: string): Promise<bigint> {
  const { rows } = await client.query<{ epoch_no: bigint }>("INSERT INTO audit_epoch (epoch, opened) VALUES ($1, $2) RETURNING epoch_no", [epoch, opened]);
  return rows[0]!.epoch_no;
}

const bytes = (address: Address | undefined): Buffer | null => (address === undefined ? null : toBytes(address));

export async function insertEntries(client: Queryable, epochNo: bigint, entries: readonly ChainedEntry[]): Promise<void> {
  await client.query({
    name: "audit_entries_insert",
    text: `INSERT INTO audit_entry (epoch_no, seq, at, kind, subject, payer, payee, body, hash)
           SELECT $1, * FROM unnest($2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::text[], $9::bytea[])`,
    values: [
      epochNo, entries.map(({ seq }) => seq), entries.map(({ entry }) => entry.at.toISOString()), entries.map(({ entry }) => entry.kind), entries.map(({ entry }) => entry.subject),
      entries.map(({ entry }) => bytes(entry.payer)), entries.map(({ entry }) => bytes(entry.payee)), entries.map(({ body }) => body), entries.map(({ hash }) => hash),
    ],
  });
}

/** @returns false when the seal before it is not there: the database lost it, or it was never committed. */
export async function insertSeal(client: Queryable, epochNo: bigint, seal: StoredSeal): Promise<boolean> {
  const { rowCount } = await client.query({
    name: "audit_seal_insert",
    text: `INSERT INTO audit_seal (epoch_no, number, first_seq, entries, previous, root, head, sealed_at_ms, digest, signer, signature)
           SELECT $1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::bytea, $6::bytea, $7::bytea, $8::bigint, $9::bytea, $10::bytea, $11::bytea
           WHERE $2::bigint = 1 OR EXISTS (SELECT 1 FROM audit_seal WHERE epoch_no = $1::bigint AND number = $2::bigint - 1 AND digest = $5::bytea)`,
    values: [
      epochNo, seal.number, seal.firstSeq, seal.entries, toBytes(seal.previous), toBytes(seal.root), toBytes(seal.head), seal.sealedAtMs, toBytes(seal.digest), toBytes(seal.signer), toBytes(seal.signature),
    ],
  });
  return rowCount === 1;
}

/** True when this very seal was committed. */
export async function hasSeal(db: Queryable, epoch: Uint8Array, number: bigint, digest: Hex): Promise<boolean> {
  const { rowCount } = await db.query("SELECT 1 FROM audit_seal s JOIN audit_epoch e USING (epoch_no) WHERE e.epoch = $1::bytea AND s.number = $2 AND s.digest = $3::bytea", [epoch, number, toBytes(digest)]);
  return rowCount === 1;
}

/** Stores entries that the log has yet to take in; on the connection of a transaction, with it. */
export async function insertOutbox(db: Queryable, entries: readonly AuditEntry[]): Promise<void> {
  await db.query({
    name: "audit_outbox_insert",
    text: `INSERT INTO audit_outbox (at, kind, subject, rule, reason, policy_hash, payer, payee, amount_atomic, data)
           SELECT coalesce(i.at, clock_timestamp()), i.kind, i.subject, i.rule, i.reason, i.policy_hash, i.payer, i.payee, i.amount, i.data::jsonb
           FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::bytea[], $9::numeric[], $10::text[])
             WITH ORDINALITY AS i(at, kind, subject, rule, reason, policy_hash, payer, payee, amount, data, nth) ORDER BY i.nth`,
    values: [
      entries.map(({ at }) => at ?? null), entries.map(({ kind }) => kind), entries.map(({ subject }) => subject), entries.map(({ rule }) => rule ?? null), entries.map(({ reason }) => reason ?? null),
      entries.map(({ policyHash }) => bytes(policyHash)), entries.map(({ payer }) => bytes(payer)), entries.map(({ payee }) => bytes(payee)), entries.map(({ amountAtomic }) => amountAtomic ?? null),
      entries.map(({ data = {} }) => JSON.stringify(data, (_name, value: unknown) => (typeof value === "bigint" ? String(value) : value))),
    ],
  });
}

type OutboxRow = {
  outbox_id: bigint; at: Date; kind: AuditKind; subject: string; rule: string | null; reason: string | null; policy_hash: Buffer | null; payer: Buffer | null; payee: Buffer | null;
  amount_atomic: bigint | null; data: AuditEntry["data"];
};

/** Takes what waits, the oldest first, out of the outbox; other processes take other rows. */
export async function takeOutbox(client: Queryable, most: number): Promise<TimedEntry[]> {
  const { rows } = await client.query<OutboxRow>({
    name: "audit_outbox_take",
    text: "DELETE FROM audit_outbox WHERE outbox_id IN (SELECT outbox_id FROM audit_outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING *",
    values: [most],
  });
  return rows.toSorted((a, b) => Number(a.outbox_id - b.outbox_id)).map(entryFromRow);
}

export function entryFromRow(row: Omit<OutboxRow, "outbox_id">): TimedEntry {
  return {
    kind: row.kind, at: row.at, subject: row.subject, rule: row.rule ?? undefined, reason: row.reason ?? undefined, policyHash: row.policy_hash === null ? undefined : toHex(row.policy_hash),
    payer: row.payer === null ? undefined : toAddress(row.payer), payee: row.payee === null ? undefined : toAddress(row.payee), amountAtomic: row.amount_atomic ?? undefined, data: row.data ?? {},
  };
}
