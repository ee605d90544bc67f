// SQL of policies and of the epoch that tells when one has changed.
import type { Address, Hex } from "viem";
import { parsePolicy, type Policy } from "../../../../sdk/src/firewall/policy.ts";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";

export type StoredPolicy = { policy: Policy; policyHash: Hex; signature: Hex; appliedAt: Date };

type Row = { policy: string; policy_hash: Buffer; signature: Buffer; applied_at: Date };

const fromRow = (row: Row): StoredPolicy => ({ policy: parsePolicy(JSON.parse(row.policy)), policyHash: toHex(row.policy_hash), signature: toHex(row.signature), appliedAt: row.applied_at });

/** The newest change, and what the database's clock says: all processes judge by that one. */
export async function readEpoch(db: Queryable): Promise<{ epoch: bigint; nowMs: number }> {
  const { rows } = await db.query<{ epoch: bigint; now_ms: number }>({ name: "firewall_epoch", text: "SELECT epoch, (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms FROM firewall_epoch" });
  return { epoch: rows[0]!.epoch, nowMs: rows[0]!.now_ms };
}

/** Policies in force that came after an epoch, and the epoch of the newest of them. */
export async function policiesAfter(db: Queryable, epoch: bigint): Promise<{ policies: Policy[]; epoch: bigint }> {
  const { rows } = await db.query<Row & { epoch: bigint }>({
    name: "firewall_policies_after",
    text: `SELECT DISTINCT ON (owner, name) policy, policy_hash, signature, applied_at, epoch FROM firewall_policy WHERE epoch > $1 ORDER BY owner, name, version DESC`,
    values: [epoch],
  });
  return { policies: rows.map((row) => fromRow(row).policy), epoch: rows.reduce((most, row) => (row.epoch > most ? row.epoch : most), epoch) };
}

/**
 * Puts a version in force. Changes come one after another: the row of the epoch is theirs to hold.
 * @returns the version in force instead when it is not lower; undefined when this one is in force now.
 */
export function insertPolicy(db: Db, { policy, policyHash, canonical, signature }: { policy: Policy; policyHash: Hex; canonical: string; signature: Hex }): Promise<StoredPolicy | undefined> {
  return inTransaction(db, async (client) => {
    const { rows } = await client.query<{ epoch: bigint }>("UPDATE firewall_epoch SET epoch = epoch + 1 RETURNING epoch");
    const current = await findPolicy(client, policy.owner, policy.name);
    // The counter moves all the same: readers look once for nothing.
    if (current !== undefined && current.policy.version >= policy.version) return current;
    await client.query("INSERT INTO firewall_policy (owner, name, version, policy_hash, policy, signature, epoch) VALUES ($1, $2, $3, $4, $5, $6, $7)", [
      toBytes(policy.owner), policy.name, policy.version, toBytes(policyHash), canonical, toBytes(signature), rows[0]!.epoch,
    ]);
    return undefined;
  });
}

/** The version in force. */
export async function findPolicy(db: Queryable, owner: Address, name: string): Promise<StoredPolicy | undefined> {
  const { rows } = await db.query<Row>("SELECT policy, policy_hash, signature, applied_at FROM firewall_policy WHERE owner = $1 AND name = $2 ORDER BY version DESC LIMIT 1", [toBytes(owner), name]);
  return rows[0] === undefined ? undefined : fromRow(rows[0]);
}

/** All that are in force. */
export async function listPolicies(db: Queryable, owner: Address, limit: number): Promise<StoredPolicy[]> {
  const { rows } = await db.query<Row>(
    "SELECT DISTINCT ON (name) policy, policy_hash, signature, applied_at FROM firewall_policy WHERE owner = $1 ORDER BY name, version DESC LIMIT $2",
    [toBytes(owner), limit],
  );
  return rows.map(fromRow);
}

/** The newest first. */
export async function listVersions(db: Queryable, owner: Address, name: string, limit: number): Promise<StoredPolicy[]> {
  const { rows } = await db.query<Row>("SELECT policy, policy_hash, signature, applied_at FROM firewall_policy WHERE owner = $1 AND name = $2 ORDER BY version DESC LIMIT $3", [toBytes(owner), name, limit]);
  return rows.map(fromRow);
}

export async function countPolicies(db: Queryable, owner: Address): Promise<number> {
  const { rows } = await db.query<{ count: bigint }>("SELECT count(DISTINCT name) AS count FROM firewall_policy WHERE owner = $1", [toBytes(owner)]);
  return Number(rows[0]!.count);
}

/** The self-hosted service that a URL belongs to: whom it pays, and whose it is. The longest of those that fit. */
export async function serviceAt(db: Queryable, url: string): Promise<string | undefined> {
  const { rows } = await db.query<{ name: string; url: string }>({
    name: "firewall_service_at",
    text: "SELECT name, url FROM service WHERE url IS NOT NULL AND removed_at IS NULL AND starts_with($1, url) ORDER BY length(url) DESC LIMIT 10",
    values: [url],
  });
  // https://shop.example/api is not at https://shop.example/ap
  return rows.find((row) => row.url.endsWith("/") || ["", "/", "?"].includes(url.charAt(row.url.length)))?.name;
}

/** @returns the answer that the key got before, or undefined when this one was stored. */
export async function keepAction(db: Queryable, caller: Address, key: string, contentHash: Hex, answer: unknown): Promise<{ contentHash: Hex; answer: unknown } | undefined> {
  const { rowCount } = await db.query("INSERT INTO firewall_action (caller, idempotency_key, content_hash, answer) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", [toBytes(caller), key, toBytes(contentHash), JSON.stringify(answer)]);
  return rowCount === 1 ? undefined : findAction(db, caller, key);
}

export async function findAction(db: Queryable, caller: Address, key: string): Promise<{ contentHash: Hex; answer: unknown } | undefined> {
  const { rows } = await db.query<{ content_hash: Buffer; answer: unknown }>("SELECT content_hash, answer FROM firewall_action WHERE caller = $1 AND idempotency_key = $2", [toBytes(caller), key]);
  return rows[0] === undefined ? undefined : { contentHash: toHex(rows[0].content_hash), answer: rows[0].answer };
}

export async function deleteOldActions(db: Queryable, keptS: number, limit: number): Promise<void> {
  await db.query("DELETE FROM firewall_action WHERE (caller, idempotency_key) IN (SELECT caller, idempotency_key FROM firewall_action WHERE at < now() - $1 * interval '1 second' LIMIT $2)", [keptS, limit]);
}

/** Payer, who signs for it and receiver of a channel. */
export async function channelParties(db: Queryable, channelId: Hex): Promise<{ payer: Address; payerAuthorizer: Address; receiver: Address } | undefined> {
  const { rows } = await db.query<{ payer: Buffer; payer_authorizer: Buffer; receiver: Buffer }>("SELECT payer, payer_authorizer, receiver FROM channel WHERE channel_id = $1", [toBytes(channelId)]);
  const [row] = rows;
  return row === undefined ? undefined : { payer: toAddress(row.payer), payerAuthorizer: toAddress(row.payer_authorizer), receiver: toAddress(row.receiver) };
}
