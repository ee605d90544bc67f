// tallystick pay against a real relayer, judged by exit code, stdout and what the chain and the ledger say.
import { expect } from "chai";
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseUnits, type Hex } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { tallystick, type RunOptions } from "../support/cli.ts";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1_000n;

describe("tallystick pay", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let folder = "";

  before(async () => {
    world = await startTestWorld();
    folder = await mkdtemp(join(tmpdir(), "tallystick-pay-"));
    await Promise.all([1, 2, 3, 4, 5].map((index) => world.chain.mintUSDC(world.chain.account(index).address, parseUnits("10", 6))));
  });
  after(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  const environment = (index: number) => ({ TALLYSTICK_PRIVATE_KEY: keyOf(index), TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_STATE: join(folder, `state-${index}`) });
  const run = (index: number, args: string[], { env, ...options }: RunOptions = {}) => tallystick(args, { env: { ...environment(index), ...env }, ...options });
  const channel = (id: string) => world.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [id as Hex] });
  const charged = async (index: number): Promise<bigint> => {
    const payer = Buffer.from(world.chain.account(index).address.slice(2), "hex");
    const { rows } = await world.relayer.deps.db.query("SELECT coalesce(sum(charged_atomic), 0) AS sum FROM payment WHERE payer = $1 AND state = 'charged'", [payer]);
    return BigInt(rows[0].sum);
  };

  it("prints the body on stdout and nothing else, the payment on stderr; the second call needs no deposit", async () => {
    const first = await run(1, ["pay", url("/a?b=c"), "-d", "héllo", "-H", "content-type: text/plain"]);
    expect(first.code, first.stderr).equal(0);
    expect(JSON.parse(first.stdout)).include({ method: "POST", url: "/a?b=c", body: "héllo" });
    expect(first.stderr).match(/^paid +0\.001 USDC/m).match(/^deposit +0x/m).match(/^receipt +checked/m);
    const second = await run(1, ["pay", url(), "--json"]);
    expect(second.json["payment"]).include({ chargedAtomic: "1000", scheme: "batch-settlement" });
    expect(second.json["payment"].transaction).equal(undefined);
    expect(await charged(1)).equal(2n * PRICE);
    expect((await channel(second.json["payment"].channelId))[0] > 2n * PRICE).equal(true);
  });

  it("--max is a hard limit: code 3, nothing signed, nothing charged, no deposit", async () => {
    const ran = await run(2, ["pay", url(), "--max", "0.000999", "--json"]);
    expect([ran.code, ran.json["error"].code, ran.json["error"].limit]).deep.equal([3, "limit_exceeded", "perCall"]);
    expect(await charged(2)).equal(0n);
    const tight = await run(2, ["pay", url(), "--max-deposit", "0.0001", "--json"]);
    expect(tight.code).equal(3);
    const listed = await run(2, ["channels", "list", "--discover", "--json"]);
    expect(listed.json["channels"]).deep.equal([]);
    expect((await run(2, ["pay", url(), "--max", "0.001", "--json"])).code).equal(0);
    const total = await run(2, ["pay", url(), "--max-total", "0.0015", "--json"]);
    expect([total.code, total.json["error"].limit]).deep.equal([3, "total"]);
    expect(await charged(2)).equal(PRICE);
  });

  it("--quote shows the price and signs nothing, so it needs no key", async () => {
    const ran = await tallystick(["pay", url(), "--quote", "--json"]);
    expect([ran.code, ran.json["offers"][0].scheme, ran.json["offers"][0].amountAtomic]).deep.equal([0, "batch-settlement", "1000"]);
    const free = await tallystick(["pay", `${world.url}/healthz`, "--quote", "--json"]);
    expect([free.code, free.json["error"].code]).deep.equal([1, "not_for_sale"]);
  });

  it("bytes come out as they came in: from a file, from stdin, into a file", async () => {
    await writeFile(join(folder, "in.bin"), Buffer.from([0x7b, 0x22, 0x0a]));
    const fromFile = await run(1, ["pay", url(), "-d", "@in.bin", "-q"], { cwd: folder });
    expect(JSON.parse(fromFile.stdout).body).equal('{"\n');
    expect(fromFile.stderr).equal("");
    const fromStdin = await run(1, ["pay", url("/to/a/file"), "-X", "PUT", "-d", "@-", "-o", "out.json"], { cwd: folder, stdin: "from a pipe" });
    expect([fromStdin.code, fromStdin.stdout], fromStdin.stderr).deep.equal([0, ""]);
    expect(JSON.parse(await readFile(join(folder, "out.json"), "utf8"))).include({ method: "PUT", url: "/to/a/file", body: "from a pipe" });
    expect(world.provider.seen.at(-1)).include({ method: "PUT", body: "from a pipe" });
  });

  it("an answer that cannot be written where it should go is not lost", async () => {
    const ran = await run(1, ["pay", url(), "-d", "dear", "-o", join(folder, "no", "such", "folder")]);
    expect(ran.code).equal(1);
    expect(JSON.parse(ran.stdout).body).equal("dear");
  });

  it("a receipt that was kept verifies offline against what was sent and got", async () => {
    await writeFile(join(folder, "body.txt"), "what I bought");
    const bought = await run(1, ["pay", url("/doc?x=1"), "-d", "@body.txt", "-o", "answer.json", "--save-receipt", "receipt.json"], { cwd: folder });
    expect(bought.code, bought.stderr).equal(0);
    const args = ["receipt", "verify", "receipt.json", "--input", "body.txt", "--output", "answer.json", "--signer", addressOf(ROLE.authorizer), "--json"];
    const verified = await tallystick(args, { cwd: folder });
    expect([verified.code, verified.json["valid"]]).deep.equal([0, true]);
    await writeFile(join(folder, "answer.json"), "something else");
    expect((await tallystick(args, { cwd: folder })).code).equal(1);
  });

  it("an HTTP error of the seller is code 5, with its body, and not charged", async () => {
    const before = await charged(1);
    const ran = await run(1, ["pay", url("/status/503"), "-i"]);
    expect(ran.code).equal(5);
    expect(ran.stdout).match(/^HTTP 503 /).include('"url":"/status/503"');
    expect(ran.stderr).include("nothing was charged");
    expect(await charged(1)).equal(before);
  });

  it("what is free is fetched and not paid", async () => {
    const ran = await run(1, ["pay", `${world.url}/healthz`, "--json"]);
    expect([ran.code, ran.json["payment"], JSON.parse(ran.json["body"])]).deep.equal([0, null, { alive: true }]);
  });

  it("two at once on one channel wait for each other; a lock of a dead process is taken", async () => {
    const state = join(folder, "state-3");
    const before = await Promise.all([0, 1, 2, 3].map((index) => run(3, ["pay", url(), "-d", `call ${index}`, "--json"])));
    expect(before.map(({ code }) => code)).deep.equal([0, 0, 0, 0]);
    expect(new Set(before.map(({ json }) => json["payment"].channelId)).size).equal(1);
    expect(await charged(3)).equal(4n * PRICE);
    const [record] = (await readdir(state)).filter((name) => name.endsWith(".json"));
    expect((await stat(join(state, record!))).mode & 0o077).equal(0);
    await writeFile(join(state, `${record}.lock`), "99999999");
    expect((await run(3, ["pay", url()])).code).equal(0);
    expect(await readdir(state)).deep.equal([record]);
  });

  it("after the agent's storage is lost it pays on from what the seller and the chain know", async () => {
    await run(4, ["pay", url(), "-d", "1"]);
    const again = await run(4, ["pay", url(), "-d", "2", "--json"], { env: { TALLYSTICK_STATE: join(folder, "fresh") } });
    expect([again.code, again.json["payment"].chargedAtomic]).deep.equal([0, "1000"]);
    expect(await charged(4)).equal(2n * PRICE);
  });

  it("channels close brings the rest home at once; the channel can be used again", async () => {
    const paid = await run(5, ["pay", url(), "--json"]);
    const { channelId } = paid.json["payment"];
    const [balance] = await channel(channelId);
    const unsure = await run(5, ["channels", "close", "--json"]);
    expect([unsure.code, unsure.json["error"].code]).deep.equal([2, "usage"]);
    const closed = await run(5, ["channels", "close", channelId, "--json"]);
    expect([closed.code, closed.json["channels"][0].state, closed.json["channels"][0].amountAtomic]).deep.equal([0, "refunded", String(balance - PRICE)]);
    expect(await channel(channelId)).deep.equal([PRICE, PRICE]);
    expect((await run(5, ["pay", url()])).code).equal(0);
  });

  it("mistakes of the command line are told before anything is sent", async () => {
    const seen = world.provider.seen.length;
    const CASES: string[][] = [
      ["ftp://127.0.0.1/"], ["not a url"], ["http://user:secret@127.0.0.1:1/"], [url(), "--max", "1e3"], [url(), "--max", "-1"], [url(), "-H", "nonsense"], [url(), "-H", "PAYMENT-SIGNATURE: x"],
      [url(), "-H", "x: a\u0001b"], [url(), "-X", "GET", "-d", "x"], [url(), "-d", "@/no/such/file"], [url(), "-X", "G E T"],
    ];
    for (const args of CASES) {
      const ran = await run(1, ["pay", ...args, "--json"]);
      expect(ran.code, args.join(" ")).equal(2);
      expect(ran.stdout).not.include("secret@");
    }
    expect(world.provider.seen.length).equal(seen);
  });

  it("a seller that is away is code 6; one that lies in its 402 is code 4 and gets nothing", async () => {
    const server = createServer((_request, response) => response.writeHead(402, { "payment-required": "bm90IGpzb24=" }).end());
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    const liar = await run(1, ["pay", `http://127.0.0.1:${port}/`, "--json"]);
    expect(liar.code).equal(4);
    await new Promise((done) => server.close(done));
    const away = await run(1, ["pay", `http://127.0.0.1:${port}/`, "--json"]);
    expect([away.code, away.json["error"].code]).deep.equal([6, "seller_unreachable"]);
  });

  it("with the relayer stopped, withdraw finds the channel in the agent's storage", async () => {
    const other = await world.anotherRelayer();
    const paid = await run(2, ["pay", `${other.url}/s/echo/`, "--json"]);
    expect(paid.code).equal(0);
    for (const relayer of [world.relayer, other.relayer]) {
      await relayer.stop();
      Object.assign(relayer, { stop: async () => {} }); // the world would stop it again
    }
    const { channelId } = paid.json["payment"];
    const close = await run(2, ["channels", "close", channelId, "--json"]);
    expect([close.code, close.json["error"].code]).deep.equal([1, "seller_gives_nothing_back"]);
    const ran = await run(2, ["withdraw", channelId, "--json"]);
    expect([ran.code, ran.json["channels"][0].action]).deep.equal([0, "initiated"]);
  });
});
