// PostgreSQL access. Every statement of the ledger goes through a `Db`; money columns arrive as bigint.
import pg from "pg";
import { TallystickError } from "../../../sdk/src/errors.ts";

export type Db = pg.Pool;
/** A pool, or one connection inside a transaction. */
export type Queryable = Pick<pg.PoolClient, "query">;

const NUMERIC_OID = 1700;
const INT8_OID = 20;

/** A process that is stopped in the middle of a transaction holds its rows no longer than this; it hears of it when it goes on. */
const IDLE_IN_TRANSACTION_MS = 60_000;

/** Opens a pool. numeric and bigint columns are parsed to bigint: amounts never pass through a float. */
export function openPool(databaseUrl: string, max = 20, idleInTransactionMs = IDLE_IN_TRANSACTION_MS): Db {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max,
    connectionTimeoutMillis: 5_000,
    idle_in_transaction_session_timeout: idleInTransactionMs,
    types: {
      getTypeParser: (oid: number, format?: "text" | "binary") =>
        format !== "binary" && (oid === NUMERIC_OID || oid === INT8_OID) ? (value: string) => BigInt(value) : pg.types.getTypeParser(oid, format as "text"),
    } as pg.CustomTypesConfig,
  });
  // Without a listener a connection that dies would end the process: an idle one is replaced by the pool, and one that is in
  // use fails its next statement, which is where it is handled.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}

/** Runs `work` in one transaction: all of it is committed, or none. */
export async function inTransaction<T>(db: Db, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await db.connect();
  try {
    await client.query("BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    client.release();
    return result;
  } catch (error) {
    // A connection whose rollback fails is not reused.
    await client.query("ROLLBACK").then(
      () => client.release(),
      (broken: Error) => client.release(broken),
    );
    throw error;
  }
}

/**
 * Runs `work` while nobody else runs what has this lock; undefined when somebody does. The lock is a transaction's that is kept awake
 * meanwhile: one whose process stands still loses it when the database ends it (`openPool`), and its work may go on beside another's
 * later. So it saves work; what must not be done twice needs a guard of its own.
 */
export async function whileAlone<T>(db: Db, lock: number, work: () => Promise<T>): Promise<T | undefined> {
  const client = await db.connect();
  let awake: Promise<unknown> = Promise.resolve();
  try {
    await client.query("BEGIN");
    const { rows } = await client.query<{ held: boolean }>("SELECT pg_try_advisory_xact_lock($1) AS held", [lock]);
    if (!rows[0]!.held) return undefined;
    const timer = setInterval(() => (awake = awake.then(() => client.query("SELECT 1")).catch(() => {})), Number(db.options.idle_in_transaction_session_timeout) / 4);
    try {
      return await work();
    } finally {
      clearInterval(timer);
    }
  } finally {
    await awake;
    await client.query("ROLLBACK").then(
      () => client.release(),
      (broken: Error) => client.release(broken),
    );
  }
}

/** Name of the constraint that refused a statement, or undefined when the error is another. */
export function violatedConstraint(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError && error.code !== undefined && error.code.startsWith("23") ? error.constraint : undefined;
}

/** True when the database could not be reached or answered that it cannot serve now. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return /^(08|53|57P|25P03)/.test(error.code ?? "");
  const code = (error as { code?: unknown } | null)?.code;
  const message = error instanceof Error ? error.message : "";
  return (typeof code === "string" && /^(ECONN|EPIPE|ETIMEDOUT|ENOTFOUND)/.test(code)) || /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/.test(message);
}

export function databaseUnavailable(cause: unknown): TallystickError {
  return new TallystickError({ code: "database_unavailable", status: 503, retry: "unknown", detail: "The ledger's database cannot be reached.", cause });
}
