import { expect } from "chai";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { rpc, startChain } from "../../scripts/local/chain.ts";
import { startPostgres } from "../../scripts/local/postgres.ts";
import { isAlive } from "../../scripts/local/process.ts";
import { deadlocksOf } from "../support/postgres.ts";

async function query(connectionString: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return client.query(sql).then(({ rows }) => rows).finally(() => client.end());
}

describe("processes of the local world", function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tallystick-test-"));
    await chmod(folder, 0o711); // else, as root, the cluster is put elsewhere and outlives the folder
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("a second start joins the running chain and does not stop it", async () => {
    const chain = await startChain({ dataDir: folder });
    try {
      await rpc(chain.url, "evm_mine");
      const joined = await startChain({ dataDir: folder });
      expect(joined).to.include({ url: chain.url, pid: chain.pid, reused: true });
      await joined.stop();
      expect(await rpc(chain.url, "eth_blockNumber")).to.equal("0x1");
    } finally {
      await chain.stop();
    }
    expect(isAlive(chain.pid)).to.equal(false);
  });

  it("a chain mines at its interval and at once for a transaction, and starts when told", async () => {
    const chain = await startChain({ blockTimeMs: 100, genesisTimeS: 1_800_000_000 });
    try {
      const [from] = await rpc<string[]>(chain.url, "eth_accounts");
      const hash = await rpc<string>(chain.url, "eth_sendTransaction", [{ from, to: from }]);
      const receipt = await rpc<{ status: string; blockNumber: string }>(chain.url, "eth_getTransactionReceipt", [hash]);
      expect(receipt.status).to.equal("0x1");
      const { timestamp } = await rpc<{ timestamp: string }>(chain.url, "eth_getBlockByNumber", ["0x0", false]);
      expect(Number(timestamp)).to.equal(1_800_000_000);
      while ((await rpc<string>(chain.url, "eth_blockNumber")) === receipt.blockNumber) await new Promise((next) => setTimeout(next, 20));
    } finally {
      await chain.stop();
    }
  });

  it("many blocks in a second do not push the chain's clock ahead", async () => {
    const chain = await startChain();
    try {
      const [from] = await rpc<string[]>(chain.url, "eth_accounts");
      for (let sent = 0; sent < 30; sent++) await rpc(chain.url, "eth_sendTransaction", [{ from, to: from }]);
      const { timestamp } = await rpc<{ timestamp: string }>(chain.url, "eth_getBlockByNumber", ["0x1e", false]);
      expect(Number(timestamp)).to.be.at.most(Math.ceil(Date.now() / 1_000));
    } finally {
      await chain.stop();
    }
  });

  it("a transaction that reverts is mined with status 0, as on a public node", async () => {
    const chain = await startChain();
    try {
      const [from] = await rpc<string[]>(chain.url, "eth_accounts");
      const creation = "0x60006000fd"; // PUSH1 0 PUSH1 0 REVERT
      const hash = await rpc<string>(chain.url, "eth_sendTransaction", [{ from, data: creation, gas: "0x30d40" }]);
      expect((await rpc<{ status: string }>(chain.url, "eth_getTransactionReceipt", [hash])).status).to.equal("0x0");
    } finally {
      await chain.stop();
    }
  });

  it("PostgreSQL keeps its data over a restart, and a second start joins it", async () => {
    const dataDir = join(folder, "postgres");
    const first = await startPostgres({ dataDir });
    const url = await first.database("ledger");
    await query(url, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)");
    const joined = await startPostgres({ dataDir });
    expect(joined).to.include({ url: first.url, reused: true });
    await joined.stop();
    await first.stop();

    const second = await startPostgres({ dataDir });
    try {
      expect(second.reused).to.equal(false);
      expect(await query(await second.database("ledger"), "SELECT n FROM kept")).to.deep.equal([{ n: 7 }]);
      expect(await query(await second.database("ledger", { fresh: true }), "SELECT to_regclass('kept') AS kept")).to.deep.equal([{ kept: null }]);
    } finally {
      await second.stop();
    }
  });

  it("PostgreSQL's log tells of transactions that waited for each other", async () => {
    const postgres = await startPostgres({ dataDir: join(folder, "postgres"), durable: false });
    const clients = [new pg.Client({ connectionString: postgres.url }), new pg.Client({ connectionString: postgres.url })];
    try {
      await query(postgres.url, "CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (0), (1)");
      await query(postgres.url, "SELECT 1 / 0").catch(() => {});
      expect(await deadlocksOf(postgres)).to.deep.equal([]);
      for (const [own, client] of clients.entries()) await client.connect().then(() => client.query(`BEGIN; UPDATE kept SET id = id WHERE id = ${own}`));
      const ended = await Promise.allSettled(clients.map((client, own) => client.query(`UPDATE kept SET id = id WHERE id = ${1 - own}`)));
      expect(ended.map(({ status }) => status)).to.have.members(["fulfilled", "rejected"]);
      const [told, ...more] = await deadlocksOf(postgres);
      expect(more).to.deep.equal([]);
      for (const own of [0, 1]) expect(told).to.include(`UPDATE kept SET id = id WHERE id = ${own}`);
      expect(await deadlocksOf(postgres, 1)).to.deep.equal([]);
    } finally {
      for (const client of clients) await client.end();
      await postgres.stop();
    }
  });

  it("takes the caller's server instead, and leaves it running", async () => {
    const own = await startPostgres({ dataDir: join(folder, "postgres"), durable: false });
    try {
      const named = await startPostgres({ dataDir: join(folder, "unused"), databaseUrl: own.url });
      const url = await named.database("other");
      await named.stop();
      expect(await query(url, "SELECT 1 AS one")).to.deep.equal([{ one: 1 }]);
    } finally {
      await own.stop();
    }
  });
});
