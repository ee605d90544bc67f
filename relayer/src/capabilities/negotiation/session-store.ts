// SQL of negotiated sessions: what was agreed, and what was used of it.
import type { Address, Hex } from "viem";
import { parsePercent } from "../../../../sdk/src/negotiation/decimal.ts";
import type { VolumeTier } from "../../../../sdk/src/negotiation/fields.ts";
import { fromWire, toWire, type Offer, type Signed } from "../../../../sdk/src/negotiation/messages.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

export type SessionState = "active" | "exhausted" | "expired";
export type NegotiatedSession = {
  sessionId: Hex; offerHash: Hex; intentId: Hex; agent: Address; provider: Address; service: string; payTo: Address; token: Address; pricePerRequest: bigint; tiers: VolumeTier[]; budget: bigint; calls: number;
  maxLatencyMs: number; state: SessionState; expiresAt: Date; acceptedAt: Date; tokenHash: Hex; acceptance: Signed<"Acceptance">; channelId: Hex | undefined; callsTaken: number; callsCharged: number; callsFailed: number; charged: bigint; credit: bigint; credited: bigint;
};

type Row = {
  session_id: Buffer; offer_hash: Buffer; intent_id: Buffer; agent: Buffer; provider: Buffer; service: string; pay_to: Buffer; token: Buffer; price_atomic: bigint; tier_calls: bigint[]; tier_prices: bigint[]; budget_atomic: bigint; calls: bigint;
  max_latency_ms: bigint; state: SessionState; expires_at: Date; accepted_at: Date; token_hash: Buffer; acceptance: Record<string, unknown>; signature: Buffer; channel_id: Buffer | null; calls_taken: bigint; calls_charged: bigint; calls_failed: bigint;
  charged_atomic: bigint; credit_atomic: bigint; credited_atomic: bigint;
};

const SESSION = "n.*, CASE WHEN n.expires_at <= now() THEN 'expired' WHEN n.calls_taken >= n.calls THEN 'exhausted' ELSE 'active' END AS state";

function fromRow(row: Row): NegotiatedSession {
  return {
    sessionId: toHex(row.session_id), offerHash: toHex(row.offer_hash), intentId: toHex(row.intent_id), agent: toAddress(row.agent), provider: toAddress(row.provider), service: row.service, payTo: toAddress(row.pay_to), token: toAddress(row.token),
    pricePerRequest: row.price_atomic, tiers: row.tier_calls.map((calls, index) => ({ minCalls: Number(calls), pricePerRequest: BigInt(row.tier_prices[index]!) })), budget: row.budget_atomic, calls: Number(row.calls),
    maxLatencyMs: Number(row.max_latency_ms), state: row.state, expiresAt: row.expires_at, acceptedAt: row.accepted_at, tokenHash: toHex(row.token_hash), acceptance: fromWire("Acceptance", { message: row.acceptance, signature: toHex(row.signature) }),
    channelId: row.channel_id === null ? undefined : toHex(row.channel_id), callsTaken: Number(row.calls_taken), callsCharged: Number(row.calls_charged), callsFailed: Number(row.calls_failed), charged: row.charged_atomic, credit: row.credit_atomic,
    credited: row.credited_atomic,
  };
}

/** @returns false when the offer was accepted before, with this or another acceptance. */
export async function insertSession(db: Queryable, sessionId: Hex, acceptance: Signed<"Acceptance">, offer: Offer, calls: number, tokenHash: Hex): Promise<boolean> {
  const { offerHash, agent, budget, sessionExpiresAt } = acceptance.message;
  const { intentId, provider, service, payTo, token, pricePerRequest, tiers, sla, refundPolicy } = offer;
  const { rowCount } = await db.query(
    `INSERT INTO negotiated_session (session_id, offer_hash, intent_id, agent, provider, service, pay_to, token, price_atomic, tier_calls, tier_prices, max_latency_ms, min_uptime, latency_credit_bps, failure_credit_bps,
       budget_atomic, calls, expires_at, acceptance, signature, token_hash)
     SELECT $1, $2::bytea, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, to_timestamp($18), $19, $20, $21
     WHERE EXISTS (SELECT 1 FROM negotiation_offer o WHERE o.offer_hash = $2::bytea AND o.expires_at > now()) ON CONFLICT DO NOTHING`,
    [toBytes(sessionId), toBytes(offerHash), toBytes(intentId), toBytes(agent), toBytes(provider), service, toBytes(payTo), toBytes(token), pricePerRequest, tiers.map(({ minCalls }) => minCalls), tiers.map((tier) => tier.pricePerRequest),
      sla.maxLatencyMs, parsePercent(sla.minUptimePercent, "sla.minUptimePercent"), refundPolicy.latencyCreditBps, refundPolicy.failureCreditBps, budget, calls, sessionExpiresAt,
      JSON.stringify(toWire("Acceptance", acceptance).message), toBytes(acceptance.signature), toBytes(tokenHash)],
  );
  return rowCount === 1;
}

export async function findSession(db: Queryable, sessionId: Hex): Promise<NegotiatedSession | undefined> {
  const { rows } = await db.query<Row>({ name: "session_negotiated", text: `SELECT ${SESSION} FROM negotiated_session n WHERE session_id = $1`, values: [toBytes(sessionId)] });
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

export async function sessionOfOffer(db: Queryable, offerHash: Hex): Promise<NegotiatedSession | undefined> {
  const { rows } = await db.query<Row>(`SELECT ${SESSION} FROM negotiated_session n WHERE offer_hash = $1`, [toBytes(offerHash)]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** What the agent's newest session for a service says a call costs at most; sessions that are over say nothing. */
export async function agreedPrice(db: Queryable, agents: readonly Address[], service: string): Promise<bigint | undefined> {
  const { rows } = await db.query<{ price: bigint }>(
    `SELECT session_price(n, n.calls_taken + 1) AS price FROM negotiated_session n WHERE agent = ANY($1::bytea[]) AND service = $2 AND expires_at > now() AND calls_taken < calls ORDER BY accepted_at DESC LIMIT 1`,
    [agents.map(toBytes), service],
  );
  return rows[0]?.price;
}
