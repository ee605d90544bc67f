// tallystick sell, trace and receipt verify from one end to the other: listed, bought, paid, traced, verified, changed, taken off.
import { expect } from "chai";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseUnits } from "viem";
import { tallystick } from "../support/cli.ts";
import { addressOf, keyOf } from "../support/config.ts";
import { startProvider, startTestWorld, type Provider, type TestWorld } from "../support/relayer.ts";

const [SELLER, BUYER, STRANGER] = [2, 3, 4];

describe("tallystick sell", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let api: Provider;
  let folder: string;
  before(async () => {
    [world, api, folder] = await Promise.all([startTestWorld(), startProvider(), mkdtemp(join(tmpdir(), "tallystick-sell-"))]);
    await world.chain.mintUSDC(world.chain.account(BUYER).address, parseUnits("10", 6));
  });
  after(async () => {
    await Promise.all([world.stop(), api.stop()]);
    await rm(folder, { recursive: true, force: true });
  });

  const run = (index: number, args: string[]) =>
    tallystick([...args, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(index), TALLYSTICK_RELAYER_URL: world.relayer.deps.config.publicUrl, TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_STATE: join(folder, String(index)) } });

  it("puts an API up for sale, sells it, lets both sides trace it, changes it and takes it off again", async () => {
    const offered = await run(SELLER, ["sell", api.origin, "--name", "weather", "--price", "0.002", "--description", "Forecasts"]);
    expect(offered.code, offered.stderr).equal(0);
    expect(offered.json).include({ name: "weather", priceAtomic: "2000", receiver: addressOf(SELLER) });
    const url = offered.json["url"] as string;

    const bought = await run(BUYER, ["pay", `${url}/today?q=1`, "--max", "0.01"]);
    expect(bought.code, bought.stderr).equal(0);
    expect(bought.json["payment"]).include({ chargedAtomic: "2000" });
    expect(api.seen.map((seen) => seen.url)).deep.equal(["/today?q=1"]);
    const { paymentId } = bought.json["payment"] as { paymentId: string };

    await world.relayer.settlement.flush();
    for (const party of [BUYER, SELLER]) {
      const traced = await run(party, ["trace", paymentId]);
      expect(traced.code, traced.stderr).equal(0);
      expect(traced.json["trace"].status).equal("SETTLED");
    }
    expect((await run(STRANGER, ["trace", paymentId])).code).not.equal(0);
    const verified = await run(BUYER, ["receipt", "verify", paymentId]);
    expect(verified.code, verified.stderr).equal(0);

    expect((await run(STRANGER, ["sell", api.origin, "--name", "weather", "--price", "1"])).code, "a name is its owner's").not.equal(0);
    const changed = await run(SELLER, ["sell", api.origin, "--name", "weather", "--price", "0.003"]);
    expect([changed.code, changed.json["priceAtomic"]]).deep.equal([0, "3000"]);
    const dearer = await run(BUYER, ["pay", `${url}/tomorrow`, "--max", "0.0025"]);
    expect(dearer.code, "the limit holds against a new price").equal(3);
    expect((await run(BUYER, ["pay", `${url}/tomorrow`, "--max", "0.01"])).json["payment"]).include({ chargedAtomic: "3000" });

    expect((await run(STRANGER, ["sell", "--remove", "--name", "weather"])).code).not.equal(0);
    expect((await run(SELLER, ["sell", "--remove", "--name", "weather"])).code).equal(0);
    expect((await fetch(`${url}/today`)).status).equal(404);
    expect((await run(SELLER, ["trace", paymentId])).code, "what was sold stays").equal(0);
  });
});
