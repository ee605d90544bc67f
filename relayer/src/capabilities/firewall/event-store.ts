// SQL of what the firewall did.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type FirewallEventKind = "payment.rejected" | "payment.pending" | "payment.approved" | "policy.applied" | "kill.set" | "kill.lifted" | "approval.granted" | "approval.refused";

export type NewEvent = {
  kind: FirewallEventKind;
  rule: string;
  reason: string;
  policy: { owner: Address; name: string; version: number; policyHash: Hex };
  /** Who may read it. */
  parties: readonly Address[];
  payment?: {
    paymentKey: Hex; paymentId: string; channelId: Hex | undefined; scheme: string; payer: Address; payee: Address; registeredPayee: Address | undefined; service: string | undefined; serviceOwner: Address | undefined;
    resource: string; price: bigint; listedPrice: bigint | undefined;
  };
};

export type StoredEvent = {
  eventId: bigint; at: Date; kind: FirewallEventKind; rule: string; reason: string; paymentId: string | undefined; channelId: Hex | undefined; scheme: string | undefined; payer: Address | undefined; payee: Address | undefined;
  registeredPayee: Address | undefined; service: string | undefined; serviceOwner: Address | undefined; resource: string | undefined; price: bigint | undefined; listedPrice: bigint | undefined;
  policy: { owner: Address; name: string; version: number; policyHash: Hex }; repeated: bigint;
};

type Row = {
  event_id: bigint; at: Date; kind: FirewallEventKind; rule: string; reason: string; payment_id: string | null; channel_id: Buffer | null; scheme: string | null; payer: Buffer | null; payee: Buffer | null;
  registered_payee: Buffer | null; service: string | null; service_owner: Buffer | null; resource: string | null; price_atomic: bigint | null; listed_atomic: bigint | null;
  policy_owner: Buffer; policy_name: string; policy_version: number; policy_hash: Buffer; repeated: bigint;
};

const address = (bytes: Buffer | null): Address | undefined => (bytes === null ? undefined : toAddress(bytes));

function fromRow(row: Row): StoredEvent {
  return {
    eventId: row.event_id, at: row.at, kind: row.kind, rule: row.rule, reason: row.reason, paymentId: row.payment_id ?? undefined, channelId: row.channel_id === null ? undefined : toHex(row.channel_id), scheme: row.scheme ?? undefined,
    payer: address(row.payer), payee: address(row.payee), registeredPayee: address(row.registered_payee), service: row.service ?? undefined, serviceOwner: address(row.service_owner), resource: row.resource ?? undefined,
    price: row.price_atomic ?? undefined, listedPrice: row.listed_atomic ?? undefined, policy: { owner: toAddress(row.policy_owner), name: row.policy_name, version: row.policy_version, policyHash: toHex(row.policy_hash) }, repeated: row.repeated,
  };
}

/** Several in one statement, no two alike. The same of the same attempt is counted. @returns how many are new. */
export async function insertEvents(db: Queryable, events: readonly NewEvent[]): Promise<number> {
  const payments = events.map((event) => event.payment);
  const bytes = (hex: Hex | undefined) => (hex === undefined ? null : toBytes(hex));
  const { rows } = await db.query<{ repeated: bigint }>(
    `INSERT INTO firewall_event AS e (kind, rule, reason, payment_key, payment_id, channel_id, scheme, payer, payee, registered_payee, service, service_owner, resource, price_atomic, listed_atomic,
       policy_owner, policy_name, policy_version, policy_hash, parties)
     SELECT kind, rule, reason, payment_key, payment_id, channel_id, scheme, payer, payee, registered_payee, service, service_owner, resource, price, listed, owner, name, version, hash,
       (SELECT array_agg(decode(party, 'hex')) FROM regexp_split_to_table(readers, ',') party)
     FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bytea[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[], $11::text[], $12::bytea[], $13::text[], $14::numeric[], $15::numeric[],
       $16::bytea[], $17::text[], $18::integer[], $19::bytea[], $20::text[])
       AS n (kind, rule, reason, payment_key, payment_id, channel_id, scheme, payer, payee, registered_payee, service, service_owner, resource, price, listed, owner, name, version, hash, readers)
     ON CONFLICT (payment_id, payment_key, policy_hash, kind, rule) WHERE payment_key IS NOT NULL DO UPDATE SET repeated = e.repeated + 1, last_at = clock_timestamp()
     RETURNING repeated`,
    [
      events.map(({ kind }) => kind), events.map(({ rule }) => rule), events.map(({ reason }) => reason), payments.map((p) => bytes(p?.paymentKey)), payments.map((p) => p?.paymentId ?? null), payments.map((p) => bytes(p?.channelId)),
      payments.map((p) => p?.scheme ?? null), payments.map((p) => bytes(p?.payer)), payments.map((p) => bytes(p?.payee)), payments.map((p) => bytes(p?.registeredPayee)), payments.map((p) => p?.service ?? null),
      payments.map((p) => bytes(p?.serviceOwner)), payments.map((p) => p?.resource ?? null), payments.map((p) => p?.price ?? null), payments.map((p) => p?.listedPrice ?? null),
      events.map(({ policy }) => toBytes(policy.owner)), events.map(({ policy }) => policy.name), events.map(({ policy }) => policy.version), events.map(({ policy }) => toBytes(policy.policyHash)),
      events.map(({ parties }) => [...new Set(parties.map((party) => party.slice(2).toLowerCase()))].join(",")),
    ],
  );
  return rows.filter(({ repeated }) => repeated === 0n).length;
}

const EVENT = "SELECT * FROM firewall_event";

/** A party's, the newest first, from before `before`. */
export async function eventsBefore(db: Queryable, party: Address, before: bigint | undefined, limit: number): Promise<StoredEvent[]> {
  const { rows } = await db.query<Row>(`${EVENT} WHERE parties @> ARRAY[$1::bytea] AND ($2::bigint IS NULL OR event_id < $2) ORDER BY event_id DESC LIMIT $3`, [toBytes(party), before ?? null, limit]);
  return rows.map(fromRow);
}

/** Why a payment was refused, for one of its parties; the newest. Undefined when it was not, or is nothing to them. */
export async function rejectionOf(db: Queryable, paymentId: string, party: Address): Promise<StoredEvent | undefined> {
  const { rows } = await db.query<Row>(`${EVENT} WHERE payment_id = $1 AND kind IN ('payment.rejected', 'payment.pending') AND parties @> ARRAY[$2::bytea] ORDER BY event_id DESC LIMIT 1`, [paymentId, toBytes(party)]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}
