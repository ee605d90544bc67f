// SQL of what owners propose and what the relayer sent for them: metadata documents, terms, acts.
import type { Address, Hex } from "viem";
import { readCapabilityTag, SERVICE_VISIBILITIES, termsHashOf, type ServiceKey, type ServiceTerms } from "../../../../sdk/src/bazaar.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Keeps a document, once. @returns false when whoever brings it has brought `most` others already. */
export async function keepMetadata(db: Queryable, contentHash: Hex, body: Uint8Array, by: Address, most: number): Promise<boolean> {
  const { rows } = await db.query<{ kept: boolean }>(
    `WITH kept AS (
       INSERT INTO metadata_document (content_hash, body, stored_by) SELECT $1::bytea, $2, $3::bytea
       WHERE (SELECT count(*) FROM metadata_document WHERE stored_by = $3::bytea) < $4 ON CONFLICT (content_hash) DO NOTHING RETURNING 1)
     SELECT EXISTS (SELECT 1 FROM kept) OR EXISTS (SELECT 1 FROM metadata_document WHERE content_hash = $1::bytea) AS kept`,
    [toBytes(contentHash), Buffer.from(body), toBytes(by), most],
  );
  return rows[0]!.kept;
}

export type Proposal = { serviceId: Hex; service: string; owner: Address; key: ServiceKey; terms: ServiceTerms; idempotencyKey: string | undefined };

/**
 * Registers a service that is not on chain yet, or proposes other terms for it. Not by ON CONFLICT DO UPDATE: every writer of a listing locks its row and
 * then takes its turn in the trigger `listing_changed`, and an insertion takes its turn first, so that two of them could wait for each other.
 * @returns false when it is on chain, or another's. @throws a violation of listing_idempotency or listing_service_key.
 */
export async function proposeListing(db: Queryable, proposal: Proposal): Promise<boolean> {
  // Again at last: somebody may have been faster with its first terms.
  return (await proposeTerms(db, proposal)) || (await insertListing(db, proposal)) || proposeTerms(db, proposal);
}

async function proposeTerms(db: Queryable, { serviceId, service, owner, terms: { payTo, token, offer }, terms, idempotencyKey }: Proposal): Promise<boolean> {
  const { rowCount } = await db.query(
    `UPDATE listing SET service = $2, pay_to = $4, token = $5, price_atomic = $6, capability = $7, categories = $8, schemes = $9, visibility = $10, content_hash = $11, uri = $12, terms_hash = $13,
       idempotency_key = coalesce($14, idempotency_key)
     WHERE service_id = $1::bytea AND status = 'none' AND owner = $3::bytea`,
    [toBytes(serviceId), service, toBytes(owner), toBytes(payTo), toBytes(token), offer.price, readCapabilityTag(offer.capability) ?? "", offer.categories, offer.schemes, SERVICE_VISIBILITIES[offer.visibility],
      toBytes(offer.contentHash), offer.uri, toBytes(termsHashOf(terms)), idempotencyKey ?? null],
  );
  return rowCount === 1;
}

async function insertListing(db: Queryable, { serviceId, service, owner, key, terms: { payTo, token, offer }, terms, idempotencyKey }: Proposal): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO listing (service_id, service, owner, agent_key, salt, pay_to, token, price_atomic, capability, categories, schemes, visibility, content_hash, uri, terms_hash, idempotency_key)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT (service_id) DO NOTHING`,
    [toBytes(serviceId), service, toBytes(owner), key.agent, toBytes(key.salt), toBytes(payTo), toBytes(token), offer.price, readCapabilityTag(offer.capability) ?? "", offer.categories, offer.schemes,
      SERVICE_VISIBILITIES[offer.visibility], toBytes(offer.contentHash), offer.uri, toBytes(termsHashOf(terms)), idempotencyKey ?? null],
  );
  return rowCount === 1;
}

/** A service as the registry told of it when it was listed: nobody sells it here. Its status comes with the next look at the chain. @returns false when it is known. */
export async function adoptListing(db: Queryable, { serviceId, owner, key, terms }: Pick<Proposal, "serviceId" | "owner" | "key" | "terms">): Promise<boolean> {
  const { payTo, token, offer } = terms;
  const { rowCount } = await db.query(
    `INSERT INTO listing (service_id, owner, agent_key, salt, pay_to, token, price_atomic, capability, categories, schemes, visibility, content_hash, uri, terms_hash)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, mod($9::numeric, 9223372036854775808), $10, $11, $12, $13, $14) ON CONFLICT (service_id) DO NOTHING`,
    [toBytes(serviceId), toBytes(owner), key.agent, toBytes(key.salt), toBytes(payTo), toBytes(token), offer.price, readCapabilityTag(offer.capability) ?? "", offer.categories, offer.schemes, SERVICE_VISIBILITIES[offer.visibility],
      toBytes(offer.contentHash), offer.uri, toBytes(termsHashOf(terms))],
  );
  return rowCount === 1;
}

/** Its owner sells it here from now on, under this name. @returns false when somebody does already, or it is not the owner's. @throws a violation of listing_service_key. */
export async function nameListing(db: Queryable, serviceId: Hex, service: string, owner: Address): Promise<boolean> {
  const { rowCount } = await db.query("UPDATE listing SET service = $2 WHERE service_id = $1::bytea AND service IS NULL AND owner = $3::bytea", [toBytes(serviceId), service, toBytes(owner)]);
  return rowCount === 1;
}

/** `proposed`: by the owner, signed in here; then it is known whether its price is for a time, in seconds. */
export type Origin = { proposed: boolean; periodS?: number | undefined };

/** Keeps terms. @returns false when the service has `most` others. */
export async function keepTerms(db: Queryable, serviceId: Hex, terms: ServiceTerms, { proposed, periodS }: Origin, most: number): Promise<boolean> {
  const { payTo, token, offer } = terms;
  const { rowCount } = await db.query(
    `INSERT INTO listing_terms (service_id, terms_hash, pay_to, token, capability, tag, categories, price_atomic, schemes, visibility, content_hash, uri, proposed, period_s)
     SELECT $1::bytea, $2::bytea, $3::bytea, $4::bytea, $5::bytea, $6, $7::numeric, $8::numeric, $9::int, $10::smallint, $11::bytea, $12, $13, $15::int
     WHERE (SELECT count(*) FROM listing_terms WHERE service_id = $1::bytea AND terms_hash <> $2::bytea AND proposed = $13) < $14
     ON CONFLICT (service_id, terms_hash) DO UPDATE SET proposed = listing_terms.proposed OR EXCLUDED.proposed, period_s = coalesce(EXCLUDED.period_s, listing_terms.period_s)`,
    [toBytes(serviceId), toBytes(termsHashOf(terms)), toBytes(payTo), toBytes(token), toBytes(offer.capability), readCapabilityTag(offer.capability) ?? "", offer.categories, offer.price, offer.schemes, offer.visibility,
      toBytes(offer.contentHash), offer.uri, proposed, most, periodS ?? null],
  );
  return rowCount === 1;
}

/** Terms by their hash, or by its first 25 bytes. */
export async function findTerms(db: Queryable, serviceId: Hex, hashOrTag: Hex): Promise<ServiceTerms | undefined> {
  const { rows } = await db.query<{ pay_to: Buffer; token: Buffer; capability: Buffer; categories: bigint; price_atomic: bigint; schemes: number; visibility: number; content_hash: Buffer; uri: string }>(
    "SELECT * FROM listing_terms WHERE service_id = $1::bytea AND substr(terms_hash, 1, 25) = substr($2::bytea, 1, 25)",
    [toBytes(serviceId), toBytes(hashOrTag)],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    payTo: toAddress(row.pay_to), token: toAddress(row.token),
    offer: { capability: toHex(row.capability), categories: row.categories, price: row.price_atomic, schemes: row.schemes, visibility: row.visibility, contentHash: toHex(row.content_hash), uri: row.uri },
  };
}

/** Which service an owner's Idempotency-Key registered, and with which terms. */
export async function findByKey(db: Queryable, owner: Address, key: string): Promise<{ serviceId: Hex; termsHash: Hex } | undefined> {
  const { rows } = await db.query<{ service_id: Buffer; terms_hash: Buffer }>("SELECT service_id, terms_hash FROM listing WHERE owner = $1::bytea AND idempotency_key = $2", [toBytes(owner), key]);
  return rows[0] === undefined ? undefined : { serviceId: toHex(rows[0].service_id), termsHash: toHex(rows[0].terms_hash) };
}

export async function saveAvailability(db: Queryable, serviceId: Hex, availability: string, availableAt: Date | undefined): Promise<void> {
  await db.query("UPDATE listing SET availability = $2, available_at = $3 WHERE service_id = $1::bytea", [toBytes(serviceId), availability, availableAt ?? null]);
}

export type ActRow = { digest: Hex; serviceId: Hex; owner: Address; kind: "list" | "update" | "status"; revision: number };
export type Sent = { txId: bigint; state: string; hash: Hex };

/** The transaction that carried what somebody signed. */
export async function findAct(db: Queryable, digest: Hex): Promise<Sent | undefined> {
  const { rows } = await db.query<{ tx_id: bigint; state: string; hash: Buffer }>("SELECT a.tx_id, t.state, t.hash FROM listing_act a JOIN chain_tx t USING (tx_id) WHERE a.digest = $1::bytea", [toBytes(digest)]);
  return rows[0] === undefined ? undefined : { txId: rows[0].tx_id, state: rows[0].state, hash: toHex(rows[0].hash) };
}

/** What was sent in the last 24 hours: for this owner, and for all. */
export async function countActs(db: Queryable, owner: Address): Promise<{ ofOwner: number; inAll: number }> {
  const { rows } = await db.query<{ of_owner: bigint; in_all: bigint }>(
    "SELECT coalesce(sum(attempts) FILTER (WHERE owner = $1::bytea), 0)::bigint AS of_owner, coalesce(sum(attempts), 0)::bigint AS in_all FROM listing_act WHERE created_at > now() - interval '24 hours'",
    [toBytes(owner)],
  );
  return { ofOwner: Number(rows[0]!.of_owner), inAll: Number(rows[0]!.in_all) };
}

/** Writers wait for each other, so that quotas hold; call it in the transaction that records the act. */
export async function lockActs(client: Queryable): Promise<void> {
  await client.query("SELECT pg_advisory_xact_lock(6100023)");
}

/** One whose transaction came to nothing may be sent again. @returns false when it was sent already. */
export async function insertAct(client: Queryable, { digest, serviceId, owner, kind, revision }: ActRow, txId: bigint): Promise<boolean> {
  const { rowCount } = await client.query(
    `INSERT INTO listing_act (digest, service_id, owner, kind, revision, tx_id) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (digest) DO UPDATE SET tx_id = $6, attempts = listing_act.attempts + 1, created_at = now()
     WHERE (SELECT state FROM chain_tx WHERE tx_id = listing_act.tx_id) IN ('reverted', 'dropped')`,
    [toBytes(digest), toBytes(serviceId), toBytes(owner), kind, revision, txId],
  );
  return rowCount === 1;
}
