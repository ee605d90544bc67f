// SQL of what happened, for a policy that is tried on it before it is put in force.
import type { Address, Hex } from "viem";
import { toAddress, toHex, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** A payment that was reserved, or one that the firewall refused. */
export type Happened = {
  id: string;
  at: Date;
  scheme: string;
  payer: Address;
  payerAuthorizer: Address;
  payee: Address;
  registeredPayee: Address | undefined;
  service: string | undefined;
  serviceOwner: Address | undefined;
  price: bigint;
  charged: bigint;
  listedPrice: bigint | undefined;
  wasRejected: boolean;
  channelId: Hex | undefined;
};

type Row = {
  id: string; at: Date; scheme: string; payer: Buffer; authorizer: Buffer; payee: Buffer; registered: Buffer | null; service: string | null; service_owner: Buffer | null;
  price: bigint; charged: bigint | null; listed: bigint | null; rejected: boolean; channel_id: Buffer | null;
};

/** Whose history it is: what an address paid, what its services sold, or everything. */
export type Whose = { kind: "payer" | "service"; address: Address } | { kind: "all" };

/**
 * The oldest first, after a place. What nothing was listed of any more counts with its own price and payee as listed: those were the terms
 * it was sold at.
 */
export async function happened(db: Queryable, whose: Whose, from: Date, to: Date, after: { at: Date; id: string } | undefined, limit: number): Promise<Happened[]> {
  const address = whose.kind === "all" ? null : toBytes(whose.address);
  const { rows } = await db.query<Row>(
    `SELECT * FROM (
       SELECT p.payment_id AS id, date_trunc('milliseconds', p.reserved_at) AS at, p.scheme, p.payer, coalesce(c.payer_authorizer, p.payer) AS authorizer, coalesce(p.receiver, c.receiver) AS payee, coalesce(s.receiver, p.receiver, c.receiver) AS registered,
         p.service, coalesce(s.owner, s.receiver) AS service_owner, p.price_atomic AS price, p.charged_atomic AS charged, coalesce(s.price_atomic, p.price_atomic) AS listed, false AS rejected, p.channel_id
       FROM payment p LEFT JOIN channel c USING (channel_id) LEFT JOIN service s ON s.name = p.service
       WHERE p.reserved_at >= $2 AND p.reserved_at < $3 AND ($5 = 'all' OR ($5 = 'payer' AND p.payer = $1::bytea) OR ($5 = 'service' AND coalesce(s.owner, s.receiver) = $1::bytea))
       UNION ALL
       SELECT 'evt_' || e.event_id, date_trunc('milliseconds', e.at), e.scheme, e.payer, coalesce(c.payer_authorizer, e.payer), e.payee, e.registered_payee, e.service, e.service_owner, e.price_atomic, NULL, e.listed_atomic, true, e.channel_id
       FROM firewall_event e LEFT JOIN channel c USING (channel_id)
       WHERE e.kind = 'payment.rejected' AND e.at >= $2 AND e.at < $3 AND ($5 = 'all' OR ($5 = 'payer' AND e.payer = $1::bytea) OR ($5 = 'service' AND e.service_owner = $1::bytea))
     ) h WHERE $4::timestamptz IS NULL OR (at, id) > ($4, $6) ORDER BY at, id LIMIT $7`,
    [address, from, to, after?.at ?? null, whose.kind, after?.id ?? "", limit],
  );
  return rows.map((row) => ({
    id: row.id, at: row.at, scheme: row.scheme, payer: toAddress(row.payer), payerAuthorizer: toAddress(row.authorizer), payee: toAddress(row.payee), registeredPayee: row.registered === null ? undefined : toAddress(row.registered),
    service: row.service || undefined, serviceOwner: row.service_owner === null ? undefined : toAddress(row.service_owner), price: row.price, charged: row.charged ?? 0n, listedPrice: row.listed ?? undefined, wasRejected: row.rejected,
    channelId: row.channel_id === null ? undefined : toHex(row.channel_id),
  }));
}
