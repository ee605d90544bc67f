import { expect } from "chai";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pad, parseUnits } from "viem";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { tallystick, type Ran } from "../support/cli.ts";
import { keyOf } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { idOf, Sessions } from "../support/session.ts";

describe("tallystick doctor", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let folder = "";

  before(async () => {
    world = await startTestWorld();
    folder = await mkdtemp(join(tmpdir(), "tallystick-doctor-"));
    await world.chain.mintUSDC(world.chain.account(1).address, parseUnits("10", 6));
  });
  after(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const look = (env: Record<string, string> = {}, args: string[] = []): Promise<Ran> =>
    tallystick(["doctor", "--json", ...args], {
      env: { TALLYSTICK_PRIVATE_KEY: keyOf(1), TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_RELAYER_URL: world.url, TALLYSTICK_STATE: folder, ...env },
    });
  const results = ({ json }: Ran) => Object.fromEntries((json["checks"] as { name: string; result: string }[]).map(({ name, result }) => [name, result]));
  const every = ({ json }: Ran, result: string) => (json["checks"] as { name: string; result: string; detail: string; fix?: string }[]).filter((check) => check.result === result);

  it("all is well", async () => {
    const ran = await look();
    expect([ran.code, ran.json["ok"], every(ran, "fail"), every(ran, "warn")]).deep.equal([0, true, [], []]);
    expect(results(ran)).include.keys("node", "key", "chain", "contracts", "USDC", "gas", "relayer", "clock", "storage", "channels");
  });

  it("with nothing set it says what to set, and does not stop at the first", async () => {
    const ran = await tallystick(["doctor", "--json"]);
    expect(ran.code).equal(1);
    expect(results(ran)).include({ node: "ok", key: "fail", chain: "fail", relayer: "warn", storage: "ok" });
    for (const { fix } of every(ran, "fail")) expect(fix).match(/\S/);
  });

  it("an empty wallet is a warning with the address to fund", async () => {
    const address = "0xFABB0ac9d68B0B445fB7357272Ff202C5651694a"; // account 12
    await world.chain.client.setBalance({ address, value: 0n });
    const ran = await look({ TALLYSTICK_PRIVATE_KEY: keyOf(12) });
    expect([ran.code, results(ran)["USDC"], results(ran)["gas"]]).deep.equal([0, "warn", "warn"]);
    expect(every(ran, "warn")[0]!.fix).include(address);
  });

  it("a wrong contract, a node that is away, a relayer that is away or is none: each is named", async () => {
    expect(results(await look({}, ["--contract", BASE_SEPOLIA.usdc.address]))["contracts"]).equal("fail");
    expect(results(await look({}, ["--contract", world.chain.account(3).address]))["contracts"]).equal("fail");
    expect(results(await look({ TALLYSTICK_RPC_URL: "http://127.0.0.1:9" }))).include({ chain: "fail", relayer: "ok" });
    expect(results(await look({ TALLYSTICK_RELAYER_URL: "http://127.0.0.1:9" }))).include({ chain: "ok", relayer: "fail" });
    expect(results(await look({ TALLYSTICK_RELAYER_URL: world.provider.origin }))["relayer"]).equal("fail");
  });

  it("a clock that disagrees with the relayer's is a warning", async () => {
    // In front of the real relayer, somebody whose clock is an hour behind.
    const server = createServer(async (request, response) => {
      const answer = await fetch(`${world.url}${request.url}`);
      response.setHeader("date", new Date(Date.now() - 3_600_000).toUTCString());
      response.writeHead(answer.status, { "content-type": "application/json" }).end(await answer.text());
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    try {
      const ran = await look({ TALLYSTICK_RELAYER_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
      expect([ran.code, results(ran)["clock"]]).deep.equal([0, "warn"]);
    } finally {
      await new Promise((done) => server.close(done));
    }
  });

  it("loose permissions and a withdrawal under way are warnings with the command that fixes them", async () => {
    const state = join(folder, "loose");
    await mkdir(state);
    await chmod(state, 0o777);
    const payer = world.chain.account(1);
    const config: ChannelConfig = { payer: payer.address, payerAuthorizer: payer.address, receiver: world.chain.account(12).address, receiverAuthorizer: world.chain.account(11).address, token: BASE_SEPOLIA.usdc.address, withdrawDelay: 900, salt: pad("0x05") };
    const sessions = new Sessions(world.chain);
    await sessions.deposit(config, payer, 50_000n);
    await sessions.send(payer, "initiateWithdraw", [config, 50_000n]);
    await writeFile(join(state, "channel.json"), JSON.stringify({ channelConfig: config }));
    const ran = await look({ TALLYSTICK_STATE: state });
    expect([ran.code, results(ran)["storage"], results(ran)["withdrawal"]]).deep.equal([0, "warn", "warn"]);
    expect(every(ran, "warn").map(({ fix }) => fix)).include.members([`chmod 700 ${state}`, `tallystick withdraw ${idOf(config)} --wait`]);
  });

  it("a person sees one aligned line a check, and what to do", async () => {
    const { stdout, code } = await tallystick(["doctor"], { env: { TALLYSTICK_RPC_URL: world.chain.url } });
    expect(code).equal(1);
    expect(stdout).match(/^ok {4}node +\d+/m);
    expect(stdout).match(/^fail {2}key +There is no key/m);
    expect(stdout).include("→ Set TALLYSTICK_PRIVATE_KEY").include("1 to fix");
  });
});
