// Applies relayer/migrations/*.sql in order, each once, all in one transaction. The relayer does so when it starts.
import { readdir, readFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import type pg from "pg";
import { TallystickError } from "../../../sdk/src/errors.ts";
import { inTransaction, type Db } from "./pool.ts";

const FOLDER = new URL("../../migrations/", import.meta.url);
const LOCK_KEY = 0x7a11_57; // any constant: one migrator at a time over all processes

type Migration = { name: string; sql: string; digest: string };

export async function listMigrations(): Promise<Migration[]> {
  const names = (await readdir(FOLDER)).filter((name) => /^\d{4}_\w+\.sql$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, FOLDER), "utf8");
      return { name, sql, digest: createHash("sha256").update(sql).digest("hex") };
    }),
  );
}

/**
 * Brings the schema up to date and returns the names applied now.
 * @throws TallystickError `migration_changed` when an applied file is not the one in the tree.
 */
export async function migrate(db: Db): Promise<string[]> {
  return inTransaction(db, async (client) => {
    await client.query("SELECT pg_advisory_xact_lock($1)", [LOCK_KEY]);
    await client.query("CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())");
    const applied = await appliedMigrations(client);
    const pending = (await listMigrations()).filter((migration) => {
      const digest = applied.get(migration.name);
      if (digest !== undefined && digest !== migration.digest) {
        throw new TallystickError({
          code: "migration_changed",
          status: 500,
          retry: "never",
          detail: `Migration ${migration.name} was applied with other content; add a new file instead of editing an applied one.`,
        });
      }
      return digest === undefined;
    });
    for (const { name, sql, digest } of pending) {
      await client.query(sql);
      await client.query("INSERT INTO migration (name, digest) VALUES ($1, $2)", [name, digest]);
    }
    return pending.map(({ name }) => name);
  });
}

/** Names of migrations in the tree that the database has not seen. */
export async function pendingMigrations(db: Db): Promise<string[]> {
  const exists = await db.query("SELECT to_regclass('migration') IS NOT NULL AS present");
  const applied = exists.rows[0].present ? await appliedMigrations(db) : new Map<string, string>();
  return (await listMigrations()).map(({ name }) => name).filter((name) => !applied.has(name));
}

async function appliedMigrations(client: Pick<pg.PoolClient, "query">): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; digest: string }>("SELECT name, digest FROM migration");
  return new Map(rows.map((row) => [row.name, row.digest]));
}
