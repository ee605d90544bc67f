// The other ways to pay pass the same gate: a voucher for a stream that is under way, and a transfer that is named by its hash.
import { expect } from "chai";
import { encodeFunctionData, erc20Abi, parseUnits, type Hex } from "viem";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { chargedTo, inForce, policyOf, postTo, type Refused } from "../support/firewall.ts";
import { Sessions } from "../support/session.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { eventsOf, openedChannel, PRICE, startStreamWorld, UNIT, type StreamWorld } from "../support/stream-world.ts";

describe("firewall: streams", function () {
  this.timeout(180_000);
  let streams: StreamWorld;
  before(async () => {
    streams = await startStreamWorld();
  });
  after(() => streams.stop());

  it("a stream may not be paid on beyond what the policy allows for one payment", async () => {
    const { world, upstream } = streams;
    const { buyer, ask, voucher, charged } = await openedChannel(streams);
    await inForce(world.url, buyer.account, policyOf(buyer.account.address, { price: { max: String(PRICE + UNIT) } }));
    const [response, source] = await Promise.all([ask("/long.sse", 2n * PRICE), upstream.next("/long.sse")]);
    const paymentId = response.headers.get("tallystick-payment-id")!;
    const events = eventsOf(response);
    source.write(`tallystick-units: 99\ndata: most\n\ndata: last\n\ndata: more\n\n`);
    for (let event = await events.next(); event?.event !== "tallystick-need-voucher"; event = await events.next()) expect(event).not.equal(undefined);
    const refused = await voucher(paymentId, 4n * PRICE);
    expect(refused.status).equal(403);
    expect((await refused.json()) as Refused).include({ code: "firewall_rejected", rule: "price.max" });
    const allowed = await voucher(paymentId, 2n * PRICE + UNIT);
    expect([allowed.status, ((await allowed.json()) as { allowance: string }).allowance]).deep.equal([200, String(PRICE + UNIT)]);
    expect((await voucher(paymentId, 2n * PRICE + UNIT)).status).equal(200);
    expect((await events.next())!.data).equal("more");
    source.end();
    await events.rest();
    expect(await charged()).equal(PRICE + UNIT);
  });
});

describe("firewall: transfers by hash", function () {
  this.timeout(180_000);
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld();
  });
  after(() => world.stop());

  it("is not served against a policy, says which transaction moved the money, and is served once the policy allows it", async () => {
    const buyer = world.chain.account(3);
    await world.chain.mintUSDC(buyer.address, parseUnits("1", 6));
    await inForce(world.url, buyer, policyOf(buyer.address, { capabilities: { allow: [] } }));
    const asked = (await (await postTo(`${world.url}/api/pay/request`, { providerId: "echo" })).json()) as { payment: { requestId: string; recipient: Hex; amountAtomic: string; message: string } };
    const { requestId, recipient, amountAtomic, message } = asked.payment;
    const data = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [recipient, BigInt(amountAtomic)] });
    const { hash: txHash } = await new Sessions(world.chain).sendTo(buyer, BASE_SEPOLIA.usdc.address, data);
    const proof = { requestId, txHash, signature: await buyer.signMessage({ message }) };
    const refused = await postTo(`${world.url}/api/pay/submit`, proof);
    expect(refused.status, await refused.clone().text()).equal(403);
    const told = (await refused.json()) as Refused;
    expect(told).include({ code: "firewall_rejected", rule: "capabilities.allow" });
    expect(told.proof).include({ type: "txHash", txHash });
    expect(await chargedTo(world, buyer.address)).deep.equal({ count: 0, amount: 0n });
    await inForce(world.url, buyer, policyOf(buyer.address, {}, { version: 2 }));
    expect((await postTo(`${world.url}/api/pay/submit`, proof)).status).equal(200);
    expect(await chargedTo(world, buyer.address)).deep.equal({ count: 1, amount: 1_000n });
  });
});
