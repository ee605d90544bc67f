// SQL of searching. Whatever was typed reaches PostgreSQL as a value, and text only through websearch_to_tsquery, which takes any.
import type { Address, Hex } from "viem";
import type { ServiceStatus, ServiceVisibility } from "../../../../sdk/src/bazaar.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { Availability, DocumentFacts, FoundService, Reputation } from "./types.ts";

/** Everything is optional; percent, milliseconds, atomic units. */
export type Filter = {
  text?: string | undefined;
  /** Any of its words is enough: for descriptions of a task. */
  anyWord?: boolean;
  capability?: string | undefined;
  category?: number | undefined;
  owner?: Address | undefined;
  payTo?: Address | undefined;
  token?: Address | undefined;
  /** Bit. */
  scheme?: number | undefined;
  maxPrice?: bigint | undefined;
  maxResponseMs?: number | undefined;
  minRating?: number | undefined;
  minUptime?: number | undefined;
  /** Only those that say how they are called. */
  described?: boolean;
};

type Row = {
  service_id: Buffer; service: string | null; owner: Buffer; agent_key: bigint; pay_to: Buffer; token: Buffer; price_atomic: bigint; capability: string; categories: bigint; schemes: number; visibility: ServiceVisibility;
  status: ServiceStatus; version: number; content_hash: Buffer; uri: string; bond_atomic: bigint; rating_count: number; chain_updated_at: bigint; availability: Availability; available_at: Date | null; url: string; name: string;
  description: string; facts: DocumentFacts; max_latency_ms: number | null; min_uptime: number | null; reputation: number | null; reputation_detail: Reputation | null; uptime: number | null; p50_ms: number | null;
  p90_ms: number | null; p99_ms: number | null; honesty: number | null; quality: number; updated_at: Date; text_match?: number | null;
};

const COLUMNS = `d.service_id, d.service, d.owner, d.agent_key, d.pay_to, d.token, d.price_atomic, d.capability, d.categories, d.schemes, d.visibility, d.status, d.version, d.content_hash, d.uri, d.bond_atomic, d.rating_count,
  d.chain_updated_at, d.availability, d.available_at, d.url, d.name, d.description, d.facts, d.max_latency_ms, d.min_uptime, d.reputation, d.reputation_detail, d.uptime, d.p50_ms, d.p90_ms, d.p99_ms, d.honesty, d.quality, d.updated_at`;

/** ts_rank's 32 maps any rank into 0..1; its own values are small, so that it is stretched: two weighty words in a title come close to 1. */
const textRank = (query: string): string => `least(1, 2.5 * ts_rank(words, ${query}, 32))`;

/** Of more matches than that, those of the best quality are compared by their words: a word that everybody has costs no more than a rare one. */
const MOST_COMPARED = 2_000;
/** Any of many words has many matches, most of them for the least telling word. */
const MOST_COMPARED_OF_ANY = 1_000;

/** Conditions and the values they speak of; where there is a text, it is $1. */
function conditions(filter: Filter): { where: string; values: unknown[] } {
  const values: unknown[] = filter.text === undefined ? [] : [filter.text];
  const where = ["shown"];
  const add = (value: unknown, condition: (at: string) => string): void => {
    if (value === undefined) return;
    values.push(value);
    where.push(condition(`$${values.length}`));
  };
  if (filter.described === true) where.push("jsonb_array_length(facts -> 'endpoints') > 0");
  if (filter.text !== undefined) where.push(`words @@ ${queryOf(filter)}`);
  add(filter.capability, (at) => `capability = ${at}`);
  add(filter.category, (at) => `mod(trunc(categories / 2::numeric ^ ${at}::int), 2) = 1`);
  add(filter.owner && toBytes(filter.owner), (at) => `owner = ${at}::bytea`);
  add(filter.payTo && toBytes(filter.payTo), (at) => `pay_to = ${at}::bytea`);
  add(filter.token && toBytes(filter.token), (at) => `token = ${at}::bytea`);
  add(filter.scheme, (at) => `(schemes >> ${at}::int) & 1 = 1`);
  add(filter.maxPrice, (at) => `price_atomic <= ${at}::numeric`);
  // What was measured counts; a promise where nothing was.
  add(filter.maxResponseMs, (at) => `coalesce(p90_ms, max_latency_ms) <= ${at}::int`);
  add(filter.minUptime, (at) => `coalesce(uptime, min_uptime) >= ${at}::double precision`);
  add(filter.minRating, (at) => `reputation >= ${at}::double precision`);
  return { where: where.join(" AND "), values };
}

/** AND of the words as they are typed into a search box, with "phrases" and -exclusions; or any of them. */
const queryOf = ({ anyWord }: Filter): string =>
  anyWord === true ? "replace(plainto_tsquery('english', $1)::text, ' & ', ' | ')::tsquery" : "websearch_to_tsquery('english', $1)";

/** A page, best first. `textWeight` is the text's share of the place. */
export async function search(db: Queryable, filter: Filter, textWeight: number, { limit, offset }: { limit: number; offset: number }): Promise<FoundService[]> {
  const { where, values } = conditions(filter);
  const matches = `SELECT service_id, words, quality FROM discovery_service WHERE ${where} ORDER BY quality DESC, service_id`;
  const rank = textRank(queryOf(filter));
  const text = filter.text === undefined
    ? `WITH best AS MATERIALIZED (SELECT service_id, NULL::double precision AS text_match, quality AS place FROM (${matches} LIMIT $${values.length + 1} OFFSET $${values.length + 2}) matches)`
    : `WITH matches AS MATERIALIZED (${matches} LIMIT ${filter.anyWord === true ? MOST_COMPARED_OF_ANY : MOST_COMPARED}), best AS MATERIALIZED (
         SELECT service_id, text_match, $${values.length + 3}::double precision * text_match + (1 - $${values.length + 3}::double precision) * quality AS place
         FROM (SELECT service_id, quality, ${rank} AS text_match FROM matches) ranked ORDER BY place DESC, service_id LIMIT $${values.length + 1} OFFSET $${values.length + 2}
       )`;
  const { rows } = await db.query<Row>({
    text: `${text} SELECT ${COLUMNS}, best.text_match FROM best JOIN discovery_service d USING (service_id) ORDER BY best.place DESC, best.service_id`,
    values: [...values, limit, offset, ...(filter.text === undefined ? [] : [textWeight])],
  });
  return rows.map(found);
}

export async function count(db: Queryable, filter: Filter): Promise<number> {
  const { where, values } = conditions(filter);
  const { rows } = await db.query<{ total: bigint }>({ text: `SELECT count(*) AS total FROM discovery_service WHERE ${where}`, values });
  return Number(rows[0]!.total);
}

/** By its id or the gateway's name of it, shown by search or not. */
export async function findKnown(db: Queryable, idOrName: string): Promise<{ serviceId: Hex; shown: boolean; hiddenSince: Date | undefined } | undefined> {
  const byId = /^0x[0-9a-fA-F]{64}$/.test(idOrName);
  const { rows } = await db.query<{ service_id: Buffer; shown: boolean; hidden_since: Date | null }>(
    `SELECT service_id, shown, hidden_since FROM discovery_service WHERE ${byId ? "service_id = $1::bytea" : "service = $1::text"}`,
    [byId ? toBytes(idOrName as Hex) : idOrName],
  );
  const [row] = rows;
  return row === undefined ? undefined : { serviceId: toHex(row.service_id), shown: row.shown, hiddenSince: row.hidden_since ?? undefined };
}

/** Services that the gateway sells here, for the card in their 402. */
export async function soldHere(db: Queryable, most: number): Promise<{ service: string; facts: DocumentFacts }[]> {
  const { rows } = await db.query<{ service: string; facts: DocumentFacts }>("SELECT service, facts FROM discovery_service WHERE service IS NOT NULL AND status = 'listed' AND facts IS NOT NULL ORDER BY service LIMIT $1", [most]);
  return rows;
}

function found(row: Row): FoundService {
  return {
    serviceId: toHex(row.service_id), service: row.service ?? undefined, owner: toAddress(row.owner), agentKey: row.agent_key, payTo: toAddress(row.pay_to), token: toAddress(row.token), price: row.price_atomic, capability: row.capability,
    categories: row.categories, schemes: row.schemes, visibility: row.visibility, status: row.status, version: row.version, contentHash: toHex(row.content_hash), uri: row.uri, bond: row.bond_atomic, ratingCount: row.rating_count,
    updatedAt: row.chain_updated_at, availability: row.availability, availableAt: row.available_at ?? undefined, url: row.url, name: row.name, description: row.description, facts: row.facts,
    promisedLatencyMs: row.max_latency_ms ?? undefined, promisedUptime: row.min_uptime ?? undefined, reputation: row.reputation ?? undefined, reputationDetail: row.reputation_detail ?? undefined, uptime: row.uptime ?? undefined,
    p50Ms: row.p50_ms ?? undefined, p90Ms: row.p90_ms ?? undefined, p99Ms: row.p99_ms ?? undefined, honesty: row.honesty ?? undefined, quality: row.quality, changedAt: row.updated_at, textMatch: row.text_match ?? undefined,
  };
}
