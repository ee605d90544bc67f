// The relayer is gone and its database dropped. What a provider sold through the gateway and from its own server is paid all the same, by its
// voucher file and its receiver key alone.
import { expect } from "chai";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { parseUnits } from "viem";
import { freePort } from "../../scripts/local/process.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { createAgent } from "../../sdk/src/agent/agent.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { readVouchers } from "../../sdk/src/provider/voucher-files-node.ts";
import { verifyVoucherLine } from "../../sdk/src/provider/voucher-line.ts";
import { settleOf, stockBuyer } from "../support/buyer.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf, keyOf } from "../support/config.ts";
import { callerAs } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const RECEIVER = 12;
const root = fileURLToPath(new URL("../../", import.meta.url));

describe("a provider without its relayer", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let folder: string;
  let file: string;
  let shop: ChildProcess;
  let shopUrl: string;
  /** What buyers were told they paid, atomic units. */
  let sold = 0n;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tallystick-loss-"));
    file = join(folder, "vouchers.jsonl");
    world = await startTestWorld();
    for (const index of [1, 2, 3]) await world.chain.mintUSDC(addressOf(index), parseUnits("5", 6));
  });
  after(async () => {
    shop?.kill("SIGKILL");
    await Promise.all([world.provider.stop(), world.chain.stop()]);
    await world.postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const balance = () => world.chain.client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: "balanceOf", args: [addressOf(RECEIVER)] });
  const claim = (...args: string[]) => tallystick(["claim", file, "--rpc", world.chain.url, "--json", ...args], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(RECEIVER) } });
  const onFile = async () => (await readVouchers(file)).reduce((sum, { totalCharged }) => sum + BigInt(totalCharged), 0n);

  it("sells through the gateway and by docs/examples/provider.ts, and has it all on file", async () => {
    const port = await freePort();
    shopUrl = `http://127.0.0.1:${port}`;
    shop = spawn(process.execPath, ["docs/examples/provider.ts", world.url, String(port), file], { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
    shop.stdin!.end(keyOf(RECEIVER));
    await once(shop.stdout!, "data");
    const owner = await callerAs(world, RECEIVER);
    expect((await owner("POST", "/services", { name: "proxied", origin: world.provider.origin, price: "$0.002" })).status).equal(201);
    expect((await fetch(`${shopUrl}/`)).status).equal(200);

    const text = (words: number) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ text: "word ".repeat(words) }) });
    for (const index of [1, 2]) {
      const buyer = stockBuyer(world.chain.account(index), world.chain.url);
      for (const [url, init, amount] of [[`${shopUrl}/languages`, {}, 1_000n], [`${world.url}/s/proxied/a`, {}, 2_000n], [`${shopUrl}/count`, text(37), 370n], [`${shopUrl}/count`, text(0), 0n], [`${world.url}/s/proxied/b`, {}, 2_000n]] as [string, RequestInit, bigint][]) {
        const response = await buyer.fetch(url, init);
        expect([response.status, settleOf(response).extra.chargedAmount], url).deep.equal([200, amount.toString()]);
        sold += amount;
      }
    }
    // With headroom: what is signed is more than what is charged.
    const agent = createAgent({ account: world.chain.account(3), rpcUrl: world.chain.url, limits: { total: 2_000_000n } });
    const answers = await Promise.all(Array.from({ length: 10 }, () => agent.fetch(`${shopUrl}/count`, text(12))));
    expect(answers.map(({ status }) => status)).deep.equal(Array.from({ length: 10 }, () => 200));
    sold += 1_200n;
    await agent.close();

    for (let tries = 0; (await onFile()) !== sold; tries++) {
      if (tries > 200) throw new Error(`${await onFile()} of ${sold} on file after 20 s`);
      await sleep(100);
    }
    const lines = await readVouchers(file);
    expect(lines).lengthOf(3);
    for (const line of lines) await verifyVoucherLine(line, { receiver: addressOf(RECEIVER) });
  });

  it("the relayer goes, its database is dropped, the provider's own server is killed outright", async () => {
    const { databaseUrl } = world.relayer.deps.config;
    await world.relayer.stop();
    const maintenance = new URL(databaseUrl);
    const name = maintenance.pathname.slice(1);
    maintenance.pathname = "/postgres";
    const admin = new pg.Client({ connectionString: maintenance.href });
    await admin.connect();
    await admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
    await admin.end();
    const { status } = await fetch(`${shopUrl}/languages`);
    expect(status, "an outage is no 402").equal(503);
    shop.kill("SIGKILL");
    await once(shop, "exit");
    expect(await fetch(world.url).then(() => "there", () => "gone")).equal("gone");
    expect(await onFile()).equal(sold);
  });

  it("tallystick claim would get all of it, to the unit", async () => {
    const dry = await claim("--dry-run");
    expect([dry.code, dry.json["claimableAtomic"], dry.json["badLines"]], dry.stderr).deep.equal([0, sold.toString(), []]);
  });

  it("tallystick claim gets it, with the file, the receiver's key and the chain alone", async () => {
    const before = await balance();
    const ran = await claim();
    expect([ran.code, ran.json["claimedAtomic"], ran.json["settledAtomic"], ran.json["badLines"], ran.json["skipped"]], ran.stderr).deep.equal([0, sold.toString(), sold.toString(), [], []]);
    expect(await balance()).equal(before + sold);
  });

  it("claiming again gets nothing twice", async () => {
    const before = await balance();
    const again = await claim();
    expect([again.code, again.json["claimedAtomic"], again.json["alreadyClaimed"]]).deep.equal([0, "0", 3]);
    expect(await balance()).equal(before);
  });
});
