// SQL of challenges and tokens.
import type { Address, Hex } from "viem";
import { toAddress, toBytes } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";

/** Keeps a challenge unless `most` are open already. @returns false then. */
export async function insertNonce(db: Queryable, nonce: string, ttlS: number, most: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO access_nonce (nonce, expires_at) SELECT $1, now() + $2 * interval '1 second'
     WHERE (SELECT count(*) FROM (SELECT 1 FROM access_nonce WHERE expires_at > now() LIMIT $3) open) < $3`,
    [nonce, ttlS, most],
  );
  return rowCount === 1;
}

/** Uses a challenge up. @returns false when it is unknown, used or over. */
export async function takeNonce(db: Queryable, nonce: string): Promise<boolean> {
  const { rowCount } = await db.query("DELETE FROM access_nonce WHERE nonce = $1 AND expires_at > now()", [nonce]);
  return rowCount === 1;
}

export async function insertToken(db: Queryable, tokenHash: Hex, address: Address, ttlS: number): Promise<Date> {
  const { rows } = await db.query<{ expires_at: Date }>(
    "INSERT INTO access_token (token_hash, address, expires_at) VALUES ($1, $2, now() + $3 * interval '1 second') RETURNING expires_at",
    [toBytes(tokenHash), toBytes(address), ttlS],
  );
  return rows[0]!.expires_at;
}

export async function findToken(db: Queryable, tokenHash: Hex): Promise<Address | undefined> {
  const { rows } = await db.query<{ address: Buffer }>({ name: "access_token_find", text: "SELECT address FROM access_token WHERE token_hash = $1 AND expires_at > now()", values: [toBytes(tokenHash)] });
  return rows[0] === undefined ? undefined : toAddress(rows[0].address);
}

export async function deleteToken(db: Queryable, tokenHash: Hex): Promise<void> {
  await db.query("DELETE FROM access_token WHERE token_hash = $1", [toBytes(tokenHash)]);
}

export async function deleteExpired(db: Queryable): Promise<void> {
  await db.query("DELETE FROM access_nonce WHERE expires_at < now()");
  await db.query("DELETE FROM access_token WHERE expires_at < now()");
}
