// Pages buy: from another origin, in Chromium, of a real relayer, on a real chain.
import { expect } from "chai";
import { fileURLToPath } from "node:url";
import { parseUnits } from "viem";
import { openPage, type TestPage } from "../support/browser.ts";
import { keyOf } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { receiptSigner } from "../../sdk/src/receipt.ts";
import type { PageCode } from "./page.ts";
import type { StockPage } from "./stock-page.ts";

/** A fresh machine installs Chromium first. */
const INSTALL_TIMEOUT_MS = 600_000;
const PRICE = 1_000n;

declare const stock: StockPage;
declare const tallystick: PageCode;

describe("buying in Chromium", function () {
  this.timeout(120_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
    await Promise.all([1, 2].map((index) => world.chain.mintUSDC(world.chain.account(index).address, parseUnits("1", 6))));
  });
  after(() => world?.stop());

  describe("with our agent", () => {
    let opened: TestPage;
    before(async function () {
      this.timeout(INSTALL_TIMEOUT_MS);
      opened = await openPage(fileURLToPath(new URL("./page.ts", import.meta.url)));
    });
    after(() => opened?.stop());

    it("deposits once, pays by voucher, checks every receipt", async () => {
      const bodies = ["one", "two", "three"];
      const bought = await opened.page.evaluate(([key, rpcUrl, url, bodies]) => tallystick.buy(key, rpcUrl, ["batch-settlement"], url, bodies), [keyOf(2), world.chain.url, `${world.url}/s/echo/`, bodies] as const);
      expect(bought.answers.map(({ status, answer }) => [status, answer.body])).to.deep.equal(bodies.map((body) => [200, body]));
      expect(bought.paid.map(({ charged, transaction }) => [charged, transaction !== undefined])).to.deep.equal([["1000", true], ["1000", false], ["1000", false]]);
      expect(bought.spent).to.equal((3n * PRICE).toString());
      const { rows } = await world.relayer.deps.db.query("SELECT charged, balance FROM channel WHERE channel_id = $1", [Buffer.from(bought.paid[0]!.channelId!.slice(2), "hex")]);
      expect(rows[0].charged).to.equal(3n * PRICE);
      // What Node makes of the receipts that the page was given.
      const signers = await Promise.all(bought.paid.map(({ receipt }) => receiptSigner(receipt!)));
      expect(new Set(signers)).to.deep.equal(new Set([world.relayer.deps.keyring.active]));
      expect(opened.faults.filter((fault) => !/ 402 |\/receipts\/acks$/.test(fault))).to.deep.equal([]);
    });
  });

  describe("with the official client", () => {
    let opened: TestPage;
    before(async function () {
      this.timeout(INSTALL_TIMEOUT_MS);
      opened = await openPage(fileURLToPath(new URL("./stock-page.ts", import.meta.url)));
    });
    after(() => opened?.stop());

    it("deposits once and pays by voucher, across origins", async () => {
      const bodies = ["one", "two", "three"];
      const bought = await opened.page.evaluate(([key, rpcUrl, url, bodies]) => stock.buy(key, rpcUrl, "batch-settlement", url, bodies), [keyOf(1), world.chain.url, `${world.url}/s/echo/`, bodies] as const);
      expect(bought.map(({ status, answer }) => [status, answer.body])).to.deep.equal(bodies.map((body) => [200, body]));
      expect(bought.map(({ settled }) => settled?.transaction !== "")).to.deep.equal([true, false, false]);
      const last = bought[2]!.settled!.extra as { channelState: Record<string, string> };
      expect(last.channelState["chargedCumulativeAmount"]).to.equal((3n * PRICE).toString());
      // The 402 of a probe shows in the console; nothing else may.
      expect(opened.faults.filter((fault) => !fault.includes("402"))).to.deep.equal([]);
    });
  });
});
