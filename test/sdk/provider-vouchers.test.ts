// A provider's own copy of its vouchers: what is in the file after crashes, and what a relayer that lies or vanishes can do to it.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { mnemonicToAccount } from "viem/accounts";
import { LOCAL_MNEMONIC } from "../../scripts/local/chain.ts";
import { createRelayerClient } from "../../sdk/src/provider/relayer-client.ts";
import { followVouchers } from "../../sdk/src/provider/voucher-export.ts";
import { openVoucherFile, readVouchers } from "../../sdk/src/provider/voucher-files-node.ts";
import { readVoucherLine, verifyVoucherLine, type VoucherLine } from "../../sdk/src/provider/voucher-line.ts";
import { parseVouchers } from "../../sdk/src/cli/vouchers.ts";
import { domain } from "../support/session.ts";
import { NOBODY, RECEIVER, signedLine } from "../support/voucher-file.ts";

const account = (addressIndex: number) => mnemonicToAccount(LOCAL_MNEMONIC, { addressIndex });
const [ALICE, BOB, THIEF] = [account(1), account(2), account(3)];

describe("voucher files", function () {
  this.timeout(60_000);
  let folder: string;
  let count = 0;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "tallystick-vouchers-"))));
  after(() => rm(folder, { recursive: true, force: true }));
  const fresh = () => join(folder, "deep", `${++count}.jsonl`);
  const totals = (lines: readonly VoucherLine[]) => lines.map(({ channelConfig, totalCharged }) => [channelConfig.payer, totalCharged]);
  const linesIn = async (path: string) => (await readFile(path, "utf8")).split("\n").length - 1;

  describe("the file", () => {
    it("keeps the newest line of each channel, over restarts, readable by its owner alone and by tallystick claim", async () => {
      const path = fresh();
      const file = await openVoucherFile(path);
      expect(await file.append([await signedLine(ALICE, 1000), await signedLine(ALICE, 3000, { ceiling: 5000 }), await signedLine(BOB, 10)])).equal(2);
      expect(await file.append([await signedLine(ALICE, 2000), await signedLine(BOB, 10)]), "older and the same").equal(0);
      await file.close();
      const again = await openVoucherFile(path);
      expect(again.newest((await signedLine(ALICE, 0)).channelId)?.totalCharged).equal("3000");
      await again.append([await signedLine(ALICE, 3000, { ceiling: 6000 })]);
      await again.close();
      expect(totals(await readVouchers(path))).deep.equal([[ALICE.address, "3000"], [BOB.address, "10"]]);
      expect((await readVouchers(path))[0]!.maxClaimableAmount).equal("6000");
      expect((await stat(path)).mode & 0o077).equal(0);
      expect(parseVouchers(await readFile(path, "utf8"), path, domain)).property("bad").deep.equal([]);
    });

    it("a line that a crash cut off costs that line, and is gone at the next start", async () => {
      const path = fresh();
      const file = await openVoucherFile(path);
      await file.append([await signedLine(ALICE, 1000)]);
      await file.close();
      await appendFile(path, JSON.stringify(await signedLine(ALICE, 2000)).slice(0, 300));
      expect(totals(await readVouchers(path))).deep.equal([[ALICE.address, "1000"]]);
      const after = await openVoucherFile(path);
      await after.append([await signedLine(ALICE, 2500)]);
      await after.close();
      expect(totals(await readVouchers(path))).deep.equal([[ALICE.address, "2500"]]);
      expect(parseVouchers(await readFile(path, "utf8"), path, domain).bad).deep.equal([]);
    });

    it("is rewritten with the newest lines when it has grown", async () => {
      const path = fresh();
      const file = await openVoucherFile(path);
      const line = await signedLine(ALICE, 1);
      for (let charged = 1; charged <= 1_100; charged++) await file.append([{ ...line, totalCharged: String(charged), maxClaimableAmount: String(charged) }]);
      expect(await linesIn(path)).lessThan(200);
      await file.close();
      expect(totals(await readVouchers(path))).deep.equal([[ALICE.address, "1100"]]);
    });

    it("many at once are all there", async () => {
      const path = fresh();
      const file = await openVoucherFile(path);
      const lines = await Promise.all(Array.from({ length: 40 }, (_, salt) => signedLine(ALICE, salt + 1, { salt })));
      await Promise.all(lines.map((line) => file.append([line])));
      await file.close();
      expect((await readVouchers(path)).map(({ totalCharged }) => Number(totalCharged)).sort((a, b) => a - b)).deep.equal(lines.map((_, at) => at + 1));
    });

    it("has one writer; one that died leaves it to the next", async () => {
      const path = fresh();
      const file = await openVoucherFile(path);
      expect(await openVoucherFile(path).catch((error: { code: string }) => error.code)).equal("voucher_file_busy");
      await file.close();
      const script = `import { openVoucherFile } from ${JSON.stringify(new URL("../../sdk/src/provider/voucher-files-node.ts", import.meta.url).href)}; await openVoucherFile(${JSON.stringify(path)}); process.stdout.write("open"); setInterval(() => {}, 1000);`;
      const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { cwd: fileURLToPath(new URL("../../", import.meta.url)), stdio: ["ignore", "pipe", "inherit"] });
      await once(child.stdout!, "data");
      expect(await openVoucherFile(path).catch((error: { code: string }) => error.code), "a living process").equal("voucher_file_busy");
      child.kill("SIGKILL");
      await once(child, "exit");
      await (await openVoucherFile(path)).close();
    });
  });

  describe("a line", () => {
    it("is good when the contract would honour it", async () => verifyVoucherLine(readVoucherLine(JSON.parse(JSON.stringify(await signedLine(ALICE, 1000, { ceiling: 2000 })))), { receiver: RECEIVER }));
    const lies: [what: string, field: string, line: () => Promise<VoucherLine>][] = [
      ["signed by another", "signature", () => signedLine(ALICE, 1000, { signer: THIEF })],
      ["charged above what is signed", "totalCharged", () => signedLine(ALICE, 1000, { ceiling: 999 })],
      ["a signature for less", "signature", async () => ({ ...(await signedLine(ALICE, 1000)), totalCharged: "2000", maxClaimableAmount: "2000" })],
      ["of another receiver", "channelConfig.receiver", () => signedLine(ALICE, 1000, { config: { receiver: THIEF.address } })],
      ["with another's channel id", "channelId", async () => ({ ...(await signedLine(ALICE, 1000)), channelId: (await signedLine(BOB, 1)).channelId })],
      ["with a config that was changed", "channelId", async () => { const line = await signedLine(ALICE, 1000); return { ...line, channelConfig: { ...line.channelConfig, withdrawDelay: 901 } }; }],
      ["of a wallet that can take its word back", "signature", () => signedLine(ALICE, 1000, { config: { payerAuthorizer: NOBODY } })],
    ];
    for (const [what, field, line] of lies) {
      it(`is refused: ${what}`, async () => {
        const error = await verifyVoucherLine(await line(), { receiver: RECEIVER }).then(() => undefined, (refused: { code: string; field: string }) => refused);
        expect([error?.code, error?.field]).deep.equal(["voucher_invalid", field]);
      });
    }
    for (const [field, change] of [["totalCharged", { totalCharged: 5 }], ["maxClaimableAmount", { maxClaimableAmount: "0x10" }], ["maxClaimableAmount", { maxClaimableAmount: String(1n << 128n) }], ["signature", { signature: "0x12" }], ["channelConfig", { channelConfig: null }], ["contract", { contract: "0x1" }], ["chainId", { chainId: "84532" }]] as const) {
      it(`is malformed with ${JSON.stringify(change)}`, async () => {
        const line = { ...(await signedLine(ALICE, 1)), ...change };
        expect(() => readVoucherLine(line)).throw().include({ code: "voucher_malformed", field });
      });
    }
  });

  describe("a relayer that lies, cuts off and vanishes", () => {
    /** Speaks the export by hand. `script` gets each connection and its number. */
    async function relayerThat(script: (response: ServerResponse, connection: number, lastId: string | undefined) => void | Promise<void>): Promise<{ url: string; stop(): Promise<void>; asked: (string | undefined)[] }> {
      const asked: (string | undefined)[] = [];
      const server: Server = createServer((request, response) => {
        const lastId = request.headers["last-event-id"] as string | undefined;
        asked.push(lastId);
        response.writeHead(200, { "content-type": "text/event-stream" });
        void script(response, asked.length, lastId);
      });
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      return {
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked,
        stop: () => new Promise((done) => {
          server.closeAllConnections();
          server.close(() => done());
        }),
      };
    }
    const event = (line: unknown, id?: string) => `${id === undefined ? "" : `id: ${id}\n`}event: voucher\ndata: ${JSON.stringify(line)}\n\n`;
    async function follow(url: string, path: string, until: (lines: VoucherLine[], problems: { code?: string }[]) => boolean): Promise<{ problems: { code?: string }[]; lines: VoucherLine[] }> {
      const file = await openVoucherFile(path);
      const stopped = new AbortController();
      const problems: { code?: string }[] = [];
      const following = followVouchers({ client: createRelayerClient({ relayerUrl: url, token: "t" }), file, expected: { receiver: RECEIVER }, onProblem: (error) => problems.push(error as { code?: string }), signal: stopped.signal });
      for (let tries = 0; !until(await readVouchers(path), problems); tries++) {
        if (tries > 300) throw new Error(`not there after 15 s: ${JSON.stringify(problems)}`);
        await sleep(50);
      }
      stopped.abort();
      await following;
      await file.close();
      return { problems, lines: await readVouchers(path) };
    }

    it("bad lines are told and left out, the good ones among them are kept", async () => {
      const good = [await signedLine(ALICE, 500), await signedLine(BOB, 700)];
      const forged = await signedLine(ALICE, 9_000, { signer: THIEF });
      const relayer = await relayerThat((response) => void response.write(event(good[0]) + event(forged) + event({ nonsense: true }) + "event: voucher\ndata: {cut\n\n" + event(good[1], "7")));
      const { problems, lines } = await follow(relayer.url, fresh(), (now) => now.length === 2);
      expect(totals(lines)).deep.equal([[ALICE.address, "500"], [BOB.address, "700"]]);
      expect(problems.map(({ code }) => code)).deep.equal(["voucher_invalid", "voucher_malformed", undefined]);
      await relayer.stop();
    });

    it("resumes where the disk is: after a cut in the middle of a part, that part comes again", async () => {
      const [one, two] = [await signedLine(ALICE, 500), await signedLine(BOB, 700)];
      const relayer = await relayerThat((response, connection) => {
        if (connection === 1) return void response.end(event(one, "5") + event(two).slice(0, 120));
        response.write(event(two, "9"));
      });
      const { lines } = await follow(relayer.url, fresh(), (now) => now.length === 2);
      expect(relayer.asked.slice(0, 2)).deep.equal([undefined, "5"]);
      expect(totals(lines)).deep.equal([[ALICE.address, "500"], [BOB.address, "700"]]);
      await relayer.stop();
    });

    it("a relayer that forgot what was charged does not take it from the file", async () => {
      const path = fresh();
      const file = await openVoucherFile(path);
      await file.append([await signedLine(ALICE, 800)]);
      await file.close();
      const old = await signedLine(ALICE, 300);
      const relayer = await relayerThat((response) => void response.write(event(old, "1")));
      const { problems, lines } = await follow(relayer.url, path, (_now, told) => told.length > 0);
      expect([problems[0]!.code, totals(lines)]).deep.equal(["voucher_regressed", [[ALICE.address, "800"]]]);
      await relayer.stop();
    });

    it("an event without end does not fill the memory", async () => {
      const good = await signedLine(ALICE, 500);
      const relayer = await relayerThat(async (response, connection) => {
        if (connection > 1) return void response.write(event(good, "1"));
        for (let sent = 0; sent < 40 && !response.destroyed; sent++) if (!response.write("x".repeat(100_000))) await Promise.race([once(response, "drain"), once(response, "close")]);
      });
      const { problems, lines } = await follow(relayer.url, fresh(), (now) => now.length === 1);
      expect([problems.length > 0, totals(lines)]).deep.equal([true, [[ALICE.address, "500"]]]);
      await relayer.stop();
    });
  });
});
