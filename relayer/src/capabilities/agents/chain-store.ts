// SQL of what the chain says of listed services. A view is replaced by one of the same block or later; going back is for the follower after
// a reorganisation, and only over the very view it saw.
import type { Hex } from "viem";
import { keyFrom } from "../../../../sdk/src/bazaar/terms.ts";
import type { ServiceKey } from "../../../../sdk/src/bazaar.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { ServiceView } from "./chain-view.ts";

/** Services, each with its key and the block of its view. */
export type Seen = Map<Hex, { key: ServiceKey; block: bigint }>;

/** `replaced`: the block of the view that is to be replaced, when the chain went back. `followed`: read by the follower, which misses nothing from here on. */
export type Saving = { followed: boolean; replaced?: bigint | undefined };

/**
 * Saves a view. The listing shows the terms that the chain has, where they are known; and where its owner proposed them here, the gateway
 * sells at them from now on.
 * @returns the gateway's name of a service whose terms on chain changed.
 */
export async function saveView(db: Queryable, serviceId: Hex, { status, version, revision, termsTag, owner, block }: ServiceView, { followed, replaced }: Saving): Promise<string | undefined> {
  const { rows } = await db.query<{ service: string | null }>({
    name: "listing_view_save",
    text: `WITH before AS (SELECT service_id, service, owner, chain_terms_tag FROM listing WHERE service_id = $1::bytea FOR UPDATE),
     seen AS (SELECT t.* FROM listing_terms t WHERE t.service_id = $1::bytea AND substr(t.terms_hash, 1, 25) = $5::bytea),
     saved AS (
       UPDATE listing l SET status = $2, version = $3, revision = $4, chain_terms_tag = $5, owner = coalesce($6::bytea, l.owner), chain_block = $7, chain_followed = l.chain_followed OR $9,
         pay_to = coalesce(s.pay_to, l.pay_to), token = coalesce(s.token, l.token), price_atomic = coalesce(s.price_atomic, l.price_atomic), capability = coalesce(s.tag, l.capability),
         categories = coalesce(mod(s.categories, 9223372036854775808), l.categories), schemes = coalesce(s.schemes, l.schemes),
         visibility = coalesce(CASE s.visibility WHEN 0 THEN 'public' WHEN 1 THEN 'unlisted' END, l.visibility),
         content_hash = coalesce(s.content_hash, l.content_hash), uri = coalesce(s.uri, l.uri), terms_hash = coalesce(s.terms_hash, l.terms_hash)
       FROM before b LEFT JOIN seen s ON true
       WHERE l.service_id = b.service_id AND CASE WHEN $8::bigint IS NULL THEN l.chain_block <= $7 ELSE l.chain_block = $8 END
         AND (l.status, l.version, l.revision, l.chain_terms_tag, l.owner, l.chain_block, l.chain_followed, l.terms_hash)
           IS DISTINCT FROM ($2, $3, $4, $5::bytea, coalesce($6::bytea, l.owner), $7, l.chain_followed OR $9, coalesce(s.terms_hash, l.terms_hash))
       RETURNING l.service_id),
     sold AS (
       UPDATE service g SET receiver = s.pay_to, token = s.token, price_atomic = s.price_atomic, stream_price_atomic = CASE WHEN g.stream_price_atomic IS NOT NULL AND s.period_s IS NULL THEN s.price_atomic::numeric END,
         period_s = s.period_s, min_deposit_calls = CASE WHEN s.period_s IS NOT NULL AND g.period_s IS NULL THEN 2 ELSE g.min_deposit_calls END, updated_at = now()
       FROM before b, seen s, saved
       WHERE g.name = b.service AND g.owner = b.owner AND s.proposed AND s.price_atomic > 0 AND b.chain_terms_tag IS DISTINCT FROM $5::bytea
         AND (g.receiver, g.token, g.price_atomic, g.period_s) IS DISTINCT FROM (s.pay_to, s.token, s.price_atomic::numeric, s.period_s))
     SELECT b.service FROM before b, saved WHERE b.chain_terms_tag IS DISTINCT FROM $5::bytea`,
    values: [toBytes(serviceId), status, version, revision, termsTag === undefined ? null : toBytes(termsTag), owner === undefined ? null : toBytes(owner), block, replaced ?? null, followed],
  });
  return rows[0]?.service ?? undefined;
}

/** What an identity owns goes with it: the gateway's service is its new owner's too. @returns the gateway's name of one that changed hands. */
export async function followOwner(db: Queryable, serviceId: Hex): Promise<string | undefined> {
  const { rows } = await db.query<{ name: string }>(
    `UPDATE service g SET owner = l.owner, updated_at = now() FROM listing l
     WHERE l.service_id = $1::bytea AND g.name = l.service AND l.agent_key > 0 AND g.owner <> l.owner RETURNING g.name`,
    [toBytes(serviceId)],
  );
  return rows[0]?.name;
}

/** Those that are sold here and that identities own: they change hands without a word of the registry. */
export async function identityOwned(db: Queryable): Promise<Seen> {
  const { rows } = await db.query<SeenRow>("SELECT service_id, agent_key, owner, salt, chain_block FROM listing WHERE agent_key > 0 AND service IS NOT NULL");
  return seenFrom(rows);
}

type SeenRow = { service_id: Buffer; agent_key: bigint; owner: Buffer; salt: Buffer; chain_block: bigint };

/** Of these, those that are listed here. */
export async function known(db: Queryable, serviceIds: readonly Hex[]): Promise<Seen> {
  const { rows } = await db.query<SeenRow>("SELECT service_id, agent_key, owner, salt, chain_block FROM listing WHERE service_id = ANY($1::bytea[])", [serviceIds.map(toBytes)]);
  return seenFrom(rows);
}

/** Those whose view is of a block above this one, and those that were not followed yet. */
export async function dueAbove(db: Queryable, block: bigint): Promise<Seen> {
  const { rows } = await db.query<SeenRow>(
    `SELECT service_id, agent_key, owner, salt, chain_block FROM listing WHERE chain_block > $1
     UNION SELECT service_id, agent_key, owner, salt, chain_block FROM listing WHERE NOT chain_followed`,
    [block],
  );
  return seenFrom(rows);
}

function seenFrom(rows: readonly SeenRow[]): Seen {
  return new Map(rows.map((row) => [toHex(row.service_id), { key: keyFrom({ agentKey: row.agent_key, owner: toAddress(row.owner), salt: toHex(row.salt) }), block: row.chain_block }]));
}

/** The registry was read to the head just now. */
export async function saveReadAt(db: Queryable): Promise<void> {
  await db.query("INSERT INTO listing_follow (read_at) VALUES (now()) ON CONFLICT (one) DO UPDATE SET read_at = EXCLUDED.read_at");
}

export type Told = { change: bigint; /** Milliseconds since the registry was read to the head; undefined: never. */ ageMs: number | undefined };

/** Where copies stand against the table. */
export async function readTold(db: Queryable): Promise<Told> {
  const { rows } = await db.query<{ change: bigint; age_ms: number | null }>({
    name: "listing_told",
    text: "SELECT coalesce((SELECT max(change) FROM listing), 0)::bigint AS change, (SELECT extract(epoch FROM clock_timestamp() - read_at)::float8 * 1000 FROM listing_follow) AS age_ms",
  });
  return { change: rows[0]!.change, ageMs: rows[0]!.age_ms ?? undefined };
}
