// The parts of the benchmarks that judge: what they must refuse, and what is drawn and written from the results.
import { expect } from "chai";
import { readFile } from "node:fs/promises";
import { keccak256, toHex, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { chartSvg } from "../../bench/chart.ts";
import { withTables } from "../../bench/docs.ts";
import { flame } from "../../bench/flame.ts";
import { ratioAt } from "../../bench/load/comparison.ts";
import { requireAgreement } from "../../bench/load/compare.ts";
import type { LoadChannel } from "../../bench/load/job.ts";
import { medianRow, settleAndCompare, type Row } from "../../bench/load/measure.ts";
import type { LoadServer, Settled } from "../../bench/load/servers.ts";
import { checkDigests, signVoucher } from "../../bench/load/vouchers.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { channelIdOf, sessionChannelsDomain, voucherTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";

const domain = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
const key = keccak256(toHex("bench test"));
const payer = privateKeyToAccount(key);
const config: ChannelConfig = { payer: payer.address, payerAuthorizer: payer.address, receiver: payer.address, receiverAuthorizer: payer.address, token: BASE_SEPOLIA.usdc.address, withdrawDelay: 900, salt: toHex(1n, { size: 32 }) };
const channel: LoadChannel = { config, channelId: channelIdOf(domain, config), key, signed: 300n };

describe("bench parts", () => {
  it("vouchers of the load client are the SDK's, to the byte", async () => {
    checkDigests(channel);
    const message = { channelId: channel.channelId, maxClaimableAmount: 12_345n };
    expect(signVoucher(channel, 12_345n)).equal(await payer.signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message }));
  });

  const settled = (charged: bigint, claimed: bigint, paidOut = claimed, payments = 3): Settled => {
    const by = (amount: bigint) => new Map<Hex, bigint>([[channel.channelId, amount]]);
    return { charged: by(charged), onChain: { claimed: by(claimed), receiver: { claimed, settled: paidOut } }, payments };
  };
  const comparedWith = (result: Settled) => settleAndCompare({ name: "tallystick", channels: [channel], settle: async () => result } as unknown as LoadServer);

  it("money that adds up is agreed to", async () => {
    const sums = await comparedWith(settled(300n, 300n));
    expect(sums.agree).equal(true);
    requireAgreement([sums]);
  });

  for (const [what, result] of Object.entries({
    "less charged than signed": settled(200n, 300n),
    "less claimed than charged": settled(300n, 200n),
    "claimed and not paid out": settled(300n, 300n, 200n),
    "a charged payment too many": settled(300n, 300n, 300n, 4),
    "nothing known of the channel": { ...settled(300n, 300n), charged: new Map() },
  })) {
    it(`no figure is shown with ${what}`, async () => {
      const sums = await comparedWith(result);
      expect(sums.agree).equal(false);
      expect(() => requireAgreement([sums])).throw(/signed, charged and claimed differ/);
    });
  }

  const row = (change: Partial<Row>): Row => ({
    server: "tallystick", route: "paid", processes: 1, inFlight: 64, n: 10, seconds: 1, rps: 100, p50Ms: 1, p99Ms: 2, maxMs: 3, cpuMsPerRequest: 0.2,
    postgresCpuMsPerRequest: undefined, clientCpuMsPerRequest: 0.1, rssMiB: 90, receiptsChecked: 2, ...change,
  });

  it("the median is taken figure by figure, receipts are added up", () => {
    const middle = medianRow([row({ rps: 300, p99Ms: 9 }), row({ rps: 100, p99Ms: 5 }), row({ rps: 200, p99Ms: 1 })]);
    expect([middle.rps, middle.p99Ms, middle.receiptsChecked, middle.postgresCpuMsPerRequest]).deep.equal([200, 5, 6, undefined]);
  });

  it("no ratio without the peer, and none of the free route", () => {
    const peer = row({ server: "stock", rps: 8 });
    expect(ratioAt([row({}), peer], 64)).equal(12.5);
    expect(ratioAt([row({})], 64)).equal(null);
    expect(ratioAt([row({}), { ...peer, route: "free" }], 64)).equal(null);
  });

  it("charts draw every bar with its number and follow the reader's colour scheme", () => {
    const svg = chartSvg({ title: "a < b", subtitle: "", series: ["one", "two"], panels: [{ title: "panel", axis: "axis", groups: [{ label: "1", values: [4321, 12] }, { label: "8", values: [Number.NaN, 0.25] }] }] });
    expect(svg.match(/<rect class="s\d" [^>]*rx="2"\/><text class="small"/g)).lengthOf(3);
    for (const shown of ["4,321", ">12<", ">0.25<", "a &lt; b", "prefers-color-scheme: dark", ">axis<"]) expect(svg).include(shown);
    expect(svg).not.include("NaN");
  });

  it("flame graphs leave out idle time and name where a frame is from", () => {
    const frame = (id: number, functionName: string, url: string, children: number[] = []) => ({ id, callFrame: { functionName, url, lineNumber: 6 }, children });
    const nodes = [frame(1, "(root)", "", [2, 4]), frame(2, "sell", "file:///x/relayer/src/a.ts", [3]), frame(3, "query", "file:///x/node_modules/pg/lib/client.js"), frame(4, "(idle)", "")];
    const svg = flame({ nodes, samples: [3, 3, 2, 4], timeDeltas: [100, 100, 200, 9_999] }, "t");
    expect(svg).include("sell relayer/src/a.ts:7: 100.0 %, itself 50.0 %").include("query pg: 50.0 %");
    expect(svg).not.include("idle");
  });

  it("the tables of docs/PERFORMANCE.md are those of bench/results", async () => {
    const page = await readFile(new URL("../../docs/PERFORMANCE.md", import.meta.url), "utf8");
    expect([...page.matchAll(/<!-- bench:(\w+) -->/g)].map(([, name]) => name)).include.members(["paid", "scale", "gateway", "growth", "exact"]);
    expect(await withTables(page)).equal(page);
  });
});
