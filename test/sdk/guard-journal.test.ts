// The local guard's journal: killed at every named point and torn at every byte, it never signs more than the mandate allows.
import { expect } from "chai";
import { fork, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { numberToHex, recoverTypedDataAddress, type Address, type Hex } from "viem";
import { ChannelBook } from "../../sdk/src/agent/channel.ts";
import type { VoucherWire } from "../../sdk/src/agent/payments.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { GuardClient } from "../../sdk/src/guard/client.ts";
import { openJournal, readJournal } from "../../sdk/src/guard/journal-node.ts";
import type { Lineage } from "../../sdk/src/lineage.ts";
import { channelIdOf, sessionChannelsDomain, voucherTypes } from "../../sdk/src/typed-data.ts";
import { AT, grant, newAccount, startTestGuard, type Principal } from "../support/mandates.ts";

const PRICE = 1_000n;
const PAYEE: Address = "0x1111111111111111111111111111111111111111";
const DOMAIN = sessionChannelsDomain(AT.chainId, SESSION_CHANNELS);
const CHILD = fileURLToPath(new URL("../support/guard-crash.ts", import.meta.url));

describe("guard journal", function () {
  this.timeout(180_000);
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tallystick-journal-"));
    path = join(folder, "guard.journal");
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function agentOf(limit: bigint) {
    const [owner, account] = [newAccount(), newAccount()];
    return { account, lineage: await grant({ account: owner } as Principal, account.address, { limit }) };
  }

  async function asker(url: string, account: ReturnType<typeof newAccount>, lineage: Lineage, salt = 0) {
    const client = new GuardClient({ url, account, mandate: lineage, ...AT });
    const config = {
      payer: lineage[0].mandate.principal, payerAuthorizer: await client.authorizer(), receiver: PAYEE, receiverAuthorizer: PAYEE, token: lineage[0].mandate.token, withdrawDelay: 900,
      salt: numberToHex(salt, { size: 32 }),
    };
    const book = new ChannelBook({ channelId: channelIdOf(DOMAIN, config), config, signed: 0n, charged: 0n, balance: 10n ** 9n });
    const accepts = { scheme: "batch-settlement", network: "eip155:84532", amount: String(PRICE), asset: config.token, payTo: PAYEE, extra: { withdrawDelay: 900 } };
    const ask = (ceiling: bigint) => client.voucher(book, { ceiling, price: PRICE }, { method: "GET", url: "http://seller.example/", body: undefined, price: PRICE, most: ceiling, accepts });
    return { ask, config, channelId: book.channelId };
  }

  async function startChild(point = "none", passes = 0): Promise<{ url: string; child: ChildProcess; gone: Promise<NodeJS.Signals | null> }> {
    const child = fork(CHILD, [path, point, String(passes)], { execArgv: ["--disable-warning=ExperimentalWarning"] });
    const gone = new Promise<NodeJS.Signals | null>((done) => child.once("exit", (_code, signal) => done(signal)));
    const { url } = await Promise.race([new Promise<{ url: string }>((done) => child.once("message", (message) => done(message as { url: string }))), gone.then(() => ({ url: "" }))]);
    return { url, child, gone };
  }

  const stop = async ({ child, gone }: Awaited<ReturnType<typeof startChild>>) => {
    child.disconnect();
    await gone;
  };

  for (const point of ["guard.checked", "journal.appending", "journal.appended", "journal.synced", "guard.durable", "guard.signed"]) {
    it(`killed at ${point}: what was handed out is in the journal, and the limit holds over the restart`, async () => {
      const { account, lineage } = await agentOf(4n * PRICE);
      const first = await startChild();
      const before = await asker(first.url, account, lineage);
      const handedOut: VoucherWire[] = [await before.ask(PRICE)];
      await stop(first);

      // Registering again writes nothing, so the second voucher is what passes the point.
      const second = await startChild(point);
      const during = await asker(second.url, account, lineage);
      const lost = await during.ask(2n * PRICE).then(() => undefined, (error: unknown) => error as TallystickError);
      expect(await second.gone).equal("SIGKILL");
      expect(lost).include({ code: "guard_unreachable", retry: "safe" });

      const third = await startChild();
      const after = await asker(third.url, account, lineage);
      for (let ceiling = 2n; ; ceiling++) {
        const voucher = await after.ask(ceiling * PRICE).catch((error: unknown) => error as TallystickError);
        if (voucher instanceof TallystickError) {
          expect(voucher.code).equal("mandate_exhausted");
          break;
        }
        handedOut.push(voucher);
      }
      await stop(third);
      // Cumulative on one channel: the highest is what they cost. All of the budget, and not a unit more.
      const highest = handedOut.map(({ maxClaimableAmount }) => BigInt(maxClaimableAmount)).reduce((a, b) => (a > b ? a : b));
      expect(highest).equal(4n * PRICE);
      for (const { channelId, maxClaimableAmount, signature } of handedOut) {
        const signer = await recoverTypedDataAddress({ domain: DOMAIN, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: BigInt(maxClaimableAmount) }, signature });
        expect(signer).equal(before.config.payerAuthorizer);
      }
      const signed = readJournal(await readFile(path)).entries.filter(({ body }) => body.kind === "signed");
      expect((signed.at(-1)!.body as { highest: string }).highest).equal(String(highest));
    });
  }

  it("cut off at any byte it opens, and holds every line that was whole", async () => {
    const guard = await startTestGuard(undefined, {}, { path, master: `0x${"11".repeat(32)}` });
    const { account, lineage } = await agentOf(3n * PRICE);
    const { ask, channelId } = await asker(guard.url, account, lineage);
    await ask(PRICE);
    await ask(2n * PRICE);
    await guard.close();
    const whole = await readFile(path);
    const ends = [...whole.keys()].filter((at) => whole[at] === 0x0a);
    const torn = join(folder, "torn");
    for (let size = 0; size <= whole.length; size++) {
      const { entries, goodBytes } = readJournal(whole.subarray(0, size));
      const lines = ends.filter((end) => end < size).length;
      expect(entries.length, `cut at ${size}`).equal(lines);
      expect(goodBytes).equal(lines === 0 ? 0 : ends[lines - 1]! + 1);
    }
    // And through the file itself, around each line's end.
    for (const size of ends.flatMap((end) => [end - 1, end, end + 1])) {
      await writeFile(torn, whole.subarray(0, size));
      const store = await openJournal(torn);
      const channels = await store.channels((await store.mandateIds())[0] ?? (`0x${"0".repeat(64)}` as Hex));
      expect(channels.length).equal(size > ends[2]! ? 1 : 0);
      if (channels.length === 1) expect(channels[0]).include({ channelId, highest: size > ends[3]! ? 2n * PRICE : PRICE });
      await store.close();
      expect((await readFile(torn)).length).greaterThan(0);
    }
  });

  it("a line that was changed, or taken out, is noticed: nothing is signed on such accounts", async () => {
    const guard = await startTestGuard(undefined, {}, { path, master: `0x${"11".repeat(32)}` });
    const { account, lineage } = await agentOf(9n * PRICE);
    const { ask } = await asker(guard.url, account, lineage);
    for (let ceiling = 1n; ceiling <= 3n; ceiling++) await ask(ceiling * PRICE);
    await guard.close();
    const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
    const forged = lines.with(2, lines[2]!.replace('"highest":"1000"', '"highest":"0"'));
    for (const changed of [forged, lines.toSpliced(2, 1), [...lines.slice(0, 2), lines[3]!, lines[2]!, lines[4]!]]) {
      await writeFile(path, `${changed.join("\n")}\n`);
      const error = await openJournal(path).then(() => undefined, (reason: unknown) => reason as TallystickError);
      expect(error).include({ code: "guard_journal_corrupt" });
    }
  });

  it("is one process's at a time; a killed one's is free", async () => {
    const first = await startChild();
    const busy = await openJournal(path).then(() => undefined, (reason: unknown) => reason as TallystickError);
    expect(busy).include({ code: "guard_journal_busy", retry: "safe" });
    first.child.kill("SIGKILL");
    await first.gone;
    await (await openJournal(path)).close();
  });

  it("a guard whose journal is lost has other keys: it signs nothing on the old channels", async () => {
    const master: Hex = `0x${"11".repeat(32)}`;
    const { account, lineage } = await agentOf(9n * PRICE);
    const one = await startTestGuard(undefined, {}, { path, master });
    const { config: before } = await asker(one.url, account, lineage);
    await one.close();
    await rm(path);
    const two = await startTestGuard(undefined, {}, { path, master });
    const { config: after } = await asker(two.url, account, lineage);
    await two.close();
    expect(after.payerAuthorizer).not.equal(before.payerAuthorizer);
  });

  it("the same request again gets the same voucher and counts once", async () => {
    const guard = await startTestGuard(undefined, {}, { path, master: `0x${"11".repeat(32)}` });
    const { account, lineage } = await agentOf(9n * PRICE);
    const sent: string[] = [];
    const recording = (async (input: string, init: RequestInit) => {
      if (input.endsWith("/vouchers")) sent.push(init.body as string);
      return fetch(input, init);
    }) as typeof fetch;
    const client = new GuardClient({ url: guard.url, account, mandate: lineage, ...AT, fetch: recording });
    const { config, channelId } = await asker(guard.url, account, lineage);
    const book = new ChannelBook({ channelId, config, signed: 0n, charged: 0n, balance: 10n ** 9n });
    const accepts = { scheme: "batch-settlement", network: "eip155:84532", amount: String(PRICE), asset: config.token, payTo: PAYEE, extra: { withdrawDelay: 900 } };
    const voucher = await client.voucher(book, { ceiling: PRICE, price: PRICE }, { method: "GET", url: "http://seller.example/", body: undefined, price: PRICE, accepts });
    const replays = await Promise.all([1, 2, 3].map(async () => (await fetch(`${guard.url}/guard/v1/vouchers`, { method: "POST", body: sent[0]! })).json() as Promise<{ answers: { voucher: VoucherWire }[] }>));
    for (const { answers } of replays) expect(answers[0]!.voucher).deep.equal(voucher);
    const [channel] = (await guard.guard.status(client.mandateId)).channels;
    expect(channel).include({ highest: PRICE, approved: PRICE });
    await guard.close();
  });
});
