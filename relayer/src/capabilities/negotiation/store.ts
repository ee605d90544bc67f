// SQL of what is said before a price is agreed: policies, intents, offers, counter-offers. Messages are kept as they were signed.
import type { Address, Hex } from "viem";
import { fromWire, toWire, type MessageName, type Signed } from "../../../../sdk/src/negotiation/messages.ts";
import { toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

type SignedRow = { body: Record<string, unknown>; signature: Buffer };
const signedFrom = <Name extends MessageName>(name: Name, { body, signature }: SignedRow): Signed<Name> => fromWire(name, { message: body, signature: toHex(signature) });
const bodyOf = <Name extends MessageName>(name: Name, signed: Signed<Name>): string => JSON.stringify(toWire(name, signed).message);

export type StoredPolicy = { policyHash: Hex; policy: Signed<"PricePolicy"> };
type PolicyRow = SignedRow & { policy_hash: Buffer };
const policyFrom = (row: PolicyRow): StoredPolicy => ({ policyHash: toHex(row.policy_hash), policy: signedFrom("PricePolicy", row) });

/** @returns false when its owner has the same or a newer version. */
export async function insertPolicy(db: Queryable, policyHash: Hex, policy: Signed<"PricePolicy">): Promise<boolean> {
  const { service, provider, capability, version, expiresAt } = policy.message;
  const { rowCount } = await db.query(
    `INSERT INTO price_policy (policy_hash, service, provider, capability, version, body, signature, expires_at)
     SELECT $1::bytea, $2::text, $3::bytea, $4, $5::bigint, $6, $7, to_timestamp($8)
     WHERE NOT EXISTS (SELECT 1 FROM price_policy WHERE service = $2::text AND provider = $3::bytea AND version >= $5::bigint) ON CONFLICT DO NOTHING`,
    [toBytes(policyHash), service, toBytes(provider), capability, version, bodyOf("PricePolicy", policy), toBytes(policy.signature), expiresAt],
  );
  return rowCount === 1;
}

export async function findPolicy(db: Queryable, policyHash: Hex): Promise<StoredPolicy | undefined> {
  const { rows } = await db.query<PolicyRow>("SELECT policy_hash, body, signature FROM price_policy WHERE policy_hash = $1", [toBytes(policyHash)]);
  return rows[0] === undefined ? undefined : policyFrom(rows[0]);
}

/** The newest policy of each service on sale, by its owner of now: of one service, or of all with a capability. */
export async function standingPolicies(db: Queryable, of: { service: string; capability: string }, limit: number): Promise<StoredPolicy[]> {
  const { rows } = await db.query<PolicyRow>(
    `SELECT newest.policy_hash, newest.body, newest.signature FROM service s CROSS JOIN LATERAL (
       SELECT * FROM price_policy p WHERE p.service = s.name AND p.provider = coalesce(s.owner, s.receiver) ORDER BY p.version DESC LIMIT 1) newest
     WHERE s.removed_at IS NULL AND newest.expires_at > now() AND ($1 = '' OR s.name = $1) AND ($2 = '' OR newest.capability = $2)
       AND ($1 <> '' OR s.name IN (SELECT service FROM price_policy WHERE capability = $2))
     ORDER BY s.name LIMIT $3`,
    [of.service, of.capability, limit],
  );
  return rows.map(policyFrom);
}

export type StoredIntent = { intentHash: Hex; intent: Signed<"Intent"> };
type IntentRow = SignedRow & { intent_hash: Buffer };
const intentFrom = (row: IntentRow): StoredIntent => ({ intentHash: toHex(row.intent_hash), intent: signedFrom("Intent", row) });

/** @returns false when it is known, or the agent has `most` that are open. */
export async function insertIntent(db: Queryable, intentHash: Hex, intent: Signed<"Intent">, most: number): Promise<boolean> {
  const { intentId, agent, service, capability, expiresAt } = intent.message;
  const { rowCount } = await db.query(
    `INSERT INTO negotiation_intent (intent_id, intent_hash, agent, service, capability, body, signature, expires_at)
     SELECT $1, $2, $3::bytea, $4, $5, $6, $7, to_timestamp($8) WHERE (SELECT count(*) FROM negotiation_intent WHERE agent = $3::bytea AND created_at > now() - interval '1 day' AND expires_at > now()) < $9
     ON CONFLICT DO NOTHING`,
    [toBytes(intentId), toBytes(intentHash), toBytes(agent), service, capability, bodyOf("Intent", intent), toBytes(intent.signature), expiresAt, most],
  );
  return rowCount === 1;
}

export async function findIntent(db: Queryable, intentId: Hex): Promise<StoredIntent | undefined> {
  const { rows } = await db.query<IntentRow>("SELECT intent_hash, body, signature FROM negotiation_intent WHERE intent_id = $1", [toBytes(intentId)]);
  return rows[0] === undefined ? undefined : intentFrom(rows[0]);
}

/** Open intents that a provider may answer: for its services by name, or for a capability of its policies. */
export async function openIntents(db: Queryable, provider: Address, limit: number): Promise<StoredIntent[]> {
  const { rows } = await db.query<IntentRow>(
    `SELECT i.intent_hash, i.body, i.signature FROM negotiation_intent i WHERE i.expires_at > now() AND (
       i.service IN (SELECT name FROM service s WHERE coalesce(s.owner, s.receiver) = $1::bytea AND s.removed_at IS NULL)
       OR (i.service = '' AND i.capability IN (SELECT capability FROM price_policy WHERE provider = $1::bytea)))
       AND NOT EXISTS (SELECT 1 FROM negotiated_session n WHERE n.intent_id = i.intent_id)
     ORDER BY i.created_at DESC LIMIT $2`,
    [toBytes(provider), limit],
  );
  return rows.map(intentFrom);
}

export type StoredOffer = { offerHash: Hex; offer: Signed<"Offer">; policyHash: Hex | undefined; renews: Hex | undefined };
type OfferRow = SignedRow & { offer_hash: Buffer; policy_hash: Buffer | null; renews: Buffer | null };
const OFFER = "offer_hash, policy_hash, renews, body, signature";
const offerFrom = (row: OfferRow): StoredOffer => ({
  offerHash: toHex(row.offer_hash), offer: signedFrom("Offer", row), policyHash: row.policy_hash === null ? undefined : toHex(row.policy_hash), renews: row.renews === null ? undefined : toHex(row.renews),
});

/** @returns false when this round was answered before. */
export async function insertOffer(db: Queryable, { offerHash, offer, policyHash, renews }: StoredOffer): Promise<boolean> {
  const { intentId, service, provider, round, expiresAt } = offer.message;
  const { rowCount } = await db.query(
    `INSERT INTO negotiation_offer (offer_hash, intent_id, service, provider, round, policy_hash, renews, body, signature, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, to_timestamp($10)) ON CONFLICT DO NOTHING`,
    [toBytes(offerHash), toBytes(intentId), service, toBytes(provider), round, policyHash === undefined ? null : toBytes(policyHash), renews === undefined ? null : toBytes(renews),
      bodyOf("Offer", offer), toBytes(offer.signature), expiresAt],
  );
  return rowCount === 1;
}

export async function findOffer(db: Queryable, offerHash: Hex): Promise<StoredOffer | undefined> {
  const { rows } = await db.query<OfferRow>(`SELECT ${OFFER} FROM negotiation_offer WHERE offer_hash = $1`, [toBytes(offerHash)]);
  return rows[0] === undefined ? undefined : offerFrom(rows[0]);
}

export async function offersFor(db: Queryable, intentId: Hex): Promise<StoredOffer[]> {
  const { rows } = await db.query<OfferRow>(`SELECT ${OFFER} FROM negotiation_offer WHERE intent_id = $1 ORDER BY service, created_at, round LIMIT 500`, [toBytes(intentId)]);
  return rows.map(offerFrom);
}

/** The offer of a round, when somebody made it. */
export async function offerOfRound(db: Queryable, intentId: Hex, service: string, round: number): Promise<StoredOffer | undefined> {
  const { rows } = await db.query<OfferRow>(`SELECT ${OFFER} FROM negotiation_offer WHERE intent_id = $1 AND service = $2 AND round = $3 AND renews IS NULL`, [toBytes(intentId), service, round]);
  return rows[0] === undefined ? undefined : offerFrom(rows[0]);
}

/** The offer to go on with after a session that is still good for a while, and that nobody took. */
export async function renewalOf(db: Queryable, sessionId: Hex): Promise<StoredOffer | undefined> {
  const { rows } = await db.query<OfferRow>(
    `SELECT ${OFFER} FROM negotiation_offer o WHERE renews = $1 AND expires_at > now() + interval '30 seconds' AND NOT EXISTS (SELECT 1 FROM negotiated_session n WHERE n.offer_hash = o.offer_hash)
     ORDER BY created_at DESC LIMIT 1`,
    [toBytes(sessionId)],
  );
  return rows[0] === undefined ? undefined : offerFrom(rows[0]);
}

/** @returns the counter that the offer has: this one, or the one that came before. */
export async function insertCounter(db: Queryable, counterHash: Hex, counter: Signed<"Counter">): Promise<Hex> {
  const values = [toBytes(counter.message.offerHash), toBytes(counterHash), bodyOf("Counter", counter), toBytes(counter.signature)];
  await db.query("INSERT INTO negotiation_counter (offer_hash, counter_hash, body, signature) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", values);
  const { rows } = await db.query<{ counter_hash: Buffer }>("SELECT counter_hash FROM negotiation_counter WHERE offer_hash = $1", [values[0]]);
  return toHex(rows[0]!.counter_hash);
}

/** The price that the agent asked for instead, by offer. */
export async function countersFor(db: Queryable, intentId: Hex): Promise<Signed<"Counter">[]> {
  const { rows } = await db.query<SignedRow>("SELECT c.body, c.signature FROM negotiation_counter c JOIN negotiation_offer o USING (offer_hash) WHERE o.intent_id = $1 ORDER BY c.created_at", [toBytes(intentId)]);
  return rows.map((row) => signedFrom("Counter", row));
}
