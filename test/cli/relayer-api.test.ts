// Commands that ask the relayer's own API: what everybody may read, mistakes, and relayers that are away or none.
import { expect } from "chai";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { stepsOf, indexedStep, valuesOf } from "../../sdk/src/cli/timeline.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf, keyOf, ROLE } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const ID = `pay_${"0123456789abcdef".repeat(2)}`;

describe("tallystick sell, trace: the relayer's API", function () {
  this.timeout(120_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld()));
  after(() => world.stop());
  const run = (args: string[], env: Record<string, string> = {}) => tallystick([...args, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(1), TALLYSTICK_RELAYER_URL: world.url, ...env } });

  it("sell --list shows what the relayer sells, without a key", async () => {
    const ran = await tallystick(["sell", "--list", "--relayer", world.url, "--json"]);
    expect(ran.code).equal(0);
    expect(ran.json["services"][0]).include({ name: "echo", priceAtomic: "1000", receiver: addressOf(ROLE.receiver) });
    const { stdout } = await tallystick(["sell", "--list", "--relayer", world.url]);
    expect(stdout).match(/^echo +0\.001 USDC +http/m);
  });

  const MISTAKES: string[][] = [
    ["sell", "http://127.0.0.1:1"], ["sell", "http://127.0.0.1:1", "--name", "Not Good", "--price", "1"], ["sell", "http://127.0.0.1:1", "--name", "good"],
    ["sell", "http://127.0.0.1:1", "--name", "good", "--price", "0"], ["sell", "http://127.0.0.1:1", "--name", "good", "--price", "1", "--receiver", "0x1"], ["sell", "--name", "good", "--price", "1"],
    ["sell", "file:///etc/passwd", "--name", "good", "--price", "1"], ["sell", "http://127.0.0.1:1", "--remove", "--name", "good"], ["trace", "pay_1"], ["trace", `${ID}/../../x`],
  ];
  for (const args of MISTAKES) {
    it(`"${args.join(" ")}" is a usage error`, async () => expect((await run(args)).code).equal(2));
  }

  it("a relayer that is away is code 6; without one, or without a key, it says what to set", async () => {
    const away = await run(["trace", ID], { TALLYSTICK_RELAYER_URL: "http://127.0.0.1:9" });
    expect([away.code, away.json["error"].code]).deep.equal([6, "relayer_unreachable"]);
    const unset = await tallystick(["trace", ID, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(1) } });
    expect([unset.code, unset.json["error"].code]).deep.equal([2, "no_relayer"]);
    const keyless = await tallystick(["trace", ID, "--relayer", world.url, "--json"]);
    expect([keyless.code, keyless.json["error"].code]).deep.equal([2, "no_key"]);
  });

  it("signs in at the real relayer; what it does not know is its own refusal, not ours", async () => {
    const ran = await run(["trace", ID]);
    expect(ran.code, ran.stdout).equal(1);
    expect(ran.json["error"].status, ran.stdout).equal(404);
    const { rows } = await world.relayer.deps.db.query("SELECT count(*)::int AS tokens FROM access_token");
    expect(rows[0].tokens).equal(1);
  });

  it("a relayer that hands on another site's challenge gets no signature", async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url!);
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ domain: "bank.example", uri: "https://bank.example", version: "1", type: "eip191", statement: "Sign in to the bank.", nonce: "0123456789abcdef", issuedAt: new Date().toISOString(), expirationTime: new Date(Date.now() + 60_000).toISOString(), chainId: "eip155:84532" }));
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    try {
      const ran = await run(["receipt", "verify", ID], { TALLYSTICK_RELAYER_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
      expect([ran.code, ran.json["error"].code]).deep.equal([1, "challenge_foreign"]);
      expect(asked).deep.equal(["/api/v1/access/challenge"]);
    } finally {
      await new Promise((done) => server.close(done));
    }
  });
});

describe("a payment's timeline", () => {
  it("takes listed steps and members alike; amounts are USDC, times of every kind are one", () => {
    const at = Date.UTC(2026, 10, 21, 5, 0, 0, 123);
    const steps = stepsOf({ steps: [{ name: "402", at: "2026-11-21T05:00:00.123Z", priceAtomic: "1000" }, { step: "charged", atMs: at, channel: { id: "0x01" } }] });
    expect(steps).deep.equal([
      { name: "402", atMs: at, facts: [["price", "0.001 USDC"]] },
      { name: "charged", atMs: at, facts: [["channel.id", "0x01"]] },
    ]);
    expect(stepsOf({ paymentId: "x", receipt: { at: 1_795_237_200, amountAtomic: "5" }, transactions: [{ hash: "0x1" }, { hash: "0x2" }] }).map(({ name }) => name)).deep.equal(["receipt", "transactions", "transactions"]);
    expect(indexedStep("claim", { timestamp: "1795237200", amountAtomic: "1" })).deep.equal({ name: "claim", atMs: 1_795_237_200_000, facts: [["amount", "0.000001 USDC"]] });
  });

  it("what a stranger wrote does not steer the terminal", () => {
    expect(stepsOf({ request: { path: "/a\u001b[2Jb\nc" } })[0]!.facts).deep.equal([["path", "/a [2Jb c"]]);
  });

  it("finds ids wherever they stand, and only of their shape", () => {
    const hash = `0x${"Ab".repeat(32)}`;
    expect([...valuesOf({ steps: [{ deep: { transaction: hash } }, { transaction: "0x12" }, { other: hash.replace("A", "c") }] }, ["transaction"], /^0x[0-9a-f]{64}$/i)]).deep.equal([hash.toLowerCase()]);
  });
});
