// A payer alone with the chain: no relayer runs here.
import { expect } from "chai";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pad, parseUnits, toHex } from "viem";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";
import { tallystick, type Ran } from "../support/cli.ts";
import { keyOf } from "../support/config.ts";
import { idOf, Sessions } from "../support/session.ts";

const DEPOSIT = parseUnits("1", 6);
const DELAY_S = 900;

describe("tallystick withdraw and channels", function () {
  this.timeout(240_000);
  let chain: TestChain;
  let sessions: Sessions;
  let folder = "";
  let salts = 0;

  before(async () => {
    chain = await startTestChain();
    sessions = new Sessions(chain);
    folder = await mkdtemp(join(tmpdir(), "tallystick-withdraw-"));
    for (const payer of [1, 2, 3, 4, 5]) await chain.mintUSDC(chain.account(payer).address, parseUnits("1000", 6));
  });
  after(async () => {
    await chain.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const open = async (index: number, change: Partial<ChannelConfig> = {}): Promise<ChannelConfig> => {
    const payer = chain.account(index);
    const config: ChannelConfig = {
      payer: payer.address,
      payerAuthorizer: payer.address,
      receiver: chain.account(12).address,
      receiverAuthorizer: chain.account(11).address,
      token: BASE_SEPOLIA.usdc.address,
      withdrawDelay: DELAY_S,
      salt: pad(toHex(++salts)),
      ...change,
    };
    await sessions.deposit(config, payer, DEPOSIT);
    return config;
  };
  const run = (index: number, args: string[], state = join(folder, "none")): Promise<Ran> =>
    tallystick([...args, "--rpc", chain.url, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(index), TALLYSTICK_STATE: state } });
  const first = (ran: Ran) => ran.json["channels"][0] as Record<string, string>;
  const wallet = (index: number) => chain.client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: "balanceOf", args: [chain.account(index).address] });
  const pass = async (seconds: number) => chain.warpTo(Number((await chain.client.getBlock()).timestamp) + seconds);

  it("finds the channel in the contract's events, starts, waits, finishes: everything unclaimed is back", async () => {
    const config = await open(1);
    await sessions.send(chain.account(11), "claim", [await sessions.claimRows([{ config, voucherKey: chain.account(1), totalClaimed: 1_234n }])]);
    const before = await wallet(1);
    const started = await run(1, ["withdraw"]);
    expect([started.code, first(started)["action"], first(started)["amountAtomic"]]).deep.equal([0, "initiated", String(DEPOSIT - 1_234n)]);
    const { timestamp } = await chain.client.getBlock();
    expect(first(started)["finalizeAfter"]).equal(String(timestamp + BigInt(DELAY_S)));

    const early = await run(1, ["withdraw"]);
    expect([early.code, first(early)["action"]]).deep.equal([0, "pending"]);
    expect(await wallet(1)).equal(before);

    await pass(DELAY_S + 1);
    const finished = await run(1, ["withdraw", idOf(config)]);
    expect([finished.code, first(finished)["action"], first(finished)["amountAtomic"]]).deep.equal([0, "finalized", String(DEPOSIT - 1_234n)]);
    expect(await wallet(1)).equal(before + DEPOSIT - 1_234n);

    const nothing = await run(1, ["withdraw"]);
    expect([nothing.code, nothing.json["error"].code]).deep.equal([1, "no_channel"]);
  });

  it("what the receiver claims until the deadline is not paid back", async () => {
    const config = await open(2);
    await run(2, ["withdraw"]);
    await sessions.send(chain.account(11), "claim", [await sessions.claimRows([{ config, voucherKey: chain.account(2), totalClaimed: 400_000n }])]);
    await pass(DELAY_S + 1);
    const finished = await run(2, ["withdraw"]);
    expect([first(finished)["action"], first(finished)["amountAtomic"]]).deep.equal(["finalized", String(DEPOSIT - 400_000n)]);
  });

  it("--wait stays until the deadline and finishes", async () => {
    await open(2);
    const before = await wallet(2);
    const waiting = run(2, ["withdraw", "--wait"]);
    const state = async () => (await run(2, ["channels", "list", "--discover"])).json["channels"].find((channel: { withdrawal: unknown }) => channel.withdrawal !== null);
    while ((await state()) === undefined) await new Promise((done) => setTimeout(done, 100));
    await pass(DELAY_S + 1);
    const ran = await waiting;
    expect([ran.code, first(ran)["action"]]).deep.equal([0, "finalized"]);
    expect(await wallet(2)).equal(before + DEPOSIT);
  });

  it("takes terms from a file, as a config or as a voucher's line", async () => {
    const config = await open(3);
    const path = join(folder, "terms.json");
    await writeFile(path, JSON.stringify({ channelConfig: config, channelId: idOf(config) }));
    const ran = await run(3, ["withdraw", "--config", path, "--amount", "0.25"]);
    expect([ran.code, first(ran)["channelId"], first(ran)["amountAtomic"]]).deep.equal([0, idOf(config), "250000"]);
    const cancelled = await run(3, ["withdraw", "--config", path, "--cancel"]);
    expect([cancelled.code, first(cancelled)["action"]]).deep.equal([0, "cancelled"]);
    await writeFile(path, JSON.stringify(config));
    const other = await run(3, ["withdraw", idOf(config).replace(/.$/, (digit) => (digit === "0" ? "1" : "0")), "--config", path]);
    expect([other.code, other.json["error"].code]).deep.equal([2, "channel_config_invalid"]);
    const stranger = await run(5, ["withdraw", "--config", path]);
    expect([stranger.code, stranger.json["error"].code]).deep.equal([2, "not_your_channel"]);
  });

  it("several channels: names them and does nothing, until one is named or --all", async () => {
    const configs = [await open(4), await open(4)];
    const unsure = await run(4, ["withdraw"]);
    expect([unsure.code, unsure.json["error"].code]).deep.equal([2, "several_channels"]);
    for (const config of configs) expect(unsure.json["error"].hint).include(idOf(config));
    const all = await run(4, ["withdraw", "--all"]);
    expect(all.code).equal(0);
    expect(all.json["channels"].map(({ action }: { action: string }) => action)).deep.equal(["initiated", "initiated"]);
  });

  it("amounts out of range and broken files are refused before anything is sent", async () => {
    const config = await open(5);
    const nonce = await chain.client.getTransactionCount({ address: chain.account(5).address });
    for (const amount of ["0", "1.000001", "0.0000001", "-1", "all"]) expect((await run(5, ["withdraw", `--amount=${amount}`])).code, amount).equal(2);
    const path = join(folder, "broken.json");
    for (const broken of ["", "{", "[]", "null", JSON.stringify({ ...config, token: "0x1" }), JSON.stringify({ ...config, withdrawDelay: -1 })]) {
      await writeFile(path, broken);
      expect((await run(5, ["withdraw", "--config", path])).json["error"].code, broken).equal("channel_config_invalid");
    }
    expect(await chain.client.getTransactionCount({ address: chain.account(5).address })).equal(nonce);
  });

  it("channels list and show: from the agent's storage, which may be damaged, and from events", async () => {
    const config = await open(5);
    const state = join(folder, "state");
    await mkdir(join(state, "channels"), { recursive: true });
    await writeFile(join(state, "channels", "a.json"), JSON.stringify({ version: 1, channels: { x: { channelConfig: config, charged: "5" } } }));
    await writeFile(join(state, "channels", "b.json"), "{ cut off");
    await writeFile(join(state, "channels", "c.json"), JSON.stringify({ config: { ...config, salt: "0x01" } }));
    const stored = await run(5, ["channels", "list"], state);
    expect(stored.json["channels"].map(({ channelId }: { channelId: string }) => channelId)).deep.equal([idOf(config)]);
    const discovered = await run(5, ["channels", "list", "--discover"], state);
    expect(discovered.json["channels"]).lengthOf(2);
    const shown = await run(5, ["channels", "show", idOf(config)]);
    expect(shown.json).deep.include({ channelId: idOf(config), balanceAtomic: String(DEPOSIT), availableAtomic: String(DEPOSIT), withdrawal: null });
    expect(shown.json["channelConfig"]).deep.equal(config);
    const unknown = await run(5, ["channels", "show", pad("0x77")]);
    expect([unknown.code, unknown.json["error"].code]).deep.equal([1, "channel_unknown"]);
  });

  it("a node that is away is told as such, and its URL, which may hold a key, is not repeated", async () => {
    const ran = await tallystick(["withdraw", "--rpc", "http://127.0.0.1:9/v2/secret-api-key"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(1) } });
    expect(ran.code).equal(6);
    expect(ran.stderr).not.include("secret-api-key");
  });
});
