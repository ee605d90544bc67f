// What stays up over all rounds: a real node behind a fault proxy, a real PostgreSQL that is killed and started again, and the money.
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createPublicClient, http, keccak256, numberToHex, type Address, type Hex, type LocalAccount, type PublicClient, type TransactionReceipt } from "viem";
import { baseSepolia } from "viem/chains";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import { migrate } from "../../relayer/src/db/migrate.ts";
import { rpc, startChain, type LocalChain } from "../../scripts/local/chain.ts";
import { mintUSDC, placeContracts } from "../../scripts/local/contracts.ts";
import { startPostgres, type LocalPostgres } from "../../scripts/local/postgres.ts";
import { freePort, isAlive, until } from "../../scripts/local/process.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { deadlocksOf } from "../support/postgres.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { startProvider, type Provider } from "./provider.ts";

const BLOCK_TIME_MS = 1_000;

export class World {
  readonly chain: LocalChain;
  /** Between the relayers and the node; the second never fails. */
  readonly faulty: RpcProxy;
  readonly clean: RpcProxy;
  readonly provider: Provider;
  readonly client: PublicClient;
  /** The ledger's database; the pool is the auditor's own. */
  db: Db;
  databaseUrl: string;
  #ledgers = 0;
  #deadlocks = 0;
  readonly folder: string;
  #postgres: LocalPostgres;
  readonly #postgresPort: number;
  /** Signed transactions that the actors gave to the node, with when. */
  readonly #sent: { raw: Hex; at: number }[] = [];
  #mining: Promise<void> = Promise.resolve();
  #crashing: Promise<void> = Promise.resolve();

  constructor(parts: { chain: LocalChain; faulty: RpcProxy; clean: RpcProxy; provider: Provider; postgres: LocalPostgres; port: number; databaseUrl: string; folder: string }) {
    this.chain = parts.chain;
    this.faulty = parts.faulty;
    this.clean = parts.clean;
    this.provider = parts.provider;
    this.databaseUrl = parts.databaseUrl;
    this.folder = parts.folder;
    this.#postgres = parts.postgres;
    this.#postgresPort = parts.port;
    this.client = createPublicClient({ chain: baseSepolia, transport: http(parts.chain.url, { timeout: 20_000 }), pollingInterval: 40, cacheTime: 0 }) as PublicClient;
    this.db = openPool(parts.databaseUrl, 6);
  }

  get chainUrl(): string {
    return this.chain.url;
  }

  /** An empty ledger for the rounds to come: what a planted fault did to the last one is over. */
  async newLedger(): Promise<void> {
    await this.db.end();
    this.databaseUrl = await this.#postgres.database(`ledger_${++this.#ledgers}`, { fresh: true });
    this.db = openPool(this.databaseUrl, 6);
    await migrate(this.db);
  }

  async databaseOf(name: string): Promise<string> {
    return this.#postgres.database(name, { fresh: true });
  }

  /** Gives an actor its money: tokens, and ether for what it sends itself. */
  async fund(address: Address, amount: bigint): Promise<void> {
    await rpc(this.chainUrl, "hardhat_setBalance", [address, numberToHex(10n ** 20n)]);
    await mintUSDC(this.chainUrl, address, amount);
  }

  /** Sends from an actor's own account and waits until it is mined. A revert is the actor's business: the receipt says so. */
  async send(account: LocalAccount, to: Address, data: Hex, gas = 3_000_000n): Promise<TransactionReceipt> {
    const nonce = await this.client.getTransactionCount({ address: account.address, blockTag: "pending" });
    const raw = await account.signTransaction({ type: "eip1559", chainId: BASE_SEPOLIA.chainId, to, data, nonce, gas, maxFeePerGas: 10_000_000_000n, maxPriorityFeePerGas: 1n });
    this.#sent.push({ raw, at: performance.now() });
    const hash = await this.client.sendRawTransaction({ serializedTransaction: raw });
    return this.client.waitForTransactionReceipt({ hash, timeout: 10_000 });
  }

  // ---------------------------------------------------------------- faults

  /** Ends the server as a crash would, and starts it again on the same data. */
  async crashPostgres(how: "kill" | "immediate"): Promise<void> {
    const before = this.#crashing;
    this.#crashing = before.then(() => this.#crash(how));
    await this.#crashing;
  }

  async #crash(how: "kill" | "immediate"): Promise<void> {
    const pid = await until("asking PostgreSQL who it is", () => this.#postgres.pid().catch(() => undefined), 30_000, 50);
    process.kill(pid, how === "kill" ? "SIGKILL" : "SIGQUIT");
    await until("ending PostgreSQL", async () => (isAlive(pid) ? undefined : true), 10_000);
    await this.#postgres.stop(); // forgets it
    // The dead server's children hold its memory for a moment.
    this.#postgres = await until(
      "starting PostgreSQL again",
      () => startPostgres({ dataDir: join(this.folder, "postgres"), port: this.#postgresPort }).catch(() => undefined),
      30_000,
      50,
    );
  }

  /** Transactions that waited for each other since this was last asked, so that PostgreSQL ended one. */
  async newDeadlocks(): Promise<string[]> {
    const found = await deadlocksOf(this.#postgres, this.#deadlocks);
    this.#deadlocks += found.length;
    return found;
  }

  /** No block for a while; transactions wait in the pool. */
  async stall(forMs: number): Promise<void> {
    await this.#alone(async () => {
      await rpc(this.chainUrl, "evm_setAutomine", [false]);
      await rpc(this.chainUrl, "evm_setIntervalMining", [0]);
      await sleep(forMs);
      await rpc(this.chainUrl, "evm_mine");
      await rpc(this.chainUrl, "evm_setAutomine", [true]);
      await rpc(this.chainUrl, "evm_setIntervalMining", [BLOCK_TIME_MS]);
    });
  }

  /** The blocks of the next `depthMs` come to nothing; `comesBack` says which of their transactions are sent again, in their order. */
  async reorg(depthMs: number, comesBack: (raw: Hex, ours: boolean, index: number) => boolean): Promise<void> {
    await this.#alone(async () => {
      const snapshot = await rpc<string>(this.chainUrl, "evm_snapshot");
      const since = { actors: this.#sent.length, relayer: this.faulty.sent.length, clean: this.clean.sent.length };
      const from = await this.client.getBlockNumber();
      await sleep(depthMs);
      const order = await this.#orderSince(from);
      const raws = [
        ...this.#sent.slice(since.actors).map(({ raw }) => ({ raw, ours: false })),
        ...[...this.faulty.sent.slice(since.relayer), ...this.clean.sent.slice(since.clean)].map((raw) => ({ raw: raw as Hex, ours: true })),
      ].map((sent) => ({ ...sent, at: order.indexOf(keccak256(sent.raw)) }));
      await rpc(this.chainUrl, "evm_revert", [snapshot]);
      const mined = raws.filter(({ at }) => at >= 0).sort((a, b) => a.at - b.at);
      for (const [index, { raw, ours }] of mined.entries()) {
        // A refusal (a nonce that waits for one that does not come back) is what a node would say, too.
        if (comesBack(raw, ours, index)) await rpc(this.chainUrl, "eth_sendRawTransaction", [raw]).catch(() => {});
      }
      await rpc(this.chainUrl, "evm_mine");
    });
  }

  /** Hashes of the transactions mined above a block, in their order. */
  async #orderSince(from: bigint): Promise<Hex[]> {
    const hashes: Hex[] = [];
    const head = await this.client.getBlockNumber();
    for (let blockNumber = from + 1n; blockNumber <= head; blockNumber++) hashes.push(...(await this.client.getBlock({ blockNumber })).transactions);
    return hashes;
  }

  /** A stall and a reorganisation at once would undo each other's settings of the node. */
  async #alone(work: () => Promise<void>): Promise<void> {
    const before = this.#mining;
    this.#mining = before.then(work, work);
    await this.#mining;
  }

  async stop(): Promise<void> {
    await this.db.end();
    await Promise.all([this.faulty.stop(), this.clean.stop(), this.provider.stop()]);
    await Promise.all([this.chain.stop(), this.#postgres.stop()]);
    await rm(this.folder, { recursive: true, force: true });
  }
}

export async function startWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "tallystick-chaos-"));
  await chmod(folder, 0o711); // started as root, the server runs as another user
  const port = await freePort();
  // Durable: a server that is killed must not lose what it said it committed.
  const [chain, postgres, provider] = await Promise.all([startChain({ blockTimeMs: BLOCK_TIME_MS }), startPostgres({ dataDir: join(folder, "postgres"), port }), startProvider()]);
  await placeContracts(chain.url);
  const [faulty, clean] = await Promise.all([startRpcProxy(chain.url), startRpcProxy(chain.url)]);
  const databaseUrl = await postgres.database("ledger", { fresh: true });
  const db = openPool(databaseUrl, 1);
  await migrate(db).finally(() => db.end());
  return new World({ chain, faulty, clean, provider, postgres, port, databaseUrl, folder });
}
