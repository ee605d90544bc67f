// Notifications of the database (relayer/src/db/listen.ts): what was told is heard, a break is noticed, and it ends whenever it is told to.
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { createListener } from "../../relayer/src/db/listen.ts";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { until } from "../../scripts/local/process.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";

describe("the database's notifications", () => {
  let postgres: TestPostgres;
  let databaseUrl: string;
  let db: Db;
  const log = createLog("silent");

  before(async () => {
    postgres = await startTestPostgres();
    databaseUrl = await postgres.freshDatabase();
    db = openPool(databaseUrl, 2);
  });
  after(async () => {
    await db?.end();
    await postgres?.stop();
  });

  it("are heard, and a connection that breaks is known of and made again", async () => {
    const heard: string[] = [];
    let lost = 0;
    const listener = createListener(databaseUrl, "spoken", log, (payload) => void heard.push(payload), () => void lost++);
    await listener.start();
    try {
      await until("listening", async () => (listener.isOn() ? true : undefined), 10_000, 10);
      await db.query("NOTIFY spoken, 'one'");
      await until("hearing", async () => (heard.length > 0 ? true : undefined), 10_000, 10);
      const before = lost;
      await db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()");
      await until("noticing", async () => (lost > before ? true : undefined), 10_000, 10);
      await until("listening again", async () => (listener.isOn() ? true : undefined), 10_000, 10);
      await db.query("NOTIFY spoken, 'two'");
      await until("hearing again", async () => (heard.length > 1 ? true : undefined), 10_000, 10);
      expect(heard).deep.equal(["one", "two"]);
    } finally {
      await listener.stop();
    }
    expect(listener.isOn()).equal(false);
  });

  it("end when they are told to, also while they connect", async () => {
    for (const afterMs of [0, 0, 1, 2, 4, 8, 16]) {
      const listener = createListener(databaseUrl, "spoken", log, () => {}, () => {});
      await listener.start();
      if (afterMs > 0) await sleep(afterMs);
      await listener.stop();
      expect(listener.isOn()).equal(false);
    }
  });
});
