// A receiver alone with the chain and its voucher files: no relayer runs here.
import { expect } from "chai";
import { appendFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pad, parseSignature, parseUnits, serializeSignature, toHex, type HDAccount, type Hex } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";
import { tallystick, type Ran } from "../support/cli.ts";
import { keyOf } from "../support/config.ts";
import { idOf, Sessions } from "../support/session.ts";

const RECEIVER = 12;
const SECP256K1_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const DEPOSIT = parseUnits("1", 6);

describe("tallystick claim", function () {
  this.timeout(240_000);
  let chain: TestChain;
  let sessions: Sessions;
  let folder = "";
  let salts = 0;

  before(async () => {
    chain = await startTestChain();
    sessions = new Sessions(chain);
    folder = await mkdtemp(join(tmpdir(), "tallystick-claim-"));
    for (const payer of [1, 2, 3]) await chain.mintUSDC(chain.account(payer).address, parseUnits("1000", 6));
  });
  after(async () => {
    await chain.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const open = async (payer: HDAccount, change: Partial<ChannelConfig> = {}): Promise<ChannelConfig> => {
    const config: ChannelConfig = {
      payer: payer.address,
      payerAuthorizer: payer.address,
      receiver: chain.account(RECEIVER).address,
      receiverAuthorizer: chain.account(11).address,
      token: BASE_SEPOLIA.usdc.address,
      withdrawDelay: 900,
      salt: pad(toHex(++salts)),
      ...change,
    };
    await sessions.deposit(config, payer, DEPOSIT);
    return config;
  };
  const line = async (config: ChannelConfig, key: HDAccount, charged: bigint, ceiling = charged, change: Record<string, unknown> = {}) =>
    `${JSON.stringify({
      chainId: BASE_SEPOLIA.chainId,
      contract: SESSION_CHANNELS,
      channelConfig: config,
      channelId: idOf(config),
      maxClaimableAmount: ceiling.toString(),
      totalCharged: charged.toString(),
      signature: await sessions.voucher(config, key, ceiling),
      at: "2026-11-21T05:00:00.000Z",
      ...change,
    })}\n`;
  const file = async (name: string, ...lines: string[]) => {
    const path = join(folder, name);
    await writeFile(path, lines.join(""));
    return path;
  };
  const claim = (args: string[], index = RECEIVER): Promise<Ran> =>
    tallystick(["claim", ...args, "--rpc", chain.url, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: keyOf(index) } });
  const claimed = async (config: ChannelConfig) => (await chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [idOf(config)] }))[1];
  const wallet = (index: number) => chain.client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: "balanceOf", args: [chain.account(index).address] });

  it("claims what was charged by the newest voucher, not what it would allow, settles it, and does nothing the second time", async () => {
    const payer = chain.account(1);
    const config = await open(payer);
    const path = await file("simple.jsonl", await line(config, payer, 1_000n), await line(config, payer, 3_000n, 50_000n), await line(config, payer, 2_000n));
    const before = await wallet(RECEIVER);

    const dry = await claim([path, "--dry-run"]);
    expect([dry.code, dry.json["claimableAtomic"], dry.json["claims"]]).deep.equal([0, "3000", []]);
    expect(await claimed(config)).equal(0n);

    const ran = await claim([path]);
    expect([ran.code, ran.json["claimedAtomic"], ran.json["settledAtomic"]]).deep.equal([0, "3000", "3000"]);
    expect(await claimed(config)).equal(3_000n);
    expect(await wallet(RECEIVER)).equal(before + 3_000n);

    const again = await claim([path]);
    expect([again.code, again.json["claimedAtomic"], again.json["alreadyClaimed"], again.json["claims"]]).deep.equal([0, "0", 1, []]);
    expect(await wallet(RECEIVER)).equal(before + 3_000n);
  });

  it("one bad row does not stop the others: forged, cut off, of another chain, not ours, emptied; in batches", async () => {
    const [one, two, thief] = [chain.account(1), chain.account(2), chain.account(4)];
    const good = [await open(one)];
    for (let index = 0; index < 6; index++) good.push(await open(index % 2 === 0 ? two : one));
    const [forged, elsewhere, foreign, emptied, overdrawn] = [await open(one), await open(one), await open(one, { receiver: chain.account(13).address }), await open(two), await open(two)];
    await sessions.send(chain.account(11), "refund", [emptied, DEPOSIT]);
    const lines = await Promise.all(good.map((config) => line(config, config.payer === one.address ? one : two, 700n)));
    const path = await file(
      "mixed.jsonl",
      ...lines.slice(0, 3),
      await line(forged, thief, 900n),
      await line(elsewhere, one, 900n, 900n, { chainId: 8453 }),
      await line(elsewhere, one, 900n, 900n, { contract: BASE_SEPOLIA.usdc.address }),
      await line(foreign, one, 900n),
      await line(emptied, two, 900n),
      await line(overdrawn, two, DEPOSIT * 2n),
      ...lines.slice(3),
      "\n",
      (await line(good[0]!, one, 999n)).slice(0, 200),
    );
    const ran = await claim([path, "--batch", "3"]);
    expect(ran.code).equal(1); // something was left out
    expect(ran.json["claimedAtomic"]).equal((7n * 700n + DEPOSIT).toString());
    expect(ran.json["claims"]).lengthOf(3);
    for (const config of good) expect(await claimed(config)).equal(700n);
    expect(await claimed(overdrawn)).equal(DEPOSIT); // what is there is better than nothing
    for (const config of [forged, elsewhere, foreign]) expect(await claimed(config)).equal(0n);
    expect(ran.json["badLines"]).lengthOf(4);
    expect((ran.json["skipped"] as { channelId: string }[]).map(({ channelId }) => channelId)).have.members([idOf(foreign), idOf(emptied)]);
  });

  it("rows that only the contract refuses are found by halving batches, wherever they stand", async () => {
    // The twin of a signature with the other s: it recovers to the same key, and the contract takes the low one only.
    const twin = (signature: Hex): Hex => {
      const { r, s, yParity } = parseSignature(signature);
      return serializeSignature({ r, s: toHex(SECP256K1_ORDER - BigInt(s), { size: 32 }), yParity: yParity === 0 ? 1 : 0 });
    };
    const payer = chain.account(1);
    const configs: ChannelConfig[] = [];
    for (let index = 0; index < 9; index++) configs.push(await open(payer));
    const bad = [configs[0]!, configs[4]!, configs[5]!];
    const lines = configs.map(async (config) => {
      const signature = await sessions.voucher(config, payer, 50n);
      return line(config, payer, 50n, 50n, { signature: bad.includes(config) ? twin(signature) : signature });
    });
    const ran = await claim([await file("twins.jsonl", ...(await Promise.all(lines)))]);
    expect([ran.code, ran.json["claimedAtomic"], ran.json["badLines"]]).deep.equal([1, "300", []]);
    expect(ran.json["skipped"]).have.deep.members(bad.map((config) => ({ channelId: idOf(config), reason: "ECDSAInvalidSignatureS" })));
  });

  it("a forged voucher in front of a good one of the same channel costs nothing", async () => {
    const payer = chain.account(3);
    const config = await open(payer);
    const path = await file("front.jsonl", await line(config, chain.account(4), 90_000n, 500_000n), await line(config, payer, 4_000n, 8_000n), await line(config, payer, 2_000n, 9_000n));
    const ran = await claim([path]);
    expect([ran.code, ran.json["claimedAtomic"], ran.json["badLines"].length]).deep.equal([1, "4000", 1]);
    expect(await claimed(config)).equal(4_000n);
  });

  it("a channel without a payerAuthorizer is the payer's own to sign for", async () => {
    const payer = chain.account(2);
    const [byWallet, good] = [await open(payer, { payerAuthorizer: "0x0000000000000000000000000000000000000000" }), await open(payer)];
    const path = await file("wallet.jsonl", await line(byWallet, payer, 500n), await line(good, payer, 500n));
    const ran = await claim([path]);
    expect([ran.code, ran.json["claimedAtomic"]]).deep.equal([0, "1000"]);
  });

  it("settles what the relayer claimed and did not pay out", async () => {
    const payer = chain.account(3);
    const config = await open(payer);
    await sessions.send(chain.account(11), "claim", [await sessions.claimRows([{ config, voucherKey: payer, totalClaimed: 600n }])]);
    const before = await wallet(RECEIVER);
    const ran = await claim([await file("relayer.jsonl", await line(config, payer, 600n))]);
    expect([ran.code, ran.json["claimedAtomic"], ran.json["settledAtomic"]]).deep.equal([0, "0", "600"]);
    expect(await wallet(RECEIVER)).equal(before + 600n);
  });

  it("a token that refuses the receiver leaves the claim standing, and says so", async () => {
    const [payer, receiver] = [chain.account(1), chain.account(14)];
    const config = await open(payer, { receiver: receiver.address });
    const admin = chain.account(0);
    const setBlacklist = async (name: "blacklist" | "unBlacklist") => {
      const hash = await chain.client.writeContract({ account: admin, chain: null, address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: name, args: [receiver.address] });
      await chain.client.waitForTransactionReceipt({ hash });
    };
    await setBlacklist("blacklist");
    const path = await file("blacklisted.jsonl", await line(config, payer, 800n));
    const ran = await claim([path], 14);
    expect([ran.code, ran.json["claimedAtomic"], ran.json["settledAtomic"]]).deep.equal([1, "800", "0"]);
    expect(await claimed(config)).equal(800n);
    await setBlacklist("unBlacklist");
    const later = await claim([path], 14);
    expect([later.code, later.json["settledAtomic"]]).deep.equal([0, "800"]);
  });

  it("reads a folder of files, and says what is wrong with a path", async () => {
    const payer = chain.account(1);
    const config = await open(payer);
    const nested = join(folder, "nested", "2026");
    await mkdir(nested, { recursive: true });
    await writeFile(join(nested, "10.jsonl"), await line(config, payer, 100n));
    await appendFile(join(nested, "11.jsonl"), await line(config, payer, 250n));
    const ran = await claim([join(folder, "nested")]);
    expect([ran.code, ran.json["vouchers"], ran.json["claimedAtomic"]]).deep.equal([0, 2, "250"]);
    const missing = await claim([join(folder, "nothing")]);
    expect([missing.code, missing.json["error"].code]).deep.equal([2, "file_unreadable"]);
  });

  it("without ether it says that gas is missing; with another's key nothing is claimed", async () => {
    const payer = chain.account(1);
    const config = await open(payer);
    const path = await file("gas.jsonl", await line(config, payer, 300n));
    await chain.client.setBalance({ address: chain.account(RECEIVER).address, value: 0n });
    const poor = await claim([path]);
    expect([poor.code, poor.json["error"].code]).deep.equal([1, "no_ether"]);
    await chain.client.setBalance({ address: chain.account(RECEIVER).address, value: 10n ** 18n });
    const stranger = await claim([path], 7);
    expect([stranger.code, stranger.json["skipped"][0].channelId]).deep.equal([1, idOf(config)]);
    expect(await claimed(config)).equal(0n);
  });
});
