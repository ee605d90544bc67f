// PostgreSQL's write-ahead log as it is after a day of work: a new server makes a file of 16 MiB whenever the last one is full, and for the
// 60 ms that takes nobody commits; one that has run for a while writes into files that are there.
import { openPool } from "../../relayer/src/db/pool.ts";

/** More than a run writes between two checkpoints. */
const MIB = 1_024;
const ROWS_A_MIB = 1_200;

/** Writes that much once, so that its files are kept. Some five seconds. */
export async function fillWal(databaseUrl: string): Promise<void> {
  const db = openPool(databaseUrl, 1);
  try {
    await db.query(`ALTER SYSTEM SET min_wal_size = '${2 * MIB}MB'`);
    await db.query(`ALTER SYSTEM SET max_wal_size = '${4 * MIB}MB'`);
    await db.query("SELECT pg_reload_conf()");
    await db.query(`CREATE TABLE wal_filler AS SELECT repeat(md5(n::text), 25) AS text FROM generate_series(1, ${MIB * ROWS_A_MIB}) n`);
    await db.query("DROP TABLE wal_filler");
    await db.query("CHECKPOINT");
  } finally {
    await db.end();
  }
}
