// Statements and payouts on a real chain: what a statement says is what the ledger charged and what the contract paid.
import { expect } from "chai";
import fc from "fast-check";
import { encodeFunctionData, erc20Abi, type Hex } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { signIn } from "../../sdk/src/access.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { sweepFees } from "../../relayer/src/capabilities/fees/sweep.ts";
import { linesOf, netOf, text, toCsv, totalsOf } from "../../relayer/src/capabilities/statements/logic.ts";
import type { WireStatement } from "../../relayer/src/capabilities/statements/schemas.ts";
import { followSettled } from "../../relayer/src/capabilities/statements/settled.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { settleOf, stockBuyer } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { callerAs, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const [BUYER, PROVIDER, STRANGER] = [1, ROLE.receiver, 5];
const USDC = BASE_SEPOLIA.usdc.address;

describe("statements", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let provider: Caller;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_ROLE: "server", RELAYER_FEE_BPS: "300" } });
    await world.chain.mintUSDC(addressOf(BUYER), 10_000_000n);
    provider = await callerAs(world, PROVIDER);
    await followSettled(world.relayer.deps);
  });
  after(() => world.stop());

  const buy = async (path: string) => {
    const answer = await stockBuyer(world.chain.account(BUYER), world.chain.url).fetch(`${world.url}/s/echo${path}`);
    expect(answer.status).equal(200);
    return settleOf(answer).extra.paymentId;
  };
  const books = async () => {
    await sweepFees(world.relayer.deps);
    await followSettled(world.relayer.deps);
  };
  const statement = async (query = ""): Promise<WireStatement> => {
    const { status, body } = await provider("GET", `/statements${query}`);
    expect(status).equal(200);
    return body as WireStatement;
  };
  const balanceOf = () => world.chain.client.readContract({ address: USDC, abi: erc20Abi, functionName: "balanceOf", args: [addressOf(PROVIDER)] });
  const flush = async () => expect(await world.relayer.settlement.flush()).equal(true);
  /** Token transfer by an account, mined. */
  const transfer = async (from: number, to: Hex, amount: bigint): Promise<Hex> => {
    const data = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [to, amount] });
    const hash = await world.chain.client.sendTransaction({ account: world.chain.account(from), chain: null, to: USDC, data });
    await world.chain.client.waitForTransactionReceipt({ hash });
    return hash;
  };

  it("says what the ledger charged and what the contract paid", async () => {
    for (const path of ["/a", "/b", "/charge/333", "/charge/0"]) await buy(path);
    await books();
    const before = await statement();
    expect(before.lines).deep.equal([{ day: new Date().toISOString().slice(0, 10), service: "echo", calls: 4, grossAtomic: "2333", feesAtomic: "69", refundsAtomic: "0", netAtomic: "2264" }]);
    expect(before.balance).include({ openingAtomic: "0", chargedAtomic: "2333", settledAtomic: "0", closingAtomic: "2333", unclaimedNowAtomic: "2333" });
    expect(before.provisional).equal(true);

    await flush();
    await books();
    const after = await statement();
    expect(after.balance).include({ chargedAtomic: "2333", settledAtomic: "2333", closingAtomic: "0", unclaimedNowAtomic: "0" });
    expect(await balanceOf()).equal(2333n);
    expect(after.transactions.map(({ kind, amountAtomic }) => [kind, amountAtomic]).sort()).deep.equal([["claim", "2333"], ["settlement", "2333"]]);
    const events = await world.chain.client.getContractEvents({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, eventName: "Settled", args: { receiver: addressOf(PROVIDER) }, fromBlock: 0n });
    expect(after.transactions.filter(({ kind }) => kind === "settlement").map(({ transaction, block }) => [transaction, block])).deep.equal(events.map((event) => [event.transactionHash, String(event.blockNumber)]));
  });

  it("sees what others settle, and forgets what a reorganisation took back", async () => {
    expect((await provider("PUT", "/payouts/schedule", { kind: "on_demand" })).body["schedule"]).deep.equal({ kind: "on_demand" });
    await buy("/c");
    await flush();
    const snapshot = await rpc<string>(world.chain.url, "evm_snapshot");
    const data = encodeFunctionData({ abi: sessionChannelsAbi, functionName: "settle", args: [addressOf(PROVIDER), USDC] });
    const hash = await world.chain.client.sendTransaction({ account: world.chain.account(STRANGER), chain: null, to: SESSION_CHANNELS, data });
    await world.chain.client.waitForTransactionReceipt({ hash });
    await books();
    expect((await statement()).transactions.map(({ transaction }) => transaction)).include(hash);
    await rpc(world.chain.url, "evm_revert", [snapshot]);
    await world.chain.mineBlocks(3);
    await books();
    const { transactions, balance } = await statement();
    expect(transactions.map(({ transaction }) => transaction)).not.include(hash);
    expect(balance.settledAtomic).equal("2333");
  });

  it("counts a receiver's own refund once, and never beyond the charge", async () => {
    const paymentId = await buy("/charge/500");
    const given = await transfer(PROVIDER, addressOf(BUYER), 200n);
    const refund = (transaction: string, id = paymentId, call = provider) => call("POST", "/refunds", { paymentId: id, transaction });
    expect((await refund(given)).body).include({ amountAtomic: "200", refundedAtomic: "200" });
    expect((await refund(given)).body).include({ amountAtomic: "200", refundedAtomic: "200" });
    expect((await refund(given, await buy("/charge/400"))).body).include({ code: "refund_counted" });
    expect((await refund(await transfer(PROVIDER, addressOf(BUYER), 301n))).body).include({ code: "refund_above_charge" });
    expect((await refund(await transfer(PROVIDER, addressOf(STRANGER), 10n))).body).include({ code: "refund_not_found" });
    expect((await refund(`0x${"ab".repeat(32)}`)).body).include({ code: "refund_not_found", retry: "safe" });
    expect((await refund(given, paymentId, await callerAs(world, STRANGER))).status).equal(404);
    await books();
    const { totals } = await statement();
    expect(totals.refundsAtomic).equal("200");
    expect(BigInt(totals.netAtomic)).equal(BigInt(totals.grossAtomic) - BigInt(totals.feesAtomic) - 200n);
  });

  it("is the receiver's alone, and of a sensible period", async () => {
    expect((await fetch(`${world.url}/api/v1/statements`)).status).equal(401);
    const stranger = await callerAs(world, STRANGER);
    expect((await stranger("GET", `/statements?receiver=${addressOf(PROVIDER)}`)).body).include({ code: "statement_not_yours" });
    expect((await stranger("GET", "/statements")).body).include({ receiver: addressOf(STRANGER) }).deep.include({ lines: [], transactions: [] });
    for (const query of ["?from=2026-02-30", "?from=2026-02-02&to=2026-02-02", "?from=2020-01-01&to=2024-01-01", "?to=x", "?token=0x1"]) {
      expect((await provider("GET", `/statements${query}`)).status, query).equal(400);
    }
    expect((await statement("?from=2020-01-01&to=2020-02-01")).totals).include({ calls: 0, grossAtomic: "0" });
  });

  it("is the same as CSV, by Accept or by format", async () => {
    const json = await statement();
    const { token } = await signIn({ relayerUrl: world.url, account: world.chain.account(PROVIDER) });
    const csv = async (query: string, headers: Record<string, string>) => {
      const answer = await fetch(`${world.url}/api/v1/statements${query}`, { headers: { authorization: `Bearer ${token}`, ...headers } });
      expect([answer.status, answer.headers.get("content-type"), answer.headers.get("cache-control")]).deep.equal([200, "text/csv; charset=utf-8", "no-store"]);
      return answer.text();
    };
    const given = await csv("", { accept: "text/csv" });
    expect(given).equal(await csv("?format=csv", {})).equal(toCsv(json));
    const lines = given.split("\r\n");
    expect(lines[0]).equal("record,at,service,calls,gross_atomic,fees_atomic,refunds_atomic,net_atomic,amount_atomic,transaction,block");
    const { totals } = json;
    expect(lines).include(`total,${json.to},,${totals.calls},${totals.grossAtomic},${totals.feesAtomic},${totals.refundsAtomic},${totals.netAtomic},,,`);
    for (const { kind, at, amountAtomic, transaction, block } of json.transactions) expect(lines).include(`${kind},${at},,,,,,,${amountAtomic},${transaction},${block ?? ""}`);
  });

  it("no cell of it is a formula, whatever it holds", () => {
    for (const evil of ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]) expect(text(evil)).match(/^"?'/);
    fc.assert(
      fc.property(fc.string(), (value) => {
        const cell = text(value);
        const content = cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell;
        return !/^[=+\-@\t\r\n]/.test(content) && content.replace(/^'/, "") === value.replace(/^'/, "") && (cell.startsWith('"') || !/[",\r\n]/.test(cell));
      }),
    );
  });

  it("its totals are the sums of its lines, refunds without sales that day included", () => {
    const amount = fc.bigInt({ min: 0n, max: 10n ** 20n });
    const place = { day: fc.constantFrom("2026-01-01", "2026-01-02"), service: fc.constantFrom("a", "b", "c") };
    const earned = fc.uniqueArray(fc.record({ ...place, calls: fc.nat(1000), gross: amount, fees: amount }), { selector: ({ day, service }) => day + service });
    fc.assert(
      fc.property(earned, fc.array(fc.record({ ...place, amount })), (sold, refunds) => {
        const lines = linesOf(sold, refunds);
        const totals = totalsOf(lines);
        const given = refunds.reduce((sum, refund) => sum + refund.amount, 0n);
        return totals.refunds === given && totals.gross === sold.reduce((sum, line) => sum + line.gross, 0n) && netOf(totals) === lines.reduce((sum, line) => sum + netOf(line), 0n);
      }),
    );
  });
});
