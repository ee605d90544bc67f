// Notifications of the database, on a connection of their own. While there is none, whoever remembers something on their account must not.
import pg from "pg";
import { setTimeout as sleep } from "node:timers/promises";
import { EVENT, type Log } from "../telemetry/log.ts";

export type Listener = {
  /** True while nothing that is told can be missed. */
  isOn(): boolean;
  start(): Promise<void>;
  stop(): Promise<void>;
};

const AGAIN_MS = 500;

/** @param lost called whenever the connection broke off: what was told meanwhile was missed. */
export function createListener(databaseUrl: string, channel: string, log: Log, told: (payload: string) => void, lost: () => void): Listener {
  const stopping = new AbortController();
  let client: pg.Client | undefined;
  let isOn = false;
  let running: Promise<void> = Promise.resolve();

  /** Listens until the connection breaks off. */
  async function listen(): Promise<void> {
    const connection = new pg.Client({ connectionString: databaseUrl, keepAlive: true });
    client = connection;
    const ended = new Promise<void>((done) => connection.once("end", done).once("error", () => done()));
    connection.on("error", () => {});
    connection.on("notification", ({ payload = "" }) => told(payload));
    try {
      // Ended while it connects, pg's promise would stay open for ever.
      await Promise.race([connection.connect(), ended]);
      if (stopping.signal.aborted) return;
      await connection.query(`LISTEN ${pg.escapeIdentifier(channel)}`);
      lost();
      isOn = true;
      await ended;
    } finally {
      isOn = false;
      lost();
      await connection.end().catch(() => {});
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await listen().catch((err: unknown) => log.warn({ event: EVENT.failure, err, channel }, "not listening to the database; tried again soon"));
      await sleep(AGAIN_MS, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  return {
    isOn: () => isOn,
    async start() {
      running = run();
    },
    async stop() {
      stopping.abort();
      await client?.end().catch(() => {});
      await running;
    },
  };
}
