// Work that one process does at a time (relayer/src/db/pool.ts, whileAlone): the lock lasts as long as the work, and no longer than its process moves.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { openPool, whileAlone, type Db } from "../../relayer/src/db/pool.ts";
import { until } from "../../scripts/local/process.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";

const LOCK = 4_711;
/** Long enough that a busy machine's pauses are none of a process that stands still. */
const IDLE_MS = 2_000;

describe("work of one process at a time", function () {
  this.timeout(60_000);
  let postgres: TestPostgres;
  let databaseUrl: string;
  let db: Db;

  before(async () => {
    postgres = await startTestPostgres();
    databaseUrl = await postgres.freshDatabase();
    db = openPool(databaseUrl, 4, IDLE_MS);
  });
  after(async () => {
    await db?.end();
    await postgres?.stop();
  });

  /** Takes it, for as long as its work is not told to end. */
  const take = async () => {
    const [held, done] = [Promise.withResolvers<void>(), Promise.withResolvers<string>()];
    const working = whileAlone(db, LOCK, () => (held.resolve(), done.promise));
    await held.promise;
    return { working, done };
  };
  const isFree = async () => (await whileAlone(db, LOCK, async () => true)) === true;

  it("keeps the others away however long it takes, and not a moment after it, whatever came of it", async () => {
    const { working, done } = await take();
    for (let waited = 0; waited < 2 * IDLE_MS; waited += 100) {
      await sleep(100);
      expect(await isFree(), `after ${waited} ms`).equal(false);
    }
    done.resolve("done");
    expect(await working).equal("done");
    expect(await isFree()).equal(true);
    const failed = await whileAlone(db, LOCK, () => Promise.reject(new Error("no"))).catch((error: Error) => error.message);
    expect(failed).equal("no");
    expect(await isFree()).equal(true);
  });

  it("is left to another when its connection ends, and its own outcome stands", async () => {
    const { working, done } = await take();
    expect(await isFree()).equal(false);
    await db.query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", [LOCK]);
    await until("another's turn", async () => ((await isFree()) ? true : undefined), 5_000, 20);
    done.resolve("done");
    expect(await working).equal("done");
    expect(await isFree()).equal(true);
  });

  it("is left to another when its process stands still", async () => {
    const script = `
      import { openPool, whileAlone } from ${JSON.stringify(new URL("../../relayer/src/db/pool.ts", import.meta.url).href)};
      await whileAlone(openPool(${JSON.stringify(databaseUrl)}, 1, ${IDLE_MS}), ${LOCK}, () => new Promise((resolve) => { process.stdout.write("held\\n"); process.stdin.once("data", resolve); }));
      process.stdout.write("went on\\n");
      process.exit(0);`;
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script], { stdio: ["pipe", "pipe", "inherit"] });
    try {
      expect(String((await once(child.stdout, "data"))[0])).equal("held\n");
      await sleep(2 * IDLE_MS);
      expect(await isFree()).equal(false);
      child.kill("SIGSTOP");
      await until("another's turn", async () => ((await isFree()) ? true : undefined), 10_000, 50);
      child.kill("SIGCONT");
      child.stdin.write("go\n");
      expect(String((await once(child.stdout, "data"))[0])).equal("went on\n");
    } finally {
      child.kill("SIGKILL");
    }
  });
});
