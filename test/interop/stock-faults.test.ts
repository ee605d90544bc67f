// Where the official packages (2.27.0) fall short, as they are today, each with the reason and beside what our gateway does
// instead. A test that fails here tells of a better package: then the workaround for it can go.
import { toClientEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { FileChannelStorage } from "@x402/evm/batch-settlement/server/file-storage";
import { expect } from "chai";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createPublicClient, http, type Hex, type LocalAccount } from "viem";
import { baseSepolia } from "viem/chains";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { encodeHeader, manualBuyer, requiredOf } from "../support/buyer.ts";
import { STOCK_FRAMEWORKS, startStockServer, type StockServer } from "../support/stock-server.ts";
import { PRICE, startMatrixWorld, type MatrixWorld } from "./matrix/world.ts";

const DEPOSIT = 10n * PRICE;

describe("faults of the official packages", function () {
  this.timeout(120_000);
  let world: MatrixWorld;
  before(async () => void (world = await startMatrixWorld()));
  after(() => world.stop());

  const gateway = () => `${world.relayers.tallystick.url}/s/matrix/`;
  /** A buyer whose channel at `url` is open, with what it needs to go on. */
  const opened = async (url: string) => {
    const account = await world.newAccount();
    const buyer = manualBuyer(account, url);
    const required = await buyer.terms();
    const first = await buyer.send(await buyer.depositPayment(required, DEPOSIT, PRICE));
    expect(first.status, await first.text()).to.equal(200);
    const pay = async (ceiling: bigint, init: RequestInit = {}) => buyer.send(await buyer.voucherPayment(required, ceiling), init);
    return { account, buyer, required, pay, channelId: buyer.channelId(required) };
  };
  const startWithdrawal = async ({ account, buyer, required }: Awaited<ReturnType<typeof opened>>, amount: bigint) => {
    await world.chain.client.setBalance({ address: account.address, value: 10n ** 18n });
    const args = [buyer.configFor(required), amount] as const;
    const hash = await world.chain.client.writeContract({ account, address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "initiateWithdraw", args, chain: baseSepolia });
    await world.chain.client.waitForTransactionReceipt({ hash });
  };
  /** How many rows the relayer's ledger has for the channel where that holds. */
  const ledger = async (channelId: Hex, condition: string) => {
    const { rows } = await world.relayers.tallystick.current().deps.db.query(`SELECT 1 FROM channel WHERE channel_id = $1 AND ${condition}`, [Buffer.from(channelId.slice(2), "hex")]);
    return rows.length;
  };

  for (const framework of STOCK_FRAMEWORKS) {
    describe(`@${framework.replace("-", "/")}`, () => {
      let server: StockServer;
      before(async () => {
        const receiver = world.newReceiver().address;
        server = await startStockServer({ framework, facilitatorUrl: world.stockFacilitator.url, receiver, receiverAuthorizer: world.authorizer, price: PRICE, minDeposit: DEPOSIT });
      });
      after(() => server.stop());
      const batch = () => `${server.url}/batch/`;

      // https://github.com/x402-foundation/x402/issues/2397; specs/transports-v2/http.md says 400.
      it("answers 402 to a malformed PAYMENT-SIGNATURE, as if nobody had tried to pay; ours 400, with the field", async () => {
        for (const header of ["!!!", Buffer.from("no json").toString("base64")]) {
          const theirs = await fetch(batch(), { headers: { "payment-signature": header } });
          expect([theirs.status, requiredOf(theirs).error]).to.deep.equal([402, "Payment required"]);
          const ours = await fetch(gateway(), { headers: { "payment-signature": header } });
          expect([ours.status, ((await ours.json()) as { field: string }).field]).to.deep.equal([400, "PAYMENT-SIGNATURE"]);
        }
      });

      // https://github.com/x402-foundation/x402/issues/2901: the scheme does not say when to stop, the server never does.
      it("goes on selling to a channel that is being withdrawn; ours refuses", async () => {
        for (const [url, expected] of [[batch(), 200], [gateway(), 402]] as const) {
          const channel = await opened(url);
          await startWithdrawal(channel, DEPOSIT - PRICE);
          if (expected === 402) await eventually(async () => (await ledger(channel.channelId, "withdraw_initiated_at > 0")) === 1);
          const response = await channel.pay(2n * PRICE);
          expect(response.status, url).to.equal(expected);
        }
      });

      // https://github.com/x402-foundation/x402/pull/2491 (no agreed recovery): with no record of a channel, the server infers
      // what was charged from the voucher it is shown (inferMissingLocalChargedAmount in @x402/evm batch-settlement/server).
      it("after losing its memory sells again for a voucher that was spent, where nothing was claimed yet; ours has a database", async () => {
        const channel = await opened(batch());
        const old = await channel.buyer.voucherPayment(channel.required, 2n * PRICE);
        expect((await channel.buyer.send(old)).status).to.equal(200);
        expect((await channel.pay(3n * PRICE)).status).to.equal(200);
        expect((await channel.buyer.send(old)).status).to.equal(402);
        await server.restart();
        const runs = server.seen.length;
        expect((await channel.buyer.send(old)).status).to.equal(200);
        expect(server.seen.length).to.equal(runs + 1);
        // Two answers for one voucher, and what the third call cost is forgotten: the receiver can claim 2, not 4.
        await server.claimAndSettle();
        expect((await world.channel(channel.channelId)).claimed).to.equal(2n * PRICE);
      });

      // https://github.com/x402-foundation/x402/issues/451: settlement comes after the handler, in the response path.
      it("works for nothing when the money is gone by settlement (exact)", async () => {
        const account = await world.newAccount();
        const payment = await exactPayment(account, `${server.url}/exact/`);
        const runs = server.seen.length;
        const answer = fetch(`${server.url}/exact/slow/500`, { headers: { "payment-signature": payment } });
        await eventually(async () => server.seen.length > runs);
        await emptyWallet(world, account);
        const { status, headers } = await answer;
        expect([status, server.seen.length, headers.has("payment-response"), headers.has("payment-required")]).to.deep.equal([402, runs + 1, true, false]);
      });

      // @x402/core settles whatever amount the handler asks for; exact's facilitator takes the signed amount and no other.
      it("works for nothing when the handler asks for less than the price (exact); ours is paid the price", async () => {
        const account = await world.newAccount();
        const held = await world.usdcOf(account.address);
        const runs = server.seen.length;
        const theirs = await exactPayment(account, `${server.url}/exact/`);
        expect((await fetch(`${server.url}/exact/charge/400`, { headers: { "payment-signature": theirs } })).status).to.equal(402);
        expect([server.seen.length, await world.usdcOf(account.address)]).to.deep.equal([runs + 1, held]);
        const ours = await exactPayment(account, gateway());
        expect((await fetch(`${gateway()}charge/400`, { headers: { "payment-signature": ours } })).status).to.equal(200);
        expect(await world.usdcOf(account.address)).to.equal(held - PRICE);
      });

      // https://github.com/x402-foundation/x402/issues/277: what is settled and never arrives cannot be fetched again.
      it("charges a buyer who went away before the answer, ours does not", async () => {
        const theirs = await opened(batch());
        await leave(`${batch()}slow/400`, await theirs.buyer.voucherPayment(theirs.required, 2n * PRICE), () => server.seen.length);
        await eventually(async () => {
          await server.claimAndSettle();
          return (await world.channel(theirs.channelId)).claimed === 2n * PRICE;
        });
        const ours = await opened(gateway());
        await leave(`${gateway()}slow/400`, await ours.buyer.voucherPayment(ours.required, 2n * PRICE), () => world.provider.seen.length);
        await eventually(async () => (await ledger(ours.channelId, "reserved = 0 AND charged = 1000")) === 1);
        expect((await ours.pay(2n * PRICE, { method: "POST", body: "the same money buys another call" })).status).to.equal(200);
      });

      // @x402/evm batch-settlement/server: invalid_batch_settlement_evm_channel_busy while another request holds the channel.
      it("refuses a channel's second request while the first runs, and gives no state to catch up with", async () => {
        const channel = await opened(batch());
        const runs = server.seen.length;
        const slow = channel.buyer.send(await channel.buyer.voucherPayment(channel.required, 2n * PRICE), {}, `${batch()}slow/400`);
        await eventually(async () => server.seen.length > runs);
        const second = await channel.pay(2n * PRICE);
        expect([second.status, requiredOf(second).error]).to.deep.equal([402, "invalid_batch_settlement_evm_channel_busy"]);
        expect(requiredOf(second).accepts[0].extra["channelState"]).to.equal(undefined);
        expect((await slow).status).to.equal(200);
      });
    });
  }

  // https://github.com/x402-foundation/x402/issues/1299
  it("the facilitator's /settle reports success with no money moved where the Permit2 proxy has no code", async () => {
    const account = await world.newAccount();
    const signer = toClientEvmSigner(account, createPublicClient({ chain: baseSepolia, transport: http(world.chain.url) }));
    const { address, name, version } = BASE_SEPOLIA.usdc;
    const requirements = { scheme: "exact", network: BASE_SEPOLIA.network, amount: PRICE.toString(), asset: address, payTo: world.newReceiver().address, maxTimeoutSeconds: 60, extra: { name, version, assetTransferMethod: "permit2" } };
    const { payload } = await new ExactEvmScheme(signer).createPaymentPayload(2, requirements);
    const body = JSON.stringify({ x402Version: 2, paymentPayload: { x402Version: 2, accepted: requirements, payload }, paymentRequirements: requirements });
    const settled = (await (await fetch(`${world.stockFacilitator.url}/settle`, { method: "POST", body })).json()) as { success: boolean; transaction: Hex };
    expect(settled.success).to.equal(true);
    expect(await world.usdcOf(requirements.payTo as Hex)).to.equal(0n);
  });

  // @x402/evm batch-settlement/server/file-storage: acquireLock polls for ever; nobody takes a dead process's lock file away.
  it("a server with its state on disk hangs where a process died holding the lock file", async () => {
    const directory = await mkdtemp(join(tmpdir(), "tallystick-stock-lock-"));
    const channelId = `0x${"ab".repeat(32)}` as const;
    const lock = join(directory, "server", `${channelId}.json.lock`);
    await mkdir(dirname(lock), { recursive: true });
    await writeFile(lock, "");
    const storage = new FileChannelStorage({ directory });
    const update = storage.updateChannel(channelId, (current) => current).then(() => "done");
    expect(await Promise.race([update, sleep(1_000, "waits")])).to.equal("waits");
    await rm(lock);
    expect(await update).to.equal("done");
    await rm(directory, { recursive: true });
  });
});

/** A payment of scheme exact for what stands at `url`, signed by the official client. */
async function exactPayment(account: LocalAccount, url: string): Promise<string> {
  const required = requiredOf(await fetch(url));
  const accepted = (required.accepts as { scheme: string }[]).find(({ scheme }) => scheme === "exact");
  const { payload } = await new ExactEvmScheme(account).createPaymentPayload(2, accepted as never);
  return encodeHeader({ x402Version: 2, accepted, resource: required.resource, payload });
}

/** Sends all its USDC elsewhere. */
async function emptyWallet({ chain, usdcOf }: MatrixWorld, account: LocalAccount): Promise<void> {
  await chain.client.setBalance({ address: account.address, value: 10n ** 18n });
  const args = [chain.account(0).address, await usdcOf(account.address)] as const;
  const hash = await chain.client.writeContract({ account, chain: baseSepolia, address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi, functionName: "transfer", args });
  await chain.client.waitForTransactionReceipt({ hash });
}

/** Pays a call and hangs up as soon as the handler runs. */
async function leave(url: string, payment: unknown, runs: () => number): Promise<void> {
  const before = runs();
  const connection = new AbortController();
  const answer = fetch(url, { headers: { "payment-signature": encodeHeader(payment) }, signal: connection.signal }).catch((error: Error) => error);
  await eventually(async () => runs() > before);
  connection.abort();
  expect(await answer).to.be.instanceOf(Error);
}

/** Waits for what has to come; the test's own timeout is the limit. */
async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(10);
}
