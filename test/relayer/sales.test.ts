// Sales by a provider's own server, asked as such a server asks, and as a dishonest one would.
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import type { HDAccount, Hex } from "viem";
import { outputHash, receiptSigner, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { sweep } from "../../relayer/src/capabilities/ledger/service.ts";
import { manualBuyer, type Required, type Settle } from "../support/buyer.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { answer, callerAs, chargeBody, requiredIn, SHOP_URL, takeAs, type Answered, type Caller } from "../support/provider-world.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const [OWNER, OTHER] = [12, 13];
const SERVICE = "quotes";

describe("sales", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let owner: Caller;
  let other: Caller;
  let next = 20;
  before(async () => {
    world = await startTestWorld({ sweepsByHand: true });
    [owner, other] = [await callerAs(world, OWNER), await callerAs(world, OTHER)];
    expect((await owner("POST", "/services", { name: SERVICE, url: SHOP_URL, price: "$0.001", upstreamTimeoutMs: 20_000 })).status).equal(201);
  });
  after(() => world.stop());

  /** A buyer with a channel of 500 calls at the owner's receiver, so far charged nothing. */
  async function opened(path = "/quote"): Promise<{ account: HDAccount; hand: ReturnType<typeof manualBuyer>; required: Required; channelId: Hex }> {
    const account = world.chain.account(next++);
    await world.chain.mintUSDC(account.address, 1_000_000n);
    const hand = manualBuyer(account, SHOP_URL);
    const required = requiredIn(await takeAs(owner, { service: SERVICE, path }));
    const first = await takeAs(owner, { service: SERVICE, path, payment: await hand.depositPayment(required, 500_000n, 1_000n) });
    expect(first.body["outcome"], JSON.stringify(first.body)).equal("reserved");
    expect((await owner("POST", `/sales/${first.body["paymentId"]}/release`, { reason: "opened" })).status).equal(200);
    return { account, hand, required: requiredIn(await takeAs(owner, { service: SERVICE, path })), channelId: hand.channelId(required) };
  }
  const channel = async (id: Hex) => (await world.relayer.deps.db.query("SELECT charged, reserved, request_count FROM channel WHERE channel_id = $1", [Buffer.from(id.slice(2), "hex")])).rows[0];
  const settleIn = (headers: Record<string, string>) => JSON.parse(Buffer.from(headers["PAYMENT-RESPONSE"]!, "base64").toString()) as Settle & { extensions: Record<string, { info: { receipt: SignedReceipt } }> };
  const reserve = async (hand: ReturnType<typeof manualBuyer>, required: Required, ceiling: bigint, take: Partial<Parameters<typeof takeAs>[1]> = {}) => {
    const payment = await hand.voucherPayment(required, ceiling);
    const taken = await takeAs(owner, { service: SERVICE, payment, ...take });
    expect(taken.body["outcome"], JSON.stringify(taken.body)).equal("reserved");
    return { payment, paymentId: taken.body["paymentId"] as string, taken };
  };
  const codeOf = ({ status, body }: Answered) => [status, body["code"]];

  it("an unpaid call gets the 402 of the gateway: both schemes, the call's own price, offers, no scope", async () => {
    const unpaid = await takeAs(owner, { service: SERVICE, priceAtomic: "2500" });
    expect([unpaid.status, unpaid.body["outcome"], unpaid.body["answer"].status]).deep.equal([200, "unpaid", 402]);
    const { accepts, resource, extensions } = requiredIn(unpaid) as Required & { accepts: Required["accepts"][0][] };
    expect(accepts.map(({ scheme, amount, payTo }) => [scheme, amount, payTo])).deep.equal([["batch-settlement", "2500", addressOf(OWNER)], ["exact", "2500", addressOf(OWNER)]]);
    expect(accepts[0].extra["tallystick"]).include({ version: 1, maxInFlight: 64 }).and.not.have.property("scope");
    expect(resource.url).equal(`${SHOP_URL}/quote`);
    expect(extensions).have.property("offer-receipt");
  });

  it("take, run, charge: receipt and PAYMENT-RESPONSE as the gateway gives them; the same payment again gets the answer", async () => {
    const { hand, required, channelId } = await opened();
    const { payment, paymentId, taken } = await reserve(hand, required, 1_000n);
    expect(taken.body).include({ payer: hand.account.address, priceAtomic: "1000" });
    expect(taken.body["leaseMs"]).within(20_000, 35_000);
    expect(await channel(channelId)).include({ charged: 0n, reserved: 1_000n });
    const charged = await owner("POST", `/sales/${paymentId}/charge`, chargeBody("42"));
    expect([charged.status, charged.body["outcome"], charged.body["chargedAtomic"]], JSON.stringify(charged.body)).deep.equal([200, "charged", "1000"]);
    expect(await channel(channelId)).include({ charged: 1_000n, reserved: 0n, request_count: 1n });

    const settle = settleIn(charged.body["headers"]);
    expect(settle.extra).include({ chargedAmount: "1000", paymentId });
    const receipt = settle.extensions["tallystick-receipt"]!.info.receipt;
    expect(receipt.payload).include({ resource: `${SHOP_URL}/quote`, payer: hand.account.address, receiver: addressOf(OWNER), amount: "1000" });
    expect(receipt.payload.outputHash).equal(outputHash({ status: 200, contentType: "text/plain", body: new TextEncoder().encode("42") }));
    expect(await receiptSigner(receipt)).equal(addressOf(ROLE.authorizer));
    expect(charged.body["receipt"]).deep.equal(receipt);

    const again = await takeAs(owner, { service: SERVICE, payment });
    expect([again.body["outcome"], Buffer.from(again.body["answer"].bodyBase64, "base64").toString(), again.body["answer"].headers["cache-control"]]).deep.equal(["replay", "42", "private"]);
    expect(settleIn(again.body["answer"].headers).extra.chargedAmount).equal("1000");
    expect(await channel(channelId)).include({ charged: 1_000n, request_count: 1n });
    const elsewhere = await takeAs(owner, { service: SERVICE, path: "/other", payment });
    expect([elsewhere.body["outcome"], elsewhere.body["code"], elsewhere.body["answer"].status]).deep.equal(["refused", "voucher_used", 402]);
  });

  it("charges less than the price, down to nothing, and the next voucher follows on that", async () => {
    const { hand, required, channelId } = await opened();
    const one = await reserve(hand, required, 1_000n);
    expect((await owner("POST", `/sales/${one.paymentId}/charge`, chargeBody("part", "333"))).body["chargedAtomic"]).equal("333");
    const two = await reserve(hand, required, 1_333n, { path: "/b" });
    expect((await owner("POST", `/sales/${two.paymentId}/charge`, chargeBody("free", "0"))).body["chargedAtomic"]).equal("0");
    expect(await channel(channelId)).include({ charged: 333n, reserved: 0n, request_count: 2n });
    await reserve(hand, required, 1_333n, { path: "/c" });
  });

  it("a refusal names what is wrong, with the terms and the channel's state to catch up by", async () => {
    const { hand, required, account } = await opened();
    const { paymentId } = await reserve(hand, required, 1_000n);
    await owner("POST", `/sales/${paymentId}/charge`, chargeBody("x"));
    const low = await takeAs(owner, { service: SERVICE, path: "/b", payment: await hand.voucherPayment(required, 1_500n) });
    expect([low.body["outcome"], low.body["code"]]).deep.equal(["refused", "voucher_ceiling_mismatch"]);
    expect(requiredIn(low).accepts[0].extra["channelState"]).include({ chargedCumulativeAmount: "1000" });
    const forged = await hand.voucherPayment(required, 2_000n);
    (forged.payload["voucher"] as Record<string, unknown>)["signature"] = (await manualBuyer(world.chain.account(next++), "").voucher(hand.channelId(required), 2_000n)).signature;
    expect((await takeAs(owner, { service: SERVICE, path: "/b", payment: forged })).body).include({ outcome: "refused", code: "voucher_signature_invalid" });
    const garbage = await owner("POST", "/sales", { service: SERVICE, resource: SHOP_URL, inputHash: `0x${"0".repeat(64)}`, payment: "!!!" });
    expect([garbage.body["outcome"], garbage.body["answer"].status, garbage.body["code"]]).deep.equal(["refused", 400, "payment_malformed"]);
    const cheaper = await takeAs(owner, { service: SERVICE, path: "/b", priceAtomic: "9000", payment: await hand.voucherPayment(required, 2_000n) });
    expect([cheaper.body["code"], requiredIn(cheaper).accepts[0].amount, account.address]).deep.equal(["amount_mismatch", "9000", account.address]);
  });

  it("charged twice is charged once; with another answer or amount it is refused", async () => {
    const { hand, required, channelId } = await opened();
    const { paymentId } = await reserve(hand, required, 1_000n);
    const both = await Promise.all([1, 2].map(() => owner("POST", `/sales/${paymentId}/charge`, chargeBody("once", "600"))));
    expect(both.map(({ status, body }) => [status, body["chargedAtomic"]])).deep.equal([[200, "600"], [200, "600"]]);
    expect(both[0]!.body["receipt"]).deep.equal(both[1]!.body["receipt"]);
    expect(codeOf(await owner("POST", `/sales/${paymentId}/charge`, chargeBody("once", "700")))).deep.equal([409, "sale_charged_otherwise"]);
    expect(codeOf(await owner("POST", `/sales/${paymentId}/charge`, chargeBody("else", "600")))).deep.equal([409, "sale_charged_otherwise"]);
    expect(codeOf(await owner("POST", `/sales/${paymentId}/release`, { reason: "regret" }))).deep.equal([409, "sale_charged"]);
    expect(await channel(channelId)).include({ charged: 600n, reserved: 0n, request_count: 1n });
  });

  it("a dishonest provider: above the price, another's sale, the gateway's payments, another's service, another's URL", async () => {
    const { hand, required, channelId } = await opened();
    const { paymentId } = await reserve(hand, required, 1_000n);
    expect(codeOf(await owner("POST", `/sales/${paymentId}/charge`, chargeBody("x", "1001")))).deep.equal([400, "charge_above_price"]);
    for (const verb of [["charge", chargeBody("x")], ["release", { reason: "mine_now" }]] as const) {
      expect(codeOf(await other("POST", `/sales/${paymentId}/${verb[0]}`, verb[1])), verb[0]).deep.equal([404, "not_found"]);
    }
    expect(await channel(channelId)).include({ charged: 0n, reserved: 1_000n });
    expect((await owner("POST", `/sales/${paymentId}/charge`, chargeBody("x"))).status).equal(200);

    expect(codeOf(await takeAs(other, { service: SERVICE }))).deep.equal([403, "service_not_yours"]);
    expect(codeOf(await takeAs(owner, { service: "echo" }))).deep.equal([403, "service_not_yours"]);
    expect(codeOf(await takeAs(owner, { service: "nothing" }))).deep.equal([404, "service_unknown"]);
    for (const resource of ["https://bank.example/", `${SHOP_URL}.evil.example/`, "https://shop.example/", `${SHOP_URL}/../private`, `${SHOP_URL}/%2e%2e/private`, `${SHOP_URL}#x`, `https://u@shop.example/api/x`]) {
      expect(codeOf(await takeAs(owner, { service: SERVICE, change: { resource } })), resource).deep.equal([400, "resource_foreign"]);
    }
    await owner("POST", "/services", { name: "proxied", origin: world.provider.origin, price: "$0.001" });
    expect(codeOf(await takeAs(owner, { service: "proxied" }))).deep.equal([409, "service_not_self_hosted"]);
  });

  it("a payment of the gateway in flight is not the owner's to charge", async () => {
    await owner("POST", "/services", { name: "proxied", origin: world.provider.origin, price: "$0.001" });
    const account = world.chain.account(next++);
    await world.chain.mintUSDC(account.address, 1_000_000n);
    const hand = manualBuyer(account, `${world.url}/s/proxied/slow/1500`);
    const required = await hand.terms();
    const buying = hand.send(await hand.depositPayment(required, 500_000n, 1_000n));
    const { db } = world.relayer.deps;
    const inFlight = async (): Promise<string> => (await db.query("SELECT payment_id FROM payment WHERE service = 'proxied' AND state = 'reserved'")).rows[0]?.payment_id ?? (await sleep(20), inFlight());
    expect(codeOf(await owner("POST", `/sales/${await inFlight()}/charge`, chargeBody("mine")))).deep.equal([404, "not_found"]);
    const bought = await buying;
    expect([bought.status, await bought.text()]).satisfy(([status, text]: [number, string]) => status === 200 && text.includes("/slow/1500"));
  });

  it("what one service of a receiver delivered, another one's owner does not get", async () => {
    await other("POST", "/services", { name: "copycat", url: SHOP_URL, price: "$0.001", receiver: addressOf(OWNER) });
    const { hand, required } = await opened();
    const { payment, paymentId } = await reserve(hand, required, 1_000n);
    await owner("POST", `/sales/${paymentId}/charge`, chargeBody("secret"));
    const stolen = await takeAs(other, { service: "copycat", payment });
    expect([stolen.body["outcome"], stolen.body["code"]]).deep.equal(["refused", "voucher_used"]);
    expect(JSON.stringify(stolen.body)).not.include(Buffer.from("secret").toString("base64"));
  });

  it("a provider that dies between take and charge: the lease runs out, nothing is charged, the voucher is free again", async () => {
    const { hand, required, channelId } = await opened();
    const { payment, paymentId } = await reserve(hand, required, 1_000n);
    await world.relayer.deps.db.query("UPDATE payment SET reserved_until = now() - interval '1 second' WHERE payment_id = $1", [paymentId]);
    await sweep(world.relayer.deps);
    const late = await owner("POST", `/sales/${paymentId}/charge`, chargeBody("late"));
    expect([...codeOf(late), late.body["reason"]]).deep.equal([409, "sale_released", "lease_expired"]);
    expect((await owner("POST", `/sales/${paymentId}/release`, { reason: "late" })).status, "released already").equal(200);
    expect(await channel(channelId)).include({ charged: 0n, reserved: 0n, request_count: 0n });
    expect((await takeAs(owner, { service: SERVICE, payment })).body["outcome"]).equal("reserved");
  });

  it("a take whose answer was lost is repeated by its key, in any process; the key is for that take alone", async () => {
    const { hand, required, channelId } = await opened();
    const payment = await hand.voucherPayment(required, 1_000n);
    const elsewhere = await callerAs(world, OWNER, (await world.anotherRelayer()).url);
    const all = await Promise.all([owner, elsewhere, owner].map((call) => takeAs(call, { service: SERVICE, payment, key: "same-take" })));
    expect(all.map(({ body }) => body["outcome"])).deep.equal(["reserved", "reserved", "reserved"]);
    expect(new Set(all.map(({ body }) => body["paymentId"])).size).equal(1);
    expect(await channel(channelId)).include({ reserved: 1_000n });
    expect(codeOf(await takeAs(owner, { service: SERVICE, path: "/b", payment, key: "same-take" }))).deep.equal([409, "idempotency_conflict"]);
    // Another's key of the same text is another key.
    await other("POST", "/services", { name: "theirs", url: SHOP_URL, price: "$0.001" });
    expect((await takeAs(other, { service: "theirs", key: "same-take" })).body["outcome"]).equal("unpaid");
    const charged = await elsewhere("POST", `/sales/${all[0]!.body["paymentId"]}/charge`, chargeBody("x"));
    expect([charged.status, await channel(channelId)]).deep.equal([200, { charged: 1_000n, reserved: 0n, request_count: 1n }]);
  });

  it("a deposit stands when the call is released, and the buyer is told so", async () => {
    const account = world.chain.account(next++);
    await world.chain.mintUSDC(account.address, 1_000_000n);
    const hand = manualBuyer(account, SHOP_URL);
    const required = requiredIn(await takeAs(owner, { service: SERVICE }));
    const taken = await takeAs(owner, { service: SERVICE, payment: await hand.depositPayment(required, 500_000n, 1_000n) });
    const released = await owner("POST", `/sales/${taken.body["paymentId"]}/release`, { reason: "handler_500" });
    expect(settleIn(released.body["headers"])).include({ amount: "500000", success: true });
    expect(settleIn(released.body["headers"]).extra).include({ chargedAmount: "0" });
  });

  it("stores no answer that could not be sent or is no success, and no payment header of the provider's", async () => {
    const { hand, required } = await opened();
    const { payment, paymentId } = await reserve(hand, required, 1_000n);
    const charge = (change: Record<string, unknown>) => owner("POST", `/sales/${paymentId}/charge`, { ...chargeBody("x"), ...change });
    for (const bad of [{ answer: answer("x", 500) }, { answer: answer("x", 200, { "bad name": "x" }) }, { answer: answer("x", 200, { a: "x\r\nset-cookie: y" }) }, { answer: { ...answer(""), bodyBase64: "%%%" } }, { endedAtMs: 1, startedAtMs: 2 }, { amountAtomic: "-1" }]) {
      expect((await charge(bad)).status, JSON.stringify(bad)).equal(400);
    }
    const forging = { "Payment-Response": "forged", "Tallystick-Payment-Id": "forged", connection: "close", "X-Ok": "1", "Cache-Control": "public, max-age=9" };
    expect((await charge({ answer: answer("ok", 200, forging) })).status).equal(200);
    const { headers } = (await takeAs(owner, { service: SERVICE, payment })).body["answer"];
    expect(Object.values(headers)).not.include("forged");
    expect(headers).include({ "x-ok": "1", "cache-control": "private, max-age=9" }).and.not.have.property("connection");
  });

  it("the gateway does not sell it, and says where it is sold", async () => {
    const response = await fetch(`${world.url}/s/${SERVICE}/quote`);
    expect([response.status, await response.json()]).satisfy(([status, problem]: [number, Record<string, string>]) => status === 404 && problem["code"] === "service_self_hosted" && problem["url"] === SHOP_URL);
  });

  it("nobody is asked without signing in", async () => {
    for (const path of ["/sales", `/sales/pay_${"0".repeat(32)}/charge`, `/sales/pay_${"0".repeat(32)}/release`]) {
      const body = path.endsWith("charge") ? chargeBody("x") : path.endsWith("release") ? { reason: "x" } : { service: SERVICE, resource: SHOP_URL, inputHash: `0x${"0".repeat(64)}` };
      const response = await fetch(`${world.url}/api/v1${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      expect(response.status, path).equal(401);
    }
  });
});
