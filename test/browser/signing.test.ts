// The code that signs and verifies, in Chromium: the same bytes as in Node and as the published vectors say.
import { expect } from "chai";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { ensureChromium } from "../../scripts/testing/chromium.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { NO_CHANNEL, NONE_AGREED, toWireReceipt, type Agreed, type Receipt, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { receiptDomain, receiptTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import { openPage, type TestPage } from "../support/browser.ts";
import { tallystick as inNode, type PageCode } from "./page.ts";

/** A fresh machine installs Chromium first. */
const INSTALL_TIMEOUT_MS = 600_000;

declare const tallystick: PageCode;

type Vector = { input: unknown; expected_digest: Hex };
const vector = (name: string) => JSON.parse(readFileSync(new URL(`../contracts/vectors/${name}.json`, import.meta.url), "utf8")) as Vector;

describe("signing and verifying in Chromium", function () {
  this.timeout(60_000);
  let opened: TestPage;
  before(async function () {
    this.timeout(INSTALL_TIMEOUT_MS);
    opened = await openPage(fileURLToPath(new URL("./page.ts", import.meta.url)));
  });
  after(() => opened?.stop());
  afterEach(() => expect(opened.faults).to.deep.equal([]));

  const seller = privateKeyToAccount(generatePrivateKey());
  const receipt: Receipt & Agreed = {
    ...NONE_AGREED,
    slaMet: 2,
    paymentId: "pay_0123456789abcdef0123456789abcdef",
    scheme: "exact",
    resource: "https://relayer.example/s/echo/ä",
    payer: privateKeyToAccount(generatePrivateKey()).address,
    receiver: seller.address,
    token: BASE_SEPOLIA.usdc.address,
    channelId: NO_CHANNEL,
    requestNumber: 1n,
    ...(({ input: inputHash, output: outputHash }) => ({ inputHash, outputHash }))(inNode.hashes("body")),
    startedAtMs: 1_700_000_000_000n,
    endedAtMs: 1_700_000_000_020n,
    latencyMs: 20n,
    amount: 340282366920938463463374607431768211455n,
    cumulative: 340282366920938463463374607431768211455n,
  };
  const signReceipt = async (): Promise<SignedReceipt> => {
    const domain = receiptDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
    return { format: "eip712", domain, payload: toWireReceipt(receipt), signature: await seller.signTypedData({ domain, types: receiptTypes, primaryType: "Receipt", message: receipt }), signer: seller.address };
  };

  it("a voucher has the vectors' channel id and digest, and Node's signature", async () => {
    const config = vector("L2.1-channel-config");
    const voucher = vector("L2.2-voucher");
    const { channelId, maxClaimableAmount } = voucher.input as { channelId: Hex; maxClaimableAmount: string };
    expect(channelId).to.equal(config.expected_digest);
    const key = generatePrivateKey();
    const terms = { chainId: BASE_SEPOLIA.chainId, contract: SESSION_CHANNELS, config: config.input as ChannelConfig, ceiling: maxClaimableAmount };
    const signed = await opened.page.evaluate(([key, terms]) => tallystick.signVoucher(key, terms), [key, terms] as const);
    expect(signed).to.deep.equal(await inNode.signVoucher(key, terms));
    expect([signed.channelId, signed.digest]).to.deep.equal([config.expected_digest, voucher.expected_digest]);
  });

  it("a receipt's hash and signer are Node's; a touched receipt has another signer", async () => {
    const signed = await signReceipt();
    const checked = await opened.page.evaluate((signed) => tallystick.checkReceipt(signed), signed);
    expect(checked).to.deep.equal(await inNode.checkReceipt(signed));
    expect(checked.signer).to.equal(seller.address);
    const touched = { ...signed, payload: { ...signed.payload, amount: "1" } };
    expect((await opened.page.evaluate((signed) => tallystick.checkReceipt(signed), touched)).signer).not.to.equal(seller.address);
  });

  it("hashes of what was bought are Node's, beyond ASCII too", async () => {
    for (const text of ["", "body", "größe 值 🧾"]) expect(await opened.page.evaluate((text) => tallystick.hashes(text), text)).to.deep.equal(inNode.hashes(text));
  });

  it("without Chromium, somebody who is not root is told what to run", async () => {
    const failure = await ensureChromium({ paths: ["/nonexistent/chromium"], root: false }).then(() => undefined, (error: Error) => error);
    expect(failure?.message).to.match(/apt-get/);
  });
});
