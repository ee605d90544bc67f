// A PostgreSQL for tests: DATABASE_URL's server when it is set, else an embedded one in a temporary folder, the same for all suites of this
// process. Each suite has databases of its own.
import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startPostgres, type LocalPostgres } from "../../scripts/local/postgres.ts";

export type TestPostgres = {
  /** A fresh, empty database of its own; its URL. */
  freshDatabase(): Promise<string>;
  /** Drops them. */
  stop(): Promise<void>;
};

type Own = { postgres: LocalPostgres; end(): Promise<void> };

/** Undefined outside of mocha, in a benchmark. Test files import this while mocha loads them: a hook of the whole process, after its last suite. */
const afterAll = (globalThis as { after?: (hook: () => Promise<void>) => void }).after;
let shared: Promise<Own> | undefined;
afterAll?.(async () => (await shared)?.end());

async function start(): Promise<Own> {
  const folder = await mkdtemp(join(tmpdir(), "tallystick-test-"));
  await chmod(folder, 0o711); // started as root, the server runs as another user
  const databaseUrl = process.env.DATABASE_URL;
  const postgres = await startPostgres({ dataDir: join(folder, "postgres"), durable: false, ...(databaseUrl ? { databaseUrl } : {}) });
  return {
    postgres,
    async end() {
      await postgres.stop();
      const [deadlock] = await deadlocksOf(postgres);
      await rm(folder, { recursive: true, force: true });
      if (deadlock !== undefined) throw new Error(`two transactions of these tests waited for each other: ${deadlock}`);
    },
  };
}

const ENTRY = /^(?=\d{4}-\d\d-\d\d )/m;

/**
 * Whoever loses a deadlock tries again and nobody notices, so a server is asked at its end.
 * @param past how many of them are known.
 * @returns one text for each: both statements, as the server's log has them.
 */
export async function deadlocksOf({ logFile }: LocalPostgres, past = 0): Promise<string[]> {
  const entries = logFile === undefined ? [] : (await readFile(logFile, "utf8")).split(ENTRY);
  return entries.flatMap((entry, index) => (entry.includes("ERROR:  deadlock detected") ? [entries.slice(index, index + 2).join("")] : [])).slice(past);
}

export async function startTestPostgres(): Promise<TestPostgres> {
  const { postgres, end } = await (afterAll === undefined ? start() : (shared ??= start()));
  const names: string[] = [];
  return {
    async freshDatabase() {
      const name = `test_${randomBytes(6).toString("hex")}`;
      names.push(name);
      return postgres.database(name, { fresh: true });
    },
    async stop() {
      for (const name of names) await postgres.drop(name);
      if (afterAll === undefined) await end();
    },
  };
}
