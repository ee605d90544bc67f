// SQL of the log's readers. Seals are read in the order in which they became visible, up to where none can appear any more.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { TimedEntry } from "./encoding.ts";
import { entryFromRow as outboxEntry, type StoredSeal } from "./store.ts";

/** Strictly after this seal. */
export type SealPosition = { xid: bigint; epochNo: bigint; number: bigint };
export const BEGINNING: SealPosition = { xid: 0n, epochNo: 0n, number: 0n };

export type ReadSeal = StoredSeal & SealPosition & { epoch: Hex; opened: string };
export type ReadEntry = { epochNo: bigint; seq: bigint; at: Date; body: string; hash: Buffer };
export type ReadAnchor = { day: bigint; toXid: bigint; seals: bigint; root: Hex; contract: Address; transaction: Hex; state: string };

type SealRow = {
  epoch_no: bigint; number: bigint; first_seq: bigint; entries: bigint; previous: Buffer; root: Buffer; head: Buffer; sealed_at_ms: bigint; digest: Buffer; signer: Buffer; signature: Buffer;
  transaction: string; epoch: Buffer; opened: string;
};

// Not named xid: ORDER BY would take the text, and 1000 comes before 999 there.
const SEAL = "SELECT s.*, s.xid::text AS transaction, o.epoch, o.opened FROM audit_seal s JOIN audit_epoch o USING (epoch_no)";

function sealFromRow(row: SealRow): ReadSeal {
  return {
    xid: BigInt(row.transaction), epochNo: row.epoch_no, number: row.number, firstSeq: row.first_seq, entries: row.entries, previous: toHex(row.previous), root: toHex(row.root), head: toHex(row.head),
    sealedAtMs: row.sealed_at_ms, digest: toHex(row.digest), signer: toAddress(row.signer), signature: toHex(row.signature), epoch: toHex(row.epoch), opened: row.opened,
  };
}

/** Below it every transaction is over: no seal can appear there any more. */
export async function settledBelow(db: Queryable): Promise<bigint> {
  const { rows } = await db.query<{ xmin: string }>("SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin");
  return BigInt(rows[0]!.xmin);
}

export async function sealsAfter(db: Queryable, after: SealPosition, below: bigint, limit: number): Promise<ReadSeal[]> {
  const { rows } = await db.query<SealRow>(`${SEAL} WHERE (s.xid, s.epoch_no, s.number) > ($1::text::xid8, $2, $3) AND s.xid < $4::text::xid8 ORDER BY s.xid, s.epoch_no, s.number LIMIT $5`, [
    String(after.xid), after.epochNo, after.number, String(below), limit,
  ]);
  return rows.map(sealFromRow);
}

export async function findSeal(db: Queryable, epochNo: bigint, number: bigint): Promise<ReadSeal | undefined> {
  const { rows } = await db.query<SealRow>(`${SEAL} WHERE s.epoch_no = $1 AND s.number = $2`, [epochNo, number]);
  return rows[0] && sealFromRow(rows[0]);
}

/** The seal over an entry. */
export async function sealOver(db: Queryable, { epochNo, seq }: Pick<ReadEntry, "epochNo" | "seq">): Promise<ReadSeal> {
  const { rows } = await db.query<SealRow>(`${SEAL} WHERE s.epoch_no = $1 AND s.first_seq <= $2 ORDER BY s.first_seq DESC LIMIT 1`, [epochNo, seq]);
  if (rows[0] === undefined) throw new Error("invariant: an entry is stored with its seal");
  return sealFromRow(rows[0]);
}

type EntryRow = { epoch_no: bigint; seq: bigint; at: Date; body: string; hash: Buffer };
const entryFromRow = ({ epoch_no, seq, at, body, hash }: EntryRow): ReadEntry => ({ epochNo: epoch_no, seq, at, body, hash });

/** All entries of a seal, in order. */
export async function entriesOf(db: Queryable, { epochNo, firstSeq, entries }: Pick<ReadSeal, "epochNo" | "firstSeq" | "entries">): Promise<ReadEntry[]> {
  const { rows } = await db.query<EntryRow>("SELECT epoch_no, seq, at, body, hash FROM audit_entry WHERE epoch_no = $1 AND seq >= $2 AND seq < $2::bigint + $3::bigint ORDER BY seq", [epochNo, firstSeq, entries]);
  return rows.map(entryFromRow);
}

export async function entriesAbout(db: Queryable, subject: string, limit: number): Promise<ReadEntry[]> {
  const { rows } = await db.query<EntryRow>("SELECT epoch_no, seq, at, body, hash FROM audit_entry WHERE subject = $1 ORDER BY at, epoch_no, seq LIMIT $2", [subject, limit]);
  return rows.map(entryFromRow);
}

/** Where a party's reader stands. */
export type EntryPosition = { at: Date; epochNo: bigint; seq: bigint };

/** A party's entries in the order of their times. */
export async function entriesOfParty(db: Queryable, party: Address, after: EntryPosition | undefined, limit: number): Promise<ReadEntry[]> {
  const page = (column: "payer" | "payee") =>
    `(SELECT epoch_no, seq, at, body, hash FROM audit_entry WHERE ${column} = $1 AND ($2::timestamptz IS NULL OR (at, epoch_no, seq) > ($2::timestamptz, $3::bigint, $4::bigint)) ORDER BY at, epoch_no, seq LIMIT $5)`;
  const { rows } = await db.query<EntryRow>(`${page("payer")} UNION ${page("payee")} ORDER BY at, epoch_no, seq LIMIT $5`, [toBytes(party), after?.at ?? null, after?.epochNo ?? 0n, after?.seq ?? 0n, limit]);
  return rows.map(entryFromRow);
}

/** Decisions about payments of a payer, the newest first: one a payment, its last; of a transfer that was tried again, the last try. */
export async function decisionsOf(db: Queryable, payer: Address, before: EntryPosition | undefined, limit: number): Promise<ReadEntry[]> {
  const { rows } = await db.query<EntryRow>(
    `SELECT epoch_no, seq, at, body, hash FROM audit_entry e
     WHERE payer = $1 AND kind IN (${DECISIONS}) AND ($2::timestamptz IS NULL OR (at, epoch_no, seq) < ($2::timestamptz, $3::bigint, $4::bigint))
       AND NOT EXISTS (SELECT 1 FROM audit_entry later WHERE later.subject = e.subject AND later.kind IN (${DECISIONS}) AND (later.at, later.epoch_no, later.seq) > (e.at, e.epoch_no, e.seq))
       AND NOT EXISTS (
         SELECT 1 FROM payment p JOIN payment again ON again.scheme = 'transfer' AND again.payer = p.payer AND again.token = p.token AND again.authorization_nonce = p.authorization_nonce AND again.reserved_at > p.reserved_at
         WHERE p.payment_id = e.subject AND p.scheme = 'transfer')
     ORDER BY at DESC, epoch_no DESC, seq DESC LIMIT $5`,
    [toBytes(payer), before?.at ?? null, before?.epochNo ?? 0n, before?.seq ?? 0n, limit],
  );
  return rows.map(entryFromRow);
}
const DECISIONS = "'payment.approved', 'payment.recovered', 'payment.rejected'";

/** What waits to be sealed of a payer, or about a subject. */
export async function waiting(db: Queryable, of: { payer: Address } | { subject: string }): Promise<TimedEntry[]> {
  const [column, value] = "payer" in of ? ["payer", toBytes(of.payer)] : ["subject", of.subject];
  const { rows } = await db.query<Parameters<typeof outboxEntry>[0]>(`SELECT * FROM audit_outbox WHERE ${column} = $1 ORDER BY outbox_id`, [value]);
  return rows.map(outboxEntry);
}

/** Anchors over seals from a transaction on, in order. */
export async function anchorsAfter(db: Queryable, xid: bigint, below: bigint): Promise<ReadAnchor[]> {
  const { rows } = await db.query<{ day: bigint; upto: string; seals: bigint; root: Buffer; contract: Buffer; hash: Buffer; state: string }>(
    "SELECT a.day, a.to_xid::text AS upto, a.seals, a.root, a.contract, t.hash, t.state FROM audit_anchor a JOIN chain_tx t USING (tx_id) WHERE a.to_xid > $1::text::xid8 AND a.to_xid <= $2::text::xid8 ORDER BY a.to_xid",
    [String(xid), String(below)],
  );
  return rows.map(({ day, upto, seals, root, contract, hash, state }) => ({ day, toXid: BigInt(upto), seals, root: toHex(root), contract: toAddress(contract), transaction: toHex(hash), state }));
}
