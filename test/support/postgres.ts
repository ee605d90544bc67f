// A PostgreSQL for tests: DATABASE_URL's server when it is set, else an embedded one in a temporary folder.
import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startPostgres } from "../../scripts/local/postgres.ts";

export type TestPostgres = {
  /** A fresh, empty database of its own; its URL. */
  freshDatabase(): Promise<string>;
  stop(): Promise<void>;
};

export async function startTestPostgres(): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), "tallystick-test-"));
  await chmod(folder, 0o711); // started as root, the server runs as another user
  const databaseUrl = process.env.DATABASE_URL;
  const postgres = await startPostgres({ dataDir: join(folder, "postgres"), durable: false, ...(databaseUrl ? { databaseUrl } : {}) });
  const names: string[] = [];
  return {
    async freshDatabase() {
      const name = `test_${randomBytes(6).toString("hex")}`;
      names.push(name);
      return postgres.database(name, { fresh: true });
    },
    async stop() {
      for (const name of names) await postgres.drop(name);
      await postgres.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
