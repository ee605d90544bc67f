// What the seller signs, checked with the official extension and with the SDK; and what a provider may charge.
import {
  extractOffersFromPaymentRequired, extractReceiptFromResponse, verifyOfferSignatureEIP712, verifyReceiptMatchesOffer, verifyReceiptSignatureEIP712,
} from "@x402/extensions/offer-receipt";
import { expect } from "chai";
import { pad, parseUnits, recoverTypedDataAddress, toHex, zeroHash } from "viem";
import { findReceipt } from "../../relayer/src/capabilities/gateway/receipt-store.ts";
import { signReceipt } from "../../relayer/src/capabilities/gateway/receipts.ts";
import { signIn } from "../../sdk/src/access.ts";
import { inputHash, NONE_AGREED, outputHash, receiptSigner, RECEIPT_EXTENSION, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { firstReceiptTypes } from "../../sdk/src/typed-data.ts";
import { manualBuyer, requiredOf, settleOf, stockBuyer } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;

describe("offers and receipts", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let salts = 0;

  before(async () => {
    world = await startTestWorld();
    await Promise.all([1, 2, 3].map((index) => world.chain.mintUSDC(world.chain.account(index).address, parseUnits("10", 6))));
  });
  after(() => world.stop());

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  const authorizer = () => world.relayer.deps.keyring.active;
  const receiptIn = (response: Response): SignedReceipt => (settleOf(response) as unknown as { extensions: Record<string, { info: { receipt: SignedReceipt } }> }).extensions[RECEIPT_EXTENSION]!.info.receipt;
  async function opened() {
    const buyer = manualBuyer(world.chain.account(1), url(), pad(toHex(++salts)));
    const terms = await buyer.terms();
    const first = await buyer.send(await buyer.depositPayment(terms, 100n * PRICE, PRICE));
    expect(first.status, await first.clone().text()).to.equal(200);
    return { buyer, terms, first, channelId: buyer.channelId(terms) };
  }

  it("signs an offer for every way to pay, bound to the resource and good for a while", async () => {
    const required = requiredOf(await fetch(url("/a?b=1")));
    const offers = extractOffersFromPaymentRequired(required as never);
    expect(offers.length).to.equal(required.accepts.length);
    for (const [index, offer] of offers.entries()) {
      const { signer, payload } = await verifyOfferSignatureEIP712(offer as never);
      expect(signer).to.equal(authorizer());
      const { scheme, network, asset, payTo, amount } = required.accepts[index]!;
      expect(payload).to.include({ scheme, network, asset, payTo, amount, resourceUrl: required.resource.url });
      expect(payload.validUntil).to.be.greaterThan(Date.now() / 1000);
    }
  });

  it("gives the official receipt with the answer, matching the offer", async () => {
    const buyer = stockBuyer(world.chain.account(2), world.chain.url);
    const [offer] = extractOffersFromPaymentRequired(requiredOf(await fetch(url("/x"))) as never);
    const receipt = extractReceiptFromResponse(await buyer.fetch(url("/x")))!;
    const { signer } = await verifyReceiptSignatureEIP712(receipt as never);
    expect(signer).to.equal(authorizer());
    const { payload } = offer as unknown as { payload: object };
    expect(verifyReceiptMatchesOffer(receipt, { ...payload, signedOffer: offer } as never, [world.chain.account(2).address])).to.equal(true);
  });

  it("proves what was asked, what was answered, when, and for how much", async () => {
    const { buyer, terms, channelId } = await opened();
    const response = await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE), { method: "POST", body: "héllo", headers: { "content-type": "text/plain" } }, url("/p?q=1"));
    const body = new Uint8Array(await response.clone().arrayBuffer());
    const signed = receiptIn(response);
    expect(await receiptSigner(signed)).to.equal(authorizer());
    expect(signed.payload).to.include({
      paymentId: settleOf(response).extra.paymentId, scheme: "batch-settlement", resource: `${world.relayer.deps.config.publicUrl}/s/echo/p?q=1`,
      payer: buyer.account.address, channelId, requestNumber: "2", amount: "1000", cumulative: "2000",
      inputHash: inputHash({ method: "POST", target: "/s/echo/p?q=1", contentType: "text/plain", body: new TextEncoder().encode("héllo") }),
      outputHash: outputHash({ status: 200, contentType: response.headers.get("content-type")!, body }),
    });
    expect(BigInt(signed.payload.endedAtMs) - BigInt(signed.payload.startedAtMs)).to.equal(BigInt(signed.payload.latencyMs));
    expect(await receiptSigner({ ...signed, payload: { ...signed.payload, amount: "999" } })).to.not.equal(authorizer());
  });

  it("says that nothing was agreed; a payment of before receipts said so has the receipt it had", async () => {
    const { buyer, terms } = await opened();
    const signed = receiptIn(await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE)));
    expect(signed.payload).to.include(NONE_AGREED);
    const { deps } = world.relayer;
    const { paymentId, offer, mandate, session, slaMet, ...first } = signed.payload;
    await deps.db.query("UPDATE payment SET receipt_format = 1 WHERE payment_id = $1", [paymentId]);
    const found = (await findReceipt(deps.db, paymentId))!;
    const old = await signReceipt(deps, { receipt: found.receipt, signer: found.signer! });
    expect(old.payload).to.deep.equal({ paymentId, ...first });
    expect(await receiptSigner(old)).to.equal(authorizer());
    const asThen = { domain: old.domain, types: firstReceiptTypes, primaryType: "Receipt", message: found.receipt, signature: old.signature } as const;
    expect(await recoverTypedDataAddress(asThen)).to.equal(authorizer());
    // Neither kind passes for the other.
    expect(await receiptSigner({ ...old, payload: signed.payload })).to.not.equal(authorizer());
    expect([offer, mandate, session, slaMet]).to.deep.equal([zeroHash, zeroHash, zeroHash, 0]);
  });

  it("can be read in the words of the market", async () => {
    const { buyer, terms, channelId } = await opened();
    const signed = receiptIn(await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE)));
    const { token } = await signIn({ relayerUrl: world.url, account: buyer.account });
    const shown = (await (await fetch(`${world.url}/api/v1/receipts/${signed.payload.paymentId}`, { headers: { authorization: `Bearer ${token}` } })).json()) as Record<string, unknown>;
    const { inputHash, outputHash, latencyMs, startedAtMs, endedAtMs } = signed.payload;
    expect(shown).to.deep.include({
      receiptId: signed.payload.paymentId, sessionId: channelId, requestNumber: "2", inputHash, outputHash, latencyMs, amountCharged: "1000", offer: null, mandate: null, signature: signed.signature,
      requestStartedAt: new Date(Number(startedAtMs)).toISOString(), requestCompletedAt: new Date(Number(endedAtMs)).toISOString(), slaVerification: { met: null, metrics: { latencyMs } },
    });
  });

  it("gives the same receipt again with a replay, from another process too", async () => {
    const { buyer, terms } = await opened();
    const payment = await buyer.voucherPayment(terms, 2n * PRICE);
    const first = await buyer.send(payment);
    const second = await world.anotherRelayer();
    expect(receiptIn(await buyer.send(payment, {}, `${second.url}/s/echo/`))).to.deep.equal(receiptIn(first));
  });

  it("speaks the older header names to whoever uses them", async () => {
    const { buyer, terms, channelId } = await opened();
    const payment = Buffer.from(JSON.stringify(await buyer.voucherPayment(terms, 2n * PRICE))).toString("base64");
    const offered = await fetch(url(), { headers: { "x-402-intent": "summaries" } });
    expect(offered.headers.get("x-402-offer")).to.be.a("string");
    const response = await fetch(url(), { headers: { "x-402-payment": payment } });
    expect([response.status, response.headers.get("x-402-session-id")]).to.deep.equal([200, channelId]);
    const receipt = JSON.parse(Buffer.from(response.headers.get("x-402-receipt")!, "base64").toString()) as SignedReceipt;
    expect(receipt).to.deep.equal(receiptIn(response));
    expect((await fetch(url(), { headers: { "x-402-payment": payment, "payment-signature": payment } })).status).to.equal(400);
    expect((await buyer.send(await buyer.voucherPayment(terms, 3n * PRICE))).headers.get("x-402-receipt")).to.equal(null);
  });

  it("charges what the provider asks for up to the price, and a stock client keeps count", async () => {
    const buyer = stockBuyer(world.chain.account(3), world.chain.url);
    let cumulative = 0n;
    for (const [wish, charge] of [["250", 250n], ["33.33pct", 333n], ["0", 0n], ["$0.001", 1000n], ["100pct", 1000n]] as const) {
      const response = await buyer.fetch(url(`/charge/${wish}`));
      cumulative += charge;
      expect(response.status, wish).to.equal(200);
      expect(response.headers.get("settlement-overrides")).to.equal(null);
      expect(settleOf(response).extra, wish).to.include({ chargedAmount: charge.toString() });
      expect(settleOf(response).extra.channelState).to.include({ chargedCumulativeAmount: cumulative.toString() });
      // It did not ask for our receipt, and is spared it; the payment's row still gives it to whoever signs in.
      expect(Object.keys((settleOf(response) as unknown as { extensions?: object }).extensions ?? {})).to.not.include(RECEIPT_EXTENSION);
    }
  });

  it("never charges above the price, and a buyer's own override means nothing", async () => {
    const { buyer, terms } = await opened();
    const greedy = await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE), {}, url("/charge/1001"));
    expect([greedy.status, ((await greedy.json()) as { code: string }).code]).to.deep.equal([502, "upstream_charge_invalid"]);
    const sly = await buyer.send(await buyer.voucherPayment(terms, 2n * PRICE), { headers: { "settlement-overrides": '{"amount":"1"}' } });
    expect(settleOf(sly).extra).to.include({ chargedAmount: "1000" });
    expect(world.provider.seen.at(-1)!.headers["settlement-overrides"]).to.equal(undefined);
  });
});
