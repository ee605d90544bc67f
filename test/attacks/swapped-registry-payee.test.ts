// Attack: the payee of a listed service is swapped, in the gateway's own table or in the registry. The registry on chain says who is paid, policy or
// not: what goes to anybody else is refused before money moves, with the rule and the proof.
import { expect } from "chai";
import { encodeFunctionData, type Hex } from "viem";
import { bazaarRegistryAbi as abi } from "../../sdk/src/abi/bazaar-registry.ts";
import { termsRefOf } from "../../sdk/src/bazaar.ts";
import { metadataUri, saltOfName, serviceKeyOf, termsOfMetadata } from "../../sdk/src/bazaar/terms.ts";
import { contentHashOf } from "../../sdk/src/bazaar/metadata.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { addressOf } from "../support/config.ts";
import { assertSpent, inForce, moneyOf, payerOf, policyOf, type Refused } from "../support/firewall.ts";
import { listingClientOf, metadataOf } from "../support/listing.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { Sessions } from "../support/session.ts";
import { until } from "../support/settlement-world.ts";

const OWNER = 12;

describe("attack: a listed service's payee is swapped", function () {
  this.timeout(240_000);
  const THIEF = addressOf(9);
  let world: TestWorld;
  let rpc: RpcProxy;
  before(async () => {
    world = await startTestWorld({ env: { RELAYER_CHAIN_MAX_LAG_MS: "4000" }, rpcUrl: async (url) => (rpc = await startRpcProxy(url)).url });
    for (const name of ["shop", "shop2", "shop3"]) await listingClientOf(world, OWNER).list({ name, origin: world.provider.origin, metadata: metadataOf() });
  });
  after(async () => {
    await world.stop();
    await rpc.stop();
  });

  const isRefused = (refused: Refused, rule = "registry.pay_to") => {
    expect(refused).include({ code: "firewall_rejected", decision: "REJECTED", rule, retry: "never" });
    expect(refused.proof).include({ type: "money_never_moved", status: "NEVER" });
    expect(refused.reason).contain(addressOf(OWNER));
  };

  it("in the gateway's table: neither rail pays the thief, and the refusal is in the audit log", async () => {
    const { db, catalog } = world.relayer.deps;
    await db.query("UPDATE service SET receiver = $1 WHERE name = 'shop'", [Buffer.from(THIEF.slice(2), "hex")]);
    catalog.changed("shop");
    const payer = await payerOf(world, "/s/shop/");
    const held = await moneyOf(world, payer.account.address);
    expect((await payer.terms()).accepts[0].payTo).equal(THIEF);
    const exact = await payer.exact();
    expect(exact.status).equal(403);
    isRefused((await exact.json()) as Refused);
    const { first } = await payer.channel();
    expect(first.status).equal(403);
    isRefused((await first.json()) as Refused);
    await assertSpent(world, payer.account.address, { charged: 0n, held });
    expect(await moneyOf(world, THIEF)).equal(0n);
    expect(world.provider.seen).deep.equal([]);
    const { rows } = await db.query<{ n: bigint }>("SELECT count(*) AS n FROM audit WHERE code = 'registry.pay_to'");
    expect(rows[0]!.n).equal(2n);
  });

  it("on chain, by whoever holds the owner's key, past the relayer: what the gateway sells goes to nobody", async () => {
    const payer = await payerOf(world, "/s/shop2/");
    const channel = await payer.channel();
    expect(channel.first.status).equal(200);
    const metadata = metadataOf();
    const key = serviceKeyOf(addressOf(OWNER), saltOfName("shop2"));
    const terms = termsOfMetadata(metadata, { payTo: addressOf(OWNER), uri: metadataUri(world.relayer.deps.config.publicUrl, contentHashOf(metadata)) });
    const data = encodeFunctionData({ abi, functionName: "update", args: [key, termsRefOf(terms), { ...terms, payTo: THIEF }, { deadline: 0n, signature: "0x" as Hex }] });
    await new Sessions(world.chain).sendTo(world.chain.account(OWNER), LOCAL_BAZAAR_REGISTRY, data);
    await until(async () => world.relayer.deps.listings.find("shop2")?.payTo === THIEF);
    const held = await moneyOf(world, payer.account.address);
    // Nobody proposed it here, so the gateway's table stays as it was: the two disagree.
    expect((await payer.terms()).accepts[0].payTo).equal(addressOf(OWNER));
    for (const answer of [await channel.pay(4_000n), await payer.exact()]) {
      expect(answer.status).equal(403);
      expect(((await answer.json()) as Refused).rule).equal("registry.pay_to");
    }
    await assertSpent(world, payer.account.address, { charged: 2_000n, held });
    expect(await moneyOf(world, THIEF)).equal(0n);
  });

  it("a policy `recipient: registered` asks the registry too", async () => {
    const payer = await payerOf(world, "/s/shop3/");
    await inForce(world.url, payer.account, policyOf(payer.account.address, { recipient: "registered" }));
    expect((await payer.exact()).status).equal(200);
  });

  it("while the chain cannot be read, nobody knows who is to be paid: listed services are not sold, and are again afterwards", async () => {
    const payer = await payerOf(world, "/s/shop3/");
    const payment = await payer.exactPayment();
    rpc.fail({ method: "*", kind: "error" });
    await until(async () => !world.relayer.deps.listings.isFresh());
    const { faultOf } = await import("../../relayer/src/capabilities/firewall/listed.ts");
    expect(faultOf(world.relayer.deps, { service: "shop3", payee: addressOf(OWNER) })).include({ kind: "stale" });
    expect(faultOf(world.relayer.deps, { service: "echo", payee: THIEF })).equal(undefined);
    rpc.heal();
    await until(async () => world.relayer.deps.listings.isFresh());
    const paid = await fetch(payer.resource, { headers: { "PAYMENT-SIGNATURE": Buffer.from(JSON.stringify(payment)).toString("base64") } });
    expect(paid.status).equal(200);
  });
});
